// SPDX-License-Identifier: MIT OR Apache-2.0
//! The source tree: a private clone of its mount, without other mounts in it. Refuses a source that
//! other users can reach.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nscap_linux::server::{FileHandle, set_mount};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags, openat, openat2, statx};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

use crate::error::Error;
use crate::options::{Atime, Flags};

const DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// The root of the tree.
#[derive(Debug)]
pub(crate) struct Source {
    /// Open for reading: open_by_handle_at(2) does not take an O_PATH descriptor.
    root: OwnedFd,
    /// The cloned mount; it ends when this is closed.
    mount: OwnedFd,
    /// Whether `root` is on a mount of the server's own, in which no other task can mount.
    private: bool,
    /// Whether inodes can be opened by handle.
    pub(crate) handles: bool,
}

/// The identity of a directory. A mount's root differs from the directory that it covers.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    dev: (u32, u32),
    ino: u64,
}

/// A directory above another one, and its permissions.
struct Above {
    identity: Identity,
    mode: u32,
    uid: u32,
}

/// Opens a directory of the caller's.
pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| Error::call(path, "open", errno))?;
    let stat = rustix::fs::fstat(&opened).map_err(|errno| Error::call(path, "fstat", errno))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Directory {
        let problem = "is not a directory";
        return Err(Error::Place { path: path.to_owned(), problem, errno: libc::ENOTDIR });
    }
    Ok(opened)
}

/// Refuses a source and a target of which one lies in the other.
pub(crate) fn apart(
    (source, source_path): (BorrowedFd<'_>, &Path),
    (target, target_path): (BorrowedFd<'_>, &Path),
) -> Result<(), Error> {
    let inside = |path: &Path, problem| {
        Err(Error::Place { path: path.to_owned(), problem, errno: libc::EINVAL })
    };
    let source_line = line(source, source_path)?;
    let target_line = line(target, target_path)?;
    let begins_in = |line: &[Above], other: &[Above]| {
        other.first().is_some_and(|it| line.iter().any(|above| above.identity == it.identity))
    };
    if begins_in(&target_line, &source_line) {
        return inside(target_path, "the target is the source or lies in it");
    }
    if begins_in(&source_line, &target_line) {
        return inside(source_path, "the source lies in the target");
    }
    Ok(())
}

/// Refuses a source that users other than root can reach by its path: neither its own mode nor that
/// of a directory above it prevents them.
pub(crate) fn unreachable(source: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
    let own = rustix::process::geteuid().as_raw();
    let line = line(source, path)?;
    // An ACL gives other users at most the bits of the group.
    let closed = |above: &Above| above.uid == own && above.mode & 0o011 == 0;
    if line.iter().any(closed) {
        return Ok(());
    }
    let parent = path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned));
    Err(Error::Reachable {
        path: path.to_owned(),
        parent: parent.unwrap_or_else(|| path.to_owned()),
        mode: line.get(1).or(line.first()).map_or(0, |above| above.mode & 0o7777),
    })
}

/// The directory itself and all above it, up to the root directory of the process.
fn line(directory: BorrowedFd<'_>, path: &Path) -> Result<Vec<Above>, Error> {
    let call = |call| move |errno| Error::call(path, call, errno);
    let look = |fd: BorrowedFd<'_>| {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        let stat = statx(fd, c"", AtFlags::EMPTY_PATH, wanted).map_err(call("statx"))?;
        let identity =
            Identity { dev: (stat.stx_dev_major, stat.stx_dev_minor), ino: stat.stx_ino };
        let above = Above { identity, mode: stat.stx_mode.into(), uid: stat.stx_uid };
        Ok::<_, Error>((above, stat.stx_mnt_id))
    };
    let (first, mut mount) = look(directory)?;
    let mut line = vec![first];
    let mut here = directory.try_clone_to_owned().map_err(|error| {
        Error::call(path, "dup", Errno::from_io_error(&error).unwrap_or(Errno::MFILE))
    })?;
    loop {
        here = openat(&here, c"..", DIRECTORY, Mode::empty()).map_err(call("openat"))?;
        let (above, its_mount) = look(here.as_fd())?;
        if its_mount == mount && line.last().is_some_and(|it| it.identity == above.identity) {
            return Ok(line);
        }
        mount = its_mount;
        line.push(above);
    }
}

impl Source {
    /// The tree under a directory, without the mounts in it.
    pub(crate) fn new(directory: BorrowedFd<'_>, path: &Path) -> Result<Source, Error> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let (mount, private) = match open_tree(directory, c"", flags) {
            Ok(mount) => (mount, true),
            // The kernel refuses to clone it: lookups refuse mounts in it one by one instead.
            Err(Errno::PERM | Errno::INVAL | Errno::NOSYS) => {
                let here = openat(directory, c".", DIRECTORY, Mode::empty())
                    .map_err(|errno| Error::call(path, "openat", errno))?;
                (here, false)
            }
            Err(errno) => return Err(Error::call(path, "open_tree", errno)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(&mount, c".", flags, Mode::empty())
            .map_err(|errno| Error::call(path, "openat", errno))?;
        let handles =
            FileHandle::of(&root).and_then(|handle| handle.open(&root, OFlags::PATH)).is_ok();
        Ok(Source { root, mount, private, handles })
    }

    /// Sets the access-time flags on the cloned mount, through which the source is read.
    ///
    /// # Errors
    /// [`Error::Place`] if the mount could not be cloned; [`Error::Call`] with EPERM in a user
    /// namespace that inherited such a flag with its mount.
    pub(crate) fn keep_times(&self, flags: &Flags, path: &Path) -> Result<(), Error> {
        let (mut set, mut clear) = (MountAttrFlags::empty(), MountAttrFlags::empty());
        if flags.atime != Atime::AsSource {
            clear |= MountAttrFlags::MOUNT_ATTR__ATIME;
        }
        match flags.atime {
            Atime::AsSource | Atime::Relative => {}
            Atime::Strict => set |= MountAttrFlags::MOUNT_ATTR_STRICTATIME,
            Atime::Never => set |= MountAttrFlags::MOUNT_ATTR_NOATIME,
        }
        if flags.nodiratime {
            set |= MountAttrFlags::MOUNT_ATTR_NODIRATIME;
        }
        if (set | clear).is_empty() {
            return Ok(());
        }
        if !self.private {
            let problem = "cannot be cloned, so options about access times have no effect";
            return Err(Error::Place { path: path.to_owned(), problem, errno: libc::EINVAL });
        }
        set_mount(&self.mount, set, clear).map_err(|e| Error::call(path, "mount_setattr", e))
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens a name of any type in a directory of the tree with O_PATH.
    ///
    /// EXDEV if another file system is mounted on it.
    pub(crate) fn lookup(
        &self,
        directory: BorrowedFd<'_>,
        name: &std::ffi::OsStr,
    ) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if self.private {
            return openat(directory, name, flags, Mode::empty());
        }
        openat2(directory, name, flags, Mode::empty(), ResolveFlags::NO_XDEV)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_closed_directory_above_is_enough() {
        let outer = tempfile::tempdir().unwrap();
        let source = outer.path().join("inner/source");
        std::fs::create_dir_all(&source).unwrap();
        let check = || unreachable(open_directory(&source).unwrap().as_fd(), &source);
        for mode in [0o700, 0o744, 0o600] {
            chmod(outer.path(), mode);
            if rustix::process::geteuid().is_root() || mode == 0o700 {
                assert!(check().is_ok(), "{mode:o}");
            }
        }
        for mode in [0o755, 0o711, 0o710, 0o701] {
            chmod(outer.path(), mode);
            let error = check().unwrap_err();
            assert!(matches!(error, Error::Reachable { .. }), "{mode:o}: {error}");
            assert!(error.to_string().contains("chmod"), "{error}");
        }
        chmod(&source, 0o700);
        assert!(check().is_ok());
    }

    #[test]
    fn one_in_the_other_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let (one, two) = (outer.path().join("one"), outer.path().join("one/two"));
        let other = outer.path().join("other");
        std::fs::create_dir_all(&two).unwrap();
        std::fs::create_dir(&other).unwrap();
        let check = |source: &Path, target: &Path| {
            let (from, to) = (open_directory(source).unwrap(), open_directory(target).unwrap());
            apart((from.as_fd(), source), (to.as_fd(), target))
        };
        assert!(check(&one, &other).is_ok());
        assert!(check(&one, &one).is_err());
        assert!(check(&one, &two).is_err());
        assert!(check(&two, &one).is_err());
        std::fs::write(outer.path().join("file"), "").unwrap();
        let error = open_directory(&outer.path().join("file")).unwrap_err();
        assert_eq!(error.errno(), libc::ENOTDIR);
    }
}
