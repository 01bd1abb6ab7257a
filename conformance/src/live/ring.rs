// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a task does by io_uring(7): each request by itself, and by a worker of the kernel's
//! (IOSQE_ASYNC), so that the thread that asks a file system is not the task's own.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, opcode, types};

/// A ring of the task's, with its workers.
pub(crate) struct Ring(IoUring);

impl Ring {
    /// # Errors
    /// io_uring_setup(2)'s.
    pub(crate) fn new() -> io::Result<Ring> {
        Ok(Ring(IoUring::new(2)?))
    }

    /// Has the kernel make a worker, which keeps the credentials that the task has now.
    ///
    /// # Errors
    /// open(2)'s for "/".
    pub(crate) fn make_a_worker(&mut self) -> io::Result<()> {
        let open = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), c"/".as_ptr());
        // SAFETY: the path is static.
        let fd = unsafe { self.call(open.flags(libc::O_PATH).build()) }?;
        // SAFETY: the kernel has just returned this descriptor, so nothing else owns it.
        drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) });
        Ok(())
    }

    /// fsetxattr(2).
    ///
    /// # Errors
    /// fsetxattr(2)'s.
    pub(crate) fn set(&mut self, file: impl AsFd, name: &CStr, value: &[u8]) -> io::Result<()> {
        let fd = types::Fd(file.as_fd().as_raw_fd());
        let length = u32::try_from(value.len()).map_err(io::Error::other)?;
        let set = opcode::FSetXattr::new(fd, name.as_ptr(), value.as_ptr().cast(), length);
        // SAFETY: the descriptor, the name and the value outlive the call.
        unsafe { self.call(set.build()) }.map(drop)
    }

    /// fgetxattr(2) of at most 64 bytes.
    ///
    /// # Errors
    /// fgetxattr(2)'s.
    pub(crate) fn get(&mut self, file: impl AsFd, name: &CStr) -> io::Result<Vec<u8>> {
        let fd = types::Fd(file.as_fd().as_raw_fd());
        let mut value = vec![0; 64];
        let get = opcode::FGetXattr::new(fd, name.as_ptr(), value.as_mut_ptr().cast(), 64);
        // SAFETY: the descriptor and the name outlive the call, and the value has 64 bytes.
        let length = unsafe { self.call(get.build()) }?;
        value.truncate(usize::try_from(length).map_err(io::Error::other)?);
        Ok(value)
    }

    /// Writes a byte.
    ///
    /// # Errors
    /// pwrite(2)'s.
    pub(crate) fn write(&mut self, file: impl AsFd, at: u64) -> io::Result<()> {
        let fd = types::Fd(file.as_fd().as_raw_fd());
        let write = opcode::Write::new(fd, b"x".as_ptr(), 1).offset(at).build();
        // SAFETY: the byte is static, and the descriptor outlives the call.
        unsafe { self.call(write) }.map(drop)
    }

    /// # Safety
    /// What the entry points to must stay until the call returns.
    unsafe fn call(&mut self, entry: Entry) -> io::Result<i32> {
        // SAFETY: the caller says so, and the answer is waited for.
        unsafe { self.0.submission().push(&entry.flags(Flags::ASYNC)) }
            .map_err(io::Error::other)?;
        self.0.submit_and_wait(1)?;
        let answer = self.0.completion().next().ok_or_else(|| io::Error::other("no answer"))?;
        match answer.result() {
            errno if errno < 0 => Err(io::Error::from_raw_os_error(-errno)),
            result => Ok(result),
        }
    }
}
