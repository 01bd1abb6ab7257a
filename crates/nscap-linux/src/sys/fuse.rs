// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ioctls of /dev/fuse.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::{check, request};

/// `_IOR(229, 0, uint32_t)`, linux/fuse.h.
const FUSE_DEV_IOC_CLONE: libc::Ioctl = request(0x8004_e500);
/// `_IOW(229, 1, struct fuse_backing_map)`, Linux 6.9.
const FUSE_DEV_IOC_BACKING_OPEN: libc::Ioctl = request(0x4010_e501);
/// `_IOW(229, 2, uint32_t)`.
const FUSE_DEV_IOC_BACKING_CLOSE: libc::Ioctl = request(0x4004_e502);

/// `struct fuse_backing_map` of linux/fuse.h.
#[repr(C)]
struct BackingMap {
    fd: i32,
    flags: u32,
    padding: u64,
}

/// Makes `new` a descriptor of `device`'s connection.
pub(crate) fn fuse_clone(new: BorrowedFd<'_>, device: BorrowedFd<'_>) -> Result<(), Errno> {
    let number = device.as_raw_fd().unsigned_abs();
    // SAFETY: the request reads one u32 from the pointer, which is valid for it.
    let done = unsafe { libc::ioctl(new.as_raw_fd(), FUSE_DEV_IOC_CLONE, &raw const number) };
    check(done.into()).map(|_| ())
}

/// The id of a file that is given to the kernel.
pub(crate) fn fuse_backing_open(
    device: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
) -> Result<i32, Errno> {
    let map = BackingMap { fd: file.as_raw_fd(), flags: 0, padding: 0 };
    // SAFETY: the request reads one such struct from the pointer, which is valid for it.
    let id = unsafe { libc::ioctl(device.as_raw_fd(), FUSE_DEV_IOC_BACKING_OPEN, &raw const map) };
    check(id.into()).map(|_| id)
}

/// Takes it back.
pub(crate) fn fuse_backing_close(device: BorrowedFd<'_>, id: i32) -> Result<(), Errno> {
    let id = id.unsigned_abs();
    // SAFETY: the request reads one u32 from the pointer, which is valid for it.
    let done =
        unsafe { libc::ioctl(device.as_raw_fd(), FUSE_DEV_IOC_BACKING_CLOSE, &raw const id) };
    check(done.into()).map(|_| ())
}
