// SPDX-License-Identifier: MIT OR Apache-2.0
//! Set-id bits and content, where the kernel leaves them to the server. FUSE takes a set-group-ID bit away
//! before a write only if the group may execute the file; other file systems take it also where it grants
//! nothing, if the task that writes is not in the group (inode(7)). And where the kernel does not ask
//! before a write it only says that the task has no CAP_FSETID.

use std::os::fd::AsFd;

use nscap_core::{Gid, Kgid, Kuid, Uid, UserNs as _, set_id_dropped};
use nscap_linux::Caller;
use nscap_linux::server::{self, FuseDevice};
use rustix::fs::{Stat, fstat};
use rustix::io::Errno;

use crate::tree::Tree;

pub(crate) const BITS: u32 = libc::S_ISUID | libc::S_ISGID;

/// Whether a mode has a set-group-ID bit that grants nothing.
pub(crate) fn is_marked(mode: u32) -> bool {
    mode & (libc::S_ISGID | libc::S_IXGRP) == libc::S_ISGID
}

impl Tree {
    /// A task is about to change the content of a file: the bit goes that the kernel leaves. What
    /// has gone.
    pub(crate) fn drop_mark(
        &self,
        tid: u32,
        node: u64,
        file: impl AsFd,
        device: &FuseDevice,
    ) -> Result<u32, Errno> {
        if !is_marked_file(&fstat(&file)?) {
            return Ok(0);
        }
        // An open is not in the kernel's order with chmod(2) and chown(2): a mode that is put together here
        // from one that was read before either would undo it. To find out who asks can take long.
        let caller = self.caps.caller(tid);
        let _alone = self.caps.by_itself(node);
        self.drop_mark_for(node, file, || caller, device)
    }

    /// The same before a write of a task, which the kernel puts in order with chmod(2) and chown(2) itself.
    pub(crate) fn drop_mark_at_write(
        &self,
        tid: u32,
        node: u64,
        file: impl AsFd,
        device: &FuseDevice,
    ) -> Result<(), Errno> {
        self.drop_mark_for(node, file, || self.caps.caller(tid), device).map(drop)
    }

    fn drop_mark_for(
        &self,
        node: u64,
        file: impl AsFd,
        caller: impl FnOnce() -> Result<Caller, Errno>,
        device: &FuseDevice,
    ) -> Result<u32, Errno> {
        let stat = fstat(&file)?;
        if !is_marked_file(&stat) {
            return Ok(0);
        }
        let dropped = dropped_by(caller(), &stat) & libc::S_ISGID;
        self.drop_bits(node, file, &stat, dropped, device).map(|()| dropped)
    }

    /// A task without CAP_FSETID is about to change the content of a file: all bits go that another
    /// file system would take.
    pub(crate) fn drop_set_id(
        &self,
        tid: u32,
        node: u64,
        file: impl AsFd,
        device: &FuseDevice,
    ) -> Result<(), Errno> {
        let stat = fstat(&file)?;
        // Which task it is matters for a mark only.
        let kept = if is_marked(stat.st_mode) {
            libc::S_ISGID & !dropped_by(self.caps.caller(tid), &stat)
        } else {
            0
        };
        self.drop_bits(node, file, &stat, stat.st_mode & BITS & !kept, device)
    }

    /// The kernel goes on with the mode that it knows unless it is told.
    fn drop_bits(
        &self,
        node: u64,
        file: impl AsFd,
        stat: &Stat,
        bits: u32,
        device: &FuseDevice,
    ) -> Result<(), Errno> {
        if bits != 0 {
            server::chmod(file, stat.st_mode & 0o7777 & !bits)?;
            device.forget_attributes(node);
        }
        Ok(())
    }
}

fn is_marked_file(stat: &Stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFREG && is_marked(stat.st_mode)
}

/// A task that cannot be identified leaves nothing.
fn dropped_by(caller: Result<Caller, Errno>, stat: &Stat) -> u32 {
    let Ok(caller) = caller else {
        return stat.st_mode & BITS;
    };
    let own = caller.lineage().namespaces().own_ns();
    let ids: Option<(Kuid, Kgid)> = Uid::new(stat.st_uid)
        .and_then(|uid| own.kuid(uid))
        .zip(Gid::new(stat.st_gid).and_then(|gid| own.kgid(gid)));
    ids.map_or(stat.st_mode & BITS, |ids| {
        set_id_dropped(stat.st_mode, ids, &caller.cred(), caller.groups())
    })
}
