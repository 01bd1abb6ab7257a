// SPDX-License-Identifier: MIT OR Apache-2.0
//! Directories, symbolic links, devices, FIFOs and sockets that a caller makes. mkdir(2),
//! symlink(2) and mknod(2) return no descriptor of the new inode. The server cannot make it
//! elsewhere and move it: a new inode inherits its group, ACL and quota from its directory, where
//! other tasks can rename. So the server looks the name up afterwards, and accepts the inode only
//! if it was born meanwhile, belongs to the caller, and is as requested. Only another new inode of
//! the same caller can also pass; an older one, or one of another owner, never does. The server
//! uses the attributes of the inode that it found.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, Stat, StatxFlags, Timespec, fstat, mkdirat, mknodat, readlinkat,
    statx, symlinkat,
};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

/// A time before an inode is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before(Timespec);

/// The inode that a caller asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'r> {
    Directory {
        mode: u32,
    },
    /// `device`: 0 if it is not a device.
    Node {
        kind: FileType,
        mode: u32,
        device: u64,
    },
    Symlink {
        target: &'r OsStr,
    },
}

impl Before {
    /// The current time, by the clock that file systems use.
    pub(crate) fn now() -> Before {
        Before(clock_gettime(ClockId::RealtimeCoarse))
    }

    /// Whether a timestamp of a file system, with or without fractions of a second, is not earlier.
    fn is_before(self, seconds: i64, nanoseconds: u32) -> bool {
        let Before(Timespec { tv_sec, tv_nsec }) = self;
        let whole = nanoseconds == 0;
        seconds > tv_sec || seconds == tv_sec && (whole || i64::from(nanoseconds) >= tv_nsec)
    }
}

impl Asked<'_> {
    /// Makes it.
    pub(crate) fn make(self, directory: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
        match self {
            Asked::Directory { mode } => mkdirat(directory, name, permissions(mode)),
            Asked::Node { kind, mode, device } => {
                mknodat(directory, name, kind, permissions(mode), device)
            }
            Asked::Symlink { target } => symlinkat(target, directory, name),
        }
    }

    /// Returns the attributes of `file` if it can be the inode that was made in `directory` by this
    /// uid and gid; otherwise ESTALE.
    pub(crate) fn is(
        self,
        file: impl AsFd,
        directory: impl AsFd,
        (uid, gid): (u32, u32),
        before: Before,
    ) -> Result<Stat, Errno> {
        let stat = fstat(&file)?;
        let owned =
            stat.st_uid == uid && (stat.st_gid == gid || stat.st_gid == fstat(&directory)?.st_gid);
        if owned && self.looks_like(&stat, &file)? && born(&file, before)? {
            Ok(stat)
        } else {
            Err(Errno::STALE)
        }
    }

    fn looks_like(self, stat: &Stat, file: impl AsFd) -> Result<bool, Errno> {
        let (kind, mode) = match self {
            // A new directory inherits the set-group-ID bit of its parent.
            Asked::Directory { mode } => (FileType::Directory, mode | libc::S_ISGID),
            Asked::Node { kind, mode, .. } => (kind, mode),
            Asked::Symlink { .. } => (FileType::Symlink, 0o7777),
        };
        // A umask or an ACL removes bits and adds none.
        let permitted = stat.st_mode & 0o7777 & !mode == 0;
        let names = if kind == FileType::Directory { 2 } else { 1 };
        let alike = FileType::from_raw_mode(stat.st_mode) == kind
            && permitted
            && (1..=names).contains(&stat.st_nlink);
        Ok(alike
            && match self {
                Asked::Directory { .. } => true,
                Asked::Node { kind: FileType::Fifo | FileType::Socket, .. } => true,
                Asked::Node { device, .. } => stat.st_rdev == device,
                Asked::Symlink { target } => {
                    let read = readlinkat(&file, c"", Vec::with_capacity(256))?;
                    read.as_bytes() == target.as_encoded_bytes()
                }
            })
    }
}

fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o7777)
}

/// Whether the inode was born at this time or later. A file system without birth times cannot say:
/// there an older inode of the caller's passes as well.
fn born(file: impl AsFd, before: Before) -> Result<bool, Errno> {
    let it = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME)?;
    let known = it.stx_mask & StatxFlags::BTIME.bits() != 0;
    Ok(!known || before.is_before(it.stx_btime.tv_sec, it.stx_btime.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, OFlags};
    use std::os::fd::OwnedFd;

    fn look(directory: &OwnedFd, name: &str) -> OwnedFd {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(directory, name, flags, Mode::empty()).unwrap()
    }

    #[test]
    fn only_what_was_made_passes() {
        let place = tempfile::tempdir().unwrap();
        let directory = rustix::fs::open(place.path(), OFlags::PATH, Mode::empty()).unwrap();
        let stat = fstat(&directory).unwrap();
        let (ids, other) = ((stat.st_uid, stat.st_gid), (stat.st_uid + 1, stat.st_gid));
        let target = OsStr::new("target");
        let fifo = Asked::Node { kind: FileType::Fifo, mode: 0o640, device: 0 };
        let all = [
            ("directory", Asked::Directory { mode: 0o755 }),
            ("fifo", fifo),
            ("link", Asked::Symlink { target }),
        ];
        for (name, asked) in all {
            let before = Before::now();
            asked.make(directory.as_fd(), name.as_ref()).unwrap();
            let made = look(&directory, name);
            let is = |asked: Asked<'_>, ids, before| asked.is(&made, &directory, ids, before);
            assert!(is(asked, ids, before).is_ok(), "{name}");
            assert_eq!(is(asked, other, before).err(), Some(Errno::STALE), "{name}");
            for (else_name, something_else) in all {
                let same = else_name == name;
                assert_eq!(is(something_else, ids, before).is_ok(), same, "{name} {else_name}");
            }
        }
        let is = |name: &str, asked: Asked<'_>| {
            asked.is(look(&directory, name), &directory, ids, Before(Timespec::default())).is_ok()
        };
        assert!(is("directory", Asked::Directory { mode: 0o755 }));
        assert!(!is("directory", Asked::Directory { mode: 0o700 }));
        assert!(!is("link", Asked::Symlink { target: OsStr::new("elsewhere") }));
        rustix::fs::linkat(&directory, "fifo", &directory, "again", AtFlags::empty()).unwrap();
        assert!(!is("fifo", fifo));
        rustix::fs::mkdirat(&directory, "directory/in", permissions(0o755)).unwrap();
        let crowded = fstat(look(&directory, "directory")).unwrap().st_nlink > 2;
        assert_eq!(is("directory", Asked::Directory { mode: 0o755 }), !crowded);
    }

    #[test]
    fn what_was_there_before_does_not_pass() {
        let place = tempfile::tempdir().unwrap();
        let file = rustix::fs::open(place.path(), OFlags::PATH, Mode::empty()).unwrap();
        assert_eq!(born(&file, Before(Timespec::default())), Ok(true));
        let it = statx(CWD, place.path(), AtFlags::empty(), StatxFlags::BTIME).unwrap();
        if it.stx_mask & StatxFlags::BTIME.bits() == 0 {
            return println!("skipped: no birth times in {}", place.path().display());
        }
        std::thread::sleep(std::time::Duration::from_millis(30));
        assert_eq!(born(&file, Before::now()), Ok(false));
    }

    #[test]
    fn a_moment_is_before_the_next() {
        let before = Before(Timespec { tv_sec: 5, tv_nsec: 7 });
        for (seconds, nanoseconds, expected) in
            [(5, 7, true), (5, 8, true), (6, 1, true), (5, 0, true), (5, 6, false), (4, 0, false)]
        {
            assert_eq!(before.is_before(seconds, nanoseconds), expected, "{seconds} {nanoseconds}");
        }
    }
}
