// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a file system that decides by these rules answers a kernel that passes requests on (FUSE):
//! V and W.
//!
//! The VFS has checked a request before the file system sees it, and has translated the rootid of
//! revision 3 to the superblock's terms. The credentials that it checked need not be the caller's
//! own: overlayfs copies a file up with its mounter's. And a removal may be the caller's, or the
//! kernel's own before a write.

use crate::bare;
use crate::cap::{Capability, FileCaps};
use crate::content::{Operation, content_change};
use crate::decision::{Decision, Denied, Errno, Why};
use crate::flags::SetFlags;
use crate::id::Uid;
use crate::inode_view::InodeView;
use crate::ns::{UserNs, root_kuid};
use crate::read::{Applicable, applicable};
use crate::remove::remove_capability;
use crate::request::Request;
use crate::stored::{EntryView, Stored};
use crate::vfscap::VfsCaps;
use crate::wire::RECORD_LEN;
use crate::write::{set_capability, set_nscapability};

/// W: what a file system answers the kernel when it asks for `security.capability` on behalf of a
/// task in `ns`: a host value as revision 2, but an entry always as revision 3 with its stored
/// rootid. The kernel turns that into revision 2, or T's revision 3, as R4 says; and where it
/// copies the value on (an overlayfs copy-up with its mounter's credentials), the copy is no wider
/// grant.
///
/// # Errors
/// As [`get_capability`](crate::get_capability).
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let file = container.file();
/// let (value, _) = handed_to_kernel(&container, &file, &Stored::host(ping)).unwrap();
/// assert_eq!(value, VfsCaps::v2(ping));
/// let entry = Stored::one(Uid::new(100_000).unwrap(), ping);
/// let (value, _) = handed_to_kernel(&container, &file, &entry).unwrap();
/// assert_eq!(value, VfsCaps::v3(100_000, ping));
/// ```
pub fn handed_to_kernel<N: UserNs>(
    ns: N,
    inode: &InodeView<N>,
    stored: &Stored<'_>,
) -> Result<(VfsCaps, Why), Denied> {
    let entry = |entry: EntryView| VfsCaps::v3(entry.stored.get(), entry.caps);
    Ok(match applicable(ns, inode, stored)? {
        Applicable::Host(caps) => (VfsCaps::v2(caps), Why::HostValueRead),
        Applicable::Entry(own) => (entry(own), Why::EntryRead),
        Applicable::Named(other, _) => (entry(other), Why::OnlyEntryRead),
    })
}

/// A name for which the kernel has checked that the caller may write it, before it asks a file
/// system.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Checked {
    /// `security.capability`: R5 (a) and (c). The value's rootid is in the superblock's terms.
    Capability {
        /// Whether the kernel allows id-mapped mounts of the file system, so that it may have
        /// translated a rootid by such a mount's map (M).
        idmapped: bool,
    },
    /// `security.nscapability`, as any other `security.*`: CAP_SYS_ADMIN over the superblock's
    /// owner namespace.
    NsCapability,
}

/// setxattr(2) as a kernel passes it on to a file system. `out` needs as many slots as the file has
/// entries and the value has more.
///
/// W: the caller may be one that the kernel would have refused. Then the kernel asks with other
/// credentials than the caller's own: overlayfs copies a file up with its mounter's. The file
/// system cannot know whose they are. So a write that would be denied is left out and the call
/// succeeds, since an error would fail the whole copy.
///
/// M: if the kernel allows id-mapped mounts, the map of such a mount may have made a rootid that
/// the caller could not have named. It is taken as any file system takes it: 0 is the host value,
/// which is written as it always was (R8); any other is an entry, and other entries are in its way
/// as ever (B). The caller must hold CAP_SETFCAP and have a root kuid; if not, the VFS has checked
/// other credentials (W). U is not checked, since the map of the mount is not known; a kernel does
/// not check it for other file systems either.
///
/// Errors: those of [`set_capability`] and [`set_nscapability`]. A caller that the kernel would
/// have refused gets only those of the value and of V. For a translated rootid: EINVAL where it
/// cannot be stored, EBUSY, EEXIST and ENODATA by the flags, ENOSPC.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let file = container.file();
/// // The container's root wrote a plain value.
/// let value = VfsCaps::v3(100_000, ping).encode();
/// let write = |cred: Cred<_>| {
///     let (cred, policy, stored) = (&cred, Policy::default(), &Stored::EMPTY);
///     let request = Request { policy, cred, inode: &file, stored };
///     let mut out = [[0; RECORD_LEN]; MAX_ENTRIES];
///     let name = Checked::Capability { idmapped: false };
///     set_relayed(&request, name, value.as_bytes(), SetFlags::default(), &mut out).why()
/// };
/// assert_eq!(write(container.root()), Why::EntriesWritten);
/// assert_eq!(write(container.user(1000).unwrap()), Why::ForAnother);
/// ```
pub fn set_relayed<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    name: Checked,
    value: &[u8],
    flags: SetFlags,
    out: &'o mut [[u8; RECORD_LEN]],
) -> Decision<Stored<'o>> {
    let Checked::Capability { idmapped } = name else {
        return passed_on(request, name, set_nscapability(request, value, flags, out));
    };
    let named = VfsCaps::settable(value).ok().filter(|value| value.named().is_some());
    let Some(named) = named else {
        return passed_on(request, name, set_capability(request, value, flags, out));
    };
    let (rootid, caps) = (named.rootid(), named.caps());
    let kuid = rootid.and_then(|rootid| request.inode.kuid_of(rootid));
    let kuid = kuid.and_then(|kuid| request.named(kuid));
    if let (true, Some(rootid), None) = (idmapped, rootid, kuid) {
        return translated(request, rootid, caps, flags, out);
    }
    let writable = request.inode.check_writable();
    let written = writable.and_then(|()| request.write_entry(kuid, caps, flags, out));
    passed_on(request, name, written.unwrap_or_else(Decision::from))
}

/// M: a write whose rootid the VFS has translated by the map of an id-mapped mount.
fn translated<'o, N: UserNs>(
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
    let written = request.inode.check_writable().and_then(|()| {
        if rootid == Uid::ROOT {
            return request.write_host(caps, flags, out);
        }
        let kuid = request.inode.kuid_of(rootid);
        let kuid = kuid.ok_or(Denied::new(Errno::EINVAL, Why::RootidUnstorable))?;
        let way = request.busy(Some(kuid), caps, flags)?;
        request.put(rootid, way, (caps, flags), out, Why::EntryWritten)
    });
    written.unwrap_or_else(Decision::from)
}

/// W: what becomes of a decision on a write that the kernel passes on.
fn passed_on<'o, N: UserNs>(
    request: &Request<'_, '_, N>,
    name: Checked,
    decision: Decision<Stored<'o>>,
) -> Decision<Stored<'o>> {
    let by_the_caller = match name {
        // What is removable is writable, by the same check.
        Checked::Capability { .. } => {
            bare::remove_capability(request.cred, request.inode, Some(&[]))
        }
        Checked::NsCapability => {
            bare::set_other(request.cred, request.inode, false, SetFlags::default())
        }
    };
    match decision {
        // No credentials make the value right. The last: through an id-mapped mount the caller
        // itself may have named the rootid.
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

/// V: a removal of `security.capability` as a kernel passes it on to a file system. It may be the
/// caller's own, which the kernel has checked for R5 (a) and (c), or the kernel's before a write of
/// the caller. Both look alike, and a refusal of the second makes the write fail. So a removal that
/// D refuses is carried out as K, and so is one for a caller that the kernel would have refused.
/// `out` needs as many slots as the file has entries.
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
/// let request = Request { policy: Policy::default(), cred: &user, inode: &file, stored: &stored };
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

/// Whether an unmodified kernel lets the caller remove `security.capability` through some mount of
/// the file system. An id-mapped mount may be the reason that owner and group map into the caller's
/// namespace.
fn could_ask<N: UserNs>(request: &Request<'_, '_, N>) -> bool {
    request.cred.has_cap(Capability::Setfcap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Ns, World, kgid, kuid};
    use crate::{CapSet, Cred, HostValue, Policy, Revision};

    const RAW: Capability = Capability::NetRaw;

    fn caps(cap: Capability) -> FileCaps {
        FileCaps { permitted: CapSet::of(&[cap]), effective: true, ..FileCaps::default() }
    }

    fn entry(rootid: u32) -> Stored<'static> {
        Stored::one(Uid::new(rootid).unwrap(), caps(RAW))
    }

    /// The initial namespace, 1 with root kuid 100000, 2 below it with root kuid 100500, and 3
    /// beside it without a uid 0.
    fn world() -> World {
        let mut world = World::new();
        world.add(0, 0, &[(0, 100_000, 1000)]);
        world.add(1, 100_000, &[(0, 100_500, 100)]);
        world.add(0, 1000, &[(1000, 1000, 1)]);
        world
    }

    /// What becomes of a value: the errno, the reason, and the host value after it.
    fn set(
        (cred, inode, stored): (&Cred<Ns<'_>>, &InodeView<Ns<'_>>, &Stored<'_>),
        name: Checked,
        value: &[u8],
        flags: SetFlags,
    ) -> (Option<Errno>, Why, HostValue) {
        let request = Request { policy: Policy::default(), cred, inode, stored };
        let mut out = [[0; RECORD_LEN]; 8];
        let decision = set_relayed(&request, name, value, flags, &mut out);
        let host = match decision {
            Decision::Write(next, _) => next.host,
            _ => HostValue::Absent,
        };
        (decision.errno(), decision.why(), host)
    }

    #[test]
    fn w_hands_the_kernel_the_rootid_and_never_a_wider_revision_2() {
        let world = world();
        let inode = InodeView::plain(world.ns(0), kuid(0), kgid(0));
        let (value, _) = handed_to_kernel(world.ns(1), &inode, &entry(100_000)).unwrap();
        assert_eq!(value.revision(), Revision::V3 { rootid: 100_000 });
    }

    #[test]
    fn m_what_the_vfs_has_translated_is_taken_as_it_is() {
        let world = world();
        let inode = InodeView::plain(world.ns(0), kuid(0), kgid(0));
        let root = Cred::privileged(world.ns(1), kuid(100_000), kgid(100_000));
        let user = Cred::ordinary(world.ns(1), kuid(100_007), kgid(100_007));
        let other = caps(Capability::Chown);
        let (host, busy) = (Stored::host(other), Stored::one(Uid::new(5).unwrap(), other));
        let decide = |cred, stored, rootid, flags| {
            let value = VfsCaps::v3(rootid, caps(RAW)).encode();
            let name = Checked::Capability { idmapped: true };
            set((cred, &inode, stored), name, value.as_bytes(), flags)
        };
        let none = SetFlags::default();
        let written = (None, Why::HostWritten, HostValue::Present(caps(RAW)));
        assert_eq!(decide(&root, &Stored::EMPTY, 0, none), written);
        // As on any file system: the second takes the first one's place.
        assert_eq!(decide(&root, &host, 0, none), written);
        let create = SetFlags { create: true, ..none };
        assert_eq!(decide(&root, &host, 0, create).0, Some(Errno::EEXIST));
        assert_eq!(
            decide(&root, &host, 5, none),
            (None, Why::EntryWritten, HostValue::Present(other))
        );
        assert_eq!(decide(&root, &busy, 5, none).0, Some(Errno::EBUSY));
        // Neither has passed the VFS's check.
        let no_root = Cred::privileged(world.ns(3), kuid(1000), kgid(1000));
        for cred in [&user, &no_root] {
            assert_eq!(decide(cred, &host, 0, none), (None, Why::ForAnother, HostValue::Absent));
        }
        let read_only = InodeView { read_only: true, ..inode };
        let value = VfsCaps::v3(0, caps(RAW)).encode();
        let name = Checked::Capability { idmapped: true };
        let refused = set((&root, &read_only, &Stored::EMPTY), name, value.as_bytes(), none);
        assert_eq!(refused.0, Some(Errno::EROFS));
    }

    #[test]
    fn r7_a_rootid_that_the_caller_can_name_is_its_own_and_another_is_einval() {
        let world = world();
        let inode = InodeView::plain(world.ns(0), kuid(100_000), kgid(100_000));
        let root = Cred::privileged(world.ns(1), kuid(100_000), kgid(100_000));
        for idmapped in [false, true] {
            let name = Checked::Capability { idmapped };
            let decide = |rootid| {
                let value = VfsCaps::v3(rootid, caps(RAW)).encode();
                let none = SetFlags::default();
                set((&root, &inode, &Stored::EMPTY), name, value.as_bytes(), none)
            };
            for rootid in [100_000, 100_999] {
                assert_eq!(decide(rootid), (None, Why::EntriesWritten, HostValue::Absent));
            }
            let unmapped = (Some(Errno::EINVAL), Why::RootidUnmapped, HostValue::Absent);
            assert_eq!(decide(u32::MAX), unmapped);
            let translated = (None, Why::EntryWritten, HostValue::Absent);
            assert_eq!(decide(101_000), if idmapped { translated } else { unmapped });
        }
    }

    #[test]
    fn w_what_the_caller_could_not_have_asked_is_asked_for_another() {
        let world = world();
        let inode = InodeView::plain(world.ns(0), kuid(0), kgid(0));
        let root = Cred::privileged(world.ns(1), kuid(100_000), kgid(100_000));
        let admin = Cred::privileged(world.ns(0), kuid(0), kgid(0));
        let own = entry(100_000);
        let name = Checked::Capability { idmapped: false };
        let none = SetFlags::default();
        let decide = |cred, stored, value: &[u8]| {
            let (errno, why, _) = set((cred, &inode, stored), name, value, none);
            (errno, why)
        };
        let v3 = VfsCaps::v3(100_000, caps(RAW)).encode();
        let v3 = v3.as_bytes();
        // Copied up: the mounter still owns the file, so the container's root cannot have asked.
        let another = (None, Why::ForAnother);
        assert_eq!(decide(&root, &Stored::EMPTY, v3), another);
        assert_eq!(decide(&root, &own, v3), another);
        let value = (Some(Errno::EINVAL), Why::ValueEmpty);
        assert_eq!(decide(&root, &Stored::EMPTY, &[]), value);
        // A caller that could have asked is told.
        assert_eq!(decide(&admin, &own, v3), (Some(Errno::EBUSY), Why::EntryExists));
        let own = InodeView::plain(world.ns(0), kuid(100_000), kgid(100_000));
        let stored = &Stored::EMPTY;
        let request = Request { policy: Policy::default(), cred: &root, inode: &own, stored };
        let no = Decision::Deny(Errno::EPERM, Why::RootOfAncestor);
        assert_eq!(passed_on(&request, name, no), no);
        assert_eq!(passed_on(&request, Checked::NsCapability, no).why(), Why::ForAnother);
    }

    #[test]
    fn v_a_removal_that_may_be_the_kernels_is_never_refused() {
        let world = world();
        let (host, own, other) = (Stored::host(caps(RAW)), entry(100_000), entry(7));
        let inode = InodeView::plain(world.ns(0), kuid(100_500), kgid(100_500));
        let root = Cred::privileged(world.ns(1), kuid(100_000), kgid(100_000));
        let user = Cred::ordinary(world.ns(1), kuid(100_007), kgid(100_007));
        let remove = |cred, stored| {
            let policy = Policy::ARRAYS;
            let request = Request { policy, cred, inode: &inode, stored };
            let mut out = [[0; RECORD_LEN]; 2];
            match remove_or_strip(&request, &mut out) {
                Decision::Write(next, why) => Ok((next.is_empty(), why)),
                decision => Err(decision.errno()),
            }
        };
        assert_eq!(remove(&root, &host), Ok((true, Why::ContentChanged)));
        assert_eq!(remove(&user, &host), Ok((true, Why::ContentChanged)));
        assert_eq!(remove(&root, &own), Ok((true, Why::EntryRemoved)));
        // R4 shows root no value, so the kernel does not remove one before a write by root.
        assert_eq!(remove(&root, &other), Err(Some(Errno::ENODATA)));
        assert_eq!(remove(&user, &other), Ok((true, Why::ContentChanged)));
    }
}
