// SPDX-License-Identifier: MIT OR Apache-2.0
//! Records of the journal: the old state and the planned state of one inode. docs/shift.md has the
//! bytes.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use nscap_core::{Entries, FileCaps, HostValue, RECORD_LEN, Record, Stored};

/// The identity of an inode in a journal, also after a restart of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Identity {
    pub(crate) number: u64,
    /// As in [`Inode`](super::tree::Inode).
    pub(crate) made: (i64, u32),
    /// Whether it is on another device than the top of the tree: in a subvolume of btrfs.
    pub(crate) elsewhere: bool,
}

/// Owner, group and mode (`st_mode`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Meta {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
}

/// A value before and after.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Pair {
    pub(crate) before: Vec<u8>,
    pub(crate) after: Vec<u8>,
}

/// The host value and the entries of a file, with rootids as on disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Grants {
    host: Option<FileCaps>,
    entries: Vec<[u8; RECORD_LEN]>,
}

impl Grants {
    /// `None` if the host value is malformed.
    pub(crate) fn of(stored: &Stored<'_>) -> Option<Grants> {
        let host = match stored.host {
            HostValue::Absent => None,
            HostValue::Present(caps) => Some(caps),
            HostValue::Malformed => return None,
        };
        let record =
            |(rootid, caps): (nscap_core::Uid, _)| *Record::new(rootid.get(), caps).as_bytes();
        Some(Grants { host, entries: stored.entries.iter().map(record).collect() })
    }

    pub(crate) fn stored(&self) -> Stored<'_> {
        // Both ways to make this value check the entries.
        let entries = match Entries::decode(&self.entries) {
            Ok(entries) => entries,
            Err(_) => Entries::NONE,
        };
        Stored { host: self.host.map_or(HostValue::Absent, HostValue::Present), entries }
    }
}

/// The old bytes of the two attributes, and the planned grants.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct GrantChange {
    pub(crate) capability: Option<Vec<u8>>,
    pub(crate) table: Option<Vec<u8>>,
    pub(crate) after: Grants,
}

/// The content of a file when its grants were read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Content {
    pub(crate) size: u64,
    /// SHA-256.
    pub(crate) digest: [u8; 32],
}

/// One inode that changes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Change {
    /// Its name in the directory where the journal is; empty for that directory itself.
    pub(crate) name: OsString,
    pub(crate) identity: Identity,
    /// Its ctime when it was planned, in seconds and nanoseconds.
    pub(crate) changed: (i64, u32),
    pub(crate) before: Meta,
    pub(crate) after: Meta,
    /// The access control list, if an id in it changes.
    pub(crate) access: Option<Pair>,
    pub(crate) default: Option<Pair>,
    /// If the file has one of the two attributes.
    pub(crate) grants: Option<GrantChange>,
    /// If it has one of the two attributes or a set-id bit.
    pub(crate) content: Option<Content>,
}

/// One record of the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    /// The tree and the maps.
    Head(Head),
    /// The following records are about entries of this directory.
    Enter(OsString, Identity),
    Change(Box<Change>),
    /// Back to the directory above.
    Leave,
    /// The plan is complete, with so many changes.
    End(u64),
    /// How far the shift is.
    Mark(Mark),
}

/// The tree and the maps of a journal.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Head {
    /// The top of the tree.
    pub(crate) top: Identity,
    /// The maps, for people: uids and gids of the one side, then of the other.
    pub(crate) maps: [String; 4],
}

/// How far a shift is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    /// Every change was made, or reported as impossible.
    Complete,
    /// Changes are being taken back.
    Undoing,
}

const HEAD: u8 = 1;
const ENTER: u8 = 2;
const CHANGE: u8 = 3;
const LEAVE: u8 = 4;
const END: u8 = 5;
const MARK: u8 = 6;

const HAS_ACCESS: u8 = 0x01;
const HAS_DEFAULT: u8 = 0x02;
const HAS_GRANTS: u8 = 0x04;
const HAS_CAPABILITY: u8 = 0x08;
const HAS_TABLE: u8 = 0x10;
const HAS_CONTENT: u8 = 0x20;

impl Entry {
    /// Appends kind and payload.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Entry::Head(head) => {
                out.push(HEAD);
                identity(out, &head.top);
                head.maps.iter().for_each(|map| bytes(out, map.as_bytes()));
            }
            Entry::Enter(name, at) => {
                out.push(ENTER);
                identity(out, at);
                bytes(out, name.as_bytes());
            }
            Entry::Change(change) => {
                out.push(CHANGE);
                change.encode(out);
            }
            Entry::Leave => out.push(LEAVE),
            Entry::End(changes) => {
                out.push(END);
                out.extend(changes.to_le_bytes());
            }
            Entry::Mark(mark) => out.extend([MARK, u8::from(*mark == Mark::Undoing)]),
        }
    }

    /// Reads kind and payload; `None` where the bytes are no record.
    pub(crate) fn decode(record: &[u8]) -> Option<Entry> {
        let (kind, mut rest) = record.split_first()?;
        let take = &mut rest;
        let entry = match *kind {
            HEAD => {
                let top = take_identity(take)?;
                let mut map = || String::from_utf8(take_bytes(take)?).ok();
                Entry::Head(Head { top, maps: [map()?, map()?, map()?, map()?] })
            }
            ENTER => {
                let at = take_identity(take)?;
                Entry::Enter(take_name(take)?, at)
            }
            CHANGE => Entry::Change(Box::new(Change::decode(take)?)),
            LEAVE => Entry::Leave,
            END => Entry::End(u64::from_le_bytes(array(take)?)),
            MARK => match array::<1>(take)? {
                [0] => Entry::Mark(Mark::Complete),
                [1] => Entry::Mark(Mark::Undoing),
                _ => return None,
            },
            _ => return None,
        };
        rest.is_empty().then_some(entry)
    }
}

impl Change {
    fn flags(&self) -> u8 {
        let grants = self.grants.as_ref();
        [
            (HAS_ACCESS, self.access.is_some()),
            (HAS_DEFAULT, self.default.is_some()),
            (HAS_GRANTS, grants.is_some()),
            (HAS_CAPABILITY, grants.is_some_and(|grants| grants.capability.is_some())),
            (HAS_TABLE, grants.is_some_and(|grants| grants.table.is_some())),
            (HAS_CONTENT, self.content.is_some()),
        ]
        .iter()
        .filter(|(_, set)| *set)
        .fold(0, |flags, (flag, _)| flags | flag)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.flags());
        identity(out, &self.identity);
        time(out, self.changed);
        for meta in [&self.before, &self.after] {
            [meta.uid, meta.gid, meta.mode].iter().for_each(|word| out.extend(word.to_le_bytes()));
        }
        bytes(out, self.name.as_bytes());
        for pair in [&self.access, &self.default].into_iter().flatten() {
            bytes(out, &pair.before);
            bytes(out, &pair.after);
        }
        if let Some(grants) = &self.grants {
            for value in [&grants.capability, &grants.table].into_iter().flatten() {
                bytes(out, value);
            }
            let host = grants.after.host.map(|caps| *Record::new(0, caps).as_bytes());
            let records: Vec<u8> =
                host.iter().chain(&grants.after.entries).flatten().copied().collect();
            bytes(out, &records);
        }
        if let Some(content) = &self.content {
            out.extend(content.size.to_le_bytes());
            out.extend(content.digest);
        }
    }

    fn decode(take: &mut &[u8]) -> Option<Change> {
        let [flags] = array::<1>(take)?;
        let has = |flag| flags & flag != 0;
        let identity = take_identity(take)?;
        let changed = take_time(take)?;
        let (before, after) = (take_meta(take)?, take_meta(take)?);
        let name = take_name(take)?;
        let access = if has(HAS_ACCESS) { Some(take_pair(take)?) } else { None };
        let default = if has(HAS_DEFAULT) { Some(take_pair(take)?) } else { None };
        let mut grants = None;
        if has(HAS_GRANTS) {
            let capability = if has(HAS_CAPABILITY) { Some(take_bytes(take)?) } else { None };
            let table = if has(HAS_TABLE) { Some(take_bytes(take)?) } else { None };
            grants = Some(GrantChange { capability, table, after: take_grants(take)? });
        }
        let mut content = None;
        if has(HAS_CONTENT) {
            let size = u64::from_le_bytes(array(take)?);
            content = Some(Content { size, digest: array(take)? });
        }
        let change =
            Change { name, identity, changed, before, after, access, default, grants, content };
        // Unknown flags: not a record.
        (change.flags() == flags).then_some(change)
    }
}

/// Accepts only a name that stays in its directory.
fn take_name(take: &mut &[u8]) -> Option<OsString> {
    let name = OsString::from_vec(take_bytes(take)?);
    let bytes = name.as_bytes();
    let leads = bytes.contains(&b'/') || bytes.contains(&0) || bytes == b"." || bytes == b"..";
    (!leads).then_some(name)
}

fn take_grants(take: &mut &[u8]) -> Option<Grants> {
    let records = take_bytes(take)?;
    let (records, []) = records.as_chunks::<RECORD_LEN>() else {
        return None;
    };
    let (host, entries) = match records.split_first() {
        Some((first, rest)) if Record::from_bytes(*first).rootid() == 0 => {
            (Some(Record::from_bytes(*first)), rest)
        }
        _ => (None, records),
    };
    let known = host.is_none_or(|host| host.flags() & !1 == 0);
    let host = host.map(|host| host.caps());
    (known && Entries::decode(entries).is_ok()).then(|| Grants { host, entries: entries.to_vec() })
}

fn identity(out: &mut Vec<u8>, identity: &Identity) {
    out.push(u8::from(identity.elsewhere));
    out.extend(identity.number.to_le_bytes());
    time(out, identity.made);
}

fn take_identity(take: &mut &[u8]) -> Option<Identity> {
    let [elsewhere] = array::<1>(take)?;
    let number = u64::from_le_bytes(array(take)?);
    let made = take_time(take)?;
    (elsewhere <= 1).then_some(Identity { number, made, elsewhere: elsewhere == 1 })
}

fn time(out: &mut Vec<u8>, (seconds, nanoseconds): (i64, u32)) {
    out.extend(seconds.to_le_bytes());
    out.extend(nanoseconds.to_le_bytes());
}

fn take_time(take: &mut &[u8]) -> Option<(i64, u32)> {
    Some((i64::from_le_bytes(array(take)?), u32::from_le_bytes(array(take)?)))
}

fn take_meta(take: &mut &[u8]) -> Option<Meta> {
    let mut word = || Some(u32::from_le_bytes(array(take)?));
    Some(Meta { uid: word()?, gid: word()?, mode: word()? })
}

fn take_pair(take: &mut &[u8]) -> Option<Pair> {
    Some(Pair { before: take_bytes(take)?, after: take_bytes(take)? })
}

fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    // No name, attribute or map is anywhere near 4 GB.
    out.extend(u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(value);
}

fn take_bytes(take: &mut &[u8]) -> Option<Vec<u8>> {
    let length = usize::try_from(u32::from_le_bytes(array(take)?)).ok()?;
    let (value, rest) = take.split_at_checked(length)?;
    *take = rest;
    Some(value.to_vec())
}

fn array<const N: usize>(take: &mut &[u8]) -> Option<[u8; N]> {
    let (value, rest) = take.split_first_chunk::<N>()?;
    *take = rest;
    Some(*value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(entry: &Entry) {
        let mut record = Vec::new();
        entry.encode(&mut record);
        assert_eq!(Entry::decode(&record).as_ref(), Some(entry));
        for cut in 0..record.len() {
            assert_ne!(Entry::decode(&record[..cut]).as_ref(), Some(entry), "{cut}");
        }
    }

    #[test]
    fn every_record_comes_back() {
        let made = Identity { number: u64::MAX, made: (-1, 999_999_999), elsewhere: true };
        let caps = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
        let entries = [100_000, 200_000].map(|root| *Record::new(root, caps).as_bytes());
        let stored =
            Stored { host: HostValue::Present(caps), entries: Entries::decode(&entries).unwrap() };
        let pair = |text: &str| Pair { before: text.into(), after: b"after".to_vec() };
        let change = Change {
            name: "ping".into(),
            identity: made,
            changed: (5, 6),
            before: Meta { uid: 1, gid: 2, mode: 0o104_755 },
            after: Meta { uid: 3, gid: 4, mode: 0o104_755 },
            access: Some(pair("access")),
            default: Some(pair("default")),
            grants: Some(GrantChange {
                capability: Some(b"capability".to_vec()),
                table: None,
                after: Grants::of(&stored).unwrap(),
            }),
            content: Some(Content { size: 7, digest: [8; 32] }),
        };
        let maps = ["a", "", "c", "d"].map(str::to_owned);
        round(&Entry::Head(Head { top: made, maps }));
        round(&Entry::Enter("usr".into(), made));
        round(&Entry::Change(Box::new(change)));
        round(&Entry::Change(Box::default()));
        round(&Entry::Leave);
        round(&Entry::End(9));
        round(&Entry::Mark(Mark::Complete));
        round(&Entry::Mark(Mark::Undoing));
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_no_record() {
        for name in ["..", ".", "a/b", "/", "a\0b"] {
            let mut record = Vec::new();
            Entry::Enter(name.into(), Identity::default()).encode(&mut record);
            assert_eq!(Entry::decode(&record), None, "{name:?}");
        }
    }

    #[test]
    fn no_bytes_panic_and_what_decodes_encodes_to_the_same() {
        bolero::check!().with_type::<(u8, Vec<u8>)>().for_each(|(kind, rest)| {
            let record = [&[kind % 8], rest.as_slice()].concat();
            if let Some(entry) = Entry::decode(&record) {
                let mut again = Vec::new();
                entry.encode(&mut again);
                assert_eq!(Entry::decode(&again), Some(entry));
            }
        });
    }
}
