// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way that a path takes through an image as it is unpacked: through symbolic links, each directory
//! that it searches, and where it ends (path_resolution(7)).

use std::collections::BTreeMap;

use super::merged::{Found, Kept, Layers, Name, find, join};
use super::resolve::linked;
use crate::layer::error::{Error, Result};

/// As many as the kernel follows.
const LINKS: usize = 40;
/// As long as the kernel takes a path (PATH_MAX) and a name (NAME_MAX).
const PATH: usize = 4096;
const NAME: usize = 255;
/// How often all names of an image are looked at for one path, which is more than any but a hostile
/// path needs: 40 links of 4,096 bytes could ask for tens of thousands.
const LOOKS: usize = 256;

/// Where a path ends.
pub(crate) enum End {
    /// At a member that is neither a directory nor a symbolic link.
    Member(Box<Kept>),
    /// At a directory.
    Directory,
    /// There is nothing of the name.
    Missing,
    /// What should be searched is no directory.
    NotDirectory,
    /// Too many symbolic links.
    Links,
    /// A name or a link's target that the kernel takes for too long.
    TooLong,
}

/// A way that was taken as far as it goes.
pub(crate) struct Taken {
    /// Each directory that was searched, in order; none twice in a row.
    pub(crate) passed: Vec<Name>,
    /// The name of the end, without links on the way.
    pub(crate) name: Name,
    pub(crate) end: End,
}

/// Takes a path; a relative one from the directory `here`, which is a name without links.
///
/// `known` keeps what was found: each look reads the whole image.
pub(crate) fn take(
    layers: &dyn Layers,
    known: &mut BTreeMap<Name, Found>,
    here: &[u8],
    path: &[u8],
) -> Result<Taken> {
    let mut here = if path.starts_with(b"/") { Name::new() } else { here.to_vec() };
    let mut left = parts(path);
    let mut passed: Vec<Name> = Vec::new();
    let (mut links, mut looks) = (0, 0);
    if path.len() >= PATH {
        return Ok(Taken { passed, name: here, end: End::TooLong });
    }
    while let Some(part) = left.pop() {
        if passed.last() != Some(&here) {
            passed.push(here.clone());
        }
        if part == b"." {
            continue;
        }
        if part == b".." {
            here.truncate(here.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
            continue;
        }
        let name = join(&here, &part);
        if part.len() > NAME {
            return Ok(Taken { passed, name, end: End::TooLong });
        }
        if !known.contains_key(&name) {
            looks += 1;
            if looks > LOOKS {
                return Err(Error::lookup(path, "leads through too many directories"));
            }
            // As far as no link leads elsewhere, all at once.
            let rest = left.iter().rev().take_while(|part| *part != b".." && *part != b".");
            let whole = rest.fold(name.clone(), |name, part| join(&name, part));
            known.extend(find(layers, layers.count(), &[whole])?);
        }
        let end = match known.get(&name) {
            None | Some(Found::None) => End::Missing,
            Some(Found::Implied) => {
                here = name;
                continue;
            }
            Some(Found::Member(member)) => match target_of(layers, member)? {
                _ if member.kind() == b'5' => {
                    here = name;
                    continue;
                }
                Some(target) => {
                    links += 1;
                    if target.len() >= PATH {
                        End::TooLong
                    } else if links > LINKS {
                        End::Links
                    } else {
                        if target.starts_with(b"/") {
                            here.clear();
                        }
                        left.extend(parts(&target));
                        continue;
                    }
                }
                None if left.is_empty() => End::Member(member.clone()),
                None => End::NotDirectory,
            },
        };
        return Ok(Taken { passed, name, end });
    }
    Ok(Taken { passed, name: here, end: End::Directory })
}

/// Where a symbolic link leads; it may be one by a hard link.
fn target_of(layers: &dyn Layers, member: &Kept) -> Result<Option<Name>> {
    let link = match member.kind() {
        b'1' => linked(layers, member.clone())?,
        b'2' => member.clone(),
        _ => return Ok(None),
    };
    Ok((link.kind() == b'2').then(|| link.head().link_name().into_owned()))
}

/// The parts of a path, the first one last. A slash at the end asks for a directory.
fn parts(path: &[u8]) -> Vec<Name> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    let mut parts: Vec<Name> = parts.map(<[u8]>::to_vec).collect();
    if path.ends_with(b"/") {
        parts.push(b".".to_vec());
    }
    parts.reverse();
    parts
}
