// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inodes whose attributes the kernel must not cache: a task may change them through a mapping of a
//! passthrough file. A store there changes mtime and ctime on the source, and FUSE does not notice.
//! A mapping outlives its handle. So an inode stays in this table until the kernel says that no
//! task has it open for writing, or forgets it.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::shards::locked;

/// How many files without handles stay open, for the question to the kernel.
const LEFT_MAX: usize = 64;
/// How long to wait after the kernel said that a file is open for writing, before the next
/// question.
const PAUSE: Duration = Duration::from_millis(20);

/// An inode that a task may change unseen.
#[derive(Debug, Default)]
struct Inode {
    handles: usize,
    /// The descriptor for the question to the kernel; `None` if too many are open.
    file: Option<Arc<File>>,
    asked: Option<Instant>,
}

impl Inode {
    /// Whether it is one of those that [`LEFT_MAX`] counts.
    fn is_left(&self) -> bool {
        self.handles == 0 && self.file.is_some()
    }
}

/// The table of these inodes.
#[derive(Debug, Default)]
pub(crate) struct Times {
    inodes: Mutex<HashMap<u64, Inode>>,
    some: AtomicUsize,
    left: AtomicUsize,
}

impl Times {
    /// Counts a handle that can be mapped shared and writable, before it is open. Says whether the
    /// kernel may have cached attributes of the inode; the caller then makes it drop them. `reader`
    /// opens the file for reading now, since an open can wait and the later question must not.
    pub(crate) fn open(&self, node: u64, reader: impl FnOnce() -> Option<File>) -> bool {
        let (first, unread) = self.change(|inodes| {
            let known = inodes.len();
            let inode = inodes.entry(node).or_default();
            let (was_left, unread) = (inode.is_left(), inode.file.is_none());
            inode.handles += 1;
            inode.asked = None;
            self.left.fetch_sub(usize::from(was_left), Ordering::Relaxed);
            (inodes.len() > known, unread)
        });
        if unread {
            let mut file = reader().map(Arc::new);
            if let Some(inode) = locked(&self.inodes).get_mut(&node)
                && inode.file.is_none()
            {
                inode.file = file.take();
            }
            drop(file);
        }
        first
    }

    /// Counts such a handle as closed.
    pub(crate) fn close(&self, node: u64) {
        let unused = match locked(&self.inodes).get_mut(&node) {
            Some(inode) => {
                inode.handles = inode.handles.saturating_sub(1);
                let room = |left: usize| (left < LEFT_MAX).then_some(left + 1);
                let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
                let full = inode.is_left() && self.left.fetch_update(set, fetch, room).is_err();
                if full { inode.file.take() } else { None }
            }
            None => None,
        };
        drop(unused);
    }

    /// Whether the kernel may cache attributes of this inode that were just read.
    pub(crate) fn may_keep(&self, node: u64) -> bool {
        self.some.load(Ordering::SeqCst) == 0 || !locked(&self.inodes).contains_key(&node)
    }

    /// Whether the kernel may cache attributes that are read next. `is_written` asks the kernel
    /// whether a task has the file open for writing, or mapped so.
    pub(crate) fn may_keep_next(&self, node: u64, is_written: impl FnOnce(&File) -> bool) -> bool {
        if self.some.load(Ordering::SeqCst) == 0 {
            return true;
        }
        let file = match locked(&self.inodes).get_mut(&node) {
            None => return true,
            Some(Inode { handles: 0, file: Some(file), asked })
                if asked.is_none_or(|asked| asked.elapsed() >= PAUSE) =>
            {
                *asked = Some(Instant::now());
                file.clone()
            }
            Some(_) => return false,
        };
        if is_written(&file) {
            return false;
        }
        let unopened = |inode: &Inode| inode.handles == 0 && inode.asked.is_some();
        let (settled, gone) = self.change(|inodes| match inodes.get(&node) {
            None => (true, None),
            Some(inode) if unopened(inode) => (true, inodes.remove(&node)),
            // It was opened again after the question.
            Some(_) => (false, None),
        });
        self.end(gone);
        settled
    }

    /// The kernel forgot the inode.
    pub(crate) fn forget(&self, node: u64) {
        if self.some.load(Ordering::SeqCst) != 0 {
            self.end(self.change(|inodes| inodes.remove(&node)));
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut HashMap<u64, Inode>) -> T) -> T {
        let mut inodes = locked(&self.inodes);
        let done = change(&mut inodes);
        self.some.store(inodes.len(), Ordering::SeqCst);
        done
    }

    fn end(&self, inode: Option<Inode>) {
        if inode.is_some_and(|inode| inode.is_left()) {
            self.left.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Option<File> {
        tempfile::tempfile().ok()
    }

    const NEVER: fn(&File) -> bool = |_| panic!("asked");

    #[test]
    fn attributes_are_kept_when_nothing_writes_any_more() {
        let times = Times::default();
        assert!(times.may_keep(5) && times.may_keep_next(5, NEVER));
        assert!(times.open(5, file));
        assert!(!times.open(5, || panic!("opened again")));
        assert!(!times.may_keep(5) && !times.may_keep_next(5, NEVER));
        assert!(times.may_keep(6) && times.may_keep_next(6, NEVER));
        times.close(5);
        assert!(!times.may_keep_next(5, NEVER));
        times.close(5);
        // A mapping.
        assert!(!times.may_keep(5) && !times.may_keep_next(5, |_| true));
        assert!(!times.may_keep_next(5, NEVER), "asked a moment ago");
        std::thread::sleep(PAUSE);
        assert!(times.may_keep_next(5, |_| false));
        assert!(times.may_keep(5));
        assert_eq!(times.left.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn an_open_while_the_kernel_is_asked_counts() {
        let times = Times::default();
        times.open(5, file);
        times.close(5);
        let settled = times.may_keep_next(5, |_| {
            assert!(!times.open(5, file));
            times.close(5);
            false
        });
        assert!(!settled && !times.may_keep(5), "it can be mapped since");
        let settled = times.may_keep_next(5, |_| {
            assert!(!times.open(5, file));
            false
        });
        assert!(!settled && !times.may_keep(5));
        times.close(5);
        times.forget(5);
        assert!(times.may_keep(5));
        assert!(times.open(5, || None));
        times.close(5);
        assert!(!times.may_keep_next(5, NEVER), "nothing to ask about");
        times.forget(5);
        assert_eq!(times.left.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn few_are_kept_open() {
        let times = Times::default();
        let all = 0..2 * LEFT_MAX as u64;
        for node in all.clone() {
            times.open(node, file);
            times.close(node);
        }
        let held = locked(&times.inodes).values().filter(|inode| inode.file.is_some()).count();
        assert_eq!(held, LEFT_MAX);
        for node in all {
            assert!(!times.may_keep(node));
            times.forget(node);
        }
        assert_eq!(times.left.load(Ordering::Relaxed), 0);
    }
}
