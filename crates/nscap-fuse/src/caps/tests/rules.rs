// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a caller is shown and may change, as it arrives over FUSE: values whose rootid the kernel
//! has made an id of ours, names that it lets anyone ask for, removals that may be its own.

use std::os::fd::AsFd as _;
use std::path::Path;

use nscap_core::{Busy, NsCaps, Policy, SetFlags, VfsCaps};
use rustix::io::Errno;

use super::super::CapName;
use super::{
    ARRAYS, Asker, CAPABILITY, NO_FLAGS, NSCAPABILITY, Source, Subject, asker, entries, raw, us,
};
use nscap_testing::{Container, Process, WAIT, is_root};

/// `system.nscapability`.
const SYSTEM: CapName = CapName::Unchecked;

fn v2() -> Vec<u8> {
    VfsCaps::v2(raw()).encode().as_bytes().to_vec()
}

fn v3(rootid: u32) -> Vec<u8> {
    VfsCaps::v3(rootid, raw()).encode().as_bytes().to_vec()
}

/// A file that ids of the container own.
fn owned<'s>(source: &'s Source, owner: u32) -> Subject<'s> {
    let file = source.file("file");
    std::os::unix::fs::chown(&file.path, Some(owner), Some(owner)).unwrap();
    file
}

fn rootids(value: &[u8]) -> Vec<u32> {
    NsCaps::decode_shown(value).unwrap().iter().map(|record| record.rootid()).collect()
}

/// Root of a namespace, with every capability there; and an ordinary user of it.
struct Tasks {
    _container: Container,
    root: Process,
    user: Process,
}

impl Tasks {
    fn new(map: &str) -> Tasks {
        let container = Container::new(map);
        let (root, user) = (container.enter("0"), container.enter("7"));
        Tasks { _container: container, root, user }
    }
}

#[test]
fn each_namespace_has_its_own_and_the_kernel_is_handed_no_more() {
    if !is_root("each_namespace_has_its_own") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(directory.path());
    let (one, other) = (Tasks::new("0 410000 1000"), Tasks::new("0 420000 1000"));
    let (one, user, other) = (one.root.pid(), one.user.pid(), other.root.pid());
    let file = owned(&source, 410_000);
    // The VFS writes the root kuid into what a container's root set.
    assert_eq!(file.set(CAPABILITY, &v3(410_000), one), Ok(()));
    // T: the host is told whose it is.
    for reader in [one, user, us()] {
        assert_eq!(file.get(CAPABILITY, reader), Ok(v3(410_000)));
    }
    assert_eq!(file.get(CAPABILITY, other), Err(Errno::NODATA));
    assert_eq!(rootids(&file.get(NSCAPABILITY, one).unwrap()), [0]);
    assert_eq!(rootids(&file.get(SYSTEM, us()).unwrap()), [410_000]);
    assert_eq!(rootids(&file.get(SYSTEM, other).unwrap()), [u32::MAX]);
    // B; and (c): the other namespace does not map the file's owner. The kernel would refuse that
    // caller, so this can only be a copy-up by another one: ignored without an error.
    assert_eq!(file.set(CAPABILITY, &v3(410_000), one), Err(Errno::BUSY));
    assert_eq!(file.set(CAPABILITY, &v3(420_000), other), Ok(()));
    assert_eq!(file.get(CAPABILITY, other), Err(Errno::NODATA));
    assert_eq!(file.set(NSCAPABILITY, &entries(&[5]), other), Ok(()));
    assert_eq!(rootids(&file.get(NSCAPABILITY, us()).unwrap()), [410_000]);
    assert_eq!(file.set(SYSTEM, &entries(&[0]), other), Err(Errno::PERM));
    assert_eq!(file.set(SYSTEM, &entries(&[0]), user), Err(Errno::BUSY));
    assert_eq!(file.set(SYSTEM, &entries(&[5]), user), Err(Errno::PERM));
    // A kuid that its writer cannot name.
    assert_eq!(file.set(CAPABILITY, &v3(420_000), one), Err(Errno::INVAL));
    // The host adds one; R8 overrides both.
    assert_eq!(file.grant(&[420_000]), Ok(()));
    assert_eq!(file.get(CAPABILITY, other), Ok(v3(420_000)));
    assert_eq!(file.get(CAPABILITY, one), Ok(v3(410_000)));
    assert_eq!(file.get(CAPABILITY, us()), Err(Errno::NODATA));
    assert_eq!(file.grant_host(), Ok(()));
    for reader in [one, other, us()] {
        assert_eq!(file.get(CAPABILITY, reader), Ok(v2()));
    }
    assert_eq!(file.remove(CAPABILITY, us()), Ok(()));
    assert_eq!(file.get(CAPABILITY, one), Ok(v3(410_000)));
    // D: root of a namespace removes its own, the host all.
    assert_eq!(file.remove(SYSTEM, user), Err(Errno::PERM));
    assert_eq!(file.remove(SYSTEM, one), Ok(()));
    assert_eq!(rootids(&file.get(SYSTEM, us()).unwrap()), [420_000]);
    assert_eq!(file.remove(SYSTEM, one), Err(Errno::PERM));
    assert_eq!(file.remove(NSCAPABILITY, us()), Ok(()));
    assert!(file.holds_nothing());
    assert_eq!(file.remove(NSCAPABILITY, us()), Err(Errno::NODATA));
}

#[test]
fn nobody_grants_above_their_own_namespace() {
    if !is_root("nobody_grants_above_their_own") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(directory.path());
    let outer = Container::new("0 430000 1000");
    // Root there is root of its parent, and its parent's uid 5 is another of its ids.
    let inner = Container::below(Some(&outer), "0 0 1\n5 5 1");
    let root = inner.enter("0");
    let file = owned(&source, 430_000);
    assert_eq!(file.set(CAPABILITY, &v3(430_000), root.pid()), Err(Errno::PERM));
    assert_eq!(file.set(SYSTEM, &entries(&[0]), root.pid()), Err(Errno::PERM));
    assert_eq!(file.set(SYSTEM, &entries(&[5]), root.pid()), Ok(()));
    assert_eq!(file.remove(SYSTEM, root.pid()), Ok(()));
    // From the parent it holds in both.
    let parent = outer.enter("0");
    assert_eq!(file.set(CAPABILITY, &v3(430_000), parent.pid()), Ok(()));
    assert_eq!(file.get(CAPABILITY, root.pid()), Ok(v3(430_000)));
    assert_eq!(file.remove(SYSTEM, root.pid()), Err(Errno::PERM));
}

#[test]
fn who_cannot_be_identified_gets_nothing_and_only_takes_away() {
    if !is_root("who_cannot_be_identified") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(directory.path());
    let file = source.file("file");
    file.grant_host().unwrap();
    file.grant(&[410_000]).unwrap();
    let gone = {
        let process = Process::start(&["sh", "-c", WAIT]);
        process.pid()
    };
    for tid in [0, gone] {
        assert_eq!(file.get(NSCAPABILITY, tid), Err(Errno::NODATA));
        assert_eq!(file.set(NSCAPABILITY, &entries(&[5]), tid), Err(Errno::PERM));
        assert_eq!(file.set(CAPABILITY, &v2(), tid), Err(Errno::PERM));
        for name in [SYSTEM, NSCAPABILITY] {
            assert_eq!(file.remove(name, tid), Err(Errno::PERM));
        }
        let raw = "user.a\0security.capability\0security.nscapability\0";
        assert_eq!(file.list(raw, tid), "user.a\0");
    }
    assert_eq!(file.get(CAPABILITY, 0), Err(Errno::NODATA));
    assert_eq!(file.get(CAPABILITY, us()), Ok(v2()));
    // It may be the kernel's own before a write, which fails with it.
    for tid in [0, gone] {
        assert_eq!(file.remove(CAPABILITY, tid), Ok(()));
        assert!(file.holds_nothing());
        file.grant_host().unwrap();
    }
}

#[test]
fn what_is_listed_is_what_a_copy_needs() {
    if !is_root("what_is_listed_is_what_a_copy_needs") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(directory.path());
    let (one, other) = (Tasks::new("0 410000 1000"), Tasks::new("0 420000 1000"));
    let readers = [us(), one.root.pid(), other.root.pid()];
    let file = source.file("file");
    let listed = |raw: &str| readers.map(|reader| file.list(raw, reader));
    const BOTH: &str = "user.a\0security.capability\0security.nscapability\0user.b\0";
    const CAPABILITY_ONLY: &str = "user.a\0user.b\0security.capability\0";
    const NSCAPABILITY_ONLY: &str = "user.a\0user.b\0security.nscapability\0";
    const NEITHER: &str = "user.a\0user.b\0";
    assert_eq!(listed(NEITHER), [NEITHER; 3]);
    // A tripwire or a table alone grants nothing.
    assert_eq!(listed(BOTH), [NEITHER; 3]);
    file.grant(&[410_000]).unwrap();
    assert_eq!(listed(CAPABILITY_ONLY), [CAPABILITY_ONLY, CAPABILITY_ONLY, NEITHER]);
    file.grant(&[420_000]).unwrap();
    assert_eq!(listed(BOTH), [NSCAPABILITY_ONLY, CAPABILITY_ONLY, CAPABILITY_ONLY]);
    file.grant_host().unwrap();
    let both = format!("{CAPABILITY_ONLY}security.nscapability\0");
    assert_eq!(listed(BOTH), [both.as_str(), CAPABILITY_ONLY, CAPABILITY_ONLY]);
}

#[test]
fn a_removal_that_may_be_the_kernels_never_fails_a_write() {
    if !is_root("a_removal_that_may_be_the_kernels") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(directory.path());
    let one = Tasks::new("0 410000 1000");
    let file = owned(&source, 410_000);
    for task in [one.root.pid(), one.user.pid()] {
        file.grant(&[410_000, 420_000]).unwrap();
        file.grant_host().unwrap();
        assert_eq!(file.get(CAPABILITY, task), Ok(v2()));
        assert_eq!(file.remove(CAPABILITY, task), Ok(()));
        if task == one.user.pid() {
            // No removal by this task would have come this far: all goes, before it writes.
            assert!(file.holds_nothing());
        } else {
            // Its own goes; the write that may follow drops the rest.
            assert_eq!(rootids(&file.get(NSCAPABILITY, us()).unwrap()), [420_000]);
            file.remove(NSCAPABILITY, us()).unwrap();
            file.remove(CAPABILITY, us()).unwrap();
        }
    }
    assert_eq!(file.remove(CAPABILITY, one.root.pid()), Err(Errno::NODATA));
    // Root sees a host value that is not its own to remove.
    file.grant_host().unwrap();
    assert_eq!(file.remove(CAPABILITY, one.root.pid()), Ok(()));
    assert!(file.holds_nothing());
}

#[test]
fn values_and_policies_are_refused_by_their_clauses() {
    if !is_root("values_and_policies_are_refused") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    policies(directory.path());
    let source = Source::new(directory.path());
    let file = source.file("file");
    let user = Tasks::new("0 410000 1000").user;
    for (name, bad) in [
        (CAPABILITY, vec![]),
        (CAPABILITY, vec![0; 20]),
        (CAPABILITY, v2()[..19].to_vec()),
        (NSCAPABILITY, vec![]),
        (NSCAPABILITY, entries(&[5])[..31].to_vec()),
        (NSCAPABILITY, entries(&[u32::MAX])),
    ] {
        for tid in [us(), user.pid()] {
            assert_eq!(file.set(name, &bad, tid), Err(Errno::INVAL), "{bad:?}");
        }
    }
    let set = |flags| {
        file.caps.set(file.fd.as_fd(), file.node, NSCAPABILITY, &entries(&[5]), flags, asker(us()))
    };
    let replace = SetFlags { replace: true, ..NO_FLAGS };
    assert_eq!(set(replace), Err(Errno::NODATA));
    assert_eq!(set(SetFlags { create: true, ..NO_FLAGS }), Ok(()));
    assert_eq!(set(replace), Err(Errno::BUSY));
    // A: as many as there may be, and as the file system holds.
    let many: Vec<u32> = (10..1033).collect();
    match file.set(NSCAPABILITY, &entries(&many), us()) {
        Ok(()) => assert_eq!(file.grant(&[2000]), Err(Errno::NOSPC)),
        // A block of ext4.
        Err(errno) => assert_eq!(errno, Errno::NOSPC),
    }
}

fn policies(path: &Path) {
    let single = Source::with(path, Policy::SEED.with_busy(Busy::SameOk));
    let file = single.file("single");
    assert_eq!(file.grant(&[5, 6]), Err(Errno::INVAL));
    assert_eq!(file.grant(&[5]), Ok(()));
    assert_eq!(file.grant(&[5]), Ok(()));
    assert_eq!(file.grant(&[6]), Err(Errno::BUSY));
    let same = Source::with(path, ARRAYS.with_busy(Busy::SameOk));
    let file = same.file("same");
    assert_eq!(file.grant(&[5, 6]), Ok(()));
    let before = std::fs::metadata(&file.path).unwrap();
    assert_eq!(file.grant(&[5, 6]), Ok(()));
    let after = std::fs::metadata(&file.path).unwrap();
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!((before.ctime(), before.ctime_nsec()), (after.ctime(), after.ctime_nsec()));
}

#[test]
fn of_a_name_that_nobody_checks_the_kernel_asks_with_the_threads_own_ids() {
    if !is_root("of_a_name_that_nobody_checks") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(directory.path());
    let tasks = Tasks::new("0 430000 1000");
    let file = owned(&source, 430_000);
    let value = entries(&[0]);
    let as_told = |ids| {
        let asker = Asker { tid: tasks.root.pid(), ids };
        let file_of = || (file.fd.as_fd(), file.node);
        let (fd, node) = file_of();
        let set = file.caps.set(fd, node, SYSTEM, &value, NO_FLAGS, asker);
        let removed = file.caps.remove(fd, node, SYSTEM, asker);
        (set, removed)
    };
    // An overlayfs would ask with its mounter's, a ring with those of a personality.
    for ids in [(0, 0), (430_000, 0), (0, 430_000), (430_007, 430_000), (430_000, u32::MAX)] {
        assert_eq!(as_told(ids), (Err(Errno::PERM), Err(Errno::PERM)), "{ids:?}");
    }
    for ids in [(430_000, 430_000), (u32::MAX, u32::MAX)] {
        assert_eq!(as_told(ids), (Ok(()), Ok(())), "{ids:?}");
    }
    // The VFS has checked these, for any credentials.
    let copies_up = Asker { tid: tasks.user.pid(), ids: (0, 0) };
    let caps = &file.caps;
    assert_eq!(
        caps.set(file.fd.as_fd(), file.node, CAPABILITY, &v3(430_000), NO_FLAGS, copies_up),
        Ok(())
    );
    assert!(file.holds_nothing());
}

#[test]
fn a_thread_of_the_kernels_is_nobody() {
    if !is_root("a_thread_of_the_kernels_is_nobody") {
        return;
    }
    let kthreadd = std::fs::read("/proc/2/comm").unwrap_or_default();
    if kthreadd != b"kthreadd\n" {
        return println!("skipped: the kernel's threads are not in this pid namespace");
    }
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(directory.path());
    let file = source.file("file");
    for name in [CAPABILITY, NSCAPABILITY, SYSTEM] {
        let value = if name == CAPABILITY { v2() } else { entries(&[5]) };
        assert_eq!(file.set(name, &value, 2), Err(Errno::PERM), "{name:?}");
        assert_eq!(file.set(name, &value, us()), Ok(()), "{name:?}");
        assert!(file.get(name, us()).is_ok());
        assert_eq!(file.get(name, 2), Err(Errno::NODATA), "{name:?}");
        assert_eq!(file.list("security.capability\0", 2), "");
        if name != CAPABILITY {
            assert_eq!(file.remove(name, 2), Err(Errno::PERM));
        }
        // The kernel's own removal before a write.
        assert_eq!(file.remove(CAPABILITY, 2), Ok(()));
        assert!(file.holds_nothing());
        assert_eq!(file.remove(CAPABILITY, 2), Ok(()));
    }
}

#[test]
fn a_kernel_that_does_not_ask_has_the_server_ask() {
    if !is_root("a_kernel_that_does_not_ask") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut source = Source::new(directory.path());
    assert!(source.caps.asked);
    let tasks = Tasks::new("0 430000 1000");
    let user = Process::start(&[
        "setpriv",
        "--reuid=1000",
        "--regid=1000",
        "--clear-groups",
        "sh",
        "-c",
        WAIT,
    ]);
    let others = [tasks.root.pid(), tasks.user.pid(), user.pid()];
    let decided = |source: &Source, tid| source.caps.may_change_security(asker(tid));
    for asked in [true, false] {
        source.caps.asked = asked;
        assert_eq!(decided(&source, us()), Ok(()));
        for tid in [0, u32::MAX] {
            assert_eq!(decided(&source, tid), Err(Errno::PERM));
        }
        // Where it has asked, it has asked for another than the thread: an overlayfs.
        for tid in others {
            assert_eq!(decided(&source, tid).is_ok(), asked);
        }
    }
    // Nor is a table taken, or taken away, without a word.
    let file = owned(&source, 430_000);
    file.grant(&[430_000, 430_001]).unwrap();
    for tid in [user.pid(), tasks.user.pid()] {
        assert_eq!(file.set(NSCAPABILITY, &entries(&[5]), tid), Err(Errno::PERM));
        assert_eq!(file.remove(NSCAPABILITY, tid), Err(Errno::PERM));
    }
    assert_eq!(rootids(&file.get(NSCAPABILITY, us()).unwrap()), [430_000, 430_001]);
}
