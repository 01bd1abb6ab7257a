// SPDX-License-Identifier: MIT OR Apache-2.0
//! Choosing at random: every choice of a world comes from one generator with one seed.

use fastrand::Rng;

/// A generator for one world.
pub(crate) struct Pick(Rng);

impl Pick {
    pub(crate) fn new(seed: u64, number: u64) -> Pick {
        // Two numbers that are close give generators that are not.
        Pick(Rng::with_seed(
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xd134_2543_de82_ef95),
        ))
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, n: u32) -> bool {
        self.0.u32(0..100) < n
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        self.0.u32(0..end.max(1))
    }

    pub(crate) fn count(&mut self, from: usize, to: usize) -> usize {
        self.0.usize(from..=to)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.0.u8(..)
    }

    /// One of several; `None` where there is none.
    pub(crate) fn of<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        if all.is_empty() { None } else { all.get(self.0.usize(0..all.len())).cloned() }
    }

    /// One of several that there are.
    pub(crate) fn one<T: Clone, const N: usize>(&mut self, all: [T; N]) -> T {
        let n = self.0.usize(0..N);
        all[n].clone()
    }

    /// Each of several in so many of a hundred cases.
    pub(crate) fn some<T: Clone>(&mut self, all: &[T], percent: u32) -> Vec<T> {
        all.iter().filter(|_| self.percent(percent)).cloned().collect()
    }
}
