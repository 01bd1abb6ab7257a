// SPDX-License-Identifier: MIT OR Apache-2.0
//! A live task: its credentials in initial-namespace terms, and what else execve(2) asks of it
//! (X: no_new_privs, tracing, shared file system information).

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nscap_core::{CapSet, Capability, Cred, Kgid, Kuid, Securebits};
use rustix::fs::{Mode, OFlags, openat};

use crate::error::{Error, Result};
use crate::ns::{LiveNs, Namespaces, NsIndex, pids};
use crate::status::{self, Status};
use crate::sys;

mod over;

pub use over::Over;

/// A task as it was when it was read.
///
/// ```
/// use nscap_linux::{LiveTask, Namespaces};
/// let mut namespaces = Namespaces::own()?;
/// let own = LiveTask::read(std::process::id(), &mut namespaces)?;
/// assert!(own.cred(&namespaces).permitted.is_subset(own.cred(&namespaces).bounding));
/// # Ok::<(), nscap_linux::Error>(())
/// ```
#[derive(Debug)]
pub struct LiveTask {
    pid: u32,
    thread: u32,
    name: Vec<u8>,
    ns: NsIndex,
    ids: Ids,
    no_new_privs: bool,
    tracer: Option<Tracer>,
    shares_fs: Option<bool>,
    securebits: Option<u32>,
    filters: Option<u32>,
    dir: OwnedFd,
    root: OwnedFd,
}

/// The tracer of a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tracer {
    /// The tracer's process id.
    pub pid: u32,
    /// Whether it has CAP_SYS_PTRACE over the task's namespace now; `false` where that cannot be
    /// seen. The kernel asks for what the tracer had when it attached (ptrace(2)), which cannot be
    /// seen later.
    pub capable: bool,
}

impl LiveTask {
    /// Reads a process (its main thread, or another one where that has ended), or another thread by
    /// its id. The task's namespace is added to `namespaces`.
    ///
    /// # Errors
    /// [`Error::NoProcess`] where there is none or it ended meanwhile; [`Error::Call`] where we may
    /// not look at it (ptrace(2), "Ptrace access mode checking").
    pub fn read(pid: u32, namespaces: &mut Namespaces) -> Result<LiveTask> {
        let main = LiveTask::of_thread(pid, PathBuf::from(format!("/proc/{pid}")), namespaces);
        let Err(Error::NoProcess { .. }) = main else { return main };
        for thread in threads(pid) {
            let path = PathBuf::from(format!("/proc/{pid}/task/{thread}"));
            match LiveTask::of_thread(thread, path, namespaces) {
                Err(Error::NoProcess { .. }) => {}
                read => return read,
            }
        }
        Err(Error::NoProcess { pid })
    }

    fn of_thread(thread: u32, path: PathBuf, namespaces: &mut Namespaces) -> Result<LiveTask> {
        let gone = |error: Error| match error.errno() {
            libc::ENOENT | libc::ESRCH => Error::NoProcess { pid: thread },
            _ => error,
        };
        // Everything is read through this descriptor: once the process has ended it reads nothing,
        // also if another process has got the number.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(|e| gone(Error::call(&path, "open", e)))?;
        let status = read_status(&path, &dir).map_err(gone)?;
        let ns = namespaces.add_member(thread, &path, &dir).map_err(gone)?;
        let root = openat(&dir, "root", flags, Mode::empty())
            .map_err(|e| gone(Error::call(&path.join("root"), "open", e)))?;
        let tracer = (status.tracer != 0).then(|| tracer(status.tracer, ns, namespaces));
        let shares_fs = shares_fs(thread, status.process);
        let securebits = (thread == std::process::id()).then(own_securebits).flatten();
        let name = read_at(&path, &dir, "comm").map_err(gone)?;
        let ids = Ids::of(&status, namespaces)
            .ok_or_else(|| Error::unexpected(&path.join("status"), "ids that are unmapped here"))?;
        Ok(LiveTask {
            pid: status.process,
            thread,
            name: name.strip_suffix(b"\n").unwrap_or(&name).to_vec(),
            ns,
            ids,
            no_new_privs: status.no_new_privs,
            tracer,
            shares_fs,
            securebits,
            filters: status.filters,
            dir,
            root,
        })
    }

    /// The id of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its own id: of a main thread the process's.
    #[must_use]
    pub fn thread(&self) -> u32 {
        self.thread
    }

    /// Its name (comm), as it calls itself: any bytes.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Its user namespace.
    #[must_use]
    pub fn ns(&self) -> NsIndex {
        self.ns
    }

    /// Its root directory.
    #[must_use]
    pub fn root(&self) -> impl AsFd + '_ {
        &self.root
    }

    /// Its working directory; `None` where it has none, or we may not look.
    #[must_use]
    pub fn cwd(&self) -> Option<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.dir, "cwd", flags, Mode::empty()).ok()
    }

    /// How many seccomp filters it has, any of which may refuse execve(2); `None` where that cannot
    /// be seen (before Linux 5.9).
    #[must_use]
    pub fn filters(&self) -> Option<u32> {
        self.filters
    }

    /// What a security module calls it (attr/current, proc_pid_attr(5)), any bytes; `None` where
    /// none does.
    #[must_use]
    pub fn label(&self) -> Option<Vec<u8>> {
        let mut label = read_at(Path::new("attr"), &self.dir, "attr/current").ok()?;
        while label.last().is_some_and(|byte| matches!(byte, 0 | b'\n')) {
            label.pop();
        }
        (!label.is_empty()).then_some(label)
    }

    /// Its tracer.
    #[must_use]
    pub fn tracer(&self) -> Option<Tracer> {
        self.tracer
    }

    /// Its securebits, which the kernel tells to the task itself only; else `None`, and
    /// [`cred`](LiveTask::cred) takes them for 0.
    #[must_use]
    pub fn securebits(&self) -> Option<u32> {
        self.securebits
    }

    /// Whether another process shares its file system information (clone(2), CLONE_FS); `None`
    /// where kcmp(2) does not tell us, and [`task`](LiveTask::task) takes it for no.
    #[must_use]
    pub fn shares_fs(&self) -> Option<bool> {
        self.shares_fs
    }

    /// Its credentials.
    #[must_use]
    pub fn cred<'n>(&self, namespaces: &'n Namespaces) -> Cred<LiveNs<'n>> {
        let securebits = Securebits(self.securebits.unwrap_or(0));
        Cred { securebits, ..self.ids.cred(namespaces.get(self.ns)) }
    }

    /// The task as execve(2) sees it.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// let own = LiveTask::read(std::process::id(), &mut namespaces)?;
    /// assert!(!own.task(&namespaces).traced || own.tracer().is_some());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    #[must_use]
    pub fn task<'n>(&self, namespaces: &'n Namespaces) -> nscap_core::Task<'_, LiveNs<'n>> {
        nscap_core::Task {
            cred: self.cred(namespaces),
            groups: self.ids.groups(),
            no_new_privs: self.no_new_privs,
            traced: self.tracer.is_some_and(|tracer| !tracer.capable),
            shares_fs: self.shares_fs == Some(true),
        }
    }
}

/// The ids and capability sets of a task, in initial terms.
#[derive(Debug)]
pub(crate) struct Ids {
    uids: [Kuid; 4],
    gids: [Kgid; 4],
    groups: Vec<Kgid>,
    /// Inheritable, permitted, effective, bounding, ambient.
    sets: [CapSet; 5],
}

impl Ids {
    /// `None` where an id has no image in initial terms. (The kernel shows an id that our own
    /// namespace does not map as 65534; there is no telling it from the real one.)
    pub(crate) fn of(status: &Status, namespaces: &Namespaces) -> Option<Ids> {
        let uid = |shown| namespaces.shown_uid(shown);
        let gid = |shown| namespaces.shown_gid(shown);
        let [ruid, euid, suid, fsuid] = status.uids.map(uid);
        let [rgid, egid, sgid, fsgid] = status.gids.map(gid);
        Some(Ids {
            uids: [ruid?, euid?, suid?, fsuid?],
            gids: [rgid?, egid?, sgid?, fsgid?],
            groups: status.groups.iter().filter_map(|id| gid(*id)).collect(),
            sets: status.sets.map(CapSet::from_bits),
        })
    }

    /// Supplementary groups.
    pub(crate) fn groups(&self) -> &[Kgid] {
        &self.groups
    }

    /// The credentials of a task in that namespace, securebits taken for 0.
    pub(crate) fn cred<N>(&self, ns: N) -> Cred<N> {
        let ([uid, euid, suid, fsuid], [gid, egid, sgid, fsgid]) = (self.uids, self.gids);
        let [inheritable, permitted, effective, bounding, ambient] = self.sets;
        let securebits = Securebits(0);
        Cred {
            ns,
            uid,
            euid,
            suid,
            fsuid,
            gid,
            egid,
            sgid,
            fsgid,
            inheritable,
            permitted,
            effective,
            bounding,
            ambient,
            securebits,
        }
    }
}

fn read_at(path: &Path, dir: &OwnedFd, name: &str) -> Result<Vec<u8>> {
    let fd = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::call(&path.join(name), "open", e))?;
    let mut bytes = Vec::new();
    File::from(fd).read_to_end(&mut bytes).map_err(|e| Error::call(&path.join(name), "read", e))?;
    Ok(bytes)
}

pub(crate) fn read_status(path: &Path, dir: &OwnedFd) -> Result<Status> {
    let bytes = read_at(path, dir, "status")?;
    status::parse(&bytes)
        .ok_or_else(|| Error::unexpected(&path.join("status"), "not as proc_pid_status(5) has it"))
}

fn tracer(pid: u32, target: NsIndex, namespaces: &mut Namespaces) -> Tracer {
    let capable = (|| {
        let status = status::parse(&std::fs::read(format!("/proc/{pid}/status")).ok()?)?;
        let ns = namespaces.add_pid(pid).ok()?;
        let cred = Ids::of(&status, namespaces)?.cred(namespaces.get(ns));
        Some(cred.has_cap_over(Capability::SysPtrace, namespaces.get(target)))
    })();
    Tracer { pid, capable: capable.unwrap_or(false) }
}

/// Whether a process outside the thread group shares the task's file system information.
fn shares_fs(thread: u32, process: u32) -> Option<bool> {
    // A task that the kernel will not compare with itself tells nothing about others.
    sys::shares_fs(thread, thread).ok()?;
    let mut others = pids().ok()?;
    others.retain(|other| *other != process);
    Some(others.into_iter().any(|other| sys::shares_fs(thread, other) == Ok(true)))
}

/// The threads of a process, ascending.
fn threads(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let mut threads: Vec<u32> = entries.filter_map(number).collect();
    threads.sort_unstable();
    threads
}

fn own_securebits() -> Option<u32> {
    rustix::thread::capabilities_secure_bits().ok().map(|bits| bits.bits())
}
