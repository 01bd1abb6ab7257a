// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each operation on a real mount, against the source and against what the file system does itself.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, FlockOperation, IFlags, Mode, OFlags, RawDir,
    RenameFlags, StatxFlags, Timespec, Timestamps, XattrFlags,
};
use rustix::io::Errno;

mod support;
use support::{Ground, on_ground, on_mounts};

/// All that stat(2) says and that a mount does not change.
fn facts(path: &Path) -> String {
    let it = fs::symlink_metadata(path).unwrap();
    format!(
        "{} {:o} {} {} {} {} {} {}.{} {}.{} {}.{} {}",
        it.ino(),
        it.mode(),
        it.nlink(),
        it.uid(),
        it.gid(),
        it.rdev(),
        it.size(),
        it.atime(),
        it.atime_nsec(),
        it.mtime(),
        it.mtime_nsec(),
        it.ctime(),
        it.ctime_nsec(),
        it.blocks(),
    )
}

fn same(ground: &Ground, name: &str) {
    assert_eq!(facts(&ground.at(name)), facts(&ground.beneath(name)), "{name}");
}

#[test]
fn what_is_made_is_the_same_on_both_sides() {
    on_mounts("what_is_made_is_the_same_on_both_sides", |ground| {
        fs::create_dir(ground.at("directory")).unwrap();
        fs::write(ground.at("directory/file"), "content").unwrap();
        fs::hard_link(ground.at("directory/file"), ground.at("link")).unwrap();
        std::os::unix::fs::symlink("directory/file", ground.at("symlink")).unwrap();
        let device = rustix::fs::makedev(1, 3);
        let node = |name, kind, device| {
            rustix::fs::mknodat(CWD, ground.at(name), kind, Mode::from_raw_mode(0o640), device)
        };
        node("null", FileType::CharacterDevice, device).unwrap();
        node("fifo", FileType::Fifo, 0).unwrap();
        node("socket", FileType::Socket, 0).unwrap();
        for name in ["directory", "directory/file", "link", "symlink", "null", "fifo", "socket"] {
            same(ground, name);
        }
        assert_eq!(fs::read(ground.beneath("link")).unwrap(), b"content");
        assert_eq!(fs::read_link(ground.at("symlink")).unwrap(), Path::new("directory/file"));
        assert_eq!(fs::read(ground.at("symlink")).unwrap(), b"content");
        assert!(fs::metadata(ground.at("null")).unwrap().file_type().is_char_device());
        assert_eq!(fs::read(ground.at("null")).unwrap(), b"");
        fs::remove_file(ground.at("directory/file")).unwrap();
        same(ground, "link");
        same(ground, "directory");
        fs::remove_dir(ground.at("directory")).unwrap();
        assert!(!ground.beneath("directory").exists());
    });
}

#[test]
fn attributes_change_and_are_seen_at_once() {
    on_mounts("attributes_change_and_are_seen_at_once", |ground| {
        let path = ground.at("file");
        fs::write(&path, "content").unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let steps: [&dyn Fn(); 8] = [
            &|| rustix::fs::chmod(&path, Mode::from_raw_mode(0o4751)).unwrap(),
            &|| rustix::fs::fchmod(&file, Mode::from_raw_mode(0o640)).unwrap(),
            &|| std::os::unix::fs::chown(&path, Some(7), None).unwrap(),
            &|| std::os::unix::fs::fchown(&file, None, Some(8)).unwrap(),
            &|| file.set_len(100_000).unwrap(),
            &|| File::options().write(true).open(&path).unwrap().set_len(3).unwrap(),
            &|| drop(File::create(&path).unwrap()),
            &|| file.set_len(1).unwrap(),
        ];
        for (number, step) in steps.iter().enumerate() {
            step();
            assert_eq!(facts(&path), facts(&ground.beneath("file")), "step {number}");
        }
        let now = fs::metadata(&path).unwrap();
        assert_eq!((now.mode() & 0o7777, now.uid(), now.gid(), now.len()), (0o640, 7, 8, 1));
    });
}

/// Also the smallest: a server that makes a SystemTime of it panics.
#[test]
fn any_time() {
    on_mounts("any_time", |ground| {
        fs::write(ground.at("file"), "").unwrap();
        let file = File::open(ground.at("file")).unwrap();
        for (seconds, nanoseconds) in [
            (-2, 800_000_000),
            (-1, 1),
            (0, 0),
            (1 << 31, 5),
            (i64::MIN, 1),
            (i64::MAX, 999_999_999),
        ] {
            for _ in 0..10 {
                let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
                let times = Timestamps { last_access: time, last_modification: time };
                rustix::fs::futimens(&file, &times).unwrap();
            }
            same(ground, "file");
        }
        let omit = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let before = fs::metadata(ground.at("file")).unwrap();
        let times = Timestamps { last_access: omit, last_modification: now };
        rustix::fs::futimens(&file, &times).unwrap();
        let after = fs::metadata(ground.at("file")).unwrap();
        assert_eq!(after.atime(), before.atime());
        assert!(after.modified().unwrap().elapsed().unwrap().as_secs() < 60);
        same(ground, "file");
    });
}

#[test]
fn names_move_as_they_should() {
    on_mounts("names_move_as_they_should", |ground| {
        let rename = |from: &str, to: &str, flags| {
            rustix::fs::renameat_with(CWD, ground.at(from), CWD, ground.at(to), flags)
        };
        fs::write(ground.at("a"), "a").unwrap();
        fs::write(ground.at("b"), "b").unwrap();
        fs::create_dir(ground.at("d")).unwrap();
        assert_eq!(rename("a", "b", RenameFlags::NOREPLACE), Err(Errno::EXIST));
        rename("a", "b", RenameFlags::EXCHANGE).unwrap();
        assert_eq!(fs::read(ground.at("a")).unwrap(), b"b");
        rename("a", "d", RenameFlags::EXCHANGE).unwrap();
        assert!(ground.at("a").is_dir());
        rename("d", "a/c", RenameFlags::empty()).unwrap();
        rename("a/c", "a/e", RenameFlags::WHITEOUT).unwrap();
        assert_eq!(fs::metadata(ground.at("a/c")).unwrap().rdev(), 0);
        rename("a/e", "b", RenameFlags::empty()).unwrap();
        assert_eq!(fs::read(ground.beneath("b")).unwrap(), b"b");
        for name in ["a", "a/c", "b"] {
            same(ground, name);
        }
        fs::create_dir_all(ground.at("x/y")).unwrap();
        assert_eq!(rename("x", "x/y/z", RenameFlags::empty()), Err(Errno::INVAL));
        rename("x/y", "y", RenameFlags::empty()).unwrap();
        same(ground, "x");
        same(ground, "y");
    });
}

#[test]
fn a_file_without_a_name_gets_one() {
    on_mounts("a_file_without_a_name_gets_one", |ground| {
        let flags = OFlags::TMPFILE | OFlags::RDWR;
        let mode = Mode::from_raw_mode(0o640);
        let make = |more| rustix::fs::open(&ground.target, flags | more, mode).unwrap();
        let file = make(OFlags::empty());
        rustix::io::write(&file, b"content").unwrap();
        assert_eq!(rustix::fs::fstat(&file).unwrap().st_nlink, 0);
        let link = |file: &rustix::fd::OwnedFd, name: &str| {
            rustix::fs::linkat(file, "", CWD, ground.at(name), AtFlags::EMPTY_PATH)
        };
        link(&file, "named").unwrap();
        same(ground, "named");
        assert_eq!(fs::read(ground.beneath("named")).unwrap(), b"content");
        drop(file);
        assert_eq!(fs::read(ground.at("named")).unwrap(), b"content");
        assert_eq!(link(&make(OFlags::EXCL), "never"), Err(Errno::NOENT));
        assert_eq!(fs::read_dir(&ground.source).unwrap().count(), 1);
    });
}

#[test]
fn data_goes_where_it_should() {
    on_mounts("data_goes_where_it_should", |ground| {
        let path = ground.at("file");
        let mut file =
            OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        let content: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        file.write_all(&content).unwrap();
        file.write_at(b"here", 1_000_000).unwrap();
        let mut append = OpenOptions::new().append(true).open(&path).unwrap();
        append.write_all(b"the end").unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut read = Vec::new();
        file.read_to_end(&mut read).unwrap();
        assert_eq!(read, fs::read(ground.beneath("file")).unwrap());
        assert_eq!(read.len(), 3_000_007);
        assert_eq!(&read[1_000_000..1_000_004], b"here");
        same(ground, "file");

        let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path);
        if let Ok(direct) = direct {
            let mut buffer = vec![0; 4096 * 3];
            let start = buffer.as_ptr().align_offset(4096);
            direct.read_exact_at(&mut buffer[start..start + 4096], 4096).unwrap();
            assert_eq!(buffer[start..start + 4096], content[4096..8192]);
        }

        rustix::fs::ftruncate(&file, 0).unwrap();
        rustix::fs::ftruncate(&file, 1 << 20).unwrap();
        file.write_at(b"x", 1 << 19).unwrap();
        let seek = |from| rustix::fs::seek(&file, from);
        assert_eq!(seek(rustix::fs::SeekFrom::Data(0)), Ok(1 << 19));
        assert_eq!(seek(rustix::fs::SeekFrom::Hole(1 << 19)), Ok((1 << 19) + 4096));
        assert_eq!(seek(rustix::fs::SeekFrom::Data(1 << 20)), Err(Errno::NXIO));
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 2 << 20).unwrap();
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, punch, 1 << 19, 4096).unwrap();
        let mut byte = [1];
        file.read_exact_at(&mut byte, 1 << 19).unwrap();
        assert_eq!(byte, [0]);
        same(ground, "file");

        file.write_at(b"copied", 0).unwrap();
        let other = File::create(ground.at("other")).unwrap();
        let copied = rustix::fs::copy_file_range(&file, Some(&mut 0), &other, Some(&mut 10), 6);
        assert_eq!(copied, Ok(6));
        assert_eq!(&fs::read(ground.at("other")).unwrap()[10..], b"copied");
        other.sync_all().unwrap();
        other.sync_data().unwrap();
        File::open(&ground.target).unwrap().sync_all().unwrap();
        rustix::fs::syncfs(&other).unwrap();
        same(ground, "other");
    });
}

/// Names by the cookies of getdents64(2).
fn names_from(directory: &File, start: u64) -> Vec<(String, u64)> {
    rustix::fs::seek(directory, rustix::fs::SeekFrom::Start(start)).unwrap();
    let mut room = Vec::with_capacity(8192);
    let mut entries = RawDir::new(directory, room.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        names.push((name, entry.next_entry_cookie()));
    }
    names
}

#[test]
fn a_directory_can_be_read_from_anywhere() {
    on_mounts("a_directory_can_be_read_from_anywhere", |ground| {
        fs::create_dir(ground.at("many")).unwrap();
        for number in 0..2500 {
            fs::write(ground.at(&format!("many/{number}")), "").unwrap();
        }
        let directory = File::open(ground.at("many")).unwrap();
        let all = names_from(&directory, 0);
        assert_eq!(all.len(), 2502);
        let native = names_from(&File::open(ground.beneath("many")).unwrap(), 0);
        assert_eq!(all, native);
        for at in [0, 1, 2, 700, 1400, 2400, 2500] {
            assert_eq!(names_from(&directory, all[at].1), all[at + 1..], "after {at}");
        }
        // Read while names go: what stays is seen once, and afterwards nothing else.
        for (number, (name, _)) in all.iter().enumerate() {
            if number % 2 == 0 && !name.starts_with('.') {
                fs::remove_file(ground.at("many").join(name)).unwrap();
            }
        }
        let left: Vec<_> = names_from(&directory, 0).into_iter().map(|(name, _)| name).collect();
        let beneath = names_from(&File::open(ground.beneath("many")).unwrap(), 0);
        assert_eq!(left, beneath.into_iter().map(|(name, _)| name).collect::<Vec<_>>());
        for name in left.iter().filter(|name| !name.starts_with('.')) {
            same(ground, &format!("many/{name}"));
        }
    });
}

#[test]
fn extended_attributes_are_the_sources_own() {
    on_mounts("extended_attributes_are_the_sources_own", |ground| {
        fs::write(ground.at("file"), "").unwrap();
        let path = ground.at("file");
        let set = |name: &str, value: &[u8], flags| rustix::fs::setxattr(&path, name, value, flags);
        set("user.colour", b"red", XattrFlags::CREATE).unwrap();
        assert_eq!(set("user.colour", b"blue", XattrFlags::CREATE), Err(Errno::EXIST));
        assert_eq!(set("user.size", b"1", XattrFlags::REPLACE), Err(Errno::NODATA));
        set("trusted.secret", b"x", XattrFlags::empty()).unwrap();
        let get = |name: &str, room: &mut [u8]| rustix::fs::getxattr(&path, name, room);
        let mut room = [0; 10];
        assert_eq!(get("user.colour", &mut room), Ok(3));
        assert_eq!(&room[..3], b"red");
        assert_eq!(get("user.colour", &mut [0; 2]), Err(Errno::RANGE));
        assert_eq!(rustix::fs::getxattr_query(&path, "user.colour"), Ok(3));
        assert_eq!(rustix::fs::listxattr_query(&path), Ok("user.colour trusted.secret ".len()));
        assert_eq!(get("user.nothing", &mut room), Err(Errno::NODATA));
        let mut beneath = [0; 10];
        let read = rustix::fs::getxattr(ground.beneath("file"), "user.colour", &mut beneath);
        assert_eq!((read, &beneath[..3]), (Ok(3), &b"red"[..]));
        let list = |room: &mut [u8]| rustix::fs::listxattr(&path, room);
        let mut names = [0; 100];
        let length = list(&mut names).unwrap();
        let mut names: Vec<_> = names[..length].split_inclusive(|byte| *byte == 0).collect();
        names.sort_unstable();
        assert_eq!(names, [&b"trusted.secret\0"[..], b"user.colour\0"]);
        assert_eq!(list(&mut [0; 3]), Err(Errno::RANGE));
        ground.user("getfattr -m - file | grep user.colour; ! getfattr -m - file | grep trusted");
        rustix::fs::removexattr(&path, "user.colour").unwrap();
        assert_eq!(rustix::fs::removexattr(&path, "user.colour"), Err(Errno::NODATA));
        // The VFS checks nothing about these, and the source trusts us.
        let system = ground.as_user("setfattr -n system.nfs4_acl -v x file");
        assert!(String::from_utf8_lossy(&system.stderr).contains("not supported"));
        // On what is no regular file, too; and a capability is nothing there.
        let directory = ground.target.clone();
        rustix::fs::setxattr(&directory, "user.x", b"y", XattrFlags::empty()).unwrap();
        let none = rustix::fs::getxattr(&directory, "security.capability", &mut room);
        assert_eq!(none, Err(Errno::NODATA));
    });
}

#[test]
fn birth_times_flags_locks_and_space() {
    on_mounts("birth_times_flags_locks_and_space", |ground| {
        let file = File::create(ground.at("file")).unwrap();
        let born = |path: &Path| {
            let it = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BTIME).unwrap();
            assert_ne!(it.stx_mask & StatxFlags::BTIME.bits(), 0, "{}", path.display());
            (it.stx_btime.tv_sec, it.stx_btime.tv_nsec)
        };
        assert_eq!(born(&ground.at("file")), born(&ground.beneath("file")));

        if rustix::fs::ioctl_getflags(File::open(ground.beneath("file")).unwrap()).is_ok() {
            let flags = rustix::fs::ioctl_getflags(&file).unwrap();
            rustix::fs::ioctl_setflags(&file, flags | IFlags::IMMUTABLE).unwrap();
            let refused = fs::remove_file(ground.at("file")).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
            assert!(ground.as_user("chattr -i file").status.code() != Some(0));
            rustix::fs::ioctl_setflags(&file, flags).unwrap();
        }

        let other = File::open(ground.at("file")).unwrap();
        rustix::fs::flock(&file, FlockOperation::LockExclusive).unwrap();
        let busy = rustix::fs::flock(&other, FlockOperation::NonBlockingLockExclusive);
        assert_eq!(busy, Err(Errno::AGAIN));
        rustix::fs::flock(&file, FlockOperation::Unlock).unwrap();
        rustix::fs::flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap();
        rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();

        let space = |path: &Path| {
            let it = rustix::fs::statvfs(path).unwrap();
            (it.f_blocks, it.f_files, it.f_bsize, it.f_frsize, it.f_namemax)
        };
        assert_eq!(space(&ground.target), space(&ground.source));
        let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
        let line = mounts.lines().find(|it| it.contains(ground.target.to_str().unwrap())).unwrap();
        assert!(line.contains(" fuse.nscap rw,"), "{line}");
        assert!(!line.contains("nosuid") && !line.contains("nodev"), "{line}");
    });
}

/// An operation on files in a directory.
type Operation = fn(&Path) -> std::io::Result<()>;

/// Each is played in a directory of the file system itself and in the mount.
const REFUSED: [(&str, Operation); 12] = [
    ("no such file", |at| fs::read(at.join("none")).map(drop)),
    ("file as directory", |at| fs::read(at.join("file/x")).map(drop)),
    ("directory as file", |at| fs::write(at.join("dir"), "x")),
    ("make what is there", |at| fs::create_dir(at.join("file"))),
    ("remove what is not empty", |at| fs::remove_dir(at.join("full"))),
    ("remove a directory as a file", |at| fs::remove_file(at.join("dir"))),
    ("remove a file as a directory", |at| fs::remove_dir(at.join("file"))),
    ("a name too long", |at| fs::write(at.join("x".repeat(256)), "")),
    ("directory over file", |at| fs::rename(at.join("dir"), at.join("file"))),
    ("file over directory", |at| fs::rename(at.join("file"), at.join("dir"))),
    ("link to a directory", |at| fs::hard_link(at.join("dir"), at.join("link"))),
    ("a loop", |at| fs::read(at.join("loop")).map(drop)),
];

#[test]
fn errors_are_the_file_systems_own() {
    on_mounts("errors_are_the_file_systems_own", |ground| {
        for directory in [&ground.native, &ground.target] {
            fs::write(directory.join("file"), "x").unwrap();
            fs::create_dir(directory.join("dir")).unwrap();
            fs::create_dir_all(directory.join("full/er")).unwrap();
            std::os::unix::fs::symlink("loop", directory.join("loop")).unwrap();
        }
        for (what, operation) in REFUSED {
            let errno = |at| operation(at).unwrap_err().raw_os_error();
            assert_eq!(errno(&ground.target), errno(&ground.native), "{what}");
        }
    });
}

#[test]
fn a_read_only_mount_changes_nothing() {
    on_ground("a_read_only_mount_changes_nothing", |ground| {
        fs::write(ground.beneath("file"), "x").unwrap();
        ground.serve("ro");
        assert_eq!(fs::read(ground.at("file")).unwrap(), b"x");
        let refused = fs::write(ground.at("file"), "y").unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
        let refused = fs::remove_file(ground.at("file")).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
        let set = rustix::fs::setxattr(ground.at("file"), "user.x", b"", XattrFlags::empty());
        assert_eq!(set, Err(Errno::ROFS));
        assert_eq!(fs::read(ground.beneath("file")).unwrap(), b"x");
    });
}
