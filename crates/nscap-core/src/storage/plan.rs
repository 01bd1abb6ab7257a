// SPDX-License-Identifier: MIT OR Apache-2.0
//! In which order the two attributes of a file are changed, so that no step, and no end between two
//! steps, grants anything that was not granted before or is not to be. Covers SPEC's Storage on the
//! writing side.

use super::{Form, Seal, SealFacts, Table, form_of, is_tripwire, read, tripwire};
use crate::nscaps::MAX_ENTRIES;
use crate::stored::{HostValue, Stored};
use crate::vfscap::VfsCapsBytes;
use crate::wire::{copy, same};

/// Which attribute a step changes, and how. The numbers are those of the kernel's C side (`enum
/// nscap_op`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum Op {
    /// Write `security.nscapability`.
    SetTable = 1,
    /// Remove `security.nscapability`, if it is there.
    RemoveTable = 2,
    /// Write `security.capability` where there is none (XATTR_CREATE).
    CreateCapability = 3,
    /// Write `security.capability` where there is one (XATTR_REPLACE).
    ReplaceCapability = 4,
    /// Remove `security.capability`, if it is there.
    RemoveCapability = 5,
}

impl Op {
    /// Whether the step commits: before it the file grants what it granted, after it what it is to
    /// grant. A failure before it is undone by putting the table back; one after it leaves a table
    /// without effect.
    ///
    /// ```
    /// use nscap_core::storage::Op;
    /// assert!(Op::ReplaceCapability.commits() && !Op::SetTable.commits());
    /// ```
    #[must_use]
    pub fn commits(self) -> bool {
        !matches!(self, Op::SetTable | Op::RemoveTable)
    }
}

/// One change of one attribute; see [`plan`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// Write `security.nscapability`.
    SetTable(&'a [u8]),
    /// Remove `security.nscapability`, if it is there.
    RemoveTable,
    /// Write `security.capability` where there is none (XATTR_CREATE).
    CreateCapability(VfsCapsBytes),
    /// Write `security.capability` where there is one (XATTR_REPLACE).
    ReplaceCapability(VfsCapsBytes),
    /// Remove `security.capability`, if it is there.
    RemoveCapability,
}

impl Step<'_> {
    /// Which attribute it changes, and how.
    #[must_use]
    pub fn op(&self) -> Op {
        match self {
            Step::SetTable(_) => Op::SetTable,
            Step::RemoveTable => Op::RemoveTable,
            Step::CreateCapability(_) => Op::CreateCapability,
            Step::ReplaceCapability(_) => Op::ReplaceCapability,
            Step::RemoveCapability => Op::RemoveCapability,
        }
    }
}

/// As many steps as a plan can have.
pub const MAX_STEPS: usize = 4;

/// As many bytes as the tables of a plan can need.
pub const PLAN_LEN: usize = 2 * Table::encoded_len(MAX_ENTRIES);

/// What the two attributes of a file are before a change.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    /// The bytes of `security.capability`.
    pub capability: Option<&'a [u8]>,
    /// Whether there is a `security.capability` whose bytes cannot be seen.
    pub hidden: bool,
    /// The bytes of `security.nscapability`.
    pub table: Option<&'a [u8]>,
    /// What a seal is made over.
    pub facts: SealFacts,
    /// As [`read`] takes it.
    pub trusted: bool,
}

/// The steps that make a file hold `next`, in their order.
///
/// After each step the file has either its old grants or its new ones. One step commits. Steps
/// before it remove a void table, or add a table that has no companion yet; steps after it trim.
/// `random` is for a new [`tripwire`]. The tables are written into `out`; [`PLAN_LEN`] bytes are
/// always enough. `None` where `out` is too short, or where a malformed value is to stay beside a
/// table and is longer than a companion can be.
///
/// ```
/// use nscap_core::storage::{Before, SealFacts, Step, plan};
/// use nscap_core::{FileCaps, Stored, VfsCaps};
/// let facts = SealFacts { size: 10, uid: 0, gid: 0 };
/// let before = Before { capability: None, hidden: false, table: None, facts, trusted: true };
/// let steps = plan(&before, &Stored::host(FileCaps::default()), 0, &mut []).unwrap();
/// let value = VfsCaps::v2(FileCaps::default()).encode();
/// assert_eq!(steps, [Some(Step::CreateCapability(value)), None, None, None]);
/// ```
#[must_use]
#[inline(never)] // Within its caller it makes a kernel's object larger by 300 bytes.
pub fn plan<'o>(
    before: &Before<'_>,
    next: &Stored<'_>,
    random: u64,
    out: &'o mut [u8],
) -> Option<[Option<Step<'o>>; MAX_STEPS]> {
    let form = form_of(next);
    let opens = before.opens(&form, random);
    let live = before.live_table();
    let (kept, rest) = out.split_at_mut_checked(live.map_or(0, <[u8]>::len))?;
    copy(kept, live.unwrap_or_default());
    let sealed = match (form, opens) {
        (Form::Nothing | Form::Alone(_) | Form::MalformedAlone, _) => 0,
        (_, Some(opens)) => Table::encode(&next.entries, opens.as_bytes(), before.facts, rest)?,
        (_, None) => return None,
    };
    let kept = kept.len();
    let out: &'o [u8] = out.get(..kept.saturating_add(sealed))?;
    let (kept, sealed) = out.split_at_checked(kept)?;
    let swap = opens.and_then(|opens| before.companion(opens));
    let mut steps = Steps::default();
    match (before.table, live) {
        (Some(_), None) => steps.push(Step::RemoveTable),
        (Some(all), Some(live)) if all.len() != live.len() => steps.push(Step::SetTable(kept)),
        (_, _) => {}
    }
    match (form, opens) {
        (Form::Nothing, _) => steps.push(Step::RemoveCapability),
        (Form::Alone(value), _) => steps.extend(before.companion(value)),
        (Form::MalformedAlone, _) | (_, None) => {}
        // The companion stays: the table is exchanged in one step, which commits.
        (_, Some(_)) if swap.is_none() => steps.push(Step::SetTable(sealed)),
        (_, Some(_)) => {
            steps.push(Step::SetTable(out));
            steps.extend(swap);
        }
    }
    if live.is_some() && sealed.is_empty() {
        steps.push(Step::RemoveTable);
    } else if live.is_some() && swap.is_some() {
        steps.push(Step::SetTable(sealed));
    }
    Some(steps.0)
}

/// Whether a change adds no grant: the host value stays or goes, and every entry of the result
/// exists already.
///
/// ```
/// use nscap_core::{FileCaps, Stored, storage::takes_away};
/// let host = Stored::host(FileCaps::default());
/// assert!(takes_away(&host, &Stored::EMPTY) && takes_away(&host, &host));
/// assert!(!takes_away(&Stored::EMPTY, &host));
/// ```
#[must_use]
pub fn takes_away(before: &Stored<'_>, next: &Stored<'_>) -> bool {
    let host = next.host == before.host || next.host == HostValue::Absent;
    host && next.entries.iter().all(|left| before.entries.iter().any(|there| there == left))
}

/// The steps for a change that only [takes away](takes_away), where the steps of [`plan`] have no
/// room: the owner of a file may fill it with attributes. The table goes first, which makes room
/// for the rest.
///
/// After each step the file grants no more than it granted before, and no more than it is to grant.
/// A step that still has no room is left out with those after it, and then [`plan`] of less.
/// Entries may be lost; none becomes wider. `random` and `out` as [`plan`] takes them, and `None`
/// as there.
///
/// ```
/// use nscap_core::storage::{Before, SealFacts, Step, plan_without_room};
/// use nscap_core::{FileCaps, Stored, VfsCaps};
/// let facts = SealFacts { size: 10, uid: 0, gid: 0 };
/// let value = VfsCaps::v2(FileCaps::default()).encode();
/// let capability = Some(value.as_bytes());
/// let before = Before { capability, hidden: false, table: None, facts, trusted: true };
/// let steps = plan_without_room(&before, &Stored::EMPTY, 0, &mut []).unwrap();
/// assert_eq!(steps, [Some(Step::RemoveCapability), None, None, None]);
/// ```
#[must_use]
pub fn plan_without_room<'o>(
    before: &Before<'_>,
    next: &Stored<'_>,
    random: u64,
    out: &'o mut [u8],
) -> Option<[Option<Step<'o>>; MAX_STEPS]> {
    let without_table = Before { table: None, ..*before };
    let form = form_of(next);
    let mut steps = Steps::default();
    if before.table.is_some() && !matches!(form, Form::Nothing) {
        steps.push(Step::RemoveTable);
    }
    match (form, without_table.opens(&form, random)) {
        (Form::Nothing, _) => {
            steps.push(Step::RemoveCapability);
            if before.table.is_some() {
                steps.push(Step::RemoveTable);
            }
        }
        (Form::Alone(value), _) => steps.extend(without_table.companion(value)),
        (Form::MalformedAlone, _) => {}
        (_, None) => return None,
        // The companion is there before its table: a change of the file in between voids that.
        (_, Some(opens)) => {
            let length = Table::encode(&next.entries, opens.as_bytes(), before.facts, out)?;
            steps.extend(without_table.companion(opens));
            steps.push(Step::SetTable(out.get(..length)?));
        }
    }
    Some(steps.0)
}

#[derive(Default)]
struct Steps<'o>([Option<Step<'o>>; MAX_STEPS]);

impl<'o> Steps<'o> {
    /// A plan has no more steps than there is room for.
    fn push(&mut self, step: Step<'o>) {
        if let Some(slot) = self.0.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(step);
        }
    }

    fn extend(&mut self, step: Option<Step<'o>>) {
        if let Some(step) = step {
            self.push(step);
        }
    }
}

impl<'a> Before<'a> {
    /// The companion that opens the table of this form.
    fn opens(&self, form: &Form, random: u64) -> Option<VfsCapsBytes> {
        match form {
            Form::Nothing | Form::Alone(_) | Form::MalformedAlone => None,
            Form::TableBesideHost(value) => Some(*value),
            Form::TableBesideMalformed => self.capability.and_then(VfsCapsBytes::copied),
            Form::TableBesideTripwire => {
                let present = self.capability.filter(|value| is_tripwire(value));
                Some(present.and_then(VfsCapsBytes::copied).unwrap_or_else(|| tripwire(random)))
            }
        }
    }

    /// The bytes of the valid one of one or two tables.
    fn live_table(&self) -> Option<&'a [u8]> {
        let all = self.table?;
        let counts = |table| {
            let (_, seal) = read(self.capability, Some(table), self.facts, self.trusted);
            seal == Seal::Sealed
        };
        if !counts(all) {
            return None;
        }
        let mut rest = all;
        Table::take(&mut rest).ok()?;
        let first = all.get(..all.len().checked_sub(rest.len())?)?;
        Some(if counts(first) { first } else { rest })
    }

    /// The step that writes this value to `security.capability`; none if that has it already.
    fn companion(&self, value: VfsCapsBytes) -> Option<Step<'static>> {
        match self.capability {
            Some(present) if same(present, value.as_bytes()) => None,
            Some(_) => Some(Step::ReplaceCapability(value)),
            None if self.hidden => Some(Step::ReplaceCapability(value)),
            None => Some(Step::CreateCapability(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::Entries;
    use crate::{CapSet, FileCaps, RECORD_LEN, Record};
    use std::vec::Vec;

    const FACTS: SealFacts = SealFacts { size: 5, uid: 0, gid: 0 };

    fn caps(bit: u32) -> FileCaps {
        FileCaps { permitted: CapSet::from_bits(1 << bit), effective: true, ..FileCaps::default() }
    }

    fn records(ids: &[u32]) -> Vec<[u8; RECORD_LEN]> {
        ids.iter().map(|id| *Record::new(*id, caps(id % 30)).as_bytes()).collect()
    }

    /// The two attributes of a file.
    #[derive(Clone, Default)]
    struct File(Option<Vec<u8>>, Option<Vec<u8>>);

    impl File {
        fn before(&self) -> Before<'_> {
            let (capability, table) = (self.0.as_deref(), self.1.as_deref());
            Before { capability, hidden: false, table, facts: FACTS, trusted: true }
        }

        fn take(&mut self, step: &Step<'_>) {
            match step {
                Step::SetTable(table) => self.1 = Some(table.to_vec()),
                Step::RemoveTable => self.1 = None,
                Step::CreateCapability(value) => {
                    assert!(self.0.is_none());
                    self.0 = Some(value.as_bytes().to_vec());
                }
                Step::ReplaceCapability(value) => {
                    assert!(self.0.is_some());
                    self.0 = Some(value.as_bytes().to_vec());
                }
                Step::RemoveCapability => self.0 = None,
            }
        }

        fn stored(&self) -> Stored<'_> {
            read(self.0.as_deref(), self.1.as_deref(), FACTS, true).0
        }
    }

    /// A file that holds this.
    fn holding(host: HostValue, records: &[[u8; RECORD_LEN]]) -> File {
        let mut file = File::default();
        let next = Stored { host, entries: Entries::decode(records).unwrap() };
        let mut out = std::vec![0; PLAN_LEN];
        for step in plan(&file.clone().before(), &next, 7, &mut out).unwrap().iter().flatten() {
            file.take(step);
        }
        file
    }

    #[test]
    fn before_the_step_that_commits_nothing_has_changed_and_after_it_all_has() {
        let hosts = [HostValue::Absent, HostValue::Present(caps(40)), HostValue::Present(caps(41))];
        let all: [&[u32]; 4] = [&[], &[5], &[5, 6], &[6, 7]];
        let states = || hosts.iter().flat_map(|host| all.map(|ids| (*host, records(ids))));
        let mut committed = 0;
        for (host, there) in states() {
            let file = holding(host, &there);
            for (host, records) in states() {
                let next = Stored { host, entries: Entries::decode(&records).unwrap() };
                let mut out = std::vec![0; PLAN_LEN];
                let steps = plan(&file.before(), &next, 9, &mut out).unwrap();
                let commit = steps.iter().flatten().position(|step| step.op().commits());
                let mut now = file.clone();
                for (n, step) in steps.iter().flatten().enumerate() {
                    now.take(step);
                    match commit {
                        Some(commit) if n < commit => assert_eq!(now.stored(), file.stored()),
                        Some(_) => assert_eq!(now.stored(), next),
                        // The companion stays, and the last step exchanges the table.
                        None => {}
                    }
                }
                assert_eq!(now.stored(), next);
                committed += u32::from(commit.is_some());
            }
        }
        assert!(committed > 80, "{committed}");
    }

    #[test]
    fn without_room_each_step_leaves_less_and_the_last_what_is_to_be() {
        let hosts = [HostValue::Absent, HostValue::Present(caps(40))];
        let all: [&[u32]; 4] = [&[], &[5], &[5, 6], &[5, 6, 7]];
        let mut played = 0;
        for (host, ids) in hosts.iter().flat_map(|host| all.map(|ids| (*host, ids))) {
            let there = records(ids);
            let file = holding(host, &there);
            for (host, ids) in hosts.iter().flat_map(|host| all.map(|ids| (*host, ids))) {
                let left = records(ids);
                let next = Stored { host, entries: Entries::decode(&left).unwrap() };
                if !takes_away(&file.stored(), &next) {
                    continue;
                }
                played += 1;
                let mut out = std::vec![0; PLAN_LEN];
                let steps = plan_without_room(&file.before(), &next, 9, &mut out).unwrap();
                let mut now = file.clone();
                for step in steps.iter().flatten() {
                    now.take(step);
                    let (stored, before) = (now.stored(), file.stored());
                    let host = stored.host == HostValue::Absent || stored.host == before.host;
                    // An entry that waited beside a host value may hold now, if it is to.
                    let entries = stored.entries.iter().all(|entry| {
                        let to_be = next.entries.iter().any(|left| left == entry);
                        to_be || before.host == stored.host
                    });
                    assert!(host && entries && takes_away(&before, &stored));
                }
                assert_eq!(now.stored(), next);
                assert!(
                    !steps.iter().flatten().any(|step| matches!(step, Step::CreateCapability(_)))
                );
            }
        }
        assert!(played > 20);
    }
}
