//! Files: opened, read, written, and what else needs an open one.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use nscap_core::Operation;
use nscap_linux::server::{self, FuseDevice};
use rustix::fs::{
    FallocateFlags, Mode, OFlags, SeekFrom, copy_file_range, fallocate, fstat, openat, seek,
};
use rustix::io::{Errno, pread, pwrite};

use crate::caps::{Opened, Opening};
use crate::inodes::Found;
use crate::proto::abi::fopen;
use crate::proto::{Header, Opens};
use crate::tree::{Known, OpenFile, Tree};

/// Of the flags of open(2), those that mean something for the server's own descriptor. O_APPEND and
/// O_DIRECT are the kernel's to carry out: it says where each write goes, and from what pages.
const OURS: OFlags =
    OFlags::ACCMODE.union(OFlags::SYNC).union(OFlags::DSYNC).union(OFlags::NOATIME);

/// The most that one request copies, in bytes; whole blocks.
const COPY_MAX: u64 = 16 << 20;

fn ours(flags: OFlags) -> OFlags {
    (flags & OURS) | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn writes(flags: OFlags) -> bool {
    flags & OFlags::ACCMODE != OFlags::RDONLY
}

/// Goes on until all is done or there is no more; an error counts only where nothing was done.
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

impl Tree {
    pub(crate) fn open(
        &self,
        node: u64,
        flags: OFlags,
        device: &FuseDevice,
    ) -> Result<Opens, Errno> {
        let passthrough = self.backings.may_pass(node);
        let opening = Opening { flags, passthrough, fresh: false };
        let inode = self.inodes.find(node)?;
        let opened = self.caps.opening(inode.as_fd(), node, opening)?;
        // To read, what is open already will do: there is no offset to share.
        let file = if inode.readable && flags & OURS == OFlags::RDONLY {
            inode.clone().into_file()
        } else {
            Arc::new(self.inodes.open(node, ours(flags))?)
        };
        Ok(self.opened(node, &inode, file, flags, opened, device))
    }

    fn opened(
        &self,
        node: u64,
        inode: &Found,
        file: Arc<OwnedFd>,
        flags: OFlags,
        opened: Opened,
        device: &FuseDevice,
    ) -> Opens {
        self.stats.opens.add();
        let writable = writes(flags);
        let backing = self.backings.open(node, inode, device);
        let mut reply = fopen::NOFLUSH;
        if backing.is_some() {
            self.stats.passthrough_opens.add();
            reply |= fopen::PASSTHROUGH;
        } else if !self.options.reachable_ok && self.backings.pages_are_true() {
            reply |= fopen::KEEP_CACHE;
        }
        let handle = self.files.add(OpenFile { file, node, writable, _opened: opened });
        let backing = backing.map_or(0, |backing| backing.id());
        Opens { handle, flags: reply, backing }
    }

    pub(crate) fn create(
        &self,
        caller: &Header,
        name: &OsStr,
        (mode, umask): (u32, u32),
        flags: OFlags,
        device: &FuseDevice,
    ) -> Result<(Known, Opens), Errno> {
        self.stats.creates.add();
        match self.open_new(caller, name, (mode, umask), flags) {
            // The kernel has not asked whether the caller may open what the name stands for; it does
            // when it looks again.
            Err(Errno::EXIST) if !flags.contains(OFlags::EXCL) => Err(Errno::STALE),
            made => self.made(made?, flags, device),
        }
    }

    /// Makes a file as the caller: what this opens did not exist before.
    pub(crate) fn open_new(
        &self,
        caller: &Header,
        name: &OsStr,
        (mode, umask): (u32, u32),
        flags: OFlags,
    ) -> Result<OwnedFd, Errno> {
        let directory = self.inodes.find(caller.node)?;
        let file = {
            let _caller = self.as_caller(caller, umask)?;
            let how = ours(flags) | OFlags::CREATE | OFlags::EXCL;
            openat(&directory, name, how, Mode::from_raw_mode(mode & 0o7777))?
        };
        self.streams.drop_of(caller.node);
        Ok(file)
    }

    /// O_TMPFILE. The file has no name, and stays open until it has one or is forgotten.
    pub(crate) fn create_nameless(
        &self,
        caller: &Header,
        (mode, umask): (u32, u32),
        flags: OFlags,
        device: &FuseDevice,
    ) -> Result<(Known, Opens), Errno> {
        self.stats.creates.add();
        let directory = self.inodes.find(caller.node)?;
        let file = {
            let _caller = self.as_caller(caller, umask)?;
            let excl = flags & OFlags::EXCL;
            let how = (ours(flags) | OFlags::TMPFILE | excl) - OFlags::NOFOLLOW;
            openat(&directory, c".", how, Mode::from_raw_mode(mode & 0o7777))?
        };
        self.made(file, flags, device)
    }

    /// A file that has just been made. It is what this descriptor leads to, whatever its name stands
    /// for by now; of nothing else is it believed that it is new.
    fn made(
        &self,
        file: OwnedFd,
        flags: OFlags,
        device: &FuseDevice,
    ) -> Result<(Known, Opens), Errno> {
        let stat = fstat(&file)?;
        let node = self.inodes.know_open(&file, &stat)?;
        let passthrough = self.backings.may_pass(node);
        let opening = Opening { flags, passthrough, fresh: true };
        let opened =
            self.caps.opening(file.as_fd(), node, opening).inspect_err(|_| self.forget(node, 1))?;
        let file = Arc::new(file);
        let opens = self.opened(node, &Found::made(file.clone()), file, flags, opened, device);
        Ok((Known { node, stat }, opens))
    }

    pub(crate) fn release(&self, handle: u64) {
        if let Some(file) = self.files.remove(handle) {
            self.backings.release(file.node);
        }
    }

    /// Reads into `buffer`; less than it holds only at the end of the file.
    pub(crate) fn read(&self, handle: u64, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.stats.reads.add();
        let file = self.files.get(handle)?;
        in_pieces(buffer.len(), |done| {
            pread(&file.file, buffer.get_mut(done..).unwrap_or_default(), offset + done as u64)
        })
    }

    pub(crate) fn write(&self, handle: u64, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        self.stats.writes.add();
        let file = self.files.get(handle)?;
        let _change = self.caps.changing(file.file.as_fd(), file.node, Operation::Write)?;
        let done = in_pieces(data.len(), |done| {
            pwrite(&file.file, data.get(done..).unwrap_or_default(), offset + done as u64)
        })?;
        Ok(u32::try_from(done).unwrap_or(u32::MAX))
    }

    pub(crate) fn sync(&self, handle: u64, data_only: bool) -> Result<(), Errno> {
        let file = self.files.get(handle)?;
        if data_only { rustix::fs::fdatasync(&file.file) } else { rustix::fs::fsync(&file.file) }
    }

    pub(crate) fn allocate(
        &self,
        handle: u64,
        (offset, length): (u64, u64),
        mode: u32,
    ) -> Result<(), Errno> {
        let file = self.files.get(handle)?;
        let _change = self.caps.changing(file.file.as_fd(), file.node, Operation::Fallocate)?;
        fallocate(&file.file, FallocateFlags::from_bits_retain(mode), offset, length)
    }

    /// SEEK_DATA and SEEK_HOLE; the kernel does the others.
    pub(crate) fn seek(&self, handle: u64, start: u64, whence: u32) -> Result<u64, Errno> {
        let file = self.files.get(handle)?;
        let position = match whence.cast_signed() {
            libc::SEEK_DATA => SeekFrom::Data(start),
            libc::SEEK_HOLE => SeekFrom::Hole(start),
            _ => return Err(Errno::INVAL),
        };
        seek(&file.file, position)
    }

    pub(crate) fn copy_range(
        &self,
        (from, mut from_offset): (u64, u64),
        (to, mut to_offset): (u64, u64),
        length: u64,
    ) -> Result<u64, Errno> {
        let (from, to) = (self.files.get(from)?, self.files.get(to)?);
        let _change = self.caps.changing(to.file.as_fd(), to.node, Operation::CopyInto)?;
        // Less than was asked for is an answer, too, and no thread is kept for long.
        let length = usize::try_from(length.min(COPY_MAX)).map_err(|_| Errno::INVAL)?;
        let (source, target) = (Some(&mut from_offset), Some(&mut to_offset));
        Ok(copy_file_range(&from.file, source, &to.file, target, length)? as u64)
    }

    /// Sets the size, on a handle that can be written or on one for this.
    pub(crate) fn set_size(
        &self,
        node: u64,
        handle: Option<&OpenFile>,
        inode: &Found,
        size: u64,
    ) -> Result<(), Errno> {
        let _change = self.caps.changing(inode.as_fd(), node, Operation::Truncate)?;
        match handle {
            Some(open) if open.writable => rustix::fs::ftruncate(&open.file, size),
            _ => {
                let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                rustix::fs::ftruncate(self.inodes.open(node, flags)?, size)
            }
        }
    }

    /// ioctl(2): the flags of an inode. The kernel asks for them where it has checked the caller
    /// (chattr(1)); everything else is ENOTTY.
    pub(crate) fn flags_ioctl(
        &self,
        node: u64,
        handle: u64,
        request: u32,
        input: &[u8],
        room: u32,
    ) -> Result<Vec<u8>, Errno> {
        let mut argument = [0; 32];
        let taken = input.len().min(argument.len());
        argument
            .get_mut(..taken)
            .zip(input.get(..taken))
            .ok_or(Errno::INVAL)
            .map(|(to, from)| to.copy_from_slice(from))?;
        match self.handle(node, Some(handle)) {
            Some(file) => server::fs_ioctl(&file.file, request, &mut argument)?,
            // A directory, which has no handle.
            None => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
                server::fs_ioctl(self.inodes.open(node, flags)?, request, &mut argument)?;
            }
        }
        Ok(argument.get(..room as usize).unwrap_or(&argument).to_vec())
    }
}
