// SPDX-License-Identifier: MIT OR Apache-2.0
//! The identity of a namespace: the inode number of its file while it lives, and the kernel's id
//! for ever (NS_GET_ID, Linux 6.18).

use std::os::fd::AsFd;
use std::path::Path;

use crate::error::{Error, Result};
use crate::sys;

/// What tells a namespace from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) id: Option<u64>,
}

impl Identity {
    pub(crate) fn of(path: &Path, fd: impl AsFd) -> Result<Identity> {
        let stat = rustix::fs::fstat(&fd).map_err(|e| Error::call(path, "fstat", e))?;
        Ok(Identity { id: sys::ns_id(&fd).ok(), ..Identity::from(stat) })
    }

    pub(super) fn key(&self) -> Key {
        match self.id {
            Some(id) => Key::Id(id),
            None => Key::File(self.device, self.inode),
        }
    }

    /// Whether it is the same file: a namespace's number is its own only as long as it lives.
    pub(super) fn is_file(&self, other: &Identity) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl From<rustix::fs::Stat> for Identity {
    fn from(stat: rustix::fs::Stat) -> Identity {
        Identity { device: stat.st_dev, inode: stat.st_ino, id: None }
    }
}

/// The key by which a namespace is looked up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Key {
    /// The id that is never used again.
    Id(u64),
    /// Device and inode number, of a namespace that is kept alive.
    File(u64, u64),
}

impl Key {
    pub(crate) fn of(path: &Path, fd: impl AsFd) -> Result<Key> {
        match sys::ns_id(&fd) {
            Ok(id) => Ok(Key::Id(id)),
            Err(_) => Ok(Identity::of(path, fd)?.key()),
        }
    }
}
