// SPDX-License-Identifier: MIT OR Apache-2.0
//! The second pass: changes each inode as the journal says, forward or back. It changes only inodes
//! of the plan, which it identifies by number and birth time.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use nscap_linux::Namespaces;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::change::{InodeChange, InodeOutcome, chown};
use super::error::{Error, Result};
use super::inode::{Attributes, SET_ID};
use super::journal::{Journal, Stage};
use super::record::{Change, Entry, Identity, Mark};
use super::tree::{Dirs, InodeStat, Named, Tree, needs_capabilities};
use super::watch::{CrashPoint, Deviation, Watch};

/// The direction of a shift.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// To the planned state.
    Forward,
    /// To the state before.
    Back,
}

/// The result of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Inodes that were changed.
    pub changed: u64,
    /// Inodes that were already in the state wanted.
    pub already: u64,
    /// Inodes that differ from their plan; [`Watch::deviation`] was called for each.
    pub deviations: u64,
    /// Whether no work is left. If not, files were [busy](Deviation::Busy), and the journal stays
    /// open.
    pub finished: bool,
}

impl Journal {
    /// Changes the tree by the journal, from the beginning or from the point where an earlier run
    /// stopped. When the whole tree has gone back, removes the journal.
    ///
    /// # Errors
    /// [`Error::Refused`] if the journal belongs to another tree that had the same name (ESTALE),
    /// if a shift that is being undone is to go forward (EINVAL), or if a change does not last
    /// (EIO); [`Error::System`] if a change fails, or with EBUSY if a server shows the tree, a part
    /// of it or a directory above it. Changes made before the error stay, and so does the journal.
    ///
    /// ```no_run
    /// use nscap_image::shift::{Direction, Journal, Tree};
    /// let mut namespaces = nscap_linux::Namespaces::own()?;
    /// let tree = Tree::open("/srv/rootfs".as_ref(), &mut namespaces)?;
    /// if let Some(journal) = Journal::open(&tree)? {
    ///     let outcome = journal.run(&tree, Direction::Back, &mut namespaces, &mut ())?;
    ///     assert!(outcome.finished || outcome.deviations > 0);
    /// }
    /// # Ok::<(), nscap_image::shift::Error>(())
    /// ```
    pub fn run(
        mut self,
        tree: &Tree,
        direction: Direction,
        namespaces: &mut Namespaces,
        watch: &mut dyn Watch,
    ) -> Result<Outcome> {
        self.check_tree(tree)?;
        tree.claim()?;
        let settled = self.stage() == Stage::Complete;
        match (direction, self.stage()) {
            (Direction::Forward, Stage::Complete) => {
                let already = self.changes();
                return Ok(Outcome { already, finished: true, ..Outcome::default() });
            }
            (Direction::Forward, Stage::Undoing) => {
                let why = "this shift is being undone; --undo goes on with that";
                return Err(Error::refused(self.path(), why, Errno::INVAL));
            }
            (Direction::Back, Stage::Begun | Stage::Complete) => self.mark(Mark::Undoing)?,
            (Direction::Forward, Stage::Begun) | (Direction::Back, Stage::Undoing) => {}
        }
        needs_capabilities(tree)?;
        watch.step(CrashPoint::Journal);
        let (mut outcome, left) = {
            let mut walk = Walk {
                tree,
                direction,
                settled,
                namespaces,
                watch,
                dirs: Dirs::new(tree),
                outcome: Outcome { finished: true, ..Outcome::default() },
                left: 0,
            };
            walk.follow(&self)?;
            (walk.outcome, walk.left)
        };
        rustix::fs::syncfs(&tree.top).map_err(|e| Error::call(&tree.path, "syncfs", e))?;
        match direction {
            _ if !outcome.finished => {}
            Direction::Forward => self.mark(Mark::Complete)?,
            Direction::Back if left == 0 => self.remove(tree)?,
            // The journal stays: to repair a deviation one needs the old state.
            Direction::Back => outcome.finished = false,
        }
        watch.step(CrashPoint::Marked);
        Ok(outcome)
    }
}

struct Walk<'a> {
    tree: &'a Tree,
    direction: Direction,
    /// Whether the shift was finished. Then a grant that is missing now was removed later by
    /// another task.
    settled: bool,
    namespaces: &'a mut Namespaces,
    watch: &'a mut dyn Watch,
    dirs: Dirs<'a>,
    outcome: Outcome,
    /// How many deviations can still be repaired.
    left: u64,
}

impl Walk<'_> {
    fn follow(&mut self, journal: &Journal) -> Result<()> {
        let mut entries = journal.entries()?;
        let total = Some(journal.changes());
        let (mut done, mut skipped) = (0, 0u64);
        loop {
            let entry = entries.next().map_err(|e| Error::io(journal.path(), "read", &e))?;
            match entry {
                // Below a directory that is gone, only the matching Leave matters.
                Some(Entry::Enter(..)) if skipped > 0 => skipped += 1,
                Some(Entry::Leave) if skipped > 0 => skipped -= 1,
                Some(Entry::Enter(name, identity)) => {
                    skipped = u64::from(!self.enter(&name, &identity)?);
                }
                Some(Entry::Leave) => self.dirs.leave()?,
                Some(Entry::Change(change)) => {
                    done += 1;
                    if skipped == 0 {
                        let settled = self.change(&change)?;
                        self.count(&change.name, settled);
                    }
                    self.watch.progress(done, total);
                }
                Some(Entry::End(_)) => return Ok(()),
                Some(Entry::Head(_) | Entry::Mark(_)) | None => {
                    let why = "was damaged while it was read";
                    return Err(Error::refused(journal.path(), why, Errno::IO));
                }
            }
        }
    }

    /// Enters a directory if it is the planned one.
    fn enter(&mut self, name: &OsStr, identity: &Identity) -> Result<bool> {
        match self.dirs.enter(name)? {
            Some(seen) if identity.is(&seen, self.tree) => Ok(true),
            Some(_) => {
                self.dirs.leave()?;
                self.count(name, InodeOutcome::Deviation(Deviation::Replaced));
                Ok(false)
            }
            None => {
                let odd = match self.dirs.look(name)? {
                    Named::Gone => Deviation::Gone,
                    Named::Mount | Named::Inode(_) => Deviation::Replaced,
                };
                self.count(name, InodeOutcome::Deviation(odd));
                Ok(false)
            }
        }
    }

    fn count(&mut self, name: &OsStr, settled: InodeOutcome) {
        match settled {
            InodeOutcome::Changed => self.outcome.changed += 1,
            InodeOutcome::Already => self.outcome.already += 1,
            InodeOutcome::Deviation(odd) => {
                self.outcome.deviations += 1;
                self.left += u64::from(odd != Deviation::Gone);
                self.outcome.finished &= odd != Deviation::Busy;
                self.watch.deviation(&self.dirs.path(name), &odd);
            }
        }
    }

    fn change(&mut self, change: &Change) -> Result<InodeOutcome> {
        if change.name.is_empty() {
            let here = self.dirs.held()?;
            return self.inode(&here, change);
        }
        match self.dirs.look(&change.name)? {
            Named::Gone => Ok(InodeOutcome::Deviation(Deviation::Gone)),
            Named::Mount => Ok(InodeOutcome::Deviation(Deviation::Replaced)),
            Named::Inode(fd) => self.inode(&fd, change),
        }
    }

    fn inode(&mut self, fd: &impl AsFd, change: &Change) -> Result<InodeOutcome> {
        let path = self.dirs.path(&change.name);
        let seen = InodeStat::of(fd, &path)?;
        let kind = |mode| FileType::from_raw_mode(mode);
        if !change.identity.is(&seen, self.tree) || kind(seen.mode) != kind(change.before.mode) {
            return Ok(InodeOutcome::Deviation(Deviation::Replaced));
        }
        let settle = InodeChange {
            fd: fd.as_fd(),
            path: &path,
            change,
            back: self.direction == Direction::Back,
            settled: self.settled,
            tree: self.tree,
            namespaces: self.namespaces,
            watch: self.watch,
        };
        // chown(2) drops set-id bits of everything but directories.
        let set_id = (change.before.mode | change.after.mode) & SET_ID != 0 && !seen.is_directory();
        let listed = change.access.is_some() || change.default.is_some();
        if change.content.is_some() || listed || set_id {
            return settle.all(&seen);
        }
        self.owner_only(fd, change, &seen)
    }

    /// The usual case: only owner and group change, in one call.
    fn owner_only(
        &mut self,
        fd: &impl AsFd,
        change: &Change,
        seen: &InodeStat,
    ) -> Result<InodeOutcome> {
        let (from, to) = match self.direction {
            Direction::Forward => (change.before, change.after),
            Direction::Back => (change.after, change.before),
        };
        let now = seen.meta();
        if now == to {
            return Ok(InodeOutcome::Already);
        }
        if now != from {
            return Ok(InodeOutcome::Deviation(Deviation::Changed));
        }
        let path = self.dirs.path(&change.name);
        let untouched = self.direction == Direction::Forward && seen.changed == change.changed;
        // chown(2) would drop capabilities that were set meanwhile.
        if !untouched && Attributes::of(fd, seen, self.tree, &path)?.grants {
            return Ok(InodeOutcome::Deviation(Deviation::Changed));
        }
        chown(fd, &to, &path)?;
        self.watch.step(CrashPoint::Owned);
        Ok(InodeOutcome::Changed)
    }
}
