// SPDX-License-Identifier: MIT OR Apache-2.0
//! Namespaces as plain vectors, for tests: of the library's own modules and of whole worlds.

use std::vec::Vec;

use nscap_core::{Extent, Gid, IdMap, Kgid, Kuid, Uid, UserNs};

#[derive(Debug)]
struct Node {
    parent: Option<usize>,
    owner: Kuid,
    by_inside: Vec<Extent>,
    by_outside: Vec<Extent>,
}

/// A tree of namespaces; 0 is the initial one.
#[derive(Debug)]
pub(crate) struct World(Vec<Node>);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ns<'w>(&'w World, usize);

impl World {
    pub(crate) fn new() -> World {
        let mut world = World(Vec::new());
        world.push(None, 0, &[(0, 0, u32::MAX)]);
        world
    }

    /// The initial namespace, and below it one with each of these ranges (first kuid, count) of
    /// ids from 0 on: 1, 2, and so on.
    #[allow(dead_code, reason = "not every test that includes this module needs it")]
    pub(crate) fn side_by_side(ranges: &[(u32, u32)]) -> World {
        let mut world = World::new();
        for (first, count) in ranges {
            world.add(0, 0, &[(0, *first, *count)]);
        }
        world
    }

    /// A namespace below `parent` with a map of (inside, kuid, count), for uids and gids alike.
    pub(crate) fn add(&mut self, parent: usize, owner: u32, map: &[(u32, u32, u32)]) -> usize {
        self.push(Some(parent), owner, map)
    }

    fn push(&mut self, parent: Option<usize>, owner: u32, map: &[(u32, u32, u32)]) -> usize {
        let extent = |&(inside, outside, count)| Extent { inside, outside, count };
        let mut by_inside: Vec<Extent> = map.iter().map(extent).collect();
        let mut by_outside = by_inside.clone();
        IdMap::new(&mut by_inside, &mut by_outside).unwrap();
        self.0.push(Node { parent, owner: kuid(owner), by_inside, by_outside });
        self.0.len() - 1
    }

    pub(crate) fn ns(&self, n: usize) -> Ns<'_> {
        Ns(self, n)
    }
}

impl<'w> Ns<'w> {
    /// The initial namespace of the same world.
    #[allow(dead_code, reason = "not every test that includes this module needs it")]
    pub(crate) fn initial(self) -> Ns<'w> {
        Ns(self.0, 0)
    }

    fn map(self) -> IdMap<'w> {
        let node = &self.0.0[self.1];
        IdMap::from_sorted(&node.by_inside, &node.by_outside)
    }
}

impl PartialEq for Ns<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.same(*other)
    }
}

impl UserNs for Ns<'_> {
    fn same(self, other: Self) -> bool {
        self.1 == other.1
    }
    fn parent(self) -> Option<Self> {
        self.0.0[self.1].parent.map(|p| Ns(self.0, p))
    }
    fn owner(self) -> Kuid {
        self.0.0[self.1].owner
    }
    fn kuid(self, uid: Uid) -> Option<Kuid> {
        self.map().kuid(uid)
    }
    fn uid(self, kuid: Kuid) -> Option<Uid> {
        self.map().uid(kuid)
    }
    fn kgid(self, gid: Gid) -> Option<Kgid> {
        self.map().kgid(gid)
    }
    fn gid(self, kgid: Kgid) -> Option<Gid> {
        self.map().gid(kgid)
    }
}

pub(crate) fn kuid(id: u32) -> Kuid {
    Kuid::new(id).unwrap()
}

pub(crate) fn kgid(id: u32) -> Kgid {
    Kgid::new(id).unwrap()
}
