// SPDX-License-Identifier: MIT OR Apache-2.0
//! Blobs of a layout: by digest, verified as they are read, written under their digest.

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

use super::json::Descriptor;
use super::store::Store;
use crate::layer::error::{Error, Result};

/// The largest document that is read into memory, in bytes: what the specification asks registries
/// to take.
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// The name of a blob's file: its digest, which must be SHA-256.
pub(crate) fn file_name(digest: &str) -> Result<&str> {
    let hex = digest.strip_prefix("sha256:");
    let is_hex = |hex: &&str| {
        hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    hex.filter(is_hex).ok_or_else(|| {
        let shown = crate::layer::error::quoted(digest.as_bytes());
        Error::image(shown, "not the SHA-256 digest of a blob; other algorithms are not read")
    })
}

/// Counts and hashes what passes.
pub(crate) struct Hashed<T> {
    inner: T,
    hash: Sha256,
    length: u64,
}

impl<T> Hashed<T> {
    pub(crate) fn new(inner: T) -> Hashed<T> {
        Hashed { inner, hash: Sha256::new(), length: 0 }
    }

    fn took(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// The digest and length of what has passed.
    pub(crate) fn finish(self) -> (T, String, u64) {
        (self.inner, digest_of(self.hash), self.length)
    }
}

fn digest_of(hash: Sha256) -> String {
    use std::fmt::Write as _;
    let mut text = "sha256:".to_owned();
    for byte in hash.finalize() {
        // A String takes whatever is written.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The digest of bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    digest_of(Sha256::new_with_prefix(bytes))
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.took(&buffer[..got]);
        Ok(got)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let put = self.inner.write(bytes)?;
        self.took(&bytes[..put]);
        Ok(put)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Hashed<R> {
    /// Reads to the end, and compares with what the blob should be.
    pub(crate) fn verify(self, descriptor: &Descriptor<'_>) -> Result<R> {
        let (inner, length) = self.verify_digest(&descriptor.digest)?;
        if length != descriptor.size {
            let problem = format!("the blob has {length} bytes: the image is damaged");
            return Err(Error::image(&descriptor.digest, problem));
        }
        Ok(inner)
    }

    /// The same where the length is not known.
    pub(crate) fn verify_digest(mut self, digest: &str) -> Result<(R, u64)> {
        let mut rest = [0; 8192];
        while self.read(&mut rest).map_err(Error::Read)? > 0 {}
        let (inner, found, length) = self.finish();
        if found != digest {
            let problem = format!("the blob is {found}: the image is damaged");
            return Err(Error::image(digest, problem));
        }
        Ok((inner, length))
    }
}

/// A document, verified.
pub(crate) fn document(blobs: &Store, descriptor: &Descriptor<'_>) -> Result<String> {
    let text = text(blobs.digest(&descriptor.digest)?, &descriptor.digest)?;
    Hashed::new(text.as_bytes()).verify(descriptor)?;
    Ok(text)
}

/// A whole small file.
pub(crate) fn text(file: impl Read, what: &str) -> Result<String> {
    let mut text = String::new();
    file.take(MAX_DOCUMENT + 1)
        .read_to_string(&mut text)
        .map_err(|error| Error::call(what, "read", error))?;
    if text.len() as u64 > MAX_DOCUMENT {
        return Err(Error::image(what, "a document of more than 4 MiB"));
    }
    Ok(text)
}
