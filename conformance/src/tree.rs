// SPDX-License-Identifier: MIT OR Apache-2.0
//! The namespaces of a world as plain vectors: what the model lives in, and how the live runner
//! knows which id to take in which namespace.

use nscap_core::{Extent, Gid, IdMap, Kgid, Kuid, MapError, Uid, UserNs};

use crate::scenario::{INIT, Maps, World};
use crate::text::Problem;

/// User namespaces by name and number; 0 is `init`.
#[derive(Clone, Debug)]
pub struct Tree(Vec<Node>);

#[derive(Clone, Debug)]
struct Node {
    name: String,
    parent: Option<usize>,
    owner: Kuid,
    uids: Both,
    gids: Both,
}

/// One map, in kuids (or kgids), sorted both ways.
#[derive(Clone, Debug)]
struct Both {
    by_inside: Vec<Extent>,
    by_outside: Vec<Extent>,
}

impl Both {
    fn new(extents: Vec<Extent>) -> Result<Both, MapError> {
        let (mut by_inside, mut by_outside) = (extents.clone(), extents);
        IdMap::new(&mut by_inside, &mut by_outside)?;
        Ok(Both { by_inside, by_outside })
    }

    fn map(&self) -> IdMap<'_> {
        IdMap::from_sorted(&self.by_inside, &self.by_outside)
    }

    /// A child's map in this map's outside. The kernel wants each extent of the child inside
    /// one of the parent.
    fn compose(&self, child: &[Extent]) -> Result<Both, Problem> {
        let whole = |e: &Extent| {
            let within = self.by_inside.iter().find_map(|p| {
                let offset = e.inside_of(p)?;
                Some(Extent { outside: p.outside.checked_add(offset)?, ..*e })
            });
            within.ok_or_else(|| {
                format!("{}:{}:{} is not in the parent's map", e.inside, e.outside, e.count)
            })
        };
        let extents = child.iter().map(whole).collect::<Result<Vec<_>, _>>()?;
        Both::new(extents).map_err(|error| error.to_string())
    }
}

trait InsideOf {
    fn inside_of(&self, parent: &Extent) -> Option<u32>;
}

impl InsideOf for Extent {
    /// How far into `parent` the outside of this extent begins, if it is wholly in there.
    fn inside_of(&self, parent: &Extent) -> Option<u32> {
        let offset = self.outside.checked_sub(parent.inside)?;
        (offset.checked_add(self.count)? <= parent.count).then_some(offset)
    }
}

impl Tree {
    /// The tree of a world's namespaces.
    ///
    /// # Errors
    /// Names the namespace whose map is none, or whose maker is not in its parent.
    pub fn of(world: &World) -> Result<Tree, Problem> {
        let all = || Both::new(vec![Extent { inside: 0, outside: 0, count: u32::MAX }]);
        let both = || all().map_err(|error| error.to_string());
        let (uids, gids) = (both()?, both()?);
        let init = Node { name: INIT.to_owned(), parent: None, owner: Kuid::ROOT, uids, gids };
        let mut tree = Tree(vec![init]);
        for ns in &world.namespaces {
            let problem = |problem: Problem| format!("ns {:?}: {problem}", ns.name);
            let parent = tree.number(&ns.parent).ok_or_else(|| problem("no parent".to_owned()))?;
            let owner = Kuid::new(ns.owner).ok_or_else(|| problem("no owner".to_owned()))?;
            if tree.ns(parent).uid(owner).is_none() {
                return Err(problem(format!("its owner {owner} is not mapped in its parent")));
            }
            tree.add(&ns.name, parent, owner, &ns.maps).map_err(problem)?;
        }
        Ok(tree)
    }

    /// Adds a namespace, its maps in its parent's terms.
    ///
    /// # Errors
    /// Says what is wrong with a map.
    pub fn add(
        &mut self,
        name: &str,
        parent: usize,
        owner: Kuid,
        maps: &Maps,
    ) -> Result<(), Problem> {
        let above = self.0.get(parent).ok_or("no parent")?;
        let uids = above.uids.compose(&maps.uids)?;
        let gids = above.gids.compose(&maps.gids)?;
        self.0.push(Node { name: name.to_owned(), parent: Some(parent), owner, uids, gids });
        Ok(())
    }

    /// The number of the namespace of this name.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|node| node.name == name)
    }

    /// The namespace of this number; a number that is none gives `init`.
    #[must_use]
    pub fn ns(&self, number: usize) -> Ns<'_> {
        Ns(self, if number < self.0.len() { number } else { 0 })
    }

    /// The namespace of this name.
    ///
    /// # Errors
    /// Names the one that there is not.
    pub fn get(&self, name: &str) -> Result<Ns<'_>, Problem> {
        self.number(name).map(|n| Ns(self, n)).ok_or_else(|| format!("no namespace {name:?}"))
    }

    /// Every namespace, `init` first.
    pub fn all(&self) -> impl Iterator<Item = Ns<'_>> {
        (0..self.0.len()).map(|number| Ns(self, number))
    }

    /// A namespace of its own with one map for uids and gids, such as an id-mapped mount has.
    ///
    /// # Errors
    /// Says what is wrong with the map.
    pub fn of_map(map: &[Extent]) -> Result<Tree, Problem> {
        let both = || Both::new(map.to_vec()).map_err(|error| error.to_string());
        let (uids, gids) = (both()?, both()?);
        let name = "the mount's map".to_owned();
        Ok(Tree(vec![Node { name, parent: None, owner: Kuid::ROOT, uids, gids }]))
    }
}

/// A namespace of a [`Tree`].
#[derive(Clone, Copy, Debug)]
pub struct Ns<'t>(&'t Tree, usize);

impl<'t> Ns<'t> {
    /// Its number in the tree.
    #[must_use]
    pub fn number(self) -> usize {
        self.1
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'t str {
        self.node().map_or("", |node| &node.name)
    }

    /// Its uids and gids, outside in kuids and kgids, ascending by the id inside.
    #[must_use]
    pub fn extents(self) -> (&'t [Extent], &'t [Extent]) {
        self.node().map_or((&[], &[]), |node| (&node.uids.by_inside, &node.gids.by_inside))
    }

    fn node(self) -> Option<&'t Node> {
        self.0.0.get(self.1)
    }

    /// The first uid and gid that it maps, root's where it has them.
    #[must_use]
    pub fn first_ids(self) -> Option<(u32, u32)> {
        let node = self.node()?;
        Some((node.uids.by_inside.first()?.inside, node.gids.by_inside.first()?.inside))
    }
}

impl PartialEq for Ns<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.same(*other)
    }
}

impl UserNs for Ns<'_> {
    fn same(self, other: Self) -> bool {
        std::ptr::eq(self.0, other.0) && self.1 == other.1
    }

    fn parent(self) -> Option<Self> {
        self.node()?.parent.map(|parent| Ns(self.0, parent))
    }

    fn owner(self) -> Kuid {
        self.node().map_or(Kuid::ROOT, |node| node.owner)
    }

    fn kuid(self, uid: Uid) -> Option<Kuid> {
        self.node()?.uids.map().kuid(uid)
    }

    fn uid(self, kuid: Kuid) -> Option<Uid> {
        self.node()?.uids.map().uid(kuid)
    }

    fn kgid(self, gid: Gid) -> Option<Kgid> {
        self.node()?.gids.map().kgid(gid)
    }

    fn gid(self, kgid: Kgid) -> Option<Gid> {
        self.node()?.gids.map().gid(kgid)
    }
}
