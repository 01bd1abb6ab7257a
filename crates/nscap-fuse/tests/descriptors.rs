// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many descriptors one uid can make the server keep open: none by reading, its share by
//! writing. Other uids and the server itself are not affected.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;

use nscap_testing::as_user;
use rustix::fs::OFlags;

mod support;
use support::{Ground, can_mount, on_ground};

fn open_by_the_server(ground: &Ground) -> usize {
    fs::read_dir(format!("/proc/{}/fd", ground.pid())).unwrap().count()
}

/// Everything that others do, which needs descriptors of the server's.
fn others_go_on(ground: &Ground, what: &str) {
    for uid in [0, 1001] {
        as_user(uid, || {
            let path = ground.at(&format!("of-{uid}"));
            fs::write(&path, "content").unwrap_or_else(|error| panic!("{what}, {uid}: {error}"));
            assert_eq!(fs::read(&path).unwrap(), b"content", "{what}");
            assert!(fs::read_dir(&ground.target).unwrap().count() > 0, "{what}");
            assert!(Command::new(ground.at("true")).status().unwrap().success(), "{what}");
            fs::remove_file(path).unwrap();
        });
    }
}

/// Files that a user opens until there is an error, which is ENFILE.
fn open_all(uid: u32, paths: &[PathBuf], flags: OFlags) -> Vec<File> {
    let mut open = Vec::new();
    let error = as_user(uid, || {
        paths.iter().find_map(|path| {
            let file = rustix::fs::open(path, flags | OFlags::CLOEXEC, rustix::fs::Mode::empty());
            file.map(|file| open.push(File::from(file))).err()
        })
    });
    assert!(error.is_none_or(|error| error == rustix::io::Errno::NFILE), "{error:?}");
    open
}

fn files(ground: &Ground, count: usize) -> Vec<PathBuf> {
    let program = ground.beneath("true");
    fs::copy("/bin/true", program).unwrap();
    fs::set_permissions(&ground.source, std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .unwrap();
    let file = |number| {
        let beneath = ground.beneath(&format!("{number}"));
        fs::write(&beneath, "x").unwrap();
        fs::set_permissions(beneath, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        ground.at(&format!("{number}"))
    };
    (0..count).map(file).collect()
}

#[test]
fn a_handle_for_reading_costs_the_server_no_descriptor() {
    if !can_mount("a_handle_for_reading") {
        return;
    }
    on_ground("a_handle_for_reading", |ground| {
        let paths = files(ground, 1500);
        ground.serve("nofile=400");
        let open = open_all(1000, &paths, OFlags::RDONLY);
        assert_eq!(open.len(), paths.len());
        assert!(open_by_the_server(ground) < 150, "{}", open_by_the_server(ground));
        // Each of them is the kernel's to read, and what else needs content is opened for that.
        for file in open.iter().step_by(100) {
            assert_eq!(std::os::unix::fs::FileExt::read_at(file, &mut [0; 10], 0).unwrap(), 1);
            file.sync_all().unwrap();
        }
        others_go_on(ground, "beside handles for reading");
    });
}

#[test]
fn only_a_uid_over_its_share_gets_enfile() {
    if !can_mount("only_a_uid_over_its_share") {
        return;
    }
    for (options, flags) in [
        ("nofile=400", OFlags::WRONLY),
        ("nofile=400", OFlags::RDWR),
        ("nofile=400 plain", OFlags::RDONLY),
        ("nofile=400 plain", OFlags::RDWR),
        ("nofile=400 device", OFlags::WRONLY),
        ("nofile=1024", OFlags::WRONLY),
    ] {
        on_ground("only_a_uid_over_its_share", |ground| {
            let paths = files(ground, 700);
            ground.serve(options);
            let what = format!("{options}, {flags:?}");
            let one = open_all(1000, &paths, flags);
            assert!((10..paths.len()).contains(&one.len()), "{what}: {}", one.len());
            others_go_on(ground, &what);
            // Many, as root of a container has them.
            let more: Vec<_> = (2000..2020).map(|uid| open_all(uid, &paths, flags)).collect();
            let all: usize = more.iter().map(Vec::len).sum();
            assert!(all >= one.len(), "{what}: {all}");
            as_user(0, || {
                let file = OpenOptions::new().append(true).create(true).open(ground.at("of-root"));
                file.unwrap().write_all(b"x").unwrap();
                assert!(Command::new(ground.at("true")).status().unwrap().success(), "{what}");
            });
            assert_eq!(open_all(1000, &paths, flags).len(), 0, "{what}");
            // Whatever way a handle ends.
            let before = one.len();
            drop((one, more));
            let again = || open_all(1000, &paths, flags).len();
            // The server hears of the ends later.
            let recovers = (0..100).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(10));
                again() == before
            });
            assert!(recovers, "{what}: {} of {before}", again());
            others_go_on(ground, &what);
        });
    }
}

/// The server holds a file without a name open for its users; that also counts for the owner's
/// share.
#[test]
fn files_without_a_name_are_their_owners_share() {
    if !can_mount("files_without_a_name") {
        return;
    }
    on_ground("files_without_a_name", |ground| {
        files(ground, 1);
        ground.serve("nofile=400");
        let named = |number| ground.at(&format!("nameless-{number}"));
        as_user(1000, || (0..1000).for_each(|number| fs::write(named(number), "x").unwrap()));
        // Beside a writer the server reads the file itself, and close(2) does not wait for RELEASE.
        let mut quiet = 0;
        let mut last = open_by_the_server(ground);
        while quiet < 20 {
            std::thread::sleep(std::time::Duration::from_millis(10));
            let now = open_by_the_server(ground);
            quiet = if now == last { quiet + 1 } else { 0 };
            last = now;
        }
        let made: Vec<File> = as_user(1000, || {
            let make = |number| {
                let file = File::open(named(number)).unwrap();
                fs::remove_file(named(number)).unwrap();
                file
            };
            (0..1000).map(make).collect()
        });
        others_go_on(ground, "beside files without a name");
        // Open files stay usable, over the share or not.
        for file in &made {
            assert_eq!(file.metadata().unwrap().nlink(), 0);
            assert_eq!(std::os::unix::fs::FileExt::read_at(file, &mut [0; 10], 0).unwrap(), 1);
        }
        let nameless = |open: &mut Vec<_>| {
            let flags = OFlags::TMPFILE | OFlags::WRONLY;
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::open(&ground.target, flags, mode).map(|file| open.push(file))
        };
        let mut open = Vec::new();
        let error = as_user(1000, || (0..1000).find_map(|_| nameless(&mut open).err()));
        assert_eq!(error, Some(rustix::io::Errno::NFILE));
        others_go_on(ground, "beside what never had a name");
        drop((made, open));
        let recovers = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            as_user(1000, || nameless(&mut Vec::new()).is_ok())
        });
        assert!(recovers);
    });
}

#[test]
fn few_descriptors_are_enough_for_many_files() {
    if !can_mount("few_descriptors_are_enough") {
        return;
    }
    for options in ["nofile=400", "nofile=400 plain", "nofile=400 device"] {
        on_ground("few_descriptors_are_enough", |ground| {
            let paths = files(ground, 1000);
            ground.serve(options);
            for _ in 0..2 {
                for path in &paths {
                    assert_eq!(fs::read(path).unwrap(), b"x", "{options}");
                    let _ = rustix::fs::getxattr(path, "user.none", &mut [0; 1]);
                }
                let mut writers = Vec::new();
                let failed = paths.iter().find_map(|path| {
                    let file = OpenOptions::new().write(true).open(path);
                    file.map(|file| writers.push(file)).err()
                });
                assert_eq!(failed.and_then(|error| error.raw_os_error()), Some(libc::ENFILE));
            }
            others_go_on(ground, options);
        });
    }
}
