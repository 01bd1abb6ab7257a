// SPDX-License-Identifier: MIT OR Apache-2.0
//! The compression of a layer, detected by its first bytes and never by its name or media type.

use std::cell::Cell;
use std::io::{self, Chain, Cursor, Read, Write};
use std::rc::Rc;

use super::error::{Error, Result};

/// A layer's compression.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Compression {
    /// A plain archive.
    None,
    /// gzip, of one member or several.
    Gzip,
    /// Zstandard, of one frame or several.
    Zstd,
    /// xz, of one stream or several.
    Xz,
}

/// The memory that an xz decoder may take, in bytes: 72 MiB. Level 9, xz(1)'s highest, needs 65.
pub const XZ_MEMORY: u64 = 72 << 20;

/// The largest window of a Zstandard frame that is read: 8 MiB. The format requires every decoder
/// to support it, and level 19 uses it.
pub const ZSTD_WINDOW_LOG: u32 = 23;

/// How many times a compressed layer may expand: gzip's limit.
pub const MAX_EXPANSION: u64 = 1032;

/// The size that any compressed layer may expand to, in bytes: 4 GiB. A Zstandard frame can expand
/// 30,000 times; for a layer of some megabytes that takes minutes to read.
pub const ALWAYS_EXPANDS: u64 = 4 << 30;

/// The level of the output: fast, and with the same bytes on every machine.
const ZSTD_LEVEL: i32 = 3;
/// 1 MiB: with the largest window that is read all stays below 16 MiB.
const ZSTD_OUT_WINDOW_LOG: u32 = 20;
const GZIP_LEVEL: u32 = 6;
/// Encodes in 32 MiB.
const XZ_LEVEL: u32 = 3;

impl Compression {
    fn of(magic: &[u8]) -> std::result::Result<Compression, &'static str> {
        match magic {
            [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Ok(Compression::Zstd)
            }
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Ok(Compression::Xz),
            [b'B', b'Z', b'h', ..] => {
                Err("bzip2 is not read; gzip, zstd, xz and plain archives are")
            }
            _ => Ok(Compression::None),
        }
    }

    /// Detects the compression of `input`, and returns the whole input.
    ///
    /// # Errors
    /// [`Error::Read`], also for bzip2, which no image uses.
    ///
    /// ```
    /// use nscap_image::layer::Compression;
    /// let (found, _) = Compression::detect(&[0x1f, 0x8b, 8, 0][..])?;
    /// assert_eq!(found, Compression::Gzip);
    /// # Ok::<(), nscap_image::layer::Error>(())
    /// ```
    pub fn detect<R: Read>(mut input: R) -> Result<(Compression, Whole<R>)> {
        let mut magic = Vec::new();
        input.by_ref().take(6).read_to_end(&mut magic).map_err(Error::Read)?;
        let found = Compression::of(&magic);
        let found =
            found.map_err(|text| Error::Read(io::Error::new(io::ErrorKind::Unsupported, text)))?;
        Ok((found, Cursor::new(magic).chain(input)))
    }

    /// Uncompresses, in bounded memory.
    ///
    /// # Errors
    /// [`Error::Read`] if the decoder cannot be made. Reading fails for malformed input, for a
    /// Zstandard window of more than 2^[`ZSTD_WINDOW_LOG`] bytes, for xz that needs more than
    /// [`XZ_MEMORY`], and once the output is more than
    /// [`ALWAYS_EXPANDS`] and more than [`MAX_EXPANSION`] times the input.
    ///
    /// ```
    /// use std::io::{Read as _, Write as _};
    /// use nscap_image::layer::Compression;
    /// for compression in [Compression::None, Compression::Gzip, Compression::Zstd, Compression::Xz] {
    ///     let mut writer = compression.writer(Vec::new())?;
    ///     writer.write_all(b"layer").unwrap();
    ///     let compressed = writer.finish()?;
    ///     let mut back = Vec::new();
    ///     compression.reader(&compressed[..])?.read_to_end(&mut back).unwrap();
    ///     assert_eq!(back, b"layer");
    /// }
    /// # Ok::<(), nscap_image::layer::Error>(())
    /// ```
    pub fn reader<'r>(self, input: impl Read + 'r) -> Result<Box<dyn Read + 'r>> {
        Ok(match self {
            Compression::None => Box::new(input),
            Compression::Gzip => {
                let (input, read) = Counted::new(input);
                Box::new(Bounded::new(flate2::read::MultiGzDecoder::new(input), read))
            }
            Compression::Zstd => {
                let (input, read) = Counted::new(input);
                let mut decoder = zstd::Decoder::new(input).map_err(Error::Read)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(Error::Read)?;
                Box::new(Bounded::new(decoder, read))
            }
            Compression::Xz => {
                let (input, read) = Counted::new(input);
                let flags = liblzma::stream::CONCATENATED;
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, flags);
                let stream = stream.map_err(|error| Error::Read(error.into()))?;
                Box::new(Bounded::new(liblzma::read::XzDecoder::new_stream(input, stream), read))
            }
        })
    }

    /// Compresses; the same input gives the same output.
    ///
    /// # Errors
    /// [`Error::Write`] where the encoder cannot be made.
    pub fn writer<W: Write>(self, output: W) -> Result<Writer<W>> {
        Ok(Writer(match self {
            Compression::None => Encoder::None(output),
            Compression::Gzip => {
                // No name and no time.
                let level = flate2::Compression::new(GZIP_LEVEL);
                Encoder::Gzip(Even::new(flate2::GzBuilder::new().write(output, level)))
            }
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(output, ZSTD_LEVEL).map_err(Error::Write)?;
                encoder.window_log(ZSTD_OUT_WINDOW_LOG).map_err(Error::Write)?;
                encoder.include_checksum(true).map_err(Error::Write)?;
                Encoder::Zstd(encoder)
            }
            Compression::Xz => {
                let check = liblzma::stream::Check::Crc64;
                let stream = liblzma::stream::Stream::new_easy_encoder(XZ_LEVEL, check);
                let stream = stream.map_err(|error| Error::Write(error.into()))?;
                Encoder::Xz(liblzma::write::XzEncoder::new_stream(output, stream))
            }
        }))
    }
}

/// A reader that counts its bytes.
struct Counted<R> {
    inner: R,
    read: Rc<Cell<u64>>,
}

impl<R> Counted<R> {
    fn new(inner: R) -> (Counted<R>, Rc<Cell<u64>>) {
        let read = Rc::new(Cell::new(0));
        (Counted { inner, read: Rc::clone(&read) }, read)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.read.set(self.read.get() + got as u64);
        Ok(got)
    }
}

/// A decoder that fails once it expands too much.
struct Bounded<D> {
    decoder: D,
    taken: Rc<Cell<u64>>,
    given: u64,
    always: u64,
}

impl<D> Bounded<D> {
    fn new(decoder: D, taken: Rc<Cell<u64>>) -> Bounded<D> {
        Bounded { decoder, taken, given: 0, always: ALWAYS_EXPANDS }
    }
}

impl<D: Read> Read for Bounded<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.decoder.read(buffer)?;
        self.given += got as u64;
        if self.given > self.always && self.given > self.taken.get().saturating_mul(MAX_EXPANSION) {
            let problem = format!(
                "the layer expands to more than 4 GiB and more than {MAX_EXPANSION} times its size"
            );
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
        }
        Ok(got)
    }
}

/// An input whose first bytes were examined.
pub type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

/// A writer that compresses.
pub struct Writer<W: Write>(Encoder<W>);

enum Encoder<W: Write> {
    None(W),
    Gzip(Even<flate2::write::GzEncoder<W>>),
    Zstd(zstd::Encoder<'static, W>),
    Xz(liblzma::write::XzEncoder<W>),
}

impl<W: Write> Writer<W> {
    /// Writes the rest, and returns the output.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn finish(self) -> Result<W> {
        match self.0 {
            Encoder::None(output) => Ok(output),
            Encoder::Gzip(even) => {
                even.into_inner().and_then(|encoder| encoder.finish()).map_err(Error::Write)
            }
            Encoder::Zstd(encoder) => encoder.finish().map_err(Error::Write),
            Encoder::Xz(encoder) => encoder.finish().map_err(Error::Write),
        }
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Encoder::None(output) => output.write(bytes),
            Encoder::Gzip(encoder) => encoder.write(bytes),
            Encoder::Zstd(encoder) => encoder.write(bytes),
            Encoder::Xz(encoder) => encoder.write(bytes),
        }
    }

    /// Does nothing: a compressed stream is flushed at its end only.
    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Encoder::None(output) => output.flush(),
            Encoder::Gzip(_) | Encoder::Zstd(_) | Encoder::Xz(_) => Ok(()),
        }
    }
}

/// Passes on pieces of one size. The output of zlib-rs depends on the pieces of its input, and
/// these would depend on how a pipe was read.
struct Even<W> {
    inner: W,
    piece: Vec<u8>,
}

const PIECE: usize = 64 << 10;

impl<W: Write> Even<W> {
    fn new(inner: W) -> Even<W> {
        Even { inner, piece: Vec::with_capacity(PIECE) }
    }

    fn into_inner(mut self) -> io::Result<W> {
        self.inner.write_all(&self.piece)?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Even<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() == PIECE {
            self.inner.write_all(&self.piece)?;
            self.piece.clear();
        }
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_does_not_depend_on_how_it_is_cut() {
        let data: Vec<u8> =
            (0..300_000u32).map(|n| (n % 1009 * (n % 31) * (n / 700 % 3)) as u8).collect();
        for compression in
            [Compression::None, Compression::Gzip, Compression::Zstd, Compression::Xz]
        {
            let by = |size: usize| {
                let mut writer = compression.writer(Vec::new()).unwrap();
                data.chunks(size).for_each(|piece| writer.write_all(piece).unwrap());
                writer.finish().unwrap()
            };
            let whole = by(data.len());
            assert!([1, 512, 4096, 65_536, 65_537].into_iter().all(|size| by(size) == whole));
        }
    }

    #[test]
    fn what_expands_too_much_is_left() {
        const SIZE: u64 = 8 << 20;
        let mut writer = zstd::Encoder::new(Vec::new(), 3).unwrap();
        io::copy(&mut io::repeat(0).take(SIZE), &mut writer).unwrap();
        let bomb = writer.finish().unwrap();
        let read = |bytes: &[u8], always| {
            let (input, taken) = Counted::new(bytes);
            let decoder = zstd::Decoder::new(input).unwrap();
            io::copy(&mut Bounded { decoder, taken, given: 0, always }, &mut io::sink())
        };
        assert!(bomb.len() < (SIZE / MAX_EXPANSION) as usize, "{}", bomb.len());
        assert_eq!(read(&bomb, SIZE).unwrap(), SIZE);
        let error = read(&bomb, 1 << 20).unwrap_err();
        assert!(error.to_string().contains("more than 1032 times its size"), "{error}");
        let mut writer = Compression::Gzip.writer(Vec::new()).unwrap();
        io::copy(&mut io::repeat(0).take(SIZE), &mut writer).unwrap();
        let dense = writer.finish().unwrap();
        let (input, taken) = Counted::new(&dense[..]);
        let decoder = flate2::read::MultiGzDecoder::new(input);
        let mut bounded = Bounded { decoder, taken, given: 0, always: 1 << 20 };
        assert_eq!(io::copy(&mut bounded, &mut io::sink()).unwrap(), SIZE);
    }

    #[test]
    fn what_is_cut_short_or_has_a_huge_window_is_an_error() {
        for compression in [Compression::Gzip, Compression::Zstd, Compression::Xz] {
            let mut writer = compression.writer(Vec::new()).unwrap();
            writer.write_all(&[7; 100_000]).unwrap();
            let bytes = writer.finish().unwrap();
            let mut reader = compression.reader(&bytes[..bytes.len() - 3]).unwrap();
            assert!(io::copy(&mut reader, &mut io::sink()).is_err());
        }
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&[7; 1000]).unwrap();
        let bytes = encoder.finish().unwrap();
        let mut reader = Compression::Zstd.reader(&bytes[..]).unwrap();
        assert!(io::copy(&mut reader, &mut io::sink()).is_err());
        // A header that asks for a dictionary of 1 GiB.
        let check = liblzma::stream::Check::Crc32;
        let mut bytes = Vec::new();
        let stream = liblzma::stream::Stream::new_easy_encoder(0, check).unwrap();
        let mut writer = liblzma::write::XzEncoder::new_stream(&mut bytes, stream);
        writer.write_all(&[7; 1000]).unwrap();
        writer.finish().unwrap();
        // The block header: size, flags, filter id, size of its properties, then the dictionary.
        assert_eq!(bytes[14..16], [0x21, 1]);
        bytes[16] = 36;
        let crc = crc32fast::hash(&bytes[12..20]).to_le_bytes();
        bytes[20..24].copy_from_slice(&crc);
        let mut reader = Compression::Xz.reader(&bytes[..]).unwrap();
        let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("emory"), "{error}");
    }
}
