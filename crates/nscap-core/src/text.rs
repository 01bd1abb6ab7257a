// SPDX-License-Identifier: MIT OR Apache-2.0
//! The text form of capabilities, cap_from_text(3) and cap_to_text(3), as setcap(8) takes it and
//! getcap(8) prints it.
//!
//! A text is clauses separated by white space. A clause is a list of capabilities (names, numbers
//! up to 63 or `all`, separated by commas) followed by actions: `=`, `+` or `-` with the flags `e`,
//! `i`, `p`. A clause that begins with `=` is about `all`. `=` may be without flags and only comes
//! first; it clears the listed capabilities before it sets the flags.

use core::fmt;

use crate::cap::{CapSet, Capability, FileCaps};

/// Three sets as a text gives them, before they are those of a file: a text can make single
/// capabilities effective, a file only all or none.
///
/// ```
/// use nscap_core::{CapText, Capability};
/// let text = CapText::parse(b"cap_net_raw,cap_chown=p cap_net_raw+e").unwrap();
/// assert!(text.effective.has(Capability::NetRaw) && !text.effective.has(Capability::Chown));
/// assert_eq!(text.to_string(), "cap_net_raw=ep cap_chown+p");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct CapText {
    /// Capabilities with the flag `e`.
    pub effective: CapSet,
    /// Capabilities with the flag `i`.
    pub inheritable: CapSet,
    /// Capabilities with the flag `p`.
    pub permitted: CapSet,
}

/// What is wrong with a text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TextProblem {
    /// Neither the name of a capability, nor a number up to 63, nor `all`.
    NoSuchCapability,
    /// A list of capabilities without `=`, `+` or `-` after it.
    NoAction,
    /// `+` or `-` without a list before it.
    NoList,
    /// Something other than `e`, `i` and `p`, or none of them after `+` or `-`.
    NoFlag,
    /// Some but not all of the file's capabilities are effective.
    EffectiveInPart,
}

impl TextProblem {
    /// One short sentence without a full stop, for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            TextProblem::NoSuchCapability => "no such capability",
            TextProblem::NoAction => "expected =, + or - after the capabilities",
            TextProblem::NoList => "expected capabilities before + or -",
            TextProblem::NoFlag => "expected one of the flags e, i and p",
            TextProblem::EffectiveInPart => {
                "a file's capabilities are effective all together or not at all"
            }
        }
    }
}

/// What is wrong with a text, and where.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TextError {
    /// The offset in bytes at which the part begins that is wrong.
    pub at: usize,
    /// What is wrong with it.
    pub problem: TextProblem,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problem {
            TextProblem::EffectiveInPart => f.write_str(self.problem.text()),
            problem => write!(f, "{} (at byte {})", problem.text(), self.at),
        }
    }
}

impl core::error::Error for TextError {}

impl CapText {
    /// Reads a text; names in any case, as cap_from_text(3) has it.
    ///
    /// # Errors
    /// [`TextError`] with the place of the first mistake.
    ///
    /// ```
    /// use nscap_core::{CapText, TextProblem};
    /// assert!(CapText::parse(b"all=p cap_chown+i").is_ok());
    /// let error = CapText::parse(b"cap_chown,cap_nonsense=p").unwrap_err();
    /// assert_eq!((error.at, error.problem), (10, TextProblem::NoSuchCapability));
    /// ```
    pub fn parse(text: &[u8]) -> Result<CapText, TextError> {
        let mut cursor = Cursor { rest: text, len: text.len() };
        let mut state = CapText::default();
        loop {
            cursor.skip_while(is_space);
            if cursor.rest.is_empty() {
                return Ok(state);
            }
            clause(&mut cursor, &mut state)?;
        }
    }

    /// The capabilities of a file with these sets, as setcap(8) makes them: the effective bit is
    /// set where any capability has the flag `e`.
    ///
    /// # Errors
    /// [`TextProblem::EffectiveInPart`] where a capability has the flag `e` and another is
    /// permitted or inheritable without it.
    ///
    /// ```
    /// use nscap_core::CapText;
    /// assert!(CapText::parse(b"cap_chown=ep").unwrap().to_file().is_ok());
    /// assert!(CapText::parse(b"cap_chown=ep cap_kill=p").unwrap().to_file().is_err());
    /// ```
    pub fn to_file(self) -> Result<FileCaps, TextError> {
        let CapText { effective, inheritable, permitted } = self;
        if !effective.is_empty() && !(permitted | inheritable).is_subset(effective) {
            return Err(TextError { at: 0, problem: TextProblem::EffectiveInPart });
        }
        Ok(FileCaps { permitted, inheritable, effective: !effective.is_empty() })
    }

    /// The capability numbers that have exactly these flags: bits [`E`], [`I`] and [`P`].
    fn having(&self, flags: u8) -> CapSet {
        let pick = |set: CapSet, flag| if flags & flag == 0 { !set } else { set };
        pick(self.effective, E) & pick(self.inheritable, I) & pick(self.permitted, P)
    }

    /// The flags that most of the known capabilities have; of several, the lowest.
    fn most_common(&self) -> u8 {
        let mut best = (0, 0);
        for flags in 0..8 {
            let count = self.having(flags).known().bits().count_ones();
            if count > best.1 {
                best = (flags, count);
            }
        }
        best.0
    }
}

impl FileCaps {
    /// Reads the capabilities of a file as setcap(8) does.
    ///
    /// ```
    /// use nscap_core::{Capability, FileCaps};
    /// let caps = FileCaps::from_text(b"cap_net_raw+ep").unwrap();
    /// assert!(caps.effective && caps.permitted.has(Capability::NetRaw));
    /// assert_eq!(caps.to_string(), "cap_net_raw=ep");
    /// ```
    ///
    /// # Errors
    /// Those of [`CapText::parse`] and [`CapText::to_file`].
    pub fn from_text(text: &[u8]) -> Result<FileCaps, TextError> {
        CapText::parse(text)?.to_file()
    }
}

impl From<FileCaps> for CapText {
    /// The sets with the flag `e` on all or none; an effective bit without any capability is `e`
    /// on all known ones, which reads back as just that.
    fn from(caps: FileCaps) -> CapText {
        let FileCaps { permitted, inheritable, effective } = caps;
        let either = permitted | inheritable;
        let effective = match (effective, either.is_empty()) {
            (false, _) => CapSet::EMPTY,
            (true, true) => CapSet::KNOWN,
            (true, false) => either,
        };
        CapText { effective, inheritable, permitted }
    }
}

impl fmt::Display for FileCaps {
    /// As getcap(8) prints it, but for an effective bit without any capability: `=e`, where
    /// getcap prints `=`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        CapText::from(*self).fmt(f)
    }
}

impl fmt::Display for CapText {
    /// As cap_to_text(3): first the flags that most capabilities have, then the capabilities with
    /// other flags, then bits above the known capabilities by number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = self.most_common();
        let clauses = || (0..8).rev().filter(|&flags| flags != base);
        let mut operator = "+";
        let mut blank = "";
        if base == 0 && clauses().any(|flags| !self.having(flags).known().is_empty()) {
            operator = "=";
        } else {
            f.write_str("=")?;
            write_flags(f, base)?;
            blank = " ";
        }
        for flags in clauses() {
            let caps = self.having(flags).known();
            if caps.is_empty() {
                continue;
            }
            write!(f, "{blank}{caps}")?;
            write_change(f, operator, flags & !base)?;
            write_change(f, "-", base & !flags)?;
            (blank, operator) = (" ", "+");
        }
        for flags in (1..8).rev() {
            let unknown = self.having(flags).minus(CapSet::KNOWN);
            if !unknown.is_empty() {
                write!(f, " {unknown}")?;
                write_change(f, "+", flags)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for CapSet {
    /// Names ascending by number, separated by commas; a bit that has no name is its number, no
    /// bit at all `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut comma = "";
        for number in (0..64).filter(|&number| self.bits() & bit(number) != 0) {
            match Capability::from_number(number) {
                Some(cap) => write!(f, "{comma}{}", cap.name())?,
                None => write!(f, "{comma}{number}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

const E: u8 = 1;
const P: u8 = 2;
const I: u8 = 4;

fn bit(number: u8) -> u64 {
    1u64.checked_shl(u32::from(number)).unwrap_or(0)
}

fn write_change(f: &mut fmt::Formatter<'_>, operator: &str, flags: u8) -> fmt::Result {
    if flags == 0 {
        return Ok(());
    }
    f.write_str(operator)?;
    write_flags(f, flags)
}

fn write_flags(f: &mut fmt::Formatter<'_>, flags: u8) -> fmt::Result {
    for (flag, letter) in [(E, "e"), (I, "i"), (P, "p")] {
        if flags & flag != 0 {
            f.write_str(letter)?;
        }
    }
    Ok(())
}

/// What is left of a text, and how long all of it was.
struct Cursor<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Cursor<'a> {
    fn at(&self) -> usize {
        self.len.saturating_sub(self.rest.len())
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn error(&self, problem: TextProblem) -> TextError {
        TextError { at: self.at(), problem }
    }

    fn skip(&mut self) {
        self.rest = self.rest.split_first().map_or(&[], |(_, rest)| rest);
    }

    /// Takes bytes from the front for as long as `wanted`.
    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|&b| !wanted(b)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }
}

fn clause(cursor: &mut Cursor<'_>, state: &mut CapText) -> Result<(), TextError> {
    let implied = cursor.peek() == Some(b'=');
    let caps = match cursor.peek() {
        Some(b'=') => CapSet::KNOWN,
        Some(b'+' | b'-') => return Err(cursor.error(TextProblem::NoList)),
        _ => list(cursor)?,
    };
    let mut first = true;
    while let Some(operator) = cursor.peek().filter(|&b| !is_space(b)) {
        match operator {
            b'=' if first => {}
            b'+' | b'-' if !implied => {}
            _ if first => return Err(cursor.error(TextProblem::NoAction)),
            _ => return Err(cursor.error(TextProblem::NoFlag)),
        }
        cursor.skip();
        action(cursor, operator, caps, state)?;
        first = false;
    }
    if first { Err(cursor.error(TextProblem::NoAction)) } else { Ok(()) }
}

/// The flags after an operator, and what the two do.
fn action(
    cursor: &mut Cursor<'_>,
    operator: u8,
    caps: CapSet,
    state: &mut CapText,
) -> Result<(), TextError> {
    let flags = cursor.skip_while(|b| matches!(b, b'e' | b'i' | b'p'));
    if flags.is_empty() && operator != b'=' {
        return Err(cursor.error(TextProblem::NoFlag));
    }
    for (letter, set) in
        [(b'e', &mut state.effective), (b'i', &mut state.inheritable), (b'p', &mut state.permitted)]
    {
        match (operator, flags.contains(&letter)) {
            (b'-', true) | (b'=', false) => *set = set.minus(caps),
            (_, true) => *set = *set | caps,
            (_, false) => {}
        }
    }
    Ok(())
}

fn list(cursor: &mut Cursor<'_>) -> Result<CapSet, TextError> {
    let mut caps = CapSet::EMPTY;
    loop {
        let problem = cursor.error(TextProblem::NoSuchCapability);
        let word = cursor.skip_while(|b| b.is_ascii_alphanumeric() || b == b'_');
        caps = match item(word).ok_or(problem)? {
            // libcap forgets the unknown bits that a list names before `all`.
            CapSet::KNOWN => CapSet::KNOWN,
            one => caps | one,
        };
        if cursor.peek() != Some(b',') {
            return Ok(caps);
        }
        cursor.skip();
    }
}

/// `all`, a name, or a number as strtoul(3) with base 0 reads it.
fn item(word: &[u8]) -> Option<CapSet> {
    if word.eq_ignore_ascii_case(b"all") {
        return Some(CapSet::KNOWN);
    }
    if let Some(cap) = Capability::from_name(word) {
        return Some(CapSet::EMPTY.with(cap));
    }
    let (digits, radix) = match word {
        [b'0', b'x' | b'X', digits @ ..] => (digits, 16),
        [b'0', digits @ ..] if !digits.is_empty() => (digits, 8),
        digits => (digits, 10),
    };
    let digits = core::str::from_utf8(digits).ok()?;
    let number = u8::from_str_radix(digits, radix).ok().filter(|&number| number < 64)?;
    Some(CapSet::from_bits(bit(number)))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    fn problem(text: &str) -> (usize, TextProblem) {
        let error = FileCaps::from_text(text.as_bytes()).unwrap_err();
        (error.at, error.problem)
    }

    #[test]
    fn each_mistake_has_its_name_and_place() {
        assert_eq!(problem("cap_chown=p cap_foo=p"), (12, TextProblem::NoSuchCapability));
        assert_eq!(problem("cap_chown,,cap_kill=p"), (10, TextProblem::NoSuchCapability));
        assert_eq!(problem("64=p"), (0, TextProblem::NoSuchCapability));
        assert_eq!(problem("08=p"), (0, TextProblem::NoSuchCapability));
        assert_eq!(problem("cap_chown"), (9, TextProblem::NoAction));
        assert_eq!(problem("cap_chown = p"), (9, TextProblem::NoAction));
        assert_eq!(problem("+p"), (0, TextProblem::NoList));
        assert_eq!(problem("cap_chown=P"), (10, TextProblem::NoFlag));
        assert_eq!(problem("cap_chown+"), (10, TextProblem::NoFlag));
        assert_eq!(problem("cap_chown=p=i"), (11, TextProblem::NoFlag));
        assert_eq!(problem("=p+i"), (2, TextProblem::NoFlag));
        assert_eq!(problem("cap_chown=ep cap_kill=p"), (0, TextProblem::EffectiveInPart));
    }

    #[test]
    fn every_state_of_a_file_reads_back() {
        let mut random = 1u64;
        for round in 0..2_000 {
            let mut next = || {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                CapSet::from_bits(random.rotate_left(32))
            };
            let sparse =
                |set: CapSet, other: CapSet| if round % 2 == 0 { set } else { set & other };
            let (permitted, inheritable) = (sparse(next(), next()), sparse(next(), next()));
            for effective in [false, true] {
                let caps = FileCaps { permitted, inheritable, effective };
                assert_eq!(FileCaps::from_text(caps.to_string().as_bytes()), Ok(caps));
            }
        }
        for effective in [false, true] {
            let caps = FileCaps { effective, ..FileCaps::default() };
            assert_eq!(FileCaps::from_text(caps.to_string().as_bytes()), Ok(caps));
        }
    }
}
