// SPDX-License-Identifier: MIT OR Apache-2.0
//! The flags of a write, which every rule about writing takes.

/// The flags of setxattr(2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SetFlags {
    /// `XATTR_CREATE`.
    pub create: bool,
    /// `XATTR_REPLACE`.
    pub replace: bool,
}
