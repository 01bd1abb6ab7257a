// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls on a descriptor: inode flags, modes, directory entries, leases, and waiting.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::check;

/// dup3(2): `new` in the place of the descriptor of this number, where that is of a character
/// device with this number.
pub(crate) fn replace_device(
    new: BorrowedFd<'_>,
    number: i32,
    device: libc::dev_t,
) -> Result<(), Errno> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel writes a whole structure, or says that it has not.
    let stat = unsafe {
        match libc::fstat(number, stat.as_mut_ptr()) {
            0 => stat.assume_init(),
            // Closed meanwhile.
            _ => return Ok(()),
        }
    };
    if stat.st_mode & libc::S_IFMT != libc::S_IFCHR || stat.st_rdev != device {
        return Ok(());
    }
    // SAFETY: the number stays in use, so its owner still owns a descriptor.
    check(unsafe { libc::dup3(new.as_raw_fd(), number, libc::O_CLOEXEC) }.into()).map(|_| ())
}

/// fchmodat2(2) of the descriptor itself, Linux 6.6.
pub(crate) fn fchmodat2(file: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
    const SYS_FCHMODAT2: libc::c_long = 452;
    // SAFETY: the path ends in NUL; the rest are numbers.
    check(unsafe {
        libc::syscall(SYS_FCHMODAT2, file.as_raw_fd(), c"".as_ptr(), mode, libc::AT_EMPTY_PATH)
    })
    .map(|_| ())
}

/// getdents64(2).
pub(crate) fn getdents64(directory: BorrowedFd<'_>, entries: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the buffer is ours for as many bytes as we say.
    check(unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            directory.as_raw_fd(),
            entries.as_mut_ptr(),
            entries.len(),
        )
    })
}

/// Numbers of linux/fs.h on machines with 64 bits.
pub(crate) const FS_IOC_GETFLAGS: u32 = 0x8008_6601;
pub(crate) const FS_IOC_SETFLAGS: u32 = 0x4008_6602;
pub(crate) const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;
pub(crate) const FS_IOC_FSSETXATTR: u32 = 0x401c_5820;

/// One of these four. The argument must have the size that the number says.
pub(crate) fn fs_ioctl(
    file: BorrowedFd<'_>,
    request: u32,
    argument: &mut [u8],
) -> Result<(), Errno> {
    let size = (request >> 16) & 0x3fff;
    if argument.len() < size as usize {
        return Err(Errno::INVAL);
    }
    // SAFETY: these requests read or write at most the size in their number, which the argument
    // has.
    check(unsafe {
        libc::syscall(libc::SYS_ioctl, file.as_raw_fd(), request, argument.as_mut_ptr())
    })
    .map(|_| ())
}

/// fcntl(2), F_SETLEASE with F_RDLCK. A waiting writer is told by SIGURG, which by default does
/// nothing, and not by SIGIO, which ends the process.
pub(crate) fn lease_read(file: impl AsFd) -> Result<(), Errno> {
    /// asm-generic/fcntl.h; not in the libc crate for every architecture.
    const F_SETSIG: libc::c_int = 10;
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: both commands take numbers only.
    let signal = unsafe { libc::fcntl(fd, F_SETSIG, libc::SIGURG) };
    check(signal.into())?;
    // SAFETY: as above.
    let lease = unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) };
    check(lease.into()).map(|_| ())
}

/// fcntl(2), F_GETLEASE: whether a read lease is held and not being broken.
pub(crate) fn holds_read_lease(file: impl AsFd) -> bool {
    // SAFETY: the command takes no argument.
    unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_GETLEASE) == libc::F_RDLCK }
}

/// poll(2): whether within so many milliseconds there is something to read, or the last writer has
/// closed. A signal ends the wait early.
pub(crate) fn readable_within(fd: impl AsFd, milliseconds: libc::c_int) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd, which is ours.
    unsafe { libc::poll(&raw mut poll, 1, milliseconds) == 1 }
}

/// fcntl(2), F_SETLEASE with F_UNLCK. That there is none is fine.
pub(crate) fn unlease(file: impl AsFd) {
    // SAFETY: the command takes numbers only.
    unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
}
