// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ids that the server writes with: users' data take no space that the source reserves for
//! root, in any way of writing; and an append-only file is only appended to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::Command;

use nscap_testing::as_user;
use rustix::fs::{FallocateFlags, IFlags, Mode, OFlags};
use rustix::io::Errno;

mod support;
use support::{Ground, can_mount, on_ground, on_mounts};

/// Mounts a new file system on the source.
fn disk(ground: &Ground, kind: &str, options: &str, make: &[&str]) {
    let image = ground.native.join("image");
    File::create(&image).unwrap().set_len(320 << 20).unwrap();
    let run = |program: &str, args: &[&str]| {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
        let mut command = Command::new(program);
        command.args(args).arg(&image).env("PATH", path);
        if program == "mount" {
            command.arg(&ground.source);
        }
        let done = command.output().unwrap();
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    };
    run(&format!("mkfs.{kind}"), make);
    run("mount", &["-o", options]);
    fs::set_permissions(&ground.source, std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .unwrap();
}

const PIECE: usize = 1 << 20;
const MOST: u64 = 400;

type Fill = fn(&Path) -> io::Result<()>;

fn pieces(mut one: impl FnMut(u64) -> io::Result<()>) -> io::Result<()> {
    (0..MOST).try_for_each(|number| one(number * PIECE as u64))
}

/// Ways to take space, each until there is no more.
const FILLS: [(&str, Fill); 6] = [
    ("writes", |path| {
        let mut file = File::create(path)?;
        pieces(|_| file.write_all(&[1; PIECE]))?;
        file.sync_all()
    }),
    ("writes of a file that it may also read", |path| {
        let mut file = File::options().read(true).write(true).create_new(true).open(path)?;
        pieces(|_| file.write_all(&[1; PIECE]))?;
        file.sync_all()
    }),
    ("fallocate", |path| {
        let file = File::create(path)?;
        let none = FallocateFlags::empty();
        pieces(|at| Ok(rustix::fs::fallocate(&file, none, at, PIECE as u64)?))
    }),
    ("appends", |path| {
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        pieces(|_| file.write_all(&[1; PIECE]))?;
        file.sync_all()
    }),
    ("copy_file_range", |path| {
        let from = path.with_extension("from");
        fs::write(&from, vec![1; PIECE])?;
        let (from, to) = (File::open(from)?, File::create(path)?);
        pieces(|mut at| {
            let (mut start, to_at) = (0, &mut at);
            rustix::fs::copy_file_range(&from, Some(&mut start), &to, Some(to_at), PIECE)?;
            Ok(())
        })?;
        to.sync_all()
    }),
    ("a mapping's holes", |path| {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len(MOST * PIECE as u64)?;
        pieces(|at| file.write_all_at(&[1; PIECE], at))?;
        file.sync_all()
    }),
];

fn fills_and_frees(ground: &Ground, uid: u32, what: &str, fill: Fill) -> u64 {
    let (path, from) = (ground.at("filled"), ground.at("filled.from"));
    let error = as_user(uid, || fill(&path)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{what}, {uid}: {error}");
    rustix::fs::syncfs(File::open(&ground.source).unwrap()).unwrap();
    let space = rustix::fs::statvfs(&ground.source).unwrap();
    fs::remove_file(path).unwrap_or_else(|error| panic!("{what}, {uid}: {error}"));
    let _ = fs::remove_file(from);
    // The server hears of the end later, and blocks are free once that is on disk.
    for _ in 0..200 {
        rustix::fs::syncfs(File::open(&ground.source).unwrap()).unwrap();
        let now = rustix::fs::statvfs(&ground.source).unwrap();
        if now.f_bfree > now.f_blocks / 4 * 3 {
            return space.f_bfree * space.f_frsize;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{what}: the space of a file that is gone is not free");
}

#[test]
fn what_is_reserved_for_root_is_not_for_a_user() {
    if !can_mount("what_is_reserved_for_root") {
        return;
    }
    for options in ["", "plain"] {
        on_ground("what_is_reserved_for_root", |ground| {
            disk(ground, "ext4", "loop", &["-q", "-F", "-m", "40"]);
            let space = rustix::fs::statvfs(&ground.source).unwrap();
            let reserved = (space.f_bfree - space.f_bavail) * space.f_frsize;
            assert!(reserved > 100 << 20);
            ground.serve(options);
            for (what, fill) in FILLS {
                let left = fills_and_frees(ground, 1000, what, fill);
                // Metadata of delayed allocation are found a place in any case.
                assert!(left > reserved - (4 << 20), "{options} {what}: {left} of {reserved}");
            }
            // Root may, where the server writes.
            let left = fills_and_frees(ground, 0, "root", FILLS[0].1);
            assert!(left < 8 << 20, "{options}: {left}");
        });
    }
}

#[test]
fn a_quota_holds_for_what_the_server_writes() {
    if !can_mount("a_quota_holds") {
        return;
    }
    on_ground("a_quota_holds", |ground| {
        let options = "usrquota,usrquota_block_hardlimit=20m,mode=777";
        let mount = ["-t", "tmpfs", "-o", options, "tmpfs"];
        let mounted = Command::new("mount").args(mount).arg(&ground.source).output().unwrap();
        if !mounted.status.success() {
            return println!("left out: a_quota_holds: this kernel has no quotas on tmpfs");
        }
        ground.serve("");
        for (what, fill) in FILLS {
            let (path, from) = (ground.at("filled"), ground.at("filled.from"));
            let error = as_user(1000, || fill(&path)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EDQUOT), "{what}: {error}");
            let used = rustix::fs::statvfs(&ground.source).unwrap();
            let used = (used.f_blocks - used.f_bfree) * used.f_frsize;
            assert!(used <= 21 << 20, "{what}: {used}");
            fs::remove_file(path).unwrap();
            let _ = fs::remove_file(from);
        }
    });
}

fn set_append_only(path: &Path, on: bool) -> Result<(), Errno> {
    let file = File::open(path).unwrap();
    let flags = rustix::fs::ioctl_getflags(&file)?;
    let flags = if on { flags | IFlags::APPEND } else { flags - IFlags::APPEND };
    rustix::fs::ioctl_setflags(&file, flags)
}

#[test]
fn what_is_append_only_is_appended_to_and_nothing_else() {
    on_mounts("what_is_append_only", |ground| {
        for (number, directory) in [&ground.native, &ground.target].into_iter().enumerate() {
            let path = directory.join("log");
            fs::write(&path, "old\n").unwrap();
            let before = OpenOptions::new().read(true).open(&path).unwrap();
            // It writes anywhere as long as it is open; no later handle does.
            let writer = OpenOptions::new().write(true).open(&path).unwrap();
            if let Err(errno) = set_append_only(&path, true) {
                return println!("skipped: what_is_append_only: {errno}");
            }
            let open = |flags| rustix::fs::open(&path, flags, Mode::empty());
            for flags in
                [OFlags::WRONLY, OFlags::RDWR, OFlags::WRONLY | OFlags::TRUNC | OFlags::APPEND]
            {
                assert_eq!(open(flags).unwrap_err(), Errno::PERM, "{number}, {flags:?}");
            }
            // A reader from before the flag keeps no writer away.
            let append = open(OFlags::WRONLY | OFlags::APPEND).unwrap();
            rustix::io::write(&append, b"new\n").unwrap();
            let cleared = rustix::fs::fcntl_setfl(&append, OFlags::empty());
            assert!(cleared == Err(Errno::PERM) || number == 1);
            rustix::io::pwrite(&append, b"more\n", 0).unwrap();
            assert_eq!(rustix::fs::ftruncate(&append, 0), Err(Errno::PERM), "{number}");
            rustix::io::pwrite(&writer, b"OLD\n", 0).unwrap();
            drop((append, before, writer));
            // close(2) does not wait for RELEASE: until then the reader is open to the server, and
            // passthrough.
            let again = || {
                std::thread::sleep(std::time::Duration::from_millis(10));
                open(OFlags::RDWR | OFlags::APPEND).ok()
            };
            let both = (0..500).find_map(|_| again()).expect("an append-only file opens");
            rustix::io::write(&both, b"end\n").unwrap();
            let mut text = String::new();
            File::open(&path).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "OLD\nnew\nmore\nend\n", "{number}");
            drop(both);
            assert!(fs::remove_file(&path).is_err());
            set_append_only(&path, false).unwrap();
            // As any file again.
            File::options().write(true).truncate(true).mode(0o600).open(&path).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"");
        }
    });
}
