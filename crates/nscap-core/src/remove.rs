// SPDX-License-Identifier: MIT OR Apache-2.0
//! Removing: D.

use crate::cap::Capability;
use crate::decision::{Decision, Denied, Errno, Why};
use crate::id::{Kuid, Uid};
use crate::next::Next;
use crate::ns::{UserNs, root_kuid};
use crate::privilege::{may_grant, writes_host_value};
use crate::read::get_capability;
use crate::request::Request;
use crate::stored::{EntryView, HostValue, Stored};
use crate::wire::RECORD_LEN;

/// removexattr(2) of `security.capability`: the host value, for a caller that may write one; else
/// the entry for the caller's root kuid; else the file's only entry, if the caller could have
/// written it. `out` needs as many slots as the file has entries.
///
/// Errors: V's; EPERM where R4 shows the caller a value that it may not remove; ENODATA where R4
/// shows it none.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let (root, file) = (container.root(), container.file());
/// let stored = Stored::one(Uid::new(100_000).unwrap(), ping);
/// let request = Request { policy: Policy::default(), cred: &root, inode: &file, stored: &stored };
/// let mut out = [[0; RECORD_LEN]; MAX_ENTRIES];
/// let decision = remove_capability(&request, &mut out);
/// assert_eq!(decision, Decision::Write(Stored::EMPTY, Why::EntryRemoved));
/// // The host value is not the container's to remove.
/// let decision = remove_capability(&Request { stored: &Stored::host(ping), ..request }, &mut out);
/// assert_eq!(decision.errno(), Some(Errno::EPERM));
/// ```
pub fn remove_capability<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Decision<Stored<'o>> {
    let only = request.stored.seen_from(request.cred.ns, request.inode).only();
    match own(request, own_entry(request).or(only), out) {
        Ok(yes) => yes,
        Err(no) => no.into(),
    }
}

/// As [`remove_capability`], but removes only the entry for the caller's root kuid, and no other
/// entry: for a command that has an option of its own for the entries of other roots. `out` needs
/// as many slots as the file has entries.
///
/// Errors: as [`remove_capability`], but ENODATA where T shows the caller another root's entry.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let entry = Stored::one(Uid::new(100_000).unwrap(), ping);
/// let (admin, file) = (host.root(), container.file());
/// let request = Request { policy: Policy::default(), cred: &admin, inode: &file, stored: &entry };
/// let mut out = [[0; RECORD_LEN]; MAX_ENTRIES];
/// assert_eq!(remove_own(&request, &mut out).errno(), Some(Errno::ENODATA));
/// assert_eq!(remove_capability(&request, &mut out).errno(), None);
/// ```
pub fn remove_own<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Decision<Stored<'o>> {
    match own(request, own_entry(request), out) {
        Ok(yes) => yes,
        Err(Denied { why: Why::NotOursToRemove, .. }) if shows_anothers(request) => {
            Decision::Deny(Errno::ENODATA, Why::NothingToRemove)
        }
        Err(no) => no.into(),
    }
}

/// Whether what the caller reads is another root's entry (T).
fn shows_anothers<N: UserNs>(request: &Request<'_, '_, N>) -> bool {
    let shown = get_capability(request.cred.ns, request.inode, request.stored);
    matches!(shown, Ok((_, Why::OnlyEntryRead)))
}

fn own<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    entry: Option<EntryView>,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Result<Decision<Stored<'o>>, Denied> {
    let Request { cred, inode, stored, .. } = *request;
    inode.check_writable()?;
    if stored.host != HostValue::Absent && writes_host_value(cred, inode) {
        let mut next = Next::of(stored, out)?;
        next.host = HostValue::Absent;
        return next.finish(Why::HostRemoved);
    }
    match entry.filter(|entry| could_write(request, entry)) {
        Some(own) => keep_others(request, Some(own.stored), out, Why::EntryRemoved),
        None => Err(match get_capability(cred.ns, inode, stored) {
            Err(Denied { errno: Errno::ENODATA, .. }) => {
                Denied::new(Errno::ENODATA, Why::NothingToRemove)
            }
            Ok(_) | Err(_) => Denied::new(Errno::EPERM, Why::NotOursToRemove),
        }),
    }
}

/// The entry for the caller's root kuid.
fn own_entry<N: UserNs>(request: &Request<'_, '_, N>) -> Option<EntryView> {
    let seen = request.stored.seen_from(request.cred.ns, request.inode);
    seen.entry_for(root_kuid(request.cred.ns)?)
}

/// removexattr(2) of `security.nscapability`: every entry that the caller could have written.
/// `out` needs as many slots as the file has entries.
///
/// Errors: V's; ENODATA where there is no entry; EPERM where every entry is one that the caller
/// could not have written.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let (root, file) = (container.root(), container.file());
/// let stored = Stored::one(Uid::new(100_000).unwrap(), ping);
/// let request = Request { policy: Policy::default(), cred: &root, inode: &file, stored: &stored };
/// let mut out = [[0; RECORD_LEN]; MAX_ENTRIES];
/// let decision = remove_nscapability(&request, &mut out);
/// assert_eq!(decision, Decision::Write(Stored::EMPTY, Why::EntriesRemoved));
/// ```
pub fn remove_nscapability<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Decision<Stored<'o>> {
    match writable(request, out) {
        Ok(yes) => yes,
        Err(no) => no.into(),
    }
}

fn writable<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Result<Decision<Stored<'o>>, Denied> {
    request.inode.check_writable()?;
    let seen = request.stored.seen_from(request.cred.ns, request.inode);
    if !seen.has_entries() {
        return Err(Denied::new(Errno::ENODATA, Why::NoEntries));
    }
    if !seen.entries().any(|entry| could_write(request, &entry)) {
        return Err(Denied::new(Errno::EPERM, why_not_ours(request)));
    }
    keep_others(request, None, out, Why::EntriesRemoved)
}

/// D for one root kuid: what [`remove_nscapability`] would remove, but only the entry for `kuid`;
/// for the root kuid of the superblock's owner namespace, the host value. `out` needs as many
/// slots as the file has entries.
///
/// Errors: V's; ENODATA where the caller sees no entry for `kuid`; EPERM where it is one that the
/// caller could not have written.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let (root, file) = (container.root(), container.file());
/// let stored = Stored::one(Uid::new(100_000).unwrap(), ping);
/// let request = Request { policy: Policy::default(), cred: &root, inode: &file, stored: &stored };
/// let mut out = [[0; RECORD_LEN]; MAX_ENTRIES];
/// let decision = remove_entry(&request, Kuid::new(100_000).unwrap(), &mut out);
/// assert_eq!(decision, Decision::Write(Stored::EMPTY, Why::EntryRemoved));
/// let decision = remove_entry(&request, Kuid::new(100_001).unwrap(), &mut out);
/// assert_eq!(decision.errno(), Some(Errno::ENODATA));
/// ```
pub fn remove_entry<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    kuid: Kuid,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Decision<Stored<'o>> {
    match one(request, kuid, out) {
        Ok(yes) => yes,
        Err(no) => no.into(),
    }
}

fn one<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    kuid: Kuid,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Result<Decision<Stored<'o>>, Denied> {
    let Request { cred, inode, stored, .. } = *request;
    inode.check_writable()?;
    let seen = stored.seen_from(cred.ns, inode);
    if let Some(entry) = seen.entry_for(kuid) {
        if !could_write(request, &entry) {
            return Err(Denied::new(Errno::EPERM, why_not_ours(request)));
        }
        return keep_others(request, Some(entry.stored), out, Why::EntryRemoved);
    }
    if stored.host == HostValue::Absent || inode.kuid_of(Uid::ROOT) != Some(kuid) {
        return Err(Denied::new(Errno::ENODATA, Why::NothingToRemove));
    }
    if !writes_host_value(cred, inode) {
        return Err(Denied::new(Errno::EPERM, why_not_ours(request)));
    }
    let mut next = Next::of(stored, out)?;
    next.host = HostValue::Absent;
    next.finish(Why::HostRemoved)
}

/// D for all that the caller may take away: the host value, if it may write one, and every entry
/// that it could have written. `out` needs as many slots as the file has entries.
///
/// Errors: V's; EPERM where no entry is one that the caller could have written, or where R4 or T
/// would still show the caller a value; ENODATA where there is nothing.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let (admin, file) = (host.root(), container.file());
/// let entry = Stored::one(Uid::new(100_000).unwrap(), ping);
/// let both = Stored { host: HostValue::Present(ping), ..entry };
/// let request = Request { policy: Policy::default(), cred: &admin, inode: &file, stored: &both };
/// let mut out = [[0; RECORD_LEN]; MAX_ENTRIES];
/// assert_eq!(remove_all(&request, &mut out), Decision::Write(Stored::EMPTY, Why::HostRemoved));
/// ```
pub fn remove_all<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Decision<Stored<'o>> {
    all(request, out).unwrap_or_else(Decision::from)
}

fn all<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Result<Decision<Stored<'o>>, Denied> {
    let Request { cred, inode, stored, .. } = *request;
    inode.check_writable()?;
    let seen = stored.seen_from(cred.ns, inode);
    let could = seen.entries().any(|entry| could_write(request, &entry));
    if seen.has_entries() && !could {
        return Err(Denied::new(Errno::EPERM, why_not_ours(request)));
    }
    let host = stored.host != HostValue::Absent && writes_host_value(cred, inode);
    let Decision::Write(mut left, why) = keep_others(request, None, out, Why::EntriesRemoved)?
    else {
        return Err(Denied::new(Errno::ENOSPC, Why::NoRoom));
    };
    if host {
        left.host = HostValue::Absent;
    }
    let shown = get_capability(cred.ns, inode, &left);
    if !matches!(shown, Err(Denied { errno: Errno::ENODATA, .. })) {
        return Err(Denied::new(Errno::EPERM, why_not_ours(request)));
    }
    match (host, could) {
        (false, false) => Err(Denied::new(Errno::ENODATA, Why::NothingToRemove)),
        (true, _) => Ok(Decision::Write(left, Why::HostRemoved)),
        (false, true) => Ok(Decision::Write(left, why)),
    }
}

/// Without CAP_SETFCAP nothing is removable; that is the reason to report.
fn why_not_ours<N: UserNs>(request: &Request<'_, '_, N>) -> Why {
    if request.cred.has_cap(Capability::Setfcap) { Why::NotOursToRemove } else { Why::NoSetfcap }
}

/// Whether the caller could have written the entry by R7.
fn could_write<N: UserNs>(request: &Request<'_, '_, N>, entry: &EntryView) -> bool {
    entry.kuid.is_some_and(|kuid| may_grant(request.cred, request.inode, kuid).is_ok())
}

/// What the file holds without one entry that the caller sees, or without all that it could have
/// written. An entry that the caller does not see stays.
fn keep_others<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    only: Option<Uid>,
    out: &'o mut [[u8; RECORD_LEN]],
    why: Why,
) -> Result<Decision<Stored<'o>>, Denied> {
    let seen = request.stored.seen_from(request.cred.ns, request.inode);
    let goes = |entry: EntryView| match only {
        Some(only) => only == entry.stored,
        None => could_write(request, &entry),
    };
    let gone = |stored, caps| seen.as_entry(stored, caps).is_some_and(goes);
    let mut next = Next::empty(out);
    next.host = match request.stored.host {
        HostValue::Present(caps) if gone(Uid::ROOT, caps) => HostValue::Absent,
        host => host,
    };
    for (stored, caps) in request.stored.entries.iter() {
        if !gone(stored, caps) {
            next.put(stored, caps)?;
        }
    }
    next.finish(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cap::FileCaps;
    use crate::cred::Cred;
    use crate::inode_view::InodeView;
    use crate::policy::Policy;
    use crate::world::{World, kgid, kuid};

    /// The initial namespace, 1 with root kuid 100000, 2 below it with root kuid 100500.
    fn world() -> World {
        let mut world = World::new();
        world.add(0, 0, &[(0, 100_000, 1000)]);
        world.add(1, 100_000, &[(0, 100_500, 100)]);
        world
    }

    fn entry(rootid: u32) -> Stored<'static> {
        Stored::one(Uid::new(rootid).unwrap(), FileCaps::default())
    }

    fn errno(world: &World, ns: usize, root: u32, stored: &Stored<'_>) -> [Option<Errno>; 2] {
        let cred = Cred::privileged(world.ns(ns), kuid(root), kgid(root));
        let inode = InodeView::plain(world.ns(0), kuid(100_500), kgid(100_500));
        let request = Request { policy: Policy::default(), cred: &cred, inode: &inode, stored };
        let mut out = [[0; RECORD_LEN]; 2];
        let capability = remove_capability(&request, &mut out).errno();
        [capability, remove_nscapability(&request, &mut out).errno()]
    }

    #[test]
    fn d_a_parents_root_clears_what_a_childs_root_left_and_not_the_other_way() {
        let world = world();
        assert_eq!(errno(&world, 1, 100_000, &entry(100_500)), [None, None]);
        assert_eq!(errno(&world, 0, 0, &entry(100_500)), [None, None]);
        let eperm = Some(Errno::EPERM);
        assert_eq!(errno(&world, 2, 100_500, &entry(100_000)), [eperm, eperm]);
    }

    #[test]
    fn d_the_only_entry_goes_by_the_old_name_and_of_several_only_the_callers_own() {
        let world = world();
        let inode = InodeView::plain(world.ns(0), kuid(100_000), kgid(100_000));
        let left = |ns, root: u32, ids: &[u32]| {
            let records: std::vec::Vec<_> = ids
                .iter()
                .map(|id| *crate::Record::new(*id, FileCaps::default()).as_bytes())
                .collect();
            let entries = crate::Entries::decode(&records).unwrap();
            let stored = Stored { entries, ..Stored::EMPTY };
            let cred = Cred::privileged(world.ns(ns), kuid(root), kgid(root));
            let policy = Policy::ARRAYS;
            let request = Request { policy, cred: &cred, inode: &inode, stored: &stored };
            let mut out = [[0; RECORD_LEN]; 2];
            match remove_capability(&request, &mut out) {
                Decision::Write(next, _) => {
                    Ok(next.entries.iter().map(|(id, _)| id.get()).collect::<std::vec::Vec<_>>())
                }
                decision => Err(decision.errno()),
            }
        };
        assert_eq!(left(0, 0, &[100_000]), Ok(std::vec![]));
        assert_eq!(left(1, 100_000, &[100_500]), Ok(std::vec![]));
        assert_eq!(left(1, 100_000, &[100_000, 100_500]), Ok(std::vec![100_500]));
        assert_eq!(left(0, 0, &[100_000, 100_500]), Err(Some(Errno::ENODATA)));
    }

    #[test]
    fn d_all_that_the_caller_may_take_goes_in_one_decision_or_nothing_does() {
        let world = world();
        let inode = InodeView::plain(world.ns(0), kuid(100_500), kgid(100_500));
        let left = |ns, root: u32, host, ids: &[u32]| {
            let records: std::vec::Vec<_> = ids
                .iter()
                .map(|id| *crate::Record::new(*id, FileCaps::default()).as_bytes())
                .collect();
            let stored = Stored { host, entries: crate::Entries::decode(&records).unwrap() };
            let cred = Cred::privileged(world.ns(ns), kuid(root), kgid(root));
            let policy = Policy::ARRAYS;
            let request = Request { policy, cred: &cred, inode: &inode, stored: &stored };
            let mut out = [[0; RECORD_LEN]; 3];
            match remove_all(&request, &mut out) {
                Decision::Write(next, why) => {
                    let ids: std::vec::Vec<_> =
                        next.entries.iter().map(|(id, _)| id.get()).collect();
                    Ok((next.host, ids, why))
                }
                decision => Err((decision.errno(), decision.why())),
            }
        };
        let (none, value) = (HostValue::Absent, HostValue::Present(FileCaps::default()));
        let all = |why| Ok((none, std::vec![], why));
        assert_eq!(left(0, 0, value, &[7, 100_000]), all(Why::HostRemoved));
        assert_eq!(left(0, 0, value, &[]), all(Why::HostRemoved));
        assert_eq!(left(0, 0, none, &[7, 100_000]), all(Why::EntriesRemoved));
        // Its own and its child's; a stranger's stays, unseen.
        let own = left(1, 100_000, none, &[7, 100_000, 100_500]);
        assert_eq!(own, Ok((none, std::vec![7], Why::EntriesRemoved)));
        let eperm = |why| Err((Some(Errno::EPERM), why));
        // What would still be shown is not its own: a host value, a parent's.
        let not_ours = eperm(Why::NotOursToRemove);
        assert_eq!(left(1, 100_000, value, &[100_000]), not_ours);
        assert_eq!(left(2, 100_500, none, &[100_000, 100_500]), not_ours);
        assert_eq!(left(2, 100_500, none, &[7]), not_ours);
        let nothing = Err((Some(Errno::ENODATA), Why::NothingToRemove));
        assert_eq!(left(0, 0, none, &[]), nothing);
        assert_eq!(left(1, 100_000, none, &[]), nothing);
    }

    #[test]
    fn t_what_is_shown_to_a_caller_that_may_not_remove_it_is_eperm() {
        let world = world();
        let stored = entry(100_500);
        let inode = InodeView::plain(world.ns(0), kuid(100_500), kgid(100_500));
        for (ns, errno) in [(0, Errno::EPERM), (1, Errno::EPERM)] {
            let cred = Cred::ordinary(world.ns(ns), kuid(100_007), kgid(100_007));
            let policy = Policy::ARRAYS;
            let request = Request { policy, cred: &cred, inode: &inode, stored: &stored };
            let mut out = [[0; RECORD_LEN]; 2];
            assert_eq!(remove_capability(&request, &mut out).errno(), Some(errno));
        }
    }

    #[test]
    fn d_what_cannot_be_seen_is_enodata() {
        let world = world();
        let enodata = Some(Errno::ENODATA);
        assert_eq!(errno(&world, 1, 100_000, &Stored::EMPTY), [enodata, enodata]);
        assert_eq!(errno(&world, 1, 100_000, &entry(7)), [enodata, Some(Errno::EPERM)]);
        let host = Stored::host(FileCaps::default());
        assert_eq!(errno(&world, 1, 100_000, &host), [Some(Errno::EPERM), enodata]);
        assert_eq!(errno(&world, 0, 0, &host), [None, enodata]);
    }
}
