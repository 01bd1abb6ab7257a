// SPDX-License-Identifier: MIT OR Apache-2.0
//! The place of the attacks: a file system that only the server reaches, a shared directory that
//! shows it to all tasks, two containers, and tasks in them.

mod disks;
mod who;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nscap_core::{CapSet, Extent, Policy};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::mount::UnmountFlags;
use rustix::process::Signal;
use rustix::thread::LinkNameSpaceType;

use crate::case::{Setting, Why};
use crate::live::fuse::{Home, PidNs};
use crate::live::peer::{Peer, say};
use crate::live::{Front, Machine, disk, fuse, ops, peer, sys, task, userns};
use crate::outcome::Outcome;
use crate::scenario::Maps;
use crate::text;
pub(crate) use who::*;

/// A file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Tmpfs,
    Ext4,
    /// The one here that shares blocks between files (FICLONE).
    Btrfs,
    /// A stack of two tmpfs, of which the upper is empty: no file handles.
    Overlay,
}

/// What a file is given, SPEC's Storage case by case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Grant {
    /// One entry, written by the container's root.
    Entry,
    /// Two entries.
    Entries,
    /// A host value, and an entry that waits.
    HostAndEntry,
}

/// The place. Everything in it goes with the process that made it.
#[derive(Debug)]
pub(crate) struct Ground {
    setting: Setting,
    policy: Policy,
    machine: Machine,
    files: OwnedFd,
    /// The files themselves.
    pub(crate) source: PathBuf,
    /// The shared directory, which all tasks see.
    pub(crate) dir: PathBuf,
    /// A directory beside it, which every task may change, on a tmpfs.
    pub(crate) beside: PathBuf,
    server: Option<Peer>,
    pid_ns: PidNs,
    a: OwnedFd,
    b: OwnedFd,
}

impl Ground {
    pub(crate) fn new(setting: Setting, kind: Kind) -> Result<Ground, Why> {
        Ground::with(setting, kind, PidNs::Shared)
    }

    /// With a server in this pid namespace.
    pub(crate) fn with(setting: Setting, kind: Kind, pid_ns: PidNs) -> Result<Ground, Why> {
        Ground::on(setting, pid_ns, |private, source| {
            disks::mount(kind, private, source)?;
            Ok(rustix::fs::chmod(source, Mode::from_raw_mode(0o777))?)
        })
    }

    /// On files that are mounted so: given are a directory that only root may search, and the one
    /// in it that the files are to be mounted on.
    pub(crate) fn on(
        setting: Setting,
        pid_ns: PidNs,
        mount: impl FnOnce(&Path, &Path) -> Result<(), Why>,
    ) -> Result<Ground, Why> {
        sys::clear_umask();
        let tmp = std::env::temp_dir();
        disk::attach(disk::tmpfs(None)?, &tmp)?;
        let private = tmp.join("private");
        rustix::fs::mkdir(&private, Mode::from_raw_mode(0o700))?;
        let (source, dir, beside) = (private.join("source"), tmp.join("shown"), tmp.join("beside"));
        for path in [&source, &dir, &beside] {
            rustix::fs::mkdir(path, Mode::from_raw_mode(0o777))?;
        }
        mount(&private, &source)?;
        let files = open(&source, OFlags::PATH | OFlags::DIRECTORY)?;
        let range = |outside| {
            let map = vec![Extent { inside: 0, outside, count: 65_536 }];
            Maps { uids: map.clone(), gids: map }
        };
        let mut ground = Ground {
            setting,
            policy: Policy::ARRAYS.with_busy(setting.busy),
            machine: Machine::this(),
            files,
            source,
            dir,
            beside,
            server: None,
            pid_ns,
            a: userns::make(None, (1000, 1000), &range(ROOT_OF_A))?,
            b: userns::make(None, (1001, 1001), &range(ROOT_OF_B))?,
        };
        ground.show()?;
        Ok(ground)
    }

    /// Starts the server, or another one.
    pub(crate) fn show(&mut self) -> io::Result<()> {
        let away = disk::detached(&self.files, "".as_ref())?;
        let shown = if self.setting.front == Front::Fuse {
            let options = nscap_fuse::Options {
                policy: self.policy,
                passthrough: self.setting.passthrough,
                ..nscap_fuse::Options::default()
            };
            let (server, shown) =
                fuse::serve(&away, Home { owner: None, pid_ns: self.pid_ns }, &options)?;
            self.server = Some(server);
            shown
        } else {
            away
        };
        disk::attach(&shown, &self.dir)
    }

    /// What a second server shows of the same files, as long as the peer lives.
    pub(crate) fn shown_twice(&self) -> io::Result<(Peer, OwnedFd)> {
        let options = nscap_fuse::Options {
            policy: self.policy,
            passthrough: self.setting.passthrough,
            reachable_ok: true,
            ..nscap_fuse::Options::default()
        };
        let away = disk::detached(&self.files, "".as_ref())?;
        fuse::serve(&away, Home { owner: None, pid_ns: self.pid_ns }, &options)
    }

    /// Ends the server as kill -9 does; what it showed is there no more.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        if let Some(server) = self.server.take() {
            rustix::process::kill_process(server.pid, Signal::KILL)?;
        }
        Ok(rustix::mount::unmount(&self.dir, UnmountFlags::DETACH)?)
    }

    pub(crate) fn is_fuse(&self) -> bool {
        self.setting.front == Front::Fuse
    }

    /// The server's process.
    pub(crate) fn server(&self) -> Option<rustix::process::Pid> {
        self.server.as_ref().map(|server| server.pid)
    }

    /// The files by another way than the mount.
    pub(crate) fn beneath(&self) -> BorrowedFd<'_> {
        self.files.as_fd()
    }

    /// The file system that the server has, by another way.
    pub(crate) fn source(&self) -> BorrowedFd<'_> {
        self.files.as_fd()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A new program that prints its credentials, which this kuid owns.
    pub(crate) fn file(&self, name: &str, owner: u32) -> io::Result<PathBuf> {
        let path = self.path(name);
        let _ = rustix::fs::unlink(&path);
        // Padding, so that parts of the file can be changed and it can still be executed.
        let mut content = disk::PROBE.to_vec();
        content.resize((content.len() / 4096 + 6) * 4096, 0);
        std::fs::write(&path, content)?;
        let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
        rustix::fs::chownat(CWD, &path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::chmod(&path, Mode::from_raw_mode(0o755))?;
        Ok(path)
    }

    /// Gives a file capabilities; the error is the kernel's.
    pub(crate) fn grant(&self, path: &Path, grant: Grant) -> io::Result<()> {
        match grant {
            Grant::Entry => self.set(ROOT_A, path, CAP, "v2 cap_net_raw=ep"),
            Grant::Entries => {
                self.set(HOST, path, NSCAP, "ns 100000 cap_net_raw=ep; 200000 cap_chown=ep")
            }
            Grant::HostAndEntry => self
                .set(HOST, path, CAP, "v2 cap_kill=ep")
                .and_then(|()| self.set(ROOT_A, path, CAP, "v2 cap_net_raw=ep")),
        }
    }

    /// setxattr(2) by a task.
    pub(crate) fn set(&self, who: Who, path: &Path, name: &str, value: &str) -> io::Result<()> {
        let value = text::value(value).map_err(io::Error::other)?;
        self.try_to(who, || Ok(rustix::fs::lsetxattr(path, name, &value, XattrFlags::empty())?))
    }

    /// Has a task do something that may fail; the error is the one that it met.
    pub(crate) fn try_to(&self, who: Who, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let said = self.ask(who, || {
            let errno = work().err().map(|error| error.raw_os_error().unwrap_or(libc::EIO));
            Ok(errno.unwrap_or(0).to_string())
        })?;
        match said.parse().map_err(io::Error::other)? {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// What a task says after its work.
    pub(crate) fn ask(
        &self,
        who: Who,
        work: impl FnOnce() -> io::Result<String>,
    ) -> io::Result<String> {
        self.start(who, |line| say(line, &work()?))?.hear()
    }

    /// Starts a task in the shared directory.
    pub(crate) fn start(
        &self,
        who: Who,
        work: impl FnOnce(&mut UnixStream) -> io::Result<()>,
    ) -> io::Result<Peer> {
        let ns = match who.0 {
            At::Host => None,
            At::A => Some(self.a.as_fd()),
            At::B => Some(self.b.as_fd()),
        };
        self.start_in(ns, who, work)
    }

    fn start_in(
        &self,
        ns: Option<BorrowedFd<'_>>,
        who: Who,
        work: impl FnOnce(&mut UnixStream) -> io::Result<()>,
    ) -> io::Result<Peer> {
        Peer::start(|line| {
            rustix::process::chdir(&self.dir)?;
            task::become_task(&who.task(), ns, &self.machine)?;
            work(line)
        })
    }

    /// What a task with every capability and this id in another namespace says.
    pub(crate) fn ask_in(
        &self,
        ns: BorrowedFd<'_>,
        id: u32,
        work: impl FnOnce() -> io::Result<String>,
    ) -> io::Result<String> {
        self.start_in(Some(ns), Who(At::A, id, "all"), |line| say(line, &work()?))?.hear()
    }

    /// What an ordinary task in another namespace gains by executing a file.
    pub(crate) fn gains_in(&self, ns: BorrowedFd<'_>, id: u32, name: &str) -> io::Result<CapSet> {
        let who = Who(At::A, id, "none");
        gained(&self.start_in(Some(ns), who, |line| say(line, &executes(who, name)?))?.hear()?)
    }

    /// What comes of something that a task in the server's own pid namespace does.
    pub(crate) fn try_in_pid_ns_of_the_server(
        &self,
        who: Who,
        work: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<io::Result<()>> {
        let Some(server) = &self.server else { return Err(io::Error::other("no server")) };
        let ns = std::fs::File::open(format!(
            "/proc/{}/ns/pid_for_children",
            server.pid.as_raw_nonzero()
        ))?;
        let said = Peer::start(|line| {
            let kind = LinkNameSpaceType::ProcessID;
            rustix::thread::move_into_link_name_space(ns.as_fd(), Some(kind))?;
            let child = sys::fork(|| {
                let inside = self.ask(who, || {
                    let failed = work().err().map(|e| e.raw_os_error().unwrap_or(libc::EIO));
                    Ok(failed.unwrap_or(0).to_string())
                });
                u8::from(say(line, &inside.unwrap_or_else(|error| format!("!{error}"))).is_err())
            })?;
            peer::wait(child).map(drop)
        })?
        .hear()?;
        Ok(match said.parse().map_err(io::Error::other)? {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        })
    }

    /// A new file with this value of `security.capability`, written behind the server's back.
    pub(crate) fn stores(&self, name: &str, owner: u32, value: &str) -> io::Result<()> {
        self.file(name, owner)?;
        let file = rustix::fs::openat(&self.files, name, OFlags::RDONLY, Mode::empty())?;
        let value = text::value(value).map_err(io::Error::other)?;
        Ok(rustix::fs::fsetxattr(&file, CAP, &value, XattrFlags::empty())?)
    }

    /// What a task gains by executing a file of the directory.
    pub(crate) fn gains(&self, who: Who, name: &str) -> io::Result<CapSet> {
        gained(&self.ask(who, || executes(who, name))?)
    }

    /// Checks that no task gains anything by executing the file, and that no task reads a grant.
    pub(crate) fn grants_nothing(&self, name: &str, after: &str) -> Result<(), Why> {
        for who in [USER_A, USER_B, HOST_USER] {
            let gained = self.gains(who, name)?;
            if !gained.is_empty() {
                let set = text::show_set(gained);
                return Err(Why::Through(format!("{after}: {who:?} gains {set}")));
            }
        }
        let path = self.path(name);
        let shown = self.ask(HOST, || {
            let mut buffer = [0; 1024];
            let shown = [CAP, NSCAP].iter().find(|name| {
                rustix::fs::lgetxattr(&path, **name, &mut buffer[..])
                    != Err(rustix::io::Errno::NODATA)
            });
            Ok(shown.map_or("", |name| name).to_owned())
        })?;
        if self.is_fuse() && !shown.is_empty() {
            return Err(Why::Through(format!("{after}: {shown} is still there")));
        }
        Ok(())
    }

    /// That the entry of [`Grant::Entry`] holds.
    pub(crate) fn grants(&self, name: &str, after: &str) -> Result<(), Why> {
        if self.gains(USER_A, name)?.is_empty() {
            return Err(Why::Broken(format!("{after}: the grant does not hold")));
        }
        Ok(())
    }
}

pub(crate) const CAP: &str = "security.capability";
pub(crate) const NSCAP: &str = "security.nscapability";
/// The name that every task can use on a FUSE mount.
pub(crate) const SYSTEM: &str = "system.nscapability";

/// Executes a file; the permitted set that came of it.
fn executes(who: Who, name: &str) -> io::Result<String> {
    match ops::exec(&who.task(), name)? {
        Outcome::Executed(got) => Ok(got.sets[0].to_string()),
        // ENOEXEC: the file was truncated; ETXTBSY: a task may be writing it.
        Outcome::Failed(libc::ENOEXEC | libc::ETXTBSY) => Ok("0".to_owned()),
        other => Err(io::Error::other(format!("exec of {name}: {other}"))),
    }
}

fn gained(said: &str) -> io::Result<CapSet> {
    Ok(CapSet::from_bits(said.parse().map_err(io::Error::other)?))
}

pub(crate) fn open(path: impl AsRef<Path>, flags: OFlags) -> io::Result<OwnedFd> {
    let mode = Mode::from_raw_mode(0o644);
    Ok(rustix::fs::open(path.as_ref(), flags | OFlags::CLOEXEC, mode)?)
}
