// SPDX-License-Identifier: MIT OR Apache-2.0
//! Values of the two attributes: those that the table sets, reads and stores, and each of them made
//! wrong in one place. F and docs/formats.md.

use std::collections::BTreeSet;

use nscap_core::{NsCaps, Revision, VfsCaps};
use serde::Serialize;

use super::{Caps, LONGEST};
use crate::live::Machine;
use crate::model::{Rules, play};
use crate::outcome::Outcome;
use crate::scenario::{Attr, Op, Scenario, Stored};
use crate::text::{Problem, show_hex, show_value};

#[derive(Serialize)]
pub(super) struct Case {
    attribute: &'static str,
    hex: String,
    /// As the table writes it.
    text: String,
    /// Whether the bytes are a value at all, as a reader takes it.
    valid: bool,
    /// Whether setxattr(2) takes it: of `security.nscapability` with no rootid of -1 (F), of
    /// `security.capability` as revision 2 or 3 without unknown flags.
    settable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u8>,
    /// One for each entry; of `security.capability` one, with a rootid in revision 3 alone.
    entries: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    rootid: Option<u32>,
    #[serde(flatten)]
    caps: Caps,
}

pub(super) fn cases(table: &[Scenario]) -> Result<Vec<Case>, Problem> {
    let mut found = BTreeSet::new();
    for scenario in table {
        of_scenario(scenario, &mut found)?;
    }
    let good: Vec<_> = found.iter().cloned().collect();
    for (attr, bytes) in good {
        found.extend(wrong(&bytes).into_iter().map(|bytes| (attr, bytes)));
    }
    Ok(found.into_iter().filter(|(_, bytes)| bytes.len() <= LONGEST).map(case).collect())
}

/// Which attribute, as its number in the order of the file, and the bytes.
type Found = (u8, Vec<u8>);

fn number(attr: Attr) -> u8 {
    match attr {
        Attr::Cap => 0,
        Attr::Nscap => 1,
    }
}

fn of_scenario(scenario: &Scenario, found: &mut BTreeSet<Found>) -> Result<(), Problem> {
    for file in scenario.world.files.values() {
        if let Stored::Raw(bytes) = &file.stored {
            found.insert((0, bytes.clone()));
        }
    }
    let outcomes = play(scenario, Rules::Design, &Machine::ideal(super::decisions::KERNEL))
        .map_err(|problem| format!("{}: {problem}", scenario.name))?;
    for (step, outcome) in scenario.steps.iter().zip(outcomes) {
        match (&step.op, outcome) {
            (Op::Set { attr, value, .. }, _) => found.insert((number(*attr), value.clone())),
            (Op::Get(attr, _), Outcome::Value(value)) => found.insert((number(*attr), value)),
            _ => false,
        };
    }
    Ok(())
}

/// The value cut short, too long, of an unknown revision, with an unknown flag, and nothing.
fn wrong(bytes: &[u8]) -> Vec<Vec<u8>> {
    let with = |at: usize, byte: u8| {
        let mut changed = bytes.to_vec();
        if let Some(old) = changed.get_mut(at) {
            *old = byte;
        }
        changed
    };
    let short = bytes.split_last().map_or(&[][..], |(_, rest)| rest).to_vec();
    let long = [bytes, &[0]].concat();
    vec![Vec::new(), short, long, with(3, 9), with(0, 2)]
}

fn case((attr, bytes): Found) -> Case {
    let (hex, text) = (show_hex(&bytes), show_value(&bytes));
    if attr == number(Attr::Nscap) {
        let value = NsCaps::decode_shown(&bytes).ok();
        let entry = |record: nscap_core::Record| Entry {
            rootid: Some(record.rootid()),
            caps: Caps::of(record.caps()),
        };
        return Case {
            attribute: Attr::Nscap.name(),
            hex,
            text,
            valid: value.is_some(),
            settable: NsCaps::decode(&bytes).is_ok(),
            revision: value.map(|_| 1),
            entries: value.iter().flat_map(NsCaps::iter).map(entry).collect(),
        };
    }
    let value = VfsCaps::decode(&bytes).ok();
    let revision = value.map(|value| match value.revision() {
        Revision::V1 => (1, None),
        Revision::V2 => (2, None),
        Revision::V3 { rootid } => (3, Some(rootid)),
    });
    let entry = value
        .zip(revision)
        .map(|(value, (_, rootid))| Entry { rootid, caps: Caps::of(value.caps()) });
    Case {
        attribute: Attr::Cap.name(),
        hex,
        text,
        valid: value.is_some(),
        settable: VfsCaps::settable(&bytes).is_ok(),
        revision: revision.map(|(revision, _)| revision),
        entries: entry.into_iter().collect(),
    }
}
