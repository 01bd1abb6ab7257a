// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds the file of an image that a path leads to, as it is unpacked: through symbolic links and
//! hard links, with the records of the directories above it, and its other names.

use std::collections::{BTreeMap, BTreeSet};

use super::merged::{Found, Kept, Layers, Name, above, find};
use super::way::{self, End, Taken};
use crate::layer::error::{Error, Result};
use crate::layer::member::{Head, Visit};
use crate::layer::oci::normal;

/// The most hard links in a row.
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
    let content = content_of(layers, member)?;
    let mut target = Target { name, content, others: Vec::new(), known };
    target.others = others(layers, &target)?;
    Ok(target)
}

fn follow(layers: &dyn Layers, path: &[u8]) -> Result<(Name, Kept, BTreeMap<Name, Found>)> {
    let error = |problem| Error::lookup(path, problem);
    let mut known: BTreeMap<Name, Found> = BTreeMap::new();
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let Taken { name, end, .. } = way::take(layers, &mut known, b"", &path[..end])?;
    match end {
        End::Member(member) => match member.kind() {
            b'0' | b'\0' | b'1' => Ok((name, *member, known)),
            _ => Err(error("is no regular file in it")),
        },
        End::Directory => Err(error("is a directory in it")),
        End::Missing => Err(error("there is no such file in it")),
        End::NotDirectory => Err(error("a part of the path is no directory in it")),
        End::Links => Err(error("too many symbolic links")),
        End::TooLong => Err(error("a name in it or the path is too long")),
    }
}

/// The member with the content of what may be a hard link.
pub(crate) fn content_of(layers: &dyn Layers, member: Kept) -> Result<Kept> {
    let content = linked(layers, member)?;
    match content.kind() {
        b'2' => Err(Error::lookup(&content.head().name(), "a hard link leads to what is a link")),
        _ => Ok(content),
    }
}

/// The regular file or symbolic link of what may be a hard link.
pub(crate) fn linked(layers: &dyn Layers, member: Kept) -> Result<Kept> {
    let mut all = [member];
    follow_all(layers, &mut all)?;
    let [content] = all;
    Ok(content)
}

/// Puts in place of each hard link what it leads to. All go a step at once: each look at the names
/// of a layer sees the whole layer.
fn follow_all(layers: &dyn Layers, members: &mut [Kept]) -> Result<()> {
    for _ in 0..=LINKS {
        let mut wanted: BTreeMap<usize, BTreeSet<Name>> = BTreeMap::new();
        for link in members.iter().filter(|member| member.kind() == b'1') {
            wanted.entry(link.layer).or_default().insert(normal(&link.head().link_name()));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        // The lowest layer first, as what is put in place comes from no higher one.
        for (layer, targets) in wanted {
            let targets: Vec<Name> = targets.into_iter().collect();
            // As the image was when the link was made.
            let found = find(layers, layer + 1, &targets)?;
            let here = |member: &&mut Kept| member.kind() == b'1' && member.layer == layer;
            for member in members.iter_mut().filter(here) {
                *member = target_of(member, &found)?;
            }
        }
    }
    let link = members.iter().find(|member| member.kind() == b'1');
    let name = link.map(|link| link.head().name().into_owned()).unwrap_or_default();
    Err(Error::lookup(&name, "too many hard links in a row"))
}

fn target_of(link: &Kept, found: &BTreeMap<Name, Found>) -> Result<Kept> {
    let target = normal(&link.head().link_name());
    match found.get(&target) {
        Some(Found::Member(found)) if is_later(found, link) => {
            let problem = "a hard link comes before what it leads to; programs disagree about it";
            Err(Error::lookup(&link.head().name(), problem))
        }
        Some(Found::Member(found)) if found.place().0 < link.layer => {
            let problem = "a hard link to what only a lower layer has; programs that unpack each layer \
                apart refuse it (podman's overlay)";
            Err(Error::lookup(&link.head().name(), problem))
        }
        Some(Found::Member(found)) if matches!(found.kind(), b'0' | b'\0' | b'1' | b'2') => {
            Ok((**found).clone())
        }
        _ => Err(Error::lookup(&target, "a hard link leads to what is no regular file")),
    }
}

/// Whether the target of a link comes after it in its layer: where it is made, it leads to what a
/// lower layer has, or nowhere.
fn is_later(target: &Kept, link: &Kept) -> bool {
    target.layer == link.layer && target.place() > link.place()
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
    let all = names(layers, &target.name, &target.content)?;
    Ok(all.into_keys().collect())
}

/// The other names of a file that has this content, and the member of each.
pub(crate) fn names(
    layers: &dyn Layers,
    name: &[u8],
    content: &Kept,
) -> Result<BTreeMap<Name, Kept>> {
    let mut names = BTreeSet::from([normal(&content.head().name()), name.to_vec()]);
    for layer in content.layer..layers.count() {
        layers.heads(layer, &mut Linked { names: &mut names })?;
    }
    names.remove(name);
    let asked: Vec<Name> = names.into_iter().collect();
    let mut live = BTreeMap::new();
    if asked.is_empty() {
        return Ok(live);
    }
    let found = find(layers, layers.count(), &asked)?;
    let (mut links, mut contents) = (Vec::new(), Vec::new());
    for name in asked {
        if let Some(Found::Member(member)) = found.get(&name)
            && matches!(member.kind(), b'0' | b'\0' | b'1')
        {
            contents.push((**member).clone());
            links.push((name, (**member).clone()));
        }
    }
    follow_all(layers, &mut contents)?;
    for ((name, member), own) in links.into_iter().zip(contents) {
        if own.place() == content.place() {
            live.insert(name, member);
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
