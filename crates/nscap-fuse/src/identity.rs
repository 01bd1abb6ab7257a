// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether two descriptors refer to one inode. A name does not say so: another task may rename
//! between two lookups. An inode number does not say so either: the file system uses it again. A
//! file handle (name_to_handle_at(2)) does: it has the number and the generation. Where a file
//! system has no handles, the kernel compares two open descriptors.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nscap_linux::server::{FileHandle, same_inode};
use rustix::io::Errno;

use crate::descriptors::Share;

/// How the server holds an inode, and identifies it.
#[derive(Clone, Debug)]
pub(crate) enum InodeId {
    /// By its handle; nothing is open.
    Handle(FileHandle),
    /// By a descriptor: on a file system without handles, and for an inode without a name.
    Open(Arc<Open>),
}

/// An inode that is held open.
#[derive(Debug)]
pub(crate) struct Open {
    /// O_PATH.
    pub(crate) file: Arc<OwnedFd>,
    pub(crate) handle: Option<FileHandle>,
    /// Counts it for the file's owner if it has no name: otherwise one user with many such files
    /// could take all descriptors.
    pub(crate) _share: Option<Share>,
}

impl InodeId {
    pub(crate) fn handle(&self) -> Option<&FileHandle> {
        match self {
            InodeId::Handle(handle) => Some(handle),
            InodeId::Open(open) => open.handle.as_ref(),
        }
    }

    /// Whether both are one inode of a file system. ESTALE if the kernel cannot say.
    pub(crate) fn is(&self, other: &InodeId) -> Result<bool, Errno> {
        match (self.handle(), other.handle(), self, other) {
            (Some(one), Some(other), ..) => Ok(one == other),
            (_, _, InodeId::Open(one), InodeId::Open(other)) => Ok(Arc::ptr_eq(one, other)
                || same_inode(&one.file, &other.file).map_err(|_| Errno::STALE)?),
            _ => Ok(false),
        }
    }
}

/// The file handle of the inode that a descriptor refers to, if the file system has handles.
pub(crate) fn handle_of(file: impl AsFd) -> Result<Option<FileHandle>, Errno> {
    match FileHandle::of(file) {
        Ok(handle) => Ok(Some(handle)),
        Err(Errno::OPNOTSUPP | Errno::OVERFLOW) => Ok(None),
        Err(errno) => Err(errno),
    }
}
