// SPDX-License-Identifier: MIT OR Apache-2.0
//! The records of an extended header (pax, POSIX.1-2001): `LENGTH KEY=VALUE\n`, where the length
//! counts the whole record and the value is any bytes.
//!
//! The `tar` crate splits at newlines, which values of `security.capability` may contain.

use super::error::Problem;

/// One record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) whole: &'a [u8],
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// The records of an extended header's content; ends after an error.
pub(crate) fn records(content: &[u8]) -> impl Iterator<Item = Result<Record<'_>, Problem>> {
    let mut rest = content;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let taken = take(rest).ok_or(Problem::Record);
        rest = taken.as_ref().map_or(&[][..], |(_, rest)| rest);
        Some(taken.map(|(record, _)| record))
    })
}

fn take(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let blank = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = decimal(&bytes[..blank])?;
    let length = usize::try_from(length).ok().filter(|length| *length <= bytes.len())?;
    let (whole, rest) = bytes.split_at(length);
    let body = whole.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    // C programs end the key at a NUL, others do not.
    if key.is_empty() || key.contains(&0) {
        return None;
    }
    Some((Record { whole, key, value }, rest))
}

/// A decimal number without sign or blanks.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Appends a record.
pub(crate) fn push(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let body = key.len() + value.len() + 3;
    let digits = |length: usize| length.to_string().len();
    let mut length = body + digits(body);
    length = body + digits(length);
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for length in (0..120).chain(900..1100).chain(9980..10_010) {
            let value = vec![b'\n'; length];
            let mut out = Vec::new();
            push(&mut out, b"k", &value);
            push(&mut out, b"l", b"");
            let all: Vec<_> = records(&out).map(Result::unwrap).collect();
            assert_eq!((all[0].key, all[0].value), (b"k".as_slice(), value.as_slice()));
            assert_eq!((all[1].key, all.len()), (b"l".as_slice(), 2));
            assert_eq!(all[0].whole.len() + all[1].whole.len(), out.len());
        }
    }

    #[test]
    fn what_is_no_record_is_said_so_once() {
        for bad in [
            b"\n".as_slice(),
            b"5 a=b",
            b"7 a=b\n",
            b"5 a=b\n",
            b"6 abc\n",
            b"+6 a=b\n",
            b"6 =ab\n",
            b"7 a\0=b\n",
            b"0 a=b\n",
            b"99999999999999999999 a=b\n",
            b"6 a=b\n\0",
        ] {
            let last = records(bad).last().unwrap();
            assert_eq!(last, Err(Problem::Record), "{bad:?}");
        }
    }
}
