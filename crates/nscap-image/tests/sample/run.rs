// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shifts as the tests make them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nscap_image::map::Side;
use nscap_image::shift::{
    CrashPoint, Deviation, Direction, Error, Journal, Options, Outcome, Problem, Tree, Watch,
};
use nscap_linux::Namespaces;

pub(crate) const A: u32 = 1_300_000;
pub(crate) const B: u32 = 1_400_000;

pub(crate) fn map(base: u32) -> String {
    format!("0:{base}:65536")
}

pub(crate) fn options(from: &str, to: &str) -> Options {
    let mut namespaces = Namespaces::own().unwrap();
    Options {
        from: Side::parse(from.as_ref(), &mut namespaces).unwrap(),
        to: Side::parse(to.as_ref(), &mut namespaces).unwrap(),
        ..Options::default()
    }
}

/// Notes everything that it is told, and may end this process after some step.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) problems: Vec<(PathBuf, String)>,
    pub(crate) odd: Vec<(PathBuf, Deviation)>,
    pub(crate) mounts: Vec<PathBuf>,
    pub(crate) steps: usize,
    pub(crate) kill_after: Option<usize>,
}

impl Watch for Notes {
    fn problem(&mut self, path: &Path, problem: &Problem) {
        self.problems.push((path.to_owned(), problem.name().to_owned()));
    }
    fn mount(&mut self, path: &Path) {
        self.mounts.push(path.to_owned());
    }
    fn deviation(&mut self, path: &Path, deviation: &Deviation) {
        self.odd.push((path.to_owned(), *deviation));
    }
    fn step(&mut self, _: CrashPoint) {
        self.steps += 1;
        if self.kill_after == Some(self.steps) {
            let us = rustix::process::getpid();
            rustix::process::kill_process(us, rustix::process::Signal::KILL).unwrap();
        }
    }
}

pub(crate) fn forward(tree: &Path, options: &Options, notes: &mut Notes) -> Result<Outcome, Error> {
    let mut namespaces = Namespaces::own().unwrap();
    let tree = Tree::open(tree, &mut namespaces)?;
    let plan = tree.plan(options, &mut namespaces, notes)?;
    plan.start(&tree)?.run(&tree, Direction::Forward, &mut namespaces, notes)
}

/// By the journal that is there.
pub(crate) fn again(
    tree: &Path,
    direction: Direction,
    notes: &mut Notes,
) -> Result<Outcome, Error> {
    let mut namespaces = Namespaces::own().unwrap();
    let tree = Tree::open(tree, &mut namespaces)?;
    Journal::open(&tree)?.unwrap().run(&tree, direction, &mut namespaces, notes)
}

pub(crate) fn moved(outcome: Outcome) -> u64 {
    assert!(outcome.finished && outcome.deviations == 0, "{outcome:?}");
    outcome.changed
}

pub(crate) fn same(one: &BTreeMap<PathBuf, String>, other: &BTreeMap<PathBuf, String>) {
    for (path, line) in one {
        assert_eq!(Some(line), other.get(path), "{}", path.display());
    }
    assert_eq!(one.len(), other.len());
}
