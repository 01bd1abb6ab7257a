// SPDX-License-Identifier: MIT OR Apache-2.0
//! Directories that are being read: entries come from the source as getdents64(2) gives them. The
//! directories that were read last stay open for a reader that goes on.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Mutex;

use nscap_linux::server::getdents;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::shards::locked;

/// Bytes that one getdents64(2) reads.
const ROOM: usize = 32 * 1024;
/// Directories that stay open.
const KEPT: usize = 64;
/// `struct linux_dirent64`: where the fields begin.
const AT_OFFSET: usize = 8;
const AT_LENGTH: usize = 16;
const AT_KIND: usize = 18;
const AT_NAME: usize = 19;

/// A directory that is being read.
pub(crate) struct Stream {
    node: u64,
    directory: OwnedFd,
    entries: Vec<u8>,
    /// The part of `entries` that has not been passed on yet.
    start: usize,
    end: usize,
    /// The offset of the next entry.
    next: u64,
}

/// One entry.
#[derive(Clone, Copy)]
pub(crate) struct Dirent<'e> {
    pub(crate) ino: u64,
    /// DT_*.
    pub(crate) kind: u8,
    pub(crate) name: &'e OsStr,
    /// The offset of the entry after it.
    pub(crate) next: u64,
    /// Of the whole record, in bytes.
    length: usize,
}

impl Dirent<'_> {
    pub(crate) fn is_dots(&self) -> bool {
        matches!(self.name.as_bytes(), b"." | b"..")
    }
}

/// What a reader does with one entry.
pub(crate) enum DirStep {
    /// The entry is in the reply.
    Added,
    /// Its name was removed meanwhile.
    Skipped,
    /// The reply has no room for it.
    Full,
}

impl Stream {
    /// Starts at an offset that the source gave. `directory`: open for reading.
    pub(crate) fn new(node: u64, directory: OwnedFd, offset: u64) -> Result<Stream, Errno> {
        if offset != 0 {
            seek(&directory, SeekFrom::Start(offset))?;
        }
        Ok(Stream { node, directory, entries: vec![0; ROOM], start: 0, end: 0, next: offset })
    }

    /// Passes entries to `give` until there are no more or the reply is full. Says whether any was
    /// added: then the kernel asks for more.
    pub(crate) fn each(
        &mut self,
        mut give: impl FnMut(&OwnedFd, Dirent<'_>) -> Result<DirStep, Errno>,
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
                Ok(DirStep::Added) => some = true,
                Ok(DirStep::Skipped) => {}
                Ok(DirStep::Full) => return Ok(true),
                // The entries so far are a reply; the error comes again with the next request.
                Err(_) if some => return Ok(true),
                Err(errno) => return Err(errno),
            }
            self.start += length;
            self.next = next;
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Dirent<'_>> {
    let word = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
    let length = bytes.get(AT_LENGTH..AT_KIND)?.try_into().ok().map(u16::from_ne_bytes)?;
    let entry = bytes.get(..usize::from(length))?;
    let name = entry.get(AT_NAME..)?.split(|byte| *byte == 0).next()?;
    Some(Dirent {
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

    /// The stream of a directory that goes on at this offset, if it is kept.
    pub(crate) fn take(&self, node: u64, offset: u64) -> Option<Stream> {
        locked(self.slot(node)?).take_if(|stream| stream.node == node && stream.next == offset)
    }

    /// Keeps a stream, in place of another one.
    pub(crate) fn put(&self, stream: Stream) {
        if let Some(slot) = self.slot(stream.node) {
            let before = locked(slot).replace(stream);
            drop(before);
        }
    }

    /// The directory changed, or the kernel forgot it: entries that were read ahead are stale.
    pub(crate) fn drop_of(&self, node: u64) {
        if let Some(slot) = self.slot(node) {
            // Closed without the lock.
            let gone = locked(slot).take_if(|stream| stream.node == node);
            drop(gone);
        }
    }
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
