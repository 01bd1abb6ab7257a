// SPDX-License-Identifier: MIT OR Apache-2.0
//! statmount(2) and mount_setattr(2).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::check;

const SYS_STATMOUNT: libc::c_long = 457;

/// `struct mnt_id_req` of linux/mount.h, version 1.
#[repr(C)]
struct MountRequest {
    size: u32,
    spare: u32,
    mnt_id: u64,
    param: u64,
    mnt_ns_id: u64,
}

/// statmount(2), Linux 6.8: fills `answer` with a `struct statmount` and its strings. With the id
/// of a mount namespace (Linux 6.11), of a mount in that one.
pub(crate) fn statmount(
    mnt_id: u64,
    namespace: Option<u64>,
    mask: u64,
    answer: &mut [u8],
) -> Result<(), Errno> {
    // Version 0 ends before the last field.
    let size = match namespace {
        None => std::mem::offset_of!(MountRequest, mnt_ns_id),
        Some(_) => size_of::<MountRequest>(),
    };
    let mnt_ns_id = namespace.unwrap_or(0);
    let request = MountRequest { size: size as u32, spare: 0, mnt_id, param: mask, mnt_ns_id };
    // SAFETY: the request is a valid struct of the size it says; the buffer is ours.
    check(unsafe {
        libc::syscall(SYS_STATMOUNT, &raw const request, answer.as_mut_ptr(), answer.len(), 0)
    })
    .map(|_| ())
}

/// mount_setattr(2), Linux 5.12, on the mount that the descriptor is the root of: MOUNT_ATTR_* to
/// set and to clear; with MOUNT_ATTR_IDMAP, the user namespace whose maps it takes.
pub(crate) fn set_mount_attributes(
    mount: impl AsFd,
    set: u64,
    clear: u64,
    map: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: clear,
        propagation: 0,
        userns_fd: map.map_or(0, |map| map.as_raw_fd().unsigned_abs().into()),
    };
    // SAFETY: the path ends in NUL; the kernel reads as many bytes of the struct as it has.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(|_| ())
}
