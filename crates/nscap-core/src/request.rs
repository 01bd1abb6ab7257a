// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a write or a removal is decided from, and the rules that every way of writing shares: R5,
//! R7, R8, B and A.

use crate::cap::{Capability, FileCaps};
use crate::cred::Cred;
use crate::decision::{Decision, Denied, Errno, Why};
use crate::flags::SetFlags;
use crate::id::{Kuid, Uid};
use crate::inode_view::InodeView;
use crate::next::Next;
use crate::ns::{UserNs, root_kuid};
use crate::policy::{Busy, Policy};
use crate::privilege::{may_grant, writes_host_value};
use crate::stored::{HostValue, Stored};
use crate::wire::{RECORD_LEN, Record};

/// The caller, the file and the policy: what every write is decided from.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r, 's, N> {
    /// The policy of the front end.
    pub policy: Policy,
    /// The calling task's credentials.
    pub cred: &'r Cred<N>,
    /// The file as the caller reaches it.
    pub inode: &'r InodeView<N>,
    /// What it holds.
    pub stored: &'r Stored<'s>,
}

/// What is in the way of an entry that is to be written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing.
    Free,
    /// An equal entry: nothing needs to be written.
    Same,
    /// An entry that gives way.
    Taken,
}

impl Way {
    /// Writes the entry, as the flags of setxattr(2) allow.
    pub(crate) fn write(
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
    /// R8 or R5, whichever a plain value of the caller's is.
    pub(crate) fn write_plain<'o>(
        &self,
        caps: FileCaps,
        flags: SetFlags,
        out: &'o mut [[u8; RECORD_LEN]],
    ) -> Result<Decision<Stored<'o>>, Denied> {
        if writes_host_value(self.cred, self.inode) {
            self.write_host(caps, flags, out)
        } else {
            self.write_own(caps, flags, out)
        }
    }

    /// R8.
    pub(crate) fn write_host<'o>(
        &self,
        caps: FileCaps,
        flags: SetFlags,
        out: &'o mut [[u8; RECORD_LEN]],
    ) -> Result<Decision<Stored<'o>>, Denied> {
        let exists = self.stored.host != HostValue::Absent;
        if exists && flags.create {
            return Err(Denied::new(Errno::EEXIST, Why::HostExists));
        }
        if !exists && flags.replace {
            return Err(Denied::new(Errno::ENODATA, Why::NothingToReplace));
        }
        let mut next = Next::of(self.stored, out)?;
        next.host = HostValue::Present(caps);
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
        may_grant(self.cred, self.inode, kuid)?;
        if way == Way::Same {
            return Ok(Decision::Keep(Why::SameAlready));
        }
        let rootid = self.storable(kuid)?;
        let mut next = Next::of(self.stored, out)?;
        way.write(&mut next, rootid, caps, flags)?;
        next.finish(Why::EntryWritten)
    }

    /// R7, for one entry whose kuid is known; `None` where the caller could not name it.
    pub(crate) fn write_entry<'o>(
        &self,
        kuid: Option<Kuid>,
        caps: FileCaps,
        flags: SetFlags,
        out: &'o mut [[u8; RECORD_LEN]],
    ) -> Result<Decision<Stored<'o>>, Denied> {
        let way = self.busy(kuid, caps, flags)?;
        let kuid = kuid.ok_or(Denied::new(Errno::EINVAL, Why::RootidUnmapped))?;
        let rootid = self.storable(kuid)?;
        may_grant(self.cred, self.inode, kuid)?;
        self.put(rootid, way, (caps, flags), out, Why::EntriesWritten)
    }

    /// R7, for the entries of a value of either name.
    pub(crate) fn write_named<'o>(
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

    /// One entry of R7, as if it were alone: the rootid to store it under.
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
        may_grant(self.cred, self.inode, kuid)?;
        Ok((rootid, way))
    }

    /// A kuid, if the caller could name it.
    pub(crate) fn named(&self, kuid: Kuid) -> Option<Kuid> {
        self.cred.ns.uid(kuid).map(|_| kuid)
    }

    /// The file with one more entry, or with another one in its place.
    pub(crate) fn put<'o>(
        &self,
        rootid: Uid,
        way: Way,
        (caps, flags): (FileCaps, SetFlags),
        out: &'o mut [[u8; RECORD_LEN]],
        why: Why,
    ) -> Result<Decision<Stored<'o>>, Denied> {
        if way == Way::Same {
            return Ok(Decision::Keep(Why::SameAlready));
        }
        let mut next = Next::of(self.stored, out)?;
        way.write(&mut next, rootid, caps, flags)?;
        next.finish(why)
    }

    /// B and A: EBUSY where an entry is in the way. In single-entry mode that is any entry; with
    /// arrays, one for the same root kuid. The host value counts as the entry for the root kuid
    /// of the superblock's owner namespace. The policy says when that entry gives way.
    pub(crate) fn busy(
        &self,
        kuid: Option<Kuid>,
        caps: FileCaps,
        flags: SetFlags,
    ) -> Result<Way, Denied> {
        let seen = self.stored.seen_from(self.cred.ns, self.inode);
        let stored = kuid.and_then(|kuid| self.inode.stored_of(kuid));
        let there = match (stored, self.stored.host) {
            (Some(Uid::ROOT), HostValue::Present(caps)) => Some(caps),
            (Some(stored), _) => {
                let entry = self.stored.entries.find(stored);
                entry.filter(|caps| seen.as_entry(stored, *caps).is_some())
            }
            (None, _) => None,
        };
        match (there, self.policy.busy) {
            (Some(same), Busy::SameOk) if same == caps => Ok(Way::Same),
            (Some(same), Busy::Replace) if same == caps && !flags.create => Ok(Way::Same),
            (Some(_), Busy::Replace) => Ok(Way::Taken),
            (None, _) if self.policy.array || !seen.has_entries() => Ok(Way::Free),
            _ => Err(Denied::new(Errno::EBUSY, Why::EntryExists)),
        }
    }

    /// M: the rootid to store for a kuid.
    fn storable(&self, kuid: Kuid) -> Result<Uid, Denied> {
        self.inode.stored_of(kuid).ok_or(Denied::new(Errno::EINVAL, Why::RootidUnstorable))
    }

    /// Without a root kuid the answer is EPERM either way; a missing capability is the nearer
    /// reason.
    fn why_no_root(&self) -> Why {
        if self.cred.has_cap(Capability::Setfcap) { Why::NoRootKuid } else { Why::NoSetfcap }
    }
}
