// SPDX-License-Identifier: MIT OR Apache-2.0
//! READ, WRITE, FSYNC, FALLOCATE, LSEEK, COPY_FILE_RANGE, IOCTL, and the size of SETATTR. The
//! kernel reads and writes passthrough handles itself; it sends READ and WRITE for all others.
//!
//! The server writes with the ids of the task that opened the handle ([`Opener`]): the blocks count
//! for that user.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nscap_core::Operation;
use nscap_linux::server::{self, FuseDevice};
use rustix::fs::{FallocateFlags, OFlags, SeekFrom, copy_file_range, fallocate, seek};
use rustix::io::{Errno, IoSlice, ReadWriteFlags, pread, pwritev2};

use crate::caps::{Append, Writer};
use crate::inodes::InodeRef;
use crate::opener::Opener;
use crate::proto::Writing;
use crate::tree::{OpenFile, Tree};

/// The most bytes that one request copies; whole blocks.
const COPY_MAX: u64 = 16 << 20;

/// Flags for opening content. O_NONBLOCK: open(2) must not wait for another task's lease.
pub(crate) const TO_READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW);
pub(crate) const TO_WRITE: OFlags = OFlags::WRONLY.union(OFlags::NOFOLLOW);

/// Repeats `piece` until `length` bytes are done or it returns 0. Returns an error only if the
/// first piece failed.
fn in_pieces(
    length: usize,
    mut piece: impl FnMut(usize) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut done = 0;
    while done < length {
        match piece(done) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

/// The flags of one write, from the handle's flags as fcntl(2) (F_SETFL) set them last.
fn how(flags: OFlags) -> ReadWriteFlags {
    let each = [
        (OFlags::APPEND, ReadWriteFlags::APPEND),
        (OFlags::DSYNC, ReadWriteFlags::DSYNC),
        (OFlags::SYNC, ReadWriteFlags::SYNC),
    ];
    each.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, how)| how).collect()
}

impl Tree {
    /// A descriptor for reading the inode. For a passthrough handle the server has none open; it
    /// opens one.
    pub(crate) fn reader(&self, node: u64) -> Result<Arc<OwnedFd>, Errno> {
        self.backings.reader(node, || self.inodes.open(node, TO_READ))
    }

    /// Opens an inode for writing. An append-only file needs O_APPEND (open(2), EPERM).
    pub(crate) fn open_writer(&self, node: u64, append: Append) -> Result<Writer, Errno> {
        let open = |appends, flags| {
            Ok(Writer::new(Arc::new(self.inodes.open(node, TO_WRITE | flags)?), appends))
        };
        let at_the_end = || open(true, OFlags::APPEND);
        match append {
            Append::Only => at_the_end(),
            Append::No => open(false, OFlags::empty()),
            Append::Asked => open(false, OFlags::empty()).or_else(|errno| match errno {
                Errno::PERM => at_the_end(),
                errno => Err(errno),
            }),
        }
    }

    /// Applies K, then calls `change` with the inode's shared descriptor and the opener's ids.
    fn changes<T>(
        &self,
        node: u64,
        opener: Opener,
        (operation, append): (Operation, Append),
        change: impl FnOnce(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let changing = self.caps.begin(node);
        let writer = changing.writer(append, || self.open_writer(node, append))?;
        self.caps.apply(writer.as_fd(), operation)?;
        let _as_them = opener.take()?;
        change(writer.as_fd())
    }

    /// Fills `buffer`; returns less only at the end of the file.
    pub(crate) fn read(&self, handle: u64, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.stats.reads.add();
        let file = self.reader(self.files.get(handle)?.node)?;
        in_pieces(buffer.len(), |done| {
            pread(&file, buffer.get_mut(done..).unwrap_or_default(), offset + done as u64)
        })
    }

    pub(crate) fn write(
        &self,
        tid: u32,
        it: &Writing<'_>,
        device: &FuseDevice,
    ) -> Result<u32, Errno> {
        self.stats.writes.add();
        let open = self.files.get(it.handle)?;
        let how = how(it.flags);
        let changing = self.caps.begin(open.node);
        let writer = changing.writer(open.append, || self.open_writer(open.node, open.append))?;
        // Pages of a mapping have fixed offsets; an append-only descriptor cannot write them.
        if writer.appends && it.cached {
            return Err(Errno::PERM);
        }
        if it.kills_set_id {
            // The kernel changes no mode while it waits for this write.
            self.drop_set_id(tid, open.node, writer.as_fd(), device)?;
        } else if !it.cached {
            self.drop_mark_at_write(tid, open.node, writer.as_fd(), device)?;
        }
        self.caps.apply(writer.as_fd(), Operation::Write)?;
        let _as_them = open.opener.take()?;
        let done = in_pieces(it.data.len(), |done| {
            let rest = [IoSlice::new(it.data.get(done..).unwrap_or_default())];
            pwritev2(writer.as_fd(), &rest, it.offset + done as u64, how)
        })?;
        Ok(u32::try_from(done).unwrap_or(u32::MAX))
    }

    pub(crate) fn fsync(&self, node: u64, data_only: bool) -> Result<(), Errno> {
        let file = self.reader(node)?;
        if data_only { rustix::fs::fdatasync(&file) } else { rustix::fs::fsync(&file) }
    }

    pub(crate) fn fallocate(
        &self,
        handle: u64,
        (offset, length): (u64, u64),
        mode: u32,
    ) -> Result<(), Errno> {
        let open = self.files.get(handle)?;
        let how = (Operation::Fallocate, open.append);
        let mode = FallocateFlags::from_bits_retain(mode);
        self.changes(open.node, open.opener, how, |file| fallocate(file, mode, offset, length))
    }

    /// SEEK_DATA and SEEK_HOLE; the kernel does the others.
    pub(crate) fn lseek(&self, node: u64, start: u64, whence: u32) -> Result<u64, Errno> {
        // A descriptor of its own: lseek(2) changes the position, which all users of one share.
        let file = self.inodes.open(node, TO_READ)?;
        let position = match whence.cast_signed() {
            libc::SEEK_DATA => SeekFrom::Data(start),
            libc::SEEK_HOLE => SeekFrom::Hole(start),
            _ => return Err(Errno::INVAL),
        };
        seek(&file, position)
    }

    /// `from`: an inode that the kernel has open for reading; `to`: a handle.
    pub(crate) fn copy_file_range(
        &self,
        (from, mut from_offset): (u64, u64),
        (to, mut to_offset): (u64, u64),
        length: u64,
    ) -> Result<u64, Errno> {
        let to = self.files.get(to)?;
        let from = self.reader(from)?;
        // A short count is allowed, and keeps the thread for less time.
        let length = usize::try_from(length.min(COPY_MAX)).map_err(|_| Errno::INVAL)?;
        let how = (Operation::CopyInto, to.append);
        self.changes(to.node, to.opener, how, |file| {
            let (source, target) = (Some(&mut from_offset), Some(&mut to_offset));
            Ok(copy_file_range(&*from, source, file, target, length)? as u64)
        })
    }

    /// Sets the size, for a handle that can be written or for truncate(2).
    pub(crate) fn set_size(
        &self,
        node: u64,
        handle: Option<&OpenFile>,
        inode: &InodeRef,
        size: u64,
    ) -> Result<(), Errno> {
        if !inode.regular {
            return Err(Errno::INVAL);
        }
        let opener = handle.map_or(Opener::UNKNOWN, |open| open.opener);
        let how = (Operation::Truncate, handle.map_or(Append::No, |open| open.append));
        self.changes(node, opener, how, |file| rustix::fs::ftruncate(file, size))
    }

    /// ioctl(2) for inode flags (chattr(1)). The kernel sends these after it checked the caller;
    /// every other request is ENOTTY.
    pub(crate) fn ioctl(
        &self,
        node: u64,
        request: u32,
        input: &[u8],
        room: u32,
        device: &FuseDevice,
    ) -> Result<Vec<u8>, Errno> {
        let mut argument = [0; 32];
        let taken = input.len().min(argument.len());
        argument
            .get_mut(..taken)
            .zip(input.get(..taken))
            .ok_or(Errno::INVAL)
            .map(|(to, from)| to.copy_from_slice(from))?;
        if self.inodes.find(node)?.regular {
            server::fs_ioctl(self.reader(node)?, request, &mut argument)?;
        } else {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
            server::fs_ioctl(self.inodes.open(node, flags)?, request, &mut argument)?;
        }
        // A request without output changes flags, and so ctime; the kernel does not expect that of
        // an ioctl.
        if room == 0 {
            device.forget_attributes(node);
        }
        Ok(argument.get(..room as usize).unwrap_or(&argument).to_vec())
    }
}
