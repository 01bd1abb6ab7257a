// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap shift`: prints the plan, its problems, and the progress.

use std::collections::BTreeMap;
use std::path::Path;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use nscap_image::map::Side;
use nscap_image::shift::{
    Counts, Deviation, Direction, Error, Journal, Options, Outcome, Problem, Stage, Tree, Watch,
};
use serde::Serialize;

use crate::cli::Shift;
use crate::failure::Failure;
use crate::out::{self, JsonPath, Out, Table};
use crate::system::System;
use crate::{note, tell};

pub(crate) fn run(args: &Shift, out: &mut Out) -> Result<u8, Failure> {
    let mut system = System::new()?;
    let tree = Tree::open(&args.dir, &mut system.namespaces)?;
    if args.resume || args.undo {
        let direction = if args.undo { Direction::Back } else { Direction::Forward };
        let journal = Journal::open(&tree)?.ok_or_else(|| no_journal(&tree))?;
        return change(journal, &tree, direction, &mut system, out);
    }
    let options = options(args, &mut system)?;
    let mut teller = Teller::new(out);
    let plan = if args.dry_run {
        tree.preview(&options, &mut system.namespaces, &mut teller)
    } else {
        tree.plan(&options, &mut system.namespaces, &mut teller)
    };
    let plan = plan.inspect_err(tell_where)?;
    teller.finish()?;
    let counts = *plan.counts();
    if args.dry_run || counts.problems > 0 {
        plan.discard(&tree);
        show_plan(&tree, &options, &counts, out)?;
        if counts.problems > 0 {
            unchanged(&tree, &options)?;
        }
        return Ok(u8::from(counts.problems > 0));
    }
    let journal = plan.start(&tree)?;
    change(journal, &tree, Direction::Forward, &mut system, out)
}

/// Where a server shows the tree, for one that was claimed.
fn tell_where(error: &Error) {
    if let Error::System(error) = error {
        crate::umount::tell_where(error);
    }
}

/// Says that nothing was changed. For a tree that was shifted before, also says how to go back,
/// which most users want after a second shift of the same kind.
fn unchanged(tree: &Tree, options: &Options) -> Result<(), Failure> {
    let name = out::path(tree.path());
    let before = Journal::open(tree)?.filter(|journal| journal.stage() == Stage::Complete);
    let Some(journal) = before else {
        note(&format!("{name}: nothing was changed"));
        return Ok(());
    };
    let [from, _, to, _] = journal.maps();
    let same = (from, to) == (&options.from.uids.to_string(), &options.to.uids.to_string());
    let again = if same { "it was shifted so already" } else { "it was shifted before" };
    note(&format!(
        "{name}: nothing was changed; {again}, from {from} to {to}, and --undo takes that back ({})",
        out::path(journal.path())
    ));
    Ok(())
}

fn no_journal(tree: &Tree) -> Error {
    Error::NoJournal { path: tree.path().to_owned(), journal: Journal::place(tree) }
}

fn options(args: &Shift, system: &mut System) -> Result<Options, Failure> {
    let mut side = |uids: Option<&std::ffi::OsString>, gids: Option<&std::ffi::OsString>| {
        // clap asks for both.
        let mut side = match uids {
            Some(text) => Side::parse(text, &mut system.namespaces)?,
            None => Side::default(),
        };
        if let Some(text) = gids {
            side.gids = Side::parse(text, &mut system.namespaces)?.gids;
        }
        Ok::<_, Failure>(side)
    };
    Ok(Options {
        from: side(args.from.as_ref(), args.gid_from.as_ref())?,
        to: side(args.to.as_ref(), args.gid_to.as_ref())?,
        unmapped: args.unmapped,
        to_host: args.host_grants,
        other_names: args.other_names,
    })
}

fn change(
    journal: Journal,
    tree: &Tree,
    direction: Direction,
    system: &mut System,
    out: &mut Out,
) -> Result<u8, Failure> {
    let path = journal.path().to_owned();
    let mut teller = Teller::new(out);
    let outcome = journal.run(tree, direction, &mut system.namespaces, &mut teller)?;
    teller.finish()?;
    show_outcome(tree, &path, direction, &outcome, out)?;
    Ok(u8::from(outcome.deviations > 0 || !outcome.finished))
}

#[derive(Serialize)]
struct JsonPlan<'a> {
    event: &'static str,
    #[serde(flatten)]
    path: JsonPath,
    uids_from: &'a str,
    gids_from: &'a str,
    uids_to: &'a str,
    gids_to: &'a str,
    inodes: u64,
    changes: u64,
    owners: u64,
    acls: u64,
    capabilities: u64,
    dropped: u64,
    hard_links: u64,
    mounts: u64,
    problems: u64,
}

fn show_plan(
    tree: &Tree,
    options: &Options,
    counts: &Counts,
    out: &mut Out,
) -> Result<(), Failure> {
    let maps = [&options.from.uids, &options.from.gids, &options.to.uids, &options.to.gids];
    let maps = maps.map(ToString::to_string);
    let [uids_from, gids_from, uids_to, gids_to] = maps.each_ref().map(String::as_str);
    let Counts { inodes, changes, owners, acls, dropped, hard_links, mounts, problems, .. } =
        *counts;
    if out.is_json() {
        let (path, event, capabilities) = (tree.path().into(), "plan", counts.grants);
        out.object(&JsonPlan {
            event,
            path,
            uids_from,
            gids_from,
            uids_to,
            gids_to,
            inodes,
            changes,
            owners,
            acls,
            capabilities,
            dropped,
            hard_links,
            mounts,
            problems,
        })?;
        return Ok(());
    }
    let mut table = Table::default();
    let mut row = |name: &str, text: String| table.row([name.to_owned(), text]);
    row("tree", format!("{}: {inodes} inodes, {hard_links} further names", out::path(tree.path())));
    row("uids", format!("{uids_from} to {uids_to}"));
    row("gids", format!("{gids_from} to {gids_to}"));
    row("change", format!("{changes} inodes"));
    row("", format!("{owners} in owner or group, {acls} in access control lists"));
    row("", format!("{} in capabilities, {dropped} grants dropped", counts.grants));
    row("left out", format!("{mounts} mounts"));
    row("in the way", format!("{problems}"));
    out.table(&table)?;
    Ok(())
}

#[derive(Serialize)]
struct JsonOutcome {
    event: &'static str,
    #[serde(flatten)]
    path: JsonPath,
    changed: u64,
    already: u64,
    odd: u64,
    finished: bool,
    journal: Option<JsonPath>,
}

fn show_outcome(
    tree: &Tree,
    journal: &Path,
    direction: Direction,
    outcome: &Outcome,
    out: &mut Out,
) -> Result<(), Failure> {
    let &Outcome { changed, already, deviations: odd, finished } = outcome;
    let (event, there) = match direction {
        Direction::Forward => ("shifted", true),
        Direction::Back => ("undone", !finished),
    };
    if out.is_json() {
        let journal = there.then(|| journal.into());
        let path = tree.path().into();
        out.object(&JsonOutcome { event, path, changed, already, odd, finished, journal })?;
        return Ok(());
    }
    let name = out::path(tree.path());
    let more = if already > 0 { format!(", {already} were already") } else { String::new() };
    out.line(&format!("{name}: {event}, {changed} inodes changed{more}"))?;
    let journal = out::path(journal);
    match direction {
        Direction::Forward if finished => {
            note(&format!("{name}: --undo takes it back by {journal}; remove that to keep it"));
        }
        Direction::Forward => {
            note(&format!("{name}: not finished; --resume or --undo it ({journal})"));
        }
        Direction::Back if !finished => {
            note(&format!("{name}: not all of it could go back; --undo tries again by {journal}"));
        }
        Direction::Back => {}
    }
    Ok(())
}

#[derive(Serialize)]
struct JsonEvent {
    event: &'static str,
    #[serde(flatten)]
    path: JsonPath,
    what: &'static str,
    id: Option<u32>,
    text: String,
}

/// How many of one kind are told for people: a tree may have as many as it has files.
const TOLD: u64 = 10;

/// Tells what comes up, beside a bar where standard error is a terminal.
struct Teller<'o> {
    out: &'o mut Out,
    bar: ProgressBar,
    /// How many of each kind there were.
    kinds: BTreeMap<&'static str, u64>,
    /// What standard output said no to; told at the end.
    failed: Option<std::io::Error>,
}

impl<'o> Teller<'o> {
    fn new(out: &'o mut Out) -> Teller<'o> {
        let bar = ProgressBar::no_length();
        bar.set_style(style("{spinner} {pos} looked at, {rate}"));
        Teller { out, bar, kinds: BTreeMap::new(), failed: None }
    }

    fn tell(
        &mut self,
        event: &'static str,
        path: &Path,
        what: &'static str,
        id: Option<u32>,
        text: String,
    ) {
        if self.out.is_json() {
            let event = JsonEvent { event, path: path.into(), what, id, text: text.clone() };
            let told = self.bar.suspend(|| self.out.object(&event));
            self.failed = self.failed.take().or(told.err());
        }
        let count = self.kinds.entry(what).or_default();
        *count += 1;
        if *count <= TOLD {
            self.bar.suspend(|| tell(&format!("{}: {text}", out::path(path))));
        }
    }

    fn finish(self) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        for (what, count) in self.kinds.iter().filter(|(_, count)| **count > TOLD) {
            tell(&format!("{} more of the kind `{what}`; --json prints each", count - TOLD));
        }
        self.failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// A template of ours; one that indicatif does not take leaves its own.
fn style(template: &str) -> ProgressStyle {
    let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        // A bar that cannot be written is not missed.
        let _ = write!(out, "{:.0}/s", state.per_sec());
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("rate", rate)
}

impl Watch for Teller<'_> {
    fn problem(&mut self, path: &Path, problem: &Problem) {
        self.tell("problem", path, problem.name(), problem.id(), problem.to_string());
    }

    fn mount(&mut self, path: &Path) {
        let text = "something is mounted here; left as it is".to_owned();
        self.tell("mount", path, "mount", None, text);
    }

    fn deviation(&mut self, path: &Path, deviation: &Deviation) {
        self.tell("odd", path, deviation.name(), None, deviation.to_string());
    }

    fn progress(&mut self, done: u64, of: Option<u64>) {
        if let Some(of) = of.filter(|of| self.bar.length() != Some(*of)) {
            self.bar.set_length(of);
            self.bar.set_style(style("{wide_bar} {pos}/{len}, {rate}, {eta} left"));
        }
        self.bar.set_position(done);
    }
}
