// SPDX-License-Identifier: MIT OR Apache-2.0
//! What came of it: whether execve succeeds, what the task gains, and what of the file's promise
//! is lost for which reason.

use nscap_core::storage::Seal;
use nscap_core::{CapSet, Denied, Executed, FileCaps, Host, Why};
use nscap_linux::LiveNs;

use super::Question;

/// The answer.
pub(crate) struct Verdict<'a> {
    pub(crate) outcome: Result<Executed<LiveNs<'a>>, Denied>,
    /// Of what the file promises, what the task does not get.
    pub(crate) lost: CapSet,
    /// Why, where anything is lost.
    pub(crate) why: Option<Loss>,
}

/// Why something is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loss {
    /// A rule's reason.
    Rule(Why),
    /// The table holds an entry that would apply, and an unmodified kernel does not look at it.
    TableOnBareKernel,
    /// The table counts for nothing.
    Void,
    /// The capabilities are on a script, where nobody looks.
    OnScript,
    /// The permitted capabilities come, but not the effective bit: the program must raise them.
    NotEffective,
    /// The task has no such capability in its bounding set, and the file's effective bit is unset.
    Bounding,
}

impl Loss {
    pub(crate) fn clause(self) -> &'static str {
        match self {
            Loss::Rule(why) => why.clause(),
            Loss::TableOnBareKernel => "A",
            Loss::Void => "K",
            Loss::OnScript | Loss::NotEffective | Loss::Bounding => "X",
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Loss::Rule(why) => why.text(),
            Loss::TableOnBareKernel => {
                "an entry in the table applies, and an unmodified kernel does not look at tables"
            }
            Loss::Void => {
                "the file has changed since its entries were written, so they count for nothing"
            }
            Loss::OnScript => "a script's own capabilities are ignored; its interpreter's count",
            Loss::NotEffective => {
                "a real uid of root with another effective uid keeps them from being effective"
            }
            Loss::Bounding => "the task's bounding set lacks it",
        }
    }
}

impl<'a> Verdict<'a> {
    pub(crate) fn of(question: &Question<'a>) -> Verdict<'a> {
        let outcome = question.exec();
        let (lost, why) = match &outcome {
            Err(denied) => {
                let promised =
                    promise(question).map_or(CapSet::EMPTY, |caps| caps.permitted.known());
                (promised, Some(Loss::Rule(denied.why)))
            }
            Ok(executed) => lost(question, executed),
        };
        Verdict { outcome, lost, why }
    }

    /// Whether the task gains everything that the file promises it.
    pub(crate) fn complete(&self) -> bool {
        self.why.is_none()
    }
}

/// What the file would give the task if nothing stood in the way.
pub(crate) fn promise(question: &Question<'_>) -> Option<FileCaps> {
    let (ns, place) = (question.task.cred.ns, &question.how.place);
    nscap_core::file_grant(ns, place, &question.stored).ok()?.caps()
}

fn lost(question: &Question<'_>, executed: &Executed<LiveNs<'_>>) -> (CapSet, Option<Loss>) {
    let new = &executed.cred;
    let Some(caps) = executed.grant.caps() else {
        return nothing_granted(question, executed);
    };
    let promised = caps.permitted.known();
    let lost = executed.lost();
    if !lost.is_empty() {
        return (lost, Some(executed.limited.map_or(Loss::Bounding, Loss::Rule)));
    }
    if caps.effective && !promised.is_subset(new.effective) {
        return (promised.minus(new.effective), Some(Loss::NotEffective));
    }
    (CapSet::EMPTY, script_loss(question))
}

fn nothing_granted(
    question: &Question<'_>,
    executed: &Executed<LiveNs<'_>>,
) -> (CapSet, Option<Loss>) {
    let why = executed.grant.why();
    let promised = promise(question).map_or(CapSet::EMPTY, |caps| caps.permitted.known());
    let named = named(question);
    if !named.is_empty() && named.is_subset(executed.cred.effective) {
        // Root gets by itself what the file does not give.
        return (CapSet::EMPTY, None);
    }
    let unseen = matches!(why, Why::NoCapsOnFile | Why::NoEntryApplies);
    let loss = if unseen && matches!(question.seal, Seal::Void(_)) {
        Loss::Void
    } else if unseen && !promised.is_empty() {
        Loss::TableOnBareKernel
    } else if !question.stored.is_empty() || question.state.hidden.is_some() {
        Loss::Rule(why)
    } else {
        return (CapSet::EMPTY, script_loss(question));
    };
    (promised, Some(loss))
}

/// Every capability that the file names, for whomever.
fn named(question: &Question<'_>) -> CapSet {
    let host = match question.stored.host {
        Host::Value(caps) => caps.permitted,
        Host::Absent | Host::Malformed => CapSet::EMPTY,
    };
    question.stored.entries.iter().fold(host, |all, (_, caps)| all | caps.permitted).known()
}

/// Whether a script on the way has capabilities of its own.
fn script_loss(question: &Question<'_>) -> Option<Loss> {
    question.program.script_has_caps.then_some(Loss::OnScript)
}
