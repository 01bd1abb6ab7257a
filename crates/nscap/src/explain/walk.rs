// SPDX-License-Identifier: MIT OR Apache-2.0
//! The decision as a walk: mount, task, host value, each namespace tried, bounding set, the five
//! resulting sets, and the verdict.

use nscap_core::storage::Seal;
use nscap_core::{CapSet, Cred, Grant, Host, path_to_initial, root_kuid};
use nscap_linux::{Hidden, LiveNs};
use serde::Serialize;

use super::verdict::{Verdict, promise};
use super::{Question, Subject, remedy};
use crate::failure::Failure;
use crate::out::{self, BAD, GOOD, HEAD, JsonPath, Out, Table, names};

/// One step: what was looked at, and what was found.
#[derive(Serialize)]
struct Step {
    step: String,
    text: String,
}

/// The five sets, as JSON has them.
#[derive(Serialize)]
struct Sets {
    inheritable: Vec<String>,
    permitted: Vec<String>,
    effective: Vec<String>,
    bounding: Vec<String>,
    ambient: Vec<String>,
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
    after: Option<Sets>,
    secure: bool,
    errno: Option<&'static str>,
    lost: Vec<String>,
    why: Option<&'static str>,
    clause: Option<&'static str>,
    mend: Option<String>,
    complete: bool,
}

pub(crate) fn print(
    question: &Question<'_>,
    verdict: &Verdict<'_>,
    out: &mut Out,
) -> Result<(), Failure> {
    let steps = steps(question, verdict);
    let task = question.subject.name(&question.task);
    if out.is_json() {
        return Ok(out.object(&json(question, verdict, &task, &steps))?);
    }
    out.styled(HEAD, &format!("{} for {task}", out::path(question.path)))?;
    let mut table = Table::indented(2);
    steps.into_iter().for_each(|step| table.row([step.step, step.text]));
    out.table(&table)?;
    if let Ok(executed) = &verdict.outcome {
        out.table(&sets(&question.task.cred, &executed.cred))?;
    }
    conclude(question, verdict, out)
}

fn json<'t>(
    question: &Question<'_>,
    verdict: &Verdict<'_>,
    task: &'t str,
    steps: &'t [Step],
) -> Explanation<'t> {
    let ns = question.task.cred.ns;
    Explanation {
        path: question.path.into(),
        program: question.program.file.path().into(),
        task,
        pid: match question.subject {
            Subject::Live(task) => Some(task.pid()),
            Subject::Supposed { .. } => None,
        },
        namespace: ns.is_namespace().then(|| ns.inode()),
        rules: if question.by_design() { "design" } else { "kernel" },
        steps,
        before: Sets::of(&question.task.cred),
        after: verdict.outcome.as_ref().ok().map(|executed| Sets::of(&executed.cred)),
        secure: verdict.outcome.as_ref().is_ok_and(|executed| executed.secure),
        errno: verdict.outcome.as_ref().err().map(|denied| denied.errno.name()),
        lost: names(verdict.lost),
        why: verdict.why.map(|why| why.text()),
        clause: verdict.why.map(|why| why.clause()),
        mend: remedy::of(question, verdict),
        complete: verdict.complete(),
    }
}

impl Sets {
    fn of(cred: &Cred<LiveNs<'_>>) -> Sets {
        Sets {
            inheritable: names(cred.inheritable),
            permitted: names(cred.permitted),
            effective: names(cred.effective),
            bounding: names(cred.bounding),
            ambient: names(cred.ambient),
        }
    }
}

fn steps(question: &Question<'_>, verdict: &Verdict<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = |step: &str, text: String| steps.push(Step { step: step.to_owned(), text });
    for script in &question.program.scripts {
        let text = "a script: its interpreter's capabilities count, not its own [X]";
        step("script", format!("{} is {text}", out::path(script.path())));
    }
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
    if let Ok(executed) = &verdict.outcome {
        step("file gives", gives(question, &executed.grant));
        if let Some(why) = executed.limited {
            step("held back", format!("{why} [{}]", why.clause()));
        }
    }
    steps
}

fn program(question: &Question<'_>) -> String {
    let inode = &question.state.inode;
    let id = |id: Option<u32>| id.map_or("unmapped".to_owned(), |id| id.to_string());
    let place = &question.how.place;
    format!(
        "{}: mode {:04o}, owner kuid {}, group kgid {}",
        out::path(question.program.file.path()),
        inode.mode & 0o7777,
        id(place.owner.map(nscap_core::Kuid::get)),
        id(place.group.map(nscap_core::Kgid::get)),
    )
}

fn mount(question: &Question<'_>) -> String {
    let mount = &question.state.mount;
    let at = mount.point.as_deref().map_or("no mount of ours".to_owned(), out::path);
    let fs_type = out::name(mount.fs_type.as_bytes());
    let mut text = format!("{fs_type} on {at}");
    let facts = [
        (mount.nosuid, "nosuid: file capabilities are ignored"),
        (mount.noexec, "noexec: nothing is executed"),
        (mount.idmap.is_some(), "id-mapped"),
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
    let owner = question.how.place.sb_ns;
    if !owner.is_initial() || !mount.sb_owner_certain {
        let maybe = if mount.sb_owner_certain { "" } else { ", as far as can be known" };
        text.push_str(&format!("; owned by {}{maybe}", question.ns_name(owner)));
    }
    text
}

fn task(question: &Question<'_>) -> String {
    let task = &question.task;
    let mut text = format!("in {}", question.ns_name(task.cred.ns));
    let facts = [
        (task.traced, "traced without CAP_SYS_PTRACE"),
        (task.shares_fs, "shares its file system information"),
    ];
    for (_, fact) in facts.iter().filter(|(is, _)| *is) {
        text.push_str(", ");
        text.push_str(fact);
    }
    text
}

fn host_value(question: &Question<'_>) -> String {
    if question.state.hidden == Some(Hidden::Malformed) {
        return "security.capability is malformed or of revision 1".to_owned();
    }
    let seen = question.stored.seen_from(question.task.cred.ns, &question.how.place);
    match (question.stored.host, seen.host()) {
        (Host::Absent, _) => "none".to_owned(),
        (Host::Malformed, _) => "security.capability is malformed: execve fails [X]".to_owned(),
        (Host::Value(caps), Host::Value(_)) => format!("{caps}: overrides every entry [R8]"),
        (Host::Value(caps), _) => format!("{caps}: an entry through this mount [M]"),
    }
}

/// What one namespace on the path finds.
fn entry(question: &Question<'_>, ns: LiveNs<'_>) -> String {
    let name = question.ns_name(ns);
    let Some(root) = root_kuid(ns) else {
        return format!("{name} maps no uid 0: no entry can be its root's [R3]");
    };
    let seen = question.stored.seen_from(question.task.cred.ns, &question.how.place);
    match seen.entries().find(|entry| entry.kuid == Some(root)) {
        Some(entry) => format!("{name}, root kuid {root}: {} [R3]", entry.caps),
        None => format!("{name}, root kuid {root}: none"),
    }
}

fn table(question: &Question<'_>) -> Option<String> {
    match question.seal {
        Seal::None => None,
        Seal::Void(reason) => Some(format!("its entries count for nothing: {} [K]", reason.text())),
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
fn short(set: CapSet) -> String {
    let missing = CapSet::KNOWN.minus(set);
    match missing.iter().count() {
        0 => "all".to_owned(),
        1..=12 => format!("all but {missing}"),
        _ => set.to_string(),
    }
}

fn conclude(question: &Question<'_>, verdict: &Verdict<'_>, out: &mut Out) -> Result<(), Failure> {
    if let Err(denied) = &verdict.outcome {
        let errno = nscap_linux::describe(denied.errno.raw());
        out.styled(
            BAD,
            &format!("execve fails: {} [{}]: {errno}", denied.why, denied.why.clause()),
        )?;
    } else if let Some(loss) = verdict.why {
        let what = if verdict.lost.is_empty() {
            "nothing gained".to_owned()
        } else {
            format!("lost: {}", verdict.lost)
        };
        out.styled(BAD, &format!("{what}: {} [{}]", loss.text(), loss.clause()))?;
    } else if question.stored.is_empty() {
        out.styled(GOOD, "nothing lost: the file promises nothing")?;
        out.line(&format!("to grant: {}", question.how_to_grant()))?;
    } else {
        out.styled(GOOD, "nothing lost")?;
    }
    if let Some(mend) = remedy::of(question, verdict) {
        out.line(&format!("mend: {mend}"))?;
    }
    Ok(())
}
