// SPDX-License-Identifier: MIT OR Apache-2.0
//! How namespaces come into a snapshot: each once, with whatever is above it.
//!
//! A process tells its namespace's maps by a file. A namespace that no process is in has to be
//! entered for them; that is put off until all processes were looked at, and done only for what the
//! question needs.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nscap_core::{Extent, Kuid, MapError, UserNs as _};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::maps::Maps;
use super::{Identity, Namespaces, Node, NsIndex, Origin, member};
use crate::error::{Error, Result};
use crate::sys;

/// Where to find again a namespace of which the snapshot holds no descriptor.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Via {
    /// There was no need to.
    #[default]
    Nothing,
    /// It is this process's, or above that.
    Process(u32),
    /// It was tried.
    Tried,
    /// The process has ended.
    Gone,
}

/// A namespace above another, or that one itself.
struct Ancestor {
    fd: OwnedFd,
    identity: Identity,
    known: Option<usize>,
}

impl Namespaces {
    pub(super) fn find(&self, identity: &Identity) -> Option<usize> {
        let own = self.node(self.own);
        let is_own = || identity.id.is_none() && own.fd.is_some() && own.identity.is_file(identity);
        let known = self.known.get(&identity.key()).copied();
        known.or_else(|| is_own().then_some(self.own))
    }

    pub(super) fn scan_process(&mut self, pid: u32) -> Result<()> {
        let path = PathBuf::from(format!("/proc/{pid}"));
        // Most processes are in our own: no other has its number while we hold it.
        if let Some(known) = member::link(&path).and_then(|link| self.find(&link))
            && self.node(known).maps_known
        {
            self.add_process(known, pid);
            return Ok(());
        }
        let Ok(dir) = member::open(&path) else {
            return Ok(());
        };
        match self.put_member(pid, &path, &dir) {
            Ok(_) => Ok(()),
            Err(error) => match error.errno() {
                libc::ENOENT | libc::ESRCH => Ok(()),
                libc::EACCES | libc::EPERM => {
                    self.add_unseen(pid, &path, &dir);
                    Ok(())
                }
                // Before Linux 6.18 each namespace in the snapshot takes a descriptor.
                libc::EMFILE | libc::ENFILE => {
                    self.left_out += 1;
                    Ok(())
                }
                _ => Err(error),
            },
        }
    }

    pub(crate) fn add_member(&mut self, pid: u32, path: &Path, dir: &OwnedFd) -> Result<NsIndex> {
        let (n, fd) = self.put_member(pid, path, dir)?;
        self.learn_upwards(fd, path)?;
        Ok(NsIndex(n))
    }

    /// Puts a process's namespace into the snapshot. Of the namespaces above it only their
    /// existence is recorded.
    fn put_member(&mut self, pid: u32, path: &Path, dir: &OwnedFd) -> Result<(usize, OwnedFd)> {
        let fd = openat(dir, "ns/user", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| Error::call(&path.join("ns/user"), "open", e))?;
        let identity = Identity::of(path, &fd)?;
        let n = match self.find(&identity) {
            Some(known) => known,
            None => self.insert(&fd, path, Origin::Process, &Via::Process(pid))?,
        };
        if !self.node(n).maps_known {
            let maps =
                member::maps(path, dir, identity.inode)?.and_then(|shown| self.lift(shown).ok());
            if let Some(maps) = maps {
                self.learn(n, maps);
            }
        }
        self.add_process(n, pid);
        Ok((n, fd))
    }

    fn add_process(&mut self, n: usize, pid: u32) {
        if let Some(node) = self.nodes.get_mut(n) {
            node.processes.insert(pid);
        }
    }

    fn learn(&mut self, n: usize, maps: Maps) {
        if let Some(node) = self.nodes.get_mut(n) {
            node.maps = maps;
            node.maps_known = true;
        }
        self.note_root(n);
    }

    pub(super) fn lift(
        &self,
        (uids, gids): (Vec<Extent>, Vec<Extent>),
    ) -> std::result::Result<Maps, MapError> {
        self.node(self.own).maps.lift(&uids, &gids)
    }

    /// The owner of our own namespace, which the kernel tells in our own terms.
    pub(super) fn own_owner(&mut self) -> Result<()> {
        let path = Path::new("/proc/self/ns/user");
        let shown = self.node(self.own).fd.as_ref().map(sys::ns_owner_uid).transpose();
        let shown = shown.map_err(|e| Error::call(path, "ioctl(NS_GET_OWNER_UID)", e))?;
        let owner = shown.and_then(|uid| self.shown_owner(uid));
        if let Some(node) = self.nodes.get_mut(self.own) {
            node.owner = owner;
        }
        Ok(())
    }

    /// Adds a namespace that is not in the snapshot, after all namespaces above it; no maps.
    pub(super) fn insert(
        &mut self,
        fd: &OwnedFd,
        path: &Path,
        origin: Origin,
        via: &Via,
    ) -> Result<usize> {
        let own = fd.try_clone().map_err(|e| Error::call(path, "dup", e))?;
        let (steps, mut above) = self.climb(own, path, |_| true)?;
        for (n, step) in steps.into_iter().enumerate().rev() {
            let owner = sys::ns_owner_uid(&step.fd)
                .map_err(|e| Error::call(path, "ioctl(NS_GET_OWNER_UID)", e))?;
            above = self.push(Node {
                // A namespace with an id of its own can be told from others without a descriptor.
                fd: step.identity.id.is_none().then_some(step.fd),
                identity: step.identity,
                parent: Some(above),
                owner: self.shown_owner(owner),
                maps: Maps::default(),
                maps_known: false,
                processes: BTreeSet::new(),
                origin: if n == 0 { origin.clone() } else { Origin::Ancestor },
                via: via.clone(),
            });
        }
        Ok(above)
    }

    /// The namespaces from one upwards, the lowest first, until one that is known well enough; and
    /// that one.
    fn climb(
        &self,
        fd: OwnedFd,
        path: &Path,
        enough: impl Fn(usize) -> bool,
    ) -> Result<(Vec<Ancestor>, usize)> {
        let mut steps = Vec::new();
        let mut next = fd;
        loop {
            let identity = Identity::of(path, &next)?;
            let known = self.find(&identity);
            if let Some(known) = known.filter(|known| enough(*known)) {
                return Ok((steps, known));
            }
            let parent = sys::ns_parent(&next);
            steps.push(Ancestor { fd: next, identity, known });
            next = match parent {
                Ok(parent) => parent,
                // Not below ours: all we can say is that the initial one is above it.
                Err(Errno::PERM) => return Ok((steps, self.initial)),
                Err(errno) => return Err(Error::call(path, "ioctl(NS_GET_PARENT)", errno)),
            };
        }
    }

    /// Enters the namespaces that have no maps yet, from one in the snapshot upwards.
    pub(super) fn learn_upwards(&mut self, fd: OwnedFd, path: &Path) -> Result<()> {
        let (steps, _) = self.climb(fd, path, |n| self.all_known_from(n))?;
        let unknown =
            |step: Ancestor| Some((step.fd, step.known.filter(|n| !self.node(*n).maps_known)?));
        let (line, nodes): (Vec<_>, Vec<_>) = steps.into_iter().rev().filter_map(unknown).unzip();
        let shown = self.visits.line(&line);
        for (n, shown) in nodes.iter().zip(shown) {
            if let Ok(maps) = self.lift(shown) {
                self.learn(*n, maps);
            }
        }
        for n in nodes {
            if let Some(node) = self.nodes.get_mut(n) {
                node.via = Via::Tried;
            }
        }
        Ok(())
    }

    /// Whether the maps of a namespace and of all above it are known.
    fn all_known_from(&self, n: usize) -> bool {
        let mut next = Some(n);
        while let Some(node) = next.map(|n| self.node(n)).filter(|node| node.maps_known) {
            next = node.parent;
        }
        next.is_none()
    }

    /// Enters the namespaces that have no maps yet and matter.
    pub(super) fn learn_all(&mut self, root: Option<Kuid>) {
        if self.learn_by_processes(root) {
            self.find_other_processes();
            self.learn_by_processes(root);
        }
    }

    /// The lowest first, since those above it are entered on the way. Returns whether any process
    /// has ended meanwhile.
    fn learn_by_processes(&mut self, root: Option<Kuid>) -> bool {
        let mut gone = false;
        for n in (0..self.nodes.len()).rev() {
            let Via::Process(pid) = self.node(n).via else {
                continue;
            };
            if self.node(n).maps_known || !self.may_be_root(n, root) {
                continue;
            }
            let path = PathBuf::from(format!("/proc/{pid}/ns/user"));
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let learned = rustix::fs::open(&path, flags, Mode::empty())
                .map_err(|e| Error::call(&path, "open", e))
                .and_then(|fd| self.learn_upwards(fd, &path));
            // Without its process, or in another namespace by now.
            if (learned.is_err() || self.node(n).via == Via::Process(pid))
                && let Some(node) = self.nodes.get_mut(n)
            {
                node.via = Via::Gone;
                gone = true;
            }
        }
        gone
    }

    /// Another process may be below the namespaces that an ended process told of.
    fn find_other_processes(&mut self) {
        for n in 0..self.nodes.len() {
            let Some(pid) = self.node(n).processes.last().copied() else {
                continue;
            };
            let mut next = Some(n);
            while let Some(node) = next.and_then(|n| self.nodes.get_mut(n)) {
                if node.via == Via::Gone {
                    node.via = Via::Process(pid);
                }
                next = node.parent;
            }
        }
    }

    /// Whether a namespace without maps may have that root: the nearest one above it that is known
    /// maps whatever it maps.
    pub(super) fn may_be_root(&self, n: usize, root: Option<Kuid>) -> bool {
        let Some(root) = root else {
            return true;
        };
        let mut above = n;
        while !self.node(above).maps_known {
            match self.node(above).parent {
                Some(parent) => above = parent,
                None => return true,
            }
        }
        self.get(NsIndex(above)).uid(root).is_some()
    }
}
