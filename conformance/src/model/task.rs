// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tasks: the credentials that a scenario gives them, and what user_namespaces(7) says of making
//! and entering namespaces (U).

use nscap_core::{
    CapSet, Capability, Cred, Extent, Gid, Kgid, Kuid, Securebits, Task as ExecTask, Uid, UserNs,
};

use super::Model;
use crate::outcome::Outcome;
use crate::scenario::{MapWriter, Maps};
use crate::text::{self, Problem};
use crate::tree::{Ns, Tree};

/// A running task. Its namespace is a number, since the tree grows.
#[derive(Clone, Debug)]
pub(super) struct Proc {
    pub(super) cred: Cred<usize>,
    pub(super) groups: Vec<Kgid>,
    pub(super) no_new_privs: bool,
    pub(super) traced: bool,
    pub(super) shared_fs: bool,
}

impl Proc {
    pub(super) fn cred<'t>(&self, tree: &'t Tree) -> Cred<Ns<'t>> {
        self.cred.with_ns(tree.ns(self.cred.ns))
    }

    /// As execve sees it. The tracer has the task's own credentials.
    pub(super) fn exec_task<'t>(&'t self, tree: &'t Tree) -> ExecTask<'t, Ns<'t>> {
        ExecTask {
            cred: self.cred(tree),
            groups: &self.groups,
            no_new_privs: self.no_new_privs,
            traced: self.traced && !self.cred.effective.has(Capability::SysPtrace),
            shares_fs: self.shared_fs,
        }
    }
}

impl Model<'_> {
    /// The task as the scenario declares it.
    pub(super) fn start(&self, name: &str) -> Result<Proc, Problem> {
        let task =
            self.world.tasks.get(name).ok_or_else(|| format!("there is no task {name:?}"))?;
        let ns = self.tree.get(&task.ns)?;
        let everything = self.machine.everything(&task.ns);
        let set = |text: &str| text::set(text, everything);
        let kuid = |id: u32| {
            let kuid = Uid::new(id).and_then(|uid| ns.kuid(uid));
            kuid.ok_or_else(|| format!("task {name:?}: uid {id} is not mapped"))
        };
        let kgid = |id: u32| {
            let kgid = Gid::new(id).and_then(|gid| ns.kgid(gid));
            kgid.ok_or_else(|| format!("task {name:?}: gid {id} is not mapped"))
        };
        let ([uid, euid, suid], [gid, egid, sgid]) = (task.uids, task.gids);
        let cred = Cred {
            ns: ns.number(),
            uid: kuid(uid)?,
            euid: kuid(euid)?,
            suid: kuid(suid)?,
            fsuid: kuid(euid)?,
            gid: kgid(gid)?,
            egid: kgid(egid)?,
            sgid: kgid(sgid)?,
            fsgid: kgid(egid)?,
            inheritable: set(&task.sets.inheritable)?,
            permitted: set(&task.sets.permitted)?,
            effective: set(&task.sets.effective)?,
            bounding: set(&task.sets.bounding)?,
            ambient: set(&task.sets.ambient)?,
            securebits: Securebits(task.securebits),
        };
        Ok(Proc {
            cred,
            groups: task.groups.iter().map(|id| kgid(*id)).collect::<Result<_, _>>()?,
            no_new_privs: task.no_new_privs,
            traced: task.traced,
            shared_fs: task.shared_fs,
        })
    }

    /// unshare(2) of a user namespace by a child, and its maps.
    pub(super) fn unshare(
        &mut self,
        by: &str,
        name: &str,
        maps: &Maps,
        writer: MapWriter,
    ) -> Result<Outcome, Problem> {
        let cred = self.proc(by)?.cred(&self.tree);
        let parent = cred.ns.number();
        if cred.ns.uid(cred.euid).is_none() || cred.ns.gid(cred.egid).is_none() {
            return Ok(Outcome::Failed(libc::EPERM));
        }
        if !may_map(&cred, maps, writer) {
            return Ok(Outcome::Failed(libc::EPERM));
        }
        let owner = cred.euid;
        // What the parent does not map cannot be mapped below it.
        let made = self.tree.add(name, parent, owner, maps);
        Ok(made.map_or(Outcome::Failed(libc::EPERM), |()| Outcome::Done))
    }

    /// setns(2) to a user namespace: every capability there, and nothing of before.
    pub(super) fn enter(&mut self, by: &str, name: &str) -> Result<Outcome, Problem> {
        let into = self.tree.get(name)?;
        let cred = self.proc(by)?.cred(&self.tree);
        if into.same(cred.ns) {
            return Ok(Outcome::Failed(libc::EINVAL));
        }
        if !cred.has_cap_over(Capability::SysAdmin, into) {
            return Ok(Outcome::Failed(libc::EPERM));
        }
        let ns = into.number();
        let proc = self.tasks.get_mut(by).ok_or("no task")?;
        proc.cred = Cred {
            ns,
            inheritable: CapSet::EMPTY,
            permitted: CapSet::KNOWN,
            effective: CapSet::KNOWN,
            bounding: CapSet::KNOWN,
            ambient: CapSet::EMPTY,
            securebits: Securebits(0),
            ..proc.cred
        };
        Ok(Outcome::Done)
    }
}

/// user_namespaces(7), "Defining user and group ID mappings": whether the writer may write both
/// maps of the namespace that a task with these credentials has just made.
fn may_map(cred: &Cred<Ns<'_>>, maps: &Maps, writer: MapWriter) -> bool {
    let above = |cap| writer == MapWriter::Parent && cred.has_cap(cap);
    // Since Linux 5.12 a task that could not set file capabilities may not map the parent's root.
    let maps_root = maps.uids.iter().any(|extent| extent.outside == 0);
    if maps_root && !cred.has_cap(Capability::Setfcap) {
        return false;
    }
    let own_uid = single(&maps.uids).and_then(Uid::new).and_then(|uid| cred.ns.kuid(uid));
    let own_gid = single(&maps.gids).and_then(Gid::new).and_then(|gid| cred.ns.kgid(gid));
    // A writer that could map any gid does not give up setgroups(2), and so not the other way.
    let gave_up_setgroups = !cred.has_cap(Capability::Setgid);
    (own_uid == Some(cred.euid) || above(Capability::Setuid))
        && ((own_gid == Some(cred.egid) && gave_up_setgroups) || above(Capability::Setgid))
}

/// The one id outside that a map has, if it has one.
fn single(map: &[Extent]) -> Option<u32> {
    match map {
        [Extent { outside, count: 1, .. }] => Some(*outside),
        _ => None,
    }
}

/// Ids as getresuid(2) tells them: 65534 for one that has no mapping.
pub(super) fn shown_uid(ns: Ns<'_>, kuid: Kuid) -> u32 {
    ns.uid(kuid).map_or(65534, Uid::get)
}

/// Gids as getresgid(2) tells them.
pub(super) fn shown_gid(ns: Ns<'_>, kgid: Kgid) -> u32 {
    ns.gid(kgid).map_or(65534, Gid::get)
}
