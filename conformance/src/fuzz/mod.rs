// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random worlds and operations on the live kernel, held against what the library predicts of an
//! unmodified one, or of one that decides by the design: errno, bytes read back, and the
//! credentials after execve.
//!
//! A world is made from a seed and a number alone, so that one that differs can be played again.
//! What differs is made smaller for as long as it still does, and printed as a scenario.

mod make;
pub(crate) mod pick;
mod show;
mod shrink;
mod steps;
pub(crate) mod values;

use crate::live::{Failure, Front, Machine, Runner};
use crate::model::{Rules, play};
use crate::outcome::Outcome;
use crate::scenario::Scenario;

pub(crate) use make::sets;
pub use make::world;
pub(crate) use show::action;
pub use show::toml;

/// How many worlds one runner prepares: their images are in memory together.
const BATCH: u64 = 100;

/// What to play.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What everything is made from.
    pub seed: u64,
    /// How many operations, at least.
    pub operations: usize,
    /// Only the world of this number.
    pub only: Option<u64>,
    /// What decides on the kernel that runs.
    pub front: Front,
}

impl Front {
    fn rules(self) -> Rules {
        match self {
            Front::Bare => Rules::Bare,
            Front::Linux | Front::Fuse => Rules::Design,
        }
    }
}

/// What a run came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Worlds that were played.
    pub worlds: u64,
    /// Operations in them.
    pub operations: usize,
    /// Worlds in which the kernel and the prediction differ.
    pub differences: usize,
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Count { worlds, operations, differences } = self;
        write!(f, "{operations} operations in {worlds} worlds, {differences} differences")
    }
}

/// Plays worlds until there were enough operations; `say` is told of each difference.
///
/// # Errors
/// [`Failure`] where a world cannot be played at all.
pub fn run(plan: Plan, say: &mut impl FnMut(&str) -> Result<(), String>) -> Result<Count, Failure> {
    let machine = Machine::this();
    let mut count = Count::default();
    let mut next = plan.only.unwrap_or(0);
    while count.operations < plan.operations {
        let numbers = next..if plan.only.is_some() { next + 1 } else { next + BATCH };
        next = numbers.end;
        let worlds: Vec<(u64, Scenario)> =
            numbers.map(|n| (n, world(plan.seed, n, &machine, plan.front))).collect();
        let scenarios: Vec<&Scenario> = worlds.iter().map(|(_, scenario)| scenario).collect();
        let runner = Runner::with(plan.front, &scenarios)?;
        for (place, (number, scenario)) in worlds.iter().enumerate() {
            if count.operations >= plan.operations {
                break;
            }
            count.worlds += 1;
            count.operations += scenario.steps.len();
            let live = runner
                .run(place, scenario)
                .map_err(|failure| explain(scenario, failure, plan.front))?;
            if compare(scenario, &live, &machine, plan.front).is_some() {
                count.differences += 1;
                let told = report(plan, *number, scenario, &machine)?;
                say(&told).map_err(Failure::Broken)?;
            }
        }
        if plan.only.is_some() {
            break;
        }
    }
    Ok(count)
}

/// A world that cannot be played is an error of the generator: it is printed whole.
fn explain(scenario: &Scenario, failure: Failure, front: Front) -> Failure {
    match failure {
        Failure::Broken(problem) => {
            Failure::Broken(format!("{problem}\n{}", toml(scenario, &[], front.rules())))
        }
        skipped @ Failure::Skipped(_) => skipped,
    }
}

/// The first step in which the two differ, if there is one.
fn compare(
    scenario: &Scenario,
    live: &[Outcome],
    machine: &Machine,
    front: Front,
) -> Option<usize> {
    match play(scenario, front.rules(), machine) {
        Ok(predicted) => {
            live.iter().zip(&predicted).position(|(live, predicted)| live != predicted)
        }
        Err(_) => Some(0),
    }
}

/// Plays a changed scenario on its own: what the kernel gave, if it differs from the prediction.
fn differs(scenario: &Scenario, machine: &Machine, front: Front) -> Option<Vec<Outcome>> {
    play(scenario, front.rules(), machine).ok()?;
    let runner = Runner::with(front, &[scenario]).ok()?;
    let live = runner.run(0, scenario).ok()?;
    compare(scenario, &live, machine, front).is_some().then_some(live)
}

/// The smallest scenario that still differs, what came and what was predicted.
fn report(
    plan: Plan,
    number: u64,
    scenario: &Scenario,
    machine: &Machine,
) -> Result<String, Failure> {
    let Plan { seed, front, .. } = plan;
    let small =
        shrink::smallest(scenario, |candidate| differs(candidate, machine, front).is_some());
    let flag = if front == Front::Linux { " --linux" } else { "" };
    let again =
        format!("seen again by: nscap-conformance fuzz{flag} --seed {seed} --world {number}");
    let Some(live) = differs(&small, machine, front) else {
        return Ok(format!(
            "world {number} differs, but not again when it is played alone\n{again}"
        ));
    };
    let at = compare(&small, &live, machine, front).unwrap_or(0);
    let predicted = play(&small, front.rules(), machine).map_err(Failure::Broken)?;
    let shown =
        |outcomes: &[Outcome]| outcomes.get(at).map(ToString::to_string).unwrap_or_default();
    Ok(format!(
        "{}\nstep {}:\n  the kernel gave {}\n  predicted was   {}\n{again}",
        toml(&small, &live, front.rules()),
        at + 1,
        shown(&live),
        shown(&predicted),
    ))
}
