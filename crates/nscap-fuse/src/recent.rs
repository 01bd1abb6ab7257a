// SPDX-License-Identifier: MIT OR Apache-2.0
//! A direct-mapped cache by node id.

use std::sync::Mutex;

use crate::shards::{locked, mixed};

/// Each node id has one slot; a later value replaces an earlier one.
#[derive(Debug)]
pub(crate) struct Recent<T>(Vec<Mutex<Option<(u64, T)>>>);

impl<T> Recent<T> {
    /// A cache of at most `slots` values.
    pub(crate) fn new(slots: usize) -> Recent<T> {
        Recent((0..slots).map(|_| Mutex::new(None)).collect())
    }

    fn slot(&self, node: u64) -> Option<&Mutex<Option<(u64, T)>>> {
        self.0.get(mixed(node).checked_rem(self.0.len())?)
    }

    pub(crate) fn get(&self, node: u64) -> Option<T>
    where
        T: Clone,
    {
        let slot = locked(self.slot(node)?);
        slot.as_ref().filter(|(kept, _)| *kept == node).map(|(_, thing)| thing.clone())
    }

    pub(crate) fn take(&self, node: u64) -> Option<T> {
        locked(self.slot(node)?).take_if(|(kept, _)| *kept == node).map(|(_, thing)| thing)
    }

    pub(crate) fn keep(&self, node: u64, thing: T) {
        if let Some(slot) = self.slot(node) {
            let before = locked(slot).replace((node, thing));
            // Dropped after the lock.
            drop(before);
        }
    }
}
