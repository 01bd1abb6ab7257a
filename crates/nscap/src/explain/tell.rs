// SPDX-License-Identifier: MIT OR Apache-2.0
//! The answer, for people; [`json`] has it for programs.

use nscap_core::{CapSet, Cred, Executed};
use nscap_linux::LiveNs;

use super::chain::Chain;
use super::counts::{self, Count};
use super::remedy::{self, Remedy};
use super::verdict::{self, Outcome, Verdict, promise};
use super::{Question, Subject, json, walk};
use crate::failure::{EACCES, Failure};
use crate::out::{self, BAD, GOOD, HEAD, Out, Table};
use crate::system::System;

pub(crate) fn print(
    question: &Question<'_>,
    verdict: &Verdict<'_>,
    out: &mut Out,
) -> Result<(), Failure> {
    let counts = counts::all(question, has(question, verdict));
    let steps = walk::steps(question, verdict, &counts);
    let task = question.subject.name(&question.task);
    if out.is_json() {
        return Ok(out.object(&json::json(question, verdict, &counts, &task, &steps))?);
    }
    out.styled(HEAD, &format!("{} for {task}", named(question.path, question.subject)))?;
    let mut table = Table::indented(2);
    steps.into_iter().for_each(|step| table.row([step.step, step.text]));
    out.table(&table)?;
    if let (Some(Ok(executed)), None) = (&verdict.outcome, verdict.stop(question)) {
        out.table(&sets(&question.task.cred, &executed.cred))?;
    }
    conclude(question, verdict, &counts, out)
}

/// Where the task may not search a directory, and we may not look behind it.
pub(crate) fn blocked(
    path: &std::path::Path,
    chain: &Chain,
    subject: &Subject,
    system: &System,
    out: &mut Out,
) -> Result<u8, Failure> {
    let task = subject.task(system)?;
    let name = subject.name(&task);
    let steps = walk::way(chain);
    if out.is_json() {
        out.object(&json::blocked(path, chain, subject, &task.cred, (&name, &steps)))?;
        return Ok(1);
    }
    let errno = chain.stops.first().map_or(EACCES, |stop| stop.errno);
    out.styled(HEAD, &format!("{} for {name}", named(path, subject)))?;
    let mut table = Table::indented(2);
    steps.into_iter().for_each(|step| table.row([step.step, step.text]));
    out.table(&table)?;
    for (n, stop) in chain.stops.iter().enumerate() {
        let (text, clause) = (&stop.text, verdict::clause_of_a_stop());
        let line = match n {
            0 => format!("execve fails: {text} [{clause}]: {}", nscap_linux::describe(errno)),
            _ => format!("then: {text} [{clause}]"),
        };
        out.styled(BAD, &line)?;
        let Remedy { command, advice } = remedy::stop(stop);
        remedy_lines("mend", command, advice, out)?;
    }
    Ok(1)
}

/// The file, and the image that it is in.
pub(super) fn named(path: &std::path::Path, subject: &Subject) -> String {
    match subject.image() {
        Some(image) => {
            let (image, path) = (std::path::Path::new(&image.name), path.as_os_str());
            let mut name = image.as_os_str().to_owned();
            name.push(":");
            name.push(path);
            out::path(std::path::Path::new(&name))
        }
        None => out::path(path),
    }
}

/// What the task has after execve(2), as far as is known.
pub(super) fn has(question: &Question<'_>, verdict: &Verdict<'_>) -> CapSet {
    match (&verdict.outcome, verdict.stop(question)) {
        (Some(Ok(executed)), None) => executed.cred.permitted,
        _ => CapSet::EMPTY,
    }
}

fn sets(before: &Cred<LiveNs<'_>>, after: &Cred<LiveNs<'_>>) -> Table {
    let mut table = Table::indented(2);
    table.row(["".to_owned(), "before".to_owned(), "after execve".to_owned()]);
    let rows = [
        ("inheritable", before.inheritable, after.inheritable),
        ("permitted", before.permitted, after.permitted),
        ("effective", before.effective, after.effective),
        ("bounding", before.bounding, after.bounding),
        ("ambient", before.ambient, after.ambient),
    ];
    for (name, before, after) in rows {
        table.row([name.to_owned(), short(before), short(after)]);
    }
    table
}

/// A set in a few words.
pub(super) fn short(set: CapSet) -> String {
    let missing = CapSet::KNOWN.minus(set);
    match missing.iter().count() {
        0 => "all".to_owned(),
        1..=12 => format!("all but {missing}"),
        _ => set.to_string(),
    }
}

fn conclude(
    question: &Question<'_>,
    verdict: &Verdict<'_>,
    counts: &[Count],
    out: &mut Out,
) -> Result<(), Failure> {
    match verdict.complete() {
        None => {
            out.styled(BAD, "could not be told: it depends on what cannot be seen")?;
            for outcome in verdict.outcome.iter().chain(&verdict.otherwise) {
                out.line(&format!("  it may be: {}", in_words(outcome)))?;
            }
            if question.state.hidden == Some(nscap_linux::Hidden::Malformed) {
                let Remedy { command, advice } = remedy::clear(question);
                return Ok(remedy_lines("to clear it", command, advice, out)?);
            }
        }
        Some(true) if question.stored.is_empty() => {
            out.styled(GOOD, "nothing lost: the file promises nothing")?;
            if let Some(how) = remedy::how_to_grant(question) {
                out.line(&format!("to grant: {how}"))?;
            }
        }
        Some(true) => out.styled(GOOD, "nothing lost")?,
        Some(false) => {}
    }
    for (n, loss) in verdict.causes.iter().enumerate() {
        out.styled(BAD, &cause(question, verdict, n, *loss))?;
        let Remedy { command, advice } = remedy::of(question, *loss);
        remedy_lines("mend", command, advice, out)?;
    }
    let promised = promise(question).map_or(CapSet::EMPTY, |caps| caps.permitted.known());
    for count in counts.iter().filter(|count| !count.counts && !(count.asked & promised).is_empty())
    {
        let Count { kind, namespace, owner_name, asked, .. } = count;
        let text = format!(
            "granted, and still EPERM over {kind}:[{namespace}]: {} counts over what {} owns, and {owner_name} \
             owns that one",
            *asked & promised,
            question.ns_name(question.task.cred.ns),
        );
        out.styled(BAD, &text)?;
    }
    Ok(())
}

fn remedy_lines(
    what: &str,
    command: Option<String>,
    advice: Option<String>,
    out: &mut Out,
) -> std::io::Result<()> {
    if let Some(command) = command {
        out.line(&format!("{what}: {command}"))?;
    }
    advice.map_or(Ok(()), |advice| out.line(&format!("advice: {advice}")))
}

/// One reason as a line; the first one says what comes of it.
pub(super) fn cause(
    question: &Question<'_>,
    verdict: &Verdict<'_>,
    n: usize,
    loss: verdict::Cause,
) -> String {
    let (text, clause) = (loss.text(question), loss.clause());
    if n > 0 {
        return format!("then: {text} [{clause}]");
    }
    let errno = match (verdict.stop(question), &verdict.outcome) {
        (Some(stop), _) => Some(stop.errno),
        (None, Some(Err(denied))) => Some(denied.errno.raw()),
        _ => None,
    };
    match errno {
        Some(errno) => format!("execve fails: {text} [{clause}]: {}", nscap_linux::describe(errno)),
        None if loss == verdict::Cause::NotKept => {
            format!("added and not kept: {}: {text} [{clause}]", verdict.missing)
        }
        None if verdict.lost.is_empty() => format!("nothing gained: {text} [{clause}]"),
        None => format!("lost: {}: {text} [{clause}]", verdict.lost),
    }
}

pub(super) fn in_words(outcome: &Outcome<'_>) -> String {
    match outcome {
        Ok(Executed { cred, .. }) => {
            format!("permitted {}, effective {}", short(cred.permitted), short(cred.effective))
        }
        Err(denied) => format!("{}: {}", denied.why, nscap_linux::describe(denied.errno.raw())),
    }
}
