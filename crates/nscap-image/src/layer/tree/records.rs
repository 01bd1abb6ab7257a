// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the head of a member says of a file: owner and mode, and the attributes that are unpacked.

use super::{TreeInode, absolute};
use crate::layer::attr::{self, Coding, Name as Attribute};
use crate::layer::error::{Error, Result};
use crate::layer::member::Head;

pub(super) fn inode_of(head: &Head<'_>, name: &[u8]) -> Result<TreeInode> {
    let failed = |problem| head.error(problem);
    let facts = head.facts().map_err(failed)?;
    let mode = head.header.mode().map_err(failed)? & 0o7777;
    Ok(TreeInode {
        path: if name.starts_with(b"/") { name.to_vec() } else { absolute(name) },
        uid: facts.uid,
        gid: facts.gid,
        mode: u32::try_from(mode).unwrap_or_default(),
        listed: head.records().flatten().any(|record| attr::is_acl(record.key)),
        implied: false,
        passed_over: false,
    })
}

/// The attributes as programs unpack them: of star's records, the last one of a name.
#[derive(Default)]
pub(super) struct Records {
    pub(super) capability: Option<Vec<u8>>,
    pub(super) nscapability: Option<Vec<u8>>,
    pub(super) libarchive: bool,
}

impl Records {
    pub(super) fn of(head: &Head<'_>) -> Result<Records> {
        // An error where two records contradict each other.
        if let Some(all) = crate::layer::attributes::Attributes::of(head)? {
            all.carried().map_err(|denied| Error::Denied {
                offset: head.offset,
                member: head.name().into_owned(),
                denied,
            })?;
        }
        let mut records = Records::default();
        let mut other = false;
        for record in head.records().flatten() {
            let value = || Some(record.value.to_vec());
            match attr::of(record.key) {
                Some((Attribute::Capability, Coding::Schily)) => records.capability = value(),
                Some((Attribute::NsCapability, Coding::Schily)) => records.nscapability = value(),
                Some((_, Coding::Libarchive)) => other = true,
                None => {}
            }
        }
        records.libarchive =
            other && records.capability.is_none() && records.nscapability.is_none();
        Ok(records)
    }
}
