// SPDX-License-Identifier: MIT OR Apache-2.0
//! A mount of our own: what is read through it, and by which flags, no other task decides.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::sys;

/// mount_setattr(2), Linux 5.12: sets and clears flags of the mount that a descriptor is the root
/// of. `clear` has the whole of MOUNT_ATTR__ATIME where `set` has a part of it.
///
/// # Errors
/// mount_setattr(2)'s: ENOSYS; EPERM without CAP_SYS_ADMIN over the mount namespace, or for a flag
/// that is locked; EINVAL where the descriptor is not a mount's root.
///
/// ```no_run
/// use nscap_linux::server::set_mount;
/// use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
/// let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
/// let mount = open_tree(rustix::fs::CWD, "/srv/tree", flags)?;
/// set_mount(&mount, MountAttrFlags::MOUNT_ATTR_NODIRATIME, MountAttrFlags::empty())?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn set_mount(
    mount: impl AsFd,
    set: MountAttrFlags,
    clear: MountAttrFlags,
) -> Result<(), Errno> {
    sys::set_mount_attributes(mount, set.bits().into(), clear.bits().into(), None)
}
