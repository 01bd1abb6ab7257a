// SPDX-License-Identifier: MIT OR Apache-2.0
//! A server's own mount namespace. The mount is made where its users are; a process that stayed
//! there would keep that namespace, and with it the mount, for as long as it serves, and it serves
//! for as long as the mount is there. So the server leaves, for a namespace in which nothing is
//! mounted, and comes back to unmount.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nscap_linux::MountPoint;
use nscap_linux::isolate::{self, Kind};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsmount, fsopen, mount_change, move_mount, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};

use crate::failure::{Failure, call};
use crate::note;

const OWN: &str = "/proc/self/ns/mnt";

/// The mount namespace that the mount was made in: only its number, which keeps nothing there.
pub(super) struct Home {
    inode: u64,
    proc: OwnedFd,
    left: bool,
}

/// Leaves it: this thread, and those that it starts from now on. Where that cannot be done the
/// server stays, and says so.
pub(super) fn leave() -> Result<Home, Failure> {
    let inode = std::fs::metadata(OWN).map_err(|error| call(OWN.as_ref(), "stat", error))?.ino();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", flags, Mode::empty())
        .map_err(|error| call("/proc".as_ref(), "open", error))?;
    let left = match isolate::unshare(&[Kind::Mount]) {
        Ok(()) => true,
        Err(error) => {
            note(&format!("{error}: the server stays in the mount namespace, and keeps it"));
            false
        }
    };
    if left {
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).map_err(|error| call("/".as_ref(), "mount", error))?;
        if empty().is_err() {
            // Where the root cannot be changed, as on an initramfs, all else goes.
            for mount in MountPoint::all()?.into_iter().rev() {
                let _ = unmount(&mount.point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
            }
        }
        chdir("/").map_err(|error| call("/".as_ref(), "chdir", error))?;
    }
    Ok(Home { inode, proc, left })
}

/// Makes an empty directory the root, and unmounts everything else.
fn empty() -> Result<(), Errno> {
    let config = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&config)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_RDONLY;
    let root = fsmount(&config, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    move_mount(&root, c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    fchdir(&root)?;
    pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)
}

impl Home {
    /// Back there: this thread only. `false` where no process is left that would see the mount.
    pub(super) fn enter(&self) -> Result<bool, Failure> {
        if !self.left {
            return Ok(true);
        }
        let Some(namespace) = self.namespace() else { return Ok(false) };
        isolate::enter_mounts(namespace)?;
        Ok(true)
    }

    /// A descriptor of it, by a process that is in it.
    fn namespace(&self) -> Option<File> {
        let names = rustix::fs::Dir::read_from(&self.proc).ok()?;
        let pids =
            names.flatten().filter_map(|name| name.file_name().to_str().ok()?.parse::<u32>().ok());
        let open = |pid: u32| {
            let path = format!("{pid}/ns/mnt");
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            openat(&self.proc, Path::new(&path), flags, Mode::empty()).ok().map(File::from)
        };
        pids.filter_map(open).find(|ns| ns.metadata().is_ok_and(|ns| ns.ino() == self.inode))
    }
}
