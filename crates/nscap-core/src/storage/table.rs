// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bytes of a sealed table: SPEC's Storage, docs/formats.md.

use super::{SealFacts, VoidReason};
use crate::chunks::chunks_mut;
use crate::nscaps::MAX_ENTRIES;
use crate::stored::Entries;
use crate::wire::{Malformed, RECORD_LEN, copy, put_u32, records, same, take_u32};

const TABLE_MAGIC: u32 = u32::from_le_bytes(*b"nSC1");
const HEADER_LEN: usize = 56;
const COMPANION_MAX: usize = 24;

/// One sealed table, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table<'a> {
    companion: &'a [u8],
    facts: SealFacts,
    pub(super) entries: Entries<'a>,
}

impl<'a> Table<'a> {
    /// Decodes the table at the front of `bytes`, which is moved past it.
    ///
    /// # Errors
    /// [`Malformed`]; `bytes` is left as it was.
    ///
    /// ```
    /// use nscap_core::{Entries, FileCaps, Uid};
    /// use nscap_core::storage::{SealFacts, Table};
    /// let entries = Entries::one(Uid::new(100_000).unwrap(), FileCaps::default());
    /// let facts = SealFacts { size: 10, uid: 0, gid: 0 };
    /// let mut bytes = [0; Table::encoded_len(1)];
    /// assert_eq!(Table::encode(&entries, b"companion", facts, &mut bytes), Some(80));
    /// let mut rest = bytes.as_slice();
    /// assert!(Table::take(&mut rest).is_ok() && rest.is_empty());
    /// ```
    pub fn take(bytes: &mut &'a [u8]) -> Result<Table<'a>, Malformed> {
        if bytes.is_empty() {
            return Err(Malformed::Empty);
        }
        let (mut head, rest) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .map_or(Err(Malformed::Length), |(head, rest)| Ok((head.as_slice(), rest)))?;
        let word = |head: &mut &'a [u8]| take_u32(head).ok_or(Malformed::Length);
        if word(&mut head)? != TABLE_MAGIC {
            return Err(Malformed::Revision);
        }
        let companion_len = word(&mut head)?;
        let (companion, mut head) =
            head.split_at_checked(COMPANION_MAX).ok_or(Malformed::Length)?;
        let companion = trim(companion, companion_len).ok_or(Malformed::Length)?;
        let size = u64::from(word(&mut head)?) | u64::from(word(&mut head)?) << 32;
        let facts = SealFacts { size, uid: word(&mut head)?, gid: word(&mut head)? };
        let count = usize::try_from(word(&mut head)?).map_err(|_| Malformed::Count)?;
        if word(&mut head)? != 0 {
            return Err(Malformed::Flags);
        }
        if count == 0 || count > MAX_ENTRIES {
            return Err(Malformed::Count);
        }
        let (body, after) =
            rest.split_at_checked(count.saturating_mul(RECORD_LEN)).ok_or(Malformed::Length)?;
        let records = records(body).ok_or(Malformed::Length)?;
        let entries = Entries::decode(records)?;
        *bytes = after;
        Ok(Table { companion, facts, entries })
    }

    pub(super) fn check(&self, companion: &[u8], facts: SealFacts) -> Result<(), VoidReason> {
        if !same(self.companion, companion) {
            Err(VoidReason::CompanionDiffers)
        } else if self.facts.size != facts.size {
            Err(VoidReason::SizeDiffers)
        } else if self.facts != facts {
            Err(VoidReason::OwnerDiffers)
        } else {
            Ok(())
        }
    }

    /// How long a table of `count` entries is, in bytes.
    #[must_use]
    pub const fn encoded_len(count: usize) -> usize {
        HEADER_LEN.saturating_add(RECORD_LEN.saturating_mul(count))
    }

    /// Writes a table to the front of `out` and gives its length in bytes. `None` where `out` is
    /// shorter than [`encoded_len`](Table::encoded_len), the companion longer than 24 bytes, or
    /// there is no entry or more than 1,024.
    ///
    /// ```
    /// use nscap_core::Entries;
    /// use nscap_core::storage::{SealFacts, Table};
    /// let facts = SealFacts { size: 10, uid: 0, gid: 0 };
    /// // A table of no entry is none.
    /// assert_eq!(Table::encode(&Entries::NONE, &[], facts, &mut [0; 100]), None);
    /// ```
    pub fn encode(
        entries: &Entries<'_>,
        companion: &[u8],
        facts: SealFacts,
        out: &mut [u8],
    ) -> Option<usize> {
        let records = entries.as_records();
        if records.is_empty() || records.len() > MAX_ENTRIES {
            return None;
        }
        let (header, body) = out.split_first_chunk_mut::<HEADER_LEN>()?;
        let mut head = header.as_mut_slice();
        put_u32(&mut head, TABLE_MAGIC);
        put_u32(&mut head, u32::try_from(companion.len()).ok()?);
        let (slot, mut head) = head.split_at_mut_checked(COMPANION_MAX)?;
        slot.fill(0);
        copy(slot.get_mut(..companion.len())?, companion);
        put_u32(&mut head, facts.size as u32);
        put_u32(&mut head, (facts.size >> 32) as u32);
        put_u32(&mut head, facts.uid);
        put_u32(&mut head, facts.gid);
        put_u32(&mut head, u32::try_from(records.len()).ok()?);
        put_u32(&mut head, 0);
        let (slots, _) = chunks_mut::<RECORD_LEN>(body);
        let slots = slots.get_mut(..records.len())?;
        slots.iter_mut().zip(records).for_each(|(slot, record)| *slot = *record);
        Some(Table::encoded_len(records.len()))
    }
}

/// The first `len` bytes, if the rest is zeros.
fn trim(bytes: &[u8], len: u32) -> Option<&[u8]> {
    let (bytes, padding) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
    padding.iter().all(|b| *b == 0).then_some(bytes)
}
