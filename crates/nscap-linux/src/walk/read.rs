// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one thread does with one directory: open it, read it, look at its files, and keep the names
//! of its subdirectories.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, RawDir, RawDirEntry, StatxFlags, statat, statx};
use rustix::io::Errno;
use rustix::process::fchdir;

use super::Event;
use super::dir::{self, Dir, Identity};
use super::look::{Calls, Kind, Look};
use super::queue::{Batch, Job};
use super::shared::Shared;
use super::slot::Slot;
use crate::error::{Error, Result};
use crate::file::CapFile;
use crate::names::{CAPABILITY, TABLE};
use crate::xattr;

/// With more names of subdirectories than this, in bytes, a directory waits half read.
const NAMES_MAX: usize = 16_384;

pub(super) struct Worker<'s, 't> {
    pub(super) shared: &'s Shared,
    pub(super) slot: &'s Slot,
    pub(super) look: Look,
    pub(super) tell: &'t mut dyn FnMut(Event) -> ControlFlow<()>,
}

/// A directory that is being read.
struct Reading {
    dir: Arc<Dir>,
    fd: Arc<OwnedFd>,
    /// Whether listing is enough for the files in it.
    listing: bool,
    /// Names of subdirectories, each with its NUL.
    names: Vec<u8>,
    files: u64,
    /// Whether the thread's current directory is this one already.
    entered: bool,
}

impl Reading {
    fn new(dir: Arc<Dir>, fd: Arc<OwnedFd>, shared: &Shared) -> Reading {
        // A file at a mount point may be of another file system than its directory.
        let known = shared.with_mount_points.as_ref();
        let listing = dir.listing && known.is_some_and(|known| !known.contains(&dir.identity));
        Reading { dir, fd, listing, names: Vec::new(), files: 0, entered: false }
    }
}

impl Worker<'_, '_> {
    pub(super) fn job(&mut self, job: Job, buffer: &mut [MaybeUninit<u8>]) -> Option<Batch> {
        let reading = match job {
            Job::Reopen(batch) => return self.reopen(batch),
            Job::Resume { dir, fd } => Some(Reading::new(dir, fd, self.shared)),
            Job::Open { parent: None, name } => self.open_root(name),
            Job::Open { parent: Some((parent, fd)), name } => self.open(parent, &fd, name),
        };
        reading.and_then(|reading| self.read(reading, buffer))
    }

    fn reopen(&mut self, mut batch: Batch) -> Option<Batch> {
        let dir = Arc::clone(batch.dir()?);
        let shared = self.shared;
        match shared.open(|| dir.open_again(shared.base(), shared.one_mount)) {
            Ok(fd) => Some(batch.reopened(fd)),
            Err(errno) => {
                // Whether what waits has been removed or moved with it cannot be known.
                while let Some(name) = batch.take_name() {
                    if self.fail(Error::call(&dir.path_of(&name), "openat2", errno)).is_break() {
                        break;
                    }
                }
                None
            }
        }
    }

    fn open_root(&mut self, name: CString) -> Option<Reading> {
        let shared = self.shared;
        if let Ok(mount) = dir::mount_in(shared.base(), &name) {
            self.slot.asks(mount);
        }
        let opened = shared
            .open(|| dir::open_root(shared.base(), &name))
            .and_then(|fd| Ok((Identity::of(&fd)?, Kind::of(&fd), fd)));
        match opened {
            Ok((_, kind, _)) if kind.has_no_programs() => None,
            Ok((identity, kind, fd)) => {
                let listing = shared.with_mount_points.is_some() && kind.lists_what_it_gives();
                let dir = Dir::new(None, name, identity, listing);
                Some(Reading::new(Arc::new(dir), Arc::new(fd), shared))
            }
            Err(errno) => {
                let path = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
                if errno != Errno::NOTDIR || !self.root_file(&name, path) {
                    let _ = self.fail(Error::call(path, "open", errno));
                }
                None
            }
        }
    }

    /// A root that is a regular file, of which there is no directory to read.
    fn root_file(&mut self, name: &CStr, path: &Path) -> bool {
        let Ok(file) = CapFile::open_at(self.shared.base(), name, path) else { return false };
        self.shared.progress.count(0, 1);
        let has = |attribute| match xattr::get_into(file.as_fd(), attribute, &mut []) {
            Ok(_) | Err(Errno::OVERFLOW | Errno::INVAL | Errno::RANGE) => Ok(true),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
            Err(errno) => Err(Error::call(path, "getxattr", errno)),
        };
        let _ = match has(CAPABILITY).and_then(|first| Ok(first || has(TABLE)?)) {
            Ok(true) => self.tell(Event::Found(file)),
            Ok(false) => ControlFlow::Continue(()),
            Err(error) => self.fail(error),
        };
        true
    }

    fn open(&mut self, parent: Arc<Dir>, at: &OwnedFd, name: CString) -> Option<Reading> {
        let shared = self.shared;
        let known = shared.with_mount_points.as_ref();
        let mount = match known.is_none_or(|known| known.contains(&parent.identity)) {
            true => dir::mount_in(at.as_fd(), &name).unwrap_or(parent.identity.mount),
            false => parent.identity.mount,
        };
        // It was named when it did not answer.
        if shared.is_dead(mount) || (shared.one_mount && mount != parent.identity.mount) {
            return None;
        }
        self.slot.asks(mount);
        let opened = shared.open(|| dir::open_in(at.as_fd(), &name, shared.one_mount));
        let opened = opened.and_then(|fd| Ok((Identity::of(&fd)?, fd)));
        match opened {
            Ok((identity, fd)) => {
                let listing = if identity.mount == parent.identity.mount {
                    parent.listing
                } else {
                    let kind = Kind::of(&fd);
                    if kind.has_no_programs() {
                        return None;
                    }
                    shared.with_mount_points.is_some() && kind.lists_what_it_gives()
                };
                let dir = Dir::new(Some(parent), name, identity, listing);
                Some(Reading::new(Arc::new(dir), Arc::new(fd), shared))
            }
            // Gone, or something else by now.
            Err(Errno::NOENT | Errno::NOTDIR) => None,
            Err(Errno::XDEV) if shared.one_mount => None,
            Err(errno) => {
                let _ = self.fail(Error::call(&parent.path_of(&name), "open", errno));
                None
            }
        }
    }

    /// Reads a directory, to its end or until too many subdirectories wait. Gives what waits.
    fn read(&mut self, mut reading: Reading, buffer: &mut [MaybeUninit<u8>]) -> Option<Batch> {
        let fd = Arc::clone(&reading.fd);
        let mut entries = RawDir::new(&*fd, buffer);
        let mut more = false;
        loop {
            if reading.names.len() > NAMES_MAX && entries.is_buffer_empty() {
                more = self.shared.queue.pause();
                if more {
                    break;
                }
            }
            let step = match entries.next() {
                None => break,
                // A directory that was removed while it was read.
                Some(Err(Errno::NOENT)) => break,
                Some(Err(errno)) => {
                    let _ = self.fail(Error::call(&reading.dir.path(), "getdents64", errno));
                    break;
                }
                Some(Ok(entry)) => self.entry(&mut reading, &entry),
            };
            if step.is_break() {
                reading.names.clear();
                break;
            }
        }
        self.shared.progress.count(u64::from(!more), reading.files);
        let Reading { dir, fd, names, .. } = reading;
        (!names.is_empty()).then(|| Batch::new(dir, fd, names, more))
    }

    /// Breaks where nothing more of the directory is to be read.
    fn entry(&mut self, reading: &mut Reading, entry: &RawDirEntry<'_>) -> ControlFlow<()> {
        self.slot.beat();
        let name = entry.file_name();
        let kind = match entry.file_type() {
            FileType::Unknown => match kind_of(&reading.fd, name) {
                Ok(kind) => kind,
                Err(Errno::NOENT) => return ControlFlow::Continue(()),
                Err(errno) => return self.failed(reading, name, "stat", errno),
            },
            kind => kind,
        };
        match kind {
            FileType::RegularFile => self.file(reading, name),
            FileType::Directory if name != c"." && name != c".." => {
                reading.names.extend_from_slice(name.to_bytes_with_nul());
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn file(&mut self, reading: &mut Reading, name: &CStr) -> ControlFlow<()> {
        reading.files += 1;
        if self.look.calls() == Calls::Current && !reading.entered {
            if let Err(errno) = fchdir(&*reading.fd) {
                return self.unreadable(reading, "fchdir", errno);
            }
            reading.entered = true;
        }
        match self.look.has_any(reading.fd.as_fd(), name, reading.listing) {
            Ok(false) => ControlFlow::Continue(()),
            Ok(true) => self.found(reading, name),
            Err((call, errno)) => self.failed(reading, name, call, errno),
        }
    }

    /// Tells of a file that could not be looked at, or once of a directory of which none can be.
    fn failed(
        &mut self,
        reading: &Reading,
        name: &CStr,
        call: &'static str,
        errno: Errno,
    ) -> ControlFlow<()> {
        if errno == Errno::ACCESS && !may_search(&reading.fd) {
            return self.unreadable(reading, call, errno);
        }
        self.fail(Error::call(&reading.dir.path_of(name), call, errno))
    }

    fn found(&mut self, reading: &Reading, name: &CStr) -> ControlFlow<()> {
        let path = reading.dir.path_of(name);
        let file = self.open_file(reading, name, &path);
        match file {
            Ok(file) if self.shared.one_mount && !is_on(&file, reading.dir.identity.mount) => {
                ControlFlow::Continue(())
            }
            Ok(file) => self.tell(Event::Found(file)),
            // Gone, or something else by now.
            Err(Error::NotRegular { .. }) => ControlFlow::Continue(()),
            Err(error) if error.errno() == libc::ENOENT => ControlFlow::Continue(()),
            Err(error) => self.fail(error),
        }
    }

    fn open_file(&self, reading: &Reading, name: &CStr, path: &Path) -> Result<CapFile> {
        match CapFile::open_at(&*reading.fd, name, path) {
            Err(error) if matches!(error.errno(), libc::EMFILE | libc::ENFILE) => {
                self.shared.queue.close_all();
                CapFile::open_at(&*reading.fd, name, path)
            }
            opened => opened,
        }
    }

    fn unreadable(
        &mut self,
        reading: &Reading,
        call: &'static str,
        errno: Errno,
    ) -> ControlFlow<()> {
        let _ = self.fail(Error::call(&reading.dir.path(), call, errno));
        ControlFlow::Break(())
    }

    fn fail(&mut self, error: Error) -> ControlFlow<()> {
        self.tell(Event::Failed(error))
    }

    fn tell(&mut self, event: Event) -> ControlFlow<()> {
        let Some(told) = self.slot.tell(|| (self.tell)(event)) else {
            return ControlFlow::Break(());
        };
        if told.is_break() {
            self.shared.stop();
        }
        told
    }
}

/// Where the file system does not say in the directory what kind of file it is.
fn kind_of(dir: impl AsFd, name: &CStr) -> std::result::Result<FileType, Errno> {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

/// Whether names in a directory may be used at all.
fn may_search(dir: impl AsFd) -> bool {
    !matches!(statx(dir, ".", AtFlags::empty(), StatxFlags::INO), Err(Errno::ACCESS))
}

/// Whether a file is on this mount, and not on one of its own.
fn is_on(file: impl AsFd, mount: u64) -> bool {
    Identity::of(file).is_ok_and(|identity| identity.mount == mount)
}
