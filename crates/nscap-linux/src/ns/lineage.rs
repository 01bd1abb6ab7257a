//! A namespace with everything above it, and nothing else: what the rules ask about one caller.
//! Kept for as long as somebody is interested, without keeping the namespaces alive.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::{Identity, Key, LiveNs, Namespaces, Node, NsIndex, Origin};
use crate::error::Result;
use crate::sys;

/// One user namespace and its ancestors, as they were when it was looked at; of use when neither
/// has a process in it any more. The handles of two lineages cannot be compared.
#[derive(Debug)]
pub struct Lineage {
    namespaces: Namespaces,
    ns: NsIndex,
}

impl Lineage {
    /// Of our own namespace.
    pub(crate) fn own() -> Result<Lineage> {
        let namespaces = Namespaces::own()?;
        Ok(Lineage { ns: namespaces.own_ns().index(), namespaces })
    }

    /// Of the namespace of a process whose directory is open; what is above it is taken from
    /// `nearest` as far as that knows it.
    pub(crate) fn of_member(
        pid: u32,
        path: &Path,
        dir: &OwnedFd,
        nearest: Namespaces,
    ) -> Result<Lineage> {
        let mut namespaces = nearest;
        let ns = namespaces.add_member(pid, path, dir)?;
        let mut lineage = Lineage { namespaces, ns };
        lineage.release();
        Ok(lineage)
    }

    /// The namespace.
    ///
    /// ```
    /// use nscap_linux::Callers;
    /// let callers = Callers::new()?;
    /// let own = callers.lineage(std::process::id())?;
    /// assert!(nscap_core::is_same_or_below(own.ns(), own.namespaces().initial()));
    /// # Ok::<(), nscap_linux::Error>(())
    /// ```
    #[must_use]
    pub fn ns(&self) -> LiveNs<'_> {
        self.namespaces.get(self.ns)
    }

    /// All of the lineage, and this process's own namespace.
    #[must_use]
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// What the namespace is known by.
    pub(crate) fn key(&self) -> Key {
        self.namespaces.node(self.ns.0).identity.key()
    }

    /// Whether it says all that there will ever be to say: a map is written once, but after the
    /// namespace was made. (Whatever is above is mapped, since its maker had ids there.)
    pub(crate) fn is_final(&self) -> bool {
        let known = |ns: LiveNs<'_>| ns.maps_known();
        let ns = self.ns();
        let written = !ns.uid_map().is_empty() && !ns.gid_map().is_empty();
        written && nscap_core::path_to_initial(ns).all(known)
    }

    /// How much it holds, in extents.
    pub(crate) fn weight(&self) -> usize {
        let extents = |ns: LiveNs<'_>| ns.uid_map().len() + ns.gid_map().len() + 1;
        self.namespaces.iter().map(extents).sum()
    }

    /// What it knows from this namespace upwards, if that is in it.
    pub(crate) fn from(&self, identity: &Identity) -> Option<Namespaces> {
        identity.id?;
        let at = self.namespaces.find(identity)?;
        // Whoever is above was put in before.
        Some(self.namespaces.up_to(at))
    }

    /// Lets go of the namespaces, where their ids tell them from all others for ever; if the kernel
    /// has no such ids, of all but the lowest, which keeps the others.
    fn release(&mut self) {
        let lowest = self.ns.0;
        for (n, node) in self.namespaces.nodes.iter_mut().enumerate() {
            if node.identity.id.is_some() || n != lowest {
                node.fd = None;
            }
            node.processes.clear();
        }
    }
}

impl Namespaces {
    /// Our own namespace, what is above it, and the nodes up to this one; of each what is known, and
    /// no descriptor.
    pub(super) fn up_to(&self, n: usize) -> Namespaces {
        let last = n.max(self.own).max(self.initial);
        let nodes = self.nodes.iter().take(last + 1).map(Node::known).collect();
        Namespaces::of(nodes, self.own, self.initial)
    }
}

impl Node {
    fn known(&self) -> Node {
        Node {
            identity: self.identity,
            parent: self.parent,
            owner: self.owner,
            maps: self.maps.clone(),
            maps_known: self.maps_known,
            origin: Origin::Ancestor,
            ..Node::outside()
        }
    }
}

/// The namespaces above one, the nearest first, as far as we may see them.
pub(crate) fn above(namespace: &OwnedFd, path: &Path) -> Result<Vec<Identity>> {
    let mut all = Vec::new();
    let mut next = sys::ns_parent(namespace);
    while let Ok(parent) = next {
        all.push(Identity::of(path, &parent)?);
        next = sys::ns_parent(&parent);
    }
    Ok(all)
}
