// SPDX-License-Identifier: MIT OR Apache-2.0
//! Translates the layers of an image to other ids.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::Path;

use super::layout::{ImageLayer, Layout};
use super::work::{Looked, Work};
use super::write::{To, write};
use crate::layer::error::Result;
use crate::layer::map::{Change, Changed, Decided, map};

/// Called for each decision in each layer, named by its digest; an error ends the work.
pub type HearLayer<'h> = dyn FnMut(&str, &Decided<'_>) -> io::Result<()> + 'h;

/// What was changed in an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ImageChanged {
    /// Layers that were checked.
    pub layers: u64,
    /// How many of them changed.
    pub changed: u64,
    /// What changed in them.
    pub total: Changed,
}

/// Changes the image, or its one reference, in place: writes new blobs first, then replaces the
/// document that names all. Blobs of a directory that have no name any more stay, as with other tools
/// for layouts.
///
/// # Errors
/// As [`layer::map`](crate::layer::map()) for each layer, with its digest; [`Error::Image`] for an
/// image that is damaged, that programs read differently, or of a kind that is not known;
/// [`Error::Call`]. The image is as it was then.
///
/// [`Error::Image`]: crate::layer::Error::Image
/// [`Error::Call`]: crate::layer::Error::Call
pub fn map_in_place(
    layout: &Layout,
    change: &Change<'_>,
    hear: &mut HearLayer<'_>,
) -> Result<ImageChanged> {
    run(layout, To::Place, change, hear)
}

/// Writes the changed image to `target`, which must not exist, in the form that it has. With a
/// reference, that image is changed and the others are the same.
///
/// # Errors
/// As [`map_in_place`]; there is no `target` then.
pub fn map_to(
    layout: &Layout,
    target: &Path,
    change: &Change<'_>,
    hear: &mut HearLayer<'_>,
) -> Result<ImageChanged> {
    run(layout, To::New(target), change, hear)
}

fn run(
    layout: &Layout,
    to: To<'_>,
    change: &Change<'_>,
    hear: &mut HearLayer<'_>,
) -> Result<ImageChanged> {
    let changed = ImageChanged::default();
    let mut mapper = Mapper { change, hear, known: HashMap::new(), changed };
    write(layout, to, &mut mapper)?;
    Ok(mapper.changed)
}

struct Mapper<'m, 'h, 'f> {
    change: &'m Change<'m>,
    hear: &'h mut HearLayer<'f>,
    known: HashMap<String, Looked>,
    changed: ImageChanged,
}

impl Work for Mapper<'_, '_, '_> {
    /// Only what changes is written, so that compressed bytes stay where nothing does.
    fn look(&mut self, layout: &Layout, layers: &[ImageLayer]) -> Result<Vec<Looked>> {
        let mut all = Vec::new();
        for layer in layers {
            if let Some(known) = self.known.get(&layer.digest) {
                all.push(known.clone());
                continue;
            }
            let (digest, hear) = (&layer.digest, &mut *self.hear);
            let hear = &mut |decided: &Decided<'_>| hear(digest, decided);
            let seen = layout.look(layer, |reader| map(reader, io::sink(), self.change, hear))?;
            self.changed.layers += 1;
            self.changed.changed += u64::from(seen.value.any());
            self.changed.total.add(seen.value);
            let change = seen.value.any().then_some(0);
            let looked = Looked { diff_id: seen.diff_id, compression: seen.compression, change };
            self.known.insert(layer.digest.clone(), looked.clone());
            all.push(looked);
        }
        Ok(all)
    }

    fn rewrite(&mut self, _: &Looked, input: &mut dyn Read, output: &mut dyn Write) -> Result<()> {
        map(input, output, self.change, &mut |_| Ok(())).map(|_| ())
    }
}
