// SPDX-License-Identifier: MIT OR Apache-2.0
//! Users and groups as chown(1) and setpriv(1) take them: a number, or a name of this machine's.

use nscap_linux::{group_id, user_ids};

/// A user.
#[derive(Clone, Copy)]
pub(crate) struct User {
    pub(crate) uid: u32,
    /// The login group of a name; of a number, the same number.
    pub(crate) gid: u32,
}

/// As chown(1), a name before a number.
pub(super) fn user(text: &str) -> Result<User, String> {
    let number = || text.parse().ok().map(|uid| User { uid, gid: uid });
    let named = user_ids(text).map(|(uid, gid)| User { uid, gid });
    named.or_else(number).ok_or_else(|| "neither a uid nor the name of a user here".to_owned())
}

pub(super) fn group(text: &str) -> Result<u32, String> {
    let id = group_id(text).or_else(|| text.parse().ok());
    id.ok_or_else(|| "neither a gid nor the name of a group here".to_owned())
}
