// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a task can change a file unseen: it has the file open for writing, or mapped shared and
//! writable, which outlives the descriptor. Covers K for programs that grant, or that remove a
//! grant and restore it.
//!
//! The kernel counts both, and one call tells: fcntl(2), F_SETLEASE with F_RDLCK. While the lease
//! is held, a task that opens the file for writing waits.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::opath::reopen_regular;
use crate::sys;

/// Less than the time that a task waits for us before the kernel breaks a lease
/// (/proc/sys/fs/lease-break-time, in whole seconds).
const SAFE: Duration = Duration::from_millis(500);

/// A read lease: while it is held, no task can write the file.
///
/// A writable mapping of a file of overlayfs maps the layer's file below, and is not seen.
///
/// ```
/// use nscap_linux::ReadLease;
/// let file = tempfile::NamedTempFile::new().unwrap();
/// // Open for writing.
/// assert!(ReadLease::take(&file, file.path())?.is_none());
/// let path = file.into_temp_path();
/// let file = std::fs::File::open(&path).unwrap();
/// assert!(ReadLease::take(&file, &path)?.is_some_and(|lease| lease.held()));
/// # Ok::<(), nscap_linux::Error>(())
/// ```
#[derive(Debug)]
pub struct ReadLease {
    file: File,
    since: Instant,
}

impl ReadLease {
    /// Takes a lease; `None` if a task has the file open for writing or mapped so, or waits to open
    /// it. `file` may be an O_PATH descriptor. `path`: what errors call the file.
    ///
    /// # Errors
    /// [`Error::Call`] where that cannot be found out: EACCES, where the file is another's and we
    /// have no CAP_LEASE; EINVAL or ENOLCK, where it is not regular, or there are no leases on this
    /// file system or this machine (/proc/sys/fs/leases-enable); open(2)'s.
    pub fn take(file: impl AsFd, path: &Path) -> Result<Option<ReadLease>> {
        let file = match reopen_regular(file, path) {
            Ok(file) => file,
            Err(error) if error.errno() == libc::EAGAIN => return Ok(None),
            Err(error) => return Err(error),
        };
        let since = Instant::now();
        let taken = match sys::lease_read(&file) {
            Err(Errno::ACCESS) => lease_as_owner(&file),
            taken => taken,
        };
        match taken {
            Ok(()) => Ok(Some(ReadLease { file, since })),
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(Error::call(path, "fcntl(F_SETLEASE)", errno)),
        }
    }

    /// Whether the lease still holds: no task has opened the file for writing since it was taken.
    #[must_use]
    pub fn held(&self) -> bool {
        self.since.elapsed() < SAFE || sys::holds_read_lease(&self.file)
    }

    /// The file, open for reading.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// A process that was forked meanwhile has the descriptor too; the lease ends even so.
impl Drop for ReadLease {
    fn drop(&mut self) {
        sys::unlease(&self.file);
    }
}

/// Whether a file, given by a descriptor that is open for reading, is open for writing anywhere or
/// mapped so; `true` where the kernel does not say. No content is opened, so this does not wait.
/// For a moment a task that opens the file for writing waits, or gets EAGAIN with O_NONBLOCK: the
/// caller makes sure that no open is under way for which that matters.
///
/// ```
/// let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
/// let file = std::fs::File::open(&path).unwrap();
/// assert!(!nscap_linux::is_written(&file));
/// let writer = std::fs::File::options().write(true).open(&path).unwrap();
/// assert!(nscap_linux::is_written(&file));
/// ```
#[must_use]
pub fn is_written(file: &File) -> bool {
    let taken = match sys::lease_read(file) {
        Err(Errno::ACCESS) => lease_as_owner(file),
        taken => taken,
    };
    if taken.is_ok() {
        sys::unlease(file);
    }
    taken.is_err()
}

/// Without CAP_LEASE only the owner of a file may take a lease. Root over the owner may become that
/// owner for a moment.
fn lease_as_owner(file: &File) -> std::result::Result<(), Errno> {
    let owner = rustix::fs::fstat(file)?.st_uid;
    let before = sys::set_fsuid(owner);
    let taken = if sys::fsuid() == owner { sys::lease_read(file) } else { Err(Errno::ACCESS) };
    sys::set_fsuid(before);
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_waits_is_seen_and_let_in_when_the_lease_goes() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let lease = ReadLease::take(File::open(&path).unwrap(), &path).unwrap().unwrap();
        let writer = {
            let path = path.to_path_buf();
            std::thread::spawn(move || std::fs::write(path, "new").unwrap())
        };
        while sys::holds_read_lease(&lease.file) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        drop(lease);
        writer.join().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }
}
