// SPDX-License-Identifier: MIT OR Apache-2.0
//! Set-id bits that the kernel leaves to the server when content changes (inode(7)).
//!
//! FUSE drops a set-group-ID bit before a write only if the group may execute the file. Other file
//! systems also drop a *mark*, the bit on a file that the group may not execute, if the writer is
//! not in the group. And where the kernel does not ask before a write, it says only that the writer
//! has no CAP_FSETID.

use std::os::fd::AsFd;

use nscap_core::{Gid, Kgid, Kuid, Uid, UserNs as _, set_id_dropped};
use nscap_linux::Caller;
use nscap_linux::opath;
use nscap_linux::server::FuseDevice;
use rustix::fs::{Stat, fstat};
use rustix::io::Errno;

use crate::tree::Tree;

pub(crate) const BITS: u32 = libc::S_ISUID | libc::S_ISGID;

/// Which bits a change of content may drop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Candidates {
    /// A mark alone: the kernel drops the other bits.
    Mark,
    /// All set-id bits.
    All,
}

/// Whether a mode has a mark.
pub(crate) fn is_marked(mode: u32) -> bool {
    mode & (libc::S_ISGID | libc::S_IXGRP) == libc::S_ISGID
}

impl Tree {
    /// Drops a mark before a task changes the content of a file. Returns the bits that were
    /// dropped.
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
        // The kernel does not order an open with chmod(2) and chown(2). Without the lock, a mode
        // that was read before one of these would undo it. To identify the caller can take long, so
        // that comes first.
        let caller = self.caps.caller(tid);
        let _alone = self.caps.by_itself(node);
        self.drop_bits(node, file, Candidates::Mark, || caller, device)
    }

    /// The same before a write, which the kernel itself orders with chmod(2) and chown(2).
    pub(crate) fn drop_mark_at_write(
        &self,
        tid: u32,
        node: u64,
        file: impl AsFd,
        device: &FuseDevice,
    ) -> Result<(), Errno> {
        let caller = || self.caps.caller(tid);
        self.drop_bits(node, file, Candidates::Mark, caller, device).map(drop)
    }

    /// Drops the set-id bits that other file systems drop, before a write of a task without
    /// CAP_FSETID.
    pub(crate) fn drop_set_id(
        &self,
        tid: u32,
        node: u64,
        file: impl AsFd,
        device: &FuseDevice,
    ) -> Result<(), Errno> {
        let caller = || self.caps.caller(tid);
        self.drop_bits(node, file, Candidates::All, caller, device).map(drop)
    }

    /// Drops bits and returns them. The kernel keeps the mode that it knows, so it is told.
    fn drop_bits(
        &self,
        node: u64,
        file: impl AsFd,
        candidates: Candidates,
        caller: impl FnOnce() -> Result<Caller, Errno>,
        device: &FuseDevice,
    ) -> Result<u32, Errno> {
        let stat = fstat(&file)?;
        if candidates == Candidates::Mark && !is_marked_file(&stat) {
            return Ok(0);
        }
        let mut bits = match candidates {
            Candidates::Mark => libc::S_ISGID,
            Candidates::All => stat.st_mode & BITS,
        };
        // Whether a mark stays depends on the caller.
        if is_marked(stat.st_mode) && dropped_by(caller(), &stat) & libc::S_ISGID == 0 {
            bits &= !libc::S_ISGID;
        }
        if bits != 0 {
            opath::chmod(file, stat.st_mode & 0o7777 & !bits)?;
            device.forget_attributes(node);
        }
        Ok(bits)
    }
}

fn is_marked_file(stat: &Stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFREG && is_marked(stat.st_mode)
}

/// The bits that a write of this caller drops; all of them if the caller cannot be identified.
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
