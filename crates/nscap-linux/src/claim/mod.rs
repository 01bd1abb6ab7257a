// SPDX-License-Identifier: MIT OR Apache-2.0
//! The process that a tree belongs to while it is served, or changed as a whole. Covers K for
//! trees: a server knows only the writers that come through it. So no other server and no tool may
//! work on the same files, whether it was given the same directory, one in it or one around it, by
//! whatever path, bind mount or mount namespace.
//!
//! A claim is two kinds of locks (flock(2)), which end with the process that holds them.
//!
//! - Locks: an exclusive one on the directory itself, and shared ones on the directories above it,
//!   up to the first that other users reach: these users could hold such a lock as well. Every
//!   process sees these, also root of a user namespace.
//! - As root of the initial namespace, an entry in a [registry](registry) that only root reaches.
//!   There trees are compared by file handles, which the kernel resolves whatever is mounted or
//!   renamed.

mod entry;
mod flocked;
mod line;
mod registry;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::mounts::MountPoint;
use entry::Tree;
use flocked::Flocked;
use registry::{Entry, Registry};

/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// What a tree is claimed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A server shows it.
    Mount,
    /// A tool changes all of it.
    Shift,
}

/// A claimed tree: no other process serves it, or changes it as a whole, until this is dropped or
/// the process ends.
#[derive(Debug)]
pub struct Claim {
    _root: Flocked,
    _above: Vec<Flocked>,
    /// Dropped last, so that a process that finds no entry finds no lock either.
    entry: Option<Entry>,
}

impl Claim {
    /// Claims the tree under a directory. Waits this long for another claim to end, unless the
    /// mount of that one can be seen. `path` is the directory's name in errors.
    ///
    /// # Errors
    /// [`Error::Claimed`] (EBUSY) where a tree that is the same, in it or around it is claimed;
    /// [`Error::Call`] where the directory cannot be read.
    ///
    /// ```
    /// use nscap_linux::{Claim, Purpose};
    /// use std::{fs::File, time::Duration};
    /// let tree = tempfile::tempdir().unwrap();
    /// std::fs::create_dir(tree.path().join("inner")).unwrap();
    /// let claim = |path: &std::path::Path| {
    ///     Claim::take(File::open(path).unwrap(), path, Purpose::Mount, Duration::ZERO)
    /// };
    /// let held = claim(tree.path())?;
    /// assert_eq!(claim(&tree.path().join("inner")).unwrap_err().errno(), 16);
    /// drop(held);
    /// assert!(claim(tree.path()).is_ok());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn take(
        directory: impl AsFd,
        path: &Path,
        purpose: Purpose,
        patience: Duration,
    ) -> Result<Claim> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(directory, c".", flags, Mode::empty())
            .map_err(|e| Error::call(path, "openat", e))?;
        let tree = Tree::of(root.as_fd(), path, purpose)?;
        let until = Instant::now() + patience;
        loop {
            match Claim::try_to_take(&root, &tree) {
                Err(Error::Claimed { by, .. }) if by.may_be_ending() && Instant::now() < until => {
                    std::thread::sleep(PAUSE);
                }
                taken => return taken,
            }
        }
    }

    fn try_to_take(root: &OwnedFd, tree: &Tree) -> Result<Claim> {
        // An open file description of its own: its lock goes when it is closed, and it keeps no
        // other user's mount busy.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own = entry::mounted(root.as_fd())
            .map_or_else(|| openat(root, c".", flags, Mode::empty()), Ok)
            .map_err(|e| Error::call(&tree.path, "openat", e))?;
        let entry = match Registry::open()? {
            Some(registry) => Some(registry.enter(root.as_fd(), tree)?),
            None => None,
        };
        let own = match Flocked::take(own, FlockOperation::NonBlockingLockExclusive) {
            Ok(own) => own,
            Err((own, Errno::AGAIN)) => {
                let problem = "is, or contains, a tree that another process has claimed";
                return Err(tree.claimed_by_lock(&own, problem));
            }
            Err((_, errno)) => return Err(Error::call(&tree.path, "flock", errno)),
        };
        let above = line::lock(root).map_err(|held| {
            tree.claimed_by_lock(&held, "lies in a tree that another process has claimed")
        })?;
        Ok(Claim { _root: own, _above: above, entry })
    }

    /// Records which mount shows the tree, by the device number that stat(2) shows there, for a
    /// process that finds the tree claimed.
    ///
    /// # Errors
    /// [`Error::Call`] where the registry cannot be written.
    pub fn is_shown_by(&mut self, device: (u32, u32)) -> Result<()> {
        self.entry.as_mut().map_or(Ok(()), |entry| entry.is_shown_by(device))
    }

    /// Waits until no server has a claim for the mount with this device number, which showed this
    /// directory. Returns `false` if one still has after this time.
    ///
    /// ```
    /// use nscap_linux::Claim;
    /// use std::time::Duration;
    /// assert!(Claim::ends((0, 0), "/nonexistent".as_ref(), Duration::ZERO));
    /// ```
    #[must_use]
    pub fn ends(device: (u32, u32), source: &Path, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        loop {
            if !is_claimed(device, source) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Whether there is a claim for a mount; without a registry, whether there is one on its source.
fn is_claimed(device: (u32, u32), source: &Path) -> bool {
    if let Ok(Some(registry)) = Registry::open() {
        return registry.live().is_ok_and(|all| all.iter().any(|it| it.shown_by == Some(device)));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(source, flags, Mode::empty()).is_ok_and(|directory| {
        flock(&directory, FlockOperation::NonBlockingLockShared) == Err(Errno::AGAIN)
    })
}

/// Whether a server of root of the initial namespace has a claim for the mount with this device
/// number; no other user can record one. `false` if this process is not that root.
pub(crate) fn is_served(device: (u32, u32)) -> bool {
    let registry = Registry::open().ok().flatten();
    registry.and_then(|registry| registry.live().ok()).is_some_and(|all| {
        all.iter().any(|it| it.purpose == Purpose::Mount && it.shown_by == Some(device))
    })
}

/// Another's claim, as an error tells of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claimant {
    /// The tree, as that process was given it.
    pub path: Option<PathBuf>,
    /// The process, as it sees its own id.
    pub pid: Option<u32>,
    /// The device number of the mount that shows the tree.
    pub shown_by: Option<(u32, u32)>,
}

impl Claimant {
    /// Whether this may be a server that ends: we see no mount of it.
    fn may_be_ending(&self) -> bool {
        let seen = |device| {
            MountPoint::all().is_ok_and(|all| all.iter().any(|mount| mount.device == device))
        };
        !self.shown_by.is_some_and(seen)
    }
}

impl std::fmt::Display for Claimant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use crate::Quotable as _;
        match (&self.path, self.pid) {
            (Some(path), Some(pid)) => write!(f, " ({}, process {pid})", path.maybe_quote()),
            (Some(path), None) => write!(f, " ({})", path.maybe_quote()),
            (None, Some(pid)) => write!(f, " (process {pid})"),
            (None, None) => Ok(()),
        }
    }
}
