//! How namespaces come into a snapshot: each once, with whatever is above it.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nscap_core::{Extent, MapError};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::maps::Maps;
use super::{Identity, Namespaces, Node, NsIndex, Origin, member};
use crate::error::{Error, Result};
use crate::sys;

impl Namespaces {
    pub(super) fn find(&self, identity: &Identity) -> Option<usize> {
        self.nodes.iter().position(|node| match (node.identity.id, identity.id) {
            (Some(one), Some(other)) => one == other,
            _ => node.fd.is_some() && node.identity.is_file(identity),
        })
    }

    pub(super) fn scan_process(&mut self, pid: u32) -> Result<()> {
        let path = PathBuf::from(format!("/proc/{pid}"));
        // Most processes are in a namespace that is known: no other has its number while we hold it.
        if let Some(known) = member::link(&path).and_then(|link| self.find(&link))
            && self.node(known).maps_known
        {
            self.add_process(known, pid);
            return Ok(());
        }
        let Ok(dir) = member::open(&path) else {
            return Ok(());
        };
        match self.add_member(pid, &path, &dir) {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.errno(), libc::ENOENT | libc::ESRCH) => Ok(()),
            Err(error) if matches!(error.errno(), libc::EACCES | libc::EPERM) => {
                self.add_unseen(pid, &path, &dir);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn add_member(&mut self, pid: u32, path: &Path, dir: &OwnedFd) -> Result<NsIndex> {
        let fd = openat(dir, "ns/user", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| Error::call(&path.join("ns/user"), "open", e))?;
        let identity = Identity::of(path, &fd)?;
        let known = match self.find(&identity) {
            Some(known) if self.node(known).maps_known => known,
            known => {
                let maps = member::maps(path, dir, identity.inode)?
                    .and_then(|shown| self.lift(shown).ok());
                match (known, maps) {
                    (Some(known), maps) => {
                        self.learn(known, maps);
                        known
                    }
                    (None, maps) => self.insert(fd, path, maps, Origin::Process)?,
                }
            }
        };
        self.add_process(known, pid);
        Ok(NsIndex(known))
    }

    fn add_process(&mut self, n: usize, pid: u32) {
        if let Some(node) = self.nodes.get_mut(n) {
            node.processes.insert(pid);
        }
    }

    fn learn(&mut self, n: usize, maps: Option<Maps>) {
        if let (Some(node), Some(maps)) = (self.nodes.get_mut(n), maps) {
            node.maps = maps;
            node.maps_known = true;
        }
    }

    pub(super) fn lift(
        &self,
        (uids, gids): (Vec<Extent>, Vec<Extent>),
    ) -> std::result::Result<Maps, MapError> {
        self.node(self.own).maps.lift(&uids, &gids)
    }

    /// The owner of our own namespace, which is told in our own terms.
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

    /// Adds a namespace that is not in the snapshot, and first whatever is above it.
    pub(super) fn insert(
        &mut self,
        fd: OwnedFd,
        path: &Path,
        maps: Option<Maps>,
        origin: Origin,
    ) -> Result<usize> {
        let identity = Identity::of(path, &fd)?;
        let parent = match sys::ns_parent(&fd) {
            Ok(parent) => match self.find(&Identity::of(path, &parent)?) {
                Some(known) => known,
                None => {
                    let maps = member::visit(&parent).and_then(|shown| self.lift(shown).ok());
                    self.insert(parent, path, maps, Origin::Ancestor)?
                }
            },
            // Not below ours: all we can say is that the initial one is above it.
            Err(Errno::PERM) => self.initial,
            Err(errno) => return Err(Error::call(path, "ioctl(NS_GET_PARENT)", errno)),
        };
        let owner =
            sys::ns_owner_uid(&fd).map_err(|e| Error::call(path, "ioctl(NS_GET_OWNER_UID)", e))?;
        self.nodes.push(Node {
            fd: Some(fd),
            identity,
            parent: Some(parent),
            owner: self.shown_owner(owner),
            maps_known: maps.is_some(),
            maps: maps.unwrap_or_default(),
            processes: BTreeSet::new(),
            origin,
        });
        Ok(self.nodes.len() - 1)
    }
}
