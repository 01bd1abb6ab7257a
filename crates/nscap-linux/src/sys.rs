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

fn last() -> Errno {
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
    // SAFETY: the kernel has just given us this descriptor; nobody else has it.
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

/// The id of a namespace, never used again. ENOTTY or EINVAL before Linux 6.18.
pub(crate) fn ns_id(fd: impl AsFd) -> Result<u64, Errno> {
    let mut id = 0u64;
    // SAFETY: the request writes one u64 to the pointer, which is valid for it.
    let done = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_ID, &raw mut id) };
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

/// getxattrat(2), Linux 6.13.
pub(crate) fn getxattrat(
    dir: BorrowedFd<'_>,
    path: &CStr,
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
            0,
            name.as_ptr(),
            &raw const args,
            XATTR_ARGS_SIZE,
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

/// listxattrat(2), Linux 6.13.
pub(crate) fn listxattrat(
    dir: BorrowedFd<'_>,
    path: &CStr,
    names: &mut [u8],
) -> Result<usize, Errno> {
    // SAFETY: the string ends in NUL; the buffer is ours for its length.
    check(unsafe {
        libc::syscall(
            SYS_LISTXATTRAT,
            dir.as_raw_fd(),
            path.as_ptr(),
            0,
            names.as_mut_ptr(),
            names.len(),
        )
    })
}

/// removexattrat(2), Linux 6.13.
pub(crate) fn removexattrat(dir: BorrowedFd<'_>, path: &CStr, name: &CStr) -> Result<(), Errno> {
    // SAFETY: both strings end in NUL.
    check(unsafe {
        libc::syscall(SYS_REMOVEXATTRAT, dir.as_raw_fd(), path.as_ptr(), 0, name.as_ptr())
    })
    .map(|_| ())
}

/// `struct mnt_id_req` of linux/mount.h, version 0.
#[repr(C)]
struct MountRequest {
    size: u32,
    spare: u32,
    mnt_id: u64,
    param: u64,
}

/// statmount(2), Linux 6.8: fills `answer` with a `struct statmount` and its strings.
pub(crate) fn statmount(mnt_id: u64, mask: u64, answer: &mut [u8]) -> Result<(), Errno> {
    let size = size_of::<MountRequest>();
    let request = MountRequest { size: size as u32, spare: 0, mnt_id, param: mask };
    // SAFETY: the request is a valid struct of the size it says; the buffer is ours.
    check(unsafe {
        libc::syscall(SYS_STATMOUNT, &raw const request, answer.as_mut_ptr(), answer.len(), 0)
    })
    .map(|_| ())
}

/// kcmp(2) with KCMP_FS: whether two tasks share their file system information.
pub(crate) fn shares_fs(one: u32, other: u32) -> Result<bool, Errno> {
    const KCMP_FS: libc::c_int = 3;
    // SAFETY: kcmp takes numbers only.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FS, 0, 0) };
    check(order).map(|order| order == 0)
}

/// Whether this process may make a user namespace: a child of it tries.
pub(crate) fn may_unshare_user() -> bool {
    // SAFETY: the child only makes system calls and exits.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: numbers only; _exit runs nothing of the parent's.
        unsafe { libc::_exit(libc::unshare(libc::CLONE_NEWUSER)) };
    }
    let mut status = 0;
    // SAFETY: waits for the child that we made; `status` is ours.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    waited == pid && pid > 0 && status == 0
}

/// Whether seccomp(2) knows SECCOMP_RET_USER_NOTIF.
pub(crate) fn has_seccomp_notify() -> bool {
    const SECCOMP_GET_ACTION_AVAIL: libc::c_long = 2;
    let action: u32 = libc::SECCOMP_RET_USER_NOTIF;
    // SAFETY: the operation reads one u32 from the pointer, which is valid for it.
    let known =
        unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    known == 0
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

/// fcntl(2), F_GETLEASE: whether a read lease is held that nobody is breaking.
pub(crate) fn holds_read_lease(file: impl AsFd) -> bool {
    // SAFETY: the command takes no argument.
    unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_GETLEASE) == libc::F_RDLCK }
}

/// fcntl(2), F_SETLEASE with F_UNLCK. That there is none is fine.
pub(crate) fn unlease(file: impl AsFd) {
    // SAFETY: the command takes numbers only.
    unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
}
