//! The running system as nscap's rules see it: live user namespaces, tasks, mounts, and the
//! capabilities of real files.
//!
//! Nothing here decides. [`Namespaces`] gives handles that implement
//! [`UserNs`](nscap_core::UserNs), so that the decisions of `nscap_core` can be asked about them.

mod change;
mod decided;
mod error;
mod file;
#[cfg(test)]
mod fuzz;
mod lock;
mod mount;
mod ns;
pub mod probe;
mod statmount;
mod status;
mod subid;
mod sys;
mod task;
mod who;
mod xattr;

pub use change::Step;
pub use error::{Error, Result, describe};
pub use file::{CapFile, FileState, Hidden, Inode, Links};
pub use mount::Mount;
pub use ns::{LiveNs, Namespaces, NsIndex, Origin, Process};
pub use subid::{Range, Subids};
pub use task::{LiveTask, Tracer};
pub use who::{Target, Who};
