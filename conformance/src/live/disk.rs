// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file system of a scenario, and the mount of it that its tasks use.
//!
//! The files are made through a private mount, so that no flag or id map of the tasks' mount
//! interferes. A superblock belongs to the namespace of its creator: a process in that namespace
//! creates it, and hands the mount over.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nscap_core::{NsCaps, Record, VfsCaps};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};
use rustix::process::{PidfdFlags, PidfdGetfdFlags};
use rustix::thread::UnshareFlags;

use super::peer::{Peer, say, until_end};
use super::sys::{self, MountFlags};
use super::{Front, userns};
use crate::scenario::{Attr, Content, File, Fs, Stored, World};
use crate::stored;
use crate::tree::Ns;

/// The program that prints its credentials.
pub(crate) const PROBE: &[u8] = include_bytes!(env!("NSCAP_PROBE"));

/// A new tmpfs whose superblock belongs to `owner` (`None`: the runner's namespace), detached, and
/// owned by these ids of that namespace.
pub(crate) fn tmpfs(owner: Option<(BorrowedFd<'_>, u32, u32)>) -> io::Result<OwnedFd> {
    let Some((ns, uid, gid)) = owner else { return new_tmpfs() };
    let mut mounter = Peer::start(|line| {
        userns::enter_with_caps(Some(ns))?;
        userns::set_ids([uid; 3], [gid; 3])?;
        sys::unshare(UnshareFlags::NEWNS)?;
        let mount = new_tmpfs()?;
        say(line, &mount.as_raw_fd().to_string())?;
        until_end(line);
        Ok(())
    })?;
    let fd: i32 = mounter.hear()?.parse().map_err(io::Error::other)?;
    let pidfd = rustix::process::pidfd_open(mounter.pid, PidfdFlags::empty())?;
    Ok(rustix::process::pidfd_getfd(pidfd, fd, PidfdGetfdFlags::empty())?)
}

fn new_tmpfs() -> io::Result<OwnedFd> {
    let config = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&config, "mode", "0777")?;
    rustix::mount::fsconfig_create(&config)?;
    let attributes = MountAttrFlags::empty();
    Ok(rustix::mount::fsmount(&config, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Mounts `mount` on a directory, in this process's own mount namespace.
pub(crate) fn attach(mount: impl AsFd, at: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", CWD, at, flags)?)
}

/// A detached mount of a directory that is in this process's mount namespace.
pub(crate) fn detached(dir: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let clone = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(rustix::mount::open_tree(dir, path, clone)?)
}

/// A detached mount of the directory `base`; a file system that was mounted for it alone is then
/// mounted nowhere else.
pub(crate) fn taken_away(base: &OwnedFd, is_shared: bool) -> io::Result<OwnedFd> {
    let away = detached(base, Path::new(""))?;
    if !is_shared {
        rustix::mount::unmount(std::env::temp_dir(), UnmountFlags::DETACH)?;
    }
    Ok(away)
}

/// The tasks' mount of the directory that `base` is: with the flags of the scenario, and in the
/// mount namespace unless it says otherwise.
pub(crate) fn mount(base: &OwnedFd, fs: &Fs, idmap: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    let mount = detached(base, Path::new(""))?;
    let Fs { nosuid, noexec, read_only, .. } = *fs;
    let flags = MountFlags { nosuid, noexec, read_only, idmap };
    if nosuid || noexec || read_only || idmap.is_some() {
        sys::set_mount(&mount, flags)?;
    }
    if !fs.foreign {
        attach(&mount, &std::env::temp_dir())?;
    }
    Ok(mount)
}

/// Makes the files of a world in the directory `dir`, as a task with the ids of the superblock's
/// owner: no other task could create them.
pub(crate) fn populate(
    dir: &OwnedFd,
    world: &World,
    sb: Ns<'_>,
    ids: (u32, u32),
    front: Front,
) -> io::Result<()> {
    let mut maker = Peer::start(|line| {
        userns::enter_with_caps(None)?;
        userns::set_ids([ids.0; 3], [ids.1; 3])?;
        sys::clear_umask();
        for (name, file) in &world.files {
            let made = create(dir, sb, name, file, front);
            made.map_err(|error| io::Error::other(format!("file {name:?}: {error}")))?;
        }
        say(line, "made")
    })?;
    maker.hear().map(drop)
}

fn create(dir: &OwnedFd, sb: Ns<'_>, name: &str, file: &File, front: Front) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let fresh = rustix::fs::openat(dir, name, flags | OFlags::EXCL, Mode::from_raw_mode(0o600));
    match fresh {
        Ok(fd) => fill(&fd, sb, file, front)?,
        // It came with the image, its attributes with it.
        Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    if file.immutable {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        let flags = rustix::fs::ioctl_getflags(&fd)? | rustix::fs::IFlags::IMMUTABLE;
        rustix::fs::ioctl_setflags(&fd, flags)?;
    }
    Ok(())
}

/// Content first, then owner, then mode, then attributes: each strips what comes after it.
fn fill(fd: &OwnedFd, sb: Ns<'_>, file: &File, front: Front) -> io::Result<()> {
    let content = content(&file.content);
    write_all(fd, &content)?;
    rustix::fs::fchown(fd, Some(Uid::from_raw(file.owner)), Some(Gid::from_raw(file.group)))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(file.mode))?;
    if front == Front::Linux {
        return ask_for(fd, &file.stored);
    }
    let size = u64::try_from(content.len()).map_err(io::Error::other)?;
    let facts = stored::facts(sb, size, file.owner, file.group).map_err(io::Error::other)?;
    let raw = stored::attributes(sb, &file.stored, facts).map_err(io::Error::other)?;
    for (attr, value) in [(Attr::Cap, raw.cap_as_written(sb)), (Attr::Nscap, raw.nscap)] {
        if let Some(value) = value {
            rustix::fs::fsetxattr(fd, attr.name(), &value, XattrFlags::empty())?;
        }
    }
    Ok(())
}

/// What root of the host writes to have a file hold this, where the kernel keeps it as it likes.
fn ask_for(fd: &OwnedFd, stored: &Stored) -> io::Result<()> {
    let Stored::Caps { host, entries } = stored else {
        return Err(io::Error::other("raw values come with an image"));
    };
    let set = |attr: Attr, value: &[u8]| {
        rustix::fs::fsetxattr(fd, attr.name(), value, XattrFlags::empty())
    };
    if let Some(caps) = host {
        set(Attr::Cap, VfsCaps::v2(*caps).encode().as_bytes())?;
    }
    if !entries.is_empty() {
        let mut value = vec![0; NsCaps::encoded_len(entries.len())];
        let records = entries.iter().map(|(kuid, caps)| Record::new(*kuid, *caps));
        NsCaps::encode(records, &mut value).ok_or_else(|| io::Error::other("too many entries"))?;
        set(Attr::Nscap, &value)?;
    }
    Ok(())
}

/// The bytes of a file.
#[must_use]
pub fn content(content: &Content) -> Vec<u8> {
    match content {
        Content::Probe => PROBE.to_vec(),
        Content::Script(interpreter) => format!("#!./{interpreter}\n").into_bytes(),
    }
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::write(fd, bytes)?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// A new directory that every task may change, in a file system that other tests use too.
pub(crate) fn subdirectory(base: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let name = CString::new(name)?;
    match rustix::fs::mkdirat(&base, &name, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    rustix::fs::chmodat(&base, &name, Mode::from_raw_mode(0o777), AtFlags::empty())?;
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(&base, &name, flags, Mode::empty())?)
}
