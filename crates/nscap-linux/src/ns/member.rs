// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes as the way to a namespace's maps. A process is held by a descriptor of its /proc
//! directory, so that a number used again cannot put another process in its place; and since a
//! process may change its namespace while it is read, its link is looked at again afterwards.

use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use nscap_core::Extent;
use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};

use super::{Identity, maps};
use crate::error::{Error, Result};
use crate::places;

/// A uid map and a gid map, the outside as the kernel showed it.
pub(super) type Shown = (Vec<Extent>, Vec<Extent>);

/// How a process's directory is held.
pub(crate) const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The ids of all processes, ascending.
pub(crate) fn pids() -> Result<Vec<u32>> {
    let path = Path::new("/proc");
    let entries = std::fs::read_dir(path).map_err(|e| Error::call(path, "opendir", e))?;
    let mut pids = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::call(path, "readdir", e))?;
        pids.extend(entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    pids.sort_unstable();
    Ok(pids)
}

/// The directory of a process; `path` is its name by /proc.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(places::open(in_proc(path), DIRECTORY)?)
}

/// What a path in /proc is from there.
fn in_proc(path: &Path) -> &Path {
    path.strip_prefix("/proc").unwrap_or(path)
}

/// What tells the namespace of a process from all others that exist at the same time; `None` where
/// there is no such process, or we may not look at it.
pub(super) fn link(path: &Path) -> Option<Identity> {
    let proc = places::held().ok()?.proc();
    statat(proc, in_proc(path).join("ns/user"), AtFlags::empty()).ok().map(Identity::from)
}

/// The maps of the namespace with this inode number, read through a process that was in it.
/// `None` where the process is in another by now.
pub(super) fn maps(path: &Path, dir: &OwnedFd, inode: u64) -> Result<Option<Shown>> {
    let shown = both(path, dir)?;
    let link = statat(dir, "ns/user", AtFlags::empty())
        .map_err(|e| Error::call(&path.join("ns/user"), "stat", e))?;
    Ok((link.st_ino == inode).then_some(shown))
}

pub(super) fn both(path: &Path, dir: &OwnedFd) -> Result<Shown> {
    Ok((map(path, dir, "uid_map")?, map(path, dir, "gid_map")?))
}

fn map(path: &Path, dir: &OwnedFd, name: &str) -> Result<Vec<Extent>> {
    let path = path.join(name);
    let fd = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::call(&path, "open", e))?;
    let mut text = String::new();
    std::fs::File::from(fd).read_to_string(&mut text).map_err(|e| Error::call(&path, "read", e))?;
    maps::parse(&text).ok_or_else(|| Error::unexpected(&path, "not an id map"))
}

/// The maps of our own namespace, the outside in our parent's terms.
pub(super) fn own_maps() -> Result<Shown> {
    let path = Path::new("/proc/self");
    let dir = open(path).map_err(|e| Error::call(path, "open", e))?;
    both(path, &dir)
}

/// Whether /proc numbers processes as we do. It shows the numbers of a process from its own pid
/// namespace inwards, and for us that must be one number (proc_pid_status(5), NSpid).
pub(crate) fn proc_is_ours() -> bool {
    let status = read("self/status").unwrap_or_default();
    let numbers = status.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"));
    match numbers {
        Some(numbers) => {
            let of_us = numbers.split(u8::is_ascii_whitespace).filter(|n| !n.is_empty());
            of_us.count() == 1
        }
        // A kernel without pid namespaces.
        None => places::held()
            .and_then(|places| rustix::fs::readlinkat(places.proc(), "self", Vec::new()))
            .is_ok_and(|link| link.to_bytes() == std::process::id().to_string().as_bytes()),
    }
}

fn read(name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::from(places::open(name, OFlags::RDONLY)?).read_to_end(&mut bytes)?;
    Ok(bytes)
}
