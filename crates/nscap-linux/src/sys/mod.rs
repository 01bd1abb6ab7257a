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

pub(crate) fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn check(result: libc::c_long) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| last())
}
