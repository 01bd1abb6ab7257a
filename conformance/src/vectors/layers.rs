// SPDX-License-Identifier: MIT OR Apache-2.0
//! Layers before and after: the files of each world as root of the initial namespace packs them,
//! and what `nscap layer map --owners` makes of that archive for each namespace, out and in. The
//! core decides; `conformance/tests/vectors.rs` holds the archives against those of the command's
//! library.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nscap_core::storage::{Form, SealFacts, form_of};
use nscap_core::translate::{Carried, Translation};
use nscap_core::{Decision, Errno, Extent, IdMap, NsCaps, RECORD_LEN, Record, UserNs};
use serde::Serialize;

use super::maps::{Row, rows};
use crate::live::Machine;
use crate::model::{Model, Rules};
use crate::outcome::{Outcome, show_errno};
use crate::scenario::{Attr, Op, Scenario};
use crate::text::{Problem, show_hex};
use crate::tree::Tree;

const CAPABILITY: &str = "SCHILY.xattr.security.capability";
const NSCAPABILITY: &str = "SCHILY.xattr.security.nscapability";
const BLOCK: usize = 512;

#[derive(Serialize)]
pub(super) struct Case {
    /// Of uids, then of gids: what the numbers are now, and what they are to be.
    from: [Vec<Row>; 2],
    to: [Vec<Row>; 2],
    /// An archive of all files that can be translated.
    before: Layer,
    after: Layer,
    /// Files that make an archive be refused.
    refused: Vec<Refused>,
}

#[derive(Serialize)]
struct Refused {
    #[serde(flatten)]
    member: Member,
    errno: String,
}

/// A tar archive in base64, and what is in it.
#[derive(Serialize)]
struct Layer {
    tar: String,
    members: Vec<Member>,
}

/// A regular file of an archive.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Member {
    name: String,
    uid: u32,
    gid: u32,
    /// The values of the two attributes in hexadecimal.
    capability: Option<String>,
    nscapability: Option<String>,
}

struct Packed {
    name: String,
    uid: u32,
    gid: u32,
    capability: Option<Vec<u8>>,
    nscapability: Option<Vec<u8>>,
}

type Maps = [Vec<Extent>; 2];

pub(super) fn cases(table: &[Scenario]) -> Result<Vec<Case>, Problem> {
    let mut seen = BTreeSet::new();
    let mut groups: Vec<(Maps, Maps, Vec<Packed>)> = Vec::new();
    for scenario in table {
        let at = |problem: Problem| format!("{}: {problem}", scenario.name);
        let tree = Tree::of(&scenario.world).map_err(at)?;
        for ns in tree.all().filter(|ns| ns.parent().is_some()) {
            let (uids, gids) = ns.extents();
            let own = [uids.to_vec(), gids.to_vec()];
            for (from, to) in [(own.clone(), all_ids()), (all_ids(), own)] {
                for file in packed(scenario).map_err(at)? {
                    if seen.insert((key(&from), key(&to), file.shape())) {
                        match groups.iter_mut().find(|(f, t, _)| (f, t) == (&from, &to)) {
                            Some((_, _, files)) => files.push(file),
                            None => groups.push((from.clone(), to.clone(), vec![file])),
                        }
                    }
                }
            }
        }
    }
    Ok(groups.iter().map(|(from, to, files)| case(from, to, files)).collect())
}

fn key(maps: &Maps) -> [Vec<Row>; 2] {
    maps.each_ref().map(|map| rows(map))
}

fn all_ids() -> Maps {
    [(); 2].map(|()| vec![Extent { inside: 0, outside: 0, count: u32::MAX }])
}

/// The files as a tar of the initial namespace's root reads them.
fn packed(scenario: &Scenario) -> Result<Vec<Packed>, Problem> {
    let machine = Machine::ideal(super::decisions::KERNEL);
    let model = Model::new(&scenario.world, scenario.policy, Rules::Design, machine)?;
    let read = |attr, name: &str| match model.read_as_init(&Op::Get(attr, name.to_owned())) {
        Ok(Outcome::Value(value)) => Some(value),
        _ => None,
    };
    let one = |(name, _): (&String, _)| {
        let view = model.file(name)?.view;
        Some(Packed {
            name: format!("{}/{name}", scenario.name),
            uid: view.owner?.get(),
            gid: view.group?.get(),
            capability: read(Attr::Cap, name),
            nscapability: read(Attr::Nscap, name),
        })
    };
    let has_any = |file: &Packed| file.capability.is_some() || file.nscapability.is_some();
    // Longer lists say nothing new.
    let is_short =
        |file: &Packed| file.nscapability.as_ref().is_none_or(|list| list.len() <= super::LONGEST);
    Ok(scenario.world.files.iter().filter_map(one).filter(|f| has_any(f) && is_short(f)).collect())
}

fn case(from: &Maps, to: &Maps, files: &[Packed]) -> Case {
    let (mut before, mut after, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for file in files {
        match translated(file, from, to) {
            Ok(translated) => {
                before.push(file);
                after.push(translated);
            }
            Err(errno) => {
                refused.push(Refused { member: file.shown(), errno: show_errno(errno.raw()) });
            }
        }
    }
    let after: Vec<&Packed> = after.iter().collect();
    Case { from: key(from), to: key(to), before: layer(&before), after: layer(&after), refused }
}

fn layer(files: &[&Packed]) -> Layer {
    let members = files.iter().map(|file| file.shown()).collect();
    Layer { tar: STANDARD.encode(archive(files)), members }
}

impl Packed {
    fn shown(&self) -> Member {
        let hex = |value: &Option<Vec<u8>>| value.as_deref().map(show_hex);
        Member {
            name: self.name.clone(),
            uid: self.uid,
            gid: self.gid,
            capability: hex(&self.capability),
            nscapability: hex(&self.nscapability),
        }
    }

    /// The file without its name.
    fn shape(&self) -> Member {
        Member { name: String::new(), ..self.shown() }
    }
}

/// The file in the target's terms.
fn translated(file: &Packed, from: &Maps, to: &Maps) -> Result<Packed, Errno> {
    let [uids, gids] = [0, 1].map(|n: usize| {
        let map = |maps: &Maps| maps.get(n).cloned().unwrap_or_default();
        (Both::of(map(from)), Both::of(map(to)))
    });
    let [uids, gids] = [&uids, &gids].map(|(from, to)| Translation {
        from: from.map(),
        to: to.map(),
        drop_unmapped: false,
    });
    let uid = uids.id(file.uid).map_err(|no| no.errno)?;
    let gid = gids.id(file.gid).map_err(|no| no.errno)?;
    let carried = Carried {
        capability: file.capability.as_deref(),
        nscapability: file.nscapability.as_deref(),
        facts: SealFacts { size: 0, uid: file.uid, gid: file.gid },
    };
    let grants = carried.grants().map_err(|no| no.errno)?;
    let mut slots = vec![[0; RECORD_LEN]; grants.iter().count()];
    let (capability, nscapability) = match uids.stored(&grants, &mut slots) {
        Decision::Keep(_) => (file.capability.clone(), file.nscapability.clone()),
        Decision::Deny(errno, _) => return Err(errno),
        Decision::Write(stored, _) => {
            let alone = match form_of(&stored) {
                Form::Alone(value) | Form::TableBesideHost(value) => {
                    Some(value.as_bytes().to_vec())
                }
                _ => None,
            };
            let single = matches!(form_of(&stored), Form::Alone(_));
            let records = stored.entries.iter().map(|(id, caps)| Record::new(id.get(), caps));
            let mut list = vec![0; NsCaps::encoded_len(stored.entries.len())];
            let length = NsCaps::encode(records, &mut list).filter(|_| !single);
            (alone, length.map(|_| list))
        }
    };
    Ok(Packed { name: file.name.clone(), uid, gid, capability, nscapability })
}

/// A map sorted both ways.
struct Both(Vec<Extent>, Vec<Extent>);

impl Both {
    fn of(extents: Vec<Extent>) -> Both {
        let mut both = Both(extents.clone(), extents);
        both.0.sort_by_key(|extent| extent.inside);
        both.1.sort_by_key(|extent| extent.outside);
        both
    }

    fn map(&self) -> IdMap<'_> {
        IdMap::from_sorted(&self.0, &self.1)
    }
}

fn archive(files: &[&Packed]) -> Vec<u8> {
    let mut all = Vec::new();
    for file in files {
        let attributes = [(CAPABILITY, &file.capability), (NSCAPABILITY, &file.nscapability)];
        let records: Vec<_> =
            attributes.iter().filter_map(|(key, value)| Some((*key, value.as_deref()?))).collect();
        all.extend(member(&file.name, file.uid, file.gid, &records));
    }
    all.resize(all.len() + 2 * BLOCK, 0);
    all
}

/// A regular file without content in a tar archive, with an extended header that has these records
/// if there are any: pax, IEEE Std 1003.1.
#[must_use]
pub fn member(name: &str, uid: u32, gid: u32, records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut all = Vec::new();
    let content: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
    if !content.is_empty() {
        all.extend(header(&format!("PaxHeaders/{name}"), b'x', 0, 0, content.len()));
        let padded = content.len().next_multiple_of(BLOCK);
        all.extend(content);
        all.resize(BLOCK + padded, 0);
    }
    all.extend(header(name, b'0', uid, gid, 0));
    all
}

fn header(name: &str, kind: u8, uid: u32, gid: u32, size: usize) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    // The names of scenarios are short.
    let _ = header.set_path(name);
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(u64::try_from(size).unwrap_or(0));
    header.set_mode(0o755);
    header.set_uid(uid.into());
    header.set_gid(gid.into());
    header.set_mtime(0);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// A record says its own length.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let mut length = body.len();
    while length != body.len() + length.to_string().len() {
        length = body.len() + length.to_string().len();
    }
    [length.to_string().as_bytes(), &body].concat()
}
