// SPDX-License-Identifier: MIT OR Apache-2.0
//! The journal of a shift: the whole plan, written and synced before the first change, and a mark
//! at its end that says how far the shift is. Nothing is recorded in between: each inode shows
//! whether it is in its old state, in its new state, or between two steps. docs/shift.md has the
//! bytes.
//!
//! A run changes owners and capabilities as the journal says. So it accepts only a journal that no
//! other user can have written: a regular file of this user with one name, which no other user may
//! read or write.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use super::error::{Error, Result};
use super::frames::{Locked, Reader, Writer, frame};
use super::record::{Entry, Head, Identity, Mark};
use super::tree::{InodeStat, Tree};

/// How far the shift of a journal is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Begun and not finished.
    Begun,
    /// Finished; it can be undone.
    Complete,
    /// Being undone.
    Undoing,
}

/// The names of a tree's journal.
struct Names {
    journal: OsString,
    draft: OsString,
}

impl Names {
    fn of(tree: &Tree) -> Names {
        // A name has 255 bytes at most.
        let name = if tree.name.len() > 200 {
            format!("inode-{}", tree.seen.inode.number).into()
        } else {
            tree.name.clone()
        };
        let named = |suffix: &str| {
            let mut whole = OsString::from(".nscap-shift-");
            whole.push(&name);
            whole.push(suffix);
            whole
        };
        Names { journal: named(".journal"), draft: named(".draft") }
    }
}

/// Opens and locks a file of this user in the directory above the tree; `None` if it does not
/// exist.
fn locked(tree: &Tree, name: &OsString, create: bool) -> Result<Option<Locked>> {
    let path = tree.parent_path.join(name);
    let call = |call, errno| Error::call(&path, call, errno);
    let mut flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    if create {
        flags |= OFlags::CREATE;
    }
    for _ in 0..100 {
        let fd = match openat(&tree.parent, name, flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::NOENT) if !create => return Ok(None),
            opened => opened.map_err(|errno| call("open", errno))?,
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| call("fstat", errno))?;
        let ours = stat.st_uid == rustix::process::geteuid().as_raw()
            && stat.st_mode & 0o077 == 0
            && stat.st_nlink <= 1
            && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !ours {
            let why = "not a journal that only we can have written; look at it and remove it";
            return Err(Error::refused(&path, why, Errno::PERM));
        }
        match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::refused(
                    &path,
                    "another shift is at work on it; wait for its end",
                    Errno::BUSY,
                ));
            }
            locked => locked.map_err(|errno| call("flock", errno))?,
        }
        // The process that held the lock may have renamed or removed the file.
        let now = rustix::fs::statat(&tree.parent, name, AtFlags::SYMLINK_NOFOLLOW);
        if now.is_ok_and(|now| (now.st_dev, now.st_ino) == (stat.st_dev, stat.st_ino)) {
            return Ok(Some(Locked(fd.into())));
        }
    }
    Err(Error::refused(&path, "is being replaced again and again", Errno::BUSY))
}

fn sync_directory(tree: &Tree) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(&tree.parent, ".", flags, Mode::empty())
        .and_then(rustix::fs::fsync)
        .map_err(|errno| Error::call(&tree.parent_path, "fsync", errno))
}

/// A plan that is being written.
pub(crate) struct Draft {
    pub(crate) writer: Writer,
    names: Names,
    pub(crate) path: PathBuf,
    head: Head,
    changes: u64,
}

impl Draft {
    /// # Errors
    /// [`Error::Open`] where there is a journal of a shift that is not finished.
    pub(crate) fn new(tree: &Tree, head: Head) -> Result<Draft> {
        refuse_open(tree)?;
        let names = Names::of(tree);
        let path = tree.parent_path.join(&names.draft);
        let missing = || Error::refused(&path, "is gone", Errno::NOENT);
        let file = locked(tree, &names.draft, true)?.ok_or_else(missing)?;
        let mut draft = Draft {
            writer: Writer::new(file).map_err(|error| Error::io(&path, "write", &error))?,
            names,
            path,
            head: head.clone(),
            changes: 0,
        };
        draft.put(&Entry::Head(head))?;
        Ok(draft)
    }

    pub(crate) fn put(&mut self, entry: &Entry) -> Result<()> {
        self.changes += u64::from(matches!(entry, Entry::Change(_)));
        self.writer.put(entry).map_err(|error| Error::io(&self.path, "write", &error))
    }

    /// Makes it the tree's journal, in place of the journal of a finished shift.
    pub(crate) fn commit(mut self, tree: &Tree) -> Result<Journal> {
        let changes = self.changes;
        self.put(&Entry::End(changes))?;
        let (file, end) =
            self.writer.finish().map_err(|error| Error::io(&self.path, "fsync", &error))?;
        // Locked until the new one has its name, so that no process uses the old one meanwhile.
        let _old = refuse_open(tree)?;
        rustix::fs::renameat(&tree.parent, &self.names.draft, &tree.parent, &self.names.journal)
            .map_err(|errno| Error::call(&self.path, "rename", errno))?;
        sync_directory(tree)?;
        let path = tree.parent_path.join(&self.names.journal);
        Ok(Journal { file, path, end, changes, stage: Stage::Begun, head: self.head })
    }

    pub(crate) fn discard(self, tree: &Tree) {
        let _ = rustix::fs::unlinkat(&tree.parent, &self.names.draft, AtFlags::empty());
    }
}

/// Returns the journal of a finished shift, if there is one.
fn refuse_open(tree: &Tree) -> Result<Option<Journal>> {
    match Journal::open(tree)? {
        Some(journal) if journal.stage != Stage::Complete => {
            journal.check_tree(tree)?;
            Err(Error::Open { path: tree.path.clone(), journal: journal.path })
        }
        journal => Ok(journal),
    }
}

/// The journal of a tree, locked for as long as this lives.
#[derive(Debug)]
pub struct Journal {
    file: Locked,
    path: PathBuf,
    /// Where the last good record ends.
    end: u64,
    changes: u64,
    stage: Stage,
    head: Head,
}

impl Journal {
    /// Reads the whole journal of a tree; `None` if the tree has none.
    ///
    /// # Errors
    /// [`Error::Refused`] if another user could have written it (EPERM), another process uses it
    /// (EBUSY), or its plan is damaged (EIO); [`Error::System`] if it cannot be read.
    ///
    /// ```
    /// use nscap_image::shift::{Journal, Tree};
    /// let mut namespaces = nscap_linux::Namespaces::own().unwrap();
    /// let dir = tempfile::tempdir().unwrap();
    /// let tree = Tree::open(dir.path(), &mut namespaces).unwrap();
    /// assert!(Journal::open(&tree).unwrap().is_none());
    /// ```
    pub fn open(tree: &Tree) -> Result<Option<Journal>> {
        let names = Names::of(tree);
        let path = tree.parent_path.join(&names.journal);
        let Some(file) = locked(tree, &names.journal, false)? else {
            return Ok(None);
        };
        let read = Journal::read(&file.0).map_err(|error| Error::io(&path, "read", &error))?;
        let Some((head, changes, stage, end)) = read else {
            let why = "the plan in it is damaged, so nothing can be done by it";
            return Err(Error::refused(&path, why, Errno::IO));
        };
        Ok(Some(Journal { file, path, end, changes, stage, head }))
    }

    /// The path of a tree's journal, whether it exists or not.
    ///
    /// ```
    /// use nscap_image::shift::{Journal, Tree};
    /// let mut namespaces = nscap_linux::Namespaces::own().unwrap();
    /// let dir = tempfile::tempdir().unwrap();
    /// std::fs::create_dir(dir.path().join("rootfs")).unwrap();
    /// let tree = Tree::open(&dir.path().join("rootfs"), &mut namespaces).unwrap();
    /// assert!(Journal::place(&tree).ends_with(".nscap-shift-rootfs.journal"));
    /// ```
    #[must_use]
    pub fn place(tree: &Tree) -> PathBuf {
        tree.parent_path.join(Names::of(tree).journal)
    }

    /// Head, number of changes, stage and length; `None` if the plan is incomplete.
    fn read(file: &File) -> io::Result<Option<(Head, u64, Stage, u64)>> {
        let Some(mut reader) = Reader::new(file)? else {
            return Ok(None);
        };
        let Some(Entry::Head(head)) = reader.next()? else {
            return Ok(None);
        };
        let mut changes = 0;
        loop {
            match reader.next()? {
                Some(Entry::Change(_)) => changes += 1,
                Some(Entry::Enter(..) | Entry::Leave) => {}
                Some(Entry::End(count)) if count == changes => break,
                _ => return Ok(None),
            }
        }
        let mut stage = Stage::Begun;
        // A torn record at the end is an incomplete mark.
        while let Some(Entry::Mark(mark)) = reader.next()? {
            stage = match mark {
                Mark::Complete => Stage::Complete,
                Mark::Undoing => Stage::Undoing,
            };
        }
        Ok(Some((head, changes, stage, reader.offset)))
    }

    /// Checks that the journal belongs to this tree, and not to an earlier one of the same name.
    pub(crate) fn check_tree(&self, tree: &Tree) -> Result<()> {
        if self.head.top == Identity::of(&tree.seen, tree) {
            return Ok(());
        }
        let why = "is of a tree that had this name before; remove it";
        Err(Error::refused(&self.path, why, Errno::STALE))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// How far the shift is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// How many inodes its plan changes.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The maps: uids and gids before, uids and gids after.
    #[must_use]
    pub fn maps(&self) -> &[String; 4] {
        &self.head.maps
    }

    /// Its records after the first.
    pub(crate) fn entries(&self) -> Result<Reader<'_>> {
        let failed = |error: io::Error| Error::io(&self.path, "read", &error);
        let reader = Reader::new(&self.file.0).map_err(failed)?;
        let mut reader = reader.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
        reader.next().map_err(failed)?;
        Ok(reader)
    }

    /// Appends a mark, and waits until it is on disk.
    pub(crate) fn mark(&mut self, mark: Mark) -> Result<()> {
        let failed = |error: io::Error| Error::io(&self.path, "write", &error);
        let mut buffer = Vec::new();
        let framed = frame(&Entry::Mark(mark), self.end, &mut buffer).map_err(failed)?;
        self.file.0.set_len(self.end).map_err(failed)?;
        self.file.0.write_all_at(framed, self.end).map_err(failed)?;
        self.file.0.sync_all().map_err(failed)?;
        self.end += framed.len() as u64;
        self.stage = match mark {
            Mark::Complete => Stage::Complete,
            Mark::Undoing => Stage::Undoing,
        };
        Ok(())
    }

    pub(crate) fn remove(self, tree: &Tree) -> Result<()> {
        rustix::fs::unlinkat(&tree.parent, Names::of(tree).journal, AtFlags::empty())
            .map_err(|errno| Error::call(&self.path, "unlink", errno))?;
        sync_directory(tree)
    }
}

impl Identity {
    /// On overlayfs the first change of an inode gives it another birth time, and another number if
    /// it has several names in a lower layer.
    pub(crate) fn of(seen: &InodeStat, tree: &Tree) -> Identity {
        let inode = &seen.inode;
        if tree.is_overlay() {
            let many = seen.links > 1 && !seen.is_directory();
            let number = if many { 0 } else { inode.number };
            return Identity { number, ..Identity::default() };
        }
        Identity {
            number: inode.number,
            made: inode.made,
            elsewhere: inode.device != tree.seen.inode.device,
        }
    }

    /// Whether it is the same inode, as far as the file system says.
    pub(crate) fn is(&self, seen: &InodeStat, tree: &Tree) -> bool {
        let now = Identity::of(seen, tree);
        now == *self || tree.is_overlay() && self.number == 0
    }
}
