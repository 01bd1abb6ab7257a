// SPDX-License-Identifier: MIT OR Apache-2.0
//! The inodes that the kernel knows: a number for each, how often it was told of it, and how to get
//! at it again. No path is kept: an inode is held by its handle or, where there are none, by a
//! descriptor.
//!
//! The number is the one that the source's file system has for it, so that stat(2) shows the same
//! on both sides and after being forgotten; only where that number is still in use for an inode
//! that is gone is another one taken. So one number is never two inodes at a time: what is found
//! under a number is compared with what is there ([`Held::is`]), and what was made or opened is
//! known by its own descriptor, never by looking its name up again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use nscap_linux::server::{FileHandle, open_again, prepare_same_inode};
use rustix::fs::{OFlags, Stat, fstat};
use rustix::io::Errno;

use crate::descriptors::{Descriptors, Share};
use crate::identity::{self, Held, handle_of};
use crate::numbers::{Numbers, Own, SPARE};
use crate::recent::Recent;
use crate::source::Source;
use crate::spares::{Giving, Spares};
use crate::stats::Stats;
use crate::worker::Failed;

/// The number of the root (FUSE_ROOT_ID).
pub(crate) const ROOT: u64 = 1;
const SHARDS: usize = 32;
/// Below this many a map does not shrink.
const SMALL: usize = 256;

/// How many inodes of one number are compared by asking the kernel.
const ASKED_MAX: usize = 64;

#[derive(Clone, Debug)]
struct Inode {
    held: Held,
    regular: bool,
    /// How many times the kernel was told of it and has not said that it forgot.
    lookups: u64,
}

/// An inode to do something with.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    file: Arc<OwnedFd>,
    /// Whether it is a regular file.
    pub(crate) regular: bool,
}

impl Found {
    /// A regular file by the descriptor that made it, which may only write.
    pub(crate) fn made(file: Arc<OwnedFd>) -> Found {
        Found { file, regular: true }
    }
}

impl AsFd for Found {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

type Shard = RwLock<HashMap<u64, Inode>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Inodes {
    source: Source,
    root: Arc<OwnedFd>,
    root_held: Held,
    numbers: Numbers,
    shards: [Shard; SHARDS],
    recent: Recent<Found>,
    spares: Spares,
    descriptors: Arc<Descriptors>,
    stats: Arc<Stats>,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn mixed(node: u64) -> usize {
    (node.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize
}

impl Inodes {
    /// `recent`: how many inodes that were used last are kept open.
    pub(crate) fn new(
        source: Source,
        recent: usize,
        descriptors: Arc<Descriptors>,
        stats: Arc<Stats>,
    ) -> Result<Inodes, Failed> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
        let root = rustix::fs::openat(source.root(), c".", flags, rustix::fs::Mode::empty())
            .map_err(|errno| ("openat", errno))?;
        let (stat, root) = (fstat(&root).map_err(|errno| ("fstat", errno))?, Arc::new(root));
        let handle = handle_of(&*root).map_err(|errno| ("name_to_handle_at", errno))?;
        if handle.is_none() {
            prepare_same_inode().map_err(|errno| ("inotify_init1", errno))?;
        }
        let open = identity::Open { file: root.clone(), handle, _share: None };
        Ok(Inodes {
            source,
            root,
            root_held: Held::Open(Arc::new(open)),
            numbers: Numbers::new(Own::of(&stat)),
            shards: std::array::from_fn(|_| Shard::default()),
            recent: Recent::new(recent),
            spares: Spares::default(),
            descriptors,
            stats,
        })
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// The number that stat(2) shows of an inode that the kernel knows by another.
    pub(crate) fn shown(&self, node: u64) -> u64 {
        if node == ROOT { self.numbers.root().ino } else { node }
    }

    /// The inode that an O_PATH descriptor leads to becomes known once more; its number.
    pub(crate) fn know(&self, file: OwnedFd, stat: &Stat) -> Result<u64, Errno> {
        let (file, keep) = (Arc::new(file), self.source.handles && is_directory(stat));
        let (node, _) = self.count(Own::of(stat), self.inode(&file, stat)?)?;
        if keep && node != ROOT {
            self.recent.keep(node, Found { file, regular: false });
        }
        Ok(node)
    }

    /// As [`know`](Inodes::know), of one of many entries of a directory.
    pub(crate) fn know_listed(&self, file: OwnedFd, stat: &Stat) -> Result<u64, Errno> {
        self.know_new(file, stat).map(|(node, _)| node)
    }

    /// As [`know`](Inodes::know); and whether it was not known before.
    pub(crate) fn know_new(&self, file: OwnedFd, stat: &Stat) -> Result<(u64, bool), Errno> {
        let file = Arc::new(file);
        self.count(Own::of(stat), self.inode(&file, stat)?)
    }

    /// As [`know`](Inodes::know), of a regular file that has just been made and is open otherwise.
    pub(crate) fn know_open(&self, file: &OwnedFd, stat: &Stat) -> Result<u64, Errno> {
        let inode = match handle_of(file)? {
            Some(handle) if self.source.handles && stat.st_nlink > 0 => {
                Inode { held: Held::Handle(handle), regular: true, lookups: 1 }
            }
            _ => self.inode(&Arc::new(open_again(file, OFlags::PATH)?), stat)?,
        };
        self.count(Own::of(stat), inode).map(|(node, _)| node)
    }

    /// An inode that is known has got one more name. One that had none needs not be held open now.
    pub(crate) fn know_again(&self, node: u64) -> Result<(), Errno> {
        let mut shard = self.write(node);
        let inode = shard.get_mut(&node).ok_or(Errno::STALE)?;
        inode.lookups += 1;
        let Held::Open(open) = &inode.held else {
            return Ok(());
        };
        let named = fstat(&open.file).is_ok_and(|stat| stat.st_nlink > 0);
        if let Some(handle) = open.handle.clone().filter(|_| named && self.source.handles) {
            inode.held = Held::Handle(handle);
        }
        Ok(())
    }

    /// What an O_PATH descriptor leads to.
    fn inode(&self, file: &Arc<OwnedFd>, stat: &Stat) -> Result<Inode, Errno> {
        let regular = stat.st_mode & libc::S_IFMT == libc::S_IFREG;
        let held = match handle_of(&**file)? {
            Some(handle) if self.source.handles && stat.st_nlink > 0 => Held::Handle(handle),
            handle => {
                let _share = self.share(stat)?;
                Held::Open(Arc::new(identity::Open { file: file.clone(), handle, _share }))
            }
        };
        Ok(Inode { held, regular, lookups: 1 })
    }

    /// The share that holding an inode open takes: its owner's, where it is held since it has no name.
    fn share(&self, stat: &Stat) -> Result<Option<Share>, Errno> {
        let nameless = self.source.handles && stat.st_nlink == 0;
        nameless.then(|| self.descriptors.take(stat.st_uid, 1)).transpose()
    }

    /// Counts an inode under the number that is its own; whether it was not known before.
    fn count(&self, own: Own, inode: Inode) -> Result<(u64, bool), Errno> {
        if own == self.numbers.root() && self.root_held.is(&inode.held)? {
            return Ok((ROOT, false));
        }
        let number = self.numbers.of(own);
        if let Some(number) = number {
            let mut shard = self.write(number);
            if self.spares.none()
                && let Some(first) = self.count_in(&mut shard, number, &inode)?
            {
                return Ok((number, first));
            }
        }
        self.count_among(&mut self.spares.lock(), own, number, &inode)
    }

    /// Counts it under this number, and says whether it was not known before; `None` where the number
    /// is another inode's.
    fn count_in(
        &self,
        shard: &mut HashMap<u64, Inode>,
        node: u64,
        inode: &Inode,
    ) -> Result<Option<bool>, Errno> {
        match shard.entry(node) {
            Entry::Vacant(vacant) => {
                vacant.insert(inode.clone());
                self.stats.inodes.add();
                Ok(Some(true))
            }
            Entry::Occupied(mut there) if there.get().held.is(&inode.held)? => {
                there.get_mut().lookups += 1;
                Ok(Some(false))
            }
            Entry::Occupied(_) => Ok(None),
        }
    }

    fn count_among(
        &self,
        spares: &mut Giving<'_>,
        own: Own,
        number: Option<u64>,
        inode: &Inode,
    ) -> Result<(u64, bool), Errno> {
        let known = spares.of(own);
        if inode.held.handle().is_none() && known.len() >= ASKED_MAX {
            return Err(Errno::STALE);
        }
        // Its own number last: that is free again when the inode that is gone has been forgotten.
        for node in known.iter().copied().chain(number) {
            if let Some(first) = self.count_in(&mut self.write(node), node, inode)? {
                return Ok((node, first));
            }
        }
        let spare = spares.give(own);
        self.write(spare).insert(spare, inode.clone());
        self.stats.inodes.add();
        Ok((spare, true))
    }

    /// Some regular files that the kernel knows, one of each part of the table.
    pub(crate) fn some_regular(&self) -> impl Iterator<Item = u64> {
        self.shards.iter().filter_map(|shard| {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.iter().find(|(_, inode)| inode.regular).map(|(node, _)| *node)
        })
    }

    fn write(&self, node: u64) -> std::sync::RwLockWriteGuard<'_, HashMap<u64, Inode>> {
        self.shard(node).write().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, node: u64) -> &Shard {
        // The remainder is in range.
        &self.shards[mixed(node) % SHARDS]
    }

    /// The kernel forgot so many lookups; whether those were all.
    pub(crate) fn forget(&self, node: u64, lookups: u64) -> bool {
        if node == ROOT {
            return false;
        }
        let mut spares = (node & SPARE != 0).then(|| self.spares.lock());
        let mut shard = self.write(node);
        let Entry::Occupied(mut inode) = shard.entry(node) else {
            return false;
        };
        let left = inode.get().lookups.saturating_sub(lookups);
        if left > 0 {
            inode.get_mut().lookups = left;
            return false;
        }
        let gone = inode.remove();
        self.stats.inodes.subtract();
        let shrink = shard.capacity() > SMALL && shard.len() < shard.capacity() / 4;
        if shrink {
            let room = shard.len() * 2;
            shard.shrink_to(room);
        }
        drop(shard);
        if let Some(spares) = &mut spares {
            spares.take_back(node);
        }
        // An open descriptor would keep what has no name any more. Its end can take its time.
        drop((spares, self.recent.take(node), gone));
        if shrink {
            nscap_linux::server::return_memory();
        }
        true
    }

    fn held(&self, node: u64) -> Result<(Held, bool), Errno> {
        let shard = self.shard(node).read().unwrap_or_else(PoisonError::into_inner);
        shard.get(&node).map(|inode| (inode.held.clone(), inode.regular)).ok_or(Errno::STALE)
    }

    /// An O_PATH descriptor of an inode.
    pub(crate) fn find(&self, node: u64) -> Result<Found, Errno> {
        if node == ROOT {
            return Ok(Found { file: self.root.clone(), regular: false });
        }
        if let Some(found) = self.recent.get(node) {
            return Ok(found);
        }
        match self.held(node)? {
            (Held::Open(open), regular) => Ok(Found { file: open.file.clone(), regular }),
            (Held::Handle(handle), regular) => {
                let found = self.open_to_look(&handle, regular)?;
                self.recent.keep(node, found.clone());
                Ok(found)
            }
        }
    }

    /// With O_PATH: opening the content can wait for others (fanotify(7), leases), and looking must not.
    fn open_to_look(&self, handle: &FileHandle, regular: bool) -> Result<Found, Errno> {
        let file = Arc::new(handle.open(self.source.root(), OFlags::PATH)?);
        Ok(Found { file, regular })
    }

    /// Opens a regular file or a directory. EINVAL for anything else: opening it could wait, or
    /// do something.
    pub(crate) fn open(&self, node: u64, flags: OFlags) -> Result<OwnedFd, Errno> {
        if node == ROOT {
            return open_again(&*self.root, flags);
        }
        let (held, regular) = self.held(node)?;
        if !regular && !flags.contains(OFlags::DIRECTORY) {
            return Err(Errno::INVAL);
        }
        match held {
            Held::Open(open) => open_again(&*open.file, flags),
            Held::Handle(handle) => handle.open(self.source.root(), flags),
        }
    }

    /// Holds what has just lost its last name open until the kernel forgets it, so that a task that
    /// has it still has it. What has a name yet was not what was removed, and stays as it is; what is more than
    /// half of its owner's share is held by its open handles only.
    pub(crate) fn pin(&self, file: OwnedFd) {
        let (Ok(stat), Ok(handle)) = (fstat(&file), handle_of(&file)) else {
            return;
        };
        if stat.st_nlink != 0 || !self.source.handles {
            return;
        }
        let Ok(share) = self.descriptors.take_spare(stat.st_uid) else {
            return;
        };
        let _share = Some(share);
        let own = Own::of(&stat);
        let open = Held::Open(Arc::new(identity::Open { file: Arc::new(file), handle, _share }));
        let spares = (!self.spares.none()).then(|| self.spares.lock().of(own).to_vec());
        for node in self.numbers.of(own).into_iter().chain(spares.unwrap_or_default()) {
            if let Some(inode) = self.write(node).get_mut(&node)
                && inode.held.is(&open) == Ok(true)
            {
                inode.held = open.clone();
            }
        }
    }

    /// A descriptor of the root of the tree.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

fn is_directory(stat: &Stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFDIR
}
