// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap ns`: live user namespaces as a tree.

use std::collections::HashMap;

use nscap_core::{Extent, Kuid, UserNs as _, root_kuid};
use nscap_linux::{LiveNs, Namespaces, NsIndex, Origin};
use serde::Serialize;

use crate::cli::Ns;
use crate::failure::Failure;
use crate::note;
use crate::out::{self, Fit, Out, Table};
use crate::picture::{Joined, Node, svg};
use crate::system::{System, left_out};
use crate::watch::{Frame, watch};

/// One namespace, as JSON has it.
#[derive(Serialize)]
struct Namespace {
    namespace: u64,
    id: Option<u64>,
    parent: Option<u64>,
    depth: usize,
    owner: Option<u32>,
    root: Option<u32>,
    processes: usize,
    pid: Option<u32>,
    command: Option<String>,
    uid_map: Option<Vec<JsonExtent>>,
    gid_map: Option<Vec<JsonExtent>>,
}

/// The last object, where the answer is not whole.
#[derive(Serialize)]
struct LeftOut {
    left_out: usize,
}

#[derive(Serialize)]
struct JsonExtent {
    inside: u32,
    outside: u32,
    count: u32,
}

/// What a picture of namespaces shows.
pub(crate) const BELOW: &str = "Each box is a user namespace, with its root, its first process and its maps; those in it are below it.";

pub(crate) fn run(args: &Ns, out: &mut Out) -> Result<u8, Failure> {
    if let Some(every) = args.watch.every {
        return watch("nscap ns", every, frame, out);
    }
    let mut system = System::new()?;
    system.scan()?;
    if args.svg {
        let title = "User namespaces of this machine, each below its parent";
        out.bytes(svg(title, BELOW, &nodes(&system.namespaces)).as_bytes())?;
    } else {
        list(&system, out)?;
    }
    if let Some(text) = unread(&system) {
        note(&text);
    }
    let count = system.namespaces.left_out(None);
    if count == 0 {
        return Ok(0);
    }
    if out.is_json() {
        out.object(&LeftOut { left_out: count })?;
    }
    note(&left_out(count));
    Ok(2)
}

/// What `--watch` shows: a namespace that has ended is not among them any more.
fn frame() -> Result<Frame, Failure> {
    let mut system = System::new()?;
    system.scan()?;
    let count = system.namespaces.left_out(None);
    let mut table = empty();
    tree(&system.namespaces).into_iter().for_each(|(ns, depth)| table.row(row(ns, depth)));
    let notes = unread(&system).into_iter().chain((count > 0).then(|| left_out(count)));
    Ok(Frame { table, notes: notes.collect() })
}

/// Why namespaces may be missing.
fn unread(system: &System) -> Option<String> {
    let unreadable = system.namespaces.unreadable();
    let text = "process(es), whose namespaces may be missing";
    (unreadable > 0).then(|| format!("not allowed to look at {unreadable} {text}"))
}

fn empty() -> Table {
    Table::with_head(&[
        ("NAMESPACE", Fit::Whole),
        ("ID", Fit::Whole),
        ("OWNER", Fit::Whole),
        ("ROOT", Fit::Whole),
        ("PROCS", Fit::Whole),
        ("PID", Fit::Whole),
        ("COMMAND", Fit::Cut),
        ("UIDS", Fit::List),
        ("GIDS", Fit::List),
    ])
}

fn list(system: &System, out: &mut Out) -> Result<(), Failure> {
    let mut table = empty();
    for (ns, depth) in tree(&system.namespaces) {
        if ns.is_namespace() && out.is_json() {
            out.object(&Namespace::of(ns, depth))?;
        } else {
            table.row(row(ns, depth));
        }
    }
    if !out.is_json() {
        out.table(&table)?;
    }
    Ok(())
}

/// The boxes of a picture.
pub(crate) fn nodes(namespaces: &Namespaces) -> Vec<Node> {
    tree(namespaces).into_iter().map(|(ns, depth)| node(ns, depth)).collect()
}

fn node(ns: LiveNs<'_>, depth: usize) -> Node {
    let kuid = |kuid: Option<Kuid>| kuid.map_or("unknown".to_owned(), |kuid| kuid.to_string());
    let root = root_kuid(ns)
        .map_or("no root: uid 0 is not mapped".to_owned(), |root| format!("root is kuid {root}"));
    let root = if ns.maps_known() { root } else { "root unknown".to_owned() };
    let first = ns.first_process();
    let process = first.map_or_else(
        || format!("no process: {}", origin(ns.origin())),
        |first| {
            let (count, name) = (ns.process_count(), out::name(&first.comm));
            format!("{count} process(es), first {} {name}", first.pid)
        },
    );
    let title = match (ns.is_namespace(), depth) {
        (false, _) => "outside of what can be seen from here".to_owned(),
        (true, 0) => format!("namespace {}, the first one", ns.inode()),
        (true, _) => format!("namespace {}", ns.inode()),
    };
    let same = ns.maps_known() && ns.gid_map() == ns.uid_map();
    let ids = |what: &str, extents: &[Extent]| format!("{what} {}", maps(ns, extents));
    let mut lines = vec![format!("{root}, owner kuid {}", kuid(ns.owner_kuid())), process];
    if same {
        lines.push(ids("uids and gids", ns.uid_map()));
    } else {
        lines.extend([ids("uids", ns.uid_map()), ids("gids", ns.gid_map())]);
    }
    let inode = ns.is_namespace().then(|| ns.inode());
    Node { depth, inode, title, lines, lost: Vec::new(), joined: Joined::Parent }
}

/// A namespace and all below it, each before its children, these by inode number.
fn tree(namespaces: &Namespaces) -> Vec<(LiveNs<'_>, usize)> {
    let mut below: HashMap<NsIndex, Vec<LiveNs<'_>>> = HashMap::new();
    for ns in namespaces.iter() {
        let parent = ns.parent().map(LiveNs::index);
        parent.into_iter().for_each(|parent| below.entry(parent).or_default().push(ns));
    }
    let mut all = Vec::new();
    let mut next = vec![(namespaces.initial(), 0)];
    while let Some((ns, depth)) = next.pop() {
        all.push((ns, depth));
        let mut children = below.remove(&ns.index()).unwrap_or_default();
        children.sort_by_key(|child| std::cmp::Reverse(child.inode()));
        next.extend(children.into_iter().map(|child| (child, depth + 1)));
    }
    all
}

impl Namespace {
    fn of(ns: LiveNs<'_>, depth: usize) -> Namespace {
        let first = ns.first_process();
        let maps = |extents: &[Extent]| ns.maps_known().then(|| extents.iter().map(json).collect());
        Namespace {
            namespace: ns.inode(),
            id: ns.id(),
            parent: ns.parent().filter(|parent| parent.is_namespace()).map(LiveNs::inode),
            depth,
            owner: ns.owner_kuid().map(Kuid::get),
            root: root_kuid(ns).map(Kuid::get),
            processes: ns.process_count(),
            pid: first.as_ref().map(|process| process.pid),
            command: first.map(|process| String::from_utf8_lossy(&process.comm).into_owned()),
            uid_map: maps(ns.uid_map()),
            gid_map: maps(ns.gid_map()),
        }
    }
}

fn json(extent: &Extent) -> JsonExtent {
    JsonExtent { inside: extent.inside, outside: extent.outside, count: extent.count }
}

fn row(ns: LiveNs<'_>, depth: usize) -> Vec<String> {
    let dash = || "-".to_owned();
    let number = |n: Option<u64>| n.map_or_else(dash, |n| n.to_string());
    let first = ns.first_process();
    let name = if ns.is_namespace() { ns.inode().to_string() } else { "(outside)".to_owned() };
    vec![
        format!("{}{name}", "  ".repeat(depth)),
        number(ns.id()),
        number(ns.owner_kuid().map(|kuid| kuid.get().into())),
        number(root_kuid(ns).map(|kuid| kuid.get().into())),
        ns.process_count().to_string(),
        number(first.as_ref().map(|process| process.pid.into())),
        first.map_or_else(|| origin(ns.origin()), |process| out::name(&process.comm)),
        maps(ns, ns.uid_map()),
        if ns.maps_known() && !ns.gid_map().is_empty() && ns.gid_map() == ns.uid_map() {
            "same".to_owned()
        } else {
            maps(ns, ns.gid_map())
        },
    ]
}

/// The name of a namespace without a process.
fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Path(path) => out::path(path),
        _ => "-".to_owned(),
    }
}

/// `inside:outside:count`, as newuidmap(1) is told them.
fn maps(ns: LiveNs<'_>, extents: &[Extent]) -> String {
    if !ns.maps_known() {
        return "?".to_owned();
    }
    let text = |e: &Extent| format!("{}:{}:{}", e.inside, e.outside, e.count);
    let all: Vec<String> = extents.iter().map(text).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(",") }
}
