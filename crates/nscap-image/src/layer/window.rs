// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stream of which some parts are examined and the rest is copied: one buffer, which is read and
//! written in large pieces.

use std::io::{ErrorKind, Read, Write};

use super::error::{Error, Problem, Result};

/// Large enough that system calls cost little, small enough for a processor's cache.
const CHUNK: usize = 256 << 10;

pub(crate) struct Window<R, W> {
    input: R,
    output: W,
    buffer: Vec<u8>,
    /// `clean..at` has passed and is not yet written; `at..end` is ahead.
    clean: usize,
    at: usize,
    end: usize,
    offset: u64,
}

impl<R: Read, W: Write> Window<R, W> {
    pub(crate) fn new(input: R, output: W) -> Window<R, W> {
        Window { input, output, buffer: vec![0; CHUNK], clean: 0, at: 0, end: 0, offset: 0 }
    }

    /// How many bytes have passed.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// What is ahead, as far as it is here.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.buffer[self.at..self.end]
    }

    /// Brings `count` bytes here; false where the input ends before. `count` is bounded by the
    /// caller: that much memory is taken.
    pub(crate) fn need(&mut self, count: usize) -> Result<bool> {
        while self.end - self.at < count {
            if !self.fill(count)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads once; false at the end of the input.
    fn fill(&mut self, count: usize) -> Result<bool> {
        if self.end == self.buffer.len() || self.at + count > self.buffer.len() {
            self.write_out()?;
            self.buffer.copy_within(self.at..self.end, 0);
            self.end -= self.at;
            (self.clean, self.at) = (0, 0);
            if count > self.buffer.len() {
                self.buffer.resize(count.next_multiple_of(CHUNK), 0);
            }
        }
        let free = &mut self.buffer[self.end..];
        let got = loop {
            match self.input.read(free) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result.map_err(Error::Read)?,
            }
        };
        self.end += got;
        Ok(got > 0)
    }

    fn write_out(&mut self) -> Result<()> {
        self.output.write_all(&self.buffer[self.clean..self.at]).map_err(Error::Write)?;
        self.clean = self.at;
        Ok(())
    }

    /// Lets `count` bytes pass.
    pub(crate) fn pass(&mut self, count: u64) -> Result<()> {
        let mut left = count;
        loop {
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.end - self.at);
            self.at += here;
            self.offset += here as u64;
            left -= here as u64;
            if left == 0 {
                return Ok(());
            }
            if !self.fill(1)? {
                let (offset, problem) = (self.offset, Problem::Truncated);
                return Err(Error::Archive { offset, member: None, problem });
            }
        }
    }

    /// Writes `new` in place of the next `count` bytes, which must be here.
    pub(crate) fn replace(&mut self, count: usize, new: &[u8]) -> Result<()> {
        // Mostly as long as what was there: no reason to write twice.
        if new.len() == count {
            self.buffer[self.at..self.at + count].copy_from_slice(new);
            return self.pass(count as u64);
        }
        self.write_out()?;
        self.output.write_all(new).map_err(Error::Write)?;
        self.at += count;
        self.clean = self.at;
        self.offset += count as u64;
        Ok(())
    }

    /// Writes what has passed, and gives the output back.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.write_out()?;
        self.output.flush().map_err(Error::Write)?;
        Ok(self.output)
    }
}
