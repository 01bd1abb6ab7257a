// SPDX-License-Identifier: MIT OR Apache-2.0
//! A scenario as text, as README.md has it: what was made at random can go into the table.

use std::fmt::Write as _;

use nscap_core::{Busy, Extent, Policy};

use crate::model::Rules;
use crate::outcome::{Outcome, show_securebits};
use crate::scenario::{
    Attr, Content, File, Flag, Fs, FsKind, INIT, MapWriter, Op, Scenario, Stored, Task,
};
use crate::text::{show_file_caps, show_value};

/// The scenario; of each step the column of these rules is what came of it, the other is `any`.
#[must_use]
pub fn toml(scenario: &Scenario, outcomes: &[Outcome], rules: Rules) -> String {
    let world = &scenario.world;
    let mut text = String::from("[[scenario]]\n");
    line(&mut text, "name", &quoted(&scenario.name));
    line(&mut text, "clause", &format!("[{}]", quoted_list(&scenario.clauses)));
    line(&mut text, "about", &quoted(&scenario.about));
    line(&mut text, "policy", &policy(scenario.policy));
    for ns in &world.namespaces {
        let maps = format!(
            "{{ parent = {}, owner = {}, uids = {}, gids = {} }}",
            quoted(&ns.parent),
            ns.owner,
            quoted(&map(&ns.maps.uids)),
            quoted(&map(&ns.maps.gids))
        );
        line(&mut text, &format!("ns.{}", ns.name), &maps);
    }
    line(&mut text, "fs", &fs(&world.fs));
    for (name, item) in &world.files {
        line(&mut text, &format!("file.{name}"), &file(item));
    }
    for (name, item) in &world.tasks {
        line(&mut text, &format!("task.{name}"), &task(item));
    }
    text.push_str("steps = [\n");
    for (n, step) in scenario.steps.iter().enumerate() {
        let came = outcomes.get(n).map_or("any".to_owned(), ToString::to_string);
        let (design, kernel) = match rules {
            Rules::Design => (came, "any".to_owned()),
            Rules::Bare => ("any".to_owned(), came),
        };
        let flag = match &step.op {
            Op::Set { flag: Flag::Create, .. } => ", flag = \"create\"",
            Op::Set { flag: Flag::Replace, .. } => ", flag = \"replace\"",
            _ => "",
        };
        let _ = writeln!(
            text,
            "  {{ by = {}, do = {}{flag}, design = {}, kernel = {} }},",
            quoted(&step.by),
            quoted(&action(&step.op)),
            quoted(&design),
            quoted(&kernel)
        );
    }
    text.push_str("]\n");
    text
}

fn line(text: &mut String, key: &str, value: &str) {
    let _ = writeln!(text, "{key} = {value}");
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn quoted_list(all: &[String]) -> String {
    let all: Vec<String> = all.iter().map(|text| quoted(text)).collect();
    all.join(", ")
}

fn map(extents: &[Extent]) -> String {
    let text = |e: &Extent| format!("{}:{}:{}", e.inside, e.outside, e.count);
    extents.iter().map(text).collect::<Vec<_>>().join(",")
}

/// A table with the keys that are not as they are by default.
fn table(fields: &[(&str, Option<String>)]) -> String {
    let said =
        fields.iter().filter_map(|(key, value)| Some(format!("{key} = {}", value.as_ref()?)));
    let said: Vec<String> = said.collect();
    if said.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", said.join(", ")) }
}

fn when(yes: bool) -> Option<String> {
    yes.then(|| "true".to_owned())
}

/// Without it a difference that was found under one policy would be played under another.
fn policy(policy: Policy) -> String {
    let busy = policy.busy;
    table(&[
        ("array", when(policy.array)),
        ("busy", (busy != Busy::default()).then(|| quoted(busy.name()))),
    ])
}

fn fs(fs: &Fs) -> String {
    table(&[
        ("kind", (fs.kind == FsKind::Ext4).then(|| quoted("ext4"))),
        ("owner", (fs.owner != INIT).then(|| quoted(&fs.owner))),
        ("idmap", (!fs.idmap.is_empty()).then(|| quoted(&map(&fs.idmap)))),
        ("nosuid", when(fs.nosuid)),
        ("noexec", when(fs.noexec)),
        ("read_only", when(fs.read_only)),
        ("foreign", when(fs.foreign)),
    ])
}

fn file(file: &File) -> String {
    let (mut host, mut entries, mut raw) = (None, None, None);
    match &file.stored {
        Stored::Raw(bytes) => raw = Some(quoted(&show_value(bytes))),
        Stored::Caps { host: value, entries: all } => {
            host = value.map(|caps| quoted(&show_file_caps(caps)));
            let all: Vec<String> = all
                .iter()
                .map(|(kuid, caps)| format!("{kuid} = {}", quoted(&show_file_caps(*caps))))
                .collect();
            entries = (!all.is_empty()).then(|| format!("{{ {} }}", all.join(", ")));
        }
    }
    table(&[
        ("owner", Some(file.owner.to_string())),
        ("group", Some(file.group.to_string())),
        ("mode", Some(quoted(&format!("{:o}", file.mode)))),
        (
            "content",
            match &file.content {
                Content::Probe => None,
                Content::Script(interpreter) => Some(quoted(&format!("script {interpreter}"))),
            },
        ),
        ("host", host),
        ("entries", entries),
        ("raw", raw),
        ("immutable", when(file.immutable)),
    ])
}

fn task(task: &Task) -> String {
    let ([uid, euid, suid], [gid, egid, sgid]) = (task.uids, task.gids);
    let groups: Vec<String> = task.groups.iter().map(ToString::to_string).collect();
    let set = |text: &str, default: &str| (text != default).then(|| quoted(text));
    table(&[
        ("ns", (task.ns != INIT).then(|| quoted(&task.ns))),
        ("uid", Some(uid.to_string())),
        ("euid", (euid != uid).then(|| euid.to_string())),
        ("suid", (suid != euid).then(|| suid.to_string())),
        ("gid", Some(gid.to_string())),
        ("egid", (egid != gid).then(|| egid.to_string())),
        ("sgid", (sgid != egid).then(|| sgid.to_string())),
        ("groups", (!groups.is_empty()).then(|| format!("[{}]", groups.join(", ")))),
        ("permitted", Some(quoted(&task.sets.permitted))),
        ("effective", Some(quoted(&task.sets.effective))),
        ("inheritable", set(&task.sets.inheritable, "none")),
        ("ambient", set(&task.sets.ambient, "none")),
        ("bounding", set(&task.sets.bounding, "all")),
        ("securebits", (task.securebits != 0).then(|| quoted(&show_securebits(task.securebits)))),
        ("no_new_privs", when(task.no_new_privs)),
        ("traced", when(task.traced)),
        ("shared_fs", when(task.shared_fs)),
    ])
}

/// The `do` of a step.
pub(crate) fn action(op: &Op) -> String {
    let id = |id: &Option<u32>| id.map_or("-".to_owned(), |id| id.to_string());
    match op {
        Op::Set { attr, file, value, .. } => {
            format!("set-{} {file} {}", attr.short(), show_value(value))
        }
        Op::Get(attr, file) => format!("get-{} {file}", attr.short()),
        Op::Size(attr, file) => format!("size-{} {file}", attr.short()),
        Op::Remove(attr, file) => format!("remove-{} {file}", Attr::short(*attr)),
        Op::List(file) => format!("list {file}"),
        Op::Exec(file) => format!("exec {file}"),
        Op::Write(file) => format!("write {file}"),
        Op::Truncate(file) => format!("truncate {file}"),
        Op::Fallocate(file) => format!("fallocate {file}"),
        Op::Mmap(file) => format!("mmap {file}"),
        Op::CopyInto { from, file } => format!("copy {from} {file}"),
        Op::Chown { file, uid, gid } => format!("chown {file} {} {}", id(uid), id(gid)),
        Op::Chmod(file, mode) => format!("chmod {file} {mode:o}"),
        Op::Rename(from, to) => format!("rename {from} {to}"),
        Op::Link(from, to) => format!("link {from} {to}"),
        Op::Utimes(file) => format!("utimes {file}"),
        Op::Unshare { ns, maps, writer } => {
            let by = if *writer == MapWriter::Parent { " by=parent" } else { "" };
            format!("unshare {ns} uids={} gids={}{by}", map(&maps.uids), map(&maps.gids))
        }
        Op::Enter(ns) => format!("enter {ns}"),
    }
}
