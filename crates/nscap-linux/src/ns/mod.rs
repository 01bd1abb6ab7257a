// SPDX-License-Identifier: MIT OR Apache-2.0
//! Live user namespaces: their identities, their maps, and the processes in them. Covers what R3,
//! P, S and U need of the running system.
//!
//! A [`Namespaces`] is a snapshot, and its handles ([`LiveNs`]) can be compared. Since Linux 6.18
//! namespaces have ids that are never used again; before, the snapshot holds a descriptor of every
//! namespace in it, so that no inode number in it can be used again while it lives.
//!
//! **Whose numbers.** Every id given out is a kuid or kgid. Inside a user namespace the kernel
//! tells us ids in our own terms only, and how our own map into our parent; we take that parent
//! for the initial namespace. So ids are the initial namespace's when we are in it or in a child
//! of it, and our parent's otherwise; ancestors between it and the initial one cannot be seen.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nscap_core::{Extent, Kuid, MapError};
use rustix::fs::OFlags;

use crate::error::{Error, Result};
use crate::file::Links;
use crate::mounts::MountPoint;
use crate::sys;
use crate::{opath, places};

mod gather;
mod identity;
mod lineage;
mod live;
pub(crate) mod maps;
mod member;
mod unseen;
mod visit;

use gather::Via;
pub(crate) use identity::{Identity, Key};
pub use lineage::Lineage;
pub use live::{LiveNs, Process};
use maps::Maps;
pub(crate) use member::{DIRECTORY, pids, proc_is_ours};
use unseen::Unseen;
#[cfg(test)]
pub(crate) use visit::FORKS;
use visit::Visits;

/// Inode number of the initial user namespace, fixed in the kernel (`PROC_USER_INIT_INO`).
pub(crate) const INITIAL_INODE: u64 = 0xefff_fffd;

/// Which namespace of a [`Namespaces`]; of no use with another one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NsIndex(usize);

/// How a namespace came into the snapshot first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A process is in it.
    Process,
    /// A namespace below it is in the snapshot.
    Ancestor,
    /// It was named by a file: a bind mount or a link in /proc.
    Path(PathBuf),
    /// It is no namespace: only maps, of an id-mapped mount.
    IdMap,
    /// A placeholder for the namespaces above our own, which we cannot examine.
    Outside,
    /// A placeholder for a namespace that may own a superblock and that we have not seen.
    Unseen,
}

impl Origin {
    /// Whether it is a namespace of the kernel, and no placeholder.
    fn is_namespace(&self) -> bool {
        !matches!(self, Origin::IdMap | Origin::Outside | Origin::Unseen)
    }
}

#[derive(Debug)]
struct Node {
    fd: Option<OwnedFd>,
    identity: Identity,
    parent: Option<usize>,
    /// `None` where it has no id that we could name.
    owner: Option<Kuid>,
    maps: Maps,
    maps_known: bool,
    processes: BTreeSet<u32>,
    origin: Origin,
    via: Via,
}

impl Node {
    /// The namespaces above our own: every id as it is.
    fn outside() -> Node {
        Node {
            fd: None,
            identity: Identity::default(),
            parent: None,
            owner: Some(Kuid::ROOT),
            maps: Maps::identity(),
            maps_known: true,
            processes: BTreeSet::new(),
            origin: Origin::Outside,
            via: Via::Nothing,
        }
    }
}

/// A snapshot of user namespaces.
///
/// ```
/// use nscap_core::UserNs;
/// use nscap_linux::Namespaces;
/// let namespaces = Namespaces::own()?;
/// let own = namespaces.own_ns();
/// assert!(nscap_core::is_same_or_below(own, namespaces.initial()));
/// assert!(own.same(own));
/// # Ok::<(), nscap_linux::Error>(())
/// ```
#[derive(Debug)]
pub struct Namespaces {
    nodes: Vec<Node>,
    own: usize,
    initial: usize,
    /// Where each is in `nodes`.
    known: HashMap<Key, usize>,
    /// The namespaces whose root a kuid is.
    roots: HashMap<Kuid, Vec<usize>>,
    visits: Visits,
    gathered: bool,
    unreadable: usize,
    /// Processes for which no descriptor was left.
    left_out: usize,
    unseen: Unseen,
}

impl Namespaces {
    /// From known nodes, each after its parent.
    fn of(nodes: Vec<Node>, own: usize, initial: usize) -> Namespaces {
        let mut all = Namespaces {
            nodes: Vec::new(),
            own,
            initial,
            known: HashMap::new(),
            roots: HashMap::new(),
            visits: Visits::default(),
            gathered: false,
            unreadable: 0,
            left_out: 0,
            unseen: Unseen::default(),
        };
        nodes.into_iter().for_each(|node| {
            all.push(node);
        });
        all
    }

    fn push(&mut self, node: Node) -> usize {
        let n = self.nodes.len();
        let is_namespace = node.origin.is_namespace();
        if is_namespace {
            self.known.insert(node.identity.key(), n);
        }
        self.nodes.push(node);
        if is_namespace {
            self.note_root(n);
        }
        n
    }

    /// Remembers whose root a namespace has, once its maps are known.
    fn note_root(&mut self, n: usize) {
        if let Some(root) = nscap_core::root_kuid(LiveNs::new(self, n)) {
            self.roots.entry(root).or_default().push(n);
        }
    }

    /// Only our own namespace and what is above it.
    ///
    /// # Errors
    /// [`Error::Call`] where /proc is not mounted or not readable.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// assert!(namespaces.own_ns().maps_known());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn own() -> Result<Namespaces> {
        let path = Path::new("/proc/self/ns/user");
        let fd = places::open("self/ns/user", OFlags::RDONLY);
        let fd = fd.map_err(|e| Error::call(path, "open", e))?;
        let identity = Identity::of(path, &fd)?;
        let mut own = Node {
            fd: Some(fd),
            identity,
            processes: BTreeSet::from([std::process::id()]),
            origin: Origin::Process,
            ..Node::outside()
        };
        if identity.inode == INITIAL_INODE {
            return Ok(Namespaces::of(vec![own], 0, 0));
        }
        let (uids, gids) = member::own_maps()?;
        let maps = Maps::identity().lift(&uids, &gids);
        own.maps = maps.map_err(|e| Error::unexpected(path, e.to_string()))?;
        own.parent = Some(0);
        let mut all = Namespaces::of(vec![Node::outside(), own], 1, 0);
        all.own_owner()?;
        Ok(all)
    }

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

    /// A placeholder for a user namespace that we have not seen, and that contains no task of
    /// interest: every id is itself.
    pub(crate) fn unseen_owner(&mut self) -> NsIndex {
        let known = self.nodes.iter().position(|node| node.origin == Origin::Unseen);
        let node = Node { parent: Some(self.initial), origin: Origin::Unseen, ..Node::outside() };
        NsIndex(known.unwrap_or_else(|| self.push(node)))
    }

    /// The handle for an index of this snapshot.
    #[must_use]
    pub fn get(&self, index: NsIndex) -> LiveNs<'_> {
        LiveNs::new(self, index.0)
    }

    /// Our own namespace.
    #[must_use]
    pub fn own_ns(&self) -> LiveNs<'_> {
        LiveNs::new(self, self.own)
    }

    /// The initial namespace, or what we take for it (see the module).
    #[must_use]
    pub fn initial(&self) -> LiveNs<'_> {
        LiveNs::new(self, self.initial)
    }

    /// The kernel's namespaces in the snapshot, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = LiveNs<'_>> {
        (0..self.nodes.len()).map(|n| LiveNs::new(self, n)).filter(|ns| ns.is_namespace())
    }

    /// S: the namespaces whose root this kuid is.
    ///
    /// ```
    /// # use nscap_linux::*;
    /// # let mut namespaces = Namespaces::own()?;
    /// use nscap_core::Kuid;
    /// let shared = namespaces.rooted(Kuid::ROOT).count();
    /// assert!(shared <= namespaces.iter().count());
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    pub fn rooted(&self, kuid: Kuid) -> impl Iterator<Item = LiveNs<'_>> {
        let found = self.roots.get(&kuid).map(Vec::as_slice).unwrap_or_default();
        found.iter().map(|n| LiveNs::new(self, *n))
    }

    /// How many namespaces and processes were left out that may have this root, or any root: a
    /// snapshot may run out of time and, before Linux 6.18, of descriptors. The maps of these
    /// namespaces are not known.
    ///
    /// ```
    /// use nscap_linux::Namespaces;
    /// let all = Namespaces::scan()?;
    /// assert!(all.left_out(Some(nscap_core::Kuid::ROOT)) <= all.left_out(None));
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    #[must_use]
    pub fn left_out(&self, root: Option<Kuid>) -> usize {
        let unknown = |n: &usize| {
            let node = self.node(*n);
            !node.maps_known && node.via != Via::Gone && self.may_be_root(*n, root)
        };
        (0..self.nodes.len()).filter(unknown).count() + self.left_out
    }

    /// How many processes there were whose namespace we were not allowed to see.
    #[must_use]
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// The kuid for a uid that the kernel showed to us; `None` where it has none.
    #[must_use]
    pub fn shown_uid(&self, uid: u32) -> Option<Kuid> {
        self.node(self.own).maps.kuid(uid)
    }

    /// The kgid for a gid that the kernel showed to us; `None` where it has none.
    #[must_use]
    pub fn shown_gid(&self, gid: u32) -> Option<nscap_core::Kgid> {
        self.node(self.own).maps.kgid(gid)
    }

    /// The kuid of a namespace's maker as the kernel showed it. Inside a namespace that does not
    /// map the maker, the kernel shows the overflow uid: that is treated as unknown, which gives no
    /// task a privilege.
    fn shown_owner(&self, uid: u32) -> Option<Kuid> {
        const OVERFLOW: u32 = 65_534;
        if uid == OVERFLOW && self.own != self.initial {
            return None;
        }
        self.shown_uid(uid)
    }

    fn node(&self, n: usize) -> &Node {
        // An index comes from this snapshot, and nodes are never removed; a foreign index gives
        // the initial namespace, which grants nothing by itself.
        self.nodes.get(n).unwrap_or(&self.nodes[self.initial])
    }
}

fn no_process(pid: u32, error: Error) -> Error {
    match error.errno() {
        libc::ENOENT | libc::ESRCH => Error::NoProcess { pid },
        _ => error,
    }
}
