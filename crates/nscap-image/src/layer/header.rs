// SPDX-License-Identifier: MIT OR Apache-2.0
//! One header block of a tar archive: strictly read, and changed in place field by field.
//!
//! Layout and names are the `tar` crate's. Its numbers are not used: it takes a negative size as a
//! large one, and accepts a field that is only partly a number. A filter that reads another size
//! than its consumer passes on members that it did not check.

use std::borrow::Cow;

use super::error::Problem;

pub(crate) const BLOCK: usize = 512;
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Where the numbers are that this module changes.
#[derive(Clone, Copy)]
pub(crate) enum Field {
    Uid,
    Gid,
    Size,
    Checksum,
}

impl Field {
    fn range(self) -> std::ops::Range<usize> {
        match self {
            Field::Uid => 108..116,
            Field::Gid => 116..124,
            Field::Size => 124..136,
            Field::Checksum => CHECKSUM,
        }
    }
}

/// A block with a right checksum.
#[derive(Clone, Copy)]
pub(crate) struct Header<'a>(&'a tar::Header);

impl<'a> Header<'a> {
    /// `block` must be one block.
    pub(crate) fn parse(block: &'a [u8]) -> Result<Header<'a>, Problem> {
        let header = Header(tar::Header::from_byte_slice(block));
        let stated = number(&header.0.as_old().cksum, "checksum").map_err(|_| Problem::Checksum)?;
        let unsigned = sum(block);
        let is = |sum| i64::try_from(stated) == Ok(sum);
        // Old programs took bytes as signed.
        if is(unsigned) || is(unsigned - 256 * high(block)) {
            Ok(header)
        } else {
            Err(Problem::Checksum)
        }
    }

    /// A block whose checksum has been looked at.
    pub(crate) fn checked(block: &'a [u8]) -> Header<'a> {
        Header(tar::Header::from_byte_slice(block))
    }

    pub(crate) fn kind(self) -> u8 {
        self.0.as_old().linkflag[0]
    }

    pub(crate) fn size(self) -> Result<u64, Problem> {
        number(&self.0.as_old().size, "size")
    }

    pub(crate) fn mode(self) -> Result<u64, Problem> {
        number(&self.0.as_old().mode, "mode")
    }

    pub(crate) fn uid(self) -> Result<u64, Problem> {
        number(&self.0.as_old().uid, "uid")
    }

    pub(crate) fn gid(self) -> Result<u64, Problem> {
        number(&self.0.as_old().gid, "gid")
    }

    /// The name in the header itself, with ustar's prefix.
    pub(crate) fn name(self) -> Cow<'a, [u8]> {
        self.0.path_bytes()
    }

    pub(crate) fn link_name(self) -> Cow<'a, [u8]> {
        self.0.link_name_bytes().unwrap_or_default()
    }

    /// For a GNU sparse member: whether blocks of a map follow, and the size of the file.
    pub(crate) fn sparse(self) -> Result<(bool, u64), Problem> {
        let gnu = self.0.as_gnu().ok_or(Problem::Sparse)?;
        Ok((gnu.is_extended(), number(&gnu.realsize, "realsize")?))
    }
}

/// Whether a block of a sparse map is followed by another.
pub(crate) fn sparse_map_goes_on(block: &[u8]) -> bool {
    block.get(504).is_some_and(|flag| *flag != 0)
}

pub(crate) fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// The sum of all bytes, with the checksum itself as blanks.
fn sum(block: &[u8]) -> i64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    i64::from(sum(block)) - i64::from(sum(&block[CHECKSUM])) + i64::from(b' ') * 8
}

/// How many bytes are negative as signed ones.
fn high(block: &[u8]) -> i64 {
    let high = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(byte >> 7)).sum::<u32>();
    i64::from(high(block)) - i64::from(high(&block[CHECKSUM]))
}

/// A numeric field: octal digits between blanks and NULs, or GNU's base 256.
fn number(field: &[u8], name: &'static str) -> Result<u64, Problem> {
    let bad = Problem::Number(name);
    let [first, rest @ ..] = field else {
        return Err(bad);
    };
    if first & 0x80 != 0 {
        let mut value = u64::from(first & 0x7f);
        for byte in rest {
            let shifted = value.checked_mul(256).ok_or(bad)?;
            value = shifted | u64::from(*byte);
        }
        // Bit 6 of the first byte is the sign.
        return if first & 0x40 != 0 || i64::try_from(value).is_err() {
            Err(bad)
        } else {
            Ok(value)
        };
    }
    let is_blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let begin = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let digits = field[begin..].iter().take_while(|byte| (b'0'..=b'7').contains(*byte)).count();
    if !field[begin + digits..].iter().all(is_blank) {
        return Err(bad);
    }
    let octal = |value: u64, digit: &u8| value * 8 + u64::from(digit - b'0');
    Ok(field[begin..begin + digits].iter().fold(0, octal))
}

/// Writes a number as the field had one: octal with as many digits as there were, more where that
/// is not enough, else base 256. Gives whether it fits.
pub(crate) fn put_number(block: &mut [u8], field: Field, value: u64) -> bool {
    let slot = &mut block[field.range()];
    let digits = slot.iter().filter(|byte| (b'0'..=b'7').contains(*byte)).count();
    let was_octal = slot[0] & 0x80 == 0 && digits > 0;
    let text = format!("{value:0digits$o}");
    if was_octal && text.len() == digits {
        let begin = slot.iter().position(|byte| *byte != b' ').unwrap_or(0);
        slot[begin..begin + digits].copy_from_slice(text.as_bytes());
        return true;
    }
    let room = slot.len() - 1;
    let text = format!("{value:0room$o}");
    if text.len() == room {
        slot[..room].copy_from_slice(text.as_bytes());
        slot[room] = 0;
        return true;
    }
    // Base 256: a mark, then the number with its last byte last.
    let bytes = value.to_be_bytes();
    let (unused, used) = bytes.split_at(bytes.len().saturating_sub(room));
    if unused.iter().any(|byte| *byte != 0) {
        return false;
    }
    slot.fill(0);
    let begin = slot.len() - used.len();
    slot[begin..].copy_from_slice(used);
    slot[0] = 0x80;
    true
}

/// Makes the checksum right again, written as it was.
pub(crate) fn put_checksum(block: &mut [u8]) {
    // At most 512 * 255, which is six octal digits.
    put_number(block, Field::Checksum, sum(block).unsigned_abs());
}

/// Empties the user or group name, which consumers prefer to the number.
pub(crate) fn clear_name(block: &mut [u8], field: Field) {
    if block[257..262] != *b"ustar" {
        return;
    }
    match field {
        Field::Uid => block[265..297].fill(0),
        Field::Gid => block[297..329].fill(0),
        Field::Size | Field::Checksum => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octal(text: &[u8]) -> Result<u64, Problem> {
        number(text, "size")
    }

    #[test]
    fn numbers_are_read_strictly() {
        assert_eq!(octal(b"0000644\0"), Ok(0o644));
        assert_eq!(octal(b"   644 \0"), Ok(0o644));
        assert_eq!(octal(b"\0\0\0\0\0\0\0\0"), Ok(0));
        assert_eq!(octal(b"77777777777\0"), Ok(0o77_777_777_777));
        for bad in [b"-000644\0".as_slice(), b"0000648\0", b"64 4\0\0\0\0", b"644x\0\0\0\0", b""] {
            assert!(octal(bad).is_err(), "{bad:?}");
        }
        assert_eq!(octal(b"\x80\0\0\0\0\0\0\0\0\0\x01\0"), Ok(256));
        assert_eq!(
            octal(&[0x80, 0, 0, 0, 0x7f, 255, 255, 255, 255, 255, 255, 255]),
            Ok(u64::MAX >> 1)
        );
        assert!(octal(&[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(octal(&[0xff; 12]).is_err());
        assert!(octal(&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn numbers_keep_the_way_they_were_written() {
        let mut block = [0; BLOCK];
        for (was, value, is) in [
            (b"0000644\0", 0o1750, b"0001750\0"),
            (b"   644 \0", 0o123, b"   123 \0"),
            (b"000644 \0", 0o123, b"000123 \0"),
            (b"   644 \0", 0o1234, b"0001234\0"),
            (b"0000644\0", 0o10_000_000, b"\x80\0\0\0\0\x20\0\0"),
            (b"\x80\0\0\0\0\x20\0\0", 0o644, b"0000644\0"),
        ] {
            block[108..116].copy_from_slice(was);
            assert!(put_number(&mut block, Field::Uid, value));
            assert_eq!(block[108..116], *is);
            assert_eq!(number(&block[108..116], "uid"), Ok(value));
        }
    }

    #[test]
    fn a_checksum_is_the_tar_crates() {
        let mut header = tar::Header::new_gnu();
        header.set_path("\u{e9}").unwrap();
        header.set_size(7);
        header.set_cksum();
        let mut block = *header.as_bytes();
        assert!(Header::parse(&block).is_ok());
        put_checksum(&mut block);
        assert_eq!(block, *header.as_bytes());
        block[0] ^= 1;
        assert_eq!(Header::parse(&block).err(), Some(Problem::Checksum));
    }
}
