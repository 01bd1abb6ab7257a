// SPDX-License-Identifier: MIT OR Apache-2.0
//! Permission to open, own and change a file by its mode bits and owner: path_resolution(7),
//! "Permissions", and capabilities(7) for capabilities that override them.

use nscap_core::{Capability, Cred, Kgid, Kuid, UserNs};

use super::At;
use crate::tree::Ns;

/// Permission bits.
pub(super) const READ: u32 = 4;
pub(super) const WRITE: u32 = 2;

/// A task and a file.
#[derive(Clone, Copy)]
pub(super) struct Access<'a, 't> {
    pub(super) cred: &'a Cred<Ns<'t>>,
    pub(super) groups: &'a [Kgid],
    pub(super) view: &'a At<'t>,
    pub(super) mode: u32,
}

impl Access<'_, '_> {
    /// Opening the file with these permissions.
    pub(super) fn open(&self, want: u32) -> Result<(), i32> {
        self.permission(want)?;
        if want & WRITE != 0 && self.view.read_only { Err(libc::EROFS) } else { Ok(()) }
    }

    /// What inode_permission() of the kernel says.
    pub(super) fn permission(&self, want: u32) -> Result<(), i32> {
        let writes = want & WRITE != 0;
        if writes && self.view.immutable {
            return Err(libc::EPERM);
        }
        if writes && !self.ids_valid() {
            return Err(libc::EACCES);
        }
        let class = if self.is_owner() {
            6
        } else if self.view.group.is_some_and(|group| self.in_group(group)) {
            3
        } else {
            0
        };
        let allowed = self.mode >> class & want == want;
        let reads = want == READ && self.capable(Capability::DacReadSearch);
        if allowed || reads || self.capable(Capability::DacOverride) {
            Ok(())
        } else {
            Err(libc::EACCES)
        }
    }

    pub(super) fn ids_valid(&self) -> bool {
        self.view.owner.is_some() && self.view.group.is_some()
    }

    pub(super) fn is_owner(&self) -> bool {
        self.view.owner == Some(self.cred.fsuid)
    }

    /// As the owner, or by CAP_FOWNER over it.
    pub(super) fn owner_or_capable(&self) -> bool {
        let maps = self.view.owner.is_some_and(|owner| self.cred.ns.uid(owner).is_some());
        self.is_owner() || (maps && self.cred.has_cap(Capability::Fowner))
    }

    pub(super) fn in_group(&self, group: Kgid) -> bool {
        self.cred.fsgid == group || self.groups.contains(&group)
    }

    /// A capability over this file: in the task's namespace, which maps both of its ids.
    pub(super) fn capable(&self, cap: Capability) -> bool {
        let Cred { ns, .. } = self.cred;
        let owner = self.view.owner.is_some_and(|owner| ns.uid(owner).is_some());
        let group = self.view.group.is_some_and(|group| ns.gid(group).is_some());
        owner && group && self.cred.has_cap(cap)
    }

    /// Whether the task may give the file to this owner.
    pub(super) fn may_chown(&self, to: Kuid) -> bool {
        let stays = self.is_owner() && self.view.owner == Some(to);
        stays || self.capable(Capability::Chown) || (self.view.owner.is_none() && self.mends())
    }

    /// Whether the task may give the file to this group.
    pub(super) fn may_chgrp(&self, to: Kgid) -> bool {
        let ours = self.view.group == Some(to) || self.in_group(to);
        (self.is_owner() && ours)
            || self.capable(Capability::Chown)
            || (self.view.group.is_none() && self.mends())
    }

    /// Whether the task may give an id to a file that has none through this mount.
    fn mends(&self) -> bool {
        self.cred.has_cap_over(Capability::Chown, self.view.sb_ns)
    }
}
