// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reserved descriptors, so that callers can be identified when the process or the system has no
//! others. Without them one task that uses up all descriptors could make the server refuse all
//! other callers.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::io::{Errno, fcntl_dupfd_cloexec};

use crate::error::{Error, Result};

/// As many as one identification has open at a time, and some more since other threads may be
/// faster.
const KEPT: usize = 8;

#[derive(Debug)]
pub(super) struct Reserve {
    kept: Mutex<Vec<OwnedFd>>,
    /// What the others are copies of.
    of: OwnedFd,
    /// Some could not be had again.
    short: AtomicBool,
}

impl Reserve {
    /// # Errors
    /// EMFILE.
    pub(super) fn new(of: BorrowedFd<'_>) -> std::result::Result<Reserve, Errno> {
        let of = fcntl_dupfd_cloexec(of, 0)?;
        let kept = (0..KEPT)
            .map(|_| fcntl_dupfd_cloexec(&of, 0))
            .collect::<std::result::Result<_, _>>()?;
        Ok(Reserve { kept: Mutex::new(kept), of, short: AtomicBool::new(false) })
    }

    /// Does the work; if that fails for want of descriptors, frees the reserve and does it again.
    ///
    /// # Errors
    /// Those of what is done.
    pub(super) fn lend<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        let done = work();
        let short = matches!(done, Err(Error::Call { errno: libc::EMFILE | libc::ENFILE, .. }));
        if !short && !self.short.load(Ordering::Relaxed) {
            return done;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let done = if short {
            kept.clear();
            work()
        } else {
            done
        };
        while kept.len() < KEPT
            && let Ok(another) = fcntl_dupfd_cloexec(self.of.as_fd(), 0)
        {
            kept.push(another);
        }
        self.short.store(kept.len() < KEPT, Ordering::Relaxed);
        done
    }
}
