// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole images in one tar archive. Such an archive is no layer: its layers are members of it, and
//! so their capabilities are not its own. It is told by its members' names.

use super::header::{BLOCK, Header};
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

/// How much of an archive's beginning is looked at.
pub(crate) const BEGINNING: usize = 8 * BLOCK;

/// Whether an archive that begins so may be an image: its first member has a name as docker, skopeo,
/// podman and umoci write it. The directory itself, which `tar -C layout -cf image.tar .` has first,
/// tells nothing, and the member after it counts.
pub(crate) fn looks_like_an_image(beginning: &[u8]) -> bool {
    let mut rest = beginning;
    while let Some(block) = rest.get(..BLOCK) {
        let Ok(header) = Header::parse(block) else {
            return false;
        };
        let size = header.size().ok().and_then(|size| usize::try_from(size).ok());
        let name = header.name();
        let name = name.strip_prefix(b"./").unwrap_or(&name);
        let skipped = match header.kind() {
            b'x' | b'g' => size,
            b'5' if name.is_empty() || name == b"." => Some(0),
            _ => return is_of_an_image(name),
        };
        let length = skipped.and_then(|size| size.checked_next_multiple_of(BLOCK));
        let Some(next) = length.and_then(|length| rest.get(BLOCK.saturating_add(length)..)) else {
            return false;
        };
        rest = next;
    }
    false
}

fn is_of_an_image(name: &[u8]) -> bool {
    let is_id = name.get(..64).is_some_and(|id| id.iter().all(u8::is_ascii_hexdigit));
    let known: [&[u8]; 5] =
        [b"blobs/", b"oci-layout", b"index.json", b"manifest.json", b"repositories"];
    is_id || known.iter().any(|known| name.starts_with(known))
}
