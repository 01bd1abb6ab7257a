// SPDX-License-Identifier: MIT OR Apache-2.0
//! A passthrough file system over FUSE that shows one directory tree to many user namespaces, each
//! with its own file capabilities. On it R1-R8, D, K, L, M and A hold for every task of the
//! machine.
//!
//! This crate decides nothing. `nscap_core` decides what a caller may do and see, from the calling
//! thread's own credentials. The kernel decides the permissions of ordinary operations
//! (`default_permissions`) before a request reaches the server.
//!
//! ```no_run
//! use nscap_fuse::{Mount, Options};
//! let mount = Mount::new("/srv/tree/root".as_ref(), "/mnt".as_ref(), &Options::default())?;
//! mount.serve()?; // until it is unmounted
//! # Ok::<(), nscap_fuse::Error>(())
//! ```
//!
//! [`Mount`] makes and serves a mount with its [`Options`]; [`Stats`] are its counters.
//! `docs/mount.md` says what an administrator needs to know.
#![cfg_attr(not(test), forbid(unsafe_code))]

mod attr;
mod backing;
mod caps;
mod data;
mod descriptors;
mod dir;
mod error;
mod fs;
mod groups;
mod handles;
mod identity;
mod inodes;
mod kept;
mod made;
mod meta;
mod names;
mod numbers;
mod open;
mod opener;
mod options;
mod proto;
mod recent;
mod requests;
mod serve;
mod session;
mod setid;
mod shards;
mod shares;
mod source;
mod spares;
mod stats;
mod streams;
mod threads;
mod times;
mod tree;
mod worker;
mod xattr;

pub use error::Error;
pub use kept::{Because, Kept};
pub use options::{Atime, Flags, Options};
pub use session::Mount;
pub use stats::{STATS_NAME, Snapshot, Stats};
