// SPDX-License-Identifier: MIT OR Apache-2.0
//! Over which of its other namespaces a task's capabilities count: over those that its user
//! namespace, or one below it, owns (user_namespaces(7), "Interaction of user namespaces and other
//! types of namespaces").

use nscap_core::{CapSet, Capability, is_same_or_below};
use nscap_linux::LiveNs;
use serde::Serialize;

use super::Question;
use crate::out::{Name, names};

/// One namespace, and what is asked over it.
#[derive(Serialize)]
pub(crate) struct Count {
    pub(crate) kind: &'static str,
    /// Its inode number.
    pub(crate) namespace: u64,
    /// The inode number of the user namespace that owns it; `None` where we may not see that one,
    /// which is then above the task's.
    pub(crate) owner: Option<u64>,
    pub(crate) counts: bool,
    /// Of the capabilities that the task has then, those that are asked over such a namespace.
    caps: Vec<Name>,
    #[serde(skip)]
    pub(crate) asked: CapSet,
    #[serde(skip)]
    pub(crate) owner_name: String,
}

/// capabilities(7): what the kernel asks over namespaces of a kind.
fn asked_over(kind: &str) -> CapSet {
    use Capability::{
        CheckpointRestore, IpcOwner, NetAdmin, NetBindService, NetBroadcast, NetRaw, SysAdmin,
        SysChroot, SysResource,
    };
    CapSet::of(match kind {
        "net" => &[NetAdmin, NetBindService, NetBroadcast, NetRaw, SysAdmin],
        "pid" => &[CheckpointRestore, SysAdmin],
        "ipc" => &[IpcOwner, SysAdmin, SysResource],
        "mnt" => &[SysAdmin, SysChroot],
        _ => &[SysAdmin],
    })
}

/// What the kind is called.
pub(crate) fn title(kind: &str) -> &'static str {
    match kind {
        "net" => "network",
        "pid" => "processes",
        "ipc" => "ipc",
        "mnt" => "mounts",
        _ => "host name",
    }
}

/// Each of the task's namespaces, with what it has after execve(2).
pub(crate) fn all(question: &Question<'_>, has: CapSet) -> Vec<Count> {
    let owned = |owner: LiveNs<'_>| is_same_or_below(owner, question.task.cred.ns);
    let count = |over: &nscap_linux::Over| {
        let owner = over.owner.map(|owner| question.system.namespaces.get(owner));
        let asked = asked_over(over.kind) & has;
        Count {
            kind: over.kind,
            namespace: over.inode,
            owner: owner.map(LiveNs::inode),
            counts: owner.is_some_and(owned),
            caps: names(asked),
            asked,
            owner_name: owner.map_or("a namespace above".to_owned(), |ns| question.ns_name(ns)),
        }
    };
    question.over.iter().map(count).collect()
}
