// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading and listing: R4, T, R6 and L.

use crate::cap::FileCaps;
use crate::decision::{Denied, Errno, Why};
use crate::id::{Uid, id_or_minus_one};
use crate::inode_view::InodeView;
use crate::ns::{UserNs, is_same_or_below, rooted_at};
use crate::nscaps::NsCaps;
use crate::storage::TRIPWIRE_ROOTID;
use crate::stored::{EntryView, HostValue, Stored};
use crate::vfscap::VfsCaps;
use crate::wire::Record;

/// R4: what getxattr(2) of `security.capability` gives a caller in `ns`, with the reason: revision
/// 2 of a host value and of an entry that applies; by T revision 3 of the only entry, with its
/// rootid in the caller's terms.
///
/// # Errors
/// ENODATA where there is none of these; EINVAL where the stored value is malformed, as the kernel
/// answers. Never EOVERFLOW.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let entry = Stored::one(Uid::new(100_000).unwrap(), ping);
/// let read = |ns| get_capability(ns, &container.file(), &entry).unwrap();
/// assert_eq!(read(&container), (VfsCaps::v2(ping), Why::EntryRead));
/// // To the host the entry names its root (T).
/// assert_eq!(read(&host), (VfsCaps::v3(100_000, ping), Why::OnlyEntryRead));
/// ```
pub fn get_capability<N: UserNs>(
    ns: N,
    inode: &InodeView<N>,
    stored: &Stored<'_>,
) -> Result<(VfsCaps, Why), Denied> {
    Ok(match applicable(ns, inode, stored)? {
        Applicable::Host(caps) => (VfsCaps::v2(caps), Why::HostValueRead),
        Applicable::Entry(entry) => (VfsCaps::v2(entry.caps), Why::EntryRead),
        Applicable::Named(entry, uid) => (VfsCaps::v3(uid.get(), entry.caps), Why::OnlyEntryRead),
    })
}

/// R4 for the two kinds that nearly all files with capabilities are: a file with a host value, for
/// a caller in the owner namespace or below, and a file with an entry that applies to the caller;
/// neither through an id map. Takes only the stored bytes of `security.capability`, and gives the
/// value that [`get_capability`] gives; `None` where the rest of the file has to be looked at. It
/// is for a kernel, which asks at each execve.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let (file, stored) = (container.file(), VfsCaps::v3(100_000, ping).encode());
/// let shown = get_plainly(&container, &file, stored.as_bytes());
/// assert_eq!(shown.unwrap(), VfsCaps::v2(ping).encode().as_bytes());
/// assert_eq!(get_plainly(&host, &file, stored.as_bytes()), None);
/// ```
pub fn get_plainly<N: UserNs>(ns: N, inode: &InodeView<N>, capability: &[u8]) -> Option<[u8; 20]> {
    let (value, rest) = capability.split_first_chunk::<20>()?;
    let [0..=1, 0, 0, revision, ..] = *value else {
        return None;
    };
    if inode.idmap.is_some() || !is_same_or_below(ns, inode.sb_ns) {
        return None;
    }
    if revision == 3 {
        let rootid = u32::from_le_bytes(*rest.first_chunk()?);
        // 0 is the host value, written so; the last but one is a tripwire's.
        if rootid == 0 || rootid >= TRIPWIRE_ROOTID || rest.len() != 4 {
            return None;
        }
        rooted_at(inode.sb_ns.kuid(Uid::new(rootid)?)?, ns)?;
    } else if revision != 2 || !rest.is_empty() {
        return None;
    }
    let mut shown = *value;
    let [_, _, _, revision, ..] = &mut shown;
    *revision = 2;
    Some(shown)
}

/// What R4 shows a caller.
pub(crate) enum Applicable {
    Host(FileCaps),
    Entry(EntryView),
    /// T: another root's entry, the only one, with its rootid in the caller's terms.
    Named(EntryView, Uid),
}

pub(crate) fn applicable<N: UserNs>(
    ns: N,
    inode: &InodeView<N>,
    stored: &Stored<'_>,
) -> Result<Applicable, Denied> {
    let seen = stored.seen_from(ns, inode);
    match seen.host() {
        HostValue::Present(caps) => Ok(Applicable::Host(caps)),
        HostValue::Malformed => Err(Denied::new(Errno::EINVAL, Why::StoredMalformed)),
        HostValue::Absent => {
            if let Some((entry, _)) = seen.nearest(ns) {
                return Ok(Applicable::Entry(entry));
            }
            let named = seen.only().and_then(|entry| Some((entry, shown_as(ns, &entry)?)));
            match named {
                Some((entry, uid)) => Ok(Applicable::Named(entry, uid)),
                None => Err(Denied::new(Errno::ENODATA, Why::NothingToRead)),
            }
        }
    }
}

/// R6: writes what getxattr(2) of `security.nscapability` gives a caller in `ns` to the front of
/// `out`, and gives its length in bytes. Rootids that have no mapping there are -1, at the end.
///
/// # Errors
/// ENODATA where the file has no entry; ERANGE where `out` is shorter than
/// [`nscapability_len`].
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let entry = Stored::one(Uid::new(100_000).unwrap(), ping);
/// let mut value = [0; NsCaps::encoded_len(1)];
/// let mut read = |ns| {
///     get_nscapability(ns, &container.file(), &entry, &mut value).unwrap();
///     NsCaps::decode(&value).unwrap().iter().next().unwrap().rootid()
/// };
/// assert_eq!((read(&host), read(&container)), (100_000, 0));
/// ```
pub fn get_nscapability<N: UserNs>(
    ns: N,
    inode: &InodeView<N>,
    stored: &Stored<'_>,
    out: &mut [u8],
) -> Result<usize, Denied> {
    let seen = stored.seen_from(ns, inode);
    if !seen.has_entries() {
        return Err(Denied::new(Errno::ENODATA, Why::NoEntries));
    }
    let shown = seen
        .entries()
        .map(|entry| Record::new(id_or_minus_one(shown_as(ns, &entry).map(Uid::get)), entry.caps));
    NsCaps::encode(shown, out).ok_or(Denied::new(Errno::ERANGE, Why::NoRoom))
}

/// The length of the value that [`get_nscapability`] gives, in bytes: what a probe of size 0
/// returns.
///
/// # Errors
/// ENODATA where the file has no entry.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let entry = Stored::one(Uid::new(100_000).unwrap(), ping);
/// let file = container.file();
/// assert_eq!(nscapability_len(&container, &file, &entry), Ok(32));
/// assert!(nscapability_len(&container, &file, &Stored::host(ping)).is_err());
/// ```
pub fn nscapability_len<N: UserNs>(
    ns: N,
    inode: &InodeView<N>,
    stored: &Stored<'_>,
) -> Result<usize, Denied> {
    match stored.seen_from(ns, inode).entries().count() {
        0 => Err(Denied::new(Errno::ENODATA, Why::NoEntries)),
        count => Ok(NsCaps::encoded_len(count)),
    }
}

/// Which of the two names listxattr(2) gives a caller.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Listed {
    /// `security.capability`.
    pub capability: bool,
    /// `security.nscapability`.
    pub nscapability: bool,
}

/// L: which names listxattr(2) gives a caller in `ns`, so that a tool that copies what is listed
/// copies each grant once.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let entry = Stored::one(Uid::new(100_000).unwrap(), ping);
/// let listed = list(&container, &container.file(), &entry);
/// assert!(listed.capability && !listed.nscapability);
/// ```
pub fn list<N: UserNs>(ns: N, inode: &InodeView<N>, stored: &Stored<'_>) -> Listed {
    let (mut entries, mut all_map) = (0usize, true);
    for entry in stored.seen_from(ns, inode).entries() {
        entries = entries.saturating_add(1);
        all_map &= shown_as(ns, &entry).is_some();
    }
    let (capability, shown) = match applicable(ns, inode, stored) {
        Ok(Applicable::Host(_)) => (true, 0),
        Ok(Applicable::Entry(_) | Applicable::Named(..)) => (true, 1),
        // A malformed value is listed, as the kernel lists it: what is broken must be findable.
        Err(no) => (no.errno == Errno::EINVAL, 0),
    };
    let nscapability =
        if ns.same(inode.sb_ns) { entries > shown } else { !capability && entries > 0 && all_map };
    Listed { capability, nscapability }
}

fn shown_as<N: UserNs>(ns: N, entry: &EntryView) -> Option<Uid> {
    ns.uid(entry.kuid?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Revision;
    use crate::world::{World, kgid, kuid};

    /// Two containers with the root kuids 100000 and 200000.
    const BOTH: [(u32, u32); 2] = [(100_000, 1000), (200_000, 1000)];

    fn entry() -> Stored<'static> {
        let caps = FileCaps { effective: true, ..FileCaps::default() };
        Stored::one(Uid::new(100_000).unwrap_or(Uid::ROOT), caps)
    }

    #[test]
    fn r4_shows_revision_2_to_a_caller_that_the_entry_applies_to_and_nothing_to_a_stranger() {
        let world = World::side_by_side(&BOTH);
        let inode = InodeView::plain(world.ns(0), kuid(0), kgid(0));
        let (value, why) = get_capability(world.ns(1), &inode, &entry()).unwrap();
        assert_eq!((value.revision(), why), (Revision::V2, Why::EntryRead));
        let no = get_capability(world.ns(2), &inode, &entry()).unwrap_err();
        assert_eq!(no, Denied::new(Errno::ENODATA, Why::NothingToRead));
    }

    #[test]
    fn t_names_the_root_of_the_only_entry_and_of_no_other() {
        let mut world = World::side_by_side(&BOTH);
        world.add(1, 100_000, &[(0, 500, 100)]);
        let inode = InodeView::plain(world.ns(0), kuid(0), kgid(0));
        let shown = |ns, stored: &Stored<'_>| {
            get_capability(world.ns(ns), &inode, stored).map(|(value, why)| (value.revision(), why))
        };
        let named = |rootid| Ok((Revision::V3 { rootid }, Why::OnlyEntryRead));
        let none = Err(Denied::new(Errno::ENODATA, Why::NothingToRead));
        assert_eq!(shown(0, &entry()), named(100_000));
        // A child's, in the parent's terms.
        let nested = Stored::one(Uid::new(100_500).unwrap(), FileCaps::default());
        assert_eq!([0, 1, 2].map(|ns| shown(ns, &nested)), [named(100_500), named(500), none]);
        let two = [100_000, 200_000].map(|id| *Record::new(id, FileCaps::default()).as_bytes());
        let two = Stored { entries: crate::Entries::decode(&two).unwrap(), ..Stored::EMPTY };
        assert_eq!(shown(0, &two), none);
        let both = Stored { host: HostValue::Present(FileCaps::default()), ..entry() };
        assert_eq!(shown(0, &both), Ok((Revision::V2, Why::HostValueRead)));
    }

    #[test]
    fn r6_shows_an_unmapped_rootid_as_minus_one() {
        let world = World::side_by_side(&BOTH);
        let inode = InodeView::plain(world.ns(0), kuid(0), kgid(0));
        for (ns, shown) in [(0, 100_000), (1, 0), (2, u32::MAX)] {
            let mut out = [0; NsCaps::encoded_len(1)];
            let len = get_nscapability(world.ns(ns), &inode, &entry(), &mut out).unwrap();
            assert_eq!(Ok(len), nscapability_len(world.ns(ns), &inode, &entry()));
            let value = NsCaps::decode_shown(&out).unwrap();
            assert!(value.iter().map(|r| r.rootid()).eq([shown]));
        }
    }

    #[test]
    fn l_lists_each_grant_once_and_none_that_a_copy_could_not_set() {
        let world = World::side_by_side(&BOTH);
        let inode = InodeView::plain(world.ns(0), kuid(0), kgid(0));
        let listed = |ns| {
            let Listed { capability, nscapability } = list(world.ns(ns), &inode, &entry());
            (capability, nscapability)
        };
        assert_eq!(
            [listed(0), listed(1), listed(2)],
            [(true, false), (true, false), (false, false)]
        );
    }

    #[test]
    fn l_of_a_host_value_and_an_entry_the_owner_lists_both_and_of_two_entries_only_their_name() {
        let world = World::side_by_side(&BOTH);
        let inode = InodeView::plain(world.ns(0), kuid(0), kgid(0));
        let two = [100_000, 100_500].map(|id| *Record::new(id, FileCaps::default()).as_bytes());
        let two = Stored { entries: crate::Entries::decode(&two).unwrap(), ..Stored::EMPTY };
        let both = Stored { host: HostValue::Present(FileCaps::default()), ..entry() };
        for (stored, shown) in [(two, (false, true)), (both, (true, true))] {
            let Listed { capability, nscapability } = list(world.ns(0), &inode, &stored);
            assert_eq!((capability, nscapability), shown);
        }
    }

    #[test]
    fn m_a_host_value_from_outside_its_namespace_is_an_entry_for_its_root() {
        let world = World::side_by_side(&BOTH);
        let inode = InodeView::plain(world.ns(1), kuid(100_000), kgid(100_000));
        let stored = Stored::host(FileCaps::default());
        let (value, why) = get_capability(world.ns(0), &inode, &stored).unwrap();
        let named = (Revision::V3 { rootid: 100_000 }, Why::OnlyEntryRead);
        assert_eq!((value.revision(), why), named);
        let mut out = [0; NsCaps::encoded_len(1)];
        get_nscapability(world.ns(0), &inode, &stored, &mut out).unwrap();
        assert!(NsCaps::decode(&out).unwrap().iter().map(|r| r.rootid()).eq([100_000]));
        assert!(get_capability(world.ns(1), &inode, &stored).is_ok());
    }
}
