// SPDX-License-Identifier: MIT OR Apache-2.0
//! Times are seen through the mount as soon as they are on the source, whatever changed them; and
//! a file that nothing writes is not asked about again.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nscap_fuse::STATS_NAME;
use rustix::fs::{AtFlags, CWD, FallocateFlags, IFlags, Mode, OFlags, XattrFlags};

mod support;
use nscap_testing::Mapping;
use support::{Ground, on_ground, on_mounts};

type Times = [i64; 7];

/// mtime, ctime, and what else changes with the content.
fn times(path: &Path) -> Times {
    let it = fs::symlink_metadata(path).unwrap();
    let links = i64::try_from(it.nlink()).unwrap();
    let (size, blocks) = (it.size().cast_signed(), it.blocks().cast_signed());
    [it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec(), size, blocks, links]
}

/// That what the mount shows is what is on the source; what that is.
fn seen(ground: &Ground, name: &str, after: &str) -> Times {
    let times = [ground.at(name), ground.beneath(name)].map(|path| times(&path));
    assert_eq!(times[0], times[1], "{name} after {after}");
    times[0]
}

/// More than the clock of file systems needs to go on.
fn wait() {
    std::thread::sleep(Duration::from_millis(25));
}

fn open(path: &Path, flags: OFlags) -> File {
    rustix::fs::open(path, flags, Mode::empty()).unwrap().into()
}

/// Has what was stored in the file, so that the next store is one that the kernel sees.
fn write_back(ground: &Ground, through: &File) {
    through.sync_all().unwrap();
    File::open(ground.beneath("file")).unwrap().sync_all().unwrap();
}

/// A file that has not been open on the mount: as long as a handle that only writes is not
/// released, which close(2) does not wait for, no handle is passthrough.
fn make(ground: &Ground) -> PathBuf {
    fs::write(ground.beneath("file"), [7; 8192]).unwrap();
    ground.at("file")
}

#[test]
fn a_store_through_a_mapping_is_seen() {
    on_mounts("a_store_through_a_mapping_is_seen", |ground| {
        let path = make(ground);
        let mut last = seen(ground, "file", "its making");
        let reader = open(&path, OFlags::RDONLY);
        let writer = open(&path, OFlags::RDWR);
        let mapping = Mapping::of(&writer);
        let mut writer = Some(writer);
        for round in 0..6 {
            wait();
            // Whatever the kernel has of it by now.
            for _ in 0..3 {
                seen(ground, "file", "nothing");
            }
            mapping.write(round);
            write_back(ground, &reader);
            let now = seen(ground, "file", "a store");
            assert!(now[..4] > last[..4], "round {round}: {now:?} {last:?}");
            last = now;
            if round == 2 {
                // The mapping stays.
                drop(writer.take());
            }
        }
    });
}

fn asked(ground: &Ground) -> u64 {
    let mut value = [0; 4096];
    let length = rustix::fs::getxattr(&ground.target, STATS_NAME, &mut value).unwrap();
    let text = String::from_utf8_lossy(&value[..length]).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("getattrs ")).unwrap();
    line.parse().unwrap()
}

#[test]
fn what_nothing_writes_is_not_asked_about() {
    on_ground("what_nothing_writes_is_not_asked_about", |ground| {
        ground.serve("");
        let path = make(ground);
        let kept = |ground: &Ground| {
            let before = asked(ground);
            for _ in 0..100 {
                fs::metadata(&path).unwrap();
            }
            asked(ground) - before < 10
        };
        assert!(kept(ground), "never mapped");
        let file = open(&path, OFlags::RDWR);
        assert!(!kept(ground), "it can be mapped");
        let mapping = Mapping::of(&file);
        drop(file);
        wait();
        assert!(!kept(ground), "it is mapped");
        drop(mapping);
        // The kernel closes what was mapped when it likes.
        let becomes = (0..50).any(|_| {
            wait();
            kept(ground)
        });
        assert!(becomes, "it was mapped once");
    });
}

/// What changes a file that is open.
type Change = fn(&Ground, &File);

const CHANGES: [(&str, Change); 14] = [
    ("a write", |_, file| file.write_at(b"x", 0).map(drop).unwrap()),
    ("an append", |_, file| file.write_at(b"x", 9000).map(drop).unwrap()),
    ("a truncation", |_, file| file.set_len(5000).unwrap()),
    ("a truncation to the same size", |_, file| file.set_len(5000).unwrap()),
    ("fallocate", |_, file| allocate(file, FallocateFlags::empty(), 20_000)),
    ("fallocate beyond the end", |_, file| allocate(file, FallocateFlags::KEEP_SIZE, 90_000)),
    ("a hole", |_, file| {
        allocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 8192);
    }),
    ("a copy into it", |ground, file| {
        let other = File::open(ground.at("other")).unwrap();
        let (mut from, mut to) = (0, 0);
        rustix::fs::copy_file_range(&other, Some(&mut from), file, Some(&mut to), 100).unwrap();
    }),
    ("a mode", |_, file| rustix::fs::fchmod(file, Mode::from_raw_mode(0o600)).unwrap()),
    ("an attribute", |_, file| {
        rustix::fs::fsetxattr(file, "user.x", b"y", XattrFlags::empty()).unwrap();
    }),
    ("no attribute", |_, file| rustix::fs::fremovexattr(file, "user.x").unwrap()),
    ("a link", |ground, _| {
        let (from, to) = (ground.at("file"), ground.at("link"));
        rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty()).unwrap();
    }),
    ("an unlink", |ground, _| fs::remove_file(ground.at("link")).unwrap()),
    ("chattr", |_, file| {
        if let Ok(flags) = rustix::fs::ioctl_getflags(file) {
            rustix::fs::ioctl_setflags(file, flags | IFlags::NODUMP).unwrap();
        }
    }),
];

fn allocate(file: &File, mode: FallocateFlags, length: u64) {
    rustix::fs::fallocate(file, mode, 0, length).unwrap();
}

#[test]
fn every_change_is_seen_at_once() {
    on_mounts("every_change_is_seen_at_once", |ground| {
        fs::write(ground.at("file"), [7; 8192]).unwrap();
        fs::write(ground.at("other"), [8; 8192]).unwrap();
        for flags in [OFlags::WRONLY, OFlags::RDWR] {
            let file = open(&ground.at("file"), flags);
            for (what, change) in CHANGES {
                wait();
                seen(ground, "file", "nothing");
                change(ground, &file);
                seen(ground, "file", what);
            }
            if let Ok(flags) = rustix::fs::ioctl_getflags(&file) {
                rustix::fs::ioctl_setflags(&file, flags - IFlags::NODUMP).unwrap();
            }
        }
        // A directory has no handle.
        fs::create_dir(ground.at("directory")).unwrap();
        let directory = File::open(ground.at("directory")).unwrap();
        seen(ground, "directory", "its making");
        wait();
        if let Ok(flags) = rustix::fs::ioctl_getflags(&directory) {
            rustix::fs::ioctl_setflags(&directory, flags | IFlags::NODUMP).unwrap();
        }
        seen(ground, "directory", "chattr");
    });
}
