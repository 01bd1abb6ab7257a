// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as arrays of one length. A kernel's Rust may be older than the library function for it,
//! and has `kernel/rust/chunks.rs` in place of this file; the rest of the rules is the same there.

/// The whole arrays at the start of `bytes`, and the bytes after them.
pub(crate) const fn chunks<const N: usize>(bytes: &[u8]) -> (&[[u8; N]], &[u8]) {
    bytes.as_chunks()
}

/// [`chunks`], to be changed.
pub(crate) const fn chunks_mut<const N: usize>(bytes: &mut [u8]) -> (&mut [[u8; N]], &mut [u8]) {
    bytes.as_chunks_mut()
}
