// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's side of FUSE (linux/fuse.h, version 7): what a request says, what a reply is.
//!
//! Written here and not taken from a crate, since an ordinary user of the mount must not be able to
//! end it, and with fuser 0.18 one can: it computes `SystemTime` from any time in a request, so
//! that utimensat(2) with the smallest `tv_sec` panics its worker thread, before any code of ours
//! runs (the test `any_time` plays it). It knows no TMPFILE and no STATX either, so that the
//! mount would have no O_TMPFILE and no birth times, and does not tell when an access control list is to
//! take the set-group-ID bit away.
//!
//! Everything is parsed from bytes with checked lengths, without `unsafe`; a request that makes no
//! sense is EIO.

pub(crate) mod abi;
mod reply;
mod request;

pub(crate) use reply::{Lifetimes, Listing, Opens, Reply};
pub(crate) use request::{Arguments, Header, SetAttr, Setting, Writing};
