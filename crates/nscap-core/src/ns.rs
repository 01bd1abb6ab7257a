//! User namespaces as the rules see them: one small trait, and what follows from it.
//!
//! Covers R3 (to whom an entry applies), U (roots of ancestors) and the walk that
//! user_namespaces(7) describes. The model, the live system and a kernel each implement
//! [`UserNs`] with a handle that is cheap to copy.

use crate::id::{Gid, Kgid, Kuid, Uid};

/// A user namespace: a handle that is cheap to copy.
///
/// An implementor promises that [`parent`](UserNs::parent) leads to the initial namespace in
/// finitely many steps (the kernel nests at most 33 deep), that [`same`](UserNs::same) is
/// identity of the kernel's object (inode numbers are reused and are not identity), and that the
/// answers do not change: a map is written once.
pub trait UserNs: Copy {
    /// Whether two handles stand for the same namespace.
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

/// The root kuid of a namespace: `make_kuid(ns, 0)`. A namespace that maps no uid 0 has none.
pub fn root_kuid<N: UserNs>(ns: N) -> Option<Kuid> {
    ns.kuid(Uid::ROOT)
}

/// The namespace itself and then each ancestor, nearest first, ending with the initial one.
pub fn path_to_initial<N: UserNs>(ns: N) -> impl Iterator<Item = N> {
    core::iter::successors(Some(ns), |ns| ns.parent())
}

/// Whether `ns` is `ancestor` or below it (`in_userns` in the kernel).
pub fn is_same_or_below<N: UserNs>(ns: N, ancestor: N) -> bool {
    path_to_initial(ns).any(|n| n.same(ancestor))
}

/// R3: the nearest namespace on the path from `ns` to the initial one whose root `kuid` is;
/// `None` where an entry for that kuid does not apply to a task in `ns`.
pub fn rooted_at<N: UserNs>(kuid: Kuid, ns: N) -> Option<N> {
    path_to_initial(ns).find(|n| n.uid(kuid) == Some(Uid::ROOT))
}

/// U: the nearest strict ancestor of `ns` whose root `kuid` is, if there is one.
pub fn root_of_ancestor<N: UserNs>(kuid: Kuid, ns: N) -> Option<N> {
    rooted_at(kuid, ns.parent()?)
}
