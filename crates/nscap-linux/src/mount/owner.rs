// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which user namespace owns a superblock (`s_user_ns`), as far as can be known, and by which
//! witness. Covers M. No system call tells the owner, and where a mount is does not either: a
//! container's mount namespace has mounts that the host made, and root attaches what a user
//! namespace has made.
//!
//! The witnesses, none of which changes anything:
//!
//! - the type: most file systems are the initial namespace's alone;
//! - our own mount table has the same device, and we are in the initial namespace;
//! - the list of claims, which only root of the initial namespace writes, names the mount of a
//!   server;
//! - tmpfs takes the option `noswap` only for a superblock of the initial namespace (Linux 6.4; the
//!   option is only parsed, nothing is mounted anew);
//! - what is on it ([`Owner::narrowed`]): the owner has an id for whatever id the kernel shows.
//!
//! Where no witness speaks, several namespaces remain possible, and an answer counts only where it
//! is the same for each.
//!
//! A server, which others trust, asks for proof that its own namespace is the owner
//! ([`is_own`](super::proof::is_own)). In the initial namespace a device node can be opened only on
//! a superblock of that namespace (SB_I_NODEV, which alloc_super() sets on every other). In a user
//! namespace mount_setattr(2) says EINVAL, and not EPERM, to a mount that is to be mapped by the
//! maps of its own superblock's owner. Without proof another namespace is taken for the owner.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nscap_core::{Kgid, Kuid, UserNs as _, path_to_initial};

use super::find::{FoundMount, Seat};
use super::proof::{in_own_table, open_own, option_of, refuses_its_own_map};
use crate::error::{Error, Result};
use crate::mounts::NSCAP_TYPE;
use crate::ns::{Namespaces, NsIndex};
use crate::{claim, sys};

pub(super) const TMPFS: &str = "tmpfs";

/// The types of which a user namespace can own a superblock (FS_USERNS_MOUNT in Linux 6.18), and
/// the numbers by which statfs(2) knows them.
const USERNS_TYPES: [(&str, u64); 13] = [
    (TMPFS, 0x0102_1994),
    ("ramfs", 0x8584_58f6),
    (OVERLAY, 0x794c_7630),
    (FUSE, 0x6573_5546),
    ("proc", 0x9fa0),
    ("sysfs", 0x6265_6572),
    ("devpts", 0x1cd1),
    ("mqueue", 0x1980_0202),
    ("cgroup", 0x0027_e0eb),
    ("cgroup2", 0x6367_7270),
    ("bpf", 0xcafe_4a11),
    ("binder", 0x6c6f_6f70),
    ("aufs", 0x6175_6673),
];
const OVERLAY: &str = "overlay";
const FUSE: &str = "fuse";

/// Every namespace that may own a superblock, and how that is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owner {
    /// At least one; the likeliest first.
    possible: Vec<NsIndex>,
    witness: Option<Witness>,
}

/// How the owner of a superblock is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Witness {
    /// Only the initial namespace can own one of this type.
    Type,
    /// The initial namespace's mount table has the same device.
    Table,
    /// The kernel takes, or refuses, an option of tmpfs that is for the initial namespace.
    Option,
    /// The list of claims names it as a mount of a server of root's.
    Claim,
    /// The kernel shows ids that no other of the possible ones maps.
    Ids,
}

impl Witness {
    /// A few words for people, to follow "owned by X: ".
    ///
    /// ```
    /// assert_eq!(nscap_linux::Witness::Type.text(), "only that one can own this type");
    /// ```
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Witness::Type => "only that one can own this type",
            Witness::Table => "the same device is in its own mount table",
            Witness::Option => "the kernel says so by an option of tmpfs",
            Witness::Claim => "its root serves it",
            Witness::Ids => "the ids on it are mapped in no other",
        }
    }
}

impl Owner {
    fn known(ns: NsIndex, witness: Witness) -> Owner {
        Owner { possible: vec![ns], witness: Some(witness) }
    }

    /// The owner, where it is known.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// let file = CapFile::open("/bin/true".as_ref(), Links::Follow)?;
    /// let owner = file.read(&mut namespaces)?.mount.owner;
    /// assert!(owner.ns().is_none_or(|ns| owner.possible() == [ns]));
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    #[must_use]
    pub fn ns(&self) -> Option<NsIndex> {
        match self.possible.as_slice() {
            [one] if self.witness.is_some() => Some(*one),
            _ => None,
        }
    }

    /// Every namespace that may be the owner, at least one; the likeliest first.
    #[must_use]
    pub fn possible(&self) -> &[NsIndex] {
        &self.possible
    }

    /// How it is known; `None` where it is not.
    #[must_use]
    pub fn witness(&self) -> Option<Witness> {
        self.witness
    }

    /// The namespace that questions assume where the owner is not known: an answer counts only
    /// where it is the same for [each](Owner::possible).
    pub(crate) fn assumed(&self) -> NsIndex {
        // There is always one.
        self.possible[0]
    }

    /// This one alone, for a question that is asked about each.
    pub(crate) fn assuming(ns: NsIndex) -> Owner {
        Owner { possible: vec![ns], witness: None }
    }

    /// Of a mount that was found. `member_of`: the user namespace of the task that is asked about.
    pub(super) fn find(
        file: BorrowedFd<'_>,
        found: &FoundMount,
        member_of: Option<NsIndex>,
        namespaces: &mut Namespaces,
    ) -> Result<Owner> {
        let initial = namespaces.initial().index();
        let fs_type = found.facts.as_ref().map(|facts| facts.fs_type.as_str());
        if !namespace_may_own(file, fs_type)? {
            return Ok(Owner::known(initial, Witness::Type));
        }
        let own = namespaces.own_ns().index();
        if own != initial {
            return Owner::seen_from_inside(file, found, namespaces);
        }
        let device = found.facts.as_ref().map(|facts| facts.device);
        let fs_type = fs_type.unwrap_or_default();
        let option = option_of(file, found.seat, fs_type);
        let of_server = |device| fs_type == NSCAP_TYPE && claim::is_served(device);
        let witness = match option {
            Some(true) => Some(Witness::Option),
            Some(false) => None,
            None if found.seat == Seat::Ours => Some(Witness::Table),
            None if device.is_some_and(in_own_table) => Some(Witness::Table),
            None => device.is_some_and(of_server).then_some(Witness::Claim),
        };
        if let Some(witness) = witness {
            return Ok(Owner::known(initial, witness));
        }
        let mut possible = Owner::near(found.seat, member_of, namespaces);
        possible.retain(|ns| *ns != initial);
        match option {
            // Root of the host mounts here what any container has made.
            Some(_) if Owner::of_mounts(found.seat, namespaces) == Some(initial) => {
                possible.push(namespaces.unseen_owner());
                possible.dedup();
            }
            Some(_) if !possible.is_empty() => {}
            _ => possible.insert(0, initial),
        }
        Ok(Owner { possible, witness: None })
    }

    /// Inside a user namespace: our own namespace or one above it may have made anything that our
    /// mount namespace has.
    fn seen_from_inside(
        file: BorrowedFd<'_>,
        found: &FoundMount,
        namespaces: &mut Namespaces,
    ) -> Result<Owner> {
        let own = namespaces.own_ns().index();
        let fs_type = found.facts.as_ref().map(|facts| facts.fs_type.as_str());
        if fs_type == Some(TMPFS) && refuses_its_own_map(file, open_own()?.as_fd()) {
            return Ok(Owner::known(own, Witness::Option));
        }
        let mut possible: Vec<_> =
            path_to_initial(namespaces.own_ns()).map(|ns| ns.index()).collect();
        possible.reverse();
        if found.seat != Seat::Ours {
            let near = Owner::near(found.seat, None, namespaces);
            possible.extend(near.into_iter().filter(|ns| *ns != own));
            possible.dedup();
        }
        Ok(Owner { possible, witness: None })
    }

    /// The namespaces whose root may have made the mount: the owner of its mount namespace and
    /// those above it, and those of the task; and one that we have not seen.
    fn near(seat: Seat, member_of: Option<NsIndex>, namespaces: &mut Namespaces) -> Vec<NsIndex> {
        let initial = namespaces.initial().index();
        // Any namespace may have made what is mounted in the host's own.
        let owner =
            Owner::of_mounts(seat, namespaces).filter(|ns| seat != Seat::Ours || *ns != initial);
        let mut possible = Vec::new();
        for ns in [owner, member_of].into_iter().flatten() {
            for ns in path_to_initial(namespaces.get(ns)).map(|ns| ns.index()) {
                if !possible.contains(&ns) {
                    possible.push(ns);
                }
            }
        }
        if owner.is_none() {
            possible.push(namespaces.unseen_owner());
        }
        possible
    }

    /// The owner of the mount namespace.
    fn of_mounts(seat: Seat, namespaces: &mut Namespaces) -> Option<NsIndex> {
        let link = match seat {
            Seat::Of(pid) => PathBuf::from(format!("/proc/{pid}/ns/mnt")),
            Seat::Ours => PathBuf::from("/proc/thread-self/ns/mnt"),
            Seat::Unseen => return None,
        };
        let owner = sys::ns_userns(File::open(&link).ok()?).ok()?;
        namespaces.add_fd(owner, &link).ok()
    }

    /// The owner without the namespaces that the ids of a file, and of its value, rule out: the
    /// owner maps each id that the kernel shows. `ids` are `None` where they prove nothing.
    pub(crate) fn narrowed(
        self,
        ids: (Option<Kuid>, Option<Kgid>),
        root: Option<Kuid>,
        namespaces: &Namespaces,
    ) -> Owner {
        let maps = |ns: &NsIndex| {
            let ns = namespaces.get(*ns);
            let uid = |kuid: Option<Kuid>| kuid.is_none_or(|kuid| ns.uid(kuid).is_some());
            uid(ids.0) && uid(root) && ids.1.is_none_or(|kgid| ns.gid(kgid).is_some())
        };
        let left: Vec<NsIndex> = self.possible.iter().copied().filter(maps).collect();
        match left.len() {
            // Facts that contradict each other prove nothing.
            0 => self,
            all if all == self.possible.len() => self,
            1 => Owner { possible: left, witness: Some(Witness::Ids) },
            _ => Owner { possible: left, witness: None },
        }
    }
}

/// Whether a user namespace can own a superblock of this type; `fuse.x` is of type fuse. Without a
/// name by the number that statfs(2) gives.
fn namespace_may_own(file: BorrowedFd<'_>, fs_type: Option<&str>) -> Result<bool> {
    if let Some(fs_type) = fs_type {
        let base = fs_type.split_once('.').map_or(fs_type, |(base, _)| base);
        return Ok(USERNS_TYPES.iter().any(|(name, _)| *name == base));
    }
    let number = rustix::fs::fstatfs(file).map(|stat| stat.f_type as u64);
    let number = number.map_err(|e| Error::call(Path::new("a file"), "fstatfs", e))?;
    Ok(USERNS_TYPES.iter().any(|(_, known)| *known == number))
}

/// Whether the ids of a file on a file system of this type are ids that its owner maps: those of
/// overlayfs are the layers', those of proc and cgroup the tasks'.
pub(crate) fn maps_its_ids(fs_type: &str) -> bool {
    fs_type == TMPFS || fs_type.split('.').next() == Some(FUSE)
}
