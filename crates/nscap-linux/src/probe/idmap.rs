// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a directory's file system can be shown through an id-mapped mount: a detached clone of
//! the mount is given a map, and is seen by no other task.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::error::{Error, Result};
use crate::sys;

/// What every container that the map is for could have.
const MAP: &str = "0 100000 65536";

/// MOUNT_ATTR_IDMAP.
const IDMAP: u64 = 0x0010_0000;

/// Whether a mount of this file system takes an id map (mount_setattr(2), MOUNT_ATTR_IDMAP); the
/// errno where not: EINVAL where the type of file system has none, EPERM where the caller may not,
/// or where it is id-mapped already.
///
/// # Errors
/// [`Error::Call`] where it could not be tried: no user namespace, no clone of the mount (EPERM
/// without CAP_SYS_ADMIN, EINVAL in another mount namespace), ENOSYS before Linux 5.12.
///
/// ```
/// // As another user than root it cannot be tried.
/// let tried = nscap_linux::probe::can_be_idmapped("/".as_ref());
/// assert!(tried.is_ok() || tried.is_err_and(|error| error.errno() != 0));
/// ```
pub fn can_be_idmapped(dir: &Path) -> Result<std::result::Result<(), i32>> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let clone = open_tree(rustix::fs::CWD, dir, flags)
        .map_err(|errno| Error::call(dir, "open_tree", errno))?;
    let map = namespace().map_err(|errno| Error::call(Path::new("a map"), "unshare", errno))?;
    match sys::set_mount_attributes(&clone, IDMAP, 0, Some(std::os::fd::AsFd::as_fd(&map))) {
        Ok(()) => Ok(Ok(())),
        Err(Errno::NOSYS) => Err(Error::call(dir, "mount_setattr", Errno::NOSYS)),
        Err(errno) => Ok(Err(errno.raw_os_error())),
    }
}

/// A user namespace with that map.
fn namespace() -> std::result::Result<OwnedFd, Errno> {
    let io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let (mut made, says) = std::io::pipe().map_err(io)?;
    let (waits, go_on) = std::io::pipe().map_err(io)?;
    let child = sys::Unshared::start(says, waits)?;
    let mut byte = [0];
    if made.read(&mut byte).map_err(io)? != 1 || byte != [1] {
        return Err(Errno::PERM);
    }
    let dir = format!("/proc/{}", child.pid());
    let write = |name: &str, text: &str| {
        let mut file = std::fs::OpenOptions::new().write(true).open(format!("{dir}/{name}"))?;
        file.write_all(text.as_bytes())
    };
    write("uid_map", MAP).and_then(|()| write("gid_map", MAP)).map_err(io)?;
    let ns = std::fs::File::open(format!("{dir}/ns/user")).map_err(io)?;
    drop(go_on);
    Ok(ns.into())
}
