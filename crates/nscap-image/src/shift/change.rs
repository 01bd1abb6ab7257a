// SPDX-License-Identifier: MIT OR Apache-2.0
//! The change of one inode that takes several steps: it has capabilities, set-id bits or an access
//! control list. After each step the inode grants at most its old grant or its new one:
//!
//! 1. Remove set-id bits; with an access control list, also all permissions but the owner's. Half
//!    of the old list and half of the new one would give some user more than either.
//! 2. Remove the capabilities, and not before the set-id bits: a set-user-ID root file without its
//!    capabilities would give its caller every capability (capabilities(7)).
//! 3. Change owner and group in one call.
//! 4. Write the access control lists, which restores the permissions.
//! 5. Write the new capabilities.
//! 6. Restore the set-id bits.
//!
//! K: a lease keeps writers away from before the first step until after the last one, and the
//! content has the digest that it had when its grants were read. Otherwise the file moves without
//! its grants.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nscap_linux::{FileState, Namespaces, opath};
use rustix::fs::{AtFlags, FileType, Gid, Uid, XattrFlags, chownat};
use rustix::io::Errno;

use super::acl::{ACCESS, Acl, DEFAULT};
use super::error::{Error, Result};
use super::inode::{Attributes, Granting, SET_ID};
use super::record::{Change, Meta, Pair};
use super::tree::{InodeStat, Tree};
use super::watch::{CrashPoint, Deviation, Watch};

mod grants;

use grants::{GrantState, is_empty};

const PERMISSIONS: u32 = 0o7777;

/// The result for one inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum InodeOutcome {
    Changed,
    Already,
    Deviation(Deviation),
}

/// One inode and its planned change.
pub(super) struct InodeChange<'a> {
    pub(super) fd: BorrowedFd<'a>,
    pub(super) path: &'a Path,
    pub(super) change: &'a Change,
    /// Whether it is to go back to its old state.
    pub(super) back: bool,
    /// Whether the shift had finished with it.
    pub(super) settled: bool,
    pub(super) tree: &'a Tree,
    pub(super) namespaces: &'a mut Namespaces,
    pub(super) watch: &'a mut dyn Watch,
}

/// chown(2), owner and group at once; of a symbolic link, the link's.
pub(super) fn chown(fd: impl AsFd, to: &Meta, path: &Path) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(to.uid), Gid::from_raw(to.gid));
    chownat(fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
        .map_err(|errno| Error::call(path, "chown", errno))
}

impl InodeStat {
    pub(super) fn meta(&self) -> Meta {
        Meta { uid: self.uid, gid: self.gid, mode: self.mode }
    }
}

impl InodeChange<'_> {
    /// Takes all steps that are left.
    pub(super) fn all(mut self, seen: &InodeStat) -> Result<InodeOutcome> {
        if self.change.content.is_none() {
            return self.without_grants(seen);
        }
        match Granting::take(self.fd, self.path)? {
            Ok(granting) => self.with_grants(&granting),
            Err(errno) if errno == Errno::AGAIN.raw_os_error() => {
                Ok(InodeOutcome::Deviation(Deviation::Busy))
            }
            Err(errno) => {
                let errno = Errno::from_raw_os_error(errno);
                Err(Error::call(self.path, "fcntl(F_SETLEASE)", errno))
            }
        }
    }

    fn without_grants(&mut self, seen: &InodeStat) -> Result<InodeOutcome> {
        let attributes = Attributes::of(self.fd, seen, self.tree, self.path)?;
        if !self.known(seen, &attributes) || attributes.grants {
            return Ok(InodeOutcome::Deviation(Deviation::Changed));
        }
        if !self.differs(seen, &attributes) {
            return Ok(InodeOutcome::Already);
        }
        self.lock_mode(seen, &attributes)?;
        self.own(seen)?;
        self.acls(&attributes)?;
        self.mode(self.to().mode)?;
        let stays = self.stays(self.to().mode)?;
        Ok(if stays { InodeOutcome::Changed } else { InodeOutcome::Deviation(Deviation::Changed) })
    }

    fn with_grants(&mut self, granting: &Granting) -> Result<InodeOutcome> {
        let seen = InodeStat::of(self.fd, self.path)?;
        let attributes = Attributes::of(self.fd, &seen, self.tree, self.path)?;
        let state = granting.state(self.tree, self.namespaces)?;
        let held = self.held(&state);
        if !self.known(&seen, &attributes) || held == GrantState::Other {
            return Ok(InodeOutcome::Deviation(Deviation::Changed));
        }
        let same = self.change.content == Some(granting.content()?);
        let keep = same && !self.was_taken(&seen, held);
        let mode = if keep { self.to().mode } else { self.to().mode & !SET_ID };
        let there = if keep { held == self.goal() } else { is_empty(&state) };
        let moves = self.differs_but_for_mode(&seen, &attributes);
        if !moves && there && seen.mode == mode {
            return Ok(if keep {
                InodeOutcome::Already
            } else {
                InodeOutcome::Deviation(Deviation::GrantLost)
            });
        }
        // From one state to the next in one step of Storage, where nothing but the rootids differs.
        let swaps = keep && !moves && !self.back && held == GrantState::Before;
        if !swaps && !there || moves {
            self.lock_mode(&seen, &attributes)?;
            self.take_grants(&state)?;
        }
        self.own(&seen)?;
        self.acls(&attributes)?;
        if !granting.lease.held() {
            return Ok(InodeOutcome::Deviation(Deviation::Busy));
        }
        if keep && !self.grant(granting)? {
            return Ok(InodeOutcome::Deviation(Deviation::Busy));
        }
        self.mode(mode)?;
        if !granting.lease.held() {
            return self.take_back(granting);
        }
        if !self.stays(mode)? || !self.grants_stay(granting, keep)? {
            return Ok(InodeOutcome::Deviation(Deviation::Changed));
        }
        Ok(if keep { InodeOutcome::Changed } else { InodeOutcome::Deviation(Deviation::GrantLost) })
    }

    /// A task wants to write, and the kernel may have let it in before the last step: removes the
    /// grants again.
    fn take_back(&mut self, granting: &Granting) -> Result<InodeOutcome> {
        let seen = InodeStat::of(self.fd, self.path)?;
        self.mode(seen.mode & !SET_ID)?;
        let state = granting.state(self.tree, self.namespaces)?;
        self.take_grants(&state)?;
        Ok(InodeOutcome::Deviation(Deviation::Busy))
    }

    fn from(&self) -> &Meta {
        if self.back { &self.change.after } else { &self.change.before }
    }

    fn to(&self) -> &Meta {
        if self.back { &self.change.before } else { &self.change.after }
    }

    fn target<'p>(&self, pair: &'p Pair) -> &'p [u8] {
        if self.back { &pair.before } else { &pair.after }
    }

    fn goal(&self) -> GrantState {
        if self.back { GrantState::Before } else { GrantState::After }
    }

    /// Whether another task removed the grants after the shift had finished.
    fn was_taken(&self, seen: &InodeStat, held: GrantState) -> bool {
        self.settled && (held == GrantState::Nothing || seen.mode != self.from().mode)
    }

    /// Whether owner, mode and lists are the old ones, the planned ones, or those between two
    /// steps.
    fn known(&self, seen: &InodeStat, attributes: &Attributes) -> bool {
        let owners = [self.from(), self.to()].map(|meta| (meta.uid, meta.gid));
        let modes = [self.from().mode, self.to().mode].into_iter().any(|mode| {
            let locked = self.change.access.is_some() && seen.mode == self.locked(mode);
            seen.mode == mode || seen.mode == self.stripped(mode) || locked
        });
        let listed = |pair: &Option<Pair>, now: &Option<Vec<u8>>| {
            pair.as_ref().is_none_or(|pair| now.as_ref().is_some_and(|now| pair.holds(now)))
        };
        owners.contains(&(seen.uid, seen.gid))
            && modes
            && listed(&self.change.access, &attributes.access)
            && listed(&self.change.default, &attributes.default)
    }

    fn differs(&self, seen: &InodeStat, attributes: &Attributes) -> bool {
        self.differs_but_for_mode(seen, attributes) || seen.mode != self.to().mode
    }

    fn differs_but_for_mode(&self, seen: &InodeStat, attributes: &Attributes) -> bool {
        let listed = |pair: &Option<Pair>, now: &Option<Vec<u8>>| {
            pair.as_ref().is_some_and(|pair| now.as_deref() != Some(self.target(pair)))
        };
        (seen.uid, seen.gid) != (self.to().uid, self.to().gid)
            || listed(&self.change.access, &attributes.access)
            || listed(&self.change.default, &attributes.default)
    }

    fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.change.before.mode) == FileType::Directory
    }

    /// The set-id bits of a directory grant nothing.
    fn stripped(&self, mode: u32) -> u32 {
        if self.is_directory() { mode } else { mode & !SET_ID }
    }

    fn locked(&self, mode: u32) -> u32 {
        self.stripped(mode) & !0o077
    }

    fn lock_mode(&mut self, seen: &InodeStat, attributes: &Attributes) -> Result<()> {
        let access = self.change.access.as_ref();
        let lists =
            access.is_some_and(|pair| attributes.access.as_deref() != Some(self.target(pair)));
        let mode = if lists { self.locked(seen.mode) } else { self.stripped(seen.mode) };
        if mode != seen.mode {
            self.chmod(mode)?;
            self.watch.step(CrashPoint::ModeLocked);
        }
        Ok(())
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        opath::chmod(self.fd, mode & PERMISSIONS).map_err(|e| Error::call(self.path, "chmod", e))
    }

    fn set(&self, name: &CStr, value: &[u8]) -> Result<()> {
        opath::setxattr(self.fd, name, value, XattrFlags::empty())
            .map_err(|e| Error::call(self.path, "setxattr", e))
    }

    fn remove(&self, name: &CStr) -> Result<()> {
        opath::remove(self.fd, name).map_err(|e| Error::call(self.path, "removexattr", e))
    }

    fn take_grants(&mut self, state: &FileState) -> Result<()> {
        if state.capability.is_some() {
            self.remove(c"security.capability")?;
            self.watch.step(CrashPoint::CapabilityRemoved);
        }
        if state.table.is_some() {
            self.remove(c"security.nscapability")?;
            self.watch.step(CrashPoint::TableRemoved);
        }
        Ok(())
    }

    fn own(&mut self, seen: &InodeStat) -> Result<()> {
        let to = *self.to();
        if (seen.uid, seen.gid) != (to.uid, to.gid) {
            chown(self.fd, &to, self.path)?;
            self.watch.step(CrashPoint::Owned);
        }
        Ok(())
    }

    fn acls(&mut self, attributes: &Attributes) -> Result<()> {
        let change = self.change;
        if let Some(value) = change.default.as_ref().map(|pair| self.target(pair))
            && attributes.default.as_deref() != Some(value)
        {
            self.set(DEFAULT, value)?;
            self.watch.step(CrashPoint::DefaultAcl);
        }
        if let Some(value) = change.access.as_ref().map(|pair| self.target(pair))
            && attributes.access.as_deref() != Some(value)
        {
            self.set(ACCESS, value)?;
            self.watch.step(CrashPoint::AccessAcl);
        }
        Ok(())
    }

    fn mode(&mut self, mode: u32) -> Result<()> {
        if InodeStat::of(self.fd, self.path)?.mode != mode {
            self.chmod(mode)?;
            self.watch.step(CrashPoint::Mode);
        }
        Ok(())
    }

    /// Whether the inode has the new owner and mode now. Another task may have changed it at the
    /// same time, and some file systems accept a change without making it.
    fn stays(&self, mode: u32) -> Result<bool> {
        Ok(InodeStat::of(self.fd, self.path)?.meta() == Meta { mode, ..*self.to() })
    }
}

impl Pair {
    /// Whether a list is the old one, the planned one, or one of them after the chmod(2) of the
    /// first step.
    fn holds(&self, now: &[u8]) -> bool {
        let locked = |value: &[u8]| Acl::decode(value).map(|acl| acl.locked().encode());
        [&self.before, &self.after]
            .into_iter()
            .any(|value| value == now || locked(value).as_deref() == Ok(now))
    }
}
