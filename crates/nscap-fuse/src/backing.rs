//! Passthrough: files that the kernel reads and writes itself, on the source. One backing id an
//! inode, shared by all that have it open; and one way an inode at a time, since a plain open
//! beside a passthrough one is EIO.
//!
//! The kernel keeps the descriptor that it is given for as long as there is the id, and opens others
//! by it as it needs them; so it is one that can only read: one that could write would hide whether
//! anyone else does (K). Of the files that were open last the ids are kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nscap_linux::server::{Backing, FuseDevice, open_again};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::inodes::Found;
use crate::recent::Recent;

/// How an inode is open.
enum Way {
    Through(Arc<Backing>),
    Plain,
}

struct Open {
    way: Way,
    handles: usize,
}

const PLAIN: Open = Open { way: Way::Plain, handles: 0 };

impl Open {
    fn one_more(&mut self) -> Option<Arc<Backing>> {
        self.handles += 1;
        match &self.way {
            Way::Through(id) => Some(id.clone()),
            Way::Plain => None,
        }
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
    pub(crate) fn new(wanted: bool) -> Backings {
        Backings {
            open: Mutex::default(),
            idle: Recent::default(),
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

    /// Whether an open may become one that goes through.
    pub(crate) fn may_pass(&self, node: u64) -> bool {
        self.possible.load(Ordering::Relaxed) || {
            let all = self.lock();
            all.get(&node).is_some_and(|open| matches!(open.way, Way::Through(_)))
        }
    }

    /// One more handle on an inode; with a backing id where it goes through.
    pub(crate) fn open(
        &self,
        node: u64,
        inode: &Found,
        device: &FuseDevice,
    ) -> Option<Arc<Backing>> {
        if let Some(open) = self.lock().get_mut(&node) {
            return open.one_more();
        }
        // To open the source may last: no lock is held meanwhile. Where another handle was faster,
        // what it has is taken.
        let kept = self.idle.take(node);
        let id = kept.or_else(|| self.register(inode, device).map(Arc::new));
        let way = id.map_or(Way::Plain, Way::Through);
        let mut new = Some(Open { way, handles: 0 });
        let mut all = self.lock();
        let open = all.entry(node).or_insert_with(|| new.take().unwrap_or(PLAIN));
        let id = open.one_more();
        drop(all);
        drop(new);
        id
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, inode: &Found, device: &FuseDevice) -> Option<Backing> {
        if !self.possible.load(Ordering::Relaxed) {
            return None;
        }
        let registered = if inode.readable {
            device.backing(inode)
        } else {
            open_again(inode, OFlags::RDONLY).and_then(|file| device.backing(file))
        };
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

    /// One handle less.
    pub(crate) fn release(&self, node: u64) {
        let mut all = self.lock();
        let Some(open) = all.get_mut(&node) else {
            return;
        };
        open.handles -= 1;
        if open.handles == 0 {
            let gone = all.remove(&node);
            if all.capacity() > 1024 && all.len() < all.capacity() / 4 {
                let room = all.len() * 2;
                all.shrink_to(room);
            }
            drop(all);
            if let Some(Open { way: Way::Through(id), .. }) = gone {
                self.idle.keep(node, id);
            }
        }
    }

    /// The kernel does not know the inode any more.
    pub(crate) fn forget(&self, node: u64) {
        drop(self.idle.take(node));
    }
}
