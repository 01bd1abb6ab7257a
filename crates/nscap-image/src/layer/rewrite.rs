// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes a head with other capabilities or another owner. It changes only those records and
//! fields, in the form that they had.

use std::ops::Range;

use nscap_core::storage::SealFacts;

use super::attr::{self, Coding, Name};
use super::error::Problem;
use super::header::{BLOCK, Field, clear_name, put_checksum, put_number};
use super::member::Head;
use super::pax;
use super::values::Values;

/// The owner and group of a member: what they were, and are to be.
#[derive(Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) uid: (u32, u32),
    pub(crate) gid: (u32, u32),
}

impl Owner {
    pub(crate) fn changes(self) -> bool {
        self.uid.0 != self.uid.1 || self.gid.0 != self.gid.1
    }

    pub(crate) fn facts(self, facts: SealFacts) -> SealFacts {
        SealFacts { uid: self.uid.1, gid: self.gid.1, ..facts }
    }

    /// The new form of a record that names the member's owner.
    fn record(self, key: &[u8]) -> Record {
        let (id, (old, new)) = match key {
            b"uid" => (true, self.uid),
            b"gid" => (true, self.gid),
            b"uname" => (false, self.uid),
            b"gname" => (false, self.gid),
            _ => return Record::Same,
        };
        match (old == new, id) {
            (true, _) => Record::Same,
            (false, true) => Record::Value(new.to_string()),
            // Programs prefer the name, which is another user's now.
            (false, false) => Record::Gone,
        }
    }
}

enum Record {
    Same,
    Value(String),
    Gone,
}

/// The head with `values` in place of its capabilities, in the forms of `codings`, and with
/// `owner`. `None`: unchanged.
///
/// # Errors
/// [`Problem::IdTooLarge`].
pub(crate) fn head(
    head: &Head<'_>,
    codings: &[Coding],
    values: Option<&Values>,
    owner: Option<&Owner>,
) -> Result<Vec<u8>, Problem> {
    let mut out = Vec::with_capacity(head.bytes.len() + BLOCK);
    let mut rest = 0;
    if let Some(range) = &head.parts.extended {
        let content = records(head, codings, values, owner);
        out.extend_from_slice(&head.bytes[..head.parts.extended_header]);
        let old = &head.bytes[range.clone()];
        if !content.is_empty() {
            extended(head, range, old, &content, &mut out)?;
        }
        rest = range.end.next_multiple_of(BLOCK);
    }
    out.extend_from_slice(&head.bytes[rest..]);
    if let (Some(owner), true) = (owner, head.parts.main.is_some()) {
        let main = out.len() - BLOCK;
        put_owner(&mut out[main..], owner)?;
    }
    Ok(out)
}

/// An extended header with other content.
fn extended(
    head: &Head<'_>,
    range: &Range<usize>,
    old: &[u8],
    content: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Problem> {
    if old == content {
        let end = range.end.next_multiple_of(BLOCK);
        out.extend_from_slice(&head.bytes[head.parts.extended_header..end]);
        return Ok(());
    }
    let begin = out.len();
    out.extend_from_slice(&head.bytes[head.parts.extended_header..range.start]);
    let header = &mut out[begin..];
    if !put_number(header, Field::Size, content.len() as u64) {
        return Err(Problem::TooLong);
    }
    put_checksum(header);
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    Ok(())
}

fn records(
    head: &Head<'_>,
    codings: &[Coding],
    values: Option<&Values>,
    owner: Option<&Owner>,
) -> Vec<u8> {
    let mut out = Vec::new();
    let found = || head.records().flatten().filter_map(|record| attr::of(record.key));
    let is_new = |name| !found().any(|(there, _)| there == name);
    let mut first = true;
    for record in head.records().flatten() {
        let attribute = attr::of(record.key).zip(values);
        let Some(((name, coding), values)) = attribute else {
            match owner.map_or(Record::Same, |owner| owner.record(record.key)) {
                Record::Same => out.extend_from_slice(record.whole),
                Record::Value(value) => pax::push(&mut out, record.key, value.as_bytes()),
                Record::Gone => {}
            }
            continue;
        };
        let first = std::mem::replace(&mut first, false);
        if first && is_new(Name::Capability) {
            put(&mut out, Name::Capability, codings, values);
        }
        put(&mut out, name, &[coding], values);
        if first && is_new(Name::NsCapability) {
            put(&mut out, Name::NsCapability, codings, values);
        }
    }
    out
}

fn put(out: &mut Vec<u8>, name: Name, codings: &[Coding], values: &Values) {
    let Some(value) = values.get(name) else {
        return;
    };
    for coding in codings {
        let (key, value) = coding.encode(name, value);
        pax::push(out, &key, &value);
    }
}

fn put_owner(block: &mut [u8], owner: &Owner) -> Result<(), Problem> {
    for (field, (old, new)) in [(Field::Uid, owner.uid), (Field::Gid, owner.gid)] {
        if old == new {
            continue;
        }
        if !put_number(block, field, new.into()) {
            return Err(Problem::IdTooLarge);
        }
        clear_name(block, field);
    }
    put_checksum(block);
    Ok(())
}
