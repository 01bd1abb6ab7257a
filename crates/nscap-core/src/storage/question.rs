// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much of what is stored an answer needs: execve asks each time, and a table may be long.

use super::read_capability;
use crate::stored::{HostValue, Stored};

/// What is asked of a file, and so how much of it has to be read. The numbers are those of the
/// kernel's C side (`enum nscap_question`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum Question {
    /// What applies to one task: R4 and T, execve.
    Applies,
    /// All that has effect: R6, L, B.
    Holds,
    /// All that is stored, a void table too: for a writer.
    Stored,
}

/// Whether the answer can depend on the table, given the stored bytes of `security.capability`.
/// `idmapped`: whether the file is reached through an id-mapped mount, where a host value is one of
/// the entries (M).
///
/// A table has no effect without a companion, or beside a revision 3 value that is no tripwire;
/// entries behind a host value do not apply.
///
/// ```
/// use nscap_core::{FileCaps, VfsCaps, storage::{Question, needs_table, tripwire}};
/// let host = VfsCaps::v2(FileCaps::default()).encode();
/// assert!(!needs_table(Question::Applies, Some(host.as_bytes()), false));
/// assert!(needs_table(Question::Holds, Some(host.as_bytes()), false));
/// assert!(needs_table(Question::Applies, Some(tripwire(7).as_bytes()), false));
/// ```
#[must_use]
pub fn needs_table(question: Question, capability: Option<&[u8]>, idmapped: bool) -> bool {
    let (stored, sealable) = read_capability(capability);
    match question {
        Question::Stored => true,
        Question::Holds => capability.is_some() && sealable,
        Question::Applies => {
            capability.is_some() && sealable && (idmapped || stored.host == HostValue::Absent)
        }
    }
}

/// What a file holds, for the question what applies to a task, if these bytes of
/// `security.capability` are enough to say it: then no table has to be read, and no fact of the
/// file be known. Not for an id-mapped mount.
///
/// ```
/// use nscap_core::{FileCaps, Stored, VfsCaps, storage::{alone, tripwire}};
/// let host = VfsCaps::v2(FileCaps::default()).encode();
/// assert_eq!(alone(host.as_bytes()), Some(Stored::host(FileCaps::default())));
/// assert_eq!(alone(tripwire(7).as_bytes()), None);
/// ```
#[must_use]
pub fn alone(capability: &[u8]) -> Option<Stored<'static>> {
    let needed = needs_table(Question::Applies, Some(capability), false);
    (!needed).then(|| read_capability(Some(capability)).0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{SealFacts, Table, read, tripwire};
    use crate::world::{World, kgid, kuid};
    use crate::{
        CapSet, Entries, FileCaps, InodeView, RECORD_LEN, Record, VfsCaps, file_grant,
        get_capability, list, nscapability_len,
    };
    use std::vec::Vec;

    const FACTS: SealFacts = SealFacts { size: 7, uid: 5, gid: 6 };
    const CAPS: FileCaps =
        FileCaps { permitted: CapSet::from_bits(9), inheritable: CapSet::EMPTY, effective: true };

    fn table(rootids: &[u32], companion: &[u8]) -> Vec<u8> {
        let records: Vec<[u8; RECORD_LEN]> =
            rootids.iter().map(|id| *Record::new(*id, CAPS).as_bytes()).collect();
        let mut out = std::vec![0; Table::encoded_len(rootids.len())];
        let entries = Entries::decode(&records).unwrap();
        Table::encode(&entries, companion, FACTS, &mut out).unwrap();
        out
    }

    #[test]
    fn where_no_table_is_needed_none_changes_the_answer() {
        let mut world = World::new();
        world.add(0, 0, &[(0, 100_000, 1000)]);
        world.add(0, 0, &[(0, 200_000, 1000)]);
        let v3 = VfsCaps::v3(100_000, CAPS).encode();
        let v2 = VfsCaps::v2(CAPS).encode();
        let v1 = [1, 0, 0, 1, 0, 0x20, 0, 0, 0, 0, 0, 0];
        let trip = tripwire(7);
        let companions: [Option<&[u8]>; 6] = [
            None,
            Some(v2.as_bytes()),
            Some(v3.as_bytes()),
            Some(trip.as_bytes()),
            Some(&v1),
            Some(b"?"),
        ];
        let (mut spared, mut needed) = (0, 0);
        for (companion, ids) in companions.iter().flat_map(|companion| {
            let ids: [&[u32]; 3] = [&[100_000], &[100_000, 200_000], &[500, 200_000]];
            ids.map(|ids| (companion, ids))
        }) {
            let bytes = table(ids, companion.unwrap_or_default());
            let with = read(*companion, Some(&bytes), FACTS, true).0;
            let without = read(*companion, None, FACTS, true).0;
            for (sb, ns, idmap) in [0, 1].into_iter().flat_map(|sb| {
                let maps = [None, Some(1)];
                (0..3).flat_map(move |ns| maps.map(|idmap| (sb, ns, idmap)))
            }) {
                let ns = world.ns(ns);
                let inode = InodeView {
                    idmap: idmap.map(|map| world.ns(map)),
                    ..InodeView::plain(world.ns(sb), kuid(100_000), kgid(100_000))
                };
                let applies = |stored: &Stored<'_>| {
                    let shown = get_capability(ns, &inode, stored).map(|(value, _)| value);
                    (shown, file_grant(ns, &inode, stored).map(|grant| grant.caps()))
                };
                let holds = |stored: &Stored<'_>| {
                    let length = nscapability_len(ns, &inode, stored);
                    (applies(stored), length, list(ns, &inode, stored))
                };
                if needs_table(Question::Applies, *companion, idmap.is_some()) {
                    needed += u32::from(applies(&with) != applies(&without));
                } else {
                    assert_eq!(applies(&with), applies(&without), "{companion:x?} {ids:?}");
                    spared += 1;
                }
                if !needs_table(Question::Holds, *companion, idmap.is_some()) {
                    assert_eq!(holds(&with), holds(&without), "{companion:x?} {ids:?}");
                }
                assert!(needs_table(Question::Stored, *companion, idmap.is_some()));
            }
        }
        assert!(spared > 50 && needed > 10, "{spared} {needed}");
    }
}
