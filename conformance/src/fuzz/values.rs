// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random ids, capabilities and values of security.capability. Numbers are few and near each other,
//! so that ids meet.

use nscap_core::{CapSet, Capability, FileCaps, Record, VfsCaps};

use super::pick::Pick;

/// Ids that worlds are made of, as the host counts.
pub(super) const IDS: [u32; 14] = [
    0,
    1,
    7,
    1000,
    1001,
    100_000,
    100_001,
    100_007,
    100_500,
    101_000,
    101_007,
    200_000,
    200_007,
    4_294_967_294,
];

/// Capabilities that decide about something here, and some that do not.
const CAPS: [Capability; 11] = [
    Capability::Setfcap,
    Capability::NetRaw,
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Setuid,
    Capability::Setgid,
    Capability::SysAdmin,
    Capability::SysPtrace,
];

pub(super) fn set(pick: &mut Pick, percent: u32) -> CapSet {
    CapSet::of(&pick.some(&CAPS, percent))
}

pub(crate) fn file_caps(pick: &mut Pick) -> FileCaps {
    let above = if pick.percent(10) { CapSet::from_bits(1 << 45) } else { CapSet::EMPTY };
    FileCaps {
        permitted: set(pick, 20) | above,
        inheritable: if pick.percent(25) { set(pick, 20) } else { CapSet::EMPTY },
        effective: pick.percent(60),
    }
}

/// A value of security.capability: well-formed, nearly so, or not at all; never empty.
pub(super) fn raw(pick: &mut Pick) -> Vec<u8> {
    let caps = file_caps(pick);
    let rootid = pick.of(&IDS).unwrap_or(0);
    let mut bytes = match pick.below(10) {
        0..=3 => VfsCaps::v2(caps).encode().as_bytes().to_vec(),
        4..=6 => VfsCaps::v3(rootid, caps).encode().as_bytes().to_vec(),
        _ => {
            let magic = 0x0100_0000 | u32::from(caps.effective);
            let words = [magic, caps.permitted.low(), caps.inheritable.low()];
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        }
    };
    spoil(pick, &mut bytes);
    bytes
}

fn spoil(pick: &mut Pick, bytes: &mut Vec<u8>) {
    match pick.below(12) {
        0 if bytes.len() > 1 => {
            bytes.pop();
        }
        1 => bytes.push(pick.byte()),
        2 => {
            let at = pick.count(0, bytes.len().saturating_sub(1));
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << pick.below(8);
            }
        }
        3 => bytes.truncate(pick.count(1, bytes.len())),
        _ => {}
    }
}

/// What a task writes: mostly the plain value, as setcap does.
pub(super) fn value(pick: &mut Pick) -> Vec<u8> {
    let caps = file_caps(pick);
    let rootid =
        pick.one([0, 0, 5, 500, 1000, 100_000, 101_000, 200_000, 70_000, u32::MAX, u32::MAX - 1]);
    let mut bytes = match pick.below(10) {
        0..=5 => VfsCaps::v2(caps).encode().as_bytes().to_vec(),
        6..=8 => VfsCaps::v3(rootid, caps).encode().as_bytes().to_vec(),
        _ => return raw(pick),
    };
    if pick.percent(15) {
        spoil(pick, &mut bytes);
    }
    bytes
}

/// A value of security.nscapability: mostly well-formed, never empty.
pub(super) fn form_f(pick: &mut Pick) -> Vec<u8> {
    let rootids = [0, 5, 500, 1000, 100_000, 101_000, 200_000, u32::MAX];
    let mut chosen = pick.some(&rootids, 20);
    if chosen.is_empty() {
        chosen.extend(pick.of(&rootids));
    }
    let count = u32::try_from(chosen.len()).unwrap_or(0);
    let mut bytes: Vec<u8> =
        [0x0100_0000, count].iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
    for rootid in chosen {
        bytes.extend(Record::new(rootid, file_caps(pick)).as_bytes());
    }
    if pick.percent(10) {
        spoil(pick, &mut bytes);
    }
    bytes
}
