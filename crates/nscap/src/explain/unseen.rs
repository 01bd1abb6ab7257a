// SPDX-License-Identifier: MIT OR Apache-2.0
//! What cannot be seen of a task or a file: said, and never assumed. Where it may be in several
//! ways, each is tried; where these differ in what the task loses, the answer is that it could not
//! be told.

use nscap_core::{Securebits, Task};
use nscap_linux::LiveNs;
use serde::Serialize;

use super::subject::Subject;
use crate::out;

/// Something that cannot be seen.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Unseen {
    pub(crate) what: &'static str,
    pub(crate) text: String,
    /// Whether it may change the answer.
    pub(crate) decides: bool,
}

impl Unseen {
    /// What is not looked at, so that no answer includes it.
    pub(crate) fn aside(what: &'static str, text: impl Into<String>) -> Unseen {
        Unseen { what, text: text.into(), decides: false }
    }

    /// What may change the answer.
    pub(crate) fn deciding(what: &'static str, text: impl Into<String>) -> Unseen {
        Unseen { what, text: text.into(), decides: true }
    }
}

/// A task as it is seen, and each other way in which it may be.
pub(crate) fn ways<'a>(
    subject: &Subject,
    task: Task<'a, LiveNs<'a>>,
) -> (Vec<Task<'a, LiveNs<'a>>>, Vec<Unseen>) {
    let mut ways = vec![task];
    let mut unseen = Vec::new();
    let Subject::Live(live) = subject else { return (ways, unseen) };
    if live.securebits().is_none() {
        let text = "the kernel shows them to the task alone; with SECBIT_NOROOT, which few set, \
             root gets what the file gives and no more";
        unseen.push(Unseen::aside("securebits", text));
        vary(&mut ways, |task| task.cred.securebits = Securebits::NOROOT);
    }
    if let Some(tracer) = live.tracer() {
        let text = format!(
            "pid {} traces it: what that one may do was fixed when it attached{}",
            tracer.pid,
            if tracer.capable { " (now it has CAP_SYS_PTRACE over the task)" } else { "" },
        );
        unseen.push(Unseen::aside("tracer", text));
        vary(&mut ways, |task| task.traced = !task.traced);
    }
    if live.shares_fs().is_none() {
        let text = "whether it shares its root and umask with another process (CLONE_FS): kcmp(2) is refused";
        unseen.push(Unseen::aside("shared fs", text));
        vary(&mut ways, |task| task.shares_fs = true);
    }
    (ways, unseen)
}

fn vary<'a>(ways: &mut Vec<Task<'a, LiveNs<'a>>>, change: impl Fn(&mut Task<'a, LiveNs<'a>>)) {
    let mut others = ways.clone();
    others.iter_mut().for_each(change);
    ways.extend(others);
}

/// What decides beside the kernel's own rules and is not looked at.
pub(crate) fn modules(subject: &Subject) -> Vec<Unseen> {
    let mut unseen = Vec::new();
    if let Some(filters) = subject.live().and_then(|task| task.filters()).filter(|count| *count > 0)
    {
        let text = format!("{filters} seccomp filter(s) on the task: any may refuse execve");
        unseen.push(Unseen::aside("seccomp", text));
    }
    match std::fs::read_to_string("/sys/kernel/security/lsm") {
        Ok(active) => {
            const WITHOUT_A_SAY: [&str; 4] = ["capability", "lockdown", "yama", "safesetid"];
            let with: Vec<&str> =
                active.trim().split(',').filter(|name| !WITHOUT_A_SAY.contains(name)).collect();
            if !with.is_empty() {
                let label = subject.live().and_then(|task| task.label());
                let label = label
                    .map(|label| format!("; the task is {}", out::name(&label)))
                    .unwrap_or_default();
                let text = format!("{}: what they permit is not looked at{label}", with.join(", "));
                unseen.push(Unseen::aside("security modules", text));
            }
        }
        Err(_) => unseen.push(Unseen::aside(
            "security modules",
            "which are active cannot be seen (/sys/kernel/security is not mounted here)",
        )),
    }
    unseen
}
