// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calls of the program that starts the task, in its order. What each call does is the core's.

use nscap_core::{CapSet, Cred, Gid, Kgid, Kuid, Securebits, Uid, UserNs as _, root_kuid};
use nscap_linux::LiveNs;

use super::{Engine, Wanted, input};
use crate::failure::{EPERM, Failure};

/// The credentials that are left.
///
/// # Errors
/// Where the start fails: an id that is not mapped, or sets that capset(2) refuses.
pub(super) fn start<'n>(ns: LiveNs<'n>, wanted: &Wanted) -> Result<Cred<LiveNs<'n>>, Failure> {
    let unmapped = |what: &str, id: u32| {
        input(format!("{what} {id}"), "has no mapping in the user namespace of the task")
    };
    let kuid = Uid::new(wanted.uid).and_then(|uid| ns.kuid(uid));
    let kuid = kuid.ok_or_else(|| unmapped("uid", wanted.uid))?;
    let kgid = Gid::new(wanted.gid).and_then(|gid| ns.kgid(gid));
    let kgid = kgid.ok_or_else(|| unmapped("gid", wanted.gid))?;
    let root = root_kuid(ns).ok_or_else(|| unmapped("uid", 0))?;
    let root_group = Gid::new(0).and_then(|gid| ns.kgid(gid)).unwrap_or(Kgid::ROOT);
    let first = Cred { bounding: CapSet::KNOWN, ..Cred::privileged(ns, root, root_group) };
    match wanted.runtime.engine {
        Engine::Systemd => service(first, kuid, kgid, wanted),
        _ => container(first, kuid, kgid, wanted),
    }
}

/// crun and runc, which the others use: the bounding set, the ids with what is permitted kept,
/// capset(2), and what is ambient, as far as prctl(2) takes it.
fn container<'n>(
    first: Cred<LiveNs<'n>>,
    kuid: Kuid,
    kgid: Kgid,
    wanted: &Wanted,
) -> Result<Cred<LiveNs<'n>>, Failure> {
    let sets = &wanted.sets;
    let bound = first.with_bounding(sets.bounding);
    let keeps = Cred { securebits: Securebits::KEEP_CAPS, ..bound };
    let user = keeps.with_gids(kgid).with_uids(kuid);
    // CAP_SETPCAP is not effective any more for another user than root.
    let set = user.with_caps(sets.inheritable, sets.permitted, sets.effective);
    let set = set.map_err(|_| Failure::Input {
        what: wanted.words.name(),
        problem: format!("{} fails: {}", wanted.runtime, refusal(wanted)),
        errno: EPERM,
    })?;
    Ok(Cred { securebits: Securebits(0), ..set.with_ambient(sets.ambient) })
}

/// What capset(2) refuses.
fn refusal(wanted: &Wanted) -> String {
    let sets = &wanted.sets;
    let more = sets.effective.minus(sets.permitted);
    if more.is_empty() {
        let more = sets.inheritable.minus(sets.bounding);
        return format!("the inheritable set has {more}, which the bounding set lacks: capset");
    }
    format!("the effective set has {more}, which the permitted set lacks: capset")
}

/// systemd.exec(5): the bounding set; with ambient capabilities these are inheritable, and what is
/// permitted is kept over the change of the user.
fn service<'n>(
    first: Cred<LiveNs<'n>>,
    kuid: Kuid,
    kgid: Kgid,
    wanted: &Wanted,
) -> Result<Cred<LiveNs<'n>>, Failure> {
    let sets = &wanted.sets;
    let bound = first.with_bounding(sets.bounding).with_gids(kgid);
    if sets.ambient.is_empty() {
        return Ok(Cred { inheritable: sets.inheritable, ..bound.with_uids(kuid) });
    }
    let inherits = Cred {
        inheritable: (sets.ambient & bound.bounding) | sets.inheritable,
        securebits: Securebits::KEEP_CAPS,
        ..bound
    };
    let user = inherits.with_uids(kuid);
    Ok(Cred { securebits: Securebits(0), ..user.with_ambient(sets.ambient) })
}
