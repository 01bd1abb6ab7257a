// SPDX-License-Identifier: MIT OR Apache-2.0
//! Removals on a file whose owner has filled the space for its attributes: they always work,
//! through the mount and on the file itself, and no task gains by them.

use std::path::Path;
use std::time::{Duration, Instant};

use nscap_core::{Entries, FileCaps, HostValue, Record, Stored, Uid};
use nscap_linux::{CapFile, Links, Namespaces};
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::{CAPABILITY, NSCAPABILITY, Source, on_each_disk, run, text, us};
use nscap_testing::is_root;

/// Sets attributes as the owner may, until not even an empty one fits.
fn fill(path: &Path) {
    let mut number = 0..20_000;
    for size in [16_000, 4000, 1000, 100, 20, 8, 4, 1, 0] {
        for n in number.by_ref() {
            let (name, value) = (format!("user.{n}"), vec![b'x'; size]);
            match rustix::fs::setxattr(path, &name, &value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::NOSPC | Errno::DQUOT | Errno::TOOBIG) => break,
                Err(errno) => panic!("{name}: {errno}"),
            }
        }
    }
    assert!(number.next().is_some(), "it cannot be filled");
}

/// The host value and the entries of a file.
fn held(path: &Path) -> (Option<FileCaps>, Vec<(Uid, FileCaps)>) {
    let mut namespaces = Namespaces::own().unwrap();
    let state = CapFile::open(path, Links::Refuse).unwrap().read(&mut namespaces).unwrap();
    let (stored, _) = state.stored(&namespaces);
    let host = match stored.host {
        HostValue::Present(caps) => Some(caps),
        HostValue::Absent | HostValue::Malformed => None,
    };
    (host, stored.entries.iter().collect())
}

/// Waits until what a removed file held is free: a child that another test forks at this moment has
/// the file's descriptors until its execve.
fn wait_for_room(path: &Path, free_inodes: u64) {
    let end = Instant::now() + Duration::from_secs(30);
    while rustix::fs::statvfs(path).unwrap().f_ffree < free_inodes {
        assert!(Instant::now() < end, "the removed file still takes its space");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn without_host(path: &Path) -> nscap_linux::Result<()> {
    let mut namespaces = Namespaces::own()?;
    let file = CapFile::open(path, Links::Refuse)?;
    let before = file.read(&mut namespaces)?;
    let (stored, _) = before.stored(&namespaces);
    file.write(&before, &Stored { host: HostValue::Absent, ..stored }, &namespaces)
}

fn with_one_entry_less(path: &Path) -> nscap_linux::Result<()> {
    let mut namespaces = Namespaces::own()?;
    let file = CapFile::open(path, Links::Refuse)?;
    let before = file.read(&mut namespaces)?;
    let (stored, _) = before.stored(&namespaces);
    let all = stored.entries.iter().map(|(id, caps)| *Record::new(id.get(), caps).as_bytes());
    let mut left: Vec<_> = all.collect();
    left.pop();
    let entries = Entries::decode(&left).unwrap_or(Entries::NONE);
    file.write(&before, &Stored { entries, ..stored }, &namespaces)
}

#[test]
fn taking_away_works_on_a_file_that_is_full() {
    if !is_root("taking_away_works_on_a_file_that_is_full") {
        return;
    }
    on_each_disk(|kind, path| {
        if !["ext4", "tmpfs"].contains(&kind) {
            return;
        }
        if kind == "tmpfs" {
            run("mount", &["-o", "remount,nr_inodes=48", text(path)]).unwrap();
        }
        let source = Source::new(path);
        let free_inodes = rustix::fs::statvfs(path).unwrap().f_ffree;
        let mut fell_short = 0;
        for rootids in [&[410_000][..], &[410_000, 420_000], &[410_000, 420_000, 430_000]] {
            for (host, way) in [(true, 0), (true, 1), (true, 2), (true, 3), (false, 2), (false, 3)]
            {
                let file = source.file("file");
                if host {
                    file.grant_host().unwrap();
                }
                file.grant(rootids).unwrap();
                fill(&file.path);
                let before = held(&file.path);
                assert_eq!((before.0.is_some(), before.1.len()), (host, rootids.len()));
                let what = format!("{kind}, {rootids:?}, host value: {host}, way {way}");
                match way {
                    0 => file.remove(CAPABILITY, us()).unwrap(),
                    1 => without_host(&file.path).unwrap(),
                    2 => file.remove(NSCAPABILITY, us()).unwrap(),
                    _ => with_one_entry_less(&file.path).unwrap(),
                }
                let after = held(&file.path);
                let kept_host = if way < 2 { None } else { before.0 };
                assert_eq!(after.0, kept_host, "{what}");
                let most = match way {
                    0 | 1 => before.1.len(),
                    2 => 0,
                    _ => before.1.len() - 1,
                };
                assert!(after.1.len() <= most, "{what}");
                assert!(after.1.iter().all(|entry| before.1.contains(entry)), "{what}");
                fell_short += usize::from(after.1.len() < most);
                // A grant says that there is no room, and leaves what there is.
                if !host && after.1.is_empty() {
                    fill(&file.path);
                    assert_eq!(file.grant(rootids), Err(Errno::NOSPC), "{what}");
                    assert_eq!(held(&file.path), after, "{what}");
                }
                std::fs::remove_file(&file.path).unwrap();
                drop(file);
                wait_for_room(path, free_inodes);
            }
        }
        println!("{kind}: entries were lost {fell_short} times");
    });
}
