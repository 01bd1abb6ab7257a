// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a walking thread is at, so that another can see that it does not come back: the server of a
//! file system may let a call wait as long as it likes.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dir::Dir;

/// Where a thread is.
#[derive(Debug)]
pub(super) struct At {
    pub(super) parent: Option<Arc<Dir>>,
    pub(super) name: CString,
    /// The mount that is asked, as far as that is known.
    pub(super) mount: Option<u64>,
}

impl At {
    pub(super) fn path(&self) -> PathBuf {
        match &self.parent {
            Some(parent) => parent.path_of(&self.name),
            None => PathBuf::from(std::ffi::OsStr::from_bytes(self.name.to_bytes())),
        }
    }
}

#[derive(Debug)]
enum State {
    Idle,
    Busy(At),
    /// The walk does not wait for the thread any more.
    Left,
}

/// One thread's.
#[derive(Debug)]
pub(super) struct Slot {
    state: Mutex<State>,
    /// Changes with each file and directory.
    beat: AtomicU64,
    /// Whether it waits for the receiver of its results.
    telling: AtomicBool,
}

impl Slot {
    pub(super) fn new() -> Slot {
        let (beat, telling) = (AtomicU64::new(0), AtomicBool::new(false));
        Slot { state: Mutex::new(State::Idle), beat, telling }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread begins something that may not come back.
    pub(super) fn begin(&self, at: At) {
        self.beat();
        let mut state = self.lock();
        if !matches!(*state, State::Left) {
            *state = State::Busy(at);
        }
    }

    /// The mount that the thread asks now.
    pub(super) fn asks(&self, mount: u64) {
        if let State::Busy(at) = &mut *self.lock() {
            at.mount = Some(mount);
        }
        self.beat();
    }

    /// The thread has finished; `false` if the walk does not wait for it any more.
    pub(super) fn end(&self) -> bool {
        let mut state = self.lock();
        let waited = !matches!(*state, State::Left);
        if waited {
            *state = State::Idle;
        }
        waited
    }

    pub(super) fn beat(&self) {
        // The thread's alone to write.
        self.beat.store(self.beat.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Does something while the thread waits for no file system; `None` where it was left.
    pub(super) fn tell<T>(&self, tell: impl FnOnce() -> T) -> Option<T> {
        if self.is_left() {
            return None;
        }
        self.telling.store(true, Ordering::Relaxed);
        let told = tell();
        self.beat();
        self.telling.store(false, Ordering::Relaxed);
        Some(told)
    }

    pub(super) fn is_left(&self) -> bool {
        matches!(*self.lock(), State::Left)
    }

    /// What changes as long as the thread does something.
    pub(super) fn now(&self) -> (u64, bool) {
        (self.beat.load(Ordering::Relaxed), self.telling.load(Ordering::Relaxed))
    }

    /// Leaves the thread where it is, if it still is in a call and has not moved since `beat`.
    pub(super) fn leave(&self, beat: u64) -> Option<At> {
        let mut state = self.lock();
        if self.now() != (beat, false) || !matches!(*state, State::Busy(_)) {
            return None;
        }
        match std::mem::replace(&mut *state, State::Left) {
            State::Busy(at) => Some(at),
            State::Idle | State::Left => None,
        }
    }
}
