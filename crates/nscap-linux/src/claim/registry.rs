// SPDX-License-Identifier: MIT OR Apache-2.0
//! The record of root's claims: one file for each, locked as long as its process lives, in a
//! directory that only root may enter.
//!
//! It is on devtmpfs: the one file system that is the same in every mount namespace of the machine,
//! and that root can write to. (A server in a container has another /run.) It is reached by a mount
//! of our own, whatever is at /dev. On a kernel without devtmpfs it is in /run, and servers in
//! other mount namespaces are not found.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, Dir, FlockOperation, Mode, OFlags, flock, fstat, mkdirat, openat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::entry::{Relation, Tree};
use super::flocked::Flocked;
use crate::error::{Error, Result};

const PLACE: &str = "nscap claims";
const DIRECTORY: &str = "nscap-claims";
/// How long another process may use the registry.
const PATIENCE: Duration = Duration::from_secs(5);
/// No entry is longer: two paths, in two digits a byte, and a handle.
const LONGEST: u64 = 4 * 4096 + 1024;

pub(super) struct Registry {
    directory: OwnedFd,
}

/// Our own entry, until dropped.
#[derive(Debug)]
pub(super) struct Entry {
    file: File,
    directory: OwnedFd,
    name: String,
}

impl Registry {
    /// `None` where we are not root of the initial namespace.
    pub(super) fn open() -> Result<Option<Registry>> {
        if !rustix::process::geteuid().is_root() || !is_initial() {
            return Ok(None);
        }
        let call = |call| move |errno: Errno| Error::call(Path::new(PLACE), call, errno);
        let Some(parent) = devtmpfs().or_else(run) else { return Ok(None) };
        match mkdirat(&parent, DIRECTORY, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(call("mkdir")(errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(&parent, DIRECTORY, flags, Mode::empty()).map_err(call("open"))?;
        let stat = fstat(&directory).map_err(call("fstat"))?;
        if stat.st_uid != 0 || stat.st_mode & 0o077 != 0 {
            return Err(call("open")(Errno::PERM));
        }
        Ok(Some(Registry { directory }))
    }

    /// Writes a tree down, if no recorded tree is in its way.
    pub(super) fn enter(self, root: BorrowedFd<'_>, tree: &Tree) -> Result<Entry> {
        let _alone = self.alone()?;
        for other in self.look()? {
            let relation = match &other {
                Some(other) => tree.relation(root, other),
                None => Relation::Inside,
            };
            if let Some(error) = tree.claimed(relation, other.as_ref().unwrap_or(tree)) {
                return Err(error);
            }
        }
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| Error::call(Path::new(PLACE), "getrandom", e))?;
        let name = format!("{}-{:016x}", tree.pid, u64::from_ne_bytes(random));
        let mut entry = Entry { file: self.make(&name)?, directory: self.directory, name };
        entry.say(&tree.to_text())?;
        Ok(entry)
    }

    /// The claims of processes that live.
    pub(super) fn live(&self) -> Result<Vec<Tree>> {
        let _alone = self.alone()?;
        Ok(self.look()?.into_iter().flatten().collect())
    }

    /// The same; `None` for an entry that is not understood. Removes the entries of processes that
    /// have ended.
    fn look(&self) -> Result<Vec<Option<Tree>>> {
        let call = |call| move |errno: Errno| Error::call(Path::new(PLACE), call, errno);
        let mut found = Vec::new();
        for name in Dir::read_from(&self.directory).map_err(call("getdents"))? {
            let name = name.map_err(call("getdents"))?;
            if name.file_name().to_bytes().starts_with(b".") {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = match openat(&self.directory, name.file_name(), flags, Mode::empty()) {
                Ok(file) => file,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(call("open")(errno)),
            };
            match flock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => {
                    let _ = unlinkat(&self.directory, name.file_name(), AtFlags::empty());
                }
                Err(Errno::AGAIN) => {
                    let mut text = String::new();
                    let read = File::from(file).take(LONGEST).read_to_string(&mut text);
                    found.push(read.ok().and_then(|_| Tree::from_text(&text)));
                }
                Err(errno) => return Err(call("flock")(errno)),
            }
        }
        Ok(found)
    }

    fn make(&self, name: &str) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| Error::call(Path::new(PLACE), "open", e))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|e| Error::call(Path::new(PLACE), "flock", e))?;
        Ok(file.into())
    }

    /// Locks the registry until the result is dropped.
    fn alone(&self) -> Result<Flocked> {
        let until = Instant::now() + PATIENCE;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut own = openat(&self.directory, c".", flags, Mode::empty())
            .map_err(|e| Error::call(Path::new(PLACE), "open", e))?;
        loop {
            let errno;
            (own, errno) = match Flocked::take(own, FlockOperation::NonBlockingLockExclusive) {
                Ok(own) => return Ok(own),
                Err(failed) => failed,
            };
            match errno {
                Errno::AGAIN if Instant::now() < until => std::thread::sleep(super::PAUSE),
                Errno::INTR => {}
                errno => return Err(Error::call(Path::new(PLACE), "flock", errno)),
            }
        }
    }
}

impl Entry {
    pub(super) fn is_shown_by(&mut self, device: (u32, u32)) -> Result<()> {
        self.say(&Tree::shown_text(device))
    }

    fn say(&mut self, text: &str) -> Result<()> {
        self.file.write_all(text.as_bytes()).map_err(|e| Error::call(Path::new(PLACE), "write", e))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let _ = unlinkat(&self.directory, &self.name, AtFlags::empty());
    }
}

fn is_initial() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self/ns/user").is_ok_and(|ns| ns.ino() == crate::ns::INITIAL_INODE)
}

/// The machine's own devtmpfs.
fn devtmpfs() -> Option<OwnedFd> {
    let config = fsopen("devtmpfs", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
    fsconfig_create(&config).ok()?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(config.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).ok()
}

fn run() -> Option<OwnedFd> {
    let _ = rustix::fs::mkdir("/run/nscap", Mode::RWXU);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open("/run/nscap", flags, Mode::empty()).ok()
}
