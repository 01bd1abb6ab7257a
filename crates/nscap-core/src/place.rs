// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file as one caller reaches it: the superblock's owner namespace, the mount's id map, the
//! owner. Covers M (ids on disk are in the owner namespace's terms) and the part of V that comes
//! before every write.

use crate::decision::{Denied, Errno, Why};
use crate::id::{Kgid, Kuid, Uid};
use crate::ns::UserNs;

/// A file seen through a mount, as far as capabilities care.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<N> {
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

impl<N: UserNs> Place<N> {
    /// A file on a plain, writable mount.
    #[must_use]
    pub fn plain(sb_ns: N, owner: Kuid, group: Kgid) -> Place<N> {
        Place {
            sb_ns,
            idmap: None,
            owner: Some(owner),
            group: Some(group),
            read_only: false,
            immutable: false,
        }
    }

    /// The kuid that a stored rootid stands for when seen through this mount (`make_vfsuid` of
    /// `make_kuid`). `None` where it has no image: such an entry holds for nobody.
    ///
    /// ```
    /// # use nscap_core::*;
    /// # let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
    /// # let [root, user] = [0, 1000].map(|id| Kuid::new(id).unwrap());
    /// # let [zero, group] = [0, 1000].map(|id| Kgid::new(id).unwrap());
    /// # let admin = Cred::privileged(Initial, root, zero);
    /// # let place = Place::plain(Initial, root, zero);
    /// assert_eq!(place.kuid_of(Uid::ROOT), Some(root));
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
    /// # use nscap_core::*;
    /// # let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
    /// # let [root, user] = [0, 1000].map(|id| Kuid::new(id).unwrap());
    /// # let [zero, group] = [0, 1000].map(|id| Kgid::new(id).unwrap());
    /// # let admin = Cred::privileged(Initial, root, zero);
    /// # let place = Place::plain(Initial, root, zero);
    /// assert_eq!(place.stored_of(user), Uid::new(1000));
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

    /// V: what the VFS refuses before any rule about capabilities is asked.
    ///
    /// # Errors
    /// EROFS on a read-only mount; EPERM on an immutable or append-only file, and where the
    /// file's owner or group has no valid id on this mount.
    ///
    /// ```
    /// # use nscap_core::*;
    /// # let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
    /// # let [root, user] = [0, 1000].map(|id| Kuid::new(id).unwrap());
    /// # let [zero, group] = [0, 1000].map(|id| Kgid::new(id).unwrap());
    /// # let admin = Cred::privileged(Initial, root, zero);
    /// # let place = Place::plain(Initial, root, zero);
    /// let read_only = Place { read_only: true, ..place };
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
