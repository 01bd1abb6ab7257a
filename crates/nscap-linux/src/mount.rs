// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mount that a file is reached through: what of it execve(2) and the rules about capabilities
//! look at. Covers M, and the mount's part of X and V.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nscap_core::Extent;
use procfs::process::MountInfo;
use rustix::fs::{AtFlags, StatVfsMountFlags, StatxFlags, fstatvfs, statx};

use crate::error::{Error, Result};
use crate::ns::{Namespaces, NsIndex};
use crate::owner;
use crate::statmount::Statmount;
use crate::sys;

/// The type of a mount on which the rules of nscap decide.
pub(crate) const NSCAP_TYPE: &str = "fuse.nscap";

/// What matters about a mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// Whether set-id bits and file capabilities are ignored.
    pub nosuid: bool,
    /// Whether nothing is executed from it.
    pub noexec: bool,
    /// Whether it, or the file system, is read-only.
    pub read_only: bool,
    /// The file system's type, e.g. `"ext4"` or `"fuse.nscap"`; empty where it is in no mount
    /// namespace of ours.
    pub fs_type: String,
    /// Where it is mounted, if it is in our mount namespace.
    pub point: Option<PathBuf>,
    /// On an id-mapped mount, its maps.
    pub idmap: Option<NsIndex>,
    /// The superblock's owner namespace (`s_user_ns`), as far as it can be known. No system call
    /// tells it. It is the initial one for types that only that one can own, and where the kernel
    /// takes an option of tmpfs that is for that one only; for the rest see
    /// [`sb_owner_certain`](Mount::sb_owner_certain).
    pub sb_owner: NsIndex,
    /// Whether the owner is certain. If not it is taken to be the initial one in our own mount
    /// namespace, and the owner of the mount namespace in another's.
    pub sb_owner_certain: bool,
    /// SPEC, Storage: whether the owner is our own namespace or above it, so that no task below can
    /// have written a table. Where that is not known: whether the mount is in our own mount
    /// namespace. A caller whose word others take asks for [proof](Mount::with_proof).
    pub trusted: bool,
    /// Whether the owner is, or for all that could be [shown](Mount::with_proof) may be, a user
    /// namespace beside ours. What execve(2) and open(2) withhold on such a superblock (set-id bits,
    /// capabilities, devices) must then not be given to others. A host value is written with its root
    /// named, since a plain one would be the owner's.
    pub may_be_anothers: bool,
    /// Whether the mount is in the mount namespace that was asked about: if not, execve(2) ignores
    /// set-id bits and file capabilities.
    pub foreign: bool,
}

/// Types of which a user namespace can own a superblock (FS_USERNS_MOUNT in Linux 6.18).
const USERNS_TYPES: [&str; 13] = [
    "tmpfs", "ramfs", "overlay", "fuse", "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2",
    "bpf", "binder", "aufs",
];

impl Mount {
    /// The mount that a descriptor was opened through, as this process sees it. `path` is what
    /// errors call it.
    ///
    /// # Errors
    /// [`Error::Call`] from statx(2), statvfs(3) or statmount(2); [`Error::Unexpected`] where the
    /// mount is id-mapped and this kernel (before Linux 6.15) does not tell the maps.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// let file = std::fs::File::open("/proc/self/status").unwrap();
    /// let mount = Mount::of(&file, "/proc/self/status".as_ref(), &mut namespaces)?;
    /// assert_eq!(mount.fs_type, "proc");
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn of(file: impl AsFd, path: &Path, namespaces: &mut Namespaces) -> Result<Mount> {
        let file = file.as_fd();
        let facts = Facts::ours(file, path)?;
        let initial = namespaces.initial().index();
        let known = facts.as_ref().map(|facts| owned_by_initial(file, &facts.fs_type, namespaces));
        let owner = Owner {
            ns: initial,
            certain: known == Some(Known::Yes),
            trusted: known.is_some_and(|known| known != Known::No),
            anothers: known == Some(Known::No),
        };
        Mount::new(file, path, facts, owner, namespaces)
    }

    /// The same for a caller whose word others take: what cannot be shown of the superblock's owner
    /// is not taken for granted. `directory` is one on that mount; a device node may be made in it
    /// and removed. See [`may_be_anothers`](Mount::may_be_anothers).
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
        if !self.foreign && !namespace_may_own(&self.fs_type) {
            return Ok(self);
        }
        let own = owner::is_own(directory, &self.fs_type)?;
        Ok(Mount {
            sb_owner_certain: self.sb_owner_certain && own,
            trusted: self.trusted && own,
            may_be_anothers: !own,
            ..self
        })
    }

    /// The same with a table trusted or not: the administrator vouches for whoever owns the
    /// superblock.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// let file = std::fs::File::open("/proc/self/status").unwrap();
    /// let mount = Mount::of(&file, "/proc/self/status".as_ref(), &mut namespaces)?;
    /// assert!(mount.with_trust(true).trusted);
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    #[must_use]
    pub fn with_trust(self, trusted: bool) -> Mount {
        Mount { trusted, ..self }
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

    /// The mount that a descriptor was opened through, where that may be one of the mount
    /// namespace of a task. `foreign` says that it is not.
    ///
    /// # Errors
    /// As [`of`](Mount::of); [`Error::Call`] where the task may not be looked at.
    pub fn of_task(
        file: impl AsFd,
        path: &Path,
        pid: u32,
        namespaces: &mut Namespaces,
    ) -> Result<Mount> {
        let file = file.as_fd();
        let id = mount_id(file, path)?;
        let Some(facts) = Facts::in_mountinfo(&pid.to_string(), id) else {
            let mount = Mount::of(file, path, namespaces)?;
            return Ok(Mount { foreign: true, ..mount });
        };
        if Facts::ours(file, path)?.is_some() {
            return Mount::of(file, path, namespaces);
        }
        let initial = namespaces.initial().index();
        let owner = if namespace_may_own(&facts.fs_type) {
            let link = PathBuf::from(format!("/proc/{pid}/ns/mnt"));
            let mounts = File::open(&link).map_err(|e| Error::call(&link, "open", e))?;
            let ns = sys::ns_userns(&mounts)
                .map_err(|e| Error::call(&link, "ioctl(NS_GET_USERNS)", e))?;
            let ns = namespaces.add_fd(ns, &link)?;
            Owner { ns, certain: false, trusted: ns == initial, anothers: ns != initial }
        } else {
            Owner { ns: initial, certain: true, trusted: true, anothers: false }
        };
        Mount::new(file, path, Some(facts), owner, namespaces)
    }

    fn new(
        file: BorrowedFd<'_>,
        path: &Path,
        facts: Option<Facts>,
        owner: Owner,
        namespaces: &mut Namespaces,
    ) -> Result<Mount> {
        let flags = fstatvfs(file).map_err(|e| Error::call(path, "fstatvfs", e))?.f_flag;
        let idmapped = facts.as_ref().is_some_and(|facts| facts.idmapped);
        let idmap = if idmapped { Some(idmap_of(file, path, namespaces)?) } else { None };
        Ok(Mount {
            nosuid: flags.contains(StatVfsMountFlags::NOSUID),
            noexec: flags.contains(StatVfsMountFlags::NOEXEC),
            read_only: flags.contains(StatVfsMountFlags::RDONLY),
            fs_type: facts.as_ref().map(|facts| facts.fs_type.clone()).unwrap_or_default(),
            idmap,
            sb_owner: owner.ns,
            sb_owner_certain: owner.certain,
            trusted: owner.trusted,
            may_be_anothers: owner.anothers,
            foreign: facts.is_none(),
            point: facts.map(|facts| facts.point),
        })
    }

    /// Whether the rules of nscap decide on this file system, and not the kernel's own alone.
    #[must_use]
    pub fn is_nscap(&self) -> bool {
        self.fs_type == NSCAP_TYPE
    }
}

/// What is known of the owner of a superblock.
struct Owner {
    ns: NsIndex,
    certain: bool,
    trusted: bool,
    anothers: bool,
}

/// An answer that there may be none to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Yes,
    No,
    /// Not to be found out without changing anything, or not by us.
    Unasked,
}

/// Whether the initial namespace owns the superblock of a file, found without changing anything.
fn owned_by_initial(file: BorrowedFd<'_>, fs_type: &str, namespaces: &Namespaces) -> Known {
    if !namespace_may_own(fs_type) {
        return Known::Yes;
    }
    let asked = namespaces.own_ns().index() == namespaces.initial().index();
    match asked.then(|| owner::is_initials(file, fs_type)).flatten() {
        Some(true) => Known::Yes,
        Some(false) => Known::No,
        None => Known::Unasked,
    }
}

/// Whether a user namespace can own a superblock of this type; `fuse.x` is of type fuse.
fn namespace_may_own(fs_type: &str) -> bool {
    let base = fs_type.split_once('.').map_or(fs_type, |(base, _)| base);
    USERNS_TYPES.contains(&base)
}

fn mount_id(file: BorrowedFd<'_>, path: &Path) -> Result<u64> {
    let stat = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID);
    Ok(stat.map_err(|e| Error::call(path, "statx", e))?.stx_mnt_id)
}

/// What is known of a mount by its id.
struct Facts {
    fs_type: String,
    point: PathBuf,
    idmapped: bool,
}

impl Facts {
    /// Of the mount that a descriptor was opened through, in our own mount namespace.
    fn ours(file: BorrowedFd<'_>, path: &Path) -> Result<Option<Facts>> {
        let told = match Statmount::of(file) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(_) => None,
            Ok(said) => said.fs_type().zip(said.point()).map(|(fs_type, point)| Facts {
                fs_type,
                point,
                idmapped: said.is_idmapped(),
            }),
        };
        match told {
            Some(told) => Ok(Some(told)),
            None => Ok(Facts::in_mountinfo("self", mount_id(file, path)?)),
        }
    }

    /// From the line of a process's mountinfo, proc_pid_mountinfo(5): ids are unique among all
    /// mounts that there are. `process` is its directory in /proc. Only that line is read as text:
    /// others may hold any bytes.
    fn in_mountinfo(process: &str, mnt_id: u64) -> Option<Facts> {
        let all = std::fs::read(format!("/proc/{process}/mountinfo")).ok()?;
        let id = format!("{mnt_id} ");
        let line = all.split(|byte| *byte == b'\n').find(|line| line.starts_with(id.as_bytes()))?;
        let line = MountInfo::from_line(&String::from_utf8_lossy(line)).ok()?;
        Some(Facts {
            idmapped: line.mount_options.contains_key("idmapped"),
            fs_type: line.fs_type,
            point: line.mount_point,
        })
    }
}

fn idmap_of(file: BorrowedFd<'_>, path: &Path, namespaces: &mut Namespaces) -> Result<NsIndex> {
    let said = Statmount::of(file).map_err(|e| Error::call(path, "statmount", e))?;
    let (uids, gids) = said.maps().ok_or_else(|| {
        Error::unexpected(path, "on an id-mapped mount, and this kernel does not tell its maps")
    })?;
    // The kernel tells the outside in our own terms.
    let lift = |extents: Vec<Extent>, to: &dyn Fn(u32) -> Option<u32>| -> Vec<Extent> {
        let outside = |e: &Extent| to(e.outside).map(|outside| Extent { outside, ..*e });
        extents.iter().filter_map(outside).collect()
    };
    let uids = lift(uids, &|id| namespaces.shown_uid(id).map(nscap_core::Kuid::get));
    let gids = lift(gids, &|id| namespaces.shown_gid(id).map(nscap_core::Kgid::get));
    namespaces.add_idmap(&uids, &gids).map_err(|e| Error::unexpected(path, e.to_string()))
}
