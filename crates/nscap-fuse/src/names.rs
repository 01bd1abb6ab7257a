//! Names: looked up, made, removed, changed.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};

use nscap_linux::server;
use rustix::fs::{
    AtFlags, FileType, Mode, RenameFlags, Stat, fstat, mkdirat, mknodat, readlinkat, renameat_with,
    symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::attr::device_from_fuse;
use crate::inodes::Found;
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
        }
    }

    pub(crate) fn read_link(&self, node: u64) -> Result<Vec<u8>, Errno> {
        let link = self.inodes.find(node)?;
        Ok(readlinkat(link, c"", Vec::with_capacity(256))?.into_bytes())
    }

    /// Makes something as the caller. The kernel holds the directory until the reply, so that the
    /// name means what was made.
    fn make(
        &self,
        caller: &Header,
        name: &OsStr,
        umask: u32,
        make: impl FnOnce(&Found, &OsStr) -> Result<(), Errno>,
    ) -> Result<Known, Errno> {
        self.stats.creates.add();
        let directory = self.inodes.find(caller.node)?;
        {
            let _caller = self.as_caller(caller, umask)?;
            make(&directory, name)?;
        }
        self.streams.drop_of(caller.node);
        self.enter(directory.as_fd(), name)
    }

    pub(crate) fn make_node(
        &self,
        caller: &Header,
        name: &OsStr,
        (mode, umask): (u32, u32),
        device: u32,
    ) -> Result<Known, Errno> {
        let kind = FileType::from_raw_mode(mode);
        let permissions = Mode::from_raw_mode(mode & 0o7777);
        self.make(caller, name, umask, |directory, name| {
            mknodat(directory, name, kind, permissions, device_from_fuse(device))
        })
    }

    pub(crate) fn make_directory(
        &self,
        caller: &Header,
        name: &OsStr,
        (mode, umask): (u32, u32),
    ) -> Result<Known, Errno> {
        let permissions = Mode::from_raw_mode(mode & 0o7777);
        self.make(caller, name, umask, |directory, name| mkdirat(directory, name, permissions))
    }

    pub(crate) fn make_symlink(
        &self,
        caller: &Header,
        name: &OsStr,
        target: &OsStr,
    ) -> Result<Known, Errno> {
        self.make(caller, name, 0, |directory, name| symlinkat(target, directory, name))
    }

    pub(crate) fn link(&self, node: u64, parent: u64, name: &OsStr) -> Result<Known, Errno> {
        self.stats.creates.add();
        let (inode, directory) = (self.inodes.find(node)?, self.inodes.find(parent)?);
        server::link(&inode, &directory, name)?;
        self.streams.drop_of(parent);
        self.enter(directory.as_fd(), name)
    }

    /// What a name stands for, if that loses its last name with it.
    fn last_name(&self, directory: &Found, name: &OsStr) -> Option<(OwnedFd, Stat)> {
        if !self.inodes.source().handles {
            return None;
        }
        let file = self.inodes.source().look_up(directory.as_fd(), name).ok()?;
        let stat = fstat(&file).ok()?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        (is_directory || stat.st_nlink == 1).then_some((file, stat))
    }

    pub(crate) fn remove(&self, parent: u64, name: &OsStr, flags: AtFlags) -> Result<(), Errno> {
        self.stats.removes.add();
        let directory = self.inodes.find(parent)?;
        let last = self.last_name(&directory, name);
        unlinkat(&directory, name, flags)?;
        self.streams.drop_of(parent);
        if let Some((file, stat)) = last {
            self.inodes.pin(file, &stat);
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
        let last = if stays { None } else { self.last_name(&to, new_name) };
        {
            // The whiteout is the caller's.
            let _caller = if flags.contains(RenameFlags::WHITEOUT) {
                Some(self.as_caller(caller, 0)?)
            } else {
                None
            };
            renameat_with(&from, name, &to, new_name, flags)?;
        }
        self.streams.drop_of(caller.node);
        self.streams.drop_of(new_parent);
        if let Some((file, stat)) = last {
            self.inodes.pin(file, &stat);
        }
        Ok(())
    }
}
