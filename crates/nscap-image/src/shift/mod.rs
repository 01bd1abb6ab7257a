// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moving a whole tree from one id mapping to another: owners, groups, the rootids of capabilities
//! and the ids of access control lists, in one pass. Covers what SPEC's Storage, K and W ask of
//! whoever moves files, and Objects for what becomes of whose grant ([`nscap_core::shift()`] decides).
//!
//! First the whole tree is read, and what is to become of each inode is written to a journal beside
//! it. If anything stands in the way, nothing has been changed. Then the journal is gone through,
//! and each inode is brought to what the journal says, in steps of which each leaves it granting
//! what it granted before, what it is to grant, or less ([`Step`]). A shift that was killed is
//! resumed or undone by the same journal.
//!
//! ```no_run
//! use nscap_image::shift::{Direction, Options, Side, Tree, Unmapped};
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
mod error;
mod found;
mod frames;
mod ids;
mod inode;
mod journal;
mod map;
mod plan;
mod planner;
mod record;
mod settle;
mod tree;
mod watch;

pub use acl::{Acl, AclEntry, AclError, Tag};
pub use apply::{Direction, Outcome};
pub use error::{Error, Result};
pub use ids::Unmapped;
pub use journal::{Journal, Stage};
pub use map::{Ids, Side};
pub use plan::{Counts, Options, Plan};
pub use tree::Tree;
pub use watch::{Odd, Problem, Step, Watch};
