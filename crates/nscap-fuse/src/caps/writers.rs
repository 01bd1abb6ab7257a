// SPDX-License-Identifier: MIT OR Apache-2.0
//! K: tracks possible writers of each inode. No grant is possible while the content can change
//! unseen.
//!
//! A change (a write that the server makes, a truncation, a chown) and a grant exclude each other,
//! inode by inode. Nothing that is remembered here allows a grant: at each one the kernel says that
//! no task has the file open for writing or mapped so (a lease). What is remembered only forbids: a
//! handle that can be mapped shared and writable. The server itself has the file open for such a
//! handle as long as there is the handle, and from before it drops what the file holds: so to a
//! second server on the same file, too, there is a writer at each moment until the kernel has
//! opened the file by itself.
//!
//! cp(1) and tar(1) set attributes on what they have open for writing. The server makes those
//! writes itself, by one descriptor an inode, and gives that back for the time of a grant: while
//! changes are excluded the inode is held with O_PATH, which is no writer, and the next write opens
//! it again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::shards::mixed;

/// How many locks there are: more than threads.
const SHARDS: usize = 64;

/// How long a grant waits for a handle that may be closed already.
const PATIENCE: Duration = Duration::from_millis(50);

/// What a handle can do to the content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Write, which the server does.
    WriteOnly,
    /// Write, and be mapped shared and writable until it is closed; the mapping can outlive it
    /// (FUSE passthrough).
    Mapped,
}

/// Where a handle for writing writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Append {
    /// Anywhere.
    No,
    /// At the end (O_APPEND), unless its task clears that (fcntl(2)).
    Asked,
    /// At the end, whatever its task does: the file was append-only when it was opened.
    Only,
}

/// A descriptor for writing.
#[derive(Debug)]
pub(crate) struct Writer {
    file: Arc<OwnedFd>,
    /// Whether whatever is written by it goes to the end, wherever it was to go (O_APPEND).
    pub(crate) appends: bool,
}

impl Writer {
    pub(crate) fn new(file: Arc<OwnedFd>, appends: bool) -> Writer {
        Writer { file, appends }
    }

    fn fits(&self, append: Append) -> bool {
        match append {
            Append::No => !self.appends,
            Append::Asked => true,
            Append::Only => self.appends,
        }
    }
}

impl AsFd for Writer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The server's own descriptor for the handles of an inode.
#[derive(Debug)]
enum Own {
    Writes(Arc<Writer>),
    /// With O_PATH, so that it stays the inode that it is.
    GivenBack(#[expect(dead_code, reason = "held open")] OwnedFd),
}

/// What is known of one inode.
#[derive(Default, Debug)]
struct Inode {
    mapped: u32,
    write_only: u32,
    own: Option<Own>,
    changing: u32,
    exclusive: bool,
    waiting: u32,
}

impl Inode {
    fn is_open(&self) -> bool {
        self.mapped != 0 || self.write_only != 0
    }

    fn handles(&mut self, access: Access) -> &mut u32 {
        match access {
            Access::WriteOnly => &mut self.write_only,
            Access::Mapped => &mut self.mapped,
        }
    }

    fn is_idle(&self) -> bool {
        !self.is_open() && self.changing == 0 && !self.exclusive && self.waiting == 0
    }
}

#[derive(Default, Debug)]
struct Shard {
    inodes: Mutex<HashMap<u64, Inode>>,
    freed: Condvar,
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Inode>> {
        self.inodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'m>(
        &self,
        inodes: MutexGuard<'m, HashMap<u64, Inode>>,
    ) -> MutexGuard<'m, HashMap<u64, Inode>> {
        self.freed.wait(inodes).unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known of an inode, and forgets it if that is nothing.
    /// What it had open is closed without the lock, since that can take its time.
    fn update(&self, node: u64, change: impl FnOnce(&mut Inode)) {
        let mut unused = None;
        if let Entry::Occupied(mut known) = self.lock().entry(node) {
            let inode = known.get_mut();
            change(inode);
            if !inode.is_open() {
                unused = inode.own.take();
            }
            if inode.is_idle() {
                known.remove();
            }
        }
        drop(unused);
        self.freed.notify_all();
    }
}

/// All inodes of a mount.
#[derive(Debug)]
pub(super) struct Writers {
    shards: [Shard; SHARDS],
}

impl Writers {
    pub(super) fn new() -> Arc<Writers> {
        Arc::new(Writers { shards: std::array::from_fn(|_| Shard::default()) })
    }

    /// The time to wait for a doubt that probably ends in a moment. A grant is a request that may
    /// last, and counts for its caller's share.
    pub(super) fn patience(&self) -> Patience {
        Patience { until: Instant::now() + PATIENCE }
    }

    /// Waits for a doubt to end; `false` if the patience has ended.
    pub(super) fn wait(&self, node: u64, doubt: Doubt, patience: &Patience) -> bool {
        match doubt {
            _ if patience.left().is_zero() => false,
            Doubt::Open => self.wait_for_close(node, patience),
            Doubt::Unclear => patience.pause(),
        }
    }

    /// Waits until no handle that can be mapped is open; `false` if one still is when the patience
    /// ends. A closed handle counts as open until its RELEASE arrives.
    fn wait_for_close(&self, node: u64, patience: &Patience) -> bool {
        let shard = self.shard(node);
        let mut inodes = shard.lock();
        while inodes.get(&node).is_some_and(|inode| inode.mapped != 0) {
            let left = patience.left();
            if left.is_zero() {
                return false;
            }
            let waited = shard.freed.wait_timeout(inodes, left);
            inodes = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn shard(&self, node: u64) -> &Shard {
        // The remainder is in range.
        &self.shards[mixed(node) % SHARDS]
    }

    /// A change or an open begins, once no grant is under way.
    pub(super) fn change(self: &Arc<Self>, node: u64) -> Changing {
        let shard = self.shard(node);
        let mut inodes = shard.lock();
        while inodes.get(&node).is_some_and(|inode| inode.exclusive || inode.waiting != 0) {
            inodes = shard.wait(inodes);
        }
        inodes.entry(node).or_default().changing += 1;
        Changing { writers: Arc::clone(self), node }
    }

    /// A handle ends.
    fn close(&self, node: u64, access: Access) {
        self.shard(node).update(node, |inode| {
            let handles = inode.handles(access);
            *handles = handles.saturating_sub(1);
        });
    }

    /// A grant begins, once no change and no other grant is under way.
    pub(super) fn exclude(self: &Arc<Self>, node: u64) -> Excluding<'_> {
        let shard = self.shard(node);
        let mut inodes = shard.lock();
        inodes.entry(node).or_default().waiting += 1;
        while inodes.get(&node).is_some_and(|inode| inode.exclusive || inode.changing != 0) {
            inodes = shard.wait(inodes);
        }
        let inode = inodes.entry(node).or_default();
        inode.waiting = inode.waiting.saturating_sub(1);
        inode.exclusive = true;
        Excluding { writers: self, node }
    }

    /// As [`exclude`](Writers::exclude), of an inode that nothing is open of for writing; `None`
    /// where it would have to wait.
    pub(super) fn try_exclude(self: &Arc<Self>, node: u64) -> Option<Excluding<'_>> {
        let mut inodes = self.shard(node).lock();
        if inodes.get(&node).is_some_and(|inode| inode.is_open() || !inode.is_idle()) {
            return None;
        }
        inodes.entry(node).or_default().exclusive = true;
        Some(Excluding { writers: self, node })
    }

    /// How many inodes something is known of.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

/// The right to wait for a while.
pub(super) struct Patience {
    until: Instant,
}

impl Patience {
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Waits for a moment; `false` where it is too late for that.
    fn pause(&self) -> bool {
        let left = self.left();
        std::thread::sleep(left.min(Duration::from_millis(1)));
        !left.is_zero()
    }
}

/// A change that goes on, until dropped.
#[must_use]
#[derive(Debug)]
pub(crate) struct Changing {
    writers: Arc<Writers>,
    node: u64,
}

impl Changing {
    fn inode<T>(&self, look: impl FnOnce(&mut Inode) -> T) -> T {
        look(self.writers.shard(self.node).lock().entry(self.node).or_default())
    }

    /// Counts a handle.
    pub(crate) fn open(&self, access: Access) -> Opened {
        self.inode(|inode| *inode.handles(access) += 1);
        Opened { writers: Arc::clone(&self.writers), node: self.node, access }
    }

    /// The descriptor to write by: that of all handles, if it does for this one, or a new one,
    /// which `open` opens. That can wait; nothing is locked meanwhile.
    pub(crate) fn writer(
        &self,
        append: Append,
        open: impl FnOnce() -> Result<Writer, Errno>,
    ) -> Result<Arc<Writer>, Errno> {
        // One that was opened before the file was append-only writes anywhere.
        let fits = |own: &Option<Own>| match own {
            Some(Own::Writes(writer)) if writer.fits(append) => Some(Arc::clone(writer)),
            _ => None,
        };
        if let Some(writer) = self.inode(|inode| fits(&inode.own)) {
            return Ok(writer);
        }
        let new = Arc::new(open()?);
        let (writer, before) = self.inode(|inode| match (fits(&inode.own), &inode.own) {
            (Some(other), _) => (other, None),
            (None, _) if !inode.is_open() => (Arc::clone(&new), None),
            // It cannot be opened again if the file is append-only now.
            (None, Some(Own::Writes(anywhere))) if !anywhere.appends => (Arc::clone(&new), None),
            (None, _) => (Arc::clone(&new), inode.own.replace(Own::Writes(Arc::clone(&new)))),
        });
        drop(before);
        Ok(writer)
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        let done = |inode: &mut Inode| inode.changing = inode.changing.saturating_sub(1);
        self.writers.shard(self.node).update(self.node, done);
    }
}

/// Why a grant is not possible now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Doubt {
    /// The kernel says that the file is open for writing, or mapped so.
    Unclear,
    /// A handle is open that can be mapped and written.
    Open,
}

/// Nothing else happens to the inode, until dropped.
#[must_use]
#[derive(Debug)]
pub(super) struct Excluding<'w> {
    writers: &'w Arc<Writers>,
    node: u64,
}

impl Excluding<'_> {
    fn inode<T>(&self, look: impl FnOnce(&mut Inode) -> T) -> T {
        look(self.writers.shard(self.node).lock().entry(self.node).or_default())
    }

    /// Whether a handle is open that can be mapped and written.
    pub(super) fn is_mapped(&self) -> bool {
        self.inode(|inode| inode.mapped != 0)
    }

    /// Closes the server's own descriptor for writing, if there is one; `hold` opens the inode with
    /// O_PATH.
    pub(super) fn give_back(
        &self,
        hold: impl FnOnce() -> Result<OwnedFd, Errno>,
    ) -> Result<(), Errno> {
        if !self.inode(|inode| matches!(inode.own, Some(Own::Writes(_)))) {
            return Ok(());
        }
        let held = hold()?;
        // No change is under way, so no other thread uses it.
        let before = self.inode(|inode| inode.own.replace(Own::GivenBack(held)));
        drop(before);
        Ok(())
    }
}

impl Drop for Excluding<'_> {
    fn drop(&mut self) {
        let done = |inode: &mut Inode| inode.exclusive = false;
        self.writers.shard(self.node).update(self.node, done);
    }
}

/// An open handle that can write, until dropped.
#[must_use]
#[derive(Debug)]
pub(crate) struct Opened {
    writers: Arc<Writers>,
    node: u64,
    access: Access,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.writers.close(self.node, self.access);
    }
}
