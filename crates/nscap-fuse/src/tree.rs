// SPDX-License-Identifier: MIT OR Apache-2.0
//! The served tree, and what several operations need: the caller's ids for a new file, the reply
//! about an inode, an open handle by its number.

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
use crate::caps::{Append, Caps, Opened};
use crate::descriptors::{Descriptors, Share};
use crate::handles::Handles;
use crate::inodes::Inodes;
use crate::opener::Opener;
use crate::options::Options;
use crate::proto::{Header, Lifetimes};
use crate::stats::Stats;
use crate::streams::Streams;
use crate::times::Times;

/// A handle for which the server keeps state. All handles of an inode share the descriptors that
/// the server reads and writes by.
pub(crate) struct OpenFile {
    pub(crate) node: u64,
    pub(crate) opener: Opener,
    pub(crate) append: Append,
    /// Whether a mapping of it can change the source without a request to the server.
    pub(crate) maps: bool,
    /// K: counts a handle that can write.
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
    /// Whether SETXATTR requests have the fields of FUSE_SETXATTR_EXT.
    pub(crate) extended_setxattr: AtomicBool,
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The capability that serving threads drop: with CAP_SYS_RESOURCE they would write past quotas.
pub(crate) const WITHOUT: CapSet = CapSet::EMPTY.with(Capability::SysResource);
/// With this capability a writer makes the source keep set-id bits that it would drop.
pub(crate) const SET_ID: CapSet = CapSet::EMPTY.with(Capability::Fsetid);

/// Calls `then` with a buffer of this thread, of `size` bytes.
pub(crate) fn with_buffer<T>(size: usize, then: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        then(buffer.get_mut(..size).unwrap_or_default())
    })
}

/// What LOOKUP and its relatives reply: an inode and its attributes (`struct fuse_entry_out`).
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) node: u64,
    pub(crate) stat: Stat,
}

impl Tree {
    /// How long the kernel may cache a name.
    pub(crate) fn lifetime(&self) -> Duration {
        if self.options.reachable_ok { attr::SHARED } else { attr::ALONE }
    }

    /// How long the kernel may cache a name, and the attributes of its inode that were just read.
    pub(crate) fn lifetimes(&self, node: u64) -> Lifetimes {
        Lifetimes { name: self.lifetime(), attributes: self.lifetime_of(node) }
    }

    /// How long the kernel may cache attributes that were just read.
    pub(crate) fn lifetime_of(&self, node: u64) -> Duration {
        if self.times.may_keep(node) { self.lifetime() } else { Duration::ZERO }
    }

    /// How long the kernel may cache attributes that are read next.
    pub(crate) fn lifetime_of_next(&self, node: u64) -> Duration {
        let is_written = |file: &File| self.caps.is_written(node, file);
        if self.times.may_keep_next(node, is_written) { self.lifetime() } else { Duration::ZERO }
    }

    /// While the result lives, this thread makes files as the caller would: with its fsuid, fsgid
    /// and umask.
    pub(crate) fn as_caller(&self, header: &Header, umask: u32) -> Result<FsIds, Errno> {
        let ids = FsIds::take(header.uid, header.gid)?;
        set_umask(umask);
        Ok(ids)
    }

    /// Looks a name up and counts one more lookup of its inode.
    pub(crate) fn enter(&self, directory: BorrowedFd<'_>, name: &OsStr) -> Result<Entry, Errno> {
        let file = self.inodes.source().lookup(directory, name)?;
        let stat = fstat(&file)?;
        let node = self.inodes.know(file, &stat)?;
        Ok(Entry { node, stat })
    }

    /// The handle that a request names, if the server keeps state for it.
    pub(crate) fn handle(&self, node: u64, number: Option<u64>) -> Option<Arc<OpenFile>> {
        let open = number.and_then(|number| self.files.get(number).ok());
        open.filter(|open| open.node == node)
    }
}
