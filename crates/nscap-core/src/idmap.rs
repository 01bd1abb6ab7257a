// SPDX-License-Identifier: MIT OR Apache-2.0
//! Id maps of user namespaces: up to 340 extents, looked up by binary search.
//!
//! user_namespaces(7), "User and group ID mappings". A map says for ranges of ids inside a
//! namespace which ids they are outside. The kernel keeps the outside in terms of the initial
//! namespace once the map is written, and so do we: an [`Extent`]'s `outside` is a kuid (or kgid).
//! Storage belongs to the caller: [`IdMap`] sorts two borrowed arrays once and then only reads.

use crate::id::{Gid, Kgid, Kuid, Uid};

/// The largest number of extents that the kernel takes for one map
/// (`UID_GID_MAP_MAX_EXTENTS` since Linux 4.15).
pub const MAX_EXTENTS: usize = 340;

/// `count` consecutive ids: `inside`, `inside + 1`, ... in the namespace are `outside`,
/// `outside + 1`, ... outside it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Extent {
    /// First id as the namespace sees it.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many ids, at least 1.
    pub count: u32,
}

impl Extent {
    /// The last id on the inside, or `None` where the extent is empty or would contain
    /// 0xffffffff, which the kernel refuses with EINVAL.
    fn last(first: u32, count: u32) -> Option<u32> {
        let last = first.checked_add(count.checked_sub(1)?)?;
        if last == u32::MAX { None } else { Some(last) }
    }

    /// Where `id` lies if this extent starts at `from` on the one side and `to` on the other.
    fn shift(id: u32, from: u32, to: u32, count: u32) -> Option<u32> {
        let offset = id.checked_sub(from)?;
        if offset < count { to.checked_add(offset) } else { None }
    }
}

/// Why a list of extents is not a map. The kernel says EINVAL to each of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// More than [`MAX_EXTENTS`] extents, or the two arrays differ in length.
    TooMany,
    /// An extent of no ids, or one that reaches 0xffffffff.
    BadExtent,
    /// Two extents share an id, inside or outside.
    Overlap,
}

impl core::fmt::Display for MapError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            MapError::TooMany => "more than 340 extents",
            MapError::BadExtent => "an extent is empty or reaches past the last id",
            MapError::Overlap => "two extents overlap",
        })
    }
}

impl core::error::Error for MapError {}

/// An id map, in both directions, over storage that the caller owns.
///
/// ```
/// use nscap_core::{Extent, IdMap};
/// let mut down = [
///     Extent { inside: 0, outside: 100_000, count: 1000 },
///     Extent { inside: 1000, outside: 1000, count: 1 },
/// ];
/// let mut up = down;
/// let map = IdMap::new(&mut down, &mut up).unwrap();
/// assert_eq!(map.outside(5), Some(100_005));
/// assert_eq!(map.inside(1000), Some(1000));
/// assert_eq!(map.inside(0), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IdMap<'a> {
    by_inside: &'a [Extent],
    by_outside: &'a [Extent],
}

impl<'a> IdMap<'a> {
    /// A map from two copies of the same extents, which this sorts in place.
    ///
    /// # Errors
    /// [`MapError`] where the kernel would refuse the map with EINVAL. (It also refuses an empty
    /// map; here that is a map of nothing, which a namespace has before its map is written.)
    ///
    /// ```
    /// use nscap_core::{Extent, IdMap, MapError};
    /// let extent = Extent { inside: 0, outside: 100_000, count: 65_536 };
    /// let (mut one, mut other) = ([extent], [extent]);
    /// let map = IdMap::new(&mut one, &mut other).unwrap();
    /// assert_eq!(map.outside(7), Some(100_007));
    /// assert_eq!(map.inside(99_999), None);
    /// let (mut one, mut other) = ([extent, extent], [extent, extent]);
    /// assert_eq!(IdMap::new(&mut one, &mut other).err(), Some(MapError::Overlap));
    /// ```
    pub fn new(
        by_inside: &'a mut [Extent],
        by_outside: &'a mut [Extent],
    ) -> Result<IdMap<'a>, MapError> {
        if by_inside.len() > MAX_EXTENTS || by_inside.len() != by_outside.len() {
            return Err(MapError::TooMany);
        }
        sort_by(by_inside, |e| e.inside);
        sort_by(by_outside, |e| e.outside);
        check_disjoint(by_inside, |e| e.inside)?;
        check_disjoint(by_outside, |e| e.outside)?;
        Ok(IdMap { by_inside, by_outside })
    }

    /// A map from two slices of the same extents, which [`new`](IdMap::new) sorted once:
    /// `by_inside` ascends by inside id, `by_outside` by outside id. With another order the map
    /// gives wrong answers, and does not panic.
    #[must_use]
    pub const fn from_sorted(by_inside: &'a [Extent], by_outside: &'a [Extent]) -> IdMap<'a> {
        IdMap { by_inside, by_outside }
    }

    /// The id outside for an id inside (`make_kuid`), or `None` where it has no mapping.
    #[must_use]
    pub fn outside(&self, inside: u32) -> Option<u32> {
        let e = last_at_or_below(self.by_inside, inside, |e| e.inside)?;
        Extent::shift(inside, e.inside, e.outside, e.count)
    }

    /// The id inside for an id outside (`from_kuid`), or `None` where it has no mapping.
    #[must_use]
    pub fn inside(&self, outside: u32) -> Option<u32> {
        let e = last_at_or_below(self.by_outside, outside, |e| e.outside)?;
        Extent::shift(outside, e.outside, e.inside, e.count)
    }

    /// `make_kuid`, where this is a namespace's map of uids.
    ///
    /// ```
    /// use nscap_core::{Extent, IdMap, Kuid, Uid};
    /// let extents = [Extent { inside: 0, outside: 100_000, count: 65_536 }];
    /// let map = IdMap::from_sorted(&extents, &extents);
    /// assert_eq!(map.kuid(Uid::ROOT), Kuid::new(100_000));
    /// assert_eq!(map.uid(Kuid::ROOT), None);
    /// ```
    #[must_use]
    pub fn kuid(&self, uid: Uid) -> Option<Kuid> {
        self.outside(uid.get()).and_then(Kuid::new)
    }

    /// `from_kuid`, where this is a namespace's map of uids.
    #[must_use]
    pub fn uid(&self, kuid: Kuid) -> Option<Uid> {
        self.inside(kuid.get()).and_then(Uid::new)
    }

    /// `make_kgid`, where this is a namespace's map of gids.
    #[must_use]
    pub fn kgid(&self, gid: Gid) -> Option<Kgid> {
        self.outside(gid.get()).and_then(Kgid::new)
    }

    /// `from_kgid`, where this is a namespace's map of gids.
    #[must_use]
    pub fn gid(&self, kgid: Kgid) -> Option<Gid> {
        self.inside(kgid.get()).and_then(Gid::new)
    }

    /// The extents, ascending by their inside id.
    #[must_use]
    pub fn extents(&self) -> &'a [Extent] {
        self.by_inside
    }
}

/// Insertion sort: maps come nearly sorted, and `sort_unstable` would link a panic path.
fn sort_by(extents: &mut [Extent], key: impl Fn(&Extent) -> u32) {
    let mut sorted = 0usize;
    while let Some((head, [next, ..])) = extents.split_at_mut_checked(sorted) {
        let mut moving = *next;
        for slot in head.iter_mut() {
            if key(&moving) < key(slot) {
                core::mem::swap(slot, &mut moving);
            }
        }
        *next = moving;
        sorted = sorted.saturating_add(1);
    }
}

fn check_disjoint(sorted: &[Extent], key: impl Fn(&Extent) -> u32) -> Result<(), MapError> {
    let mut previous = None;
    for e in sorted {
        if Extent::last(e.inside, e.count).is_none() {
            return Err(MapError::BadExtent);
        }
        let Some(last) = Extent::last(key(e), e.count) else {
            return Err(MapError::BadExtent);
        };
        if previous.is_some_and(|p| key(e) <= p) {
            return Err(MapError::Overlap);
        }
        previous = Some(last);
    }
    Ok(())
}

/// Binary search for the last extent whose key is at most `id`.
fn last_at_or_below(sorted: &[Extent], id: u32, key: impl Fn(&Extent) -> u32) -> Option<&Extent> {
    let at = sorted.partition_point(|e| key(e) <= id);
    sorted.get(at.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map<'a>(
        extents: &[(u32, u32, u32)],
        down: &'a mut [Extent; 8],
        up: &'a mut [Extent; 8],
    ) -> Result<IdMap<'a>, MapError> {
        let n = extents.len();
        for (slot, &(inside, outside, count)) in down.iter_mut().zip(extents) {
            *slot = Extent { inside, outside, count };
        }
        *up = *down;
        let (d, _) = down.split_at_mut(n);
        let (u, _) = up.split_at_mut(n);
        IdMap::new(d, u)
    }

    #[test]
    fn looks_up_in_both_directions_whatever_the_order_given() {
        let (mut d, mut u) = ([Extent::default(); 8], [Extent::default(); 8]);
        let m = map(&[(1000, 5, 1), (0, 100_000, 1000), (2000, 0, 5)], &mut d, &mut u).unwrap();
        assert_eq!(m.outside(0), Some(100_000));
        assert_eq!(m.outside(999), Some(100_999));
        assert_eq!(m.outside(1000), Some(5));
        assert_eq!(m.outside(1001), None);
        assert_eq!(m.inside(4), Some(2004));
        assert_eq!(m.inside(5), Some(1000));
        assert_eq!(m.inside(6), None);
        assert_eq!(m.outside(u32::MAX), None);
    }

    #[test]
    fn refuses_what_the_kernel_refuses() {
        let (mut d, mut u) = ([Extent::default(); 8], [Extent::default(); 8]);
        assert_eq!(map(&[(0, 0, 0)], &mut d, &mut u), Err(MapError::BadExtent));
        assert_eq!(map(&[(0, 1, u32::MAX)], &mut d, &mut u), Err(MapError::BadExtent));
        assert_eq!(map(&[(0, 0, 5), (4, 100, 1)], &mut d, &mut u), Err(MapError::Overlap));
        assert_eq!(map(&[(0, 0, 5), (10, 4, 1)], &mut d, &mut u), Err(MapError::Overlap));
    }

    #[test]
    fn the_largest_map_of_the_kernel_is_taken() {
        let mut down = [Extent::default(); MAX_EXTENTS];
        for (n, e) in (0u32..).zip(down.iter_mut()) {
            *e = Extent { inside: 700 - 2 * n, outside: 10_000 + 3 * n, count: 1 };
        }
        let mut up = down;
        let m = IdMap::new(&mut down, &mut up).unwrap();
        for n in 0..340 {
            assert_eq!(m.outside(700 - 2 * n), Some(10_000 + 3 * n));
            assert_eq!(m.inside(10_000 + 3 * n), Some(700 - 2 * n));
        }
    }

    #[test]
    fn the_whole_range_but_minus_one_is_a_map() {
        let (mut d, mut u) = ([Extent::default(); 8], [Extent::default(); 8]);
        let m = map(&[(0, 0, u32::MAX)], &mut d, &mut u).unwrap();
        assert_eq!(m.outside(u32::MAX - 1), Some(u32::MAX - 1));
        assert_eq!(m.outside(u32::MAX), None);
    }
}
