// SPDX-License-Identifier: MIT OR Apache-2.0
//! Node ids for inodes whose own number belongs to another inode: to a deleted one that the kernel
//! has not forgotten, or, on a stacked file system, to one with the same number.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::numbers::{Own, SPARE};
use crate::shards::locked;

#[derive(Debug, Default)]
pub(crate) struct Taken {
    by_own: HashMap<Own, Vec<u64>>,
    own_of: HashMap<u64, Own>,
}

/// The spare node ids of a mount.
#[derive(Debug)]
pub(crate) struct Spares {
    taken: Mutex<Taken>,
    in_use: AtomicUsize,
    next: AtomicU64,
}

impl Default for Spares {
    fn default() -> Spares {
        Spares { taken: Mutex::default(), in_use: AtomicUsize::new(0), next: AtomicU64::new(SPARE) }
    }
}

impl Spares {
    /// Whether no spare node id exists, and none is being given. Called under the lock of a node
    /// id's shard: a thread that gives a spare node id counts it before it takes that lock.
    pub(crate) fn none(&self) -> bool {
        self.in_use.load(Ordering::SeqCst) == 0
    }

    /// While the result lives, no other thread gives a spare node id or takes one back.
    pub(crate) fn lock(&self) -> Giving<'_> {
        let taken = locked(&self.taken);
        self.in_use.fetch_add(1, Ordering::SeqCst);
        Giving { spares: self, taken }
    }
}

/// See [`Spares::lock`].
pub(crate) struct Giving<'s> {
    spares: &'s Spares,
    taken: MutexGuard<'s, Taken>,
}

impl Giving<'_> {
    /// The spare node ids of the inodes with this number on the source.
    pub(crate) fn of(&self, own: Own) -> &[u64] {
        self.taken.by_own.get(&own).map_or(&[], Vec::as_slice)
    }

    /// A new spare node id.
    pub(crate) fn give(&mut self, own: Own) -> u64 {
        let spare = self.spares.next.fetch_add(1, Ordering::Relaxed);
        self.taken.by_own.entry(own).or_default().push(spare);
        self.taken.own_of.insert(spare, own);
        spare
    }

    /// Frees a spare node id.
    pub(crate) fn take_back(&mut self, spare: u64) {
        let taken = &mut *self.taken;
        let Some(own) = taken.own_of.remove(&spare) else {
            return;
        };
        if let Some(all) = taken.by_own.get_mut(&own) {
            all.retain(|it| *it != spare);
            if all.is_empty() {
                taken.by_own.remove(&own);
            }
        }
    }
}

impl Drop for Giving<'_> {
    fn drop(&mut self) {
        self.spares.in_use.store(self.taken.own_of.len(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_may_have_several_and_none_is_given_twice() {
        let spares = Spares::default();
        assert!(spares.none());
        let (one, other) = (Own::new(5, 12), Own::new(5, 13));
        let mut giving = spares.lock();
        assert!(!spares.none());
        let (first, second, third) = (giving.give(one), giving.give(one), giving.give(other));
        assert_eq!(giving.of(one), [first, second]);
        giving.take_back(first);
        assert_eq!((giving.of(one), giving.of(other)), (&[second][..], &[third][..]));
        assert!(![first, second, third].contains(&giving.give(one)));
        drop(giving);
        assert!(!spares.none());
        let mut giving = spares.lock();
        for spare in [SPARE, SPARE + 1, SPARE + 2, SPARE + 3, SPARE + 4] {
            giving.take_back(spare);
        }
        drop(giving);
        assert!(spares.none());
    }
}
