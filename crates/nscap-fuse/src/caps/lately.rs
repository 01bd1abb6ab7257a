// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which thread has lately set `security.capability` of which inode, for one answer: an overlayfs
//! whose upper directory is on the mount copies a file up before it changes its owner. It sets the
//! attribute, sets the owner of the copy (which drops it, K), and then removes the attribute for
//! the change that was asked for: all by one thread. That there is nothing to remove any more is no
//! error then, which would fail the change.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::shards::locked;

const SLOTS: usize = 64;
/// Longer than the requests take that come between.
const LATELY: Duration = Duration::from_secs(5);

/// Several threads share one slot; a later one replaces an earlier one.
#[derive(Debug)]
pub(super) struct Lately([Mutex<Option<Setting>>; SLOTS]);

#[derive(Clone, Copy, Debug)]
struct Setting {
    tid: u32,
    node: u64,
    when: Instant,
}

impl Default for Lately {
    fn default() -> Lately {
        Lately([const { Mutex::new(None) }; SLOTS])
    }
}

impl Lately {
    fn slot(&self, tid: u32) -> Option<&Mutex<Option<Setting>>> {
        self.0.get(tid as usize % SLOTS)
    }

    /// The thread has set it.
    pub(super) fn set(&self, tid: u32, node: u64) {
        if let Some(slot) = self.slot(tid) {
            *locked(slot) = Some(Setting { tid, node, when: Instant::now() });
        }
    }

    /// Whether the thread has set it lately, and not asked this since.
    pub(super) fn has_set(&self, tid: u32, node: u64) -> bool {
        let its = |set: &mut Setting| (set.tid, set.node) == (tid, node);
        let taken = self.slot(tid).and_then(|slot| locked(slot).take_if(its));
        taken.is_some_and(|set| set.when.elapsed() < LATELY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_threads_and_the_inodes_and_once() {
        let lately = Lately::default();
        lately.set(5, 10);
        assert!(!lately.has_set(5, 11) && !lately.has_set(6, 10) && !lately.has_set(5 + 64, 10));
        assert!(lately.has_set(5, 10) && !lately.has_set(5, 10));
        lately.set(5, 10);
        lately.set(5 + 64, 10);
        assert!(!lately.has_set(5, 10) && lately.has_set(5 + 64, 10));
    }
}
