//! A random world and what happens in it. Numbers are few and near each other, so that ids meet:
//! roots that are shared, owners that are just not mapped, rootids that name somebody.

use std::collections::BTreeMap;

use nscap_core::{
    CapSet, Capability, Extent, FileCaps, Gid, Kgid, Kuid, Policy, Uid, UserNs, VfsCaps,
};

use super::pick::Pick;
use crate::live::Machine;
use crate::model::{Model, Rules};
use crate::outcome::{Answer, Expectation, Outcome};
use crate::scenario::{
    Attr, Content, File, Flag, Fs, FsKind, INIT, MapWriter, Maps, Namespace, Op, Scenario, Step,
    Stored, Task, TaskSets, World,
};
use crate::text::show_set;
use crate::tree::Tree;

/// Ids that worlds are made of, as the host counts.
const IDS: [u32; 14] = [
    0,
    1,
    7,
    1000,
    1001,
    100_000,
    100_001,
    100_007,
    100_500,
    101_000,
    101_007,
    200_000,
    200_007,
    4_294_967_294,
];

/// Capabilities that decide about something here, and some that do not.
const CAPS: [Capability; 11] = [
    Capability::Setfcap,
    Capability::NetRaw,
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Setuid,
    Capability::Setgid,
    Capability::SysAdmin,
    Capability::SysPtrace,
];

/// The world of this number.
#[must_use]
pub fn world(seed: u64, number: u64, machine: &Machine) -> Scenario {
    let mut pick = Pick::new(seed, number);
    let mut world = World { namespaces: namespaces(&mut pick), ..World::default() };
    let tree = Tree::of(&world).unwrap_or_else(|problem| unreachable!("{problem}"));
    world.fs = fs(&mut pick, &world, &tree);
    world.files = files(&mut pick, &world.fs, &tree);
    world.tasks = tasks(&mut pick, &world, &tree);
    let steps = steps(&mut pick, &world, machine);
    Scenario {
        name: format!("fuzz-{seed}-{number}"),
        clauses: vec!["X".to_owned()],
        about: "made at random".to_owned(),
        policy: Policy::default(),
        design_only: None,
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

fn fs(pick: &mut Pick, world: &World, tree: &Tree) -> Fs {
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

fn set(pick: &mut Pick, percent: u32) -> CapSet {
    CapSet::of(&pick.some(&CAPS, percent))
}

fn file_caps(pick: &mut Pick) -> FileCaps {
    let above = if pick.percent(10) { CapSet::from_bits(1 << 45) } else { CapSet::EMPTY };
    FileCaps {
        permitted: set(pick, 20) | above,
        inheritable: if pick.percent(25) { set(pick, 20) } else { CapSet::EMPTY },
        effective: pick.percent(60),
    }
}

/// A value of security.capability: well-formed, nearly so, or not at all; never empty.
fn raw(pick: &mut Pick) -> Vec<u8> {
    let caps = file_caps(pick);
    let rootid = pick.of(&IDS).unwrap_or(0);
    let mut bytes = match pick.below(10) {
        0..=3 => VfsCaps::v2(caps).encode().as_bytes().to_vec(),
        4..=6 => VfsCaps::v3(rootid, caps).encode().as_bytes().to_vec(),
        _ => {
            let magic = 0x0100_0000 | u32::from(caps.effective);
            let words = [magic, caps.permitted.low(), caps.inheritable.low()];
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        }
    };
    spoil(pick, &mut bytes);
    bytes
}

fn spoil(pick: &mut Pick, bytes: &mut Vec<u8>) {
    match pick.below(12) {
        0 if bytes.len() > 1 => {
            bytes.pop();
        }
        1 => bytes.push(pick.byte()),
        2 => {
            let at = pick.count(0, bytes.len().saturating_sub(1));
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << pick.below(8);
            }
        }
        3 => bytes.truncate(pick.count(1, bytes.len())),
        _ => {}
    }
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
    })
}

fn sets(pick: &mut Pick, root: bool) -> TaskSets {
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

/// Operations that make sense after those before, as the prediction has it.
fn steps(pick: &mut Pick, world: &World, machine: &Machine) -> Vec<Step> {
    let made = Model::new(world, Policy::default(), Rules::Bare, *machine);
    let mut model = made.unwrap_or_else(|problem| unreachable!("{problem}"));
    let mut at = Present {
        files: world.files.keys().cloned().collect(),
        namespaces: world.namespaces.iter().map(|ns| ns.name.clone()).collect(),
        homes: world.tasks.iter().map(|(name, task)| (name.clone(), task.ns.clone())).collect(),
    };
    let tasks: Vec<String> = world.tasks.keys().cloned().collect();
    let mut steps = Vec::new();
    for n in 0..pick.count(15, 35) {
        let Some(by) = pick.of(&tasks) else { break };
        let op = op(pick, n, &by, &at, &model);
        let outcome = model.step(&by, &op);
        let outcome = outcome.unwrap_or_else(|problem| unreachable!("{op:?}: {problem}"));
        at.after(&by, &op, &outcome);
        let any = Expectation::parse(Answer::Nothing, "any");
        let any = any.unwrap_or_else(|problem| unreachable!("{problem}"));
        let (design_6_1, kernel_6_1, kernel) = (None, None, None);
        steps.push(Step { by, op, design: any, kernel, design_6_1, kernel_6_1 });
    }
    steps
}

/// What there is to name.
struct Present {
    files: Vec<String>,
    namespaces: Vec<String>,
    homes: BTreeMap<String, String>,
}

impl Present {
    fn after(&mut self, by: &str, op: &Op, outcome: &Outcome) {
        if *outcome != Outcome::Done {
            return;
        }
        match op {
            Op::Rename(_, to) | Op::Link(_, to) if !self.files.contains(to) => {
                self.files.push(to.clone());
            }
            Op::Unshare { ns, .. } => self.namespaces.push(ns.clone()),
            Op::Enter(ns) => {
                self.homes.insert(by.to_owned(), ns.clone());
            }
            _ => {}
        }
    }
}

fn op(pick: &mut Pick, n: usize, by: &str, at: &Present, model: &Model<'_>) -> Op {
    let file = pick.of(&at.files).unwrap_or_else(|| "f".to_owned());
    let id = |pick: &mut Pick| {
        pick.one([
            0,
            0,
            1,
            5,
            7,
            500,
            1000,
            1007,
            100_000,
            100_007,
            101_000,
            200_000,
            70_000,
            u32::MAX - 1,
        ])
    };
    match pick.below(100) {
        0..=21 => Op::Set { attr: Attr::Cap, file, value: value(pick), flag: flag(pick) },
        22..=33 => Op::Get(Attr::Cap, file),
        34..=35 => Op::Size(Attr::Cap, file),
        36..=42 => Op::Remove(Attr::Cap, file),
        43..=44 => Op::Set { attr: Attr::Nscap, file, value: vec![1, 2, 3], flag: flag(pick) },
        45 => Op::Get(Attr::Nscap, file),
        46 => Op::Remove(Attr::Nscap, file),
        47..=49 => Op::List(file),
        50..=75 => Op::Exec(file),
        76..=78 => Op::Write(file),
        79..=80 => Op::Truncate(file),
        81 => Op::Fallocate(file),
        82 => Op::Mmap(file),
        83..=84 => {
            let alike: Vec<String> =
                at.files.iter().filter(|from| model.are_alike(from, &file)).cloned().collect();
            match pick.of(&alike) {
                Some(from) => Op::CopyInto { from, file },
                None => Op::Write(file),
            }
        }
        85..=89 => {
            let mut maybe = |percent| pick.percent(percent).then(|| id(pick));
            let (uid, gid) = (maybe(70), maybe(60));
            Op::Chown { file, uid, gid }
        }
        90..=92 => {
            Op::Chmod(file, pick.one([0o755, 0o4755, 0o2755, 0o6777, 0o700, 0o644, 0o2705, 0o711]))
        }
        93 => Op::Rename(file, pick.one(["f", "g", "y", "z"]).to_owned()),
        94 => Op::Link(file, pick.one(["k", "l", "y"]).to_owned()),
        95 => Op::Utimes(file),
        96..=97 => unshare(pick, n),
        _ => {
            let home = at.homes.get(by);
            let others: Vec<String> =
                at.namespaces.iter().filter(|ns| Some(*ns) != home).cloned().collect();
            pick.of(&others).map_or(Op::Exec(file), Op::Enter)
        }
    }
}

fn unshare(pick: &mut Pick, n: usize) -> Op {
    let one = |pick: &mut Pick| Extent {
        inside: pick.one([0, 0, 0, 7]),
        outside: pick.one([0, 1, 7, 1000]),
        count: pick.one([1, 1, 1, 10]),
    };
    let uids = vec![one(pick)];
    let gids = if pick.percent(80) { uids.clone() } else { vec![one(pick)] };
    let writer = if pick.percent(50) { MapWriter::Parent } else { MapWriter::Child };
    Op::Unshare { ns: format!("made{n}"), maps: Maps { uids, gids }, writer }
}

fn flag(pick: &mut Pick) -> Flag {
    match pick.below(10) {
        0 => Flag::Create,
        1 => Flag::Replace,
        _ => Flag::None,
    }
}

/// What a task writes: mostly the plain value, as setcap does.
fn value(pick: &mut Pick) -> Vec<u8> {
    let caps = file_caps(pick);
    let rootid =
        pick.one([0, 0, 5, 500, 1000, 100_000, 101_000, 200_000, 70_000, u32::MAX, u32::MAX - 1]);
    let mut bytes = match pick.below(10) {
        0..=5 => VfsCaps::v2(caps).encode().as_bytes().to_vec(),
        6..=8 => VfsCaps::v3(rootid, caps).encode().as_bytes().to_vec(),
        _ => return raw(pick),
    };
    if pick.percent(15) {
        spoil(pick, &mut bytes);
    }
    bytes
}
