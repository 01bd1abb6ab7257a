// SPDX-License-Identifier: MIT OR Apache-2.0
//! `security.nscapability` (SPEC F): a count and a list of entries, read without allocation.

use crate::chunks::chunks_mut;
use crate::wire::{
    EFFECTIVE, Malformed, RECORD_LEN, Record, put_u32, records, sort_records, take_u32,
};

const MAGIC: u32 = 0x0100_0000;
pub(crate) const HEADER_LEN: usize = 8;

/// The largest number of entries on one file (SPEC A).
pub const MAX_ENTRIES: usize = 1024;

/// A decoded value of `security.nscapability`.
///
/// ```
/// use nscap_core::{FileCaps, NsCaps, Record};
/// let mut bytes = [0; NsCaps::encoded_len(1)];
/// let len = NsCaps::encode([Record::new(0, FileCaps::default())], &mut bytes).unwrap();
/// let value = NsCaps::decode(&bytes[..len]).unwrap();
/// assert_eq!(value.iter().map(|record| record.rootid()).collect::<Vec<_>>(), [0]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NsCaps<'a> {
    records: &'a [[u8; RECORD_LEN]],
}

impl<'a> NsCaps<'a> {
    /// Decodes a value that may be written: rootids ascend, none twice, none -1.
    ///
    /// # Errors
    /// [`Malformed`]; setxattr(2) answers EINVAL.
    ///
    /// ```
    /// use nscap_core::{FileCaps, Malformed, NsCaps, Record};
    /// let mut value = [0; NsCaps::encoded_len(1)];
    /// NsCaps::encode([Record::new(100_000, FileCaps::default())], &mut value).unwrap();
    /// assert_eq!(NsCaps::decode(&value).unwrap().len(), 1);
    /// assert_eq!(NsCaps::decode(&value[..31]), Err(Malformed::Length));
    /// ```
    pub fn decode(value: &'a [u8]) -> Result<NsCaps<'a>, Malformed> {
        let caps = NsCaps::decode_shown(value)?;
        if caps.iter().any(|r| r.rootid() == u32::MAX) {
            return Err(Malformed::Rootid);
        }
        Ok(caps)
    }

    /// Decodes a value as R6 shows it: as [`decode`](NsCaps::decode), but rootids that have no
    /// mapping for the reader are -1, any number of them, at the end.
    ///
    /// # Errors
    /// [`Malformed`].
    ///
    /// ```
    /// use nscap_core::{FileCaps, NsCaps, Record};
    /// let mut value = [0; NsCaps::encoded_len(1)];
    /// NsCaps::encode([Record::new(u32::MAX, FileCaps::default())], &mut value).unwrap();
    /// assert!(NsCaps::decode(&value).is_err() && NsCaps::decode_shown(&value).is_ok());
    /// ```
    pub fn decode_shown(value: &'a [u8]) -> Result<NsCaps<'a>, Malformed> {
        if value.is_empty() {
            return Err(Malformed::Empty);
        }
        let mut rest = value;
        let magic = take_u32(&mut rest).ok_or(Malformed::Length)?;
        if magic & 0xff00_0000 != MAGIC {
            return Err(Malformed::Revision);
        }
        if magic != MAGIC {
            return Err(Malformed::Flags);
        }
        let count = take_u32(&mut rest).ok_or(Malformed::Length)?;
        if count == 0 {
            return Err(Malformed::Count);
        }
        let records = records(rest).ok_or(Malformed::Length)?;
        if u32::try_from(records.len()) != Ok(count) {
            return Err(Malformed::Length);
        }
        check_records(records)?;
        Ok(NsCaps { records })
    }

    /// How many entries, at least 1. More than [`MAX_ENTRIES`] can be decoded; writing them is
    /// ENOSPC, not EINVAL (SPEC A).
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Always false: a value has at least one entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) fn as_records(&self) -> &'a [[u8; RECORD_LEN]] {
        self.records
    }

    /// The entries, ascending by rootid.
    pub fn iter(&self) -> impl Iterator<Item = Record> + Clone + 'a {
        self.records.iter().copied().map(Record::from_bytes)
    }

    /// The length of a value with `count` entries.
    #[must_use]
    pub const fn encoded_len(count: usize) -> usize {
        HEADER_LEN.saturating_add(RECORD_LEN.saturating_mul(count))
    }

    /// Writes a value to the front of `out`, sorted by rootid, and gives its length in bytes.
    /// `None` where `out` is shorter than [`encoded_len`](NsCaps::encoded_len) or there is no
    /// record.
    ///
    /// ```
    /// use nscap_core::{FileCaps, NsCaps, Record};
    /// let entries = [2, 1].map(|rootid| Record::new(rootid, FileCaps::default()));
    /// let mut value = [0; NsCaps::encoded_len(2)];
    /// assert_eq!(NsCaps::encode(entries, &mut value), Some(56));
    /// // They are put into order.
    /// assert_eq!(NsCaps::decode(&value).unwrap().iter().next().unwrap().rootid(), 1);
    /// ```
    pub fn encode(entries: impl IntoIterator<Item = Record>, out: &mut [u8]) -> Option<usize> {
        let (header, body) = out.split_first_chunk_mut::<HEADER_LEN>()?;
        let (slots, _) = chunks_mut::<RECORD_LEN>(body);
        let count = fill(entries, slots)?;
        let filled = slots.get_mut(..count)?;
        sort_records(filled);
        put_header(header, count)?;
        if count == 0 { None } else { Some(NsCaps::encoded_len(count)) }
    }
}

/// What a value of so many entries begins with; `None` where the field cannot say it.
pub(crate) fn put_header(mut header: &mut [u8], count: usize) -> Option<()> {
    let count = u32::try_from(count).ok()?;
    put_u32(&mut header, MAGIC);
    put_u32(&mut header, count);
    Some(())
}

/// Puts the entries into the slots, in the order given, and gives how many there were; `None`
/// where there are more than slots.
pub(crate) fn fill(
    entries: impl IntoIterator<Item = Record>,
    slots: &mut [[u8; RECORD_LEN]],
) -> Option<usize> {
    let mut count = 0usize;
    let mut slots = slots.iter_mut();
    for record in entries {
        *slots.next()? = *record.as_bytes();
        count = count.saturating_add(1);
    }
    Some(count)
}

/// Flags known, rootids ascending, no duplicate but -1.
pub(crate) fn check_records(records: &[[u8; RECORD_LEN]]) -> Result<(), Malformed> {
    let mut previous = None;
    for record in records.iter().copied().map(Record::from_bytes) {
        if record.flags() & !EFFECTIVE != 0 {
            return Err(Malformed::Flags);
        }
        let rootid = record.rootid();
        if previous.is_some_and(|p| rootid <= p && rootid != u32::MAX) {
            return Err(Malformed::Order);
        }
        previous = Some(rootid);
    }
    Ok(())
}
