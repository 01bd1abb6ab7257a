// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the blobs of an image are: a directory, or an archive.

use std::fs::File;
use std::sync::Arc;

use super::archive::Archive;
use super::blobs::file_name;
use super::dir::Dir;
use super::part::Part;
use crate::layer::error::{Error, Result};

/// The blobs.
pub(crate) enum Store {
    /// Each under the number of its digest, in blobs/sha256 of an OCI layout or in a `dir:` of
    /// skopeo, which has manifests under names of their own.
    Dir(Dir),
    Archive(Archive),
    /// A layer on its own.
    Layer(Arc<File>),
}

/// What names a blob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    Digest(String),
    /// A member of an archive of docker's.
    Member(Vec<u8>),
}

impl Store {
    pub(crate) fn part(&self, key: &Key) -> Result<Part> {
        let shown = || match key {
            Key::Digest(digest) => digest.clone(),
            Key::Member(name) => crate::layer::error::quoted(name),
        };
        let none = || Error::call(shown(), "open", rustix::io::Errno::NOENT.into());
        let part = match (self, key) {
            (Store::Layer(file), _) => {
                let len = file.metadata().map_err(Error::Read)?.len();
                return Ok(Part::of(Arc::clone(file), 0, len));
            }
            (Store::Dir(dir), Key::Digest(digest)) => {
                let name = file_name(digest)?;
                let manifest = format!("{name}.manifest.json");
                let file = if !dir.has(name) && dir.has(&manifest) {
                    dir.file(&manifest)?
                } else {
                    dir.file(name)?
                };
                Some(Part::whole(file).map_err(|error| Error::call(shown(), "fstat", error))?)
            }
            (Store::Dir(_), Key::Member(_)) => None,
            (Store::Archive(archive), Key::Digest(digest)) => archive.part(&member_of(digest)?),
            (Store::Archive(archive), Key::Member(name)) => archive.part(name),
        };
        part.ok_or_else(none)
    }

    pub(crate) fn digest(&self, digest: &str) -> Result<Part> {
        self.part(&Key::Digest(digest.to_owned()))
    }

    pub(crate) fn has(&self, digest: &str) -> Result<bool> {
        let name = file_name(digest)?;
        Ok(match self {
            Store::Dir(dir) => dir.has(name) || dir.has(&format!("{name}.manifest.json")),
            Store::Archive(archive) => archive.has(&member_of(digest)?),
            Store::Layer(_) => false,
        })
    }
}

/// The member that a blob is in an archive.
pub(crate) fn member_of(digest: &str) -> Result<Vec<u8>> {
    Ok(format!("blobs/sha256/{}", file_name(digest)?).into_bytes())
}
