// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks for writers of tables: one process changes a file's capabilities at a time. Without them,
//! one of two writers could restore an entry that the other has just removed.
//!
//! Any task that may read a file could hold a lock on the file itself, and so prevent root from
//! removing a grant. So the locks are in a directory that only root may enter. A process that
//! cannot use that directory takes no lock, and changes only `security.capability`, in one step.
//!
//! Each inode has its own lock. The owner of a file can make its writer wait without end (for the
//! inode's own lock, or its disk), and that must not stop writers of other files. A lock is a file
//! that exists while a process holds it or waits for it; its holder removes it. A wait ends with an
//! error after [`PATIENCE`], and much sooner in a process that serves.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fstat, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::file::CapFile;
use crate::places;

const DIRECTORY: &str = "/run/nscap";

/// How long to wait for a lock. A change takes as long as the disk takes for a few attributes.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same in a thread that others wait for; such a thread asks a few more times.
const PATIENCE_OF_A_SERVER: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(1);

/// A lock on one inode, held until dropped or the process ends.
pub(crate) struct Lock {
    _file: Option<LockFile>,
}

struct LockFile {
    file: OwnedFd,
    directory: Directory,
    name: String,
}

/// The directory of the locks: one that stays open, or one opened for one lock.
enum Directory {
    Kept(BorrowedFd<'static>),
    Opened(OwnedFd),
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Directory::Kept(fd) => *fd,
            Directory::Opened(fd) => fd.as_fd(),
        }
    }
}

impl Lock {
    /// Waits for the lock on this file's inode.
    ///
    /// # Errors
    /// [`Error::Locked`] where another holds it for too long; [`Error::Call`] where there is no
    /// room for it (EMFILE, ENFILE, ENOMEM, ENOSPC), or flock(2) fails.
    pub(crate) fn of(file: &CapFile) -> Result<Lock> {
        let stat = fstat(file).map_err(|e| file.error("fstat", e))?;
        let (directory, patience) = match places::held().ok().and_then(places::Places::locks) {
            Some(kept) => (kept.map(Directory::Kept), PATIENCE_OF_A_SERVER),
            None => (self::directory()?.map(Directory::Opened), PATIENCE),
        };
        let Some(directory) = directory else {
            return Ok(Lock { _file: None });
        };
        let name = format!("{:x}-{:x}", stat.st_dev, stat.st_ino);
        let failed = |call, errno| Error::call(&Path::new(DIRECTORY).join(&name), call, errno);
        match take(directory.as_fd(), &name, patience) {
            Ok(file) => Ok(Lock { _file: Some(LockFile { file, directory, name }) }),
            Err(("flock", Errno::AGAIN)) => Err(Error::Locked { path: file.path().to_owned() }),
            // We may not write there: a read-only /run.
            Err(("open", Errno::ACCESS | Errno::PERM | Errno::ROFS)) => Ok(Lock { _file: None }),
            Err((call, errno)) => Err(failed(call, errno)),
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // A process that waits for it then finds that it has no name, and makes a new one.
        let _ = unlinkat(&self.directory, &self.name, AtFlags::empty());
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Takes the lock file of this name, and makes sure that it still has the name.
fn take(
    directory: BorrowedFd<'_>,
    name: &str,
    patience: Duration,
) -> std::result::Result<OwnedFd, (&'static str, Errno)> {
    let until = Instant::now() + patience;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    loop {
        let file =
            openat(directory, name, flags, Mode::RUSR | Mode::WUSR).map_err(|e| ("open", e))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if has_name(&file, directory, name) => return Ok(file),
            Ok(()) => {}
            Err(Errno::AGAIN) if Instant::now() < until => std::thread::sleep(PAUSE),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(("flock", errno)),
        }
    }
}

fn has_name(file: &OwnedFd, directory: BorrowedFd<'_>, name: &str) -> bool {
    let at = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    matches!((fstat(file), at), (Ok(one), Ok(other))
        if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// The directory, if it is ours alone.
///
/// # Errors
/// [`Error::Call`] where that cannot be found out (EMFILE, ENFILE, ENOMEM), or it cannot be made
/// for want of room (ENOSPC).
pub(crate) fn directory() -> Result<Option<OwnedFd>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let path = Path::new(DIRECTORY);
    let made = rustix::fs::mkdir(path, Mode::RWXU);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => {
            return Err(Error::call(path, "open", errno));
        }
        Err(_) if made == Err(Errno::NOSPC) => {
            return Err(Error::call(path, "mkdir", Errno::NOSPC));
        }
        Err(_) => return Ok(None),
    };
    let stat = fstat(&directory).map_err(|e| Error::call(path, "fstat", e))?;
    Ok((stat.st_uid == 0 && stat.st_mode & 0o077 == 0).then_some(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn one_holds_it_at_a_time_and_nothing_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let inside = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let at = open(directory.path());
                        let file = take(at.as_fd(), "a", Duration::from_secs(60)).unwrap();
                        let held = LockFile {
                            file,
                            directory: Directory::Opened(at),
                            name: "a".to_owned(),
                        };
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(held);
                    }
                });
            }
        });
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_that_is_held_for_long_keeps_no_other_and_is_not_waited_for_for_good() {
        let directory = tempfile::tempdir().unwrap();
        let at = open(directory.path());
        let short = Duration::from_millis(30);
        let held = take(at.as_fd(), "stuck", short).unwrap();
        let again = take(at.as_fd(), "stuck", short);
        assert_eq!(again.err(), Some(("flock", Errno::AGAIN)));
        for n in 0..1000 {
            assert!(take(at.as_fd(), &format!("{n:x}-1"), short).is_ok());
        }
        drop(held);
        assert!(take(at.as_fd(), "stuck", short).is_ok());
    }
}
