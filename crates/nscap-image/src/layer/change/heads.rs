// SPDX-License-Identifier: MIT OR Apache-2.0
//! Heads of members with other capabilities, under another name, or as a link. The attribute belongs
//! into the content's own extended header, as `SCHILY.xattr.security.capability`: programs in Go read no
//! other form.

use crate::layer::attr::{self, Coding, Name};
use crate::layer::error::Problem;
use crate::layer::header::{BLOCK, Field, put_checksum, put_number};
use crate::layer::member::Head;
use crate::layer::pax;
use crate::layer::values::Values;

/// What a head is made for.
pub(crate) enum As<'a> {
    /// The member itself.
    Itself,
    /// The file under this name.
    File(&'a [u8]),
    /// A hard link of this name to that one.
    Link(&'a [u8], &'a [u8]),
}

/// The head with `values` in place of its capabilities. Everything else of it stays.
///
/// # Errors
/// [`Problem::TooLong`].
pub(crate) fn make(head: &Head<'_>, to: &As<'_>, values: &Values) -> Result<Vec<u8>, Problem> {
    let mut codings = vec![Coding::Schily];
    let mut records = Vec::new();
    for record in head.records().flatten() {
        match attr::of(record.key) {
            Some((_, Coding::Libarchive)) if !codings.contains(&Coding::Libarchive) => {
                codings.push(Coding::Libarchive);
            }
            Some(_) => {}
            None if is_replaced(record.key, to) => {}
            None => records.extend_from_slice(record.whole),
        }
    }
    if let As::Link(..) = to {
        // Of a link the attributes, times and owners are those of its target.
        records.clear();
    }
    match to {
        As::Itself => {}
        As::File(name) => pax::push(&mut records, b"path", name),
        As::Link(name, target) => {
            pax::push(&mut records, b"path", name);
            pax::push(&mut records, b"linkpath", target);
        }
    }
    if !matches!(to, As::Link(..)) {
        for name in [Name::Capability, Name::NsCapability] {
            let Some(value) = values.get(name) else { continue };
            for coding in &codings {
                let (key, value) = coding.encode(name, value);
                pax::push(&mut records, &key, &value);
            }
        }
    }
    let mut out = Vec::with_capacity(head.bytes.len() + 4 * BLOCK);
    if matches!(to, As::Itself) {
        long_names(head, &mut out);
    }
    extended(head, &records, &mut out)?;
    let main = out.len();
    let block = head.parts.main.unwrap_or_default();
    out.extend_from_slice(&head.bytes[block..block + BLOCK]);
    put_main(&mut out[main..], to)?;
    Ok(out)
}

fn is_replaced(key: &[u8], to: &As<'_>) -> bool {
    !matches!(to, As::Itself) && matches!(key, b"path" | b"linkpath" | b"GNU.sparse.name")
}

/// GNU's long names, which come before the header.
fn long_names(head: &Head<'_>, out: &mut Vec<u8>) {
    let mut parts = [&head.parts.long_name, &head.parts.long_link];
    parts.sort_by_key(|part| part.as_ref().map(|range| range.start));
    for range in parts.into_iter().flatten() {
        let end = range.end.next_multiple_of(BLOCK);
        out.extend_from_slice(&head.bytes[range.start - BLOCK..end]);
    }
}

/// An extended header with these records, if there are any: the member's own header, or a new one.
fn extended(head: &Head<'_>, records: &[u8], out: &mut Vec<u8>) -> Result<(), Problem> {
    if records.is_empty() {
        return Ok(());
    }
    if records.len() > crate::layer::MAX_EXTENSION {
        return Err(Problem::TooLong);
    }
    let begin = out.len();
    match head.parts.extended {
        Some(_) => {
            let at = head.parts.extended_header;
            out.extend_from_slice(&head.bytes[at..at + BLOCK]);
        }
        None => {
            let mut header = tar::Header::new_ustar();
            header.as_mut_bytes()[..15].copy_from_slice(b"PaxHeaders/file");
            header.set_entry_type(tar::EntryType::XHeader);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(0);
            header.set_cksum();
            out.extend_from_slice(header.as_bytes());
        }
    }
    let header = &mut out[begin..];
    if !put_number(header, Field::Size, records.len() as u64) {
        return Err(Problem::TooLong);
    }
    put_checksum(header);
    out.extend_from_slice(records);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    Ok(())
}

/// The header block: programs that read no extended headers see the first bytes of the names.
fn put_main(block: &mut [u8], to: &As<'_>) -> Result<(), Problem> {
    const NAME: usize = 100;
    const KIND: usize = 156;
    const LINK: std::ops::Range<usize> = 157..257;
    const PREFIX: std::ops::Range<usize> = 345..500;
    let (name, link) = match to {
        As::Itself => return Ok(()),
        As::File(name) => (name, &b""[..]),
        As::Link(name, target) => (name, *target),
    };
    let put = |slot: &mut [u8], text: &[u8]| {
        slot.fill(0);
        let shown = text.len().min(slot.len());
        slot[..shown].copy_from_slice(&text[..shown]);
    };
    put(&mut block[..NAME], name);
    put(&mut block[LINK], link);
    if block[257..262] == *b"ustar" && block[262] != b' ' {
        block[PREFIX].fill(0);
    }
    if let As::Link(..) = to {
        block[KIND] = b'1';
        if !put_number(block, Field::Size, 0) {
            return Err(Problem::TooLong);
        }
    } else if block[KIND] == b'1' {
        block[KIND] = b'0';
    }
    put_checksum(block);
    Ok(())
}
