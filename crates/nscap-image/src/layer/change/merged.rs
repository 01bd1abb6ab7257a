// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names in an image as a program finds them that unpacks it: layers on top of each other, with
//! whiteouts and opaque directories. Of the names that are asked for, and of these alone, so memory
//! does not depend on the image.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::sure::Sure;
use crate::layer::attr;
use crate::layer::error::{Error, Problem, Result};
use crate::layer::header::{BLOCK, Header};
use crate::layer::member::{Head, Parts, Visit, walk};
use crate::layer::oci::normal;

/// A name without `.` and slashes that mean nothing.
pub(crate) type Name = Vec<u8>;

/// A head that is kept.
#[derive(Clone)]
pub(crate) struct Kept {
    /// Which layer, from the lowest.
    pub(crate) layer: usize,
    offset: u64,
    bytes: Vec<u8>,
    parts: Parts,
    /// A directory that a layer above has members in, and no member of.
    pub(crate) passed_over: bool,
}

impl Kept {
    pub(crate) fn of(layer: usize, head: &Head<'_>) -> Kept {
        let parts = head.parts.clone();
        Kept { layer, offset: head.offset, bytes: head.bytes.to_vec(), parts, passed_over: false }
    }

    pub(crate) fn head(&self) -> Head<'_> {
        let main = self.parts.main.unwrap_or_default();
        Head {
            offset: self.offset,
            bytes: &self.bytes,
            parts: self.parts.clone(),
            header: Header::checked(&self.bytes[main..main + BLOCK]),
            after_end: false,
        }
    }

    pub(crate) fn kind(&self) -> u8 {
        self.head().header.kind()
    }

    /// How much memory it takes.
    pub(crate) fn size(&self) -> usize {
        size_of::<Kept>() + self.bytes.len()
    }

    /// Where it is.
    pub(crate) fn place(&self) -> (usize, u64) {
        (self.layer, self.offset)
    }
}

/// What is found under a name.
#[derive(Clone, Default)]
pub(crate) enum Found {
    /// Nothing.
    #[default]
    None,
    /// A directory that no member names, only members in it.
    Implied,
    /// A member.
    Member(Box<Kept>),
}

/// The layers of an image, the lowest first.
pub(crate) trait Layers {
    fn count(&self) -> usize;
    /// Reads one, uncompressed.
    fn read(&self, layer: usize, each: &mut dyn FnMut(&mut dyn Read) -> Result<()>) -> Result<()>;
    /// Shows each head of one; nothing is replaced.
    fn heads(&self, layer: usize, visit: &mut dyn Visit) -> Result<()> {
        let mut sure = Sure::new(visit);
        self.read(layer, &mut |reader| walk(reader, io::sink(), &mut sure).map(|_| ()))
    }
}

/// What one layer says of a name.
#[derive(Default)]
struct InLayer {
    member: Option<Kept>,
    /// Several members, and not all are directories: then the last one's record counts.
    twice: bool,
    whiteout: bool,
    opaque: bool,
    below: bool,
    /// A whiteout is below it, for which some programs make it a directory.
    hollow: bool,
}

struct Gather<'n> {
    layer: usize,
    names: &'n mut BTreeMap<Name, InLayer>,
    /// A global header with more than a comment, which a member of another layer would not have.
    global: bool,
}

impl Visit for Gather<'_> {
    fn head(&mut self, head: &Head<'_>) -> Result<Option<Vec<u8>>> {
        if head.is_global() {
            self.global |= head.records().flatten().any(|record| record.key != b"comment");
            return Ok(None);
        }
        head.check_names().map_err(|problem| head.error(problem))?;
        let name = normal(&head.name());
        let (parent, last) = match name.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&name[..slash], &name[slash + 1..]),
            None => (&b""[..], &name[..]),
        };
        if last.starts_with(b".wh.") {
            for directory in above(&name) {
                if let Some(found) = self.names.get_mut(directory) {
                    found.hollow = true;
                }
            }
        }
        if last == b".wh..wh..opq" {
            if let Some(directory) = self.names.get_mut(parent) {
                directory.opaque = true;
            }
            return Ok(None);
        }
        if let Some(removed) = last.strip_prefix(b".wh.") {
            if matches!(removed, b"" | b"." | b"..") {
                return Err(Error::lookup(
                    &name,
                    "a whiteout of no name; programs refuse the layer",
                ));
            }
            let removed = join(parent, removed);
            if let Some(found) = self.names.get_mut(&removed) {
                found.whiteout = true;
            }
            return Ok(None);
        }
        for directory in above(&name) {
            if let Some(found) = self.names.get_mut(directory) {
                found.below = true;
            }
        }
        if let Some(found) = self.names.get_mut(&name) {
            if self.global {
                return Err(head.error(Problem::GlobalRecords));
            }
            if head.records().flatten().any(|record| attr::is_overlays(record.key)) {
                let problem = "has an attribute of overlayfs; programs disagree whether it counts";
                return Err(Error::lookup(&name, problem));
            }
            let directory = |kind: u8| kind == b'5';
            found.twice |= found
                .member
                .as_ref()
                .is_some_and(|before| !(directory(before.kind()) && directory(head.header.kind())));
            found.member = Some(Kept::of(self.layer, head));
        }
        Ok(None)
    }
}

/// A name in a directory.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Name {
    match directory.is_empty() {
        true => name.to_vec(),
        false => [directory, b"/", name].concat(),
    }
}

/// The directories above a name, the top first.
pub(crate) fn above(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = name.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let top = (!name.is_empty()).then_some(&b""[..]);
    top.into_iter().chain(slashes.map(|(at, _)| &name[..at]))
}

/// What the lowest `count` layers have under these names and the directories above them.
pub(crate) fn find(
    layers: &dyn Layers,
    count: usize,
    names: &[Name],
) -> Result<BTreeMap<Name, Found>> {
    let mut all: BTreeMap<Name, Found> = BTreeMap::new();
    for name in names {
        all.insert(name.clone(), Found::None);
        all.extend(above(name).map(|above| (above.to_vec(), Found::None)));
    }
    for layer in 0..count {
        let mut here: BTreeMap<Name, InLayer> =
            all.keys().map(|name| (name.clone(), InLayer::default())).collect();
        layers.heads(layer, &mut Gather { layer, names: &mut here, global: false })?;
        // Directories before what is in them: the order of names.
        let names: Vec<Name> = all.keys().cloned().collect();
        for name in names {
            let next = apply(&name, &all, &here)?;
            all.insert(name, next);
        }
    }
    Ok(all)
}

/// What is under a name after one more layer.
fn apply(
    name: &[u8],
    before: &BTreeMap<Name, Found>,
    here: &BTreeMap<Name, InLayer>,
) -> Result<Found> {
    let Some(own) = here.get(name) else { return Ok(Found::None) };
    let problem = |problem| Err(Error::lookup(name, problem));
    let covered = above(name).any(|above| {
        here.get(above).is_some_and(|found| {
            let other = found.member.as_ref().is_some_and(|member| member.kind() != b'5');
            found.whiteout || found.opaque || other
        })
    });
    if own.whiteout && (own.member.is_some() || own.below) {
        return problem("a layer has it and a whiteout of it; programs disagree which counts");
    }
    let lower = match before.get(name) {
        Some(lower) if !covered && !own.whiteout => lower.clone(),
        _ => Found::None,
    };
    if let Some(member) = &own.member {
        let directory = member.kind() == b'5';
        if own.twice {
            return problem("a layer has it twice");
        }
        if (own.below || own.hollow) && !directory {
            return problem("a layer has members below what is no directory in it");
        }
        return Ok(Found::Member(Box::new(member.clone())));
    }
    match lower {
        Found::None if own.below => Ok(Found::Implied),
        Found::Member(member) if (own.below || own.hollow) && member.kind() != b'5' => problem(
            "a layer has members below a link or file of a lower one; programs disagree about them",
        ),
        Found::Member(mut member) if own.below || own.hollow => {
            member.passed_over = true;
            Ok(Found::Member(member))
        }
        lower => Ok(lower),
    }
}
