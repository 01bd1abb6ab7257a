// SPDX-License-Identifier: MIT OR Apache-2.0
//! A part of a stream, copied while the whole passes.

use std::io::{self, Write};
use std::ops::Range;

use super::error::{Error, Problem, Result};

/// Passes on the bytes of a range.
pub(crate) struct Tap<W> {
    range: Range<u64>,
    at: u64,
    output: W,
}

impl<W: Write> Tap<W> {
    pub(crate) fn new(range: Range<u64>, output: W) -> Tap<W> {
        Tap { range, at: 0, output }
    }

    /// The output, once the range has passed whole.
    pub(crate) fn finish(self) -> Result<W> {
        match self.at >= self.range.end {
            true => Ok(self.output),
            false => {
                Err(Error::Archive { offset: self.at, member: None, problem: Problem::Truncated })
            }
        }
    }
}

impl<W: Write> Write for Tap<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let inside = |at: u64| usize::try_from(at.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let (from, to) = (inside(self.range.start), inside(self.range.end));
        if let Some(part) = bytes.get(from..to.min(bytes.len())) {
            self.output.write_all(part)?;
        }
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_passes_however_it_is_cut() {
        let all: Vec<u8> = (0..100).collect();
        for size in [1, 7, 99, 100] {
            let mut tap = Tap::new(10..20, Vec::new());
            all.chunks(size).for_each(|piece| tap.write_all(piece).unwrap());
            assert_eq!(tap.finish().unwrap(), all[10..20], "{size}");
        }
        let mut tap = Tap::new(10..101, Vec::new());
        tap.write_all(&all).unwrap();
        assert!(tap.finish().is_err());
    }
}
