// SPDX-License-Identifier: MIT OR Apache-2.0
//! Questions to the kernel about the owner of a superblock: what it lets that owner do, and no
//! other namespace. Nothing is left changed. Covers M.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, makedev, mknodat, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{FsPickFlags, OpenTreeFlags, fsconfig_set_flag, fspick, open_tree};

use super::find::Seat;
use super::owner::TMPFS;
use crate::error::{Error, Result};
use crate::mounts::MountPoint;
use crate::{isolate, probe, sys};

const OWN: &str = "/proc/self/ns/user";

/// The device of the probe: /dev/null, which does nothing when it is opened.
const NULL: (u32, u32) = (1, 3);

/// [`is_initials`] in the mount namespace that has the mount.
pub(super) fn option_of(file: BorrowedFd<'_>, seat: Seat, fs_type: &str) -> Option<bool> {
    if fs_type != TMPFS {
        return None;
    }
    match seat {
        Seat::Ours => is_initials(file, fs_type),
        Seat::Unseen => None,
        Seat::Of(pid) => {
            let namespace = File::open(format!("/proc/{pid}/ns/mnt")).ok()?;
            let asked = || {
                isolate::enter_mounts(&namespace).ok()?;
                is_initials(file, fs_type)
            };
            // A thread that goes there and ends.
            std::thread::scope(|scope| scope.spawn(asked).join().ok()?)
        }
    }
}

/// Whether our own mount table, which is the initial namespace's, has the device.
pub(super) fn in_own_table(device: (u32, u32)) -> bool {
    MountPoint::all().is_ok_and(|all| all.iter().any(|mount| mount.device == device))
}

pub(super) fn open_own() -> Result<File> {
    let path = Path::new(OWN);
    File::open(path).map_err(|e| Error::call(path, "open", e))
}

/// Whether our own user namespace owns the superblock that a directory is on. `false` where that
/// cannot be shown. In the initial namespace a device node may be made in the directory and
/// removed.
///
/// # Errors
/// [`Error::Call`] where /proc does not tell of our own namespace.
pub(super) fn is_own(directory: impl AsFd, fs_type: &str) -> Result<bool> {
    let own = open_own()?;
    let initial = is_initial(&own).map_err(|e| Error::call(Path::new(OWN), "fstat", e))?;
    let directory = directory.as_fd();
    if !initial {
        return Ok(fs_type == TMPFS && refuses_its_own_map(directory, own.as_fd()));
    }
    Ok(is_initials(directory, fs_type).unwrap_or_else(|| opens_devices(directory)))
}

/// tmpfs, shmem_parse_one(): whether the initial namespace, which must be our own, owns the
/// superblock. `None` for another type, before Linux 6.4, and where we are not root.
fn is_initials(file: impl AsFd, fs_type: &str) -> Option<bool> {
    if fs_type != TMPFS || probe::version() < (6, 4) {
        return None;
    }
    // Only where a mount's root is, can its file system be picked.
    let mount = private(file).ok()?;
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let context = fspick(&mount, c"", flags).ok()?;
    match fsconfig_set_flag(&context, "noswap") {
        Ok(()) => Some(true),
        Err(Errno::INVAL) => Some(false),
        Err(_) => None,
    }
}

/// may_open_dev(): whether a device node on the superblock can be opened at all.
fn opens_devices(directory: BorrowedFd<'_>) -> bool {
    let Ok(mount) = private(directory) else { return false };
    if sys::set_mount_attributes(&mount, 0, libc::MOUNT_ATTR_NODEV, None).is_err() {
        return false;
    }
    let Some(name) = name() else { return false };
    let (mode, device) = (Mode::RUSR | Mode::WUSR, makedev(NULL.0, NULL.1));
    if mknodat(&mount, &name, FileType::CharacterDevice, mode, device).is_err() {
        return false;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = openat(&mount, &name, flags, Mode::empty());
    let _ = unlinkat(&mount, &name, AtFlags::empty());
    opened.is_ok_and(|node| {
        rustix::fs::fstat(node).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
                && stat.st_rdev == device
        })
    })
}

/// A name that no other file has.
fn name() -> Option<String> {
    let mut random = [0; 8];
    let got = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    (got == Ok(random.len())).then(|| format!(".nscap-probe-{:016x}", u64::from_ne_bytes(random)))
}

/// can_idmap_mount(): EINVAL for the owner's own maps, before anything else is looked at; from
/// Linux 6.3, when tmpfs learned id-mapped mounts, that is the only reason for it here.
pub(super) fn refuses_its_own_map(directory: BorrowedFd<'_>, own: BorrowedFd<'_>) -> bool {
    if probe::version() < (6, 3) {
        return false;
    }
    private(directory).is_ok_and(|mount| {
        sys::set_mount_attributes(mount, libc::MOUNT_ATTR_IDMAP, 0, Some(own)) == Err(Errno::INVAL)
    })
}

fn is_initial(ns: &File) -> std::io::Result<bool> {
    Ok(std::os::unix::fs::MetadataExt::ino(&ns.metadata()?) == crate::ns::INITIAL_INODE)
}

/// A mount of the file that only we have.
fn private(file: impl AsFd) -> std::result::Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(file, c"", flags)
}
