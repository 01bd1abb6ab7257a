// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes what a file holds, in steps. After each step the file grants what it granted before, or
//! what it is to grant, and nothing else. Covers SPEC's Storage on the writing side.
//!
//! One step commits. A writer that is killed before it has changed no grant; one that is killed
//! after it leaves at most a void table, which the next writer removes. A write by another process
//! in between makes a step fail (XATTR_CREATE, XATTR_REPLACE), or leaves a companion that no table
//! is sealed with.

use std::os::fd::AsFd;
use std::path::Path;

use nscap_core::storage::{self, Before, Form, Op, Seal, takes_away};
use nscap_core::{HostValue, Stored, Uid, VfsCaps};
use rustix::io::Errno;

use crate::enforced;
use crate::error::{Error, Result};
use crate::file::{Answers, CapFile, FileState, Hidden};
use crate::lock::Lock;
use crate::names::{CAPABILITY, TABLE};
use crate::ns::Namespaces;
use crate::xattr::{self, Present};

/// One change of one attribute; values are as they are stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwnedStep {
    /// Write `security.nscapability`.
    SetTable(Vec<u8>),
    /// Remove `security.nscapability`, if it is there.
    RemoveTable,
    /// Write `security.capability` where there is none.
    CreateCapability(Vec<u8>),
    /// Write `security.capability` where there is one.
    ReplaceCapability(Vec<u8>),
    /// Remove `security.capability`, if it is there.
    RemoveCapability,
}

/// [`storage::plan`] or [`storage::plan_without_room`].
type Planner = for<'o> fn(
    &Before<'_>,
    &Stored<'_>,
    u64,
    &'o mut [u8],
) -> Option<[Option<storage::Step<'o>>; storage::MAX_STEPS]>;

const TABLE_UNKNOWN: &str = "whose the file system is, or the file, is not known, so that a table of \
    entries can be neither trusted nor written; nothing was changed";

impl FileState {
    /// Whether a change through this file changes what the file shows.
    fn check_writable(&self, file: &CapFile) -> Result<()> {
        const BELOW: &str = "a server of nscap's below this overlayfs answers for it, and a change would be \
            made to a copy, which that server does not show; change it on the mount of nscap's; nothing was \
            changed";
        match self.answers {
            Answers::ServerBelow => Err(file.cannot_tell(BELOW)),
            Answers::Kernel | Answers::ReferenceKernel | Answers::Server => Ok(()),
        }
    }
}

/// Whether a step failed for want of room: in the inode, the file system or a quota.
fn has_no_room(done: &Result<()>) -> bool {
    matches!(done, Err(Error::Call { errno: libc::ENOSPC | libc::EDQUOT, .. }))
}

impl CapFile {
    /// Makes the file hold `next`, if it still holds what `before` says; then checks that it does.
    ///
    /// ```no_run
    /// use nscap_core::{FileCaps, Stored, Uid};
    /// use nscap_linux::{CapFile, Links, Namespaces};
    /// let mut namespaces = Namespaces::own()?;
    /// let file = CapFile::open("ping".as_ref(), Links::Refuse)?;
    /// let before = file.read(&mut namespaces)?;
    /// let caps = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
    /// file.write(&before, &Stored::one(Uid::new(100_000).unwrap(), caps), &namespaces)?;
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Changed`] if another process changed the file's capabilities meanwhile;
    /// [`Error::Locked`] where another writer does not finish; [`Error::Call`] where an attribute
    /// cannot be written: EPERM where a table is needed and we have no CAP_SYS_ADMIN over the
    /// superblock's owner namespace, ENOSPC or EDQUOT where the file system cannot hold it,
    /// EOVERFLOW where the file holds what we cannot name. Nothing has changed then. A change that
    /// only takes away is made even where there is no room for what is to be left: then entries are
    /// lost with it.
    pub fn write(
        &self,
        before: &FileState,
        next: &Stored<'_>,
        namespaces: &Namespaces,
    ) -> Result<()> {
        self.write_observed(before, next, namespaces, &mut |_| ())
    }

    /// As [`write`](CapFile::write), and reports each step when it is taken.
    ///
    /// # Errors
    /// As [`write`](CapFile::write).
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// let file = tempfile::NamedTempFile::new().unwrap();
    /// let file = CapFile::open(file.path(), Links::Refuse)?;
    /// let before = file.read(&mut namespaces)?;
    /// let mut steps = 0;
    /// let next = nscap_core::Stored::EMPTY;
    /// file.write_observed(&before, &next, &namespaces, &mut |_| steps += 1)?;
    /// // Without CAP_SETFCAP no step is taken, and the call still succeeds.
    /// use rustix::thread::{CapabilitySet, capabilities};
    /// let may = capabilities(None).unwrap().effective.contains(CapabilitySet::SETFCAP);
    /// assert_eq!(steps, usize::from(may));
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn write_observed(
        &self,
        before: &FileState,
        next: &Stored<'_>,
        namespaces: &Namespaces,
        taken: &mut dyn FnMut(&OwnedStep),
    ) -> Result<()> {
        let _lock = Lock::of(self)?;
        let read = || self.read_through(before.mount.clone(), namespaces);
        let now = read()?;
        if !now.holds_the_same(before) {
            return Err(Error::Changed { path: self.path().to_owned() });
        }
        before.check_writable(self)?;
        let mut failed = if before.by_design() {
            enforced::write(self, before, next, namespaces)
        } else {
            let steps = self.plan(before, next, namespaces)?;
            self.take_all(&steps, before, namespaces, taken)
        };
        let less = has_no_room(&failed) && takes_away(&before.stored(namespaces).0, next);
        if less {
            failed = self.take_away(before, next, namespaces, taken);
        }
        let after = read()?;
        let holds = after.stored(namespaces).0;
        match failed {
            _ if holds == *next => Ok(()),
            Ok(()) if less && takes_away(next, &holds) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Err(Error::Changed { path: self.path().to_owned() }),
        }
    }

    /// Takes away although there is no room for what is to be left: entries may be lost.
    fn take_away(
        &self,
        before: &FileState,
        next: &Stored<'_>,
        namespaces: &Namespaces,
        taken: &mut dyn FnMut(&OwnedStep),
    ) -> Result<()> {
        let steps = self.planned(before, next, namespaces, storage::plan_without_room)?;
        let mut done = Ok(());
        for step in &steps {
            done = self.take(step, before, namespaces);
            if done.is_err() {
                break;
            }
            taken(step);
        }
        if !has_no_room(&done) {
            return done;
        }
        // Not even that fits. A host value that is to stay is there; no table and nothing else is
        // left.
        let host_stays = next.host != HostValue::Absent;
        let rest = [OwnedStep::RemoveCapability, OwnedStep::RemoveTable];
        for step in rest.iter().skip(usize::from(host_stays)) {
            self.take(step, before, namespaces)?;
            taken(step);
        }
        Ok(())
    }

    /// K: makes the file hold nothing, whatever it holds; returns `false` if it held nothing. Takes
    /// no lock, as writers of tables do: a table without `security.capability` has no effect. An
    /// O_PATH descriptor is enough.
    ///
    /// ```no_run
    /// use nscap_linux::CapFile;
    /// let file = std::fs::File::open("ping").unwrap();
    /// assert!(CapFile::drop_all(&file, "ping".as_ref())?);
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Call`] where an attribute cannot be removed: EROFS, EPERM for an immutable file.
    pub fn drop_all(file: impl AsFd, path: &Path) -> Result<bool> {
        let failed = |call| move |errno: Errno| Error::call(path, call, errno);
        let file = file.as_fd();
        if !xattr::exists(file, CAPABILITY).map_err(failed("getxattr"))? {
            return Ok(false);
        }
        xattr::remove(file, CAPABILITY).map_err(failed("removexattr"))?;
        match xattr::remove(file, TABLE) {
            // In a user namespace this process may not remove the table; it is void now.
            Ok(()) | Err(Errno::PERM) => Ok(true),
            Err(errno) => Err(failed("removexattr")(errno)),
        }
    }

    /// Takes the steps; where one fails before the commit, puts the table back.
    fn take_all(
        &self,
        steps: &[OwnedStep],
        before: &FileState,
        namespaces: &Namespaces,
        taken: &mut dyn FnMut(&OwnedStep),
    ) -> Result<()> {
        let mut committed = false;
        for step in steps {
            let done = self.take(step, before, namespaces);
            if done.is_err() && !committed {
                self.undo(before);
            }
            done?;
            taken(step);
            committed |= step.op().commits();
        }
        Ok(())
    }

    /// The steps that [`write`](CapFile::write) would take.
    ///
    /// # Errors
    /// [`Error::Call`] with EOVERFLOW or EINVAL where the value of `security.capability` cannot be
    /// seen and would have to be kept.
    pub fn plan(
        &self,
        before: &FileState,
        next: &Stored<'_>,
        namespaces: &Namespaces,
    ) -> Result<Vec<OwnedStep>> {
        self.planned(before, next, namespaces, storage::plan)
    }

    fn planned(
        &self,
        before: &FileState,
        next: &Stored<'_>,
        namespaces: &Namespaces,
        plan: Planner,
    ) -> Result<Vec<OwnedStep>> {
        let hidden = |errno| Err(Error::call(self.path(), "getxattr", errno));
        match (before.hidden, storage::form_of(next)) {
            (Some(Hidden::Foreign), _) => return hidden(Errno::OVERFLOW),
            (Some(Hidden::Table), _) => return Err(self.cannot_tell(TABLE_UNKNOWN)),
            (_, Form::MalformedAlone | Form::TableBesideMalformed) => return hidden(Errno::INVAL),
            (_, _) => {}
        }
        let random = self.random()?;
        let mut tables = vec![0; storage::PLAN_LEN];
        let facts = Before {
            capability: before.capability.as_deref(),
            hidden: before.hidden.is_some(),
            table: before.table.as_deref(),
            facts: before.facts(namespaces),
            trusted: before.is_trusted(),
        };
        let steps = plan(&facts, next, random, &mut tables)
            .ok_or_else(|| self.error("setxattr", Errno::NOSPC))?;
        let steps: Vec<OwnedStep> = steps.into_iter().flatten().map(OwnedStep::from).collect();
        if !before.knows_seals() && steps.iter().any(|step| matches!(step, OwnedStep::SetTable(_)))
        {
            return Err(self.cannot_tell(TABLE_UNKNOWN));
        }
        Ok(steps)
    }

    /// Takes one step.
    ///
    /// # Errors
    /// [`Error::Changed`] where a value that must be there is not, or the other way round;
    /// [`Error::Call`] for what setxattr(2) says otherwise.
    pub fn take(
        &self,
        step: &OwnedStep,
        before: &FileState,
        namespaces: &Namespaces,
    ) -> Result<()> {
        let value = |stored: &[u8]| self.as_written(stored, before, namespaces);
        let done = match step {
            OwnedStep::SetTable(table) => xattr::set(self, TABLE, table, Present::Any),
            OwnedStep::RemoveTable => match xattr::remove(self, TABLE) {
                // A void table that this process may not remove: no companion that it can write
                // makes the table valid.
                Err(Errno::PERM) if before.stored(namespaces).1 != Seal::Sealed => Ok(()),
                done => done,
            },
            OwnedStep::CreateCapability(stored) => {
                xattr::set(self, CAPABILITY, &value(stored)?, Present::Never)
            }
            OwnedStep::ReplaceCapability(stored) => {
                xattr::set(self, CAPABILITY, &value(stored)?, Present::Always)
            }
            OwnedStep::RemoveCapability => xattr::remove(self, CAPABILITY),
        };
        done.map_err(|errno| match errno {
            Errno::NODATA | Errno::EXIST => Error::Changed { path: self.path().to_owned() },
            // The errnos by which a file system says that a value does not fit into an inode or a
            // block.
            Errno::RANGE | Errno::TOOBIG => self.error("setxattr", Errno::NOSPC),
            errno => self.error(step.call(), errno),
        })
    }

    /// Puts the table back; at this point it has no effect, or the same as before.
    fn undo(&self, before: &FileState) {
        let _ = match &before.table {
            Some(table) => xattr::set(self, TABLE, table, Present::Any),
            None => xattr::remove(self, TABLE),
        };
    }

    /// A value of `security.capability` as this process must write it, so that the kernel stores
    /// these bytes: the rootid is in our own namespace's terms. A host value here is one of our own
    /// namespace. On a superblock that another namespace may own, a plain value would be that
    /// namespace's, so the value names our root (the kernel says EINVAL if the owner has no id for
    /// it). Through an id map it is an entry for the root that it means there (M).
    fn as_written(
        &self,
        stored: &[u8],
        before: &FileState,
        namespaces: &Namespaces,
    ) -> Result<Vec<u8>> {
        let unnameable = || self.error("setxattr", Errno::OVERFLOW);
        let value = VfsCaps::settable(stored).map_err(|_| self.error("setxattr", Errno::INVAL))?;
        let view = before.view(namespaces);
        let named = match (value.named(), view.idmap) {
            (None, None) if !before.mount.may_be_anothers => return Ok(stored.to_vec()),
            (None, None) => Some(Uid::ROOT),
            (_, _) => value.rootid().and_then(|rootid| view.uid_in(rootid, namespaces.own_ns())),
        };
        let named = named.ok_or_else(unnameable)?;
        Ok(VfsCaps::v3(named.get(), value.caps()).encode().as_bytes().to_vec())
    }

    fn cannot_tell(&self, problem: &'static str) -> Error {
        Error::Untold { path: self.path().to_owned(), problem }
    }

    fn random(&self) -> Result<u64> {
        let mut bytes = [0; 8];
        let flags = rustix::rand::GetRandomFlags::empty();
        match rustix::rand::getrandom(&mut bytes, flags) {
            Ok(8) => Ok(u64::from_ne_bytes(bytes)),
            Ok(_) => Err(self.error("getrandom", Errno::AGAIN)),
            Err(errno) => Err(self.error("getrandom", errno)),
        }
    }
}

impl From<storage::Step<'_>> for OwnedStep {
    fn from(step: storage::Step<'_>) -> OwnedStep {
        match step {
            storage::Step::SetTable(table) => OwnedStep::SetTable(table.to_vec()),
            storage::Step::RemoveTable => OwnedStep::RemoveTable,
            storage::Step::CreateCapability(value) => {
                OwnedStep::CreateCapability(value.as_bytes().to_vec())
            }
            storage::Step::ReplaceCapability(value) => {
                OwnedStep::ReplaceCapability(value.as_bytes().to_vec())
            }
            storage::Step::RemoveCapability => OwnedStep::RemoveCapability,
        }
    }
}

impl OwnedStep {
    fn op(&self) -> Op {
        match self {
            OwnedStep::SetTable(_) => Op::SetTable,
            OwnedStep::RemoveTable => Op::RemoveTable,
            OwnedStep::CreateCapability(_) => Op::CreateCapability,
            OwnedStep::ReplaceCapability(_) => Op::ReplaceCapability,
            OwnedStep::RemoveCapability => Op::RemoveCapability,
        }
    }

    fn call(&self) -> &'static str {
        match self.op() {
            Op::SetTable | Op::CreateCapability | Op::ReplaceCapability => "setxattr",
            Op::RemoveTable | Op::RemoveCapability => "removexattr",
        }
    }
}
