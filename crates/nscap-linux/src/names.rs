// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names of the attributes, as system calls take them.

use std::ffi::CStr;

/// The host value, one entry, or the companion of a table (Storage).
pub(crate) const CAPABILITY: &CStr = c"security.capability";

/// The table on a real file; the list of R6 where a mount or the kernel decides by the design.
pub(crate) const TABLE: &CStr = c"security.nscapability";

/// `security.nscapability` by the name that an unmodified kernel passes on to a server of nscap
/// from any caller (R7).
pub(crate) const INNER: &CStr = c"system.nscapability";
