// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parts that the wire formats share: little-endian words, and one record of an entry
//! (SPEC F, offsets 8 + 24 i).

use crate::cap::{CapSet, FileCaps};

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
    /// let caps = FileCaps { permitted: CapSet::from_bits(1 << 13), effective: true, ..FileCaps::default() };
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
        self.words()[0]
    }

    /// The flags field; only bit 0 has a meaning.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.words()[1]
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
    match bytes.as_chunks::<RECORD_LEN>() {
        (records, []) => Some(records),
        _ => None,
    }
}

/// Orders records by their rootid. Insertion sort: the input is short and nearly sorted, and
/// `sort_unstable` would link a panic path into a kernel.
pub(crate) fn sort_records(records: &mut [[u8; RECORD_LEN]]) {
    let key = |bytes: &[u8; RECORD_LEN]| Record::from_bytes(*bytes).rootid();
    let mut sorted = 0usize;
    while let Some((head, [next, ..])) = records.split_at_mut_checked(sorted) {
        let at = head.partition_point(|r| key(r) <= key(next));
        if let Some((_, tail)) = head.split_at_mut_checked(at) {
            for slot in tail {
                core::mem::swap(slot, next);
            }
        }
        sorted = sorted.saturating_add(1);
    }
}
