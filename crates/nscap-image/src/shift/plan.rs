// SPDX-License-Identifier: MIT OR Apache-2.0
//! A plan of a shift, which `planner` makes.

use nscap_linux::Namespaces;
use rustix::io::Errno;

use super::error::{Error, Result};
use super::journal::{Draft, Journal};
use super::options::{Counts, Options};
use super::planner::Planner;
use super::record::{Head, Identity};
use super::tree::{Tree, needs_capabilities};
use super::watch::Watch;

/// A complete plan. [`Tree::plan`] also writes it to disk.
pub struct Plan {
    pub(super) draft: Option<Draft>,
    pub(super) counts: Counts,
}

impl Plan {
    /// What the plan counts.
    ///
    /// ```
    /// use nscap_image::map::Side;
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

    /// Makes the plan the journal of the tree; [`Journal::run`] then changes the tree. This
    /// replaces the journal of a finished shift, which cannot be undone after that.
    ///
    /// # Errors
    /// [`Error::Refused`] (EINVAL) if there are problems, or if this is only a
    /// [`preview`](Tree::preview); [`Error::Open`] if a shift of the tree is not finished;
    /// [`Error::System`] if the journal cannot be written.
    ///
    /// ```
    /// use nscap_image::map::Side;
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
                Err(refused("problems prevent the shift"))
            }
            None => Err(refused("was only looked at")),
        }
    }

    /// Drops the plan, and removes its file.
    pub fn discard(self, tree: &Tree) {
        if let Some(draft) = self.draft {
            draft.discard(tree);
        }
    }
}

impl Tree {
    /// Plans a shift and writes the plan beside the tree.
    ///
    /// # Errors
    /// [`Error::Open`] if a shift of the tree is not finished; [`Error::System`] if a file cannot
    /// be read or the plan cannot be written, or with EBUSY if a server shows the tree
    /// ([`Claimed`](nscap_linux::Error::Claimed)); [`Error::Refused`] if this process lacks
    /// capabilities (EPERM) or another one works on the tree (EBUSY). The tree is unchanged.
    ///
    /// ```
    /// use nscap_image::map::Side;
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
    /// [`Error::System`] if a file cannot be read.
    ///
    /// ```
    /// use nscap_image::map::Side;
    /// use nscap_image::shift::{Options, Tree};
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
