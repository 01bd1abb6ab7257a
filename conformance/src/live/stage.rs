// SPDX-License-Identifier: MIT OR Apache-2.0
//! One scenario on the live kernel: its namespaces, its file system, its tasks, its steps.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nscap_core::{Gid, Kgid, Kuid, Policy, Uid, UserNs};
use rustix::thread::UnshareFlags;

use super::peer::Peer;
use super::task::Worker;
use super::{Failure, Front, Machine, context, disk, fuse, sys, userns};
use crate::outcome::Outcome;
use crate::scenario::{INIT, Maps, Op, Scenario, Step};
use crate::tree::Tree;

/// Plays a scenario in this process, which must have been forked for it. Its files are in the
/// directory that `files` opens in the new mount namespace, or on a new tmpfs.
pub(super) fn play(
    scenario: &Scenario,
    machine: &Machine,
    front: Front,
    files: impl FnOnce() -> Option<io::Result<OwnedFd>>,
) -> Result<Vec<Outcome>, Failure> {
    context("unshare of a mount namespace", sys::unshare(UnshareFlags::NEWNS))?;
    let mut stage = Stage::set(scenario, machine, front, files())?;
    scenario.steps.iter().enumerate().map(|(n, step)| stage.step(n, step)).collect()
}

struct Stage<'s> {
    scenario: &'s Scenario,
    machine: &'s Machine,
    namespaces: BTreeMap<String, OwnedFd>,
    front: Front,
    dir: OwnedFd,
    tasks: BTreeMap<String, Worker>,
    /// Goes after the tasks, which may wait for it.
    _server: Option<Peer>,
}

impl<'s> Stage<'s> {
    fn set(
        scenario: &'s Scenario,
        machine: &'s Machine,
        front: Front,
        files: Option<io::Result<OwnedFd>>,
    ) -> Result<Stage<'s>, Failure> {
        let world = &scenario.world;
        let tree = Tree::of(world).map_err(Failure::Broken)?;
        let namespaces = namespaces(scenario, &tree)?;
        let sb = tree.get(&world.fs.owner).map_err(Failure::Broken)?;
        let no_ids = || Failure::Broken("the superblock's owner maps no id".to_owned());
        let inside = sb.first_ids().ok_or_else(no_ids)?;
        let owner = namespaces.get(&world.fs.owner).map(|fd| (fd.as_fd(), inside.0, inside.1));
        let on_image = files.is_some();
        let files = match files {
            Some(files) => context("the files on the image", files)?,
            None => {
                let files = context("a new tmpfs", disk::tmpfs(owner))?;
                context("mounting it", disk::attach(&files, &std::env::temp_dir()))?;
                files
            }
        };
        let kuid = Uid::new(inside.0).and_then(|uid| sb.kuid(uid)).map_or(0, Kuid::get);
        let kgid = Gid::new(inside.1).and_then(|gid| sb.kgid(gid)).map_or(0, Kgid::get);
        context("the policy", front.follow(Policy::ARRAYS))?;
        context("making the files", disk::populate(&files, world, sb, (kuid, kgid), front))?;
        context("the policy", front.follow(scenario.policy))?;
        let (base, server) = match front {
            Front::Fuse => {
                let options = nscap_fuse::Options {
                    policy: scenario.policy,
                    ..nscap_fuse::Options::default()
                };
                let served = disk::taken_away(&files, on_image).and_then(|files| {
                    fuse::serve(&files, fuse::Home { owner, ..fuse::Home::default() }, &options)
                });
                let (server, shown) = context("the server", served)?;
                context("mounting it", disk::attach(&shown, &std::env::temp_dir()))?;
                (shown, Some(server))
            }
            Front::Bare | Front::Linux => (files, None),
        };
        let dir = mount(scenario, &base)?;
        Ok(Stage {
            scenario,
            machine,
            namespaces,
            front,
            dir,
            tasks: BTreeMap::new(),
            _server: server,
        })
    }

    fn step(&mut self, n: usize, step: &Step) -> Result<Outcome, Failure> {
        let at = |what: &str| format!("step {}: {what}", n + 1);
        if !self.tasks.contains_key(&step.by) {
            let worker = context(&at(&format!("task {:?}", step.by)), self.start(&step.by))?;
            self.tasks.insert(step.by.clone(), worker);
        }
        let Some(worker) = self.tasks.get_mut(&step.by) else {
            return Err(Failure::Broken(at("no task")));
        };
        let about = match &step.op {
            Op::Enter(ns) => context(&at("enter"), find(&self.namespaces, ns))?,
            _ => None,
        };
        let reply = context(&at("the task"), worker.step(n, about))?;
        if let (Op::Unshare { ns, .. }, Some(pid)) = (&step.op, reply.made_ns) {
            let fd = context(&at("the new namespace"), userns::open(&pid.to_string()))?;
            self.namespaces.insert(ns.clone(), fd);
        }
        reply.outcome.map_err(|problem| Failure::Broken(at(&problem)))
    }

    fn start(&self, name: &str) -> io::Result<Worker> {
        let task = self.scenario.world.tasks.get(name);
        let task = task.ok_or_else(|| io::Error::other("not declared"))?;
        let ns = find(&self.namespaces, &task.ns)?;
        Worker::start(task, ns, self.machine, &self.dir, &self.scenario.steps, self.front)
    }
}

/// The descriptor of a namespace; `None` for the runner's own.
fn find<'a>(
    namespaces: &'a BTreeMap<String, OwnedFd>,
    name: &str,
) -> io::Result<Option<BorrowedFd<'a>>> {
    if name == INIT {
        return Ok(None);
    }
    let fd = namespaces.get(name).map(AsFd::as_fd);
    fd.map(Some).ok_or_else(|| io::Error::other(format!("there is no namespace {name:?} yet")))
}

fn namespaces(scenario: &Scenario, tree: &Tree) -> Result<BTreeMap<String, OwnedFd>, Failure> {
    let mut made = BTreeMap::new();
    for ns in &scenario.world.namespaces {
        let what = format!("ns {:?}", ns.name);
        let parent = tree.get(&ns.parent).map_err(Failure::Broken)?;
        let uid = Kuid::new(ns.owner).and_then(|kuid| parent.uid(kuid));
        let ids = uid.zip(parent.first_ids()).map(|(uid, (_, gid))| (uid.get(), gid));
        let ids = ids.ok_or_else(|| Failure::Broken(format!("{what}: no owner in its parent")))?;
        let above = context(&what, find(&made, &ns.parent))?;
        let fd = context(&what, userns::make(above, ids, &ns.maps))?;
        made.insert(ns.name.clone(), fd);
    }
    Ok(made)
}

/// The tasks' mount. An id map is that of a namespace made for it.
fn mount(scenario: &Scenario, base: &OwnedFd) -> Result<OwnedFd, Failure> {
    let fs = &scenario.world.fs;
    if fs.idmap.is_empty() {
        return context("the tasks' mount", disk::mount(base, fs, None));
    }
    let maps = Maps { uids: fs.idmap.clone(), gids: fs.idmap.clone() };
    let ns = context("the mount's map", userns::make(None, (0, 0), &maps))?;
    disk::mount(base, fs, Some(ns.as_fd())).map_err(|error| match error.raw_os_error() {
        Some(libc::EINVAL) => Failure::Skipped("no id-mapped mounts of this kind".to_owned()),
        _ => Failure::Broken(format!("the tasks' mount: {error}")),
    })
}
