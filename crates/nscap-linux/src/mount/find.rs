// SPDX-License-Identifier: MIT OR Apache-2.0
//! In which mount namespace the mount of a descriptor is, and what that one tells of it: by
//! statmount(2) where the kernel has it and lets us, else by mountinfo. A mount is in one namespace
//! at most; nearly every container's files are in another than ours.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use nscap_core::Extent;
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::mounts::{MountPoint, in_other_namespaces, mount_id, namespace_of};
use crate::statmount::{self, Statmount};
use crate::sys;

/// How long to search for the mount namespace of one mount.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one mount namespace tells of a mount in it.
pub(super) struct Facts {
    /// With its subtype.
    pub(super) fs_type: String,
    pub(super) device: (u32, u32),
    /// As that namespace sees it.
    pub(super) point: PathBuf,
    pub(super) idmapped: bool,
    /// The maps of an id-mapped mount, the outside in our own namespace's terms. `None` before
    /// Linux 6.15, and where the kernel does not let us ask.
    pub(super) maps: Option<(Vec<Extent>, Vec<Extent>)>,
}

/// Where a mount is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seat {
    /// In our own mount namespace.
    Ours,
    /// In the one that this process is in.
    Of(u32),
    /// In none that we have found: the namespace is out of our sight, or no process is in it, or
    /// the mount is in none at all (memfd_create(2), fsmount(2)).
    Unseen,
}

/// A mount that was looked for.
pub(super) struct FoundMount {
    pub(super) seat: Seat,
    /// `None` where it is [`Unseen`](Seat::Unseen).
    pub(super) facts: Option<Facts>,
    /// Whether it is in the mount namespace of the task that was asked about, or in ours.
    pub(super) of_task: bool,
}

/// Finds the mount that a descriptor was opened through; for a task, first in its mount namespace.
///
/// # Errors
/// [`Error::Call`] where /proc is not mounted, or the task may not be looked at.
pub(super) fn find(file: BorrowedFd<'_>, task: Option<u32>) -> Result<FoundMount> {
    let ids = Ids::of(file)?;
    let own = namespace_of("thread-self");
    let of_task = match task {
        None => own,
        Some(pid) => {
            let link = PathBuf::from(format!("/proc/{pid}/ns/mnt"));
            std::fs::metadata(&link).map_err(|e| Error::call(&link, "stat", e))?;
            namespace_of(&pid.to_string())
        }
    };
    if let Some(facts) = ids.in_ours() {
        return Ok(FoundMount { seat: Seat::Ours, facts: Some(facts), of_task: own == of_task });
    }
    if let Some(pid) = task.filter(|_| own != of_task)
        && let Some(facts) = ids.in_namespace_of(pid)
    {
        return Ok(FoundMount { seat: Seat::Of(pid), facts: Some(facts), of_task: true });
    }
    let mut found = FoundMount { seat: Seat::Unseen, facts: None, of_task: false };
    in_other_namespaces(PATIENCE, |pid| {
        let facts = ids.in_namespace_of(pid);
        if facts.is_some() {
            found = FoundMount { seat: Seat::Of(pid), facts, of_task: false };
        }
        found.facts.is_some()
    })?;
    Ok(found)
}

/// The type of the mount with this id, which statx(2) gave, wherever it is; no server is asked.
pub(crate) fn type_of(id: u64) -> Option<String> {
    // Before Linux 6.8 it is the id that mountinfo has.
    let ids = Ids { unique: Ok(id), listed: id };
    let mut facts = ids.in_ours();
    if facts.is_none() {
        in_other_namespaces(PATIENCE, |pid| {
            facts = ids.in_namespace_of(pid);
            facts.is_some()
        })
        .ok()?;
    }
    facts.map(|facts| facts.fs_type)
}

/// The ids of one mount.
struct Ids {
    /// The one that no later mount has; Linux 6.8.
    unique: std::result::Result<u64, Errno>,
    /// The one of mountinfo, no other mount's as long as this one is.
    listed: u64,
}

impl Ids {
    fn of(file: BorrowedFd<'_>) -> Result<Ids> {
        Ok(Ids { unique: statmount::unique_id(file), listed: mount_id(file)? })
    }

    fn in_ours(&self) -> Option<Facts> {
        match self.unique.and_then(Statmount::of_id) {
            Ok(said) => Facts::of(&said).or_else(|| self.listed_by(MountPoint::all())),
            Err(Errno::NOENT) => None,
            // An old kernel, a seccomp filter, a root directory of ours that does not reach it.
            Err(_) => self.listed_by(MountPoint::all()),
        }
    }

    fn in_namespace_of(&self, pid: u32) -> Option<Facts> {
        let asked = || {
            let namespace: OwnedFd = File::open(format!("/proc/{pid}/ns/mnt")).ok()?.into();
            let namespace = sys::mount_ns_id(namespace.as_fd()).ok()?;
            Facts::of(&Statmount::of_id_in(self.unique.ok()?, namespace).ok()?)
        };
        // One errno means both that it is not there and that we may not ask.
        asked().or_else(|| self.listed_by(MountPoint::of_process(pid)))
    }

    fn listed_by(&self, mounts: Result<Vec<MountPoint>>) -> Option<Facts> {
        let mount = mounts.ok()?.into_iter().find(|mount| mount.id == self.listed)?;
        Some(Facts {
            fs_type: mount.fs_type,
            device: mount.device,
            point: mount.point,
            idmapped: mount.idmapped,
            maps: None,
        })
    }
}

impl Facts {
    fn of(said: &Statmount) -> Option<Facts> {
        let idmapped = said.is_idmapped();
        Some(Facts {
            fs_type: said.fs_type()?,
            device: said.device()?,
            point: said.point()?,
            idmapped,
            maps: if idmapped { said.maps() } else { None },
        })
    }
}
