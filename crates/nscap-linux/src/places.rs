// SPDX-License-Identifier: MIT OR Apache-2.0
//! The directories of the system that are used again and again, held open: /proc, /proc/self/fd,
//! and the directory of the locks.
//!
//! A process that serves a file system may find that its root directory is that file system
//! (pivot_root(2)): an absolute path would then be resolved by the process itself, and wait for it.
//! So such a process opens everything before other tasks see the file system ([`hold`]), and opens
//! no path afterwards. A failure is not remembered: the next use tries again.
//!
//! A descriptor of /proc/self/fd, as of /proc/self, means the process that opened it. After a
//! fork(2) the child opens its own.

use std::cell::Cell;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, openat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::ns::DIRECTORY;
use crate::{lock, policy};

/// What one process holds open, for as long as it lives.
pub(crate) struct Places {
    process: u32,
    proc: OwnedFd,
    links: OwnedFd,
    /// Set in a process that serves; `None` in it: there is no such directory that we may use.
    locks: OnceLock<Option<OwnedFd>>,
}

/// Those of the current process, after their first use.
static HELD: Mutex<Option<&'static Places>> = Mutex::new(None);

thread_local! {
    static OURS: Cell<Option<&'static Places>> = const { Cell::new(None) };
    /// Whether this thread's current directory is /proc/self/fd.
    static IN_LINKS: Cell<bool> = const { Cell::new(false) };
}

/// What this process holds.
///
/// # Errors
/// open(2)'s for /proc; EOPNOTSUPP where it is not procfs.
pub(crate) fn held() -> std::result::Result<&'static Places, Errno> {
    let process = std::process::id();
    let ours = |places: &&'static Places| places.process == process;
    if let Some(places) = OURS.get().filter(ours) {
        return Ok(places);
    }
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    let places = match held.filter(ours) {
        Some(places) => places,
        // One for each forked process that uses them; they are never freed.
        None => Box::leak(Box::new(Places::open(process)?)),
    };
    *held = Some(places);
    OURS.set(Some(places));
    Ok(places)
}

impl Places {
    fn open(process: u32) -> std::result::Result<Places, Errno> {
        let proc = rustix::fs::open("/proc", DIRECTORY, Mode::empty())?;
        if rustix::fs::fstatfs(&proc)?.f_type != PROC_SUPER_MAGIC {
            return Err(Errno::OPNOTSUPP);
        }
        let links = openat(&proc, "self/fd", DIRECTORY, Mode::empty())?;
        Ok(Places { process, proc, links, locks: OnceLock::new() })
    }

    /// /proc.
    pub(crate) fn proc(&self) -> BorrowedFd<'_> {
        self.proc.as_fd()
    }

    /// /proc/self/fd.
    pub(crate) fn links(&self) -> BorrowedFd<'_> {
        self.links.as_fd()
    }

    /// The directory of the locks of a process that serves, if there is one; `None` in any other
    /// process.
    pub(crate) fn locks(&self) -> Option<Option<BorrowedFd<'_>>> {
        self.locks.get().map(|locks| locks.as_ref().map(OwnedFd::as_fd))
    }
}

/// Opens a file of /proc by its name there.
pub(crate) fn open(name: impl AsRef<Path>, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
    openat(held()?.proc(), name.as_ref(), flags | OFlags::CLOEXEC, Mode::empty())
}

/// Opens everything that a process needs that serves a file system; from here on it uses no
/// absolute path. To be called in that process, before the file system is anywhere to be seen.
///
/// # Errors
/// [`Error::Call`] where /proc cannot be opened, EOPNOTSUPP where it is not procfs; where the
/// directory of the locks (/run/nscap) cannot be opened because a resource is missing (EMFILE,
/// ENOMEM, ENOSPC). A directory that we may not use is treated as none.
///
/// ```
/// nscap_linux::server::hold_places()?;
/// # Ok::<(), nscap_linux::Error>(())
/// ```
pub fn hold() -> Result<()> {
    let places = held().map_err(|e| Error::call(Path::new("/proc"), "open", e))?;
    // Which kernel runs is looked up in /proc/sys.
    let _ = policy::kernel_decides();
    let locks = lock::directory()?;
    let _ = places.locks.set(locks);
    Ok(())
}

/// Makes /proc/self/fd the current directory of the calling thread, which has one of its own
/// (unshare(2), CLONE_FS).
pub(crate) fn enter_links() -> std::result::Result<(), Errno> {
    rustix::process::fchdir(held()?.links())?;
    IN_LINKS.set(true);
    Ok(())
}

/// Whether, for the calling thread, the name of a descriptor's link alone is a path to it.
pub(crate) fn in_links() -> bool {
    IN_LINKS.get() && OURS.get().is_some_and(|places| places.process == std::process::id())
}
