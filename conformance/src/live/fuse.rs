// SPDX-License-Identifier: MIT OR Apache-2.0
//! A FUSE server in front of a scenario's files: a process of its own, in a mount namespace of its
//! own, so that no other process reaches the files themselves. It ends with the stage.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nscap_fuse::{Mount, Options};
use rustix::fs::{CWD, FileType, Mode};
use rustix::mount::MountFlags;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};
use rustix::thread::UnshareFlags;

use super::peer::{self, Peer, say, until_end};
use super::{disk, sys, userns};

/// The pid namespace of a server, and whose processes its /proc has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum PidNs {
    /// The runner's.
    #[default]
    Shared,
    /// One of its own, and its own /proc.
    Own,
    /// One of its own, and the runner's /proc.
    OwnButOuterProc,
}

/// Where a server is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Home<'fd> {
    /// Its user namespace, with these ids of it; `None`: the runner's own.
    pub(crate) owner: Option<(BorrowedFd<'fd>, u32, u32)>,
    /// Its pid namespace.
    pub(crate) pid_ns: PidNs,
}

/// Serves the files of a detached mount; gives the server and a detached mount of what it shows.
pub(crate) fn serve(
    files: &OwnedFd,
    home: Home<'_>,
    options: &Options,
) -> io::Result<(Peer, OwnedFd)> {
    let mut server = Peer::start(|line| {
        if let Some((ns, uid, gid)) = home.owner {
            device_for_all()?;
            userns::enter_with_caps(Some(ns))?;
            userns::set_ids([uid; 3], [gid; 3])?;
            userns::stay_visible()?;
        }
        sys::unshare(UnshareFlags::NEWNS)?;
        match home.pid_ns {
            PidNs::Shared => run(line, files, options),
            PidNs::OwnButOuterProc => peer::in_new_pid_ns(line, |line| run(line, files, options)),
            PidNs::Own => peer::in_new_pid_ns(line, |line| {
                let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
                let outer = std::fs::read_link("/proc/self")?;
                rustix::mount::mount("proc", "/proc", "proc", flags, None)?;
                say(line, &outer.to_string_lossy())?;
                run(line, files, options)
            }),
        }
    })?;
    let outer = if home.pid_ns == PidNs::Own { Some(server.hear()?) } else { None };
    let said = server.hear()?;
    let (pid, fd) = said.split_once(' ').ok_or_else(|| io::Error::other("no descriptor"))?;
    let pid = outer.as_deref().unwrap_or(pid).parse().map_err(io::Error::other)?;
    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("no pid"))?;
    let fd = fd.parse().map_err(io::Error::other)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let shown = rustix::process::pidfd_getfd(pidfd, fd, PidfdGetfdFlags::empty())?;
    Ok((server, shown))
}

/// Mounts, says its pid by /proc and the descriptor of a mount of what it shows, and serves.
fn run(line: &mut UnixStream, files: impl AsFd, options: &Options) -> io::Result<()> {
    let (source, target) = places(files)?;
    let options = Options { io_uring: options.io_uring && by_io_uring(), ..options.clone() };
    let mount = Mount::new(&source, &target, &options).map_err(io::Error::other)?;
    let shown = disk::detached(CWD, &target)?;
    let pid = std::fs::read_link("/proc/self")?;
    say(line, &format!("{} {}", pid.display(), shown.as_raw_fd()))?;
    leave_at_end(line.try_clone()?);
    mount.serve().map_err(io::Error::other)
}

/// NSCAP_NO_IO_URING=1 plays everything with requests by /dev/fuse, whatever the kernel offers.
pub(crate) fn by_io_uring() -> bool {
    std::env::var_os("NSCAP_NO_IO_URING").is_none_or(|value| value != "1")
}

/// A directory that holds the files, below one that no other user may search, and the mount point.
fn places(files: impl AsFd) -> io::Result<(PathBuf, PathBuf)> {
    let tmp = std::env::temp_dir();
    disk::attach(&disk::tmpfs(None)?, &tmp)?;
    let (private, target) = (tmp.join("private"), tmp.join("target"));
    rustix::fs::mkdir(&private, Mode::from_raw_mode(0o700))?;
    rustix::fs::mkdir(&target, Mode::from_raw_mode(0o755))?;
    let source = private.join("source");
    rustix::fs::mkdir(&source, Mode::from_raw_mode(0o755))?;
    disk::attach(files, &source)?;
    Ok((source, target))
}

/// A namespace's root may open what is mode 666 on most machines, and not on all.
pub(crate) fn device_for_all() -> io::Result<()> {
    const DEVICE: &str = "/dev/fuse";
    sys::unshare(UnshareFlags::NEWNS)?;
    let tmp = std::env::temp_dir();
    disk::attach(&disk::tmpfs(None)?, &tmp)?;
    let (node, device) = (tmp.join("fuse"), rustix::fs::stat(DEVICE)?.st_rdev);
    rustix::fs::mknodat(CWD, &node, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)?;
    rustix::fs::chmod(&node, Mode::from_raw_mode(0o666))?;
    Ok(rustix::mount::mount_bind(&node, DEVICE)?)
}

/// Ends this process when the other side has ended. Only the stage knows the mount; it is unmounted
/// when the stage ends.
fn leave_at_end(mut line: UnixStream) {
    std::thread::spawn(move || {
        until_end(&mut line);
        sys::leave();
    });
}
