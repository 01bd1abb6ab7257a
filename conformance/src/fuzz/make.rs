// SPDX-License-Identifier: MIT OR Apache-2.0
//! A random world: shared roots, owners at the edge of a map, rootids that name a root of the
//! world.

use std::collections::BTreeMap;

use nscap_core::{Busy, CapSet, Extent, Gid, Kgid, Kuid, Policy, Uid, UserNs};

use super::pick::Pick;
use super::steps::steps;
use super::values::{IDS, file_caps, raw, set};
use crate::live::{Front, Machine};
use crate::scenario::{
    Content, File, Fs, FsKind, INIT, Maps, Namespace, Scenario, Stored, Task, TaskSets, World,
};
use crate::text::show_set;
use crate::tree::Tree;

/// The world of this number, for a kernel on which that decides.
#[must_use]
pub fn world(seed: u64, number: u64, machine: &Machine, front: Front) -> Scenario {
    let mut pick = Pick::new(seed, number);
    let mut world = World { namespaces: namespaces(&mut pick), ..World::default() };
    let tree = Tree::of(&world).unwrap_or_else(|problem| unreachable!("{problem}"));
    world.fs = fs(&mut pick, &world, &tree, machine.kernel);
    world.files = files(&mut pick, &world.fs, &tree);
    world.tasks = tasks(&mut pick, &world, &tree);
    let policy = match front {
        Front::Bare => Policy::default(),
        Front::Linux | Front::Fuse => {
            let busy = pick.of(&Busy::ALL).unwrap_or_default();
            Policy::SEED.with_array(pick.percent(60)).with_busy(busy)
        }
    };
    let steps = steps(&mut pick, &world, policy, front, machine);
    Scenario {
        name: format!("fuzz-{seed}-{number}"),
        clauses: vec!["X".to_owned()],
        about: "made at random".to_owned(),
        policy,
        design_only: None,
        fuse_skip: None,
        world,
        steps,
    }
}

fn namespaces(pick: &mut Pick) -> Vec<Namespace> {
    let mut made: Vec<Namespace> = Vec::new();
    for name in ["a", "b", "c", "d"].into_iter().take(pick.count(1, 4)) {
        for _try in 0..8 {
            let known = World { namespaces: made.clone(), ..World::default() };
            let Ok(tree) = Tree::of(&known) else { continue };
            let mut parents: Vec<String> = made.iter().map(|ns| ns.name.clone()).collect();
            parents.push(INIT.to_owned());
            let Some(parent) = pick.of(&parents) else { continue };
            let Ok(above) = tree.get(&parent) else { continue };
            let mapped: Vec<u32> = IDS
                .into_iter()
                .filter(|id| Kuid::new(*id).is_some_and(|k| above.uid(k).is_some()))
                .collect();
            let Some(owner) = pick.of(&mapped) else { continue };
            let uids = map(pick, &inside_ids(&tree, &parent));
            let gids = if pick.percent(80) {
                uids.clone()
            } else {
                map(pick, &inside_ids(&tree, &parent))
            };
            let ns = Namespace { name: name.to_owned(), parent, owner, maps: Maps { uids, gids } };
            let next = World {
                namespaces: [made.as_slice(), std::slice::from_ref(&ns)].concat(),
                ..World::default()
            };
            if Tree::of(&next).is_ok() {
                made.push(ns);
                break;
            }
        }
    }
    made
}

/// Ids of our list and small ones, in the terms of a namespace.
fn inside_ids(tree: &Tree, ns: &str) -> Vec<u32> {
    let Ok(ns) = tree.get(ns) else { return Vec::new() };
    let of = |id: u32| Kuid::new(id).and_then(|kuid| ns.uid(kuid)).map(Uid::get);
    let mut all: Vec<u32> = IDS.into_iter().filter_map(of).collect();
    all.extend(
        [0, 1, 5, 7, 1000]
            .into_iter()
            .filter(|id| Uid::new(*id).is_some_and(|uid| ns.kuid(uid).is_some())),
    );
    all.sort_unstable();
    all.dedup();
    all
}

/// One to three extents that begin at ids of the parent.
fn map(pick: &mut Pick, outside: &[u32]) -> Vec<Extent> {
    let mut extents: Vec<Extent> = Vec::new();
    let mut inside = if pick.percent(85) { 0 } else { pick.one([1, 5, 1000]) };
    for _ in 0..pick.one([1, 1, 1, 2, 3]) {
        let Some(outside) = pick.of(outside) else { break };
        let count = pick.one([1, 1, 2, 10, 1000, 65536]);
        extents.push(Extent { inside, outside, count });
        inside += count + pick.one([0, 0, 1, 1000]);
    }
    extents
}

fn fs(pick: &mut Pick, world: &World, tree: &Tree, kernel: (u16, u16)) -> Fs {
    let mut fs = Fs {
        nosuid: pick.percent(5),
        noexec: pick.percent(2),
        read_only: pick.percent(4),
        foreign: pick.percent(4),
        ..Fs::default()
    };
    match pick.below(10) {
        0 => fs.kind = FsKind::Ext4,
        1 | 2 => {
            let able =
                |ns: &&Namespace| tree.get(&ns.name).is_ok_and(|ns| ns.first_ids().is_some());
            let names: Vec<String> =
                world.namespaces.iter().filter(able).map(|ns| ns.name.clone()).collect();
            fs.owner = pick.of(&names).unwrap_or(fs.owner);
        }
        3 | 4 => {
            let outside = pick.one([100_000, 200_000, 0, 100_500]);
            let inside = pick.one([0, 0, 0, 1000, 100_000]);
            fs.idmap = vec![Extent { inside, outside, count: pick.one([10, 1000, 65536]) }];
            if pick.percent(50) || kernel < (6, 3) {
                // tmpfs can be id-mapped since Linux 6.3.
                fs.kind = FsKind::Ext4;
            }
        }
        _ => {}
    }
    fs
}

fn files(pick: &mut Pick, fs: &Fs, tree: &Tree) -> BTreeMap<String, File> {
    let Ok(sb) = tree.get(&fs.owner) else { return BTreeMap::new() };
    let mut owners: Vec<u32> =
        IDS.into_iter().filter(|id| Kuid::new(*id).is_some_and(|k| sb.uid(k).is_some())).collect();
    let mut groups: Vec<u32> =
        IDS.into_iter().filter(|id| Kgid::new(*id).is_some_and(|k| sb.gid(k).is_some())).collect();
    if let Some((uid, gid)) = sb.first_ids() {
        owners.extend(Uid::new(uid).and_then(|uid| sb.kuid(uid)).map(Kuid::get));
        groups.extend(Gid::new(gid).and_then(|gid| sb.kgid(gid)).map(Kgid::get));
    }
    let names = ["f", "g", "h", "i"];
    let mut files = BTreeMap::new();
    for (n, name) in names.into_iter().take(pick.count(2, 4)).enumerate() {
        let owner = pick.of(&owners).unwrap_or(0);
        let group = pick.of(&groups).unwrap_or(0);
        let mode = pick.one([
            0o755, 0o755, 0o755, 0o777, 0o4755, 0o2755, 0o6755, 0o4777, 0o2705, 0o700, 0o644,
            0o750, 0o066,
        ]);
        let content = if n > 0 && pick.percent(12) {
            Content::Script("f".to_owned())
        } else {
            Content::Probe
        };
        let stored = stored(pick, fs, &owners);
        files.insert(
            name.to_owned(),
            File { owner, group, mode, content, stored, immutable: pick.percent(3) },
        );
    }
    files
}

/// What a kernel would have written, or on ext4 any bytes.
fn stored(pick: &mut Pick, fs: &Fs, kuids: &[u32]) -> Stored {
    if fs.kind == FsKind::Ext4 && pick.percent(60) {
        return Stored::Raw(raw(pick));
    }
    let mut host = None;
    let mut entries = BTreeMap::new();
    match pick.below(10) {
        0..=2 => host = Some(file_caps(pick)),
        3..=6 => {
            let kuid = pick.of(kuids).unwrap_or(0);
            entries.insert(kuid, file_caps(pick));
        }
        _ => {}
    }
    Stored::Caps { host, entries }
}

fn tasks(pick: &mut Pick, world: &World, tree: &Tree) -> BTreeMap<String, Task> {
    let mut homes: Vec<String> = world.namespaces.iter().map(|ns| ns.name.clone()).collect();
    homes.push(INIT.to_owned());
    let mut tasks = BTreeMap::new();
    for name in ["t", "u", "v", "w", "x"].into_iter().take(pick.count(2, 5)) {
        let home = pick.of(&homes).unwrap_or_else(|| INIT.to_owned());
        if let Some(task) = task(pick, tree, &home) {
            tasks.insert(name.to_owned(), task);
        }
    }
    if tasks.is_empty()
        && let Some(task) = task(pick, tree, INIT)
    {
        tasks.insert("t".to_owned(), task);
    }
    tasks
}

fn task(pick: &mut Pick, tree: &Tree, home: &str) -> Option<Task> {
    let ns = tree.get(home).ok()?;
    let uids = inside_ids(tree, home);
    let mapped = |id: &u32| Gid::new(*id).is_some_and(|gid| ns.kgid(gid).is_some());
    let mut gids: Vec<u32> = uids.iter().copied().filter(mapped).collect();
    gids.extend(ns.first_ids().map(|(_, gid)| gid));
    let uid = if pick.percent(40) && uids.contains(&0) { 0 } else { pick.of(&uids)? };
    let gid = if gids.contains(&uid) { uid } else { pick.of(&gids)? };
    let mut other = |all: &[u32], same: u32| {
        if pick.percent(12) { pick.of(all).unwrap_or(same) } else { same }
    };
    let euid = other(&uids, uid);
    let (suid, egid) = (other(&uids, euid), other(&gids, gid));
    let sgid = other(&gids, egid);
    let groups = if pick.percent(20) { pick.some(&gids, 30) } else { Vec::new() };
    let securebits = match pick.below(20) {
        0 => 1,
        1 => 1 << 2,
        2 => 1 << 4,
        3 => 1 | 1 << 2,
        _ => 0,
    };
    Some(Task {
        ns: home.to_owned(),
        uids: [uid, euid, suid],
        gids: [gid, egid, sgid],
        groups,
        sets: sets(pick, euid == 0),
        securebits,
        no_new_privs: pick.percent(8),
        traced: pick.percent(5),
        shared_fs: pick.percent(5),
        pid_ns: false,
    })
}

/// The sets of a task; of one that is root mostly all.
pub(crate) fn sets(pick: &mut Pick, root: bool) -> TaskSets {
    let all = "all".to_owned();
    let permitted_all = if root { pick.percent(75) } else { pick.percent(10) };
    let permitted =
        if permitted_all { CapSet::KNOWN } else { set(pick, if root { 50 } else { 20 }) };
    let lacking = if pick.percent(20) { set(pick, 30) } else { CapSet::EMPTY };
    let effective = permitted.minus(lacking);
    let inheritable = if pick.percent(25) { set(pick, 30) } else { CapSet::EMPTY };
    let ambient = if pick.percent(50) { inheritable & permitted } else { CapSet::EMPTY };
    let without = |lacking: CapSet| {
        let names: Vec<String> = lacking.iter().map(|cap| format!(",!{}", cap.name())).collect();
        format!("all{}", names.concat())
    };
    TaskSets {
        permitted: if permitted_all { all } else { show_set(permitted) },
        effective: if permitted_all { without(lacking) } else { show_set(effective) },
        inheritable: show_set(inheritable),
        ambient: show_set(ambient),
        bounding: if pick.percent(20) { without(set(pick, 30)) } else { "all".to_owned() },
    }
}
