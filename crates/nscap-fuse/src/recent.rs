//! Descriptors of the inodes that were used last, so that not every request opens one anew.

use std::sync::Mutex;

use crate::inodes::{Found, locked, mixed};

const SLOTS: usize = 512;

/// One place for each number; whoever comes later takes it.
#[derive(Debug)]
pub(crate) struct Recent(Vec<Mutex<Option<(u64, Found)>>>);

impl Default for Recent {
    fn default() -> Recent {
        Recent((0..SLOTS).map(|_| Mutex::new(None)).collect())
    }
}

impl Recent {
    fn slot(&self, node: u64) -> Option<&Mutex<Option<(u64, Found)>>> {
        self.0.get(mixed(node) % SLOTS)
    }

    pub(crate) fn get(&self, node: u64) -> Option<Found> {
        let slot = locked(self.slot(node)?);
        slot.as_ref().filter(|(kept, _)| *kept == node).map(|(_, found)| found.clone())
    }

    pub(crate) fn keep(&self, node: u64, found: Found) {
        if let Some(slot) = self.slot(node) {
            let before = locked(slot).replace((node, found));
            // Closed without the lock.
            drop(before);
        }
    }

    /// The kernel has forgotten it: an open descriptor would keep what has no name any more.
    pub(crate) fn drop_of(&self, node: u64) {
        if let Some(slot) = self.slot(node) {
            let kept = locked(slot).take_if(|(kept, _)| *kept == node);
            drop(kept);
        }
    }
}
