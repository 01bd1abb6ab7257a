// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moves capabilities from one id mapping to another: of tar archives and OCI images ([`layer`]),
//! and of whole directory trees ([`shift`]). `nscap_core` decides what becomes of each grant
//! ([`translate`](nscap_core::translate), [`shift()`](nscap_core::shift())).
#![forbid(unsafe_code)]

pub mod layer;
pub mod manifest;
pub mod map;
pub mod shift;
