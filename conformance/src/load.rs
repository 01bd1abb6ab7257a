// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads scenario files. README.md documents the format.
//!
//! Nothing bad is passed over: an unknown key, a name used twice, a reference to something that
//! the scenario does not declare, and every text that does not read is an error that names the
//! file and the scenario.

mod ops;
mod raw;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nscap_core::{Busy, Extent, Policy};

use crate::outcome::{Expectation, securebits};
use crate::scenario::{
    Content, File, Fs, FsKind, INIT, Maps, Namespace, Op, Scenario, Step, Stored, Task, TaskSets,
    World,
};
use crate::text::{self, Problem};
use raw::{RawFile, RawFs, RawNs, RawPolicy, RawScenario, RawStep, RawTask, Table};

/// Why a scenario file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, or has a key that there is not.
    #[error("{path}: {source}")]
    Toml {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A scenario in it does not make sense.
    #[error("{path}: scenario {name:?}: {problem}")]
    Scenario {
        /// Which file.
        path: PathBuf,
        /// Which scenario.
        name: String,
        /// What is wrong.
        problem: Problem,
    },
}

/// Reads every `*.toml` of a directory, in the order of their names.
///
/// # Errors
/// [`LoadError`], with the first thing that is wrong; two scenarios of the same name are.
pub fn load_dir(dir: &Path) -> Result<Vec<Scenario>, LoadError> {
    let io = |source| LoadError::Io { path: dir.to_owned(), source };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|ext| ext == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut all: Vec<Scenario> = Vec::new();
    let mut names: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in paths {
        let text = std::fs::read_to_string(&path)
            .map_err(|source| LoadError::Io { path: path.clone(), source })?;
        for scenario in load(&path, &text)? {
            if let Some(first) = names.insert(scenario.name.clone(), path.clone()) {
                let problem = format!("the name is used in {} already", first.display());
                return Err(LoadError::Scenario { path, name: scenario.name, problem });
            }
            all.push(scenario);
        }
    }
    Ok(all)
}

/// Reads the scenarios in the text of one file; `path` is for messages.
///
/// # Errors
/// [`LoadError`].
pub fn load(path: &Path, text: &str) -> Result<Vec<Scenario>, LoadError> {
    let table: Table = toml::from_str(text)
        .map_err(|source| LoadError::Toml { path: path.to_owned(), source: Box::new(source) })?;
    let convert = |raw: RawScenario| {
        let name = raw.name.clone();
        scenario(raw).map_err(|problem| LoadError::Scenario {
            path: path.to_owned(),
            name,
            problem,
        })
    };
    table.scenario.into_iter().map(convert).collect()
}

fn scenario(raw: RawScenario) -> Result<Scenario, Problem> {
    if raw.clause.is_empty() {
        return Err("it cites no clause".to_owned());
    }
    if raw.steps.is_empty() {
        return Err("it has no step".to_owned());
    }
    let namespaces = namespaces(raw.ns)?;
    let fs = fs(raw.fs)?;
    let world = World {
        fs,
        files: convert_all("file", raw.file, file)?,
        tasks: convert_all("task", raw.task, task)?,
        namespaces,
    };
    check_world(&world)?;
    let mut steps = Vec::new();
    for (n, raw) in raw.steps.into_iter().enumerate() {
        let step = step(raw).and_then(|step| check_step(&world, &steps, &step).map(|()| step));
        steps.push(step.map_err(|problem| format!("step {}: {problem}", n + 1))?);
    }
    Ok(Scenario {
        name: raw.name,
        clauses: raw.clause,
        about: raw.about,
        policy: policy(&raw.policy)?,
        design_only: raw.design_only,
        fuse_skip: raw.fuse_skip,
        world,
        steps,
    })
}

fn policy(raw: &RawPolicy) -> Result<Policy, Problem> {
    let busy = raw.busy.as_deref().map_or(Ok(Busy::default()), |name| {
        Busy::named(name).ok_or_else(|| format!("no value of busy: {name:?}"))
    })?;
    Ok(Policy::SEED.with_array(raw.array).with_busy(busy))
}

fn convert_all<R, T>(
    kind: &str,
    raw: BTreeMap<String, R>,
    convert: impl Fn(R) -> Result<T, Problem>,
) -> Result<BTreeMap<String, T>, Problem> {
    let named = |(name, raw): (String, R)| match convert(raw) {
        Ok(value) => Ok((name, value)),
        Err(problem) => Err(format!("{kind} {name:?}: {problem}")),
    };
    raw.into_iter().map(named).collect()
}

/// The namespaces, parents first; the maps of a parent give the default maker of its child.
fn namespaces(raw: BTreeMap<String, RawNs>) -> Result<Vec<Namespace>, Problem> {
    let mut waiting: Vec<(String, RawNs)> = raw.into_iter().collect();
    let mut done: Vec<Namespace> = Vec::new();
    while !waiting.is_empty() {
        let known = |parent: &str| parent == INIT || done.iter().any(|ns| ns.name == parent);
        let Some(next) = waiting.iter().position(|(_, raw)| known(&raw.parent)) else {
            let (name, raw) = waiting.swap_remove(0);
            return Err(format!("ns {name:?}: there is no parent {:?}", raw.parent));
        };
        let (name, raw) = waiting.remove(next);
        if name == INIT {
            return Err("init is there already".to_owned());
        }
        let maps = maps(&raw.uids, raw.gids.as_deref());
        let maps = maps.map_err(|problem| format!("ns {name:?}: {problem}"))?;
        let owner = raw.owner.or_else(|| default_owner(&done, &raw.parent));
        let owner = owner.ok_or_else(|| format!("ns {name:?}: its owner must be said"))?;
        done.push(Namespace { name, parent: raw.parent, owner, maps });
    }
    Ok(done)
}

/// The root kuid of the parent, where that is easily told: root made the namespace.
fn default_owner(known: &[Namespace], parent: &str) -> Option<u32> {
    let mut id = 0;
    let mut name = parent;
    while name != INIT {
        let ns = known.iter().find(|ns| ns.name == name)?;
        id = outside(&ns.maps.uids, id)?;
        name = &ns.parent;
    }
    Some(id)
}

/// Where a map sends an id.
pub(crate) fn outside(map: &[Extent], id: u32) -> Option<u32> {
    map.iter().find_map(|e| {
        let offset = id.checked_sub(e.inside).filter(|offset| *offset < e.count)?;
        e.outside.checked_add(offset)
    })
}

/// Two maps in the notation of README.md; the gids are as the uids where nothing else is said.
fn maps(uids: &str, gids: Option<&str>) -> Result<Maps, Problem> {
    Ok(Maps { uids: extents(uids)?, gids: extents(gids.unwrap_or(uids))? })
}

/// A map: `inside:outside:count`, several separated by commas.
fn extents(text: &str) -> Result<Vec<Extent>, Problem> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| match part.split(':').collect::<Vec<_>>().as_slice() {
            [inside, outside, count] => Ok(Extent {
                inside: text::number(inside)?,
                outside: text::number(outside)?,
                count: text::number(count)?,
            }),
            _ => Err(format!("not inside:outside:count: {part:?}")),
        })
        .collect()
}

fn fs(raw: RawFs) -> Result<Fs, Problem> {
    let kind = match raw.kind.as_deref() {
        None | Some("tmpfs") => FsKind::Tmpfs,
        Some("ext4") => FsKind::Ext4,
        Some(other) => return Err(format!("fs: neither tmpfs nor ext4: {other:?}")),
    };
    Ok(Fs {
        kind,
        owner: raw.owner.unwrap_or_else(|| INIT.to_owned()),
        idmap: extents(raw.idmap.as_deref().unwrap_or(""))?,
        nosuid: raw.nosuid,
        noexec: raw.noexec,
        read_only: raw.read_only,
        foreign: raw.foreign,
    })
}

fn file(raw: RawFile) -> Result<File, Problem> {
    let mode = raw.mode.as_deref().unwrap_or("755");
    let content = match raw.content.as_deref() {
        None | Some("probe") => Content::Probe,
        Some(other) => match other.strip_prefix("script ") {
            Some(interpreter) => Content::Script(interpreter.trim().to_owned()),
            None => return Err(format!("content is neither probe nor script FILE: {other:?}")),
        },
    };
    let caps = |text: &String| text::file_caps(text);
    let entries = raw.entries.iter().map(|(kuid, text)| Ok((text::number(kuid)?, caps(text)?)));
    let entries: BTreeMap<u32, _> = entries.collect::<Result<_, Problem>>()?;
    let host = raw.host.as_ref().map(caps).transpose()?;
    let stored = match raw.raw {
        Some(_) if host.is_some() || !entries.is_empty() => {
            return Err("raw is all that a file holds: no host, no entries beside it".to_owned());
        }
        Some(value) => Stored::Raw(text::value(&value)?),
        None => Stored::Caps { host, entries },
    };
    Ok(File {
        owner: raw.owner,
        group: raw.group.unwrap_or(raw.owner),
        mode: u32::from_str_radix(mode, 8).map_err(|e| format!("mode {mode:?}: {e}"))?,
        content,
        stored,
        immutable: raw.immutable,
    })
}

fn task(raw: RawTask) -> Result<Task, Problem> {
    let euid = raw.euid.unwrap_or(raw.uid);
    let gid = raw.gid.unwrap_or(raw.uid);
    let egid = raw.egid.unwrap_or(gid);
    let caps = raw.caps.unwrap_or_else(|| if euid == 0 { "all" } else { "none" }.to_owned());
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    let sets = TaskSets {
        permitted: raw.permitted.unwrap_or_else(|| caps.clone()),
        effective: raw.effective.unwrap_or(caps),
        inheritable: or_none(raw.inheritable),
        ambient: or_none(raw.ambient),
        bounding: raw.bounding.unwrap_or_else(|| "all".to_owned()),
    };
    let TaskSets { permitted, effective, inheritable, ambient, bounding } = &sets;
    for text in [permitted, effective, inheritable, ambient, bounding] {
        text::set(text, nscap_core::CapSet::KNOWN)?;
    }
    Ok(Task {
        ns: raw.ns.unwrap_or_else(|| INIT.to_owned()),
        uids: [raw.uid, euid, raw.suid.unwrap_or(euid)],
        gids: [gid, egid, raw.sgid.unwrap_or(egid)],
        groups: raw.groups,
        sets,
        securebits: securebits(raw.securebits.as_deref().unwrap_or(""))?,
        no_new_privs: raw.no_new_privs,
        traced: raw.traced,
        shared_fs: raw.shared_fs,
        pid_ns: raw.pid_ns,
    })
}

fn step(raw: RawStep) -> Result<Step, Problem> {
    let (op, answer) = ops::parse(&raw.action, raw.flag.as_deref())?;
    let read = |text: &String| Expectation::parse(answer, text);
    Ok(Step {
        by: raw.by,
        op,
        design: read(&raw.design)?,
        design_fuse: raw.design_fuse.as_ref().map(read).transpose()?,
        kernel: raw.kernel.as_ref().map(read).transpose()?,
        design_6_1: raw.design_6_1.as_ref().map(read).transpose()?,
        kernel_6_1: raw.kernel_6_1.as_ref().map(read).transpose()?,
    })
}

/// That everything that the world names is there.
fn check_world(world: &World) -> Result<(), Problem> {
    let known = |ns: &str| ns == INIT || world.namespaces.iter().any(|n| n.name == ns);
    if !known(&world.fs.owner) {
        return Err(format!("fs: there is no namespace {:?}", world.fs.owner));
    }
    if world.fs.kind == FsKind::Ext4 && world.fs.owner != INIT {
        return Err("fs: no namespace but init can own an ext4".to_owned());
    }
    for (name, file) in &world.files {
        if name.contains(['/', ' ']) || name.starts_with('.') {
            return Err(format!("file {name:?}: not a plain name"));
        }
        if let Content::Script(interpreter) = &file.content
            && !world.files.contains_key(interpreter)
        {
            return Err(format!("file {name:?}: there is no interpreter {interpreter:?}"));
        }
        if let Stored::Raw(_) = file.stored
            && world.fs.kind != FsKind::Ext4
        {
            return Err(format!("file {name:?}: raw needs fs.kind = \"ext4\""));
        }
    }
    Ok(())
}

/// That everything that a step names is there, or made by an earlier step.
fn check_step(world: &World, before: &[Step], step: &Step) -> Result<(), Problem> {
    let mut files: BTreeSet<&str> = world.files.keys().map(String::as_str).collect();
    let mut namespaces: BTreeSet<&str> = world.namespaces.iter().map(|n| &*n.name).collect();
    namespaces.insert(INIT);
    for step in before {
        match &step.op {
            Op::Rename(_, to) | Op::Link(_, to) => files.insert(to),
            Op::Unshare { ns, .. } => namespaces.insert(ns),
            _ => continue,
        };
    }
    let task = world.tasks.get(&step.by);
    let task = task.ok_or_else(|| format!("there is no task {:?}", step.by))?;
    if !namespaces.contains(&*task.ns) {
        return Err(format!("task {:?}: there is no namespace {:?}", step.by, task.ns));
    }
    if let Some(missing) = step.op.files().into_iter().find(|file| !files.contains(file)) {
        return Err(format!("there is no file {missing:?}"));
    }
    match &step.op {
        Op::Unshare { .. } if task.pid_ns => {
            Err("a task in a pid namespace of its own makes none".to_owned())
        }
        Op::Enter(ns) if !namespaces.contains(&**ns) => {
            Err(format!("there is no namespace {ns:?}"))
        }
        Op::Unshare { ns, .. } if namespaces.contains(&**ns) => {
            Err(format!("there is a namespace {ns:?} already"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
