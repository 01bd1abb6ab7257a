// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls for a server that rustix does not have.

use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::sys;

/// getdents64(2): as many entries as fit into the buffer, as `struct linux_dirent64`. Returns their
/// length in bytes; 0 at the end.
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
/// FS_IOC_GETFLAGS, SETFLAGS, FSGETXATTR, FSSETXATTR. The call reads or writes `argument`.
///
/// # Errors
/// ENOTTY for every other number; EINVAL if the argument is shorter than the call's (8 bytes for
/// flags, of which 4 are used; 28 bytes for the others); the ioctl's own errors.
///
/// ```
/// use rustix::io::Errno;
/// const TCGETS: u32 = 0x5401;
/// let file = std::fs::File::open("/bin/true").unwrap();
/// assert_eq!(nscap_linux::server::fs_ioctl(&file, TCGETS, &mut [0; 64]), Err(Errno::NOTTY));
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

/// Returns unused memory of the process to the system (malloc_trim(3)), after a large table was
/// emptied.
///
/// ```
/// let table = vec![0_u8; 1 << 20];
/// drop(table);
/// nscap_linux::server::return_memory();
/// ```
pub fn return_memory() {
    sys::malloc_trim();
}
