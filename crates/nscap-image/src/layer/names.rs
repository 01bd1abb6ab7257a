// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names of a layer so far, in fixed memory: fingerprints of names, and of the capabilities of
//! files that have any.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// How many names are remembered: 8 MiB of fingerprints, not quite full.
const NAMES: usize = 1 << 20;
const FULL: usize = NAMES / 5 * 4;
/// How many files with capabilities are remembered.
const CAPABLE: usize = 1 << 16;

/// Names so far. The probability that two different names of a layer look the same is about 1 in
/// 2^44.
pub(crate) struct Names {
    seed: RandomState,
    /// Open addressing, 0 for an empty slot; pages are taken as they fill.
    slots: Vec<u64>,
    used: usize,
    capable: HashMap<u64, u64>,
}

/// A name, as [`Names`] knows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint(u64);

impl Names {
    pub(crate) fn new() -> Names {
        let seed = RandomState::new();
        Names { seed, slots: vec![0; NAMES], used: 0, capable: HashMap::new() }
    }

    /// The fingerprint of a path, however it is written.
    pub(crate) fn of(&self, path: &[u8]) -> Fingerprint {
        let parts = path.split(|byte| *byte == b'/');
        let mut hasher = self.seed.build_hasher();
        for part in parts.filter(|part| !part.is_empty() && *part != b".") {
            hasher.write(part);
            hasher.write_u8(b'/');
        }
        Fingerprint(hasher.finish().max(1))
    }

    /// The fingerprint of a whiteout of that path.
    pub(crate) fn whiteout_of(&self, path: Fingerprint) -> Fingerprint {
        Fingerprint(self.seed.hash_one((path.0, "whiteout")).max(1))
    }

    fn slot(&self, name: Fingerprint) -> usize {
        let mut at = name.0 as usize % NAMES;
        while self.slots[at] != 0 && self.slots[at] != name.0 {
            at = (at + 1) % NAMES;
        }
        at
    }

    pub(crate) fn has(&self, name: Fingerprint) -> bool {
        self.slots[self.slot(name)] != 0
    }

    /// Whether it is remembered; not once there are too many.
    pub(crate) fn insert(&mut self, name: Fingerprint) -> bool {
        let at = self.slot(name);
        if self.slots[at] == 0 {
            if self.used >= FULL {
                return false;
            }
            self.used += 1;
            self.slots[at] = name.0;
        }
        true
    }

    /// The fingerprint of values.
    pub(crate) fn values(&self, values: impl std::hash::Hash) -> u64 {
        self.seed.hash_one(values)
    }

    /// The capabilities of the file with this name, if it has any.
    pub(crate) fn capabilities(&self, name: Fingerprint) -> Option<u64> {
        self.capable.get(&name.0).copied()
    }

    /// Whether it is remembered.
    pub(crate) fn set_capabilities(&mut self, name: Fingerprint, values: Option<u64>) -> bool {
        match values {
            None => {
                self.capable.remove(&name.0);
            }
            Some(_) if self.capable.len() >= CAPABLE && !self.capable.contains_key(&name.0) => {
                return false;
            }
            Some(values) => {
                self.capable.insert(name.0, values);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_however_it_is_written() {
        let mut names = Names::new();
        let name = names.of(b"usr/bin/ping");
        assert!(!names.has(name));
        names.insert(name);
        for same in [b"./usr/bin/ping".as_slice(), b"/usr//bin/./ping", b"usr/bin/ping/"] {
            assert!(names.has(names.of(same)));
        }
        assert!(!names.has(names.of(b"usr/bin/pin")));
        assert!(!names.has(names.whiteout_of(name)));
    }

    #[test]
    fn too_many_names_are_not_remembered() {
        let mut names = Names::new();
        let all = (0..FULL + 1).map(|n| names.insert(Fingerprint(n as u64 * 7 + 1)));
        assert_eq!(all.filter(|remembered| !remembered).count(), 1);
    }
}
