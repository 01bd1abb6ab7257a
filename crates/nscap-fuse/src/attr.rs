//! Attributes as FUSE has them, from what stat(2) of the backing inode says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use rustix::fs::{Stat, Timespec};

/// How long the kernel may keep names and attributes without asking again: for ever, where nobody
/// else reaches the source. Every change comes through the mount, and the kernel knows it.
pub(crate) const ALONE: Duration = Duration::from_secs(365 * 24 * 3600);
/// The same where others may change the source.
pub(crate) const SHARED: Duration = Duration::from_secs(1);

/// The attributes of the inode that the kernel knows as `node`.
pub(crate) fn attributes(node: u64, stat: &Stat) -> FileAttr {
    FileAttr {
        ino: INodeNo(node),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
        atime: time(stat.st_atime, stat.st_atime_nsec as u64),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec as u64),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec as u64),
        crtime: UNIX_EPOCH,
        kind: kind(stat.st_mode),
        perm: (stat.st_mode & 0o7777) as u16,
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: device_to_fuse(stat.st_rdev),
        blksize: u32::try_from(stat.st_blksize).unwrap_or(4096),
        flags: 0,
    }
}

/// A name that is known not to be there: node 0.
pub(crate) fn nothing() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// The type in a mode of stat(2).
pub(crate) fn kind(mode: u32) -> FileType {
    match mode & libc::S_IFMT {
        libc::S_IFDIR => FileType::Directory,
        libc::S_IFLNK => FileType::Symlink,
        libc::S_IFCHR => FileType::CharDevice,
        libc::S_IFBLK => FileType::BlockDevice,
        libc::S_IFIFO => FileType::NamedPipe,
        libc::S_IFSOCK => FileType::Socket,
        _ => FileType::RegularFile,
    }
}

/// The type in an entry of getdents64(2).
pub(crate) fn kind_of_entry(kind: u8) -> FileType {
    self::kind(u32::from(kind) << 12)
}

fn time(seconds: i64, nanoseconds: u64) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base =
        if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    let rest = Duration::from_nanos(nanoseconds.min(999_999_999));
    base.and_then(|base| base.checked_add(rest)).unwrap_or(UNIX_EPOCH)
}

/// What to give to utimensat(2) for a time in a request.
pub(crate) fn to_set(time: Option<TimeOrNow>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        Some(TimeOrNow::Now) => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
        Some(TimeOrNow::SpecificTime(time)) => timespec(time),
    }
}

/// Back to what stood in the request. Before the epoch fuser 0.18 subtracts the nanoseconds that it
/// should add; subtracting the parts again gives both as they were.
fn timespec(time: SystemTime) -> Timespec {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => Timespec {
            tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: since.subsec_nanos().into(),
        },
        Err(before) => Timespec {
            tv_sec: 0i64.saturating_sub_unsigned(before.duration().as_secs()),
            tv_nsec: before.duration().subsec_nanos().into(),
        },
    }
}

/// A device number as FUSE has it (the kernel's `new_encode_dev`).
fn device_to_fuse(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// And back.
pub(crate) fn device_from_fuse(device: u32) -> u64 {
    let major = (device & 0xf_ff00) >> 8;
    let minor = (device & 0xff) | ((device >> 12) & 0xf_ff00);
    rustix::fs::makedev(major, minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_survive() {
        for (major, minor) in [(0, 0), (1, 3), (8, 255), (259, 256), (4095, 0xf_ffff)] {
            let device = rustix::fs::makedev(major, minor);
            assert_eq!(device_from_fuse(device_to_fuse(device)), device);
        }
    }

    #[test]
    fn times_before_the_epoch_survive() {
        // As fuser makes them of -2 seconds and 800,000,000 nanoseconds.
        let from_request = UNIX_EPOCH - Duration::new(2, 800_000_000);
        let spec = timespec(from_request);
        assert_eq!((spec.tv_sec, spec.tv_nsec), (-2, 800_000_000));
        let shown = time(-2, 800_000_000);
        assert_eq!(UNIX_EPOCH.duration_since(shown).unwrap(), Duration::new(1, 200_000_000));
        assert_eq!(time(i64::MAX, 0), UNIX_EPOCH + Duration::from_secs(i64::MAX as u64));
    }
}
