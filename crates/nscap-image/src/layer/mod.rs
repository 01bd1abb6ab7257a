// SPDX-License-Identifier: MIT OR Apache-2.0
//! Layers: tar archives, plain or compressed, and images made of them (OCI image layouts), with the
//! capabilities in their pax records. Covers W for archives: a translated archive never grants more
//! than before.

mod attr;
mod attributes;
mod check;
mod codec;
mod error;
mod format;
mod header;
mod list;
mod map;
mod member;
mod names;
mod oci;
mod pax;
mod rewrite;
mod stream;
mod values;
mod window;

pub use check::{Finding, HearFinding, Trouble, check};
pub use codec::{ALWAYS_EXPANDS, Compression, MAX_EXPANSION, Whole, Writer, ZSTD_WINDOW_LOG};
pub use error::{Error, Problem, Result};
pub use format::ImageFormat;
pub use list::{Listed, list};
pub use map::{Change, Changed, Decided, Hear, map};
pub use member::MAX_EXTENSION;
pub use oci::{HearLayer, ImageChanged, ImageLayer, Layout, MAX_DOCUMENT, map_in_place, map_to};
pub use stream::{map_file, map_stream};
