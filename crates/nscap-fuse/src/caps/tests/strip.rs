// SPDX-License-Identifier: MIT OR Apache-2.0
//! K by the tripwire: what the kernel does to the backing file beneath us voids what it must,
//! whatever form that is stored in; on every file system that trees are kept on.

use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;

use nscap_core::Operation;
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;

use super::{Source, Subject, on_each_disk};
use nscap_testing::is_root;

type Change = fn(&Subject<'_>) -> Result<(), Errno>;

fn open_write(file: &Subject<'_>) -> std::fs::File {
    file.open(OFlags::WRONLY).into()
}

/// Changes of a backing file without the server: passthrough writes, and tasks that reach it by
/// another path.
const NATIVE: [(&str, Change); 11] = [
    ("write", |file| {
        open_write(file).write_all_at(b"x", 10).unwrap();
        Ok(())
    }),
    ("the same bytes", |file| {
        open_write(file).write_all_at(&[7], 10).unwrap();
        Ok(())
    }),
    ("append", |file| {
        let end = file.open(OFlags::WRONLY | OFlags::APPEND);
        rustix::io::write(end, b"x").map(|_| ())
    }),
    ("truncate to the same size", |file| rustix::fs::ftruncate(open_write(file), 8192)),
    ("truncate and back", |file| {
        rustix::fs::ftruncate(open_write(file), 1)?;
        rustix::fs::ftruncate(open_write(file), 8192)
    }),
    ("open with O_TRUNC", |file| {
        drop(file.open(OFlags::WRONLY | OFlags::TRUNC));
        Ok(())
    }),
    ("fallocate", |file| rustix::fs::fallocate(open_write(file), FallocateFlags::empty(), 0, 8192)),
    ("punch", |file| {
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(open_write(file), hole, 0, 4096)
    }),
    ("copy_file_range", |file| {
        let from = file.open(OFlags::RDONLY);
        let (mut at, mut to) = (4096, 0);
        let (at, to) = (Some(&mut at), Some(&mut to));
        rustix::fs::copy_file_range(from, at, open_write(file), to, 4096).map(|_| ())
    }),
    ("reflink", |file| {
        let other = file.path.with_extension("other");
        std::fs::write(&other, vec![9; 8192]).unwrap();
        let done =
            rustix::fs::ioctl_ficlone(open_write(file), std::fs::File::open(&other).unwrap());
        std::fs::remove_file(other).unwrap();
        done
    }),
    ("chown", |file| {
        let uid = rustix::fs::Uid::from_raw(1000);
        rustix::fs::chown(&file.path, Some(uid), None)?;
        rustix::fs::chown(&file.path, Some(rustix::fs::Uid::ROOT), None)
    }),
];

/// An entry alone, a table beside a tripwire, a table beside a host value, a host value alone.
type Grants = fn(&Subject<'_>) -> Result<(), Errno>;

const FORMS: [(&str, Grants); 4] = [
    ("one entry", |file| file.grant(&[410_000])),
    ("entries", |file| file.grant(&[410_000, 420_000])),
    ("a host value and an entry", |file| file.grant(&[410_000]).and_then(|()| file.grant_host())),
    ("a host value", |file| file.grant_host()),
];

#[test]
fn whatever_changes_the_backing_file_voids_every_form() {
    if !is_root("whatever_changes_the_backing_file") {
        return;
    }
    on_each_disk(|kind, path| {
        let source = Source::new(path);
        for (change_name, change) in NATIVE {
            for (form_name, grant) in FORMS {
                let what = format!("{kind}, {form_name}, {change_name}");
                let file = source.file("file");
                grant(&file).unwrap_or_else(|errno| panic!("{what}: {errno}"));
                assert!(!file.holds_nothing(), "{what}");
                match change(&file) {
                    Err(Errno::OPNOTSUPP | Errno::NOTTY) => {
                        println!("{what}: the file system does not do that");
                    }
                    done => {
                        done.unwrap_or_else(|errno| panic!("{what}: {errno}"));
                        assert!(file.holds_nothing(), "{what}");
                        // A void table prevents no write.
                        grant(&file).unwrap_or_else(|errno| panic!("{what}: {errno}"));
                        assert!(!file.holds_nothing(), "{what}");
                    }
                }
                std::fs::remove_file(&file.path).unwrap();
            }
        }
    });
}

#[test]
fn the_server_drops_everything_before_it_makes_a_change() {
    if !is_root("the_server_drops_everything") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(directory.path());
    let operations = [
        (Operation::Write, true),
        (Operation::Truncate, true),
        (Operation::Fallocate, true),
        (Operation::Chown, true),
        (Operation::CopyInto, true),
        (Operation::Chmod, false),
        (Operation::Utimes, false),
    ];
    for (operation, drops) in operations {
        for (form, grant) in FORMS {
            let file = source.file("file");
            grant(&file).unwrap();
            let changing = file.caps.changing(file.fd.as_fd(), file.node, operation).unwrap();
            assert_eq!(file.holds_nothing(), drops, "{operation:?}, {form}");
            let left = rustix::fs::getxattr(&file.path, "security.nscapability", &mut [0; 0]);
            assert!(!drops || left == Err(Errno::NODATA), "{operation:?}, {form}");
            drop(changing);
            std::fs::remove_file(&file.path).unwrap();
        }
    }
}

#[test]
fn a_change_and_a_grant_wait_for_each_other() {
    if !is_root("a_change_and_a_grant_wait") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(directory.path());
    let file = source.file("file");
    let changing = file.caps.changing(file.fd.as_fd(), file.node, Operation::Write).unwrap();
    std::thread::scope(|scope| {
        let grant = scope.spawn(|| file.grant(&[410_000]));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!grant.is_finished());
        assert!(file.holds_nothing());
        drop(changing);
        assert_eq!(grant.join().unwrap(), Ok(()));
    });
    assert!(!file.holds_nothing());
    assert_eq!(source.caps.writers.len(), 0);
}
