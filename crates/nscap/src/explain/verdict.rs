// SPDX-License-Identifier: MIT OR Apache-2.0
//! What came of it: whether execve succeeds, what the task gains, and what of the file's promise
//! is lost for which reasons.

use nscap_core::{CapSet, Denied, Executed, FileCaps, Loss, Program, Promise, Why};
use nscap_linux::{Hidden, LiveNs};

use super::Question;
use super::look::Stop;
use super::unseen::{self, Unseen};
use crate::failure::EACCES;

/// What execve(2) does.
pub(crate) type Outcome<'a> = Result<Executed<LiveNs<'a>>, Denied>;

/// The answer.
pub(crate) struct Verdict<'a> {
    /// What comes of it if what cannot be seen is as it mostly is; `None` where that says nothing.
    pub(crate) outcome: Option<Outcome<'a>>,
    /// What else may come of it.
    pub(crate) otherwise: Vec<Outcome<'a>>,
    /// Of what the file promises, what the task does not get.
    pub(crate) lost: CapSet,
    /// Of what the configuration adds, what the task does not have after it.
    pub(crate) missing: CapSet,
    /// Every reason why something is lost, the first one first.
    pub(crate) causes: Vec<Cause>,
    pub(crate) unseen: Vec<Unseen>,
    told: bool,
}

/// The clause of what execve(2) does on the way to the program.
pub(crate) fn clause_of_a_stop() -> &'static str {
    Why::NotSearchable.clause()
}

/// Why something is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// The way to the program ends: which of the chain's stops.
    Stop(usize),
    /// A rule's reason.
    Rule(Why),
    /// What the configuration adds, execve(2) does not leave.
    NotKept,
}

impl Cause {
    pub(crate) fn clause(self) -> &'static str {
        match self {
            Cause::Rule(why) => why.clause(),
            Cause::Stop(_) | Cause::NotKept => clause_of_a_stop(),
        }
    }

    pub(crate) fn text(self, question: &Question<'_>) -> String {
        match self {
            Cause::Stop(n) => question.chain.stops[n].text.clone(),
            Cause::Rule(why) => why.text().to_owned(),
            Cause::NotKept => not_kept(question).to_owned(),
        }
    }
}

impl<'a> Verdict<'a> {
    pub(crate) fn of(question: &Question<'a>) -> Verdict<'a> {
        let (ways, mut unseen) = unseen::ways(question.subject, question.task);
        let mut all: Vec<(Outcome<'a>, Option<Loss>)> = Vec::new();
        // Each with every way in which the task may be; whether anything new comes of it.
        let mut ask = |questions: &mut dyn Iterator<Item = Question<'a>>| {
            let before = all.len();
            for (question, task) in questions.flat_map(|q| ways.iter().map(move |task| (q, *task)))
            {
                let question = Question { task, ..question };
                let outcome = question.exec();
                let judged = judge(&question, &outcome);
                let known = all.iter().any(|(known, loss)| {
                    same_effect(known, &outcome) && loss.is_some() == judged.is_some()
                });
                if !known {
                    all.push((outcome, judged));
                }
            }
            all.len() > before
        };
        ask(&mut std::iter::once(*question));
        unseen.extend(ask(&mut question.readings()).then(|| owner(question)));
        unseen.extend(ask(&mut question.hazy()).then(|| {
            let text = "an owner of the file is shown as one that has no id here: it may have none";
            Unseen::aside("owner", text)
        }));
        unseen.extend(question.chain.unseen.iter().cloned());
        unseen.extend(question.chain.program().unseen.iter().cloned());
        let described = question.subject.described();
        unseen.extend(described.into_iter().flat_map(|own| own.wanted.unseen.iter().cloned()));
        unseen.extend(value(question, &all));
        unseen.extend(hidden(question));
        unseen.extend(unseen::modules(question.subject));
        // Where execve(2) fails before, the rest is of no matter.
        let stopped = !question.chain.stops.is_empty();
        // But for whether the task comes as far as that: if not, it is EACCES.
        let before = question.chain.may_end_before()
            || all.iter().any(
                |(outcome, _)| matches!(outcome, Err(denied) if denied.why == Why::NotExecutable),
            );
        let refused = question.chain.stops.first().is_some_and(|stop| stop.errno == EACCES);
        let open = unseen.iter().any(|unseen| unseen.decides);
        let mut outcomes = all.iter().map(|(outcome, _)| *outcome);
        let judged = all[0].1;
        let differ = all.iter().any(|(_, other)| other.is_some() != judged.is_some());
        let missing = if stopped { CapSet::EMPTY } else { missing(question, &all[0].0) };
        let mut causes = causes(question);
        causes.extend((!missing.is_empty()).then_some(Cause::NotKept));
        Verdict {
            missing,
            outcome: outcomes.next().filter(|_| !open),
            otherwise: if open { Vec::new() } else { outcomes.collect() },
            lost: if stopped {
                permitted(question)
            } else {
                judged.map_or(CapSet::EMPTY, |loss| loss.caps)
            },
            causes,
            unseen,
            told: if stopped { refused || !before } else { !(open || differ) },
        }
    }

    /// Whether the task gains everything that the file promises it; `None` where that could not be
    /// told.
    pub(crate) fn complete(&self) -> Option<bool> {
        self.told.then_some(self.causes.is_empty())
    }
}

/// Of what the configuration adds on purpose, what neither the file nor an ambient set leaves. What
/// the file itself promises is `lost`.
fn missing(question: &Question<'_>, outcome: &Outcome<'_>) -> CapSet {
    let asked = question.subject.described().map(|described| described.wanted.asked);
    match outcome {
        Ok(executed) => {
            asked.unwrap_or_default().minus(executed.cred.permitted).minus(permitted(question))
        }
        Err(_) => CapSet::EMPTY,
    }
}

/// Why it is not left.
fn not_kept(question: &Question<'_>) -> &'static str {
    let Some(described) = question.subject.described() else { return "" };
    let (asked, cred) = (described.wanted.asked, &question.task.cred);
    if !(asked & cred.ambient).is_empty() {
        "the file has capabilities or changes an id, and execve clears what is ambient then"
    } else if !(asked & cred.permitted).is_empty() {
        "permitted and not ambient: execve of a file that does not give it takes it"
    } else if !(asked & cred.bounding).is_empty() {
        "in the bounding set alone: only a file gives it to this user"
    } else {
        "this machine or the bounding set has it not"
    }
}

/// What is lost by one outcome.
fn judge<'a>(question: &Question<'a>, outcome: &Outcome<'a>) -> Option<Loss> {
    let script = Loss { caps: CapSet::EMPTY, why: Why::ScriptIgnored };
    // The program is what decides; a script on the way may have capabilities of its own.
    promised(question).loss(outcome).or(question.chain.script_has_caps.then_some(script))
}

/// A value that getxattr(2) refuses: execve(2) honours revision 1 and ignores unknown flags, and
/// refuses the rest. Where it does not read the value at all, there is nothing to tell.
fn value(question: &Question<'_>, all: &[(Outcome<'_>, Option<Loss>)]) -> Option<Unseen> {
    let read = |(outcome, _): &(Outcome<'_>, Option<Loss>)| matches!(outcome, Err(denied) if denied.why == Why::StoredMalformed);
    (question.state.hidden == Some(Hidden::Malformed) && all.iter().any(read)).then(|| {
        Unseen::deciding(
            "security.capability",
            "getxattr(2) refuses it (EINVAL). execve(2) honours revision 1, and a value with unknown flags; \
             of any other value it fails: EINVAL, or ERANGE where it is longer than 24 bytes",
        )
    })
}

/// Whether execve(2) does the same, for whatever reason.
fn same_effect(one: &Outcome<'_>, other: &Outcome<'_>) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one.cred == other.cred && one.secure == other.secure,
        (one, other) => one == other,
    }
}

/// M: whose the superblock is.
fn owner(question: &Question<'_>) -> Unseen {
    let names = question.possible_owners();
    Unseen::aside(
        "owner",
        format!("the file system is of {}: no witness tells", names.join(" or of ")),
    )
}

/// A value that the kernel does not show us, or not as whose.
fn hidden(question: &Question<'_>) -> Option<Unseen> {
    let text = match question.state.hidden? {
        Hidden::Foreign if !question.by_design() => {
            "a value for a root that has no id in this namespace (EOVERFLOW)"
        }
        Hidden::HostOrAbove if !question.is_ours() => {
            "the value that applies here is the host's, or is for a root above this namespace"
        }
        _ => return None,
    };
    Some(Unseen::deciding("security.capability", text))
}

/// Every reason why something is lost: each is taken away in thought, to find the next.
fn causes(question: &Question<'_>) -> Vec<Cause> {
    let mut causes: Vec<Cause> = (0..question.chain.stops.len()).map(Cause::Stop).collect();
    let mut now = *question;
    loop {
        let Some(Loss { why, .. }) = judge(&now, &now.exec()) else { return causes };
        if causes.contains(&Cause::Rule(why)) {
            return causes;
        }
        causes.push(Cause::Rule(why));
        if !without(&mut now, why) {
            return causes;
        }
    }
}

/// Takes a reason away; `false` where what would follow cannot be said.
fn without(question: &mut Question<'_>, why: Why) -> bool {
    let Program { mode, by_acl, nosuid, noexec, foreign, .. } = &mut question.how;
    match why {
        Why::NoSuid => *nosuid = false,
        Why::NoExec => *noexec = false,
        Why::ForeignMount => *foreign = false,
        Why::NotExecutable => {
            *mode |= 0o111;
            *by_acl = Some(true);
        }
        Why::NoNewPrivs => question.task.no_new_privs = false,
        Why::Traced => question.task.traced = false,
        Why::SharedFs => question.task.shares_fs = false,
        Why::CapsMissing | Why::BoundingLacks => {
            question.task.cred.bounding = CapSet::KNOWN;
        }
        _ => return false,
    }
    true
}

fn promised<'q>(question: &'q Question<'_>) -> Promise<'q, LiveNs<'q>> {
    Promise {
        ns: question.task.cred.ns,
        inode: &question.how.inode,
        stored: &question.stored,
        seal: question.seal,
        hidden: question.state.hidden.is_some(),
    }
}

/// What the file would give the task if nothing stood in the way.
pub(crate) fn promise(question: &Question<'_>) -> Option<FileCaps> {
    promised(question).caps()
}

fn permitted(question: &Question<'_>) -> CapSet {
    promise(question).unwrap_or_default().permitted.known()
}

impl Verdict<'_> {
    /// Why execve(2) fails before it looks at capabilities.
    pub(crate) fn stop<'q>(&self, question: &Question<'q>) -> Option<&'q Stop> {
        question.chain.stops.first()
    }
}
