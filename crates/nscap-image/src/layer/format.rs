// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole images in one tar archive. Such an archive is no layer: its layers are members of it, and
//! so their capabilities are not its own. It is told by its members' names.

use super::member::Head;

/// A format of an image in one archive, as containers-transports(5) names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageFormat {
    /// What `docker save` writes: manifest.json beside layers.
    Docker,
    /// An OCI image layout in an archive.
    Oci,
}

impl ImageFormat {
    /// The name of the transport.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ImageFormat::Docker => "docker-archive",
            ImageFormat::Oci => "oci-archive",
        }
    }
}

/// What of such an archive has been seen.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    layout: bool,
    index: bool,
    manifest: bool,
    layer: bool,
}

impl Seen {
    pub(crate) fn member(&mut self, head: &Head<'_>) {
        // Each is a file, or for docker a link to an equal layer.
        if head.is_global() || !matches!(head.header.kind(), b'0' | b'\0' | b'1' | b'2') {
            return;
        }
        let name = head.name();
        let name = name.strip_prefix(b"./").unwrap_or(&name);
        match name {
            b"oci-layout" => self.layout = true,
            b"index.json" => self.index = true,
            b"manifest.json" => self.manifest = true,
            // <id>/layer.tar, <id>.tar, or since Docker 25 a blob.
            _ => self.layer |= name.ends_with(b".tar") || name.starts_with(b"blobs/sha256/"),
        }
    }

    /// Docker 25 and later write both; what was saved by docker is said to be so.
    pub(crate) fn format(self) -> Option<ImageFormat> {
        match self {
            Seen { manifest: true, layer: true, .. } => Some(ImageFormat::Docker),
            Seen { layout: true, index: true, .. } => Some(ImageFormat::Oci),
            _ => None,
        }
    }
}
