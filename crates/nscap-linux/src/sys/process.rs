// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls about the calling process or thread: what it shares, its ids, its children and its end.

use std::os::fd::AsRawFd as _;

use rustix::io::Errno;

use super::{check, last};

/// unshare(2) with CLONE_FS: this thread has its own current directory, umask and root from now on.
pub(crate) fn unshare_fs() -> Result<(), Errno> {
    // SAFETY: takes a number only; no memory or descriptor is unshared.
    check(libc::c_long::from(unsafe { libc::unshare(libc::CLONE_FS) })).map(|_| ())
}

/// kcmp(2) with KCMP_FS: whether two tasks share their file system information.
pub(crate) fn shares_fs(one: u32, other: u32) -> Result<bool, Errno> {
    const KCMP_FS: libc::c_int = 3;
    // SAFETY: kcmp takes numbers only.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FS, 0, 0) };
    check(order).map(|order| order == 0)
}

/// unshare(2) of namespaces.
pub(crate) fn unshare(flags: rustix::thread::UnshareFlags) -> Result<(), Errno> {
    // SAFETY: only CLONE_FILES would make descriptors of other threads go stale, and the one caller
    // passes flags of namespaces.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// close_range(2) with CLOSE_RANGE_CLOEXEC: marks every descriptor from `first` on. Linux 5.11.
pub(crate) fn close_on_exec_from(first: libc::c_uint) -> Result<(), Errno> {
    let mark = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
    // SAFETY: nothing is closed now, so every owned descriptor stays as it is.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, mark) })
        .map(|_| ())
}

/// Whether this process may make a user namespace: a child of it tries, and its status is the
/// errno.
pub(crate) fn try_unshare_user() -> Result<(), Errno> {
    // SAFETY: the child only makes system calls and exits.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: numbers only; _exit runs nothing of the parent's, and errno is the child's own.
        unsafe {
            let done = libc::unshare(libc::CLONE_NEWUSER);
            libc::_exit(if done == 0 { 0 } else { *libc::__errno_location() });
        }
    }
    if pid < 0 {
        return Err(last());
    }
    let mut status = 0;
    // SAFETY: waits for the child that we made; `status` is ours.
    if unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
        return Err(last());
    }
    match libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)) {
        Some(0) => Ok(()),
        Some(errno) => Err(Errno::from_raw_os_error(errno)),
        None => Err(Errno::INTR),
    }
}

/// A child in a user namespace of its own without maps; it ends with the pipe that it waits for, or
/// with us.
pub(crate) struct Unshared(libc::pid_t);

impl Unshared {
    /// Starts it; it says 1 once it is in the namespace, and 0 where it may not.
    pub(crate) fn start(
        says: std::io::PipeWriter,
        waits: std::io::PipeReader,
    ) -> Result<Unshared, Errno> {
        // SAFETY: the child only makes system calls and exits.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: numbers and a byte of our own; _exit runs nothing of the parent's.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                let mut byte = u8::from(libc::unshare(libc::CLONE_NEWUSER) == 0);
                libc::write(says.as_raw_fd(), (&raw const byte).cast(), 1);
                // The copy of the other end, too, must be closed for the pipe to end.
                let kept = waits.as_raw_fd();
                libc::syscall(libc::SYS_close_range, 3, kept.saturating_sub(1), 0);
                libc::syscall(libc::SYS_close_range, kept + 1, libc::c_int::MAX, 0);
                libc::read(kept, (&raw mut byte).cast(), 1);
                libc::_exit(0);
            }
        }
        if pid < 0 { Err(last()) } else { Ok(Unshared(pid)) }
    }

    pub(crate) fn pid(&self) -> libc::pid_t {
        self.0
    }
}

impl Drop for Unshared {
    fn drop(&mut self) {
        let mut status = 0;
        // SAFETY: ends and waits for the child that we made, whose number is its own until then.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, &raw mut status, 0);
        }
    }
}

/// An id that setfsuid(2) and setfsgid(2) take for a question.
const ASK: u32 = u32::MAX;

/// The calling thread's file system uid.
pub(crate) fn fsuid() -> u32 {
    // SAFETY: takes a number.
    unsafe { libc::syscall(libc::SYS_setfsuid, ASK) as u32 }
}

/// The calling thread's file system gid.
pub(crate) fn fsgid() -> u32 {
    // SAFETY: takes a number.
    unsafe { libc::syscall(libc::SYS_setfsgid, ASK) as u32 }
}

/// setfsuid(2) for the calling thread; the uid before. Only [`fsuid`] tells whether it was done.
pub(crate) fn set_fsuid(uid: u32) -> u32 {
    // SAFETY: takes a number.
    unsafe { libc::syscall(libc::SYS_setfsuid, uid) as u32 }
}

/// setfsgid(2) for the calling thread; the gid before. Only [`fsgid`] tells whether it was done.
pub(crate) fn set_fsgid(gid: u32) -> u32 {
    // SAFETY: takes a number.
    unsafe { libc::syscall(libc::SYS_setfsgid, gid) as u32 }
}

/// malloc_trim(3).
pub(crate) fn malloc_trim() {
    // SAFETY: the allocator's own function; it moves nothing that is in use.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// fork(2), `None` in the child, which ends with its parent. Only for a process of one thread: the
/// child goes on with whatever the parent had.
pub(crate) fn fork_with_parent() -> Result<Option<rustix::process::Pid>, Errno> {
    // SAFETY: of several threads the child would have only this one, and the locks of the others
    // would never open; callers have no other.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(last());
    }
    if pid == 0 {
        // SAFETY: takes numbers only.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    }
    Ok(rustix::process::Pid::from_raw(pid))
}

/// Puts /dev/null in the place of standard input, output and error.
pub(crate) fn let_go_of_stdio() {
    // SAFETY: the three numbers stay open, for something else.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        for number in 0..3 {
            if null < 0 || libc::dup2(null, number) < 0 {
                libc::close(number);
            }
        }
    }
}

/// _exit(2): nothing of what other threads hold is waited for.
pub(crate) fn exit_now(status: u8) -> ! {
    // SAFETY: takes a number, and does not come back.
    unsafe { libc::_exit(status.into()) }
}
