// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parts that the wire formats share: little-endian words, and one record of an entry
//! (SPEC F, offsets 8 + 24 i).

use crate::cap::{CapSet, FileCaps};
use crate::chunks::chunks;

/// `VFS_CAP_FLAGS_EFFECTIVE`, and bit 0 of an entry's flags.
pub(crate) const EFFECTIVE: u32 = 1;

/// Why bytes are not a value. The system call's answer is EINVAL to each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Malformed {
    /// No bytes at all.
    Empty,
    /// The length is not the one that the revision or the count asks for.
    Length,
    /// A revision or magic number that is not known.
    Revision,
    /// A flag that is not known.
    Flags,
    /// A count of 0, or above what the format allows.
    Count,
    /// Rootids that do not ascend, or two that are the same.
    Order,
    /// A rootid of -1 where an id is needed.
    Rootid,
}

impl Malformed {
    /// One short sentence without a full stop, for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Malformed::Empty => "the value is empty",
            Malformed::Length => "the length does not fit the revision or count",
            Malformed::Revision => "the revision is unknown",
            Malformed::Flags => "a flag is unknown",
            Malformed::Count => "the count is 0 or too large",
            Malformed::Order => "the rootids do not ascend",
            Malformed::Rootid => "a rootid is -1",
        }
    }
}

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Malformed {}

/// Whether two slices are equal, without the C function that `==` would call: a kernel's object
/// takes nothing from a prebuilt libcore.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b)
}

/// The next little-endian word of `bytes`, which is moved past it.
pub(crate) fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*word))
}

/// Writes a little-endian word at the front of `out`, which is moved past it. Nothing happens
/// where there is no room; the callers give fixed arrays that have it.
pub(crate) fn put_u32(out: &mut &mut [u8], word: u32) {
    let whole = core::mem::take(out);
    if let Some((slot, rest)) = whole.split_first_chunk_mut::<4>() {
        *slot = word.to_le_bytes();
        *out = rest;
    }
}

/// Copies as much of `from` as `to` has room for. The callers give slices of one length;
/// `copy_from_slice` would link a panic path into a kernel where that is not seen by the compiler.
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(slot, byte)| *slot = *byte);
}

/// How long a [`Record`] is.
pub const RECORD_LEN: usize = 24;

/// One entry as the wire formats hold it: rootid, flags, and the four words of the two sets.
///
/// The bytes are kept as they are; reading one never fails. Whether the flags and the rootid are
/// good is checked where a whole value is decoded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(transparent)]
pub struct Record([u8; RECORD_LEN]);

impl Record {
    /// The record of an entry.
    ///
    /// ```
    /// use nscap_core::{CapSet, FileCaps, Record};
    /// let permitted = CapSet::from_bits(1 << 13);
    /// let caps = FileCaps { permitted, effective: true, ..FileCaps::default() };
    /// let record = Record::new(100_000, caps);
    /// assert_eq!((record.rootid(), record.caps()), (100_000, caps));
    /// ```
    #[must_use]
    pub fn new(rootid: u32, caps: FileCaps) -> Record {
        let mut bytes = [0; RECORD_LEN];
        let mut out = bytes.as_mut_slice();
        put_u32(&mut out, rootid);
        put_u32(&mut out, if caps.effective { EFFECTIVE } else { 0 });
        put_u32(&mut out, caps.permitted.low());
        put_u32(&mut out, caps.inheritable.low());
        put_u32(&mut out, caps.permitted.high());
        put_u32(&mut out, caps.inheritable.high());
        Record(bytes)
    }

    /// The record with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; RECORD_LEN]) -> Record {
        Record(bytes)
    }

    /// The bytes as they are stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; RECORD_LEN] {
        &self.0
    }

    /// The rootid field, 0xffffffff for none.
    #[must_use]
    pub fn rootid(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_le_bytes([a, b, c, d])
    }

    /// The flags field; only bit 0 has a meaning.
    #[must_use]
    pub fn flags(&self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = self.0;
        u32::from_le_bytes([a, b, c, d])
    }

    /// The capabilities.
    #[must_use]
    pub fn caps(&self) -> FileCaps {
        let [_, flags, p_low, i_low, p_high, i_high] = self.words();
        FileCaps {
            permitted: CapSet::from_words(p_low, p_high),
            inheritable: CapSet::from_words(i_low, i_high),
            effective: flags & EFFECTIVE != 0,
        }
    }

    fn words(&self) -> [u32; 6] {
        let mut bytes = self.0.as_slice();
        core::array::from_fn(|_| take_u32(&mut bytes).unwrap_or(0))
    }
}

/// The records of `bytes`, whose length must be a multiple of [`RECORD_LEN`].
pub(crate) fn records(bytes: &[u8]) -> Option<&[[u8; RECORD_LEN]]> {
    match chunks::<RECORD_LEN>(bytes) {
        (records, []) => Some(records),
        _ => None,
    }
}

/// Where the record with this rootid is, of records that ascend.
pub(crate) fn position(records: &[[u8; RECORD_LEN]], rootid: u32) -> Option<usize> {
    let key = |bytes: &[u8; RECORD_LEN]| Record::from_bytes(*bytes).rootid();
    let at = records.partition_point(|bytes| key(bytes) < rootid);
    if records.get(at).is_some_and(|bytes| key(bytes) == rootid) { Some(at) } else { None }
}

/// Orders records by their rootid. Combsort, which is small and takes about as long as a merge for
/// the 1,024 records that a file can have; `sort_unstable` would link a panic path into a kernel.
/// Most are in order already: a file holds them so, and the maps of most namespaces keep it.
pub(crate) fn sort_records(records: &mut [[u8; RECORD_LEN]]) {
    let mut gap = records.len();
    let mut again = !records.is_sorted_by_key(|bytes| Record::from_bytes(*bytes).rootid());
    while again {
        gap = (gap.saturating_mul(3) / 4).max(1);
        again = sort_at(records, gap) || gap > 1;
    }
}

/// Puts each two records that are this far apart into order, and says whether any were not.
fn sort_at(records: &mut [[u8; RECORD_LEN]], gap: usize) -> bool {
    let key = |bytes: &[u8; RECORD_LEN]| Record::from_bytes(*bytes).rootid();
    let mut swapped = false;
    for at in 0..records.len().saturating_sub(gap) {
        if let Some((head, [high, ..])) = records.split_at_mut_checked(at.saturating_add(gap)) {
            match head.get_mut(at) {
                Some(low) if key(low) > key(high) => {
                    core::mem::swap(low, high);
                    swapped = true;
                }
                _ => {}
            }
        }
    }
    swapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_order_is_put_into_order() {
        for len in [0, 1, 2, 3, 7, 100, 1024] {
            for factor in [1, 7919, u32::MAX] {
                let mut records: [_; 1024] = core::array::from_fn(|i| {
                    let rootid = u32::try_from(i).unwrap().wrapping_mul(factor) % 2048;
                    *Record::new(rootid, FileCaps::default()).as_bytes()
                });
                let mut expected = records;
                expected[..len].sort_by_key(|bytes| Record::from_bytes(*bytes).rootid());
                sort_records(&mut records[..len]);
                assert!(records == expected, "{len} records, factor {factor}");
            }
        }
    }
}
