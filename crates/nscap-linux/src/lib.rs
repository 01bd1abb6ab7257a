// SPDX-License-Identifier: MIT OR Apache-2.0
//! The running system as nscap's rules see it: live user namespaces, tasks, mounts, and the
//! capabilities of real files.
//!
//! This crate decides nothing. It describes the running system in the types of `nscap_core`, which
//! decides, and it carries decisions out.
//!
//! ```no_run
//! use nscap_linux::{CapFile, Links, Mount, Namespaces};
//! use std::os::fd::AsFd as _;
//!
//! // What does a task of the initial namespace read from this file?
//! let path = "/usr/bin/ping".as_ref();
//! let mut namespaces = Namespaces::own()?;
//! let file = CapFile::open(path, Links::Follow)?;
//! let mount = Mount::of(file.as_fd(), path, &mut namespaces)?;
//! let state = file.read_through(mount, &namespaces)?;
//! let (stored, _seal) = state.stored(&namespaces);
//! let (ns, view) = (namespaces.own_ns(), state.view(&namespaces));
//! println!("{:?}", nscap_core::get_capability(ns, &view, &stored));
//! # Ok::<(), nscap_linux::Error>(())
//! ```
//!
//! # The crate in reading order
//!
//! - **Namespaces and tasks.** [`Namespaces`] knows user namespaces of the system; its handles,
//!   [`LiveNs`], implement [`UserNs`](nscap_core::UserNs). [`LiveTask`] is a process with its
//!   credentials. [`Callers`] identifies the thread that waits for a FUSE server. [`Who`] and
//!   [`Target`] name containers as people do; [`Subids`] reads /etc/subuid.
//! - **Files.** [`CapFile`] is a regular file, [`FileState`] the bytes that it holds, [`Mount`] the
//!   mount that it is reached by (M). A change takes the [`OwnedStep`]s of [`nscap_core::storage`]
//!   (Storage). [`ReadLease`] proves that no task writes (K). [`opath`] has the system calls on
//!   O_PATH descriptors.
//! - **Trees.** [`walk`] finds the files of a tree that have capabilities. A [`Claim`] keeps two
//!   programs from the same tree.
//! - **Servers.** [`server`] has what a FUSE server needs of the kernel; [`probe`] says what this
//!   kernel has.
//! - **Output.** [`Quotable`] makes a file's name harmless on a terminal; [`describe`] names an
//!   errno.

mod callers;
mod change;
mod claim;
mod enforced;
mod error;
mod file;
#[cfg(test)]
mod fuzz;
pub mod isolate;
mod lease;
mod lock;
mod managed;
mod mount;
mod mounts;
mod names;
mod ns;
pub mod opath;
pub mod pipe;
mod places;
mod policy;
pub mod probe;
mod quote;
pub mod server;
mod statmount;
mod status;
mod subid;
mod sys;
mod task;
mod users;
pub mod walk;
mod way;
mod who;
mod xattr;

pub use callers::{Caller, Callers};
pub use change::OwnedStep;
pub use claim::{Claim, Claimant, Purpose};
pub use error::{Error, Result, describe, describe_io, errno_name, strerror};
pub use file::{Answers, CapFile, FileState, Hidden, Inode, Links, Shown};
pub use lease::{ReadLease, is_written};
pub use managed::{Leader, Managed, Manager};
pub use mount::{IdMap, Mount, Owner, Witness};
pub use mounts::MountPoint;
pub use ns::{Lineage, LiveNs, Namespaces, NsIndex, Origin, Process};
pub use policy::{Design, kernel_policy};
pub use quote::{Quotable, Quoted, is_deceptive};
pub use subid::{Range, Subids};
pub use task::{LiveTask, Over, Tracer};
pub use users::User;
pub use way::{Passed, Start, Way};
pub use who::{Target, Who, group_id, group_name, user_ids, user_name};
