// SPDX-License-Identifier: MIT OR Apache-2.0
//! A plan: how a tree is to move, and how much of it there is to move. `planner` makes it.

use nscap_linux::Namespaces;
use rustix::io::Errno;

use super::error::{Error, Result};
use super::ids::Unmapped;
use super::journal::{Draft, Journal};
use super::map::Side;
use super::planner::Planner;
use super::record::{Head, Identity};
use super::tree::{Tree, needs_capabilities};
use super::watch::Watch;

/// How a tree is to move.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The mapping that it has.
    pub from: Side,
    /// The mapping that it is to have.
    pub to: Side,
    /// What becomes of an id that has no image.
    pub unmapped: Unmapped,
    /// Whether an entry may become a host value, and a set-id file one of the host's root.
    pub to_host: bool,
    /// Whether an inode moves that has names outside the tree too.
    pub other_names: bool,
}

/// How much of what there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Inodes in the tree.
    pub inodes: u64,
    /// Inodes that change.
    pub changes: u64,
    /// Of these: inodes whose owner or group changes.
    pub owners: u64,
    /// Of these: inodes whose access control lists change.
    pub acls: u64,
    /// Of these: files whose capabilities change.
    pub grants: u64,
    /// Entries and set-id bits that go, by [`Unmapped::Id`].
    pub dropped: u64,
    /// Names of inodes that have one already.
    pub hard_links: u64,
    /// Mounts in the tree, which are not entered.
    pub mounts: u64,
    /// What stands in the way; as long as there is something, nothing can be changed.
    pub problems: u64,
}

/// A plan that is complete and, where it was to be followed, written down.
pub struct Plan {
    pub(super) draft: Option<Draft>,
    pub(super) counts: Counts,
}

impl Plan {
    /// What is in it.
    ///
    /// ```
    /// use nscap_image::shift::*;
    /// let mut namespaces = nscap_linux::Namespaces::own().unwrap();
    /// let dir = tempfile::tempdir().unwrap();
    /// std::fs::create_dir(dir.path().join("rootfs")).unwrap();
    /// let tree = Tree::open(&dir.path().join("rootfs"), &mut namespaces).unwrap();
    /// let host = Side::parse("host".as_ref(), &mut namespaces).unwrap();
    /// let options = Options { from: host.clone(), to: host, ..Options::default() };
    /// let plan = tree.preview(&options, &mut namespaces, &mut ()).unwrap();
    /// assert_eq!((plan.counts().inodes, plan.counts().problems), (1, 0));
    /// ```
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Makes it the journal of the tree; [`Journal::run`] then changes the tree. The journal of a
    /// shift that is finished goes, and with it the way to undo that one.
    ///
    /// # Errors
    /// [`Error::Refused`] where there are problems (EINVAL) or it was only a
    /// [`preview`](Tree::preview); [`Error::Open`] where there is a shift that is not finished;
    /// [`Error::System`] where the journal cannot be written.
    ///
    /// ```
    /// use nscap_image::shift::*;
    /// let mut namespaces = nscap_linux::Namespaces::own().unwrap();
    /// let dir = tempfile::tempdir().unwrap();
    /// std::fs::create_dir(dir.path().join("rootfs")).unwrap();
    /// let tree = Tree::open(&dir.path().join("rootfs"), &mut namespaces).unwrap();
    /// let host = Side::parse("host".as_ref(), &mut namespaces).unwrap();
    /// let options = Options { from: host.clone(), to: host, ..Options::default() };
    /// let plan = tree.preview(&options, &mut namespaces, &mut ()).unwrap();
    /// assert!(plan.start(&tree).unwrap_err().to_string().contains("was only looked at"));
    /// ```
    pub fn start(self, tree: &Tree) -> Result<Journal> {
        let refused = |why| Error::refused(tree.path(), why, Errno::INVAL);
        match self.draft {
            Some(draft) if self.counts.problems == 0 => draft.commit(tree),
            Some(draft) => {
                draft.discard(tree);
                Err(refused("something stands in the way of the shift"))
            }
            None => Err(refused("was only looked at")),
        }
    }

    /// Drops it, and what was written of it.
    pub fn discard(self, tree: &Tree) {
        if let Some(draft) = self.draft {
            draft.discard(tree);
        }
    }
}

impl Tree {
    /// Plans a shift and writes the plan down beside the tree.
    ///
    /// # Errors
    /// [`Error::Open`] where there is a shift that is not finished; [`Error::System`] where
    /// something cannot be read, or the plan not be written, or with EBUSY where the tree is served
    /// ([`Claimed`](nscap_linux::Error::Claimed)); [`Error::Refused`] where capabilities
    /// are missing (EPERM) or another process is at work (EBUSY). Nothing is changed.
    ///
    /// ```
    /// use nscap_image::shift::*;
    /// let mut namespaces = nscap_linux::Namespaces::own().unwrap();
    /// let dir = tempfile::tempdir().unwrap();
    /// std::fs::create_dir(dir.path().join("rootfs")).unwrap();
    /// let tree = Tree::open(&dir.path().join("rootfs"), &mut namespaces).unwrap();
    /// let host = Side::parse("host".as_ref(), &mut namespaces).unwrap();
    /// let options = Options { from: host.clone(), to: host, ..Options::default() };
    /// match tree.plan(&options, &mut namespaces, &mut ()) {
    ///     Ok(plan) => plan.discard(&tree),
    ///     Err(error) => assert_eq!(error.errno(), 1, "{error}"),
    /// }
    /// ```
    pub fn plan(
        &self,
        options: &Options,
        namespaces: &mut Namespaces,
        watch: &mut dyn Watch,
    ) -> Result<Plan> {
        needs_capabilities(self)?;
        self.claim()?;
        let maps = [&options.from.uids, &options.from.gids, &options.to.uids, &options.to.gids];
        let top = Identity::of(&self.seen, self);
        let draft = Draft::new(self, Head { top, maps: maps.map(ToString::to_string) })?;
        Planner::new(self, options, namespaces, watch, Some(draft)).run()
    }

    /// Plans a shift and writes nothing.
    ///
    /// # Errors
    /// [`Error::System`] where something cannot be read.
    ///
    /// ```
    /// use nscap_image::shift::{Options, Side, Tree};
    /// let mut namespaces = nscap_linux::Namespaces::own().unwrap();
    /// let dir = tempfile::tempdir().unwrap();
    /// std::fs::write(dir.path().join("file"), "").unwrap();
    /// let tree = Tree::open(dir.path(), &mut namespaces).unwrap();
    /// let options = Options {
    ///     from: Side::parse("host".as_ref(), &mut namespaces).unwrap(),
    ///     to: Side::parse("host".as_ref(), &mut namespaces).unwrap(),
    ///     ..Options::default()
    /// };
    /// let counts = *tree.preview(&options, &mut namespaces, &mut ()).unwrap().counts();
    /// assert_eq!((counts.inodes, counts.changes), (2, 0));
    /// ```
    pub fn preview(
        &self,
        options: &Options,
        namespaces: &mut Namespaces,
        watch: &mut dyn Watch,
    ) -> Result<Plan> {
        Planner::new(self, options, namespaces, watch, None).run()
    }
}
