//! One writer of a file's capabilities at a time, among those who may write tables: without it one
//! of two writers could put back an entry that the other has just removed.
//!
//! A lock on the file itself could be held by anyone who may read it, and so keep root from
//! removing a grant. These are in a directory that only root may enter; who cannot use that directory
//! writes without, and changes `security.capability` only, in one step.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};

use crate::error::{Error, Result};
use crate::file::CapFile;

const DIRECTORY: &str = "/run/nscap";

/// A lock on one inode, held until dropped or the process ends.
pub(crate) struct Lock {
    _file: Option<OwnedFd>,
}

impl Lock {
    /// Waits for the lock on this file's inode.
    ///
    /// # Errors
    /// [`Error::Call`] where flock(2) fails.
    pub(crate) fn of(file: &CapFile) -> Result<Lock> {
        let stat = rustix::fs::fstat(file).map_err(|e| file.error("fstat", e))?;
        let Some(directory) = directory() else {
            return Ok(Lock { _file: None });
        };
        // Few files, so that nothing has to be cleared away: two inodes may share one.
        let name = format!("{:02x}", (stat.st_dev ^ stat.st_ino) & 0xff);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let Ok(lock) = openat(&directory, &name, flags, Mode::RUSR | Mode::WUSR) else {
            return Ok(Lock { _file: None });
        };
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|e| Error::call(&Path::new(DIRECTORY).join(&name), "flock", e))?;
        Ok(Lock { _file: Some(lock) })
    }
}

/// The directory, if it is ours alone.
fn directory() -> Option<OwnedFd> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let _ = rustix::fs::mkdir(DIRECTORY, Mode::RWXU);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(DIRECTORY, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&directory).ok()?;
    (stat.st_uid == 0 && stat.st_mode & 0o077 == 0).then_some(directory)
}
