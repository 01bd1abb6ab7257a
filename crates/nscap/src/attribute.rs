// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap set --from-attribute`: entries from a list that `cp`, `tar` or `rsync` has copied out of
//! a mount of nscap's onto a bare file system (F), where nothing honours it.
//!
//! Each entry is decided on for its own rootid, as R7 has it. The list is taken only where no task
//! below this namespace can have written it, and none of its entries becomes a host value.

use std::path::Path;

use nscap_core::{Decision, NsCaps, SetFlags, Stored, Uid, UserNs as _};
use nscap_linux::{FileState, LiveNs, Namespaces};

use crate::change::{Request, Slots};
use crate::failure::{EINVAL, ENODATA, EPERM, Failure};
use crate::out;

/// What is to be written.
pub(crate) fn decide<'o>(
    request: &Request<'_, '_, '_>,
    state: &FileState,
    path: &Path,
    namespaces: &Namespaces,
    room: &'o mut Slots,
) -> Result<Decision<Stored<'o>>, Failure> {
    let no = |problem: &str, errno| Failure::Input {
        what: out::path(path),
        problem: problem.to_owned(),
        errno,
    };
    let Some(list) = state.copied_list() else {
        return Err(no("has no list of entries that was copied from a mount of nscap's", ENODATA));
    };
    if state.mount.trusted != Some(true) {
        let problem = "its file system is, or may be, of a namespace below this one, whose root can \
            write such a list; set each entry with --for";
        return Err(no(problem, EPERM));
    }
    if list.iter().any(|record| is_of_owner(record.rootid(), request, namespaces.own_ns())) {
        let problem =
            "its list has an entry that would be a host value here; set that with --for host";
        return Err(no(problem, EPERM));
    }
    let mut value = vec![0; NsCaps::encoded_len(list.len())];
    NsCaps::encode(list.iter(), &mut value)
        .ok_or_else(|| no("its list has an entry for a root without an id here", EINVAL))?;
    Ok(nscap_core::set_nscapability(request, &value, SetFlags::default(), room))
}

/// Whether an entry with this rootid would be stored as a host value.
fn is_of_owner(rootid: u32, request: &Request<'_, '_, '_>, own: LiveNs<'_>) -> bool {
    let kuid = Uid::new(rootid).and_then(|uid| own.kuid(uid));
    kuid.and_then(|kuid| request.inode.stored_of(kuid)) == Some(Uid::ROOT)
}
