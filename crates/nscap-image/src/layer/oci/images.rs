// SPDX-License-Identifier: MIT OR Apache-2.0
//! The images of a layout, and their layers as streams that are verified.

use std::collections::HashSet;
use std::io::{self, Read};

use super::blobs::{Hashed, digest, document, text};
use super::json::{Descriptor, Object, platform_of, string};
use super::layout::{Image, ImageLayer, Kind, Layout, MAX_DEPTH, Root, names_image, within};
use super::store::{Key, Store};
use crate::layer::codec::Compression;
use crate::layer::error::{Error, Result};

/// A layer that was read to its end.
pub(crate) struct Seen<T> {
    pub(crate) value: T,
    /// The digest of the uncompressed layer.
    pub(crate) diff_id: String,
    pub(crate) compression: Compression,
}

impl Layout {
    /// The images, each once, in the order in which they are found.
    ///
    /// # Errors
    /// [`Error::Image`] for a document that is missing a part, is not the one its digest says, or
    /// that programs read differently; [`Error::Call`].
    pub fn images(&self) -> Result<Vec<Image>> {
        let mut found = Found { layout: self, documents: HashSet::new(), images: Vec::new() };
        match &self.root {
            _ if matches!(self.store, Store::Layer(_)) => {
                let layer = ImageLayer {
                    digest: String::new(),
                    manifest: String::new(),
                    platform: None,
                    key: Key::Digest(String::new()),
                    size: None,
                };
                let manifest = String::new();
                found.images.push(Image { manifest, platform: None, layers: vec![layer] });
            }
            Root::Index(text, _) => {
                let index = Object::parse(text).and_then(|index| index.array("manifests"));
                for value in within("index.json", index)? {
                    let descriptor = within("index.json", Descriptor::parse(value))?;
                    if self.selects(&descriptor)? {
                        found.collect(&descriptor, None, 0)?;
                    }
                }
            }
            Root::Manifest(text) => {
                let object = within("manifest.json", Object::parse(text))?;
                found.within(&digest(text.as_bytes()), &object, kind_of(&object)?, None, 0)?;
            }
            Root::Docker(text) => found.docker(text)?,
        }
        Ok(found.images)
    }

    /// The layers, each once, in the order in which they are found.
    ///
    /// # Errors
    /// As [`images`](Layout::images).
    pub fn layers(&self) -> Result<Vec<ImageLayer>> {
        let mut seen = HashSet::new();
        let all = self.images()?.into_iter().flat_map(|image| image.layers);
        Ok(all.filter(|layer| seen.insert(layer.digest.clone())).collect())
    }

    /// Reads a layer, uncompressed, and verifies the blob after what `each` has read of it.
    ///
    /// # Errors
    /// What `each` gives, with the digest; [`Error::Image`] where the blob is another.
    pub fn read(
        &self,
        layer: &ImageLayer,
        each: impl FnOnce(&mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        self.look(layer, each).map(|_| ())
    }

    /// A layer as it is, not verified.
    pub(crate) fn raw(&self, layer: &ImageLayer) -> Result<super::RawLayer> {
        self.store.part(&layer.key)
    }

    /// The same, with what `each` gives and the digest of the uncompressed layer.
    pub(crate) fn look<T>(
        &self,
        layer: &ImageLayer,
        each: impl FnOnce(&mut dyn Read) -> Result<T>,
    ) -> Result<Seen<T>> {
        let mut hashed = Hashed::new(self.store.part(&layer.key)?);
        let read = || -> Result<Seen<T>> {
            let (compression, whole) = Compression::detect(&mut hashed)?;
            let mut plain = Hashed::new(compression.reader(whole)?);
            let value = each(&mut plain)?;
            io::copy(&mut plain, &mut io::sink()).map_err(Error::Read)?;
            Ok(Seen { value, diff_id: plain.finish().1, compression })
        };
        let in_layer = |error: Error| match layer.digest.is_empty() {
            true => error,
            false => error.in_blob(&layer.digest),
        };
        let seen = read().map_err(in_layer)?;
        match &layer.key {
            _ if layer.digest.is_empty() => {}
            Key::Digest(_) => {
                let (_, length) = hashed.verify_digest(&layer.digest)?;
                if layer.size.is_some_and(|size| size != length) {
                    let problem = format!("the blob has {length} bytes: the image is damaged");
                    return Err(Error::image(&layer.digest, problem));
                }
            }
            Key::Member(_) if seen.diff_id != layer.digest => {
                let problem = format!("the layer is {}: the image is damaged", seen.diff_id);
                return Err(Error::image(&layer.digest, problem));
            }
            Key::Member(_) => {}
        }
        Ok(seen)
    }
}

/// What a document is that no descriptor names.
pub(crate) fn kind_of(object: &Object<'_>) -> Result<Kind> {
    let index = within("manifest.json", object.get("manifests"))?.is_some();
    Ok(if index { Kind::Index } else { Kind::Manifest })
}

struct Found<'l> {
    layout: &'l Layout,
    /// Which documents were read, and as what.
    documents: HashSet<(String, Kind)>,
    images: Vec<Image>,
}

impl Found<'_> {
    fn collect(
        &mut self,
        descriptor: &Descriptor<'_>,
        platform: Option<String>,
        depth: usize,
    ) -> Result<()> {
        let digest = &descriptor.digest;
        let own = within(digest, descriptor.platform())?.or(platform);
        let kind = Kind::of(&descriptor.media_type);
        // A document may be named many times; it is read once. Those of other platforms may be elsewhere.
        if !matches!(kind, Kind::Index | Kind::Manifest)
            || !self.documents.insert((digest.clone(), kind))
            || (depth > 0 && !self.layout.store.has(digest)?)
        {
            return Ok(());
        }
        let text = document(&self.layout.store, descriptor)?;
        let object = within(digest, Object::parse(&text))?;
        self.within(digest, &object, kind, own, depth)
    }

    fn within(
        &mut self,
        digest: &str,
        object: &Object<'_>,
        kind: Kind,
        platform: Option<String>,
        depth: usize,
    ) -> Result<()> {
        if kind == Kind::Index {
            for value in within(digest, object.array("manifests"))? {
                if depth >= MAX_DEPTH {
                    return Err(Error::image(digest, "indexes are nested too deep"));
                }
                let below = within(digest, Descriptor::parse(value))?;
                self.collect(&below, platform.clone(), depth + 1)?;
            }
            return Ok(());
        }
        let platform = match (platform, &self.layout.platform) {
            (None, Some(_)) => config_platform(self.layout, digest, object)?,
            (platform, _) => platform,
        };
        if !self.layout.fits(platform.as_deref()) {
            return Ok(());
        }
        let mut layers = Vec::new();
        for value in within(digest, object.array("layers"))? {
            let layer = within(digest, Descriptor::parse(value))?;
            if Kind::of(&layer.media_type) == Kind::Layer {
                layers.push(ImageLayer {
                    key: Key::Digest(layer.digest.clone()),
                    size: Some(layer.size),
                    digest: layer.digest,
                    manifest: digest.to_owned(),
                    platform: platform.clone(),
                });
            }
        }
        self.images.push(Image { manifest: digest.to_owned(), platform, layers });
        Ok(())
    }

    /// The images of docker's manifest.json.
    fn docker(&mut self, manifest: &str) -> Result<()> {
        for image in within("manifest.json", docker_images(manifest))? {
            let image = within("manifest.json", DockerImage::parse(image))?;
            if !image.is_chosen(self.layout) {
                continue;
            }
            let config = image.config(self.layout)?;
            let object = within(&image.config, Object::parse(&config))?;
            let platform = Some(within(&image.config, platform_of(&object))?);
            if !self.layout.fits(platform.as_deref()) {
                continue;
            }
            let ids = diff_ids(&image.config, &object)?;
            if ids.len() != image.layers.len() {
                return Err(Error::image(&image.config, "as many diff ids as layers are needed"));
            }
            let manifest = digest(config.as_bytes());
            let layers = ids.into_iter().zip(&image.layers).map(|(digest, name)| ImageLayer {
                digest,
                manifest: manifest.clone(),
                platform: platform.clone(),
                key: Key::Member(super::archive::normal(name.as_bytes())),
                size: None,
            });
            let layers = layers.collect();
            self.images.push(Image { manifest, platform, layers });
        }
        Ok(())
    }
}

/// The platform that an image's configuration names.
pub(crate) fn config_platform(
    layout: &Layout,
    digest: &str,
    manifest: &Object<'_>,
) -> Result<Option<String>> {
    let Some(config) = within(digest, manifest.get("config"))? else {
        return Ok(None);
    };
    let config = within(digest, Descriptor::parse(config))?;
    if Kind::of(&config.media_type) != Kind::Config {
        return Ok(None);
    }
    let text = document(&layout.store, &config)?;
    let object = within(&config.digest, Object::parse(&text))?;
    within(&config.digest, platform_of(&object)).map(Some)
}

/// The diff ids of a configuration.
pub(crate) fn diff_ids(what: &str, config: &Object<'_>) -> Result<Vec<String>> {
    let rootfs = within(what, config.object("rootfs"))?;
    let ids = rootfs.map_or(Ok(Vec::new()), |rootfs| rootfs.array("diff_ids"));
    within(what, ids.and_then(|ids| ids.into_iter().map(string).collect()))
}

/// The elements of docker's manifest.json.
pub(crate) fn docker_images(
    manifest: &str,
) -> std::result::Result<Vec<&serde_json::value::RawValue>, String> {
    serde_json::from_str(manifest).map_err(|error| error.to_string())
}

/// One element of docker's manifest.json.
pub(crate) struct DockerImage<'a> {
    pub(crate) object: Object<'a>,
    pub(crate) config: String,
    pub(crate) layers: Vec<String>,
    tags: Vec<String>,
}

impl<'a> DockerImage<'a> {
    pub(crate) fn parse(
        value: &'a serde_json::value::RawValue,
    ) -> std::result::Result<DockerImage<'a>, String> {
        let object = Object::parse(value.get())?;
        let strings = |name| -> std::result::Result<Vec<String>, String> {
            object.array(name)?.into_iter().map(string).collect()
        };
        Ok(DockerImage {
            config: string(object.needed("Config")?)?,
            layers: strings("Layers")?,
            tags: strings("RepoTags")?,
            object,
        })
    }

    /// Whether it is the image that was asked for.
    pub(crate) fn is_chosen(&self, layout: &Layout) -> bool {
        let named = |asked: &String| self.tags.iter().any(|tag| names_image(tag, asked));
        layout.reference.as_ref().is_none_or(named)
    }

    /// The configuration.
    pub(crate) fn config(&self, layout: &Layout) -> Result<String> {
        let name = super::archive::normal(self.config.as_bytes());
        text(layout.store.part(&Key::Member(name))?, &self.config)
    }
}
