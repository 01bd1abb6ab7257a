// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the threads of a walk have in common, and the loop of one thread.

use std::collections::HashSet;
use std::ffi::CString;
use std::ops::ControlFlow;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::dir::{self, Identity};
use super::look::{Calls, Look};
use super::mounts::{directories_with_mount_points, waits_for_a_server};
use super::queue::{Job, Queue};
use super::read::Worker;
use super::slot::{At, Slot};
use super::{Event, Progress, Walk};
use crate::error::{Error, Result};
use crate::sys;

/// The size of a buffer for getdents64(2), in bytes: that of glibc.
const BUFFER: usize = 32_768;

/// How many descriptors may stay open for directories whose subdirectories wait, at most; fewer
/// where the process may not have eight times as many.
const BUDGET_MAX: usize = 256;

/// What all threads of a walk have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: Queue,
    calls: Calls,
    pub(super) one_mount: bool,
    /// Directories with a mount point; `None` where listing is never enough.
    pub(super) with_mount_points: Option<HashSet<Identity>>,
    /// The directory that relative roots start from, where threads change theirs.
    base: Option<OwnedFd>,
    pub(super) progress: Arc<Progress>,
    /// The mounts that do not answer.
    dead: Mutex<HashSet<u64>>,
}

impl Shared {
    pub(super) fn new<P: AsRef<Path>>(
        walk: &Walk,
        roots: impl IntoIterator<Item = P>,
    ) -> Result<Shared> {
        let mut names = Vec::new();
        for root in roots {
            let bytes = root.as_ref().as_os_str().as_bytes();
            let name = CString::new(bytes)
                .map_err(|_| Error::call(root.as_ref(), "open", Errno::INVAL))?;
            names.extend_from_slice(name.as_bytes_with_nul());
        }
        let base = if walk.at_calls {
            None
        } else {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let base = openat(CWD, ".", flags, Mode::empty());
            Some(base.map_err(|e| Error::call(Path::new("."), "open", e))?)
        };
        let listing = if walk.full_check { None } else { directories_with_mount_points() };
        Ok(Shared {
            queue: Queue::new(names, share_of_descriptors(BUDGET_MAX)),
            calls: if walk.at_calls { Calls::At } else { Calls::Current },
            one_mount: walk.one_file_system,
            with_mount_points: listing,
            base,
            progress: walk.progress(),
            dead: Mutex::default(),
        })
    }

    /// Does jobs until there are none, on a thread of its own, which gets its own current directory
    /// if needed. Returns whether the walk still waits for the thread.
    pub(super) fn work(&self, slot: &Slot, mut tell: impl FnMut(Event) -> ControlFlow<()>) -> bool {
        if self.calls == Calls::Current
            && let Err(errno) = sys::unshare_fs()
        {
            let error = Error::call(Path::new("/proc/thread-self/cwd"), "unshare", errno);
            let _ = tell(Event::Failed(error));
            return true;
        }
        // A thread that panics would leave the others waiting for it.
        struct StopOnPanic<'a>(&'a Shared);
        impl Drop for StopOnPanic<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.stop();
                }
            }
        }
        let _guard = StopOnPanic(self);
        let mut worker =
            Worker { shared: self, slot, look: Look::new(self.calls), tell: &mut tell };
        let mut buffer = Vec::with_capacity(BUFFER);
        while let Some(job) = self.queue.next() {
            slot.begin(at(&job));
            let more = worker.job(job, buffer.spare_capacity_mut());
            if !slot.end() {
                return false;
            }
            self.queue.done(more);
        }
        true
    }

    /// Takes a job for done whose thread was left. The mount is not asked again, if it is one of a
    /// server's: elsewhere it may be one file that was mounted in the directory.
    pub(super) fn give_up(&self, mount: Option<u64>) {
        let mount = mount.filter(|mount| waits_for_a_server(*mount));
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).extend(mount);
        self.queue.done(None);
    }

    pub(super) fn is_dead(&self, mount: u64) -> bool {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).contains(&mount)
    }

    pub(super) fn stop(&self) {
        self.queue.stop();
    }

    pub(super) fn base(&self) -> BorrowedFd<'_> {
        dir::current(self.base.as_ref())
    }

    /// Opens something; where there are too many descriptors, those that can be had again go.
    pub(super) fn open(
        &self,
        open: impl Fn() -> std::result::Result<OwnedFd, Errno>,
    ) -> std::result::Result<OwnedFd, Errno> {
        match open() {
            Err(Errno::MFILE | Errno::NFILE) => {
                self.queue.close_all();
                open()
            }
            opened => opened,
        }
    }
}

/// Where a thread is that does this.
fn at(job: &Job) -> At {
    let (parent, name) = match job {
        Job::Open { parent, name } => {
            (parent.as_ref().map(|(dir, _)| Arc::clone(dir)), name.clone())
        }
        Job::Resume { dir, .. } => (Some(Arc::clone(dir)), CString::default()),
        Job::Reopen(batch) => (batch.dir().cloned(), CString::default()),
    };
    let mount = parent.as_ref().map(|dir| dir.identity.mount);
    At { parent, name, mount }
}

/// As many descriptors as the process may spare for one purpose, at most `most`.
pub(super) fn share_of_descriptors(most: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 8;
    usize::try_from(limit).unwrap_or(most).clamp(1, most)
}
