// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images: OCI image layouts, archives of docker's, and `dir:` of skopeo, with blobs by their digest.
//!
//! `oci-spec`'s types are not used to read or write them (see `json`); the tests hold what is
//! written against them.

mod archive;
mod blobs;
mod config;
mod dir;
mod docker;
mod edit;
mod images;
mod json;
mod layers;
mod layout;
mod map;
mod named;
mod part;
mod settings;
mod store;
pub(crate) mod work;
pub(crate) mod write;

pub(crate) use archive::normal;
pub(crate) type RawLayer = part::Part;
pub(crate) use blobs::Hashed;
pub use blobs::MAX_DOCUMENT;
pub use layout::{Image, ImageLayer, Layout, Opened};
pub use map::{HearLayer, ImageChanged, map_in_place, map_to};
pub use named::{ImageName, looks_like_image};
pub use settings::Settings;
