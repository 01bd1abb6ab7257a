// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an execve(2) depends on beside the file's capabilities: the kernel, the task, the program.
//! Covers X.

use crate::cred::Cred;
use crate::decision::Why;
use crate::id::Kgid;
use crate::inode_view::InodeView;
use crate::ns::{UserNs, is_same_or_below};

/// The kernel and how it was booted, as far as exec cares.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct System {
    /// The kernel's version, major and minor: `(6, 18)`.
    pub kernel: (u16, u16),
    /// `no_file_caps` on the kernel's command line.
    pub no_file_caps: bool,
}

impl System {
    /// A kernel of this version, booted without options.
    ///
    /// ```
    /// use nscap_core::System;
    /// assert!(System::kernel(6, 1) != System::kernel(6, 18));
    /// ```
    #[must_use]
    pub const fn kernel(major: u16, minor: u16) -> System {
        System { kernel: (major, minor), no_file_caps: false }
    }

    /// Since Linux 6.16 an exec counts as changing ids when the effective uid changes or the
    /// effective gid is none of the task's groups; before, when an effective id differs from the
    /// real one.
    pub(crate) fn compares_effective_ids(&self) -> bool {
        self.kernel >= (6, 16)
    }
}

/// The task that calls execve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Task<'a, N> {
    /// Its credentials.
    pub cred: Cred<N>,
    /// Its supplementary groups.
    pub groups: &'a [Kgid],
    /// `no_new_privs`, prctl(2).
    pub no_new_privs: bool,
    /// Whether it is traced by a task without CAP_SYS_PTRACE over its namespace.
    pub traced: bool,
    /// Whether it shares its file system information with a task outside its thread group
    /// (clone(2), CLONE_FS).
    pub shares_fs: bool,
}

impl<N: UserNs> Task<'_, N> {
    /// A task with these credentials, no supplementary group and nothing unusual.
    #[must_use]
    pub fn of(cred: Cred<N>) -> Task<'static, N> {
        Task { cred, groups: &[], no_new_privs: false, traced: false, shares_fs: false }
    }

    /// The kernel's `in_group_p`.
    pub(crate) fn in_group(&self, gid: Kgid) -> bool {
        self.cred.fsgid == gid || self.groups.contains(&gid)
    }
}

/// The file that is executed. For a script this is its interpreter; for a binfmt_misc match with
/// flag C it is the binary itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Program<N> {
    /// Where the file is.
    pub inode: InodeView<N>,
    /// Permission bits with set-user-ID and set-group-ID, as in `st_mode`.
    pub mode: u32,
    /// Where the file has an access control list: whether it and the mode let the task execute the
    /// file ([`permits`](crate::permits)). `None`: the mode alone decides.
    pub by_acl: Option<bool>,
    /// Whether the mount is nosuid.
    pub nosuid: bool,
    /// Whether the mount is noexec.
    pub noexec: bool,
    /// Whether the mount is of another mount namespace than the task's (/proc/PID/root, memfd).
    pub foreign: bool,
}

impl<N: UserNs> Program<N> {
    /// A file with this mode on an ordinary mount.
    #[must_use]
    pub fn plain(inode: InodeView<N>, mode: u32) -> Program<N> {
        Program { inode, mode, by_acl: None, nosuid: false, noexec: false, foreign: false }
    }

    /// Why set-id bits and file capabilities have no effect here (`mnt_may_suid`).
    pub(crate) fn suid_ignored(&self, ns: N) -> Option<Why> {
        if self.nosuid {
            Some(Why::NoSuid)
        } else if self.foreign {
            Some(Why::ForeignMount)
        } else if !is_same_or_below(ns, self.inode.sb_ns) {
            Some(Why::ForeignSuperblock)
        } else {
            None
        }
    }
}
