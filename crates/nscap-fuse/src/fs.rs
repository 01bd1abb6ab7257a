// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dispatch: one FUSE request to the operation of [`Tree`] with the same name.
//!
//! No reply about extended attributes is ENOSYS: that would turn them off for the whole mount. An
//! unknown opcode is ENOSYS, and the kernel goes on without the operation. File locks are such a
//! case: the kernel keeps them itself, and no other task uses the source.

use std::sync::atomic::Ordering;

use nscap_linux::server::FuseDevice;
use rustix::fs::{OFlags, RenameFlags};
use rustix::io::Errno;

use crate::proto::abi;
use crate::proto::{Arguments, Header, Reply};
use crate::tree::{Entry, Tree};
use crate::xattr::Value;

/// Whether a request has a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Done {
    Reply,
    /// The kernel expects no reply.
    NoReply,
    /// Unknown opcode: ENOSYS, and the kernel does not ask again.
    Unknown,
}

/// Carries out a request. Afterwards `reply` holds the reply without its header.
pub(crate) fn carry_out(
    tree: &Tree,
    device: &FuseDevice,
    header: &Header,
    arguments: Arguments<'_>,
    reply: &mut Reply,
) -> Result<Done, Errno> {
    let request = Request { tree, device, header, node: header.node };
    request.carry_out(arguments, reply)
}

struct Request<'t> {
    tree: &'t Tree,
    device: &'t FuseDevice,
    header: &'t Header,
    node: u64,
}

impl Request<'_> {
    fn carry_out(&self, mut it: Arguments<'_>, reply: &mut Reply) -> Result<Done, Errno> {
        let (tree, node) = (self.tree, self.node);
        match self.header.opcode {
            abi::LOOKUP => match tree.lookup(node, it.name()?)? {
                Some(entry) => self.entry(&entry, reply),
                None => reply.no_entry(tree.lifetime()),
            },
            abi::FORGET => {
                tree.forget(node, it.u64()?);
                return Ok(Done::NoReply);
            }
            abi::BATCH_FORGET => {
                let count = it.u32()?;
                it.skip(4)?;
                for _ in 0..count {
                    tree.forget(it.u64()?, it.u64()?);
                }
                return Ok(Done::NoReply);
            }
            abi::GETATTR => self.getattr(it, reply)?,
            abi::STATX => self.statx(it, reply)?,
            abi::SETATTR => {
                let mut change = it.set_attr()?;
                if change.size.is_some() {
                    // The mode in the request still has the bit that was just dropped.
                    let gone = self.drop_mark(node)?;
                    change.mode = change.mode.map(|mode| mode & !gone);
                }
                let stat = tree.setattr(node, &change)?;
                reply.attr(tree.inodes.shown(node), &stat, tree.lifetime_of(node));
            }
            abi::READLINK => {
                reply.data(&tree.readlink(node)?);
            }
            abi::SYMLINK | abi::MKNOD | abi::MKDIR | abi::LINK => self.make(it, reply)?,
            abi::UNLINK => tree.unlink(node, it.name()?)?,
            abi::RMDIR => tree.rmdir(node, it.name()?)?,
            abi::RENAME | abi::RENAME2 => self.rename(it)?,
            abi::OPEN | abi::CREATE | abi::TMPFILE => self.open(it, reply)?,
            abi::READ => {
                let (handle, offset, size) = (it.u64()?, it.u64()?, it.u32()?);
                reply.fill(size as usize, |buffer| tree.read(handle, offset, buffer))?;
            }
            abi::WRITE => self.write(it, reply)?,
            abi::RELEASE => tree.release(node, it.u64()?),
            abi::FSYNC => {
                it.skip(8)?;
                tree.fsync(node, it.u32()? & abi::FSYNC_FDATASYNC != 0)?;
            }
            abi::FSYNCDIR => {
                it.skip(8)?;
                tree.fsyncdir(node, it.u32()? & abi::FSYNC_FDATASYNC != 0)?;
            }
            abi::SYNCFS => tree.syncfs()?,
            abi::STATFS => reply.statfs(&tree.statfs()?),
            abi::SETXATTR => {
                let extended = tree.extended_setxattr.load(Ordering::Relaxed);
                tree.setxattr(node, &it.setting(extended)?, self.header.into())?;
            }
            abi::GETXATTR | abi::LISTXATTR => self.getxattr(it, reply)?,
            abi::REMOVEXATTR => tree.removexattr(node, it.string()?, self.header.into())?,
            // Otherwise ENOSYS: the kernel then opens directories without a request. Where other
            // tasks may change the source, each open makes the kernel drop its cached entries.
            abi::OPENDIR if tree.options.reachable_ok => {
                reply.data(&[0; 16]);
            }
            abi::READDIR | abi::READDIRPLUS => self.readdir(it, reply)?,
            abi::FALLOCATE => {
                let (handle, offset, length) = (it.u64()?, it.u64()?, it.u64()?);
                self.drop_mark(node)?;
                tree.fallocate(handle, (offset, length), it.u32()?)?;
            }
            abi::LSEEK => {
                it.skip(8)?;
                let (offset, whence) = (it.u64()?, it.u32()?);
                reply.u64(tree.lseek(node, offset, whence)?);
            }
            abi::COPY_FILE_RANGE | abi::COPY_FILE_RANGE_64 => self.copy_file_range(it, reply)?,
            abi::IOCTL => self.ioctl(it, reply)?,
            // The server buffers nothing, and the kernel checks access itself.
            abi::FLUSH | abi::RELEASEDIR | abi::ACCESS => {}
            // The connection ends after DESTROY; NOTIFY_REPLY answers a notification of the server.
            abi::DESTROY | abi::NOTIFY_REPLY => {}
            _ => return Ok(Done::Unknown),
        }
        Ok(Done::Reply)
    }

    fn entry(&self, entry: &Entry, reply: &mut Reply) {
        reply.entry(entry.node, &entry.stat, self.tree.lifetimes(entry.node));
    }

    /// Drops set-id bits before the caller changes the content of an inode (X).
    fn drop_mark(&self, node: u64) -> Result<u32, Errno> {
        let inode = self.tree.inodes.find(node)?;
        self.tree.drop_mark(self.header.tid, node, inode, self.device)
    }

    fn getattr(&self, mut it: Arguments<'_>, reply: &mut Reply) -> Result<(), Errno> {
        it.skip(16)?;
        let lifetime = self.tree.lifetime_of_next(self.node);
        let stat = self.tree.getattr(self.node)?;
        reply.attr(self.tree.inodes.shown(self.node), &stat, lifetime);
        Ok(())
    }

    fn statx(&self, mut it: Arguments<'_>, reply: &mut Reply) -> Result<(), Errno> {
        it.skip(16)?;
        let (flags, mask) = (it.u32()?, it.u32()?);
        let lifetime = self.tree.lifetime_of_next(self.node);
        let stat = self.tree.statx(self.node, flags, mask)?;
        reply.statx(self.tree.inodes.shown(self.node), &stat, lifetime);
        Ok(())
    }

    fn make(&self, mut it: Arguments<'_>, reply: &mut Reply) -> Result<(), Errno> {
        let (tree, header) = (self.tree, self.header);
        let entry = match header.opcode {
            abi::SYMLINK => {
                let name = it.name()?;
                tree.symlink(header, name, it.string()?)?
            }
            abi::MKNOD => {
                let (mode, device, umask) = (it.u32()?, it.u32()?, it.u32()?);
                it.skip(4)?;
                tree.mknod(header, it.name()?, (mode, umask), device)?
            }
            abi::MKDIR => {
                let (mode, umask) = (it.u32()?, it.u32()?);
                tree.mkdir(header, it.name()?, (mode, umask))?
            }
            _ => {
                let node = it.u64()?;
                tree.link(node, self.node, it.name()?)?
            }
        };
        self.entry(&entry, reply);
        Ok(())
    }

    fn rename(&self, mut it: Arguments<'_>) -> Result<(), Errno> {
        let to = it.u64()?;
        let mut flags = RenameFlags::empty();
        if self.header.opcode == abi::RENAME2 {
            flags = RenameFlags::from_bits_retain(it.u32()?);
            it.skip(4)?;
        }
        let (name, new_name) = (it.name()?, it.name()?);
        self.tree.rename(self.header, name, (to, new_name), flags)
    }

    fn open(&self, mut it: Arguments<'_>, reply: &mut Reply) -> Result<(), Errno> {
        let (tree, header, device) = (self.tree, self.header, self.device);
        let flags = OFlags::from_bits_retain(it.u32()?);
        if header.opcode == abi::OPEN {
            reply.open(tree.open(header, flags, device)?);
            return Ok(());
        }
        let mode = (it.u32()?, it.u32()?);
        it.skip(4)?;
        let (entry, opens) = if header.opcode == abi::TMPFILE {
            tree.tmpfile(header, mode, flags, device)?
        } else {
            tree.create(header, it.name()?, mode, flags, device)?
        };
        self.entry(&entry, reply);
        reply.open(opens);
        Ok(())
    }

    fn write(&self, mut it: Arguments<'_>, reply: &mut Reply) -> Result<(), Errno> {
        let written = self.tree.write(self.header.tid, &it.writing()?, self.device)?;
        reply.u32(written).u32(0);
        Ok(())
    }

    fn getxattr(&self, mut it: Arguments<'_>, reply: &mut Reply) -> Result<(), Errno> {
        let size = it.u32()?;
        it.skip(4)?;
        let tid = self.header.tid;
        let value = if self.header.opcode == abi::GETXATTR {
            self.tree.getxattr(self.node, it.string()?, size, tid)?
        } else {
            self.tree.listxattr(self.node, size, tid)?
        };
        match value {
            Value::Length(length) => reply.u32(length).u32(0),
            Value::Bytes(bytes) => reply.data(&bytes),
        };
        Ok(())
    }

    fn readdir(&self, mut it: Arguments<'_>, reply: &mut Reply) -> Result<(), Errno> {
        it.skip(8)?;
        let offset = it.u64()?;
        let mut listing = reply.listing(it.u32()?);
        if self.header.opcode == abi::READDIRPLUS {
            self.tree.readdirplus(self.node, offset, &mut listing)
        } else {
            self.tree.readdir(self.node, offset, &mut listing)
        }
    }

    fn copy_file_range(&self, mut it: Arguments<'_>, reply: &mut Reply) -> Result<(), Errno> {
        it.skip(8)?;
        let from = (self.node, it.u64()?);
        self.drop_mark(it.u64()?)?;
        let to = (it.u64()?, it.u64()?);
        let copied = self.tree.copy_file_range(from, to, it.u64()?)?;
        if self.header.opcode == abi::COPY_FILE_RANGE_64 {
            reply.u64(copied);
        } else {
            reply.u32(u32::try_from(copied).unwrap_or(u32::MAX)).u32(0);
        }
        Ok(())
    }

    fn ioctl(&self, mut it: Arguments<'_>, reply: &mut Reply) -> Result<(), Errno> {
        it.skip(12)?;
        let request = it.u32()?;
        it.skip(8)?;
        let (in_size, out_size) = (it.u32()?, it.u32()?);
        let input = it.take(in_size as usize)?;
        let tree = self.tree;
        let output = tree.ioctl(self.node, request, input, out_size, self.device)?;
        reply.u32(0).u32(0).u32(0).u32(0).data(&output);
        Ok(())
    }
}
