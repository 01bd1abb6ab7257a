// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a file holds, whatever way it is written down: at most one host value, and entries.
//! Covers SPEC's Objects, and M's way of showing a host value through an id-mapped mount or to a
//! caller outside the superblock's owner namespace.

use crate::cap::FileCaps;
use crate::id::{Kuid, Uid};
use crate::inode_view::InodeView;
use crate::next::Next;
use crate::ns::{UserNs, is_same_or_below, path_to_initial, root_kuid};
use crate::nscaps::{MAX_ENTRIES, check_records};
use crate::wire::{Malformed, RECORD_LEN, Record, position};

/// The host value of a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum HostValue {
    /// There is none.
    #[default]
    Absent,
    /// This one.
    Present(FileCaps),
    /// `security.capability` holds bytes that are no value: exec fails with EINVAL, and so does
    /// reading; writing and removing treat it as a host value.
    Malformed,
}

/// The entries of a file, ascending by stored rootid, no duplicates, never rootid 0 (which would
/// be the host value). Rootids are in the superblock's owner namespace's terms.
#[derive(Clone, Copy, Debug)]
pub struct Entries<'a>(Repr<'a>);

#[derive(Clone, Copy, Debug)]
enum Repr<'a> {
    One([[u8; RECORD_LEN]; 1]),
    Many(&'a [[u8; RECORD_LEN]]),
}

impl<'a> Entries<'a> {
    /// No entry.
    pub const NONE: Entries<'a> = Entries(Repr::Many(&[]));

    /// One entry.
    #[must_use]
    pub fn one(rootid: Uid, caps: FileCaps) -> Entries<'a> {
        Entries(Repr::One([*Record::new(rootid.get(), caps).as_bytes()]))
    }

    /// Entries from records with stored rootids, as a sealed table holds them.
    ///
    /// ```
    /// use nscap_core::{Entries, FileCaps, Record};
    /// let record = |rootid| *Record::new(rootid, FileCaps::default()).as_bytes();
    /// assert_eq!(Entries::decode(&[record(1000), record(2000)]).unwrap().len(), 2);
    /// assert!(Entries::decode(&[record(2000), record(1000)]).is_err());
    /// ```
    ///
    /// # Errors
    /// [`Malformed`] where a flag is unknown, the rootids do not ascend, one of them is 0 or -1, or
    /// there are more than 1,024.
    pub fn decode(records: &'a [[u8; RECORD_LEN]]) -> Result<Entries<'a>, Malformed> {
        if records.len() > MAX_ENTRIES {
            return Err(Malformed::Count);
        }
        check_records(records)?;
        let entries = Entries::sorted(records);
        let rootids = entries.as_records().iter().map(|bytes| Record::from_bytes(*bytes).rootid());
        if rootids.into_iter().any(|id| id == 0 || id == u32::MAX) {
            return Err(Malformed::Rootid);
        }
        Ok(entries)
    }

    /// Entries that the caller knows to be ascending and free of duplicates, 0 and -1.
    pub(crate) fn sorted(records: &'a [[u8; RECORD_LEN]]) -> Entries<'a> {
        Entries(Repr::Many(records))
    }

    /// How many entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_records().len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries, ascending by stored rootid.
    pub fn iter(&self) -> impl Iterator<Item = (Uid, FileCaps)> + Clone + '_ {
        self.as_records().iter().filter_map(|bytes| {
            let record = Record::from_bytes(*bytes);
            Some((Uid::new(record.rootid())?, record.caps()))
        })
    }

    /// The entry with this stored rootid.
    #[must_use]
    pub fn find(&self, rootid: Uid) -> Option<FileCaps> {
        let records = self.as_records();
        let bytes = records.get(position(records, rootid.get())?)?;
        Some(Record::from_bytes(*bytes).caps())
    }

    pub(crate) fn as_records(&self) -> &[[u8; RECORD_LEN]] {
        match &self.0 {
            Repr::One(record) => record,
            Repr::Many(records) => records,
        }
    }
}

/// The same entries, wherever they are kept.
impl PartialEq for Entries<'_> {
    fn eq(&self, other: &Entries<'_>) -> bool {
        self.as_records() == other.as_records()
    }
}

impl Eq for Entries<'_> {}

/// What a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored<'a> {
    /// The host value.
    pub host: HostValue,
    /// The entries.
    pub entries: Entries<'a>,
}

impl<'a> Stored<'a> {
    /// Nothing.
    pub const EMPTY: Stored<'a> = Stored { host: HostValue::Absent, entries: Entries::NONE };

    /// A host value and nothing else.
    #[must_use]
    pub fn host(caps: FileCaps) -> Stored<'a> {
        Stored { host: HostValue::Present(caps), entries: Entries::NONE }
    }

    /// One entry and nothing else; for rootid 0 that is a host value (SPEC, Objects).
    #[must_use]
    pub fn one(rootid: Uid, caps: FileCaps) -> Stored<'a> {
        if rootid == Uid::ROOT {
            return Stored::host(caps);
        }
        Stored { host: HostValue::Absent, entries: Entries::one(rootid, caps) }
    }

    /// Whether the file holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.host == HostValue::Absent && self.entries.is_empty()
    }

    /// M: the same entries in other terms: `id` gives the rootid that each has there. One that has
    /// none is left out; one that is 0 there is the host value, unless there is one. `out` needs as
    /// many slots as there are entries; `None` where it has fewer.
    ///
    /// ```
    /// use nscap_core::*;
    /// let host = Mapped::initial();
    /// let container = host.below(100_000, 65_536);
    /// let (ping, file) = (FileCaps::from_text(b"cap_net_raw=ep").unwrap(), container.file());
    /// // As a server in the container has it, its own root's entry is the host value.
    /// let stored = Stored::one(Uid::new(100_000).unwrap(), ping);
    /// let mut out = [[0; RECORD_LEN]; 1];
    /// let own = stored.translate(|id| file.uid_in(id, &container), &mut out).unwrap();
    /// assert_eq!(own, Stored::host(ping));
    /// ```
    #[must_use]
    pub fn translate<'o>(
        &self,
        id: impl Fn(Uid) -> Option<Uid>,
        out: &'o mut [[u8; RECORD_LEN]],
    ) -> Option<Stored<'o>> {
        let mut next = Next::empty(out);
        next.host = self.host;
        for (rootid, caps) in self.entries.iter() {
            match id(rootid) {
                Some(Uid::ROOT) if next.host != HostValue::Absent => {}
                Some(rootid) => next.put(rootid, caps).ok()?,
                None => {}
            }
        }
        next.into_stored()
    }

    /// What a caller in `ns` sees of this through `inode`.
    ///
    /// ```
    /// use nscap_core::*;
    /// let host = Mapped::initial();
    /// let container = host.below(100_000, 65_536);
    /// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
    /// let (stored, file) = (Stored::host(ping), container.file());
    /// let seen = stored.seen_from(&container, &file);
    /// assert_eq!(seen.host(), HostValue::Present(ping));
    /// assert!(!seen.has_entries());
    /// // On a file system of the container, a task of the host sees an entry for its root.
    /// let own = InodeView { sb_ns: &container, ..file };
    /// let seen = stored.seen_from(&host, &own);
    /// assert_eq!(seen.host(), HostValue::Absent);
    /// assert_eq!(seen.only().and_then(|entry| entry.kuid), Kuid::new(100_000));
    /// ```
    pub fn seen_from<N: UserNs>(&self, ns: N, inode: &InodeView<N>) -> StoredView<'_, 'a, N> {
        let below = is_same_or_below(ns, inode.sb_ns);
        let as_host = below && inode.idmap.is_none();
        StoredView { stored: self, inode: *inode, as_host, host_alone: !below }
    }
}

/// One entry as a caller sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryView {
    /// The rootid as it is stored.
    pub stored: Uid,
    /// Its kuid on this mount; `None` if it has none, so that the entry applies to no task.
    pub kuid: Option<Kuid>,
    /// The capabilities.
    pub caps: FileCaps,
}

/// What one caller sees of a file (SPEC, Objects and M): a host value or, on an id-mapped mount
/// and from outside the owner namespace, an entry in its place.
#[derive(Clone, Copy, Debug)]
pub struct StoredView<'s, 'a, N> {
    stored: &'s Stored<'a>,
    inode: InodeView<N>,
    as_host: bool,
    host_alone: bool,
}

impl<N: UserNs> StoredView<'_, '_, N> {
    /// The host value, where the caller sees it as one.
    #[must_use]
    pub fn host(&self) -> HostValue {
        // Malformed bytes name no kuid, so they can be shown as nothing else.
        match self.stored.host {
            HostValue::Present(_) if !self.as_host => HostValue::Absent,
            host => host,
        }
    }

    /// The entries that the caller sees, ascending by stored rootid.
    pub fn entries(&self) -> impl Iterator<Item = EntryView> + Clone + '_ {
        let host = match self.stored.host {
            HostValue::Present(caps) if !self.as_host => Some(caps),
            HostValue::Absent | HostValue::Present(_) | HostValue::Malformed => None,
        };
        // From outside the owner namespace a host value is "the only one that the file has".
        let hidden = self.host_alone && host.is_some();
        let records = if hidden { &[] } else { self.stored.entries.as_records() };
        EntryViews { host, records: records.iter(), inode: self.inode }
    }

    /// The entry that the caller sees for what is stored under this rootid (0: the host value);
    /// `None` where it sees none.
    pub(crate) fn as_entry(&self, stored: Uid, caps: FileCaps) -> Option<EntryView> {
        let host_is_entry = matches!(self.stored.host, HostValue::Present(_)) && !self.as_host;
        let shown =
            if stored == Uid::ROOT { host_is_entry } else { !(self.host_alone && host_is_entry) };
        if shown {
            Some(EntryView { stored, kuid: self.inode.kuid_of(stored), caps })
        } else {
            None
        }
    }

    /// Whether the caller sees any entry.
    #[must_use]
    pub fn has_entries(&self) -> bool {
        self.entries().next().is_some()
    }

    /// The entry, where the caller sees exactly one.
    #[must_use]
    pub fn only(&self) -> Option<EntryView> {
        let mut entries = self.entries();
        match (entries.next(), entries.next()) {
            (only, None) => only,
            (_, Some(_)) => None,
        }
    }

    /// A: the entry that applies to a task in `ns`, the nearest of several, with the namespace
    /// whose root its kuid is.
    ///
    /// ```
    /// use nscap_core::*;
    /// let host = Mapped::initial();
    /// let container = host.below(100_000, 65_536);
    /// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
    /// let stored = Stored::one(Uid::new(100_000).unwrap(), ping);
    /// let file = container.file();
    /// let nearest = |ns| stored.seen_from(ns, &file).nearest(ns).map(|(entry, _)| entry.caps);
    /// assert_eq!(nearest(&container), Some(ping));
    /// assert_eq!(nearest(&host), None);
    /// ```
    pub fn nearest(&self, ns: N) -> Option<(EntryView, N)> {
        path_to_initial(ns).find_map(|at| Some((self.entry_for(root_kuid(at)?)?, at)))
    }

    /// The entry whose kuid this is, found by the rootid that the kuid has where it is stored.
    ///
    /// ```
    /// use nscap_core::*;
    /// let host = Mapped::initial();
    /// let container = host.below(100_000, 65_536);
    /// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
    /// let (stored, file) = (Stored::one(Uid::new(100_000).unwrap(), ping), container.file());
    /// let caps = |kuid| stored.seen_from(&host, &file).entry_for(kuid).map(|entry| entry.caps);
    /// assert_eq!(Kuid::new(100_000).and_then(caps), Some(ping));
    /// assert_eq!(Kuid::new(100_001).and_then(caps), None);
    /// ```
    #[must_use]
    pub fn entry_for(&self, kuid: Kuid) -> Option<EntryView> {
        let stored = self.inode.stored_of(kuid)?;
        let caps = match self.stored.host {
            HostValue::Present(caps) if stored == Uid::ROOT => caps,
            _ => self.stored.entries.find(stored)?,
        };
        self.as_entry(stored, caps).filter(|entry| entry.kuid == Some(kuid))
    }
}

/// The entries one after the other; a host value that is one of them comes first. Written by hand:
/// chained adapters are several times the code.
#[derive(Clone)]
struct EntryViews<'s, N> {
    host: Option<FileCaps>,
    records: core::slice::Iter<'s, [u8; RECORD_LEN]>,
    inode: InodeView<N>,
}

impl<N: UserNs> Iterator for EntryViews<'_, N> {
    type Item = EntryView;

    fn next(&mut self) -> Option<EntryView> {
        let (stored, caps) = match self.host.take() {
            Some(caps) => (Uid::ROOT, caps),
            None => {
                let record = Record::from_bytes(*self.records.next()?);
                // No stored entry has the rootid -1.
                (Uid::new(record.rootid())?, record.caps())
            }
        };
        Some(EntryView { stored, kuid: self.inode.kuid_of(stored), caps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(bit: u32) -> FileCaps {
        FileCaps { permitted: crate::CapSet::from_bits(1 << bit), ..FileCaps::default() }
    }

    #[test]
    fn m_in_other_terms_entries_are_in_order_and_what_has_no_id_is_left_out() {
        let records = [5, 6, 7].map(|id| *Record::new(id, caps(id)).as_bytes());
        let entries = Entries::decode(&records).unwrap();
        let image = |id: Uid| match id.get() {
            5 => Uid::new(900),
            6 => Uid::new(0),
            _ => Uid::new(800).filter(|_| id.get() == 7),
        };
        let mut out = [[0; RECORD_LEN]; 3];
        for (host, there) in [(HostValue::Absent, caps(6)), (HostValue::Present(caps(1)), caps(1))]
        {
            let stored = Stored { host, entries };
            let translated = stored.translate(image, &mut out).unwrap();
            assert_eq!(translated.host, HostValue::Present(there));
            let entries: std::vec::Vec<_> = translated.entries.iter().collect();
            let id = |id| Uid::new(id).unwrap();
            assert_eq!(entries, [(id(800), caps(7)), (id(900), caps(5))]);
        }
        let none = Stored { host: HostValue::Absent, entries };
        assert_eq!(none.translate(|_| None, &mut out), Some(Stored::EMPTY));
        assert_eq!(none.translate(Some, &mut out[..2]), None);
    }
}
