// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one inode has beside owner and mode: access control lists, capabilities, and, if it grants
//! anything, the digest of its content.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use nscap_linux::{CapFile, FileState, Namespaces, ReadLease, opath};
use rustix::fs::{FileType, SeekFrom};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::acl;
use super::error::{Error, Result};
use super::record::Content;
use super::tree::{InodeStat, Tree};

/// File systems whose listxattr(2) names every attribute that getxattr(2) returns.
const LISTING: [&str; 6] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs"];

pub(crate) const SET_USER: u32 = 0o4000;
pub(crate) const SET_GROUP: u32 = 0o2000;
pub(crate) const SET_ID: u32 = SET_USER | SET_GROUP;

/// The attributes that a shift reads.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) access: Option<Vec<u8>>,
    pub(crate) default: Option<Vec<u8>>,
    /// Whether the file has `security.capability` or `security.nscapability`.
    pub(crate) grants: bool,
}

impl Attributes {
    pub(crate) fn of(
        file: impl AsFd,
        seen: &InodeStat,
        tree: &Tree,
        path: &Path,
    ) -> Result<Attributes> {
        let kind = seen.kind();
        if kind == FileType::Symlink {
            return Ok(Attributes::default());
        }
        let listed = LISTING.contains(&tree.mount.fs_type.as_str());
        let call = |call| move |errno| Error::call(path, call, errno);
        let names =
            if listed { Some(opath::list(&file).map_err(call("listxattr"))?) } else { None };
        let may_have = |name: &std::ffi::CStr| {
            let has =
                |names: &Vec<u8>| names.split(|byte| *byte == 0).any(|n| n == name.to_bytes());
            names.as_ref().is_none_or(has)
        };
        let get = |name| match may_have(name) {
            true => opath::get(&file, name).map_err(call("getxattr")),
            false => Ok(None),
        };
        let access = get(acl::ACCESS)?;
        let default = if kind == FileType::Directory { get(acl::DEFAULT)? } else { None };
        let regular = kind == FileType::RegularFile;
        let grants = regular && {
            let two = [c"security.capability", c"security.nscapability"];
            match &names {
                Some(_) => two.into_iter().any(may_have),
                None => holds_any(&file, two, path)?,
            }
        };
        Ok(Attributes { access, default, grants })
    }
}

/// Whether the file has one of two attributes. EOVERFLOW and EINVAL of getxattr(2) mean a value
/// that the kernel does not show to this process: the file has it.
fn holds_any(file: impl AsFd, two: [&std::ffi::CStr; 2], path: &Path) -> Result<bool> {
    for name in two {
        match opath::get(&file, name) {
            Ok(None) => {}
            Ok(Some(_)) | Err(Errno::OVERFLOW | Errno::INVAL) => return Ok(true),
            Err(errno) => return Err(Error::call(path, "getxattr", errno)),
        }
    }
    Ok(false)
}

/// A regular file with grants, under a lease.
pub(crate) struct Granting {
    pub(crate) file: CapFile,
    pub(crate) lease: ReadLease,
}

impl Granting {
    /// Takes a lease: no task can open the file for writing while this lives.
    ///
    /// # Errors
    /// The inner errno is that of [`ReadLease::take`], EAGAIN if a task has the file open for
    /// writing; [`Error`] for the rest.
    pub(crate) fn take(file: impl AsFd, path: &Path) -> Result<std::result::Result<Granting, i32>> {
        let fd = file
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| Error::io(path, "fcntl(F_DUPFD_CLOEXEC)", &error))?;
        let file = CapFile::from_fd(fd, path)?;
        Ok(match ReadLease::take(&file, path) {
            Ok(Some(lease)) => Ok(Granting { file, lease }),
            Ok(None) => Err(rustix::io::Errno::AGAIN.raw_os_error()),
            Err(error) => Err(error.errno()),
        })
    }

    pub(crate) fn state(&self, tree: &Tree, namespaces: &Namespaces) -> Result<FileState> {
        Ok(self.file.read_through(tree.mount.clone(), namespaces)?)
    }

    /// Size and digest of the content. The digest covers each block that is not all zeros, with its
    /// offset and length, so a file that is nearly all hole takes little time.
    pub(crate) fn content(&self) -> Result<Content> {
        let file = self.lease.file();
        let mut hasher = Sha256::new();
        let mut block = vec![0; BLOCK as usize];
        let mut at = 0;
        while let Some(data) = next_data(file, at) {
            at = data - data % BLOCK;
            let length = read_block(file, at, &mut block)
                .map_err(|error| Error::io(self.file.path(), "read", &error))?;
            let read = block.get(..length).unwrap_or(&block);
            if read.is_empty() {
                break;
            }
            if read.iter().any(|byte| *byte != 0) {
                hasher.update(at.to_le_bytes());
                hasher.update((length as u64).to_le_bytes());
                hasher.update(read);
            }
            at += BLOCK;
        }
        let size = InodeStat::of(file, self.file.path())?.size;
        Ok(Content { size, digest: hasher.finalize().into() })
    }
}

const BLOCK: u64 = 1 << 16;

/// The offset of the next data at or after `at`; `None` if only a hole follows.
fn next_data(file: &File, at: u64) -> Option<u64> {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => Some(data),
        Err(Errno::NXIO) => None,
        // Without SEEK_DATA the whole file counts as data.
        Err(_) => Some(at),
    }
}

/// Fills the block as far as the file goes.
fn read_block(file: &File, at: u64, block: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = block.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + length as u64)? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}
