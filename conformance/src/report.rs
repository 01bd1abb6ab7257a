// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run of the table came to: which step of which scenario gave what, and the count.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use crate::live::Machine;
use crate::outcome::Outcome;
use crate::scenario::{Column, INIT, Op, Scenario};

/// What came of one scenario.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Every step gave what was expected.
    Passed,
    /// These steps did not.
    Failed(Vec<Mismatch>),
    /// It could not be played, for a reason that is not the machine's.
    Broken(String),
    /// This machine cannot play it.
    Skipped(String),
}

/// A step that gave something else.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// Which step, from 1.
    pub step: usize,
    /// The task of the step.
    pub by: String,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub got: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { step, by, expected, got } = self;
        write!(f, "  step {step} by {by}:\n    expected {expected}\n    got      {got}")
    }
}

/// Holds the outcomes of a scenario, one for each step, against a column.
#[must_use]
pub fn judge(
    scenario: &Scenario,
    outcomes: &[Outcome],
    column: Column,
    machine: &Machine,
) -> Verdict {
    let mut wrong = Vec::new();
    // What `all` is depends on the namespace that a task is in, and a task can enter another.
    let mut entered: BTreeMap<&str, &str> = BTreeMap::new();
    for (n, (step, outcome)) in scenario.steps.iter().zip(outcomes).enumerate() {
        let expected = step.expectation(column, machine.kernel);
        let home = scenario.world.tasks.get(&step.by).map_or(INIT, |task| &task.ns);
        let ns = entered.get(step.by.as_str()).unwrap_or(&home);
        if !expected.matches(outcome, machine.everything(ns)) {
            let (expected, got) = (expected.to_string(), outcome.to_string());
            wrong.push(Mismatch { step: n + 1, by: step.by.clone(), expected, got });
        }
        if let (Op::Enter(ns), Outcome::Done) = (&step.op, outcome) {
            entered.insert(&step.by, ns);
        }
    }
    if wrong.is_empty() { Verdict::Passed } else { Verdict::Failed(wrong) }
}

/// How many scenarios came to what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Passed.
    pub passed: usize,
    /// Failed or broken.
    pub failed: usize,
    /// Skipped.
    pub skipped: usize,
}

impl Count {
    /// Counts a verdict, and says so on `out` if it is not a pass.
    ///
    /// # Errors
    /// `out`'s.
    pub fn add(
        &mut self,
        out: &mut impl Write,
        scenario: &Scenario,
        verdict: &Verdict,
    ) -> io::Result<()> {
        let name = &scenario.name;
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed(wrong) => {
                self.failed += 1;
                let clauses = scenario.clauses.join(", ");
                writeln!(out, "FAILED {name} ({clauses}): {}", scenario.about)?;
                wrong.iter().try_for_each(|mismatch| writeln!(out, "{mismatch}"))?;
            }
            Verdict::Broken(problem) => {
                self.failed += 1;
                writeln!(out, "BROKEN {name}: {problem}")?;
            }
            Verdict::Skipped(reason) => {
                self.skipped += 1;
                writeln!(out, "{name}: skipped: {reason}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}
