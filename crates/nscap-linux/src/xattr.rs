// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes of a file by a descriptor opened with O_PATH, so that what was looked at is
//! what is changed.
//!
//! xattr(7)'s own calls take a path or a readable descriptor, not an O_PATH one (EBADF). Its link
//! in /proc/self/fd leads to the very file, whatever happens to names meanwhile: through a held
//! descriptor of that directory with the *xattrat calls (Linux 6.13), else by the path
//! "/proc/self/fd/N", which in a thread that serves is "N": that directory is its current one.
//! Either way /proc is first checked to be procfs.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::places;
use crate::sys::{self, LastLink};

/// The largest value that the kernel takes (`XATTR_SIZE_MAX`), in bytes.
const VALUE_MAX: usize = 65_536;

/// Whether the *xattrat calls are to be used: until the kernel has said that it has none.
static AT_CALLS: AtomicBool = AtomicBool::new(true);

/// The name of a descriptor's link, without an allocation.
struct LinkName([u8; 12]);

impl LinkName {
    fn of(file: BorrowedFd<'_>) -> LinkName {
        let mut name = [0; 12];
        let mut number = file.as_raw_fd().unsigned_abs();
        let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
        for digit in name.iter_mut().take(digits).rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        LinkName(name)
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

/// Calls `at` with a directory and the name of the descriptor's link in it.
pub(crate) fn by_link<T>(
    file: BorrowedFd<'_>,
    at: impl FnOnce(BorrowedFd<'_>, &CStr) -> Result<T, Errno>,
) -> Result<T, Errno> {
    at(places::held()?.links(), LinkName::of(file).as_c_str())
}

/// Calls `at` with a directory and a name in it, or `otherwise` with a path.
fn through<T>(
    file: BorrowedFd<'_>,
    at: impl FnOnce(BorrowedFd<'_>, &CStr) -> Result<T, Errno>,
    otherwise: impl FnOnce(&CStr) -> Result<T, Errno>,
) -> Result<T, Errno> {
    let places = places::held()?;
    let name = LinkName::of(file);
    if AT_CALLS.load(Ordering::Relaxed) {
        match at(places.links(), name.as_c_str()) {
            // A kernel or a seccomp filter that does not know the call: the path says the rest.
            Err(Errno::NOSYS) => AT_CALLS.store(false, Ordering::Relaxed),
            answer => return answer,
        }
    }
    if places::in_links() {
        return otherwise(name.as_c_str());
    }
    let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
    otherwise(&path.map_err(|_| Errno::INVAL)?)
}

/// A call that fills a buffer, made with one buffer either way.
fn fill(
    file: BorrowedFd<'_>,
    buffer: &mut [u8],
    at: impl FnOnce(BorrowedFd<'_>, &CStr, &mut [u8]) -> Result<usize, Errno>,
    otherwise: impl FnOnce(&CStr, &mut [u8]) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let buffer = std::cell::RefCell::new(buffer);
    through(
        file,
        |dir, link| at(dir, link, &mut buffer.borrow_mut()),
        |path| otherwise(path, &mut buffer.borrow_mut()),
    )
}

/// getxattr(2) into a buffer: the length; with an empty buffer, the length of the value. For an
/// O_PATH descriptor: fgetxattr(2), which fails on that, is not tried first. (For one that is open
/// for reading it would cost a third.)
pub(crate) fn get_into(
    file: BorrowedFd<'_>,
    name: &CStr,
    value: &mut [u8],
) -> Result<usize, Errno> {
    fill(
        file,
        value,
        |dir, link, value| sys::getxattrat(dir, link, LastLink::Follow, name, value),
        // rustix does not take an empty buffer for a question.
        |path, value| match value {
            [] => rustix::fs::getxattr_query(path, name),
            value => rustix::fs::getxattr(path, name, value),
        },
    )
}

/// listxattr(2) into a buffer, likewise.
pub(crate) fn list_into(file: BorrowedFd<'_>, names: &mut [u8]) -> Result<usize, Errno> {
    fill(
        file,
        names,
        |dir, link, names| sys::listxattrat(dir, link, LastLink::Follow, names),
        // rustix does not take an empty buffer for a question.
        |path, names| match names {
            [] => rustix::fs::listxattr_query(path),
            names => rustix::fs::listxattr(path, names),
        },
    )
}

/// setxattr(2).
pub(crate) fn set_with(
    file: BorrowedFd<'_>,
    name: &CStr,
    value: &[u8],
    flags: XattrFlags,
) -> Result<(), Errno> {
    through(
        file,
        |dir, link| sys::setxattrat(dir, link, name, value, flags.bits()),
        |path| rustix::fs::setxattr(path, name, value, flags),
    )
}

/// removexattr(2).
pub(crate) fn remove_named(file: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    through(
        file,
        |dir, link| sys::removexattrat(dir, link, name),
        |path| rustix::fs::removexattr(path, name),
    )
}

/// getxattr(2): the value, or `None` where there is none or the file system has no attributes.
///
/// # Errors
/// getxattr(2)'s other errors; EOPNOTSUPP where /proc is not procfs.
pub(crate) fn get(file: impl AsFd, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
    for size in [4096, VALUE_MAX] {
        let mut value = vec![0; size];
        match get_into(file.as_fd(), name, &mut value) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value));
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(Errno::RANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::RANGE)
}

/// What setxattr(2) does with an existing value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Present {
    /// XATTR_CREATE: EEXIST if there is a value.
    Never,
    /// XATTR_REPLACE: ENODATA if there is none.
    Always,
    /// Either way.
    Any,
}

/// setxattr(2).
///
/// # Errors
/// setxattr(2)'s; EOPNOTSUPP where /proc is not procfs.
pub(crate) fn set(
    file: impl AsFd,
    name: &CStr,
    value: &[u8],
    present: Present,
) -> Result<(), Errno> {
    let flags = match present {
        Present::Never => XattrFlags::CREATE,
        Present::Always => XattrFlags::REPLACE,
        Present::Any => XattrFlags::empty(),
    };
    set_with(file.as_fd(), name, value, flags)
}

/// removexattr(2); that there is none is fine.
///
/// # Errors
/// removexattr(2)'s other errors; EOPNOTSUPP where /proc is not procfs.
pub(crate) fn remove(file: impl AsFd, name: &CStr) -> Result<(), Errno> {
    match remove_named(file.as_fd(), name) {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Whether there is a value, getxattr(2) of size 0: also one that the kernel would not show us.
///
/// # Errors
/// getxattr(2)'s other errors; EOPNOTSUPP where /proc is not procfs.
pub(crate) fn exists(file: impl AsFd, name: &CStr) -> Result<bool, Errno> {
    match get_into(file.as_fd(), name, &mut []) {
        // EOVERFLOW and EINVAL: security.capability with a rootid or bytes that are not for us.
        Ok(_) | Err(Errno::OVERFLOW | Errno::INVAL) => Ok(true),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// listxattr(2): the names, each with a NUL after it; none where the file system has no attributes.
///
/// # Errors
/// listxattr(2)'s other errors; EOPNOTSUPP where /proc is not procfs.
pub(crate) fn list(file: impl AsFd) -> Result<Vec<u8>, Errno> {
    for size in [1024, VALUE_MAX] {
        let mut names = vec![0; size];
        match list_into(file.as_fd(), &mut names) {
            Ok(length) => {
                names.truncate(length);
                return Ok(names);
            }
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(Errno::RANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::RANGE)
}

/// Whether this kernel has the *xattrat calls (Linux 6.13).
pub(crate) fn has_at_calls() -> bool {
    let Ok(places) = places::held() else {
        return false;
    };
    let probe =
        sys::getxattrat(places.links(), c".", LastLink::Follow, c"security.capability", &mut []);
    // A seccomp filter that does not know them may say EPERM.
    !matches!(probe, Err(Errno::NOSYS | Errno::PERM))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};

    /// Both ways in turn, in one test since the switch is the process's.
    #[test]
    fn an_o_path_descriptor_is_enough_with_and_without_the_new_calls() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let fd = rustix::fs::open(file.path(), OFlags::PATH, Mode::empty()).unwrap();
        let name = c"user.nscap-test";
        for at_calls in [true, false] {
            AT_CALLS.store(at_calls, Ordering::Relaxed);
            assert_eq!(get(&fd, name), Ok(None));
            if set(&fd, name, b"one", Present::Never) == Err(Errno::OPNOTSUPP) {
                println!("skipped: no user attributes on {}", file.path().display());
                return;
            }
            assert_eq!(set(&fd, name, b"two", Present::Never), Err(Errno::EXIST));
            assert_eq!(set(&fd, name, &[7; 1000], Present::Always), Ok(()));
            assert_eq!(get(&fd, name), Ok(Some(vec![7; 1000])));
            for file in [fd.as_fd(), file.as_fd()] {
                assert_eq!(get_into(file, name, &mut []), Ok(1000));
                assert_eq!(get_into(file, name, &mut [0; 999]), Err(Errno::RANGE));
                assert_eq!(get_into(file, name, &mut [0; 1001]), Ok(1000));
                let listed = list_into(file, &mut [0; 1000]);
                assert!(listed.is_ok_and(|length| length > name.count_bytes()));
                assert_eq!(list_into(file, &mut []), listed);
                assert_eq!(list_into(file, &mut [0; 3]), Err(Errno::RANGE));
            }
            assert_eq!(remove(&fd, name), Ok(()));
            assert_eq!(remove(&fd, name), Ok(()));
            assert_eq!(set(&fd, name, b"x", Present::Always), Err(Errno::NODATA));
            assert_eq!(set(&fd, name, b"any", Present::Any), Ok(()));
            assert_eq!(remove(&fd, name), Ok(()));
        }
        AT_CALLS.store(true, Ordering::Relaxed);
    }
}
