// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model between two steps, for what writes it down: a task, a file, the namespaces.

use nscap_core::{Cred, InodeView, Kgid, Stored};

use super::Model;
use crate::outcome::Outcome;
use crate::scenario::{Content, INIT, Op};
use crate::stored::Attributes;
use crate::text::Problem;
use crate::tree::{Ns, Tree};

/// A task as it is now.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its credentials; the namespace is its number in the tree.
    pub cred: Cred<usize>,
    /// Its supplementary groups.
    pub groups: Vec<Kgid>,
    /// Whether no_new_privs is set.
    pub no_new_privs: bool,
}

/// A file as it is now.
#[derive(Debug)]
pub struct File<'m> {
    /// The file as its mount shows it.
    pub view: InodeView<Ns<'m>>,
    /// Permission bits with set-user-ID and set-group-ID.
    pub mode: u32,
    /// What is in it.
    pub content: &'m Content,
    /// What it holds, by SPEC's Storage.
    pub stored: Stored<'m>,
    /// The bytes on disk.
    pub attributes: &'m Attributes,
}

impl Model<'_> {
    /// The namespaces.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The task of this name, which begins now if it has not begun.
    ///
    /// # Errors
    /// Says what of it makes no sense.
    pub fn caller(&mut self, name: &str) -> Result<Caller, Problem> {
        if !self.tasks.contains_key(name) {
            let proc = self.start(name)?;
            self.tasks.insert(name.to_owned(), proc);
        }
        let proc = self.proc(name)?;
        let groups = proc.groups.clone();
        Ok(Caller { cred: proc.cred, groups, no_new_privs: proc.no_new_privs })
    }

    /// The file of this name; `None` where there is none.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<File<'_>> {
        let inode = self.inode(name).ok()?;
        Some(File {
            view: self.view(inode),
            mode: inode.mode,
            content: &inode.content,
            stored: self.held(inode),
            attributes: &inode.attributes,
        })
    }

    /// What reading an attribute gives root of the initial namespace.
    ///
    /// # Errors
    /// Names the file that there is not, or an operation that does not read.
    pub fn read_as_init(&self, op: &Op) -> Result<Outcome, Problem> {
        let file = op.files().first().map(|file| (*file).to_owned()).ok_or("no file")?;
        self.read(self.tree.get(INIT)?, op, self.inode(&file)?)
    }
}
