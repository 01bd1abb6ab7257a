// SPDX-License-Identifier: MIT OR Apache-2.0
//! The members of a tar archive, one after the other. A visitor sees each head (the extended
//! headers and long names before a member, and its header) and may return other bytes for it.
//! Content, padding and trailing blocks are copied.
//!
//! Programs disagree about malformed archives: about a size on a hard link, two extended headers,
//! members after the end. This module refuses an archive in which another program could read a
//! member that it does not see. It does see members after the end.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::ops::Range;

use nscap_core::storage::SealFacts;

use super::error::{Error, Problem, Result};
use super::format::{ImageFormat, Seen};
use super::header::{BLOCK, Header, is_zero, sparse_map_goes_on};
use super::pax::{self, Record};
use super::window::Window;

/// The largest extended header, and the largest long name, in bytes.
pub const MAX_EXTENSION: usize = 1 << 20;

/// What comes before a member's content.
pub(crate) struct Head<'a> {
    /// Where it begins in the archive.
    pub(crate) offset: u64,
    /// All of it, in whole blocks.
    pub(crate) bytes: &'a [u8],
    /// Its parts, in `bytes`.
    pub(crate) parts: Parts,
    /// The header of the member, or of a global extended header.
    pub(crate) header: Header<'a>,
    /// Whether the archive had ended already for most programs.
    pub(crate) after_end: bool,
}

/// Where the parts of a head are.
#[derive(Clone, Default)]
pub(crate) struct Parts {
    /// The header block of the extended header.
    pub(crate) extended_header: usize,
    /// Its records.
    pub(crate) extended: Option<Range<usize>>,
    pub(crate) long_name: Option<Range<usize>>,
    pub(crate) long_link: Option<Range<usize>>,
    /// The member's header block; none for a global header.
    pub(crate) main: Option<usize>,
}

impl<'a> Head<'a> {
    /// Whether it is a global extended header, which applies to all members after it.
    pub(crate) fn is_global(&self) -> bool {
        self.parts.main.is_none()
    }

    /// The records of the extended header.
    pub(crate) fn records(&self) -> impl Iterator<Item = std::result::Result<Record<'a>, Problem>> {
        let bytes = self.bytes;
        pax::records(self.parts.extended.clone().map_or(&[][..], |range| &bytes[range]))
    }

    fn record(&self, key: &[u8]) -> Option<&'a [u8]> {
        let mut all = self.records().filter_map(std::result::Result::ok);
        all.by_ref().filter(|record| record.key == key).last().map(|record| record.value)
    }

    /// The name, as most programs find it.
    pub(crate) fn name(&self) -> Cow<'a, [u8]> {
        if self.is_global() {
            return Cow::Borrowed(b"(global extended header)");
        }
        let record = || self.record(b"GNU.sparse.name").or_else(|| self.record(b"path"));
        record().or_else(|| self.long_name()).map_or_else(|| self.header.name(), Cow::Borrowed)
    }

    /// The target of a link.
    pub(crate) fn link_name(&self) -> Cow<'a, [u8]> {
        let known = self.record(b"linkpath").or_else(|| self.long_link());
        known.map_or_else(|| self.header.link_name(), Cow::Borrowed)
    }

    fn long_name(&self) -> Option<&'a [u8]> {
        self.parts.long_name.clone().map(|range| until_nul(&self.bytes[range]))
    }

    fn long_link(&self) -> Option<&'a [u8]> {
        self.parts.long_link.clone().map(|range| until_nul(&self.bytes[range]))
    }

    /// Whether programs agree about both names. An empty record is the header's name for some (POSIX
    /// pax) and no name for others; beside a record, Go takes a long name; and a name of a sparse file
    /// counts for Go only where the file is one.
    pub(crate) fn check_names(&self) -> std::result::Result<(), Problem> {
        let one = |key, long: Option<&[u8]>| match (self.record(key), long) {
            (Some(b""), _) => false,
            (Some(record), Some(long)) => record == long,
            _ => true,
        };
        let sparse = match self.record(b"GNU.sparse.name") {
            None => true,
            Some(name) => !name.is_empty() && self.has_sparse_map(),
        };
        match sparse && one(b"path", self.long_name()) && one(b"linkpath", self.long_link()) {
            true => Ok(()),
            false => Err(Problem::Names),
        }
    }

    /// Whether it is sparse in a form that Go reads.
    fn has_sparse_map(&self) -> bool {
        let version =
            ["GNU.sparse.major", "GNU.sparse.minor"].map(|key| self.record(key.as_bytes()));
        match version {
            [Some(b"1"), Some(b"0")] | [Some(b"0"), Some(b"0" | b"1")] => true,
            [None, None] => self.record(b"GNU.sparse.map").is_some_and(|map| !map.is_empty()),
            _ => false,
        }
    }

    /// A decimal record, or else the header's field.
    fn number(
        &self,
        key: &'static str,
        header: impl FnOnce(Header<'a>) -> std::result::Result<u64, Problem>,
    ) -> std::result::Result<u64, Problem> {
        let mut values = self.records().filter_map(std::result::Result::ok);
        let mut values = values.by_ref().filter(|r| r.key == key.as_bytes()).map(|r| r.value);
        let Some(value) = values.next() else {
            return header(self.header);
        };
        if values.any(|other| other != value) {
            return Err(Problem::Differ(key));
        }
        let value = pax::decimal(value).filter(|value| i64::try_from(*value).is_ok());
        value.ok_or(Problem::Number(key))
    }

    /// With a record for it, the header's own field must say 0 or the same.
    fn size(&self) -> std::result::Result<u64, Problem> {
        let size = self.number("size", Header::size)?;
        match self.header.size()? {
            0 => Ok(size),
            own if own == size => Ok(size),
            _ => Err(Problem::SizesDiffer),
        }
    }

    /// The owner.
    pub(crate) fn uid(&self) -> std::result::Result<u64, Problem> {
        self.number("uid", Header::uid)
    }

    /// The group.
    pub(crate) fn gid(&self) -> std::result::Result<u64, Problem> {
        self.number("gid", Header::gid)
    }

    /// How much content follows, without padding.
    pub(crate) fn content(&self) -> std::result::Result<u64, Problem> {
        let size = self.size()?;
        let slash = || self.name().ends_with(b"/");
        let no_content = match self.header.kind() {
            b'1'..=b'6' => true,
            b'0' | b'\0' | b'7' => size > 0 && slash(),
            _ => false,
        };
        match (no_content, size) {
            (true, 1..) => Err(Problem::SizeWithoutContent),
            _ => Ok(size),
        }
    }

    /// The facts that seal a table in this head: those of the unpacked file.
    pub(crate) fn facts(&self) -> std::result::Result<SealFacts, Problem> {
        if self.is_global() {
            return Ok(SealFacts { size: 0, uid: 0, gid: 0 });
        }
        let size = if self.header.kind() == b'S' {
            self.header.sparse()?.1
        } else {
            let sparse = ["GNU.sparse.realsize", "GNU.sparse.size"];
            let real = sparse.into_iter().find_map(|key| self.record(key.as_bytes()));
            real.map_or_else(
                || self.size(),
                |value| pax::decimal(value).ok_or(Problem::Number("realsize")),
            )?
        };
        let id = |id: u64, name| u32::try_from(id).map_err(|_| Problem::Number(name));
        Ok(SealFacts { size, uid: id(self.uid()?, "uid")?, gid: id(self.gid()?, "gid")? })
    }

    /// Whether records say that its content has holes.
    pub(crate) fn is_sparse(&self) -> bool {
        self.records().flatten().any(|record| record.key.starts_with(b"GNU.sparse."))
    }

    /// An error in this member.
    pub(crate) fn error(&self, problem: Problem) -> Error {
        Error::Archive { offset: self.offset, member: Some(self.name().into_owned()), problem }
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A visitor of members.
pub(crate) trait Visit {
    /// Returns new bytes for the head, or `None` to keep it.
    fn head(&mut self, head: &Head<'_>) -> Result<Option<Vec<u8>>>;
}

impl<V: Visit + ?Sized> Visit for &mut V {
    fn head(&mut self, head: &Head<'_>) -> Result<Option<Vec<u8>>> {
        (**self).head(head)
    }
}

/// How an archive ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct End {
    /// Its length in bytes.
    pub(crate) offset: u64,
    /// Whether there was an end-of-archive block.
    pub(crate) terminated: bool,
    /// Whether it is an image, and no layer.
    pub(crate) image: Option<ImageFormat>,
}

/// Shows every head to `visit` and copies the archive, as `visit` changes it.
pub(crate) fn walk<R: Read, W: Write>(
    input: R,
    output: W,
    visit: &mut impl Visit,
) -> Result<(W, End)> {
    let mut window = Window::new(input, output);
    let (mut ended, mut seen) = (false, Seen::default());
    loop {
        if !window.need(BLOCK)? {
            let rest = window.ahead().len() as u64;
            if rest > 0 && !ended {
                return Err(plain(window.offset() + rest, Problem::Truncated));
            }
            window.pass(rest)?;
            break;
        }
        let block = &window.ahead()[..BLOCK];
        let zero = is_zero(block);
        // Programs told to ignore the end look for the next block that is a header.
        if zero || (ended && Header::parse(block).is_err()) {
            ended |= zero;
            window.pass(BLOCK as u64)?;
            continue;
        }
        step(&mut window, visit, &mut seen, ended)?;
    }
    let end = End { offset: window.offset(), terminated: ended, image: seen.format() };
    Ok((window.finish()?, end))
}

/// One member.
fn step<R: Read, W: Write>(
    window: &mut Window<R, W>,
    visit: &mut impl Visit,
    seen: &mut Seen,
    after_end: bool,
) -> Result<()> {
    let offset = window.offset();
    let (parts, length) = find_head(window)?;
    let bytes = &window.ahead()[..length];
    let last = parts.main.unwrap_or(parts.extended_header);
    let header = Header::checked(&bytes[last..last + BLOCK]);
    let head = Head { offset, bytes, parts, header, after_end };
    for record in head.records() {
        let record = record.map_err(|problem| plain(offset, problem))?;
        if head.is_global() && record.key == b"size" {
            return Err(head.error(Problem::GlobalSize));
        }
    }
    let (content, mut map_follows) = if head.is_global() {
        (0, false)
    } else {
        let sparse = || Ok(header.kind() == b'S' && header.sparse()?.0);
        let both = head.content().and_then(|content| Ok((content, sparse()?)));
        both.map_err(|problem| head.error(problem))?
    };
    // This error is impossible once the whole head is in the window.
    let content = content.next_multiple_of(BLOCK as u64);
    let all_here = !map_follows && (window.ahead().len() - length) as u64 >= content;
    let member = if all_here { Vec::new() } else { head.name().into_owned() };
    seen.member(&head);
    match visit.head(&head)? {
        Some(new) => window.replace(length, &new)?,
        None => window.pass(length as u64)?,
    }
    let cut = |error| named(error, &member);
    while map_follows {
        if !window.need(BLOCK)? {
            return Err(cut(plain(window.offset(), Problem::Truncated)));
        }
        map_follows = sparse_map_goes_on(window.ahead());
        window.pass(BLOCK as u64)?;
    }
    window.pass(content).map_err(cut)
}

fn plain(offset: u64, problem: Problem) -> Error {
    Error::Archive { offset, member: None, problem }
}

/// Names the member in which an archive ends.
fn named(error: Error, name: &[u8]) -> Error {
    match error {
        Error::Archive { offset, member: None, problem } => {
            Error::Archive { offset, member: Some(name.to_vec()), problem }
        }
        other => other,
    }
}

/// Reads a whole head into the window; returns the positions of its parts, and its length.
fn find_head<R: Read, W: Write>(window: &mut Window<R, W>) -> Result<(Parts, usize)> {
    let (begin, mut parts, mut length) = (window.offset(), Parts::default(), 0);
    loop {
        let offset = begin + length as u64;
        let fail = |problem| plain(offset, problem);
        if !window.need(length + BLOCK)? {
            return Err(fail(if length == 0 { Problem::Truncated } else { Problem::Orphan }));
        }
        let block = &window.ahead()[length..length + BLOCK];
        if length > 0 && is_zero(block) {
            return Err(fail(Problem::Orphan));
        }
        let header = Header::parse(block).map_err(fail)?;
        let (kind, global) = (header.kind(), header.kind() == b'g');
        if global && length > 0 {
            return Err(fail(Problem::Orphan));
        }
        if !matches!(kind, b'x' | b'X' | b'g' | b'L' | b'K') {
            parts.main = Some(length);
            return Ok((parts, length + BLOCK));
        }
        let size = header.size().map_err(fail)?;
        let size = usize::try_from(size).ok().filter(|size| *size <= MAX_EXTENSION);
        let size = size.ok_or(fail(Problem::TooLong))?;
        let slot = match kind {
            b'L' => &mut parts.long_name,
            b'K' => &mut parts.long_link,
            _ => &mut parts.extended,
        };
        let content = length + BLOCK..length + BLOCK + size;
        if slot.replace(content.clone()).is_some() {
            return Err(fail(Problem::TwoExtensions));
        }
        if !matches!(kind, b'L' | b'K') {
            parts.extended_header = length;
        }
        length = content.end.next_multiple_of(BLOCK);
        if !window.need(length)? {
            return Err(fail(Problem::Truncated));
        }
        if global {
            return Ok((parts, length));
        }
    }
}
