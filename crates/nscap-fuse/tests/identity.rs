// SPDX-License-Identifier: MIT OR Apache-2.0
//! Owners of new files, permissions, and when set-id bits are dropped.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use nscap_testing::as_user;
use rustix::fs::XattrFlags;

mod support;
use support::{Ground, on_mounts};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Owner, group and mode, in the source.
fn made(ground: &Ground, name: &str) -> (u32, u32, u32) {
    let it = fs::symlink_metadata(ground.beneath(name)).unwrap();
    let seen = fs::symlink_metadata(ground.at(name)).unwrap();
    assert_eq!((it.uid(), it.gid(), it.mode()), (seen.uid(), seen.gid(), seen.mode()), "{name}");
    (it.uid(), it.gid(), it.mode() & 0o7777)
}

fn directory(ground: &Ground, name: &str, mode: u32) {
    fs::create_dir(ground.at(name)).unwrap();
    chmod(&ground.at(name), mode);
}

#[test]
fn what_is_made_is_the_callers() {
    on_mounts("what_is_made_is_the_callers", |ground| {
        directory(ground, "open", 0o777);
        ground.user(
            "umask 027; cd open; echo x > file; mkdir dir; ln -s x link; mkfifo fifo; ln file hard; \
             umask 077; echo x > private; umask 0; echo x > public; chmod 4755 public",
        );
        for (name, mode) in [
            ("file", 0o640),
            ("dir", 0o750),
            ("fifo", 0o640),
            ("hard", 0o640),
            ("private", 0o600),
            ("public", 0o4755),
        ] {
            assert_eq!(made(ground, &format!("open/{name}")), (1000, 1001, mode), "{name}");
        }
        assert_eq!(made(ground, "open/link"), (1000, 1001, 0o777));
        // And root's are root's, afterwards.
        fs::write(ground.at("open/root"), "").unwrap();
        assert_eq!(made(ground, "open/root").0, 0);
    });
}

#[test]
fn a_directory_can_give_its_group_and_its_list() {
    on_mounts("a_directory_can_give_its_group_and_its_list", |ground| {
        directory(ground, "group", 0o777);
        std::os::unix::fs::chown(ground.at("group"), None, Some(7)).unwrap();
        chmod(&ground.at("group"), 0o2777);
        ground.user("umask 022; cd group; echo x > file; mkdir dir");
        assert_eq!(made(ground, "group/file"), (1000, 7, 0o644));
        assert_eq!(made(ground, "group/dir"), (1000, 7, 0o2755));

        // acl(5): with a default list the umask does not count. u::rwx u:6:rw- g::r-x m::rwx o::---
        let list =
            acl(&[(1, 7, NOBODY), (2, 6, 6), (4, 5, NOBODY), (16, 7, NOBODY), (32, 0, NOBODY)]);
        directory(ground, "list", 0o777);
        let name = "system.posix_acl_default";
        rustix::fs::setxattr(ground.at("list"), name, &list, XattrFlags::empty()).unwrap();
        ground.user("umask 077; cd list; echo x > file; mkdir dir");
        assert_eq!(made(ground, "list/file"), (1000, 1001, 0o660));
        assert_eq!(made(ground, "list/dir"), (1000, 1001, 0o770));
        let mut both = [[0; 100]; 2];
        let [mount, source] = &mut both;
        let read = |path, room: &mut [u8]| rustix::fs::getxattr(path, name, room).unwrap();
        let lengths =
            (read(ground.at("list/dir"), mount), read(ground.beneath("list/dir"), source));
        assert_eq!(lengths.0, lengths.1);
        assert_eq!(mount, source);
    });
}

const NOBODY: u32 = u32::MAX;

/// A list as its attribute holds it: (tag, permissions, id).
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

#[test]
fn permissions_are_the_kernels_to_decide() {
    on_mounts("permissions_are_the_kernels_to_decide", |ground| {
        fs::write(ground.at("secret"), "x").unwrap();
        chmod(&ground.at("secret"), 0o600);
        directory(ground, "closed", 0o700);
        directory(ground, "sticky", 0o1777);
        fs::write(ground.at("sticky/roots"), "").unwrap();
        for refused in [
            "cat secret",
            "echo y > secret",
            "chmod 666 secret",
            "touch -d 2001-01-01 secret",
            "ls closed",
            "echo > new",
            "rm secret",
            "rm -f sticky/roots",
            "mv sticky/roots sticky/mine",
            "chown 1000 secret",
            "setfattr -n user.x -v y secret",
        ] {
            let output = ground.as_user(refused);
            assert!(!output.status.success(), "{refused}");
        }
        // A list that lets them in.
        let list =
            acl(&[(1, 6, NOBODY), (2, 4, 1000), (4, 0, NOBODY), (16, 4, NOBODY), (32, 0, NOBODY)]);
        let name = "system.posix_acl_access";
        rustix::fs::setxattr(ground.at("secret"), name, &list, XattrFlags::empty()).unwrap();
        ground.user("cat secret; ! echo y > secret");
        rustix::fs::removexattr(ground.at("secret"), name).unwrap();
        assert!(!ground.as_user("cat secret").status.success());
    });
}

/// Changes of the content of `file`, as a shell does them.
const CHANGES: [&str; 7] = [
    "echo x >> file",
    "echo x 1<> file",
    "truncate -s 3 file",
    ": > file",
    "fallocate -l 9000 file",
    "dd if=other of=file conv=notrunc status=none",
    "cp --no-preserve=all other file",
];

/// By every change of content by a user without CAP_FSETID.
#[test]
fn set_id_bits_go_with_the_content() {
    on_mounts("set_id_bits_go_with_the_content", |ground| {
        for change in CHANGES {
            for mode in [0o4777, 0o6777, 0o2777] {
                fs::write(ground.at("file"), "content that is long enough").unwrap();
                fs::write(ground.at("other"), "other").unwrap();
                chmod(&ground.at("file"), mode);
                assert_eq!(made(ground, "file").2, mode);
                ground.user(change);
                assert_eq!(made(ground, "file").2, 0o777, "{change} of {mode:o}");
            }
        }
        chmod(&ground.at("file"), 0o6755);
        std::os::unix::fs::chown(ground.at("file"), Some(5), Some(6)).unwrap();
        assert_eq!(made(ground, "file"), (5, 6, 0o755));
        chmod(&ground.at("file"), 0o6755);
        // Root's writes leave them, as they do on the source.
        use std::io::Write as _;
        fs::File::options().append(true).open(ground.at("file")).unwrap().write_all(b"x").unwrap();
        assert_eq!(made(ground, "file").2, 0o6755);
    });
}

/// A task that is in execve(2) while a stranger writes takes the mode that the kernel has, without
/// asking the server again: the bits are gone from that too, before the content changes.
#[test]
fn the_kernel_itself_has_no_set_id_bits_after_a_strangers_write() {
    on_mounts("the_kernel_itself_has_no_set_id_bits", |ground| {
        use std::io::Write as _;
        let path = ground.at("written");
        fs::write(&path, "old").unwrap();
        for opened_before in [false, true] {
            let open = || fs::File::options().write(true).open(&path).unwrap();
            chmod(&path, 0o777);
            let early = opened_before.then(open);
            chmod(&path, 0o4777);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o4777);
            let mut file = early.unwrap_or_else(open);
            as_user(1000, || file.write_all(b"new").unwrap());
            let known = rustix::fs::statx(
                rustix::fs::CWD,
                &path,
                rustix::fs::AtFlags::STATX_DONT_SYNC,
                rustix::fs::StatxFlags::MODE,
            );
            assert_eq!(known.unwrap().stx_mode & 0o7777, 0o777, "{opened_before}");
        }
    });
}

/// An open for reading and writing takes a set-group-ID bit that grants nothing. It works with the
/// mode as it is then: a chmod(2) of the owner that runs beside it holds.
#[test]
fn a_strangers_open_undoes_no_chmod() {
    on_mounts("a_strangers_open_undoes_no_chmod", |ground| {
        use std::sync::atomic::{AtomicBool, Ordering};
        let path = ground.at("contested");
        fs::write(&path, "content").unwrap();
        std::os::unix::fs::chown(&path, None, Some(5000)).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let stranger = scope.spawn(|| {
                let user = rustix::fs::Uid::from_raw(1000);
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
                let mut opened = 0;
                while !over.load(Ordering::Relaxed) {
                    let file = fs::File::options().read(true).write(true).open(&path);
                    opened += u32::from(file.is_ok());
                }
                opened
            });
            let undone = (0..3000).find_map(|round| {
                chmod(&path, 0o2666);
                // Meanwhile the stranger's open is under way, sometimes between the look and the
                // change.
                let start = std::time::Instant::now();
                while start.elapsed().as_micros() < round % 150 {
                    std::hint::spin_loop();
                }
                chmod(&path, 0o600);
                // What is under way at the chmod(2) has ended.
                std::thread::sleep(std::time::Duration::from_micros(300));
                let mode = fs::metadata(ground.beneath("contested")).unwrap().mode() & 0o7777;
                (mode != 0o600).then(|| format!("{mode:o} in round {round}"))
            });
            over.store(true, Ordering::Relaxed);
            assert!(stranger.join().unwrap() > 0, "the stranger never had it open");
            assert_eq!(undone, None);
        });
    });
}

/// inode(7): where the group may not execute, the set-group-ID bit grants nothing. It goes as on
/// another file system: with a change by a task that is not in the group. (An open for reading and
/// writing is a change here.)
#[test]
fn a_bit_that_grants_nothing_goes_with_a_strangers_change() {
    on_mounts("a_bit_that_grants_nothing_goes_with_a_strangers_change", |ground| {
        let mut gone = 0;
        let more = ["fallocate -p -o 0 -l 4096 file", "cat file", "getcap file", "exec 3>> file"];
        for change in CHANGES.into_iter().chain(more) {
            for (mode, group) in [(0o2666, 9), (0o2666, 1001), (0o6666, 9), (0o6666, 1001)] {
                let after = [&ground.native, &ground.target].map(|place| {
                    let (file, other) = (place.join("file"), place.join("other"));
                    fs::write(&file, "content that is long enough").unwrap();
                    fs::write(other, "other").unwrap();
                    std::os::unix::fs::chown(&file, None, Some(group)).unwrap();
                    chmod(&file, mode);
                    let script = format!("cd {}; {change}", place.display());
                    ground.user(&script);
                    fs::metadata(&file).unwrap().mode() & 0o7777
                });
                assert_eq!(after[0], after[1], "{change} of {mode:o} and group {group}");
                made(ground, "file");
                gone += usize::from(after[0] & 0o2000 == 0);
            }
        }
        assert!(gone >= 14, "only {gone} changes take it on the source");
        for (script, kept) in [("exec 3<> file", 0), ("cat file", 0o2000)] {
            chmod(&ground.at("file"), 0o2666);
            std::os::unix::fs::chown(ground.at("file"), None, Some(9)).unwrap();
            chmod(&ground.at("file"), 0o2666);
            ground.user(script);
            assert_eq!(made(ground, "file").2, 0o666 | kept, "{script}");
        }
        // Root keeps it, and so does a member by a supplementary group.
        for (option, script) in [("--clear-groups", ""), ("--groups=9", "setpriv --reuid=1000")] {
            chmod(&ground.at("file"), 0o2666);
            let run = format!("{script} sh -c 'echo x >> file; truncate -s 1 file; : 1<> file'");
            let done = std::process::Command::new("setpriv")
                .args([option, "sh", "-euc", &run])
                .current_dir(&ground.target)
                .status();
            assert!(done.unwrap().success(), "{option}");
            assert_eq!(made(ground, "file").2, 0o2666, "{option}");
        }
    });
}

/// chmod(2), acl(5): in a group that the owner is not in.
#[test]
fn a_list_from_outside_the_group_takes_the_set_group_id_bit() {
    on_mounts("a_list_from_outside_the_group_takes_the_set_group_id_bit", |ground| {
        directory(ground, "open", 0o777);
        for (group, who, left) in [(9, "user", 0o755), (1001, "user", 0o2755), (9, "root", 0o2755)]
        {
            let file = ground.at("open/file");
            ground.user("rm -f open/file; echo x > open/file");
            std::os::unix::fs::chown(&file, None, Some(group)).unwrap();
            chmod(&file, 0o2755);
            match who {
                "user" => ground.user("setfacl -m u:5:r open/file"),
                _ => {
                    let list = [
                        (1, 7, NOBODY),
                        (2, 4, 5),
                        (4, 5, NOBODY),
                        (16, 5, NOBODY),
                        (32, 5, NOBODY),
                    ];
                    let name = "system.posix_acl_access";
                    rustix::fs::setxattr(&file, name, &acl(&list), XattrFlags::empty()).unwrap();
                }
            }
            assert_eq!(made(ground, "open/file").2, left, "{who} and group {group}");
        }
    });
}
