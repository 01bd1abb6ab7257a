// SPDX-License-Identifier: MIT OR Apache-2.0
//! The *xattrat calls, Linux 6.13.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::check;

const SYS_SETXATTRAT: libc::c_long = 463;
const SYS_GETXATTRAT: libc::c_long = 464;
const SYS_LISTXATTRAT: libc::c_long = 465;
const SYS_REMOVEXATTRAT: libc::c_long = 466;

/// `struct xattr_args` of linux/xattr.h.
#[repr(C, align(8))]
struct XattrArgs {
    value: u64,
    size: u32,
    flags: u32,
}

const XATTR_ARGS_SIZE: usize = size_of::<XattrArgs>();

/// Whether a call follows a symbolic link in the last part of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LastLink {
    /// What it leads to.
    Follow,
    /// The link itself (AT_SYMLINK_NOFOLLOW).
    Itself,
}

impl LastLink {
    fn at_flags(self) -> libc::c_int {
        match self {
            LastLink::Follow => 0,
            LastLink::Itself => libc::AT_SYMLINK_NOFOLLOW,
        }
    }
}

/// getxattrat(2), Linux 6.13.
pub(crate) fn getxattrat(
    dir: BorrowedFd<'_>,
    path: &CStr,
    last: LastLink,
    name: &CStr,
    value: &mut [u8],
) -> Result<usize, Errno> {
    let size = u32::try_from(value.len()).map_err(|_| Errno::TOOBIG)?;
    let args = XattrArgs { value: value.as_mut_ptr() as u64, size, flags: 0 };
    // SAFETY: both strings end in NUL; args names a buffer that is ours for `size` bytes.
    check(unsafe {
        libc::syscall(
            SYS_GETXATTRAT,
            dir.as_raw_fd(),
            path.as_ptr(),
            last.at_flags(),
            name.as_ptr(),
            &raw const args,
            XATTR_ARGS_SIZE,
        )
    })
}

/// listxattrat(2), Linux 6.13: how many bytes of names, each with its NUL, were written to `list`;
/// how many there are where it is empty.
pub(crate) fn listxattrat(
    dir: BorrowedFd<'_>,
    path: &CStr,
    last: LastLink,
    list: &mut [u8],
) -> Result<usize, Errno> {
    // SAFETY: the path ends in NUL; the kernel writes at most `list.len()` bytes to the buffer.
    check(unsafe {
        libc::syscall(
            SYS_LISTXATTRAT,
            dir.as_raw_fd(),
            path.as_ptr(),
            last.at_flags(),
            list.as_mut_ptr(),
            list.len(),
        )
    })
}

/// setxattrat(2), Linux 6.13.
pub(crate) fn setxattrat(
    dir: BorrowedFd<'_>,
    path: &CStr,
    name: &CStr,
    value: &[u8],
    flags: u32,
) -> Result<(), Errno> {
    let size = u32::try_from(value.len()).map_err(|_| Errno::TOOBIG)?;
    let args = XattrArgs { value: value.as_ptr() as u64, size, flags };
    // SAFETY: both strings end in NUL; the kernel only reads the `size` bytes that args names.
    check(unsafe {
        libc::syscall(
            SYS_SETXATTRAT,
            dir.as_raw_fd(),
            path.as_ptr(),
            0,
            name.as_ptr(),
            &raw const args,
            XATTR_ARGS_SIZE,
        )
    })
    .map(|_| ())
}

/// removexattrat(2), Linux 6.13.
pub(crate) fn removexattrat(dir: BorrowedFd<'_>, path: &CStr, name: &CStr) -> Result<(), Errno> {
    // SAFETY: both strings end in NUL.
    check(unsafe {
        libc::syscall(SYS_REMOVEXATTRAT, dir.as_raw_fd(), path.as_ptr(), 0, name.as_ptr())
    })
    .map(|_| ())
}
