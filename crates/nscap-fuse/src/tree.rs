//! The tree as the requests see it, and what every operation begins with: a worker thread that has
//! become one, and a name that is one.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::Duration;

use fuser::{FileAttr, Request};
use nscap_core::{CapSet, Capability};
use nscap_linux::server::{FsIds, Raised, set_umask, settle};
use rustix::fs::{Stat, fstat};
use rustix::io::Errno;

use crate::attr;
use crate::backing::Backings;
use crate::caps::{Caps, Opened};
use crate::dir::Streams;
use crate::handles::Handles;
use crate::inodes::Inodes;
use crate::options::{KillPriv, Options};
use crate::stats::Stats;

/// A file that is open.
pub(crate) struct OpenFile {
    pub(crate) file: OwnedFd,
    pub(crate) node: u64,
    /// Whether `file` can be written.
    pub(crate) writable: bool,
    /// K: what the capability side knows of the handle.
    pub(crate) _opened: Opened,
}

/// A served tree.
pub(crate) struct Tree {
    pub(crate) inodes: Inodes,
    pub(crate) files: Handles<OpenFile>,
    pub(crate) streams: Streams,
    pub(crate) backings: Backings,
    pub(crate) caps: Caps,
    pub(crate) stats: Arc<Stats>,
    pub(crate) options: Options,
}

thread_local! {
    static SETTLED: Cell<bool> = const { Cell::new(false) };
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What the threads that serve go without: with CAP_SYS_RESOURCE they would write past quotas, and
/// with CAP_FSETID the source would keep set-id bits that it is to drop.
pub(crate) fn without(kill_priv: KillPriv) -> CapSet {
    match kill_priv {
        KillPriv::Kernel => CapSet::of(&[Capability::SysResource]),
        KillPriv::Source => CapSet::of(&[Capability::SysResource, Capability::Fsetid]),
    }
}

/// A buffer of this thread's, as long as asked for.
pub(crate) fn with_buffer<T>(size: usize, then: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        then(buffer.get_mut(..size).unwrap_or_default())
    })
}

/// A name in a directory: nothing that leads elsewhere.
pub(crate) fn checked(name: &OsStr) -> Result<&OsStr, Errno> {
    match name.as_bytes() {
        b"" => Err(Errno::NOENT),
        b"." | b".." => Err(Errno::STALE),
        bytes if bytes.contains(&b'/') => Err(Errno::INVAL),
        _ => Ok(name),
    }
}

/// A worker acting as the caller, until dropped.
pub(crate) struct AsCaller {
    // Fields drop in this order.
    _raised: Option<Raised>,
    _ids: FsIds,
}

impl Tree {
    /// Makes the calling thread a worker, if it is not yet one.
    pub(crate) fn begin(&self) {
        if SETTLED.get() {
            return;
        }
        if settle(without(self.options.kill_priv)).is_err() {
            // It was tried before the mount; a thread that goes on with other rights than it
            // should have is worse than none.
            std::process::abort();
        }
        set_umask(0);
        SETTLED.set(true);
    }

    /// How long the kernel may keep what it is told.
    pub(crate) fn lifetime(&self) -> Duration {
        if self.options.reachable_ok { attr::SHARED } else { attr::ALONE }
    }

    /// What is made while this lives is the caller's, as if the caller had made it.
    pub(crate) fn as_caller(
        &self,
        request: &Request,
        mode: u32,
        umask: u32,
    ) -> Result<AsCaller, Errno> {
        let ids = FsIds::take(request.uid(), request.gid())?;
        set_umask(umask);
        Ok(AsCaller { _raised: self.keeping_set_id(mode)?, _ids: ids })
    }

    /// The kernel has decided that the caller may set a mode; the source would decide again about
    /// its set-group-ID bit.
    pub(crate) fn keeping_set_id(&self, mode: u32) -> Result<Option<Raised>, Errno> {
        if mode & libc::S_ISGID == 0 || self.options.kill_priv == KillPriv::Kernel {
            return Ok(None);
        }
        Raised::raise(CapSet::of(&[Capability::Fsetid])).map(Some)
    }

    /// The kernel is told of what a name stands for.
    pub(crate) fn enter(&self, directory: BorrowedFd<'_>, name: &OsStr) -> Result<FileAttr, Errno> {
        let file = self.inodes.source().look_up(directory, name)?;
        let stat = fstat(&file)?;
        let node = self.inodes.know(file, &stat)?;
        Ok(attr::attributes(node, &stat))
    }

    /// Attributes of an inode, for a reply that is about nothing else.
    pub(crate) fn look(&self, node: u64, file: impl AsFd) -> Result<FileAttr, Errno> {
        let stat: Stat = fstat(file)?;
        Ok(attr::attributes(self.inodes.shown(node), &stat))
    }

    /// The descriptor to do something with: that of an open handle, if the request names one.
    pub(crate) fn handle(&self, number: Option<u64>) -> Option<Arc<OpenFile>> {
        number.and_then(|number| self.files.get(number).ok())
    }
}
