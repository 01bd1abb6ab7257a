// SPDX-License-Identifier: MIT OR Apache-2.0
//! The grants of a file as values of its two attributes, by the three cases of Storage: several
//! entries are in form F, for a front end or a patched kernel, or under a new seal if the archive
//! had a sealed table.

use nscap_core::storage::{Form, SealFacts, Table, form_of, is_tripwire, tripwire};
use nscap_core::{NsCaps, Record, Stored};
use sha2::{Digest as _, Sha256};

use super::attr::Name;

/// The new values.
#[derive(Default)]
pub(crate) struct Values {
    capability: Option<Vec<u8>>,
    nscapability: Option<Vec<u8>>,
}

/// What a sealed table is sealed with again.
#[derive(Clone, Copy)]
pub(crate) struct Reseal<'a> {
    /// The file as it will be.
    pub(crate) facts: SealFacts,
    /// The companion as it was.
    pub(crate) companion: Option<&'a [u8]>,
}

impl Values {
    pub(crate) fn of(stored: &Stored<'_>, seal: Option<Reseal<'_>>) -> Values {
        let companion = match form_of(stored) {
            Form::Nothing | Form::MalformedAlone | Form::TableBesideMalformed => {
                return Values::default();
            }
            Form::Alone(value) => {
                return Values { capability: Some(value.as_bytes().into()), nscapability: None };
            }
            Form::TableBesideHost(value) => Some(value.as_bytes().to_vec()),
            Form::TableBesideTripwire => seal.map(|seal| seal.tripwire()),
        };
        let nscapability = match seal {
            Some(seal) => seal.table(stored, companion.as_deref().unwrap_or_default()),
            None => form_f(stored),
        };
        Values { capability: companion, nscapability: Some(nscapability) }
    }

    pub(crate) fn get(&self, name: Name) -> Option<&[u8]> {
        match name {
            Name::Capability => self.capability.as_deref(),
            Name::NsCapability => self.nscapability.as_deref(),
        }
    }
}

fn form_f(stored: &Stored<'_>) -> Vec<u8> {
    let mut out = vec![0; NsCaps::encoded_len(stored.entries.len())];
    let records = stored.entries.iter().map(|(rootid, caps)| Record::new(rootid.get(), caps));
    let length = NsCaps::encode(records, &mut out).unwrap_or(0);
    out.truncate(length);
    out
}

impl Reseal<'_> {
    /// The tripwire that there was; else a new one, the same for the same file.
    fn tripwire(&self) -> Vec<u8> {
        match self.companion {
            Some(companion) if is_tripwire(companion) => companion.to_vec(),
            other => {
                let hash = Sha256::digest(other.unwrap_or_default());
                let random = hash.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                tripwire(random).as_bytes().to_vec()
            }
        }
    }

    fn table(&self, stored: &Stored<'_>, companion: &[u8]) -> Vec<u8> {
        let mut out = vec![0; Table::encoded_len(stored.entries.len())];
        let length = Table::encode(&stored.entries, companion, self.facts, &mut out).unwrap_or(0);
        out.truncate(length);
        out
    }
}
