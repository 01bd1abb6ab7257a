// SPDX-License-Identifier: MIT OR Apache-2.0
//! GETXATTR, LISTXATTR, SETXATTR, REMOVEXATTR. The rules decide about the two capability
//! attributes; all others are the source's.

use std::ffi::{CString, OsStr};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;

use nscap_core::{Capability, SetFlags};
use nscap_linux::opath;
use nscap_linux::server::{FsIds, Lowered};
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::caps::{Asker, CapName};
use crate::numbers::ROOT;
use crate::opener::Opener;
use crate::proto::Setting;
use crate::stats::STATS_NAME;
use crate::tree::{SET_ID, Tree, with_buffer};

/// The longest value and the longest list (XATTR_SIZE_MAX, XATTR_LIST_MAX), in bytes.
const MAX: usize = 65_536;
const TRUSTED: &[u8] = b"trusted.";
const SECURITY: &[u8] = b"security.";

/// A value or a list that was read.
pub(crate) enum Value {
    /// Its length, in bytes, for a caller that asked with size 0.
    Length(u32),
    Bytes(Vec<u8>),
}

/// The reply for a caller with a buffer of `size` bytes; 0 asks for the length. ERANGE if it is too
/// small.
fn fit(whole: Vec<u8>, size: u32) -> Result<Value, Errno> {
    match u32::try_from(whole.len()).map_err(|_| Errno::TOOBIG)? {
        length if size == 0 => Ok(Value::Length(length)),
        length if length > size => Err(Errno::RANGE),
        _ => Ok(Value::Bytes(whole)),
    }
}

/// An attribute's name on the source. The VFS does not check `system.*` names, and the source would
/// trust the server: so of these only the POSIX ACLs pass, which the VFS does check. EOPNOTSUPP for
/// the others.
fn source_name(name: &OsStr) -> Result<CString, Errno> {
    let lists = [&b"system.posix_acl_access"[..], b"system.posix_acl_default"];
    if name.as_bytes().starts_with(b"system.") && !lists.contains(&name.as_bytes()) {
        return Err(Errno::OPNOTSUPP);
    }
    CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)
}

impl Tree {
    pub(crate) fn getxattr(
        &self,
        node: u64,
        name: &OsStr,
        size: u32,
        tid: u32,
    ) -> Result<Value, Errno> {
        self.stats.getxattrs.add();
        if node == ROOT && name == STATS_NAME {
            return fit(self.counters(tid)?, size);
        }
        let inode = self.inodes.find(node)?;
        match CapName::of(name.as_bytes()) {
            Some(name) if inode.regular => fit(self.caps.get(inode.as_fd(), name, tid)?, size),
            // Only regular files can be executed.
            Some(_) => Err(Errno::NODATA),
            None => with_buffer((size as usize).min(MAX), |buffer| {
                let length = opath::getxattr(&inode, &source_name(name)?, buffer)?;
                if size == 0 {
                    return Ok(Value::Length(u32::try_from(length).map_err(|_| Errno::TOOBIG)?));
                }
                Ok(Value::Bytes(buffer.get(..length).unwrap_or_default().to_vec()))
            }),
        }
    }

    /// The counters, for a caller with CAP_SYS_ADMIN over the server's namespace; otherwise
    /// ENODATA.
    fn counters(&self, tid: u32) -> Result<Vec<u8>, Errno> {
        let caller = self.caps.caller(tid).map_err(|errno| match errno {
            Errno::PERM => Errno::NODATA,
            errno => errno,
        })?;
        let ours = caller.lineage().namespaces().own_ns();
        let administers = caller.cred().has_cap_over(Capability::SysAdmin, ours);
        administers.then(|| self.stats.snapshot().to_value().into_bytes()).ok_or(Errno::NODATA)
    }

    pub(crate) fn listxattr(&self, node: u64, size: u32, tid: u32) -> Result<Value, Errno> {
        self.stats.listxattrs.add();
        let inode = self.inodes.find(node)?;
        let mut names = with_buffer(MAX, |buffer| {
            let length = opath::listxattr(&inode, buffer)?;
            Ok::<_, Errno>(buffer.get(..length).unwrap_or_default().to_vec())
        })?;
        // The source shows `trusted.*` names to the server, which has CAP_SYS_ADMIN.
        if names.split(|byte| *byte == 0).any(|name| name.starts_with(TRUSTED))
            && !self.may_see_trusted(tid)?
        {
            names = names
                .split_inclusive(|byte| *byte == 0)
                .filter(|name| !name.starts_with(TRUSTED))
                .flatten()
                .copied()
                .collect();
        }
        if inode.regular {
            names = self.caps.list(inode.as_fd(), &names, tid)?;
        }
        fit(names, size)
    }

    /// CAP_SYS_ADMIN in the initial namespace, as the kernel's file systems require.
    fn may_see_trusted(&self, tid: u32) -> Result<bool, Errno> {
        match self.caps.caller(tid) {
            Ok(caller) => {
                let cred = caller.cred();
                Ok(cred.effective.has(Capability::SysAdmin) && cred.ns.is_initial())
            }
            Err(Errno::PERM) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    pub(crate) fn setxattr(
        &self,
        node: u64,
        setting: &Setting<'_>,
        asker: Asker,
    ) -> Result<(), Errno> {
        let Setting { name, value, flags, kill_set_group_id } = *setting;
        self.stats.setxattrs.add();
        let inode = self.inodes.find(node)?;
        let flags = XattrFlags::from_bits_retain(flags);
        match CapName::of(name.as_bytes()) {
            Some(name) if inode.regular => {
                let flags = SetFlags {
                    create: flags.contains(XattrFlags::CREATE),
                    replace: flags.contains(XattrFlags::REPLACE),
                };
                self.caps.set(inode.as_fd(), node, name, value, flags, asker)
            }
            Some(_) => Err(Errno::OPNOTSUPP),
            None => {
                self.may_change(name, asker)?;
                // As no user: the value takes no blocks that the source reserves for root.
                let _unprivileged = Opener::UNKNOWN.take()?;
                let _decided = killing_set_group_id(kill_set_group_id)?;
                opath::setxattr(&inode, &source_name(name)?, value, flags)
            }
        }
    }

    pub(crate) fn removexattr(&self, node: u64, name: &OsStr, asker: Asker) -> Result<(), Errno> {
        self.stats.removexattrs.add();
        let inode = self.inodes.find(node)?;
        match CapName::of(name.as_bytes()) {
            Some(name) if inode.regular => self.caps.remove(inode.as_fd(), node, name, asker),
            Some(_) => Err(Errno::NODATA),
            None => {
                self.may_change(name, asker)?;
                opath::removexattr(&inode, &source_name(name)?)
            }
        }
    }

    /// EPERM if the caller may not change this name. Every kernel itself checks `trusted.*`, by
    /// CAP_SYS_ADMIN in the initial namespace; and overlayfs uses those names with its mounter's
    /// credentials.
    fn may_change(&self, name: &OsStr, asker: Asker) -> Result<(), Errno> {
        match name.as_bytes().starts_with(SECURITY) {
            true => self.caps.may_change_security(asker),
            false => Ok(()),
        }
    }
}

/// An ACL that is set by a task outside the file's group drops the set-group-ID bit (acl(5),
/// chmod(2)); the request says when. The source decides by the server's own ids, so these are of no
/// group meanwhile.
fn killing_set_group_id(kill: bool) -> Result<Option<(Lowered, FsIds)>, Errno> {
    const NO_GROUP: u32 = u32::MAX - 1;
    if !kill {
        return Ok(None);
    }
    let own = rustix::process::geteuid().as_raw();
    let lowered = Lowered::new(SET_ID)?;
    // In a namespace that does not map this gid the server's own gid stays.
    let ids = FsIds::take(own, NO_GROUP)
        .or_else(|_| FsIds::take(own, rustix::process::getegid().as_raw()))?;
    Ok(Some((lowered, ids)))
}
