// SPDX-License-Identifier: MIT OR Apache-2.0
//! How an open inode is read and written: by the kernel on the source (passthrough), with one
//! backing id for all its handles; or by the server. An inode is open in one way at a time, since a
//! plain open beside a passthrough one is EIO.
//!
//! The kernel holds the registered file as long as the backing id exists, and opens others from it
//! as it needs. So that file is open for reading only: one for writing would be a permanent writer
//! (K). The kernel writes with the credentials of the thread that registered the file. That thread
//! takes ids of no user meanwhile, so that users' data take no blocks that the source reserves for
//! root. The ids of the files that were open last are kept.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use nscap_linux::server::{Backing, FuseDevice};
use rustix::io::Errno;

use crate::opener::Opener;
use crate::recent::Recent;
use crate::shards::locked;

/// How many backing ids of closed files are kept. An id takes no descriptor; the kernel keeps its
/// open file, some 2 KiB with the inode.
const IDLE: usize = 8192;
/// The same if others can remove files of the source, whose space is free only once the id is gone.
const IDLE_REACHABLE: usize = 512;

/// How an inode is open.
#[derive(Clone)]
pub(crate) enum Way {
    Through(Arc<Backing>),
    Plain,
}

struct Open {
    way: Way,
    handles: usize,
    /// The descriptor that the server reads by.
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
    /// `reachable`: whether the source can be changed past the server.
    pub(crate) fn new(wanted: bool, reachable: bool) -> Backings {
        Backings {
            open: Mutex::default(),
            idle: Recent::new(if reachable { IDLE_REACHABLE } else { IDLE }),
            possible: AtomicBool::new(wanted),
            ever: AtomicBool::new(false),
        }
    }

    /// Stops trying passthrough: the kernel refused it.
    pub(crate) fn give_up(&self) {
        self.possible.store(false, Ordering::Relaxed);
    }

    /// Whether the kernel's cached pages of a file always agree with the source: not after a
    /// passthrough open, which does not use that cache.
    pub(crate) fn pages_are_true(&self) -> bool {
        !self.ever.load(Ordering::Relaxed) && !self.possible.load(Ordering::Relaxed)
    }

    /// Counts one more handle of an inode. Returns its way: that of its other handles, else
    /// passthrough if it is `wanted` and possible; `reader` opens the inode for that.
    pub(crate) fn open(
        &self,
        node: u64,
        reader: impl FnOnce() -> Result<OwnedFd, Errno>,
        wanted: bool,
        device: &FuseDevice,
    ) -> Way {
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
        // To open the source may take long: no lock is held meanwhile. If another handle was
        // faster, its way is used.
        let id = self.register(reader, device).map(Arc::new);
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

    fn register(
        &self,
        reader: impl FnOnce() -> Result<OwnedFd, Errno>,
        device: &FuseDevice,
    ) -> Option<Backing> {
        let registered = reader().and_then(|file| {
            let _unprivileged = Opener::UNKNOWN.take()?;
            device.backing(file)
        });
        match registered {
            Ok(id) => {
                self.ever.store(true, Ordering::Relaxed);
                Some(id)
            }
            Err(errno) => {
                // No CAP_SYS_ADMIN in the initial namespace; no such call; a source that is stacked
                // too deep. These are the same for every file.
                let never = [Errno::PERM, Errno::NOTTY, Errno::LOOP, Errno::OPNOTSUPP];
                if never.contains(&errno) {
                    self.give_up();
                }
                None
            }
        }
    }

    /// The descriptor that the server reads an open inode by; `open` opens it. All handles share
    /// it.
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
            // The kernel reads passthrough handles itself: this descriptor is for one request.
            Some(Open { way: Way::Plain, reader, .. }) => {
                Ok(Arc::clone(reader.get_or_insert(opened)))
            }
            _ => Ok(opened),
        }
    }

    /// Counts one handle less.
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

    /// The kernel forgot the inode.
    pub(crate) fn forget(&self, node: u64) {
        drop(self.idle.take(node));
    }
}
