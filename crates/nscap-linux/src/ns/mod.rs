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

use nscap_core::Kuid;
use rustix::fs::OFlags;

use crate::error::{Error, Result};
use crate::places;

mod add;
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
