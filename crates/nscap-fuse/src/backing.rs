//! Passthrough: files that the kernel reads and writes itself, on the source. One backing id an
//! inode, shared by all that have it open; and one way an inode at a time, since a plain open
//! beside a passthrough one is EIO.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nscap_linux::server::{Backing, FuseDevice, open_again};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// How an inode is open.
enum Way {
    Through(Arc<Backing>),
    Plain,
}

struct Open {
    way: Way,
    handles: usize,
}

/// The inodes that are open.
pub(crate) struct Backings {
    open: Mutex<HashMap<u64, Open>>,
    possible: AtomicBool,
    ever: AtomicBool,
}

impl Backings {
    pub(crate) fn new(wanted: bool) -> Backings {
        Backings {
            open: Mutex::default(),
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
            let all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            all.get(&node).is_some_and(|open| matches!(open.way, Way::Through(_)))
        }
    }

    /// One more handle on an inode, opened as `file`, which can be written or not; with a backing id
    /// where it goes through.
    pub(crate) fn open(
        &self,
        node: u64,
        (file, writable): (BorrowedFd<'_>, bool),
        device: &FuseDevice,
    ) -> Option<Arc<Backing>> {
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = all.get_mut(&node) {
            open.handles += 1;
            return match &open.way {
                Way::Through(id) => Some(id.clone()),
                Way::Plain => None,
            };
        }
        let id = self.register(file, writable, device).map(Arc::new);
        let way = id.clone().map_or(Way::Plain, Way::Through);
        all.insert(node, Open { way, handles: 1 });
        id
    }

    /// The kernel keeps the descriptor for as long as the inode is open by anyone, and opens others
    /// by it as it needs them. One that could write would hide whether anyone else does (K).
    fn register(
        &self,
        file: BorrowedFd<'_>,
        writable: bool,
        device: &FuseDevice,
    ) -> Option<Backing> {
        if !self.possible.load(Ordering::Relaxed) {
            return None;
        }
        let registered = if writable {
            open_again(file, OFlags::RDONLY).and_then(|file| device.backing(file.as_fd()))
        } else {
            device.backing(file)
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
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
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
            // The id is closed without the lock.
            drop(gone);
        }
    }
}
