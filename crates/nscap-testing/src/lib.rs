// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tests of several crates share: namespaces, processes and programs of the running system
//! ([`Container`], [`Process`], [`cat`] and others), and [`archives`]. Everything that is made here
//! ends with its guard.
//!
//! Tests of `nscap-core` itself do not use it: they would see that crate twice.

pub mod archives;
mod machine;

pub use machine::{
    Container, Mapping, Process, WAIT, as_user, cat, code, copy_program, host_gains, is_root,
    own_program, stderr, stdout, with_own_mounts,
};
