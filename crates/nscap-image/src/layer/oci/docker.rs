// SPDX-License-Identifier: MIT OR Apache-2.0
//! manifest.json of `docker save`: of old the only document, since Docker 25 beside index.json.

use super::archive::normal;
use super::blobs::{digest, file_name};
use super::edit::Editor;
use super::images::{DockerImage, diff_ids, docker_images};
use super::json::{Edits, Object, platform_of};
use super::layout::{ImageLayer, within};
use super::store::{Key, member_of};
use crate::layer::error::{Error, Result};

const NAME: &str = "manifest.json";

/// Changes the images of an old archive: a configuration is `<digest>.json`, a layer
/// `<digest>.tar`, as skopeo names them.
pub(crate) fn edit<'t>(
    editor: &mut Editor<'_, '_>,
    text: &'t str,
    edits: &mut Edits<'t>,
) -> Result<()> {
    for value in within(NAME, docker_images(text))? {
        let image = within(NAME, DockerImage::parse(value))?;
        let config = image.config(editor.layout)?;
        let object = within(&image.config, Object::parse(&config))?;
        let platform = within(&image.config, platform_of(&object))?;
        if !image.is_chosen(editor.layout) || !editor.layout.fits(Some(&platform)) {
            continue;
        }
        let ids = diff_ids(&image.config, &object)?;
        if ids.len() != image.layers.len() {
            return Err(Error::image(&image.config, "as many diff ids as layers are needed"));
        }
        let manifest = digest(config.as_bytes());
        let layers: Vec<ImageLayer> = ids
            .into_iter()
            .zip(&image.layers)
            .map(|(digest, name)| ImageLayer {
                digest,
                manifest: manifest.clone(),
                platform: Some(platform.clone()),
                key: Key::Member(normal(name.as_bytes())),
                size: None,
            })
            .collect();
        let (new, top) = editor.layers_of(&layers)?;
        let places = vec![true; layers.len()];
        let edited = super::config::edited(&image.config, &config, &places, &new, top.as_ref())?;
        let Some(content) = edited.finish() else { continue };
        let name = digest(&content);
        let blob = editor.write_document(&content, file_name(&name)?)?;
        let at = within(NAME, image.object.needed("Config"))?;
        edits.put_string(at, &format!("{}.json", file_name(&blob.digest)?));
        let places = within(NAME, image.object.array("Layers"))?;
        for (at, new) in places.into_iter().zip(&new) {
            if let Some(blob) = &new.blob {
                edits.put_string(at, &format!("{}.tar", file_name(&blob.digest)?));
            }
        }
        if let Some(top) = &top {
            let array = within(NAME, image.object.needed("Layers"))?;
            edits.push(array, format!("\"{}.tar\"", file_name(&top.blob.digest)?));
        }
    }
    Ok(())
}

/// manifest.json beside index.json, with the names that the images have now.
pub(crate) fn beside(editor: &Editor<'_, '_>, text: &str) -> Result<Vec<u8>> {
    let mut edits = Edits::of(text);
    for value in within(NAME, docker_images(text))? {
        let image = within(NAME, DockerImage::parse(value))?;
        let new = editor.images.iter().find(|(old, _)| {
            member_of(old).is_ok_and(|member| member == normal(image.config.as_bytes()))
        });
        let Some((_, (config, layers))) = new else { continue };
        let path = |digest: &str| Ok::<_, Error>(format!("blobs/sha256/{}", file_name(digest)?));
        edits.put_string(within(NAME, image.object.needed("Config"))?, &path(config)?);
        let places = within(NAME, image.object.array("Layers"))?;
        if layers.len() < places.len() {
            return Err(Error::image(NAME, "names more layers than the image has"));
        }
        for (at, layer) in places.iter().zip(layers) {
            edits.put_string(at, &path(layer)?);
        }
        let array = within(NAME, image.object.needed("Layers"))?;
        for layer in &layers[places.len()..] {
            edits.push(array, format!("\"{}\"", path(layer)?));
        }
    }
    Ok(edits.finish().unwrap_or_else(|| text.as_bytes().to_vec()))
}
