//! The two attributes on a file of the tree: who asks, what is stored, what `nscap_core` decides,
//! and K: which change of a file drops what it holds, and when nothing may be granted on it.
//!
//! Every `file` given here is a descriptor of a regular file's inode on the source's file system;
//! O_PATH is enough. `node` is the number of that inode, the same for as long as a handle of it is
//! open. `tid` is what FUSE says in the request's pid field: the calling thread in the mounter's
//! pid namespace, 0 where it has none there. Errors are what the caller of the system call gets.

#![allow(dead_code, reason = "the file system is about to call it")]

use std::os::fd::BorrowedFd;

use nscap_core::{Operation, Policy, SetFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// An attribute that is answered by the rules and not by the backing file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CapName {
    /// `security.capability`.
    Capability,
    /// `security.nscapability`, and `system.nscapability`, which reaches us from any task.
    NsCapability {
        /// Whether the VFS has let through whoever asks.
        unchecked: bool,
    },
}

impl CapName {
    /// `None` for every other name: those are the backing file's.
    pub(crate) fn of(name: &[u8]) -> Option<CapName> {
        match name {
            b"security.capability" => Some(CapName::Capability),
            b"security.nscapability" => Some(CapName::NsCapability { unchecked: false }),
            b"system.nscapability" => Some(CapName::NsCapability { unchecked: true }),
            _ => None,
        }
    }
}

/// How a file is about to be opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    /// The flags of open(2); the access mode and O_TRUNC count.
    pub(crate) flags: OFlags,
    /// Whether this request makes the inode (CREATE, O_TMPFILE): nobody can have it mapped.
    pub(crate) fresh: bool,
}

/// What the rules know about the files of one mount.
pub(crate) struct Caps {
    policy: Policy,
}

impl Caps {
    /// `source`: a descriptor of the root of the source tree.
    pub(crate) fn new(source: BorrowedFd<'_>, policy: Policy) -> nscap_linux::Result<Caps> {
        let _ = source;
        Ok(Caps { policy })
    }

    /// getxattr(2): the whole value, whatever size was asked for. R4 and W, R6.
    pub(crate) fn get(
        &self,
        file: BorrowedFd<'_>,
        name: CapName,
        tid: u32,
    ) -> Result<Vec<u8>, Errno> {
        let _ = (file, name, tid);
        Err(Errno::NODATA)
    }

    /// listxattr(2): of the names that the backing file has, each ended by NUL, those that this
    /// caller sees. L.
    pub(crate) fn list(
        &self,
        file: BorrowedFd<'_>,
        raw: &[u8],
        tid: u32,
    ) -> Result<Vec<u8>, Errno> {
        let _ = (file, tid);
        Ok(raw.to_vec())
    }

    /// setxattr(2). ETXTBSY where somebody could change the content without being seen (K).
    pub(crate) fn set(
        &self,
        file: BorrowedFd<'_>,
        node: u64,
        name: CapName,
        value: &[u8],
        flags: SetFlags,
        tid: u32,
    ) -> Result<(), Errno> {
        let _ = (file, node, name, value, flags, tid, self.policy);
        Err(Errno::PERM)
    }

    /// removexattr(2). D, and K where it may be the kernel's own removal before a write (V).
    pub(crate) fn remove(
        &self,
        file: BorrowedFd<'_>,
        node: u64,
        name: CapName,
        tid: u32,
    ) -> Result<(), Errno> {
        let _ = (file, node, name, tid);
        Err(Errno::PERM)
    }

    /// To be called before an open is replied to, and before the server itself opens the file for
    /// writing on its behalf; whatever it is opened for. What it gives is kept with the handle and
    /// dropped at RELEASE. K: an open that can be mapped shared and writable drops what the file
    /// holds, and nothing can be granted while it lasts.
    pub(crate) fn opening(
        &self,
        file: BorrowedFd<'_>,
        node: u64,
        opening: Opening,
    ) -> Result<Opened, Errno> {
        let _ = (file, node, opening);
        Ok(Opened {})
    }

    /// To be called before a change reaches the backing file; what it gives is dropped when the
    /// change is done. K: drops what the file holds, if this operation does, and holds off grants.
    pub(crate) fn changing(
        &self,
        file: BorrowedFd<'_>,
        node: u64,
        operation: Operation,
    ) -> Result<Changing<'_>, Errno> {
        let _ = (file, node, operation);
        Ok(Changing { _caps: self })
    }
}

/// An open handle, until dropped.
#[must_use]
pub(crate) struct Opened {}

/// A change that goes on, until dropped.
#[must_use]
pub(crate) struct Changing<'c> {
    _caps: &'c Caps,
}
