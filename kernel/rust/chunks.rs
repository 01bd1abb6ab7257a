// SPDX-License-Identifier: GPL-2.0-only
//! Bytes as arrays of one length. The library has it from Rust 1.88 on; a kernel may have 1.85.

use core::slice::{from_raw_parts, from_raw_parts_mut};

/// The whole arrays at the start of `bytes`, and the bytes after them.
pub(crate) const fn chunks<const N: usize>(bytes: &[u8]) -> (&[[u8; N]], &[u8]) {
    const { assert!(N > 0) }
    let (whole, rest) = bytes.split_at(bytes.len() - bytes.len() % N);
    // SAFETY: an array of bytes is as aligned as a byte, and so many of them are all of `whole`.
    (unsafe { from_raw_parts(whole.as_ptr().cast(), whole.len() / N) }, rest)
}

/// [`chunks`], to be changed.
pub(crate) const fn chunks_mut<const N: usize>(bytes: &mut [u8]) -> (&mut [[u8; N]], &mut [u8]) {
    const { assert!(N > 0) }
    let (whole, rest) = bytes.split_at_mut(bytes.len() - bytes.len() % N);
    // SAFETY: as in `chunks`; nothing else refers to `whole`.
    (unsafe { from_raw_parts_mut(whole.as_mut_ptr().cast(), whole.len() / N) }, rest)
}
