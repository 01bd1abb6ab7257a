// SPDX-License-Identifier: MIT OR Apache-2.0
//! Remembered namespaces, in shares: a user that makes many loses its own, and not those of others.
//! A share belongs to the uid that made the highest namespace below this process's own. Each such
//! namespace that root made has its own share, since it is a container.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::ns::{Key, Lineage};
use crate::sys;

/// How many namespaces are remembered, and how many extents of all their maps together.
const NAMESPACES_MAX: usize = 1024;
const EXTENTS_MAX: usize = 65_536;

/// How long a failure is remembered, and of how many shares.
const MOMENT: Duration = Duration::from_secs(1);
const FAILURES_MAX: usize = 1024;

/// What a namespace counts for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Share {
    /// A uid, in our own namespace's terms.
    Maker(u32),
    /// One namespace with what is below it.
    Namespace(Key),
}

impl Share {
    /// The share of what is below the highest namespace below our own.
    pub(super) fn of(highest: &OwnedFd, path: &Path) -> Result<Share> {
        let owner = sys::ns_owner_uid(highest)
            .map_err(|e| Error::call(path, "ioctl(NS_GET_OWNER_UID)", e))?;
        if owner == rustix::process::geteuid().as_raw() {
            return Ok(Share::Namespace(Key::of(path, highest)?));
        }
        Ok(Share::Maker(owner))
    }
}

/// Namespaces by what they are known by.
#[derive(Debug)]
pub(super) struct Remembered {
    all: RwLock<HashMap<Key, LineageEntry>>,
    clock: AtomicU64,
    most: usize,
}

#[derive(Debug)]
struct LineageEntry {
    lineage: Arc<Lineage>,
    share: Share,
    weight: usize,
    used: AtomicU64,
}

impl Default for Remembered {
    fn default() -> Remembered {
        Remembered::at_most(NAMESPACES_MAX)
    }
}

impl Remembered {
    pub(super) fn at_most(most: usize) -> Remembered {
        Remembered { all: RwLock::default(), clock: AtomicU64::new(0), most }
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn get(&self, key: Key) -> Option<(Arc<Lineage>, Share)> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(&key)?;
        known.used.store(self.now(), Ordering::Relaxed);
        Some((Arc::clone(&known.lineage), known.share))
    }

    pub(super) fn remember(&self, lineage: &Arc<Lineage>, share: Share) {
        let (weight, used) = (lineage.weight(), AtomicU64::new(self.now()));
        let known = LineageEntry { lineage: Arc::clone(lineage), share, weight, used };
        let mut forgotten = Vec::new();
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(lineage.key(), known);
        while let Some(key) = self.too_much(&all) {
            forgotten.extend(all.remove(&key));
        }
        // Dropped without the lock.
        drop(all);
    }

    /// The namespace to forget: in the largest share, the one that was not used for the longest
    /// time.
    fn too_much(&self, all: &HashMap<Key, LineageEntry>) -> Option<Key> {
        let heavy = all.values().map(|known| known.weight).sum::<usize>() > EXTENTS_MAX;
        if all.len() <= self.most && !heavy {
            return None;
        }
        let used = |known: &LineageEntry| known.used.load(Ordering::Relaxed);
        let mut shares: HashMap<Share, (usize, u64)> = HashMap::new();
        for known in all.values() {
            let (much, oldest) = shares.entry(known.share).or_insert((0, u64::MAX));
            *much += if heavy { known.weight } else { 1 };
            *oldest = used(known).min(*oldest);
        }
        let (most, _) =
            shares.into_iter().max_by_key(|(_, (much, old))| (*much, u64::MAX - old))?;
        let of_it = all.iter().filter(|(_, known)| known.share == most);
        let oldest = of_it.min_by_key(|(_, known)| used(known));
        oldest.map(|(key, _)| *key)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.all.read().unwrap().len()
    }
}

/// The shares in which a namespace could not be visited a moment ago.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<Share, (Instant, i32)>>);

impl Failures {
    /// # Errors
    /// The failure of a moment ago.
    pub(super) fn check(&self, share: Share, path: &Path) -> Result<()> {
        let failed = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&share).copied();
        match failed {
            Some((when, errno)) if when.elapsed() < MOMENT => {
                Err(Error::call(path, "setns", errno))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn note(&self, share: Share, error: &Error) {
        let Error::Call { call: "setns", errno, .. } = error else {
            return;
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= FAILURES_MAX {
            all.retain(|_, (when, _)| when.elapsed() < MOMENT);
        }
        if all.len() < FAILURES_MAX {
            all.insert(share, (Instant::now(), *errno));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_its_shares_and_for_a_moment() {
        let (failures, path) = (Failures::default(), Path::new("/proc/1"));
        let (one, other) = (Share::Maker(1000), Share::Maker(1001));
        failures.note(one, &Error::call(path, "open", libc::EMFILE));
        assert!(failures.check(one, path).is_ok());
        failures.note(one, &Error::call(path, "setns", libc::EAGAIN));
        assert!(failures.check(one, path).unwrap_err().is_shortage());
        assert!(failures.check(other, path).is_ok());
        std::thread::sleep(MOMENT);
        assert!(failures.check(one, path).is_ok());
        for uid in 0..2 * u32::try_from(FAILURES_MAX).unwrap() {
            failures.note(Share::Maker(uid), &Error::call(path, "setns", libc::EPERM));
        }
        assert_eq!(failures.0.lock().unwrap().len(), FAILURES_MAX);
    }
}
