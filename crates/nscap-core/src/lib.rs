// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules of nscap: capabilities of executables that belong to a user namespace.
//!
//! This crate decides and does nothing else. It takes what is stored on a file, who asks and from
//! which namespace, and answers with what the file holds next, what a reader sees, or what execve
//! gives a task: by SPEC's clauses (R1-R8, B, P, U, D, L, K, M, A, X) for the design, and in
//! [`bare`] by the rules of an unmodified kernel. It has no dependency, allocates nothing, cannot
//! panic, and links into a kernel.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

#[cfg(test)]
extern crate self as nscap_core;
#[cfg(test)]
extern crate std;

mod access;
pub mod bare;
mod cap;
mod cred;
mod decision;
mod exec;
mod id;
mod idmap;
mod loss;
mod next;
mod ns;
mod nscaps;
mod place;
mod policy;
mod privilege;
mod read;
mod remove;
mod setid;
mod shift;
pub mod storage;
mod stored;
mod text;
pub mod translate;
mod vfscap;
mod wire;
#[cfg(test)]
#[path = "../tests/world/mod.rs"]
mod world;
mod write;

pub use access::{AclEntry, AclTag, check_executable, check_searchable, may_read, permits};
pub use cap::{CapSet, Capability, FileCaps};
pub use cred::{Cred, Securebits};
pub use decision::{Decision, Denied, Errno, Why};
pub use exec::{Executed, Grant, Program, System, Task, exec, file_grant};
pub use id::{Gid, Kgid, Kuid, Uid, id_or_minus_one};
pub use idmap::{Extent, IdMap, MAX_EXTENTS, MapError};
pub use loss::{Loss, Promise};
pub use ns::{
    Initial, UserNs, is_same_or_below, path_to_initial, root_kuid, root_of_ancestor, rooted_at,
};
pub use nscaps::{MAX_ENTRIES, NsCaps};
pub use place::Place;
pub use policy::{ALIASES, Busy, Policy, SETTINGS, SYSCTLS, Setting};
pub use privilege::{may_change_security, may_grant, writes_host_value};
pub use read::{
    Listed, get_capability, get_nscapability, handed_to_kernel, list, nscapability_len,
};
pub use remove::{
    Operation, content_change, remove_capability, remove_entry, remove_nscapability,
    remove_or_strip, remove_own,
};
pub use setid::set_id_dropped;
pub use shift::{Shift, ShiftDenied, Shifted, Unmapped, shift, shift_root};
pub use stored::{Entries, Host, Seen, SeenEntry, Stored};
pub use text::{CapText, TextError, TextProblem};
pub use vfscap::{Revision, VfsCaps, VfsCapsBytes};
pub use wire::{Malformed, RECORD_LEN, Record};
pub use write::{
    Checked, EntryBuffer, Request, SetFlags, passed_on, set_capability, set_nscapability,
    set_translated,
};
