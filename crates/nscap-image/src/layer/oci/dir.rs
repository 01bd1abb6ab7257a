// SPDX-License-Identifier: MIT OR Apache-2.0
//! Directories by descriptor. No file outside an image is read or written, whatever links are in it
//! or appear meanwhile.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use nscap_linux::Quotable as _;
use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags};

use crate::layer::error::{Error, Result};

/// A directory.
pub(crate) struct Dir {
    fd: OwnedFd,
    shown: String,
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

impl Dir {
    /// By path; links are followed, as for any argument of a command.
    pub(crate) fn open(path: &Path) -> Result<Dir> {
        let shown = path.maybe_quote().to_string();
        match fs::open(path, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Dir { fd, shown }),
            Err(errno) => Err(Error::call(shown, "open", errno.into())),
        }
    }

    fn shown(&self, name: &str) -> String {
        format!("{}/{name}", self.shown)
    }

    fn failed(&self, name: &str, call: &'static str) -> impl FnOnce(rustix::io::Errno) -> Error {
        let shown = self.shown(name);
        move |errno| Error::call(shown, call, errno.into())
    }

    /// A directory in it.
    pub(crate) fn sub(&self, name: &str) -> Result<Dir> {
        let flags = DIRECTORY.union(OFlags::NOFOLLOW);
        let fd = fs::openat(&self.fd, name, flags, Mode::empty());
        Ok(Dir { fd: fd.map_err(self.failed(name, "open"))?, shown: self.shown(name) })
    }

    /// A new directory in it.
    pub(crate) fn create_sub(&self, name: &str) -> Result<Dir> {
        fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o755))
            .map_err(self.failed(name, "mkdir"))?;
        self.sub(name)
    }

    /// Whether there is something of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// A regular file in it, for reading.
    pub(crate) fn file(&self, name: &str) -> Result<File> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = fs::openat(&self.fd, name, flags, Mode::empty());
        let fd = fd.map_err(self.failed(name, "open"))?;
        let shown = self.shown(name);
        nscap_linux::opath::reopen_regular(&fd, Path::new(name)).map_err(|error| match error {
            nscap_linux::Error::NotRegular { .. } => Error::image(shown, "not a regular file"),
            error => Error::call(shown, "open", io::Error::from_raw_os_error(error.errno())),
        })
    }

    /// A new file in it under a name of its own.
    pub(crate) fn create(&self) -> Result<(File, String)> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL;
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!(".nscap-{}-{number}", std::process::id());
            match fs::openat(&self.fd, &name, flags, Mode::from_raw_mode(0o644)) {
                Ok(fd) => return Ok((fd.into(), name)),
                Err(rustix::io::Errno::EXIST) => {}
                Err(errno) => return Err(self.failed(&name, "open")(errno)),
            }
        }
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        fs::renameat(&self.fd, from, &self.fd, to).map_err(self.failed(to, "rename"))
    }

    /// In place of a file, whose mode stays.
    pub(crate) fn replace(&self, from: &str, to: &str) -> Result<()> {
        let mode = fs::statat(&self.fd, to, AtFlags::SYMLINK_NOFOLLOW).map(|stat| stat.st_mode);
        if let Ok(mode) = mode {
            fs::chmodat(&self.fd, from, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())
                .map_err(self.failed(from, "chmod"))?;
        }
        self.rename(from, to)
    }

    /// Fails where the target exists.
    pub(crate) fn rename_new(&self, from: &str, to: &str) -> Result<()> {
        let flags = RenameFlags::NOREPLACE;
        fs::renameat_with(&self.fd, from, &self.fd, to, flags).map_err(self.failed(to, "rename"))
    }

    pub(crate) fn remove(&self, name: &str) {
        // Cleaning up after an error, which is the one to tell.
        let _ = fs::unlinkat(&self.fd, name, AtFlags::empty());
    }

    pub(crate) fn remove_dir(&self, name: &str) {
        let _ = fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR);
    }

    /// Makes names durable.
    pub(crate) fn sync(&self) -> Result<()> {
        fs::fsync(&self.fd).map_err(self.failed("", "fsync"))
    }
}
