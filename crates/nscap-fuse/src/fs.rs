// SPDX-License-Identifier: MIT OR Apache-2.0
//! The requests of the kernel, one by one: what each asks is said in the module that does it.
//!
//! No reply about extended attributes is ENOSYS, which would turn them off for the whole mount.
//! What is not known here is ENOSYS, and the kernel does without: locks are its own, since nobody
//! else has the source.

use std::sync::atomic::Ordering;

use nscap_linux::server::FuseDevice;
use rustix::fs::{AtFlags, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::proto::abi;
use crate::proto::{Arguments, Header, Reply};
use crate::tree::{Known, Tree};
use crate::xattr::Value;

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Done {
    Reply,
    /// The kernel waits for none.
    NoReply,
    /// Nothing of the kind is known here: ENOSYS, and the kernel does without from now on.
    Unknown,
}

type Answer = Result<Done, Errno>;

/// Carries out a request. Everything of a reply but its header is in `reply` afterwards.
pub(crate) fn carry_out(
    tree: &Tree,
    device: &FuseDevice,
    header: &Header,
    arguments: Arguments<'_>,
    reply: &mut Reply,
) -> Answer {
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
    fn carry_out(&self, mut it: Arguments<'_>, reply: &mut Reply) -> Answer {
        let (tree, node) = (self.tree, self.node);
        match self.header.opcode {
            abi::LOOKUP => match tree.look_up(node, it.name()?)? {
                Some(known) => self.entry(&known, reply),
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
            abi::GETATTR => self.get_attributes(it, reply)?,
            abi::STATX => self.get_more_attributes(it, reply)?,
            abi::SETATTR => {
                let mut change = it.set_attr()?;
                if change.size.is_some() {
                    // The mode is then what the kernel leaves of it.
                    let gone = self.drop_mark(node)?;
                    change.mode = change.mode.map(|mode| mode & !gone);
                }
                let stat = tree.change(node, &change)?;
                reply.attr(tree.inodes.shown(node), &stat, tree.lifetime_of(node));
            }
            abi::READLINK => {
                reply.data(&tree.read_link(node)?);
            }
            abi::SYMLINK | abi::MKNOD | abi::MKDIR | abi::LINK => self.make(it, reply)?,
            abi::UNLINK => tree.remove(node, it.name()?, AtFlags::empty())?,
            abi::RMDIR => tree.remove(node, it.name()?, AtFlags::REMOVEDIR)?,
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
                tree.sync(node, it.u32()? & abi::FSYNC_FDATASYNC != 0)?;
            }
            abi::FSYNCDIR => {
                it.skip(8)?;
                tree.sync_directory(node, it.u32()? & abi::FSYNC_FDATASYNC != 0)?;
            }
            abi::SYNCFS => tree.sync_all()?,
            abi::STATFS => reply.statfs(&tree.statistics()?),
            abi::SETXATTR => {
                let extended = tree.extended_setxattr.load(Ordering::Relaxed);
                tree.set_xattr(node, &it.setting(extended)?, self.header.into())?;
            }
            abi::GETXATTR | abi::LISTXATTR => self.read_xattrs(it, reply)?,
            abi::REMOVEXATTR => tree.remove_xattr(node, it.string()?, self.header.into())?,
            // No handle is needed, so that the kernel need not ask again; unless others change
            // the source: then what is cached of a directory lasts from open to open.
            abi::OPENDIR if tree.options.reachable_ok => {
                reply.data(&[0; 16]);
            }
            abi::READDIR | abi::READDIRPLUS => self.list(it, reply)?,
            abi::FALLOCATE => {
                let (handle, offset, length) = (it.u64()?, it.u64()?, it.u64()?);
                self.drop_mark(node)?;
                tree.allocate(handle, (offset, length), it.u32()?)?;
            }
            abi::LSEEK => {
                it.skip(8)?;
                let (offset, whence) = (it.u64()?, it.u32()?);
                reply.u64(tree.seek(node, offset, whence)?);
            }
            abi::COPY_FILE_RANGE | abi::COPY_FILE_RANGE_64 => self.copy_range(it, reply)?,
            abi::IOCTL => self.ioctl(it, reply)?,
            // Nothing is buffered; the kernel decides about access itself.
            abi::FLUSH | abi::RELEASEDIR | abi::ACCESS => {}
            // The end of the connection follows; what the server itself asked for.
            abi::DESTROY | abi::NOTIFY_REPLY => {}
            _ => return Ok(Done::Unknown),
        }
        Ok(Done::Reply)
    }

    fn entry(&self, known: &Known, reply: &mut Reply) {
        reply.entry(known.node, &known.stat, self.tree.lifetimes(known.node));
    }

    /// The caller is about to change the content of an inode (X).
    fn drop_mark(&self, node: u64) -> Result<u32, Errno> {
        let inode = self.tree.inodes.find(node)?;
        self.tree.drop_mark(self.header.tid, node, inode, self.device)
    }

    fn get_attributes(&self, mut it: Arguments<'_>, reply: &mut Reply) -> Result<(), Errno> {
        it.skip(16)?;
        let lifetime = self.tree.lifetime_of_next(self.node);
        let stat = self.tree.get_attributes(self.node)?;
        reply.attr(self.tree.inodes.shown(self.node), &stat, lifetime);
        Ok(())
    }

    fn get_more_attributes(&self, mut it: Arguments<'_>, reply: &mut Reply) -> Result<(), Errno> {
        it.skip(16)?;
        let (flags, mask) = (it.u32()?, it.u32()?);
        let lifetime = self.tree.lifetime_of_next(self.node);
        let stat = self.tree.get_more_attributes(self.node, flags, mask)?;
        reply.statx(self.tree.inodes.shown(self.node), &stat, lifetime);
        Ok(())
    }

    fn make(&self, mut it: Arguments<'_>, reply: &mut Reply) -> Result<(), Errno> {
        let (tree, caller) = (self.tree, self.header);
        let known = match caller.opcode {
            abi::SYMLINK => {
                let name = it.name()?;
                tree.make_symlink(caller, name, it.string()?)?
            }
            abi::MKNOD => {
                let (mode, device, umask) = (it.u32()?, it.u32()?, it.u32()?);
                it.skip(4)?;
                tree.make_node(caller, it.name()?, (mode, umask), device)?
            }
            abi::MKDIR => {
                let (mode, umask) = (it.u32()?, it.u32()?);
                tree.make_directory(caller, it.name()?, (mode, umask))?
            }
            _ => {
                let node = it.u64()?;
                tree.link(node, self.node, it.name()?)?
            }
        };
        self.entry(&known, reply);
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
        let (tree, caller, device) = (self.tree, self.header, self.device);
        let flags = OFlags::from_bits_retain(it.u32()?);
        if caller.opcode == abi::OPEN {
            reply.open(tree.open(caller, flags, device)?);
            return Ok(());
        }
        let mode = (it.u32()?, it.u32()?);
        it.skip(4)?;
        let (known, opens) = if caller.opcode == abi::TMPFILE {
            tree.create_nameless(caller, mode, flags, device)?
        } else {
            tree.create(caller, it.name()?, mode, flags, device)?
        };
        self.entry(&known, reply);
        reply.open(opens);
        Ok(())
    }

    fn write(&self, mut it: Arguments<'_>, reply: &mut Reply) -> Result<(), Errno> {
        let written = self.tree.write(self.header.tid, &it.writing()?, self.device)?;
        reply.u32(written).u32(0);
        Ok(())
    }

    fn read_xattrs(&self, mut it: Arguments<'_>, reply: &mut Reply) -> Result<(), Errno> {
        let size = it.u32()?;
        it.skip(4)?;
        let tid = self.header.tid;
        let value = if self.header.opcode == abi::GETXATTR {
            self.tree.get_xattr(self.node, it.string()?, size, tid)?
        } else {
            self.tree.list_xattrs(self.node, size, tid)?
        };
        match value {
            Value::Length(length) => reply.u32(length).u32(0),
            Value::Bytes(bytes) => reply.data(&bytes),
        };
        Ok(())
    }

    fn list(&self, mut it: Arguments<'_>, reply: &mut Reply) -> Result<(), Errno> {
        it.skip(8)?;
        let offset = it.u64()?;
        let mut listing = reply.listing(it.u32()?);
        if self.header.opcode == abi::READDIRPLUS {
            self.tree.list_and_look_up(self.node, offset, &mut listing)
        } else {
            self.tree.list(self.node, offset, &mut listing)
        }
    }

    fn copy_range(&self, mut it: Arguments<'_>, reply: &mut Reply) -> Result<(), Errno> {
        it.skip(8)?;
        let from = (self.node, it.u64()?);
        self.drop_mark(it.u64()?)?;
        let to = (it.u64()?, it.u64()?);
        let copied = self.tree.copy_range(from, to, it.u64()?)?;
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
        let output = tree.flags_ioctl(self.node, request, input, out_size, self.device)?;
        reply.u32(0).u32(0).u32(0).u32(0).data(&output);
        Ok(())
    }
}
