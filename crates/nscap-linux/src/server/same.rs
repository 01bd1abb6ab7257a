// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether two descriptors lead to one inode, for file systems that have no file handles and whose
//! numbers do not tell: two names of one file of a lower layer of overlayfs have the same st_dev
//! and st_ino and are two inodes.
//!
//! An inotify instance has one watch an inode: the same watch is the same inode.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::xattr::by_link;

/// The instance, and whose it is.
static INSTANCE: Mutex<Option<(u32, OwnedFd)>> = Mutex::new(None);

/// Opens what [`same_inode`] needs, so that it does not fail later because a resource is missing.
///
/// # Errors
/// inotify_init1(2)'s, EMFILE where this user has too many instances.
///
/// ```
/// nscap_linux::server::prepare_same_inode()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn prepare_same_inode() -> Result<(), Errno> {
    prepare(&mut INSTANCE.lock().unwrap_or_else(PoisonError::into_inner)).map(drop)
}

fn prepare(instance: &mut Option<(u32, OwnedFd)>) -> Result<&OwnedFd, Errno> {
    let process = std::process::id();
    match instance {
        Some((owner, _)) if *owner == process => {}
        _ => {
            let new = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            *instance = Some((process, new));
        }
    }
    instance.as_ref().map(|(_, instance)| instance).ok_or(Errno::BADF)
}

/// Whether two descriptors, O_PATH at least, lead to one inode. The working directory of the
/// calling thread is another one meanwhile, so the thread must have one of its own (see
/// [`prepare_thread`](super::prepare_thread)).
///
/// # Errors
/// inotify_init1(2)'s, EMFILE where this user has too many instances; inotify_add_watch(2)'s,
/// EACCES for a file that the thread may not read, ENOSPC where this user has too many watches;
/// EOPNOTSUPP where /proc is not procfs.
///
/// ```
/// use nscap_linux::server::{same_inode, prepare_thread};
/// use rustix::fs::{Mode, OFlags};
/// std::thread::spawn(|| {
///     let open = |path| rustix::fs::open(path, OFlags::PATH, Mode::empty()).unwrap();
///     if prepare_thread(nscap_core::CapSet::EMPTY).is_ok() {
///         assert_eq!(same_inode(open("/"), open("/..")), Ok(true));
///         assert_eq!(same_inode(open("/"), open("/proc")), Ok(false));
///     }
/// })
/// .join()
/// .unwrap();
/// ```
pub fn same_inode(one: impl AsFd, other: impl AsFd) -> Result<bool, Errno> {
    let mut instance = INSTANCE.lock().unwrap_or_else(PoisonError::into_inner);
    let instance = prepare(&mut instance)?;
    let watch = |file: BorrowedFd<'_>| {
        by_link(file, |directory, link| {
            let _there = Elsewhere::go(directory)?;
            // No event is asked for.
            inotify::add_watch(instance, link, WatchFlags::EXCL_UNLINK)
        })
    };
    let first = watch(one.as_fd())?;
    let second = watch(other.as_fd());
    // A watch that is gone already went with its inode.
    for watch in [Some(first), second.as_ref().ok().copied().filter(|second| *second != first)] {
        let _ = watch.map(|watch| inotify::remove_watch(instance, watch));
    }
    // What the kernel says of their end.
    let _ = rustix::io::read(instance, &mut [0; 256]);
    second.map(|second| second == first)
}

/// The calling thread is in another directory, until dropped.
struct Elsewhere {
    /// `None`: names are absolute, and nothing has changed.
    before: Option<OwnedFd>,
}

impl Elsewhere {
    fn go(directory: BorrowedFd<'_>) -> Result<Elsewhere, Errno> {
        if directory.as_raw_fd() == libc::AT_FDCWD {
            return Ok(Elsewhere { before: None });
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let before = rustix::fs::open(c".", flags, Mode::empty())?;
        rustix::process::fchdir(directory)?;
        Ok(Elsewhere { before: Some(before) })
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // It is a directory that the thread was in.
            let _ = rustix::process::fchdir(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(body: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            let ran = scope.spawn(|| {
                if super::super::prepare_thread(nscap_core::CapSet::EMPTY).is_err() {
                    return println!("skipped: a thread cannot be settled here");
                }
                body();
            });
            ran.join().unwrap();
        });
    }

    #[test]
    fn an_inode_is_itself_by_every_name_and_nothing_else() {
        settled(|| {
            let directory = tempfile::tempdir().unwrap();
            let at = |name: &str| directory.path().join(name);
            std::fs::write(at("a"), "").unwrap();
            std::fs::write(at("b"), "").unwrap();
            std::fs::hard_link(at("a"), at("c")).unwrap();
            std::os::unix::fs::symlink("a", at("symlink")).unwrap();
            rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), Mode::from_raw_mode(0o600)).unwrap();
            let open = |name: &str| {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::open(at(name), flags, Mode::empty()).unwrap()
            };
            let before = std::env::current_dir().unwrap();
            for (one, other, same) in [
                ("a", "a", true),
                ("a", "c", true),
                ("a", "b", false),
                ("a", "symlink", false),
                ("symlink", "symlink", true),
                ("fifo", "fifo", true),
                ("fifo", "a", false),
            ] {
                assert_eq!(same_inode(open(one), open(other)), Ok(same), "{one} {other}");
            }
            let gone = open("b");
            std::fs::remove_file(at("b")).unwrap();
            assert_eq!(same_inode(&gone, open("a")), Ok(false));
            assert_eq!(std::env::current_dir().unwrap(), before);
        });
    }
}
