// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap restore`: gives the capabilities of a manifest again, each to the file that it was saved
//! of and to no other (K, W). A file is found beneath the tree without any link, and read, hashed
//! and written by one descriptor under a lease, so that nothing can be put in its place or be
//! written to it meanwhile.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nscap_core::{
    Busy, Decision, Denied, EntryBuffer, Errno, FileCaps, IdRange, MAX_ENTRIES, Policy, RECORD_LEN,
    Request, SavedFile, SetFlags, Stored, Uid, Why, set_entry,
};
use nscap_image::manifest::{Entry, MAX_MANIFEST, parse};
use nscap_linux::{CapFile, FileState, LiveTask, ReadLease};
use serde::Serialize;

use crate::cli::Restore;
use crate::failure::{EINVAL, EIO, Failure, call};
use crate::out::{self, JsonPath, Out};
use crate::save::range_of;
use crate::sides::hash_of;
use crate::system::System;
use crate::{next, report};

#[derive(Serialize)]
struct JsonRestored {
    #[serde(flatten)]
    path: JsonPath,
    caps: Vec<String>,
    changed: bool,
    dry_run: bool,
}

pub(crate) fn run(args: &Restore, out: &mut Out) -> Result<u8, Failure> {
    let entries = read(&args.manifest)?;
    let tree = Path::new(&args.tree);
    let dir = rustix::fs::open(
        tree,
        rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    let dir = File::from(dir.map_err(|errno| call(tree, "open", errno))?);
    let mut system = System::new()?;
    let us = LiveTask::read(std::process::id(), &mut system.namespaces)?;
    let mut restorer = Restorer { args, tree, dir, system, us, done: HashSet::new() };
    let mut status = 0;
    for entry in &entries {
        for name in &entry.names {
            match restorer.restore(name, entry) {
                Ok(None) => {}
                Ok(Some(changed)) => told(args, entry, name, changed, out)?,
                Err(failure) if failure.is_broken_pipe() => return Err(failure),
                Err(failure) => status = status.max(report(&failure)),
            }
        }
    }
    Ok(status)
}

fn told(
    args: &Restore,
    entry: &Entry,
    name: &[u8],
    changed: bool,
    out: &mut Out,
) -> Result<(), Failure> {
    let path = Path::new(OsStr::from_bytes(name));
    let one = |id: Uid, caps: FileCaps| match id {
        Uid::ROOT => format!("host {caps}"),
        id => format!("rootid {id} {caps}"),
    };
    let caps: Vec<String> = entry.grants.iter().map(|grant| one(grant.id, grant.caps)).collect();
    if out.is_json() {
        out.object(&JsonRestored { path: path.into(), caps, changed, dry_run: args.dry_run })?;
        return Ok(());
    }
    let what = match (changed, args.dry_run) {
        (false, _) => "already",
        (true, true) => "would be set",
        (true, false) => "set",
    };
    out.line(&format!("{}  {}  {what}", out::path(path), caps.join(", ")))?;
    Ok(())
}

fn read(manifest: &OsStr) -> Result<Vec<Entry>, Failure> {
    let path = Path::new(manifest);
    let input = |problem: String, errno| Failure::Input { what: out::path(path), problem, errno };
    let failed =
        |error: std::io::Error| input("read".to_owned(), error.raw_os_error().unwrap_or(EIO));
    let mut bytes = Vec::new();
    let taken = if manifest == "-" {
        std::io::stdin().lock().take(MAX_MANIFEST + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(MAX_MANIFEST + 1).read_to_end(&mut bytes))
    };
    taken.map_err(failed)?;
    if bytes.len() as u64 > MAX_MANIFEST {
        return Err(input("a manifest of more than 64 MiB".to_owned(), EINVAL));
    }
    let text = String::from_utf8(bytes).map_err(|_| input("not a manifest".to_owned(), EINVAL))?;
    parse(&text).map_err(|error| input(error.to_string(), EINVAL))
}

struct Restorer<'a> {
    args: &'a Restore,
    tree: &'a Path,
    dir: File,
    system: System,
    us: LiveTask,
    /// Files that were looked at, by device and number: each once, whatever its names.
    done: HashSet<(u64, u64)>,
}

impl Restorer<'_> {
    /// Whether the file was changed, or would be; `None` where it was looked at under another name.
    fn restore(&mut self, name: &[u8], entry: &Entry) -> Result<Option<bool>, Failure> {
        let name = Path::new(OsStr::from_bytes(name));
        let shown = self.tree.join(name);
        let file = CapFile::open_beneath(&self.dir, name, &shown)?;
        let stat = rustix::fs::fstat(file.as_fd()).map_err(|errno| call(&shown, "fstat", errno))?;
        if !self.done.insert((stat.st_dev, stat.st_ino)) {
            return Ok(None);
        }
        // K: as long as it is held no task writes.
        let written = || {
            no(
                &shown,
                Denied::new(Errno::EPERM, Why::SavedContentDiffers),
                Some("it is open for writing"),
            )
        };
        let lease = ReadLease::take(&file, &shown)?.ok_or_else(written)?;
        let before = self.system.read(&file)?;
        let inode = before.inode;
        let found = SavedFile {
            size: inode.size,
            // What differs in size need not be read.
            sha256: match inode.size == entry.file.size {
                true => hash_of(lease.file(), &shown)?,
                false => [0; 32],
            },
            owner: (inode.uid, inode.gid),
            mode: inode.mode & 0o7777,
        };
        entry.file.allows(&found).map_err(|denied| no(&shown, denied, None))?;
        self.check_ranges(entry, &shown)?;
        let next = self.decide(entry, &before, &shown)?;
        if !lease.held() {
            return Err(written());
        }
        let Some(next) = next else { return Ok(Some(false)) };
        if self.args.dry_run {
            return Ok(Some(true));
        }
        let mut room = buffer();
        let stored = Stored::of_grants(next, room.as_mut_slice());
        let stored = stored.map_err(|denied| no(&shown, denied, None))?;
        file.write(&before, &stored, &self.system.namespaces).map_err(|error| match error {
            error @ nscap_linux::Error::Call { errno: 1, .. } => {
                Failure::Refused { error, next: next::after_the_kernel(&shown) }
            }
            error => error.into(),
        })?;
        Ok(Some(true))
    }

    fn check_ranges(&mut self, entry: &Entry, shown: &Path) -> Result<(), Failure> {
        if self.args.any_range {
            return Ok(());
        }
        for grant in entry.grants.iter().filter(|grant| grant.id != Uid::ROOT) {
            let here = range_of(grant.id, &mut self.system)?;
            let next = Some("--any-range takes it as it is");
            IdRange::allows(grant.range, here).map_err(|denied| no(shown, denied, next))?;
        }
        Ok(())
    }

    /// All grants that the file holds next: each is decided as `nscap set` would. `None` where it
    /// holds them already.
    fn decide(
        &self,
        entry: &Entry,
        before: &FileState,
        shown: &Path,
    ) -> Result<Option<Vec<(Uid, FileCaps)>>, Failure> {
        let namespaces = &self.system.namespaces;
        let (cred, view) = (self.us.cred(namespaces), before.view(namespaces));
        let arrays = nscap_linux::kernel_policy().is_none_or(|kernel| kernel.array);
        let busy = if self.args.replace { Busy::Replace } else { Busy::SameOk };
        let policy = Policy::SEED.with_array(arrays).with_busy(busy);
        let mut held = grants(&before.stored(namespaces).0);
        let mut any = false;
        for grant in &entry.grants {
            let (mut now, mut room) = (buffer(), buffer());
            let stored = Stored::of_grants(held.iter().copied(), now.as_mut_slice());
            let stored = stored.map_err(|denied| no(shown, denied, None))?;
            let request = Request { policy, cred: &cred, inode: &view, stored: &stored };
            let unmapped = Denied::new(Errno::EINVAL, Why::RootidUnmapped);
            let kuid = view.kuid_of(grant.id).ok_or_else(|| no(shown, unmapped, None))?;
            match set_entry(&request, kuid, grant.caps, SetFlags::default(), room.as_mut_slice()) {
                Decision::Keep(_) => {}
                Decision::Write(next, _) => {
                    any = true;
                    held = grants(&next);
                }
                Decision::Deny(errno, why) => {
                    let next = (errno == Errno::EBUSY)
                        .then_some("--replace puts the saved one in its place");
                    return Err(no(shown, Denied::new(errno, why), next));
                }
            }
        }
        Ok(any.then_some(held))
    }
}

fn grants(stored: &Stored<'_>) -> Vec<(Uid, FileCaps)> {
    let host = stored.granted_to(Uid::ROOT).map(|caps| (Uid::ROOT, caps));
    host.into_iter().chain(stored.entries.iter()).collect()
}

fn buffer() -> Box<EntryBuffer> {
    Box::new([[0; RECORD_LEN]; MAX_ENTRIES])
}

fn no(path: &Path, denied: Denied, next: Option<&str>) -> Failure {
    Failure::Denied { path: path.to_owned(), denied, next: next.map(str::to_owned) }
}
