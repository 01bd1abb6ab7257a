// SPDX-License-Identifier: MIT OR Apache-2.0
//! A claimed tree in written form, and how two trees lie to each other.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::{Claimant, Purpose};
use crate::error::{Error, Result};
use crate::mounts::{MountPoint, mount_id};
use crate::server::FileHandle;

const FIRST: &str = "nscap-claim 1";

/// A tree that is claimed, or to be claimed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Tree {
    pub(super) purpose: Purpose,
    pub(super) pid: u32,
    /// As it was given.
    pub(super) path: PathBuf,
    /// The file system's own device number: on btrfs not the one that stat(2) shows.
    device: (u32, u32),
    /// Where it is in its file system, if a mount of ours tells.
    place: Option<PathBuf>,
    /// Its top directory, where the file system has handles.
    handle: Option<FileHandle>,
    /// The mount that shows it.
    pub(super) shown_by: Option<(u32, u32)>,
}

/// How a tree lies to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Relation {
    Apart,
    Same,
    Inside,
    Around,
}

impl Tree {
    pub(super) fn of(root: BorrowedFd<'_>, path: &Path, purpose: Purpose) -> Result<Tree> {
        let stat = statx(root, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())
            .map_err(|e| Error::call(path, "statx", e))?;
        let id = mount_id(root)?;
        let mount = MountPoint::all()?.into_iter().find(|mount| mount.id == id);
        let place = mount.as_ref().and_then(|mount| place(root, mount));
        Ok(Tree {
            purpose,
            pid: std::process::id(),
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            device: mount.map_or((stat.stx_dev_major, stat.stx_dev_minor), |mount| mount.device),
            place,
            handle: FileHandle::of(root).ok(),
            shown_by: None,
        })
    }

    /// How this tree, whose top directory is given, lies to another.
    ///
    /// The kernel is asked: it finds the directory of a handle wherever that is now, and refuses to
    /// go up from it where that would leave what is mounted.
    pub(super) fn relation(&self, root: BorrowedFd<'_>, other: &Tree) -> Relation {
        if self.device != other.device {
            return Relation::Apart;
        }
        if let (Some(own), Some(others)) = (&self.handle, &other.handle) {
            if own == others {
                return Relation::Same;
            }
            match (mounted(root), others.open(root, OFlags::PATH | OFlags::DIRECTORY)) {
                (_, Err(Errno::STALE)) => return Relation::Apart,
                (Some(mine), Ok(theirs)) => {
                    let around = lies_in(others, &mine);
                    let inside = mounted(theirs.as_fd()).and_then(|theirs| lies_in(own, &theirs));
                    match (inside, around) {
                        (Some(true), _) => return Relation::Inside,
                        (_, Some(true)) => return Relation::Around,
                        (Some(false), Some(false)) => return Relation::Apart,
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        self.relation_by_place(other)
    }

    /// The same by the paths in the file system, as they were when each was claimed. Trees are not
    /// apart unless that is known.
    fn relation_by_place(&self, other: &Tree) -> Relation {
        match (&self.place, &other.place) {
            (Some(own), Some(others)) if own == others => Relation::Same,
            (Some(own), Some(others)) if own.starts_with(others) => Relation::Inside,
            (Some(own), Some(others)) if others.starts_with(own) => Relation::Around,
            (Some(_), Some(_)) => Relation::Apart,
            _ => Relation::Inside,
        }
    }

    /// The error for a tree that another has claimed; `None` where they are apart.
    pub(super) fn claimed(&self, relation: Relation, other: &Tree) -> Option<Error> {
        let problem = match (relation, other.purpose) {
            (Relation::Apart, _) => return None,
            (Relation::Same, Purpose::Mount) if self.purpose == Purpose::Shift => {
                "is the source of a mount of nscap, whose server must see every change"
            }
            (Relation::Inside, Purpose::Mount) if self.purpose == Purpose::Shift => {
                "lies in the source of a mount of nscap, whose server must see every change"
            }
            (Relation::Around, Purpose::Mount) if self.purpose == Purpose::Shift => {
                "contains the source of a mount of nscap, whose server must see every change"
            }
            (Relation::Same, Purpose::Mount) => "is the source of another mount already",
            (Relation::Inside, Purpose::Mount) => "lies in the source of another mount",
            (Relation::Around, Purpose::Mount) => "contains the source of another mount",
            (Relation::Same, Purpose::Shift) => "is being shifted",
            (Relation::Inside, Purpose::Shift) => "lies in a tree that is being shifted",
            (Relation::Around, Purpose::Shift) => "contains a tree that is being shifted",
        };
        let by = Claimant {
            path: Some(other.path.clone()),
            pid: Some(other.pid),
            shown_by: other.shown_by,
        };
        Some(Error::Claimed { path: self.path.clone(), problem, by })
    }

    /// The error where it is known only that a directory is locked; the kernel tells by which
    /// process (proc_locks(5)).
    pub(super) fn claimed_by_lock(&self, locked: &OwnedFd, problem: &'static str) -> Error {
        let inode = rustix::fs::fstat(locked).map(|stat| stat.st_ino).unwrap_or_default();
        let end = format!(":{inode}");
        let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        let pid = locks.lines().find_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let flock = fields.next() == Some("FLOCK");
            let pid = fields.nth(2)?.parse().ok()?;
            (flock && fields.next()?.ends_with(&end)).then_some(pid)
        });
        let by = Claimant { path: None, pid: pid.filter(|pid| *pid != 0), shown_by: None };
        Error::Claimed { path: self.path.clone(), problem, by }
    }

    /// As text, line by line.
    pub(super) fn to_text(&self) -> String {
        let purpose = if self.purpose == Purpose::Mount { "mount" } else { "shift" };
        let (major, minor) = self.device;
        let mut text = format!("{FIRST}\n{purpose}\n{}\n{major}:{minor}\n", self.pid);
        text.push_str(&format!("path {}\n", hex(self.path.as_os_str().as_bytes())));
        if let Some(place) = &self.place {
            text.push_str(&format!("place {}\n", hex(place.as_os_str().as_bytes())));
        }
        if let Some(handle) = &self.handle {
            let (kind, bytes) = handle.parts();
            text.push_str(&format!("handle {kind} {}\n", hex(bytes)));
        }
        text
    }

    pub(super) fn shown_text((major, minor): (u32, u32)) -> String {
        format!("shown {major}:{minor}\n")
    }

    /// `None` for a text that is not complete, or of another version.
    pub(super) fn from_text(text: &str) -> Option<Tree> {
        let mut lines = text.lines();
        if lines.next() != Some(FIRST) {
            return None;
        }
        let purpose = match lines.next()? {
            "mount" => Purpose::Mount,
            "shift" => Purpose::Shift,
            _ => return None,
        };
        let pid = lines.next()?.parse().ok()?;
        let device = numbers(lines.next()?)?;
        let path = path(lines.next()?.strip_prefix("path ")?)?;
        let mut tree =
            Tree { purpose, pid, path, device, place: None, handle: None, shown_by: None };
        for line in lines {
            match line.split_once(' ')? {
                ("place", text) => tree.place = Some(self::path(text)?),
                ("shown", text) => tree.shown_by = Some(numbers(text)?),
                ("handle", text) => {
                    let (kind, bytes) = text.split_once(' ')?;
                    tree.handle = Some(FileHandle::from_parts(kind.parse().ok()?, &plain(bytes)?));
                }
                _ => return None,
            }
        }
        Some(tree)
    }
}

/// Where a directory is in its file system.
fn place(root: BorrowedFd<'_>, mount: &MountPoint) -> Option<PathBuf> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", root.as_raw_fd())).ok()?;
    let below = path.strip_prefix(&mount.point).ok()?;
    Some(mount.root.join(below))
}

/// A mount of our own of a directory, open for reading, so that handles are resolved through it.
pub(super) fn mounted(directory: BorrowedFd<'_>) -> Option<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(directory, c"", flags).ok()?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // The mount stays as long as something is open on it.
    openat(mount, c".", flags, Mode::empty()).ok()
}

/// Whether a directory is what is mounted here, or below it; `None` where that cannot be found out.
fn lies_in(inner: &FileHandle, mounted: &OwnedFd) -> Option<bool> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let inner = match inner.open(mounted, flags) {
        Ok(inner) => inner,
        Err(Errno::STALE) => return Some(false),
        Err(_) => return None,
    };
    match openat(inner, c"..", flags, Mode::empty()) {
        Ok(_) => Some(true),
        Err(Errno::NOENT) => Some(false),
        Err(_) => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn plain(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn path(hex: &str) -> Option<PathBuf> {
    Some(OsStr::from_bytes(&plain(hex)?).into())
}

fn numbers(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(directory.path()).unwrap();
        let path = Path::new(OsStr::from_bytes(b"/a\nhandle \xff"));
        let tree = Tree::of(root.as_fd(), path, Purpose::Shift).unwrap();
        assert_eq!(Tree::from_text(&tree.to_text()).as_ref(), Some(&tree));
        let text = tree.to_text() + &Tree::shown_text((7, 9));
        assert_eq!(Tree::from_text(&text).unwrap().shown_by, Some((7, 9)));
        for length in 0..tree.to_text().len() {
            let _ = Tree::from_text(&tree.to_text()[..length]);
        }
        assert_eq!(Tree::from_text("nscap-claim 2\n"), None);
    }

    #[test]
    fn places_are_compared_by_their_parts() {
        let at = |place: Option<&str>| Tree {
            purpose: Purpose::Mount,
            pid: 1,
            path: "/x".into(),
            device: (0, 1),
            place: place.map(PathBuf::from),
            handle: None,
            shown_by: None,
        };
        let relation = |one, other| at(one).relation_by_place(&at(other));
        assert_eq!(relation(Some("/a/b"), Some("/a/b")), Relation::Same);
        assert_eq!(relation(Some("/a/b"), Some("/a")), Relation::Inside);
        assert_eq!(relation(Some("/a"), Some("/a/b")), Relation::Around);
        assert_eq!(relation(Some("/a"), Some("/ab")), Relation::Apart);
        assert_ne!(relation(Some("/a"), None), Relation::Apart);
    }
}
