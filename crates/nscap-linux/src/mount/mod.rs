// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mount that a file is reached through, in whichever mount namespace it is, and its facts that
//! execve(2) and the rules about capabilities use. Covers M, and the mount's part of X and V.
//!
//! This is the one place that says, for a descriptor and a task: the superblock, its owner and how
//! that is known, the flags, the id map, and whether the task's mount namespace has the mount. A
//! fact that is not known is a value of its own; it is neither "no" nor a guess.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nscap_core::{Extent, Kgid, Kuid, is_same_or_below};
use rustix::fs::{StatVfsMountFlags, fstatvfs};

use crate::error::{Error, Result};
use crate::ns::{Namespaces, NsIndex};

mod find;
mod owner;
mod proof;

pub(crate) use find::type_of;
use find::{Facts, find};
pub(crate) use owner::maps_its_ids;
pub use owner::{Owner, Witness};

/// What matters about a mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// Whether set-id bits and file capabilities are ignored.
    pub nosuid: bool,
    /// Whether nothing is executed from it.
    pub noexec: bool,
    /// Whether it, or the file system, is read-only.
    pub read_only: bool,
    /// The file system's type, e.g. `"ext4"` or `"fuse.nscap"`; empty where no mount namespace was
    /// found that has the mount.
    pub fs_type: String,
    /// Major and minor number of the superblock's device, as /proc/PID/mountinfo has it; `None`
    /// where no mount namespace was found that has the mount.
    pub device: Option<(u32, u32)>,
    /// Where it is mounted, as its mount namespace sees it.
    pub point: Option<PathBuf>,
    /// Its id map.
    pub idmap: IdMap,
    /// The superblock's owner namespace (`s_user_ns`).
    pub owner: Owner,
    /// SPEC, Storage: whether the owner is our own namespace or above it, so that no task below can
    /// have written a table; `None` where that is not known. A caller that others trust asks for
    /// [proof](Mount::with_proof).
    pub trusted: Option<bool>,
    /// Whether the owner is, or for all that is known may be, a user namespace beside or below
    /// ours. What execve(2) and open(2) withhold on such a superblock (set-id bits, capabilities,
    /// devices) must then not be given to others. A host value is written with its root named,
    /// since a plain one would be the owner's.
    pub may_be_anothers: bool,
    /// Whether the mount is in another mount namespace than the task that was asked about, or than
    /// ours: then execve(2) ignores set-id bits and file capabilities.
    pub foreign: bool,
}

/// The id map of a mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdMap {
    /// None: ids are as the superblock has them.
    Absent,
    /// These maps, of ids on disk to kuids and kgids.
    Known(NsIndex),
    /// There is one, and the kernel does not tell us which: before Linux 6.15, or by a seccomp
    /// filter.
    Unknown,
}

impl Mount {
    /// The mount that a descriptor was opened through, as this process sees it; in whichever mount
    /// namespace that is. `path` is what errors call it.
    ///
    /// # Errors
    /// [`Error::Call`] from statx(2) or statvfs(3), or where /proc is not mounted.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// let file = std::fs::File::open("/proc/self/status").unwrap();
    /// let mount = Mount::of(&file, "/proc/self/status".as_ref(), &mut namespaces)?;
    /// assert_eq!((mount.fs_type.as_str(), mount.idmap), ("proc", IdMap::Absent));
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn of(file: impl AsFd, path: &Path, namespaces: &mut Namespaces) -> Result<Mount> {
        Mount::find(file.as_fd(), path, None, None, namespaces)
    }

    /// The same for a task that would be in this user namespace, which may have made what is
    /// mounted.
    ///
    /// # Errors
    /// As [`of`](Mount::of).
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// let file = std::fs::File::open("/proc/self/status").unwrap();
    /// let (path, own) = ("/proc/self/status".as_ref(), namespaces.own_ns().index());
    /// let mount = Mount::of_member(&file, path, own, &mut namespaces)?;
    /// assert!(mount.owner.possible().contains(&own));
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn of_member(
        file: impl AsFd,
        path: &Path,
        ns: NsIndex,
        namespaces: &mut Namespaces,
    ) -> Result<Mount> {
        Mount::find(file.as_fd(), path, None, Some(ns), namespaces)
    }

    /// The same for a task that executes the file: `foreign` says whether its mount namespace is
    /// another than the mount's.
    ///
    /// # Errors
    /// As [`of`](Mount::of); [`Error::Call`] where the task may not be looked at.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// let file = std::fs::File::open("/proc/self/status").unwrap();
    /// let path = "/proc/self/status".as_ref();
    /// assert!(!Mount::of_task(&file, path, std::process::id(), &mut namespaces)?.foreign);
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn of_task(
        file: impl AsFd,
        path: &Path,
        pid: u32,
        namespaces: &mut Namespaces,
    ) -> Result<Mount> {
        let ns = namespaces.add_pid(pid)?;
        Mount::find(file.as_fd(), path, Some(pid), Some(ns), namespaces)
    }

    /// What will be mounted of an image that is not unpacked yet: a file system of the initial
    /// namespace, without flags that take something away.
    pub(crate) fn of_unpacked(namespaces: &Namespaces) -> Mount {
        let owner = Owner::assuming(namespaces.initial().index());
        let mount = Mount {
            nosuid: false,
            noexec: false,
            read_only: false,
            fs_type: String::new(),
            device: None,
            point: None,
            idmap: IdMap::Absent,
            trusted: None,
            may_be_anothers: false,
            foreign: false,
            owner: owner.clone(),
        };
        mount.owned_by(owner, namespaces)
    }

    fn find(
        file: BorrowedFd<'_>,
        path: &Path,
        task: Option<u32>,
        member_of: Option<NsIndex>,
        namespaces: &mut Namespaces,
    ) -> Result<Mount> {
        let found = find(file, task)?;
        let owner = Owner::find(file, &found, member_of, namespaces)?;
        let flags = fstatvfs(file).map_err(|e| Error::call(path, "fstatvfs", e))?.f_flag;
        let idmap = match found.facts.as_ref().filter(|facts| facts.idmapped) {
            None => IdMap::Absent,
            Some(Facts { maps: None, .. }) => IdMap::Unknown,
            Some(Facts { maps: Some(maps), .. }) => IdMap::Known(lifted(path, maps, namespaces)?),
        };
        let (fs_type, device, point) = match found.facts {
            Some(facts) => (facts.fs_type, Some(facts.device), Some(facts.point)),
            None => (String::new(), None, None),
        };
        let mount = Mount {
            nosuid: flags.contains(StatVfsMountFlags::NOSUID),
            noexec: flags.contains(StatVfsMountFlags::NOEXEC),
            read_only: flags.contains(StatVfsMountFlags::RDONLY),
            fs_type,
            device,
            point,
            idmap,
            trusted: None,
            may_be_anothers: false,
            foreign: !found.of_task,
            owner: owner.clone(),
        };
        Ok(mount.owned_by(owner, namespaces))
    }

    /// The same with another owner, and what follows from it.
    pub(crate) fn owned_by(self, owner: Owner, namespaces: &Namespaces) -> Mount {
        let own = namespaces.own_ns();
        let is_ours = |ns: &NsIndex| is_same_or_below(own, namespaces.get(*ns));
        let ours = owner.possible().iter().filter(|ns| is_ours(ns)).count();
        let trusted = match ours {
            0 => Some(false),
            all if all == owner.possible().len() => Some(true),
            _ => None,
        };
        Mount { owner, trusted, may_be_anothers: trusted != Some(true), ..self }
    }

    /// The same for a caller that others trust: the owner of the superblock is taken for another
    /// namespace unless there is proof. `directory` is one on that mount; a device node may be made
    /// in it and removed. See [`may_be_anothers`](Mount::may_be_anothers).
    ///
    /// # Errors
    /// [`Error::Call`] where the own user namespace cannot be looked at.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// let directory = std::fs::File::open("/proc").unwrap();
    /// let mount = Mount::of(&directory, "/proc".as_ref(), &mut namespaces)?;
    /// assert!(mount.with_proof(&directory)?.may_be_anothers);
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn with_proof(self, directory: impl AsFd) -> Result<Mount> {
        if self.owner.witness() == Some(Witness::Type) {
            return Ok(self);
        }
        let own = proof::is_own(directory, &self.fs_type)?;
        let trusted = Some(self.trusted == Some(true) && own);
        Ok(Mount { trusted, may_be_anothers: !own, ..self })
    }

    /// The same with a table trusted or not: the administrator vouches for the owner of the
    /// superblock.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// let file = std::fs::File::open("/proc/self/status").unwrap();
    /// let mount = Mount::of(&file, "/proc/self/status".as_ref(), &mut namespaces)?;
    /// assert_eq!(mount.with_trust(true).trusted, Some(true));
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    #[must_use]
    pub fn with_trust(self, trusted: bool) -> Mount {
        Mount { trusted: Some(trusted), ..self }
    }

    /// The id of the mount that a descriptor was opened through, which no later mount has; `None`
    /// where the kernel has no such ids (before Linux 6.8).
    ///
    /// ```
    /// use nscap_linux::Mount;
    /// let [one, other] = ["/bin", "/usr"].map(|path| std::fs::File::open(path).unwrap());
    /// assert_eq!(Mount::id_of(&one), Mount::id_of(&one));
    /// ```
    #[must_use]
    pub fn id_of(file: impl AsFd) -> Option<u64> {
        crate::statmount::unique_id(file).ok()
    }

    /// Whether the rules of nscap decide on this file system, and not the kernel's own alone.
    #[must_use]
    pub fn is_nscap(&self) -> bool {
        self.fs_type == crate::mounts::NSCAP_TYPE
    }

    /// The maps of an id-mapped mount, where they are known.
    #[must_use]
    pub fn maps(&self) -> Option<NsIndex> {
        match self.idmap {
            IdMap::Known(maps) => Some(maps),
            IdMap::Absent | IdMap::Unknown => None,
        }
    }
}

/// The maps of a mount as the kernel tells them, the outside in our own terms.
fn lifted(
    path: &Path,
    (uids, gids): &(Vec<Extent>, Vec<Extent>),
    namespaces: &mut Namespaces,
) -> Result<NsIndex> {
    let lift = |extents: &[Extent], to: &dyn Fn(u32) -> Option<u32>| -> Vec<Extent> {
        let outside = |e: &Extent| to(e.outside).map(|outside| Extent { outside, ..*e });
        extents.iter().filter_map(outside).collect()
    };
    let uids = lift(uids, &|id| namespaces.shown_uid(id).map(Kuid::get));
    let gids = lift(gids, &|id| namespaces.shown_gid(id).map(Kgid::get));
    namespaces.add_idmap(&uids, &gids).map_err(|e| Error::unexpected(path, e.to_string()))
}
