// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file of an image: one of its own, or a member of an archive. It is read by its place in the
//! file, so several readers share one descriptor.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// A range of a file.
#[derive(Clone)]
pub(crate) struct Part {
    file: Arc<File>,
    start: u64,
    len: u64,
    at: u64,
}

impl Part {
    pub(crate) fn of(file: Arc<File>, start: u64, len: u64) -> Part {
        Part { file, start, len, at: 0 }
    }

    /// A whole file, as long as it is now.
    pub(crate) fn whole(file: File) -> io::Result<Part> {
        let len = file.metadata()?.len();
        Ok(Part::of(Arc::new(file), 0, len))
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
        let room = buffer.len().min(left);
        let got = self.file.read_at(&mut buffer[..room], self.start + self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}
