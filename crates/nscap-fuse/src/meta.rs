// SPDX-License-Identifier: MIT OR Apache-2.0
//! GETATTR, STATX, SETATTR, STATFS, SYNCFS.

use std::os::fd::AsFd as _;

use nscap_core::Operation;
use nscap_linux::opath;
use rustix::fs::{
    AtFlags, Gid, Stat, StatVfs, Statx, StatxFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chownat,
    fstat, fstatvfs, statx, utimensat,
};
use rustix::io::Errno;

use crate::inodes::InodeRef;
use crate::proto::SetAttr;
use crate::setid;
use crate::tree::Tree;

impl Tree {
    pub(crate) fn getattr(&self, node: u64) -> Result<Stat, Errno> {
        self.stats.getattrs.add();
        fstat(self.inodes.find(node)?)
    }

    /// Also the birth time and the attribute flags, which GETATTR does not carry.
    pub(crate) fn statx(&self, node: u64, flags: u32, mask: u32) -> Result<Statx, Errno> {
        self.stats.getattrs.add();
        let sync = AtFlags::STATX_FORCE_SYNC | AtFlags::STATX_DONT_SYNC;
        let flags = AtFlags::EMPTY_PATH | (AtFlags::from_bits_retain(flags) & sync);
        // The kernel uses the basic attributes, whatever the mask says.
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::from_bits_retain(mask);
        statx(
            self.inodes.find(node)?,
            c"",
            flags,
            wanted & (StatxFlags::BASIC_STATS | StatxFlags::BTIME),
        )
    }

    /// Changes the owner before the mode: chown(2) drops set-id bits, and a file must never have
    /// them with the wrong owner. Changes the size before the mode for the same reason. Sets times
    /// last, since a change of size changes them.
    pub(crate) fn setattr(&self, node: u64, change: &SetAttr) -> Result<Stat, Errno> {
        self.stats.setattrs.add();
        let inode = self.inodes.find(node)?;
        if change.uid.is_some() || change.gid.is_some() || change.is_of_nothing() {
            self.chown(node, &inode, change.uid, change.gid)?;
        }
        if let Some(size) = change.size {
            let open = self.handle(node, change.handle);
            self.set_size(node, open.as_deref(), &inode, size)?;
        }
        if let Some(mode) = change.mode {
            let _change = inode.regular.then(|| self.caps.begin(node));
            let mode = if change.is_chmod() { mode } else { without_new_set_id(&inode, mode)? };
            opath::chmod(&inode, mode & 0o7777)?;
        }
        if change.atime.is_some() || change.mtime.is_some() {
            let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
            let times = Timestamps {
                last_access: change.atime.unwrap_or(omit),
                last_modification: change.mtime.unwrap_or(omit),
            };
            utimensat(&inode, c"", &times, AtFlags::EMPTY_PATH)?;
        }
        fstat(&inode)
    }

    fn chown(
        &self,
        node: u64,
        inode: &InodeRef,
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

    pub(crate) fn statfs(&self) -> Result<StatVfs, Errno> {
        fstatvfs(self.inodes.root())
    }

    pub(crate) fn syncfs(&self) -> Result<(), Errno> {
        rustix::fs::syncfs(self.inodes.source().root())
    }
}

/// Beside an owner or a size, the kernel sends the mode that it read before without set-id bits
/// that go. A bit that went meanwhile does not come back.
fn without_new_set_id(inode: &InodeRef, mode: u32) -> Result<u32, Errno> {
    Ok(mode & (!setid::BITS | fstat(inode)?.st_mode))
}
