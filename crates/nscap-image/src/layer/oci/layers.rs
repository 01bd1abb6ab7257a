// SPDX-License-Identifier: MIT OR Apache-2.0
//! The blobs of a changed image: layers that are written anew or added, documents, and what is kept.

use std::fs::File;
use std::io::{self, Write as _};

use super::blobs::{Hashed, digest, file_name};
use super::edit::Editor;
use super::json::Descriptor;
use super::layout::{ImageLayer, Kind, Root, within};
use super::store::Key;
use super::work::{Added, Blob, Looked, NewLayer, Top};
use crate::layer::codec::Compression;
use crate::layer::error::{Error, Result};

impl Editor<'_, '_> {
    /// eStargz and zstd:chunked have a table of contents, which a changed layer would contradict.
    pub(super) fn check_index(&self, manifest: &str, layer: &Descriptor<'_>) -> Result<()> {
        let own_index = |name: &str| name.contains("zstd-chunked") || name.contains("stargz");
        if within(manifest, layer.has_annotation(own_index))? {
            let problem = "the layer has an index of its own that repeats what was changed";
            return Err(Error::image(&layer.digest, problem));
        }
        Ok(())
    }

    /// What becomes of the layers of an image: new blobs are written.
    pub(crate) fn layers_of(
        &mut self,
        layers: &[ImageLayer],
    ) -> Result<(Vec<NewLayer>, Option<Top>)> {
        let looked = self.work.look(self.layout, layers)?;
        let mut all = Vec::new();
        for (layer, looked) in layers.iter().zip(&looked) {
            let (new, blob) = match looked.change {
                None => (looked.diff_id.clone(), None),
                Some(change) => {
                    let key = (layer.digest.clone(), change);
                    let known = self.layers.get(&key).cloned();
                    let (blob, new) = match known {
                        Some(known) => known,
                        None => {
                            let made = self.rewrite(layer, looked);
                            made.map_err(|error| error.in_blob(&layer.digest))?
                        }
                    };
                    self.layers.insert(key, (blob.clone(), new.clone()));
                    self.replaced.insert(layer.digest.clone());
                    (new, Some(blob))
                }
            };
            all.push(NewLayer { diff_ids: (looked.diff_id.clone(), new), blob });
        }
        let under = looked.last().map_or(Compression::Gzip, |looked| looked.compression);
        let top = self.top(under)?;
        Ok((all, top))
    }

    /// The layer on top, if there is to be one.
    fn top(&mut self, under: Compression) -> Result<Option<Top>> {
        let layout = self.layout;
        let Some(Added { created_by, write }) = self.work.added(layout) else {
            return Ok(None);
        };
        // An archive of docker's has plain layers; xz has no media type.
        let compression = match (&layout.root, under) {
            (Root::Docker(_), _) => Compression::None,
            (_, Compression::Xz) => Compression::Gzip,
            (_, under) => under,
        };
        let (out, working) = self.out.create()?;
        let made = (|| {
            let mut plain = Hashed::new(compression.writer(Hashed::new(out))?);
            write(&mut plain)?;
            let (writer, diff_id, _) = plain.finish();
            let (out, digest, size) = writer.finish()?.finish();
            Ok((out, Blob { digest, size }, diff_id))
        })();
        match made {
            Ok((out, blob, diff_id)) => {
                self.store(Ok(out), &working, file_name(&blob.digest)?)?;
                Ok(Some(Top { blob, diff_id, created_by, compression }))
            }
            Err(error) => {
                self.out.remove(&working);
                Err(error)
            }
        }
    }

    fn rewrite(&mut self, layer: &ImageLayer, looked: &Looked) -> Result<(Blob, String)> {
        let (out, working) = self.out.create()?;
        let written = (|| {
            // Verified again: another file may be there, or the same one be written to.
            let mut hashed = Hashed::new(self.layout.store.part(&layer.key)?);
            let (compression, whole) = Compression::detect(&mut hashed)?;
            let mut plain = Hashed::new(compression.writer(Hashed::new(out))?);
            let mut old = Hashed::new(compression.reader(whole)?);
            self.work.rewrite(looked, &mut old, &mut plain)?;
            io::copy(&mut old, &mut io::sink()).map_err(Error::Read)?;
            let old = old.finish().1;
            if old != looked.diff_id {
                return Err(Error::image(&layer.digest, "the layer has changed meanwhile"));
            }
            if let Key::Digest(digest) = &layer.key {
                hashed.verify_digest(digest)?;
            }
            let (writer, diff_id, _) = plain.finish();
            let (out, digest, size) = writer.finish()?.finish();
            Ok((out, Blob { digest, size }, diff_id))
        })();
        match written {
            Ok((out, blob, diff_id)) => {
                self.store(Ok(out), &working, file_name(&blob.digest)?)?;
                Ok((blob, diff_id))
            }
            Err(error) => {
                self.out.remove(&working);
                Err(error)
            }
        }
    }

    /// A blob as it is, in the target as well.
    pub(super) fn keep(&mut self, descriptor: &Descriptor<'_>) -> Result<()> {
        let name = self.name(&descriptor.digest, &descriptor.media_type)?;
        self.kept.insert(descriptor.digest.clone());
        if !self.copy || self.out.has(&name) {
            return Ok(());
        }
        let (mut out, working) = self.out.create()?;
        let copied = self.layout.store.digest(&descriptor.digest).and_then(|part| {
            let mut hashed = Hashed::new(part);
            io::copy(&mut hashed, &mut io::BufWriter::with_capacity(1 << 18, &mut out))
                .map_err(Error::Write)?;
            hashed.verify(descriptor)
        });
        self.store(copied.map(|_| out), &working, &name)
    }

    /// A written blob gets its name.
    fn store(&mut self, file: Result<File>, working: &str, name: &str) -> Result<()> {
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

    pub(crate) fn write_document(&mut self, content: &[u8], name: &str) -> Result<Blob> {
        let blob = Blob { digest: digest(content), size: content.len() as u64 };
        let (mut file, working) = self.out.create()?;
        let written = file.write_all(content).map_err(Error::Write);
        self.store(written.map(|()| file), &working, name)?;
        Ok(blob)
    }

    /// The name of a blob's file: in a `dir:` of skopeo manifests that an index names have an end.
    pub(super) fn name(&self, digest: &str, media_type: &str) -> Result<String> {
        let name = file_name(digest)?;
        let is_manifest = matches!(Kind::of(media_type), Kind::Index | Kind::Manifest);
        Ok(match &self.layout.root {
            Root::Manifest(_) if is_manifest => format!("{name}.manifest.json"),
            _ => name.to_owned(),
        })
    }
}
