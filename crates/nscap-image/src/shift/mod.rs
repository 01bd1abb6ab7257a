// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moves a whole tree from one id mapping to another: owners, groups, the rootids of capabilities
//! and the ids of access control lists, in one pass. Covers Storage, K and W of SPEC for a program
//! that moves files; [`nscap_core::shift()`] decides what becomes of each grant.
//!
//! A shift first reads the whole tree, and writes the planned change of each inode to a journal
//! beside it. If there is a [`Problem`], nothing has been changed. Then it changes each inode as
//! the journal says. After each step ([`CrashPoint`]) an inode grants at most its old grant or its
//! new one. The same journal resumes or undoes a shift that was killed.
//!
//! ```no_run
//! use nscap_image::map::Side;
//! use nscap_image::shift::{Direction, Options, Tree, Unmapped};
//! let mut namespaces = nscap_linux::Namespaces::own()?;
//! let options = Options {
//!     from: Side::parse("0:100000:65536".as_ref(), &mut namespaces)?,
//!     to: Side::parse("user:alice".as_ref(), &mut namespaces)?,
//!     ..Options::default()
//! };
//! let tree = Tree::open("/srv/rootfs".as_ref(), &mut namespaces)?;
//! let plan = tree.plan(&options, &mut namespaces, &mut ())?;
//! if plan.counts().problems == 0 {
//!     let mut journal = plan.start(&tree)?;
//!     let outcome = journal.run(&tree, Direction::Forward, &mut namespaces, &mut ())?;
//!     println!("{} changed", outcome.changed);
//! }
//! # Ok::<(), nscap_image::shift::Error>(())
//! ```

mod acl;
mod apply;
mod change;
mod error;
mod frames;
mod ids;
mod inode;
mod inode_plan;
mod journal;
mod options;
mod plan;
mod planner;
mod record;
mod tree;
mod watch;

pub use acl::{Acl, AclEntry, AclError, Tag};
pub use apply::{Direction, Outcome};
pub use error::{Error, Result};
pub use ids::Unmapped;
pub use journal::{Journal, Stage};
pub use options::{Counts, Options};
pub use plan::Plan;
pub use tree::Tree;
pub use watch::{CrashPoint, Deviation, Problem, Watch};
