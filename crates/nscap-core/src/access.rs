// SPDX-License-Identifier: MIT OR Apache-2.0
//! X: whether a task may search a directory or execute a file: mode bits, access control list, and
//! the capabilities that override both (path_resolution(7), "Permissions"; acl(5), "Access check
//! algorithm"; `generic_permission`).

use crate::cap::Capability;
use crate::decision::{Denied, Errno, Why};
use crate::id::{Kgid, Kuid};
use crate::inode_view::InodeView;
use crate::ns::UserNs;
use crate::program::{Program, Task};

/// Execute a file, search a directory.
const EXECUTE: u32 = 0o1;
const READ: u32 = 0o4;
/// The bits of the group; with an access control list, its mask. If none of them is set, the kernel
/// does not look at the list.
const GROUP_BITS: u32 = 0o070;

/// The task that an entry of an access control list is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AclTag {
    /// The owner.
    Owner,
    /// This user; `None` for one without a valid id.
    User(Option<Kuid>),
    /// The owning group.
    OwningGroup,
    /// This group; `None` for one without a valid id.
    Group(Option<Kgid>),
    /// The most that named users and groups get.
    Mask,
    /// Every other task.
    Other,
}

/// An entry of an access control list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AclEntry {
    /// The task that it is about.
    pub tag: AclTag,
    /// 4 read, 2 write, 1 execute or search.
    pub permissions: u32,
}

/// Whether `task` may search a directory with this mode and access control list (empty: none).
///
/// # Errors
/// EACCES.
///
/// ```
/// # use nscap_core::*;
/// # let [root, user] = [0, 1000].map(|id| Kuid::new(id).unwrap());
/// # let [zero, group] = [0, 1000].map(|id| Kgid::new(id).unwrap());
/// let task = Task::of(Cred::ordinary(Initial, user, group));
/// let inode = InodeView::plain(Initial, root, zero);
/// assert!(check_searchable(&task, &inode, 0o711, &[]).is_ok());
/// assert_eq!(check_searchable(&task, &inode, 0o700, &[]).unwrap_err().errno, Errno::EACCES);
/// let entry = |tag, permissions| AclEntry { tag, permissions };
/// let acl = [
///     entry(AclTag::Owner, 7), entry(AclTag::User(Some(user)), 1), entry(AclTag::OwningGroup, 0),
///     entry(AclTag::Mask, 1), entry(AclTag::Other, 0),
/// ];
/// assert!(check_searchable(&task, &inode, 0o710, &acl).is_ok());
/// ```
pub fn check_searchable<N: UserNs>(
    task: &Task<'_, N>,
    inode: &InodeView<N>,
    mode: u32,
    acl: &[AclEntry],
) -> Result<(), Denied> {
    let overriding = [Capability::DacReadSearch, Capability::DacOverride];
    if allows(EXECUTE, task, inode, mode, acl)
        || overriding.iter().any(|cap| overrides(task, inode, *cap))
    {
        Ok(())
    } else {
        Err(Denied::new(Errno::EACCES, Why::NotSearchable))
    }
}

/// Whether a mode and an access control list (empty: none) let `task` execute a file, capabilities
/// aside: what [`Program::by_acl`] holds.
///
/// ```
/// # use nscap_core::*;
/// # let user = Kuid::new(1000).unwrap();
/// # let group = Kgid::new(1000).unwrap();
/// let task = Task::of(Cred::ordinary(Initial, user, group));
/// let inode = InodeView::plain(Initial, user, group);
/// assert!(permits(&task, &inode, 0o100, &[]) && !permits(&task, &inode, 0o011, &[]));
/// ```
pub fn permits<N: UserNs>(
    task: &Task<'_, N>,
    inode: &InodeView<N>,
    mode: u32,
    acl: &[AclEntry],
) -> bool {
    allows(EXECUTE, task, inode, mode, acl)
}

/// Whether `task` may read a file with this mode and access control list (empty: none), as the
/// interpreter of a script must.
///
/// ```
/// # use nscap_core::*;
/// # let [root, user] = [0, 1000].map(|id| Kuid::new(id).unwrap());
/// # let [zero, group] = [0, 1000].map(|id| Kgid::new(id).unwrap());
/// let task = Task::of(Cred::ordinary(Initial, user, group));
/// let inode = InodeView::plain(Initial, root, zero);
/// assert!(may_read(&task, &inode, 0o755, &[]) && !may_read(&task, &inode, 0o711, &[]));
/// ```
pub fn may_read<N: UserNs>(
    task: &Task<'_, N>,
    inode: &InodeView<N>,
    mode: u32,
    acl: &[AclEntry],
) -> bool {
    let overriding = [Capability::DacReadSearch, Capability::DacOverride];
    allows(READ, task, inode, mode, acl)
        || overriding.iter().any(|cap| overrides(task, inode, *cap))
}

fn allows<N: UserNs>(
    want: u32,
    task: &Task<'_, N>,
    inode: &InodeView<N>,
    mode: u32,
    acl: &[AclEntry],
) -> bool {
    if inode.owner == Some(task.cred.fsuid) {
        return (mode >> 6) & want != 0;
    }
    if !acl.is_empty() && mode & GROUP_BITS != 0 {
        return list_allows(want, task, inode, acl);
    }
    let member = inode.group.is_some_and(|group| task.in_group(group));
    let class = if member { mode >> 3 } else { mode };
    class & want != 0
}

/// `posix_acl_permission`, for a task that is not the owner. One group that permits is enough,
/// although another does not.
fn list_allows<N: UserNs>(
    want: u32,
    task: &Task<'_, N>,
    inode: &InodeView<N>,
    acl: &[AclEntry],
) -> bool {
    let permits = |entry: &AclEntry| entry.permissions & want != 0;
    let mask = acl.iter().find(|entry| entry.tag == AclTag::Mask).is_none_or(permits);
    let user = |entry: &&AclEntry| entry.tag == AclTag::User(Some(task.cred.fsuid));
    if let Some(entry) = acl.iter().find(user) {
        return permits(entry) && mask;
    }
    let mut member = false;
    for entry in acl {
        let group = match entry.tag {
            AclTag::OwningGroup => inode.group,
            AclTag::Group(group) => group,
            _ => None,
        };
        if group.is_some_and(|group| task.in_group(group)) {
            member = true;
            if permits(entry) {
                return mask;
            }
        }
    }
    !member && acl.iter().any(|entry| entry.tag == AclTag::Other && permits(entry))
}

/// `capable_wrt_inode_uidgid`.
fn overrides<N: UserNs>(task: &Task<'_, N>, inode: &InodeView<N>, cap: Capability) -> bool {
    let ns = task.cred.ns;
    let maps = inode.owner.and_then(|id| ns.uid(id)).is_some()
        && inode.group.and_then(|id| ns.gid(id)).is_some();
    maps && task.cred.has_cap(cap)
}

/// noexec, and execute permission: what execve(2) checks for each file that it opens.
///
/// # Errors
/// EACCES.
///
/// ```
/// # use nscap_core::*;
/// # let [root, user] = [0, 1000].map(|id| Kuid::new(id).unwrap());
/// # let [zero, group] = [0, 1000].map(|id| Kgid::new(id).unwrap());
/// let task = Task::of(Cred::ordinary(Initial, user, group));
/// let inode = InodeView::plain(Initial, root, zero);
/// assert!(check_executable(&task, &Program::plain(inode, 0o755)).is_ok());
/// let noexec = Program { noexec: true, ..Program::plain(inode, 0o755) };
/// assert_eq!(check_executable(&task, &noexec).unwrap_err().why, Why::NoExec);
/// ```
pub fn check_executable<N: UserNs>(task: &Task<'_, N>, program: &Program<N>) -> Result<(), Denied> {
    if program.noexec {
        return Err(Denied::new(Errno::EACCES, Why::NoExec));
    }
    let Program { inode, mode, .. } = program;
    let permitted = program.by_acl.unwrap_or_else(|| permits(task, inode, *mode, &[]));
    let overridden = mode & 0o111 != 0 && overrides(task, inode, Capability::DacOverride);
    if permitted || overridden {
        Ok(())
    } else {
        Err(Denied::new(Errno::EACCES, Why::NotExecutable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{kgid, kuid};
    use crate::{Cred, Initial};

    const fn entry(tag: AclTag, permissions: u32) -> AclEntry {
        AclEntry { tag, permissions }
    }

    #[test]
    fn x_a_list_permits_as_acl_5_says() {
        let user = Cred::ordinary(Initial, kuid(7), kgid(7));
        let inode = InodeView::plain(Initial, kuid(0), kgid(5));
        let groups = [kgid(5), kgid(6)];
        let alone = Task::of(user);
        let member = Task { groups: &groups, ..alone };
        let list = |named: AclEntry, owning: u32, mask: u32, other: u32| {
            [
                entry(AclTag::Owner, 7),
                named,
                entry(AclTag::OwningGroup, owning),
                entry(AclTag::Mask, mask),
                entry(AclTag::Other, other),
            ]
        };
        let him = |permissions| entry(AclTag::User(Some(kuid(7))), permissions);
        let six = |permissions| entry(AclTag::Group(Some(kgid(6))), permissions);
        let cases = [
            // The entry of a named user and the mask decide.
            (alone, 0o050, list(him(1), 0, 5, 0), true),
            (alone, 0o041, list(him(1), 0, 4, 1), false),
            (alone, 0o055, list(him(0), 1, 5, 1), false),
            // One group that permits is enough; a group that does not keeps the bits for others
            // away.
            (member, 0o050, list(six(1), 0, 5, 0), true),
            (member, 0o050, list(six(0), 1, 5, 0), true),
            (member, 0o051, list(six(0), 0, 5, 1), false),
            (member, 0o041, list(six(1), 1, 4, 1), false),
            (alone, 0o051, list(six(0), 0, 5, 1), true),
            // Without a bit of the mask the list is not looked at.
            (alone, 0o001, list(him(0), 0, 0, 1), true),
            (member, 0o001, list(six(1), 1, 0, 1), false),
        ];
        for (n, (task, mode, acl, expected)) in cases.into_iter().enumerate() {
            assert_eq!(permits(&task, &inode, mode, &acl), expected, "case {n}");
        }
        let own = InodeView::plain(Initial, kuid(7), kgid(7));
        assert!(!permits(&alone, &own, 0o077, &list(him(7), 7, 7, 7)));
    }

    #[test]
    fn x_a_directory_asks_for_less_than_a_file() {
        let inode = InodeView::plain(Initial, kuid(0), kgid(0));
        let mut cred = Cred::ordinary(Initial, kuid(7), kgid(7));
        cred.effective = crate::CapSet::of(&[Capability::DacReadSearch]);
        let task = Task::of(cred);
        assert!(check_searchable(&task, &inode, 0, &[]).is_ok());
        let program = Program::plain(inode, 0o700);
        assert_eq!(check_executable(&task, &program).unwrap_err().why, Why::NotExecutable);
        cred.effective = crate::CapSet::of(&[Capability::DacOverride]);
        let task = Task::of(cred);
        assert!(check_searchable(&task, &inode, 0, &[]).is_ok());
        assert!(check_executable(&task, &program).is_ok());
        assert!(check_executable(&task, &Program::plain(inode, 0o600)).is_err());
        let by_acl = Program { by_acl: Some(false), ..Program::plain(inode, 0o755) };
        assert!(
            check_executable(&Task::of(Cred::ordinary(Initial, kuid(7), kgid(7))), &by_acl)
                .is_err()
        );
        // A list permits what the mode's own bits for others do not.
        let by_acl = Program { by_acl: Some(true), ..Program::plain(inode, 0o710) };
        assert!(
            check_executable(&Task::of(Cred::ordinary(Initial, kuid(7), kgid(7))), &by_acl).is_ok()
        );
    }
}
