// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opens an image in any of its forms: an OCI image layout as a directory or in an archive, what
//! `docker save` writes, old or new, and a `dir:` of skopeo. What is in it, `images` says.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek as _};
use std::path::{Path, PathBuf};

use nscap_linux::Quotable as _;

use super::archive::Archive;
use super::blobs::text;
use super::dir::Dir;
use super::json::{Descriptor, Object};
use super::named::ImageName;
use super::store::{Key, Store};
use crate::layer::error::{Error, Result};
use crate::layer::format::ImageFormat;

/// How deep indexes may be nested.
pub(crate) const MAX_DEPTH: usize = 8;

/// An image, or one reference or platform of it.
pub struct Layout {
    pub(crate) store: Store,
    /// Of an image that is a directory, that directory.
    pub(crate) dir: Option<Dir>,
    pub(crate) root: Root,
    pub(crate) reference: Option<String>,
    pub(crate) platform: Option<String>,
    pub(crate) shown: String,
    /// By which it was opened.
    pub(crate) path: Option<PathBuf>,
}

/// The document that names all others.
pub(crate) enum Root {
    /// index.json, and the manifest.json that Docker 25 and later write beside it.
    Index(String, Option<String>),
    /// manifest.json of a `dir:`, which is a manifest or an index itself.
    Manifest(String),
    /// manifest.json of `docker save` before Docker 25, skopeo and podman: a list of images.
    Docker(String),
}

impl Root {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Root::Index(..) => "index.json",
            Root::Manifest(_) | Root::Docker(_) => "manifest.json",
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Root::Index(text, _) | Root::Manifest(text) | Root::Docker(text) => text,
        }
    }
}

/// A layer of an image in a layout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageLayer {
    /// The digest of the blob; in an archive of docker's without blobs, that of the layer itself.
    pub digest: String,
    /// The digest of the first manifest that names it; of docker's archive that of the configuration.
    pub manifest: String,
    /// `os/architecture[/variant]`, if an index says so.
    pub platform: Option<String>,
    pub(crate) key: Key,
    pub(crate) size: Option<u64>,
}

/// One image: the layers of one manifest, the lowest first.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of its manifest, or in docker's archive of its configuration.
    pub manifest: String,
    /// `os/architecture[/variant]`, if an index or its configuration says so.
    pub platform: Option<String>,
    /// Its layers.
    pub layers: Vec<ImageLayer>,
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

/// What an archive is.
pub enum Opened {
    /// An image.
    Image(Box<Layout>),
    /// No image, although it began like one: a layer, uncompressed.
    Layer(File),
}

impl Layout {
    /// Opens a directory `DIR`, or `DIR:REFERENCE`; `None` if neither is a directory.
    ///
    /// # Errors
    /// [`Error::Image`] where the directory is no image, or has no such reference;
    /// [`Error::Call`].
    ///
    /// ```
    /// use nscap_image::layer::Layout;
    /// let dir = tempfile::tempdir().unwrap();
    /// assert!(Layout::find(dir.path().as_os_str()).is_err());
    /// assert!(Layout::find("/nonexistent:latest".as_ref()).unwrap().is_none());
    /// ```
    pub fn find(argument: &OsStr) -> Result<Option<Layout>> {
        let name = ImageName::of(argument);
        if !name.path.is_dir() {
            return Ok(None);
        }
        Layout::in_dir(&name).and_then(Layout::selected).map(Some)
    }

    fn in_dir(name: &ImageName) -> Result<Layout> {
        let dir = Dir::open(&name.path)?;
        let shown = name.path.maybe_quote().to_string();
        let skopeo = !dir.has("oci-layout") && dir.has("manifest.json") && dir.has("version");
        let (store, root) = if skopeo {
            let manifest = text(dir.file("manifest.json")?, "manifest.json")?;
            (Store::Dir(Dir::open(&name.path)?), Root::Manifest(manifest))
        } else {
            let version = text(dir.file("oci-layout")?, "oci-layout")?;
            check_version(&version, &shown)?;
            let index = text(dir.file("index.json")?, "index.json")?;
            let docker = dir.has("manifest.json");
            let docker = docker.then(|| text(dir.file("manifest.json")?, "manifest.json"));
            let blobs = dir.sub("blobs")?.sub("sha256")?;
            (Store::Dir(blobs), Root::Index(index, docker.transpose()?))
        };
        Ok(Layout {
            store,
            dir: Some(dir),
            root,
            reference: name.reference.clone(),
            platform: None,
            shown,
            path: Some(name.path.clone()),
        })
    }

    /// An image in an archive, which is read from its beginning. A plain `file` is read where it is, a
    /// compressed one and a pipe are written to a temporary file first.
    ///
    /// # Errors
    /// [`Error::Image`] where the image has no such reference; [`Error::Archive`], [`Error::Read`]
    /// and [`Error::Call`].
    pub fn in_archive(input: impl Read, file: Option<File>, name: &ImageName) -> Result<Opened> {
        let shown = name.path.maybe_quote().to_string();
        let plain = file.map(|mut file| file.rewind().map(|()| file)).transpose();
        let archive = Archive::open(input, plain.map_err(Error::Read)?)?;
        let document = |member: &str| -> Result<Option<String>> {
            archive.part(member.as_bytes()).map(|part| text(part, member)).transpose()
        };
        let manifest = document("manifest.json")?;
        let root = match (document("oci-layout")?, document("index.json")?, manifest) {
            (Some(version), Some(index), manifest) => {
                check_version(&version, &shown)?;
                Root::Index(index, manifest)
            }
            (_, _, Some(manifest)) => Root::Docker(manifest),
            _ => return archive.into_file().map(Opened::Layer),
        };
        let layout = Layout {
            store: Store::Archive(archive),
            dir: None,
            root,
            reference: name.reference.clone(),
            platform: None,
            shown,
            path: Some(name.path.clone()),
        };
        layout.selected().map(|layout| Opened::Image(Box::new(layout)))
    }

    /// A layer on its own, as an image that has nothing else. The file must be regular.
    #[must_use]
    pub fn alone(file: File) -> Layout {
        Layout {
            store: Store::Layer(file.into()),
            dir: None,
            root: Root::Docker("[]".to_owned()),
            reference: None,
            platform: None,
            shown: "the layer".to_owned(),
            path: None,
        }
    }

    /// The images of one platform, `os/architecture` or `os/architecture/variant`, alone.
    ///
    /// # Errors
    /// [`Error::Image`] where there is none.
    pub fn with_platform(self, platform: Option<&str>) -> Result<Layout> {
        let layout = Layout { platform: platform.map(str::to_owned), ..self };
        if let (Some(platform), true) = (platform, layout.images()?.is_empty()) {
            let problem = format!("there is no image of the platform {platform}");
            return Err(Error::image(layout.shown, problem));
        }
        Ok(layout)
    }

    /// What kind of image it is, for people.
    #[must_use]
    pub fn format(&self) -> &'static str {
        match (&self.root, &self.store) {
            (_, Store::Layer(_)) => "a layer",
            (Root::Index(_, Some(_)), Store::Archive(_)) | (Root::Docker(_), _) => {
                ImageFormat::Docker.name()
            }
            (Root::Index(..), Store::Archive(_)) => ImageFormat::Oci.name(),
            (Root::Index(..), _) => "oci",
            (Root::Manifest(_), _) => "dir",
        }
    }

    fn selected(self) -> Result<Layout> {
        if self.reference.is_none() {
            return Ok(self);
        }
        let any = match &self.root {
            Root::Index(index, _) => {
                let entries = Object::parse(index).and_then(|index| index.array("manifests"));
                let mut any = false;
                for value in within("index.json", entries)? {
                    any |= self.selects(&within("index.json", Descriptor::parse(value))?)?;
                }
                any
            }
            // A directory of skopeo's has one image, without a name.
            Root::Manifest(_) => false,
            Root::Docker(_) => !self.images()?.is_empty(),
        };
        match any {
            true => Ok(self),
            false => Err(Error::image(self.shown, "there is no image of that reference")),
        }
    }

    /// Whether an entry of index.json is what was asked for.
    pub(crate) fn selects(&self, descriptor: &Descriptor<'_>) -> Result<bool> {
        let Some(reference) = &self.reference else {
            return Ok(true);
        };
        // The second is Docker's, with the whole name.
        let names = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];
        for name in names {
            let found = within("index.json", descriptor.annotation(name))?;
            if found.is_some_and(|found| names_image(&found, reference)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether an image of this platform is what was asked for.
    pub(crate) fn fits(&self, platform: Option<&str>) -> bool {
        match (&self.platform, platform) {
            (None, _) => true,
            (Some(asked), Some(found)) => {
                found == asked
                    || found.strip_prefix(asked).is_some_and(|rest| rest.starts_with('/'))
            }
            (Some(_), None) => false,
        }
    }
}

/// Whether a name that an image has is the one that was asked for: in full, without docker's own
/// registry, or the tag alone.
pub(crate) fn names_image(name: &str, asked: &str) -> bool {
    let short = name.strip_prefix("docker.io/").unwrap_or(name);
    let short = short.strip_prefix("library/").unwrap_or(short);
    let tag = name.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/'));
    name == asked || short == asked || tag == Some(asked)
}

fn check_version(document: &str, shown: &str) -> Result<()> {
    let version = Object::parse(document).and_then(|v| v.text("imageLayoutVersion"));
    match within("oci-layout", version)?.as_deref() {
        Some("1.0.0") => Ok(()),
        _ => Err(Error::image(shown, "not an image layout of version 1.0.0")),
    }
}

/// The path of an image that is changed where it is.
pub(crate) fn own_path(layout: &Layout) -> Result<&Path> {
    let none = || Error::image(&layout.shown, "has no name, so it cannot be changed in place");
    layout.path.as_deref().ok_or_else(none)
}
