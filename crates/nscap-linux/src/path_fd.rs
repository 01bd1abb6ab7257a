// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a descriptor opened with O_PATH cannot do by itself: mode, extended attributes and content
//! of the very inode that it stands for, whatever happens to names meanwhile. For whoever changes
//! whole trees; `path` is only what errors call the file.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::file::{CapFile, Links, check_regular};
use crate::server;
use crate::xattr::{self, Present};

/// chmod(2): permissions and set-id bits, the low 12 bits of `mode`. Not for symbolic links.
///
/// # Errors
/// [`Error::Call`] with chmod(2)'s errno; EOPNOTSUPP where /proc is not procfs.
///
/// ```
/// use std::os::unix::fs::PermissionsExt as _;
/// let file = tempfile::NamedTempFile::new().unwrap();
/// nscap_linux::path_fd::chmod(&file, 0o640, file.path())?;
/// assert_eq!(file.path().metadata().unwrap().permissions().mode() & 0o7777, 0o640);
/// # Ok::<(), nscap_linux::Error>(())
/// ```
pub fn chmod(file: impl AsFd, mode: u32, path: &Path) -> Result<()> {
    server::chmod(file, mode & 0o7777).map_err(|e| Error::call(path, "chmod", e))
}

/// Opens a regular file by its path for reading, as [`reopen`] does. The path is resolved as
/// `links` says; nothing that it may lead to is opened but a regular file.
///
/// # Errors
/// As [`reopen`].
///
/// ```
/// use nscap_linux::{Links, path_fd};
/// assert!(path_fd::open_regular("/bin/true".as_ref(), Links::Follow).is_ok());
/// let error = path_fd::open_regular("/dev/null".as_ref(), Links::Follow).unwrap_err();
/// assert!(error.to_string().contains("is a device"));
/// ```
pub fn open_regular(path: &Path, links: Links) -> Result<File> {
    reopen(CapFile::open(path, links)?, path)
}

/// Opens a regular file, of which there is an O_PATH descriptor, for reading: without waiting and,
/// where we may, without touching its access time. A stranger may have put something in the place
/// of a file that lasts as long as they like (a named pipe without a writer), does something when
/// it is opened (a device), or may hold a lease on the file, for which open(2) waits up to
/// /proc/sys/fs/lease-break-time seconds.
///
/// # Errors
/// [`Error::NotRegular`] for anything but a regular file, which is not opened; [`Error::Call`] with
/// open(2)'s errno: EAGAIN where another process holds a lease, which has been told to give it up.
///
/// ```
/// use std::io::Read as _;
/// let file = tempfile::NamedTempFile::new().unwrap();
/// std::fs::write(file.path(), "text").unwrap();
/// let mut text = String::new();
/// nscap_linux::path_fd::reopen(&file, file.path())?.read_to_string(&mut text).unwrap();
/// assert_eq!(text, "text");
/// # Ok::<(), nscap_linux::Error>(())
/// ```
pub fn reopen(file: impl AsFd, path: &Path) -> Result<File> {
    check_regular(&file, path)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = match server::open_again(&file, flags | OFlags::NOATIME) {
        Err(Errno::PERM) => server::open_again(&file, flags),
        opened => opened,
    };
    opened.map(File::from).map_err(|e| Error::call(path, "open", e))
}

/// getxattr(2): the value, or `None` where there is none or the file system has no attributes.
///
/// # Errors
/// [`Error::Call`] with getxattr(2)'s other errnos.
///
/// ```
/// let file = tempfile::NamedTempFile::new().unwrap();
/// assert_eq!(nscap_linux::path_fd::get(&file, c"user.nothing", file.path())?, None);
/// # Ok::<(), nscap_linux::Error>(())
/// ```
pub fn get(file: impl AsFd, name: &CStr, path: &Path) -> Result<Option<Vec<u8>>> {
    xattr::get(file, name).map_err(|e| Error::call(path, "getxattr", e))
}

/// setxattr(2), whether or not there is a value.
///
/// # Errors
/// [`Error::Call`] with setxattr(2)'s errno.
///
/// ```
/// use nscap_linux::path_fd;
/// let file = tempfile::NamedTempFile::new().unwrap();
/// if path_fd::set(&file, c"user.x", b"1", file.path()).is_ok() {
///     assert_eq!(path_fd::get(&file, c"user.x", file.path())?, Some(vec![b'1']));
/// }
/// # Ok::<(), nscap_linux::Error>(())
/// ```
pub fn set(file: impl AsFd, name: &CStr, value: &[u8], path: &Path) -> Result<()> {
    xattr::set(file, name, value, Present::Any).map_err(|e| Error::call(path, "setxattr", e))
}

/// removexattr(2); that there is none is fine.
///
/// # Errors
/// [`Error::Call`] with removexattr(2)'s other errnos.
///
/// ```
/// let file = tempfile::NamedTempFile::new().unwrap();
/// nscap_linux::path_fd::remove(&file, c"user.nothing", file.path())?;
/// # Ok::<(), nscap_linux::Error>(())
/// ```
pub fn remove(file: impl AsFd, name: &CStr, path: &Path) -> Result<()> {
    xattr::remove(file, name).map_err(|e| Error::call(path, "removexattr", e))
}

/// listxattr(2): the names, each with a NUL after it; none where the file system has no attributes.
/// Not every file system lists what it gives: FUSE servers need not.
///
/// # Errors
/// [`Error::Call`] with listxattr(2)'s other errnos.
///
/// ```
/// let file = tempfile::NamedTempFile::new().unwrap();
/// let names = nscap_linux::path_fd::list(&file, file.path())?;
/// assert!(names.is_empty() || names.last() == Some(&0));
/// # Ok::<(), nscap_linux::Error>(())
/// ```
pub fn list(file: impl AsFd, path: &Path) -> Result<Vec<u8>> {
    xattr::list(file).map_err(|e| Error::call(path, "listxattr", e))
}
