// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a scenario smaller for as long as it still shows what it shows: fewer steps, then fewer
//! things in its world, then plainer ones.

use crate::scenario::{Content, File, Fs, FsKind, INIT, Op, Scenario, Stored, Task};

/// The smallest that was found; the scenario itself is taken to show it.
pub(super) fn smallest(scenario: &Scenario, shows: impl Fn(&Scenario) -> bool) -> Scenario {
    let mut best = scenario.clone();
    loop {
        let smaller = candidates(&best).into_iter().find(|candidate| shows(candidate));
        match smaller {
            Some(smaller) => best = smaller,
            None => return best,
        }
    }
}

/// Everything that is one change smaller, the largest changes first.
fn candidates(from: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let len = from.steps.len();
    for keep in [len / 2, len.saturating_sub(1)] {
        let mut half = from.clone();
        half.steps.truncate(keep);
        all.push(half);
    }
    for n in 0..len {
        let mut without = from.clone();
        without.steps.remove(n);
        all.push(without);
    }
    all.retain(|candidate| !candidate.steps.is_empty() && candidate.steps.len() < len);
    all.extend(without_unused(from));
    all.extend(plainer(from));
    all
}

/// Without a task, file or namespace that nothing names.
fn without_unused(from: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let world = &from.world;
    for name in world.tasks.keys().filter(|name| from.steps.iter().all(|step| step.by != **name)) {
        let mut next = from.clone();
        next.world.tasks.remove(name);
        all.push(next);
    }
    let named = |name: &str| from.steps.iter().any(|step| step.op.files().contains(&name));
    let interprets = |name: &str| {
        world.files.values().any(|file| file.content == Content::Script(name.to_owned()))
    };
    for name in world.files.keys().filter(|name| !named(name) && !interprets(name)) {
        let mut next = from.clone();
        next.world.files.remove(name);
        all.push(next);
    }
    for (n, ns) in world.namespaces.iter().enumerate() {
        let used = world.fs.owner == ns.name
            || world.tasks.values().any(|task| task.ns == ns.name)
            || world.namespaces.iter().any(|other| other.parent == ns.name)
            || from
                .steps
                .iter()
                .any(|step| matches!(&step.op, Op::Enter(name) if *name == ns.name));
        if !used {
            let mut next = from.clone();
            next.world.namespaces.remove(n);
            all.push(next);
        }
    }
    all
}

/// With one thing as it mostly is.
fn plainer(from: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let mut propose = |change: &dyn Fn(&mut Scenario)| {
        let mut next = from.clone();
        change(&mut next);
        if format!("{:?}", next.world) != format!("{:?}", from.world) {
            all.push(next);
        }
    };
    propose(&|s| s.world.fs = Fs { kind: s.world.fs.kind, ..Fs::default() });
    propose(&|s| s.world.fs.nosuid = false);
    propose(&|s| s.world.fs.read_only = false);
    propose(&|s| s.world.fs.foreign = false);
    propose(&|s| s.world.fs.idmap.clear());
    propose(&|s| s.world.fs.owner = INIT.to_owned());
    let raw = from.world.files.values().any(|file| matches!(file.stored, Stored::Raw(_)));
    if !raw {
        propose(&|s| s.world.fs.kind = FsKind::Tmpfs);
    }
    for name in from.world.files.keys() {
        for change in PLAINER_FILES {
            propose(&|s| s.world.files.get_mut(name).into_iter().for_each(change));
        }
    }
    for name in from.world.tasks.keys() {
        for change in PLAINER_TASKS {
            propose(&|s| s.world.tasks.get_mut(name).into_iter().for_each(change));
        }
    }
    all
}

const PLAINER_FILES: [fn(&mut File); 5] = [
    |file| file.stored = Stored::nothing(),
    |file| file.content = Content::Probe,
    |file| file.mode = 0o755,
    |file| file.immutable = false,
    |file| file.group = file.owner,
];

const PLAINER_TASKS: [fn(&mut Task); 10] = [
    |task| task.groups.clear(),
    |task| task.securebits = 0,
    |task| task.no_new_privs = false,
    |task| task.traced = false,
    |task| task.shared_fs = false,
    |task| task.uids = [task.uids[0]; 3],
    |task| task.gids = [task.gids[0]; 3],
    |task| task.sets.bounding = "all".to_owned(),
    |task| task.sets.ambient = "none".to_owned(),
    |task| task.sets.effective.clone_from(&task.sets.permitted),
];
