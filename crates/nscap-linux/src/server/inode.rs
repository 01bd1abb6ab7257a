// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be done to an inode by an O_PATH descriptor of it, beside what rustix has; each call
//! is about the very inode, whatever happens to its names meanwhile.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use crate::{sys, xattr};

/// Opens again what an O_PATH descriptor leads to, now to read or write it.
///
/// # Errors
/// open(2)'s; EOPNOTSUPP where /proc is not procfs.
///
/// ```
/// use rustix::fs::{Mode, OFlags};
/// let path = rustix::fs::open("/bin/true", OFlags::PATH, Mode::empty())?;
/// let file = nscap_linux::server::open_again(&path, OFlags::RDONLY)?;
/// assert!(rustix::io::read(&file, &mut [0; 4])? == 4);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn open_again(file: impl AsFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    // The link in /proc is the one that must be followed.
    let flags = (flags | OFlags::CLOEXEC) - OFlags::NOFOLLOW;
    xattr::by_link(file.as_fd(), |dir, link| rustix::fs::openat(dir, link, flags, Mode::empty()))
}

/// fchmodat2(2), Linux 6.6; before, chmod(2) by the link in /proc. `mode`: permissions and set-id
/// bits.
///
/// # Errors
/// chmod(2)'s; EOPNOTSUPP for a symbolic link.
///
/// ```no_run
/// use rustix::fs::{Mode, OFlags};
/// let path = rustix::fs::open("file", OFlags::PATH, Mode::empty())?;
/// nscap_linux::server::chmod(&path, 0o640)?;
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

/// linkat(2) of the inode itself; without CAP_DAC_READ_SEARCH by its link in /proc.
///
/// # Errors
/// linkat(2)'s.
///
/// ```no_run
/// use rustix::fs::{Mode, OFlags};
/// let path = rustix::fs::open("file", OFlags::PATH, Mode::empty())?;
/// nscap_linux::server::link(&path, rustix::fs::CWD, "another".as_ref())?;
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

/// getxattr(2) into a buffer; the length, or with an empty buffer the length that is there.
///
/// # Errors
/// getxattr(2)'s.
///
/// ```
/// let file = std::fs::File::open("/bin/true").unwrap();
/// assert!(nscap_linux::server::getxattr(&file, c"user.nothing", &mut [0; 10]).is_err());
/// ```
pub fn getxattr(file: impl AsFd, name: &CStr, value: &mut [u8]) -> Result<usize, Errno> {
    xattr::get_into(file.as_fd(), name, value)
}

/// listxattr(2) into a buffer, as [`getxattr`].
///
/// # Errors
/// listxattr(2)'s.
///
/// ```
/// let file = std::fs::File::open("/bin/true").unwrap();
/// nscap_linux::server::listxattr(&file, &mut [0; 1000])?;
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
/// nscap_linux::server::setxattr(&file, c"user.colour", b"red", XattrFlags::empty())?;
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
/// nscap_linux::server::removexattr(&file, c"user.colour")?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn removexattr(file: impl AsFd, name: &CStr) -> Result<(), Errno> {
    xattr::remove_named(file.as_fd(), name)
}

/// getdents64(2): as many entries as the buffer holds, in the kernel's form; 0 at the end.
///
/// # Errors
/// getdents64(2)'s; EINVAL where the buffer is too small for one entry.
///
/// ```
/// let directory = std::fs::File::open("/")?;
/// let mut entries = vec![0; 4096];
/// assert!(nscap_linux::server::getdents(&directory, &mut entries)? > 0);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn getdents(directory: impl AsFd, entries: &mut [u8]) -> Result<usize, Errno> {
    sys::getdents64(directory.as_fd(), entries)
}

/// One of the ioctls for inode flags (ioctl_fs(2) and ioctl_iflags(2)), by its number:
/// FS_IOC_GETFLAGS, SETFLAGS, FSGETXATTR, FSSETXATTR. `argument` is what is read and written.
///
/// # Errors
/// ENOTTY for every other number; EINVAL where the argument is shorter than the call's (8 bytes
/// for flags, of which 4 are used; 28 bytes); the ioctl's own.
///
/// ```
/// let file = std::fs::File::open("/bin/true").unwrap();
/// assert!(nscap_linux::server::fs_ioctl(&file, 0x5401, &mut [0; 64]).is_err());
/// ```
pub fn fs_ioctl(file: impl AsFd, request: u32, argument: &mut [u8]) -> Result<(), Errno> {
    let size = match request {
        sys::FS_IOC_GETFLAGS | sys::FS_IOC_SETFLAGS => 8,
        sys::FS_IOC_FSGETXATTR | sys::FS_IOC_FSSETXATTR => 28,
        _ => return Err(Errno::NOTTY),
    };
    let argument = argument.get_mut(..size).ok_or(Errno::INVAL)?;
    sys::fs_ioctl(file.as_fd(), request, argument)
}

/// Gives memory that is free back to the system (malloc_trim(3)).
///
/// ```
/// nscap_linux::server::return_memory();
/// ```
pub fn return_memory() {
    sys::malloc_trim();
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
        let open = open_again(&path, OFlags::RDWR).unwrap();
        assert_eq!(rustix::io::write(&open, b"C").unwrap(), 1);
        assert_eq!(listxattr(&path, &mut [0; 0]), Ok(0));
        let flags = [0; 8];
        let mut now = flags;
        if let Err(errno) = fs_ioctl(&open, sys::FS_IOC_GETFLAGS, &mut now) {
            println!("no inode flags here: {errno}");
        }
    }
}
