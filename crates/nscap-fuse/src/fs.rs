//! The requests of the kernel, one by one: what each asks is said in the module that does it.
//!
//! No reply about extended attributes is ENOSYS, which would turn them off for the whole mount;
//! of the operations that fuser 0.18 does not know (TMPFILE, STATX, SYNCFS), the kernel gets ENOSYS
//! from it: O_TMPFILE is then EOPNOTSUPP to callers, and statx(2) gives what stat(2) does.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, FopenFlags, Generation,
    INodeNo, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::attr::nothing;
use crate::meta::Change;
use crate::tree::{Tree, with_buffer};
use crate::xattr::Value;

const GENERATION: Generation = Generation(0);

/// What fuser calls.
pub(crate) struct Served(pub(crate) std::sync::Arc<Tree>);

fn errno(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.raw_os_error())
}

impl Served {
    /// The tree, on a thread that is a worker.
    fn tree(&self) -> &Tree {
        self.0.begin();
        &self.0
    }

    fn entry(&self, made: Result<fuser::FileAttr, Errno>, reply: ReplyEntry) {
        match made {
            Ok(attributes) => reply.entry(&self.0.lifetime(), &attributes, GENERATION),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn attr(&self, made: Result<fuser::FileAttr, Errno>, reply: ReplyAttr) {
        match made {
            Ok(attributes) => reply.attr(&self.0.lifetime(), &attributes),
            Err(error) => reply.error(errno(error)),
        }
    }
}

fn empty(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(error)),
    }
}

fn written(done: Result<u32, Errno>, reply: ReplyWrite) {
    match done {
        Ok(count) => reply.written(count),
        Err(error) => reply.error(errno(error)),
    }
}

fn value(read: Result<Value, Errno>, reply: ReplyXattr) {
    match read {
        Ok(Value::Length(length)) => reply.size(length),
        Ok(Value::Bytes(bytes)) => reply.data(&bytes),
        Err(error) => reply.error(errno(error)),
    }
}

impl Filesystem for Served {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        self.0.negotiate(config)
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let tree = self.tree();
        match tree.look_up(parent.0, name) {
            Ok(Some(attributes)) => reply.entry(&tree.lifetime(), &attributes, GENERATION),
            Ok(None) => reply.entry(&tree.lifetime(), &nothing(), GENERATION),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn forget(&self, _: &Request, node: INodeNo, lookups: u64) {
        self.tree().forget(node.0, lookups);
    }

    fn getattr(&self, _: &Request, node: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        let handle = handle.map(|handle| handle.0);
        self.attr(self.tree().get_attributes(node.0, handle), reply);
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = Change { mode, uid, gid, size, atime, mtime };
        self.attr(self.tree().change(node.0, handle.map(|handle| handle.0), change), reply);
    }

    fn readlink(&self, _: &Request, node: INodeNo, reply: ReplyData) {
        match self.tree().read_link(node.0) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        device: u32,
        reply: ReplyEntry,
    ) {
        let made = self.tree().make_node(request, (parent.0, name), (mode, umask), device);
        self.entry(made, reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.tree().make_directory(request, (parent.0, name), (mode, umask));
        self.entry(made, reply);
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let made = self.tree().make_symlink(request, (parent.0, name), target.as_os_str());
        self.entry(made, reply);
    }

    fn link(&self, _: &Request, node: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(self.tree().link(node.0, parent.0, name), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.tree().remove(parent.0, name, AtFlags::empty()), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.tree().remove(parent.0, name, AtFlags::REMOVEDIR), reply);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = ((parent.0, name), (new_parent.0, new_name));
        empty(self.tree().rename(request, from, to, flags), reply);
    }

    fn open(&self, _: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.tree().open(node.0, flags.0, &|file| reply.open_backing(file)) {
            Ok(opens) => {
                let handle = FileHandle(opens.handle);
                match opens.backing {
                    Some(id) => reply.opened_passthrough(handle, opens.flags, &id),
                    None => reply.opened(handle, opens.flags),
                }
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let tree = self.tree();
        let at = (parent.0, name);
        match tree.create(request, at, (mode, umask), flags, &|file| reply.open_backing(file)) {
            Ok((attributes, opens)) => {
                let (handle, lifetime) = (FileHandle(opens.handle), tree.lifetime());
                match opens.backing {
                    Some(id) => reply.created_passthrough(
                        &lifetime,
                        &attributes,
                        GENERATION,
                        handle,
                        opens.flags,
                        &id,
                    ),
                    None => reply.created(&lifetime, &attributes, GENERATION, handle, opens.flags),
                }
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let tree = self.tree();
        with_buffer(size as usize, |buffer| match tree.read(handle.0, offset, buffer) {
            Ok(length) => reply.data(buffer.get(..length).unwrap_or_default()),
            Err(error) => reply.error(errno(error)),
        });
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        written(self.tree().write(handle.0, offset, data), reply);
    }

    /// Not sent (FOPEN_NOFLUSH): locks are the kernel's own, since nobody else has the source.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.tree().release(handle.0);
        reply.ok();
    }

    fn fsync(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        empty(self.tree().sync(handle.0, data_only), reply);
    }

    /// ENOSYS: the kernel need not ask again.
    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if self.0.options.reachable_ok {
            reply.opened(FileHandle(0), FopenFlags::empty());
        } else {
            reply.error(fuser::Errno::ENOSYS);
        }
    }

    fn readdir(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        match self.tree().list(node.0, offset, &mut reply) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        match self.tree().list_and_look_up(node.0, offset, &mut reply) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn fsyncdir(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        empty(self.tree().sync_directory(node.0, data_only), reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.tree().statistics() {
            Ok(all) => reply.statfs(
                all.f_blocks,
                all.f_bfree,
                all.f_bavail,
                all.f_files,
                all.f_ffree,
                u32::try_from(all.f_bsize).unwrap_or(4096),
                u32::try_from(all.f_namemax).unwrap_or(255),
                u32::try_from(all.f_frsize).unwrap_or(4096),
            ),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn setxattr(
        &self,
        request: &Request,
        node: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        empty(self.tree().set_xattr(node.0, name, value, flags, request.pid()), reply);
    }

    fn getxattr(
        &self,
        request: &Request,
        node: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        value(self.tree().get_xattr(node.0, name, size, request.pid()), reply);
    }

    fn listxattr(&self, request: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        value(self.tree().list_xattrs(node.0, size, request.pid()), reply);
    }

    fn removexattr(&self, request: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.tree().remove_xattr(node.0, name, request.pid()), reply);
    }

    /// The kernel decides (`default_permissions`).
    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }

    fn ioctl(
        &self,
        _: &Request,
        node: INodeNo,
        handle: FileHandle,
        _: IoctlFlags,
        request: u32,
        input: &[u8],
        room: u32,
        reply: ReplyIoctl,
    ) {
        match self.tree().flags_ioctl(node.0, handle.0, request, input, room) {
            Ok(output) => reply.ioctl(0, &output),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        empty(self.tree().allocate(handle.0, (offset, length), mode), reply);
    }

    fn lseek(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        match self.tree().seek(handle.0, offset, whence) {
            Ok(offset) => reply.offset(offset),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        from: FileHandle,
        from_offset: u64,
        _: INodeNo,
        to: FileHandle,
        to_offset: u64,
        length: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let (from, to) = ((from.0, from_offset), (to.0, to_offset));
        written(self.tree().copy_range(from, to, length), reply);
    }
}
