// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads that take the same requests, as they are counted: whether one of a group waits for
//! requests, and whether the group needs one more.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::inodes::locked;

/// So many more than a group has at the start may be carrying out what should be quick. Where there
/// are more, quick requests are counted for their callers as well.
const BLOCKED: usize = 16;

/// As long as fewer requests of a group last, no look is made at their callers.
const FEW: usize = 4;

/// How long a thread that was added stays after the last time that its group had none left.
const CALM: Duration = Duration::from_secs(1);

/// How many looks in a row a group whose requests all last has to be without a thread, while others
/// wait.
const LASTS: u32 = 4;

/// A group of threads.
pub(crate) struct Group {
    /// The processor whose queue they serve; `None`: /dev/fuse.
    pub(crate) queue: Option<u16>,
    base: usize,
    threads: AtomicUsize,
    busy: AtomicUsize,
    lasting: AtomicUsize,
    taken: AtomicU64,
    /// Whether one thread was added after the other, and none is to end yet.
    stuck: Mutex<Option<Instant>>,
    /// Whether a thread went away that was the last.
    wants: AtomicBool,
    ended: AtomicBool,
}

/// What a group looked like the last time.
#[derive(Default)]
pub(crate) struct Seen {
    taken: u64,
    none_left: bool,
    lasts: u32,
}

/// One number more, until dropped.
pub(crate) struct One<'g>(&'g AtomicUsize);

impl<'g> One<'g> {
    fn more(number: &'g AtomicUsize) -> One<'g> {
        number.fetch_add(1, SeqCst);
        One(number)
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Group {
    pub(crate) fn new(queue: Option<u16>, base: usize) -> Group {
        Group {
            queue,
            base,
            threads: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            lasting: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            stuck: Mutex::new(None),
            wants: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// One more thread belongs to it; counted before it is made, so that it is not made twice.
    pub(crate) fn join(&self) {
        self.threads.fetch_add(1, SeqCst);
    }

    pub(crate) fn leave(&self) {
        self.threads.fetch_sub(1, SeqCst);
    }

    /// A thread that takes a request wakes the watch where it is the last.
    pub(crate) fn take(&self, watch: &Watch) -> One<'_> {
        let one = One::more(&self.busy);
        self.taken.fetch_add(1, SeqCst);
        if self.none_left() {
            watch.arm();
        }
        one
    }

    /// What the calling thread carries out may last.
    pub(crate) fn lasting(&self) -> One<'_> {
        One::more(&self.lasting)
    }

    /// The same, where so few do that their callers do not matter.
    pub(crate) fn one_of_few(&self) -> Option<One<'_>> {
        let before = self.lasting.fetch_add(1, SeqCst);
        let one = One(&self.lasting);
        (before < FEW).then_some(one)
    }

    /// While the calling thread, which has taken a request, waits for its turn, it is not there.
    pub(crate) fn away<T>(&self, watch: &Watch, wait: impl FnOnce() -> T) -> T {
        self.threads.fetch_sub(1, SeqCst);
        self.busy.fetch_sub(1, SeqCst);
        if self.none_left() {
            self.wants.store(true, SeqCst);
            watch.hurry();
        }
        let waited = wait();
        self.threads.fetch_add(1, SeqCst);
        self.busy.fetch_add(1, SeqCst);
        waited
    }

    /// Whether no thread waits for requests.
    pub(crate) fn none_left(&self) -> bool {
        self.busy.load(SeqCst) >= self.threads.load(SeqCst) && !self.ended.load(SeqCst)
    }

    /// Whether so many threads are busy with what should be quick that it is not.
    pub(crate) fn is_blocked(&self) -> bool {
        let busy = self.busy.load(SeqCst);
        busy > self.base + BLOCKED && busy > self.lasting.load(SeqCst) + self.base + BLOCKED
    }

    /// Whether the calling thread is to end, which has been counted out then.
    pub(crate) fn is_one_too_many(&self) -> bool {
        if self.queue.is_some() || self.threads.load(SeqCst) <= self.base {
            return false;
        }
        let calm = locked(&self.stuck).is_none_or(|stuck| stuck.elapsed() > CALM);
        let less = |threads: usize| (threads > self.base).then(|| threads - 1);
        calm && self.threads.fetch_update(SeqCst, SeqCst, less).is_ok()
    }

    /// Its requests come no more.
    pub(crate) fn end(&self) {
        self.ended.store(true, SeqCst);
    }

    /// Whether it needs one more thread at once.
    pub(crate) fn wants_one(&self) -> bool {
        self.wants.swap(false, SeqCst) && self.none_left()
    }

    /// Whether it needs one more thread; to be asked at intervals while a group has none left.
    /// `backlog`: whether requests wait.
    pub(crate) fn needs_one(&self, seen: &mut Seen, backlog: impl FnOnce() -> bool) -> bool {
        let now = Seen { taken: self.taken.load(SeqCst), none_left: self.none_left(), lasts: 0 };
        let before = std::mem::replace(seen, now);
        if !seen.none_left {
            return false;
        }
        if self.lasting.load(SeqCst) >= self.threads.load(SeqCst) {
            seen.lasts = before.lasts + 1;
        }
        let nothing_moves = before.none_left && before.taken == seen.taken;
        let needs = nothing_moves || (seen.lasts >= LASTS && backlog());
        if needs {
            seen.lasts = 0;
            *locked(&self.stuck) = Some(Instant::now());
        }
        needs
    }
}

/// The thread that looks after the groups. It sleeps as long as each has a thread left.
#[derive(Default)]
pub(crate) struct Watch {
    thread: OnceLock<Thread>,
    armed: AtomicBool,
    hurries: AtomicBool,
    full: AtomicBool,
    over: AtomicBool,
}

impl Watch {
    /// The calling thread is the one.
    pub(crate) fn begin(&self) {
        let _ = self.thread.set(std::thread::current());
    }

    pub(crate) fn arm(&self) {
        if !self.armed.load(SeqCst) && !self.armed.swap(true, SeqCst) {
            self.wake();
        }
    }

    /// A group wants a thread at once.
    fn hurry(&self) {
        self.armed.store(true, SeqCst);
        if !self.hurries.swap(true, SeqCst) {
            self.wake();
        }
    }

    pub(crate) fn has_to_hurry(&self) -> bool {
        self.hurries.swap(false, SeqCst)
    }

    pub(crate) fn disarm(&self) {
        self.armed.store(false, SeqCst);
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(SeqCst)
    }

    /// A thread has ended.
    pub(crate) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// The connection is over.
    pub(crate) fn end(&self) {
        self.over.store(true, SeqCst);
        self.wake();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Whether no thread can be added.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(SeqCst)
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(threads: usize) -> Group {
        let group = Group::new(None, threads);
        (0..threads).for_each(|_| group.join());
        group
    }

    #[test]
    fn one_is_added_where_nothing_moves() {
        let (group, watch, mut seen) = (group(2), Watch::default(), Seen::default());
        let _first = group.take(&watch);
        assert!(!watch.is_armed() && !group.needs_one(&mut seen, || true));
        let second = group.take(&watch);
        assert!(watch.is_armed());
        assert!(!group.needs_one(&mut seen, || true));
        assert!(group.needs_one(&mut seen, || false));
        drop(second);
        assert!(!group.needs_one(&mut seen, || true));
    }

    #[test]
    fn one_is_added_where_all_last_and_others_wait() {
        let (group, watch, mut seen) = (group(1), Watch::default(), Seen::default());
        let mut needed = 0;
        for _ in 0..2 * LASTS {
            let _busy = group.take(&watch);
            let _lasting = group.lasting();
            assert!(!group.needs_one(&mut Seen::default(), || false));
            needed += u32::from(group.needs_one(&mut seen, || true));
        }
        assert_eq!(needed, 2);
        for _ in 0..100 {
            let _quick = group.take(&watch);
            assert!(!group.needs_one(&mut seen, || true));
        }
    }

    #[test]
    fn what_was_added_ends_when_all_is_calm() {
        let (group, watch, mut seen) = (group(1), Watch::default(), Seen::default());
        assert!(!group.is_one_too_many());
        let busy = group.take(&watch);
        group.needs_one(&mut seen, || true);
        assert!(group.needs_one(&mut seen, || true));
        group.join();
        drop(busy);
        assert!(!group.is_one_too_many());
        *locked(&group.stuck) = Instant::now().checked_sub(2 * CALM);
        assert!(group.is_one_too_many() && !group.is_one_too_many());
    }

    #[test]
    fn who_is_away_is_not_counted() {
        let (group, watch) = (group(2), Watch::default());
        let _busy = group.take(&watch);
        group.away(&watch, || {
            assert!(!group.none_left());
            let other = group.take(&watch);
            assert!(group.none_left() && watch.is_armed() && !watch.has_to_hurry());
            group.away(&watch, || {
                assert!(watch.has_to_hurry() && group.wants_one() && !group.wants_one());
            });
            drop(other);
        });
        assert!(!group.none_left() && !group.is_blocked() && !watch.has_to_hurry());
    }

    #[test]
    fn a_few_are_not_looked_at() {
        let group = group(1);
        let few: Vec<_> = (0..10).filter_map(|_| group.one_of_few()).collect();
        assert_eq!(few.len(), FEW);
        drop(few);
        let _looked_at: Vec<_> = (0..FEW).map(|_| group.lasting()).collect();
        assert!(group.one_of_few().is_none());
    }

    #[test]
    fn too_many_quick_ones_are_not_quick() {
        let (group, watch) = (group(2), Watch::default());
        let busy: Vec<_> = (0..2 + BLOCKED).map(|_| group.take(&watch)).collect();
        assert!(!group.is_blocked());
        let _more = group.take(&watch);
        assert!(group.is_blocked());
        let _lasting = group.lasting();
        assert!(!group.is_blocked());
        drop(busy);
    }
}
