// SPDX-License-Identifier: MIT OR Apache-2.0
//! Archives for tests: members as the `tar` crate writes headers, records as POSIX has them.

#![allow(dead_code, reason = "not every test that includes this module needs all of it")]

use nscap_core::{FileCaps, NsCaps, Record, VfsCaps};

/// An extended header's record.
pub(crate) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let mut length = body.len();
    while length != body.len() + length.to_string().len() {
        length = body.len() + length.to_string().len();
    }
    [length.to_string().as_bytes(), &body].concat()
}

/// A header block of this kind.
pub(crate) fn header(kind: u8, name: &str, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(size);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_cksum();
    header
}

pub(crate) fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// An extended header with these records.
pub(crate) fn extended(kind: u8, records: &[Vec<u8>]) -> Vec<u8> {
    let content = records.concat();
    let header = header(kind, "PaxHeaders/x", content.len() as u64);
    [header.as_bytes().as_slice(), &padded(content)].concat()
}

/// A regular file.
pub(crate) fn file(name: &str, records: &[Vec<u8>], content: &[u8]) -> Vec<u8> {
    let mut all = if records.is_empty() { Vec::new() } else { extended(b'x', records) };
    all.extend(header(b'0', name, content.len() as u64).as_bytes());
    all.extend(padded(content.to_vec()));
    all
}

/// Members, and the end.
pub(crate) fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

pub(crate) const CAPABILITY: &str = "SCHILY.xattr.security.capability";
pub(crate) const NSCAPABILITY: &str = "SCHILY.xattr.security.nscapability";

pub(crate) fn ping() -> FileCaps {
    FileCaps::from_text(b"cap_net_raw=ep").unwrap()
}

/// The record of a host value.
pub(crate) fn host() -> Vec<u8> {
    record(CAPABILITY, VfsCaps::v2(ping()).encode().as_bytes())
}

/// The record of one entry.
pub(crate) fn entry(rootid: u32) -> Vec<u8> {
    record(CAPABILITY, VfsCaps::v3(rootid, ping()).encode().as_bytes())
}

/// The record of entries in form F.
pub(crate) fn entries(rootids: &[u32]) -> Vec<u8> {
    let mut value = vec![0; NsCaps::encoded_len(rootids.len())];
    NsCaps::encode(rootids.iter().map(|id| Record::new(*id, ping())), &mut value).unwrap();
    record(NSCAPABILITY, &value)
}
