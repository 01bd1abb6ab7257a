// SPDX-License-Identifier: MIT OR Apache-2.0
//! Directories: read as they come from the source, entry by entry, with the source's own offsets;
//! nothing is held of a whole directory.
//!
//! The kernel opens no directory with us (ENOSYS to OPENDIR says that it need not) and keeps what
//! it has read; so a directory is opened here for each part that is read, and the last few are
//! kept open for whoever goes on.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Mutex, PoisonError};

use nscap_linux::server::getdents;
use rustix::fs::{OFlags, SeekFrom, Stat, fstat, seek};
use rustix::io::Errno;

use crate::inodes::ROOT;
use crate::proto::{Lifetimes, Listing};
use crate::tree::{Known, Tree};

/// Entries read at once, in bytes.
const ROOM: usize = 32 * 1024;
const KEPT: usize = 64;
/// `struct linux_dirent64`: where the fields begin.
const AT_OFFSET: usize = 8;
const AT_LENGTH: usize = 16;
const AT_KIND: usize = 18;
const AT_NAME: usize = 19;

/// A directory that is being read.
struct Stream {
    node: u64,
    directory: OwnedFd,
    entries: Vec<u8>,
    /// Of `entries`, what has not been given yet.
    start: usize,
    end: usize,
    /// The offset of what comes next.
    next: u64,
}

/// One entry.
#[derive(Clone, Copy)]
struct Entry<'e> {
    ino: u64,
    kind: u8,
    name: &'e OsStr,
    /// The offset of the entry after it.
    next: u64,
    length: usize,
}

impl Entry<'_> {
    fn is_dots(&self) -> bool {
        matches!(self.name.as_bytes(), b"." | b"..")
    }
}

/// What becomes of the entry that was looked at.
enum Given {
    Yes,
    /// It is not there any more.
    Skipped,
    /// The reply is full.
    Full,
}

impl Stream {
    fn at(tree: &Tree, node: u64, offset: u64) -> Result<Stream, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let directory = tree.inodes.open(node, flags)?;
        if offset != 0 {
            seek(&directory, SeekFrom::Start(offset))?;
        }
        Ok(Stream { node, directory, entries: vec![0; ROOM], start: 0, end: 0, next: offset })
    }

    /// Gives entries until there are no more or `give` takes no more; whether any were given, so
    /// that the kernel asks again.
    fn each(
        &mut self,
        mut give: impl FnMut(&OwnedFd, Entry<'_>) -> Result<Given, Errno>,
    ) -> Result<bool, Errno> {
        let mut some = false;
        loop {
            if self.start >= self.end {
                self.end = getdents(&self.directory, &mut self.entries)?;
                self.start = 0;
                if self.end == 0 {
                    return Ok(some);
                }
            }
            let left = self.entries.get(self.start..self.end).unwrap_or_default();
            let entry = parse(left).ok_or(Errno::IO)?;
            let (next, length) = (entry.next, entry.length);
            match give(&self.directory, entry) {
                Ok(Given::Yes) => some = true,
                Ok(Given::Skipped) => {}
                Ok(Given::Full) => return Ok(true),
                // What has been given so far counts; the error comes again.
                Err(_) if some => return Ok(true),
                Err(errno) => return Err(errno),
            }
            self.start += length;
            self.next = next;
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Entry<'_>> {
    let word = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
    let length = bytes.get(AT_LENGTH..AT_KIND)?.try_into().ok().map(u16::from_ne_bytes)?;
    let entry = bytes.get(..usize::from(length))?;
    let name = entry.get(AT_NAME..)?.split(|byte| *byte == 0).next()?;
    Some(Entry {
        ino: word(0)?,
        next: word(AT_OFFSET)?,
        kind: *entry.get(AT_KIND)?,
        name: OsStr::from_bytes(name),
        length: entry.len(),
    })
}

/// The directories read last.
pub(crate) struct Streams(Vec<Mutex<Option<Stream>>>);

impl Default for Streams {
    fn default() -> Streams {
        Streams((0..KEPT).map(|_| Mutex::new(None)).collect())
    }
}

impl Streams {
    fn slot(&self, node: u64) -> Option<&Mutex<Option<Stream>>> {
        self.0.get((node % KEPT as u64) as usize)
    }

    fn take(&self, node: u64, offset: u64) -> Option<Stream> {
        let mut slot = self.slot(node)?.lock().unwrap_or_else(PoisonError::into_inner);
        slot.take_if(|stream| stream.node == node && stream.next == offset)
    }

    fn put(&self, stream: Stream) {
        if let Some(slot) = self.slot(stream.node) {
            let before = slot.lock().unwrap_or_else(PoisonError::into_inner).replace(stream);
            drop(before);
        }
    }

    /// The directory changed, or is not known any more: what was read ahead of it is old.
    pub(crate) fn drop_of(&self, node: u64) {
        if let Some(slot) = self.slot(node) {
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            let gone = slot.take_if(|stream| stream.node == node);
            drop(slot);
            drop(gone);
        }
    }
}

impl Tree {
    fn read_part(
        &self,
        node: u64,
        offset: u64,
        give: impl FnMut(&OwnedFd, Entry<'_>) -> Result<Given, Errno>,
    ) -> Result<(), Errno> {
        self.stats.readdirs.add();
        // From the start always anew: what was read ahead may be from before.
        let kept = if offset == 0 { None } else { self.streams.take(node, offset) };
        let mut stream = match kept {
            Some(stream) => stream,
            None => Stream::at(self, node, offset)?,
        };
        if stream.each(give)? {
            self.streams.put(stream);
        }
        Ok(())
    }

    pub(crate) fn list(
        &self,
        node: u64,
        offset: u64,
        listing: &mut Listing<'_>,
    ) -> Result<(), Errno> {
        self.read_part(node, offset, |_, entry| {
            if !listing.has_room(entry.name, false) {
                return Ok(Given::Full);
            }
            listing.add(self.entry_number(node, &entry), entry.next, entry.kind, entry.name);
            Ok(Given::Yes)
        })
    }

    pub(crate) fn list_and_look_up(
        &self,
        node: u64,
        offset: u64,
        listing: &mut Listing<'_>,
    ) -> Result<(), Errno> {
        let name = self.lifetime();
        let nothing = Lifetimes { name, attributes: name };
        self.read_part(node, offset, |directory, entry| {
            if !listing.has_room(entry.name, true) {
                return Ok(Given::Full);
            }
            // A name that was looked up is told as what it stood for then, which need not be what it
            // stood for when the directory was read.
            let (mut number, mut kind) = (self.entry_number(node, &entry), entry.kind);
            if entry.is_dots() {
                listing.entry(None, nothing);
            } else {
                match self.look_up_listed(directory, entry.name) {
                    Ok(known) => {
                        (number, kind) = (self.inodes.shown(known.node), kind_of(&known.stat));
                        let lifetimes = self.lifetimes(known.node);
                        listing.entry(Some((known.node, &known.stat)), lifetimes);
                    }
                    Err(Errno::NOENT) => return Ok(Given::Skipped),
                    // The name alone; whoever looks it up gets the error.
                    Err(_) => listing.entry(None, nothing),
                }
            }
            listing.add(number, entry.next, kind, entry.name);
            Ok(Given::Yes)
        })
    }

    fn look_up_listed(&self, directory: &OwnedFd, name: &OsStr) -> Result<Known, Errno> {
        let file = self.inodes.source().look_up(directory.as_fd(), name)?;
        let stat = fstat(&file)?;
        let node = self.inodes.know_listed(file, &stat)?;
        Ok(Known { node, stat })
    }

    /// What is above the root is nobody's business.
    fn entry_number(&self, node: u64, entry: &Entry<'_>) -> u64 {
        if node == ROOT && entry.is_dots() { self.inodes.shown(ROOT) } else { entry.ino }
    }

    /// fsync(2) of a directory.
    pub(crate) fn sync_directory(&self, node: u64, data_only: bool) -> Result<(), Errno> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_entries_are_no_entries() {
        let directory = std::fs::File::open("/proc/self").unwrap();
        let mut bytes = vec![0; 4096];
        let length = getdents(&directory, &mut bytes).unwrap();
        let first = parse(&bytes[..length]).unwrap();
        assert_eq!(first.name, ".");
        assert!(parse(&bytes[..18]).is_none());
        assert!(parse(&bytes[..first.length - 1]).is_none());
        bytes[16] = 3;
        bytes[17] = 0;
        assert!(parse(&bytes).is_none());
    }
}
