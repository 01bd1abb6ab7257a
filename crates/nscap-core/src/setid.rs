// SPDX-License-Identifier: MIT OR Apache-2.0
//! The set-id bits that a change of content drops.

use crate::Capability;
use crate::cred::Cred;
use crate::id::{Kgid, Kuid};
use crate::ns::UserNs;

const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;
const S_IXGRP: u32 = 0o010;

/// The set-id bits of `mode` that Linux since 6.2 drops when a task changes the content of a
/// regular file (`setattr_should_drop_suidgid`; inode(7)). It drops both, unless the task has
/// CAP_FSETID and its namespace maps the file's `owner` and `group`. If the group may not execute
/// the file, the set-group-ID bit grants nothing, and stays when the task is in the group; `groups`
/// are its supplementary groups.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let (user, root) = (container.user(1000).unwrap(), container.root());
/// let roots = (root.fsuid, root.fsgid);
/// assert_eq!(set_id_dropped(0o6755, roots, &user, &[]), 0o6000);
/// assert_eq!(set_id_dropped(0o2666, roots, &user, &[]), 0o2000);
/// assert_eq!(set_id_dropped(0o2666, roots, &user, &[root.fsgid]), 0);
/// // CAP_FSETID holds for files whose ids the namespace maps.
/// assert_eq!(set_id_dropped(0o6755, (user.fsuid, user.fsgid), &root, &[]), 0);
/// assert_eq!(set_id_dropped(0o6755, (Kuid::ROOT, Kgid::ROOT), &root, &[]), 0o6000);
/// ```
#[must_use]
pub fn set_id_dropped<N: UserNs>(
    mode: u32,
    (owner, group): (Kuid, Kgid),
    cred: &Cred<N>,
    groups: &[Kgid],
) -> u32 {
    let known = cred.ns.uid(owner).is_some() && cred.ns.gid(group).is_some();
    if known && cred.has_cap(Capability::Fsetid) {
        return 0;
    }
    let is_member = cred.fsgid == group || groups.contains(&group);
    let only_marks = mode & S_IXGRP == 0 && is_member;
    mode & (S_ISUID | if only_marks { 0 } else { S_ISGID })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CapSet, Initial};

    #[test]
    fn bits_go_as_in_the_kernel() {
        let (uid, gid) = (Kuid::new(1000).unwrap(), Kgid::new(1001).unwrap());
        let (other_uid, other_gid) = (Kuid::new(5).unwrap(), Kgid::new(6).unwrap());
        let mut cred = Cred::privileged(Initial, uid, gid);
        cred.effective = CapSet::EMPTY;
        let theirs = (other_uid, other_gid);
        for (mode, ids, groups, dropped) in [
            (0o755, theirs, &[][..], 0),
            (0o4755, theirs, &[], 0o4000),
            (0o4644, (uid, gid), &[], 0o4000),
            (0o2755, (uid, gid), &[], 0o2000),
            (0o2745, (uid, gid), &[], 0),
            (0o2745, theirs, &[], 0o2000),
            (0o2745, theirs, &[other_gid], 0),
            (0o6745, theirs, &[other_gid], 0o4000),
        ] {
            assert_eq!(set_id_dropped(mode, ids, &cred, groups), dropped, "{mode:o}");
        }
        cred.effective = CapSet::of(&[Capability::Fsetid]);
        assert_eq!(set_id_dropped(0o6755, theirs, &cred, &[]), 0);
    }
}
