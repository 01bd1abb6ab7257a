// SPDX-License-Identifier: MIT OR Apache-2.0
//! The decision as a walk: the way to the file, mount, task, host value, each namespace tried,
//! bounding set, what cannot be seen.

use nscap_core::storage::Seal;
use nscap_core::{CapSet, Grant, HostValue, path_to_initial, root_kuid};
use nscap_linux::{Answers, Hidden, IdMap, LiveNs};
use serde::Serialize;

use super::chain::Chain;
use super::counts::{self, Count};
use super::look::owners;
use super::verdict::{Verdict, promise};
use super::{Question, Subject};
use crate::out;

/// One step: what was looked at, and what was found.
#[derive(Serialize)]
pub(crate) struct Step {
    pub(crate) step: String,
    pub(crate) text: String,
}

pub(crate) fn steps(question: &Question<'_>, verdict: &Verdict<'_>, counts: &[Count]) -> Vec<Step> {
    let mut steps = notes(question);
    steps.extend(way(question.chain));
    let mut step = |step: &str, text: String| steps.push(Step { step: step.to_owned(), text });
    step("program", program(question));
    step("mount", mount(question));
    step("task", task(question));
    let nnp = if question.task.no_new_privs { "set: no new capability [X]" } else { "not set" };
    step("no_new_privs", nnp.to_owned());
    step("host value", host_value(question));
    for ns in path_to_initial(question.task.cred.ns) {
        step("entry", entry(question, ns));
    }
    if let Some(text) = table(question) {
        step("table", text);
    }
    step("bounding set", bounding(question));
    if let Some(Ok(executed)) = &verdict.outcome {
        step("file gives", gives(question, &executed.grant));
        if let Some(why) = executed.limited {
            step("held back", format!("{why} [{}]", why.clause()));
        }
    }
    for count in counts.iter().filter(|count| !count.asked.is_empty()) {
        step(counts::title(count.kind), over(count));
    }
    if question.subject.live().is_none() {
        step(
            "namespaces",
            "of what kinds the task has its own cannot be seen: it does not run".into(),
        );
    }
    for unseen in &verdict.unseen {
        step("not seen", format!("{}: {}", unseen.what, unseen.text));
    }
    steps
}

/// How the task came to be as it is before execve(2).
fn notes(question: &Question<'_>) -> Vec<Step> {
    let notes = question.subject.described().map(|described| described.notes.as_slice());
    let step =
        |(step, text): &(&str, String)| Step { step: (*step).to_owned(), text: text.clone() };
    notes.unwrap_or_default().iter().map(step).collect()
}

/// The way to the program.
pub(crate) fn way(chain: &Chain) -> Vec<Step> {
    let step =
        |(step, text): &(&str, String)| Step { step: (*step).to_owned(), text: text.clone() };
    chain.steps.iter().map(step).collect()
}

/// Over one of the task's namespaces: whether what it has counts there.
fn over(count: &Count) -> String {
    let Count { kind, namespace, asked, owner_name, counts, .. } = count;
    let does = if *counts { "over it" } else { "not over it" };
    format!("{kind}:[{namespace}], owned by {owner_name}: {does}: {asked}")
}

fn program(question: &Question<'_>) -> String {
    let list = if question.chain.program().list().is_empty() {
        ""
    } else {
        ", with an access control list"
    };
    format!(
        "{}: mode {:04o}, {}{list}",
        out::path(question.chain.program().file.path()),
        question.state.inode.mode & 0o7777,
        owners(&question.how.inode),
    )
}

fn mount(question: &Question<'_>) -> String {
    let mount = &question.state.mount;
    let mut text = match &mount.point {
        None if question.subject.image().is_some() => "the image, once it is unpacked".to_owned(),
        Some(point) => format!("{} on {}", out::name(mount.fs_type.as_bytes()), out::path(point)),
        None => "in no mount namespace that could be found".to_owned(),
    };
    if question.state.answers == Answers::ServerBelow {
        text.push_str(", over a mount of nscap's");
    }
    let facts = [
        (mount.nosuid, "nosuid: file capabilities are ignored"),
        (mount.noexec, "noexec: nothing is executed"),
        (mount.idmap != IdMap::Absent, "id-mapped"),
        (mount.foreign, "of another mount namespace: file capabilities are ignored"),
    ];
    let mut true_ones = facts.iter().filter(|(is, _)| *is).peekable();
    if true_ones.peek().is_none() {
        text.push_str(": nothing in the way");
    }
    for (_, fact) in true_ones {
        text.push_str(", ");
        text.push_str(fact);
    }
    if question.subject.image().is_none() {
        text.push_str(&owner(question));
    }
    text
}

/// M: whose the superblock is, where that is not as it mostly is, and how that is known.
fn owner(question: &Question<'_>) -> String {
    let namespaces = &question.system.namespaces;
    let owner = &question.state.mount.owner;
    match (owner.ns(), owner.witness()) {
        (Some(ns), _) if namespaces.get(ns).is_initial() => String::new(),
        (Some(ns), Some(witness)) => {
            format!("; owned by {}: {}", question.ns_name(namespaces.get(ns)), witness.text())
        }
        _ => format!("; owned by {}", question.possible_owners().join(" or by ")),
    }
}

fn task(question: &Question<'_>) -> String {
    let task = &question.task;
    let mut text = format!("in {}", question.ns_name(task.cred.ns));
    if let Subject::Live(live) = question.subject
        && live.thread() != live.pid()
    {
        text.push_str(&format!(", thread {} (the main one has ended)", live.thread()));
    }
    if task.shares_fs {
        text.push_str(", shares its file system information");
    }
    text
}

fn host_value(question: &Question<'_>) -> String {
    match question.state.hidden {
        Some(Hidden::Malformed) => {
            return "security.capability is malformed, of revision 1, or has unknown flags"
                .to_owned();
        }
        Some(Hidden::Foreign) if !question.by_design() => {
            return "hidden: a value for a root that has no id in this namespace".to_owned();
        }
        _ => {}
    }
    let seen = question.stored.seen_from(question.task.cred.ns, &question.how.inode);
    match (question.stored.host, seen.host()) {
        (HostValue::Present(caps), HostValue::Present(_))
            if question.state.hidden == Some(Hidden::HostOrAbove) =>
        {
            format!("{caps}: it, or an entry for a root above this namespace, applies here [R4]")
        }
        (HostValue::Absent, _) => "none".to_owned(),
        (HostValue::Malformed, _) => {
            "security.capability is malformed: execve fails [X]".to_owned()
        }
        (HostValue::Present(caps), HostValue::Present(_)) => {
            format!("{caps}: overrides every entry [R8]")
        }
        (HostValue::Present(caps), _) => format!("{caps}: an entry through this mount [M]"),
    }
}

/// What one namespace on the path finds.
fn entry(question: &Question<'_>, ns: LiveNs<'_>) -> String {
    let name = question.ns_name(ns);
    let Some(root) = root_kuid(ns) else {
        return format!("{name} maps no uid 0: no entry can be its root's [R3]");
    };
    let seen = question.stored.seen_from(question.task.cred.ns, &question.how.inode);
    match seen.entry_for(root) {
        Some(entry) => format!("{name}, root kuid {root}: {} [R3]", entry.caps),
        None => format!("{name}, root kuid {root}: none"),
    }
}

fn table(question: &Question<'_>) -> Option<String> {
    match question.seal {
        Seal::None => None,
        Seal::Void(reason) => Some(format!("its entries are void: {} [K]", reason.text())),
        Seal::Sealed if question.by_design() => Some("sealed".to_owned()),
        Seal::Sealed => Some("sealed; an unmodified kernel does not look at it".to_owned()),
    }
}

fn bounding(question: &Question<'_>) -> String {
    let missing = promise(question)
        .map_or(CapSet::EMPTY, |caps| caps.permitted.known())
        .minus(question.task.cred.bounding);
    if missing.is_empty() {
        "has everything that the file gives".to_owned()
    } else {
        format!("lacks {missing}")
    }
}

fn gives(question: &Question<'_>, grant: &Grant<LiveNs<'_>>) -> String {
    match grant {
        Grant::Nothing(why) => format!("nothing: {why} [{}]", why.clause()),
        Grant::Host(caps) => format!("{caps}, the host value [R8]"),
        Grant::Entry { kuid, at, caps } => {
            format!("{caps}, by the entry for kuid {kuid}, root of {} [R3]", question.ns_name(*at))
        }
    }
}
