//! `nscap umount`: as umount(8), for mounts of nscap only, and without asking a server that may be
//! dead.

use std::path::Path;

use nscap_linux::MountPoint;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::cli;
use crate::failure::{EINVAL, Failure, call};
use crate::out;

pub(crate) fn run(args: &cli::Umount) -> Result<u8, Failure> {
    let point = nscap_mount(&args.target)?.point;
    let lazy = if args.lazy { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    unmount(&point, lazy | UnmountFlags::NOFOLLOW).map_err(|error| {
        let busy = "umount2 (some task has a file or its directory there; --lazy does not wait)";
        call(&args.target, if error == Errno::BUSY { busy } else { "umount2" }, error)
    })?;
    Ok(0)
}

/// The mount of nscap that has its root there.
pub(crate) fn nscap_mount(target: &Path) -> Result<MountPoint, Failure> {
    let no = |problem: String| Failure::Input { what: out::path(target), problem, errno: EINVAL };
    match MountPoint::at(target)? {
        Some(mount) if mount.is_nscap() => Ok(mount),
        Some(mount) => {
            let fs_type = out::name(mount.fs_type.as_bytes());
            Err(no(format!("a mount of type {fs_type}, not of nscap")))
        }
        None => Err(no("nothing is mounted there".to_owned())),
    }
}
