// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which way an inode that is open is read and written: by the kernel itself on the source (passthrough),
//! by one backing id that all its handles share; or by the server. One way an inode at a time, since a
//! plain open beside a passthrough one is EIO.
//!
//! The kernel keeps the file that it is given for as long as there is the id, and opens others by it as it
//! needs them; so it is one that can only read: one that could write would be a writer of its own (K). What
//! the kernel writes that way it writes with the credentials of the thread that gave it the file, which
//! therefore has the ids of no user meanwhile: blocks that the source reserves for root are not for everybody.
//! Of the files that were open last the ids are kept.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use nscap_linux::server::{Backing, FuseDevice, open_again};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::inodes::{Found, locked};
use crate::opener::Opener;
use crate::recent::Recent;

/// How an inode is open.
#[derive(Clone)]
pub(crate) enum Way {
    Through(Arc<Backing>),
    Plain,
}

struct Open {
    way: Way,
    handles: usize,
    /// What the server reads by.
    reader: Option<Arc<OwnedFd>>,
}

impl Open {
    fn one_more(&mut self) -> Way {
        self.handles += 1;
        self.way.clone()
    }
}

/// The inodes that are open.
pub(crate) struct Backings {
    open: Mutex<HashMap<u64, Open>>,
    idle: Recent<Arc<Backing>>,
    possible: AtomicBool,
    ever: AtomicBool,
}

impl Backings {
    /// `idle`: how many ids of files that are not open any more are kept.
    pub(crate) fn new(wanted: bool, idle: usize) -> Backings {
        Backings {
            open: Mutex::default(),
            idle: Recent::new(idle),
            possible: AtomicBool::new(wanted),
            ever: AtomicBool::new(false),
        }
    }

    /// The kernel has no passthrough.
    pub(crate) fn give_up(&self) {
        self.possible.store(false, Ordering::Relaxed);
    }

    /// Whether pages that the kernel has of a file are as on the source, whoever wrote it: not
    /// where some opens go past them.
    pub(crate) fn pages_are_true(&self) -> bool {
        !self.ever.load(Ordering::Relaxed) && !self.possible.load(Ordering::Relaxed)
    }

    /// One more handle on an inode, and its way: that of the others, else passthrough, if it is `wanted`
    /// and can be had.
    pub(crate) fn open(&self, node: u64, inode: &Found, wanted: bool, device: &FuseDevice) -> Way {
        let mut all = locked(&self.open);
        if let Some(open) = all.get_mut(&node) {
            return open.one_more();
        }
        let wanted = wanted && self.possible.load(Ordering::Relaxed);
        let kept = if wanted { self.idle.take(node) } else { None };
        if kept.is_some() || !wanted {
            let way = kept.map_or(Way::Plain, Way::Through);
            return all.entry(node).or_insert(Open { way, handles: 0, reader: None }).one_more();
        }
        drop(all);
        // To open the source may last: no lock is held meanwhile. Where another handle was faster,
        // what it has is taken.
        let id = self.register(inode, device).map(Arc::new);
        let new = Open { way: id.map_or(Way::Plain, Way::Through), handles: 0, reader: None };
        let mut new = Some(new);
        let mut all = locked(&self.open);
        let way = match all.entry(node) {
            Entry::Occupied(mut open) => open.get_mut().one_more(),
            Entry::Vacant(vacant) => {
                new.take().map_or(Way::Plain, |new| vacant.insert(new).one_more())
            }
        };
        drop(all);
        drop(new);
        way
    }

    fn register(&self, inode: &Found, device: &FuseDevice) -> Option<Backing> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let registered = open_again(inode, flags).and_then(|file| {
            let _nobodys = Opener::UNKNOWN.take()?;
            device.backing(file)
        });
        match registered {
            Ok(id) => {
                self.ever.store(true, Ordering::Relaxed);
                Some(id)
            }
            Err(errno) => {
                // Not root of the initial namespace; no such call; a source that is stacked
                // too deep. None of these changes from file to file.
                let never = [Errno::PERM, Errno::NOTTY, Errno::LOOP, Errno::OPNOTSUPP];
                if never.contains(&errno) {
                    self.give_up();
                }
                None
            }
        }
    }

    /// What the server reads an inode by that is open; `open` opens it. All handles share it.
    pub(crate) fn reader(
        &self,
        node: u64,
        open: impl FnOnce() -> Result<OwnedFd, Errno>,
    ) -> Result<Arc<OwnedFd>, Errno> {
        if let Some(Open { reader: Some(reader), .. }) = locked(&self.open).get(&node) {
            return Ok(Arc::clone(reader));
        }
        let opened = Arc::new(open()?);
        match locked(&self.open).get_mut(&node) {
            // Nobody reads a passthrough handle by us: this is for one request.
            Some(Open { way: Way::Plain, reader, .. }) => {
                Ok(Arc::clone(reader.get_or_insert(opened)))
            }
            _ => Ok(opened),
        }
    }

    /// One handle less.
    pub(crate) fn release(&self, node: u64) {
        let mut all = locked(&self.open);
        let Entry::Occupied(mut open) = all.entry(node) else {
            return;
        };
        open.get_mut().handles -= 1;
        if open.get().handles == 0 {
            let gone = open.remove();
            if all.capacity() > 1024 && all.len() < all.capacity() / 4 {
                let room = all.len() * 2;
                all.shrink_to(room);
            }
            drop(all);
            if let Way::Through(id) = gone.way {
                self.idle.keep(node, id);
            }
        }
    }

    /// The kernel does not know the inode any more.
    pub(crate) fn forget(&self, node: u64) {
        drop(self.idle.take(node));
    }
}
