// SPDX-License-Identifier: MIT OR Apache-2.0
//! OCI image layouts: a directory with `index.json` and blobs by their digest.
//!
//! `oci-spec`'s types are not used to read or write them (see `json`); the tests hold what is
//! written against them.

mod blobs;
mod dir;
mod json;
mod layout;
mod map;
mod write;

pub use blobs::MAX_DOCUMENT;
pub use layout::{ImageLayer, Layout};
pub use map::{HearLayer, ImageChanged};
pub use write::{map_in_place, map_to};
