//! Things of the inodes that were used last, so that not every request makes them anew.

use std::sync::Mutex;

use crate::inodes::{locked, mixed};

const SLOTS: usize = 512;

/// One place for each number; whoever comes later takes it.
#[derive(Debug)]
pub(crate) struct Recent<T>(Vec<Mutex<Option<(u64, T)>>>);

impl<T> Default for Recent<T> {
    fn default() -> Recent<T> {
        Recent((0..SLOTS).map(|_| Mutex::new(None)).collect())
    }
}

impl<T> Recent<T> {
    fn slot(&self, node: u64) -> Option<&Mutex<Option<(u64, T)>>> {
        self.0.get(mixed(node) % SLOTS)
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
            // Dropped without the lock.
            drop(before);
        }
    }
}
