// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tar archives: headers of the `tar` crate, and extended headers with records as in POSIX.

use nscap_core::{FileCaps, NsCaps, Record, VfsCaps};

/// A record of an extended header.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let mut length = body.len();
    while length != body.len() + length.to_string().len() {
        length = body.len() + length.to_string().len();
    }
    [length.to_string().as_bytes(), &body].concat()
}

/// A header block of this type.
pub fn header(kind: u8, name: &str, size: u64) -> tar::Header {
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

/// Content padded to whole blocks.
pub fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// An extended header (type `x` or `g`) with these records.
pub fn extended(kind: u8, records: &[Vec<u8>]) -> Vec<u8> {
    let content = records.concat();
    let header = header(kind, "PaxHeaders/x", content.len() as u64);
    [header.as_bytes().as_slice(), &padded(content)].concat()
}

/// A regular file, with an extended header if there are records.
pub fn file(name: &str, records: &[Vec<u8>], content: &[u8]) -> Vec<u8> {
    let mut all = if records.is_empty() { Vec::new() } else { extended(b'x', records) };
    all.extend(header(b'0', name, content.len() as u64).as_bytes());
    all.extend(padded(content.to_vec()));
    all
}

/// An archive of these members.
pub fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

/// The key of a record for `security.capability`.
pub const CAPABILITY: &str = "SCHILY.xattr.security.capability";
/// The key of a record for `security.nscapability`.
pub const NSCAPABILITY: &str = "SCHILY.xattr.security.nscapability";

/// Capabilities for ping(8).
pub fn ping() -> FileCaps {
    FileCaps::from_text(b"cap_net_raw=ep").unwrap()
}

/// The record of a host value.
pub fn host() -> Vec<u8> {
    record(CAPABILITY, VfsCaps::v2(ping()).encode().as_bytes())
}

/// The record of one entry.
pub fn entry(rootid: u32) -> Vec<u8> {
    record(CAPABILITY, VfsCaps::v3(rootid, ping()).encode().as_bytes())
}

/// The record of entries in form F.
pub fn entries(rootids: &[u32]) -> Vec<u8> {
    let mut value = vec![0; NsCaps::encoded_len(rootids.len())];
    NsCaps::encode(rootids.iter().map(|id| Record::new(*id, ping())), &mut value).unwrap();
    record(NSCAPABILITY, &value)
}
