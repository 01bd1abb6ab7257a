// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file as one caller reaches it: the superblock's owner namespace, the mount's id map, the
//! owner. Covers M (ids on disk are ids of the owner namespace) and the checks of V that come
//! before every write.

use crate::decision::{Denied, Errno, Why};
use crate::id::{Kgid, Kuid, Uid};
use crate::ns::UserNs;

/// A file seen through a mount, as far as capabilities care.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InodeView<N> {
    /// The superblock's owner namespace (`s_user_ns`).
    pub sb_ns: N,
    /// On an id-mapped mount, a namespace whose maps are the mount's (mount_setattr(2)); only its
    /// id maps are asked. `None` on any other mount.
    pub idmap: Option<N>,
    /// The file's owner as this mount shows it; `None` where it has no valid id.
    pub owner: Option<Kuid>,
    /// The file's group as this mount shows it; `None` where it has no valid id.
    pub group: Option<Kgid>,
    /// Whether the mount or the superblock is read-only.
    pub read_only: bool,
    /// Whether the inode is immutable or append-only (chattr(1)).
    pub immutable: bool,
}

impl<N: UserNs> InodeView<N> {
    /// A file on a plain, writable mount.
    #[must_use]
    pub fn plain(sb_ns: N, owner: Kuid, group: Kgid) -> InodeView<N> {
        InodeView {
            sb_ns,
            idmap: None,
            owner: Some(owner),
            group: Some(group),
            read_only: false,
            immutable: false,
        }
    }

    /// The kuid of a stored rootid, through this mount (`make_vfsuid` of
    /// `make_kuid`). `None` if it has no image: such an entry applies to no task.
    ///
    /// ```
    /// use nscap_core::*;
    /// let host = Mapped::initial();
    /// let container = host.below(100_000, 65_536);
    /// let file = container.file();
    /// let stored = Uid::new(100_000).unwrap();
    /// assert_eq!(file.kuid_of(stored), Kuid::new(100_000));
    /// // The same superblock on a mount that is id-mapped for the container.
    /// let mapped = InodeView { idmap: Some(&container), ..file };
    /// assert_eq!(mapped.kuid_of(Uid::ROOT), Kuid::new(100_000));
    /// assert_eq!(mapped.kuid_of(stored), None);
    /// ```
    pub fn kuid_of(&self, stored: Uid) -> Option<Kuid> {
        let kuid = self.sb_ns.kuid(stored)?;
        match self.idmap {
            None => Some(kuid),
            Some(map) => map.kuid(stored),
        }
    }

    /// The rootid to store for a kuid named through this mount (`from_kuid` of `from_vfsuid`).
    /// `None` where the superblock cannot hold it.
    ///
    /// ```
    /// use nscap_core::*;
    /// let host = Mapped::initial();
    /// let container = host.below(100_000, 65_536);
    /// let (file, root) = (container.file(), Kuid::new(100_000).unwrap());
    /// assert_eq!(file.stored_of(root), Uid::new(100_000));
    /// let mapped = InodeView { idmap: Some(&container), ..file };
    /// assert_eq!(mapped.stored_of(root), Some(Uid::ROOT));
    /// ```
    pub fn stored_of(&self, kuid: Kuid) -> Option<Uid> {
        match self.idmap {
            None => self.sb_ns.uid(kuid),
            Some(map) => {
                let stored = map.uid(kuid)?;
                self.sb_ns.kuid(stored).map(|_| stored)
            }
        }
    }

    /// The uid that a stored rootid has in `ns` when seen through this mount.
    ///
    /// ```
    /// use nscap_core::*;
    /// let host = Mapped::initial();
    /// let container = host.below(100_000, 65_536);
    /// let (file, stored) = (container.file(), Uid::new(100_005).unwrap());
    /// assert_eq!(file.uid_in(stored, &container), Uid::new(5));
    /// assert_eq!(file.uid_in(Uid::ROOT, &container), None);
    /// ```
    pub fn uid_in(&self, stored: Uid, ns: N) -> Option<Uid> {
        ns.uid(self.kuid_of(stored)?)
    }

    /// The rootid to store for a uid of `ns` named through this mount.
    ///
    /// ```
    /// use nscap_core::*;
    /// let host = Mapped::initial();
    /// let container = host.below(100_000, 65_536);
    /// assert_eq!(container.file().stored_from(Uid::ROOT, &container), Uid::new(100_000));
    /// ```
    pub fn stored_from(&self, uid: Uid, ns: N) -> Option<Uid> {
        self.stored_of(ns.kuid(uid)?)
    }

    /// V: what the VFS refuses before any rule about capabilities applies.
    ///
    /// # Errors
    /// EROFS on a read-only mount; EPERM on an immutable or append-only file, and where the
    /// file's owner or group has no valid id on this mount.
    ///
    /// ```
    /// use nscap_core::*;
    /// let host = Mapped::initial();
    /// let container = host.below(100_000, 65_536);
    /// let read_only = InodeView { read_only: true, ..container.file() };
    /// assert_eq!(read_only.check_writable().unwrap_err().errno, Errno::EROFS);
    /// ```
    pub fn check_writable(&self) -> Result<(), Denied> {
        if self.read_only {
            return Err(Denied::new(Errno::EROFS, Why::ReadOnly));
        }
        if self.immutable {
            return Err(Denied::new(Errno::EPERM, Why::Immutable));
        }
        if self.owner.is_none() || self.group.is_none() {
            return Err(Denied::new(Errno::EPERM, Why::IdsUnmapped));
        }
        Ok(())
    }
}
