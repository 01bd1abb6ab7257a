// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decisions: each step of each scenario with all that it is decided from, and its answer. A step
//! can be taken alone: the caller and the file are written down as they are before it.

use nscap_core::{
    CapSet, Cred, FileCaps, HostValue, InodeView, Kgid, Kuid, NsCaps, Stored, UserNs,
};
use serde::Serialize;

use super::maps::{Row, rows};
use super::{Caps, LONGEST, hex_set};
use crate::fuzz::action;
use crate::live::Machine;
use crate::model::{Model, Rules};
use crate::outcome::{Executed, Outcome, show_errno};
use crate::scenario::{
    Content, File as ScenarioFile, Flag, FsKind, Op, Scenario, Step, Stored as Holds,
};
use crate::stored::Attributes;
use crate::text::{Problem, show_hex};
use crate::tree::{Ns, Tree};

/// The kernel whose rules of execve(2) and chown(2) are taken.
pub(super) const KERNEL: (u16, u16) = (6, 18);

#[derive(Serialize)]
pub(super) struct Case {
    name: String,
    clauses: Vec<String>,
    about: String,
    policy: Policy,
    fs: Fs,
    /// Those of the world, and those that a step makes.
    namespaces: Vec<Namespace>,
    steps: Vec<Decided>,
}

#[derive(Serialize)]
struct Policy {
    array: bool,
    busy: &'static str,
}

#[derive(Serialize)]
struct Fs {
    kind: &'static str,
    owner: String,
    /// Extents of ids on disk and kuids; empty where the mount is not id-mapped.
    idmap: Vec<Row>,
    nosuid: bool,
    noexec: bool,
    read_only: bool,
    foreign: bool,
}

#[derive(Serialize)]
struct Namespace {
    name: String,
    parent: Option<String>,
    owner: u32,
    root_kuid: Option<u32>,
    uids: Vec<Row>,
    gids: Vec<Row>,
}

#[derive(Serialize)]
struct Decided {
    by: String,
    r#do: String,
    caller: Caller,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flag: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<File>,
    answer: Answer,
    /// What an unmodified kernel answers, where that is something else and it has a part in this.
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<Answer>,
    /// The file after the step, where the step changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<File>,
}

/// Ids are kuids and kgids: real, effective, saved, and of the file system.
#[derive(Serialize)]
struct Caller {
    ns: String,
    uids: [u32; 4],
    gids: [u32; 4],
    groups: Vec<u32>,
    permitted: String,
    effective: String,
    inheritable: String,
    ambient: String,
    bounding: String,
    securebits: u32,
    no_new_privs: bool,
}

/// A file as its mount shows it, and what it holds.
#[derive(PartialEq, Eq, Clone, Serialize)]
struct File {
    name: String,
    owner: Option<u32>,
    group: Option<u32>,
    mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<String>,
    immutable: bool,
    host: Option<Host>,
    entries: Vec<Grant>,
    /// The bytes on disk; a table and its tripwire differ from front end to front end.
    capability: Option<String>,
    nscapability: Option<String>,
}

#[derive(PartialEq, Eq, Clone, Serialize)]
#[serde(untagged)]
enum Host {
    Malformed { malformed: bool },
    Value(Grant),
}

/// Capabilities with the kuid that they belong to through this mount, and the id on disk. Of a host
/// value: the root of the superblock's owner, and 0.
#[derive(PartialEq, Eq, Clone, Serialize)]
struct Grant {
    kuid: Option<u32>,
    stored: u32,
    #[serde(flatten)]
    caps: Caps,
}

#[derive(PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Ok,
    Errno(String),
    Value(String),
    Length(usize),
    Names(Vec<&'static str>),
    Exec(Exec),
}

/// After execve(2), ids in the terms of the task's own namespace.
#[derive(PartialEq, Eq, Serialize)]
struct Exec {
    uids: [u32; 3],
    gids: [u32; 3],
    permitted: String,
    effective: String,
    inheritable: String,
    ambient: String,
    bounding: String,
    secure: bool,
    no_new_privs: bool,
    securebits: u32,
}

pub(super) fn cases(table: &[Scenario]) -> Result<Vec<Case>, Problem> {
    let is_short = |scenario: &&Scenario| {
        let few = |file: &ScenarioFile| match &file.stored {
            Holds::Caps { entries, .. } => NsCaps::encoded_len(entries.len()) <= LONGEST,
            Holds::Raw(_) => true,
        };
        let small = |step: &Step| match &step.op {
            Op::Set { value, .. } => value.len() <= LONGEST,
            _ => true,
        };
        scenario.world.files.values().all(few) && scenario.steps.iter().all(small)
    };
    let named = |scenario: &Scenario| {
        case(scenario).map_err(|problem| format!("{}: {problem}", scenario.name))
    };
    table.iter().filter(is_short).map(named).collect()
}

fn case(scenario: &Scenario) -> Result<Case, Problem> {
    let world = &scenario.world;
    let new = |rules| Model::new(world, scenario.policy, rules, Machine::ideal(KERNEL));
    let (mut design, mut bare) = (new(Rules::Design)?, new(Rules::Bare)?);
    let mut steps = Vec::new();
    for step in &scenario.steps {
        let mut decided = decided(&mut design, step)?;
        let kernel = answer(&bare.step(&step.by, &step.op)?);
        if scenario.design_only.is_none() && kernel != decided.answer {
            decided.kernel = Some(kernel);
        }
        steps.push(decided);
    }
    let fs = &world.fs;
    Ok(Case {
        name: scenario.name.clone(),
        clauses: scenario.clauses.clone(),
        about: scenario.about.clone(),
        policy: Policy { array: scenario.policy.array, busy: scenario.policy.busy.name() },
        fs: Fs {
            kind: match fs.kind {
                FsKind::Tmpfs => "tmpfs",
                FsKind::Ext4 => "ext4",
            },
            owner: fs.owner.clone(),
            idmap: rows(&fs.idmap),
            nosuid: fs.nosuid,
            noexec: fs.noexec,
            read_only: fs.read_only,
            foreign: fs.foreign,
        },
        namespaces: design.tree().all().map(namespace).collect(),
        steps,
    })
}

fn namespace(ns: Ns<'_>) -> Namespace {
    let (uids, gids) = ns.extents();
    Namespace {
        name: ns.name().to_owned(),
        parent: ns.parent().map(|parent| parent.name().to_owned()),
        owner: ns.owner().get(),
        root_kuid: nscap_core::root_kuid(ns).map(Kuid::get),
        uids: rows(uids),
        gids: rows(gids),
    }
}

fn decided(model: &mut Model<'_>, step: &Step) -> Result<Decided, Problem> {
    let caller = model.caller(&step.by)?;
    let caller = task(model.tree(), &caller);
    let name = step.op.files().last().map(|name| (*name).to_owned());
    let before = name.as_deref().and_then(|name| file(model, name));
    let outcome = model.step(&step.by, &step.op)?;
    let after = name.as_deref().and_then(|name| file(model, name));
    let (value, flag) = match &step.op {
        Op::Set { value, flag, .. } => (Some(show_hex(value)), *flag),
        _ => (None, Flag::None),
    };
    Ok(Decided {
        by: step.by.clone(),
        r#do: action(&step.op),
        caller,
        value,
        flag: match flag {
            Flag::None => None,
            Flag::Create => Some("create"),
            Flag::Replace => Some("replace"),
        },
        answer: answer(&outcome),
        kernel: None,
        after: after.filter(|after| before.as_ref() != Some(after)),
        file: before,
    })
}

fn task(tree: &Tree, caller: &crate::model::Caller) -> Caller {
    let cred: &Cred<usize> = &caller.cred;
    let set = |set: CapSet| hex_set(set.bits());
    Caller {
        ns: tree.ns(cred.ns).name().to_owned(),
        uids: [cred.uid, cred.euid, cred.suid, cred.fsuid].map(Kuid::get),
        gids: [cred.gid, cred.egid, cred.sgid, cred.fsgid].map(Kgid::get),
        groups: caller.groups.iter().copied().map(Kgid::get).collect(),
        permitted: set(cred.permitted),
        effective: set(cred.effective),
        inheritable: set(cred.inheritable),
        ambient: set(cred.ambient),
        bounding: set(cred.bounding),
        securebits: cred.securebits.0,
        no_new_privs: caller.no_new_privs,
    }
}

fn file(model: &Model<'_>, name: &str) -> Option<File> {
    let seen = model.file(name)?;
    let (view, stored): (&InodeView<Ns<'_>>, &Stored<'_>) = (&seen.view, &seen.stored);
    let grant = |rootid: nscap_core::Uid, caps: FileCaps| Grant {
        kuid: view.kuid_of(rootid).map(Kuid::get),
        stored: rootid.get(),
        caps: Caps::of(caps),
    };
    let hex = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(show_hex);
    let Attributes { cap, nscap } = seen.attributes;
    Some(File {
        name: name.to_owned(),
        owner: view.owner.map(Kuid::get),
        group: view.group.map(Kgid::get),
        mode: format!("{:o}", seen.mode),
        script: match seen.content {
            Content::Probe => None,
            Content::Script(interpreter) => Some(interpreter.clone()),
        },
        immutable: view.immutable,
        host: match stored.host {
            HostValue::Absent => None,
            HostValue::Malformed => Some(Host::Malformed { malformed: true }),
            HostValue::Present(caps) => Some(Host::Value(grant(nscap_core::Uid::ROOT, caps))),
        },
        entries: stored.entries.iter().map(|(rootid, caps)| grant(rootid, caps)).collect(),
        capability: hex(cap),
        nscapability: hex(nscap),
    })
}

fn answer(outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Done => Answer::Ok,
        Outcome::Failed(errno) => Answer::Errno(show_errno(*errno)),
        Outcome::Value(bytes) => Answer::Value(show_hex(bytes)),
        Outcome::Length(length) => Answer::Length(*length),
        Outcome::Listed { cap, nscap } => {
            let names = [(*cap, "security.capability"), (*nscap, "security.nscapability")];
            Answer::Names(names.into_iter().filter(|(yes, _)| *yes).map(|(_, name)| name).collect())
        }
        Outcome::Executed(executed) => Answer::Exec(exec(executed)),
    }
}

fn exec(executed: &Executed) -> Exec {
    let [permitted, effective, inheritable, ambient, bounding] = executed.sets.map(hex_set);
    Exec {
        uids: executed.uids,
        gids: executed.gids,
        permitted,
        effective,
        inheritable,
        ambient,
        bounding,
        secure: executed.secure,
        no_new_privs: executed.no_new_privs,
        securebits: executed.securebits,
    }
}
