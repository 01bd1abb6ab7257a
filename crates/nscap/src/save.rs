// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap save`: the capabilities of a tree or an image as a manifest.

use std::collections::BTreeMap;
use std::path::Path;

use nscap_core::{IdRange, SavedFile, Uid};
use nscap_image::layer::CapableFile;
use nscap_image::manifest::{Entry, SavedGrant, format};

use crate::cli::Save;
use crate::failure::{EINVAL, Failure};
use crate::out::{self, Out};
use crate::sides::{is_tree, one};
use crate::system::System;

pub(crate) fn run(args: &Save, out: &mut Out) -> Result<u8, Failure> {
    let files = one(&args.side, args.platform.as_deref(), true)?;
    let is_tree = is_tree(Path::new(&args.side));
    let mut system = System::new()?;
    // Names of one file together, under the first.
    let mut all: BTreeMap<(usize, u64), Entry> = BTreeMap::new();
    for file in files {
        if let Some(known) = all.get_mut(&file.place) {
            known.names.push(file.name);
            continue;
        }
        let place = file.place;
        all.insert(place, entry(file, is_tree, &mut system)?);
    }
    let mut all: Vec<Entry> = all.into_values().collect();
    all.sort_by(|one, other| one.names.cmp(&other.names));
    out.bytes(format(&all).as_bytes())?;
    Ok(u8::from(all.is_empty()))
}

fn entry(file: CapableFile, is_tree: bool, system: &mut System) -> Result<Entry, Failure> {
    let name = out::name(&file.name);
    let fail = |problem: String| Failure::Input { what: name.clone(), problem, errno: EINVAL };
    let grants =
        file.grants.map_err(|denied| fail(format!("{} [{}]", denied.why, denied.why.clause())))?;
    let none = || fail("a sparse member: its content cannot be hashed here".to_owned());
    let sha256 = file.sha256.ok_or_else(none)?;
    let mut saved = Vec::new();
    for grant in grants {
        let id = grant.id.ok_or_else(|| fail("an entry for the rootid -1".to_owned()))?;
        // The ids of an image are in no range of this machine.
        let range = if is_tree { range_of(id, system)? } else { None };
        saved.push(SavedGrant { id, caps: grant.caps, range });
    }
    saved.sort_by_key(|grant| grant.id);
    let (size, owner, mode) = (file.size, file.owner, file.mode);
    let facts = SavedFile { size, sha256, owner, mode };
    Ok(Entry { names: vec![file.name], file: facts, grants: saved })
}

/// The range of /etc/subuid that has this id.
pub(crate) fn range_of(id: Uid, system: &mut System) -> Result<Option<IdRange>, Failure> {
    let ranges = &system.subids()?.ranges;
    let range = ranges.iter().find(|range| id != Uid::ROOT && range.contains(id.get()));
    Ok(range.map(|range| IdRange { first: range.start, count: range.count }))
}
