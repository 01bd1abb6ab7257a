// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap scan`: every file in a tree with capabilities, and the containers that each applies to.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use nscap_core::Kuid;
use nscap_linux::walk::{Event, Progress, Walk};
use nscap_linux::{CapFile, Error, isolate};
use serde::Serialize;

use crate::cli::Scan;
use crate::contents::Contents;
use crate::failure::Failure;
use crate::note;
use crate::ns::nodes;
use crate::out::{self, JsonPath, Out, Table};
use crate::picture::Page;
use crate::ranges::sharers;
use crate::report;
use crate::system::System;

/// How many files' rows are aligned with each other, where they are printed as they come.
const ROWS_TOGETHER: usize = 200;

/// In a process of its own: a thread that a file system does not answer cannot end.
pub(crate) fn run(args: &Scan, out: &mut Out) -> Result<u8, Failure> {
    let work = || {
        let status = search(args, out).and_then(|status| {
            out.flush()?;
            Ok(status)
        });
        status.unwrap_or_else(|failure| report(&failure))
    };
    Ok(isolate::apart(work)?)
}

fn search(args: &Scan, out: &mut Out) -> Result<u8, Failure> {
    let mut scan = Scanner::new(args, out)?;
    let threads = match args.threads {
        Some(threads) => NonZeroUsize::new(threads.into()),
        None => std::thread::available_parallelism().ok(),
    };
    let walk = Walk::new()
        .threads(threads.unwrap_or(NonZeroUsize::MIN))
        .one_file_system(args.one_file_system)
        .patience(Duration::from_secs(args.patience.into()));
    scan.bar = progress_bar(walk.progress());
    let mut result = Ok(());
    walk.run(&args.dirs, |event| match scan.take(event) {
        Ok(()) => ControlFlow::Continue(()),
        Err(failure) => {
            result = Err(failure);
            ControlFlow::Break(())
        }
    });
    scan.bar.finish_and_clear();
    result?;
    scan.finish()
}

/// One file that has capabilities, as JSON has it.
#[derive(Serialize)]
struct FoundFile {
    #[serde(flatten)]
    contents: Contents,
    shared: Vec<Shared>,
}

/// A directory or file of a file system that does not answer, as JSON has it.
#[derive(Serialize)]
struct NoAnswer {
    #[serde(flatten)]
    path: JsonPath,
    no_answer: u64,
}

/// S: the kuid of an entry that has more than one holder.
#[derive(Serialize)]
struct Shared {
    kuid: u32,
    by: Vec<String>,
}

struct Scanner<'a> {
    args: &'a Scan,
    out: &'a mut Out,
    system: System,
    /// The root kuid that --for names.
    whom: Option<Kuid>,
    bar: ProgressBar,
    /// S: what is known of the kuids so far.
    shared: HashMap<u32, Vec<String>>,
    table: Table,
    in_table: usize,
    /// What --sort keeps until the end.
    found: Vec<(PathBuf, FoundFile)>,
    failed: Vec<Failure>,
    status: Status,
}

/// What the exit status is made from.
#[derive(Default)]
struct Status {
    any: bool,
    failures: bool,
    /// Files of which it cannot be told whether they are what was asked for.
    untold: usize,
    /// Whether anything was called stale.
    stale: bool,
}

impl<'a> Scanner<'a> {
    fn new(args: &'a Scan, out: &'a mut Out) -> Result<Scanner<'a>, Failure> {
        let mut system = System::new()?;
        if args.html {
            system.scan()?;
        }
        let mut whom = None;
        if let Some(who) = &args.whom {
            whom = Some(system.resolve(who)?.kuid);
        }
        Ok(Scanner {
            args,
            out,
            system,
            whom,
            bar: ProgressBar::hidden(),
            shared: HashMap::new(),
            table: Table::default(),
            in_table: 0,
            found: Vec::new(),
            failed: Vec::new(),
            status: Status::default(),
        })
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Found(file) => match self.look(file) {
                Ok(()) => Ok(()),
                Err(Failure::System(error)) => self.fail(error),
                Err(failure) => Err(failure),
            },
            Event::Failed(error) => self.fail(error),
            _ => Ok(()),
        }
    }

    fn fail(&mut self, error: Error) -> Result<(), Failure> {
        self.status.failures = true;
        if let (Error::NoAnswer { path, seconds }, true) = (&error, self.out.is_json()) {
            let object = NoAnswer { path: path.as_path().into(), no_answer: *seconds };
            self.write(|out, _| out.object(&object))?;
        }
        let failure = Failure::System(error);
        if self.sorts() {
            self.failed.push(failure);
        } else {
            self.bar.suspend(|| report(&failure));
        }
        Ok(())
    }

    fn look(&mut self, file: CapFile) -> Result<(), Failure> {
        self.system.draws = self.args.html;
        let path = file.path().to_owned();
        let patience = Duration::from_secs(self.args.patience.into());
        let contents =
            self.system.ask(&path, patience, move |system| Contents::of(&file, system))?;
        // What the walk saw may have been removed since.
        if !contents.is_anything() || !self.is_asked_for(&contents) {
            return Ok(());
        }
        self.status.any = true;
        self.status.stale |= contents.is_stale();
        let shared = self.shared_by(&contents)?;
        let found = FoundFile { contents, shared };
        if self.sorts() {
            self.found.push((path, found));
            return Ok(());
        }
        self.print(path, &found)
    }

    fn is_asked_for(&mut self, contents: &Contents) -> bool {
        let asked = self.whom.is_none_or(|kuid| contents.is_for(kuid))
            && (!self.args.stale || contents.is_stale());
        let filtered = self.whom.is_some() || self.args.stale;
        let untold = contents.has_secrets() || (self.args.stale && contents.is_unsure());
        if filtered && !asked && untold {
            self.status.untold += 1;
        }
        asked
    }

    /// Whether everything is printed at the end.
    fn sorts(&self) -> bool {
        self.args.sort || self.args.html
    }

    fn page(&mut self, found: Vec<(PathBuf, FoundFile)>) -> Result<(), Failure> {
        // Lost where a file system did not answer.
        self.system.scan()?;
        let places = self.args.dirs.iter().map(|dir| out::path(dir)).collect();
        let left_out = self.system.namespaces.left_out(None);
        let mut notes: Vec<String> = self.failed.iter().map(Failure::to_string).collect();
        notes.sort();
        notes.extend((left_out > 0).then(|| crate::system::left_out(left_out)));
        let files = found.iter().map(|(_, found)| found.contents.file_row()).collect();
        let page = Page { places, files, namespaces: nodes(&self.system.namespaces), notes };
        self.write(|out, _| out.bytes(page.html().as_bytes()))
    }

    fn shared_by(&mut self, contents: &Contents) -> Result<Vec<Shared>, Failure> {
        let mut all = Vec::new();
        for kuid in contents.entries.iter().filter_map(|entry| entry.kuid) {
            if !self.shared.contains_key(&kuid) {
                self.shared.insert(kuid, sharers(kuid, &mut self.system)?);
            }
            let by = self.shared.get(&kuid).filter(|by| !by.is_empty());
            all.extend(by.map(|by| Shared { kuid, by: by.clone() }));
        }
        Ok(all)
    }

    fn print(&mut self, path: PathBuf, found: &FoundFile) -> Result<(), Failure> {
        if self.args.null {
            let line = [path.as_os_str().as_bytes(), b"\0"].concat();
            return self.write(|out, _| out.bytes(&line));
        }
        if self.out.is_json() {
            return self.write(|out, _| out.object(found));
        }
        found.contents.rows(&mut self.table);
        self.in_table += 1;
        if self.in_table >= ROWS_TOGETHER && !self.args.sort {
            self.print_table()?;
        }
        Ok(())
    }

    fn print_table(&mut self) -> Result<(), Failure> {
        self.write(|out, table| out.table(table))?;
        self.table = Table::default();
        self.in_table = 0;
        Ok(())
    }

    /// Writes while no progress is shown: both may be the same terminal.
    fn write(
        &mut self,
        write: impl FnOnce(&mut Out, &Table) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        let Scanner { bar, out, table, .. } = self;
        Ok(bar.suspend(|| write(out, table))?)
    }

    fn finish(mut self) -> Result<u8, Failure> {
        let mut kept = std::mem::take(&mut self.found);
        // Component by component, so that a tree's files stay together; then byte by byte.
        kept.sort_by(|(one, _), (other, _)| {
            one.cmp(other).then_with(|| one.as_os_str().cmp(other.as_os_str()))
        });
        if self.args.html {
            self.page(kept)?;
        } else {
            for (path, found) in kept {
                self.print(path, &found)?;
            }
        }
        self.print_table()?;
        self.out.flush()?;
        let mut failed = std::mem::take(&mut self.failed);
        failed.sort_by_cached_key(Failure::to_string);
        failed.iter().for_each(|failure| {
            report(failure);
        });
        if !self.out.is_json() {
            self.note_shared();
        }
        let doubts = self.note_doubts();
        let found = u8::from(!self.status.any);
        Ok(if self.status.failures || doubts { 2 } else { found })
    }

    /// S: said once for each kuid that was met.
    fn note_shared(&self) {
        let shared: BTreeMap<_, _> = self.shared.iter().filter(|(_, by)| !by.is_empty()).collect();
        for (kuid, by) in shared {
            note(&format!("kuid {kuid} is in each of: {}: shared grants [S]", by.join("; ")));
        }
    }

    /// Says why what was printed may not be the answer, and whether that is so.
    fn note_doubts(&self) -> bool {
        let Status { untold, stale, .. } = self.status;
        if untold > 0 {
            note(&format!(
                "{untold} more file(s) have something of which it cannot be told whose it is"
            ));
        }
        let unknown = self.system.namespaces.unknown();
        let unsure = self.args.stale && stale && unknown > 0;
        if unsure {
            note(&format!(
                "not allowed to look at {unknown} process(es): an entry may be of use to them"
            ));
        }
        untold > 0 || unsure
    }
}

/// How far the walk is, where standard error is a terminal.
fn progress_bar(progress: Arc<Progress>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if bar.is_hidden() {
        return bar;
    }
    let count = move |_: &ProgressState, text: &mut dyn std::fmt::Write| {
        let (directories, files) = (progress.directories(), progress.files());
        let _ = write!(text, "{directories} directories, {files} files");
    };
    let style = ProgressStyle::with_template("{spinner} {count}, {elapsed}");
    bar.set_style(
        style.unwrap_or_else(|_| ProgressStyle::default_spinner()).with_key("count", count),
    );
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
