// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds the regular files of a tree that have `security.capability` or `security.nscapability`,
//! with any value: also values for other namespaces, malformed ones, and tables without their
//! companion. [`CapFile::read_through`] says what they mean.
//!
//! **Descriptors.** A directory is opened by its name in its parent's descriptor, which stays open
//! until the last of its subdirectories has been opened; files are asked by their name in it.
//! So a path may be longer than PATH_MAX, and what is renamed above has no effect. Where too many
//! would be open, the parents furthest away are closed, and opened again from the top without any
//! symbolic link (openat2(2)); unless that gives the same directory it is an error (ESTALE).
//! Symbolic links are never followed, and nothing but directories is opened, with one exception:
//! a file that has either attribute, with O_PATH.
//!
//! **What changes meanwhile.** A name that has gone, or is no directory any more, is no error. A
//! directory that was moved to where the walk has been already is missed, as by any walk; and so
//! may be a file on which another one was mounted after the walk began.
//!
//! **Loops.** Linux has one place for a directory in a mount and says ELOOP where a file system has
//! another one for it, so only bind mounts repeat a directory. There is a finite number of these,
//! and their files are found once for each mount.
//!
//! **What does not answer.** The server of a file system may let a call wait for ever. Walking
//! threads are watched, and one that does not come back is left where it is.
//!
//! **What it costs.** For each file one call: listxattr(2) where the type of the file system is
//! known to list what it gives, and else two getxattr(2). They are made relative to the directory
//! with the *xattrat calls; before Linux 6.13 each thread makes the directory its current one
//! (fchdir(2), after unshare(2) with CLONE_FS). docs/benchmarks.md has figures.

mod dir;
mod look;
mod mounts;
mod queue;
mod read;
mod shared;
mod slot;
mod watch;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::Error;
use crate::file::CapFile;
use crate::xattr;

use shared::Shared;

/// How to walk.
///
/// ```
/// use std::ops::ControlFlow;
/// use nscap_linux::walk::{Event, Walk};
/// let directory = tempfile::tempdir().unwrap();
/// std::fs::write(directory.path().join("file"), "").unwrap();
/// let walk = Walk::new();
/// walk.run([directory.path()], |event| panic!("{event:?}"));
/// assert_eq!((walk.progress().directories(), walk.progress().files()), (1, 1));
/// ```
#[derive(Debug)]
pub struct Walk {
    threads: NonZeroUsize,
    one_file_system: bool,
    full_check: bool,
    at_calls: bool,
    patience: Duration,
    progress: Arc<Progress>,
}

/// What a walk has to tell.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A regular file that had at least one of the two attributes when it was looked at.
    Found(CapFile),
    /// A directory that could not be read to its end, or a file that could not be looked at.
    Failed(Error),
}

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many events wait for the caller before the walking threads do, at most: each may hold a
/// descriptor.
const WAITING_EVENTS: usize = 16;

impl Default for Walk {
    fn default() -> Walk {
        Walk::new()
    }
}

impl Walk {
    /// With one thread, on all file systems, with the calls that this kernel has.
    #[must_use]
    pub fn new() -> Walk {
        Walk {
            threads: NonZeroUsize::MIN,
            one_file_system: false,
            full_check: false,
            at_calls: xattr::has_at_calls(),
            patience: PATIENCE,
            progress: Arc::default(),
        }
    }

    /// With that many threads, which share the directories.
    #[must_use]
    pub fn threads(self, threads: NonZeroUsize) -> Walk {
        Walk { threads, ..self }
    }

    /// Whether mount points below the roots are left out, those of a bind mount included. The
    /// subvolumes of one mount of btrfs are not.
    #[must_use]
    pub fn one_file_system(self, only: bool) -> Walk {
        Walk { one_file_system: only, ..self }
    }

    /// Whether no file system is trusted to list what it gives.
    ///
    /// ```
    /// # use nscap_linux::walk::*;
    /// let same = Walk::new().full_check(true);
    /// same.run(["/bin/"], |event| std::ops::ControlFlow::Continue(()));
    /// assert!(same.progress().files() > 0);
    /// ```
    #[must_use]
    pub fn full_check(self, full: bool) -> Walk {
        Walk { full_check: full, ..self }
    }

    /// How long a file system may take to answer one call, 10 seconds if nothing is said. A
    /// directory where it takes longer is told as [`Error::NoAnswer`] and not read on, its thread
    /// is left where it is, and what else is on that mount of a server's is left out. Such a thread
    /// may keep the process from ending: the kernel does not let a task go whose request the server
    /// of a FUSE file system has read ([`isolate::apart`](crate::isolate::apart)).
    #[must_use]
    pub fn patience(self, patience: Duration) -> Walk {
        Walk { patience, ..self }
    }

    /// As on a kernel without the *xattrat calls.
    #[must_use]
    pub fn without_at_calls(self) -> Walk {
        Walk { at_calls: false, ..self }
    }

    /// How far it is, to be looked at meanwhile by another thread.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Walks these directories and what is below them, looks at those roots that are regular files,
    /// and tells `each` what it comes upon, in no order, on the caller's thread; until the end, or
    /// `ControlFlow::Break`. What is mounted as proc, sysfs or cgroup is passed over: no program is
    /// executed from there. A root that is a symbolic link is not followed (ENOTDIR): `link/` names
    /// what it leads to.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use nscap_linux::walk::{Event, Walk};
    /// let mut failed = Vec::new();
    /// Walk::new().run(["/nonexistent"], |event| {
    ///     if let Event::Failed(error) = event {
    ///         failed.push(error.errno());
    ///     }
    ///     ControlFlow::Continue(())
    /// });
    /// assert_eq!(failed, [2]);
    /// ```
    pub fn run<P: AsRef<Path>>(
        &self,
        roots: impl IntoIterator<Item = P>,
        mut each: impl FnMut(Event) -> ControlFlow<()>,
    ) {
        let shared = match Shared::new(self, roots) {
            Ok(shared) => shared,
            Err(error) => {
                let _ = each(Event::Failed(error));
                return;
            }
        };
        watch::run(Arc::new(shared), self.threads, self.patience, each);
    }
}

/// How far a walk is.
#[derive(Debug, Default)]
pub struct Progress {
    directories: AtomicU64,
    files: AtomicU64,
}

impl Progress {
    /// How many directories were read.
    #[must_use]
    pub fn directories(&self) -> u64 {
        self.directories.load(Ordering::Relaxed)
    }

    /// How many regular files were looked at.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    fn count(&self, directories: u64, files: u64) {
        self.directories.fetch_add(directories, Ordering::Relaxed);
        self.files.fetch_add(files, Ordering::Relaxed);
    }
}
