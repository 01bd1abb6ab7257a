// SPDX-License-Identifier: MIT OR Apache-2.0
//! X: what execve(2) gives a task, by the design's rules (R3, R8, A) or, from
//! [`bare`](crate::bare), by the kernel's own.
//!
//! The order of steps is capabilities(7)'s and the kernel's: may it be executed at all; set-id
//! bits; file capabilities; root's override; downgrade of a task that may gain nothing; ambient;
//! effective.

use crate::access::check_executable;
use crate::cap::{CapSet, Capability, FileCaps};
use crate::cred::{Cred, Securebits};
use crate::decision::{Denied, Errno, Why};
use crate::grant::{Grant, file_grant};
use crate::id::{Kgid, Kuid};
use crate::inode_view::InodeView;
use crate::ns::{UserNs, root_kuid};
use crate::program::{Program, System, Task};
use crate::stored::Stored;

const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;
const S_IXGRP: u32 = 0o0010;

/// What execve gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Executed<N> {
    /// The new credentials.
    pub cred: Cred<N>,
    /// Whether the program is told to distrust its environment (`AT_SECURE`, ld.so(8)).
    pub secure: bool,
    /// What the file gave.
    pub grant: Grant<N>,
    /// Why the task was held to its old permitted set, where it was.
    pub limited: Option<Why>,
    /// Whether set-user-ID root together with file capabilities kept root's override away.
    pub root_not_raised: bool,
}

impl<N> Executed<N> {
    /// Capabilities that the file's permitted set names and the task did not get.
    ///
    /// ```
    /// use nscap_core::*;
    /// let host = Mapped::initial();
    /// let container = host.below(100_000, 65_536);
    /// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
    /// let program = Program { nosuid: true, ..Program::plain(container.file(), 0o755) };
    /// let (task, stored) = (Task::of(container.user(1000).unwrap()), Stored::host(ping));
    /// let got = exec(System::kernel(6, 18), &task, &program, &stored).unwrap();
    /// assert!(got.lost().is_empty() && got.grant.why() == Why::NoSuid);
    /// ```
    #[must_use]
    pub fn lost(&self) -> CapSet {
        let promised = self.grant.caps().unwrap_or_default().permitted.known();
        promised.minus(self.cred.permitted)
    }
}

/// What execve(2) gives `task` for `program`, by the design's rules.
///
/// # Errors
/// EACCES on a noexec mount or without execute permission; EINVAL where the stored value is
/// malformed; EPERM where the effective bit is set and the bounding set lacks a permitted
/// capability, for any caller.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let stored = Stored::one(Uid::new(100_000).unwrap(), ping);
/// let program = Program::plain(container.file(), 0o755);
/// let run = |cred| exec(System::kernel(6, 18), &Task::of(cred), &program, &stored).unwrap();
/// let inside = run(container.user(1000).unwrap());
/// assert!(inside.cred.effective.has(Capability::NetRaw) && inside.secure);
/// let outside = run(host.user(1000).unwrap());
/// assert!(outside.cred.effective.is_empty() && !outside.secure);
/// ```
pub fn exec<N: UserNs>(
    system: System,
    task: &Task<'_, N>,
    program: &Program<N>,
    stored: &Stored<'_>,
) -> Result<Executed<N>, Denied> {
    check_executable(task, program)?;
    let grant = match file_caps_ignored(system, task, program) {
        Some(why) => Grant::Nothing(why),
        None => file_grant(task.cred.ns, &program.inode, stored)?,
    };
    transform(system, task, program, grant)
}

/// Why the kernel does not read the file's capabilities; `None` where it does.
pub(crate) fn file_caps_ignored<N: UserNs>(
    system: System,
    task: &Task<'_, N>,
    program: &Program<N>,
) -> Option<Why> {
    if system.no_file_caps {
        return Some(Why::FileCapsOff);
    }
    program.suid_ignored(task.cred.ns)
}

/// The effective ids after set-user-ID and set-group-ID (`bprm_fill_uid`).
fn set_ids<N: UserNs>(task: &Task<'_, N>, program: &Program<N>) -> (Kuid, Kgid) {
    let old = &task.cred;
    let same = (old.euid, old.egid);
    if task.no_new_privs || program.suid_ignored(old.ns).is_some() {
        return same;
    }
    let InodeView { owner: Some(owner), group: Some(group), .. } = program.inode else {
        return same;
    };
    if old.ns.uid(owner).is_none() || old.ns.gid(group).is_none() {
        return same;
    }
    let setgid = S_ISGID | S_IXGRP;
    (
        if program.mode & S_ISUID != 0 { owner } else { old.euid },
        if program.mode & setgid == setgid { group } else { old.egid },
    )
}

/// Everything after the file's capabilities are known (`cap_bprm_creds_from_file`).
pub(crate) fn transform<N: UserNs>(
    system: System,
    task: &Task<'_, N>,
    program: &Program<N>,
    grant: Grant<N>,
) -> Result<Executed<N>, Denied> {
    let old = &task.cred;
    let (euid, egid) = set_ids(task, program);
    let mut new = Cred { euid, egid, ..*old };
    let file = grant.caps();

    new.permitted = from_file(old, file)?;
    let mut effective = file.is_some_and(|caps| caps.effective);

    let root = root_kuid(old.ns);
    let is_root = |id: Kuid| root == Some(id);
    let set_user_id_root = !is_root(new.uid) && is_root(new.euid);
    let root_counts = !old.securebits.contains(Securebits::NOROOT);
    let root_not_raised = root_counts && file.is_some() && set_user_id_root;
    if root_counts && !root_not_raised {
        if is_root(new.euid) || is_root(new.uid) {
            new.permitted = old.bounding | old.inheritable;
        }
        effective |= is_root(new.euid);
    }

    let ids_changed = ids_changed(system, task, &new);
    let gains = ids_changed || !new.permitted.is_subset(old.permitted);
    let limited = unsafe_exec(task).filter(|_| gains);
    if limited.is_some() {
        if task.no_new_privs || !old.has_cap(Capability::Setuid) {
            new.euid = new.uid;
            new.egid = new.gid;
        }
        new.permitted = new.permitted & old.permitted;
    }
    (new.suid, new.fsuid) = (new.euid, new.euid);
    (new.sgid, new.fsgid) = (new.egid, new.egid);

    if file.is_some() || ids_changed {
        new.ambient = CapSet::EMPTY;
    }
    new.permitted = new.permitted | new.ambient;
    new.effective = if effective { new.permitted } else { new.ambient };
    new.securebits = new.securebits.without(Securebits::KEEP_CAPS);

    let grew = !new.permitted.is_subset(new.ambient);
    let secure =
        secure_by_ids(system, ids_changed, &new) || (!is_root(new.uid) && (effective || grew));
    Ok(Executed { cred: new, secure, grant, limited, root_not_raised })
}

/// `(X & fP) | (pI & fI)`.
fn from_file<N>(old: &Cred<N>, file: Option<FileCaps>) -> Result<CapSet, Denied> {
    let Some(file) = file else {
        return Ok(CapSet::EMPTY);
    };
    let promised = file.permitted.known();
    let permitted = (old.bounding & promised) | (old.inheritable & file.inheritable.known());
    if file.effective && !promised.is_subset(permitted) {
        return Err(Denied::new(Errno::EPERM, Why::CapsMissing));
    }
    Ok(permitted)
}

/// Whether the exec counts as one that changes ids: this clears ambient and, for an unsafe exec,
/// brings the downgrade.
fn ids_changed<N: UserNs>(system: System, task: &Task<'_, N>, new: &Cred<N>) -> bool {
    let old = &task.cred;
    if system.compares_effective_ids() {
        new.euid != old.euid || !task.in_group(new.egid)
    } else {
        new.euid != old.uid || new.egid != old.gid
    }
}

/// Whether the ids alone make the exec one with `AT_SECURE`.
fn secure_by_ids<N: UserNs>(system: System, ids_changed: bool, new: &Cred<N>) -> bool {
    let differ = new.euid != new.uid || new.egid != new.gid;
    ids_changed || (system.compares_effective_ids() && differ)
}

/// Why this exec may give the task nothing new; `None` where it may.
fn unsafe_exec<N>(task: &Task<'_, N>) -> Option<Why> {
    if task.no_new_privs {
        Some(Why::NoNewPrivs)
    } else if task.shares_fs {
        Some(Why::SharedFs)
    } else if task.traced {
        Some(Why::Traced)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{World, kgid, kuid};
    use crate::{HostValue, Uid};

    const PING: FileCaps = FileCaps {
        permitted: CapSet::from_bits(1 << 13),
        inheritable: CapSet::EMPTY,
        effective: true,
    };
    const NOW: System = System::kernel(6, 18);

    /// The initial namespace and 1 below it with root kuid 100000.
    fn world() -> World {
        World::side_by_side(&[(100_000, 1000)])
    }

    fn entry(rootid: u32) -> Stored<'static> {
        Stored::one(Uid::new(rootid).unwrap(), PING)
    }

    #[test]
    fn r3_an_entry_holds_in_its_namespace_and_nowhere_else() {
        let world = world();
        let program = Program::plain(InodeView::plain(world.ns(0), kuid(0), kgid(0)), 0o755);
        for (ns, uid, stored, gets) in [
            (1, 100_005, entry(100_000), true),
            (0, 1000, entry(100_000), false),
            (1, 100_005, entry(100_001), false),
            (1, 100_005, Stored::host(PING), true),
        ] {
            let user = Cred::ordinary(world.ns(ns), kuid(uid), kgid(uid));
            let got = exec(NOW, &Task::of(user), &program, &stored).unwrap();
            assert_eq!(got.cred.effective == PING.permitted, gets, "{ns} {uid}");
            assert_eq!(got.secure, gets);
        }
    }

    #[test]
    fn x_even_root_with_a_reduced_bounding_set_fails() {
        let world = world();
        let program = Program::plain(InodeView::plain(world.ns(0), kuid(0), kgid(0)), 0o755);
        let mut root = Cred::privileged(world.ns(0), kuid(0), kgid(0));
        root.bounding = root.bounding.without(Capability::NetRaw);
        let no = exec(NOW, &Task::of(root), &program, &Stored::host(PING)).map(|e| e.cred);
        assert_eq!(no.map(|_| ()), Err(Denied::new(Errno::EPERM, Why::CapsMissing)));
    }

    #[test]
    fn x_no_new_privs_gives_nothing_and_clears_ambient_where_nosuid_does_not() {
        let world = world();
        let mut program = Program::plain(InodeView::plain(world.ns(0), kuid(0), kgid(0)), 0o755);
        let chown = CapSet::of(&[Capability::Chown]);
        let mut user = Cred::ordinary(world.ns(0), kuid(1000), kgid(1000));
        (user.permitted, user.inheritable, user.ambient) = (chown, chown, chown);
        let mut task = Task::of(user);
        task.no_new_privs = true;
        let got = exec(NOW, &task, &program, &Stored::host(PING)).unwrap();
        assert_eq!((got.cred.permitted, got.cred.ambient), (CapSet::EMPTY, CapSet::EMPTY));
        assert_eq!((got.limited, got.lost()), (Some(Why::NoNewPrivs), PING.permitted));
        program.nosuid = true;
        let got = exec(NOW, &task, &program, &Stored::host(PING)).unwrap();
        assert_eq!((got.cred.permitted, got.cred.ambient), (chown, chown));
        assert_eq!(got.grant, Grant::Nothing(Why::NoSuid));
    }

    #[test]
    fn x_set_user_id_root_with_file_capabilities_gives_the_files_only() {
        let world = world();
        let program = Program::plain(InodeView::plain(world.ns(0), kuid(0), kgid(0)), 0o4755);
        let user = Cred::ordinary(world.ns(0), kuid(1000), kgid(1000));
        let got = exec(NOW, &Task::of(user), &program, &Stored::host(PING)).unwrap();
        assert_eq!((got.cred.euid, got.cred.permitted), (kuid(0), PING.permitted));
        assert!(got.root_not_raised);
    }

    #[test]
    fn x_kernels_differ_in_what_counts_as_changing_ids() {
        let world = world();
        let program = Program::plain(InodeView::plain(world.ns(0), kuid(0), kgid(0)), 0o755);
        let chown = CapSet::of(&[Capability::Chown]);
        let mut user = Cred::ordinary(world.ns(0), kuid(1000), kgid(1000));
        user.euid = kuid(1001);
        (user.permitted, user.inheritable, user.ambient) = (chown, chown, chown);
        let task = Task::of(user);
        let ambient = |system| exec(system, &task, &program, &Stored::EMPTY).unwrap().cred.ambient;
        assert_eq!(ambient(System::kernel(6, 1)), CapSet::EMPTY);
        assert_eq!(ambient(NOW), chown);
    }

    #[test]
    fn m_a_host_value_of_a_namespace_without_root_holds_nowhere() {
        let mut world = World::new();
        world.add(0, 1000, &[(1000, 1000, 1)]);
        let inode = InodeView::plain(world.ns(1), kuid(1000), kgid(1000));
        let stored = Stored { host: HostValue::Present(PING), ..Stored::EMPTY };
        let grant = file_grant(world.ns(1), &inode, &stored).unwrap();
        assert_eq!(grant, Grant::Nothing(Why::HostNotRooted));
    }
}
