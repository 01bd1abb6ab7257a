// SPDX-License-Identifier: MIT OR Apache-2.0
//! File handles by the numbers that the kernel names them by.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::io::Errno;

const SHARDS: u64 = 8;

/// The first number: smaller ones have a fixed meaning, and no entry in the table.
pub(crate) const FIRST: u64 = 16;

/// A table of values by number. A number is never used again.
#[derive(Debug)]
pub(crate) struct Handles<T> {
    shards: [RwLock<HashMap<u64, Arc<T>>>; SHARDS as usize],
    next: AtomicU64,
}

impl<T> Default for Handles<T> {
    fn default() -> Handles<T> {
        Handles {
            shards: std::array::from_fn(|_| RwLock::new(HashMap::new())),
            next: AtomicU64::new(FIRST),
        }
    }
}

impl<T> Handles<T> {
    fn shard(&self, number: u64) -> &RwLock<HashMap<u64, Arc<T>>> {
        // The remainder is in range.
        &self.shards[(number % SHARDS) as usize]
    }

    pub(crate) fn add(&self, thing: T) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut shard = self.shard(number).write().unwrap_or_else(PoisonError::into_inner);
        shard.insert(number, Arc::new(thing));
        number
    }

    /// EBADF for a number that is not in the table.
    pub(crate) fn get(&self, number: u64) -> Result<Arc<T>, Errno> {
        let shard = self.shard(number).read().unwrap_or_else(PoisonError::into_inner);
        shard.get(&number).cloned().ok_or(Errno::BADF)
    }

    pub(crate) fn remove(&self, number: u64) -> Option<Arc<T>> {
        let mut shard = self.shard(number).write().unwrap_or_else(PoisonError::into_inner);
        shard.remove(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_one_thing_for_ever() {
        let handles = Handles::default();
        let (one, two) = (handles.add("one"), handles.add("two"));
        assert_eq!(*handles.get(one).unwrap(), "one");
        assert_eq!(handles.remove(one).as_deref(), Some(&"one"));
        assert_eq!(handles.get(one), Err(Errno::BADF));
        assert!(handles.add("three") > two);
    }
}
