// SPDX-License-Identifier: MIT OR Apache-2.0
//! The answer, for people and as JSON.

use nscap_core::{CapSet, Cred, Executed, UserNs as _};
use nscap_linux::LiveNs;
use serde::Serialize;

use super::chain::Chain;
use super::counts::{self, Count};
use super::look::Stop;
use super::remedy::{self, Remedy};
use super::unseen::Unseen;
use super::verdict::{self, Outcome, Verdict, promise};
use super::walk::{self, Step};
use super::{Question, Subject};
use crate::failure::{EACCES, Failure};
use crate::out::{self, BAD, GOOD, HEAD, JsonPath, Name, Out, Table, names};
use crate::system::System;

/// The five sets and the ids, as JSON has them.
#[derive(Serialize)]
struct Sets {
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
struct End {
    after: Option<Sets>,
    secure: bool,
    errno: Option<String>,
}

/// One reason why something is lost.
#[derive(Serialize)]
struct Cause {
    why: String,
    clause: &'static str,
    mend: Option<String>,
    advice: Option<String>,
}

/// How a task that does not run yet would be started.
#[derive(Serialize)]
struct Begun {
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
struct JsonImage {
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
struct Explanation<'t> {
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

pub(crate) fn print(
    question: &Question<'_>,
    verdict: &Verdict<'_>,
    out: &mut Out,
) -> Result<(), Failure> {
    let counts = counts::all(question, has(question, verdict));
    let steps = walk::steps(question, verdict, &counts);
    let task = question.subject.name(&question.task);
    if out.is_json() {
        return Ok(out.object(&json(question, verdict, &counts, &task, &steps))?);
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
    let cause = |stop: &Stop| {
        let Remedy { command, advice } = remedy::stop(stop);
        Cause { why: stop.text.clone(), clause: verdict::clause_of_a_stop(), mend: command, advice }
    };
    let causes: Vec<Cause> = chain.stops.iter().map(cause).collect();
    let errno = chain.stops.first().map_or(EACCES, |stop| stop.errno);
    let ns = task.cred.ns;
    if !out.is_json() {
        out.styled(HEAD, &format!("{} for {name}", named(path, subject)))?;
        let mut table = Table::indented(2);
        steps.into_iter().for_each(|step| table.row([step.step, step.text]));
        out.table(&table)?;
        for (n, cause) in causes.into_iter().enumerate() {
            let line = match n {
                0 => format!("execve fails: {} [X]: {}", cause.why, nscap_linux::describe(errno)),
                _ => format!("then: {} [X]", cause.why),
            };
            out.styled(BAD, &line)?;
            remedy_lines("mend", cause.mend, cause.advice, out)?;
        }
        return Ok(1);
    }
    let first = causes.first();
    out.object(&Explanation {
        path: path.into(),
        program: path.into(),
        task: &name,
        pid: subject.live().map(nscap_linux::LiveTask::pid),
        namespace: ns.is_namespace().then(|| ns.inode()),
        rules: "kernel",
        steps: &steps,
        before: Sets::of(&task.cred),
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
    })?;
    Ok(1)
}

/// The file, and the image that it is in.
fn named(path: &std::path::Path, subject: &Subject) -> String {
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
fn has(question: &Question<'_>, verdict: &Verdict<'_>) -> CapSet {
    match (&verdict.outcome, verdict.stop(question)) {
        (Some(Ok(executed)), None) => executed.cred.permitted,
        _ => CapSet::EMPTY,
    }
}

fn json<'t>(
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
fn cause(question: &Question<'_>, verdict: &Verdict<'_>, n: usize, loss: verdict::Cause) -> String {
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

fn in_words(outcome: &Outcome<'_>) -> String {
    match outcome {
        Ok(Executed { cred, .. }) => {
            format!("permitted {}, effective {}", short(cred.permitted), short(cred.effective))
        }
        Err(denied) => format!("{}: {}", denied.why, nscap_linux::describe(denied.errno.raw())),
    }
}
