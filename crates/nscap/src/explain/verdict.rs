// SPDX-License-Identifier: MIT OR Apache-2.0
//! What came of it: whether execve succeeds, what the task gains, and what of the file's promise
//! is lost for which reason.

use nscap_core::{CapSet, Denied, Executed, FileCaps, Promise, Why};
use nscap_linux::LiveNs;

use super::Question;

/// The answer.
pub(crate) struct Verdict<'a> {
    pub(crate) outcome: Result<Executed<LiveNs<'a>>, Denied>,
    /// Of what the file promises, what the task does not get.
    pub(crate) lost: CapSet,
    /// Why, where anything is lost.
    pub(crate) why: Option<Why>,
}

impl<'a> Verdict<'a> {
    pub(crate) fn of(question: &Question<'a>) -> Verdict<'a> {
        let outcome = question.exec();
        let loss = promised(question).loss(&outcome);
        // The program is what decides; a script on the way may have capabilities of its own.
        let script = question.program.script_has_caps.then_some(Why::ScriptIgnored);
        Verdict {
            outcome,
            lost: loss.map_or(CapSet::EMPTY, |loss| loss.caps),
            why: loss.map(|loss| loss.why).or(script),
        }
    }

    /// Whether the task gains everything that the file promises it.
    pub(crate) fn complete(&self) -> bool {
        self.why.is_none()
    }
}

fn promised<'q>(question: &'q Question<'_>) -> Promise<'q, LiveNs<'q>> {
    Promise {
        ns: question.task.cred.ns,
        place: &question.how.place,
        stored: &question.stored,
        seal: question.seal,
        hidden: question.state.hidden.is_some(),
    }
}

/// What the file would give the task if nothing stood in the way.
pub(crate) fn promise(question: &Question<'_>) -> Option<FileCaps> {
    promised(question).caps()
}
