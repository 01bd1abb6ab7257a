// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file system that does nothing: one directory in which every name whose first letter is f is an
//! empty file, and `program` is a program, answered from constants. Its round trip is the least
//! that any FUSE server takes.
//!
//! usage: bench-null TARGET PROGRAM
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, ReplyOpen, ReplyXattr,
    Request, SessionACL,
};

/// As long as nscap lets the kernel keep what it was told.
const LONG: Duration = Duration::from_secs(86_400);
const THREADS: usize = 2;

const PROGRAM: INodeNo = INodeNo(2);

struct Nothing {
    program: Vec<u8>,
}

impl Nothing {
    fn attr(&self, ino: INodeNo) -> FileAttr {
        let root = ino == INodeNo::ROOT;
        FileAttr {
            ino,
            size: if ino == PROGRAM { self.program.len() as u64 } else { 0 },
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if root { FileType::Directory } else { FileType::RegularFile },
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Nothing {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        // Different names are different inodes, or the kernel would take them for hard links.
        let number = name.as_bytes().iter().fold(7u64, |n, byte| n * 31 + u64::from(*byte));
        match name.as_bytes() {
            [b'f', ..] => {
                reply.entry(&LONG, &self.attr(INodeNo(number | 1 << 60)), Generation(0));
            }
            b"program" => reply.entry(&LONG, &self.attr(PROGRAM), Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&LONG, &self.attr(ino));
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::NO_XATTR);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.program.get(offset..));
        let rest = rest.unwrap_or_default();
        reply.data(rest.get(..size as usize).unwrap_or(rest));
    }
}

fn main() -> std::io::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let (Some(target), Some(program)) = (args.next(), args.next()) else {
        return Err(std::io::Error::other("usage: bench-null TARGET PROGRAM"));
    };
    let program = std::fs::read(program)?;
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("null".into()),
        MountOption::DefaultPermissions,
        MountOption::Suid,
    ];
    config.acl = SessionACL::All;
    config.n_threads = Some(THREADS);
    config.clone_fd = true;
    fuser::mount(Nothing { program }, target, &config)
}
