// SPDX-License-Identifier: MIT OR Apache-2.0
//! The running system as nscap's rules see it: live user namespaces, tasks, mounts, and the
//! capabilities of real files.
//!
//! Nothing here decides. [`Namespaces`] gives handles that implement
//! [`UserNs`](nscap_core::UserNs), so that the decisions of `nscap_core` can be asked about them.

mod callers;
mod change;
mod claim;
mod decided;
mod error;
mod file;
#[cfg(test)]
mod fuzz;
pub mod isolate;
mod lease;
mod lock;
mod mount;
mod mounts;
mod ns;
pub mod opath;
mod owner;
mod places;
pub mod probe;
mod quote;
pub mod server;
mod statmount;
mod status;
mod subid;
mod sys;
mod task;
pub mod walk;
mod way;
mod who;
mod xattr;

pub use callers::{Caller, Callers};
pub use change::Step;
pub use claim::{Claim, Claimant, Purpose};
pub use error::{Error, Result, describe, errno_name};
pub use file::{CapFile, FileState, Hidden, Inode, Links, Shown};
pub use lease::{ReadLease, is_written};
pub use mount::Mount;
pub use mounts::MountPoint;
pub use ns::{Lineage, LiveNs, Namespaces, NsIndex, Origin, Process};
pub use quote::{Quotable, Quoted, is_deceptive};
pub use subid::{Range, Subids};
pub use task::{LiveTask, Over, Tracer};
pub use way::{Passed, Start, Way};
pub use who::{Target, Who, user_name};
