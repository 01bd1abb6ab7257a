// SPDX-License-Identifier: MIT OR Apache-2.0
//! The namespaces of other kinds that a task is in, and the user namespace that owns each: a
//! capability over the network, say, is one over the owner of the task's network namespace
//! (ioctl_ns(2), NS_GET_USERNS).

use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};

use super::LiveTask;
use crate::ns::{Namespaces, NsIndex};
use crate::sys;

/// A namespace that a task is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Over {
    /// Its kind, as /proc/PID/ns has it: `"net"`, `"pid"`, `"ipc"`, `"uts"` or `"mnt"`.
    pub kind: &'static str,
    /// Its inode number.
    pub inode: u64,
    /// The user namespace that owns it; `None` where the kernel does not show it to us: it is
    /// neither ours nor below ours.
    pub owner: Option<NsIndex>,
}

const KINDS: [&str; 5] = ["net", "pid", "ipc", "uts", "mnt"];

impl LiveTask {
    /// The namespaces of other kinds; one that we may not look at is left out. Owners are added to
    /// `namespaces`.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// let own = LiveTask::read(std::process::id(), &mut namespaces)?;
    /// assert!(own.is_over(&mut namespaces).iter().any(|over| over.kind == "net"));
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn is_over(&self, namespaces: &mut Namespaces) -> Vec<Over> {
        KINDS.iter().filter_map(|kind| self.one(kind, namespaces)).collect()
    }

    fn one(&self, kind: &'static str, namespaces: &mut Namespaces) -> Option<Over> {
        let name = Path::new("ns").join(kind);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = openat(&self.dir, &name, flags, Mode::empty()).ok()?;
        let inode = rustix::fs::fstat(&fd).ok()?.st_ino;
        let owner = sys::ns_userns(&fd).ok();
        let owner = owner.and_then(|owner| namespaces.add_fd(owner, &name).ok());
        Some(Over { kind, inode, owner })
    }
}
