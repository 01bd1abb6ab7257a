// SPDX-License-Identifier: MIT OR Apache-2.0
//! Identifies the threads that wait for an answer of a server, with a few system calls each. Covers
//! what R4 to R8 and D need to know of a caller when a process decides for others.
//!
//! A thread is known by its id in this process's pid namespace, as FUSE and seccomp(2) say it.
//! While it waits for the answer it does not end or change its credentials or namespace, and the
//! kernel does not use its id again. Everything is read through one descriptor of its /proc
//! directory, which reads nothing once the thread has ended. This holds for threads of programs
//! only. A thread of the kernel (a worker of io_uring, vhost, nfsd, a loop device) keeps its
//! maker's credentials for its life, and asks with the credentials of the request, which /proc does
//! not show: it is never identified. The maps of a namespace never change once they are written, so
//! they are remembered: by the id that the kernel never uses again (NS_GET_ID, Linux 6.18), or by a
//! file of the namespace, which keeps it alive.
//!
//! **Bounds.** At most 1,024 namespaces are remembered, with at most 65,536 extents in their maps
//! and in those above them. Beyond that, the owner with the most remembered namespaces loses one
//! ([`known`]). A new namespace costs at most one fork(2) and half a second, however many
//! namespaces without a process are above it. If that fails, the owner of the highest of these is
//! not tried again for a second. No lock is held meanwhile. Eight descriptors are reserved
//! ([`reserve`]).

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nscap_core::{Cred, Kgid};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

mod known;
mod reserve;

use crate::error::{Error, Result};
use crate::ns::{self, Key, Lineage, LiveNs, Namespaces};
use crate::status::{self, STAT_MAX};
use crate::task::{Ids, read_status};
use crate::{places, sys};
use known::{Failures, Remembered, Share};
use reserve::Reserve;

/// How long the namespaces above a new one may take to be visited.
const PATIENCE: Duration = Duration::from_millis(500);

/// Identifies the callers of this process. All threads that answer share one value.
#[derive(Debug)]
pub struct Callers {
    proc: OwnedFd,
    own: Arc<Lineage>,
    known: Remembered,
    failures: Failures,
    reserve: Reserve,
}

/// What is above a namespace that is met for the first time.
struct Above {
    /// What is known of it.
    nearest: Namespaces,
    /// The share that it counts for.
    share: Share,
    /// Its parent, where that is not known.
    unknown: Option<OwnedFd>,
}

impl Callers {
    /// Remembers no namespace yet.
    ///
    /// # Errors
    /// [`Error::Call`] where /proc cannot be opened, or descriptors cannot be kept back (EMFILE);
    /// [`Error::Unexpected`] where it is not procfs, or another pid namespace's, so that numbers in
    /// it mean other tasks.
    ///
    /// ```
    /// let callers = nscap_linux::Callers::new()?;
    /// assert!(callers.own().ns().maps_known());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn new() -> Result<Callers> {
        let path = Path::new("/proc");
        let proc = match places::open(".", ns::DIRECTORY) {
            Err(Errno::OPNOTSUPP) => return Err(Error::unexpected(path, "not procfs")),
            proc => proc.map_err(|e| Error::call(path, "open", e))?,
        };
        if !ns::proc_is_ours() {
            let problem = "numbers the processes of another pid namespace; mount one of this \
                process's own over it: mount -t proc proc /proc";
            return Err(Error::unexpected(path, problem));
        }
        let own = Arc::new(Lineage::own()?);
        let reserve = Reserve::new(proc.as_fd()).map_err(|e| Error::call(path, "dup", e))?;
        let (known, failures) = (Remembered::default(), Failures::default());
        Ok(Callers { proc, own, known, failures, reserve })
    }

    /// Our own namespace.
    #[must_use]
    pub fn own(&self) -> &Arc<Lineage> {
        &self.own
    }

    /// The namespace that a waiting thread is in.
    ///
    /// # Errors
    /// [`Error::NoProcess`] where there is no such thread (there is none with id 0);
    /// [`Error::Worker`] where it is one of the kernel's; [`Error::Call`] where we may not look at
    /// it (ptrace(2), "Ptrace access mode checking"), where a namespace above its own cannot be
    /// visited ("setns"), or for want of something ([`is_shortage`](Error::is_shortage)): that says
    /// nothing about the thread.
    ///
    /// ```
    /// let callers = nscap_linux::Callers::new()?;
    /// let own = callers.lineage(std::process::id())?;
    /// assert!(own.ns().maps_known());
    /// assert!(callers.lineage(0).is_err());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn lineage(&self, thread: u32) -> Result<Arc<Lineage>> {
        let find = || {
            self.of_a_program(thread)?;
            self.find(thread, &self.proc, &format!("{thread}/ns/user"))
        };
        self.reserve.lend(find).map_err(|e| gone(thread, e))
    }

    /// Checks that a waiting thread is a program's, which can be identified.
    ///
    /// # Errors
    /// As [`lineage`](Callers::lineage).
    ///
    /// ```
    /// let callers = nscap_linux::Callers::new()?;
    /// callers.is_of_a_program(std::process::id())?;
    /// // The kernel's own first thread, where our pid namespace has it.
    /// assert!(callers.is_of_a_program(2).is_err() || std::fs::read("/proc/2/cmdline").is_ok());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn is_of_a_program(&self, thread: u32) -> Result<()> {
        self.reserve.lend(|| self.of_a_program(thread)).map_err(|e| gone(thread, e))
    }

    fn of_a_program(&self, thread: u32) -> Result<()> {
        // The file of one thread: for a process the kernel would add up all threads.
        let name = format!("{thread}/task/{thread}/stat");
        let failed = |call| {
            let path = Path::new("/proc").join(&name);
            move |errno: Errno| Error::call(&path, call, errno)
        };
        let file = openat(&self.proc, &name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed("open"))?;
        let mut line = [0; STAT_MAX];
        let length = rustix::io::read(&file, &mut line).map_err(failed("read"))?;
        match status::is_worker(line.get(..length).unwrap_or_default()) {
            Some(false) => Ok(()),
            Some(true) => Err(Error::Worker { thread }),
            None => Err(Error::unexpected(
                &Path::new("/proc").join(&name),
                "not as proc_pid_stat(5) has it",
            )),
        }
    }

    /// A waiting thread with its credentials.
    ///
    /// # Errors
    /// As [`lineage`](Callers::lineage); [`Error::Unexpected`] where one of its ids has none in our
    /// own namespace.
    ///
    /// ```
    /// let callers = nscap_linux::Callers::new()?;
    /// let own = callers.caller(std::process::id())?;
    /// assert!(own.is_there() && own.cred().ns == own.lineage().ns());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn caller(&self, thread: u32) -> Result<Caller> {
        let path = PathBuf::from(format!("/proc/{thread}"));
        let read = || {
            self.of_a_program(thread)?;
            let dir = self.directory(thread, &path)?;
            let status = read_status(&path, &dir)?;
            let lineage = self.find(thread, &dir, "ns/user")?;
            let ids = Ids::of(&status, lineage.namespaces()).ok_or_else(|| {
                Error::unexpected(&path.join("status"), "ids that are unmapped here")
            })?;
            Ok(Caller { lineage, ids, dir })
        };
        self.reserve.lend(read).map_err(|e| gone(thread, e))
    }

    fn directory(&self, thread: u32, path: &Path) -> Result<OwnedFd> {
        openat(&self.proc, thread.to_string(), ns::DIRECTORY, Mode::empty())
            .map_err(|e| Error::call(path, "open", e))
    }

    /// The lineage of the namespace that this link leads to.
    fn find(&self, thread: u32, dir: impl AsFd, link: &str) -> Result<Arc<Lineage>> {
        let path = Path::new("/proc").join(link);
        let file = openat(dir, link, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| Error::call(&path, "open", e))?;
        let key = Key::of(&path, &file)?;
        if key == self.own.key() {
            return Ok(Arc::clone(&self.own));
        }
        match self.known.get(key) {
            Some((lineage, _)) => Ok(lineage),
            None => self.first_sight(thread, &file),
        }
    }

    #[cold]
    fn first_sight(&self, thread: u32, namespace: &OwnedFd) -> Result<Arc<Lineage>> {
        let path = PathBuf::from(format!("/proc/{thread}"));
        let dir = self.directory(thread, &path)?;
        let Above { nearest, share, unknown } = self.above(namespace, &path)?;
        if unknown.is_some() {
            self.failures.check(share, &path)?;
        }
        let lineage = match Lineage::of_member(thread, &path, &dir, nearest, PATIENCE) {
            Ok(lineage) => Arc::new(lineage),
            Err(error) => {
                self.failures.note(share, &error);
                return Err(error);
            }
        };
        // A namespace that never has a map, or never the same, is not looked at like this again.
        let parent = unknown.and_then(|parent| lineage.of_parent(parent));
        for found in parent.map(Arc::new).iter().chain([&lineage]) {
            if found.is_final() {
                self.known.remember(found, share);
            }
        }
        Ok(lineage)
    }

    fn above(&self, namespace: &OwnedFd, path: &Path) -> Result<Above> {
        let (mut unknown, mut here): (Option<OwnedFd>, Option<OwnedFd>) = (None, None);
        loop {
            let highest = here.as_ref().or(unknown.as_ref()).unwrap_or(namespace);
            let (nearest, share) = match sys::ns_parent(highest) {
                Ok(up) => {
                    let key = Key::of(path, &up)?;
                    if key == self.own.key() {
                        (self.own.known(up), Share::of(highest, path)?)
                    } else if let Some((lineage, share)) = self.known.get(key) {
                        (lineage.known(up), share)
                    } else {
                        *if unknown.is_none() { &mut unknown } else { &mut here } = Some(up);
                        continue;
                    }
                }
                // Not below ours.
                Err(Errno::PERM) => (Namespaces::own()?, Share::of(highest, path)?),
                Err(errno) => return Err(Error::call(path, "ioctl(NS_GET_PARENT)", errno)),
            };
            return Ok(Above { nearest, share, unknown });
        }
    }
}

fn gone(thread: u32, error: Error) -> Error {
    match error.errno() {
        libc::ENOENT | libc::ESRCH => Error::NoProcess { pid: thread },
        _ => error,
    }
}

/// A thread as it was when it was read: its own credentials, not its process's.
#[derive(Debug)]
pub struct Caller {
    lineage: Arc<Lineage>,
    ids: Ids,
    dir: OwnedFd,
}

impl Caller {
    /// Its user namespace and what is above it.
    #[must_use]
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Whether the kernel asks with the ids that the thread has for files (setfsuid(2)), given here
    /// in our own namespace's terms. If not, it asks with credentials that are not the thread's
    /// own.
    ///
    /// ```
    /// let callers = nscap_linux::Callers::new()?;
    /// let own = callers.caller(std::process::id())?;
    /// let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    /// assert!(own.asks_as(uid, gid) && !own.asks_as(uid.wrapping_add(1), gid));
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    #[must_use]
    pub fn asks_as(&self, uid: u32, gid: u32) -> bool {
        let (cred, own) = (self.cred(), self.lineage.namespaces());
        own.shown_uid(uid) == Some(cred.fsuid) && own.shown_gid(gid) == Some(cred.fsgid)
    }

    /// Its credentials, securebits taken for 0.
    #[must_use]
    pub fn cred(&self) -> Cred<LiveNs<'_>> {
        self.ids.cred(self.lineage.ns())
    }

    /// Its supplementary groups; those that have no id we could name are left out.
    #[must_use]
    pub fn groups(&self) -> &[Kgid] {
        self.ids.groups()
    }

    /// Whether the thread is still there, so that what was read is still its.
    #[must_use]
    pub fn is_there(&self) -> bool {
        openat(&self.dir, "status", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;
    use nscap_core::{Kuid, UserNs as _, root_kuid};

    /// A process in a namespace of its own with this map, until dropped.
    struct Member(std::process::Child);

    impl Member {
        fn new(map: &str) -> Option<Member> {
            let mut command = std::process::Command::new("unshare");
            command.args(["-U", "sh", "-c", "echo up; exec sleep infinity"]);
            let mut child = command.stdout(std::process::Stdio::piped()).spawn().ok()?;
            let mut up = [0; 3];
            std::io::Read::read_exact(child.stdout.as_mut()?, &mut up).ok()?;
            let member = Member(child);
            let write = |name| std::fs::write(format!("/proc/{}/{name}", member.0.id()), map);
            write("uid_map").and_then(|()| write("gid_map")).ok()?;
            Some(member)
        }
    }

    impl Drop for Member {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn without_ids_a_remembered_namespace_is_kept_alive() {
        let Some(member) = Member::new("0 836000 10") else {
            return println!("skipped: needs a user namespace with a map");
        };
        sys::without_ns_ids();
        let callers = Callers::new().unwrap();
        let first = callers.lineage(member.0.id()).unwrap();
        assert_eq!(first.ns().id(), None);
        assert_eq!(root_kuid(first.ns()), Kuid::new(836_000));
        let number = first.ns().inode();
        drop(member);
        let member = Member::new("0 837000 10").unwrap();
        let second = callers.lineage(member.0.id()).unwrap();
        assert_ne!(second.ns().inode(), number);
        assert!(Arc::ptr_eq(&second, &callers.lineage(member.0.id()).unwrap()));
        assert_eq!(root_kuid(second.ns()), Kuid::new(837_000));
        assert!(callers.lineage(std::process::id()).unwrap().ns().same(callers.own().ns()));
    }

    #[test]
    fn what_was_not_asked_for_longest_is_forgotten_first() {
        let (Some(one), Some(other)) = (Member::new("0 838000 10"), Member::new("0 839000 10"))
        else {
            return println!("skipped: needs user namespaces with a map");
        };
        let callers = Callers { known: Remembered::at_most(2), ..Callers::new().unwrap() };
        let ask = |member: &Member| callers.lineage(member.0.id()).unwrap();
        let (first, second) = (ask(&one), ask(&other));
        assert!(Arc::ptr_eq(&first, &ask(&one)));
        let third = Member::new("0 840000 10").unwrap();
        let _ = ask(&third);
        assert!(Arc::ptr_eq(&first, &ask(&one)));
        assert!(!Arc::ptr_eq(&second, &ask(&other)));
        assert_eq!(callers.known.count(), 2);
    }

    /// A process in so many namespaces below one another, of which only the lowest has one.
    fn nested(depth: usize, by: &[&str]) -> Option<Member> {
        let mut command = std::process::Command::new(by.first().copied().unwrap_or("unshare"));
        command.args(by.get(1..).unwrap_or_default());
        let first = usize::from(by.is_empty());
        let levels = (0..depth).flat_map(|_| ["unshare", "-Ur"]).skip(first);
        command.args(levels).args(["sh", "-c", "echo up; exec sleep infinity"]);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().ok()?;
        let mut up = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut()?, &mut up).ok()?;
        Some(Member(child))
    }

    #[test]
    fn thirty_namespaces_without_a_process_cost_one_fork_and_once() {
        let Some(member) = nested(30, &[]) else {
            return println!("skipped: needs 30 nested user namespaces");
        };
        for without_ids in [false, true] {
            if without_ids {
                sys::without_ns_ids();
            }
            let callers = Callers::new().unwrap();
            let before = ns::FORKS.get();
            let first = callers.lineage(member.0.id()).unwrap();
            assert_eq!(nscap_core::path_to_initial(first.ns()).count(), 31);
            assert!(nscap_core::path_to_initial(first.ns()).all(|ns| ns.maps_known()));
            assert_eq!(ns::FORKS.get(), before + 1);
            let again = callers.lineage(member.0.id()).unwrap();
            assert!(Arc::ptr_eq(&first, &again));
            // One beside it, and one that has no map yet: what is above them is known.
            let target = member.0.id().to_string();
            let enter = ["nsenter", "--preserve-credentials", "-U", "-t", &target];
            let below = nested(1, &enter).unwrap();
            let bare = [&enter[..], &["unshare", "-U"]].concat();
            let unmapped = nested(0, &bare).unwrap();
            for _ in 0..3 {
                for (member, maps_0) in [(&below, true), (&unmapped, false)] {
                    let found = callers.lineage(member.0.id()).unwrap();
                    assert_eq!(nscap_core::path_to_initial(found.ns()).count(), 32);
                    assert_eq!(root_kuid(found.ns()).is_some(), maps_0);
                }
            }
            assert_eq!(ns::FORKS.get(), before + 1);
        }
    }

    #[test]
    fn whoever_makes_many_namespaces_has_their_own_forgotten() {
        let by = |uid: &str| {
            let ids = [format!("--reuid={uid}"), format!("--regid={uid}")];
            nested(1, &["setpriv", &ids[0], &ids[1], "--clear-groups"])
        };
        let Some(innocent) = by("1001") else {
            return println!("skipped: needs setpriv and user namespaces of other users");
        };
        let callers = Callers { known: Remembered::at_most(4), ..Callers::new().unwrap() };
        let ask = |member: &Member| callers.lineage(member.0.id()).unwrap();
        let first = ask(&innocent);
        for _ in 0..12 {
            ask(&by("1000").unwrap());
        }
        assert!(Arc::ptr_eq(&first, &ask(&innocent)));
        assert_eq!(callers.known.count(), 4);
    }

    #[test]
    fn without_descriptors_a_caller_is_identified_all_the_same() {
        // In a process of its own: the limit is a process's.
        if std::env::var_os("NSCAP_TEST_FEW_FILES").is_none() {
            let ours = std::env::current_exe().unwrap();
            let mut command = std::process::Command::new(ours);
            let name = "callers::tests::without_descriptors_a_caller_is_identified_all_the_same";
            command.env("NSCAP_TEST_FEW_FILES", "1").args(["--exact", name]);
            assert!(command.output().unwrap().status.success());
            return;
        }
        let Some(member) = Member::new("0 841000 10") else {
            return println!("skipped: needs a user namespace with a map");
        };
        let callers = Callers::new().unwrap();
        let mut all = Vec::new();
        while let Ok(another) = rustix::io::fcntl_dupfd_cloexec(&callers.proc, 0) {
            all.push(another);
        }
        for _ in 0..3 {
            let caller = callers.caller(member.0.id()).unwrap();
            assert_eq!(root_kuid(caller.lineage().ns()), Kuid::new(841_000));
            assert!(callers.is_of_a_program(member.0.id()).is_ok());
        }
        // If the reserve is not enough, the error says so, and not that there is no such caller.
        callers.reserve.lend(|| Ok(())).unwrap();
        let own = std::process::id();
        let starved = callers.reserve.lend(|| {
            while let Ok(another) = rustix::io::fcntl_dupfd_cloexec(&callers.proc, 0) {
                std::mem::forget(another);
            }
            callers.directory(own, Path::new("/proc/self"))
        });
        assert!(starved.unwrap_err().is_shortage());
    }
}
