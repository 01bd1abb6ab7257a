// SPDX-License-Identifier: MIT OR Apache-2.0
//! A user namespace without storage of its own: one range of ids. For examples, tests, and programs
//! that describe a container with one range.

use crate::cred::Cred;
use crate::id::{Gid, Kgid, Kuid, Uid};
use crate::idmap::{Extent, IdMap};
use crate::inode_view::InodeView;
use crate::ns::{UserNs, path_to_initial};

/// A user namespace that maps one range of ids, the same for uids and gids, from its id 0 on. Each
/// such value is a namespace of its own, even if another value has the same range (S). [`UserNs`]
/// is implemented for a reference to it.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let inner = container.below(150_000, 1000);
/// assert_eq!((&inner).kuid(Uid::ROOT), Kuid::new(150_000));
/// assert!((&inner).parent().is_some_and(|parent| parent.same(&container)));
///
/// // A file of the container's root, on a file system of the host.
/// let file = container.file();
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let grant = Stored::one(Uid::new(100_000).unwrap(), ping);
/// assert_eq!(file_grant(&inner, &file, &grant).unwrap().caps(), Some(ping));
/// assert_eq!(file_grant(&host, &file, &grant).unwrap().caps(), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapped<'n> {
    parent: Option<&'n Mapped<'n>>,
    owner: Kuid,
    extent: Extent,
}

impl<'n> Mapped<'n> {
    /// An initial namespace: every id is itself.
    #[must_use]
    pub const fn initial() -> Mapped<'static> {
        let extent = Extent { inside: 0, outside: 0, count: u32::MAX };
        Mapped { parent: None, owner: Kuid::ROOT, extent }
    }

    /// A namespace below this one, made by this one's root. Its ids from 0 to `count` - 1 are the
    /// kuids (and kgids) from `first` on. The kernel demands that this one maps them all; here a
    /// task with an id that it does not map is possible, as after setns(2).
    #[must_use]
    pub const fn below(&'n self, first: u32, count: u32) -> Mapped<'n> {
        let extent = Extent { inside: 0, outside: first, count };
        let owner = match Kuid::new(self.extent.outside) {
            Some(root) => root,
            None => Kuid::ROOT,
        };
        Mapped { parent: Some(self), owner, extent }
    }

    /// The same namespace, made by a task with this effective uid.
    #[must_use]
    pub const fn made_by(self, owner: Kuid) -> Mapped<'n> {
        Mapped { owner, ..self }
    }

    /// The credentials of its root: uid 0, gid 0, and every capability.
    #[must_use]
    pub fn root(&'n self) -> Cred<&'n Mapped<'n>> {
        let (uid, gid) = self.root_ids();
        Cred::privileged(self, uid, gid)
    }

    /// The credentials of an ordinary task with this uid and gid in the namespace, without
    /// capabilities; `None` if the namespace does not map the id.
    #[must_use]
    pub fn user(&'n self, id: u32) -> Option<Cred<&'n Mapped<'n>>> {
        let kuid = self.kuid(Uid::new(id)?)?;
        Some(Cred::ordinary(self, kuid, self.kgid(Gid::new(id)?)?))
    }

    /// A file of its root, on a plain mount of a file system that the initial namespace owns.
    #[must_use]
    pub fn file(&'n self) -> InodeView<&'n Mapped<'n>> {
        let (uid, gid) = self.root_ids();
        InodeView::plain(path_to_initial(self).last().unwrap_or(self), uid, gid)
    }

    fn root_ids(&self) -> (Kuid, Kgid) {
        let first = self.extent.outside;
        (Kuid::new(first).unwrap_or(Kuid::ROOT), Kgid::new(first).unwrap_or(Kgid::ROOT))
    }

    fn map(&self) -> IdMap<'_> {
        let all = core::slice::from_ref(&self.extent);
        IdMap::from_sorted(all, all)
    }
}

impl UserNs for &Mapped<'_> {
    fn same(self, other: Self) -> bool {
        core::ptr::eq(self, other)
    }
    fn parent(self) -> Option<Self> {
        self.parent
    }
    fn owner(self) -> Kuid {
        self.owner
    }
    fn kuid(self, uid: Uid) -> Option<Kuid> {
        self.map().kuid(uid)
    }
    fn uid(self, kuid: Kuid) -> Option<Uid> {
        self.map().uid(kuid)
    }
    fn kgid(self, gid: Gid) -> Option<Kgid> {
        self.map().kgid(gid)
    }
    fn gid(self, kgid: Kgid) -> Option<Gid> {
        self.map().gid(kgid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{is_same_or_below, rooted_at};

    #[test]
    fn one_range_is_one_root_and_each_value_is_a_namespace() {
        let host = Mapped::initial();
        let (one, other) = (host.below(100_000, 1000), host.below(100_000, 1000));
        let inner = one.below(100_500, 10);
        assert!(!(&one).same(&other) && is_same_or_below(&inner, &one));
        assert!(!is_same_or_below(&inner, &other));
        let root = Kuid::new(100_000).unwrap();
        assert!(rooted_at(root, &inner).is_some_and(|ns| ns.same(&one)));
        assert_eq!(rooted_at(Kuid::new(100_001).unwrap(), &inner), None);
        assert_eq!((&inner).owner(), root);
        assert_eq!((&one).kuid(Uid::new(1000).unwrap()), None);
        assert!(one.user(999).is_some() && one.user(1000).is_none());
        assert_eq!((one.root().euid, one.file().owner), (root, Some(root)));
        assert!(one.file().sb_ns.same(&host));
    }
}
