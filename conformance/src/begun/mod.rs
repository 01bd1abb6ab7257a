// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `nscap explain --oci` says held against what happens: random containers, which crun and
//! runc start by the same config.json.
//!
//! Where its files can be those of an image, the same is asked of that image, and both answers
//! must hold.
//!
//! A case is made from a seed and a number alone, so that one that differs can be played again.

mod image;
mod make;
mod play;

use crate::live::{Failure, Machine, needs_root, sys};
use crate::told::Plan;
use play::{Came, Verdict};

/// What a run came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Containers that were started, or refused.
    pub cases: u64,
    /// Cases in which something else happened than was said.
    pub differences: u64,
    /// Cases in which the command says that it cannot tell.
    pub untold: u64,
    /// Cases in which the runtime refused to start.
    pub refused: u64,
}

/// How many of a hundred cases the command may fail to tell.
const UNTOLD_MAX: u64 = 2;

impl Count {
    /// Whether nothing differs, and nearly all are told.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.differences == 0 && self.untold * 100 <= self.cases * UNTOLD_MAX
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Count { cases, differences, untold, refused } = self;
        write!(
            f,
            "{cases} containers, {differences} differences; could not tell: {untold}; refused by the runtime: \
             {refused}"
        )
    }
}

/// Starts containers; `say` is told of each that differs, and with `all` of each.
///
/// # Errors
/// [`Failure`] where they cannot be started at all.
pub fn run(
    plan: &Plan,
    all: bool,
    say: &mut impl FnMut(&str) -> Result<(), String>,
) -> Result<Count, Failure> {
    needs_root(&Machine::this())?;
    let broken = |what: &str, error: std::io::Error| Failure::Broken(format!("{what}: {error}"));
    sys::own_mounts().map_err(|e| broken("mounts of its own", e))?;
    sys::clear_umask();
    let ground = play::Ground::new(&plan.nscap).map_err(|e| broken("the directory", e))?;
    let mut count = Count::default();
    let numbers = match plan.only {
        Some(only) => only..only + 1,
        None => 0..plan.cases,
    };
    for number in numbers {
        let case = make::case(plan.seed, number);
        let played = ground
            .play(&case)
            .map_err(|error| Failure::Broken(format!("case {number}: {error}\n{case:?}")))?;
        count.cases += 1;
        count.untold += u64::from(played.verdict == Verdict::Untold);
        count.differences += u64::from(played.verdict == Verdict::Differs);
        count.refused += u64::from(matches!(played.came, Came::Refused(_)));
        if all || played.verdict == Verdict::Differs {
            say(&format!(
                "{:?} {number}: {case:?}\n  said: {}\n  came: {:?}",
                played.verdict, played.said, played.came
            ))
            .map_err(Failure::Broken)?;
        }
    }
    Ok(count)
}
