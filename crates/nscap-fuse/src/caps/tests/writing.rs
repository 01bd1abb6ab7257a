//! K, where no strip helps: descriptors and shared mappings through which a file changes unseen.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nscap_core::Operation;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::super::{Opened, Opening};
use super::support::{Mapping, is_root};
use super::{NSCAPABILITY, Source, Subject, on_each_disk, us};

impl Subject<'_> {
    fn opening(&self, flags: OFlags) -> Opened {
        let opening = Opening { flags, passthrough: true, fresh: false };
        self.caps.opening(self.fd.as_fd(), self.node, opening).unwrap()
    }

    /// An open through the mount: what the file system tells us, and what the kernel opens then.
    fn through(&self, flags: OFlags) -> (OwnedFd, Opened) {
        let opened = self.opening(flags);
        (self.open(flags), opened)
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
        // Somebody whom we did not see open it.
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
        (OFlags::RDONLY, false),
        (OFlags::WRONLY, false),
        (OFlags::RDWR, true),
        (OFlags::ACCMODE, true),
        (OFlags::RDONLY | OFlags::TRUNC, true),
        (OFlags::WRONLY | OFlags::TRUNC, true),
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
        // On what was there, also after a restart, and on what they make.
        let file = source.file("file");
        let (descriptor, opened) = file.through(OFlags::WRONLY | OFlags::TRUNC);
        rustix::io::write(&descriptor, b"content").unwrap();
        assert_eq!(file.grant(&[410_000]), Ok(()), "{kind}");
        drop((descriptor, opened));
        assert!(!file.holds_nothing(), "{kind}");
        file.remove(NSCAPABILITY, us()).unwrap();

        let flags = OFlags::WRONLY;
        let fresh = Opening { flags, passthrough: true, fresh: true };
        let descriptor = file.open(flags);
        let opened = source.caps.opening(file.fd.as_fd(), file.node, fresh).unwrap();
        assert_eq!(file.grants(), Ok(()), "{kind}");
        drop((descriptor, opened));

        // Not where somebody else could write when they opened it, nor once somebody has since.
        let stranger = file.open(OFlags::RDWR);
        let (descriptor, opened) = file.through(OFlags::WRONLY);
        assert_eq!(file.grants(), BUSY, "{kind}");
        drop(stranger);
        assert_eq!(file.grants(), BUSY, "{kind}");
        drop((descriptor, opened));
        let (descriptor, opened) = file.through(OFlags::WRONLY);
        let (other, other_opened) = file.through(OFlags::RDWR);
        assert_eq!(file.grants(), BUSY, "{kind}");
        let mapping = Mapping::of(&other);
        drop((other, other_opened));
        assert_eq!(file.grants(), BUSY, "{kind}");
        drop((descriptor, opened));
        assert_eq!(file.grants(), BUSY, "{kind}");
        drop(mapping);
        assert_eq!(file.grants(), Ok(()), "{kind}");
        assert_eq!(source.caps.writers.len(), 0);
    });
}

#[test]
fn a_mapping_of_an_open_that_is_not_passthrough_ends_with_it() {
    if !is_root("a_mapping_of_an_open_that_is_not_passthrough") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(directory.path());
    let file = source.file("file");
    let write_only = file.opening(OFlags::WRONLY);
    let server = file.open(OFlags::WRONLY);
    let opening = Opening { flags: OFlags::RDWR, passthrough: false, fresh: false };
    let read_write = source.caps.opening(file.fd.as_fd(), file.node, opening).unwrap();
    assert_eq!(file.grants(), BUSY);
    drop(read_write);
    assert_eq!(file.grants(), Ok(()));
    drop((write_only, server));
    assert_eq!(source.caps.writers.len(), 0);
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

/// Else whoever may write one file could keep every thread waiting for it.
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
