// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing: R5, R7, R8, and the policies B and A.
//!
//! Each function takes what the file holds and gives what it holds next, built in a buffer of the
//! caller's; a front end stores the whole of it in one step or answers the errno.

use crate::cap::FileCaps;
use crate::decision::{Decision, Denied, Errno, Why};
use crate::flags::SetFlags;
use crate::id::Kuid;
use crate::ns::UserNs;
use crate::nscaps::{MAX_ENTRIES, NsCaps};
use crate::request::Request;
use crate::stored::Stored;
use crate::vfscap::{Revision, VfsCaps};
use crate::wire::{RECORD_LEN, Record};

/// Room for the largest result: as many slots as a file can have entries.
pub type EntryBuffer = [[u8; RECORD_LEN]; MAX_ENTRIES];

/// setxattr(2) of `security.capability`: R8 if the caller may write a host value, R7 for revision
/// 3, else R5. `out` needs one slot more than the file has entries.
///
/// Errors, in this order: V's; EINVAL for a malformed value (length 0 and revision 1 included);
/// then R8's (EEXIST, ENODATA by the flags), R7's ([`set_nscapability`]), or R5's: EBUSY where an
/// entry exists, EPERM, EINVAL where the root kuid cannot be stored, ENODATA by XATTR_REPLACE,
/// ENOSPC.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let (root, file) = (container.root(), container.file());
/// let (policy, stored) = (Policy::default(), Stored::EMPTY);
/// let request = Request { policy, cred: &root, inode: &file, stored: &stored };
/// let mut out = [[0; RECORD_LEN]; MAX_ENTRIES];
/// let value = VfsCaps::v2(ping).encode();
/// let decision = set_capability(&request, value.as_bytes(), SetFlags::default(), &mut out);
/// let entry = Stored::one(Uid::new(100_000).unwrap(), ping);
/// assert_eq!(decision, Decision::Write(entry, Why::EntryWritten));
/// // The same value from the host's root is a host value (R8).
/// let request = Request { cred: &host.root(), ..request };
/// let decision = set_capability(&request, value.as_bytes(), SetFlags::default(), &mut out);
/// assert_eq!(decision, Decision::Write(Stored::host(ping), Why::HostWritten));
/// ```
pub fn set_capability<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    value: &[u8],
    flags: SetFlags,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Decision<Stored<'o>> {
    match capability(request, value, flags, out) {
        Ok(yes) => yes,
        Err(no) => no.into(),
    }
}

fn capability<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    value: &[u8],
    flags: SetFlags,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Result<Decision<Stored<'o>>, Denied> {
    request.inode.check_writable()?;
    if value.is_empty() {
        return Err(Denied::new(Errno::EINVAL, Why::ValueEmpty));
    }
    let value =
        VfsCaps::settable(value).map_err(|_| Denied::new(Errno::EINVAL, Why::ValueMalformed))?;
    match value.revision() {
        Revision::V3 { rootid } => {
            let record = Record::new(rootid, value.caps());
            request.write_named(&[*record.as_bytes()], flags, out)
        }
        Revision::V1 | Revision::V2 => request.write_plain(value.caps(), flags, out),
    }
}

/// What setxattr(2) of `security.capability` does with revision 2: R8 for a caller that may write a
/// host value, else R5. `out` needs one slot more than the file has entries.
///
/// Errors: those of [`set_capability`] for such a value.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let (root, file) = (container.root(), container.file());
/// let (policy, stored) = (Policy::default(), Stored::EMPTY);
/// let request = Request { policy, cred: &root, inode: &file, stored: &stored };
/// let mut out = [[0; RECORD_LEN]; MAX_ENTRIES];
/// let decision = set_own(&request, ping, SetFlags::default(), &mut out);
/// let entry = Stored::one(Uid::new(100_000).unwrap(), ping);
/// assert_eq!(decision, Decision::Write(entry, Why::EntryWritten));
/// ```
pub fn set_own<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    caps: FileCaps,
    flags: SetFlags,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Decision<Stored<'o>> {
    let writable = request.inode.check_writable();
    match writable.and_then(|()| request.write_plain(caps, flags, out)) {
        Ok(yes) => yes,
        Err(no) => no.into(),
    }
}

/// R7 for one root kuid: what [`set_nscapability`] does with one entry that names it. `out` needs
/// one slot more than the file has entries.
///
/// Errors: those of [`set_nscapability`]; EINVAL where the caller's namespace does not map `kuid`.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let (admin, file) = (host.root(), container.file());
/// let (policy, stored) = (Policy::default(), Stored::EMPTY);
/// let request = Request { policy, cred: &admin, inode: &file, stored: &stored };
/// let mut out = [[0; RECORD_LEN]; MAX_ENTRIES];
/// let kuid = Kuid::new(100_000).unwrap();
/// let decision = set_entry(&request, kuid, ping, SetFlags::default(), &mut out);
/// let entry = Stored::one(Uid::new(100_000).unwrap(), ping);
/// assert_eq!(decision, Decision::Write(entry, Why::EntriesWritten));
/// ```
pub fn set_entry<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    kuid: Kuid,
    caps: FileCaps,
    flags: SetFlags,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Decision<Stored<'o>> {
    let writable = request.inode.check_writable();
    match writable.and_then(|()| request.write_entry(request.named(kuid), caps, flags, out)) {
        Ok(yes) => yes,
        Err(no) => no.into(),
    }
}

/// setxattr(2) of `security.nscapability` (R7). `out` needs as many slots as the file has entries
/// and the value has more.
///
/// Errors, in this order: V's; EINVAL for a malformed value, or more than one entry in
/// single-entry mode; then for each entry as if it stood alone: EBUSY where an entry exists (with
/// arrays: one for that root kuid); EINVAL where the rootid is neither 0 nor mapped, or cannot be
/// stored; EPERM; at last ENODATA by XATTR_REPLACE, and ENOSPC.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let (admin, file) = (host.root(), container.file());
/// let (policy, stored) = (Policy::default(), Stored::EMPTY);
/// let request = Request { policy, cred: &admin, inode: &file, stored: &stored };
/// let mut out = [[0; RECORD_LEN]; MAX_ENTRIES];
/// let mut value = [0; NsCaps::encoded_len(1)];
/// NsCaps::encode([Record::new(100_000, ping)], &mut value).unwrap();
/// let decision = set_nscapability(&request, &value, SetFlags::default(), &mut out);
/// let entry = Stored::one(Uid::new(100_000).unwrap(), ping);
/// assert_eq!(decision, Decision::Write(entry, Why::EntriesWritten));
/// ```
pub fn set_nscapability<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    value: &[u8],
    flags: SetFlags,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Decision<Stored<'o>> {
    let written = request.inode.check_writable().and_then(|()| {
        let value =
            NsCaps::decode(value).map_err(|_| Denied::new(Errno::EINVAL, Why::NsValueMalformed))?;
        if value.len() != 1 && !request.policy.array {
            return Err(Denied::new(Errno::EINVAL, Why::ManyInSingleMode));
        }
        request.write_named(value.as_records(), flags, out)
    });
    match written {
        Ok(yes) => yes,
        Err(no) => no.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Uid;
    use crate::ns::root_kuid;
    use crate::stored::{Entries, HostValue};
    use crate::wire::sort_records;
    use crate::world::{Ns, World, kgid, kuid};
    use crate::{Busy, CapSet, Capability, Cred, InodeView, Policy};

    fn caps(cap: Capability) -> FileCaps {
        FileCaps { permitted: CapSet::of(&[cap]), effective: true, ..FileCaps::default() }
    }
    const RAW: Capability = Capability::NetRaw;

    /// The initial namespace, 1 with root kuid 100000 and 2 below it with root kuid 100500.
    fn world() -> World {
        let mut world = World::new();
        world.add(0, 0, &[(0, 100_000, 1000)]);
        world.add(1, 100_000, &[(0, 100_500, 100)]);
        world
    }

    fn set(
        by: Ns<'_>,
        policy: Policy,
        stored: &Stored<'_>,
        value: &[u8],
        check: impl FnOnce(Decision<Stored<'_>>),
    ) {
        let root = root_kuid(by).unwrap();
        let cred = Cred::privileged(by, root, kgid(root.get()));
        let inode = InodeView::plain(by.initial(), root, kgid(root.get()));
        let request = Request { policy, cred: &cred, inode: &inode, stored };
        let mut out = [[0; RECORD_LEN]; 8];
        check(if value.first() == Some(&0) && value.get(3) == Some(&1) {
            set_nscapability(&request, value, SetFlags::default(), &mut out)
        } else {
            set_capability(&request, value, SetFlags::default(), &mut out)
        });
    }

    #[test]
    fn r5_a_containers_root_writes_an_entry_for_itself() {
        let world = world();
        let v2 = VfsCaps::v2(caps(RAW)).encode();
        set(world.ns(1), Policy::default(), &Stored::EMPTY, v2.as_bytes(), |decision| {
            let entry = Stored::one(Uid::new(100_000).unwrap(), caps(RAW));
            let Decision::Write(next, Why::EntryWritten) = decision else { panic!("{decision:?}") };
            assert!(next.entries.iter().eq(entry.entries.iter()) && next.host == HostValue::Absent);
        });
    }

    #[test]
    fn r8_the_hosts_root_writes_a_host_value_and_entries_wait() {
        let world = world();
        let v2 = VfsCaps::v2(caps(RAW)).encode();
        let entry = Stored::one(Uid::new(100_000).unwrap(), caps(Capability::Chown));
        set(world.ns(0), Policy::default(), &entry, v2.as_bytes(), |decision| {
            let Decision::Write(next, Why::HostWritten) = decision else { panic!("{decision:?}") };
            assert_eq!(next.host, HostValue::Present(caps(RAW)));
            assert!(next.entries.iter().eq(entry.entries.iter()));
        });
    }

    #[test]
    fn b_replace_is_one_step_for_the_privileged() {
        let world = world();
        let (ping, kill) = (caps(RAW), caps(Capability::Kill));
        let mut records =
            [*Record::new(100_000, kill).as_bytes(), *Record::new(100_500, kill).as_bytes()];
        sort_records(&mut records);
        let stored = Stored { host: HostValue::Absent, entries: Entries::sorted(&records) };
        let v2 = VfsCaps::v2(ping).encode();
        let replace = Policy::ARRAYS.with_busy(Busy::Replace);
        set(world.ns(1), replace, &stored, v2.as_bytes(), |decision| {
            let Decision::Write(next, Why::EntryWritten) = decision else { panic!("{decision:?}") };
            let all: std::vec::Vec<_> =
                next.entries.iter().map(|(uid, it)| (uid.get(), it)).collect();
            assert_eq!(all, [(100_000, ping), (100_500, kill)]);
        });
        // An equal one is left alone.
        let same = VfsCaps::v2(kill).encode();
        set(world.ns(1), replace, &stored, same.as_bytes(), |decision| {
            assert_eq!(decision, Decision::Keep(Why::SameAlready));
        });
        // One entry a file: another's stays in the way.
        let single = Policy::SEED.with_busy(Busy::Replace);
        let other = Stored { host: HostValue::Absent, entries: Entries::sorted(&records[1..]) };
        set(world.ns(1), single, &other, v2.as_bytes(), |decision| {
            assert_eq!(decision, Decision::Deny(Errno::EBUSY, Why::EntryExists));
        });
    }

    #[test]
    fn b_busy_comes_before_eperm_and_same_ok_lets_the_same_through() {
        let world = world();
        let v2 = VfsCaps::v2(caps(RAW)).encode();
        let own = Stored::one(Uid::new(100_000).unwrap(), caps(RAW));
        let busy = Decision::Deny(Errno::EBUSY, Why::EntryExists);
        set(world.ns(1), Policy::default(), &own, v2.as_bytes(), |d| assert_eq!(d, busy));
        let same_ok = Policy::SEED.with_busy(Busy::SameOk);
        set(world.ns(1), same_ok, &own, v2.as_bytes(), |decision| {
            assert_eq!(decision, Decision::Keep(Why::SameAlready));
        });
        let other = Stored::one(Uid::new(5).unwrap(), caps(RAW));
        set(world.ns(1), same_ok, &other, v2.as_bytes(), |d| assert_eq!(d, busy));
    }

    #[test]
    fn a_arrays_hold_an_entry_for_each_root_kuid_in_order() {
        let world = world();
        let array = Policy::ARRAYS;
        let stored = Stored::one(Uid::new(100_500).unwrap(), caps(RAW));
        let v2 = VfsCaps::v2(caps(Capability::Chown)).encode();
        set(world.ns(1), array, &stored, v2.as_bytes(), |decision| {
            let Decision::Write(next, _) = decision else { panic!("{decision:?}") };
            let ids: std::vec::Vec<u32> = next.entries.iter().map(|(id, _)| id.get()).collect();
            assert_eq!(ids, [100_000, 100_500]);
        });
    }

    #[test]
    fn r7_takes_an_id_of_the_caller_and_all_entries_or_none() {
        let world = world();
        let array = Policy::ARRAYS;
        let value = |ids: &[u32]| {
            let mut bytes = [0; NsCaps::encoded_len(4)];
            let records = ids.iter().map(|id| Record::new(*id, caps(RAW)));
            let len = NsCaps::encode(records, &mut bytes).unwrap();
            (bytes, len)
        };
        let (bytes, len) = value(&[0, 500]);
        set(world.ns(1), array, &Stored::EMPTY, &bytes[..len], |decision| {
            let Decision::Write(next, Why::EntriesWritten) = decision else {
                panic!("{decision:?}")
            };
            let ids: std::vec::Vec<u32> = next.entries.iter().map(|(id, _)| id.get()).collect();
            assert_eq!(ids, [100_000, 100_500]);
        });
        let unmapped = Decision::Deny(Errno::EINVAL, Why::RootidUnmapped);
        let (bytes, len) = value(&[0, 1000]);
        set(world.ns(1), array, &Stored::EMPTY, &bytes[..len], |d| assert_eq!(d, unmapped));
        let many = Decision::Deny(Errno::EINVAL, Why::ManyInSingleMode);
        let (bytes, len) = value(&[0, 1]);
        set(world.ns(1), Policy::default(), &Stored::EMPTY, &bytes[..len], |d| assert_eq!(d, many));
    }

    #[test]
    fn r7_a_kuid_is_taken_as_the_uid_that_names_it() {
        let world = world();
        let cred = Cred::privileged(world.ns(1), kuid(100_000), kgid(100_000));
        let inode = InodeView::plain(world.ns(0), kuid(100_000), kgid(100_000));
        let held = Stored::one(Uid::new(100_500).unwrap(), caps(Capability::Kill));
        for busy in Busy::ALL {
            let policy = Policy::ARRAYS.with_busy(busy);
            for stored in [&Stored::EMPTY, &held] {
                let request = Request { policy, cred: &cred, inode: &inode, stored };
                for id in [100_000, 100_500, 100_999] {
                    let (mut by_kuid, mut by_uid) = ([[0; RECORD_LEN]; 3], [[0; RECORD_LEN]; 3]);
                    let value = VfsCaps::v3(id - 100_000, caps(RAW)).encode();
                    let none = SetFlags::default();
                    let kuid = set_entry(&request, kuid(id), caps(RAW), none, &mut by_kuid);
                    let uid = set_capability(&request, value.as_bytes(), none, &mut by_uid);
                    assert_eq!(kuid, uid);
                }
                let mut out = [[0; RECORD_LEN]; 3];
                let other = set_entry(&request, kuid(7), caps(RAW), SetFlags::default(), &mut out);
                assert_eq!(other, Decision::Deny(Errno::EINVAL, Why::RootidUnmapped));
            }
        }
    }

    #[test]
    fn u_a_root_shared_with_an_ancestor_is_granted_from_there_only() {
        let mut world = World::new();
        world.add(0, 0, &[(0, 0, 1)]);
        let v2 = VfsCaps::v2(caps(RAW)).encode();
        let no = Decision::Deny(Errno::EPERM, Why::RootOfAncestor);
        set(world.ns(1), Policy::default(), &Stored::EMPTY, v2.as_bytes(), |d| assert_eq!(d, no));
    }

    #[test]
    fn a_buffer_that_is_too_short_is_enospc_and_not_a_panic() {
        let world = world();
        let cred = Cred::privileged(world.ns(0), kuid(0), kgid(0));
        let inode = InodeView::plain(world.ns(0), kuid(0), kgid(0));
        let stored = Stored::one(Uid::new(7).unwrap(), caps(RAW));
        let policy = Policy::ARRAYS;
        let request = Request { policy, cred: &cred, inode: &inode, stored: &stored };
        let v3 = VfsCaps::v3(8, caps(RAW)).encode();
        let mut out = [[0; RECORD_LEN]; 1];
        let decision = set_capability(&request, v3.as_bytes(), SetFlags::default(), &mut out);
        assert_eq!(decision, Decision::Deny(Errno::ENOSPC, Why::NoRoom));
    }
}
