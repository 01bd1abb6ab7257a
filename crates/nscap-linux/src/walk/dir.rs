// SPDX-License-Identifier: MIT OR Apache-2.0
//! A directory of the walk: where it is, and how it is opened again once its descriptor is closed.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, openat, openat2, statx};
use rustix::io::Errno;

/// STATX_MNT_ID_UNIQUE, Linux 6.8: an id that no later mount has. Older kernels give STATX_MNT_ID.
const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

const OPEN: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// The longest path that the kernel takes, without its NUL (`PATH_MAX`), in bytes.
const PATH_MAX: usize = 4095;

/// What tells a directory from all others while its mount is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Identity {
    pub(super) mount: u64,
    device: (u32, u32),
    inode: u64,
}

impl Identity {
    pub(super) fn of(file: impl AsFd) -> Result<Identity, Errno> {
        let mask = StatxFlags::INO | StatxFlags::MNT_ID | MNT_ID_UNIQUE;
        // The kernel knows all this by itself, also where a server does not answer.
        let stat = statx(file, "", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, mask)?;
        let device = (stat.stx_dev_major, stat.stx_dev_minor);
        Ok(Identity { mount: stat.stx_mnt_id, device, inode: stat.stx_ino })
    }
}

/// A directory that was opened once. The path is made only for what has to be told.
#[derive(Debug)]
pub(super) struct Dir {
    parent: Option<Arc<Dir>>,
    /// In its parent; of a root, the path as it was given.
    name: CString,
    pub(super) identity: Identity,
    /// Whether listxattr(2) is enough to know that a file in it has none of our attributes.
    pub(super) listing: bool,
}

impl Dir {
    pub(super) fn new(
        parent: Option<Arc<Dir>>,
        name: CString,
        identity: Identity,
        listing: bool,
    ) -> Dir {
        Dir { parent, name, identity, listing }
    }

    /// From the root down to this one.
    fn chain(&self) -> Vec<&Dir> {
        let mut chain = vec![self];
        while let Some(parent) = chain.last().and_then(|dir| dir.parent.as_deref()) {
            chain.push(parent);
        }
        chain.reverse();
        chain
    }

    pub(super) fn path(&self) -> PathBuf {
        self.chain().iter().map(|dir| OsStr::from_bytes(dir.name.to_bytes())).collect()
    }

    /// The path of what has this name in it.
    pub(super) fn path_of(&self, name: &CStr) -> PathBuf {
        self.path().join(OsStr::from_bytes(name.to_bytes()))
    }

    /// Opens it again, from its root without any symbolic link.
    ///
    /// # Errors
    /// ESTALE where another directory is there now; openat2(2)'s.
    pub(super) fn open_again(
        &self,
        base: BorrowedFd<'_>,
        one_mount: bool,
    ) -> Result<OwnedFd, Errno> {
        let chain = self.chain();
        let mut chain = chain.iter().map(|dir| dir.name.as_bytes());
        let mut fd = openat(base, chain.next().unwrap_or_default(), OPEN, Mode::empty())?;
        let mut path: Vec<u8> = Vec::new();
        for name in chain {
            if path.len() + 1 + name.len() > PATH_MAX {
                fd = open_below(fd.as_fd(), &path, one_mount)?;
                path.clear();
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        if !path.is_empty() {
            fd = open_below(fd.as_fd(), &path, one_mount)?;
        }
        if Identity::of(&fd)? != self.identity {
            return Err(Errno::STALE);
        }
        Ok(fd)
    }
}

impl Drop for Dir {
    /// Frees directories above that have no other user, one after the other: recursion would need a
    /// stack as deep as the tree.
    fn drop(&mut self) {
        let mut above = self.parent.take();
        while let Some(dir) = above {
            above = Arc::into_inner(dir).and_then(|mut dir| dir.parent.take());
        }
    }
}

/// What openat(2) of a relative path starts from, where no descriptor is held for it.
pub(super) fn current(base: Option<&OwnedFd>) -> BorrowedFd<'_> {
    base.map_or(CWD, AsFd::as_fd)
}

/// The mount that a directory is on, by its name in another; nothing is asked of a server where
/// that is a mount point.
pub(super) fn mount_in(parent: BorrowedFd<'_>, name: &CStr) -> Result<u64, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(Identity::of(openat(parent, name, flags, Mode::empty())?)?.mount)
}

/// Opens a root.
pub(super) fn open_root(base: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    openat(base, path, OPEN, Mode::empty())
}

/// Opens a directory by its name in another; with `one_mount` EXDEV at a mount point, which is
/// not looked into then (the server of a network file system may be dead).
pub(super) fn open_in(
    parent: BorrowedFd<'_>,
    name: &CStr,
    one_mount: bool,
) -> Result<OwnedFd, Errno> {
    if one_mount {
        open_below(parent, name.to_bytes(), true)
    } else {
        openat(parent, name, OPEN, Mode::empty())
    }
}

fn open_below(parent: BorrowedFd<'_>, path: &[u8], one_mount: bool) -> Result<OwnedFd, Errno> {
    let no_mounts = if one_mount { ResolveFlags::NO_XDEV } else { ResolveFlags::empty() };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | no_mounts;
    openat2(parent, path, OPEN, Mode::empty(), resolve)
}
