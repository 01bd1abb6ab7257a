// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes an image: its layers as some work says, and the digests, sizes, diff ids and history
//! that name them, up to the document that names all. Everything else stays byte by byte: fields,
//! annotations, and blobs without a change.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::blobs::{digest, document};
use super::dir::Dir;
use super::images::{config_platform, kind_of};
use super::json::{Descriptor, Edits, Object};
use super::layout::{ImageLayer, Kind, Layout, MAX_DEPTH, Root, within};
use super::store::Key;
use super::work::{Blob, NewLayer, Top, Work};
use crate::layer::codec::Compression;
use crate::layer::error::{Error, Result};

/// A document by its new name, and its content.
type Document = (Blob, Rc<[u8]>);

pub(crate) struct Editor<'l, 'w> {
    pub(crate) layout: &'l Layout,
    pub(super) work: &'w mut dyn Work,
    /// Where new blobs go.
    pub(crate) out: &'l Dir,
    /// Whether blobs that do not change go there as well.
    pub(super) copy: bool,
    /// Whether what is walked through is to be changed.
    active: bool,
    pub(super) layers: HashMap<(String, u64), (Blob, String)>,
    documents: HashMap<(String, bool), Option<Document>>,
    /// What is new there.
    pub(crate) written: Vec<String>,
    /// What was replaced, and what stays named.
    pub(super) replaced: HashSet<String>,
    pub(super) kept: HashSet<String>,
    /// New configurations and layers by the old configuration, for docker's manifest.json.
    pub(crate) images: HashMap<String, (String, Vec<String>)>,
}

impl<'l, 'w> Editor<'l, 'w> {
    pub(crate) fn new(
        layout: &'l Layout,
        work: &'w mut dyn Work,
        out: &'l Dir,
        copy: bool,
    ) -> Editor<'l, 'w> {
        Editor {
            layout,
            work,
            out,
            copy,
            active: true,
            layers: HashMap::new(),
            documents: HashMap::new(),
            written: Vec::new(),
            replaced: HashSet::new(),
            kept: HashSet::new(),
            images: HashMap::new(),
        }
    }

    /// The document that names all, as it is to be.
    pub(crate) fn root(&mut self) -> Result<Vec<u8>> {
        let text = self.layout.root.text();
        let mut edits = Edits::of(text);
        match &self.layout.root {
            Root::Index(..) => {
                let object = within("index.json", Object::parse(text))?;
                for value in within("index.json", object.array("manifests"))? {
                    let descriptor = within("index.json", Descriptor::parse(value))?;
                    self.active = self.layout.selects(&descriptor)?;
                    self.below(&descriptor, None, &mut edits, 0)?;
                }
            }
            Root::Manifest(_) => {
                let object = within("manifest.json", Object::parse(text))?;
                let kind = kind_of(&object)?;
                self.content(&digest(text.as_bytes()), kind, &object, None, &mut edits, 0)?;
            }
            Root::Docker(_) => super::docker::edit(self, text, &mut edits)?,
        }
        Ok(edits.finish().unwrap_or_else(|| text.as_bytes().to_vec()))
    }

    /// Blobs that were replaced and that nothing names any more.
    pub(crate) fn superseded(&self) -> impl Iterator<Item = &String> {
        self.replaced.difference(&self.kept)
    }

    /// A document that a descriptor names: the descriptor is made to name the new one.
    fn below<'t>(
        &mut self,
        descriptor: &Descriptor<'t>,
        platform: Option<String>,
        edits: &mut Edits<'t>,
        depth: usize,
    ) -> Result<()> {
        if let Some((blob, content)) = self.document(descriptor, platform, depth)? {
            let put = edits.put_blob(descriptor, &blob.digest, blob.size, Some(&content));
            within(&descriptor.digest, put)?;
        }
        Ok(())
    }

    /// `None` where it stays as it is.
    fn document(
        &mut self,
        descriptor: &Descriptor<'_>,
        platform: Option<String>,
        depth: usize,
    ) -> Result<Option<Document>> {
        let digest = &descriptor.digest;
        if depth > MAX_DEPTH {
            return Err(Error::image(digest, "indexes are nested too deep"));
        }
        let key = (digest.clone(), self.active);
        if let Some(known) = self.documents.get(&key) {
            return Ok(known.clone());
        }
        let kind = Kind::of(&descriptor.media_type);
        // Those of other platforms may be elsewhere.
        if depth > 0 && !self.layout.store.has(digest)? {
            return Ok(None);
        }
        if !matches!(kind, Kind::Index | Kind::Manifest) {
            if self.active {
                let problem =
                    format!("a manifest of type {}, which is not known", descriptor.media_type);
                return Err(Error::image(digest, problem));
            }
            self.keep(descriptor)?;
            return Ok(None);
        }
        let platform = within(digest, descriptor.platform())?.or(platform);
        let text = document(&self.layout.store, descriptor)?;
        let mut edits = Edits::of(&text);
        let object = within(digest, Object::parse(&text))?;
        self.content(digest, kind, &object, platform, &mut edits, depth)?;
        let new = self.finish(descriptor, edits)?;
        self.documents.insert(key, new.clone());
        Ok(new)
    }

    /// What an index or a manifest names.
    fn content<'t>(
        &mut self,
        digest: &str,
        kind: Kind,
        object: &Object<'t>,
        platform: Option<String>,
        edits: &mut Edits<'t>,
        depth: usize,
    ) -> Result<()> {
        if kind == Kind::Index {
            for value in within(digest, object.array("manifests"))? {
                let below = within(digest, Descriptor::parse(value))?;
                self.below(&below, platform.clone(), edits, depth + 1)?;
            }
        } else {
            self.manifest(digest, object, platform, edits)?;
        }
        if let Some(subject) = within(digest, object.get("subject"))? {
            let subject = within(digest, Descriptor::parse(subject))?;
            // It may be anywhere else.
            if self.layout.store.has(&subject.digest)? {
                self.below(&subject, None, edits, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Writes a document where it changed, keeps it where not.
    fn finish(
        &mut self,
        descriptor: &Descriptor<'_>,
        edits: Edits<'_>,
    ) -> Result<Option<Document>> {
        let Some(content) = edits.finish() else {
            self.keep(descriptor)?;
            return Ok(None);
        };
        let name = self.name(&digest(&content), &descriptor.media_type)?;
        let blob = self.write_document(&content, &name)?;
        self.replaced.insert(descriptor.digest.clone());
        Ok(Some((blob, content.into())))
    }

    fn manifest<'t>(
        &mut self,
        digest: &str,
        object: &Object<'t>,
        platform: Option<String>,
        edits: &mut Edits<'t>,
    ) -> Result<()> {
        let config = within(digest, object.get("config"))?;
        let config = config.ok_or_else(|| Error::image(digest, "the field `config` is missing"))?;
        let config = within(digest, Descriptor::parse(config))?;
        let array = within(digest, object.get("layers"))?;
        let layers = within(digest, object.array("layers"))?;
        let layers: Vec<Descriptor<'_>> =
            within(digest, layers.into_iter().map(Descriptor::parse).collect())?;
        let is_image = Kind::of(&config.media_type) == Kind::Config;
        let platform = match (platform, &self.layout.platform) {
            (None, Some(_)) if is_image => config_platform(self.layout, digest, object)?,
            (platform, _) => platform,
        };
        if !is_image || !self.active || !self.layout.fits(platform.as_deref()) {
            // An artifact, whatever its blobs are, or an image that was not asked for.
            return std::iter::once(&config).chain(&layers).try_for_each(|blob| self.keep(blob));
        }
        let real = real_layers(digest, &platform, &layers)?;
        let (new, top) = self.layers_of(&real)?;
        let mut names: Vec<String> = real.iter().map(|layer| layer.digest.clone()).collect();
        for ((new, name), layer) in new
            .iter()
            .zip(&mut names)
            .zip(layers.iter().filter(|layer| Kind::of(&layer.media_type) == Kind::Layer))
        {
            match &new.blob {
                Some(blob) => {
                    self.check_index(digest, layer)?;
                    within(digest, edits.put_blob(layer, &blob.digest, blob.size, None))?;
                    name.clone_from(&blob.digest);
                }
                None => self.keep(layer)?,
            }
        }
        for other in layers.iter().filter(|layer| Kind::of(&layer.media_type) != Kind::Layer) {
            self.keep(other)?;
        }
        if let Some(top) = &top {
            let array =
                array.ok_or_else(|| Error::image(digest, "the field `layers` is missing"))?;
            let under = layers.iter().rfind(|layer| Kind::of(&layer.media_type) == Kind::Layer);
            let under = under.map_or("", |layer| layer.media_type.as_str());
            edits.push(array, descriptor_of(top, under));
            names.push(top.blob.digest.clone());
        }
        let text = document(&self.layout.store, &config)?;
        let (places, new) = placed(&layers, new);
        let edited = super::config::edited(&config.digest, &text, &places, &new, top.as_ref())?;
        let written = self.finish(&config, edited)?;
        let new_config = written.as_ref().map_or(&config.digest, |(blob, _)| &blob.digest);
        self.images.insert(config.digest.clone(), (new_config.clone(), names));
        if let Some((blob, content)) = written {
            within(digest, edits.put_blob(&config, &blob.digest, blob.size, Some(&content)))?;
        }
        Ok(())
    }
}

/// The layers among what a manifest calls so: attestations are manifests of images whose layers are
/// JSON.
fn real_layers(
    manifest: &str,
    platform: &Option<String>,
    layers: &[Descriptor<'_>],
) -> Result<Vec<ImageLayer>> {
    let mut real = Vec::new();
    for layer in layers {
        if Kind::of(&layer.media_type) == Kind::Layer {
            real.push(ImageLayer {
                digest: layer.digest.clone(),
                manifest: manifest.to_owned(),
                platform: platform.clone(),
                key: Key::Digest(layer.digest.clone()),
                size: Some(layer.size),
            });
        } else if !layer.media_type.ends_with("json") {
            let problem = format!("a layer of type {}, which is not known", layer.media_type);
            return Err(Error::image(&layer.digest, problem));
        }
    }
    Ok(real)
}

/// The layers at their places among the diff ids: those that are none have no new id.
fn placed(layers: &[Descriptor<'_>], new: Vec<NewLayer>) -> (Vec<bool>, Vec<NewLayer>) {
    let places = layers.iter().map(|layer| Kind::of(&layer.media_type) == Kind::Layer).collect();
    (places, new)
}

/// The descriptor of a new layer, of the family of types that the one below it has.
fn descriptor_of(top: &Top, under: &str) -> String {
    let docker = under.starts_with("application/vnd.docker.");
    let media_type = match (docker, top.compression) {
        (true, Compression::None) => "application/vnd.docker.image.rootfs.diff.tar",
        (true, Compression::Zstd) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
        (true, _) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        (false, Compression::None) => "application/vnd.oci.image.layer.v1.tar",
        (false, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
        (false, _) => "application/vnd.oci.image.layer.v1.tar+gzip",
    };
    let Blob { digest, size } = &top.blob;
    format!("{{\"mediaType\":\"{media_type}\",\"digest\":\"{digest}\",\"size\":{size}}}")
}
