// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the command line names: a file or directory, and a reference in it; and whether a stream looks
//! like an image.

use std::ffi::OsStr;
use std::io::{Cursor, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::layer::codec::{Compression, Whole};
use crate::layer::error::Result;
use crate::layer::format::{BEGINNING, looks_like_an_image};

/// What LAYER of the command line names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageName {
    /// The file or directory.
    pub path: PathBuf,
    /// The reference after the colon.
    pub reference: Option<String>,
}

impl ImageName {
    /// Splits `PATH:REFERENCE` where `PATH` exists and the whole does not.
    ///
    /// ```
    /// use nscap_image::layer::ImageName;
    /// let name = ImageName::of("/bin:latest".as_ref());
    /// assert_eq!((name.path.to_str(), name.reference.as_deref()), (Some("/bin"), Some("latest")));
    /// assert_eq!(ImageName::of("/nonexistent:latest".as_ref()).reference, None);
    /// ```
    #[must_use]
    pub fn of(argument: &OsStr) -> ImageName {
        let bytes = argument.as_bytes();
        let whole = ImageName { path: argument.into(), reference: None };
        if whole.path.exists() {
            return whole;
        }
        // The longest path: a reference may have colons of its own (localhost:5000/image:tag).
        let colons = (0..bytes.len()).rev().filter(|at| bytes[*at] == b':');
        let named = colons.filter(|at| *at > 0).find_map(|colon| {
            let path = PathBuf::from(OsStr::from_bytes(&bytes[..colon]));
            let reference = String::from_utf8_lossy(&bytes[colon + 1..]).into_owned();
            path.exists().then_some(ImageName { path, reference: Some(reference) })
        });
        named.unwrap_or(whole)
    }
}

/// A stream of which the beginning has been looked at, and whether it looks like an image.
///
/// # Errors
/// [`Error::Read`](crate::layer::Error::Read).
///
/// ```
/// use nscap_image::layer::looks_like_image;
/// let (image, _) = looks_like_image(&[0; 1024][..])?;
/// assert!(!image);
/// # Ok::<(), nscap_image::layer::Error>(())
/// ```
pub fn looks_like_image<R: Read>(input: R) -> Result<(bool, Whole<R>)> {
    let mut recorder = Recorder { input, seen: Vec::new() };
    let (compression, whole) = Compression::detect(&mut recorder)?;
    let mut block = Vec::new();
    let begin = compression.reader(whole)?.take(BEGINNING as u64).read_to_end(&mut block);
    // What cannot be uncompressed is told by the reader of the layer.
    let image = begin.is_ok() && looks_like_an_image(&block);
    Ok((image, Cursor::new(recorder.seen).chain(recorder.input)))
}

/// Keeps what passes.
struct Recorder<R> {
    input: R,
    seen: Vec<u8>,
}

impl<R: Read> Read for Recorder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.input.read(buffer)?;
        self.seen.extend_from_slice(&buffer[..got]);
        Ok(got)
    }
}
