// SPDX-License-Identifier: MIT OR Apache-2.0
//! Id maps as /proc/PID/uid_map shows them, and what they are in initial-namespace terms.
//!
//! user_namespaces(7): the second column is in terms of the *reader's* namespace, unless the
//! reader is in the namespace itself, when it is in the parent's; 4294967295 where the id has no
//! mapping there. So the reader's own map, read once, turns every other one into kuids.

use nscap_core::{Extent, IdMap, Kgid, Kuid, MAX_EXTENTS, MapError};

/// One map in both orders, so that it can be looked up without allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Map {
    by_inside: Vec<Extent>,
    by_outside: Vec<Extent>,
}

impl Map {
    /// # Errors
    /// [`MapError`] where the extents are no map.
    pub(crate) fn new(extents: &[Extent]) -> Result<Map, MapError> {
        let (mut by_inside, mut by_outside) = (extents.to_vec(), extents.to_vec());
        IdMap::new(&mut by_inside, &mut by_outside)?;
        Ok(Map { by_inside, by_outside })
    }

    /// Every id but -1 as itself: the initial namespace's.
    pub(crate) fn identity() -> Map {
        let all = vec![Extent { inside: 0, outside: 0, count: u32::MAX }];
        Map { by_inside: all.clone(), by_outside: all }
    }

    pub(crate) fn ids(&self) -> IdMap<'_> {
        IdMap::from_sorted(&self.by_inside, &self.by_outside)
    }
}

/// Reads the text of a map file. `None` where it is none.
pub(crate) fn parse(text: &str) -> Option<Vec<Extent>> {
    let mut extents = Vec::new();
    for line in text.lines() {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (inside, outside, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        if numbers.next().is_some() || extents.len() == MAX_EXTENTS {
            return None;
        }
        extents.push(Extent { inside: inside.ok()?, outside: outside.ok()?, count: count.ok()? });
    }
    Some(extents)
}

/// The two maps of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Maps {
    pub(crate) uids: Map,
    pub(crate) gids: Map,
}

impl Maps {
    pub(crate) fn identity() -> Maps {
        Maps { uids: Map::identity(), gids: Map::identity() }
    }

    /// The kuid for an id that the kernel showed us.
    pub(crate) fn kuid(&self, shown: u32) -> Option<Kuid> {
        self.uids.ids().outside(shown).and_then(Kuid::new)
    }

    /// The kgid for an id that the kernel showed us.
    pub(crate) fn kgid(&self, shown: u32) -> Option<Kgid> {
        self.gids.ids().outside(shown).and_then(Kgid::new)
    }

    /// Translates maps whose outside ids are ids of this namespace, to kuids. Leaves out an extent
    /// without an image: this process cannot name those ids.
    pub(crate) fn lift(&self, uids: &[Extent], gids: &[Extent]) -> Result<Maps, MapError> {
        let lift = |base: &Map, shown: &[Extent]| {
            let outside =
                |e: &Extent| base.ids().outside(e.outside).map(|outside| Extent { outside, ..*e });
            Map::new(&shown.iter().filter_map(outside).collect::<Vec<_>>())
        };
        Ok(Maps { uids: lift(&self.uids, uids)?, gids: lift(&self.gids, gids)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_file_is_read_and_anything_else_is_not() {
        let extent = |inside, outside, count| Extent { inside, outside, count };
        let text = "         0     100000      65536\n     65536       1000          1\n";
        assert_eq!(parse(text), Some(vec![extent(0, 100_000, 65_536), extent(65_536, 1000, 1)]));
        assert_eq!(parse(""), Some(vec![]));
        for bad in ["0 1", "0 1 2 3", "a 1 2", "0 1 4294967296", "-1 0 1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_a_container_reads_is_lifted_to_kuids() {
        let extent = |inside, outside, count| Extent { inside, outside, count };
        let own = Map::new(&[extent(0, 100_000, 65_536)]).unwrap();
        let own = Maps { uids: own.clone(), gids: own };
        let shown = [extent(0, 1000, 10), extent(10, u32::MAX, 5)];
        let lifted = own.lift(&shown, &shown).unwrap();
        assert_eq!(lifted.uids.ids().outside(9), Some(101_009));
        assert_eq!(lifted.uids.ids().outside(10), None);
        assert_eq!(own.kuid(70_000), None);
    }
}
