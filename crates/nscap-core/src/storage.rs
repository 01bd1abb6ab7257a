// SPDX-License-Identifier: MIT OR Apache-2.0
//! SPEC's Storage: how what a file holds is written into its two attributes, and what the two
//! attributes of a real file mean.
//!
//! A host value alone is revision 2 and one entry alone is revision 3 of `security.capability`;
//! everything else is a *sealed table* in `security.nscapability` beside a companion in
//! `security.capability`, which is the host value or a [`tripwire`]. The kernel drops the companion
//! with every change of content or owner, and a table without its companion is void (K).
//!
//! A sealed table, all fields little-endian:
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | u32 | magic: the bytes `nSC1` (form F begins with the bytes 00 00 00 01) |
//! | 4 | u32 | length of the companion, at most 24 |
//! | 8 | 24 bytes | the companion's bytes, then zeros |
//! | 32 | u64 | size of the file in bytes |
//! | 40 | u32 | owner uid, as stored on disk |
//! | 44 | u32 | owner gid, as stored on disk |
//! | 48 | u32 | count of entries, 1 to 1,024 |
//! | 52 | u32 | 0 |
//! | 56 + 24 i | | rootid, flags and sets as in F; ascending by rootid, none 0 or -1 |
//!
//! The attribute holds one table, or two while the companion is being swapped: the valid one is the
//! one whose companion is in `security.capability`.

use crate::cap::{CapSet, FileCaps};
use crate::id::Uid;
use crate::stored::{Entries, HostValue, Stored};
use crate::vfscap::{Revision, VfsCaps, VfsCapsBytes};

mod plan;
mod question;
mod table;

pub use plan::{Before, MAX_STEPS, Op, PLAN_LEN, Step, plan, plan_without_room, takes_away};
pub use question::{Question, alone, needs_table};
pub use table::Table;

/// The rootid of a tripwire: no container maps it, since the kernel's last id is reserved for it
/// by this design.
pub const TRIPWIRE_ROOTID: u32 = 4_294_967_294;

/// What a seal is made over, beside the companion: a change of any of these voids the table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SealFacts {
    /// The size of the file in bytes.
    pub size: u64,
    /// The owner uid as it is stored on disk (in the superblock's owner namespace's terms).
    pub uid: u32,
    /// The owner gid as it is stored on disk.
    pub gid: u32,
}

/// Whether the entries in `security.nscapability` count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Seal {
    /// There is no `security.nscapability`.
    None,
    /// The table's seal fits: its entries count.
    Sealed,
    /// The table is void, for this reason.
    Void(VoidReason),
}

/// Why a table is void.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum VoidReason {
    /// `security.capability` is absent: content or owner changed since.
    CompanionAbsent,
    /// `security.capability` is not the one that the table was sealed with.
    CompanionDiffers,
    /// The file has another size than the one that the table was sealed with.
    SizeDiffers,
    /// The file has another owner or group than the one that the table was sealed with.
    OwnerDiffers,
    /// The bytes are no sealed table.
    Malformed,
    /// The bytes are a list in form F, which a tool has copied from a mount or a kernel that
    /// decides by the design's rules. A front end has words of its own for that.
    Copied,
    /// Anyone with CAP_SYS_ADMIN over the superblock's owner namespace could have written it.
    Untrusted,
}

impl VoidReason {
    /// One short sentence without a full stop, for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            VoidReason::CompanionAbsent => "security.capability is gone: the file has changed",
            VoidReason::CompanionDiffers => "security.capability is not the one it was sealed with",
            VoidReason::SizeDiffers => "the file's size has changed",
            VoidReason::OwnerDiffers => "the file's owner or group has changed",
            VoidReason::Malformed => "the bytes are no sealed table",
            VoidReason::Copied => {
                "it is a list copied from a mount of nscap's, which nothing here honours"
            }
            VoidReason::Untrusted => "the superblock's owner namespace is not trusted",
        }
    }
}

/// A tripwire with these random bits, of which the lowest 46 are used: a revision 3 value that
/// grants nothing to anyone and that the kernel drops when the file changes.
///
/// ```
/// use nscap_core::storage::{is_tripwire, tripwire};
/// assert!(is_tripwire(tripwire(12345).as_bytes()));
/// ```
#[must_use]
pub fn tripwire(random: u64) -> VfsCapsBytes {
    let above = |bits: u64| CapSet::from_bits(bits << 41);
    let caps =
        FileCaps { permitted: above(random), inheritable: above(random >> 23), effective: false };
    VfsCaps::v3(TRIPWIRE_ROOTID, caps).encode()
}

/// Whether these bytes of `security.capability` are a tripwire.
///
/// ```
/// use nscap_core::{FileCaps, VfsCaps, storage::is_tripwire};
/// assert!(!is_tripwire(VfsCaps::v2(FileCaps::default()).encode().as_bytes()));
/// ```
#[must_use]
pub fn is_tripwire(capability: &[u8]) -> bool {
    VfsCaps::settable(capability).is_ok_and(|value| {
        let FileCaps { permitted, inheritable, effective } = value.caps();
        value.revision() == Revision::V3 { rootid: TRIPWIRE_ROOTID }
            && permitted.known().is_empty()
            && inheritable.known().is_empty()
            && !effective
    })
}

/// What the two attributes of a file mean.
///
/// `capability` and `table` are the raw stored bytes of `security.capability` and
/// `security.nscapability`, `None` where there is none. `trusted` says whether the superblock's
/// owner namespace is the front end's own or an ancestor of it; if not, a table is void.
///
/// ```
/// use nscap_core::{storage::{self, Seal, SealFacts}, FileCaps, Stored, VfsCaps};
/// let facts = SealFacts { size: 10, uid: 0, gid: 0 };
/// let v2 = VfsCaps::v2(FileCaps::default()).encode();
/// let (stored, seal) = storage::read(Some(v2.as_bytes()), None, facts, true);
/// assert_eq!((stored, seal), (Stored::host(FileCaps::default()), Seal::None));
/// ```
#[must_use]
pub fn read<'a>(
    capability: Option<&[u8]>,
    table: Option<&'a [u8]>,
    facts: SealFacts,
    trusted: bool,
) -> (Stored<'a>, Seal) {
    let (stored, sealable) = read_capability(capability);
    let Some(table) = table else {
        return (stored, Seal::None);
    };
    if !trusted {
        return (stored, Seal::Void(VoidReason::Untrusted));
    }
    let Some(companion) = capability else {
        return (stored, Seal::Void(VoidReason::CompanionAbsent));
    };
    if !sealable {
        return (stored, Seal::Void(VoidReason::CompanionDiffers));
    }
    match open(table, companion, facts) {
        Ok(entries) => (Stored { entries, ..stored }, Seal::Sealed),
        Err(reason) => (stored, Seal::Void(reason)),
    }
}

/// What `security.capability` alone says, and whether a table may be beside it. A revision 3 other
/// than the tripwire is a value of its own.
fn read_capability<'a>(capability: Option<&[u8]>) -> (Stored<'a>, bool) {
    let Some(bytes) = capability else {
        return (Stored::EMPTY, true);
    };
    if is_tripwire(bytes) {
        return (Stored::EMPTY, true);
    }
    let Ok(value) = VfsCaps::decode(bytes) else {
        return (Stored { host: HostValue::Malformed, ..Stored::EMPTY }, true);
    };
    match value.revision() {
        Revision::V1 | Revision::V2 => (Stored::host(value.caps()), true),
        Revision::V3 { rootid } => match Uid::new(rootid) {
            Some(rootid) => (Stored::one(rootid, value.caps()), false),
            // Rootid -1 is well-formed to exec and applies to no task.
            None => (Stored::EMPTY, false),
        },
    }
}

/// The entries of the table that was sealed with this companion and these facts.
fn open<'a>(
    mut bytes: &'a [u8],
    companion: &[u8],
    facts: SealFacts,
) -> Result<Entries<'a>, VoidReason> {
    let mut reason = VoidReason::Malformed;
    for _ in 0..2 {
        if bytes.is_empty() {
            break;
        }
        let Ok(table) = Table::take(&mut bytes) else {
            return Err(VoidReason::Malformed);
        };
        match table.check(companion, facts) {
            Ok(()) => return Ok(table.entries),
            Err(r) => reason = r,
        }
    }
    Err(if bytes.is_empty() { reason } else { VoidReason::Malformed })
}

/// How what a file holds is written down: which of SPEC's three cases it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Neither attribute.
    Nothing,
    /// `security.capability` with these bytes, and no table (cases 1 and 2).
    Alone(VfsCapsBytes),
    /// A table beside the host value with these bytes (case 3).
    TableBesideHost(VfsCapsBytes),
    /// A table beside a new tripwire (case 3).
    TableBesideTripwire,
    /// A table beside the malformed value of `security.capability`.
    TableBesideMalformed,
    /// The malformed value of `security.capability`, and no table.
    MalformedAlone,
}

/// Which form `stored` takes on disk.
///
/// ```
/// use nscap_core::{FileCaps, Stored, VfsCaps};
/// use nscap_core::storage::{Form, form_of};
/// let caps = FileCaps::default();
/// assert_eq!(form_of(&Stored::EMPTY), Form::Nothing);
/// assert_eq!(form_of(&Stored::host(caps)), Form::Alone(VfsCaps::v2(caps).encode()));
/// ```
#[must_use]
pub fn form_of(stored: &Stored<'_>) -> Form {
    let mut entries = stored.entries.iter();
    match (stored.host, entries.next(), entries.next()) {
        (HostValue::Absent, None, _) => Form::Nothing,
        (HostValue::Absent, Some((rootid, caps)), None) => {
            Form::Alone(VfsCaps::v3(rootid.get(), caps).encode())
        }
        (HostValue::Absent, Some(_), Some(_)) => Form::TableBesideTripwire,
        (HostValue::Present(caps), None, _) => Form::Alone(VfsCaps::v2(caps).encode()),
        (HostValue::Present(caps), Some(_), _) => Form::TableBesideHost(VfsCaps::v2(caps).encode()),
        (HostValue::Malformed, None, _) => Form::MalformedAlone,
        (HostValue::Malformed, Some(_), _) => Form::TableBesideMalformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RECORD_LEN, Uid};
    use std::vec::Vec;

    const FACTS: SealFacts = SealFacts { size: 1 << 33, uid: 5, gid: 6 };
    const CAPS: FileCaps =
        FileCaps { permitted: CapSet::from_bits(9), inheritable: CapSet::EMPTY, effective: true };

    fn table(rootids: &[u32], companion: &[u8]) -> Vec<u8> {
        let records: Vec<[u8; RECORD_LEN]> =
            rootids.iter().map(|id| *crate::Record::new(*id, CAPS).as_bytes()).collect();
        let mut out = std::vec![0; Table::encoded_len(rootids.len())];
        let len = Table::encode(&Entries::sorted(&records), companion, FACTS, &mut out);
        assert_eq!(len, Some(out.len()));
        out
    }

    fn rootids(stored: &Stored<'_>) -> Vec<u32> {
        stored.entries.iter().map(|(id, _)| id.get()).collect()
    }

    #[test]
    fn a_sealed_table_counts_and_each_change_voids_it() {
        let trip = tripwire(77);
        let bytes = table(&[100_000, 200_000], trip.as_bytes());
        let (stored, seal) = read(Some(trip.as_bytes()), Some(&bytes), FACTS, true);
        assert_eq!((rootids(&stored), seal), ([100_000, 200_000].into(), Seal::Sealed));

        let void = |capability: Option<&[u8]>, facts, trusted| {
            let (stored, seal) = read(capability, Some(&bytes), facts, trusted);
            assert!(stored.entries.is_empty());
            seal
        };
        let trip = Some(trip.as_bytes());
        assert_eq!(void(None, FACTS, true), Seal::Void(VoidReason::CompanionAbsent));
        let other = tripwire(78);
        let differs = Seal::Void(VoidReason::CompanionDiffers);
        assert_eq!(void(Some(other.as_bytes()), FACTS, true), differs);
        let size = SealFacts { size: 1, ..FACTS };
        assert_eq!(void(trip, size, true), Seal::Void(VoidReason::SizeDiffers));
        let owner = SealFacts { uid: 7, ..FACTS };
        assert_eq!(void(trip, owner, true), Seal::Void(VoidReason::OwnerDiffers));
        assert_eq!(void(trip, FACTS, false), Seal::Void(VoidReason::Untrusted));
    }

    #[test]
    fn of_two_tables_the_one_whose_companion_stands_counts() {
        let (old, new) = (tripwire(1), tripwire(2));
        let mut bytes = table(&[1, 2], old.as_bytes());
        bytes.extend(table(&[3, 4], new.as_bytes()));
        let ids = |companion: &VfsCapsBytes| {
            rootids(&read(Some(companion.as_bytes()), Some(&bytes), FACTS, true).0)
        };
        assert_eq!((ids(&old), ids(&new)), ([1, 2].into(), [3, 4].into()));
        let mut trailing = bytes.clone();
        trailing.push(0);
        let (_, seal) = read(Some(tripwire(3).as_bytes()), Some(&trailing), FACTS, true);
        assert_eq!(seal, Seal::Void(VoidReason::Malformed));
    }

    #[test]
    fn a_revision_3_beside_a_table_is_one_entry_and_the_table_is_void() {
        let v3 = VfsCaps::v3(9, CAPS).encode();
        let bytes = table(&[1, 2], v3.as_bytes());
        let (stored, seal) = read(Some(v3.as_bytes()), Some(&bytes), FACTS, true);
        assert_eq!(
            (rootids(&stored), seal),
            ([9].into(), Seal::Void(VoidReason::CompanionDiffers))
        );
    }

    #[test]
    fn a_revision_3_for_the_owners_root_is_a_host_value() {
        let v3 = VfsCaps::v3(0, CAPS).encode();
        assert_eq!(read(Some(v3.as_bytes()), None, FACTS, true).0, Stored::host(CAPS));
    }

    #[test]
    fn a_tripwire_has_46_random_bits_and_no_capability() {
        assert!(is_tripwire(tripwire(u64::MAX).as_bytes()));
        assert_ne!(tripwire(1 << 45), tripwire(0));
        assert_eq!(tripwire(1 << 46), tripwire(0));
        let entry = VfsCaps::v3(TRIPWIRE_ROOTID, CAPS).encode();
        assert!(!is_tripwire(entry.as_bytes()));
    }

    #[test]
    fn each_state_has_its_form() {
        assert_eq!(form_of(&Stored::EMPTY), Form::Nothing);
        let one = Stored::one(Uid::new(7).unwrap(), CAPS);
        assert_eq!(form_of(&one), Form::Alone(VfsCaps::v3(7, CAPS).encode()));
        let both = Stored { host: HostValue::Present(CAPS), ..one };
        assert_eq!(form_of(&both), Form::TableBesideHost(VfsCaps::v2(CAPS).encode()));
    }
}
