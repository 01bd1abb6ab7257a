// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names: looked up, made, removed, changed.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};

use nscap_linux::server;
use rustix::fs::{
    AtFlags, FileType, OFlags, RenameFlags, fstat, readlinkat, renameat_with, unlinkat,
};
use rustix::io::Errno;

use crate::attr::device_from_fuse;
use crate::inodes::Found;
use crate::made::{Asked, Before};
use crate::opener::Opener;
use crate::proto::Header;
use crate::tree::{Known, Tree};

impl Tree {
    /// `None`: there is nothing of that name.
    pub(crate) fn look_up(&self, parent: u64, name: &OsStr) -> Result<Option<Known>, Errno> {
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

    pub(crate) fn read_link(&self, node: u64) -> Result<Vec<u8>, Errno> {
        let link = self.inodes.find(node)?;
        Ok(readlinkat(link, c"", Vec::with_capacity(256))?.into_bytes())
    }

    /// Makes something as the caller. The call gives no descriptor, so the name is looked up, and what
    /// it stands for must be what was made: by another way the name can be another's by now. ESTALE
    /// for that.
    fn make(
        &self,
        caller: &Header,
        name: &OsStr,
        umask: u32,
        asked: Asked<'_>,
    ) -> Result<Known, Errno> {
        self.stats.creates.add();
        let directory = self.inodes.find(caller.node)?;
        let before = Before::now();
        {
            let _caller = self.as_caller(caller, umask)?;
            asked.make(directory.as_fd(), name)?;
        }
        self.streams.drop_of(caller.node);
        let file = self
            .inodes
            .source()
            .look_up(directory.as_fd(), name)
            .map_err(|errno| if errno == Errno::NOENT { Errno::STALE } else { errno })?;
        let stat = asked.is(&file, &directory, (caller.uid, caller.gid), before)?;
        match self.inodes.know_new(file, &stat)? {
            (node, true) => Ok(Known { node, stat }),
            (known, false) => {
                self.forget(known, 1);
                Err(Errno::STALE)
            }
        }
    }

    pub(crate) fn make_node(
        &self,
        caller: &Header,
        name: &OsStr,
        (mode, umask): (u32, u32),
        device: u32,
    ) -> Result<Known, Errno> {
        let kind = FileType::from_raw_mode(mode);
        if kind == FileType::RegularFile {
            return self.make_file(caller, name, (mode, umask));
        }
        self.make(caller, name, umask, Asked::Node { kind, mode, device: device_from_fuse(device) })
    }

    /// A regular file can be made so that it is open, and is known by its descriptor.
    fn make_file(&self, caller: &Header, name: &OsStr, mode: (u32, u32)) -> Result<Known, Errno> {
        self.stats.creates.add();
        let file = self.open_new(caller, name, mode, OFlags::RDONLY)?;
        let stat = fstat(&file)?;
        let node = self.inodes.know_open(&file, &stat)?;
        Ok(Known { node, stat })
    }

    pub(crate) fn make_directory(
        &self,
        caller: &Header,
        name: &OsStr,
        (mode, umask): (u32, u32),
    ) -> Result<Known, Errno> {
        self.make(caller, name, umask, Asked::Directory { mode })
    }

    pub(crate) fn make_symlink(
        &self,
        caller: &Header,
        name: &OsStr,
        target: &OsStr,
    ) -> Result<Known, Errno> {
        self.make(caller, name, 0, Asked::Symlink { target })
    }

    pub(crate) fn link(&self, node: u64, parent: u64, name: &OsStr) -> Result<Known, Errno> {
        self.stats.creates.add();
        let (inode, directory) = (self.inodes.find(node)?, self.inodes.find(parent)?);
        {
            // The room that a directory takes is not from what the source reserves for root.
            let _nobodys = Opener::UNKNOWN.take()?;
            server::link(&inode, &directory, name)?;
        }
        self.streams.drop_of(parent);
        // What was linked is known, whatever the name stands for by now.
        let stat = fstat(&inode)?;
        self.inodes.know_again(node)?;
        Ok(Known { node, stat })
    }

    /// What a name stands for that is about to be removed: it may lose its last name.
    fn leaving(&self, directory: &Found, name: &OsStr) -> Option<OwnedFd> {
        let source = self.inodes.source();
        if source.handles { source.look_up(directory.as_fd(), name).ok() } else { None }
    }

    pub(crate) fn remove(&self, parent: u64, name: &OsStr, flags: AtFlags) -> Result<(), Errno> {
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
        caller: &Header,
        name: &OsStr,
        (new_parent, new_name): (u64, &OsStr),
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        self.stats.renames.add();
        let (from, to) = (self.inodes.find(caller.node)?, self.inodes.find(new_parent)?);
        let stays = flags.intersects(RenameFlags::NOREPLACE | RenameFlags::EXCHANGE);
        let leaving = if stays { None } else { self.leaving(&to, new_name) };
        {
            // The whiteout is the caller's.
            let _ids = if flags.contains(RenameFlags::WHITEOUT) {
                Some(self.as_caller(caller, 0)?)
            } else {
                Opener::UNKNOWN.take()?
            };
            renameat_with(&from, name, &to, new_name, flags)?;
        }
        self.streams.drop_of(caller.node);
        self.streams.drop_of(new_parent);
        if let Some(file) = leaving {
            self.inodes.pin(file);
        }
        Ok(())
    }
}
