//! Leases, fcntl(2): while one is held, nobody has the file open for writing or mapped writable,
//! and whoever wants to has to wait. So what was read stays true until something is done about it.
//! Covers K for whoever takes a grant away and puts it back.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use crate::error::{Error, Result};
use crate::path_fd::reopen;
use crate::sys;

/// A read lease on a regular file, held until dropped.
///
/// The kernel lets a waiting writer in after /proc/sys/fs/lease-break-time seconds even so, and
/// [`holds`](ReadLease::holds) says no from the moment that one waits.
///
/// A writable mapping of a file of overlayfs is one of the layer's file below, and not seen.
#[derive(Debug)]
pub struct ReadLease {
    file: File,
}

impl ReadLease {
    /// Opens the file, which may be an O_PATH descriptor, for reading, and leases it.
    ///
    /// # Errors
    /// [`Error::Call`]: EAGAIN where somebody has it open for writing or mapped writable, EACCES
    /// where we neither own it nor have CAP_LEASE in the initial namespace, EINVAL or ENOLCK where
    /// the file system has no leases; open(2)'s.
    ///
    /// ```
    /// use nscap_linux::ReadLease;
    /// let file = tempfile::NamedTempFile::new().unwrap();
    /// // It is open for writing.
    /// assert_eq!(ReadLease::take(&file, file.path()).unwrap_err().errno(), 11);
    /// let closed = file.into_temp_path();
    /// let file = std::fs::File::open(&closed).unwrap();
    /// assert!(ReadLease::take(&file, &closed)?.holds());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn take(file: impl AsFd, path: &Path) -> Result<ReadLease> {
        let file = reopen(file, path)?;
        sys::lease_read(&file).map_err(|e| Error::call(path, "fcntl(F_SETLEASE)", e))?;
        Ok(ReadLease { file })
    }

    /// Whether it is held and nobody waits to write.
    #[must_use]
    pub fn holds(&self) -> bool {
        sys::holds_read_lease(&self.file)
    }

    /// The file, open for reading.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// A process that was forked meanwhile has the descriptor too; the lease goes even so.
impl Drop for ReadLease {
    fn drop(&mut self) {
        sys::unlease(&self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_waits_is_seen_and_let_in_when_the_lease_goes() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let lease = ReadLease::take(File::open(&path).unwrap(), &path).unwrap();
        let writer = {
            let path = path.to_path_buf();
            std::thread::spawn(move || std::fs::write(path, "new").unwrap())
        };
        while lease.holds() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        drop(lease);
        writer.join().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }
}
