// SPDX-License-Identifier: MIT OR Apache-2.0
//! The second pass: goes by the journal and brings each inode to what it says, forward or back.
//! Only inodes that the plan found in the tree are changed, each known again by number and birth.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use nscap_linux::Namespaces;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::error::{Error, Result};
use super::inode::{Attributes, SET_ID};
use super::journal::{Journal, Stage};
use super::record::{Change, Entry, Identity, Mark};
use super::settle::{Settle, chown};
use super::tree::{Dirs, Named, Seen, Tree, needs_capabilities};
use super::watch::{Odd, Step, Watch};

/// Which way a shift goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// To what was planned.
    Forward,
    /// To what was before.
    Back,
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Inodes that were changed.
    pub changed: u64,
    /// Inodes that were as they should be already.
    pub already: u64,
    /// Inodes that did not become what was planned; [`Watch::odd`] was told of each.
    pub odd: u64,
    /// Whether nothing is left to do. If not, files were [busy](Odd::Busy), and the journal stays
    /// open.
    pub finished: bool,
}

impl Journal {
    /// Changes the tree by the journal: from the beginning, or from wherever an earlier run was
    /// stopped. When all of it has gone back, the journal is removed.
    ///
    /// # Errors
    /// [`Error::Refused`] where the journal is of another tree that had the same name (ESTALE), a
    /// shift that is being undone is to go forward (EINVAL), or a change does not stay (EIO);
    /// [`Error::System`] where a change fails, or with EBUSY where a server shows the tree, a part of it or
    /// what is around it. What is done by then stays, and so does the journal.
    ///
    /// ```no_run
    /// use nscap_image::shift::{Direction, Journal, Tree};
    /// let mut namespaces = nscap_linux::Namespaces::own()?;
    /// let tree = Tree::open("/srv/rootfs".as_ref(), &mut namespaces)?;
    /// if let Some(journal) = Journal::open(&tree)? {
    ///     let outcome = journal.run(&tree, Direction::Back, &mut namespaces, &mut ())?;
    ///     assert!(outcome.finished || outcome.odd > 0);
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
        watch.step(Step::Journal);
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
            // Whoever wants to mend what is odd needs to know what was before.
            Direction::Back => outcome.finished = false,
        }
        watch.step(Step::Marked);
        Ok(outcome)
    }
}

struct Walk<'a> {
    tree: &'a Tree,
    direction: Direction,
    /// Whether the shift was finished, so that what it granted and is there no more was taken away
    /// by somebody.
    settled: bool,
    namespaces: &'a mut Namespaces,
    watch: &'a mut dyn Watch,
    dirs: Dirs<'a>,
    outcome: Outcome,
    /// How much of what is odd is there to be mended.
    left: u64,
}

/// What came of one inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Settled {
    Changed,
    Already,
    Odd(Odd),
}

impl Walk<'_> {
    fn follow(&mut self, journal: &Journal) -> Result<()> {
        let mut entries = journal.entries()?;
        let total = Some(journal.changes());
        let (mut done, mut skipped) = (0, 0u64);
        loop {
            let entry = entries.next().map_err(|e| Error::io(journal.path(), "read", &e))?;
            match entry {
                // Below a directory that is not there any more, only the way out counts.
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

    /// Goes into a directory, if it is the one that was planned.
    fn enter(&mut self, name: &OsStr, identity: &Identity) -> Result<bool> {
        match self.dirs.enter(name)? {
            Some(seen) if identity.is(&seen, self.tree) => Ok(true),
            Some(_) => {
                self.dirs.leave()?;
                self.count(name, Settled::Odd(Odd::Replaced));
                Ok(false)
            }
            None => {
                let odd = match self.dirs.look(name)? {
                    Named::Gone => Odd::Gone,
                    Named::Mount | Named::Inode(_) => Odd::Replaced,
                };
                self.count(name, Settled::Odd(odd));
                Ok(false)
            }
        }
    }

    fn count(&mut self, name: &OsStr, settled: Settled) {
        match settled {
            Settled::Changed => self.outcome.changed += 1,
            Settled::Already => self.outcome.already += 1,
            Settled::Odd(odd) => {
                self.outcome.odd += 1;
                self.left += u64::from(odd != Odd::Gone);
                self.outcome.finished &= odd != Odd::Busy;
                self.watch.odd(&self.dirs.path(name), &odd);
            }
        }
    }

    fn change(&mut self, change: &Change) -> Result<Settled> {
        if change.name.is_empty() {
            let here = self.dirs.held()?;
            return self.inode(&here, change);
        }
        match self.dirs.look(&change.name)? {
            Named::Gone => Ok(Settled::Odd(Odd::Gone)),
            Named::Mount => Ok(Settled::Odd(Odd::Replaced)),
            Named::Inode(fd) => self.inode(&fd, change),
        }
    }

    fn inode(&mut self, fd: &impl AsFd, change: &Change) -> Result<Settled> {
        let path = self.dirs.path(&change.name);
        let seen = Seen::of(fd, &path)?;
        let kind = |mode| FileType::from_raw_mode(mode);
        if !change.identity.is(&seen, self.tree) || kind(seen.mode) != kind(change.before.mode) {
            return Ok(Settled::Odd(Odd::Replaced));
        }
        let settle = Settle {
            fd: fd.as_fd(),
            path: &path,
            change,
            back: self.direction == Direction::Back,
            settled: self.settled,
            tree: self.tree,
            namespaces: self.namespaces,
            watch: self.watch,
        };
        // chown(2) takes set-id bits from whatever is no directory.
        let set_id = (change.before.mode | change.after.mode) & SET_ID != 0 && !seen.is_directory();
        let listed = change.access.is_some() || change.default.is_some();
        if change.content.is_some() || listed || set_id {
            return settle.all(&seen);
        }
        self.owner_only(fd, change, &seen)
    }

    /// Nearly every inode: owner and group change in one call, and nothing else does.
    fn owner_only(&mut self, fd: &impl AsFd, change: &Change, seen: &Seen) -> Result<Settled> {
        let (from, to) = match self.direction {
            Direction::Forward => (change.before, change.after),
            Direction::Back => (change.after, change.before),
        };
        let now = seen.meta();
        if now == to {
            return Ok(Settled::Already);
        }
        if now != from {
            return Ok(Settled::Odd(Odd::Changed));
        }
        let path = self.dirs.path(&change.name);
        let untouched = self.direction == Direction::Forward && seen.changed == change.changed;
        // Capabilities that came meanwhile would be lost.
        if !untouched && Attributes::of(fd, seen, self.tree, &path)?.grants {
            return Ok(Settled::Odd(Odd::Changed));
        }
        chown(fd, &to, &path)?;
        self.watch.step(Step::Owned);
        Ok(Settled::Changed)
    }
}
