// SPDX-License-Identifier: MIT OR Apache-2.0
//! Groups of threads that take requests from one source, and their counters: whether a thread of
//! the group is idle, and whether the group needs one more.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::shards::locked;

/// When a group has this many busy threads beyond its first ones, quick requests count for their
/// callers' shares as well.
const BLOCKED: usize = 16;

/// While fewer requests of a group last, the server does not look up their callers.
const FEW: usize = 4;

/// How long an added thread stays after the last time that its group had no idle thread.
const CALM: Duration = Duration::from_secs(1);

/// After this many looks at a group without an idle thread, all of whose requests last while others
/// wait, a thread is added.
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
    /// When a thread was added last; until some time after that none ends.
    stuck: Mutex<Option<Instant>>,
    /// Whether the last idle thread has begun to wait for its turn.
    wants: AtomicBool,
    ended: AtomicBool,
}

/// The state of a group at the last look.
#[derive(Default)]
pub(crate) struct Seen {
    taken: u64,
    none_left: bool,
    lasts: u32,
}

/// Adds one to a counter, until dropped.
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

    /// Counts one more thread of the group; called before the thread starts, so that it is not
    /// added twice.
    pub(crate) fn join(&self) {
        self.threads.fetch_add(1, SeqCst);
    }

    pub(crate) fn leave(&self) {
        self.threads.fetch_sub(1, SeqCst);
    }

    /// Counts a busy thread, and wakes the watch if no thread is idle now.
    pub(crate) fn take(&self, watch: &Watch) -> One<'_> {
        let one = One::more(&self.busy);
        self.taken.fetch_add(1, SeqCst);
        if self.none_left() {
            watch.arm();
        }
        one
    }

    /// Counts a request of the calling thread that may last.
    pub(crate) fn lasting(&self) -> One<'_> {
        One::more(&self.lasting)
    }

    /// The same if so few requests last that their callers need no share; otherwise `None`.
    pub(crate) fn one_of_few(&self) -> Option<One<'_>> {
        let before = self.lasting.fetch_add(1, SeqCst);
        let one = One(&self.lasting);
        (before < FEW).then_some(one)
    }

    /// Calls `wait`, and does not count the calling thread as one of the group meanwhile.
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

    /// Whether no thread of the group is idle.
    pub(crate) fn none_left(&self) -> bool {
        self.busy.load(SeqCst) >= self.threads.load(SeqCst) && !self.ended.load(SeqCst)
    }

    /// Whether so many threads are busy with quick requests that these cannot be quick.
    pub(crate) fn is_blocked(&self) -> bool {
        let busy = self.busy.load(SeqCst);
        busy > self.base + BLOCKED && busy > self.lasting.load(SeqCst) + self.base + BLOCKED
    }

    /// Whether the calling thread is to end. If so, it is not counted any more.
    pub(crate) fn is_one_too_many(&self) -> bool {
        if self.queue.is_some() || self.threads.load(SeqCst) <= self.base {
            return false;
        }
        let calm = locked(&self.stuck).is_none_or(|stuck| stuck.elapsed() > CALM);
        let less = |threads: usize| (threads > self.base).then(|| threads - 1);
        calm && self.threads.fetch_update(SeqCst, SeqCst, less).is_ok()
    }

    /// No more requests come for this group.
    pub(crate) fn end(&self) {
        self.ended.store(true, SeqCst);
    }

    /// Whether it needs one more thread at once.
    pub(crate) fn wants_one(&self) -> bool {
        self.wants.swap(false, SeqCst) && self.none_left()
    }

    /// Whether it needs one more thread. Called at intervals while a group has no idle thread.
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

/// The thread that adds threads to groups. It sleeps while each group has an idle thread.
#[derive(Default)]
pub(crate) struct Watch {
    thread: OnceLock<Thread>,
    armed: AtomicBool,
    hurries: AtomicBool,
    full: AtomicBool,
    over: AtomicBool,
}

impl Watch {
    /// Makes the calling thread this thread.
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
    fn a_thread_that_waits_for_its_turn_is_not_counted() {
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
    fn callers_of_a_few_requests_are_not_looked_up() {
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
