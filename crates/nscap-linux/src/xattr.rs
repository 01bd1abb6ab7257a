//! Extended attributes of a file by a descriptor opened with O_PATH, so that what was looked at is
//! what is changed.
//!
//! xattr(7)'s own calls take a path or a readable descriptor, not an O_PATH one (EBADF). Its link
//! in /proc/self/fd leads to the very file, whatever happens to names meanwhile: through a held
//! descriptor of that directory with the *xattrat calls (Linux 6.13), else by the path
//! "/proc/self/fd/N". Either way /proc is first checked to be procfs.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use crate::sys;

/// The largest value that the kernel takes (`XATTR_SIZE_MAX`), in bytes.
const VALUE_MAX: usize = 65_536;
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// Whether the *xattrat calls are to be used: until the kernel has said that it has none.
static AT_CALLS: AtomicBool = AtomicBool::new(true);

/// /proc/self/fd, and whose it is: a descriptor of it means the process that opened it.
struct Links {
    dir: OwnedFd,
    process: u32,
}

fn links() -> Result<&'static Links, Errno> {
    static LINKS: OnceLock<Result<Links, Errno>> = OnceLock::new();
    let opened = LINKS.get_or_init(|| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open("/proc/self/fd", flags, Mode::empty())?;
        if rustix::fs::fstatfs(&dir)?.f_type as u64 != PROC_SUPER_MAGIC {
            return Err(Errno::OPNOTSUPP);
        }
        Ok(Links { dir, process: std::process::id() })
    });
    opened.as_ref().map_err(|errno| *errno)
}

/// Calls `at` with a directory and a name in it, or `by_path` with a path.
pub(crate) fn through<T>(
    file: BorrowedFd<'_>,
    at: impl FnOnce(BorrowedFd<'_>, &CStr) -> Result<T, Errno>,
    by_path: impl FnOnce(&CStr) -> Result<T, Errno>,
) -> Result<T, Errno> {
    let links = links()?;
    let text = |text: String| CString::new(text).map_err(|_| Errno::INVAL);
    if AT_CALLS.load(Ordering::Relaxed) && links.process == std::process::id() {
        let name = text(file.as_raw_fd().to_string())?;
        match at(links.dir.as_fd(), &name) {
            // A kernel or a seccomp filter that does not know the call: the path says the rest.
            Err(Errno::NOSYS) => AT_CALLS.store(false, Ordering::Relaxed),
            answer => return answer,
        }
    }
    by_path(&text(format!("/proc/self/fd/{}", file.as_raw_fd()))?)
}

/// getxattr(2): the value, or `None` where there is none or the file system has no attributes.
///
/// # Errors
/// getxattr(2)'s other errors; EOPNOTSUPP where /proc is not procfs.
pub(crate) fn get(file: impl AsFd, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
    for size in [256, VALUE_MAX] {
        // Not every call can be made twice with one buffer, so each has its own.
        let (mut one, mut other) = (vec![0; size], vec![0; size]);
        let read = through(
            file.as_fd(),
            |dir, link| sys::getxattrat(dir, link, name, &mut one).map(|n| (n, true)),
            |path| rustix::fs::getxattr(path, name, &mut other).map(|n| (n, false)),
        );
        match read {
            Ok((length, at)) => {
                let mut value = if at { one } else { other };
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

/// How setxattr(2) is to treat what is there.
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
    through(
        file.as_fd(),
        |dir, link| sys::setxattrat(dir, link, name, value, flags.bits()),
        |path| rustix::fs::setxattr(path, name, value, flags),
    )
}

/// removexattr(2); that there is none is fine.
///
/// # Errors
/// removexattr(2)'s other errors; EOPNOTSUPP where /proc is not procfs.
pub(crate) fn remove(file: impl AsFd, name: &CStr) -> Result<(), Errno> {
    let removed = through(
        file.as_fd(),
        |dir, link| sys::removexattrat(dir, link, name),
        |path| rustix::fs::removexattr(path, name),
    );
    match removed {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// listxattr(2): the names, each with a NUL after it; none where the file system has no attributes.
///
/// # Errors
/// listxattr(2)'s other errors; EOPNOTSUPP where /proc is not procfs.
pub(crate) fn list(file: impl AsFd) -> Result<Vec<u8>, Errno> {
    for size in [1024, VALUE_MAX] {
        let (mut one, mut other) = (vec![0; size], Vec::new());
        let read = through(
            file.as_fd(),
            |dir, link| sys::listxattrat(dir, link, &mut one).map(|n| (n, true)),
            |path| {
                other.resize(size, 0);
                rustix::fs::listxattr(path, &mut other).map(|n| (n, false))
            },
        );
        match read {
            Ok((length, at)) => {
                let mut names = if at { one } else { other };
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
    let (Ok(links), Ok(dot)) = (links(), CString::new(".")) else {
        return false;
    };
    let probe = sys::getxattrat(links.dir.as_fd(), &dot, c"security.capability", &mut []);
    probe != Err(Errno::NOSYS)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(remove(&fd, name), Ok(()));
            assert_eq!(remove(&fd, name), Ok(()));
            assert_eq!(set(&fd, name, b"x", Present::Always), Err(Errno::NODATA));
            assert_eq!(set(&fd, name, b"any", Present::Any), Ok(()));
            assert_eq!(remove(&fd, name), Ok(()));
        }
        AT_CALLS.store(true, Ordering::Relaxed);
    }
}
