// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing: R5, R7, R8, and the policies B and A.
//!
//! Each function takes what the file holds and gives what it holds next, built in a buffer of the
//! caller's; a front end stores the whole of it in one step or answers the errno.

use crate::bare;
use crate::cap::{Capability, FileCaps};
use crate::cred::Cred;
use crate::decision::{Decision, Denied, Errno, Why};
use crate::id::{Kuid, Uid};
use crate::next::Next;
use crate::ns::{UserNs, root_kuid};
use crate::nscaps::{MAX_ENTRIES, NsCaps};
use crate::place::Place;
use crate::policy::{Busy, Policy};
use crate::privilege::{may_grant, writes_host_value};
use crate::stored::{Host, Stored};
use crate::vfscap::{Revision, VfsCaps};
use crate::wire::{RECORD_LEN, Record};

/// The flags of setxattr(2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SetFlags {
    /// `XATTR_CREATE`.
    pub create: bool,
    /// `XATTR_REPLACE`.
    pub replace: bool,
}

/// Who writes, where, onto what, under which policy: what every write is decided from.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r, 's, N> {
    /// The front end's switches.
    pub policy: Policy,
    /// The calling task's credentials.
    pub cred: &'r Cred<N>,
    /// The file as the caller reaches it.
    pub place: &'r Place<N>,
    /// What it holds.
    pub stored: &'r Stored<'s>,
}

/// Room for the largest result: as many slots as a file can have entries.
pub type EntryBuffer = [[u8; RECORD_LEN]; MAX_ENTRIES];

/// setxattr(2) of `security.capability`: R8 for who may write a host value, R7 for revision 3,
/// else R5. `out` needs one slot more than the file has entries.
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
/// let request = Request { policy: Policy::default(), cred: &root, place: &file, stored: &Stored::EMPTY };
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
    request.place.check_writable()?;
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
        Revision::V1 | Revision::V2 if writes_host_value(request.cred, request.place) => {
            request.write_host(value.caps(), flags, out)
        }
        Revision::V1 | Revision::V2 => request.write_own(value.caps(), flags, out),
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
/// let request = Request { policy: Policy::default(), cred: &admin, place: &file, stored: &Stored::EMPTY };
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
    let written = request.place.check_writable().and_then(|()| {
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

/// M, its last sentence: setxattr(2) of `security.capability` as a kernel passes it on that allows id-mapped mounts of
/// the front end's file system. The value arrives as revision 3 with a `rootid` that the caller could not
/// have named, in the superblock's terms: the VFS has checked R5 (a) and (c) through the mount's map and has
/// translated the rootid by it. So it is taken as the same write is by any file system: rootid 0 is the host
/// value, which is written as it always was (R8); any other is an entry, in whose way others are as ever (B).
/// `out` needs one slot more than the file has entries.
///
/// The caller must hold CAP_SETFCAP and have a root kuid. If not, the VFS has checked other credentials
/// than the caller's (W, an overlayfs copies up): nothing is written. U cannot be asked, since the mount's map
/// is not known; nor does a kernel ask it of any other file system.
///
/// Errors: V's; for rootid 0 those of R8 (EEXIST, ENODATA by the flags); for others EINVAL where it cannot be
/// stored, EBUSY, ENODATA by XATTR_REPLACE, ENOSPC.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let file = container.file();
/// let write = |cred: Cred<_>| {
///     let (cred, policy, stored) = (&cred, Policy::default(), &Stored::EMPTY);
///     let mut out = [[0; RECORD_LEN]; MAX_ENTRIES];
///     let request = Request { policy, cred, place: &file, stored };
///     set_translated(&request, Uid::ROOT, ping, SetFlags::default(), &mut out).why()
/// };
/// assert_eq!(write(container.root()), Why::HostWritten);
/// assert_eq!(write(container.user(1000).unwrap()), Why::ForAnother);
/// ```
pub fn set_translated<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    rootid: Uid,
    caps: FileCaps,
    flags: SetFlags,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Decision<Stored<'o>> {
    let may = request.cred.has_cap(Capability::Setfcap);
    if !may || root_kuid(request.cred.ns).is_none() {
        return Decision::Keep(Why::ForAnother);
    }
    let written = request.place.check_writable().and_then(|()| {
        if rootid == Uid::ROOT {
            return request.write_host(caps, flags, out);
        }
        let kuid = request.place.kuid_of(rootid);
        let kuid = kuid.ok_or(Denied::new(Errno::EINVAL, Why::RootidUnstorable))?;
        let way = request.busy(Some(kuid), caps, flags)?;
        if way == Way::Same {
            return Ok(Decision::Keep(Why::SameAlready));
        }
        let mut next = Next::of(request.stored, out)?;
        way.write(&mut next, rootid, caps, flags)?;
        next.finish(Why::EntryWritten)
    });
    match written {
        Ok(yes) => yes,
        Err(no) => no.into(),
    }
}

/// A name of which the kernel has checked who may write it, before it asks a file system (FUSE).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Checked {
    /// `security.capability`: R5 (a) and (c).
    Capability,
    /// `security.nscapability`, as any other `security.*`: CAP_SYS_ADMIN over the superblock's owner
    /// namespace.
    NsCapability,
}

/// W: what becomes of a decision on a write that the kernel passes on to a file system. Where the
/// kernel would have refused it to the caller it asks with other credentials than the caller's own,
/// as overlayfs does that copies a file up for its mounter. Whose they are nobody tells; so what
/// would be denied is left out without a word, since an error would fail the whole copy. Not a rootid
/// that the caller could not have named: through an id-mapped mount the caller itself may have.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let (user, file) = (container.user(1000).unwrap(), container.file());
/// let request = Request { policy: Policy::default(), cred: &user, place: &file, stored: &Stored::EMPTY };
/// let mut out = [[0; RECORD_LEN]; MAX_ENTRIES];
/// let value = VfsCaps::v2(ping).encode();
/// let decision = set_capability(&request, value.as_bytes(), SetFlags::default(), &mut out);
/// assert_eq!(decision.errno(), Some(Errno::EPERM));
/// let decision = passed_on(&request, Checked::Capability, decision);
/// assert_eq!(decision, Decision::Keep(Why::ForAnother));
/// ```
pub fn passed_on<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    name: Checked,
    decision: Decision<Stored<'o>>,
) -> Decision<Stored<'o>> {
    let by_the_caller = match name {
        // What is removable is writable, by the same check.
        Checked::Capability => bare::remove_capability(request.cred, request.place, Some(&[])),
        Checked::NsCapability => {
            bare::set_other(request.cred, request.place, false, SetFlags::default())
        }
    };
    match decision {
        // No credentials make the value right; the last, see above.
        Decision::Deny(
            _,
            Why::ReadOnly
            | Why::Immutable
            | Why::IdsUnmapped
            | Why::ValueEmpty
            | Why::ValueMalformed
            | Why::NsValueMalformed
            | Why::ManyInSingleMode
            | Why::RootidUnmapped,
        ) => decision,
        Decision::Deny(..) if by_the_caller.is_err() => Decision::Keep(Why::ForAnother),
        decision => decision,
    }
}

/// What is in the way of an entry that is to be written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Nothing.
    Free,
    /// An equal entry: nothing needs to be written.
    Same,
    /// An entry that gives way.
    Taken,
}

impl Way {
    /// Writes the entry, as the flags of setxattr(2) allow.
    fn write(
        self,
        next: &mut Next<'_>,
        rootid: Uid,
        caps: FileCaps,
        flags: SetFlags,
    ) -> Result<(), Denied> {
        match self {
            Way::Same => Ok(()),
            Way::Free if flags.replace => Err(Denied::new(Errno::ENODATA, Why::NothingToReplace)),
            Way::Free => next.put(rootid, caps),
            Way::Taken if flags.create => Err(Denied::new(Errno::EEXIST, Why::EntryInPlace)),
            Way::Taken => next.replace(rootid, caps),
        }
    }
}

impl<N: UserNs> Request<'_, '_, N> {
    /// R8.
    fn write_host<'o>(
        &self,
        caps: FileCaps,
        flags: SetFlags,
        out: &'o mut [[u8; RECORD_LEN]],
    ) -> Result<Decision<Stored<'o>>, Denied> {
        let exists = self.stored.host != Host::Absent;
        if exists && flags.create {
            return Err(Denied::new(Errno::EEXIST, Why::HostExists));
        }
        if !exists && flags.replace {
            return Err(Denied::new(Errno::ENODATA, Why::NothingToReplace));
        }
        let mut next = Next::of(self.stored, out)?;
        next.host = Host::Value(caps);
        next.finish(Why::HostWritten)
    }

    /// R5.
    fn write_own<'o>(
        &self,
        caps: FileCaps,
        flags: SetFlags,
        out: &'o mut [[u8; RECORD_LEN]],
    ) -> Result<Decision<Stored<'o>>, Denied> {
        let root = root_kuid(self.cred.ns);
        let way = self.busy(root, caps, flags)?;
        let kuid = root.ok_or(Denied::new(Errno::EPERM, self.why_no_root()))?;
        may_grant(self.cred, self.place, kuid)?;
        if way == Way::Same {
            return Ok(Decision::Keep(Why::SameAlready));
        }
        let rootid = self.storable(kuid)?;
        let mut next = Next::of(self.stored, out)?;
        way.write(&mut next, rootid, caps, flags)?;
        next.finish(Why::EntryWritten)
    }

    /// R7, for the entries of a value of either name.
    fn write_named<'o>(
        &self,
        records: &[[u8; RECORD_LEN]],
        flags: SetFlags,
        out: &'o mut [[u8; RECORD_LEN]],
    ) -> Result<Decision<Stored<'o>>, Denied> {
        let mut all_same = true;
        let records = || records.iter().copied().map(Record::from_bytes);
        for record in records() {
            let (_, way) = self.check_named(&record, flags)?;
            all_same &= way == Way::Same;
        }
        if all_same {
            return Ok(Decision::Keep(Why::SameAlready));
        }
        let mut next = Next::of(self.stored, out)?;
        for record in records() {
            let (rootid, way) = self.check_named(&record, flags)?;
            way.write(&mut next, rootid, record.caps(), flags)?;
        }
        next.finish(Why::EntriesWritten)
    }

    /// One entry of R7, as if it stood alone: the rootid to store it under.
    fn check_named(&self, record: &Record, flags: SetFlags) -> Result<(Uid, Way), Denied> {
        let uid = Uid::new(record.rootid());
        let kuid = uid.and_then(|uid| self.cred.ns.kuid(uid));
        let way = self.busy(kuid, record.caps(), flags)?;
        let Some(kuid) = kuid else {
            return Err(if uid == Some(Uid::ROOT) {
                Denied::new(Errno::EPERM, self.why_no_root())
            } else {
                Denied::new(Errno::EINVAL, Why::RootidUnmapped)
            });
        };
        let rootid = self.storable(kuid)?;
        may_grant(self.cred, self.place, kuid)?;
        Ok((rootid, way))
    }

    /// B and A: EBUSY where an entry is in the way. In single-entry mode that is any entry; with
    /// arrays, one for the same root kuid. The host value counts as the entry for the root kuid
    /// that it stands for. The policy says when that entry gives way.
    fn busy(&self, kuid: Option<Kuid>, caps: FileCaps, flags: SetFlags) -> Result<Way, Denied> {
        let seen = self.stored.seen_from(self.cred.ns, self.place);
        let host = match self.stored.host {
            Host::Value(caps) => self.place.kuid_of(Uid::ROOT).map(|root| (root, caps)),
            Host::Absent | Host::Malformed => None,
        };
        let named = |there: Option<Kuid>| there.is_some() && there == kuid;
        let entry = seen.entries().find(|entry| named(entry.kuid)).map(|entry| entry.caps);
        let host = host.filter(|(root, _)| named(Some(*root))).map(|(_, caps)| caps);
        match (entry.or(host), self.policy.busy) {
            (Some(same), Busy::SameOk) if same == caps => Ok(Way::Same),
            (Some(same), Busy::Replace) if same == caps && !flags.create => Ok(Way::Same),
            (Some(_), Busy::Replace) => Ok(Way::Taken),
            (None, _) if self.policy.array || !seen.has_entries() => Ok(Way::Free),
            _ => Err(Denied::new(Errno::EBUSY, Why::EntryExists)),
        }
    }

    /// M: the rootid to store for a kuid.
    fn storable(&self, kuid: Kuid) -> Result<Uid, Denied> {
        self.place.stored_of(kuid).ok_or(Denied::new(Errno::EINVAL, Why::RootidUnstorable))
    }

    /// Without a root kuid the answer is EPERM either way; a missing capability is the nearer
    /// reason.
    fn why_no_root(&self) -> Why {
        if self.cred.has_cap(Capability::Setfcap) { Why::NoRootKuid } else { Why::NoSetfcap }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CapSet;
    use crate::stored::Entries;
    use crate::wire::sort_records;
    use crate::world::{Ns, World, kgid, kuid};

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
        let place = Place::plain(by.initial(), root, kgid(root.get()));
        let request = Request { policy, cred: &cred, place: &place, stored };
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
            assert!(next.entries.iter().eq(entry.entries.iter()) && next.host == Host::Absent);
        });
    }

    #[test]
    fn m_what_the_vfs_has_translated_is_taken_as_it_is() {
        let mut world = world();
        world.add(0, 1000, &[(1000, 1000, 1)]);
        let place = Place::plain(world.ns(0), kuid(0), kgid(0));
        let root = Cred::privileged(world.ns(1), kuid(100_000), kgid(100_000));
        let user = Cred::ordinary(world.ns(1), kuid(100_007), kgid(100_007));
        let other = caps(Capability::Chown);
        let host = Stored::host(other);
        let entry = Stored::one(Uid::new(5).unwrap(), other);
        let decide = |cred, stored, rootid, flags| {
            let request = Request { policy: Policy::default(), cred, place: &place, stored };
            let mut out = [[0; RECORD_LEN]; 8];
            let rootid = Uid::new(rootid).unwrap();
            let decision = set_translated(&request, rootid, caps(RAW), flags, &mut out);
            let host = match decision {
                Decision::Write(next, _) => next.host,
                _ => Host::Absent,
            };
            (decision.errno(), decision.why(), host)
        };
        let none = SetFlags::default();
        let written = (None, Why::HostWritten, Host::Value(caps(RAW)));
        assert_eq!(decide(&root, &Stored::EMPTY, 0, none), written);
        // As on any file system: the second takes the first one's place.
        assert_eq!(decide(&root, &host, 0, none), written);
        let create = SetFlags { create: true, ..none };
        assert_eq!(decide(&root, &host, 0, create).0, Some(Errno::EEXIST));
        assert_eq!(decide(&root, &host, 5, none), (None, Why::EntryWritten, Host::Value(other)));
        assert_eq!(decide(&root, &entry, 5, none).0, Some(Errno::EBUSY));
        // Neither has passed the VFS's check.
        let no_root = Cred::privileged(world.ns(3), kuid(1000), kgid(1000));
        for cred in [&user, &no_root] {
            assert_eq!(decide(cred, &host, 0, none), (None, Why::ForAnother, Host::Absent));
        }
        let read_only = Place { read_only: true, ..place };
        let stored = Stored::EMPTY;
        let request =
            Request { policy: Policy::default(), cred: &root, place: &read_only, stored: &stored };
        let mut out = [[0; RECORD_LEN]; 8];
        let decision = set_translated(&request, Uid::ROOT, caps(RAW), none, &mut out);
        assert_eq!(decision.errno(), Some(Errno::EROFS));
    }

    #[test]
    fn w_what_the_caller_could_not_have_asked_is_asked_for_another() {
        let world = world();
        let place = Place::plain(world.ns(0), kuid(0), kgid(0));
        let root = Cred::privileged(world.ns(1), kuid(100_000), kgid(100_000));
        let admin = Cred::privileged(world.ns(0), kuid(0), kgid(0));
        let entry = Stored::one(Uid::new(100_000).unwrap(), caps(RAW));
        let name = Checked::Capability;
        let decide = |cred, stored, value: &[u8], name| {
            let request = Request { policy: Policy::default(), cred, place: &place, stored };
            let mut out = [[0; RECORD_LEN]; 8];
            let decision = set_capability(&request, value, SetFlags::default(), &mut out);
            let decision = passed_on(&request, name, decision);
            (decision.errno(), decision.why())
        };
        let v3 = VfsCaps::v3(0, caps(RAW)).encode();
        let v3 = v3.as_bytes();
        // Copied up: the file is the mounter's still, so the container's root cannot have asked.
        let another = (None, Why::ForAnother);
        assert_eq!(decide(&root, &Stored::EMPTY, v3, name), another);
        assert_eq!(decide(&root, &entry, v3, name), another);
        let value = (Some(Errno::EINVAL), Why::ValueEmpty);
        assert_eq!(decide(&root, &Stored::EMPTY, &[], name), value);
        // Whoever could have asked is told.
        let v3 = VfsCaps::v3(100_000, caps(RAW)).encode();
        let busy = (Some(Errno::EBUSY), Why::EntryExists);
        for name in [name, Checked::NsCapability] {
            assert_eq!(decide(&admin, &entry, v3.as_bytes(), name), busy);
        }
        let own = Place::plain(world.ns(0), kuid(100_000), kgid(100_000));
        let request =
            Request { policy: Policy::default(), cred: &root, place: &own, stored: &Stored::EMPTY };
        let no = Decision::Deny(Errno::EPERM, Why::RootOfAncestor);
        assert_eq!(passed_on(&request, name, no), no);
        assert_eq!(passed_on(&request, Checked::NsCapability, no).why(), Why::ForAnother);
    }

    #[test]
    fn r8_the_hosts_root_writes_a_host_value_and_entries_wait() {
        let world = world();
        let v2 = VfsCaps::v2(caps(RAW)).encode();
        let entry = Stored::one(Uid::new(100_000).unwrap(), caps(Capability::Chown));
        set(world.ns(0), Policy::default(), &entry, v2.as_bytes(), |decision| {
            let Decision::Write(next, Why::HostWritten) = decision else { panic!("{decision:?}") };
            assert_eq!(next.host, Host::Value(caps(RAW)));
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
        let stored = Stored { host: Host::Absent, entries: Entries::sorted(&records) };
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
        let other = Stored { host: Host::Absent, entries: Entries::sorted(&records[1..]) };
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
        let place = Place::plain(world.ns(0), kuid(0), kgid(0));
        let stored = Stored::one(Uid::new(7).unwrap(), caps(RAW));
        let policy = Policy::ARRAYS;
        let request = Request { policy, cred: &cred, place: &place, stored: &stored };
        let v3 = VfsCaps::v3(8, caps(RAW)).encode();
        let mut out = [[0; RECORD_LEN]; 1];
        let decision = set_capability(&request, v3.as_bytes(), SetFlags::default(), &mut out);
        assert_eq!(decision, Decision::Deny(Errno::ENOSPC, Why::NoRoom));
    }
}
