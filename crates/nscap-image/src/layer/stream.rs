// SPDX-License-Identifier: MIT OR Apache-2.0
//! A layer on its own, however it is compressed.

use std::io::{self, Read, Seek, SeekFrom, Write};

use super::codec::Compression;
use super::error::{Error, Result};
use super::map::{Change, Changed, Hear, map};
use super::window::Window;

/// Copies a layer with a change, from a stream that is read once. A compressed layer is compressed
/// again: with the same bytes each time, but seldom those of the input.
///
/// # Errors
/// As [`map`](super::map()); output before the error has been written.
///
/// ```
/// # use nscap_core::{Extent, IdMap, translate::Translation};
/// use std::io::{Read as _, Write as _};
/// use nscap_image::layer::{self, Change, Compression};
/// # let all = [Extent { inside: 0, outside: 0, count: 1 }];
/// # let all = IdMap::from_sorted(&all, &all);
/// # let uids = Translation { from: all, to: all, drop_unmapped: false };
/// let mut layer = Compression::Gzip.writer(Vec::new())?;
/// layer.write_all(&[0; 1024]).unwrap();
/// let (layer, mut out) = (layer.finish()?, Vec::new());
/// layer::map_stream(&layer[..], &mut out, &Change { uids, gids: None }, &mut |_| Ok(()))?;
/// let mut plain = Vec::new();
/// Compression::Gzip.reader(&out[..])?.read_to_end(&mut plain).unwrap();
/// assert_eq!(plain, [0; 1024]);
/// # Ok::<(), layer::Error>(())
/// ```
pub fn map_stream(
    input: impl Read,
    output: impl Write,
    change: &Change<'_>,
    hear: &mut Hear<'_>,
) -> Result<Changed> {
    let (compression, whole) = Compression::detect(input)?;
    if compression == Compression::None {
        return map(whole, output, change, hear);
    }
    let mut writer = compression.writer(output)?;
    let changed = map(compression.reader(whole)?, &mut writer, change, hear)?;
    writer.finish()?.flush().map_err(Error::Write)?;
    Ok(changed)
}

/// Copies a layer as `each` copies it uncompressed, and compresses it as it was.
pub(crate) fn rewrite(
    input: impl Read,
    output: impl Write,
    each: impl FnOnce(&mut dyn Read, &mut dyn Write) -> Result<()>,
) -> Result<()> {
    let (compression, whole) = Compression::detect(input)?;
    let mut writer = compression.writer(output)?;
    each(&mut compression.reader(whole)?, &mut writer)?;
    writer.finish()?.flush().map_err(Error::Write)
}

/// Copies a layer, changed, from a file: looked at first, so that nothing is written where the rule
/// or the archive says no, and that the compressed bytes are the same where nothing changes.
/// Reading begins at the position of the file. Of an archive that is an image nothing is written.
///
/// # Errors
/// As [`map`](super::map()). Only [`Error::Read`] and [`Error::Write`] come after the first output,
/// if the file stays the same meanwhile.
///
/// ```
/// # use nscap_core::{Extent, IdMap, translate::Translation};
/// use std::io::{Cursor, Write as _};
/// use nscap_image::layer::{self, Change, Compression};
/// # let all = [Extent { inside: 0, outside: 0, count: 1 }];
/// # let all = IdMap::from_sorted(&all, &all);
/// # let uids = Translation { from: all, to: all, drop_unmapped: false };
/// let mut layer = Compression::Zstd.writer(Vec::new())?;
/// layer.write_all(&[0; 1024]).unwrap();
/// let (layer, mut out) = (layer.finish()?, Vec::new());
/// let change = Change { uids, gids: None };
/// layer::map_file(Cursor::new(&layer), &mut out, &change, &mut |_| Ok(()))?;
/// assert_eq!(out, layer);
/// # Ok::<(), layer::Error>(())
/// ```
pub fn map_file(
    mut input: impl Read + Seek,
    output: impl Write,
    change: &Change<'_>,
    hear: &mut Hear<'_>,
) -> Result<Changed> {
    let begin = input.stream_position().map_err(Error::Read)?;
    let (compression, whole) = Compression::detect(&mut input)?;
    let changed = map(compression.reader(whole)?, io::sink(), change, hear)?;
    if changed.image.is_some() {
        return Ok(changed);
    }
    input.seek(SeekFrom::Start(begin)).map_err(Error::Read)?;
    if changed.any() {
        return map_stream(input, output, change, &mut |_| Ok(()));
    }
    let mut window = Window::new(input, output);
    while window.need(1)? {
        window.pass(window.ahead().len() as u64)?;
    }
    window.finish().map(|_| changed)
}
