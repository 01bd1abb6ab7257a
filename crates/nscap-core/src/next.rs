// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a file holds next, built record by record in a buffer of the caller's.

use crate::cap::FileCaps;
use crate::decision::{Decision, Denied, Errno, Why};
use crate::id::Uid;
use crate::nscaps::MAX_ENTRIES;
use crate::stored::{Entries, HostValue, Stored};
use crate::wire::{RECORD_LEN, Record, position, sort_records};

/// What the file holds next, under construction.
pub(crate) struct Next<'o> {
    pub(crate) host: HostValue,
    slots: &'o mut [[u8; RECORD_LEN]],
    used: usize,
    /// How many are those that the file holds now, in their order.
    held: usize,
}

impl<'o> Next<'o> {
    /// Starts from what the file holds now.
    pub(crate) fn of(
        stored: &Stored<'_>,
        out: &'o mut [[u8; RECORD_LEN]],
    ) -> Result<Next<'o>, Denied> {
        let mut next = Next { host: stored.host, slots: out, used: 0, held: stored.entries.len() };
        for record in stored.entries.as_records() {
            next.push(*record)?;
        }
        Ok(next)
    }

    /// Starts from nothing.
    pub(crate) fn empty(out: &'o mut [[u8; RECORD_LEN]]) -> Next<'o> {
        Next { host: HostValue::Absent, slots: out, used: 0, held: 0 }
    }

    /// Adds an entry; rootid 0 is the host value (SPEC, Objects).
    pub(crate) fn put(&mut self, rootid: Uid, caps: FileCaps) -> Result<(), Denied> {
        if rootid == Uid::ROOT {
            self.host = HostValue::Present(caps);
            return Ok(());
        }
        self.push(*Record::new(rootid.get(), caps).as_bytes())
    }

    /// Puts an entry in the place of the one with its rootid.
    pub(crate) fn replace(&mut self, rootid: Uid, caps: FileCaps) -> Result<(), Denied> {
        let held = self.slots.get(..self.held).unwrap_or_default();
        let at = position(held, rootid.get());
        match at.and_then(|at| self.slots.get_mut(at)) {
            Some(slot) => {
                *slot = *Record::new(rootid.get(), caps).as_bytes();
                Ok(())
            }
            None => self.put(rootid, caps),
        }
    }

    fn push(&mut self, record: [u8; RECORD_LEN]) -> Result<(), Denied> {
        if self.used >= MAX_ENTRIES {
            return Err(Denied::new(Errno::ENOSPC, Why::TooManyEntries));
        }
        let slot = self.slots.get_mut(self.used).ok_or(Denied::new(Errno::ENOSPC, Why::NoRoom))?;
        *slot = record;
        self.used = self.used.saturating_add(1);
        Ok(())
    }

    /// Whether there is a grant for this rootid already.
    pub(crate) fn holds(&self, rootid: Uid) -> bool {
        if rootid == Uid::ROOT {
            return self.host != HostValue::Absent;
        }
        let used = self.slots.iter().take(self.used);
        used.into_iter().any(|bytes| Record::from_bytes(*bytes).rootid() == rootid.get())
    }

    /// What was built; `None` is not met, since no more slots are used than there are.
    pub(crate) fn into_stored(self) -> Option<Stored<'o>> {
        let (used, _) = self.slots.split_at_mut_checked(self.used)?;
        sort_records(used);
        Some(Stored { host: self.host, entries: Entries::sorted(used) })
    }

    pub(crate) fn finish(self, why: Why) -> Result<Decision<Stored<'o>>, Denied> {
        let stored = self.into_stored().ok_or(Denied::new(Errno::ENOSPC, Why::NoRoom))?;
        Ok(Decision::Write(stored, why))
    }
}
