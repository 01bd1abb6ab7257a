// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a file's capabilities become when its tree, or the archive that it is in, moves from one id
//! mapping to another. Covers Objects, S and W of SPEC for such a move: a grant never gets wider,
//! unless the caller allows it.
//!
//! A rootid moves as every id does: from disk into the one mapping, and out of the other. So the
//! entry of the one mapping's root becomes the entry of the other's, and a nested namespace's stays
//! a nested namespace's. Two things do not follow from that and are decided here: the host value,
//! and what has no image.

use crate::id::Uid;
use crate::next::Next;
use crate::stored::{HostValue, Stored};
use crate::wire::RECORD_LEN;

/// What to do with an entry whose rootid has no image. It never becomes another root's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Unmapped {
    /// The move is refused.
    #[default]
    Refuse,
    /// It stays as it is, for the same root.
    Keep,
    /// It goes.
    Drop,
}

/// How capabilities move.
#[derive(Clone, Copy, Debug)]
pub struct Shift<F> {
    /// The rootid on disk after the move, for one before: out of the one mapping, into the other.
    /// No two ids may have one image.
    pub image: F,
    /// Whether the mapping that is left has the root of the superblock's owner namespace for its
    /// own root. Then the host value is that root's grant and moves with it; otherwise it is not
    /// the container's and stays what it is.
    pub from_host: bool,
    /// Whether an entry may become a host value, which holds for more than the entry did: in the
    /// owner namespace and everything below.
    pub to_host: bool,
    /// What becomes of an entry that has no image.
    pub unmapped: Unmapped,
}

/// Why a file's capabilities cannot move.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ShiftDenied {
    /// This rootid has no image.
    Unmapped(Uid),
    /// The entry of this rootid would become a host value.
    WouldBeHost(Uid),
    /// Two grants would be for this rootid.
    SameRoot(Uid),
    /// `security.capability` holds bytes that are no value.
    Malformed,
    /// There are more entries than a file can have, or than there is room for.
    TooMany,
}

impl core::fmt::Display for ShiftDenied {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            ShiftDenied::Unmapped(id) => write!(f, "the entry's rootid {id} has no image"),
            ShiftDenied::WouldBeHost(id) => {
                write!(
                    f,
                    "the entry for rootid {id} would become a host value, which holds for more"
                )
            }
            ShiftDenied::SameRoot(id) => write!(f, "two grants would be for rootid {id}"),
            ShiftDenied::Malformed => f.write_str("security.capability holds no value"),
            ShiftDenied::TooMany => f.write_str("there are too many entries"),
        }
    }
}

impl core::error::Error for ShiftDenied {}

/// What a file holds after the move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shifted<'o> {
    /// What it holds.
    pub stored: Stored<'o>,
    /// How many grants went, by [`Unmapped::Drop`].
    pub dropped: usize,
}

/// What becomes of one grant. The host value is the grant of rootid 0 (SPEC, Objects).
///
/// # Errors
/// [`ShiftDenied::Unmapped`] and [`ShiftDenied::WouldBeHost`].
///
/// ```
/// use nscap_core::{Shift, ShiftDenied, Uid, Unmapped, shift_root};
/// let [zero, a, b] = [0, 100_000, 200_000].map(|id| Uid::new(id).unwrap());
/// // From the range of one container to the host's own ids.
/// let image = |id: Uid| id.get().checked_sub(100_000).and_then(Uid::new);
/// let mut how = Shift { image, from_host: false, to_host: false, unmapped: Unmapped::Refuse };
/// assert_eq!(shift_root(a, &how), Err(ShiftDenied::WouldBeHost(a)));
/// assert_eq!(shift_root(zero, &how), Ok(Some(zero)));
/// how.to_host = true;
/// assert_eq!(shift_root(a, &how), Ok(Some(zero)));
/// ```
pub fn shift_root(
    rootid: Uid,
    how: &Shift<impl Fn(Uid) -> Option<Uid>>,
) -> Result<Option<Uid>, ShiftDenied> {
    let is_host = rootid == Uid::ROOT;
    if is_host && !how.from_host {
        return Ok(Some(rootid));
    }
    match ((how.image)(rootid), how.unmapped) {
        (Some(Uid::ROOT), _) if !is_host && !how.to_host => Err(ShiftDenied::WouldBeHost(rootid)),
        (Some(image), _) => Ok(Some(image)),
        (None, Unmapped::Refuse) => Err(ShiftDenied::Unmapped(rootid)),
        (None, Unmapped::Keep) => Ok(Some(rootid)),
        (None, Unmapped::Drop) => Ok(None),
    }
}

/// What a file holds after the move. `out` needs as many slots as the file has grants.
///
/// # Errors
/// [`ShiftDenied`], for the first grant that cannot move; nothing moves then.
///
/// ```
/// use nscap_core::{FileCaps, MAX_ENTRIES, RECORD_LEN, Shift, Stored, Uid, Unmapped, shift};
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// // A tree that was unpacked as the host's moves to a container.
/// let image = |id: Uid| (id.get() < 65_536).then(|| Uid::new(100_000 + id.get())).flatten();
/// let how = Shift { image, from_host: true, to_host: false, unmapped: Unmapped::Refuse };
/// let mut out = [[0; RECORD_LEN]; MAX_ENTRIES];
/// let moved = shift(&Stored::host(ping), &how, &mut out).unwrap();
/// assert_eq!(moved.stored, Stored::one(Uid::new(100_000).unwrap(), ping));
/// ```
pub fn shift<'o>(
    stored: &Stored<'_>,
    how: &Shift<impl Fn(Uid) -> Option<Uid>>,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Result<Shifted<'o>, ShiftDenied> {
    let host = match stored.host {
        HostValue::Present(caps) => Some((Uid::ROOT, caps)),
        HostValue::Absent => None,
        HostValue::Malformed => return Err(ShiftDenied::Malformed),
    };
    let mut next = Next::empty(out);
    let mut dropped = 0usize;
    let mut put = |(rootid, caps)| {
        let Some(image) = shift_root(rootid, how)? else {
            dropped = dropped.saturating_add(1);
            return Ok(());
        };
        if next.holds(image) {
            return Err(ShiftDenied::SameRoot(image));
        }
        next.put(image, caps).map_err(|_| ShiftDenied::TooMany)
    };
    if let Some(host) = host {
        put(host)?;
    }
    for entry in stored.entries.iter() {
        put(entry)?;
    }
    Ok(Shifted { stored: next.into_stored().ok_or(ShiftDenied::TooMany)?, dropped })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileCaps, Record};

    fn id(id: u32) -> Uid {
        Uid::new(id).unwrap()
    }

    fn caps(bits: u64) -> FileCaps {
        FileCaps { permitted: crate::CapSet::from_bits(bits), ..FileCaps::default() }
    }

    /// From 100000:1000 to 300000:1000.
    fn range(uid: Uid) -> Option<Uid> {
        let offset = uid.get().checked_sub(100_000).filter(|offset| *offset < 1000)?;
        Uid::new(300_000 + offset)
    }

    fn how(unmapped: Unmapped) -> Shift<fn(Uid) -> Option<Uid>> {
        Shift { image: range, from_host: false, to_host: false, unmapped }
    }

    fn many(records: &[[u8; RECORD_LEN]]) -> Stored<'_> {
        Stored {
            host: HostValue::Present(caps(1)),
            entries: crate::Entries::decode(records).unwrap(),
        }
    }

    #[test]
    fn the_roots_entry_becomes_the_roots_and_a_nested_ones_stays_nested() {
        let records = [100_000, 100_500].map(|root| *Record::new(root, caps(2)).as_bytes());
        let mut out = [[0; RECORD_LEN]; 4];
        let moved = shift(&many(&records), &how(Unmapped::Refuse), &mut out).unwrap();
        let expected = [300_000, 300_500].map(|root| *Record::new(root, caps(2)).as_bytes());
        assert_eq!((moved.stored, moved.dropped), (many(&expected), 0));
    }

    #[test]
    fn what_has_no_image_is_refused_kept_or_dropped_and_never_given_away() {
        let stored = Stored::one(id(5000), caps(2));
        let mut out = [[0; RECORD_LEN]; 4];
        let refused = shift(&stored, &how(Unmapped::Refuse), &mut out);
        assert_eq!(refused, Err(ShiftDenied::Unmapped(id(5000))));
        assert_eq!(shift(&stored, &how(Unmapped::Keep), &mut out).unwrap().stored, stored);
        let dropped = Shifted { stored: Stored::EMPTY, dropped: 1 };
        assert_eq!(shift(&stored, &how(Unmapped::Drop), &mut out), Ok(dropped));
    }

    #[test]
    fn two_grants_never_become_one() {
        let records = [100_000, 300_000].map(|root| *Record::new(root, caps(2)).as_bytes());
        let mut out = [[0; RECORD_LEN]; 4];
        let moved = shift(&many(&records), &how(Unmapped::Keep), &mut out);
        assert_eq!(moved, Err(ShiftDenied::SameRoot(id(300_000))));
        // The host value of the host's own tree, beside the entry of the container it moves to.
        let from_host = Shift {
            image: |uid: Uid| (uid == Uid::ROOT).then(|| id(300_000)),
            from_host: true,
            to_host: false,
            unmapped: Unmapped::Keep,
        };
        let records = [*Record::new(300_000, caps(2)).as_bytes()];
        let moved = shift(&many(&records), &from_host, &mut out);
        assert_eq!(moved, Err(ShiftDenied::SameRoot(id(300_000))));
    }

    #[test]
    fn an_entry_becomes_a_host_value_only_by_permission_and_only_where_there_is_none() {
        let to_host = |to_host| Shift {
            image: |uid: Uid| (uid.get() == 100_000).then_some(Uid::ROOT),
            from_host: false,
            to_host,
            unmapped: Unmapped::Refuse,
        };
        let entry = Stored::one(id(100_000), caps(2));
        let mut out = [[0; RECORD_LEN]; 4];
        let refused = shift(&entry, &to_host(false), &mut out);
        assert_eq!(refused, Err(ShiftDenied::WouldBeHost(id(100_000))));
        let moved = shift(&entry, &to_host(true), &mut out).unwrap();
        assert_eq!(moved.stored, Stored::host(caps(2)));
        let records = [*Record::new(100_000, caps(2)).as_bytes()];
        let moved = shift(&many(&records), &to_host(true), &mut out);
        assert_eq!(moved, Err(ShiftDenied::SameRoot(Uid::ROOT)));
    }

    #[test]
    fn what_cannot_be_read_or_held_is_an_error() {
        let malformed = Stored { host: HostValue::Malformed, ..Stored::EMPTY };
        let moved = shift(&malformed, &how(Unmapped::Drop), &mut []);
        assert_eq!(moved, Err(ShiftDenied::Malformed));
        let moved = shift(&Stored::one(id(100_000), caps(1)), &how(Unmapped::Drop), &mut []);
        assert_eq!(moved, Err(ShiftDenied::TooMany));
    }
}
