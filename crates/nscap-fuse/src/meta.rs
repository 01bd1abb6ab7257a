//! Attributes of inodes: read and changed.

use std::os::fd::AsFd as _;

use fuser::{FileAttr, TimeOrNow};
use nscap_core::Operation;
use nscap_linux::server;
use rustix::fs::{AtFlags, Gid, Timestamps, Uid, chownat, fstatvfs, utimensat};
use rustix::io::Errno;

use crate::attr::to_set;
use crate::inodes::Found;
use crate::tree::Tree;

/// What is to change; what is `None` stays.
pub(crate) struct Change {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) atime: Option<TimeOrNow>,
    pub(crate) mtime: Option<TimeOrNow>,
}

impl Tree {
    pub(crate) fn get_attributes(&self, node: u64, handle: Option<u64>) -> Result<FileAttr, Errno> {
        self.stats.getattrs.add();
        match self.handle(handle) {
            Some(open) if open.node == node => self.look(node, &open.file),
            _ => self.look(node, self.inodes.find(node)?),
        }
    }

    /// Owner before mode, since a change of owner takes set-id bits away, and since nobody is to
    /// have them with the wrong owner; size before mode likewise; times last, since a change of
    /// size changes them.
    pub(crate) fn change(
        &self,
        node: u64,
        handle: Option<u64>,
        change: Change,
    ) -> Result<FileAttr, Errno> {
        self.stats.setattrs.add();
        let inode = self.inodes.find(node)?;
        if change.uid.is_some() || change.gid.is_some() {
            self.change_owner(node, &inode, change.uid, change.gid)?;
        }
        if let Some(size) = change.size {
            let open = self.handle(handle).filter(|open| open.node == node);
            self.set_size(node, open.as_deref(), &inode, size)?;
        }
        if let Some(mode) = change.mode {
            let _decided = self.keeping_set_id(mode)?;
            server::chmod(&inode, mode & 0o7777)?;
        }
        if change.atime.is_some() || change.mtime.is_some() {
            let times = Timestamps {
                last_access: to_set(change.atime),
                last_modification: to_set(change.mtime),
            };
            utimensat(&inode, c"", &times, AtFlags::EMPTY_PATH)?;
        }
        self.look(node, &inode)
    }

    fn change_owner(
        &self,
        node: u64,
        inode: &Found,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<(), Errno> {
        if [uid, gid].contains(&Some(u32::MAX)) {
            return Err(Errno::OVERFLOW);
        }
        let _change = if inode.regular {
            Some(self.caps.changing(inode.as_fd(), node, Operation::Chown)?)
        } else {
            None
        };
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        chownat(inode, c"", uid, gid, AtFlags::EMPTY_PATH)
    }

    pub(crate) fn statistics(&self) -> Result<rustix::fs::StatVfs, Errno> {
        fstatvfs(self.inodes.root())
    }
}
