// SPDX-License-Identifier: MIT OR Apache-2.0
//! W: what overlayfs may leave out when it copies a file up.

use crate::decision::Errno;

/// EDQUOT and E2BIG, which no rule of ours answers with.
const OF_THE_FILE_SYSTEM: [i32; 2] = [7, 122];

/// Whether a grant that a copy-up could not make on the copy is left out without a word, for this
/// positive errno. An error would fail the whole copy-up, and with it the chmod or the open that
/// needs it. Left out is what the mounter could not have written, and what the upper file system
/// cannot hold. Everything else fails the copy-up: it says nothing about the grant.
///
/// ```
/// use nscap_core::{Errno, left_behind};
/// assert!(left_behind(Errno::EPERM.raw()) && left_behind(Errno::ENOSPC.raw()));
/// // EIO, EINTR: whether the grant could be kept is not known.
/// assert!(!left_behind(5) && !left_behind(4));
/// ```
#[must_use]
pub fn left_behind(errno: i32) -> bool {
    [Errno::EPERM, Errno::EBUSY, Errno::EINVAL, Errno::ENOSPC, Errno::ERANGE, Errno::EOPNOTSUPP]
        .iter()
        .any(|known| known.raw() == errno)
        || OF_THE_FILE_SYSTEM.contains(&errno)
}
