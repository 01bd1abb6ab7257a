// SPDX-License-Identifier: MIT OR Apache-2.0
//! A regular file by descriptor, and what its two attributes hold. Covers SPEC's Storage on the
//! reading side, and M: ids on disk are in the superblock's owner namespace's terms.
//!
//! The kernel translates `security.capability` for its reader (capabilities(7)). This module undoes
//! that, so that every process gets the bytes as they are stored. If it cannot be undone, the state
//! says so ([`Hidden`]).

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nscap_core::VfsCaps;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags, openat, openat2,
    statx,
};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::mount::Mount;
use crate::names::{CAPABILITY, TABLE};
use crate::ns::{Namespaces, NsIndex};
use crate::policy::kernel_decides;
use crate::{enforced, xattr};

mod reach;
mod state;
mod unpacked;

pub(crate) use state::Shown as ShownNames;
pub use state::{Answers, FileState, Hidden, Inode};

/// Whether a path whose last part is a symbolic link is followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Links {
    /// As execve(2) does.
    Follow,
    /// As setcap(8) does: a link is an error.
    Refuse,
}

/// A regular file, opened with O_PATH: no permission on it is needed, and nothing that happens to
/// its name makes it another file.
///
/// ```
/// use nscap_linux::{CapFile, Links, Namespaces};
/// let file = CapFile::open("/bin/true".as_ref(), Links::Follow)?;
/// let mut namespaces = Namespaces::own()?;
/// let state = file.read(&mut namespaces)?;
/// assert!(state.stored(&namespaces).0.is_empty());
/// # Ok::<(), nscap_linux::Error>(())
/// ```
#[derive(Debug)]
pub struct CapFile {
    fd: OwnedFd,
    path: PathBuf,
}

impl CapFile {
    /// Opens a regular file.
    ///
    /// # Errors
    /// [`Error::Call`] where there is none or a directory may not be searched;
    /// [`Error::NotRegular`] for anything but a regular file.
    ///
    /// ```
    /// use nscap_linux::{CapFile, Links};
    /// assert!(CapFile::open("/bin/true".as_ref(), Links::Follow).is_ok());
    /// let error = CapFile::open("/".as_ref(), Links::Refuse).unwrap_err();
    /// assert!(error.to_string().contains("is a directory"));
    /// ```
    pub fn open(path: &Path, links: Links) -> Result<CapFile> {
        let no_follow = if links == Links::Refuse { OFlags::NOFOLLOW } else { OFlags::empty() };
        let flags = OFlags::PATH | OFlags::CLOEXEC | no_follow;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| Error::call(path, "open", e))?;
        CapFile::regular(fd, path)
    }

    /// Opens a regular file as a task with this root directory finds it: neither links nor `..`
    /// lead out (openat2(2), RESOLVE_IN_ROOT). `path` is absolute, or relative to that root.
    ///
    /// # Errors
    /// As [`open`](CapFile::open); ELOOP also for a magic link of /proc.
    ///
    /// ```
    /// use nscap_linux::CapFile;
    /// let root = std::fs::File::open("/").unwrap();
    /// assert!(CapFile::open_in_root(&root, "../../bin/true".as_ref()).is_ok());
    /// ```
    pub fn open_in_root(root: impl AsFd, path: &Path) -> Result<CapFile> {
        CapFile::open_below(root, path, Links::Follow, path)
    }

    /// The same with a choice for a path whose last part is a link; `shown` is what errors call the
    /// file.
    ///
    /// # Errors
    /// As [`open_in_root`](CapFile::open_in_root).
    ///
    /// ```
    /// use nscap_linux::{CapFile, Links};
    /// let root = tempfile::tempdir().unwrap();
    /// std::os::unix::fs::symlink("/bin", root.path().join("bin")).unwrap();
    /// let top = std::fs::File::open(root.path()).unwrap();
    /// let name = "bin/true".as_ref();
    /// let outside = CapFile::open_below(&top, name, Links::Refuse, name);
    /// assert!(outside.is_err());
    /// ```
    pub fn open_below(root: impl AsFd, path: &Path, links: Links, shown: &Path) -> Result<CapFile> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let no_follow = if links == Links::Refuse { OFlags::NOFOLLOW } else { OFlags::empty() };
        let flags = OFlags::PATH | OFlags::CLOEXEC | no_follow;
        let fd = openat2(root, path, flags, Mode::empty(), resolve)
            .map_err(|e| Error::call(shown, "openat2", e))?;
        CapFile::regular(fd, shown)
    }

    /// Opens a regular file below a directory by its name without any symbolic link, `..`, or a way
    /// that leads out (openat2(2), RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS); `shown` is what errors
    /// call it.
    ///
    /// # Errors
    /// As [`open`](CapFile::open); ELOOP for a link on the way, EXDEV for a way that leads out.
    ///
    /// ```
    /// use nscap_linux::CapFile;
    /// let top = tempfile::tempdir().unwrap();
    /// std::fs::write(top.path().join("file"), "").unwrap();
    /// std::os::unix::fs::symlink("file", top.path().join("link")).unwrap();
    /// let dir = std::fs::File::open(top.path()).unwrap();
    /// assert!(CapFile::open_beneath(&dir, "file".as_ref(), "file".as_ref()).is_ok());
    /// for bad in ["link", "../file", "/bin/true", "."] {
    ///     assert!(CapFile::open_beneath(&dir, bad.as_ref(), bad.as_ref()).is_err());
    /// }
    /// ```
    pub fn open_beneath(directory: impl AsFd, name: &Path, shown: &Path) -> Result<CapFile> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = openat2(directory, name, flags, Mode::empty(), resolve)
            .map_err(|e| Error::call(shown, "openat2", e))?;
        CapFile::regular(fd, shown)
    }

    /// `security.capability` as the kernel shows it to us. This is the only question that a file
    /// without capabilities costs: without the attribute the file holds nothing, since no table has
    /// an effect then. An O_PATH descriptor is enough.
    ///
    /// # Errors
    /// [`Error::Call`] from getxattr(2).
    ///
    /// ```
    /// use nscap_linux::{CapFile, Shown};
    /// let file = std::fs::File::open("/bin/true").unwrap();
    /// assert_eq!(CapFile::capability(&file, "/bin/true".as_ref())?, Shown::Absent);
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn capability(file: impl AsFd, path: &Path) -> Result<Shown> {
        let mut value = [0; 24];
        match xattr::get_into(file.as_fd(), CAPABILITY, &mut value) {
            Ok(length) => {
                let value = VfsCaps::settable(value.get(..length).unwrap_or_default());
                Ok(value.map_or(Shown::Unclear, Shown::Value))
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(Shown::Absent),
            Err(Errno::OVERFLOW | Errno::INVAL | Errno::RANGE) => Ok(Shown::Unclear),
            Err(errno) => Err(Error::call(path, "getxattr", errno)),
        }
    }

    /// A regular file by a descriptor of it; `path` is what errors call it.
    ///
    /// # Errors
    /// [`Error::NotRegular`] for anything but a regular file; [`Error::Call`] from fstat(2).
    ///
    /// ```
    /// let file = std::fs::File::open("/bin/true").unwrap();
    /// assert!(nscap_linux::CapFile::from_fd(file.into(), "/bin/true".as_ref()).is_ok());
    /// ```
    pub fn from_fd(fd: OwnedFd, path: &Path) -> Result<CapFile> {
        CapFile::regular(fd, path)
    }

    /// Opens a regular file by its name in a directory; a symbolic link is an error.
    pub(crate) fn open_at(dir: impl AsFd, name: &CStr, path: &Path) -> Result<CapFile> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd =
            openat(dir, name, flags, Mode::empty()).map_err(|e| Error::call(path, "open", e))?;
        CapFile::regular(fd, path)
    }

    fn regular(fd: OwnedFd, path: &Path) -> Result<CapFile> {
        check_regular(&fd, path)?;
        Ok(CapFile { fd, path: path.to_owned() })
    }

    /// The path that it was opened by: for messages, not for opening again.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file holds now. The maps of an id-mapped mount are added to `namespaces`.
    ///
    /// # Errors
    /// [`Error::Call`] where an attribute cannot be read; [`Mount::of`]'s errors. A file system
    /// without extended attributes holds nothing.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// # let file = CapFile::open("/bin/true".as_ref(), Links::Follow)?;
    /// let state = file.read(&mut namespaces)?;
    /// assert!(state.inode.size > 0 && state.capability.is_none());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn read(&self, namespaces: &mut Namespaces) -> Result<FileState> {
        let mount = Mount::of(&self.fd, &self.path, namespaces)?;
        self.read_through(mount, namespaces)
    }

    /// As [`read`](CapFile::read), where the mount may be one of a task's own mount namespace.
    ///
    /// # Errors
    /// As [`read`](CapFile::read), and [`Mount::of_task`]'s.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// # let file = CapFile::open("/bin/true".as_ref(), Links::Follow)?;
    /// let state = file.read_as_task(std::process::id(), &mut namespaces)?;
    /// assert!(!state.mount.foreign);
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn read_as_task(&self, pid: u32, namespaces: &mut Namespaces) -> Result<FileState> {
        let mount = Mount::of_task(&self.fd, &self.path, pid, namespaces)?;
        self.read_through(mount, namespaces)
    }

    /// As [`read`](CapFile::read), for a task that would be in this user namespace.
    ///
    /// # Errors
    /// As [`read`](CapFile::read).
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// # let file = CapFile::open("/bin/true".as_ref(), Links::Follow)?;
    /// let own = namespaces.own_ns().index();
    /// assert_eq!(file.read_as_member(own, &mut namespaces)?, file.read(&mut namespaces)?);
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn read_as_member(&self, ns: NsIndex, namespaces: &mut Namespaces) -> Result<FileState> {
        let mount = Mount::of_member(&self.fd, &self.path, ns, namespaces)?;
        self.read_through(mount, namespaces)
    }

    /// As [`read`](CapFile::read), where the mount that it was opened through is known already.
    ///
    /// # Errors
    /// [`Error::Call`] where an attribute cannot be read.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// # let file = CapFile::open("/bin/true".as_ref(), Links::Follow)?;
    /// let mount = Mount::of(&file, file.path(), &mut namespaces)?;
    /// assert_eq!(file.read_through(mount, &namespaces)?, file.read(&mut namespaces)?);
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn read_through(&self, mount: Mount, namespaces: &Namespaces) -> Result<FileState> {
        let inode = self.inode()?;
        let table = xattr::get(&self.fd, TABLE).map_err(|e| self.error("getxattr", e))?;
        let answers = self.answers(&mount, table.is_some())?;
        let capability = match xattr::get(&self.fd, CAPABILITY) {
            Err(errno) if !matches!(errno, Errno::OVERFLOW | Errno::INVAL) => {
                return Err(self.error("getxattr", errno));
            }
            shown => shown,
        };
        let shown = ShownNames { capability, table };
        FileState::of(inode, mount, answers, shown, &self.path, namespaces)
    }

    /// What answers for the file's capabilities. An overlayfs passes on what a server below it
    /// answers; so may a mount whose type no mount namespace that we found tells. There a name that
    /// only a server of nscap has decides. Without a list of entries such a server and an
    /// unmodified kernel answer alike.
    fn answers(&self, mount: &Mount, listed: bool) -> Result<Answers> {
        if kernel_decides() {
            return Ok(Answers::ReferenceKernel);
        }
        if mount.is_nscap() {
            return Ok(Answers::Server);
        }
        let (below, unknown) = (mount.fs_type == "overlay", mount.fs_type.is_empty());
        if !listed || !(below || unknown) {
            return Ok(Answers::Kernel);
        }
        let served = enforced::is_served(&self.fd).map_err(|e| self.error("getxattr", e))?;
        Ok(match (served, below) {
            (false, _) => Answers::Kernel,
            (true, false) => Answers::Server,
            (true, true) => Answers::ServerBelow,
        })
    }

    pub(crate) fn error(&self, call: &'static str, errno: Errno) -> Error {
        Error::call(&self.path, call, errno)
    }

    pub(crate) fn inode(&self) -> Result<Inode> {
        Inode::of(&self.fd, &self.path)
    }
}

impl Inode {
    pub(crate) fn of(file: impl AsFd, path: &Path) -> Result<Inode> {
        let stat = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
            .map_err(|e| Error::call(path, "statx", e))?;
        let fixed = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
        Ok(Inode {
            size: stat.stx_size,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            mode: stat.stx_mode.into(),
            immutable: stat.stx_attributes.intersects(fixed),
        })
    }
}

/// Checks that a descriptor, which may be an O_PATH one, leads to a regular file.
pub(crate) fn check_regular(file: impl AsFd, path: &Path) -> Result<()> {
    let stat = rustix::fs::fstat(file).map_err(|e| Error::call(path, "fstat", e))?;
    let (kind, errno) = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => ("is a directory", libc::EISDIR),
        FileType::Symlink => ("is a symbolic link", libc::ELOOP),
        FileType::Fifo => ("is a named pipe", libc::EINVAL),
        FileType::Socket => ("is a socket", libc::EINVAL),
        FileType::CharacterDevice | FileType::BlockDevice => ("is a device", libc::EINVAL),
        FileType::Unknown => ("is of an unknown kind", libc::EINVAL),
    };
    Err(Error::NotRegular { path: path.to_owned(), kind, errno })
}

impl AsFd for CapFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What the kernel shows us of `security.capability`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// There is none.
    Absent,
    /// This, the rootid in our namespace's terms, revision 2 also for our own root's entry.
    Value(VfsCaps),
    /// Something that we cannot name, or no value ([`Hidden`] says which).
    Unclear,
}
