//! The inodes that the kernel knows: a number for each, how often it was told of it, and how to get
//! at it again. No path is kept: an inode is held by its handle or, where there are none, by a
//! descriptor.
//!
//! The number is the one that the source's file system has for it, so that stat(2) shows the same
//! on both sides and after being forgotten; only where that number is still in use for an inode
//! that is gone is another one taken. So one number is never two inodes at a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use nscap_linux::server::{FileHandle, open_again};
use rustix::fs::{OFlags, Stat};
use rustix::io::Errno;

use crate::numbers::{Numbers, Own, SPARE};
use crate::recent::Recent;
use crate::source::Source;
use crate::stats::Stats;

/// The number of the root (FUSE_ROOT_ID).
pub(crate) const ROOT: u64 = 1;
const SHARDS: usize = 32;
/// Below this many a map does not shrink.
const SMALL: usize = 256;

/// How to get at an inode.
#[derive(Clone, Debug)]
enum Held {
    Handle(FileHandle),
    /// Where there are no handles, and for what has no name any more.
    Descriptor(Arc<OwnedFd>),
}

#[derive(Debug)]
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
    /// Whether it is a regular file that is open for reading, and not with O_PATH.
    pub(crate) readable: bool,
}

impl Found {
    /// The descriptor itself.
    pub(crate) fn into_file(self) -> Arc<OwnedFd> {
        self.file
    }
}

impl AsFd for Found {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

type Shard = RwLock<HashMap<u64, Inode>>;

/// Numbers that had to be spare ones, by the inode that they stand for, and back.
#[derive(Debug, Default)]
struct Spares {
    by_own: HashMap<Own, u64>,
    own_of: HashMap<u64, Own>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Inodes {
    source: Source,
    root: Arc<OwnedFd>,
    numbers: Numbers,
    shards: [Shard; SHARDS],
    recent: Recent<Found>,
    spares: Mutex<Spares>,
    spares_in_use: AtomicUsize,
    next_spare: AtomicU64,
    stats: Arc<Stats>,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn mixed(node: u64) -> usize {
    (node.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize
}

impl Inodes {
    pub(crate) fn new(source: Source, stats: Arc<Stats>) -> Result<Inodes, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
        let root = rustix::fs::openat(source.root(), c".", flags, rustix::fs::Mode::empty())?;
        let stat = rustix::fs::fstat(&root)?;
        Ok(Inodes {
            source,
            root: Arc::new(root),
            numbers: Numbers::new(Own::of(&stat)),
            shards: std::array::from_fn(|_| Shard::default()),
            recent: Recent::default(),
            spares: Mutex::default(),
            spares_in_use: AtomicUsize::new(0),
            next_spare: AtomicU64::new(SPARE),
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
        self.know_and(file, stat, is_directory(stat))
    }

    /// As [`know`](Inodes::know), of one of many entries of a directory.
    pub(crate) fn know_listed(&self, file: OwnedFd, stat: &Stat) -> Result<u64, Errno> {
        self.know_and(file, stat, false)
    }

    /// As [`know`](Inodes::know), of a file that is open otherwise; `path` opens it with O_PATH.
    pub(crate) fn know_open(
        &self,
        file: &OwnedFd,
        stat: &Stat,
        path: impl FnOnce() -> Result<OwnedFd, Errno>,
    ) -> Result<u64, Errno> {
        match self.handle(file)? {
            Some(handle) if stat.st_nlink > 0 => {
                let inode = Inode { held: Held::Handle(handle), regular: true, lookups: 1 };
                Ok(self.count(Own::of(stat), inode))
            }
            _ => self.know_and(path()?, stat, false),
        }
    }

    fn know_and(&self, file: OwnedFd, stat: &Stat, keep: bool) -> Result<u64, Errno> {
        let own = Own::of(stat);
        if own == self.numbers.root() {
            return Ok(ROOT);
        }
        let file = Arc::new(file);
        let regular = stat.st_mode & libc::S_IFMT == libc::S_IFREG;
        let held = match self.handle(&*file)? {
            Some(handle) if stat.st_nlink > 0 => Held::Handle(handle),
            _ => Held::Descriptor(file.clone()),
        };
        let node = self.count(own, Inode { held, regular, lookups: 1 });
        if keep && self.source.handles {
            self.recent.keep(node, Found { file, regular, readable: false });
        }
        Ok(node)
    }

    /// The handle by which an inode is to be held; none where it must be by a descriptor.
    fn handle(&self, file: impl AsFd) -> Result<Option<FileHandle>, Errno> {
        if !self.source.handles {
            return Ok(None);
        }
        match FileHandle::of(file) {
            Ok(handle) => Ok(Some(handle)),
            Err(Errno::OPNOTSUPP | Errno::OVERFLOW) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn count(&self, own: Own, inode: Inode) -> u64 {
        let number = self.numbers.of(own);
        let inode = match number {
            None => inode,
            Some(number) => {
                let mut shard = self.write(number);
                // Looked at under the lock: whoever makes it a spare one says so before.
                if self.spares_in_use.load(Ordering::SeqCst) > 0 {
                    inode
                } else {
                    match self.count_in(&mut shard, number, inode) {
                        Ok(()) => return number,
                        Err(inode) => inode,
                    }
                }
            }
        };
        self.count_spare(own, number, inode)
    }

    /// Counts it under this number, or gives it back where the number is another inode's.
    fn count_in(
        &self,
        shard: &mut HashMap<u64, Inode>,
        node: u64,
        inode: Inode,
    ) -> Result<(), Inode> {
        match shard.entry(node) {
            Entry::Vacant(vacant) => {
                vacant.insert(inode);
                self.stats.inodes.add();
                Ok(())
            }
            Entry::Occupied(mut there) => {
                let same = match (&there.get().held, &inode.held) {
                    (Held::Handle(one), Held::Handle(other)) => one == other,
                    // Nobody gets the number of an inode that is open.
                    (Held::Descriptor(_), _) | (_, Held::Descriptor(_)) => true,
                };
                if !same {
                    return Err(inode);
                }
                there.get_mut().lookups += 1;
                Ok(())
            }
        }
    }

    fn count_spare(&self, own: Own, number: Option<u64>, inode: Inode) -> u64 {
        let mut spares = locked(&self.spares);
        self.spares_in_use.fetch_add(1, Ordering::SeqCst);
        let node = self.count_among(&mut spares, own, number, inode);
        self.spares_in_use.store(spares.by_own.len(), Ordering::SeqCst);
        node
    }

    fn count_among(
        &self,
        spares: &mut Spares,
        own: Own,
        number: Option<u64>,
        mut inode: Inode,
    ) -> u64 {
        let spare = spares.by_own.get(&own).copied();
        for node in [spare, number].into_iter().flatten() {
            match self.count_in(&mut self.write(node), node, inode) {
                Ok(()) => return node,
                Err(other) => inode = other,
            }
        }
        let spare = self.next_spare.fetch_add(1, Ordering::Relaxed);
        self.write(spare).insert(spare, inode);
        self.stats.inodes.add();
        if let Some(before) = spares.by_own.insert(own, spare) {
            spares.own_of.remove(&before);
        }
        spares.own_of.insert(spare, own);
        spare
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
        let mut shard = self.write(node);
        let Entry::Occupied(mut inode) = shard.entry(node) else {
            return false;
        };
        let left = inode.get().lookups.saturating_sub(lookups);
        if left > 0 {
            inode.get_mut().lookups = left;
            return false;
        }
        inode.remove();
        self.stats.inodes.subtract();
        let shrink = shard.capacity() > SMALL && shard.len() < shard.capacity() / 4;
        if shrink {
            let room = shard.len() * 2;
            shard.shrink_to(room);
        }
        drop(shard);
        // An open descriptor would keep what has no name any more.
        drop(self.recent.take(node));
        if node & SPARE != 0 {
            self.forget_spare(node);
        }
        if shrink {
            nscap_linux::server::return_memory();
        }
        true
    }

    fn forget_spare(&self, spare: u64) {
        let mut spares = locked(&self.spares);
        if let Some(own) = spares.own_of.remove(&spare)
            && spares.by_own.get(&own) == Some(&spare)
        {
            spares.by_own.remove(&own);
        }
        self.spares_in_use.store(spares.by_own.len(), Ordering::SeqCst);
    }

    fn held(&self, node: u64) -> Result<(Held, bool), Errno> {
        let shard = self.shard(node).read().unwrap_or_else(PoisonError::into_inner);
        shard.get(&node).map(|inode| (inode.held.clone(), inode.regular)).ok_or(Errno::STALE)
    }

    /// A descriptor of an inode, O_PATH at least.
    pub(crate) fn find(&self, node: u64) -> Result<Found, Errno> {
        if node == ROOT {
            return Ok(Found { file: self.root.clone(), regular: false, readable: false });
        }
        if let Some(found) = self.recent.get(node) {
            return Ok(found);
        }
        match self.held(node)? {
            (Held::Descriptor(file), regular) => Ok(Found { file, regular, readable: false }),
            (Held::Handle(handle), regular) => {
                let found = self.open_to_look(&handle, regular)?;
                self.recent.keep(node, found.clone());
                Ok(found)
            }
        }
    }

    /// A regular file open for reading, since extended attributes cost less that way; or, like
    /// everything else, with O_PATH.
    fn open_to_look(&self, handle: &FileHandle, regular: bool) -> Result<Found, Errno> {
        let open = |flags| handle.open(self.source.root(), flags).map(Arc::new);
        if regular && let Ok(file) = open(OFlags::RDONLY | OFlags::NONBLOCK) {
            return Ok(Found { file, regular, readable: true });
        }
        Ok(Found { file: open(OFlags::PATH)?, regular, readable: false })
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
            Held::Descriptor(file) => open_again(&*file, flags),
            Held::Handle(handle) => handle.open(self.source.root(), flags),
        }
    }

    /// Holds what has just lost its last name open until the kernel forgets it, so that whoever
    /// has it still has it.
    pub(crate) fn pin(&self, file: OwnedFd, stat: &Stat) {
        let own = Own::of(stat);
        let spare = if self.spares_in_use.load(Ordering::SeqCst) > 0 {
            locked(&self.spares).by_own.get(&own).copied()
        } else {
            None
        };
        let Ok(Some(handle)) = self.handle(&file) else {
            return;
        };
        let file = Arc::new(file);
        for node in [self.numbers.of(own), spare].into_iter().flatten() {
            if let Some(inode) = self.write(node).get_mut(&node)
                && matches!(&inode.held, Held::Handle(known) if *known == handle)
            {
                inode.held = Held::Descriptor(file.clone());
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
