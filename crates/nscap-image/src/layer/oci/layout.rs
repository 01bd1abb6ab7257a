// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads an image layout: its images, and their layers.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::blobs::{Hashed, document, file_name, text};
use super::dir::Dir;
use super::json::{Descriptor, Object, string};
use crate::layer::codec::Compression;
use crate::layer::error::{Error, Result};

/// How deep indexes may be nested.
pub(crate) const MAX_DEPTH: usize = 8;

/// An OCI image layout, or one reference in it.
pub struct Layout {
    pub(crate) dir: Dir,
    pub(crate) blobs: Dir,
    /// index.json.
    pub(crate) index: String,
    pub(crate) reference: Option<String>,
    pub(crate) shown: String,
}

/// A layer of an image in a layout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageLayer {
    /// The digest of the blob.
    pub digest: String,
    /// The digest of the first manifest that names it.
    pub manifest: String,
    /// `os/architecture`, if an index says so.
    pub platform: Option<String>,
}

/// What a blob is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    Index,
    Manifest,
    Config,
    Layer,
    Other,
}

impl Kind {
    pub(crate) fn of(media_type: &str) -> Kind {
        match media_type {
            "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json" => Kind::Index,
            "application/vnd.oci.image.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v2+json" => Kind::Manifest,
            "application/vnd.oci.image.config.v1+json"
            | "application/vnd.docker.container.image.v1+json" => Kind::Config,
            "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => Kind::Layer,
            other => {
                let layer =
                    other.strip_prefix("application/vnd.oci.image.layer.v1.tar").or_else(|| {
                        other
                            .strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.tar")
                    });
                match layer {
                    Some("" | "+gzip" | "+zstd") => Kind::Layer,
                    _ => Kind::Other,
                }
            }
        }
    }
}

/// Adds the name of the document to an error.
pub(crate) fn within<T>(what: &str, result: std::result::Result<T, String>) -> Result<T> {
    result.map_err(|problem| Error::image(what, problem))
}

impl Layout {
    /// Opens `DIR`, or `DIR:REFERENCE`; `None` if neither is a directory.
    ///
    /// # Errors
    /// [`Error::Image`] where the directory is no image layout of version 1.0.0, or has no such
    /// reference; [`Error::Call`].
    ///
    /// ```
    /// use nscap_image::layer::Layout;
    /// let dir = tempfile::tempdir().unwrap();
    /// assert!(Layout::find(dir.path().as_os_str()).is_err());
    /// assert!(Layout::find("/nonexistent:latest".as_ref()).unwrap().is_none());
    /// ```
    pub fn find(argument: &OsStr) -> Result<Option<Layout>> {
        let bytes = argument.as_bytes();
        if Path::new(argument).is_dir() {
            return Layout::open(Path::new(argument), None).map(Some);
        }
        let colons = (0..bytes.len()).rev().filter(|at| bytes[*at] == b':');
        for colon in colons {
            let path = Path::new(OsStr::from_bytes(&bytes[..colon]));
            if path.is_dir() {
                let reference = String::from_utf8_lossy(&bytes[colon + 1..]);
                return Layout::open(path, Some(&reference)).map(Some);
            }
        }
        Ok(None)
    }

    fn open(path: &Path, reference: Option<&str>) -> Result<Layout> {
        use nscap_linux::Quotable as _;
        let dir = Dir::open(path)?;
        let shown = path.maybe_quote().to_string();
        let version = text(dir.file("oci-layout")?, "oci-layout")?;
        let version = Object::parse(&version).and_then(|v| v.text("imageLayoutVersion"));
        match within("oci-layout", version)?.as_deref() {
            Some("1.0.0") => {}
            _ => return Err(Error::image(shown, "not an image layout of version 1.0.0")),
        }
        let index = text(dir.file("index.json")?, "index.json")?;
        let blobs = dir.sub("blobs")?.sub("sha256")?;
        let layout = Layout { dir, blobs, index, reference: reference.map(str::to_owned), shown };
        let mut any = false;
        for value in layout.entries()? {
            let descriptor = within("index.json", Descriptor::parse(value))?;
            any |= layout.selects(&descriptor)?;
        }
        if !any && layout.reference.is_some() {
            return Err(Error::image(layout.shown, "there is no image of that reference"));
        }
        Ok(layout)
    }

    fn entries(&self) -> Result<Vec<&serde_json::value::RawValue>> {
        let index = Object::parse(&self.index).and_then(|index| index.array("manifests"));
        within("index.json", index)
    }

    /// Whether an entry of index.json is what was asked for.
    pub(crate) fn selects(&self, descriptor: &Descriptor<'_>) -> Result<bool> {
        let Some(reference) = &self.reference else {
            return Ok(true);
        };
        let name = descriptor.annotation("org.opencontainers.image.ref.name");
        Ok(within("index.json", name)?.as_ref() == Some(reference))
    }

    /// The layers, each once, in the order in which they are found.
    ///
    /// # Errors
    /// [`Error::Image`] for a document that is missing a part, is not the one its digest says, or
    /// that programs read differently; [`Error::Call`].
    pub fn layers(&self) -> Result<Vec<ImageLayer>> {
        let mut found = Found::default();
        for value in self.entries()? {
            let descriptor = within("index.json", Descriptor::parse(value))?;
            if self.selects(&descriptor)? {
                self.collect(&descriptor, None, 0, &mut found)?;
            }
        }
        Ok(found.layers)
    }

    fn collect(
        &self,
        descriptor: &Descriptor<'_>,
        platform: Option<String>,
        depth: usize,
        found: &mut Found,
    ) -> Result<()> {
        let digest = &descriptor.digest;
        let own = within(digest, descriptor.platform())?.or(platform);
        let kind = Kind::of(&descriptor.media_type);
        if kind == Kind::Other {
            return Ok(());
        }
        // A document may be named many times; it is read once.
        if !found.documents.insert((digest.clone(), kind)) {
            return Ok(());
        }
        let text = document(&self.blobs, descriptor)?;
        let object = within(digest, Object::parse(&text))?;
        let name = if kind == Kind::Index { "manifests" } else { "layers" };
        for value in within(digest, object.array(name))? {
            let below = within(digest, Descriptor::parse(value))?;
            match kind {
                Kind::Index if depth >= MAX_DEPTH => {
                    return Err(Error::image(digest, "indexes are nested too deep"));
                }
                Kind::Index => self.collect(&below, own.clone(), depth + 1, found)?,
                _ => found.add(&below, digest, own.clone()),
            }
        }
        Ok(())
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
        let file = self.blobs.file(file_name(&layer.digest)?)?;
        let mut hashed = Hashed::new(file);
        let read = || -> Result<()> {
            let (compression, whole) = Compression::detect(&mut hashed)?;
            let mut reader = compression.reader(whole)?;
            each(&mut reader)
        };
        read().map_err(|error| error.in_blob(&layer.digest))?;
        hashed.verify_digest(&layer.digest).map(|_| ())
    }
}

#[derive(Default)]
struct Found {
    /// Which documents were read, and as what.
    documents: HashSet<(String, Kind)>,
    seen: HashSet<String>,
    layers: Vec<ImageLayer>,
}

impl Found {
    fn add(&mut self, layer: &Descriptor<'_>, manifest: &str, platform: Option<String>) {
        let is_layer = Kind::of(&layer.media_type) == Kind::Layer;
        if is_layer && self.seen.insert(layer.digest.clone()) {
            let (digest, manifest) = (layer.digest.clone(), manifest.to_owned());
            self.layers.push(ImageLayer { digest, manifest, platform });
        }
    }
}

/// The strings of an array, which borrow from the document.
pub(crate) fn strings(
    values: &[&serde_json::value::RawValue],
) -> std::result::Result<Vec<String>, String> {
    values.iter().map(|value| string(value)).collect()
}
