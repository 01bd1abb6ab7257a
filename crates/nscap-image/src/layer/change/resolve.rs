// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds the file of an image that a path leads to, as it is unpacked: through symbolic links and hard
//! links, with the records of the directories above it, and its other names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;

use super::merged::{Found, Kept, Layers, Name, above, find, join};
use crate::layer::error::{Error, Result};
use crate::layer::member::{Head, Visit, walk};
use crate::layer::oci::normal;

/// As many as the kernel follows.
const LINKS: usize = 40;
/// The most other names of one file.
const NAMES: usize = 1024;

/// A regular file.
pub(crate) struct Target {
    /// Its name, without links on the way.
    pub(crate) name: Name,
    /// The member that has its content.
    pub(crate) content: Kept,
    /// Its other names, ascending.
    pub(crate) others: Vec<Name>,
    /// What is known of directories.
    pub(crate) known: BTreeMap<Name, Found>,
}

/// Follows a path.
pub(crate) fn resolve(layers: &dyn Layers, path: &[u8]) -> Result<Target> {
    let (name, member, known) = follow(layers, path)?;
    let content = content(layers, member)?;
    let mut target = Target { name, content, others: Vec::new(), known };
    target.others = others(layers, &target)?;
    Ok(target)
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

fn follow(layers: &dyn Layers, path: &[u8]) -> Result<(Name, Kept, BTreeMap<Name, Found>)> {
    let error = |problem| Error::lookup(path, problem);
    let mut known: BTreeMap<Name, Found> = BTreeMap::new();
    let mut left: VecDeque<Name> = parts(path).map(<[u8]>::to_vec).collect();
    let (mut here, mut links) = (Name::new(), 0);
    while let Some(part) = left.pop_front() {
        if part == b".." {
            here.truncate(here.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
            continue;
        }
        let name = join(&here, &part);
        if !known.contains_key(&name) {
            // As far as no link leads elsewhere, all at once: each look reads the whole image.
            let rest = left.iter().take_while(|part| *part != b"..");
            let whole = rest.fold(name.clone(), |name, part| join(&name, part));
            known.extend(find(layers, layers.count(), &[whole])?);
        }
        match known.get(&name) {
            None | Some(Found::None) => return Err(error("there is no such file in it")),
            Some(Found::Implied) => here = name,
            Some(Found::Member(member)) => match member.kind() {
                b'5' => here = name,
                b'2' => {
                    links += 1;
                    if links > LINKS {
                        return Err(error("too many symbolic links"));
                    }
                    let target = member.head().link_name().into_owned();
                    if target.starts_with(b"/") {
                        here.clear();
                    }
                    parts(&target).rev().for_each(|part| left.push_front(part.to_vec()));
                }
                b'0' | b'\0' | b'7' | b'1' if left.is_empty() => {
                    let member = (**member).clone();
                    return Ok((name, member, known));
                }
                b'S' if left.is_empty() => {
                    return Err(error("a sparse member, whose header is not changed"));
                }
                _ if left.is_empty() => return Err(error("is no regular file in it")),
                _ => return Err(error("a part of the path is no directory in it")),
            },
        }
    }
    Err(error("is a directory in it"))
}

/// The member with the content of what may be a hard link.
fn content(layers: &dyn Layers, mut member: Kept) -> Result<Kept> {
    for _ in 0..=LINKS {
        if member.kind() != b'1' {
            return Ok(member);
        }
        let target = normal(&member.head().link_name());
        // As the image was when the link was made.
        let found = find(layers, member.layer + 1, std::slice::from_ref(&target))?;
        match found.get(&target) {
            Some(Found::Member(found)) if matches!(found.kind(), b'0' | b'\0' | b'7' | b'1') => {
                member = (**found).clone();
            }
            _ => {
                return Err(Error::lookup(&target, "a hard link leads to what is no regular file"));
            }
        }
    }
    Err(Error::lookup(&member.head().name(), "too many hard links in a row"))
}

/// Hard links, as far as they come.
struct Linked<'n> {
    names: &'n mut BTreeSet<Name>,
}

impl Visit for Linked<'_> {
    fn head(&mut self, head: &Head<'_>) -> Result<Option<Vec<u8>>> {
        if !head.is_global()
            && head.header.kind() == b'1'
            && self.names.contains(&normal(&head.link_name()))
        {
            if self.names.len() >= NAMES {
                return Err(Error::lookup(&head.name(), "more than 1,024 names of one file"));
            }
            self.names.insert(normal(&head.name()));
        }
        Ok(None)
    }
}

/// The other names that lead to the same content in the end.
fn others(layers: &dyn Layers, target: &Target) -> Result<Vec<Name>> {
    let mut names = BTreeSet::from([normal(&target.content.head().name()), target.name.clone()]);
    for layer in target.content.layer..layers.count() {
        layers.read(layer, &mut |reader| {
            walk(reader, io::sink(), &mut Linked { names: &mut names }).map(|_| ())
        })?;
    }
    names.remove(&target.name);
    let asked: Vec<Name> = names.into_iter().collect();
    if asked.is_empty() {
        return Ok(asked);
    }
    let found = find(layers, layers.count(), &asked)?;
    let mut live = Vec::new();
    for name in asked {
        if let Some(Found::Member(member)) = found.get(&name)
            && matches!(member.kind(), b'0' | b'\0' | b'7' | b'1')
            && content(layers, (**member).clone())?.place() == target.content.place()
        {
            live.push(name);
        }
    }
    Ok(live)
}

impl Target {
    /// The records of the directories above these names, each once, the top first.
    pub(crate) fn directories(&self, layers: &dyn Layers, names: &[Name]) -> Result<Vec<Kept>> {
        let mut known = self.known.clone();
        let missing: Vec<Name> =
            names.iter().filter(|name| !known.contains_key(*name)).cloned().collect();
        if !missing.is_empty() {
            known.extend(find(layers, layers.count(), &missing)?);
        }
        let wanted: BTreeSet<&[u8]> = names.iter().flat_map(|name| above(name)).collect();
        let mut all = Vec::new();
        for directory in wanted {
            if let Some(Found::Member(member)) = known.get(directory)
                && member.kind() == b'5'
            {
                all.push((**member).clone());
            }
        }
        Ok(all)
    }
}
