// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mounts by which a process reaches a file that we reach by one of ours. Covers M: the root of
//! a container may be an id-mapped mount of the directory that the host sees, and there an entry
//! belongs to another root.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstat};

use super::CapFile;
use crate::error::{Error, Result};
use crate::mounts::{MountPoint, mount_id};

impl CapFile {
    /// The same file by each mount by which a process reaches it, below its root directory. Empty
    /// where the process does not reach it, and where no path of the file is known.
    ///
    /// # Errors
    /// [`Error::Call`] where the process may not be looked at, or its mounts cannot be read.
    ///
    /// ```
    /// use nscap_linux::{CapFile, Links};
    /// let file = CapFile::open("/bin/true".as_ref(), Links::Follow)?;
    /// assert!(!file.as_reached_by(std::process::id())?.is_empty());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn as_reached_by(&self, pid: u32) -> Result<Vec<CapFile>> {
        let Some((device, inner)) = self.place()? else {
            return Ok(Vec::new());
        };
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&root, flags, Mode::empty())
            .map_err(|e| Error::call(&root, "open", e))?;
        let mut found = Vec::new();
        for mount in MountPoint::of_process(pid)?.iter().filter(|mount| mount.device == device) {
            let Ok(below) = inner.strip_prefix(&mount.root) else { continue };
            // Another mount may be on top of it, and the name may be of another file by now.
            let path = mount.point.join(below);
            let Ok(file) = CapFile::open_in_root(&directory, &path) else { continue };
            if self.is_same(&file) {
                let shown = root.join(path.strip_prefix("/").unwrap_or(&path));
                found.push(CapFile { fd: file.fd, path: shown });
            }
        }
        Ok(found)
    }

    /// The file's device and its path in the file system.
    fn place(&self) -> Result<Option<((u32, u32), PathBuf)>> {
        let id = mount_id(self.fd.as_fd())?;
        let link = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let path =
            std::fs::read_link(&link).map_err(|e| Error::call(Path::new(&link), "readlink", e))?;
        let mount = MountPoint::all()?.into_iter().find(|mount| mount.id == id);
        Ok(mount.and_then(|mount| {
            let below = path.strip_prefix(&mount.point).ok()?;
            Some((mount.device, mount.root.join(below)))
        }))
    }

    fn is_same(&self, other: &CapFile) -> bool {
        let inode = |file: &CapFile| fstat(&file.fd).ok().map(|stat| (stat.st_dev, stat.st_ino));
        inode(self).is_some() && inode(self) == inode(other)
    }
}
