// SPDX-License-Identifier: MIT OR Apache-2.0
//! Removing: D; and content changes: K.

use crate::cap::Capability;
use crate::decision::{Decision, Denied, Errno, Why};
use crate::id::{Kuid, Uid};
use crate::next::Next;
use crate::ns::{UserNs, root_kuid};
use crate::privilege::{may_grant, writes_host_value};
use crate::read::get_capability;
use crate::stored::{Host, SeenEntry, Stored};
use crate::wire::RECORD_LEN;
use crate::write::Request;

/// removexattr(2) of `security.capability`: the host value, for a caller that may write one; else the
/// entry for the caller's root kuid; else the file's only entry, if the caller could have written it.
/// `out` needs as many slots as the file has entries.
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
/// let request = Request { policy: Policy::default(), cred: &root, place: &file, stored: &stored };
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
    let only = request.stored.seen_from(request.cred.ns, request.place).only();
    match own(request, own_entry(request).or(only), out) {
        Ok(yes) => yes,
        Err(no) => no.into(),
    }
}

/// As [`remove_capability`], but of the entries only the one for the caller's root kuid: for a command
/// that has other words for those of others. `out` needs as many slots as the file has entries.
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
/// let request = Request { policy: Policy::default(), cred: &admin, place: &file, stored: &entry };
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
    let shown = get_capability(request.cred.ns, request.place, request.stored);
    matches!(shown, Ok((_, Why::OnlyEntryRead)))
}

fn own<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    entry: Option<SeenEntry>,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Result<Decision<Stored<'o>>, Denied> {
    let Request { cred, place, stored, .. } = *request;
    place.check_writable()?;
    if stored.host != Host::Absent && writes_host_value(cred, place) {
        let mut next = Next::of(stored, out)?;
        next.host = Host::Absent;
        return next.finish(Why::HostRemoved);
    }
    match entry.filter(|entry| could_write(request, entry)) {
        Some(own) => keep_others(request, Some(own.stored), out, Why::EntryRemoved),
        None => Err(match get_capability(cred.ns, place, stored) {
            Err(Denied { errno: Errno::ENODATA, .. }) => {
                Denied::new(Errno::ENODATA, Why::NothingToRemove)
            }
            Ok(_) | Err(_) => Denied::new(Errno::EPERM, Why::NotOursToRemove),
        }),
    }
}

/// V: a removal of `security.capability` as a kernel passes it on to a file system (FUSE): it may be
/// the caller's own, which the kernel has checked for R5 (a) and (c), or the kernel's before a
/// write of the caller's. Nothing tells the two apart, and refusing the second makes the write
/// fail; so what D refuses is carried out as K, and so is whatever is asked for a caller that the
/// kernel would not have let ask. `out` needs as many slots as the file has entries.
///
/// Errors: V's; ENODATA where R4 shows a caller that satisfies (a) and (c) no value.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let (user, file) = (container.user(1000).unwrap(), container.file());
/// let stored = Stored::one(Uid::new(100_000).unwrap(), ping);
/// let request = Request { policy: Policy::default(), cred: &user, place: &file, stored: &stored };
/// let mut out = [[0; RECORD_LEN]; MAX_ENTRIES];
/// let decision = remove_or_strip(&request, &mut out);
/// assert_eq!(decision, Decision::Write(Stored::EMPTY, Why::ContentChanged));
/// ```
pub fn remove_or_strip<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Decision<Stored<'o>> {
    match remove_capability(request, out) {
        Decision::Deny(_, Why::NotOursToRemove) => content_change(Operation::Write),
        Decision::Deny(Errno::ENODATA, _) if !could_ask(request) => {
            content_change(Operation::Write)
        }
        decision => decision,
    }
}

/// Whether an unmodified kernel lets the caller remove `security.capability` through some mount of the file
/// system: whose owner and group map into the caller's namespace can be an id-mapped one's doing.
fn could_ask<N: UserNs>(request: &Request<'_, '_, N>) -> bool {
    request.cred.has_cap(Capability::Setfcap)
}

/// The entry for the caller's root kuid.
fn own_entry<N: UserNs>(request: &Request<'_, '_, N>) -> Option<SeenEntry> {
    let seen = request.stored.seen_from(request.cred.ns, request.place);
    let root = root_kuid(request.cred.ns)?;
    seen.entries().find(|entry| entry.kuid == Some(root))
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
/// let request = Request { policy: Policy::default(), cred: &root, place: &file, stored: &stored };
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
    request.place.check_writable()?;
    let seen = request.stored.seen_from(request.cred.ns, request.place);
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
/// let request = Request { policy: Policy::default(), cred: &root, place: &file, stored: &stored };
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
    let Request { cred, place, stored, .. } = *request;
    place.check_writable()?;
    let seen = stored.seen_from(cred.ns, place);
    if let Some(entry) = seen.entries().find(|entry| entry.kuid == Some(kuid)) {
        if !could_write(request, &entry) {
            return Err(Denied::new(Errno::EPERM, why_not_ours(request)));
        }
        return keep_others(request, Some(entry.stored), out, Why::EntryRemoved);
    }
    if stored.host == Host::Absent || place.kuid_of(Uid::ROOT) != Some(kuid) {
        return Err(Denied::new(Errno::ENODATA, Why::NothingToRemove));
    }
    if !writes_host_value(cred, place) {
        return Err(Denied::new(Errno::EPERM, why_not_ours(request)));
    }
    let mut next = Next::of(stored, out)?;
    next.host = Host::Absent;
    next.finish(Why::HostRemoved)
}

/// Without CAP_SETFCAP nothing is removable, and that is the reason worth telling.
fn why_not_ours<N: UserNs>(request: &Request<'_, '_, N>) -> Why {
    if request.cred.has_cap(Capability::Setfcap) { Why::NotOursToRemove } else { Why::NoSetfcap }
}

/// Whether the caller could have written the entry by R7.
fn could_write<N: UserNs>(request: &Request<'_, '_, N>, entry: &SeenEntry) -> bool {
    entry.kuid.is_some_and(|kuid| may_grant(request.cred, request.place, kuid).is_ok())
}

/// What the file holds without one entry that the caller sees, or without all that it could have
/// written. An entry that the caller does not see stays.
fn keep_others<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    only: Option<Uid>,
    out: &'o mut [[u8; RECORD_LEN]],
    why: Why,
) -> Result<Decision<Stored<'o>>, Denied> {
    let seen = request.stored.seen_from(request.cred.ns, request.place);
    let goes = |entry: SeenEntry| only.is_some() || could_write(request, &entry);
    let gone = |stored| {
        only.is_none_or(|only| only == stored)
            && seen.entries().any(|entry| entry.stored == stored && goes(entry))
    };
    let mut next = Next::empty(out);
    next.host = match request.stored.host {
        Host::Value(_) if gone(Uid::ROOT) => Host::Absent,
        host => host,
    };
    for (stored, caps) in request.stored.entries.iter() {
        if !gone(stored) {
            next.put(stored, caps)?;
        }
    }
    next.finish(why)
}

/// What can happen to a file, as far as K cares.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// write(2) and its kin, of at least one byte.
    Write,
    /// truncate(2), ftruncate(2), open(2) with O_TRUNC.
    Truncate,
    /// fallocate(2), in any mode.
    Fallocate,
    /// chown(2), even to the same ids.
    Chown,
    /// copy_file_range(2) or a reflink into the file.
    CopyInto,
    /// mmap(2) with MAP_SHARED of a descriptor open for writing.
    SharedWritableMap,
    /// chmod(2).
    Chmod,
    /// rename(2) or link(2).
    Rename,
    /// utimensat(2).
    Utimes,
    /// setxattr(2) or removexattr(2) of another name.
    OtherXattr,
}

/// K: whether an operation drops the host value and every entry, before it becomes visible.
///
/// ```
/// use nscap_core::{Decision, Operation, Stored, Why, content_change};
/// assert_eq!(
///     content_change(Operation::Truncate),
///     Decision::Write(Stored::EMPTY, Why::ContentChanged)
/// );
/// assert_eq!(content_change(Operation::Rename), Decision::Keep(Why::ContentKept));
/// ```
#[must_use]
pub fn content_change(operation: Operation) -> Decision<Stored<'static>> {
    match operation {
        Operation::Write
        | Operation::Truncate
        | Operation::Fallocate
        | Operation::Chown
        | Operation::CopyInto
        | Operation::SharedWritableMap => Decision::Write(Stored::EMPTY, Why::ContentChanged),
        Operation::Chmod | Operation::Rename | Operation::Utimes | Operation::OtherXattr => {
            Decision::Keep(Why::ContentKept)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cap::FileCaps;
    use crate::cred::Cred;
    use crate::place::Place;
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
        let place = Place::plain(world.ns(0), kuid(100_500), kgid(100_500));
        let request = Request { policy: Policy::default(), cred: &cred, place: &place, stored };
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
        let place = Place::plain(world.ns(0), kuid(100_000), kgid(100_000));
        let left = |ns, root: u32, ids: &[u32]| {
            let records: std::vec::Vec<_> = ids
                .iter()
                .map(|id| *crate::Record::new(*id, FileCaps::default()).as_bytes())
                .collect();
            let entries = crate::Entries::decode(&records).unwrap();
            let stored = Stored { entries, ..Stored::EMPTY };
            let cred = Cred::privileged(world.ns(ns), kuid(root), kgid(root));
            let policy = Policy::ARRAYS;
            let request = Request { policy, cred: &cred, place: &place, stored: &stored };
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
    fn t_what_is_shown_to_a_caller_that_may_not_remove_it_is_eperm() {
        let world = world();
        let stored = entry(100_500);
        let place = Place::plain(world.ns(0), kuid(100_500), kgid(100_500));
        for (ns, errno) in [(0, Errno::EPERM), (1, Errno::EPERM)] {
            let cred = Cred::ordinary(world.ns(ns), kuid(100_007), kgid(100_007));
            let policy = Policy::ARRAYS;
            let request = Request { policy, cred: &cred, place: &place, stored: &stored };
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

    #[test]
    fn v_a_removal_that_may_be_the_kernels_is_never_refused() {
        let world = world();
        let (host, own, other) = (Stored::host(FileCaps::default()), entry(100_000), entry(7));
        let place = Place::plain(world.ns(0), kuid(100_500), kgid(100_500));
        let root = Cred::privileged(world.ns(1), kuid(100_000), kgid(100_000));
        let user = Cred::ordinary(world.ns(1), kuid(100_007), kgid(100_007));
        let remove = |cred, stored| {
            let policy = Policy::ARRAYS;
            let request = Request { policy, cred, place: &place, stored };
            let mut out = [[0; RECORD_LEN]; 2];
            match remove_or_strip(&request, &mut out) {
                Decision::Write(next, why) => Ok((next.is_empty(), why)),
                decision => Err(decision.errno()),
            }
        };
        assert_eq!(remove(&root, &host), Ok((true, Why::ContentChanged)));
        assert_eq!(remove(&user, &host), Ok((true, Why::ContentChanged)));
        assert_eq!(remove(&root, &own), Ok((true, Why::EntryRemoved)));
        // What R4 does not show to root it did not ask the kernel to remove before a write.
        assert_eq!(remove(&root, &other), Err(Some(Errno::ENODATA)));
        assert_eq!(remove(&user, &other), Ok((true, Why::ContentChanged)));
    }

    #[test]
    fn k_drops_everything_on_a_change_of_content_or_owner_only() {
        let empty = Decision::Write(Stored::EMPTY, Why::ContentChanged);
        assert_eq!(content_change(Operation::Chown), empty);
        assert_eq!(content_change(Operation::SharedWritableMap), empty);
        assert_eq!(content_change(Operation::Chmod), Decision::Keep(Why::ContentKept));
    }
}
