// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `nscap explain` says held against what execve(2) does: random files on mounts of many
//! kinds, in our mount namespace and in others, and random tasks, asked about from the host and
//! from inside.
//!
//! A case is made from a seed and a number alone, so that one that differs can be played again.

mod make;
mod places;
mod play;
mod said;

use std::path::PathBuf;

pub(crate) use said::Said;

use crate::live::{Failure, Machine, needs_root, sys};

/// What to play.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What everything is made from.
    pub seed: u64,
    /// How many cases.
    pub cases: u64,
    /// Only the case of this number.
    pub only: Option<u64>,
    /// The command.
    pub nscap: PathBuf,
}

/// What a run came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Cases that were played.
    pub cases: u64,
    /// Cases in which execve(2) does something else than was said.
    pub differences: u64,
    /// Cases in which the command says that it cannot tell.
    pub untold: u64,
    /// Cases about an ordinary file system and a task of which nothing is hidden.
    pub plain: u64,
    /// How many of these the command cannot tell.
    pub plain_untold: u64,
}

/// How many of a hundred plain cases the command may fail to tell.
const UNTOLD_MAX: u64 = 2;

impl Count {
    /// Whether nothing differs, and of plain cases nearly all are told.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.differences == 0 && self.plain_untold * 100 <= self.plain * UNTOLD_MAX
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Count { cases, differences, untold, plain, plain_untold } = self;
        write!(
            f,
            "{cases} cases, {differences} differences; could not tell: {untold}, of {plain} plain ones {plain_untold}"
        )
    }
}

/// Plays cases; `say` is told of each that differs, and with `all` of each.
///
/// # Errors
/// [`Failure`] where they cannot be played at all.
pub fn run(
    plan: &Plan,
    all: bool,
    say: &mut impl FnMut(&str) -> Result<(), String>,
) -> Result<Count, Failure> {
    let machine = Machine::this();
    needs_root(&machine)?;
    let broken = |what: &str, error: std::io::Error| Failure::Broken(format!("{what}: {error}"));
    sys::own_mounts().map_err(|e| broken("mounts of its own", e))?;
    sys::clear_umask();
    let places = places::Places::new(&plan.nscap).map_err(|e| broken("the places", e))?;
    let mut count = Count::default();
    let numbers = match plan.only {
        Some(only) => only..only + 1,
        None => 0..plan.cases,
    };
    for number in numbers {
        let case = make::case(plan.seed, number);
        let played = play::play(&case, &places, &machine)
            .map_err(|error| Failure::Broken(format!("case {number}: {error}\n{case:?}")))?;
        count.cases += 1;
        count.plain += u64::from(case.is_plain());
        if played.said.is_none() {
            count.untold += 1;
            count.plain_untold += u64::from(case.is_plain());
        }
        let differs = played.differs();
        count.differences += u64::from(differs);
        if all || differs {
            let head = if differs { "DIFFERS" } else { "case" };
            say(&format!(
                "{head} {number}: {case:?}\n  {}\n  execve: {}",
                played.text, played.came
            ))
            .map_err(Failure::Broken)?;
        }
    }
    Ok(count)
}
