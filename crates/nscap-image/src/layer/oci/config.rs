// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration of an image: its diff ids and its history.

use super::json::{Edits, Object, string};
use super::layout::within;
use super::work::{NewLayer, Top};
use crate::layer::error::{Error, Result};

/// Puts the diff ids of new layers in place of the old ones, and adds the layer on top. `places`
/// says which of the layers that the manifest names are some.
pub(crate) fn edited<'t>(
    digest: &str,
    text: &'t str,
    places: &[bool],
    layers: &[NewLayer],
    top: Option<&Top>,
) -> Result<Edits<'t>> {
    let config = within(digest, Object::parse(text))?;
    let mut edits = Edits::of(text);
    let rootfs = within(digest, config.object("rootfs"))?;
    let array = match &rootfs {
        Some(rootfs) => within(digest, rootfs.get("diff_ids"))?,
        None => None,
    };
    let ids = rootfs.map_or(Ok(Vec::new()), |rootfs| rootfs.array("diff_ids"));
    let ids = within(digest, ids)?;
    if ids.len() != places.len() {
        return Err(Error::image(digest, "as many diff ids as layers are needed"));
    }
    let of_layers = ids.iter().zip(places).filter(|(_, is_layer)| **is_layer);
    for ((at, _), layer) in of_layers.zip(layers) {
        let id = within(digest, string(at))?;
        let (old, new) = &layer.diff_ids;
        if *old != id {
            let problem = format!("the diff id {id} is not that of its layer, {old}");
            return Err(Error::image(digest, problem));
        }
        if old != new {
            edits.put_string(at, new);
        }
    }
    let Some(top) = top else { return Ok(edits) };
    let array = array.ok_or_else(|| Error::image(digest, "there are no diff ids"))?;
    edits.push(array, serde_json::Value::from(top.diff_id.as_str()).to_string());
    if let Some(history) = within(digest, config.get("history"))? {
        // The image's own time: the same change of the same image gives the same bytes.
        let created = within(digest, config.text("created"))?;
        let mut entry = serde_json::Map::new();
        if let Some(created) = created {
            entry.insert("created".to_owned(), created.into());
        }
        entry.insert("created_by".to_owned(), top.created_by.as_str().into());
        edits.push(history, serde_json::Value::Object(entry).to_string());
    }
    Ok(edits)
}
