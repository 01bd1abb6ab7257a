// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes of what a file in an archive holds, without a kernel and without a caller: the packer of
//! an image is the administrator of its files (R8, D). Also how the grants of one file differ from
//! those of another (W), and when a grant that was saved may be given again (K, W).

use crate::cap::FileCaps;
use crate::decision::{Decision, Denied, Errno, Why};
use crate::next::Next;
use crate::stored::{HostValue, Stored};
use crate::translate::{ArchiveGrant, Carried, Grants};
use crate::wire::RECORD_LEN;
use crate::{Entries, Uid};

/// What is to be done to the grants of one file of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArchiveChange {
    /// A host value of these capabilities: for the root that unpacks the image. Entries stay, and
    /// wait (R8).
    Set(FileCaps),
    /// No grant at all, also where the values are malformed.
    Remove,
    /// The same grants without the effective bit.
    NoEffective,
}

impl ArchiveChange {
    /// What the file holds after it: `Write`, or `Keep` where it holds that already. `out` needs as
    /// many slots as there are grants.
    ///
    /// Errors: ENODATA where there is no grant to remove or to change; EINVAL for malformed values,
    /// but for `Remove`; ENOSPC for more than 1,024 entries.
    ///
    /// ```
    /// use nscap_core::{ArchiveChange, Decision, FileCaps, Stored, VfsCaps, Why};
    /// use nscap_core::{storage::SealFacts, translate::Carried};
    /// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
    /// let facts = SealFacts { size: 1, uid: 0, gid: 0 };
    /// let none = Carried { capability: None, nscapability: None, facts };
    /// let mut out = [[0; 24]; 1];
    /// let set = ArchiveChange::Set(ping).decide(&none, &mut out);
    /// assert_eq!(set, Decision::Write(Stored::host(ping), Why::HostWritten));
    /// let value = VfsCaps::v2(ping).encode();
    /// let held = Carried { capability: Some(value.as_bytes()), ..none };
    /// let again = ArchiveChange::Set(ping).decide(&held, &mut out);
    /// assert_eq!(again, Decision::Keep(Why::SameAlready));
    /// let permitted = FileCaps { effective: false, ..ping };
    /// let quiet = ArchiveChange::NoEffective.decide(&held, &mut out);
    /// assert_eq!(quiet, Decision::Write(Stored::host(permitted), Why::HostWritten));
    /// ```
    #[must_use]
    pub fn decide<'o>(
        self,
        carried: &Carried<'_>,
        out: &'o mut [[u8; RECORD_LEN]],
    ) -> Decision<Stored<'o>> {
        self.change(carried, out).unwrap_or_else(Decision::from)
    }

    fn change<'o>(
        self,
        carried: &Carried<'_>,
        out: &'o mut [[u8; RECORD_LEN]],
    ) -> Result<Decision<Stored<'o>>, Denied> {
        let nothing = carried.capability.is_none() && carried.nscapability.is_none();
        if self == ArchiveChange::Remove {
            return match nothing {
                true => Err(Denied::new(Errno::ENODATA, Why::NothingToRemove)),
                false => Ok(Decision::Write(Stored::EMPTY, Why::EntriesRemoved)),
            };
        }
        let grants = carried.grants()?;
        match self {
            ArchiveChange::NoEffective if grants.iter().next().is_none() => {
                Err(Denied::new(Errno::ENODATA, Why::NoCapsOnFile))
            }
            ArchiveChange::NoEffective if !grants.iter().any(|grant| grant.caps.effective) => {
                Ok(Decision::Keep(Why::SameAlready))
            }
            ArchiveChange::Set(caps) if own(&grants) == Some(caps) => {
                Ok(Decision::Keep(Why::SameAlready))
            }
            change => change.apply(&grants, out),
        }
    }

    fn apply<'o>(
        self,
        grants: &Grants<'_>,
        out: &'o mut [[u8; RECORD_LEN]],
    ) -> Result<Decision<Stored<'o>>, Denied> {
        let mut next = Next::empty(out);
        for ArchiveGrant { id, caps } in grants.iter() {
            let id = id.ok_or(Denied::new(Errno::EINVAL, Why::NoSourceId))?;
            match self {
                ArchiveChange::NoEffective => {
                    next.put(id, FileCaps { effective: false, ..caps })?;
                }
                _ if id != Uid::ROOT => next.put(id, caps)?,
                _ => {}
            }
        }
        if let ArchiveChange::Set(caps) = self {
            next.host = HostValue::Present(caps);
        }
        let host = next.host != HostValue::Absent;
        next.finish(if host { Why::HostWritten } else { Why::EntriesWritten })
    }
}

/// The host value among grants.
fn own(grants: &Grants<'_>) -> Option<FileCaps> {
    grants.iter().find(|grant| grant.id == Some(Uid::ROOT)).map(|grant| grant.caps)
}

/// How what one root is granted by a file differs from before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Difference {
    /// There was no grant for it.
    Added,
    /// There is none any more.
    Lost,
    /// A capability, or the effective bit, that there was not.
    Widened,
    /// Less than before, and nothing more.
    Narrowed,
}

impl Difference {
    /// Compares the grants of one root; `None` where they are equal.
    ///
    /// ```
    /// use nscap_core::{Difference, FileCaps};
    /// let caps = |text: &str| Some(FileCaps::from_text(text.as_bytes()).unwrap());
    /// assert_eq!(Difference::of(None, caps("cap_kill=p")), Some(Difference::Added));
    /// let change = |from, to| Difference::of(caps(from), caps(to));
    /// assert_eq!(change("cap_kill=p", "cap_kill=ep"), Some(Difference::Widened));
    /// assert_eq!(change("cap_kill=ep", "cap_kill=p"), Some(Difference::Narrowed));
    /// assert_eq!(change("cap_kill=p", "cap_chown=p"), Some(Difference::Widened));
    /// assert_eq!(Difference::of(caps("cap_kill=p"), None), Some(Difference::Lost));
    /// assert_eq!(Difference::of(caps("cap_kill=p"), caps("cap_kill=p")), None);
    /// ```
    #[must_use]
    pub fn of(before: Option<FileCaps>, after: Option<FileCaps>) -> Option<Difference> {
        let (before, after) = match (before, after) {
            (None, None) => return None,
            (None, Some(_)) => return Some(Difference::Added),
            (Some(_), None) => return Some(Difference::Lost),
            (Some(before), Some(after)) => (before, after),
        };
        let within = after.permitted.is_subset(before.permitted)
            && after.inheritable.is_subset(before.inheritable)
            && (before.effective || !after.effective);
        match (before == after, within) {
            (true, _) => None,
            (false, true) => Some(Difference::Narrowed),
            (false, false) => Some(Difference::Widened),
        }
    }

    /// One word for programs and people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Difference::Added => "added",
            Difference::Lost => "lost",
            Difference::Widened => "widened",
            Difference::Narrowed => "narrowed",
        }
    }
}

/// What grants of a file are saved with, and what of it is found where they are to be given again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SavedFile {
    /// The size in bytes.
    pub size: u64,
    /// The SHA-256 of the content.
    pub sha256: [u8; 32],
    /// The owner and group.
    pub owner: (u32, u32),
    /// Permissions and set-id bits.
    pub mode: u32,
}

impl SavedFile {
    /// Whether the grants of this file may be given to the one that was found: it has the same
    /// content, and no other task may change or execute it than before. A file that root owns now
    /// is as good.
    ///
    /// # Errors
    /// EPERM where the content, the owner or group differ, or the mode allows more.
    ///
    /// ```
    /// use nscap_core::SavedFile;
    /// let saved = SavedFile { size: 1, sha256: [7; 32], owner: (0, 0), mode: 0o755 };
    /// assert!(saved.allows(&SavedFile { mode: 0o700, ..saved }).is_ok());
    /// assert!(saved.allows(&SavedFile { mode: 0o775, ..saved }).is_err());
    /// assert!(saved.allows(&SavedFile { owner: (1000, 0), ..saved }).is_err());
    /// assert!(saved.allows(&SavedFile { sha256: [8; 32], ..saved }).is_err());
    /// ```
    pub fn allows(&self, found: &SavedFile) -> Result<(), Denied> {
        let no = |why| Err(Denied::new(Errno::EPERM, why));
        if found.size != self.size || found.sha256 != self.sha256 {
            return no(Why::SavedContentDiffers);
        }
        let (uid, gid) = found.owner;
        if (uid != self.owner.0 && uid != 0) || gid != self.owner.1 {
            return no(Why::SavedOwnerDiffers);
        }
        match found.mode & !self.mode & 0o7777 {
            0 => Ok(()),
            _ => no(Why::SavedModeWider),
        }
    }
}

/// A range of ids that belongs to one user, with the first id and the number of ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdRange {
    /// The first id.
    pub first: u32,
    /// How many.
    pub count: u32,
}

impl IdRange {
    /// Whether an entry that was saved may be given again here: its root is in the same range, or
    /// was in none and is in none. In another range the id would be another container's root.
    ///
    /// # Errors
    /// EPERM where the ranges differ.
    ///
    /// ```
    /// use nscap_core::IdRange;
    /// let range = IdRange { first: 100_000, count: 65_536 };
    /// assert!(IdRange::allows(Some(range), Some(range)).is_ok());
    /// assert!(IdRange::allows(Some(range), None).is_err());
    /// ```
    pub fn allows(saved: Option<IdRange>, found: Option<IdRange>) -> Result<(), Denied> {
        match saved == found {
            true => Ok(()),
            false => Err(Denied::new(Errno::EPERM, Why::SavedRangeDiffers)),
        }
    }
}

/// What a manifest or an archive holds, as what a file holds: the same grants.
impl<'o> Stored<'o> {
    /// Of grants with stored rootids; 0 is the host value. `out` needs as many slots as there are
    /// grants.
    ///
    /// # Errors
    /// EINVAL for a root that is named twice; ENOSPC for more than 1,024 entries.
    ///
    /// ```
    /// use nscap_core::{FileCaps, Stored, Uid};
    /// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
    /// let mut out = [[0; 24]; 2];
    /// let stored = Stored::of_grants([(Uid::ROOT, ping)], &mut out).unwrap();
    /// assert_eq!(stored, Stored::host(ping));
    /// assert!(Stored::of_grants([(Uid::ROOT, ping); 2], &mut out).is_err());
    /// ```
    pub fn of_grants(
        grants: impl IntoIterator<Item = (Uid, FileCaps)>,
        out: &'o mut [[u8; RECORD_LEN]],
    ) -> Result<Stored<'o>, Denied> {
        let mut next = Next::empty(out);
        for (id, caps) in grants {
            if next.holds(id) {
                return Err(Denied::new(Errno::EINVAL, Why::GrantsDiffer));
            }
            next.put(id, caps)?;
        }
        next.into_stored().ok_or(Denied::new(Errno::ENOSPC, Why::NoRoom))
    }

    /// What one root is granted: 0 is the host value.
    #[must_use]
    pub fn granted_to(&self, id: Uid) -> Option<FileCaps> {
        let entries: &Entries<'_> = &self.entries;
        match (id == Uid::ROOT, self.host) {
            (true, HostValue::Present(caps)) => Some(caps),
            (true, _) => None,
            (false, _) => entries.find(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::SealFacts;
    use crate::{NsCaps, Record, VfsCaps};

    const FACTS: SealFacts = SealFacts { size: 1, uid: 0, gid: 0 };

    fn caps(text: &str) -> FileCaps {
        FileCaps::from_text(text.as_bytes()).unwrap()
    }

    #[test]
    fn r8_entries_of_others_stay_beside_a_new_host_value() {
        let v3 = VfsCaps::v3(100_000, caps("cap_kill=ep")).encode();
        let carried = Carried { capability: Some(v3.as_bytes()), nscapability: None, facts: FACTS };
        let mut out = [[0; RECORD_LEN]; 2];
        let set = ArchiveChange::Set(caps("cap_chown=p")).decide(&carried, &mut out);
        let Decision::Write(stored, Why::HostWritten) = set else { panic!("{set:?}") };
        assert_eq!(stored.granted_to(Uid::ROOT), Some(caps("cap_chown=p")));
        assert_eq!(stored.granted_to(Uid::new(100_000).unwrap()), Some(caps("cap_kill=ep")));
    }

    #[test]
    fn d_what_is_malformed_can_be_removed_and_nothing_else() {
        let carried = Carried { capability: Some(b"?"), nscapability: None, facts: FACTS };
        let mut out = [[0; RECORD_LEN]; 2];
        for change in [ArchiveChange::Set(caps("cap_kill=p")), ArchiveChange::NoEffective] {
            assert_eq!(change.decide(&carried, &mut out).why(), Why::ValueMalformed);
        }
        let removed = ArchiveChange::Remove.decide(&carried, &mut out);
        assert_eq!(removed, Decision::Write(Stored::EMPTY, Why::EntriesRemoved));
        let none = Carried { capability: None, ..carried };
        let none = ArchiveChange::Remove.decide(&none, &mut out);
        assert_eq!(none, Decision::Deny(Errno::ENODATA, Why::NothingToRemove));
    }

    #[test]
    fn every_grant_loses_the_effective_bit_and_nothing_else() {
        let records = [7, 100_000].map(|id| Record::new(id, caps("cap_kill,cap_chown=eip")));
        let mut value = [0; NsCaps::encoded_len(2)];
        NsCaps::encode(records, &mut value).unwrap();
        let v2 = VfsCaps::v2(caps("cap_kill=ep")).encode();
        let carried =
            Carried { capability: Some(v2.as_bytes()), nscapability: Some(&value), facts: FACTS };
        let mut out = [[0; RECORD_LEN]; 3];
        let quiet = ArchiveChange::NoEffective.decide(&carried, &mut out);
        let Decision::Write(stored, _) = quiet else { panic!("{quiet:?}") };
        assert_eq!(stored.granted_to(Uid::ROOT), Some(caps("cap_kill=p")));
        for id in [7, 100_000] {
            let granted = stored.granted_to(Uid::new(id).unwrap());
            assert_eq!(granted, Some(caps("cap_kill,cap_chown=ip")));
        }
    }
}
