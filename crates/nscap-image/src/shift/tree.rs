// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree by descriptors. Each directory is opened from the one above it, and each file from its
//! directory; links, other mounts and `..` are not followed (openat2(2)). If another task replaces
//! a name, the result is the new inode, which is not the planned one, or an error; never an inode
//! outside the tree.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use nscap_linux::{Claim, IdMap, Mount, Namespaces, Purpose};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags, openat, openat2,
    statx,
};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::error::{Error, Result};

const INSIDE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);
const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::RDONLY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY);

/// How many directories of one path stay open. Those above are opened again on the way back.
const HELD: usize = 128;

/// The identity of an inode, while its file system is mounted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Inode {
    /// The number of the device, or on btrfs of the subvolume.
    pub(crate) device: (u32, u32),
    pub(crate) number: u64,
    /// Birth time, in seconds and nanoseconds; 0 if the file system does not say. It distinguishes
    /// an inode from a later one with the same number.
    pub(crate) made: (i64, u32),
}

/// The result of statx(2); ids of this process's user namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct InodeStat {
    pub(crate) inode: Inode,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) links: u32,
    pub(crate) size: u64,
    pub(crate) changed: (i64, u32),
    pub(crate) immutable: bool,
}

impl InodeStat {
    pub(crate) fn of(file: impl AsFd, path: &Path) -> Result<InodeStat> {
        let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let stat = statx(file, "", AtFlags::EMPTY_PATH, mask)
            .map_err(|e| Error::call(path, "statx", e))?;
        let has_made = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        let made = (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec);
        let fixed = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
        Ok(InodeStat {
            inode: Inode {
                device: (stat.stx_dev_major, stat.stx_dev_minor),
                number: stat.stx_ino,
                made: if has_made { made } else { (0, 0) },
            },
            mode: stat.stx_mode.into(),
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            links: stat.stx_nlink,
            size: stat.stx_size,
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
            immutable: stat.stx_attributes.intersects(fixed),
        })
    }

    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind() == FileType::Directory
    }
}

/// The result of a lookup.
pub(crate) enum Named {
    /// An inode, by an O_PATH descriptor; of a symbolic link, the link itself.
    Inode(OwnedFd),
    /// A mount point.
    Mount,
    /// The name does not exist.
    Gone,
}

/// A tree to shift: its top directory, and the parent of that.
#[derive(Debug)]
pub struct Tree {
    pub(crate) parent: OwnedFd,
    pub(crate) parent_path: PathBuf,
    pub(crate) name: OsString,
    pub(crate) path: PathBuf,
    pub(crate) top: OwnedFd,
    pub(crate) seen: InodeStat,
    pub(crate) mount: Mount,
    /// Taken with the first plan or change.
    claim: OnceLock<Claim>,
}

impl Tree {
    /// Opens a tree. It may be a mount point; mounts in it are not part of it.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is a symbolic link (ELOOP), has no parent directory for the journal
    /// (EINVAL), or is on an id-mapped (EINVAL) or read-only (EROFS) mount; [`Error::System`] if it
    /// cannot be opened, ENOTDIR for a file.
    ///
    /// ```
    /// use nscap_image::shift::Tree;
    /// let mut namespaces = nscap_linux::Namespaces::own().unwrap();
    /// let dir = tempfile::tempdir().unwrap();
    /// assert!(Tree::open(dir.path(), &mut namespaces).is_ok());
    /// assert!(Tree::open("/".as_ref(), &mut namespaces).is_err());
    /// ```
    pub fn open(dir: &Path, namespaces: &mut Namespaces) -> Result<Tree> {
        let link = std::fs::symlink_metadata(dir).map_err(|e| Error::io(dir, "stat", &e))?;
        if link.is_symlink() {
            return Err(Error::refused(dir, "is a symbolic link; name the directory", Errno::LOOP));
        }
        let path = std::fs::canonicalize(dir).map_err(|e| Error::io(dir, "realpath", &e))?;
        let (Some(parent_path), Some(name)) = (path.parent(), path.file_name()) else {
            let why = "has no directory above it, where the journal would be";
            return Err(Error::refused(&path, why, Errno::INVAL));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::open(parent_path, flags, Mode::empty())
            .map_err(|e| Error::call(parent_path, "open", e))?;
        let top = quietly(|flags| openat(&parent, name, flags, Mode::empty()))
            .map_err(|e| Error::call(&path, "open", e))?;
        let mount = Mount::of(&top, &path, namespaces)?;
        if mount.idmap != IdMap::Absent {
            let why = "is on an id-mapped mount; name it where it is mounted without a map";
            return Err(Error::refused(&path, why, Errno::INVAL));
        }
        if mount.read_only {
            return Err(Error::refused(&path, "is on a read-only mount", Errno::ROFS));
        }
        Ok(Tree {
            seen: InodeStat::of(&top, &path)?,
            parent_path: parent_path.to_owned(),
            name: name.to_owned(),
            parent,
            top,
            mount,
            path,
            claim: OnceLock::new(),
        })
    }

    /// K: while this value lives, no other process serves or shifts the tree, a part of it or a
    /// directory above it. A server would go on deciding by the old owners.
    pub(crate) fn claim(&self) -> Result<()> {
        if self.claim.get().is_none() {
            let claim = Claim::take(&self.top, &self.path, Purpose::Shift, Duration::ZERO)?;
            let _ = self.claim.set(claim);
        }
        Ok(())
    }

    pub(crate) fn is_overlay(&self) -> bool {
        self.mount.fs_type == "overlay"
    }

    /// Its path, without symbolic links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// One directory on the current path.
struct Level {
    fd: Option<OwnedFd>,
    seen: InodeStat,
    name: OsString,
}

/// The position of a walk: a path of directories below the top of a tree.
pub(crate) struct Dirs<'t> {
    tree: &'t Tree,
    levels: Vec<Level>,
}

impl<'t> Dirs<'t> {
    pub(crate) fn new(tree: &'t Tree) -> Dirs<'t> {
        Dirs { tree, levels: Vec::new() }
    }

    /// How many directories the position is below the top.
    pub(crate) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// The directories of the path, without the first `from`.
    pub(crate) fn names_from(&self, from: usize) -> Vec<(OsString, InodeStat)> {
        let below = self.levels.iter().skip(from);
        below.map(|level| (level.name.clone(), level.seen)).collect()
    }

    /// The current directory.
    pub(crate) fn here(&self) -> BorrowedFd<'_> {
        self.levels.last().and_then(|level| level.fd.as_ref()).unwrap_or(&self.tree.top).as_fd()
    }

    /// A descriptor of its own for the current directory.
    pub(crate) fn held(&self) -> Result<OwnedFd> {
        let here = self.here().try_clone_to_owned();
        here.map_err(|e| Error::io(&self.path(OsStr::new("")), "fcntl(F_DUPFD_CLOEXEC)", &e))
    }

    /// What errors call a name in it, or with an empty name the directory itself.
    pub(crate) fn path(&self, name: &OsStr) -> PathBuf {
        let mut path = self.tree.path.as_os_str().to_owned();
        let names = self.levels.iter().map(|level| level.name.as_os_str()).chain([name]);
        for name in names.filter(|name| !name.is_empty()) {
            path.push("/");
            path.push(name);
        }
        path.into()
    }

    /// Looks a name up with O_PATH; does not follow a link.
    pub(crate) fn look(&self, name: &OsStr) -> Result<Named> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat2(self.here(), name, flags, Mode::empty(), INSIDE) {
            Ok(fd) => Ok(Named::Inode(fd)),
            Err(Errno::XDEV) => Ok(Named::Mount),
            Err(Errno::NOENT) => Ok(Named::Gone),
            Err(errno) => Err(Error::call(&self.path(name), "openat2", errno)),
        }
    }

    /// Goes into a directory; `None` where there is none under that name any more.
    pub(crate) fn enter(&mut self, name: &OsStr) -> Result<Option<InodeStat>> {
        let path = self.path(name);
        let opened = quietly(|flags| openat2(self.here(), name, flags, Mode::empty(), INSIDE));
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(None),
            Err(errno) => return Err(Error::call(&path, "openat2", errno)),
        };
        let seen = InodeStat::of(&fd, &path)?;
        self.levels.push(Level { fd: Some(fd), seen, name: name.to_owned() });
        let far = self.levels.len().checked_sub(HELD + 1);
        if let Some(level) = far.and_then(|far| self.levels.get_mut(far)) {
            level.fd = None;
        }
        Ok(Some(seen))
    }

    /// Goes back up.
    ///
    /// # Errors
    /// Where the directory above was not held open and this one has been moved elsewhere meanwhile.
    pub(crate) fn leave(&mut self) -> Result<()> {
        let Some(left) = self.levels.pop() else {
            return Ok(());
        };
        let path = self.path(OsStr::new(""));
        let Some(level) = self.levels.last_mut() else {
            return Ok(());
        };
        if let (None, Some(below)) = (&level.fd, &left.fd) {
            // What `..` is, is checked by what it must be.
            let fd = quietly(|flags| openat(below, "..", flags, Mode::empty()))
                .map_err(|e| Error::call(&path, "open", e))?;
            if InodeStat::of(&fd, &path)?.inode != level.seen.inode {
                let why = "what was in it has been moved elsewhere meanwhile";
                return Err(Error::refused(&path, why, Errno::AGAIN));
            }
            level.fd = Some(fd);
        }
        Ok(())
    }

    /// The directory where the walk is, to be read: reading moves a descriptor's position.
    pub(crate) fn reader(&self) -> Result<OwnedFd> {
        quietly(|flags| openat(self.here(), ".", flags, Mode::empty()))
            .map_err(|e| Error::call(&self.path(OsStr::new("")), "open", e))
    }
}

/// Opens a directory, where we may without touching its access time.
fn quietly<T>(open: impl Fn(OFlags) -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    match open(DIRECTORY | OFlags::NOATIME) {
        Err(Errno::PERM) => open(DIRECTORY),
        opened => opened,
    }
}

/// Moving what belongs to others takes capabilities; better said before anything is begun.
pub(crate) fn needs_capabilities(tree: &Tree) -> Result<()> {
    const NEEDED: [(CapabilitySet, &str); 5] = [
        (CapabilitySet::CHOWN, "cap_chown"),
        (CapabilitySet::DAC_READ_SEARCH, "cap_dac_read_search"),
        (CapabilitySet::FOWNER, "cap_fowner"),
        (CapabilitySet::FSETID, "cap_fsetid"),
        (CapabilitySet::SETFCAP, "cap_setfcap"),
    ];
    let sets =
        rustix::thread::capabilities(None).map_err(|e| Error::call(&tree.path, "capget", e))?;
    let missing = NEEDED.iter().filter(|(needed, _)| !sets.effective.contains(*needed));
    let missing: Vec<&str> = missing.map(|(_, name)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let why = format!("moving a tree takes {} (run it as root)", missing.join(", "));
    Err(Error::refused(&tree.path, why, Errno::PERM))
}
