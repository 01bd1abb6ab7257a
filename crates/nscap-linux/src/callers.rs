//! The threads that a server answers while they wait: who they are, for the price of a few system
//! calls. Covers what R4 to R8 and D ask of a caller when a process decides for others.
//!
//! A thread is known by its id in our pid namespace, as FUSE and seccomp(2) tell it. While it waits
//! for the answer it neither ends nor changes its credentials or its namespace, and its id is not
//! given to another; everything is read through one descriptor of its /proc directory, which of a
//! thread that ended gives nothing. That is so of a program's threads only. One of the kernel's (a worker
//! of io_uring, vhost, nfsd, a loop device) keeps for its life what its maker had, and asks with the
//! credentials of the request, which /proc does not show: it is never identified. What a namespace maps never changes once it is written, so that
//! is remembered, by the id that the kernel never uses again (NS_GET_ID, Linux 6.18), or by the file
//! of a namespace that is then kept alive.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use nscap_core::{Cred, Kgid};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::ns::{self, Key, Lineage, LiveNs, Namespaces};
use crate::places;
use crate::status::{self, STAT_MAX};
use crate::task::{Ids, read_status};

/// How many namespaces are remembered, and how many extents of all their maps together.
const NAMESPACES_MAX: usize = 1024;
const EXTENTS_MAX: usize = 65_536;

/// Whoever asks this process for something; to be shared by all threads that answer.
#[derive(Debug)]
pub struct Callers {
    proc: OwnedFd,
    own: Arc<Lineage>,
    known: RwLock<HashMap<Key, Known>>,
    clock: AtomicU64,
    most: usize,
}

#[derive(Debug)]
struct Known {
    lineage: Arc<Lineage>,
    used: AtomicU64,
}

impl Callers {
    /// Nobody is known yet.
    ///
    /// # Errors
    /// [`Error::Call`] where /proc cannot be opened; [`Error::Unexpected`] where it is not procfs, or
    /// another pid namespace's, so that numbers in it mean other tasks.
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
        let known = RwLock::new(HashMap::new());
        Ok(Callers { proc, own, known, clock: AtomicU64::new(0), most: NAMESPACES_MAX })
    }

    /// Our own namespace.
    #[must_use]
    pub fn own(&self) -> &Arc<Lineage> {
        &self.own
    }

    /// The namespace that a waiting thread is in.
    ///
    /// # Errors
    /// [`Error::NoProcess`] where there is no such thread (there is none with id 0); [`Error::Worker`] where
    /// it is one of the kernel's; [`Error::Call`] where we may not look at it (ptrace(2), "Ptrace access mode
    /// checking").
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
        find().map_err(|e| gone(thread, e))
    }

    /// That a waiting thread is a program's: somebody who can be identified.
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
        self.of_a_program(thread).map_err(|e| gone(thread, e))
    }

    fn of_a_program(&self, thread: u32) -> Result<()> {
        // Of one thread: of a process the kernel would add up all of them.
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
        read().map_err(|e| gone(thread, e))
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
        if let Some(known) = self.read().get(&key) {
            known.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
            return Ok(Arc::clone(&known.lineage));
        }
        self.first_sight(thread, &file)
    }

    #[cold]
    fn first_sight(&self, thread: u32, namespace: &OwnedFd) -> Result<Arc<Lineage>> {
        let path = PathBuf::from(format!("/proc/{thread}"));
        let dir = self.directory(thread, &path)?;
        let nearest = self.nearest(namespace, &path)?;
        let lineage = Arc::new(Lineage::of_member(thread, &path, &dir, nearest)?);
        if lineage.is_final() {
            self.remember(&lineage);
        }
        Ok(lineage)
    }

    /// What is known of what is above a namespace, so that none has to be visited twice.
    fn nearest(&self, namespace: &OwnedFd, path: &Path) -> Result<Namespaces> {
        let above = ns::above(namespace, path)?;
        let known = self.read();
        let all = || std::iter::once(&self.own).chain(known.values().map(|known| &known.lineage));
        let found = above.iter().find_map(|up| all().find_map(|lineage| lineage.from(up)));
        match found {
            Some(namespaces) => Ok(namespaces),
            None => Namespaces::own(),
        }
    }

    fn remember(&self, lineage: &Arc<Lineage>) {
        let used = AtomicU64::new(self.clock.fetch_add(1, Ordering::Relaxed));
        let known = Known { lineage: Arc::clone(lineage), used };
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(lineage.key(), known);
        while all.len() > self.most || weight(&all) > EXTENTS_MAX {
            let oldest = all.iter().min_by_key(|(_, known)| known.used.load(Ordering::Relaxed));
            let Some(oldest) = oldest.map(|(key, _)| *key) else {
                return;
            };
            all.remove(&oldest);
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<Key, Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn weight(all: &HashMap<Key, Known>) -> usize {
    all.values().map(|known| known.lineage.weight()).sum()
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

    /// Whether the kernel asks with these ids, in our own namespace's terms, as the ones that the thread has
    /// for files (setfsuid(2)): if not, it asks with credentials that are not the thread's own.
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
        let callers = Callers { most: 2, ..Callers::new().unwrap() };
        let ask = |member: &Member| callers.lineage(member.0.id()).unwrap();
        let (first, second) = (ask(&one), ask(&other));
        assert!(Arc::ptr_eq(&first, &ask(&one)));
        let third = Member::new("0 840000 10").unwrap();
        let _ = ask(&third);
        assert!(Arc::ptr_eq(&first, &ask(&one)));
        assert!(!Arc::ptr_eq(&second, &ask(&other)));
        assert_eq!(callers.read().len(), 2);
    }
}
