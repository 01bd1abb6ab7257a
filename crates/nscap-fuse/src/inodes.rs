// SPDX-License-Identifier: MIT OR Apache-2.0
//! The inodes that the kernel knows: the node id and lookup count of each, and how to open it
//! again. The server keeps no paths: it holds an inode by its file handle (name_to_handle_at(2))
//! or, without such handles, by a descriptor.
//!
//! The node id is the inode number of the source, so stat(2) shows the same number on both sides,
//! also after the kernel forgot the inode. An inode gets another node id only while its number
//! belongs to an inode that was deleted and not forgotten. One node id never means two inodes at a
//! time: an inode that is found is compared with the known one ([`InodeId::is`]), and an inode that
//! was made or opened is known by its own descriptor, never by a second lookup of its name.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock};

use nscap_linux::opath;
use nscap_linux::server::{FileHandle, prepare_same_inode};
use rustix::fs::{OFlags, Stat, fstat};
use rustix::io::Errno;

use crate::descriptors::{Descriptors, Share};
use crate::identity::{self, InodeId, handle_of};
use crate::numbers::{Numbers, Own, ROOT, SPARE};
use crate::recent::Recent;
use crate::requests::Failed;
use crate::shards::mixed;
use crate::source::Source;
use crate::spares::{Giving, Spares};
use crate::stats::Stats;

const SHARDS: usize = 32;
/// Below this many a map does not shrink.
const SMALL: usize = 256;

/// How many inodes with one number are compared by a question to the kernel.
const ASKED_MAX: usize = 64;

#[derive(Clone, Debug)]
struct Inode {
    id: InodeId,
    regular: bool,
    /// Replies that named it, minus the lookups that the kernel forgot.
    lookups: u64,
}

/// An inode that is open for an operation.
#[derive(Clone, Debug)]
pub(crate) struct InodeRef {
    file: Arc<OwnedFd>,
    /// Whether it is a regular file.
    pub(crate) regular: bool,
}

impl InodeRef {
    /// A regular file by the descriptor that made it, which may be write-only.
    pub(crate) fn made(file: Arc<OwnedFd>) -> InodeRef {
        InodeRef { file, regular: true }
    }
}

impl AsFd for InodeRef {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

type Shard = RwLock<HashMap<u64, Inode>>;

/// The table of inodes.
#[derive(Debug)]
pub(crate) struct Inodes {
    source: Source,
    root: Arc<OwnedFd>,
    root_id: InodeId,
    numbers: Numbers,
    shards: [Shard; SHARDS],
    recent: Recent<InodeRef>,
    spares: Spares,
    descriptors: Arc<Descriptors>,
    stats: Arc<Stats>,
}

impl Inodes {
    /// `recent`: how many of the inodes that were used last stay open.
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
            root_id: InodeId::Open(Arc::new(open)),
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

    /// The inode number that stat(2) shows for a node id.
    pub(crate) fn shown(&self, node: u64) -> u64 {
        if node == ROOT { self.numbers.root().ino } else { node }
    }

    /// Counts one lookup of the inode that an O_PATH descriptor refers to; returns its node id.
    pub(crate) fn know(&self, file: OwnedFd, stat: &Stat) -> Result<u64, Errno> {
        let (file, keep) = (Arc::new(file), self.source.handles && is_directory(stat));
        let (node, _) = self.count(Own::of(stat), self.inode(&file, stat)?)?;
        if keep && node != ROOT {
            self.recent.keep(node, InodeRef { file, regular: false });
        }
        Ok(node)
    }

    /// As [`know`](Inodes::know), for one of many entries of a directory: it is not kept open.
    pub(crate) fn know_listed(&self, file: OwnedFd, stat: &Stat) -> Result<u64, Errno> {
        self.know_new(file, stat).map(|(node, _)| node)
    }

    /// As [`know`](Inodes::know); also says whether the inode is new to the table.
    pub(crate) fn know_new(&self, file: OwnedFd, stat: &Stat) -> Result<(u64, bool), Errno> {
        let file = Arc::new(file);
        self.count(Own::of(stat), self.inode(&file, stat)?)
    }

    /// As [`know`](Inodes::know), for a regular file that was just made; `file` need not be O_PATH.
    pub(crate) fn know_open(&self, file: &OwnedFd, stat: &Stat) -> Result<u64, Errno> {
        let inode = match handle_of(file)? {
            Some(handle) if self.source.handles && stat.st_nlink > 0 => {
                Inode { id: InodeId::Handle(handle), regular: true, lookups: 1 }
            }
            _ => self.inode(&Arc::new(opath::reopen(file, OFlags::PATH)?), stat)?,
        };
        self.count(Own::of(stat), inode).map(|(node, _)| node)
    }

    /// Counts one lookup of a known inode that got one more name. If it had none before, it need
    /// not stay open now.
    pub(crate) fn know_again(&self, node: u64) -> Result<(), Errno> {
        let mut shard = self.write(node);
        let inode = shard.get_mut(&node).ok_or(Errno::STALE)?;
        inode.lookups += 1;
        let InodeId::Open(open) = &inode.id else {
            return Ok(());
        };
        let named = fstat(&open.file).is_ok_and(|stat| stat.st_nlink > 0);
        if let Some(handle) = open.handle.clone().filter(|_| named && self.source.handles) {
            inode.id = InodeId::Handle(handle);
        }
        Ok(())
    }

    /// The inode that an O_PATH descriptor refers to.
    fn inode(&self, file: &Arc<OwnedFd>, stat: &Stat) -> Result<Inode, Errno> {
        let regular = stat.st_mode & libc::S_IFMT == libc::S_IFREG;
        let id = match handle_of(&**file)? {
            Some(handle) if self.source.handles && stat.st_nlink > 0 => InodeId::Handle(handle),
            handle => {
                let _share = self.share(stat)?;
                InodeId::Open(Arc::new(identity::Open { file: file.clone(), handle, _share }))
            }
        };
        Ok(Inode { id, regular, lookups: 1 })
    }

    /// The descriptor share for an inode that is held open because it has no name: its owner's.
    fn share(&self, stat: &Stat) -> Result<Option<Share>, Errno> {
        let nameless = self.source.handles && stat.st_nlink == 0;
        nameless.then(|| self.descriptors.take(stat.st_uid, 1)).transpose()
    }

    /// Counts a lookup of an inode under the node id that is its own. Also says whether it is new.
    fn count(&self, own: Own, inode: Inode) -> Result<(u64, bool), Errno> {
        if own == self.numbers.root() && self.root_id.is(&inode.id)? {
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

    /// Counts a lookup under this node id, and says whether the inode is new; `None` if the node id
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
            Entry::Occupied(mut there) if there.get().id.is(&inode.id)? => {
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
        if inode.id.handle().is_none() && known.len() >= ASKED_MAX {
            return Err(Errno::STALE);
        }
        // Its own number last: that is free again after the kernel forgot the deleted inode.
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

    /// Some regular files that the kernel knows, one for each part of the table.
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

    /// FORGET of so many lookups; whether none is left.
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
        // An open descriptor would keep a deleted inode. To close it can take long: no lock is
        // held.
        drop((spares, self.recent.take(node), gone));
        if shrink {
            nscap_linux::server::return_memory();
        }
        true
    }

    fn id(&self, node: u64) -> Result<(InodeId, bool), Errno> {
        let shard = self.shard(node).read().unwrap_or_else(PoisonError::into_inner);
        shard.get(&node).map(|inode| (inode.id.clone(), inode.regular)).ok_or(Errno::STALE)
    }

    /// An O_PATH descriptor of an inode.
    pub(crate) fn find(&self, node: u64) -> Result<InodeRef, Errno> {
        if node == ROOT {
            return Ok(InodeRef { file: self.root.clone(), regular: false });
        }
        if let Some(found) = self.recent.get(node) {
            return Ok(found);
        }
        match self.id(node)? {
            (InodeId::Open(open), regular) => Ok(InodeRef { file: open.file.clone(), regular }),
            (InodeId::Handle(handle), regular) => {
                let found = self.open_to_look(&handle, regular)?;
                self.recent.keep(node, found.clone());
                Ok(found)
            }
        }
    }

    /// With O_PATH: an open for content can wait for other tasks (fanotify(7), leases).
    fn open_to_look(&self, handle: &FileHandle, regular: bool) -> Result<InodeRef, Errno> {
        let file = Arc::new(handle.open(self.source.root(), OFlags::PATH)?);
        Ok(InodeRef { file, regular })
    }

    /// Opens a regular file or a directory. EINVAL for other types: to open these could block, or
    /// act on a device.
    pub(crate) fn open(&self, node: u64, flags: OFlags) -> Result<OwnedFd, Errno> {
        if node == ROOT {
            return opath::reopen(&*self.root, flags);
        }
        let (id, regular) = self.id(node)?;
        if !regular && !flags.contains(OFlags::DIRECTORY) {
            return Err(Errno::INVAL);
        }
        match id {
            InodeId::Open(open) => opath::reopen(&*open.file, flags),
            InodeId::Handle(handle) => handle.open(self.source.root(), flags),
        }
    }

    /// Holds an inode that just lost its last name open until the kernel forgets it, so that tasks
    /// can go on using it. An inode that still has a name stays as it is. Beyond half of its
    /// owner's share, only open handles hold such an inode.
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
        let open = InodeId::Open(Arc::new(identity::Open { file: Arc::new(file), handle, _share }));
        let spares = (!self.spares.none()).then(|| self.spares.lock().of(own).to_vec());
        for node in self.numbers.of(own).into_iter().chain(spares.unwrap_or_default()) {
            if let Some(inode) = self.write(node).get_mut(&node)
                && inode.id.is(&open) == Ok(true)
            {
                inode.id = open.clone();
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
