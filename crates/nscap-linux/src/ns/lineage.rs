// SPDX-License-Identifier: MIT OR Apache-2.0
//! A namespace and its ancestors, which is all that the rules need to know of one caller's
//! namespace. It does not keep the namespaces alive.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use super::visit::Visits;
use super::{Key, LiveNs, Namespaces, Node, NsIndex, Origin};
use crate::error::{Error, Result};

/// One user namespace and its ancestors, as they were when it was looked at. It is usable when none
/// of them has a process any more. The handles of two lineages cannot be compared.
#[derive(Debug)]
pub struct Lineage {
    namespaces: Namespaces,
    ns: NsIndex,
}

impl Lineage {
    /// The lineage of this process's own namespace.
    pub(crate) fn own() -> Result<Lineage> {
        let namespaces = Namespaces::own()?;
        Ok(Lineage { ns: namespaces.own_ns().index(), namespaces })
    }

    /// The lineage of a process's namespace, by a descriptor of its /proc directory. Ancestors come
    /// from `nearest` if that knows them; others are visited for at most `patience`.
    ///
    /// [`Error::Call`] with "setns" where a namespace above it could not be visited: EPERM where we
    /// may not, EAGAIN where that took too long, others where a resource is missing. Then nothing
    /// is known of it: an entry of such a namespace's root may be the nearest, and that root the
    /// one that U is about. [`Error::Unexpected`] where its own maps are none.
    pub(crate) fn of_member(
        pid: u32,
        path: &Path,
        dir: &OwnedFd,
        nearest: Namespaces,
        patience: Duration,
    ) -> Result<Lineage> {
        let mut namespaces = Namespaces { visits: Visits::one(patience), ..nearest };
        let ns = namespaces.add_member(pid, path, dir)?;
        if let Some(errno) = namespaces.visits.failed() {
            return Err(Error::call(path, "setns", errno));
        }
        let mut lineage = Lineage { namespaces, ns };
        if !lineage.ns().maps_known() {
            return Err(Error::unexpected(path, "a map that is none"));
        }
        lineage.release();
        Ok(lineage)
    }

    /// That of the namespace above, if that is below our own. `namespace` is a descriptor of it.
    pub(crate) fn of_parent(&self, namespace: OwnedFd) -> Option<Lineage> {
        let parent = self.namespaces.node(self.ns.0).parent?;
        if parent == self.namespaces.own || parent == self.namespaces.initial {
            return None;
        }
        let mut lineage =
            Lineage { namespaces: self.namespaces.up_to(parent), ns: NsIndex(parent) };
        lineage.namespaces.nodes.get_mut(parent)?.fd = Some(namespace);
        lineage.release();
        Some(lineage)
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

    /// The key of the namespace.
    pub(crate) fn key(&self) -> Key {
        self.namespaces.node(self.ns.0).identity.key()
    }

    /// Whether it is complete for ever: a map is written once, but after the namespace was made.
    /// (Whatever is above is mapped, since its maker had ids there.)
    pub(crate) fn is_final(&self) -> bool {
        let known = |ns: LiveNs<'_>| ns.maps_known();
        let ns = self.ns();
        let written = !ns.uid_map().is_empty() && !ns.gid_map().is_empty();
        written && nscap_core::path_to_initial(ns).all(known)
    }

    /// Its size, in extents.
    pub(crate) fn weight(&self) -> usize {
        let extents = |ns: LiveNs<'_>| ns.uid_map().len() + ns.gid_map().len() + 1;
        self.namespaces.iter().map(extents).sum()
    }

    /// Its facts, for a namespace right below it. `namespace` is a descriptor of its own.
    pub(crate) fn known(&self, namespace: OwnedFd) -> Namespaces {
        let mut known = self.namespaces.up_to(self.ns.0);
        if let Some(node) = known.nodes.get_mut(self.ns.0) {
            node.fd = Some(namespace);
        }
        known
    }

    /// Closes the descriptors of the namespaces, if ids tell them from all others for ever. If the
    /// kernel has no such ids, closes all but the lowest, which keeps the others.
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
    /// Our own namespace, those above it, and the nodes up to this one, with all that is known of
    /// each and no descriptor.
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
