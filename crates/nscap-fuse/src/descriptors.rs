// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shares of the server's descriptors: how many one uid can make the server keep open.
//!
//! A passthrough handle costs the server no descriptor. Every other handle counts here, as the
//! descriptors that it needs. It counts in full although handles of one inode share descriptors:
//! then no uid depends on another uid's handles. A uid that is over its share gets ENFILE until it
//! has closed some. Root of the server's own namespace has no share: the other uids together leave
//! it a quarter.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::shards::locked;

const ROOT: u32 = 0;

/// How long an open waits for a descriptor of its caller's share. close(2) does not wait for
/// RELEASE, so the server still counts a handle for a moment after its close.
const PATIENCE: Duration = Duration::from_millis(50);

/// The most descriptors that handles may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// Of one uid that is not root.
    each: usize,
    /// Of all uids that are not root.
    others: usize,
    /// Of all uids.
    all: usize,
}

/// How the server divides the descriptors that it may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Division {
    /// For the inodes that were used last.
    pub(crate) recent: usize,
    pub(crate) handles: Limits,
}

impl Division {
    /// `descriptors`: RLIMIT_NOFILE. `threads`: how many threads serve; each needs some for its
    /// request. At most half is for the server itself: for lookups and for identifying callers.
    pub(crate) fn of(descriptors: u64, threads: usize) -> Division {
        const RECENT_MAX: usize = 512;
        const FOR_A_THREAD: usize = 16;
        const OWN: usize = 128;
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let recent = (descriptors / 8).min(RECENT_MAX);
        let reserve = (threads * FOR_A_THREAD + recent + OWN).min(descriptors / 2);
        let all = descriptors - reserve;
        Division { recent, handles: Limits { each: all / 4, others: all / 4 * 3, all } }
    }
}

/// The lowest RLIMIT_NOFILE with which so many threads can serve: with fewer, the server's own half
/// would not be enough.
pub(crate) fn least(threads: usize) -> u64 {
    const FOR_A_THREAD: usize = 4;
    const OWN: usize = 128;
    u64::try_from(2 * (OWN + threads * FOR_A_THREAD)).unwrap_or(u64::MAX)
}

#[derive(Default, Debug)]
struct Used {
    all: usize,
    others: usize,
    by_uid: HashMap<u32, usize>,
}

impl Used {
    fn of(&self, uid: u32) -> usize {
        self.by_uid.get(&uid).copied().unwrap_or(0)
    }

    /// Whether this uid may have `count` more.
    fn has(&self, limits: &Limits, uid: u32, count: usize) -> bool {
        let others = || self.of(uid) + count <= limits.each && self.others + count <= limits.others;
        self.all + count <= limits.all && (uid == ROOT || others())
    }
}

/// The descriptors of all handles.
#[derive(Debug)]
pub(crate) struct Descriptors {
    limits: Limits,
    used: Mutex<Used>,
    given_back: Condvar,
}

impl Descriptors {
    pub(crate) fn new(limits: Limits) -> Arc<Descriptors> {
        Arc::new(Descriptors { limits, used: Mutex::default(), given_back: Condvar::new() })
    }

    /// Counts descriptors for this uid. ENFILE if they are more than its share, and still are after
    /// [`PATIENCE`].
    pub(crate) fn take(self: &Arc<Self>, uid: u32, count: usize) -> Result<Share, Errno> {
        self.take_within(self.limits, uid, count, PATIENCE)
    }

    /// Counts one descriptor for an optional use: ENFILE if half of the share is taken.
    pub(crate) fn take_spare(self: &Arc<Self>, uid: u32) -> Result<Share, Errno> {
        let Limits { each, others, all } = self.limits;
        let half = Limits { each: each / 2, others: others / 2, all: all / 2 };
        self.take_within(half, uid, 1, Duration::ZERO)
    }

    fn take_within(
        self: &Arc<Self>,
        limits: Limits,
        uid: u32,
        count: usize,
        patience: Duration,
    ) -> Result<Share, Errno> {
        let mut used = locked(&self.used);
        let mut until = None;
        while !used.has(&limits, uid, count) {
            let until = *until.get_or_insert_with(|| Instant::now() + patience);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Errno::NFILE);
            }
            let waited = self.given_back.wait_timeout(used, left);
            used = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let own = used.of(uid);
        used.all += count;
        if uid != ROOT {
            used.others += count;
            used.by_uid.insert(uid, own + count);
        }
        Ok(Share { all: Arc::clone(self), uid, count })
    }

    fn give_back(&self, uid: u32, count: usize) {
        let mut used = locked(&self.used);
        self.given_back.notify_all();
        used.all = used.all.saturating_sub(count);
        if uid == ROOT {
            return;
        }
        used.others = used.others.saturating_sub(count);
        if let Some(own) = used.by_uid.get_mut(&uid) {
            *own = own.saturating_sub(count);
            if *own == 0 {
                used.by_uid.remove(&uid);
            }
        }
    }
}

/// Counted descriptors; given back when dropped.
#[must_use]
#[derive(Debug)]
pub(crate) struct Share {
    all: Arc<Descriptors>,
    uid: u32,
    count: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.give_back(self.uid, self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { each: 10, others: 30, all: 40 };

    fn take(shares: &Arc<Descriptors>, uid: u32, count: usize) -> Result<Share, Errno> {
        shares.take_within(LIMITS, uid, count, Duration::ZERO)
    }

    fn take_all(shares: &Arc<Descriptors>, uid: u32) -> Vec<Share> {
        std::iter::from_fn(|| take(shares, uid, 1).ok()).collect()
    }

    #[test]
    fn a_descriptor_that_is_given_back_in_a_moment_is_waited_for() {
        let shares = Descriptors::new(LIMITS);
        let all = take_all(&shares, 1000);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(10));
                drop(all);
            });
            assert!(shares.take_within(LIMITS, 1000, 1, Duration::from_secs(60)).is_ok());
        });
    }

    #[test]
    fn one_uid_takes_nothing_from_another_and_all_leave_some_for_root() {
        let shares = Descriptors::new(LIMITS);
        let one = take_all(&shares, 1000);
        assert_eq!(one.len(), 10);
        assert_eq!(take(&shares, 1000, 1).err(), Some(Errno::NFILE));
        let spare: Vec<_> = std::iter::from_fn(|| shares.take_spare(1001).ok()).collect();
        assert_eq!(spare.len(), 5);
        drop(spare);
        let other = take(&shares, 1001, 2).unwrap();
        let rest: Vec<_> = (2000..3000).flat_map(|uid| take_all(&shares, uid)).collect();
        assert_eq!(one.len() + 2 + rest.len(), 30);
        assert_eq!(take_all(&shares, 0).len(), 10);
        drop((one, other, rest));
        assert_eq!(take_all(&shares, 1000).len(), 10);
        assert!(locked(&shares.used).by_uid.is_empty());
        assert_eq!(locked(&shares.used).all, 0);
    }

    #[test]
    fn whatever_the_limit_is_half_is_for_the_server() {
        for descriptors in [0, 20, 200, 1024, 20_000, 1 << 30, u64::MAX] {
            for threads in [1, 10, 300] {
                let Division { recent, handles } = Division::of(descriptors, threads);
                assert!(handles.each * 3 <= handles.others && handles.others <= handles.all);
                let half = usize::try_from(descriptors).unwrap() / 2;
                assert!(handles.all >= half && recent <= half / 4 + 1);
                assert!(descriptors < 4096 || handles.all > half);
            }
        }
    }
}
