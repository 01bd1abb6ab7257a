// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which directories have a mount point in them. A file there may be of another file system than
//! its directory: a file can be a mount point, too.

use std::collections::HashSet;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::dir::Identity;
use crate::mount::type_of;
use crate::mounts::MountPoint;

/// The directories that have a mount point in them now; `None` where the mounts cannot be read.
/// The mounts themselves are not looked at: the server of one may be dead.
pub(super) fn directories_with_mount_points() -> Option<HashSet<Identity>> {
    let mounts = MountPoint::all().ok()?;
    let waits: Vec<&Path> = mounts
        .iter()
        .filter(|mount| is_served(&mount.fs_type))
        .map(|mount| mount.point.as_path())
        .collect();
    let parents: HashSet<&Path> = mounts.iter().filter_map(|mount| mount.point.parent()).collect();
    // No file there is on a file system that is known to list what it gives.
    let parents: Vec<&Path> =
        parents.into_iter().filter(|path| !waits.iter().any(|up| path.starts_with(up))).collect();
    // What cannot be opened is out of this walk's reach as well.
    let identity = |path: &&Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Identity::of(openat(CWD, *path, flags, Mode::empty()).ok()?).ok()
    };
    Some(parents.iter().filter_map(identity).collect())
}

/// Whether a mount waits for a server, which may never answer; by the id that statx(2) gives.
pub(super) fn waits_for_a_server(mount: u64) -> bool {
    type_of(mount).is_some_and(|fs_type| is_served(&fs_type))
}

fn is_served(fs_type: &str) -> bool {
    let kind = fs_type.split('.').next().unwrap_or_default();
    matches!(kind, "fuse" | "fuseblk" | "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "ceph" | "afs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_has_one() {
        let known = directories_with_mount_points().unwrap();
        let root = openat(CWD, "/", OFlags::PATH, Mode::empty()).unwrap();
        assert!(known.contains(&Identity::of(root).unwrap()));
    }
}
