// SPDX-License-Identifier: MIT OR Apache-2.0
//! User namespaces as the rules see them: one small trait, and functions of it.
//!
//! Covers R3 (the namespaces that an entry applies to), U (roots of ancestors) and the walk that
//! user_namespaces(7) describes. The model, the live system and a kernel each implement [`UserNs`]
//! with a handle that is cheap to copy; [`Mapped`](crate::Mapped) is one without storage.

use crate::id::{Gid, Kgid, Kuid, Uid};

/// A user namespace: a handle that is cheap to copy.
///
/// An implementor promises that [`parent`](UserNs::parent) leads to the initial namespace in
/// finitely many steps (the kernel nests at most 33 deep), that [`same`](UserNs::same) is
/// identity of the kernel's object (inode numbers are reused and are not identity), that
/// [`kuid`](UserNs::kuid) and [`uid`](UserNs::uid) are inverse to each other, and the same of
/// groups (the kernel takes no map in which extents overlap), and that the answers do not change: a
/// map is written once.
pub trait UserNs: Copy {
    /// Whether two handles refer to the same namespace.
    fn same(self, other: Self) -> bool;

    /// The namespace in which this one was made; `None` for the initial one.
    fn parent(self) -> Option<Self>;

    /// The effective uid of the task that made this namespace (`NS_GET_OWNER_UID`).
    fn owner(self) -> Kuid;

    /// `make_kuid(ns, uid)`: `None` where the uid has no mapping.
    fn kuid(self, uid: Uid) -> Option<Kuid>;

    /// `from_kuid(ns, kuid)`: `None` where the kuid has no mapping.
    fn uid(self, kuid: Kuid) -> Option<Uid>;

    /// `make_kgid(ns, gid)`: `None` where the gid has no mapping.
    fn kgid(self, gid: Gid) -> Option<Kgid>;

    /// `from_kgid(ns, kgid)`: `None` where the kgid has no mapping.
    fn gid(self, kgid: Kgid) -> Option<Gid>;
}

/// The initial namespace alone, as a kernel without user namespaces has it: every id is itself.
///
/// ```
/// use nscap_core::{Initial, Kuid, UserNs, root_kuid};
/// assert_eq!(root_kuid(Initial), Some(Kuid::ROOT));
/// assert!(Initial.parent().is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Initial;

impl UserNs for Initial {
    fn same(self, _: Initial) -> bool {
        true
    }
    fn parent(self) -> Option<Initial> {
        None
    }
    fn owner(self) -> Kuid {
        Kuid::ROOT
    }
    fn kuid(self, uid: Uid) -> Option<Kuid> {
        Kuid::new(uid.get())
    }
    fn uid(self, kuid: Kuid) -> Option<Uid> {
        Uid::new(kuid.get())
    }
    fn kgid(self, gid: Gid) -> Option<Kgid> {
        Kgid::new(gid.get())
    }
    fn gid(self, kgid: Kgid) -> Option<Gid> {
        Gid::new(kgid.get())
    }
}

/// The root kuid of a namespace: `make_kuid(ns, 0)`. A namespace that maps no uid 0 has none.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// assert_eq!(root_kuid(&container), Kuid::new(100_000));
/// ```
pub fn root_kuid<N: UserNs>(ns: N) -> Option<Kuid> {
    ns.kuid(Uid::ROOT)
}

/// The namespace itself and then each ancestor, nearest first, ending with the initial one.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let inner = container.below(150_000, 1000);
/// let path: Vec<_> = path_to_initial(&inner).collect();
/// assert_eq!(path, [&inner, &container, &host]);
/// ```
pub fn path_to_initial<N: UserNs>(ns: N) -> impl Iterator<Item = N> {
    core::iter::successors(Some(ns), |ns| ns.parent())
}

/// Whether `ns` is `ancestor` or below it (`in_userns` in the kernel).
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let inner = container.below(150_000, 1000);
/// assert!(is_same_or_below(&inner, &container) && is_same_or_below(&inner, &inner));
/// assert!(!is_same_or_below(&container, &inner));
/// ```
pub fn is_same_or_below<N: UserNs>(ns: N, ancestor: N) -> bool {
    path_to_initial(ns).any(|n| n.same(ancestor))
}

/// R3: the nearest namespace, on the path from `ns` to the initial one, that has the root kuid
/// `kuid`; `None` if an entry for that kuid does not apply to a task in `ns`.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let inner = container.below(150_000, 1000);
/// let root = Kuid::new(100_000).unwrap();
/// assert_eq!(rooted_at(root, &inner), Some(&container));
/// assert_eq!(rooted_at(root, &host), None);
/// ```
pub fn rooted_at<N: UserNs>(kuid: Kuid, ns: N) -> Option<N> {
    path_to_initial(ns).find(|n| n.uid(kuid) == Some(Uid::ROOT))
}

/// U: the nearest strict ancestor of `ns` that has the root kuid `kuid`, if there is one.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let inner = container.below(150_000, 1000);
/// let root = Kuid::new(100_000).unwrap();
/// assert_eq!(root_of_ancestor(root, &inner), Some(&container));
/// assert_eq!(root_of_ancestor(root, &container), None);
/// ```
pub fn root_of_ancestor<N: UserNs>(kuid: Kuid, ns: N) -> Option<N> {
    rooted_at(kuid, ns.parent()?)
}
