//! Which directories have a mount point in them. A file there may be of another file system than
//! its directory: a file can be a mount point, too.

use std::collections::HashSet;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::dir::Identity;
use crate::mounts::MountPoint;

/// The directories that have a mount point in them now; `None` where the mounts cannot be read.
/// The mounts themselves are not looked at: the server of one may be dead.
pub(super) fn directories_with_mount_points() -> Option<HashSet<Identity>> {
    let mounts = MountPoint::all().ok()?;
    let parents: HashSet<&Path> = mounts.iter().filter_map(|mount| mount.point.parent()).collect();
    // What cannot be opened is out of this walk's reach as well.
    let identity = |path: &&Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Identity::of(openat(CWD, *path, flags, Mode::empty()).ok()?).ok()
    };
    Some(parents.iter().filter_map(identity).collect())
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
