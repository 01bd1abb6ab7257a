// SPDX-License-Identifier: MIT OR Apache-2.0
//! A lock by flock(2) that ends when it is dropped, and not when the last descriptor of it is
//! closed: a process that another thread was just starting has the descriptor too, until its
//! execve.

use std::os::fd::OwnedFd;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// A locked file.
#[derive(Debug)]
pub(super) struct Flocked(OwnedFd);

impl Flocked {
    /// Locks it, or gives it back with the reason.
    pub(super) fn take(file: OwnedFd, how: FlockOperation) -> Result<Flocked, (OwnedFd, Errno)> {
        match flock(&file, how) {
            Ok(()) => Ok(Flocked(file)),
            Err(errno) => Err((file, errno)),
        }
    }
}

impl Drop for Flocked {
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_copy_of_the_descriptor_does_not_keep_the_lock() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || OwnedFd::from(File::open(file.path()).unwrap());
        let take = || Flocked::take(open(), FlockOperation::NonBlockingLockExclusive);
        let held = take().unwrap();
        let _child = held.0.try_clone().unwrap();
        assert_eq!(take().unwrap_err().1, Errno::AGAIN);
        drop(held);
        assert!(take().is_ok());
    }
}
