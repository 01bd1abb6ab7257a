// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers for inodes whose own number is another's: one that is gone and not forgotten, or, on a
//! stacked file system, one that has the same number all the time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::inodes::locked;
use crate::numbers::{Own, SPARE};

#[derive(Debug, Default)]
pub(crate) struct Taken {
    by_own: HashMap<Own, Vec<u64>>,
    own_of: HashMap<u64, Own>,
}

/// The spare numbers of a mount.
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
    /// Whether there are none, and none are being given. Asked under the lock of a number's shard:
    /// a thread that makes a spare one says so before it takes that lock.
    pub(crate) fn none(&self) -> bool {
        self.in_use.load(Ordering::SeqCst) == 0
    }

    /// While this lives no other thread gives a spare number or takes one back.
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
    /// Those of the inodes that have this number on the source.
    pub(crate) fn of(&self, own: Own) -> &[u64] {
        self.taken.by_own.get(&own).map_or(&[], Vec::as_slice)
    }

    /// A new one.
    pub(crate) fn give(&mut self, own: Own) -> u64 {
        let spare = self.spares.next.fetch_add(1, Ordering::Relaxed);
        self.taken.by_own.entry(own).or_default().push(spare);
        self.taken.own_of.insert(spare, own);
        spare
    }

    /// It is no inode's any more.
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
