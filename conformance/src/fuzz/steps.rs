// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens in a random world.

use std::collections::BTreeMap;

use nscap_core::{Extent, Policy};

use super::pick::Pick;
use super::values::{form_f, value};
use crate::live::{Front, Machine};
use crate::model::Model;
use crate::outcome::{Expectation, Outcome, OutcomeKind};
use crate::scenario::{Attr, Flag, MapWriter, Maps, Op, Step, World};

/// Operations that make sense after those before, as the prediction has it.
pub(super) fn steps(
    pick: &mut Pick,
    world: &World,
    policy: Policy,
    front: Front,
    machine: &Machine,
) -> Vec<Step> {
    let made = Model::new(world, policy, front.rules(), *machine);
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
        let mut op = op(pick, n, &by, &at, &model);
        if front != Front::Bare {
            op = of_the_design(pick, op, world);
        }
        let outcome = model.step(&by, &op);
        let outcome = outcome.unwrap_or_else(|problem| unreachable!("{op:?}: {problem}"));
        at.after(&by, &op, &outcome);
        let any = Expectation::parse(OutcomeKind::Nothing, "any");
        let any = any.unwrap_or_else(|problem| unreachable!("{problem}"));
        let (design_fuse, kernel, design_6_1, kernel_6_1) = (None, None, None, None);
        steps.push(Step { by, op, design: any, design_fuse, kernel, design_6_1, kernel_6_1 });
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

/// Ids of the namespace of the task that changes an owner.
const CHOWN_IDS: [u32; 14] =
    [0, 0, 1, 5, 7, 500, 1000, 1007, 100_000, 100_007, 101_000, 200_000, 70_000, u32::MAX - 1];

fn op(pick: &mut Pick, n: usize, by: &str, at: &Present, model: &Model<'_>) -> Op {
    let file = pick.of(&at.files).unwrap_or_else(|| "f".to_owned());
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
            let mut maybe = |percent| pick.percent(percent).then(|| pick.one(CHOWN_IDS));
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

/// Values of form F where a bare kernel was given any bytes. listxattr(2) does not know the mount
/// that it is called through, so it is left out on an id-mapped one.
fn of_the_design(pick: &mut Pick, op: Op, world: &World) -> Op {
    match op {
        Op::Set { attr: Attr::Nscap, file, flag, .. } => {
            Op::Set { attr: Attr::Nscap, file, flag, value: form_f(pick) }
        }
        Op::List(file) if !world.fs.idmap.is_empty() => Op::Get(Attr::Nscap, file),
        Op::Write(file) if pick.percent(30) => {
            Op::Set { attr: Attr::Nscap, file, flag: Flag::None, value: form_f(pick) }
        }
        Op::Size(_, file) => Op::Size(Attr::Nscap, file),
        other => other,
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
