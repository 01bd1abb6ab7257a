//! K: who may be changing a file right now, or could without being seen, and who may not therefore
//! grant. Remembered only of inodes that are open for writing; of all others the kernel is asked.
//!
//! A change (a write that reaches us, a truncation, a chown) and a grant exclude each other, inode by
//! inode. An open that can be mapped shared and writable forbids grants as long as it lasts, since
//! what is stored through a mapping shows nowhere; and a mapping outlives it. So an inode of which
//! we have not seen every writer since the kernel last said that there was none is *unclear*, and
//! its next grant has to ask again. Nothing is known at the start: a mapping outlives a server, too.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many locks there are: more than threads.
const SHARDS: usize = 64;

/// How long a grant waits for a handle that may be closed already.
const PATIENCE: Duration = Duration::from_millis(50);

/// What a handle can do to the content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// Write; it cannot be mapped, and every write strips.
    WriteOnly,
    /// Write, and be mapped shared and writable until it is closed.
    Mapped,
    /// The same, and the mapping outlives it (FUSE passthrough).
    MappedOn,
}

/// What is known of one inode.
#[derive(Default, Debug)]
struct Inode {
    mapped: u32,
    write_only: u32,
    /// No writer that is not counted here, and no mapping.
    clear: bool,
    changing: u32,
    exclusive: bool,
    waiting: u32,
}

impl Inode {
    fn is_open(&self) -> bool {
        self.mapped != 0 || self.write_only != 0
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
    fn update(&self, node: u64, change: impl FnOnce(&mut Inode)) {
        if let Entry::Occupied(mut known) = self.lock().entry(node) {
            change(known.get_mut());
            if known.get().is_idle() {
                known.remove();
            }
        }
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

    /// Until when to wait for something that is probably over in a moment. A thread that waits takes
    /// no other's: a grant may last, and is in its caller's share.
    pub(super) fn patience(&self) -> Patience {
        Patience { until: Instant::now() + PATIENCE }
    }

    /// Waits for what stood in the way of a grant to go; `false` where it is too late for that.
    pub(super) fn wait(&self, node: u64, doubt: Doubt, patience: &Patience) -> bool {
        match doubt {
            _ if patience.left().is_zero() => false,
            Doubt::Open => self.wait_for_close(node, patience),
            Doubt::None | Doubt::Unclear => patience.pause(),
        }
    }

    /// Waits until no handle is open that can be mapped; `false` where one still is at that time.
    /// A handle that was closed is open to us until the kernel's word of it has come through.
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
        // The numbers of inodes are often addresses or counters.
        let mixed = node.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
        &self.shards[mixed as usize % SHARDS]
    }

    /// A change begins, once no grant is under way.
    pub(super) fn change(self: &Arc<Self>, node: u64) -> Changing {
        let shard = self.shard(node);
        let mut inodes = shard.lock();
        while inodes.get(&node).is_some_and(|inode| inode.exclusive || inode.waiting != 0) {
            inodes = shard.wait(inodes);
        }
        inodes.entry(node).or_default().changing += 1;
        Changing { writers: Arc::clone(self), node }
    }

    /// A grant or an open begins, once no change, grant or open is under way.
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

impl Drop for Changing {
    fn drop(&mut self) {
        let done = |inode: &mut Inode| inode.changing = inode.changing.saturating_sub(1);
        self.writers.shard(self.node).update(self.node, done);
    }
}

/// What stands in the way of a grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Doubt {
    /// Nothing.
    None,
    /// The kernel is to be asked whether anybody writes.
    Unclear,
    /// Somebody has the file open so that it can be mapped and written.
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

    pub(super) fn doubt(&self) -> Doubt {
        self.inode(|inode| match inode {
            Inode { mapped: 1.., .. } => Doubt::Open,
            Inode { clear: true, .. } => Doubt::None,
            _ => Doubt::Unclear,
        })
    }

    /// Whether this would be the only handle that writes, so that it can be found out whether
    /// there is any other writer.
    pub(super) fn is_first(&self) -> bool {
        self.inode(|inode| !inode.is_open())
    }

    /// Counts a handle. `clear`: the kernel has just said that nobody writes.
    pub(super) fn open(&self, access: Access, clear: bool) -> Opened {
        self.inode(|inode| {
            inode.clear |= clear;
            match access {
                Access::WriteOnly => inode.write_only += 1,
                Access::Mapped | Access::MappedOn => inode.mapped += 1,
            }
        });
        let (writers, node) = (Arc::clone(self.writers), self.node);
        Opened { _handle: Some(Handle { writers, node, access }) }
    }
}

impl Drop for Excluding<'_> {
    fn drop(&mut self) {
        let done = |inode: &mut Inode| inode.exclusive = false;
        self.writers.shard(self.node).update(self.node, done);
    }
}

/// An open handle, until dropped.
#[must_use]
#[derive(Debug)]
pub(crate) struct Opened {
    _handle: Option<Handle>,
}

impl Opened {
    /// One that cannot write: nothing is to be remembered.
    pub(super) fn reader() -> Opened {
        Opened { _handle: None }
    }
}

#[derive(Debug)]
struct Handle {
    writers: Arc<Writers>,
    node: u64,
    access: Access,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.writers.shard(self.node).update(self.node, |inode| match self.access {
            Access::WriteOnly => inode.write_only = inode.write_only.saturating_sub(1),
            Access::Mapped => inode.mapped = inode.mapped.saturating_sub(1),
            Access::MappedOn => {
                inode.mapped = inode.mapped.saturating_sub(1);
                inode.clear = false;
            }
        });
    }
}
