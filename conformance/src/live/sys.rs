// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system calls that no crate wraps safely, and the two rules that make forking safe here: the
//! runner never starts a thread, and a child never returns into its parent's code.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::fs::Mode;
use rustix::mount::MountPropagationFlags;
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
pub(crate) fn fork(child: impl FnOnce() -> u8) -> io::Result<Pid> {
    spawn(0, child)
}

/// As [`fork`], and the two processes share their file system information (clone(2), CLONE_FS).
///
/// # Errors
/// clone(2)'s.
pub(crate) fn fork_sharing_fs(child: impl FnOnce() -> u8) -> io::Result<Pid> {
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
pub(crate) fn leave() -> ! {
    // SAFETY: ends the process; what std would run at exit is not for a forked child.
    unsafe { libc::_exit(0) }
}

/// Ends this thread and nothing else; of the first thread /proc keeps a zombie.
pub(crate) fn leave_thread() -> ! {
    // SAFETY: _exit(2) as the kernel has it ends one thread. What the thread owns is leaked, and
    // its stack stays as it is.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    leave()
}

/// unshare(2) of namespaces.
///
/// # Errors
/// unshare(2)'s.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: file descriptors stay shared within the process, so no owned one goes stale.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// A mount namespace in which what is mounted stays.
///
/// # Errors
/// unshare(2)'s, mount(2)'s.
pub(crate) fn own_mounts() -> io::Result<()> {
    unshare(UnshareFlags::NEWNS)?;
    let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    Ok(rustix::mount::mount_change("/", private)?)
}

/// execve(2) of a relative or absolute path without arguments or environment. Returns only with
/// an error.
pub(crate) fn exec(path: &CStr) -> io::Error {
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
pub(crate) fn trace_me() -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) }).map(drop)
}

/// Lets a stopped child that this process traces go on and be traced no more.
///
/// # Errors
/// ptrace(2)'s.
pub(crate) fn untrace(pid: Pid) -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::ptrace(libc::PTRACE_DETACH, pid.as_raw_nonzero().get(), 0, 0) }).map(drop)
}

/// What [`set_mount`] changes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MountFlags<'fd> {
    /// nosuid.
    pub(crate) nosuid: bool,
    /// noexec.
    pub(crate) noexec: bool,
    /// Read-only.
    pub(crate) read_only: bool,
    /// The user namespace whose maps become the mount's.
    pub(crate) idmap: Option<BorrowedFd<'fd>>,
}

/// mount_setattr(2) on the mount that `mount` is.
///
/// # Errors
/// mount_setattr(2)'s; EINVAL where the file system has no id-mapped mounts.
pub(crate) fn set_mount(mount: impl AsFd, flags: MountFlags<'_>) -> io::Result<()> {
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
pub(crate) fn touch_mapped(file: impl AsFd) -> io::Result<()> {
    let mut page = Mapping::shared(file, 0, true)?;
    page.store(page.load());
    Ok(())
}

/// A page of a file, mapped shared. Unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping(*mut libc::c_void);

/// The size of a page, and of a block that direct I/O takes.
const PAGE: usize = 4096;

impl Mapping {
    /// Maps the page at this offset, writable or only readable.
    ///
    /// # Errors
    /// mmap(2)'s.
    pub(crate) fn shared(file: impl AsFd, at: u64, writable: bool) -> io::Result<Mapping> {
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        let (fd, flags) = (file.as_fd().as_raw_fd(), libc::MAP_SHARED);
        let at = i64::try_from(at).map_err(io::Error::other)?;
        // SAFETY: the kernel chooses the address, so nothing of ours is replaced.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, fd, at) };
        if page == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Mapping(page)) }
    }

    /// mprotect(2) to readable and writable.
    ///
    /// # Errors
    /// mprotect(2)'s.
    pub(crate) fn make_writable(&self) -> io::Result<()> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the page is a mapping of ours, and no reference into it exists.
        check(unsafe { libc::mprotect(self.0, PAGE, protection) }.into()).map(drop)
    }

    /// Writes its first byte. It must be writable, and the file must have that byte.
    pub(crate) fn store(&mut self, byte: u8) {
        // SAFETY: the page is mapped, and no reference into it exists.
        unsafe { self.0.cast::<u8>().write_volatile(byte) };
    }

    /// Its first byte.
    pub(crate) fn load(&self) -> u8 {
        // SAFETY: as in `store`.
        unsafe { self.0.cast::<u8>().read_volatile() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the page was mapped by us and is unmapped once.
        unsafe { libc::munmap(self.0, PAGE) };
    }
}

/// Writes a page of padding, as direct I/O wants it.
///
/// # Errors
/// pwrite(2)'s.
pub(crate) fn write_aligned(file: impl AsFd, at: u64) -> io::Result<()> {
    #[repr(align(4096))]
    struct Page([u8; PAGE]);
    let page = Box::new(Page([b'x'; PAGE]));
    Ok(rustix::io::pwrite(file, &page.0, at).map(drop)?)
}

/// Writes a byte by io_uring(7).
///
/// # Errors
/// io_uring_setup(2)'s, and the write's.
pub(crate) fn write_by_ring(file: impl AsFd, at: u64) -> io::Result<()> {
    use io_uring::{IoUring, opcode, types};
    let mut ring = IoUring::new(2)?;
    let fd = types::Fd(file.as_fd().as_raw_fd());
    let write = opcode::Write::new(fd, b"x".as_ptr(), 1).offset(at).build();
    // SAFETY: the byte is static, and the descriptor is open until the answer is there.
    unsafe { ring.submission().push(&write) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let answer = ring.completion().next().ok_or_else(|| io::Error::other("no answer"))?;
    if answer.result() < 0 {
        return Err(io::Error::from_raw_os_error(-answer.result()));
    }
    Ok(())
}

/// A write that was submitted and may not have arrived.
pub(crate) struct InFlight(io_uring::IoUring);

impl std::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InFlight")
    }
}

/// Submits one large write of `x` by io_uring(7), as direct I/O wants it: `length` is of whole
/// pages. The descriptor must stay open until it is [waited](InFlight::wait) for.
///
/// # Errors
/// io_uring_setup(2)'s.
pub(crate) fn submit_by_ring(file: impl AsFd, at: u64, length: usize) -> io::Result<InFlight> {
    use io_uring::{IoUring, opcode, squeue, types};
    let room = length + PAGE;
    // Never freed, since the kernel reads it for as long as it likes.
    let buffer: &'static [u8] = vec![b'x'; room].leak();
    let start = buffer.as_ptr().align_offset(PAGE);
    let aligned = buffer.get(start..start + length).ok_or_else(|| io::Error::other("no room"))?;
    let length = u32::try_from(length).map_err(io::Error::other)?;
    let mut ring = IoUring::new(2)?;
    let fd = types::Fd(file.as_fd().as_raw_fd());
    let write = opcode::Write::new(fd, aligned.as_ptr(), length).offset(at).build();
    let write = write.flags(squeue::Flags::ASYNC);
    // SAFETY: the bytes are static, and the descriptor stays open.
    unsafe { ring.submission().push(&write) }.map_err(io::Error::other)?;
    ring.submit()?;
    Ok(InFlight(ring))
}

impl InFlight {
    /// Waits for it to arrive.
    ///
    /// # Errors
    /// The write's.
    pub(crate) fn wait(mut self) -> io::Result<()> {
        self.0.submit_and_wait(1)?;
        let answer = self.0.completion().next().ok_or_else(|| io::Error::other("no answer"))?;
        match answer.result() {
            error @ ..0 => Err(io::Error::from_raw_os_error(-error)),
            _ => Ok(()),
        }
    }
}

/// truncate(2).
///
/// # Errors
/// truncate(2)'s.
pub(crate) fn truncate(path: &std::path::Path, size: u64) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let size = i64::try_from(size).map_err(io::Error::other)?;
    // SAFETY: the path is a C string that outlives the call.
    check(unsafe { libc::truncate(path.as_ptr(), size) }.into()).map(drop)
}

/// Sets the umask, so that modes are what the scenario says.
pub(crate) fn clear_umask() {
    rustix::process::umask(Mode::empty());
}
