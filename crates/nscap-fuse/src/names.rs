// SPDX-License-Identifier: MIT OR Apache-2.0
//! LOOKUP, FORGET, READLINK, MKNOD, MKDIR, SYMLINK, LINK, UNLINK, RMDIR, RENAME.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};

use nscap_linux::opath;
use rustix::fs::{
    AtFlags, FileType, OFlags, RenameFlags, fstat, readlinkat, renameat_with, unlinkat,
};
use rustix::io::Errno;

use crate::attr::device_from_fuse;
use crate::inodes::InodeRef;
use crate::made::{Asked, Before};
use crate::opener::Opener;
use crate::proto::Header;
use crate::tree::{Entry, Tree};

impl Tree {
    /// `None`: the directory has no such name.
    pub(crate) fn lookup(&self, parent: u64, name: &OsStr) -> Result<Option<Entry>, Errno> {
        self.stats.lookups.add();
        let directory = self.inodes.find(parent)?;
        match self.enter(directory.as_fd(), name) {
            Ok(known) => Ok(Some(known)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    pub(crate) fn forget(&self, node: u64, lookups: u64) {
        if self.inodes.forget(node, lookups) {
            self.streams.drop_of(node);
            self.backings.forget(node);
            self.times.forget(node);
        }
    }

    pub(crate) fn readlink(&self, node: u64) -> Result<Vec<u8>, Errno> {
        let link = self.inodes.find(node)?;
        Ok(readlinkat(link, c"", Vec::with_capacity(256))?.into_bytes())
    }

    /// Makes a directory, symbolic link or node as the caller. The system call returns no
    /// descriptor, so the name is looked up afterwards. The inode must be the new one: another task
    /// with access to the source may have renamed. ESTALE if it is not.
    fn make(
        &self,
        header: &Header,
        name: &OsStr,
        umask: u32,
        asked: Asked<'_>,
    ) -> Result<Entry, Errno> {
        self.stats.creates.add();
        let directory = self.inodes.find(header.node)?;
        let before = Before::now();
        {
            let _caller = self.as_caller(header, umask)?;
            asked.make(directory.as_fd(), name)?;
        }
        self.streams.drop_of(header.node);
        let file = self
            .inodes
            .source()
            .lookup(directory.as_fd(), name)
            .map_err(|errno| if errno == Errno::NOENT { Errno::STALE } else { errno })?;
        let stat = asked.is(&file, &directory, (header.uid, header.gid), before)?;
        match self.inodes.know_new(file, &stat)? {
            (node, true) => Ok(Entry { node, stat }),
            (known, false) => {
                self.forget(known, 1);
                Err(Errno::STALE)
            }
        }
    }

    pub(crate) fn mknod(
        &self,
        header: &Header,
        name: &OsStr,
        (mode, umask): (u32, u32),
        device: u32,
    ) -> Result<Entry, Errno> {
        let kind = FileType::from_raw_mode(mode);
        if kind == FileType::RegularFile {
            return self.mknod_regular(header, name, (mode, umask));
        }
        self.make(header, name, umask, Asked::Node { kind, mode, device: device_from_fuse(device) })
    }

    /// open(2) makes a regular file and returns its descriptor, so no lookup is needed.
    fn mknod_regular(
        &self,
        header: &Header,
        name: &OsStr,
        mode: (u32, u32),
    ) -> Result<Entry, Errno> {
        self.stats.creates.add();
        let file = self.open_new(header, name, mode, OFlags::RDONLY)?;
        let stat = fstat(&file)?;
        let node = self.inodes.know_open(&file, &stat)?;
        Ok(Entry { node, stat })
    }

    pub(crate) fn mkdir(
        &self,
        header: &Header,
        name: &OsStr,
        (mode, umask): (u32, u32),
    ) -> Result<Entry, Errno> {
        self.make(header, name, umask, Asked::Directory { mode })
    }

    pub(crate) fn symlink(
        &self,
        header: &Header,
        name: &OsStr,
        target: &OsStr,
    ) -> Result<Entry, Errno> {
        self.make(header, name, 0, Asked::Symlink { target })
    }

    pub(crate) fn link(&self, node: u64, parent: u64, name: &OsStr) -> Result<Entry, Errno> {
        self.stats.creates.add();
        let (inode, directory) = (self.inodes.find(node)?, self.inodes.find(parent)?);
        {
            // As no user: a directory that grows takes no blocks that the source reserves for root.
            let _unprivileged = Opener::UNKNOWN.take()?;
            opath::link(&inode, &directory, name)?;
        }
        self.streams.drop_of(parent);
        // The inode is the one that was linked, also if the name was changed meanwhile.
        let stat = fstat(&inode)?;
        self.inodes.know_again(node)?;
        Ok(Entry { node, stat })
    }

    /// The inode of a name that is about to be removed; this may be its last name.
    fn leaving(&self, directory: &InodeRef, name: &OsStr) -> Option<OwnedFd> {
        let source = self.inodes.source();
        if source.handles { source.lookup(directory.as_fd(), name).ok() } else { None }
    }

    pub(crate) fn unlink(&self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        self.remove(parent, name, AtFlags::empty())
    }

    pub(crate) fn rmdir(&self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        self.remove(parent, name, AtFlags::REMOVEDIR)
    }

    fn remove(&self, parent: u64, name: &OsStr, flags: AtFlags) -> Result<(), Errno> {
        self.stats.removes.add();
        let directory = self.inodes.find(parent)?;
        let leaving = self.leaving(&directory, name);
        unlinkat(&directory, name, flags)?;
        self.streams.drop_of(parent);
        if let Some(file) = leaving {
            self.inodes.pin(file);
        }
        Ok(())
    }

    pub(crate) fn rename(
        &self,
        header: &Header,
        name: &OsStr,
        (new_parent, new_name): (u64, &OsStr),
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        self.stats.renames.add();
        let (from, to) = (self.inodes.find(header.node)?, self.inodes.find(new_parent)?);
        let stays = flags.intersects(RenameFlags::NOREPLACE | RenameFlags::EXCHANGE);
        let leaving = if stays { None } else { self.leaving(&to, new_name) };
        {
            // The caller owns the whiteout.
            let _ids = if flags.contains(RenameFlags::WHITEOUT) {
                Some(self.as_caller(header, 0)?)
            } else {
                Opener::UNKNOWN.take()?
            };
            renameat_with(&from, name, &to, new_name, flags)?;
        }
        self.streams.drop_of(header.node);
        self.streams.drop_of(new_parent);
        if let Some(file) = leaving {
            self.inodes.pin(file);
        }
        Ok(())
    }
}
