// SPDX-License-Identifier: MIT OR Apache-2.0
//! What capabilities become when a file is carried from one place to another in an archive: the
//! numbers in it are in one superblock's terms and must be written in another's. Covers W (a copy
//! never grants more than what was copied), and M and Objects for what a number means: id 0 is the
//! host value, every other one an entry.
//!
//! An archive's numbers are ids *outside* of a map, like those of a tree on disk: `from` translates
//! each to the id inside, and `to` translates that to the number on the other side. A tree of a
//! container with ids from 100000, moved `from` 0:100000:65536 `to` the identity, has the
//! container's own ids afterwards. Both maps are one to one, so no two ids become one.
//! [`shift_root`] decides which root a moved grant belongs to, as for trees.

use crate::cap::FileCaps;
use crate::decision::{Decision, Denied, Errno, Why};
use crate::id::Uid;
use crate::idmap::IdMap;
use crate::next::Next;
use crate::nscaps::NsCaps;
use crate::shift::{Shift, Unmapped, shift_root};
use crate::storage::{self, Seal, SealFacts, Table};
use crate::stored::{Entries, Stored};
use crate::vfscap::VfsCaps;
use crate::wire::{RECORD_LEN, Record};

/// The two attributes of one file in an archive, as the packer read them: in form F, or as Storage
/// stores them.
#[derive(Clone, Copy, Debug)]
pub struct Carried<'a> {
    /// The value of `security.capability`.
    pub capability: Option<&'a [u8]>,
    /// The value of `security.nscapability`.
    pub nscapability: Option<&'a [u8]>,
    /// The facts of the file in the archive, which a sealed table must agree with.
    pub facts: SealFacts,
}

/// One grant in an archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArchiveGrant {
    /// Its root, as an id of the archive; 0 is a host value, `None` the rootid -1.
    pub id: Option<Uid>,
    /// The capabilities.
    pub caps: FileCaps,
}

/// The grants of one file, decoded.
#[derive(Clone, Copy, Debug)]
pub struct Grants<'a> {
    /// What `security.capability` says.
    first: Option<ArchiveGrant>,
    entries: Records<'a>,
}

/// Where the entries are.
#[derive(Clone, Copy, Debug)]
enum Records<'a> {
    /// Form F; its rootids may be 0 and -1.
    Value(&'a [[u8; RECORD_LEN]]),
    /// A sealed table.
    Table(Entries<'a>),
}

impl<'a> Carried<'a> {
    /// Decodes both attributes.
    ///
    /// # Errors
    /// EINVAL where a value is malformed (revision 1 included, which no task can set), where two
    /// grants of different capabilities are for the same id, and where a sealed table is void.
    ///
    /// ```
    /// use nscap_core::{FileCaps, Uid, VfsCaps, storage::SealFacts, translate::Carried};
    /// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
    /// let value = VfsCaps::v3(100_000, ping).encode();
    /// let facts = SealFacts { size: 1, uid: 0, gid: 0 };
    /// let carried = Carried { capability: Some(value.as_bytes()), nscapability: None, facts };
    /// let grants = carried.grants().unwrap();
    /// assert!(grants.iter().map(|grant| grant.id).eq([Uid::new(100_000)]));
    /// let carried = Carried { capability: Some(b"?"), ..carried };
    /// assert!(carried.grants().is_err());
    /// ```
    pub fn grants(&self) -> Result<Grants<'a>, Denied> {
        let first = match self.capability {
            None => None,
            Some(bytes) if storage::is_tripwire(bytes) => None,
            Some(bytes) => Some(alone(bytes)?),
        };
        let grants = Grants { first, entries: self.entries()? };
        let differs =
            |grant: ArchiveGrant| first.is_some_and(|f| f.id == grant.id && f.caps != grant.caps);
        if grants.iter().any(differs) {
            return Err(Denied::new(Errno::EINVAL, Why::GrantsDiffer));
        }
        Ok(grants)
    }

    fn entries(&self) -> Result<Records<'a>, Denied> {
        let Some(bytes) = self.nscapability else {
            return Ok(Records::Value(&[]));
        };
        if let Ok(value) = NsCaps::decode_shown(bytes) {
            return Ok(Records::Value(value.as_records()));
        }
        if Table::take(&mut { bytes }).is_err() {
            return Err(Denied::new(Errno::EINVAL, Why::NsValueMalformed));
        }
        // The packer of the archive is trusted with every other value in it as well.
        match storage::read(self.capability, Some(bytes), self.facts, true) {
            (stored, Seal::Sealed) => Ok(Records::Table(stored.entries)),
            (_, Seal::Void(_) | Seal::None) => Err(Denied::new(Errno::EINVAL, Why::TableVoid)),
        }
    }
}

/// The grant of a `security.capability` without a table.
fn alone(bytes: &[u8]) -> Result<ArchiveGrant, Denied> {
    let value =
        VfsCaps::settable(bytes).map_err(|_| Denied::new(Errno::EINVAL, Why::ValueMalformed))?;
    Ok(ArchiveGrant { id: value.rootid(), caps: value.caps() })
}

impl Grants<'_> {
    /// Every grant once: what `security.capability` says, then the entries, ascending.
    pub fn iter(&self) -> impl Iterator<Item = ArchiveGrant> + Clone + '_ {
        let records = match &self.entries {
            Records::Value(records) => records,
            Records::Table(entries) => entries.as_records(),
        };
        let entries = records.iter().map(|bytes| {
            let record = Record::from_bytes(*bytes);
            ArchiveGrant { id: Uid::new(record.rootid()), caps: record.caps() }
        });
        let first = self.first;
        first.into_iter().chain(entries.filter(move |grant| Some(*grant) != first))
    }

    /// What the file holds, in the archive's terms. `out` needs as many slots as there are grants.
    ///
    /// # Errors
    /// EINVAL for a rootid of -1; ENOSPC for more than 1,024 entries.
    ///
    /// ```
    /// use nscap_core::{FileCaps, Stored, VfsCaps, storage::SealFacts, translate::Carried};
    /// let value = VfsCaps::v2(FileCaps::default()).encode();
    /// let facts = SealFacts { size: 1, uid: 0, gid: 0 };
    /// let carried = Carried { capability: Some(value.as_bytes()), nscapability: None, facts };
    /// let mut out = [[0; 24]; 1];
    /// let stored = carried.grants().unwrap().stored(&mut out).unwrap();
    /// assert_eq!(stored, Stored::host(FileCaps::default()));
    /// ```
    pub fn stored<'o>(&self, out: &'o mut [[u8; RECORD_LEN]]) -> Result<Stored<'o>, Denied> {
        let mut next = Next::empty(out);
        for ArchiveGrant { id, caps } in self.iter() {
            next.put(id.ok_or(Denied::new(Errno::EINVAL, Why::NoSourceId))?, caps)?;
        }
        next.into_stored().ok_or(Denied::new(Errno::ENOSPC, Why::NoRoom))
    }

    /// Whether the entries are in a sealed table (Storage) rather than in form F.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        matches!(self.entries, Records::Table(_))
    }
}

/// Two maps between which ids are translated.
#[derive(Clone, Copy, Debug)]
pub struct Translation<'m> {
    /// What the numbers are now: the outside of this map.
    pub from: IdMap<'m>,
    /// What they are to be: the outside of this one.
    pub to: IdMap<'m>,
    /// Whether a grant whose id has no image is left out; otherwise its file is refused. It never
    /// becomes another root's.
    pub drop_unmapped: bool,
}

impl Translation<'_> {
    /// What any id, of a file's owner or of a root, is in the target's terms.
    ///
    /// # Errors
    /// EINVAL where it has no mapping in either map.
    ///
    /// ```
    /// use nscap_core::{Extent, IdMap, translate::Translation};
    /// let from = [Extent { inside: 0, outside: 100_000, count: 65_536 }];
    /// let to = [Extent { inside: 0, outside: 200_000, count: 65_536 }];
    /// let [from, to] = [&from, &to].map(|map| IdMap::from_sorted(map, map));
    /// let translation = Translation { from, to, drop_unmapped: false };
    /// assert_eq!(translation.id(100_005), Ok(200_005));
    /// assert!(translation.id(5).is_err());
    /// ```
    pub fn id(&self, id: u32) -> Result<u32, Denied> {
        let no = |why| Denied::new(Errno::EINVAL, why);
        let inside = self.from.inside(id).ok_or(no(Why::NoSourceId))?;
        self.to.outside(inside).ok_or(no(Why::NoTargetId))
    }

    /// What becomes of the grant of one id: `Write` the id that it has from now on, `Keep` it as it
    /// is, or `Deny`. Where these are dropped, a grant that is denied is left out.
    ///
    /// ```
    /// use nscap_core::{Decision, Extent, IdMap, Uid, Why, translate::Translation};
    /// let from = [Extent { inside: 0, outside: 100_000, count: 65_536 }];
    /// let to = [Extent { inside: 0, outside: 0, count: u32::MAX }];
    /// let [from, to] = [&from, &to].map(|map| IdMap::from_sorted(map, map));
    /// let out = Translation { from, to, drop_unmapped: false };
    /// // The container's own entry is a host value in its own terms, and back.
    /// let host = Decision::Write(Uid::ROOT, Why::TranslatedToHost);
    /// assert_eq!(out.rootid(Uid::new(100_000)), host);
    /// let back = Translation { from: to, to: from, ..out };
    /// let entry = Decision::Write(Uid::new(100_000).unwrap(), Why::TranslatedFromHost);
    /// assert_eq!(back.rootid(Some(Uid::ROOT)), entry);
    /// // The host's own grant has no place in it.
    /// assert_eq!(out.rootid(Some(Uid::ROOT)).why(), Why::NoSourceId);
    /// ```
    #[must_use]
    pub fn rootid(&self, id: Option<Uid>) -> Decision<Uid> {
        let Some(old) = id else {
            return Decision::Deny(Errno::EINVAL, Why::NoSourceId);
        };
        let how = Shift {
            image: |id: Uid| self.id(id.get()).ok().and_then(Uid::new),
            // Both are ids of the unpacking task's namespace: 0 is its root, and so a host value.
            from_host: true,
            to_host: true,
            unmapped: Unmapped::Refuse,
        };
        match shift_root(old, &how) {
            Ok(Some(new)) if new == old => Decision::Keep(Why::TranslatedSame),
            Ok(Some(Uid::ROOT)) => Decision::Write(Uid::ROOT, Why::TranslatedToHost),
            Ok(Some(new)) if old == Uid::ROOT => Decision::Write(new, Why::TranslatedFromHost),
            Ok(Some(new)) => Decision::Write(new, Why::TranslatedEntry),
            Ok(None) | Err(_) => match self.id(old.get()) {
                Err(no) => no.into(),
                Ok(_) => Decision::Deny(Errno::EINVAL, Why::NoTargetId),
            },
        }
    }

    /// What a file that carries these grants holds in the target's terms: `Keep` where every id is
    /// the same there, so that the bytes may stay as they are. `out` needs as many slots as there
    /// are grants.
    ///
    /// Errors: those of [`rootid`](Translation::rootid), unless such grants are to be left out;
    /// ENOSPC for more than 1,024 entries.
    ///
    /// ```
    /// # use nscap_core::{Decision, Extent, IdMap, FileCaps, Stored, Uid, VfsCaps, Why};
    /// # use nscap_core::{storage::SealFacts, translate::*};
    /// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
    /// let from = [Extent { inside: 0, outside: 100_000, count: 65_536 }];
    /// let to = [Extent { inside: 0, outside: 0, count: u32::MAX }];
    /// let [from, to] = [&from, &to].map(|map| IdMap::from_sorted(map, map));
    /// let translation = Translation { from, to, drop_unmapped: false };
    /// let facts = SealFacts { size: 1, uid: 0, gid: 0 };
    /// // A nested container's entry stays an entry: not its parent's, not the host's.
    /// let value = VfsCaps::v3(105_000, ping).encode();
    /// let carried = Carried { capability: Some(value.as_bytes()), nscapability: None, facts };
    /// let mut out = [[0; 24]; 1];
    /// let decision = translation.stored(&carried.grants().unwrap(), &mut out);
    /// let entry = Stored::one(Uid::new(5000).unwrap(), ping);
    /// assert_eq!(decision, Decision::Write(entry, Why::TranslatedEntry));
    /// ```
    pub fn stored<'o>(
        &self,
        grants: &Grants<'_>,
        out: &'o mut [[u8; RECORD_LEN]],
    ) -> Decision<Stored<'o>> {
        match self.translate(grants, out) {
            Ok(yes) => yes,
            Err(no) => no.into(),
        }
    }

    fn translate<'o>(
        &self,
        grants: &Grants<'_>,
        out: &'o mut [[u8; RECORD_LEN]],
    ) -> Result<Decision<Stored<'o>>, Denied> {
        let mut next = Next::empty(out);
        let mut changed = None;
        for ArchiveGrant { id, caps } in grants.iter() {
            match (self.rootid(id), id) {
                (Decision::Write(new, why), _) => {
                    next.put(new, caps)?;
                    changed = Some(why);
                }
                (Decision::Keep(_), Some(same)) => next.put(same, caps)?,
                (Decision::Deny(_, why), _) if self.drop_unmapped => {
                    changed = Some(why);
                }
                (Decision::Keep(why) | Decision::Deny(_, why), _) => {
                    return Err(Denied::new(Errno::EINVAL, why));
                }
            }
        }
        match changed {
            Some(why) => next.finish(why),
            None => Ok(Decision::Keep(Why::TranslatedSame)),
        }
    }
}

/// Whether the consumer of an archive expects a grant of this id. `consumer` maps the consumer's
/// ids to the archive's numbers. A host value is id 0, so an archive for a container with the
/// host's ids must not have one.
///
/// # Errors
/// EINVAL if the consumer does not have the id.
///
/// ```
/// use nscap_core::{Extent, IdMap, Uid, translate::expected};
/// let container = [Extent { inside: 0, outside: 100_000, count: 65_536 }];
/// let container = IdMap::from_sorted(&container, &container);
/// assert!(expected(container, Uid::new(100_000)).is_ok());
/// assert!(expected(container, Some(Uid::ROOT)).is_err());
/// ```
pub fn expected(consumer: IdMap<'_>, id: Option<Uid>) -> Result<(), Denied> {
    let inside = id.and_then(|id| consumer.inside(id.get()));
    inside.map(|_| ()).ok_or(Denied::new(Errno::EINVAL, Why::NotExpected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::tripwire;
    use crate::{CapSet, Extent, HostValue};
    use std::vec::Vec;

    const FACTS: SealFacts = SealFacts { size: 5, uid: 100_000, gid: 100_000 };
    const ALL: [Extent; 1] = [Extent { inside: 0, outside: 0, count: u32::MAX }];
    const A: [Extent; 1] = [Extent { inside: 0, outside: 100_000, count: 65_536 }];
    const B: [Extent; 1] = [Extent { inside: 0, outside: 200_000, count: 1000 }];

    fn caps(bit: u32) -> FileCaps {
        FileCaps { permitted: CapSet::from_bits(1 << bit), effective: true, ..FileCaps::default() }
    }

    fn between<'m>(from: &'m [Extent], to: &'m [Extent], drop_unmapped: bool) -> Translation<'m> {
        Translation {
            from: IdMap::from_sorted(from, from),
            to: IdMap::from_sorted(to, to),
            drop_unmapped,
        }
    }

    fn value(ids: &[u32]) -> Vec<u8> {
        let mut out = std::vec![0; NsCaps::encoded_len(ids.len())];
        NsCaps::encode(ids.iter().map(|id| Record::new(*id, caps(13))), &mut out).unwrap();
        out
    }

    fn carried<'a>(capability: Option<&'a [u8]>, ns: Option<&'a [u8]>) -> Carried<'a> {
        Carried { capability, nscapability: ns, facts: FACTS }
    }

    #[test]
    fn an_unmapped_grant_is_refused_or_left_out_and_never_given_to_another() {
        let v3 = VfsCaps::v3(300_000, caps(13)).encode();
        let carried = carried(Some(v3.as_bytes()), None);
        let grants = carried.grants().unwrap();
        let mut out = [[0; RECORD_LEN]; 4];
        let no = between(&A, &ALL, false).stored(&grants, &mut out);
        assert_eq!(no, Decision::Deny(Errno::EINVAL, Why::NoSourceId));
        let none = between(&A, &ALL, true).stored(&grants, &mut out);
        assert_eq!(none, Decision::Write(Stored::EMPTY, Why::NoSourceId));
    }

    #[test]
    fn of_several_the_containers_own_becomes_the_host_value() {
        let ns = value(&[100_000, 100_005]);
        let carried = carried(None, Some(&ns));
        let grants = carried.grants().unwrap();
        let mut out = [[0; RECORD_LEN]; 4];
        let Decision::Write(stored, _) = between(&A, &ALL, false).stored(&grants, &mut out) else {
            panic!()
        };
        assert_eq!(stored.host, HostValue::Present(caps(13)));
        assert!(stored.entries.iter().map(|(id, _)| id.get()).eq([5]));
    }

    #[test]
    fn the_hosts_own_stays_out_of_a_container() {
        let v2 = VfsCaps::v2(caps(13)).encode();
        let carried = carried(Some(v2.as_bytes()), None);
        let grants = carried.grants().unwrap();
        let mut out = [[0; RECORD_LEN]; 4];
        let decision = between(&A, &B, false).stored(&grants, &mut out);
        assert_eq!(decision.why(), Why::NoSourceId);
    }

    #[test]
    fn an_id_beyond_the_targets_range_has_no_image() {
        let translation = between(&A, &B, false);
        assert_eq!(translation.rootid(Uid::new(101_000)).why(), Why::NoTargetId);
        assert_eq!(translation.rootid(None).why(), Why::NoSourceId);
    }

    #[test]
    fn one_root_with_two_grants_is_refused_and_with_the_same_twice_has_one() {
        let ns = value(&[0, 7]);
        let [same, other] = [13, 0].map(|bit| VfsCaps::v2(caps(bit)).encode());
        let ids = |v2: &[u8]| {
            let carried = carried(Some(v2), Some(&ns));
            carried.grants().map(|g| g.iter().map(|g| g.id.unwrap().get()).collect::<Vec<_>>())
        };
        assert_eq!(ids(same.as_bytes()).unwrap(), [0, 7]);
        assert_eq!(ids(other.as_bytes()).unwrap_err().why, Why::GrantsDiffer);
    }

    #[test]
    fn a_sealed_table_counts_while_its_seal_fits_the_file() {
        let trip = tripwire(5);
        let records = [1, 2].map(|id| *Record::new(id, caps(13)).as_bytes());
        let mut table = [0; Table::encoded_len(2)];
        let entries = Entries::sorted(&records);
        Table::encode(&entries, trip.as_bytes(), FACTS, &mut table).unwrap();
        let good = carried(Some(trip.as_bytes()), Some(&table));
        let grants = good.grants().unwrap();
        assert!(grants.is_sealed() && grants.iter().count() == 2);
        let bad = Carried { facts: SealFacts { size: 6, ..FACTS }, ..good };
        assert_eq!(bad.grants().unwrap_err().why, Why::TableVoid);
        let torn = Carried { nscapability: table.get(..60), ..good };
        assert_eq!(torn.grants().unwrap_err().why, Why::NsValueMalformed);
    }

    #[test]
    fn the_inverse_restores_whatever_had_an_image() {
        let (there, back) = (between(&A, &B, false), between(&B, &A, false));
        for id in (0..5000).chain(99_990..101_100).chain([u32::MAX - 1]) {
            if let Decision::Write(new, _) = there.rootid(Uid::new(id)) {
                let Decision::Write(old, _) = back.rootid(Some(new)) else { panic!("{id}") };
                assert_eq!(old.get(), id);
            }
        }
    }
}
