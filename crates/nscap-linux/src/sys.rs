// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls that no crate here wraps: the namespace ioctls (ioctl_nsfs(2)), the *xattrat
//! family, statmount(2) and kcmp(2). Nothing but the call and its errno.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

const NS_GET_USERNS: libc::c_ulong = 0xb701;
const NS_GET_PARENT: libc::c_ulong = 0xb702;
const NS_GET_OWNER_UID: libc::c_ulong = 0xb704;
/// `_IOR(0xb7, 13, __u64)`, Linux 6.18.
const NS_GET_ID: libc::c_ulong = 0x8008_b70d;

const SYS_STATMOUNT: libc::c_long = 457;
const SYS_SETXATTRAT: libc::c_long = 463;
const SYS_GETXATTRAT: libc::c_long = 464;
const SYS_LISTXATTRAT: libc::c_long = 465;
const SYS_REMOVEXATTRAT: libc::c_long = 466;

pub(crate) fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn check(result: libc::c_long) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| last())
}

fn ns_fd(fd: BorrowedFd<'_>, request: libc::c_ulong) -> Result<OwnedFd, Errno> {
    // SAFETY: these two requests take no argument and give a new descriptor.
    let new = unsafe { libc::ioctl(fd.as_raw_fd(), request) };
    if new < 0 {
        return Err(last());
    }
    // SAFETY: the kernel has just returned this descriptor, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// The parent of a user namespace. EPERM where it is outside the caller's own or there is none.
pub(crate) fn ns_parent(fd: impl AsFd) -> Result<OwnedFd, Errno> {
    ns_fd(fd.as_fd(), NS_GET_PARENT)
}

/// The user namespace that owns a namespace of another kind.
pub(crate) fn ns_userns(fd: impl AsFd) -> Result<OwnedFd, Errno> {
    ns_fd(fd.as_fd(), NS_GET_USERNS)
}

/// The uid that made a user namespace, as the caller's namespace sees it.
pub(crate) fn ns_owner_uid(fd: impl AsFd) -> Result<u32, Errno> {
    let mut uid: libc::uid_t = 0;
    // SAFETY: the request writes one uid_t to the pointer, which is valid for it.
    let done = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_OWNER_UID, &raw mut uid) };
    if done < 0 { Err(last()) } else { Ok(uid) }
}

/// Makes this thread's kernel one without NS_GET_ID.
#[cfg(test)]
pub(crate) fn without_ns_ids() {
    WITHOUT_NS_IDS.set(true);
}

#[cfg(test)]
thread_local!(static WITHOUT_NS_IDS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });

/// The id of a namespace, never used again. ENOTTY or EINVAL before Linux 6.18.
pub(crate) fn ns_id(fd: impl AsFd) -> Result<u64, Errno> {
    #[cfg(test)]
    if WITHOUT_NS_IDS.get() {
        return Err(Errno::NOTTY);
    }
    let mut id = 0u64;
    // SAFETY: the request writes one u64 to the pointer, which is valid for it.
    let done = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_ID, &raw mut id) };
    if done < 0 { Err(last()) } else { Ok(id) }
}

/// The id of a mount namespace that statmount(2) takes, Linux 6.11.
pub(crate) fn mount_ns_id(fd: impl AsFd) -> Result<u64, Errno> {
    /// `_IOR(0xb7, 5, __u64)`.
    const NS_GET_MNTNS_ID: libc::c_ulong = 0x8008_b705;
    let mut id = 0u64;
    // SAFETY: the request writes one u64 to the pointer, which is valid for it.
    let done = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_MNTNS_ID, &raw mut id) };
    if done < 0 { Err(last()) } else { Ok(id) }
}

/// `struct xattr_args` of linux/xattr.h.
#[repr(C, align(8))]
struct XattrArgs {
    value: u64,
    size: u32,
    flags: u32,
}

const XATTR_ARGS_SIZE: usize = size_of::<XattrArgs>();

/// Whether a call follows a symbolic link in the last part of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LastLink {
    /// What it leads to.
    Follow,
    /// The link itself (AT_SYMLINK_NOFOLLOW).
    Itself,
}

impl LastLink {
    fn at_flags(self) -> libc::c_int {
        match self {
            LastLink::Follow => 0,
            LastLink::Itself => libc::AT_SYMLINK_NOFOLLOW,
        }
    }
}

/// getxattrat(2), Linux 6.13.
pub(crate) fn getxattrat(
    dir: BorrowedFd<'_>,
    path: &CStr,
    last: LastLink,
    name: &CStr,
    value: &mut [u8],
) -> Result<usize, Errno> {
    let size = u32::try_from(value.len()).map_err(|_| Errno::TOOBIG)?;
    let args = XattrArgs { value: value.as_mut_ptr() as u64, size, flags: 0 };
    // SAFETY: both strings end in NUL; args names a buffer that is ours for `size` bytes.
    check(unsafe {
        libc::syscall(
            SYS_GETXATTRAT,
            dir.as_raw_fd(),
            path.as_ptr(),
            last.at_flags(),
            name.as_ptr(),
            &raw const args,
            XATTR_ARGS_SIZE,
        )
    })
}

/// listxattrat(2), Linux 6.13: how many bytes of names, each with its NUL, were written to `list`;
/// how many there are where it is empty.
pub(crate) fn listxattrat(
    dir: BorrowedFd<'_>,
    path: &CStr,
    last: LastLink,
    list: &mut [u8],
) -> Result<usize, Errno> {
    // SAFETY: the path ends in NUL; the kernel writes at most `list.len()` bytes to the buffer.
    check(unsafe {
        libc::syscall(
            SYS_LISTXATTRAT,
            dir.as_raw_fd(),
            path.as_ptr(),
            last.at_flags(),
            list.as_mut_ptr(),
            list.len(),
        )
    })
}

/// setxattrat(2), Linux 6.13.
pub(crate) fn setxattrat(
    dir: BorrowedFd<'_>,
    path: &CStr,
    name: &CStr,
    value: &[u8],
    flags: u32,
) -> Result<(), Errno> {
    let size = u32::try_from(value.len()).map_err(|_| Errno::TOOBIG)?;
    let args = XattrArgs { value: value.as_ptr() as u64, size, flags };
    // SAFETY: both strings end in NUL; the kernel only reads the `size` bytes that args names.
    check(unsafe {
        libc::syscall(
            SYS_SETXATTRAT,
            dir.as_raw_fd(),
            path.as_ptr(),
            0,
            name.as_ptr(),
            &raw const args,
            XATTR_ARGS_SIZE,
        )
    })
    .map(|_| ())
}

/// removexattrat(2), Linux 6.13.
pub(crate) fn removexattrat(dir: BorrowedFd<'_>, path: &CStr, name: &CStr) -> Result<(), Errno> {
    // SAFETY: both strings end in NUL.
    check(unsafe {
        libc::syscall(SYS_REMOVEXATTRAT, dir.as_raw_fd(), path.as_ptr(), 0, name.as_ptr())
    })
    .map(|_| ())
}

/// `struct mnt_id_req` of linux/mount.h, version 1.
#[repr(C)]
struct MountRequest {
    size: u32,
    spare: u32,
    mnt_id: u64,
    param: u64,
    mnt_ns_id: u64,
}

/// statmount(2), Linux 6.8: fills `answer` with a `struct statmount` and its strings. With the id
/// of a mount namespace (Linux 6.11), of a mount in that one.
pub(crate) fn statmount(
    mnt_id: u64,
    namespace: Option<u64>,
    mask: u64,
    answer: &mut [u8],
) -> Result<(), Errno> {
    // Version 0 ends before the last field.
    let size = match namespace {
        None => std::mem::offset_of!(MountRequest, mnt_ns_id),
        Some(_) => size_of::<MountRequest>(),
    };
    let mnt_ns_id = namespace.unwrap_or(0);
    let request = MountRequest { size: size as u32, spare: 0, mnt_id, param: mask, mnt_ns_id };
    // SAFETY: the request is a valid struct of the size it says; the buffer is ours.
    check(unsafe {
        libc::syscall(SYS_STATMOUNT, &raw const request, answer.as_mut_ptr(), answer.len(), 0)
    })
    .map(|_| ())
}

/// mount_setattr(2), Linux 5.12, on the mount that the descriptor is the root of: MOUNT_ATTR_* to
/// set and to clear; with MOUNT_ATTR_IDMAP, the user namespace whose maps it takes.
pub(crate) fn set_mount_attributes(
    mount: impl AsFd,
    set: u64,
    clear: u64,
    map: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: clear,
        propagation: 0,
        userns_fd: map.map_or(0, |map| map.as_raw_fd().unsigned_abs().into()),
    };
    // SAFETY: the path ends in NUL; the kernel reads as many bytes of the struct as it has.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(|_| ())
}

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

/// malloc_trim(3).
pub(crate) fn malloc_trim() {
    // SAFETY: the allocator's own function; it moves nothing that is in use.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
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

/// `_IOR(229, 0, uint32_t)`, linux/fuse.h.
const FUSE_DEV_IOC_CLONE: libc::c_ulong = 0x8004_e500;
/// `_IOW(229, 1, struct fuse_backing_map)`, Linux 6.9.
const FUSE_DEV_IOC_BACKING_OPEN: libc::c_ulong = 0x4010_e501;
/// `_IOW(229, 2, uint32_t)`.
const FUSE_DEV_IOC_BACKING_CLOSE: libc::c_ulong = 0x4004_e502;

/// `struct fuse_backing_map` of linux/fuse.h.
#[repr(C)]
struct BackingMap {
    fd: i32,
    flags: u32,
    padding: u64,
}

/// Makes `new` a descriptor of `device`'s connection.
pub(crate) fn fuse_clone(new: BorrowedFd<'_>, device: BorrowedFd<'_>) -> Result<(), Errno> {
    let number = device.as_raw_fd().unsigned_abs();
    // SAFETY: the request reads one u32 from the pointer, which is valid for it.
    let done = unsafe { libc::ioctl(new.as_raw_fd(), FUSE_DEV_IOC_CLONE, &raw const number) };
    check(done.into()).map(|_| ())
}

/// The id of a file that is given to the kernel.
pub(crate) fn fuse_backing_open(
    device: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
) -> Result<i32, Errno> {
    let map = BackingMap { fd: file.as_raw_fd(), flags: 0, padding: 0 };
    // SAFETY: the request reads one such struct from the pointer, which is valid for it.
    let id = unsafe { libc::ioctl(device.as_raw_fd(), FUSE_DEV_IOC_BACKING_OPEN, &raw const map) };
    check(id.into()).map(|_| id)
}

/// Takes it back.
pub(crate) fn fuse_backing_close(device: BorrowedFd<'_>, id: i32) -> Result<(), Errno> {
    let id = id.unsigned_abs();
    // SAFETY: the request reads one u32 from the pointer, which is valid for it.
    let done =
        unsafe { libc::ioctl(device.as_raw_fd(), FUSE_DEV_IOC_BACKING_CLOSE, &raw const id) };
    check(done.into()).map(|_| ())
}

/// fcntl(2), F_SETLEASE with F_UNLCK. That there is none is fine.
pub(crate) fn unlease(file: impl AsFd) {
    // SAFETY: the command takes numbers only.
    unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
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
