// SPDX-License-Identifier: MIT OR Apache-2.0
//! The capability side on real files of real file systems, called as the file system calls it:
//! what passthrough does is done here on the backing file.

mod costs;
mod full;
mod rules;
mod strip;
mod writing;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nscap_core::{FileCaps, NsCaps, Policy, Record, SetFlags, VfsCaps};
use nscap_testing::with_own_mounts;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{Asker, CapName, Caps};
use crate::options::Options;
use crate::stats::Stats;

const ARRAYS: Policy = Policy::ARRAYS;
const CAPABILITY: CapName = CapName::Capability;
const NSCAPABILITY: CapName = CapName::NsCapability;
const NO_FLAGS: SetFlags = SetFlags { create: false, replace: false };

/// A directory that is the source of a mount, and its capability side.
struct Source {
    path: PathBuf,
    caps: Caps,
}

impl Source {
    fn new(path: &Path) -> Source {
        Source::with(path, ARRAYS)
    }

    fn with(path: &Path, policy: Policy) -> Source {
        let directory = File::open(path).unwrap();
        let stats = Arc::new(Stats::default());
        let options = Options { policy, threads: 8, ..Options::default() };
        let caps = Caps::new(directory.as_fd(), path, &options, stats).unwrap();
        Source { path: path.to_owned(), caps }
    }

    fn file(&self, name: &str) -> Subject<'_> {
        let path = self.path.join(name);
        std::fs::write(&path, vec![7; 8192]).unwrap();
        self.known(name)
    }

    /// A file that is there.
    fn known(&self, name: &str) -> Subject<'_> {
        let path = self.path.join(name);
        let fd = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let node = rustix::fs::fstat(&fd).unwrap().st_ino;
        Subject { caps: &self.caps, path, fd, node }
    }
}

/// A file of the source.
struct Subject<'s> {
    caps: &'s Caps,
    path: PathBuf,
    fd: OwnedFd,
    node: u64,
}

impl Subject<'_> {
    fn get(&self, name: CapName, tid: u32) -> Result<Vec<u8>, Errno> {
        self.caps.get(self.fd.as_fd(), name, tid)
    }

    fn set(&self, name: CapName, value: &[u8], tid: u32) -> Result<(), Errno> {
        self.caps.set(self.fd.as_fd(), self.node, name, value, NO_FLAGS, asker(tid))
    }

    fn remove(&self, name: CapName, tid: u32) -> Result<(), Errno> {
        self.caps.remove(self.fd.as_fd(), self.node, name, asker(tid))
    }

    fn list(&self, raw: &str, tid: u32) -> String {
        let shown = self.caps.list(self.fd.as_fd(), raw.as_bytes(), tid).unwrap();
        String::from_utf8(shown).unwrap()
    }

    /// As the host grants: entries by rootid.
    fn grant(&self, rootids: &[u32]) -> Result<(), Errno> {
        self.set(NSCAPABILITY, &entries(rootids), us())
    }

    /// As the host grants to itself.
    fn grant_host(&self) -> Result<(), Errno> {
        self.set(CAPABILITY, VfsCaps::v2(raw()).encode().as_bytes(), us())
    }

    fn holds_nothing(&self) -> bool {
        let nodata = Err(Errno::NODATA);
        self.get(CAPABILITY, us()) == nodata && self.get(NSCAPABILITY, us()) == nodata
    }

    fn open(&self, flags: OFlags) -> OwnedFd {
        rustix::fs::open(&self.path, flags | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }
}

/// A thread, of whose ids the kernel says nothing.
fn asker(tid: u32) -> Asker {
    Asker { tid, ids: (u32::MAX, u32::MAX) }
}

/// The id of the thread that calls.
fn us() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
}

fn raw() -> FileCaps {
    FileCaps::from_text(b"cap_net_raw=ep").unwrap()
}

/// Form F.
fn entries(rootids: &[u32]) -> Vec<u8> {
    let records = rootids.iter().map(|rootid| Record::new(*rootid, raw()));
    let mut value = vec![0; NsCaps::encoded_len(rootids.len())];
    NsCaps::encode(records, &mut value).unwrap();
    value
}

const DISKS: [&str; 4] = ["ext4", "xfs", "btrfs", "tmpfs"];

/// Runs `work` on a new file system of each kind, in threads with their own mounts.
fn on_each_disk(work: impl Fn(&str, &Path) + Sync) {
    for kind in DISKS {
        // Removed after the namespace: nothing is mounted there by then.
        let directory = tempfile::tempdir().unwrap();
        with_own_mounts(|| {
            let target = directory.path().join("disk");
            std::fs::create_dir(&target).unwrap();
            match mount(kind, &directory.path().join("image"), &target) {
                Ok(()) => work(kind, &target),
                Err(problem) => println!("skipped: {kind}: {problem}"),
            }
        });
    }
}

fn mount(kind: &str, image: &Path, target: &Path) -> Result<(), String> {
    if kind == "tmpfs" {
        return run("mount", &["-t", "tmpfs", "tmpfs", text(target)]);
    }
    let size = if kind == "xfs" { 320 << 20 } else { 160 << 20 };
    File::create(image).and_then(|file| file.set_len(size)).map_err(|e| e.to_string())?;
    let force = if kind == "ext4" { "-F" } else { "-f" };
    run(&format!("mkfs.{kind}"), &["-q", force, text(image)])?;
    // The loop device goes with the mount, and that with the thread.
    run("mount", &["-o", "loop", text(image), text(target)])
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    match Command::new(program).args(args).env("PATH", path).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(format!("{program}: {error}")),
    }
}
