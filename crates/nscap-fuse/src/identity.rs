// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which inode a descriptor leads to. A name does not tell, since others may change what it stands
//! for between two looks; a number does not tell, since it is given again. A file handle does: it is
//! the number and the generation. Where there are none, the kernel is asked about two descriptors,
//! which keep what they lead to.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nscap_linux::server::{FileHandle, same_inode};
use rustix::io::Errno;

use crate::descriptors::Share;

/// How an inode is held, and told from all others.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    /// By its handle; nothing is open.
    Handle(FileHandle),
    /// By a descriptor: where no inode can be opened by handle, and what has no name any more.
    Open(Arc<Open>),
}

/// An inode that is held open.
#[derive(Debug)]
pub(crate) struct Open {
    /// O_PATH.
    pub(crate) file: Arc<OwnedFd>,
    pub(crate) handle: Option<FileHandle>,
    /// Of its owner's descriptors, where it has no name: else one who has many such files could leave
    /// others none.
    pub(crate) _share: Option<Share>,
}

impl Held {
    pub(crate) fn handle(&self) -> Option<&FileHandle> {
        match self {
            Held::Handle(handle) => Some(handle),
            Held::Open(open) => open.handle.as_ref(),
        }
    }

    /// Whether both are one inode of a file system. ESTALE where that cannot be found out.
    pub(crate) fn is(&self, other: &Held) -> Result<bool, Errno> {
        match (self.handle(), other.handle(), self, other) {
            (Some(one), Some(other), ..) => Ok(one == other),
            (_, _, Held::Open(one), Held::Open(other)) => Ok(Arc::ptr_eq(one, other)
                || same_inode(&one.file, &other.file).map_err(|_| Errno::STALE)?),
            _ => Ok(false),
        }
    }
}

/// The handle of what a descriptor leads to, if it has one.
pub(crate) fn handle_of(file: impl AsFd) -> Result<Option<FileHandle>, Errno> {
    match FileHandle::of(file) {
        Ok(handle) => Ok(Some(handle)),
        Err(Errno::OPNOTSUPP | Errno::OVERFLOW) => Ok(None),
        Err(errno) => Err(errno),
    }
}
