// SPDX-License-Identifier: MIT OR Apache-2.0
//! Translates an image: changes its layers, and the digests, sizes and diff ids that name them, up
//! to index.json. Everything else stays byte by byte: fields, annotations, history, and blobs
//! without a change.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek as _, Write};
use std::rc::Rc;

use super::blobs::{Hashed, digest, document, file_name};
use super::dir::Dir;
use super::json::{Descriptor, Edits, Object};
use super::layout::{Kind, Layout, MAX_DEPTH, strings, within};
use crate::layer::codec::Compression;
use crate::layer::error::{Error, Result};
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

/// A blob by its new name.
#[derive(Clone)]
struct Blob {
    digest: String,
    size: u64,
}

/// A document by its new name, and its content.
type Document = (Blob, Rc<[u8]>);

#[derive(Clone)]
struct Layer {
    /// The digests of the uncompressed layer, before and after.
    diff_ids: (String, String),
    new: Option<Blob>,
}

pub(super) struct Mapper<'l, 'm, 'h, 'f> {
    layout: &'l Layout,
    change: &'l Change<'m>,
    hear: &'h mut HearLayer<'f>,
    /// Where new blobs go.
    out: &'l Dir,
    /// Whether blobs that do not change go there as well.
    copy: bool,
    /// Whether what is walked through is to be changed.
    active: bool,
    layers: HashMap<String, Layer>,
    documents: HashMap<(String, bool), Option<Document>>,
    /// What is new there.
    pub(super) written: Vec<String>,
    pub(super) changed: ImageChanged,
}

impl<'l, 'm, 'h, 'f> Mapper<'l, 'm, 'h, 'f> {
    pub(super) fn new(
        layout: &'l Layout,
        change: &'l Change<'m>,
        hear: &'h mut HearLayer<'f>,
        out: &'l Dir,
        copy: bool,
    ) -> Mapper<'l, 'm, 'h, 'f> {
        Mapper {
            layout,
            change,
            hear,
            out,
            copy,
            active: true,
            layers: HashMap::new(),
            documents: HashMap::new(),
            written: Vec::new(),
            changed: ImageChanged::default(),
        }
    }

    /// index.json as it is to be.
    pub(super) fn index(&mut self) -> Result<Vec<u8>> {
        let text = self.layout.index.as_str();
        let mut edits = Edits::of(text);
        let object = within("index.json", Object::parse(text))?;
        for value in within("index.json", object.array("manifests"))? {
            let descriptor = within("index.json", Descriptor::parse(value))?;
            self.active = self.layout.selects(&descriptor)?;
            self.below(&descriptor, &mut edits, 0)?;
        }
        Ok(edits.finish().unwrap_or_else(|| text.as_bytes().to_vec()))
    }

    /// A document that a descriptor names: the descriptor is made to name the new one.
    fn below<'t>(
        &mut self,
        descriptor: &Descriptor<'t>,
        edits: &mut Edits<'t>,
        depth: usize,
    ) -> Result<()> {
        if let Some((blob, content)) = self.document(descriptor, depth)? {
            let put = edits.put_blob(descriptor, &blob.digest, blob.size, Some(&content));
            within(&descriptor.digest, put)?;
        }
        Ok(())
    }

    /// `None` where it stays as it is.
    fn document(&mut self, descriptor: &Descriptor<'_>, depth: usize) -> Result<Option<Document>> {
        let digest = &descriptor.digest;
        if depth > MAX_DEPTH {
            return Err(Error::image(digest, "indexes are nested too deep"));
        }
        let key = (digest.clone(), self.active);
        if let Some(known) = self.documents.get(&key) {
            return Ok(known.clone());
        }
        let kind = Kind::of(&descriptor.media_type);
        if !matches!(kind, Kind::Index | Kind::Manifest) {
            if self.active {
                let problem =
                    format!("a manifest of type {}, which is not known", descriptor.media_type);
                return Err(Error::image(digest, problem));
            }
            self.keep(descriptor)?;
            return Ok(None);
        }
        let text = document(&self.layout.blobs, descriptor)?;
        let mut edits = Edits::of(&text);
        let object = within(digest, Object::parse(&text))?;
        if kind == Kind::Index {
            for value in within(digest, object.array("manifests"))? {
                self.below(&within(digest, Descriptor::parse(value))?, &mut edits, depth + 1)?;
            }
        } else {
            self.manifest(digest, &object, &mut edits)?;
        }
        if let Some(subject) = within(digest, object.get("subject"))? {
            let subject = within(digest, Descriptor::parse(subject))?;
            // It may be anywhere else.
            if self.layout.blobs.has(file_name(&subject.digest)?) {
                self.below(&subject, &mut edits, depth + 1)?;
            }
        }
        let new = self.finish(descriptor, edits)?;
        self.documents.insert(key, new.clone());
        Ok(new)
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
        let blob = Blob { digest: digest(&content), size: content.len() as u64 };
        let (mut file, working) = self.out.create()?;
        let written = file.write_all(&content).map_err(Error::Write);
        self.store(written.map(|()| file), &working, &blob.digest)?;
        Ok(Some((blob, content.into())))
    }

    fn manifest<'t>(
        &mut self,
        digest: &str,
        object: &Object<'t>,
        edits: &mut Edits<'t>,
    ) -> Result<()> {
        let config = within(digest, object.get("config"))?;
        let config = config.ok_or_else(|| Error::image(digest, "the field `config` is missing"))?;
        let config = within(digest, Descriptor::parse(config))?;
        let layers = within(digest, object.array("layers"))?;
        let layers: Vec<Descriptor<'_>> =
            within(digest, layers.into_iter().map(Descriptor::parse).collect())?;
        let is_image = Kind::of(&config.media_type) == Kind::Config;
        if !is_image || !self.active {
            // An artifact, whatever its blobs are, or an image that was not asked for.
            std::iter::once(&config).chain(&layers).try_for_each(|blob| self.keep(blob))?;
            return Ok(());
        }
        let mut diff_ids = Vec::new();
        for layer in &layers {
            diff_ids.push(self.layer(digest, layer, edits)?);
        }
        if let Some((blob, content)) = self.config(&config, &diff_ids)? {
            within(digest, edits.put_blob(&config, &blob.digest, blob.size, Some(&content)))?;
        }
        Ok(())
    }

    /// One layer of a manifest; its diff ids, where it is one.
    fn layer<'t>(
        &mut self,
        manifest: &str,
        descriptor: &Descriptor<'t>,
        edits: &mut Edits<'t>,
    ) -> Result<Option<(String, String)>> {
        if Kind::of(&descriptor.media_type) != Kind::Layer {
            // Attestations are manifests of images whose layers are JSON.
            if !descriptor.media_type.ends_with("json") {
                let problem =
                    format!("a layer of type {}, which is not known", descriptor.media_type);
                return Err(Error::image(&descriptor.digest, problem));
            }
            self.keep(descriptor)?;
            return Ok(None);
        }
        let layer = match self.layers.get(&descriptor.digest) {
            Some(known) => known.clone(),
            None => {
                let layer = self.translate(descriptor);
                let layer = layer.map_err(|error| error.in_blob(&descriptor.digest))?;
                self.layers.insert(descriptor.digest.clone(), layer.clone());
                layer
            }
        };
        if let Some(blob) = &layer.new {
            let own_index = |name: &str| name.contains("zstd-chunked") || name.contains("stargz");
            if within(manifest, descriptor.has_annotation(own_index))? {
                let problem = "the layer has an index of its own that repeats what was changed";
                return Err(Error::image(&descriptor.digest, problem));
            }
            within(manifest, edits.put_blob(descriptor, &blob.digest, blob.size, None))?;
        }
        Ok(Some(layer.diff_ids))
    }

    /// Looks first and writes only what changes, so that compressed bytes stay where nothing does.
    fn translate(&mut self, descriptor: &Descriptor<'_>) -> Result<Layer> {
        let name = file_name(&descriptor.digest)?;
        let mut hashed = Hashed::new(self.layout.blobs.file(name)?);
        let (compression, whole) = Compression::detect(&mut hashed)?;
        let mut plain = Hashed::new(compression.reader(whole)?);
        let (digest, hear) = (&descriptor.digest, &mut *self.hear);
        let hear = &mut |decided: &Decided<'_>| hear(digest, decided);
        let changed = map(&mut plain, io::sink(), self.change, hear)?;
        let (_, diff_id, _) = plain.finish();
        let mut file = hashed.verify(descriptor)?;
        self.changed.layers += 1;
        self.changed.changed += u64::from(changed.any());
        self.changed.total.add(changed);
        if !changed.any() {
            self.keep(descriptor)?;
            return Ok(Layer { diff_ids: (diff_id.clone(), diff_id), new: None });
        }
        file.rewind().map_err(Error::Read)?;
        let (blob, new_diff_id) = self.write(file, compression, descriptor)?;
        Ok(Layer { diff_ids: (diff_id, new_diff_id), new: Some(blob) })
    }

    fn write(
        &mut self,
        file: File,
        compression: Compression,
        descriptor: &Descriptor<'_>,
    ) -> Result<(Blob, String)> {
        let (out, working) = self.out.create()?;
        let written = (|| {
            // Verified again: another file may stand there, or the same one be written to.
            let mut hashed = Hashed::new(file);
            let (_, whole) = Compression::detect(&mut hashed)?;
            let mut plain = Hashed::new(compression.writer(Hashed::new(out))?);
            map(compression.reader(whole)?, &mut plain, self.change, &mut |_| Ok(()))?;
            hashed.verify(descriptor)?;
            let (writer, diff_id, _) = plain.finish();
            let (out, digest, size) = writer.finish()?.finish();
            Ok((out, Blob { digest, size }, diff_id))
        })();
        match written {
            Ok((out, blob, diff_id)) => {
                self.store(Ok(out), &working, &blob.digest)?;
                Ok((blob, diff_id))
            }
            Err(error) => {
                self.out.remove(&working);
                Err(error)
            }
        }
    }

    /// The configuration with the diff ids of the new layers.
    fn config(
        &mut self,
        descriptor: &Descriptor<'_>,
        layers: &[Option<(String, String)>],
    ) -> Result<Option<Document>> {
        let digest = &descriptor.digest;
        let text = document(&self.layout.blobs, descriptor)?;
        let object = within(digest, Object::parse(&text))?;
        let rootfs = within(digest, object.object("rootfs"))?;
        let ids = rootfs.map_or(Ok(Vec::new()), |rootfs| rootfs.array("diff_ids"));
        let ids = within(digest, ids)?;
        if ids.len() != layers.len() {
            return Err(Error::image(digest, "as many diff ids as layers are needed"));
        }
        let mut edits = Edits::of(&text);
        for ((at, id), layer) in ids.iter().zip(within(digest, strings(&ids))?).zip(layers) {
            match layer {
                Some((old, _)) if *old != id => {
                    let problem = format!("the diff id {id} is not that of its layer, {old}");
                    return Err(Error::image(digest, problem));
                }
                Some((old, new)) if old != new => edits.put_string(at, new),
                Some(_) | None => {}
            }
        }
        self.finish(descriptor, edits)
    }

    /// A blob as it is, in the target as well.
    fn keep(&mut self, descriptor: &Descriptor<'_>) -> Result<()> {
        let name = file_name(&descriptor.digest)?;
        if !self.copy || self.out.has(name) {
            return Ok(());
        }
        let (mut out, working) = self.out.create()?;
        let copied = self.layout.blobs.file(name).and_then(|file| {
            let mut hashed = Hashed::new(file);
            io::copy(&mut hashed, &mut io::BufWriter::with_capacity(1 << 18, &mut out))
                .map_err(Error::Write)?;
            hashed.verify(descriptor)
        });
        self.store(copied.map(|_| out), &working, &descriptor.digest)
    }

    /// A written blob gets its name.
    fn store(&mut self, file: Result<File>, working: &str, digest: &str) -> Result<()> {
        let name = file_name(digest)?;
        let synced = file.and_then(|file| file.sync_all().map_err(Error::Write));
        let there = self.out.has(name);
        let stored = synced.and_then(|()| self.out.rename(working, name));
        match stored {
            // What was there before must not go when a later step fails.
            Ok(()) if there => Ok(()),
            Ok(()) => {
                self.written.push(name.to_owned());
                Ok(())
            }
            Err(error) => {
                self.out.remove(working);
                Err(error)
            }
        }
    }
}
