// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which of a file's capabilities apply to a task: R8, R3, A.

use crate::cap::FileCaps;
use crate::decision::{Denied, Errno, Why};
use crate::id::Kuid;
use crate::inode_view::InodeView;
use crate::ns::{UserNs, root_kuid};
use crate::stored::{HostValue, Stored};

/// Where the file's part in the new credentials comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grant<N> {
    /// Nothing, for this reason.
    Nothing(Why),
    /// The host value.
    Host(FileCaps),
    /// An entry.
    Entry {
        /// Its root kuid.
        kuid: Kuid,
        /// The namespace whose root that is, the task's or an ancestor.
        at: N,
        /// Its capabilities.
        caps: FileCaps,
    },
}

impl<N> Grant<N> {
    /// The capabilities, where there are any.
    #[must_use]
    pub fn caps(&self) -> Option<FileCaps> {
        match self {
            Grant::Nothing(_) => None,
            Grant::Host(caps) | Grant::Entry { caps, .. } => Some(*caps),
        }
    }

    /// The clause that chose it.
    #[must_use]
    pub fn why(&self) -> Why {
        match self {
            Grant::Nothing(why) => *why,
            Grant::Host(_) => Why::HostOverrides,
            Grant::Entry { .. } => Why::EntryApplies,
        }
    }
}

/// R8, R3, A: which of a file's capabilities a task in `ns` gets, mount flags aside.
///
/// # Errors
/// EINVAL where the stored value is malformed.
///
/// ```
/// use nscap_core::*;
/// let host = Mapped::initial();
/// let container = host.below(100_000, 65_536);
/// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
/// let stored = Stored::one(Uid::new(100_000).unwrap(), ping);
/// let grant = |ns| file_grant(ns, &container.file(), &stored).unwrap();
/// assert_eq!(grant(&container).caps(), Some(ping));
/// assert_eq!(grant(&host), Grant::Nothing(Why::NoEntryApplies));
/// ```
pub fn file_grant<N: UserNs>(
    ns: N,
    inode: &InodeView<N>,
    stored: &Stored<'_>,
) -> Result<Grant<N>, Denied> {
    if stored.is_empty() {
        return Ok(Grant::Nothing(Why::NoCapsOnFile));
    }
    let seen = stored.seen_from(ns, inode);
    match seen.host() {
        HostValue::Malformed => return Err(Denied::new(Errno::EINVAL, Why::StoredMalformed)),
        HostValue::Present(_) if root_kuid(inode.sb_ns).is_none() => {
            return Ok(Grant::Nothing(Why::HostNotRooted));
        }
        HostValue::Present(caps) => return Ok(Grant::Host(caps)),
        HostValue::Absent => {}
    }
    Ok(match seen.nearest(ns) {
        Some((entry, at)) => match entry.kuid {
            Some(kuid) => Grant::Entry { kuid, at, caps: entry.caps },
            None => Grant::Nothing(Why::NoEntryApplies),
        },
        None => Grant::Nothing(Why::NoEntryApplies),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Ns, World, kgid, kuid};
    use crate::{
        CapSet, Entries, MAX_ENTRIES, Mapped, RECORD_LEN, Record, is_same_or_below, rooted_at,
    };
    use core::cell::Cell;
    use std::vec::Vec;

    fn records(rootids: impl IntoIterator<Item = u32>) -> Vec<[u8; RECORD_LEN]> {
        let caps = |id: u32| FileCaps { permitted: CapSet::from_bits(id.into()), ..CAPS };
        rootids.into_iter().map(|id| *Record::new(id, caps(id)).as_bytes()).collect()
    }

    const CAPS: FileCaps =
        FileCaps { permitted: CapSet::EMPTY, inheritable: CapSet::EMPTY, effective: true };

    /// A, as it is said: of all entries whose kuid is a root on the way, the nearest.
    fn nearest_of_all<'w>(
        ns: Ns<'w>,
        inode: &InodeView<Ns<'w>>,
        stored: &Stored<'_>,
    ) -> Option<(Kuid, FileCaps)> {
        let seen = stored.seen_from(ns, inode);
        let rooted = seen.entries().filter_map(|entry| {
            let kuid = entry.kuid?;
            Some((rooted_at(kuid, ns)?, kuid, entry.caps))
        });
        let nearer = |best: (Ns<'w>, Kuid, FileCaps), next: (Ns<'w>, Kuid, FileCaps)| {
            if is_same_or_below(next.0, best.0) { next } else { best }
        };
        rooted.reduce(nearer).map(|(_, kuid, caps)| (kuid, caps))
    }

    #[test]
    fn a_what_is_looked_up_is_what_a_search_of_all_entries_finds() {
        let mut world = World::new();
        let outer = world.add(0, 0, &[(0, 1000, 1000), (1000, 50, 1)]);
        let inner = world.add(outer, 1000, &[(0, 1500, 100)]);
        world.add(inner, 1500, &[(0, 1510, 10), (10, 1500, 1)]);
        // Without a root, with the outer one's root, and with the initial one's.
        world.add(outer, 1000, &[(1, 1000, 1)]);
        world.add(inner, 1500, &[(0, 1000, 1)]);
        world.add(outer, 1000, &[(0, 0, 1)]);
        let count = 7;
        let ids = [0, 10, 500, 1000, 1500, 1510];
        let (mut found, mut tried) = (0, 0);
        for chosen in 0u32..1 << ids.len() {
            let chosen = ids.into_iter().enumerate().filter(|(i, _)| chosen & 1 << i != 0);
            let chosen: Vec<u32> = chosen.map(|(_, id)| id).collect();
            let entries = records(chosen.iter().copied().filter(|id| *id != 0));
            let entries = Entries::decode(&entries).unwrap();
            let host =
                if chosen.contains(&0) { HostValue::Present(CAPS) } else { HostValue::Absent };
            let stored = Stored { host, entries };
            for (sb, ns, map) in (0..count).flat_map(|sb| {
                (0..count).flat_map(move |ns| (0..=count).map(move |map| (sb, ns, map)))
            }) {
                let inode = InodeView {
                    idmap: (map < count).then(|| world.ns(map)),
                    ..InodeView::plain(world.ns(sb), kuid(0), kgid(0))
                };
                let ns = world.ns(ns);
                let nearest = stored.seen_from(ns, &inode).nearest(ns);
                let nearest = nearest.and_then(|(entry, at)| {
                    assert_eq!(entry.kuid.and_then(|kuid| rooted_at(kuid, ns)), Some(at));
                    Some((entry.kuid?, entry.caps))
                });
                assert_eq!(nearest, nearest_of_all(ns, &inode, &stored), "{stored:?} {inode:?}");
                (tried, found) = (tried + 1, found + u32::from(nearest.is_some()));
            }
        }
        assert!(found > tried / 20, "{found} of {tried}");
    }

    /// Counts what it is asked.
    #[derive(Clone, Copy, Debug)]
    struct Asked<'a>(&'a Mapped<'a>, &'a Cell<u32>);

    impl<'a> Asked<'a> {
        fn ask(self) -> &'a Mapped<'a> {
            self.1.set(self.1.get() + 1);
            self.0
        }
    }

    impl UserNs for Asked<'_> {
        fn same(self, other: Self) -> bool {
            self.0.same(other.0)
        }
        fn parent(self) -> Option<Self> {
            Some(Asked(self.ask().parent()?, self.1))
        }
        fn owner(self) -> Kuid {
            self.ask().owner()
        }
        fn kuid(self, uid: crate::Uid) -> Option<Kuid> {
            self.ask().kuid(uid)
        }
        fn uid(self, kuid: Kuid) -> Option<crate::Uid> {
            self.ask().uid(kuid)
        }
        fn kgid(self, gid: crate::Gid) -> Option<crate::Kgid> {
            self.ask().kgid(gid)
        }
        fn gid(self, kgid: crate::Kgid) -> Option<crate::Gid> {
            self.ask().gid(kgid)
        }
    }

    #[test]
    fn a_table_is_not_asked_about_entry_by_entry() {
        let host = Mapped::initial();
        let container = host.below(100_500, 65_536);
        let asked = Cell::new(0);
        let ns = Asked(&container, &asked);
        let inode = InodeView::plain(Asked(&host, &asked), kuid(0), kgid(0));
        let table = records((100_000..).take(MAX_ENTRIES));
        let stored = Stored { host: HostValue::Absent, entries: Entries::decode(&table).unwrap() };
        let kuid = kuid(100_500);
        let grant = file_grant(ns, &inode, &stored).unwrap();
        assert!(matches!(grant, Grant::Entry { kuid: at, .. } if at == kuid), "{grant:?}");
        assert!(asked.get() < 20, "{asked:?} questions");
    }
}
