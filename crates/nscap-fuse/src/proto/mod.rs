// SPDX-License-Identifier: MIT OR Apache-2.0
//! The FUSE protocol (linux/fuse.h, version 7): requests and replies.
//!
//! This is not a crate from elsewhere: an ordinary user must not be able to end the mount. With
//! fuser 0.18 one can: that crate computes a `SystemTime` from any time in a request, so
//! utimensat(2) with the smallest `tv_sec` panics its thread before the server's code runs (the
//! test `any_time`). fuser also has no TMPFILE and no STATX, so the mount would have no O_TMPFILE
//! and no birth times, and it does not pass on when an ACL drops the set-group-ID bit.
//!
//! Everything is parsed from bytes with checked lengths, without `unsafe`. A malformed request is
//! EIO.

pub(crate) mod abi;
mod reply;
mod request;

pub(crate) use reply::{Lifetimes, Listing, Opens, Reply};
pub(crate) use request::{Arguments, Header, SetAttr, Setting, Writing};
