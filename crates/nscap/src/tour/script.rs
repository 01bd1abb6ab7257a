// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is played: for each clause a few questions on a fresh copy of the program, and what each
//! must be answered.

use nscap_core::{Busy, Policy};

use super::ask::Ask::{
    self, Chown, Exec, Get, Getcap, Remove, Set, SetPlain, Setcap, Unsetcap, Write,
};
use super::ask::Expect::{self, Caps, Done, Entries, No, NoCaps};
use super::ask::Rootid::{A, B, Beyond, Own, Unmapped};
use super::ask::{FILE, FOREIGN};
use super::ids::Ids;
use super::people::Place;
use super::people::Who::{self, Host, HostUser, Root, User};

/// The questions about one clause.
pub(super) struct Scene {
    pub(super) clause: &'static str,
    pub(super) title: &'static str,
    /// Under which policy.
    pub(super) under: Under,
    pub(super) steps: &'static [Step],
}

/// One question.
pub(super) struct Step {
    pub(super) who: Who,
    pub(super) ask: Ask,
    pub(super) file: &'static str,
    pub(super) expect: Expect,
    pub(super) under: Under,
    /// Where there is one id, or where there are two ranges.
    pub(super) with: With,
    /// The clause that decides, where it is not the scene's.
    pub(super) clause: Option<&'static str>,
}

/// With how many ids something can be played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum With {
    Any,
    One,
    Two,
}

impl With {
    pub(super) fn holds(self, ids: Ids) -> bool {
        match self {
            With::Any => true,
            With::One => ids.is_one(),
            With::Two => !ids.is_one(),
        }
    }
}

/// Policies under which something is so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Under {
    Any,
    Array,
    Single,
    Busy(Busy),
}

impl Under {
    pub(super) fn holds(self, policy: Policy) -> bool {
        match self {
            Under::Any => true,
            Under::Array => policy.array,
            Under::Single => !policy.array,
            Under::Busy(busy) => policy.busy == busy,
        }
    }
}

const fn step(who: Who, ask: Ask, expect: Expect) -> Step {
    Step { who, ask, file: FILE, expect, under: Under::Any, with: With::Any, clause: None }
}

/// A step under one policy only.
const fn under(under: Under, step: Step) -> Step {
    Step { under, ..step }
}

/// A step that takes more than one id.
const fn two(step: Step) -> Step {
    Step { with: With::Two, ..step }
}

/// What is played instead of one that does.
const fn one(step: Step) -> Step {
    Step { with: With::One, ..step }
}

const fn by(clause: &'static str, step: Step) -> Step {
    Step { clause: Some(clause), ..step }
}

/// A step on a file of the host's.
const fn foreign(step: Step) -> Step {
    Step { file: FOREIGN, ..step }
}

const A_ROOT: Who = Root(Place::A);
const A_USER: Who = User(Place::A);
const A1_ROOT: Who = Root(Place::Below);
const A1_USER: Who = User(Place::Below);
const B_ROOT: Who = Root(Place::B);
const B_USER: Who = User(Place::B);
const C_ROOT: Who = Root(Place::Same);

const RAW: &str = "cap_net_raw=ep";
const CHOWN: &str = "cap_chown=ep";
const KILL: &str = "cap_kill=ep";

/// A's root makes a grant to its namespace.
const GRANT: Step = step(A_ROOT, Setcap(RAW), Done);

pub(super) const SCENES: [Scene; 12] = [
    Scene {
        clause: "R1",
        title: "two ways in, no new system call",
        under: Under::Any,
        steps: &[
            GRANT,
            step(A_ROOT, Getcap, Caps(RAW)),
            step(A_ROOT, Get, Entries(&[(Own, RAW)])),
            step(Host, Get, Entries(&[(A, RAW)])),
        ],
    },
    Scene {
        clause: "R2",
        title: "one entry, in an array's format",
        under: Under::Single,
        steps: &[
            two(step(Host, Set(&[(A, RAW), (B, RAW)]), No("EINVAL"))),
            two(step(Host, Set(&[(A, RAW)]), Done)),
            one(step(A_ROOT, Set(&[(Own, RAW)]), Done)),
            step(Host, Get, Entries(&[(A, RAW)])),
        ],
    },
    Scene {
        clause: "R3",
        title: "execve: in the namespace and below it, and nowhere else",
        under: Under::Any,
        steps: &[
            GRANT,
            step(A_USER, Exec, Caps("cap_net_raw")),
            step(A1_USER, Exec, Caps("cap_net_raw")),
            two(step(B_USER, Exec, NoCaps)),
            step(HostUser, Exec, NoCaps),
        ],
    },
    Scene {
        clause: "R4",
        title: "reading security.capability: the caller's own, or the only one by its root's name",
        under: Under::Any,
        steps: &[
            GRANT,
            step(A_ROOT, Getcap, Caps(RAW)),
            step(A1_ROOT, Getcap, Caps(RAW)),
            two(step(B_ROOT, Getcap, NoCaps)),
            by("T", step(Host, Getcap, Entries(&[(A, RAW)]))),
        ],
    },
    Scene {
        clause: "R5",
        title: "writing security.capability in a namespace",
        under: Under::Any,
        steps: &[
            step(A_USER, SetPlain(RAW), No("EPERM")),
            GRANT,
            step(A_ROOT, Setcap(CHOWN), No("EBUSY")),
            two(under(Under::Single, step(B_ROOT, Setcap(CHOWN), No("EBUSY")))),
            two(by("A", under(Under::Array, step(B_ROOT, Setcap(CHOWN), Done)))),
            two(foreign(step(A_ROOT, Setcap(RAW), No("EPERM")))),
            two(by("U", foreign(step(C_ROOT, Setcap(RAW), No("EPERM"))))),
        ],
    },
    Scene {
        clause: "R6",
        title: "reading security.nscapability: rootids as the caller counts",
        under: Under::Any,
        steps: &[
            two(under(Under::Array, step(Host, Set(&[(A, RAW), (B, CHOWN)]), Done))),
            two(under(Under::Array, step(Host, Get, Entries(&[(A, RAW), (B, CHOWN)])))),
            two(under(Under::Array, step(A_ROOT, Get, Entries(&[(Own, RAW), (Unmapped, CHOWN)])))),
            two(under(Under::Array, step(B_ROOT, Get, Entries(&[(Own, CHOWN), (Unmapped, RAW)])))),
            two(under(Under::Single, GRANT)),
            two(under(Under::Single, step(Host, Get, Entries(&[(A, RAW)])))),
            two(under(Under::Single, step(A_ROOT, Get, Entries(&[(Own, RAW)])))),
            two(under(Under::Single, step(B_ROOT, Get, Entries(&[(Unmapped, RAW)])))),
            one(GRANT),
            one(step(Host, Get, Entries(&[(A, RAW)]))),
            one(step(A_ROOT, Get, Entries(&[(Own, RAW)]))),
        ],
    },
    Scene {
        clause: "R7",
        title: "writing security.nscapability: for the root that is named",
        under: Under::Any,
        steps: &[
            step(A_ROOT, Set(&[(Beyond, RAW)]), No("EINVAL")),
            step(A_USER, Set(&[(Own, RAW)]), No("EPERM")),
            step(A_ROOT, Set(&[(Own, RAW)]), Done),
            step(Host, Set(&[(A, CHOWN)]), No("EBUSY")),
            by("D", step(A_ROOT, Remove, Done)),
            two(step(Host, Set(&[(A, CHOWN)]), Done)),
            one(step(A_ROOT, Set(&[(Own, CHOWN)]), Done)),
            by("R3", step(A_USER, Exec, Caps("cap_chown"))),
        ],
    },
    Scene {
        clause: "R8",
        title: "a host value overrides every entry",
        under: Under::Any,
        steps: &[
            two(GRANT),
            two(step(Host, Setcap(KILL), Done)),
            two(step(A_USER, Exec, Caps("cap_kill"))),
            two(step(B_USER, Exec, Caps("cap_kill"))),
            two(step(HostUser, Exec, Caps("cap_kill"))),
            two(by("R4", step(A_ROOT, Getcap, Caps(KILL)))),
            two(by("D", step(Host, Unsetcap, Done))),
            two(by("R3", step(A_USER, Exec, Caps("cap_net_raw")))),
        ],
    },
    Scene {
        clause: "A",
        title: "one file, a grant of its own for each namespace",
        under: Under::Array,
        steps: &[
            two(GRANT),
            two(step(B_ROOT, Setcap(CHOWN), Done)),
            two(step(A_USER, Exec, Caps("cap_net_raw"))),
            two(step(B_USER, Exec, Caps("cap_chown"))),
            two(step(HostUser, Exec, NoCaps)),
        ],
    },
    Scene {
        clause: "K",
        title: "new content or a new owner, and every grant is gone",
        under: Under::Any,
        steps: &[
            GRANT,
            step(A_ROOT, Write, Done),
            step(A_USER, Exec, NoCaps),
            step(Host, Get, NoCaps),
            two(GRANT),
            two(step(Host, Chown, Done)),
            two(step(A_USER, Exec, NoCaps)),
            two(step(Host, Get, NoCaps)),
        ],
    },
    Scene {
        clause: "B",
        title: "busy=same-ok: writing an equal grant succeeds",
        under: Under::Busy(Busy::SameOk),
        steps: &[GRANT, GRANT, step(A_ROOT, Setcap(CHOWN), No("EBUSY"))],
    },
    Scene {
        clause: "B",
        title: "busy=replace: a second setcap takes the place of the first",
        under: Under::Busy(Busy::Replace),
        steps: &[GRANT, step(A_ROOT, Setcap(CHOWN), Done), step(A_USER, Exec, Caps("cap_chown"))],
    },
];
