// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tree as the requests see it, and what many operations need: to be the caller, to tell the
//! kernel of an inode, to find an open handle.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nscap_core::{CapSet, Capability};
use nscap_linux::server::{FsIds, set_umask};
use rustix::fs::{Stat, fstat};
use rustix::io::Errno;

use crate::attr;
use crate::backing::Backings;
use crate::caps::{Caps, Opened};
use crate::descriptors::{Descriptors, Share};
use crate::dir::Streams;
use crate::handles::Handles;
use crate::inodes::Inodes;
use crate::opener::Opener;
use crate::options::Options;
use crate::proto::{Header, Lifetimes};
use crate::stats::Stats;
use crate::times::Times;

/// A handle of which something is kept: what it reads and writes by its inode's handles share.
pub(crate) struct OpenFile {
    pub(crate) node: u64,
    pub(crate) opener: Opener,
    /// Whether it was opened with O_APPEND.
    pub(crate) appends: bool,
    /// Whether it can be mapped so that the source is changed past the server.
    pub(crate) maps: bool,
    /// K: what the capability side knows of a handle that can write.
    pub(crate) _opened: Option<Opened>,
    pub(crate) _share: Share,
}

/// A served tree.
pub(crate) struct Tree {
    pub(crate) inodes: Inodes,
    pub(crate) files: Handles<OpenFile>,
    pub(crate) streams: Streams,
    pub(crate) backings: Backings,
    pub(crate) descriptors: Arc<Descriptors>,
    pub(crate) times: Times,
    pub(crate) caps: Caps,
    pub(crate) stats: Arc<Stats>,
    pub(crate) options: Options,
    /// SETXATTR has more fields.
    pub(crate) extended_setxattr: AtomicBool,
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What the threads that serve go without: with CAP_SYS_RESOURCE they would write past quotas.
pub(crate) const WITHOUT: CapSet = CapSet::EMPTY.with(Capability::SysResource);
/// What makes the source keep set-id bits that it would drop.
pub(crate) const SET_ID: CapSet = CapSet::EMPTY.with(Capability::Fsetid);

/// A buffer of this thread's, as long as asked for.
pub(crate) fn with_buffer<T>(size: usize, then: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        then(buffer.get_mut(..size).unwrap_or_default())
    })
}

/// An inode that the kernel is told of.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) node: u64,
    pub(crate) stat: Stat,
}

impl Tree {
    /// How long the kernel may keep what it is told.
    pub(crate) fn lifetime(&self) -> Duration {
        if self.options.reachable_ok { attr::SHARED } else { attr::ALONE }
    }

    /// The same for a name, and for the attributes of its inode that have just been read.
    pub(crate) fn lifetimes(&self, node: u64) -> Lifetimes {
        Lifetimes { name: self.lifetime(), attributes: self.lifetime_of(node) }
    }

    /// The same for the attributes of an inode that have just been read.
    pub(crate) fn lifetime_of(&self, node: u64) -> Duration {
        if self.times.may_keep(node) { self.lifetime() } else { Duration::ZERO }
    }

    /// The same for those that are read next.
    pub(crate) fn lifetime_of_next(&self, node: u64) -> Duration {
        let is_written = |file: &File| self.caps.is_written(node, file);
        if self.times.may_keep_next(node, is_written) { self.lifetime() } else { Duration::ZERO }
    }

    /// What is made while this lives is the caller's, as if the caller had made it.
    pub(crate) fn as_caller(&self, caller: &Header, umask: u32) -> Result<FsIds, Errno> {
        let ids = FsIds::take(caller.uid, caller.gid)?;
        set_umask(umask);
        Ok(ids)
    }

    /// The kernel is told of what a name stands for.
    pub(crate) fn enter(&self, directory: BorrowedFd<'_>, name: &OsStr) -> Result<Known, Errno> {
        let file = self.inodes.source().look_up(directory, name)?;
        let stat = fstat(&file)?;
        let node = self.inodes.know(file, &stat)?;
        Ok(Known { node, stat })
    }

    /// The handle that a request names, if something is kept of it.
    pub(crate) fn handle(&self, node: u64, number: Option<u64>) -> Option<Arc<OpenFile>> {
        let open = number.and_then(|number| self.files.get(number).ok());
        open.filter(|open| open.node == node)
    }
}
