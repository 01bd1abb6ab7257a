//! A FUSE server in front of a scenario's files: a process of its own, in a mount namespace of its
//! own, so that nobody else reaches the files themselves. It goes when the stage does.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nscap_fuse::{Mount, Options};
use rustix::fs::{CWD, Mode};
use rustix::process::{PidfdFlags, PidfdGetfdFlags};
use rustix::thread::UnshareFlags;

use super::peer::{Peer, say, until_end};
use super::{disk, sys, userns};

/// Serves the files of a detached mount; gives the server and a detached mount of what it shows.
/// The server is in the namespace `owner`, with these ids of it (`None`: the runner's own).
pub(crate) fn serve(
    files: &OwnedFd,
    owner: Option<(BorrowedFd<'_>, u32, u32)>,
    options: &Options,
) -> io::Result<(Peer, OwnedFd)> {
    let mut server = Peer::start(|line| {
        if let Some((ns, uid, gid)) = owner {
            userns::enter_with_caps(Some(ns))?;
            userns::set_ids([uid; 3], [gid; 3])?;
            userns::stay_visible()?;
        }
        sys::unshare(UnshareFlags::NEWNS)?;
        let (source, target) = places(files)?;
        let mount = Mount::new(&source, &target, options).map_err(io::Error::other)?;
        let shown = disk::detached(CWD, &target)?;
        say(line, &shown.as_raw_fd().to_string())?;
        leave_at_end(line.try_clone()?);
        mount.serve().map_err(io::Error::other)
    })?;
    let fd: i32 = server.hear()?.parse().map_err(io::Error::other)?;
    let pidfd = rustix::process::pidfd_open(server.pid, PidfdFlags::empty())?;
    let shown = rustix::process::pidfd_getfd(pidfd, fd, PidfdGetfdFlags::empty())?;
    Ok((server, shown))
}

/// A directory that holds the files, below one that nobody else may search, and one to show them
/// on.
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

/// Ends this process when nobody is on the other side any more. The stage is the only one that
/// knows the mount; to leave is to unmount it.
fn leave_at_end(mut line: UnixStream) {
    std::thread::spawn(move || {
        until_end(&mut line);
        sys::leave();
    });
}
