// SPDX-License-Identifier: MIT OR Apache-2.0
//! K, where no strip helps: descriptors and shared mappings through which a file changes unseen.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nscap_core::Operation;
use nscap_linux::opath;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::super::Append;
use super::super::{Access, Opened, Writer};
use super::{NSCAPABILITY, Source, Subject, on_each_disk, us};
use nscap_testing::{Mapping, is_root};

impl Subject<'_> {
    fn writer(&self) -> Writer {
        Writer::new(Arc::new(self.open(OFlags::WRONLY)), false)
    }

    /// An open through the mount: what the file system tells us.
    pub(super) fn opening(&self, flags: OFlags) -> Opened {
        let only = flags & OFlags::ACCMODE == OFlags::WRONLY;
        let access = if only { Access::WriteOnly } else { Access::Mapped };
        let open = || Ok(self.writer());
        self.caps.opening(self.fd.as_fd(), self.node, (access, false), Append::No, open).unwrap()
    }

    /// And what the kernel opens then, which it does where the handle can be mapped.
    fn through(&self, flags: OFlags) -> (OwnedFd, Opened) {
        let opened = self.opening(flags);
        (self.open(flags), opened)
    }

    /// A write that the server makes for a handle.
    pub(super) fn writes(&self) {
        let changing = self.caps.begin(self.node);
        let writer = changing.writer(Append::No, || Ok(self.writer())).unwrap();
        self.caps.apply(writer.as_fd(), Operation::Write).unwrap();
        rustix::io::pwrite(&*writer, b"content", 0).unwrap();
    }

    fn grants(&self) -> Result<(), Errno> {
        self.grant(&[410_000])?;
        self.remove(NSCAPABILITY, us())
    }
}

const BUSY: Result<(), Errno> = Err(Errno::TXTBSY);

#[test]
fn nothing_is_granted_while_somebody_can_write_unseen() {
    if !is_root("nothing_is_granted_while_somebody") {
        return;
    }
    on_each_disk(|kind, path| {
        let source = Source::new(path);
        let file = source.file("file");
        assert_eq!(file.grants(), Ok(()), "{kind}");
        // A writer whose open the server did not see.
        for flags in [OFlags::WRONLY, OFlags::RDWR] {
            let stranger = file.open(flags);
            assert_eq!(file.grants(), BUSY, "{kind}, {flags:?}");
            // As handed on by SCM_RIGHTS or fork.
            let copy = rustix::io::fcntl_dupfd_cloexec(&stranger, 0).unwrap();
            drop(stranger);
            assert_eq!(file.grants(), BUSY, "{kind}, {flags:?}");
            drop(copy);
            assert_eq!(file.grants(), Ok(()), "{kind}, {flags:?}");
        }
        // A mapping keeps what it was made of, closed or not, whatever the server knows.
        let (descriptor, opened) = file.through(OFlags::RDWR);
        assert_eq!(file.grants(), BUSY, "{kind}");
        let mapping = Mapping::of(&descriptor);
        drop((descriptor, opened));
        assert_eq!(file.grants(), BUSY, "{kind}");
        let restarted = Source::new(path);
        assert_eq!(restarted.known("file").grants(), BUSY, "{kind}");
        mapping.write(1);
        drop(mapping);
        assert_eq!(file.grants(), Ok(()), "{kind}");
        assert_eq!(restarted.known("file").grants(), Ok(()), "{kind}");
        assert_eq!(source.caps.writers.len(), 0);
    });
}

#[test]
fn an_open_that_can_be_mapped_drops_what_is_there() {
    if !is_root("an_open_that_can_be_mapped") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(directory.path());
    let file = source.file("file");
    for (flags, drops) in [
        (OFlags::WRONLY, false),
        (OFlags::RDWR, true),
        // Whatever that may come to mean.
        (OFlags::ACCMODE, true),
    ] {
        file.grant(&[410_000, 420_000]).unwrap();
        let opened = file.opening(flags);
        assert_eq!(file.holds_nothing(), drops, "{flags:?}");
        drop(opened);
        if !drops {
            file.remove(NSCAPABILITY, us()).unwrap();
        }
    }
}

#[test]
fn cp_and_bsdtar_grant_on_what_they_have_open_for_writing() {
    if !is_root("cp_and_bsdtar_grant") {
        return;
    }
    on_each_disk(|kind, path| {
        let source = Source::new(path);
        let file = source.file("file");
        let (one, other) = (file.opening(OFlags::WRONLY), file.opening(OFlags::WRONLY));
        for _ in 0..3 {
            file.writes();
            assert_eq!(file.grant(&[410_000, 420_000]), Ok(()), "{kind}");
            assert!(!file.holds_nothing(), "{kind}");
            file.writes();
            assert!(file.holds_nothing(), "{kind}");
        }
        assert_eq!(file.grants(), Ok(()), "{kind}");
        drop(one);
        assert_eq!(file.grants(), Ok(()), "{kind}");

        // Not while another task could write, in any order, and whatever the server knows.
        for stranger in [file.open(OFlags::RDWR), file.open(OFlags::WRONLY)] {
            assert_eq!(file.grants(), BUSY, "{kind}");
            file.writes();
            assert_eq!(file.grants(), BUSY, "{kind}");
            drop(stranger);
        }
        assert_eq!(file.grants(), Ok(()), "{kind}");
        let mapping = Mapping::of(file.open(OFlags::RDWR));
        assert_eq!(file.grants(), BUSY, "{kind}");
        mapping.write(1);
        drop(mapping);
        let (descriptor, mapped) = file.through(OFlags::RDWR);
        assert_eq!(file.grants(), BUSY, "{kind}");
        let mapping = Mapping::of(&descriptor);
        drop((descriptor, mapped));
        assert_eq!(file.grants(), BUSY, "{kind}");
        drop(mapping);
        assert_eq!(file.grants(), Ok(()), "{kind}");
        file.writes();
        drop(other);
        assert_eq!(source.caps.writers.len(), 0);
        assert_eq!(file.grants(), Ok(()), "{kind}");
    });
}

/// What is given back for a grant is the same inode afterwards, name or none.
#[test]
fn a_file_that_was_removed_is_granted_on_and_written() {
    if !is_root("a_file_that_was_removed") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(directory.path());
    let file = source.file("file");
    let again = file.open(OFlags::PATH);
    let opened = file.opening(OFlags::WRONLY);
    std::fs::remove_file(&file.path).unwrap();
    assert_eq!(file.grants(), Ok(()));
    let changing = file.caps.begin(file.node);
    let open = || Ok(Writer::new(Arc::new(opath::reopen(&again, OFlags::WRONLY)?), false));
    let writer = changing.writer(Append::No, open).unwrap();
    assert_eq!(rustix::io::pwrite(&*writer, b"x", 0), Ok(1));
    drop((writer, changing, opened));
    assert_eq!(source.caps.writers.len(), 0);
}

/// Two servers on one file, as a hard link outside of the source makes it: each sees the other's
/// handles for as long as there is one, also before the kernel has opened the file for it.
#[test]
fn another_server_is_a_writer_as_long_as_it_has_a_handle() {
    if !is_root("another_server_is_a_writer") {
        return;
    }
    on_each_disk(|kind, path| {
        let (one, other) = (Source::new(path), Source::new(path));
        let (file, same) = (one.file("file"), other.known("file"));
        for flags in [OFlags::WRONLY, OFlags::RDWR] {
            let opened = same.opening(flags);
            assert_eq!(file.grants(), BUSY, "{kind}");
            drop(opened);
            assert_eq!(file.grants(), Ok(()), "{kind}");
        }
    });
}

#[test]
fn no_race_leaves_a_grant_beside_a_mapping() {
    if !is_root("no_race_leaves_a_grant") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(directory.path());
    let file = source.file("file");
    let (done, granted) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for rootid in [410_000, 420_000] {
            let (file, done, granted) = (&file, &done, &granted);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    match file.grant(&[rootid]) {
                        Ok(()) => granted.fetch_add(1, Ordering::Relaxed),
                        Err(Errno::BUSY | Errno::TXTBSY) => 0,
                        Err(errno) => panic!("{errno}"),
                    };
                }
            });
        }
        for round in 0..1500_u32 {
            let (descriptor, opened) = file.through(OFlags::RDWR);
            let mapping = Mapping::of(&descriptor);
            assert!(file.holds_nothing(), "{round}");
            if round % 2 == 0 {
                drop((descriptor, opened));
            }
            mapping.write(round as u8);
            if round % 3 == 0 {
                std::thread::yield_now();
            }
            assert!(file.holds_nothing(), "{round}");
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(granted.load(Ordering::Relaxed) > 0, "no grant ever got through");
    assert_eq!(source.caps.writers.len(), 0);
}

/// Otherwise a task that may write one file could occupy every thread.
#[test]
fn a_grant_that_waits_keeps_nobody_from_the_file() {
    if !is_root("a_grant_that_waits_keeps_nobody") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(directory.path());
    let file = source.file("file");
    let others_go_on = || {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(file.grants(), BUSY);
                done.store(true, Ordering::SeqCst);
            });
            std::thread::sleep(std::time::Duration::from_millis(10));
            drop(file.opening(OFlags::WRONLY));
            drop(file.caps.changing(file.fd.as_fd(), file.node, Operation::Write).unwrap());
            !done.load(Ordering::SeqCst)
        })
    };
    // A thread may be late; not each time.
    let (descriptor, opened) = file.through(OFlags::RDWR);
    assert!((0..10).any(|_| others_go_on()), "while a grant waits for a close");
    drop((descriptor, opened));
    let stranger = file.open(OFlags::RDWR);
    assert!((0..10).any(|_| others_go_on()), "while a grant waits for the kernel's word");
    drop(stranger);
    assert_eq!(source.caps.writers.len(), 0);
}

#[test]
fn a_grant_waits_for_the_end_of_a_handle_that_is_closed_already() {
    if !is_root("a_grant_waits_for_the_end_of_a_handle") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(directory.path());
    let file = source.file("file");
    let (descriptor, opened) = file.through(OFlags::RDWR);
    drop(descriptor);
    std::thread::scope(|scope| {
        let release = scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            drop(opened);
        });
        assert_eq!(file.grants(), Ok(()));
        release.join().unwrap();
    });
    assert_eq!(source.caps.writers.len(), 0);
}
