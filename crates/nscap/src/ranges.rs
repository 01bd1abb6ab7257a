// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ids that several holders have (S): configured ranges of several users, and live namespaces of
//! which neither is below the other. The output grows with the number of holders, not of pairs.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use nscap_core::{Kuid, UserNs as _};
use nscap_linux::{LiveNs, Namespaces, NsIndex, Range, Subids};

use crate::failure::Failure;
use crate::out;
use crate::system::System;

/// Ids that several share, from the first to the last that any two of them do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overlap<M> {
    pub(crate) first: u32,
    pub(crate) last: u32,
    /// At least two.
    pub(crate) members: Vec<M>,
}

/// A part of the ids of one.
#[derive(Clone, Copy)]
struct Part<M, G> {
    member: M,
    /// Only members of one group overlap. Ids of what is below a member are its own, too.
    group: G,
    first: u32,
    last: u32,
}

/// A group between two ids.
struct Active<M> {
    /// With how many parts of each there are.
    parts: HashMap<M, usize>,
    since: u64,
    seen: BTreeSet<M>,
}

/// Walks over all ids once: what overlaps is found in the order of ids.
fn overlaps<M: Copy + Ord + Hash, G: Copy + Eq + Hash>(parts: &[Part<M, G>]) -> Vec<Overlap<M>> {
    // Ends come before beginnings at one id, which is then the first without the part.
    let begins = parts.iter().map(|part| (u64::from(part.first), true, part));
    let ends = parts.iter().map(|part| (u64::from(part.last) + 1, false, part));
    let mut events: Vec<_> = begins.chain(ends).collect();
    events.sort_by_key(|(at, begins, part)| (*at, *begins, part.member));
    let mut groups: HashMap<G, Active<M>> = HashMap::new();
    let mut found = Vec::new();
    for (at, begins, part) in events {
        let empty = || Active { parts: HashMap::new(), since: 0, seen: BTreeSet::new() };
        let group = groups.entry(part.group).or_insert_with(empty);
        if begins {
            group.begin(part.member, at);
        } else {
            found.extend(group.end(part.member, at));
        }
    }
    found.sort_by_key(|overlap| (overlap.first, overlap.last));
    found
}

impl<M: Copy + Ord + Hash> Active<M> {
    fn begin(&mut self, member: M, at: u64) {
        *self.parts.entry(member).or_default() += 1;
        match (self.parts.len(), self.seen.is_empty()) {
            (0 | 1, _) => {}
            (_, true) => {
                self.since = at;
                self.seen.extend(self.parts.keys());
            }
            (_, false) => {
                self.seen.insert(member);
            }
        }
    }

    fn end(&mut self, member: M, at: u64) -> Option<Overlap<M>> {
        let parts = self.parts.get_mut(&member)?;
        *parts -= 1;
        if *parts > 0 {
            return None;
        }
        self.parts.remove(&member);
        if self.parts.len() != 1 || self.seen.is_empty() {
            return None;
        }
        let id = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
        let members = std::mem::take(&mut self.seen).into_iter().collect();
        Some(Overlap { first: id(self.since), last: id(at.saturating_sub(1)), members })
    }
}

/// S: users of /etc/subuid.
pub(crate) fn configured(subids: &Subids) -> Vec<Overlap<&[u8]>> {
    let part = |range: &Range| (range.start, range.last());
    let parts = subids.ranges.iter().map(|range| {
        let (first, last) = part(range);
        Part { member: range.user.as_slice(), group: (), first, last }
    });
    overlaps(&parts.collect::<Vec<_>>())
}

/// S: live namespaces of which neither is below the other.
pub(crate) fn live(namespaces: &Namespaces) -> Vec<Overlap<LiveNs<'_>>> {
    let all: Vec<LiveNs<'_>> = namespaces.iter().collect();
    let parts = all.iter().enumerate().flat_map(|(member, ns)| {
        let group = above(*ns);
        ns.uid_map().iter().map(move |extent| {
            let last = extent.outside.saturating_add(extent.count.saturating_sub(1));
            Part { member, group, first: extent.outside, last }
        })
    });
    let found = overlaps(&parts.collect::<Vec<_>>());
    let named = |overlap: Overlap<usize>| {
        let members = overlap.members.iter().filter_map(|n| all.get(*n).copied()).collect();
        Overlap { first: overlap.first, last: overlap.last, members }
    };
    found.into_iter().map(named).collect()
}

/// The nearest namespace above whose ids are known: it has all ids of this one.
fn above(ns: LiveNs<'_>) -> Option<NsIndex> {
    let mut next = ns.parent();
    while let Some(up) = next.filter(|up| up.is_namespace()) {
        if up.maps_known() {
            return Some(up.index());
        }
        next = up.parent();
    }
    None
}

pub(crate) fn range_text(user: &[u8]) -> String {
    format!("range of {} in {}", out::name(user), Subids::CONFIGURED)
}

/// How many holders of a shared kuid are named.
const NAMED: usize = 8;

/// S: the holders of a shared kuid, in words: configured ranges of several users, and live
/// namespaces of which neither is below the other.
pub(crate) fn sharers(kuid: u32, system: &mut System) -> Result<Vec<String>, Failure> {
    let Some(id) = Kuid::new(kuid) else {
        return Ok(Vec::new());
    };
    system.scan_for(id)?;
    let ranges = system.subids()?.ranges.iter().filter(|range| range.contains(kuid));
    let users: BTreeSet<&[u8]> = ranges.map(|range| range.user.as_slice()).collect();
    let mut all: Vec<String> = Vec::new();
    if users.len() > 1 {
        all.extend(users.into_iter().map(range_text));
    }
    let live: Vec<LiveNs<'_>> =
        system.namespaces.iter().filter(|ns| ns.uid(id).is_some()).collect();
    let mut siblings: HashMap<Option<NsIndex>, usize> = HashMap::new();
    for ns in &live {
        *siblings.entry(above(*ns)).or_default() += 1;
    }
    let is_shared = |ns: &&LiveNs<'_>| {
        let mut line = std::iter::successors(Some(**ns), |ns| ns.parent());
        line.any(|ns| siblings.get(&above(ns)).is_some_and(|siblings| *siblings > 1))
    };
    let mut shared: Vec<LiveNs<'_>> = live.iter().filter(is_shared).copied().collect();
    shared.sort_by_key(|ns| ns.first_pid().unwrap_or(u32::MAX));
    all.extend(shared.iter().take(NAMED).map(|ns| text(*ns)));
    if shared.len() > NAMED {
        all.push(format!("{} more", shared.len() - NAMED));
    }
    Ok(all)
}

/// A namespace in words.
pub(crate) fn text(ns: LiveNs<'_>) -> String {
    match ns.first_process() {
        _ if ns.is_initial() => "the initial namespace".to_owned(),
        Some(process) => {
            format!("namespace of pid {} ({})", process.pid, out::name(&process.comm))
        }
        None => format!("user:[{}]", ns.inode()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(parts: &[(u8, u8, u32, u32)]) -> Vec<(u32, u32, Vec<u8>)> {
        let part = |&(member, group, first, last)| Part { member, group, first, last };
        let found = overlaps(&parts.iter().map(part).collect::<Vec<_>>());
        found.into_iter().map(|o| (o.first, o.last, o.members)).collect()
    }

    #[test]
    fn ranges_that_share_ids_are_told_together() {
        assert_eq!(found(&[(1, 0, 0, 9), (2, 0, 10, 19)]), []);
        assert_eq!(found(&[(1, 0, 0, 9), (2, 0, 9, 19)]), [(9, 9, vec![1, 2])]);
        assert_eq!(found(&[(1, 0, 0, 9), (2, 1, 0, 9)]), []);
        assert_eq!(found(&[(1, 0, 0, 9), (1, 0, 5, 9)]), []);
        let long = [(1, 0, 0, 99), (2, 0, 10, 19), (3, 0, 15, 29), (4, 0, 40, 40)];
        assert_eq!(found(&long), [(10, 29, vec![1, 2, 3]), (40, 40, vec![1, 4])]);
        let end = u32::MAX;
        assert_eq!(found(&[(1, 0, 0, end), (2, 0, end, end)]), [(end, end, vec![1, 2])]);
    }

    #[test]
    fn many_take_one_line() {
        let parts: Vec<_> = (0..200).map(|n| (n, 0, 1000, 1000)).collect();
        assert_eq!(found(&parts), [(1000, 1000, (0..200).collect())]);
    }
}
