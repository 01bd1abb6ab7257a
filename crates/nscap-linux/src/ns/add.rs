// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be added to a snapshot: all that the system has, the namespace of a process or of a
//! file, and the maps of a mount.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nscap_core::{Extent, Kuid, MapError};

use super::gather::Via;
use super::maps::{self, Maps};
use super::unseen::Unseen;
use super::{Identity, Namespaces, Node, NsIndex, Origin, member};
use crate::error::{Error, Result};
use crate::file::Links;
use crate::mounts::MountPoint;
use crate::{opath, sys};

impl Namespaces {
    /// The user namespaces of all processes that we may look at and those that are bind-mounted
    /// where we see it, and what is above them. [`unreadable`](Namespaces::unreadable) counts the
    /// processes that we may not look at; what only a descriptor keeps is not found.
    ///
    /// # Errors
    /// [`Error::Call`] where /proc cannot be read. A process that ends meanwhile is none.
    ///
    /// ```
    /// use nscap_linux::Namespaces;
    /// let all = Namespaces::scan()?;
    /// assert!(all.iter().all(|ns| ns.is_namespace()));
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn scan() -> Result<Namespaces> {
        let mut all = Namespaces::own()?;
        all.complete()?;
        Ok(all)
    }

    /// Adds what [`scan`](Namespaces::scan) finds. Indexes that were given out stay what they are.
    ///
    /// # Errors
    /// As [`scan`](Namespaces::scan).
    pub fn complete(&mut self) -> Result<()> {
        self.gather()?;
        self.learn_all(None);
        Ok(())
    }

    /// As [`complete`](Namespaces::complete), for the question which namespaces have this kuid for
    /// their root: namespaces without a process are entered only if they may have that root. All
    /// processes are looked at once.
    ///
    /// # Errors
    /// As [`scan`](Namespaces::scan).
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// namespaces.complete_for(nscap_core::Kuid::ROOT)?;
    /// assert!(namespaces.rooted(nscap_core::Kuid::ROOT).count() > 0);
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn complete_for(&mut self, root: Kuid) -> Result<()> {
        if !self.gathered {
            self.gather()?;
        }
        self.learn_all(Some(root));
        Ok(())
    }

    fn gather(&mut self) -> Result<()> {
        self.gathered = true;
        (self.unreadable, self.left_out) = (0, 0);
        self.unseen = Unseen::default();
        for pid in member::pids()? {
            self.scan_process(pid)?;
        }
        for mount in MountPoint::all()?.iter().filter(|mount| mount.fs_type == "nsfs") {
            // Most are of other kinds of namespaces.
            let _ = self.add_path(&mount.point);
        }
        Ok(())
    }

    /// The namespace of a process.
    ///
    /// # Errors
    /// [`Error::NoProcess`] where there is none; [`Error::Call`] (EACCES, EPERM) where we may not
    /// look at it, ptrace(2), "Ptrace access mode checking".
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// let index = namespaces.add_pid(std::process::id())?;
    /// assert_eq!(namespaces.get(index), namespaces.own_ns());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn add_pid(&mut self, pid: u32) -> Result<NsIndex> {
        let path = PathBuf::from(format!("/proc/{pid}"));
        let dir =
            member::open(&path).map_err(|e| no_process(pid, Error::call(&path, "open", e)))?;
        self.add_member(pid, &path, &dir).map_err(|e| no_process(pid, e))
    }

    /// Adds a namespace by a file that refers to it: a link in /proc/PID/ns or a bind mount of one.
    ///
    /// # Errors
    /// [`Error::Call`] where it cannot be opened (EAGAIN: another process holds a lease on it);
    /// [`Error::NotRegular`], [`Error::Unexpected`] where it is no user namespace.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// let index = namespaces.add_path("/proc/self/ns/user".as_ref())?;
    /// assert_eq!(namespaces.get(index), namespaces.own_ns());
    /// assert!(namespaces.add_path("/proc/self/ns/net".as_ref()).is_err());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn add_path(&mut self, path: &Path) -> Result<NsIndex> {
        let file = opath::open_regular(path, Links::Follow)?;
        self.add_fd(file.into(), path)
    }

    /// A namespace by a descriptor of its file; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`add_path`](Namespaces::add_path).
    pub fn add_fd(&mut self, fd: OwnedFd, path: &Path) -> Result<NsIndex> {
        let not_user = |_| Error::unexpected(path, "not a user namespace");
        sys::ns_owner_uid(&fd).map_err(not_user)?;
        let n = match self.find(&Identity::of(path, &fd)?) {
            Some(known) => known,
            None => self.insert(&fd, path, Origin::Path(path.to_owned()), &Via::Nothing)?,
        };
        self.learn_upwards(fd, path)?;
        Ok(NsIndex(n))
    }

    /// Only maps, for [`InodeView::idmap`](nscap_core::InodeView): of ids on disk (inside) to kuids
    /// and kgids (outside).
    ///
    /// # Errors
    /// [`MapError`] where the extents are no map.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// use nscap_core::{Extent, Kuid, root_kuid};
    /// let map = [Extent { inside: 0, outside: 100_000, count: 65_536 }];
    /// let index = namespaces.add_idmap(&map, &map).unwrap();
    /// assert_eq!(root_kuid(namespaces.get(index)), Kuid::new(100_000));
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn add_idmap(
        &mut self,
        uids: &[Extent],
        gids: &[Extent],
    ) -> std::result::Result<NsIndex, MapError> {
        let maps = Maps { uids: maps::Map::new(uids)?, gids: maps::Map::new(gids)? };
        let parent = Some(self.initial);
        let node = Node { maps, parent, origin: Origin::IdMap, ..Node::outside() };
        Ok(NsIndex(self.push(node)))
    }
}

fn no_process(pid: u32, error: Error) -> Error {
    match error.errno() {
        libc::ENOENT | libc::ESRCH => Error::NoProcess { pid },
        _ => error,
    }
}
