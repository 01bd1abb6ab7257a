// SPDX-License-Identifier: MIT OR Apache-2.0
//! What keeps a file system, or one file of it, waiting for as long as a test likes: memory whose
//! pages do not come, a frozen file system, a fanotify listener that does not answer, a lease.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, openat};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{peer, sys};

/// ioctl(2) numbers of linux/userfaultfd.h and linux/fs.h.
const USERFAULTFD_NEW: libc::c_ulong = 0xaa00;
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const FIFREEZE: libc::c_ulong = 0xc004_5877;
const FITHAW: libc::c_ulong = 0xc004_5878;
const API: u64 = 0xaa;
const MISSING: u64 = 1;

/// The longest that anything is kept waiting, should the test not end it, in seconds.
const LONGEST: i64 = 20;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Reads a page of a file into memory that never comes, from the beginning; returns when the
/// calling process is killed. `device`: /dev/userfaultfd, which only root may open.
///
/// # Errors
/// Those of userfaultfd(2), and the read's.
pub(crate) fn read_without_end(device: impl AsFd, file: impl AsFd) -> io::Result<()> {
    const PAGE: usize = 4096;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the kernel chooses the address, so nothing of ours is replaced.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let mut api = [API, 0, 0];
    let mut register = [page as u64, PAGE as u64, MISSING, 0];
    // SAFETY: each call takes what linux/userfaultfd.h says: flags, three and four numbers of eight
    // bytes. Nothing of ours is in the page.
    let missing = unsafe {
        let made = libc::ioctl(device.as_fd().as_raw_fd(), USERFAULTFD_NEW, libc::O_CLOEXEC);
        let missing = OwnedFd::from_raw_fd(check(made)?);
        check(libc::ioctl(missing.as_raw_fd(), UFFDIO_API, &raw mut api))?;
        check(libc::ioctl(missing.as_raw_fd(), UFFDIO_REGISTER, &raw mut register))?;
        missing
    };
    // SAFETY: the page is ours, as long as that, and no reference into it exists.
    let read = unsafe { libc::pread(file.as_fd().as_raw_fd(), page, PAGE, 0) };
    drop(missing);
    if read < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A file system that is frozen (fsfreeze(8)): nothing that changes it goes on, until this is
/// dropped, or [`LONGEST`] is over.
pub(crate) struct Frozen {
    line: OwnedFd,
    thawer: Pid,
}

impl Frozen {
    /// Freezes that of this directory.
    ///
    /// # Errors
    /// FIFREEZE's, fork(2)'s.
    pub(crate) fn new(directory: impl AsFd) -> io::Result<Frozen> {
        let root = openat(directory, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let (theirs, line) = pipe_with(PipeFlags::CLOEXEC)?;
        let test = pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
        // It is thawed by a process that outlives a test that is killed. (Tasks that wait have the
        // other end of the line, too.)
        let thawer = sys::fork(|| {
            // Nor does it end with the others of their process group.
            let _ = rustix::process::setsid();
            let mut ends = [&theirs, &test].map(|end| PollFd::new(end, PollFlags::IN));
            let _ = poll(&mut ends, Some(&Timespec { tv_sec: LONGEST, tv_nsec: 0 }));
            // SAFETY: the call takes no more.
            unsafe { libc::ioctl(root.as_raw_fd(), FITHAW, 0) };
            0
        })?;
        let frozen = Frozen { line, thawer };
        // SAFETY: the call takes no more.
        check(unsafe { libc::ioctl(root.as_raw_fd(), FIFREEZE, 0) })?;
        Ok(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.line, b"x");
        let _ = peer::wait(self.thawer);
    }
}

/// A listener that is asked before any file of a file system is opened, and does not answer; until
/// it is dropped.
pub(crate) struct Listener {
    _listener: OwnedFd,
}

impl Listener {
    /// For the file system of this directory.
    ///
    /// # Errors
    /// Those of fanotify_init(2) and fanotify_mark(2).
    pub(crate) fn new(directory: impl AsFd) -> io::Result<Listener> {
        let flags = libc::FAN_CLASS_CONTENT | libc::FAN_CLOEXEC;
        // SAFETY: numbers only; what comes is a descriptor of ours.
        let listener = unsafe {
            let made = libc::fanotify_init(flags, libc::O_RDONLY as libc::c_uint);
            OwnedFd::from_raw_fd(check(made)?)
        };
        let root = openat(directory, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let what = libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM;
        let (listens, at) = (listener.as_raw_fd(), root.as_raw_fd());
        // SAFETY: the path is a C string: of the directory itself.
        check(unsafe {
            libc::fanotify_mark(listens, what, libc::FAN_OPEN_PERM, at, c".".as_ptr())
        })?;
        Ok(Listener { _listener: listener })
    }
}

/// Takes a lease (fcntl(2), F_SETLEASE) that any open breaks, which waits for up to
/// fs.lease-break-time, until the descriptor is closed.
///
/// # Errors
/// fcntl(2)'s.
pub(crate) fn lease(file: impl AsFd) -> io::Result<()> {
    // SAFETY: numbers only. The signal of a lease that is to be broken would end this process.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
    // SAFETY: numbers only.
    check(unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) })?;
    Ok(())
}
