// SPDX-License-Identifier: MIT OR Apache-2.0
//! The answer as JSON has it (nscap-json(5)).

use nscap_core::{Cred, UserNs as _};
use nscap_linux::LiveNs;
use serde::Serialize;

use super::chain::Chain;
use super::counts::Count;
use super::look::Stop;
use super::remedy::{self, Remedy};
use super::unseen::Unseen;
use super::verdict::{self, Outcome, Verdict};
use super::walk::Step;
use super::{Question, Subject};
use crate::failure::EACCES;
use crate::out::{JsonPath, Name, names};

/// The five sets and the ids, as JSON has them.
#[derive(Serialize)]
pub(super) struct Sets {
    inheritable: Vec<Name>,
    permitted: Vec<Name>,
    effective: Vec<Name>,
    bounding: Vec<Name>,
    ambient: Vec<Name>,
    /// Real, effective, saved, in the task's namespace.
    uids: [Option<u32>; 3],
    gids: [Option<u32>; 3],
}

/// One thing that may come of it.
#[derive(Serialize)]
pub(super) struct End {
    after: Option<Sets>,
    secure: bool,
    errno: Option<String>,
}

/// One reason why something is lost.
#[derive(Serialize)]
pub(super) struct Cause {
    why: String,
    clause: &'static str,
    mend: Option<String>,
    advice: Option<String>,
}

/// How a task that does not run yet would be started.
#[derive(Serialize)]
pub(super) struct Begun {
    runtime: String,
    by: String,
    no_new_privs: bool,
    rootfs: &'static str,
}

impl Begun {
    fn of(subject: &Subject) -> Option<Begun> {
        let described = subject.described()?;
        let wanted = &described.wanted;
        Some(Begun {
            runtime: wanted.runtime.to_string(),
            by: wanted.words.name(),
            no_new_privs: wanted.no_new_privs,
            rootfs: if described.through_map { "mapped" } else { "as-is" },
        })
    }
}

/// The image that the task would be started from.
#[derive(Serialize)]
pub(super) struct JsonImage {
    #[serde(flatten)]
    path: JsonPath,
    platform: Option<String>,
}

impl JsonImage {
    fn of(subject: &Subject) -> Option<JsonImage> {
        let image = subject.image()?;
        let platform = image.tree.settings().map(|own| own.platform.clone());
        Some(JsonImage { path: std::path::Path::new(&image.name).into(), platform })
    }
}

/// The whole answer, as JSON has it.
#[derive(Serialize)]
pub(super) struct Explanation<'t> {
    #[serde(flatten)]
    path: JsonPath,
    program: JsonPath,
    task: &'t str,
    pid: Option<u32>,
    namespace: Option<u64>,
    rules: &'static str,
    steps: &'t [Step],
    before: Sets,
    #[serde(flatten)]
    end: End,
    otherwise: Vec<End>,
    over: &'t [Count],
    unseen: &'t [Unseen],
    lost: Vec<Name>,
    missing: Vec<Name>,
    start: Option<Begun>,
    image: Option<JsonImage>,
    why: Option<String>,
    clause: Option<&'static str>,
    mend: Option<String>,
    advice: Option<String>,
    causes: Vec<Cause>,
    complete: Option<bool>,
}

/// The answer as JSON has it.
pub(super) fn json<'t>(
    question: &Question<'_>,
    verdict: &'t Verdict<'_>,
    over: &'t [Count],
    task: &'t str,
    steps: &'t [Step],
) -> Explanation<'t> {
    let ns = question.task.cred.ns;
    let causes: Vec<Cause> = verdict
        .causes
        .iter()
        .map(|loss| {
            let Remedy { command, advice } = remedy::of(question, *loss);
            let (why, clause) = (loss.text(question), loss.clause());
            Cause { why, clause, mend: command, advice }
        })
        .collect();
    let first = causes.first();
    Explanation {
        path: question.path.into(),
        program: question.chain.program().file.path().into(),
        task,
        pid: question.subject.live().map(nscap_linux::LiveTask::pid),
        namespace: ns.is_namespace().then(|| ns.inode()),
        rules: if question.by_design() { "design" } else { "kernel" },
        steps,
        before: Sets::of(&question.task.cred),
        end: End::of(question, verdict),
        otherwise: match verdict.stop(question) {
            Some(_) => Vec::new(),
            None => verdict.otherwise.iter().map(End::from).collect(),
        },
        over,
        unseen: &verdict.unseen,
        lost: names(verdict.lost),
        missing: names(verdict.missing),
        start: Begun::of(question.subject),
        image: JsonImage::of(question.subject),
        why: first.map(|cause| cause.why.clone()),
        clause: first.map(|cause| cause.clause),
        mend: first.and_then(|cause| cause.mend.clone()),
        advice: first.and_then(|cause| cause.advice.clone()),
        causes,
        complete: verdict.complete(),
    }
}

impl End {
    fn of(question: &Question<'_>, verdict: &Verdict<'_>) -> End {
        let none = End { after: None, secure: false, errno: None };
        match (verdict.stop(question), &verdict.outcome) {
            (Some(stop), _) => End { errno: Some(nscap_linux::errno_name(stop.errno)), ..none },
            (None, Some(outcome)) => outcome.into(),
            (None, None) => none,
        }
    }
}

impl From<&Outcome<'_>> for End {
    fn from(outcome: &Outcome<'_>) -> End {
        let executed = outcome.as_ref().ok();
        End {
            after: executed.map(|executed| Sets::of(&executed.cred)),
            secure: executed.is_some_and(|executed| executed.secure),
            errno: outcome.as_ref().err().map(|denied| denied.errno.name().to_owned()),
        }
    }
}

impl Sets {
    fn of(cred: &Cred<LiveNs<'_>>) -> Sets {
        let uid = |kuid| cred.ns.uid(kuid).map(nscap_core::Uid::get);
        let gid = |kgid| cred.ns.gid(kgid).map(nscap_core::Gid::get);
        Sets {
            inheritable: names(cred.inheritable),
            permitted: names(cred.permitted),
            effective: names(cred.effective),
            bounding: names(cred.bounding),
            ambient: names(cred.ambient),
            uids: [cred.uid, cred.euid, cred.suid].map(uid),
            gids: [cred.gid, cred.egid, cred.sgid].map(gid),
        }
    }
}

/// Where the task may not search a directory, and we may not look behind it.
pub(super) fn blocked<'t>(
    path: &std::path::Path,
    chain: &'t Chain,
    subject: &'t Subject,
    cred: &Cred<LiveNs<'_>>,
    (task, steps): (&'t str, &'t [Step]),
) -> Explanation<'t> {
    let cause = |stop: &Stop| {
        let Remedy { command, advice } = remedy::stop(stop);
        Cause { why: stop.text.clone(), clause: verdict::clause_of_a_stop(), mend: command, advice }
    };
    let causes: Vec<Cause> = chain.stops.iter().map(cause).collect();
    let errno = chain.stops.first().map_or(EACCES, |stop| stop.errno);
    let first = causes.first();
    Explanation {
        path: path.into(),
        program: path.into(),
        task,
        pid: subject.live().map(nscap_linux::LiveTask::pid),
        namespace: cred.ns.is_namespace().then(|| cred.ns.inode()),
        rules: "kernel",
        steps,
        before: Sets::of(cred),
        end: End { after: None, secure: false, errno: Some(nscap_linux::errno_name(errno)) },
        otherwise: Vec::new(),
        over: &[],
        unseen: &chain.unseen,
        lost: Vec::new(),
        missing: Vec::new(),
        start: Begun::of(subject),
        image: JsonImage::of(subject),
        why: first.map(|cause| cause.why.clone()),
        clause: first.map(|cause| cause.clause),
        mend: first.and_then(|cause| cause.mend.clone()),
        advice: first.and_then(|cause| cause.advice.clone()),
        causes,
        complete: Some(false),
    }
}
