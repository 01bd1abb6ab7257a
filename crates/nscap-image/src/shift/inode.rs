//! What one inode holds besides owner and mode: access control lists, capabilities, and, where it
//! grants something, its content.

use std::io::Read as _;
use std::os::fd::AsFd;
use std::path::Path;

use nscap_linux::{CapFile, FileState, Namespaces, ReadLease, path_fd};
use rustix::fs::FileType;
use sha2::{Digest as _, Sha256};

use super::acl;
use super::error::{Error, Result};
use super::record::Content;
use super::tree::{Seen, Tree};

/// File systems that list every attribute that they give.
const LISTING: [&str; 6] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs"];

pub(crate) const SET_USER: u32 = 0o4000;
pub(crate) const SET_GROUP: u32 = 0o2000;
pub(crate) const SET_ID: u32 = SET_USER | SET_GROUP;

/// The attributes that a shift cares about.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) access: Option<Vec<u8>>,
    pub(crate) default: Option<Vec<u8>>,
    /// Whether there is one of the two that hold capabilities.
    pub(crate) grants: bool,
}

impl Attributes {
    pub(crate) fn of(file: impl AsFd, seen: &Seen, tree: &Tree, path: &Path) -> Result<Attributes> {
        let kind = seen.kind();
        if kind == FileType::Symlink {
            return Ok(Attributes::default());
        }
        let listed = LISTING.contains(&tree.mount.fs_type.as_str());
        let names = if listed { Some(path_fd::list(&file, path)?) } else { None };
        let may_have = |name: &std::ffi::CStr| {
            let has =
                |names: &Vec<u8>| names.split(|byte| *byte == 0).any(|n| n == name.to_bytes());
            names.as_ref().is_none_or(has)
        };
        let get = |name| if may_have(name) { path_fd::get(&file, name, path) } else { Ok(None) };
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

/// Whether there is one of two attributes; one that we are not shown is one.
fn holds_any(file: impl AsFd, two: [&std::ffi::CStr; 2], path: &Path) -> Result<bool> {
    for name in two {
        match path_fd::get(&file, name, path) {
            Ok(None) => {}
            Ok(Some(_)) => return Ok(true),
            Err(error) if matches!(error.errno(), libc_errno::EOVERFLOW | libc_errno::EINVAL) => {
                return Ok(true);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

mod libc_errno {
    pub(super) const EINVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();
    pub(super) const EOVERFLOW: i32 = rustix::io::Errno::OVERFLOW.raw_os_error();
}

/// A regular file whose grants move, and what they are.
pub(crate) struct Granting {
    pub(crate) file: CapFile,
    pub(crate) lease: ReadLease,
}

impl Granting {
    /// Keeps everybody from writing to the file for as long as this lives.
    ///
    /// # Errors
    /// [`ReadLease::take`]'s errno, and [`Error`].
    pub(crate) fn take(file: impl AsFd, path: &Path) -> Result<std::result::Result<Granting, i32>> {
        let fd = file
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| Error::io(path, "fcntl(F_DUPFD_CLOEXEC)", &error))?;
        let file = CapFile::from_fd(fd, path)?;
        Ok(match ReadLease::take(&file, path) {
            Ok(lease) => Ok(Granting { file, lease }),
            Err(error) => Err(error.errno()),
        })
    }

    pub(crate) fn state(&self, tree: &Tree, namespaces: &Namespaces) -> Result<FileState> {
        Ok(self.file.read_through(tree.mount.clone(), namespaces)?)
    }

    /// What stands in the file.
    pub(crate) fn content(&self) -> Result<Content> {
        let failed = |error| Error::io(self.file.path(), "read", &error);
        let mut file = self.lease.file();
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        let mut size = 0;
        loop {
            match file.read(&mut buffer).map_err(failed)? {
                0 => break,
                read => {
                    hasher.update(&buffer[..read]);
                    size += read as u64;
                }
            }
        }
        Ok(Content { size, digest: hasher.finalize().into() })
    }
}
