// SPDX-License-Identifier: MIT OR Apache-2.0
//! The textual forms that scenarios use: sets of capabilities, the capabilities of a file, and
//! values of the two attributes. SPEC F and capabilities(7) give the bytes; README.md the text.
//!
//! What cannot be said in words (wrong lengths, unknown flags) is `hex`. Printing gives text that
//! reads back to the same bytes.

use std::fmt::Write as _;

use nscap_core::{CapSet, Capability, FileCaps, NsCaps, Record, Revision, VfsCaps};

/// Why a text is not what it should be; one short sentence with the offending part in it.
pub type Problem = String;

/// Reads a set: `all`, `none`, or a list of names separated by commas, in which `!name` takes one
/// out again and `0x...` means bits by number. `all` means `everything`.
///
/// # Errors
/// Names the part that is no capability.
///
/// ```
/// use nscap_conformance::text;
/// use nscap_core::{CapSet, Capability};
/// let set = text::set("all,!cap_chown", CapSet::KNOWN).unwrap();
/// assert!(!set.has(Capability::Chown) && set.has(Capability::NetRaw));
/// assert!(text::set("net_raw", CapSet::KNOWN).is_err());
/// ```
pub fn set(text: &str, everything: CapSet) -> Result<CapSet, Problem> {
    let mut set = CapSet::EMPTY;
    for part in text.split(',').map(str::trim) {
        match part {
            "all" => set = set | everything,
            "none" | "" => {}
            _ => match part.strip_prefix('!') {
                Some(name) => set = set.without(capability(name)?),
                None => set = set | bits(part)?,
            },
        }
    }
    Ok(set)
}

fn capability(name: &str) -> Result<Capability, Problem> {
    Capability::from_name(name.as_bytes()).ok_or_else(|| format!("no such capability: {name:?}"))
}

fn bits(part: &str) -> Result<CapSet, Problem> {
    match part.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16)
            .map(CapSet::from_bits)
            .map_err(|e| format!("not a set of capabilities: {part:?}: {e}")),
        None => Ok(CapSet::EMPTY.with(capability(part)?)),
    }
}

/// A set as [`set`] reads it.
#[must_use]
pub fn show_set(set: CapSet) -> String {
    let known = set.known();
    let mut parts: Vec<String> = Vec::new();
    if known.iter().count() > 30 {
        parts.push("all".to_owned());
        parts.extend(CapSet::KNOWN.minus(known).iter().map(|cap| format!("!{}", cap.name())));
    } else {
        parts.extend(known.iter().map(|cap| cap.name().to_owned()));
    }
    let unknown = set.minus(CapSet::KNOWN);
    if !unknown.is_empty() {
        parts.push(format!("{:#x}", unknown.bits()));
    }
    if parts.is_empty() { "none".to_owned() } else { parts.join(",") }
}

/// Reads the capabilities of a file: clauses like `cap_net_raw,cap_chown=ep`, separated by blanks.
/// The effective bit of the file is set when any clause has an `e`; `none` is nothing at all, and
/// `none=e` nothing but the effective bit.
///
/// # Errors
/// Names the clause that is wrong.
///
/// ```
/// use nscap_conformance::text;
/// let caps = text::file_caps("cap_net_raw=ep cap_chown+i").unwrap();
/// assert_eq!(text::show_file_caps(caps), "cap_net_raw=ep cap_chown=ei");
/// ```
pub fn file_caps(text: &str) -> Result<FileCaps, Problem> {
    let mut caps = FileCaps::default();
    for clause in text.split_whitespace() {
        let Some((list, flags)) = clause.split_once(['=', '+']) else {
            if clause == "none" {
                continue;
            }
            return Err(format!("no =ep, =p or +i in {clause:?}"));
        };
        let set = set(list, CapSet::KNOWN)?;
        for flag in flags.chars() {
            match flag {
                'e' => caps.effective = true,
                'p' => caps.permitted = caps.permitted | set,
                'i' => caps.inheritable = caps.inheritable | set,
                _ => return Err(format!("{flag:?} in {clause:?} is none of e, i, p")),
            }
        }
    }
    Ok(caps)
}

/// The capabilities of a file as [`file_caps`] reads them.
#[must_use]
pub fn show_file_caps(caps: FileCaps) -> String {
    let FileCaps { permitted, inheritable, effective } = caps;
    let e = if effective { "e" } else { "" };
    let parts = [
        (permitted & inheritable, "ip"),
        (permitted.minus(inheritable), "p"),
        (inheritable.minus(permitted), "i"),
    ];
    let clauses: Vec<String> = parts
        .iter()
        .filter(|(set, _)| !set.is_empty())
        .map(|(set, flags)| format!("{}={e}{flags}", show_set(*set)))
        .collect();
    match (clauses.is_empty(), effective) {
        (false, _) => clauses.join(" "),
        (true, true) => "none=e".to_owned(),
        (true, false) => "none".to_owned(),
    }
}

/// Reads a value of either attribute: `v1 CAPS`, `v2 CAPS`, `v3 ROOTID CAPS`,
/// `ns ROOTID CAPS; ROOTID CAPS; ...` (form F, in the order given; `A..B` means the rootids
/// from A to B - 1), `hex BYTES`, or `empty`. A rootid may be -1.
///
/// # Errors
/// Names the part that is wrong.
pub fn value(text: &str) -> Result<Vec<u8>, Problem> {
    let text = text.trim();
    let (kind, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    match kind {
        "empty" if rest.is_empty() => Ok(Vec::new()),
        "hex" => hex(rest),
        "v1" => v1(file_caps(rest)?),
        "v2" => Ok(VfsCaps::v2(file_caps(rest)?).encode().as_bytes().to_vec()),
        "v3" => {
            let (rootid, caps) = rootid_and_caps(rest)?;
            Ok(VfsCaps::v3(rootid.start, caps).encode().as_bytes().to_vec())
        }
        "ns" => form_f(rest),
        _ => Err(format!("a value begins with v1, v2, v3, ns, hex or empty, not {kind:?}")),
    }
}

fn v1(caps: FileCaps) -> Result<Vec<u8>, Problem> {
    if caps.permitted.high() != 0 || caps.inheritable.high() != 0 {
        return Err("revision 1 holds capabilities 0 to 31 only".to_owned());
    }
    let magic = 0x0100_0000 | u32::from(caps.effective);
    let words = [magic, caps.permitted.low(), caps.inheritable.low()];
    Ok(words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

fn form_f(text: &str) -> Result<Vec<u8>, Problem> {
    let mut records = Vec::new();
    for part in text.split(';') {
        let (rootids, caps) = rootid_and_caps(part.trim())?;
        if rootids.len() <= 1 {
            records.push(Record::new(rootids.start, caps));
        } else {
            records.extend(rootids.map(|rootid| Record::new(rootid, caps)));
        }
    }
    let count = u32::try_from(records.len()).map_err(|e| e.to_string())?;
    let mut bytes: Vec<u8> =
        [0x0100_0000, count].iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend(records.iter().flat_map(|record| record.as_bytes()));
    Ok(bytes)
}

fn rootid_and_caps(text: &str) -> Result<(std::ops::Range<u32>, FileCaps), Problem> {
    let (rootid, caps) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rootids = match rootid.split_once("..") {
        Some((first, end)) => number(first)?..number(end)?,
        // -1 is an empty range that still has its start.
        None => match rootid {
            "-1" => u32::MAX..u32::MAX,
            _ => number(rootid)?..number::<u32>(rootid)?.saturating_add(1),
        },
    };
    Ok((rootids, file_caps(caps)?))
}

/// Reads a decimal number.
///
/// # Errors
/// Names what is no number.
pub fn number<T: std::str::FromStr>(text: &str) -> Result<T, Problem>
where
    T::Err: std::fmt::Display,
{
    text.trim().parse().map_err(|e| format!("{text:?}: {e}"))
}

/// Reads bytes in hexadecimal; blanks and commas are ignored.
///
/// # Errors
/// Names what is wrong.
pub fn hex(text: &str) -> Result<Vec<u8>, Problem> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace() && *b != b',').collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(format!("an odd number of hexadecimal digits: {text:?}"));
    }
    let byte = |pair: &[u8; 2]| {
        let text = std::str::from_utf8(pair).map_err(|e| e.to_string())?;
        u8::from_str_radix(text, 16).map_err(|e| format!("{text:?}: {e}"))
    };
    pairs.iter().map(byte).collect()
}

/// Bytes as [`hex`] reads them.
#[must_use]
pub fn show_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A value as [`value`] reads it. Which attribute it is of need not be said: the first bytes of
/// revision 1 and of form F are the same, the lengths are not.
#[must_use]
pub fn show_value(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "empty".to_owned();
    }
    let shown = show_revision(bytes).or_else(|| show_form_f(bytes));
    shown
        .filter(|text| value(text).is_ok_and(|again| again == bytes))
        .unwrap_or_else(|| format!("hex {}", show_hex(bytes)))
}

fn show_revision(bytes: &[u8]) -> Option<String> {
    let value = VfsCaps::decode(bytes).ok()?;
    let caps = show_file_caps(value.caps());
    Some(match value.revision() {
        Revision::V1 => format!("v1 {caps}"),
        Revision::V2 => format!("v2 {caps}"),
        Revision::V3 { rootid } => format!("v3 {} {caps}", show_id(rootid)),
    })
}

fn show_form_f(bytes: &[u8]) -> Option<String> {
    let value = NsCaps::decode_shown(bytes).ok()?;
    let entries: Vec<String> = value
        .iter()
        .map(|record| format!("{} {}", show_id(record.rootid()), show_file_caps(record.caps())))
        .collect();
    Some(format!("ns {}", entries.join("; ")))
}

/// An id, -1 for 0xffffffff.
#[must_use]
pub fn show_id(id: u32) -> String {
    if id == u32::MAX { "-1".to_owned() } else { id.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_back_to_the_same_bytes() {
        for text in [
            "v1 cap_net_raw=ep",
            "v2 none",
            "v2 none=e",
            "v2 cap_net_raw=ep cap_chown=ei",
            "v3 -1 cap_net_raw=p",
            "v3 100000 all,!cap_chown=ip",
            "ns 0 cap_net_raw=ep",
            "ns 5 cap_net_raw=ep; -1 cap_chown=p; -1 none",
            "hex 0200",
            "empty",
        ] {
            let bytes = value(text).unwrap();
            assert_eq!(show_value(&bytes), text);
        }
        assert_eq!(value("ns 5..8 cap_chown=p").unwrap().len(), 8 + 3 * 24);
        assert_eq!(show_value(&value("v2 0x20000000000=p").unwrap()), "v2 0x20000000000=p");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("v2 net_raw=ep", "net_raw"),
            ("v2 cap_net_raw", "cap_net_raw"),
            ("v2 cap_net_raw=x", "'x'"),
            ("v4 cap_net_raw=ep", "v4"),
            ("v3 x cap_net_raw=ep", "\"x\""),
            ("hex 123", "123"),
        ] {
            let problem = value(text).unwrap_err();
            assert!(problem.contains(part), "{problem}");
        }
    }
}
