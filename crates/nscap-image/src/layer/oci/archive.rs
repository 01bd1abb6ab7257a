// SPDX-License-Identifier: MIT OR Apache-2.0
//! An image in one tar archive: where its members are, and the archive with other members. Members
//! are found once and read where they are; a compressed archive, or one from a pipe, is first
//! written to a file without a name in the directory for temporary files.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::sync::Arc;

use super::part::Part;
use crate::layer::codec::Compression;
use crate::layer::error::{Error, Problem, Result};
use crate::layer::header::{BLOCK, Field, put_checksum, put_number};
use crate::layer::member::{Head, Visit, walk};

/// The most members of an archive that is an image: docker writes three for each layer.
const MEMBERS: usize = 1 << 16;
/// How many links lead from one to another, at most.
const LINKS: usize = 8;

/// A member.
struct Member {
    name: Vec<u8>,
    begin: u64,
    /// How long its head is.
    head: u64,
    size: u64,
    /// The name that it is a link to.
    link: Option<Vec<u8>>,
}

impl Member {
    fn end(&self) -> u64 {
        self.begin + self.head + self.size.next_multiple_of(BLOCK as u64)
    }
}

/// An archive, uncompressed.
pub(crate) struct Archive {
    file: Arc<File>,
    /// How it was compressed.
    compression: Compression,
    members: Vec<Member>,
    /// The last member of each name.
    by_name: HashMap<Vec<u8>, usize>,
    /// Where what follows the last member begins, and all ends.
    tail: (u64, u64),
}

/// A member's name or a link's target, without `.`, `..` and slashes that mean nothing.
pub(crate) fn normal(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

struct Indexer {
    members: Vec<Member>,
}

impl Visit for Indexer {
    fn head(&mut self, head: &Head<'_>) -> Result<Option<Vec<u8>>> {
        if head.is_global() {
            return Ok(None);
        }
        if head.after_end {
            return Err(head.error(Problem::AfterEnd));
        }
        if self.members.len() >= MEMBERS {
            return Err(head.error(Problem::ManyMembers));
        }
        let raw = head.name();
        let link = match head.header.kind() {
            b'2' => {
                let parent = raw.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
                Some(normal(&[&raw[..parent], &head.link_name()].concat()))
            }
            b'1' => Some(normal(&head.link_name())),
            b'S' => return Err(head.error(Problem::Sparse)),
            _ => None,
        };
        let size = head.content().map_err(|problem| head.error(problem))?;
        self.members.push(Member {
            name: normal(&raw),
            begin: head.offset,
            head: head.bytes.len() as u64,
            size,
            link,
        });
        Ok(None)
    }
}

impl Archive {
    /// From a file that is at its beginning, or any stream.
    pub(crate) fn open(input: impl Read, plain: Option<File>) -> Result<Archive> {
        let (compression, whole) = Compression::detect(input)?;
        let file = match plain.filter(|_| compression == Compression::None) {
            Some(file) => file,
            None => spool(&mut compression.reader(whole)?)?,
        };
        let file = Arc::new(file);
        let len = file.metadata().map_err(Error::Read)?.len();
        let mut indexer = Indexer { members: Vec::new() };
        walk(Part::of(Arc::clone(&file), 0, len), io::sink(), &mut indexer)?;
        let members = indexer.members;
        let end = members.last().map_or(0, Member::end);
        let by_name = members.iter().enumerate().map(|(at, m)| (m.name.clone(), at)).collect();
        Ok(Archive { file, compression, members, by_name, tail: (end.min(len), len) })
    }

    /// The file, at its beginning.
    pub(crate) fn into_file(self) -> Result<File> {
        let mut file = self.file.try_clone().map_err(Error::Read)?;
        file.rewind().map_err(Error::Read)?;
        Ok(file)
    }

    /// The member of this name, through links; `None` if there is none.
    pub(crate) fn part(&self, name: &[u8]) -> Option<Part> {
        let mut name = name;
        for _ in 0..=LINKS {
            let member = self.members.get(*self.by_name.get(name)?)?;
            match &member.link {
                Some(link) => name = link,
                None => {
                    let begin = member.begin + member.head;
                    return Some(Part::of(Arc::clone(&self.file), begin, member.size));
                }
            }
        }
        None
    }

    pub(crate) fn has(&self, name: &[u8]) -> bool {
        self.part(name).is_some()
    }

    /// Writes the archive with other members, compressed as it was.
    pub(crate) fn write(&self, output: &mut File, change: &Members<'_>) -> Result<()> {
        let mut writer = self.compression.writer(io::BufWriter::with_capacity(1 << 18, output))?;
        let copy = |from: u64, to: u64, writer: &mut dyn Write| {
            let mut part = Part::of(Arc::clone(&self.file), from, to - from);
            let copied = io::copy(&mut part, writer).map_err(Error::Write)?;
            let short = || Error::Read(io::ErrorKind::UnexpectedEof.into());
            if copied == to - from { Ok(()) } else { Err(short()) }
        };
        let mut rest = 0;
        for (at, member) in self.members.iter().enumerate() {
            let is_last = self.by_name.get(&member.name) == Some(&at);
            let new = change.documents.get(&member.name).filter(|_| is_last);
            if new.is_none() && !change.dropped.contains(&member.name) {
                continue;
            }
            // What is between members, global headers among it, stays.
            copy(rest, member.begin, &mut writer)?;
            if let Some(content) = new {
                writer.write_all(&self.replaced(member, content)?).map_err(Error::Write)?;
            }
            rest = member.end();
        }
        copy(rest, self.tail.0, &mut writer)?;
        for (name, part) in &change.added {
            if self.by_name.contains_key(name) {
                continue;
            }
            writer.write_all(&header(name, part.len())?).map_err(Error::Write)?;
            let copied = io::copy(&mut part.clone(), &mut writer).map_err(Error::Write)?;
            let padding = copied.next_multiple_of(BLOCK as u64) - copied;
            let padding = usize::try_from(padding).unwrap_or_default();
            writer.write_all(&[0; BLOCK][..padding]).map_err(Error::Write)?;
        }
        copy(self.tail.0.max(rest), self.tail.1, &mut writer)?;
        let mut inner = writer.finish()?;
        inner.flush().map_err(Error::Write)
    }

    /// The member with other content, under the same header but for the size.
    fn replaced(&self, member: &Member, content: &[u8]) -> Result<Vec<u8>> {
        let problem = |problem| Error::Archive {
            offset: member.begin,
            member: Some(member.name.clone()),
            problem,
        };
        // An extended header may have a size of its own.
        if member.head != BLOCK as u64 || member.link.is_some() {
            return Err(problem(Problem::Document));
        }
        let mut bytes = vec![0; BLOCK];
        let mut head = Part::of(Arc::clone(&self.file), member.begin, BLOCK as u64);
        head.read_exact(&mut bytes).map_err(Error::Read)?;
        if !put_number(&mut bytes, Field::Size, content.len() as u64) {
            return Err(problem(Problem::TooLong));
        }
        put_checksum(&mut bytes);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        Ok(bytes)
    }
}

/// What becomes of the members of an archive.
#[derive(Default)]
pub(crate) struct Members<'a> {
    /// Documents with other content.
    pub(crate) documents: HashMap<Vec<u8>, &'a [u8]>,
    /// Members that nothing names any more.
    pub(crate) dropped: HashSet<Vec<u8>>,
    /// New ones.
    pub(crate) added: Vec<(Vec<u8>, Part)>,
}

/// The header of a new member, the same each time.
fn header(name: &[u8], size: u64) -> Result<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut header = tar::Header::new_ustar();
    header.set_path(std::ffi::OsStr::from_bytes(name)).map_err(Error::Write)?;
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    Ok(header.as_bytes().to_vec())
}

/// All of a stream in a file without a name.
fn spool(input: &mut dyn Read) -> Result<File> {
    let failed = |error| Error::call("a temporary file", "write", error);
    let mut file = tempfile::tempfile().map_err(failed)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        let got = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::Read(error)),
        };
        file.write_all(&buffer[..got]).map_err(failed)?;
    }
    file.rewind().map_err(failed)?;
    Ok(file)
}
