// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done to the layers of an image, and what comes of it.

use std::io::{Read, Write};

use super::layout::{ImageLayer, Layout};
use crate::layer::codec::Compression;
use crate::layer::error::Result;

/// What is done to the layers of an image.
pub(crate) trait Work {
    /// Looks at the layers of one image, the lowest first, and says what becomes of each.
    fn look(&mut self, layout: &Layout, layers: &[ImageLayer]) -> Result<Vec<Looked>>;

    /// Copies a layer, changed: one that `look` wants changed.
    fn rewrite(
        &mut self,
        layer: &Looked,
        input: &mut dyn Read,
        output: &mut dyn Write,
    ) -> Result<()>;

    /// The layer that the image looked at last gets on top of the others, with what history says of
    /// it.
    fn added(&mut self, _layout: &Layout) -> Option<Added<'_>> {
        None
    }
}

/// Writes a layer, uncompressed.
pub(crate) type WriteLayer<'a> = Box<dyn FnOnce(&mut dyn Write) -> Result<()> + 'a>;

/// A layer that is to be added.
pub(crate) struct Added<'a> {
    /// What history says.
    pub(crate) created_by: String,
    /// Writes the layer, uncompressed.
    pub(crate) write: WriteLayer<'a>,
}

/// What becomes of one layer.
#[derive(Clone)]
pub(crate) struct Looked {
    /// Its uncompressed digest.
    pub(crate) diff_id: String,
    pub(crate) compression: Compression,
    /// Where it changes: which change, so that the same change of the same layer is made once.
    pub(crate) change: Option<u64>,
}

/// A blob by its new name.
#[derive(Clone)]
pub(crate) struct Blob {
    pub(crate) digest: String,
    pub(crate) size: u64,
}

/// A layer as it is to be: its diff ids before and after, and its new blob.
pub(crate) struct NewLayer {
    pub(crate) diff_ids: (String, String),
    pub(crate) blob: Option<Blob>,
}

/// A layer on top.
pub(crate) struct Top {
    pub(crate) blob: Blob,
    pub(crate) diff_id: String,
    pub(crate) created_by: String,
    pub(crate) compression: Compression,
}
