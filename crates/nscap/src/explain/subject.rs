// SPDX-License-Identifier: MIT OR Apache-2.0
//! The task that is asked about: a process as it is, or one that would be.

use std::ffi::OsStr;
use std::os::fd::AsFd as _;

use nscap_core::{Cred, Gid, Task, Uid, UserNs as _};
use nscap_linux::{CapFile, FileState, IdMap, Inode, LiveNs, LiveTask, NsIndex, Start, Who};

use super::place::{Packed, Place};
use super::start::{Described, Image, Words};
use crate::cli::Explain;
use crate::failure::{EINVAL, Failure};
use crate::out;
use crate::system::System;

pub(crate) enum Subject {
    /// A process as it is.
    Live(Box<LiveTask>),
    /// One that would be.
    Supposed { ns: NsIndex, uid: u32, gid: u32 },
    /// One that a runtime or a service manager would start.
    Described(Box<Described>),
}

impl Subject {
    pub(crate) fn find(args: &Explain, system: &mut System) -> Result<Subject, Failure> {
        if let Some(process) = &args.pid {
            return Ok(Subject::Live(Box::new(process.read(&mut system.namespaces)?)));
        }
        let who = args.seen_by.as_deref().unwrap_or(OsStr::new("host"));
        let ns = namespace(who, system)?;
        let (uid, gid) = args.ids();
        Ok(Subject::Supposed { ns, uid, gid })
    }

    pub(crate) fn live(&self) -> Option<&LiveTask> {
        match self {
            Subject::Live(task) => Some(task),
            Subject::Supposed { .. } | Subject::Described(_) => None,
        }
    }

    /// What describes a task that a runtime would start.
    pub(crate) fn described(&self) -> Option<&Described> {
        match self {
            Subject::Described(described) => Some(described),
            Subject::Live(_) | Subject::Supposed { .. } => None,
        }
    }

    /// Where it is described, for remedies in those words.
    pub(crate) fn words(&self) -> Option<&Words> {
        self.described().map(|described| &described.wanted.words)
    }

    /// Whether it is started with every file system nosuid.
    pub(crate) fn is_nosuid(&self) -> bool {
        self.described().is_some_and(|described| described.wanted.nosuid)
    }

    /// An inode as the task's file system shows it.
    pub(crate) fn shown(&self, inode: Inode, system: &System) -> Inode {
        match self.described() {
            Some(described) => described.shown(inode, &system.namespaces),
            None => inode,
        }
    }

    /// Where it looks paths up; a supposed task where we do.
    pub(crate) fn place(&self) -> Result<Place, Failure> {
        let task = match self {
            Subject::Live(task) => task,
            Subject::Described(described) => return described.place(),
            Subject::Supposed { .. } => return Ok(Place::Here(Start::ours()?)),
        };
        let root = task
            .root()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|e| crate::failure::call(std::path::Path::new("/"), "fcntl", e))?;
        let ids = Some((task.pid(), task.thread()));
        Ok(Place::Here(Start { root, cwd: task.cwd(), task: ids }))
    }

    pub(crate) fn read(&self, file: &CapFile, system: &mut System) -> Result<FileState, Failure> {
        Ok(match self {
            Subject::Live(task) => file.read_as_task(task.thread(), &mut system.namespaces)?,
            Subject::Supposed { ns, .. } => file.read_as_member(*ns, &mut system.namespaces)?,
            Subject::Described(described) => {
                let ns = described.ns();
                let mut state = file.read_as_member(ns, &mut system.namespaces)?;
                if described.through_map && state.mount.idmap == IdMap::Absent {
                    state.inode = described.shown(state.inode, &system.namespaces);
                    state.mount.idmap = IdMap::Known(ns);
                }
                state.mount.nosuid |= described.wanted.nosuid;
                state
            }
        })
    }

    /// A file of the image that it is started from, unpacked.
    pub(crate) fn unpacked(&self, packed: &Packed, system: &System) -> FileState {
        let inode = self.shown(packed.inode(), system);
        let mut state = FileState::unpacked(inode, &packed.file.carried(), &system.namespaces);
        if let Some(described) = self.described().filter(|described| described.through_map) {
            state.mount.idmap = IdMap::Known(described.ns());
        }
        state.mount.nosuid |= self.is_nosuid();
        state
    }

    /// The image that it is started from.
    pub(crate) fn image(&self) -> Option<&Image> {
        self.described().and_then(|described| described.wanted.rootfs.image())
    }

    pub(crate) fn task<'n>(&'n self, system: &'n System) -> Result<Task<'n, LiveNs<'n>>, Failure> {
        match self {
            Subject::Live(task) => Ok(task.task(&system.namespaces)),
            Subject::Supposed { ns, uid, gid } => supposed(system.namespaces.get(*ns), *uid, *gid),
            Subject::Described(described) => Ok(described.task(&system.namespaces)),
        }
    }

    /// What the task is called in a sentence.
    pub(crate) fn name(&self, task: &Task<'_, LiveNs<'_>>) -> String {
        let uid =
            |kuid| task.cred.ns.uid(kuid).map_or("unmapped".to_owned(), |uid| uid.to_string());
        match self {
            Subject::Live(live) => format!(
                "pid {} ({}), uid {} in its namespace",
                live.pid(),
                out::name(live.name()),
                uid(task.cred.uid)
            ),
            Subject::Supposed { .. } => {
                format!("a task with uid {} in its namespace", uid(task.cred.uid))
            }
            Subject::Described(described) => {
                let wanted = &described.wanted;
                let mapped =
                    if described.through_map { ", root file system id-mapped" } else { "" };
                format!(
                    "a task that {} starts by {}, uid {} in its namespace{mapped}",
                    wanted.runtime,
                    wanted.words.name(),
                    uid(task.cred.uid)
                )
            }
        }
    }
}

/// The namespace that WHO names: one that maps no uid 0 has tasks too, although no entry is for it.
pub(super) fn namespace(who: &OsStr, system: &mut System) -> Result<NsIndex, Failure> {
    let namespaces = &mut system.namespaces;
    let named = match Who::parse(who)? {
        Who::Process(pid) => Some(namespaces.add_pid(pid)?),
        Who::File(path) => Some(namespaces.add_path(&path)?),
        Who::Managed(managed) => {
            let leader = managed.leader()?;
            let ns = namespaces.add_pid(leader.pid())?;
            leader.check()?;
            Some(ns)
        }
        Who::Host | Who::Kuid(_) | Who::User(_) => None,
    };
    match named {
        Some(ns) if system.namespaces.get(ns).maps_known() => Ok(ns),
        _ => Ok(system.resolve_live(who)?.namespace(&mut system.namespaces)?),
    }
}

/// uid 0 has every capability, as the first process of a container has; others have none.
fn supposed(ns: LiveNs<'_>, uid: u32, gid: u32) -> Result<Task<'static, LiveNs<'_>>, Failure> {
    let unmapped = |what: &str, id: u32| Failure::Input {
        what: format!("{what} {id}"),
        problem: format!("has no mapping in the namespace (--{what} says another)"),
        errno: EINVAL,
    };
    let kuid = Uid::new(uid).and_then(|uid| ns.kuid(uid)).ok_or_else(|| unmapped("uid", uid))?;
    let kgid = Gid::new(gid).and_then(|gid| ns.kgid(gid)).ok_or_else(|| unmapped("gid", gid))?;
    let cred =
        if uid == 0 { Cred::privileged(ns, kuid, kgid) } else { Cred::ordinary(ns, kuid, kgid) };
    Ok(Task::of(cred))
}
