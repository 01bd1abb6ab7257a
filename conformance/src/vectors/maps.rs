// SPDX-License-Identifier: MIT OR Apache-2.0
//! Id maps: each namespace of the table with its maps as they are written and in kuids, and what
//! ids become. user_namespaces(7); docs/spec.md, Words and objects.

use std::collections::BTreeSet;

use nscap_core::{Extent, Gid, Kgid, Kuid, Uid, UserNs};
use serde::Serialize;

use crate::scenario::{Namespace, Scenario};
use crate::text::Problem;
use crate::tree::{Ns, Tree};

/// An extent: its first id inside, its first id outside, how many.
pub(super) type Row = (u32, u32, u32);

#[derive(Serialize)]
pub(super) struct Case {
    /// The maps from the outermost namespace to this one, as `/proc/PID/uid_map` takes them:
    /// outside are ids of the namespace before, and of the first one kuids.
    written: Vec<Written>,
    /// The same as one map each, outside in kuids and kgids.
    uids: Vec<Row>,
    gids: Vec<Row>,
    root_kuid: Option<u32>,
    /// An id inside and its kuid, or null where it has none.
    uid_to_kuid: Vec<(u32, Option<u32>)>,
    /// A kuid and its id inside, or null.
    kuid_to_uid: Vec<(u32, Option<u32>)>,
    gid_to_kgid: Vec<(u32, Option<u32>)>,
    kgid_to_gid: Vec<(u32, Option<u32>)>,
}

#[derive(Serialize)]
struct Written {
    uids: Vec<Row>,
    gids: Vec<Row>,
}

pub(super) fn rows(extents: &[Extent]) -> Vec<Row> {
    extents.iter().map(|e| (e.inside, e.outside, e.count)).collect()
}

pub(super) fn cases(table: &[Scenario]) -> Result<Vec<Case>, Problem> {
    let (mut seen, mut cases) = (BTreeSet::new(), Vec::new());
    for scenario in table {
        let tree =
            Tree::of(&scenario.world).map_err(|problem| format!("{}: {problem}", scenario.name))?;
        for ns in &scenario.world.namespaces {
            let chain = chain(&scenario.world.namespaces, ns);
            let key: Vec<_> =
                chain.iter().map(|ns| (rows(&ns.maps.uids), rows(&ns.maps.gids))).collect();
            if seen.insert(key) {
                cases.push(case(&chain, tree.get(&ns.name)?));
            }
        }
    }
    Ok(cases)
}

/// The namespaces from the outermost to this one.
fn chain<'n>(all: &'n [Namespace], ns: &'n Namespace) -> Vec<&'n Namespace> {
    let mut chain = vec![ns];
    while let Some(parent) = chain.first().and_then(|ns| all.iter().find(|p| p.name == ns.parent)) {
        chain.insert(0, parent);
    }
    chain
}

fn case(chain: &[&Namespace], ns: Ns<'_>) -> Case {
    let written =
        |ns: &&Namespace| Written { uids: rows(&ns.maps.uids), gids: rows(&ns.maps.gids) };
    let (uids, gids) = ns.extents();
    let kuid = |id| (id, Uid::new(id).and_then(|uid| ns.kuid(uid)).map(Kuid::get));
    let uid = |id| (id, Kuid::new(id).and_then(|kuid| ns.uid(kuid)).map(Uid::get));
    let kgid = |id| (id, Gid::new(id).and_then(|gid| ns.kgid(gid)).map(Kgid::get));
    let gid = |id| (id, Kgid::new(id).and_then(|kgid| ns.gid(kgid)).map(Gid::get));
    Case {
        written: chain.iter().map(written).collect(),
        uids: rows(uids),
        gids: rows(gids),
        root_kuid: nscap_core::root_kuid(ns).map(Kuid::get),
        uid_to_kuid: probes(uids, |e| e.inside).into_iter().map(kuid).collect(),
        kuid_to_uid: probes(uids, |e| e.outside).into_iter().map(uid).collect(),
        gid_to_kgid: probes(gids, |e| e.inside).into_iter().map(kgid).collect(),
        kgid_to_gid: probes(gids, |e| e.outside).into_iter().map(gid).collect(),
    }
}

/// Ids on both sides of each end of each extent, and the ends of all ids.
fn probes(extents: &[Extent], first: impl Fn(&Extent) -> u32) -> BTreeSet<u32> {
    let mut ids = BTreeSet::from([0, 1, 65_534, u32::MAX - 1, u32::MAX]);
    for extent in extents {
        let (first, end) = (first(extent), first(extent).saturating_add(extent.count));
        ids.extend([first.saturating_sub(1), first, end.saturating_sub(1), end]);
    }
    ids
}
