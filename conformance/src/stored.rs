// SPDX-License-Identifier: MIT OR Apache-2.0
//! The capabilities that a scenario gives a file, as the bytes on disk: SPEC's Storage. Covers what
//! every runner begins with, the model as well as the live file.

use std::collections::BTreeMap;

use nscap_core::storage::{SealFacts, tripwire};
use nscap_core::{FileCaps, Gid, Kgid, Kuid, Record, Revision, Uid, UserNs, VfsCaps};

use crate::scenario::Stored;
use crate::text::Problem;
use crate::tree::Ns;

/// The two attributes of a file, as they are stored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Attributes {
    /// `security.capability`.
    pub cap: Option<Vec<u8>>,
    /// `security.nscapability`.
    pub nscap: Option<Vec<u8>>,
}

impl Attributes {
    /// What root of the initial namespace writes to have `cap` stored on a superblock of `sb`: a
    /// rootid in its own terms.
    #[must_use]
    pub fn cap_as_written(&self, sb: Ns<'_>) -> Option<Vec<u8>> {
        let bytes = self.cap.as_ref()?;
        let value = VfsCaps::decode(bytes).ok();
        let kuid = value.and_then(|value| match value.revision() {
            Revision::V3 { rootid } => Some((sb.kuid(Uid::new(rootid)?)?, value.caps())),
            Revision::V1 | Revision::V2 => None,
        });
        Some(match kuid {
            Some((kuid, caps)) => VfsCaps::v3(kuid.get(), caps).encode().as_bytes().to_vec(),
            None => bytes.clone(),
        })
    }
}

/// What a seal is made over, for a file of this size and these owners on a superblock of `sb`.
///
/// # Errors
/// Says which owner the superblock cannot hold.
pub fn facts(sb: Ns<'_>, size: u64, owner: u32, group: u32) -> Result<SealFacts, Problem> {
    let uid = Kuid::new(owner).and_then(|kuid| sb.uid(kuid)).map(Uid::get);
    let gid = Kgid::new(group).and_then(|kgid| sb.gid(kgid)).map(Gid::get);
    let cannot = |what: &str, id| format!("{what} {id} is not mapped in the superblock's owner");
    Ok(SealFacts {
        size,
        uid: uid.ok_or_else(|| cannot("owner", owner))?,
        gid: gid.ok_or_else(|| cannot("group", group))?,
    })
}

/// The attributes of a file that holds what the scenario says.
///
/// # Errors
/// Says which root kuid the superblock cannot hold.
pub fn attributes(sb: Ns<'_>, stored: &Stored, facts: SealFacts) -> Result<Attributes, Problem> {
    let (host, entries) = match stored {
        Stored::Raw(bytes) => return Ok(Attributes { cap: Some(bytes.clone()), nscap: None }),
        Stored::Caps { host, entries } => (*host, by_rootid(sb, entries)?),
    };
    // An entry for the root kuid of the owner namespace is the host value.
    let mut entries = entries;
    let host = entries.remove(&0).or(host);
    let mut only = entries.iter();
    let bytes = |value: VfsCaps| Some(value.encode().as_bytes().to_vec());
    let cap = match (host, only.next(), only.next()) {
        (Some(caps), _, _) => bytes(VfsCaps::v2(caps)),
        (None, Some((rootid, caps)), None) => {
            return Ok(Attributes { cap: bytes(VfsCaps::v3(*rootid, *caps)), nscap: None });
        }
        (None, Some(_), Some(_)) => Some(tripwire(0).as_bytes().to_vec()),
        (None, None, _) => None,
    };
    let table = cap.as_ref().filter(|_| !entries.is_empty());
    let nscap = table.map(|companion| seal(&entries, companion, facts));
    Ok(Attributes { cap, nscap })
}

fn by_rootid(
    sb: Ns<'_>,
    entries: &BTreeMap<u32, FileCaps>,
) -> Result<BTreeMap<u32, FileCaps>, Problem> {
    let stored = |(kuid, caps): (&u32, &FileCaps)| match Kuid::new(*kuid).and_then(|k| sb.uid(k)) {
        Some(rootid) => Ok((rootid.get(), *caps)),
        None => Err(format!("root kuid {kuid} is not mapped in the superblock's owner")),
    };
    entries.iter().map(stored).collect()
}

/// A sealed table, `docs/formats.md`.
pub(crate) fn seal(
    entries: &BTreeMap<u32, FileCaps>,
    companion: &[u8],
    facts: SealFacts,
) -> Vec<u8> {
    let word = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let mut table = b"nSC1".to_vec();
    table.extend(word(companion.len()));
    table.extend(companion);
    table.resize(32, 0);
    table.extend(facts.size.to_le_bytes());
    table.extend(facts.uid.to_le_bytes());
    table.extend(facts.gid.to_le_bytes());
    table.extend(word(entries.len()));
    table.extend(word(0));
    let records = entries.iter().map(|(rootid, caps)| Record::new(*rootid, *caps));
    table.extend(records.flat_map(|record| *record.as_bytes()));
    table
}
