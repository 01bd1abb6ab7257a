// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scenarios in memory: the decisions of `nscap_core` in a small Linux of plain values.
//!
//! By [`Rules::Design`] the attributes mean what SPEC says (R1-R8, A, B, D, K, L, M), by
//! [`Rules::Bare`] what an unmodified kernel makes of them. Everything else is the same for both:
//! mode bits, owners, maps (V, U), and execve(2) (X).

mod access;
mod attributes;
mod change;
mod exec;
mod seen;
mod task;

use std::collections::BTreeMap;

use nscap_core::{
    Gid, InodeView, Kgid, Kuid, Policy, Uid, UserNs, id_or_minus_one, storage::SealFacts,
};

use crate::live::Machine;
use crate::outcome::Outcome;
use crate::scenario::{Column, Content, File, Fs, Op, Scenario, World};
use crate::text::Problem;
use crate::tree::{Ns, Tree};
use crate::{live, stored};
use task::Proc;

pub use seen::{Caller, File as SeenFile};

/// Whose rules decide about the two attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rules {
    /// SPEC's.
    Design,
    /// Those of a kernel without nscap.
    Bare,
}

impl Rules {
    /// The column that they are held against.
    #[must_use]
    pub fn column(self) -> Column {
        match self {
            Rules::Design => Column::Design,
            Rules::Bare => Column::Kernel,
        }
    }
}

/// Plays a scenario, and gives one outcome for each step.
///
/// # Errors
/// Says what of the scenario makes no sense.
pub fn play(scenario: &Scenario, rules: Rules, machine: &Machine) -> Result<Vec<Outcome>, Problem> {
    let mut model = Model::new(&scenario.world, scenario.policy, rules, *machine)?;
    let steps = scenario.steps.iter().enumerate();
    let at = |n: usize, problem: Problem| format!("step {}: {problem}", n + 1);
    steps.map(|(n, step)| model.step(&step.by, &step.op).map_err(|p| at(n, p))).collect()
}

/// A regular file.
#[derive(Clone, Debug)]
struct Inode {
    /// Owner and group as the kernel has them in memory. Without an id map it lets them be ids that
    /// the superblock's owner does not map.
    owner: Kuid,
    group: Kgid,
    mode: u32,
    size: u64,
    content: Content,
    immutable: bool,
    /// `security.capability` and `security.nscapability`.
    attributes: stored::Attributes,
}

/// A world as it is between two steps.
#[derive(Clone, Debug)]
pub struct Model<'s> {
    world: &'s World,
    rules: Rules,
    policy: Policy,
    machine: Machine,
    tree: Tree,
    idmap: Option<Tree>,
    sb: usize,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    tasks: BTreeMap<String, Proc>,
}

/// A file as a task reaches it.
type At<'t> = InodeView<Ns<'t>>;

impl<'s> Model<'s> {
    /// The world before the first step.
    ///
    /// # Errors
    /// Says what of the world makes no sense.
    pub fn new(
        world: &'s World,
        policy: Policy,
        rules: Rules,
        machine: Machine,
    ) -> Result<Model<'s>, Problem> {
        let tree = Tree::of(world)?;
        let fs = &world.fs;
        let idmap = if fs.idmap.is_empty() { None } else { Some(Tree::of_map(&fs.idmap)?) };
        let sb = tree.get(&fs.owner)?.number();
        let mut model = Model {
            world,
            rules,
            policy,
            machine,
            tree,
            idmap,
            sb,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            tasks: BTreeMap::new(),
        };
        for (name, file) in &world.files {
            let inode =
                model.create(file).map_err(|problem| format!("file {name:?}: {problem}"))?;
            model.names.insert(name.clone(), model.inodes.len());
            model.inodes.push(inode);
        }
        Ok(model)
    }

    fn create(&self, file: &File) -> Result<Inode, Problem> {
        let sb = self.tree.ns(self.sb);
        let size = u64::try_from(live::content(&file.content).len()).map_err(|e| e.to_string())?;
        let facts = stored::facts(sb, size, file.owner, file.group)?;
        Ok(Inode {
            owner: Kuid::new(file.owner).ok_or("its owner is no kuid")?,
            group: Kgid::new(file.group).ok_or("its group is no kgid")?,
            mode: file.mode,
            size,
            content: file.content.clone(),
            immutable: file.immutable,
            attributes: stored::attributes(sb, &file.stored, facts)?,
        })
    }

    /// What comes of an operation by this task.
    ///
    /// # Errors
    /// Says which task or namespace there is not.
    pub fn step(&mut self, by: &str, op: &Op) -> Result<Outcome, Problem> {
        if !self.tasks.contains_key(by) {
            let proc = self.start(by)?;
            self.tasks.insert(by.to_owned(), proc);
        }
        if let Op::Rename(..) = op
            && self.fs().read_only
        {
            return Ok(Outcome::Failed(libc::EROFS));
        }
        if op.files().iter().any(|file| !self.names.contains_key(*file)) {
            return Ok(Outcome::Failed(libc::ENOENT));
        }
        match op {
            Op::Exec(file) => self.exec(by, file),
            Op::Unshare { ns, maps, writer } => self.unshare(by, ns, maps, *writer),
            Op::Enter(ns) => self.enter(by, ns),
            Op::Set { .. } | Op::Get(..) | Op::Size(..) | Op::Remove(..) | Op::List(_) => {
                self.attribute(by, op)
            }
            _ => self.change(by, op),
        }
    }

    /// Whether two names are of two files that begin with the same byte: what is copied from one to
    /// the other then changes neither.
    #[must_use]
    pub fn are_alike(&self, one: &str, other: &str) -> bool {
        let kind = |file| self.inode(file).map(|inode| std::mem::discriminant(&inode.content)).ok();
        self.names.get(one) != self.names.get(other) && kind(one) == kind(other)
    }

    fn proc(&self, by: &str) -> Result<&Proc, Problem> {
        self.tasks.get(by).ok_or_else(|| format!("there is no task {by:?}"))
    }

    fn fs(&self) -> &Fs {
        &self.world.fs
    }

    fn number(&self, file: &str) -> Result<usize, Problem> {
        self.names.get(file).copied().ok_or_else(|| format!("there is no file {file:?}"))
    }

    fn inode(&self, file: &str) -> Result<&Inode, Problem> {
        self.inodes.get(self.number(file)?).ok_or_else(|| format!("no inode of {file:?}"))
    }

    fn inode_mut(&mut self, file: &str) -> Result<&mut Inode, Problem> {
        let number = self.number(file)?;
        self.inodes.get_mut(number).ok_or_else(|| format!("no inode of {file:?}"))
    }

    /// The mount without a file.
    fn mount(&self) -> At<'_> {
        InodeView {
            sb_ns: self.tree.ns(self.sb),
            idmap: self.idmap.as_ref().map(|map| map.ns(0)),
            owner: None,
            group: None,
            read_only: self.fs().read_only,
            immutable: false,
        }
    }

    fn view(&self, inode: &Inode) -> At<'_> {
        let mount = self.mount();
        InodeView {
            owner: match mount.idmap {
                None => Some(inode.owner),
                Some(map) => mount.sb_ns.uid(inode.owner).and_then(|stored| map.kuid(stored)),
            },
            group: match mount.idmap {
                None => Some(inode.group),
                Some(map) => mount.sb_ns.gid(inode.group).and_then(|stored| map.kgid(stored)),
            },
            immutable: inode.immutable,
            ..mount
        }
    }
}

/// What a group is stored as through a mount.
fn stored_gid(mount: &At<'_>, kgid: Kgid) -> Option<Gid> {
    match mount.idmap {
        None => mount.sb_ns.gid(kgid),
        Some(map) => map.gid(kgid).filter(|stored| mount.sb_ns.kgid(*stored).is_some()),
    }
}

impl Inode {
    /// What a seal is made over: ids as they are on disk.
    fn facts(&self, sb: Ns<'_>) -> SealFacts {
        SealFacts {
            size: self.size,
            uid: id_or_minus_one(sb.uid(self.owner).map(Uid::get)),
            gid: id_or_minus_one(sb.gid(self.group).map(Gid::get)),
        }
    }
}

/// Whether a task that has these file system ids can own a new file here.
fn can_own(mount: &At<'_>, uid: Kuid, gid: Kgid) -> bool {
    mount.stored_of(uid).is_some() && stored_gid(mount, gid).is_some()
}
