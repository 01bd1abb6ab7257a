// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first pass: plans the change of each inode and finds the problems. Changes nothing in the
//! tree.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nscap_linux::Namespaces;
use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

use super::error::{Error, Result};
use super::ids::{Mover, Unmapped};
use super::inode::{Attributes, Granting, SET_ID};
use super::inode_plan::InodePlan;
use super::journal::Draft;
use super::options::{Counts, Options};
use super::plan::Plan;
use super::record::{Change, Entry, Identity};
use super::tree::{Dirs, Inode, InodeStat, Named, Tree};
use super::watch::{Problem, Watch};

/// An inode with several names.
struct Links {
    found: u32,
    all: u32,
    changes: bool,
    path: PathBuf,
}

/// One directory that is being read.
struct Frame {
    seen: InodeStat,
    below: Vec<OsString>,
}

pub(super) struct Planner<'a> {
    tree: &'a Tree,
    options: &'a Options,
    mover: Mover,
    namespaces: &'a Namespaces,
    watch: &'a mut dyn Watch,
    draft: Option<Draft>,
    dirs: Dirs<'a>,
    /// How many of the directories on the current path have an Enter record in the journal.
    entered: usize,
    /// Inodes with further names that the walk has not found yet.
    links: HashMap<Inode, Links>,
    counts: Counts,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        tree: &'a Tree,
        options: &'a Options,
        namespaces: &'a Namespaces,
        watch: &'a mut dyn Watch,
        draft: Option<Draft>,
    ) -> Planner<'a> {
        let (from, to) = (options.from.clone(), options.to.clone());
        Planner {
            tree,
            options,
            mover: Mover { from, to, unmapped: options.unmapped },
            namespaces,
            watch,
            draft,
            dirs: Dirs::new(tree),
            entered: 0,
            links: HashMap::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn run(mut self) -> Result<Plan> {
        if let Err(error) = self.check_given().and_then(|()| self.walk()) {
            if let Some(draft) = self.draft {
                draft.discard(self.tree);
            }
            return Err(error);
        }
        for links in std::mem::take(&mut self.links).into_values() {
            if links.changes && !self.options.other_names {
                let problem = Problem::OtherNames { links: links.all, found: links.found };
                self.problem(&links.path, &problem);
            }
        }
        Ok(Plan { draft: self.draft, counts: self.counts })
    }

    /// Checks that the id of [`Unmapped::Id`] has a mapping in this process's namespace.
    fn check_given(&self) -> Result<()> {
        let Unmapped::Id(id) = self.options.unmapped else {
            return Ok(());
        };
        if self.namespaces.shown_uid(id).zip(self.namespaces.shown_gid(id)).is_some() {
            return Ok(());
        }
        let why = format!("the id {id} has no mapping in this user namespace");
        Err(Error::refused(self.tree.path(), why, Errno::INVAL))
    }

    /// Walks depth first; each directory comes after its content.
    fn walk(&mut self) -> Result<()> {
        let mut frames = vec![self.read(self.tree.seen)?];
        while let Some(frame) = frames.last_mut() {
            if let Some(name) = frame.below.pop() {
                match self.dirs.enter(&name)? {
                    Some(seen) => frames.push(self.read(seen)?),
                    None => self.not_entered(&name)?,
                }
                continue;
            }
            let seen = frame.seen;
            frames.pop();
            let here = self.dirs.held()?;
            self.inode(&here, &seen, OsStr::new(""))?;
            self.leave()?;
        }
        Ok(())
    }

    /// Plans all entries of the current directory that are not directories.
    fn read(&mut self, seen: InodeStat) -> Result<Frame> {
        let fd = self.dirs.reader()?;
        let mut buffer = Vec::with_capacity(1 << 15);
        let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
        let mut below = Vec::new();
        while let Some(entry) = entries.next() {
            let entry =
                entry.map_err(|e| Error::call(&self.dirs.path(OsStr::new("")), "getdents64", e))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            if entry.file_type() == FileType::Directory || self.file(name)? {
                below.push(name.to_owned());
            }
        }
        Ok(Frame { seen, below })
    }

    /// Plans the inode of a name; returns `true` for a directory, which is planned later.
    fn file(&mut self, name: &OsStr) -> Result<bool> {
        match self.dirs.look(name)? {
            Named::Gone => {}
            Named::Mount => self.mount(name),
            Named::Inode(fd) => {
                let seen = InodeStat::of(&fd, &self.dirs.path(name))?;
                if seen.is_directory() {
                    return Ok(true);
                }
                self.inode(&fd, &seen, name)?;
            }
        }
        Ok(false)
    }

    fn not_entered(&mut self, name: &OsStr) -> Result<()> {
        // A directory that another task replaced by a file meanwhile is left out.
        if let Named::Mount = self.dirs.look(name)? {
            self.mount(name);
        }
        Ok(())
    }

    fn mount(&mut self, name: &OsStr) {
        self.counts.mounts += 1;
        self.watch.mount(&self.dirs.path(name));
    }

    fn leave(&mut self) -> Result<()> {
        if self.entered > 0 && self.entered == self.dirs.depth() {
            self.put(&Entry::Leave)?;
            self.entered -= 1;
        }
        self.dirs.leave()
    }

    fn put(&mut self, entry: &Entry) -> Result<()> {
        self.draft.as_mut().map_or(Ok(()), |draft| draft.put(entry))
    }

    fn inode(&mut self, fd: &impl AsFd, seen: &InodeStat, name: &OsStr) -> Result<()> {
        let known = self.has_been_here(seen);
        self.counts.hard_links += u64::from(known);
        // On overlayfs, names of one lower inode become separate inodes when the first one changes.
        // If they do not, the second name finds the change done.
        if known && !self.tree.is_overlay() {
            return Ok(());
        }
        self.counts.inodes += 1;
        self.watch.progress(self.counts.inodes, None);
        let path = self.dirs.path(name);
        let change = match self.change(fd, seen, name, &path)? {
            Ok(change) => change,
            Err(problems) => {
                problems.iter().for_each(|problem| self.problem(&path, problem));
                return Ok(());
            }
        };
        if seen.links > 1 && !seen.is_directory() && !known {
            let (all, changes) = (seen.links, change.is_some());
            self.links.insert(seen.inode, Links { found: 1, all, changes, path });
        }
        let Some(change) = change else {
            return Ok(());
        };
        self.counts.changes += 1;
        for (name, seen) in self.dirs.names_from(self.entered) {
            let entry = Entry::Enter(name, Identity::of(&seen, self.tree));
            self.put(&entry)?;
        }
        self.entered = self.dirs.depth();
        self.put(&Entry::Change(Box::new(change)))
    }

    /// Whether the walk has met the inode under another name. An inode whose names were all found
    /// is forgotten, so the table holds only inodes with links across the tree.
    fn has_been_here(&mut self, seen: &InodeStat) -> bool {
        let Some(links) = self.links.get_mut(&seen.inode) else {
            return false;
        };
        links.found += 1;
        if links.found >= links.all {
            self.links.remove(&seen.inode);
        }
        true
    }

    fn problem(&mut self, path: &Path, problem: &Problem) {
        self.counts.problems += 1;
        self.watch.problem(path, problem);
    }

    /// The change of an inode, or the problems with it.
    fn change(
        &mut self,
        fd: &impl AsFd,
        seen: &InodeStat,
        name: &OsStr,
        path: &Path,
    ) -> Result<std::result::Result<Option<Change>, Vec<Problem>>> {
        let attributes = Attributes::of(fd, seen, self.tree, path)?;
        let regular = seen.kind() == FileType::RegularFile;
        let sensitive = attributes.grants || regular && seen.mode & SET_ID != 0;
        let mut found = InodePlan::new(name, seen, self.tree);
        found.owner(&self.mover);
        found.set_id_of_host(self.namespaces, self.options.to_host);
        found.acls(&self.mover, &attributes);
        if sensitive {
            self.grants(fd, path, &mut found)?;
        }
        if seen.immutable && found.differs() {
            found.problems.push(Problem::Immutable);
        }
        if !found.problems.is_empty() {
            return Ok(Err(found.problems));
        }
        if !found.differs() {
            return Ok(Ok(None));
        }
        self.counts.dropped += found.dropped;
        self.counts.owners += u64::from(found.moves());
        self.counts.acls +=
            u64::from(found.change.access.is_some() || found.change.default.is_some());
        self.counts.grants += u64::from(found.grants_differ);
        Ok(Ok(Some(found.change)))
    }

    /// Reads capabilities and content of a file with grants, under a lease that keeps writers away.
    fn grants(&mut self, fd: &impl AsFd, path: &Path, found: &mut InodePlan) -> Result<()> {
        let granting = match Granting::take(fd, path)? {
            Ok(granting) => granting,
            Err(errno) => {
                found.problems.push(Problem::Lease(errno));
                return Ok(());
            }
        };
        let state = granting.state(self.tree, self.namespaces)?;
        if state.capability.is_some() || state.table.is_some() || state.hidden.is_some() {
            found.capabilities(&state, &self.mover, self.options.to_host, self.namespaces);
        }
        if found.differs() {
            found.change.content = Some(granting.content()?);
        }
        Ok(())
    }
}
