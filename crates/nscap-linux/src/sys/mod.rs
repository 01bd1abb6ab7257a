// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls that no crate here wraps: the namespace ioctls (ioctl_nsfs(2)), the *xattrat
//! family, statmount(2) and kcmp(2). Nothing but the call and its errno.

use rustix::io::Errno;

mod file;
mod fuse;
mod mount;
mod ns;
mod process;
mod xattrat;

pub(crate) use file::*;
pub(crate) use fuse::*;
pub(crate) use mount::*;
pub(crate) use ns::*;
pub(crate) use process::*;
pub(crate) use xattrat::*;

/// The number of a request of ioctl(2): an `int` in musl, a `long` in glibc, 32 bits in the kernel.
const fn request(number: u32) -> libc::Ioctl {
    number as libc::Ioctl
}

pub(crate) fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn check(result: libc::c_long) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| last())
}
