// SPDX-License-Identifier: MIT OR Apache-2.0
//! The directories that wait to be read, shared by all threads: last in, first out, so that what
//! waits, and how many descriptors that takes, grows with the depth of the tree and not its size.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::dir::Dir;

/// Subdirectories of one directory that wait to be opened.
#[derive(Debug)]
pub(super) struct Batch {
    /// `None` for the roots.
    dir: Option<Arc<Dir>>,
    /// `None` for the roots, and where it was closed since there were too many.
    fd: Option<Arc<OwnedFd>>,
    /// One after the other, each with its NUL.
    names: Vec<u8>,
    next: usize,
    /// Whether `fd` has not been read to its end.
    more: bool,
}

impl Batch {
    pub(super) fn roots(names: Vec<u8>) -> Batch {
        Batch { dir: None, fd: None, names, next: 0, more: false }
    }

    pub(super) fn new(dir: Arc<Dir>, fd: Arc<OwnedFd>, names: Vec<u8>, more: bool) -> Batch {
        Batch { dir: Some(dir), fd: Some(fd), names, next: 0, more }
    }

    /// The same with a descriptor again.
    pub(super) fn reopened(self, fd: OwnedFd) -> Batch {
        Batch { fd: Some(Arc::new(fd)), ..self }
    }

    pub(super) fn dir(&self) -> Option<&Arc<Dir>> {
        self.dir.as_ref()
    }

    fn waiting(&self) -> &[u8] {
        self.names.get(self.next..).unwrap_or_default()
    }

    pub(super) fn take_name(&mut self) -> Option<CString> {
        let name = CStr::from_bytes_until_nul(self.waiting()).ok()?.to_owned();
        self.next += name.as_bytes_with_nul().len();
        Some(name)
    }

    /// Whether it waits for nothing but the names in it, so that its descriptor can be had again.
    fn is_closable(&self) -> bool {
        self.fd.is_some() && !self.more
    }
}

/// Something to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Open a directory by its name, and read it.
    Open { parent: Option<(Arc<Dir>, Arc<OwnedFd>)>, name: CString },
    /// Read on.
    Resume { dir: Arc<Dir>, fd: Arc<OwnedFd> },
    /// Open this batch's directory again.
    Reopen(Batch),
}

/// The shared stack.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// How many descriptors the stack may hold.
    budget: usize,
}

#[derive(Debug, Default)]
struct State {
    stack: Vec<Batch>,
    /// How many batches have a descriptor.
    open: usize,
    /// How many of these have not been read to their end.
    paused: usize,
    /// No batch before this one can be closed.
    lowest: usize,
    /// How many threads are at a job.
    busy: usize,
    waiting: usize,
    stopped: bool,
}

impl Queue {
    pub(super) fn new(roots: Vec<u8>, budget: usize) -> Queue {
        let mut state = State::default();
        if !roots.is_empty() {
            state.push(Batch::roots(roots));
        }
        Queue { state: Mutex::new(state), changed: Condvar::new(), budget }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic can only have happened outside this module, which leaves no step half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job; waits for one as long as a thread may bring more. Each is ended by
    /// [`done`](Queue::done).
    pub(super) fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(job) = state.take() {
                state.busy += 1;
                return Some(job);
            }
            if state.busy == 0 {
                return None;
            }
            state.waiting += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    /// Ends a job, with what it leaves to do.
    pub(super) fn done(&self, more: Option<Batch>) {
        let mut state = self.lock();
        state.busy -= 1;
        if let Some(batch) = more {
            state.push(batch);
            state.close_down_to(self.budget);
        }
        if state.waiting > 0 && (state.busy == 0 || !state.stack.is_empty()) {
            self.changed.notify_all();
        }
    }

    /// Whether a directory may wait half read. If it may it has to.
    pub(super) fn pause(&self) -> bool {
        let mut state = self.lock();
        let may = state.paused < self.budget / 2;
        state.paused += usize::from(may);
        may
    }

    /// Closes whatever can be opened again.
    pub(super) fn close_all(&self) {
        self.lock().close_down_to(0);
    }

    /// Nothing more is to be done.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.stack.clear();
        self.changed.notify_all();
    }
}

impl State {
    fn push(&mut self, batch: Batch) {
        if self.stopped {
            return;
        }
        self.open += usize::from(batch.fd.is_some());
        self.stack.push(batch);
    }

    fn pop(&mut self) -> Option<Batch> {
        let batch = self.stack.pop()?;
        self.open -= usize::from(batch.fd.is_some());
        self.paused -= usize::from(batch.more);
        self.lowest = self.lowest.min(self.stack.len());
        Some(batch)
    }

    fn take(&mut self) -> Option<Job> {
        let top = self.stack.last_mut()?;
        if top.dir.is_some() && top.fd.is_none() {
            return self.pop().map(Job::Reopen);
        }
        let name = top.take_name();
        let parent = top.dir.clone().zip(top.fd.clone());
        if name.is_none() || (top.waiting().is_empty() && !top.more) {
            self.pop();
        }
        match (name, parent) {
            (Some(name), parent) => Some(Job::Open { parent, name }),
            (None, Some((dir, fd))) => Some(Job::Resume { dir, fd }),
            (None, None) => None,
        }
    }

    /// Closes descriptors of batches, those that are needed last first.
    fn close_down_to(&mut self, budget: usize) {
        while self.open > budget {
            let Some(batch) = self.stack.get_mut(self.lowest) else {
                return;
            };
            if batch.is_closable() {
                batch.fd = None;
                self.open -= 1;
            }
            self.lowest += 1;
        }
    }
}
