// SPDX-License-Identifier: MIT OR Apache-2.0
//! Replies: a header and bytes after it, built in a buffer that each thread keeps.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use rustix::fs::{Stat, StatVfs, Statx};

use super::abi;
use crate::attr;

/// A reply under construction.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// Only grows, so that no request clears it.
    room: Vec<u8>,
    length: usize,
}

/// How long the kernel may cache the inode of a name, and the inode's attributes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    pub(crate) name: Duration,
    pub(crate) attributes: Duration,
}

/// How a file was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opens {
    pub(crate) handle: u64,
    pub(crate) flags: u32,
    /// The backing id; 0: none.
    pub(crate) backing: i32,
}

/// The part of a directory that a reply holds.
pub(crate) struct Listing<'r> {
    reply: &'r mut Reply,
    left: usize,
}

impl Reply {
    /// Empties the reply, except for its header.
    pub(crate) fn clear(&mut self) {
        self.length = 0;
        self.data(&[0; abi::OUT_HEADER]);
    }

    /// The bytes of the reply to a request; `error` is an errno, or 0.
    pub(crate) fn finish(&mut self, unique: u64, error: i32) -> &[u8] {
        let end = if error == 0 { self.length } else { abi::OUT_HEADER };
        self.length = 0;
        self.u32(u32::try_from(end).unwrap_or(u32::MAX)).u32((-error).cast_unsigned()).u64(unique);
        self.room.get(..end).unwrap_or_default()
    }

    /// The buffer for the next `count` bytes.
    fn next(&mut self, count: usize) -> &mut [u8] {
        let end = self.length + count;
        if self.room.len() < end {
            self.room.resize(end, 0);
        }
        self.room.get_mut(self.length..end).unwrap_or_default()
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Reply {
        self.data(&value.to_ne_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Reply {
        self.data(&value.to_ne_bytes())
    }

    pub(crate) fn i64(&mut self, value: i64) -> &mut Reply {
        self.u64(value.cast_unsigned())
    }

    pub(crate) fn data(&mut self, data: &[u8]) -> &mut Reply {
        self.next(data.len()).copy_from_slice(data);
        self.length += data.len();
        self
    }

    /// Appends at most `room` bytes, which `fill` writes; it returns their length.
    pub(crate) fn fill<E>(
        &mut self,
        room: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let length = fill(self.next(room))?;
        self.length += length.min(room);
        Ok(())
    }

    fn lifetime(&mut self, lifetime: Duration) -> &mut Reply {
        self.u64(lifetime.as_secs())
    }

    /// `struct fuse_attr`.
    fn attributes(&mut self, number: u64, stat: &Stat) {
        self.u64(number).i64(stat.st_size).i64(stat.st_blocks);
        self.i64(stat.st_atime).i64(stat.st_mtime).i64(stat.st_ctime);
        for nanoseconds in [stat.st_atime_nsec, stat.st_mtime_nsec, stat.st_ctime_nsec] {
            self.u32(u32::try_from(nanoseconds).unwrap_or(0));
        }
        self.u32(stat.st_mode).u32(u32::try_from(stat.st_nlink).unwrap_or(u32::MAX));
        self.u32(stat.st_uid).u32(stat.st_gid).u32(attr::device_to_fuse(stat.st_rdev));
        self.u32(u32::try_from(stat.st_blksize).unwrap_or(4096)).u32(0);
    }

    /// `struct fuse_attr_out`.
    pub(crate) fn attr(&mut self, number: u64, stat: &Stat, lifetime: Duration) {
        self.lifetime(lifetime).u32(0).u32(0);
        self.attributes(number, stat);
    }

    /// `struct fuse_entry_out`.
    pub(crate) fn entry(&mut self, node: u64, stat: &Stat, lifetimes: Lifetimes) {
        self.u64(node).u64(0);
        self.lifetime(lifetimes.name).lifetime(lifetimes.attributes).u32(0).u32(0);
        self.attributes(node, stat);
    }

    /// An entry without an inode, and how long the kernel may cache that: the name does not exist,
    /// or a directory listing did not look it up.
    pub(crate) fn no_entry(&mut self, lifetime: Duration) {
        self.u64(0).u64(0).lifetime(lifetime).data(&[0; abi::ENTRY - 24]);
    }

    /// `struct fuse_open_out`.
    pub(crate) fn open(&mut self, opens: Opens) {
        self.u64(opens.handle).u32(opens.flags).u32(opens.backing.cast_unsigned());
    }

    /// `struct fuse_statfs_out`.
    pub(crate) fn statfs(&mut self, all: &StatVfs) {
        self.u64(all.f_blocks).u64(all.f_bfree).u64(all.f_bavail);
        self.u64(all.f_files).u64(all.f_ffree);
        let small = |value: u64, otherwise| u32::try_from(value).unwrap_or(otherwise);
        self.u32(small(all.f_bsize, 4096)).u32(small(all.f_namemax, 255));
        self.u32(small(all.f_frsize, 4096));
        self.data(&[0; 28]);
    }

    /// `struct fuse_statx_out`.
    pub(crate) fn statx(&mut self, number: u64, stat: &Statx, lifetime: Duration) {
        self.lifetime(lifetime).u32(0).u32(0).data(&[0; 16]);
        self.u32(stat.stx_mask).u32(stat.stx_blksize);
        self.u64(stat.stx_attributes.bits());
        self.u32(stat.stx_nlink).u32(stat.stx_uid).u32(stat.stx_gid);
        self.data(&stat.stx_mode.to_ne_bytes()).data(&[0; 2]);
        self.u64(number).u64(stat.stx_size).u64(stat.stx_blocks);
        self.u64(stat.stx_attributes_mask.bits());
        for time in [stat.stx_atime, stat.stx_btime, stat.stx_ctime, stat.stx_mtime] {
            self.i64(time.tv_sec).u32(time.tv_nsec).u32(0);
        }
        self.u32(stat.stx_rdev_major).u32(stat.stx_rdev_minor);
        self.u32(stat.stx_dev_major).u32(stat.stx_dev_minor);
        self.data(&[0; 14 * 8]);
    }

    /// A directory listing of at most `size` bytes.
    pub(crate) fn listing(&mut self, size: u32) -> Listing<'_> {
        Listing { reply: self, left: size as usize }
    }
}

impl Listing<'_> {
    /// Whether an entry fits; `looked_up`: with its inode.
    pub(crate) fn has_room(&self, name: &OsStr, looked_up: bool) -> bool {
        let entry = if looked_up { abi::ENTRY } else { 0 };
        entry + abi::DIRENT + name.len().next_multiple_of(8) <= self.left
    }

    /// Adds a name that fits. `next`: the offset of the following entry; `kind`: DT_*.
    pub(crate) fn add(&mut self, number: u64, next: u64, kind: u8, name: &OsStr) {
        let before = self.reply.length;
        self.reply.u64(number).u64(next);
        self.reply.u32(u32::try_from(name.len()).unwrap_or(0)).u32(kind.into());
        self.reply.data(name.as_bytes());
        let padding = name.len().next_multiple_of(8) - name.len();
        self.reply.data([0; 8].get(..padding).unwrap_or_default());
        self.left = self.left.saturating_sub(self.reply.length - before);
    }

    /// Adds the inode of a name, before the name itself.
    pub(crate) fn entry(&mut self, known: Option<(u64, &Stat)>, lifetimes: Lifetimes) {
        match known {
            Some((node, stat)) => self.reply.entry(node, stat, lifetimes),
            None => self.reply.no_entry(lifetimes.name),
        }
        self.left = self.left.saturating_sub(abi::ENTRY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> Reply {
        let mut reply = Reply::default();
        reply.clear();
        reply
    }

    #[test]
    fn structures_have_the_sizes_of_the_kernel() {
        let file = std::fs::File::open("/").unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        let second = Duration::from_secs(1);
        let size = |build: &dyn Fn(&mut Reply)| {
            let mut reply = reply();
            build(&mut reply);
            reply.length - abi::OUT_HEADER
        };
        assert_eq!(size(&|r| r.attr(1, &stat, second)), 104);
        assert_eq!(
            size(&|r| r.entry(1, &stat, Lifetimes { name: second, attributes: second })),
            abi::ENTRY
        );
        assert_eq!(size(&|r| r.no_entry(second)), abi::ENTRY);
        assert_eq!(size(&|r| r.open(Opens { handle: 1, flags: 0, backing: 0 })), 16);
        let all = rustix::fs::fstatvfs(&file).unwrap();
        assert_eq!(size(&|r| r.statfs(&all)), 80);
        let flags = rustix::fs::StatxFlags::BASIC_STATS;
        let statx = rustix::fs::statx(&file, "", rustix::fs::AtFlags::EMPTY_PATH, flags).unwrap();
        assert_eq!(size(&|r| r.statx(1, &statx, second)), 288);
    }

    #[test]
    fn a_listing_takes_what_fits() {
        let mut reply = reply();
        let mut listing = reply.listing(64);
        let name = OsStr::new("name");
        assert!(listing.has_room(name, false) && !listing.has_room(name, true));
        listing.add(5, 1, libc::DT_REG, name);
        assert!(listing.has_room(name, false));
        listing.add(6, 2, libc::DT_REG, name);
        assert!(!listing.has_room(name, false));
        assert_eq!(reply.length, abi::OUT_HEADER + 64);
    }

    #[test]
    fn an_error_is_a_header_alone() {
        let mut reply = reply();
        reply.u64(7);
        let bytes = reply.finish(9, libc::ENOENT).to_vec();
        assert_eq!(bytes.len(), 16);
        assert_eq!(bytes[4..8], (-libc::ENOENT).to_ne_bytes());
        assert_eq!(bytes[8..], 9u64.to_ne_bytes());
    }
}
