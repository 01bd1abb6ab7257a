// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stays and what goes: open files without a name, numbers of inodes, memory, the server.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use nscap_fuse::{Error, Mount, Options};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

mod support;
use support::{on_ground, on_mounts};

#[test]
fn what_is_open_outlives_its_name() {
    on_mounts("what_is_open_outlives_its_name", |ground| {
        fs::create_dir(ground.at("dir")).unwrap();
        fs::write(ground.at("file"), "content").unwrap();
        fs::write(ground.at("over"), "other").unwrap();
        let path = |name: &str| {
            rustix::fs::open(ground.at(name), OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())
                .unwrap()
        };
        let (directory, file, over) = (path("dir"), path("file"), path("over"));
        let open = File::open(ground.at("dir")).unwrap();
        fs::remove_dir(ground.at("dir")).unwrap();
        fs::rename(ground.at("over"), ground.at("file")).unwrap();
        fs::remove_file(ground.at("file")).unwrap();
        for gone in [&directory, &file, &over] {
            assert_eq!(rustix::fs::fstat(gone).unwrap().st_nlink, 0);
        }
        let again = nscap_linux::opath::reopen(&file, OFlags::RDONLY).unwrap();
        let mut content = [0; 20];
        assert_eq!(rustix::io::read(again, &mut content).unwrap(), 7);
        assert_eq!(rustix::fs::fstat(&open).unwrap().st_nlink, 0);
        let made = rustix::fs::mkdirat(&directory, "x", Mode::RWXU);
        assert_eq!(made, Err(Errno::NOENT));
    });
}

/// The source uses an inode number again as soon as it can; a task that still has the old file open
/// must not reach the new one.
#[test]
fn a_number_is_never_two_inodes() {
    on_mounts("a_number_is_never_two_inodes", |ground| {
        let mut held = Vec::new();
        for round in 0..50 {
            let path = ground.at("file");
            fs::write(&path, "x").unwrap();
            let number = fs::metadata(&path).unwrap().ino();
            let file = rustix::fs::open(&path, OFlags::PATH, Mode::empty()).unwrap();
            fs::remove_file(&path).unwrap();
            assert!(held.iter().all(|(other, _)| *other != number), "round {round}");
            held.push((number, file));
        }
        fs::write(ground.at("new"), "x").unwrap();
        for (_, old) in &held {
            nscap_linux::opath::chmod(old, 0o777).unwrap();
        }
        assert_eq!(fs::metadata(ground.beneath("new")).unwrap().mode() & 0o777, 0o644);
        drop(held);
        fs::write(ground.at("after"), "x").unwrap();
        let number = fs::metadata(ground.at("after")).unwrap().ino();
        assert_eq!(number, fs::metadata(ground.beneath("after")).unwrap().ino());
    });
}

fn resident(pid: u32) -> u64 {
    let pages = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}

#[test]
fn an_inode_costs_few_bytes_and_no_descriptor() {
    const FILES: u64 = 30_000;
    on_ground("an_inode_costs_few_bytes_and_no_descriptor", |ground| {
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", &ground.source, "tmpfs", flags, None).unwrap();
        for number in 0..FILES {
            if number % 1000 == 0 {
                fs::create_dir(ground.beneath(&format!("{}", number / 1000))).unwrap();
            }
            File::create(ground.beneath(&format!("{}/{number}", number / 1000))).unwrap();
        }
        ground.serve("");
        let pid = ground.pid();
        fs::read_dir(&ground.target).unwrap().count();
        let before = resident(pid);
        let found = Command::new("find").arg(&ground.target).arg("-ls").output().unwrap();
        assert!(found.status.success());
        let lines = found.stdout.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert!(lines > FILES);
        let each = (resident(pid) - before) / lines;
        println!("{each} bytes for each of {lines} inodes");
        assert!(each <= 300, "{each} bytes an inode");
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        assert!(descriptors < 1000, "{descriptors} descriptors");
    });
}

#[test]
fn a_server_that_is_killed_loses_nothing() {
    on_ground("a_server_that_is_killed_loses_nothing", |ground| {
        ground.serve("");
        fs::create_dir(ground.at("dir")).unwrap();
        fs::write(ground.at("dir/file"), "content").unwrap();
        let mut open = File::create(ground.at("open")).unwrap();
        open.write_all(b"written").unwrap();
        let number = fs::metadata(ground.at("dir/file")).unwrap().ino();
        ground.kill();
        let gone = fs::read(ground.at("dir/file")).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::ENOTCONN));
        let gone = fs::write(ground.at("new"), "").unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::ENOTCONN));
        drop(open);
        ground.unmount();
        ground.serve("");
        assert_eq!(fs::read(ground.at("dir/file")).unwrap(), b"content");
        assert_eq!(fs::read(ground.at("open")).unwrap(), b"written");
        assert_eq!(fs::metadata(ground.at("dir/file")).unwrap().ino(), number);
    });
}

#[test]
fn mounts_in_the_source_do_not_show() {
    on_ground("mounts_in_the_source_do_not_show", |ground| {
        let beneath = ground.beneath("covered");
        fs::create_dir(&beneath).unwrap();
        fs::write(beneath.join("file"), "x").unwrap();
        let tmpfs = || {
            let flags = rustix::mount::MountFlags::empty();
            rustix::mount::mount("none", &beneath, "tmpfs", flags, None).unwrap();
        };
        tmpfs();
        ground.serve("");
        tmpfs();
        assert!(ground.at("covered/file").exists());
        fs::write(ground.at("covered/new"), "").unwrap();
        assert!(!beneath.join("new").exists());
    });
}

#[test]
fn an_overlay_fits_on_top() {
    on_mounts("an_overlay_fits_on_top", |ground| {
        for name in ["lower", "upper", "work", "merged"] {
            fs::create_dir(ground.at(name)).unwrap();
        }
        fs::write(ground.at("lower/file"), "lower").unwrap();
        fs::write(ground.at("lower/gone"), "").unwrap();
        let merged = ground.native.join("merged");
        fs::create_dir(&merged).unwrap();
        let at = |name: &str| ground.at(name).display().to_string();
        let options =
            format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
        let options = std::ffi::CString::new(options).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("overlay", &merged, "overlay", flags, Some(&*options)).unwrap();
        let mut file = File::options().append(true).open(merged.join("file")).unwrap();
        file.write_all(b" and upper").unwrap();
        fs::remove_file(merged.join("gone")).unwrap();
        fs::rename(merged.join("file"), merged.join("moved")).unwrap();
        assert_eq!(fs::read(merged.join("moved")).unwrap(), b"lower and upper");
        assert_eq!(fs::read(ground.beneath("lower/file")).unwrap(), b"lower");
        assert_eq!(fs::read(ground.beneath("upper/moved")).unwrap(), b"lower and upper");
        drop(file);
        rustix::mount::unmount(&merged, rustix::mount::UnmountFlags::DETACH).unwrap();
    });
}

#[test]
fn root_of_a_user_namespace_can_serve_too() {
    on_ground("root_of_a_user_namespace_can_serve_too", |ground| {
        let script = "echo content > file; mkdir dir; ln file dir/hard; mv file dir/moved; \
            test \"$(cat dir/hard)\" = content; cp /bin/true true; ./true; chmod 4755 true; \
            : > true; rm -r dir; test \"$(ls)\" = true; test -z \"$(cat true)\"";
        let output = ground.in_user_namespace(script);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(ground.beneath("true").exists() && !ground.beneath("dir").exists());
    });
}

#[test]
fn a_source_that_others_reach_is_refused() {
    on_ground("a_source_that_others_reach_is_refused", |ground| {
        let private = ground.source.parent().unwrap().to_owned();
        fs::set_permissions(&private, fs::Permissions::from_mode(0o711)).unwrap();
        let new = |options: &Options| Mount::new(&ground.source, &ground.target, options);
        let refused = new(&Options::default()).err().unwrap();
        assert!(matches!(refused, Error::Reachable { .. }), "{refused}");
        let told = refused.to_string();
        assert!(told.contains("chmod 0700") && told.contains("private"), "{told}");
        assert!(
            rustix::fs::accessat(
                CWD,
                &ground.target,
                rustix::fs::Access::EXISTS,
                rustix::fs::AtFlags::empty()
            )
            .is_ok()
        );
        fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
        let inside = Mount::new(&ground.source, &ground.source, &Options::default()).err().unwrap();
        assert_eq!(inside.errno(), libc::EINVAL);
        fs::write(ground.beneath("file"), "").unwrap();
        let file = Mount::new(&ground.source, &ground.beneath("file"), &Options::default());
        assert_eq!(file.err().unwrap().errno(), libc::ENOTDIR);
        fs::set_permissions(&private, fs::Permissions::from_mode(0o711)).unwrap();
        ground.serve("reachable");
        // Then what others do there is seen, after a while.
        fs::write(ground.at("name"), "x").unwrap();
        fs::write(ground.beneath("name"), "changed").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert_eq!(fs::read(ground.at("name")).unwrap(), b"changed");
    });
}
