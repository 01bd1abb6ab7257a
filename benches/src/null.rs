//! A file system that does nothing: one directory in which every name whose first letter is f is an
//! empty file, answered from constants. Its round trip is the least that any FUSE server takes.
//!
//! usage: bench-null TARGET

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, MountOption,
    ReplyAttr, ReplyEntry, ReplyXattr, Request, SessionACL,
};

/// As long as nscap lets the kernel keep what it was told.
const LONG: Duration = Duration::from_secs(86_400);
const THREADS: usize = 2;

struct Nothing;

fn attr(ino: INodeNo) -> FileAttr {
    let root = ino == INodeNo::ROOT;
    FileAttr {
        ino,
        size: 0,
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

impl Filesystem for Nothing {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        // Different names are different inodes, or the kernel would take them for hard links.
        let number = name.as_bytes().iter().fold(7u64, |n, byte| n * 31 + u64::from(*byte));
        if name.as_bytes().starts_with(b"f") {
            reply.entry(&LONG, &attr(INodeNo(number | 1 << 60)), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&LONG, &attr(ino));
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::NO_XATTR);
    }
}

fn main() -> std::io::Result<()> {
    let target = std::env::args_os().nth(1);
    let target = target.ok_or_else(|| std::io::Error::other("usage: bench-null TARGET"))?;
    let mut config = Config::default();
    config.mount_options =
        vec![MountOption::FSName("null".into()), MountOption::DefaultPermissions];
    config.acl = SessionACL::All;
    config.n_threads = Some(THREADS);
    config.clone_fd = true;
    fuser::mount(Nothing, target, &config)
}
