// SPDX-License-Identifier: MIT OR Apache-2.0
//! Records in a file, each with its length before it and a checksum after it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FlockOperation, flock};

use super::record::Entry;

const MAGIC: &[u8; 16] = b"nscap-shift 1\n\0\0";
/// No record is longer: the largest attribute has 65,536 bytes.
const RECORD_MAX: usize = 1 << 20;

/// A file that is locked until this is dropped, also if a process that was forked meanwhile shares
/// the descriptor.
#[derive(Debug)]
pub(crate) struct Locked(pub(crate) File);

impl Drop for Locked {
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Writes records.
pub(crate) struct Writer {
    out: BufWriter<Locked>,
    offset: u64,
    record: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(mut file: Locked) -> io::Result<Writer> {
        file.0.set_len(0)?;
        file.0.seek(SeekFrom::Start(0))?;
        let mut out = BufWriter::with_capacity(1 << 18, file);
        out.write_all(MAGIC)?;
        Ok(Writer { out, offset: MAGIC.len() as u64, record: Vec::new() })
    }

    pub(crate) fn put(&mut self, entry: &Entry) -> io::Result<()> {
        let framed = frame(entry, self.offset, &mut self.record)?;
        self.out.write_all(framed)?;
        self.offset += framed.len() as u64;
        Ok(())
    }

    pub(crate) fn finish(self) -> io::Result<(Locked, u64)> {
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.0.sync_all()?;
        Ok((file, self.offset))
    }
}

impl io::Write for Locked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Length, record, and a checksum of its offset, its length and itself.
pub(crate) fn frame<'b>(
    entry: &Entry,
    offset: u64,
    buffer: &'b mut Vec<u8>,
) -> io::Result<&'b [u8]> {
    buffer.clear();
    buffer.extend([0; 4]);
    entry.encode(buffer);
    let length = buffer.len() - 4;
    if length > RECORD_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    buffer[..4].copy_from_slice(&(length as u32).to_le_bytes());
    let sum = checksum(offset, buffer);
    buffer.extend(sum.to_le_bytes());
    Ok(buffer)
}

fn checksum(offset: u64, framed: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&offset.to_le_bytes());
    hasher.update(framed);
    hasher.finalize()
}

/// Reads a file from an offset, without the position that descriptors share.
struct At<'f> {
    file: &'f File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Reads records.
pub(crate) struct Reader<'f> {
    input: BufReader<At<'f>>,
    /// Where the next one begins.
    pub(crate) offset: u64,
    record: Vec<u8>,
}

impl<'f> Reader<'f> {
    /// `None` if the file does not begin as a journal does.
    pub(crate) fn new(file: &'f File) -> io::Result<Option<Reader<'f>>> {
        let mut input = BufReader::with_capacity(1 << 18, At { file, at: 0 });
        let mut magic = [0; MAGIC.len()];
        match input.read_exact(&mut magic) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let offset = MAGIC.len() as u64;
        Ok((&magic == MAGIC).then(|| Reader { input, offset, record: Vec::new() }))
    }

    /// The next record; `None` at the end, or if the following bytes are not a record.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        match self.read() {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            read => read,
        }
    }

    fn read(&mut self) -> io::Result<Option<Entry>> {
        let mut word = [0; 4];
        self.input.read_exact(&mut word)?;
        let length = u32::from_le_bytes(word) as usize;
        if length > RECORD_MAX {
            return Ok(None);
        }
        self.record.clear();
        self.record.extend(word);
        self.record.resize(4 + length, 0);
        self.input.read_exact(&mut self.record[4..])?;
        self.input.read_exact(&mut word)?;
        if u32::from_le_bytes(word) != checksum(self.offset, &self.record) {
            return Ok(None);
        }
        let entry = Entry::decode(&self.record[4..]);
        if entry.is_some() {
            self.offset += length as u64 + 8;
        }
        Ok(entry)
    }
}
