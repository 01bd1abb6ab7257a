// SPDX-License-Identifier: MIT OR Apache-2.0
//! Capabilities as a text that people read, review and commit, and from which they are given again. A file
//! is known by its path, its size and its content together; a grant by its text and its exact value,
//! which must agree. Covers K and W for what is saved ([`nscap_core::SavedFile`] decides).

use std::fmt::{self, Write as _};

use nscap_core::{FileCaps, IdRange, SavedFile, Uid, VfsCaps};

/// The first line.
const FIRST: &str = "nscap-manifest 1";
/// The longest manifest, in bytes.
pub const MAX_MANIFEST: u64 = 64 << 20;

/// One grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SavedGrant {
    /// Its root, as it was stored; 0 is a host value.
    pub id: Uid,
    /// The capabilities.
    pub caps: FileCaps,
    /// The range of ids that the root was in, if any.
    pub range: Option<IdRange>,
}

/// One file with all its names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its names from the top, ascending; at least one.
    pub names: Vec<Vec<u8>>,
    /// What it is known by.
    pub file: SavedFile,
    /// What it is granted, ascending by root.
    pub grants: Vec<SavedGrant>,
}

/// A manifest that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Malformed {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub problem: &'static str,
}

/// A name with every byte that is not printable ASCII, and the backslash, as `\xNN`.
fn escaped(name: &[u8]) -> String {
    let mut out = String::new();
    for byte in name {
        match byte {
            b'\\' | ..=0x20 | 0x7f.. => {
                // A String takes whatever is written.
                let _ = write!(out, "\\x{byte:02x}");
            }
            byte => out.push(char::from(*byte)),
        }
    }
    out
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'\\' {
            if !(0x21..=0x7e).contains(first) {
                return None;
            }
            out.push(*first);
            rest = after;
            continue;
        }
        let digits = after.strip_prefix(b"x").and_then(|digits| digits.get(..2))?;
        out.push(*bytes_of(std::str::from_utf8(digits).ok()?)?.first()?);
        rest = after.get(3..)?;
    }
    Some(out)
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes();
    let lower = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if !digits.len().is_multiple_of(2) || !digits.iter().all(lower) {
        return None;
    }
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(pair).collect()
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Writes a manifest.
///
/// ```
/// use nscap_core::{FileCaps, SavedFile, Uid};
/// use nscap_image::manifest::{Entry, SavedGrant, format, parse};
/// let caps = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let file = SavedFile { size: 1, sha256: [7; 32], owner: (0, 0), mode: 0o755 };
/// let grants = vec![SavedGrant { id: Uid::ROOT, caps, range: None }];
/// let all = [Entry { names: vec![b"usr/bin/ping".to_vec()], file, grants }];
/// let text = format(&all);
/// assert!(text.contains("  grant host cap_net_raw=ep 0100000200200000"));
/// assert_eq!(parse(&text).unwrap(), all);
/// ```
#[must_use]
pub fn format(entries: &[Entry]) -> String {
    let mut out = format!("{FIRST}\n");
    for entry in entries {
        let _ = put(&mut out, entry);
    }
    out
}

fn put(out: &mut String, entry: &Entry) -> fmt::Result {
    let SavedFile { size, sha256, owner: (uid, gid), mode } = entry.file;
    for (number, name) in entry.names.iter().enumerate() {
        match number {
            0 => writeln!(out, "\nfile {}", escaped(name))?,
            _ => writeln!(out, "  name {}", escaped(name))?,
        }
    }
    writeln!(out, "  size {size}")?;
    writeln!(out, "  sha256 {}", hex(&sha256))?;
    writeln!(out, "  owner {uid}:{gid}")?;
    writeln!(out, "  mode {mode:04o}")?;
    for grant in &entry.grants {
        let value = VfsCaps::of_root(grant.id, grant.caps).encode();
        let value = hex(value.as_bytes());
        if grant.id == Uid::ROOT {
            writeln!(out, "  grant host {} {value}", grant.caps)?;
            continue;
        }
        let range = grant
            .range
            .map_or_else(|| "none".to_owned(), |range| format!("{}:{}", range.first, range.count));
        writeln!(out, "  grant {} {} {value} range {range}", grant.id, grant.caps)?;
    }
    Ok(())
}

/// Reads a manifest. Empty lines, and lines that begin with `#`, are nothing.
///
/// # Errors
/// [`Malformed`] for a line that is not one of a manifest, a file without its facts or grants, a name that
/// leads up or occurs twice, and for a grant whose text and value differ.
pub fn parse(text: &str) -> Result<Vec<Entry>, Malformed> {
    let mut lines = (1..).zip(text.lines());
    let is_line = |(_, line): &(usize, &str)| !line.trim().is_empty() && !line.starts_with('#');
    match lines.by_ref().find(is_line) {
        Some((_, FIRST)) => {}
        other => {
            let line = other.map_or(1, |(line, _)| line);
            return Err(Malformed { line, problem: "not a manifest of version 1" });
        }
    }
    let mut all: Vec<Entry> = Vec::new();
    let mut open: Option<Open> = None;
    let mut seen = std::collections::HashSet::new();
    for (line, text) in lines.filter(is_line) {
        let fail = |problem| Malformed { line, problem };
        let (key, value) = text.trim().split_once(' ').ok_or(fail("a line without a value"))?;
        if matches!(key, "file" | "name") {
            let name = unescaped(value).filter(|name| is_below(name));
            let name = name.ok_or(fail("not a name below the top, escaped"))?;
            if !seen.insert(name.clone()) {
                return Err(fail("a name that occurs twice"));
            }
            if key == "file" {
                all.extend(open.take().map(Open::close).transpose()?);
                open = Some(Open { line, names: vec![name], ..Open::default() });
                continue;
            }
            let open = open.as_mut().ok_or(fail("a name before a file"))?;
            open.names.push(name);
            continue;
        }
        let open = open.as_mut().ok_or(fail("a line before a file"))?;
        open.take(key, value).map_err(fail)?;
    }
    all.extend(open.take().map(Open::close).transpose()?);
    Ok(all)
}

/// Whether a name leads to something below the top by its parts alone.
fn is_below(name: &[u8]) -> bool {
    let bad = |part: &[u8]| part.is_empty() || part == b"." || part == b"..";
    !name.contains(&0) && !name.split(|byte| *byte == b'/').any(bad)
}

/// A file whose lines are being read.
#[derive(Default)]
struct Open {
    line: usize,
    names: Vec<Vec<u8>>,
    size: Option<u64>,
    sha256: Option<[u8; 32]>,
    owner: Option<(u32, u32)>,
    mode: Option<u32>,
    grants: Vec<SavedGrant>,
}

impl Open {
    fn take(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        let once = |there: bool| if there { Err("the same fact twice") } else { Ok(()) };
        match key {
            "size" => {
                once(self.size.is_some())?;
                self.size = Some(value.parse().map_err(|_| "a size that is no number")?);
            }
            "sha256" => {
                once(self.sha256.is_some())?;
                let bytes = bytes_of(value).and_then(|bytes| bytes.try_into().ok());
                self.sha256 = Some(bytes.ok_or("not a SHA-256")?);
            }
            "owner" => {
                once(self.owner.is_some())?;
                let ids = value.split_once(':').map(|(uid, gid)| (uid.parse(), gid.parse()));
                let Some((Ok(uid), Ok(gid))) = ids else {
                    return Err("an owner that is no uid:gid");
                };
                self.owner = Some((uid, gid));
            }
            "mode" => {
                once(self.mode.is_some())?;
                let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
                self.mode = Some(mode.ok_or("a mode that is none, in octal")?);
            }
            "grant" => {
                let grant = grant(value)?;
                if self.grants.last().is_some_and(|last| last.id >= grant.id) {
                    return Err("grants that do not ascend by their root");
                }
                self.grants.push(grant);
            }
            _ => return Err("a word that is none of a manifest's"),
        }
        Ok(())
    }

    fn close(self) -> Result<Entry, Malformed> {
        let facts = (self.size, self.sha256, self.owner, self.mode);
        let (Some(size), Some(sha256), Some(owner), Some(mode)) = facts else {
            return Err(Malformed {
                line: self.line,
                problem: "a file without size, sha256, owner or mode",
            });
        };
        if self.grants.is_empty() {
            return Err(Malformed { line: self.line, problem: "a file without a grant" });
        }
        let file = SavedFile { size, sha256, owner, mode };
        Ok(Entry { names: self.names, file, grants: self.grants })
    }
}

fn grant(text: &str) -> Result<SavedGrant, &'static str> {
    const FORM: &str =
        "expected ROOT CAPS VALUE, and for a rootid `range FIRST:COUNT` or `range none`";
    let (whose, rest) = text.split_once(' ').ok_or(FORM)?;
    // Capabilities have blanks between their clauses.
    let (rest, range) = match rest.rsplit_once(" range ") {
        Some((rest, range)) => (rest, Some(range)),
        None => (rest, None),
    };
    let (caps, value) = rest.rsplit_once(' ').ok_or(FORM)?;
    let caps = FileCaps::from_text(caps.as_bytes()).map_err(|_| "capabilities that are none")?;
    let value = bytes_of(value).ok_or("a value that is not hexadecimal")?;
    let value = VfsCaps::settable(&value).map_err(|_| "a value that no kernel takes")?;
    let id = match whose {
        "host" => Uid::ROOT,
        id => id.parse().ok().and_then(Uid::new).filter(|id| *id != Uid::ROOT).ok_or(FORM)?,
    };
    if value.rootid() != Some(id) || VfsCaps::of_root(id, value.caps()) != value {
        return Err("a value for another root");
    }
    // Bits above the last capability have no name.
    if value.caps().to_string() != caps.to_string() {
        return Err("a value whose capabilities are not those in the text");
    }
    let range = match (range, id == Uid::ROOT) {
        (None, true) | (Some("none"), false) => None,
        (Some(range), false) => {
            let parts = range.split_once(':').map(|(first, count)| (first.parse(), count.parse()));
            let Some((Ok(first), Ok(count))) = parts else { return Err(FORM) };
            Some(IdRange { first, count })
        }
        _ => return Err(FORM),
    };
    Ok(SavedGrant { id, caps: value.caps(), range })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Entry> {
        let caps = |text: &str| FileCaps::from_text(text.as_bytes()).unwrap();
        let file = SavedFile { size: 70_000, sha256: [0xab; 32], owner: (0, 7), mode: 0o4755 };
        let range = Some(IdRange { first: 100_000, count: 65_536 });
        let host = SavedGrant { id: Uid::ROOT, caps: caps("cap_net_raw=ep"), range: None };
        let mixed = caps("cap_kill=p cap_chown+i");
        let entry = SavedGrant { id: Uid::new(100_000).unwrap(), caps: mixed, range };
        let other = SavedGrant { id: Uid::new(7).unwrap(), range: None, ..host };
        let names = vec![b"a b\\\n\xff".to_vec(), b"usr/bin/x".to_vec()];
        vec![
            Entry { names, file, grants: vec![host, other, entry] },
            Entry { names: vec![b"z".to_vec()], file, grants: vec![entry] },
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let all = sample();
        let text = format(&all);
        assert!(text.is_ascii() && text.contains("file a\\x20b\\x5c\\x0a\\xff"), "{text}");
        assert_eq!(parse(&text).unwrap(), all);
        let commented = text.replace("\nfile", "\n# reviewed\n\nfile");
        assert_eq!(parse(&commented).unwrap(), all);
        assert_eq!(parse(&format(&[])).unwrap(), []);
    }

    #[test]
    fn what_is_changed_by_hand_and_does_not_agree_is_refused() {
        let text = format(&sample());
        for (old, new) in [
            ("nscap-manifest 1", "nscap-manifest 2"),
            ("grant host cap_net_raw=ep", "grant host cap_net_raw=eip"),
            ("grant host", "grant 5"),
            ("grant 100000", "grant 100001"),
            ("range 100000:65536", "range 100000"),
            (" range none", ""),
            ("mode 4755", "mode 9"),
            ("  size 70000\n", ""),
            ("size 70000", "size -1"),
            ("file z", "file ../z"),
            ("file z", "file /z"),
            ("file z", "file usr/bin/x"),
            ("file z", "file z\\"),
            ("file z", "file z\\x0"),
            ("file z", "file z\\x00"),
            ("owner 0:7", "owner root"),
            ("  mode", "  moda"),
            ("sha256 ab", "sha256 AB"),
        ] {
            assert!(text.contains(old), "{old}");
            assert!(parse(&text.replacen(old, new, 1)).is_err(), "{old} -> {new}");
        }
        let line = parse(&text.replacen("size 70000", "size x", 1)).unwrap_err().line;
        assert_eq!(text.lines().nth(line - 1), Some("  size 70000"));
    }

    #[test]
    fn no_text_panics() {
        let text = format(&sample());
        for end in 0..text.len() {
            let _ = parse(&text[..end]);
            let mut bytes = text.clone().into_bytes();
            bytes[end] = bytes[end].wrapping_add(7) & 0x7f;
            let _ = parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
