// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls on the inode of an O_PATH descriptor, which the kernel itself refuses for such a
//! descriptor (EBADF). The calls use its link in /proc/self/fd. So they act on that very inode,
//! whatever happens to its names meanwhile.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::file::{CapFile, Links, check_regular};
use crate::{sys, xattr};

/// Opens a regular file by its path for reading, as [`reopen_regular`] does. `links` says whether a
/// symbolic link is followed. Does not open a file of another type.
///
/// # Errors
/// As [`reopen_regular`].
///
/// ```
/// use nscap_linux::{Links, opath};
/// assert!(opath::open_regular("/bin/true".as_ref(), Links::Follow).is_ok());
/// let error = opath::open_regular("/dev/null".as_ref(), Links::Follow).unwrap_err();
/// assert!(error.to_string().contains("is a device"));
/// ```
pub fn open_regular(path: &Path, links: Links) -> crate::Result<File> {
    reopen_regular(CapFile::open(path, links)?, path)
}

/// Opens the regular file of an O_PATH descriptor for reading, without waiting and, if the kernel
/// allows it, without a change of its access time. Another user may have put a file there whose
/// open(2) blocks (a named pipe without a writer) or acts (a device), or may hold a lease on it,
/// for which open(2) waits up to /proc/sys/fs/lease-break-time seconds. `path`: what errors call
/// the file.
///
/// # Errors
/// [`Error::NotRegular`] for a file of another type, which is not opened; [`Error::Call`] with
/// open(2)'s errno: EAGAIN if another process holds a lease, which the kernel has asked it to give
/// up.
///
/// ```
/// use std::io::Read as _;
/// let file = tempfile::NamedTempFile::new().unwrap();
/// std::fs::write(file.path(), "text").unwrap();
/// let mut text = String::new();
/// nscap_linux::opath::reopen_regular(&file, file.path())?.read_to_string(&mut text).unwrap();
/// assert_eq!(text, "text");
/// # Ok::<(), nscap_linux::Error>(())
/// ```
pub fn reopen_regular(file: impl AsFd, path: &Path) -> crate::Result<File> {
    check_regular(&file, path)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = match reopen(&file, flags | OFlags::NOATIME) {
        Err(Errno::PERM) => reopen(&file, flags),
        opened => opened,
    };
    opened.map(File::from).map_err(|e| Error::call(path, "open", e))
}

/// Opens the inode of an O_PATH descriptor again, with these flags of open(2).
///
/// # Errors
/// open(2)'s; EOPNOTSUPP if /proc is not procfs.
///
/// ```
/// use rustix::fs::{Mode, OFlags};
/// let path = rustix::fs::open("/bin/true", OFlags::PATH, Mode::empty())?;
/// let file = nscap_linux::opath::reopen(&path, OFlags::RDONLY)?;
/// assert!(rustix::io::read(&file, &mut [0; 4])? == 4);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn reopen(file: impl AsFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    // open(2) must follow the link in /proc.
    let flags = (flags | OFlags::CLOEXEC) - OFlags::NOFOLLOW;
    xattr::by_link(file.as_fd(), |dir, link| rustix::fs::openat(dir, link, flags, Mode::empty()))
}

/// fchmodat2(2); on Linux before 6.6 chmod(2) of the link in /proc. `mode`: permissions and set-id
/// bits.
///
/// # Errors
/// chmod(2)'s; EOPNOTSUPP for a symbolic link.
///
/// ```no_run
/// use rustix::fs::{Mode, OFlags};
/// let path = rustix::fs::open("file", OFlags::PATH, Mode::empty())?;
/// nscap_linux::opath::chmod(&path, 0o640)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn chmod(file: impl AsFd, mode: u32) -> Result<(), Errno> {
    match sys::fchmodat2(file.as_fd(), mode) {
        Err(Errno::NOSYS) => xattr::by_link(file.as_fd(), |dir, link| {
            rustix::fs::chmodat(dir, link, Mode::from_raw_mode(mode), AtFlags::empty())
        }),
        done => done,
    }
}

/// linkat(2) with AT_EMPTY_PATH; without CAP_DAC_READ_SEARCH by the link in /proc.
///
/// # Errors
/// linkat(2)'s.
///
/// ```no_run
/// use rustix::fs::{Mode, OFlags};
/// let path = rustix::fs::open("file", OFlags::PATH, Mode::empty())?;
/// nscap_linux::opath::link(&path, rustix::fs::CWD, "another".as_ref())?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn link(file: impl AsFd, directory: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::linkat(&file, c"", &directory, name, AtFlags::EMPTY_PATH) {
        Err(Errno::NOENT) => xattr::by_link(file.as_fd(), |dir, link| {
            rustix::fs::linkat(dir, link, &directory, name, AtFlags::SYMLINK_FOLLOW)
        }),
        done => done,
    }
}

/// getxattr(2) into a buffer. Returns the length of the value, also if the buffer is empty.
///
/// # Errors
/// getxattr(2)'s.
///
/// ```
/// use rustix::io::Errno;
/// let file = std::fs::File::open("/bin/true").unwrap();
/// let read = nscap_linux::opath::getxattr(&file, c"user.nothing", &mut [0; 10]);
/// assert!(matches!(read, Err(Errno::NODATA | Errno::OPNOTSUPP)));
/// ```
pub fn getxattr(file: impl AsFd, name: &CStr, value: &mut [u8]) -> Result<usize, Errno> {
    xattr::get_into(file.as_fd(), name, value)
}

/// listxattr(2) into a buffer: names, each with a NUL after it. Returns their length, also if the
/// buffer is empty.
///
/// # Errors
/// listxattr(2)'s.
///
/// ```
/// let file = std::fs::File::open("/bin/true").unwrap();
/// let mut names = [0; 1000];
/// let length = nscap_linux::opath::listxattr(&file, &mut names)?;
/// assert!(names[..length].iter().filter(|byte| **byte == 0).count() <= length);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn listxattr(file: impl AsFd, names: &mut [u8]) -> Result<usize, Errno> {
    xattr::list_into(file.as_fd(), names)
}

/// setxattr(2).
///
/// # Errors
/// setxattr(2)'s.
///
/// ```no_run
/// use rustix::fs::XattrFlags;
/// let file = std::fs::File::open("file")?;
/// nscap_linux::opath::setxattr(&file, c"user.colour", b"red", XattrFlags::empty())?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn setxattr(
    file: impl AsFd,
    name: &CStr,
    value: &[u8],
    flags: XattrFlags,
) -> Result<(), Errno> {
    xattr::set_with(file.as_fd(), name, value, flags)
}

/// removexattr(2).
///
/// # Errors
/// removexattr(2)'s.
///
/// ```no_run
/// let file = std::fs::File::open("file")?;
/// nscap_linux::opath::removexattr(&file, c"user.colour")?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn removexattr(file: impl AsFd, name: &CStr) -> Result<(), Errno> {
    xattr::remove_named(file.as_fd(), name)
}

/// getxattr(2): the whole value, or `None` if there is none or the file system has no attributes.
///
/// # Errors
/// getxattr(2)'s other errors; EOPNOTSUPP if /proc is not procfs.
///
/// ```
/// let file = tempfile::NamedTempFile::new().unwrap();
/// assert_eq!(nscap_linux::opath::get(&file, c"user.nothing"), Ok(None));
/// ```
pub fn get(file: impl AsFd, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
    xattr::get(file, name)
}

/// removexattr(2); succeeds also if there is no value.
///
/// # Errors
/// removexattr(2)'s other errors; EOPNOTSUPP if /proc is not procfs.
///
/// ```
/// let file = tempfile::NamedTempFile::new().unwrap();
/// assert_eq!(nscap_linux::opath::remove(&file, c"user.nothing"), Ok(()));
/// ```
pub fn remove(file: impl AsFd, name: &CStr) -> Result<(), Errno> {
    xattr::remove(file, name)
}

/// listxattr(2): all names, each with a NUL after it; none if the file system has no attributes. A
/// FUSE server need not list every attribute that it has.
///
/// # Errors
/// listxattr(2)'s other errors; EOPNOTSUPP if /proc is not procfs.
///
/// ```
/// let file = tempfile::NamedTempFile::new().unwrap();
/// let names = nscap_linux::opath::list(&file).unwrap();
/// assert!(names.is_empty() || names.last() == Some(&0));
/// ```
pub fn list(file: impl AsFd) -> Result<Vec<u8>, Errno> {
    xattr::list(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_o_path_descriptor_is_enough() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join("file");
        std::fs::write(&name, "content").unwrap();
        let path = rustix::fs::open(&name, OFlags::PATH, Mode::empty()).unwrap();
        chmod(&path, 0o600).unwrap();
        let there = rustix::fs::open(directory.path(), OFlags::PATH, Mode::empty()).unwrap();
        link(&path, &there, "second".as_ref()).unwrap();
        assert_eq!(std::fs::read(directory.path().join("second")).unwrap(), b"content");
        let open = reopen(&path, OFlags::RDWR).unwrap();
        assert_eq!(rustix::io::write(&open, b"C").unwrap(), 1);
        assert_eq!(listxattr(&path, &mut [0; 0]), Ok(0));
    }
}
