// SPDX-License-Identifier: MIT OR Apache-2.0
//! The namespace ioctls, ioctl_nsfs(2).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::{last, request};

const NS_GET_USERNS: libc::Ioctl = request(0xb701);
const NS_GET_PARENT: libc::Ioctl = request(0xb702);
const NS_GET_OWNER_UID: libc::Ioctl = request(0xb704);
/// `_IOR(0xb7, 13, __u64)`, Linux 6.18.
const NS_GET_ID: libc::Ioctl = request(0x8008_b70d);

fn ns_fd(fd: BorrowedFd<'_>, request: libc::Ioctl) -> Result<OwnedFd, Errno> {
    // SAFETY: these two requests take no argument and give a new descriptor.
    let new = unsafe { libc::ioctl(fd.as_raw_fd(), request) };
    if new < 0 {
        return Err(last());
    }
    // SAFETY: the kernel has just returned this descriptor, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// The parent of a user namespace. EPERM where it is outside the caller's own or there is none.
pub(crate) fn ns_parent(fd: impl AsFd) -> Result<OwnedFd, Errno> {
    ns_fd(fd.as_fd(), NS_GET_PARENT)
}

/// The user namespace that owns a namespace of another kind.
pub(crate) fn ns_userns(fd: impl AsFd) -> Result<OwnedFd, Errno> {
    ns_fd(fd.as_fd(), NS_GET_USERNS)
}

/// The uid that made a user namespace, as the caller's namespace sees it.
pub(crate) fn ns_owner_uid(fd: impl AsFd) -> Result<u32, Errno> {
    let mut uid: libc::uid_t = 0;
    // SAFETY: the request writes one uid_t to the pointer, which is valid for it.
    let done = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_OWNER_UID, &raw mut uid) };
    if done < 0 { Err(last()) } else { Ok(uid) }
}

/// Makes this thread's kernel one without NS_GET_ID.
#[cfg(test)]
pub(crate) fn without_ns_ids() {
    WITHOUT_NS_IDS.set(true);
}

#[cfg(test)]
thread_local!(static WITHOUT_NS_IDS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });

/// The id of a namespace, never used again. ENOTTY or EINVAL before Linux 6.18.
pub(crate) fn ns_id(fd: impl AsFd) -> Result<u64, Errno> {
    #[cfg(test)]
    if WITHOUT_NS_IDS.get() {
        return Err(Errno::NOTTY);
    }
    let mut id = 0u64;
    // SAFETY: the request writes one u64 to the pointer, which is valid for it.
    let done = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_ID, &raw mut id) };
    if done < 0 { Err(last()) } else { Ok(id) }
}

/// The id of a mount namespace that statmount(2) takes, Linux 6.11.
pub(crate) fn mount_ns_id(fd: impl AsFd) -> Result<u64, Errno> {
    /// `_IOR(0xb7, 5, __u64)`.
    const NS_GET_MNTNS_ID: libc::Ioctl = request(0x8008_b705);
    let mut id = 0u64;
    // SAFETY: the request writes one u64 to the pointer, which is valid for it.
    let done = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_MNTNS_ID, &raw mut id) };
    if done < 0 { Err(last()) } else { Ok(id) }
}
