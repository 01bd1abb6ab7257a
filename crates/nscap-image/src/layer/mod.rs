// SPDX-License-Identifier: MIT OR Apache-2.0
//! Layers: tar archives, plain or compressed, and images made of them (OCI image layouts), with the
//! capabilities in their pax records. Covers W for archives: a translated archive never grants more
//! than before.

mod attr;
mod attributes;
mod capable;
mod change;
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
mod tap;
mod tree;
mod values;
mod window;

pub use capable::{CapableFile, CapableFiles};
pub use change::{FileChange, FileChanged, HearChanged, change_in_place, change_layer, change_to};
pub use check::{Finding, HearFinding, Trouble, check};
pub use codec::{
    ALWAYS_EXPANDS, Compression, MAX_EXPANSION, Whole, Writer, XZ_MEMORY, ZSTD_WINDOW_LOG,
};
pub use error::{Error, Problem, Result};
pub use format::ImageFormat;
pub use list::{Listed, list};
pub use map::{Change, Changed, Decided, Hear, map};
pub use member::MAX_EXTENSION;
pub use oci::{
    HearLayer, Image, ImageChanged, ImageLayer, ImageName, Layout, MAX_DOCUMENT, Opened, Settings,
    looks_like_image, map_in_place, map_to,
};
pub use stream::{map_file, map_stream};
pub use tree::{ImageTree, TreeEnd, TreeFile, TreeInode, TreeWay};
