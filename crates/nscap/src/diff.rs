// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap diff`: capabilities that one tree, layer or image has and another has not.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;

use nscap_core::translate::{ArchiveGrant, Translation};
use nscap_core::{Decision, Denied, Difference, Errno, Extent, FileCaps, IdMap, Uid};
use serde::Serialize;

use crate::cli::Diff;
use crate::contents::JsonCaps;
use crate::failure::{EINVAL, Failure};
use crate::layer::{member_path, side, whose};
use crate::out::{self, JsonPath, Out, Table};
use crate::sides::{Side, sides};
use crate::system::System;

#[derive(Serialize)]
struct JsonDifference {
    difference: &'static str,
    platform: Option<String>,
    #[serde(flatten)]
    path: JsonPath,
    rootid: u32,
    before: Option<JsonCaps>,
    after: Option<JsonCaps>,
}

/// By file and root.
type Grants = BTreeMap<(Vec<u8>, Uid), FileCaps>;

const ALL: [Extent; 1] = [Extent { inside: 0, outside: 0, count: u32::MAX }];

pub(crate) fn run(args: &Diff, out: &mut Out) -> Result<u8, Failure> {
    let mut system = System::new()?;
    let platform = args.platform.as_deref();
    let mut read = |argument: &OsStr, ids: Option<&OsStr>| -> Result<_, Failure> {
        let ids = ids.map(|ids| side(ids, &mut system)).transpose()?;
        let all = IdMap::from_sorted(&ALL, &ALL);
        let from = ids.as_ref().map_or(all, |ids| ids.uids.map());
        let translation = Translation { from, to: all, drop_unmapped: false };
        let mut found: BTreeMap<Option<String>, Grants> = BTreeMap::new();
        for Side { platform, files } in sides(argument, platform, false)? {
            let grants = found.entry(platform).or_default();
            for file in files {
                let denied = |denied| refused(argument, &file.name, denied);
                for grant in file.grants.map_err(denied)? {
                    let id = translated(&translation, grant).map_err(denied)?;
                    grants.insert((file.name.clone(), id), grant.caps);
                }
            }
        }
        Ok(found)
    };
    let before = read(&args.before, args.ids_before.as_deref())?;
    let after = read(&args.after, args.ids_after.as_deref())?;
    let one = |side: &BTreeMap<Option<String>, Grants>| !side.keys().any(Option::is_some);
    if one(&before) != one(&after) {
        let problem = "one of them has several images, and the other one: choose with --platform";
        let what = out::path(Path::new(&args.after));
        return Err(Failure::Input { what, problem: problem.to_owned(), errno: EINVAL });
    }
    let mut told = Told { table: Table::default(), any: false, out };
    let none = Grants::new();
    let platforms: BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
    for platform in platforms {
        let [before, after] = [&before, &after].map(|side| side.get(&platform).unwrap_or(&none));
        told.compare(platform.as_deref(), before, after)?;
    }
    told.out.table(&told.table)?;
    Ok(u8::from(told.any))
}

/// The id of a grant's root in the terms that are compared.
fn translated(translation: &Translation<'_>, grant: ArchiveGrant) -> Result<Uid, Denied> {
    match (translation.rootid(grant.id), grant.id) {
        (Decision::Write(id, _), _) => Ok(id),
        (Decision::Keep(_), Some(id)) => Ok(id),
        (decision, _) => Err(Denied::new(Errno::EINVAL, decision.why())),
    }
}

fn refused(argument: &OsStr, name: &[u8], denied: Denied) -> Failure {
    let what = format!("{}: {}", out::path(Path::new(argument)), out::name(name));
    let problem = format!("{} [{}]", denied.why, denied.why.clause());
    Failure::Input { what, problem, errno: denied.errno.raw() }
}

struct Told<'o> {
    table: Table,
    any: bool,
    out: &'o mut Out,
}

impl Told<'_> {
    fn compare(
        &mut self,
        platform: Option<&str>,
        before: &Grants,
        after: &Grants,
    ) -> Result<(), Failure> {
        let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        for key in keys {
            let (was, is) = (before.get(key).copied(), after.get(key).copied());
            let Some(difference) = Difference::of(was, is) else { continue };
            self.any = true;
            let (name, id) = key;
            if self.out.is_json() {
                self.out.object(&JsonDifference {
                    difference: difference.name(),
                    platform: platform.map(str::to_owned),
                    path: member_path(name),
                    rootid: id.get(),
                    before: was.map(JsonCaps::from),
                    after: is.map(JsonCaps::from),
                })?;
                continue;
            }
            let caps = match (was, is) {
                (Some(was), Some(is)) => format!("{was} -> {is}"),
                (Some(one), None) | (None, Some(one)) => one.to_string(),
                (None, None) => String::new(),
            };
            let before = platform.map_or_else(String::new, |platform| format!("{platform}: "));
            let name = format!("{before}{}", out::name(name));
            self.table.row([difference.name().to_owned(), name, whose(Some(*id)), caps]);
        }
        Ok(())
    }
}
