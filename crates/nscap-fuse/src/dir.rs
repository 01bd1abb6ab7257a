// SPDX-License-Identifier: MIT OR Apache-2.0
//! READDIR, READDIRPLUS and FSYNCDIR. Entries come from the source one by one, with the source's
//! own offsets; the server never holds a whole directory.
//!
//! The kernel sends no OPENDIR (it had ENOSYS for one) and caches what it reads. So the server
//! opens a directory for each part that the kernel asks for.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{OFlags, Stat, fstat};
use rustix::io::Errno;

use crate::numbers::ROOT;
use crate::proto::{Lifetimes, Listing};
use crate::streams::{DirStep, Dirent, Stream};
use crate::tree::{Entry, Tree};

impl Tree {
    fn read_part(
        &self,
        node: u64,
        offset: u64,
        give: impl FnMut(&OwnedFd, Dirent<'_>) -> Result<DirStep, Errno>,
    ) -> Result<(), Errno> {
        self.stats.readdirs.add();
        // A listing from the start reads anew: entries that were read ahead may be stale.
        let kept = if offset == 0 { None } else { self.streams.take(node, offset) };
        let mut stream = match kept {
            Some(stream) => stream,
            None => {
                let flags =
                    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
                Stream::new(node, self.inodes.open(node, flags)?, offset)?
            }
        };
        if stream.each(give)? {
            self.streams.put(stream);
        }
        Ok(())
    }

    pub(crate) fn readdir(
        &self,
        node: u64,
        offset: u64,
        listing: &mut Listing<'_>,
    ) -> Result<(), Errno> {
        self.read_part(node, offset, |_, entry| {
            if !listing.has_room(entry.name, false) {
                return Ok(DirStep::Full);
            }
            listing.add(self.entry_number(node, &entry), entry.next, entry.kind, entry.name);
            Ok(DirStep::Added)
        })
    }

    pub(crate) fn readdirplus(
        &self,
        node: u64,
        offset: u64,
        listing: &mut Listing<'_>,
    ) -> Result<(), Errno> {
        let name = self.lifetime();
        let nothing = Lifetimes { name, attributes: name };
        self.read_part(node, offset, |directory, entry| {
            if !listing.has_room(entry.name, true) {
                return Ok(DirStep::Full);
            }
            // The number and type are those of the inode that the lookup found: another task may
            // have renamed since the directory was read.
            let (mut number, mut kind) = (self.entry_number(node, &entry), entry.kind);
            if entry.is_dots() {
                listing.entry(None, nothing);
            } else {
                match self.lookup_listed(directory, entry.name) {
                    Ok(known) => {
                        (number, kind) = (self.inodes.shown(known.node), kind_of(&known.stat));
                        let lifetimes = self.lifetimes(known.node);
                        listing.entry(Some((known.node, &known.stat)), lifetimes);
                    }
                    Err(Errno::NOENT) => return Ok(DirStep::Skipped),
                    // The name alone; a lookup of it gets the error.
                    Err(_) => listing.entry(None, nothing),
                }
            }
            listing.add(number, entry.next, kind, entry.name);
            Ok(DirStep::Added)
        })
    }

    fn lookup_listed(&self, directory: &OwnedFd, name: &OsStr) -> Result<Entry, Errno> {
        let file = self.inodes.source().lookup(directory.as_fd(), name)?;
        let stat = fstat(&file)?;
        let node = self.inodes.know_listed(file, &stat)?;
        Ok(Entry { node, stat })
    }

    /// The number of an entry; `..` of the root is the root, as on every mount.
    fn entry_number(&self, node: u64, entry: &Dirent<'_>) -> u64 {
        if node == ROOT && entry.is_dots() { self.inodes.shown(ROOT) } else { entry.ino }
    }

    /// fsync(2) of a directory.
    pub(crate) fn fsyncdir(&self, node: u64, data_only: bool) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = self.inodes.open(node, flags)?;
        if data_only { rustix::fs::fdatasync(directory) } else { rustix::fs::fsync(directory) }
    }
}

/// DT_* of an inode (`IFTODT`).
fn kind_of(stat: &Stat) -> u8 {
    // Four bits.
    ((stat.st_mode & libc::S_IFMT) >> 12) as u8
}
