//! The system calls that no crate wraps safely, and the two rules that make forking safe here: the
//! runner never starts a thread, and a child never returns into its parent's code.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::fs::Mode;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Runs `child` in a new process and gives its id. The process exits with what `child` returns, or
/// with 101 after a panic; it never returns.
///
/// # Errors
/// fork(2)'s.
pub(super) fn fork(child: impl FnOnce() -> u8) -> io::Result<Pid> {
    spawn(0, child)
}

/// As [`fork`], and the two processes share their file system information (clone(2), CLONE_FS).
///
/// # Errors
/// clone(2)'s.
pub(super) fn fork_sharing_fs(child: impl FnOnce() -> u8) -> io::Result<Pid> {
    spawn(libc::CLONE_FS, child)
}

fn spawn(flags: libc::c_int, child: impl FnOnce() -> u8) -> io::Result<Pid> {
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    // SAFETY: without CLONE_VM this is fork(2): the child has its own copy of everything. This
    // process has one thread, so no lock is held by a thread that the child does not have.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    if pid == 0 {
        let status = catch_unwind(AssertUnwindSafe(child)).unwrap_or(101);
        // SAFETY: ends the process; what the parent would run at exit is not for the child.
        unsafe { libc::_exit(libc::c_int::from(status)) }
    }
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::other("clone gave no process id"))
}

/// Ends this process at once, whatever its other threads do.
pub(super) fn leave() -> ! {
    // SAFETY: ends the process; what std would run at exit is not for a forked child.
    unsafe { libc::_exit(0) }
}

/// unshare(2) of namespaces.
///
/// # Errors
/// unshare(2)'s.
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: file descriptors stay shared within the process, so no owned one goes stale.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// execve(2) of a relative or absolute path without arguments or environment. Returns only with
/// an error.
pub(super) fn exec(path: &CStr) -> io::Error {
    let argv = [path.as_ptr(), std::ptr::null()];
    let envp = [std::ptr::null()];
    // SAFETY: both arrays end with null and outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Lets the parent trace this process (ptrace(2), PTRACE_TRACEME).
///
/// # Errors
/// ptrace(2)'s.
pub(super) fn trace_me() -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) }).map(drop)
}

/// Lets a stopped child that this process traces go on and be traced no more.
///
/// # Errors
/// ptrace(2)'s.
pub(super) fn untrace(pid: Pid) -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::ptrace(libc::PTRACE_DETACH, pid.as_raw_nonzero().get(), 0, 0) }).map(drop)
}

/// What [`set_mount`] changes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MountFlags<'fd> {
    /// nosuid.
    pub(super) nosuid: bool,
    /// noexec.
    pub(super) noexec: bool,
    /// Read-only.
    pub(super) read_only: bool,
    /// The user namespace whose maps become the mount's.
    pub(super) idmap: Option<BorrowedFd<'fd>>,
}

/// mount_setattr(2) on the mount that `mount` is.
///
/// # Errors
/// mount_setattr(2)'s; EINVAL where the file system has no id-mapped mounts.
pub(super) fn set_mount(mount: impl AsFd, flags: MountFlags<'_>) -> io::Result<()> {
    let bit = |on: bool, bit: u64| if on { bit } else { 0 };
    let attr = libc::mount_attr {
        attr_set: bit(flags.nosuid, libc::MOUNT_ATTR_NOSUID)
            | bit(flags.noexec, libc::MOUNT_ATTR_NOEXEC)
            | bit(flags.read_only, libc::MOUNT_ATTR_RDONLY)
            | bit(flags.idmap.is_some(), libc::MOUNT_ATTR_IDMAP),
        attr_clr: 0,
        propagation: 0,
        userns_fd: flags.idmap.map_or(0, |fd| fd.as_raw_fd().unsigned_abs().into()),
    };
    // SAFETY: the path is a constant C string, and `attr` is a live mount_attr of the size given.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// Writes the first byte of a file, as it was, through a shared mapping.
///
/// # Errors
/// mmap(2)'s.
pub(super) fn touch_mapped(file: impl AsFd) -> io::Result<()> {
    const LEN: usize = 1;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the kernel chooses the address, so nothing of ours is replaced.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), LEN, protection, libc::MAP_SHARED, fd, 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let byte = at.cast::<u8>();
    // SAFETY: the page is mapped for both, no reference to it exists, and the file is not
    // truncated meanwhile: its world belongs to this scenario. It is unmapped once.
    unsafe {
        byte.write_volatile(byte.read_volatile());
        libc::munmap(at, LEN);
    }
    Ok(())
}

/// Sets the umask, so that modes are what the scenario says.
pub(super) fn clear_umask() {
    rustix::process::umask(Mode::empty());
}
