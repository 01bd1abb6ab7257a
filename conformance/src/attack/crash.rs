// SPDX-License-Identifier: MIT OR Apache-2.0
//! Storage under kill -9: whenever the server goes, each file has what it had before the change
//! that was under way, or after it; and another server shows the same.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use crate::case::{Case, Setting, Why};
use crate::ground::{CAP, Grant, Ground, HOST, Kind, NSCAP, OWNER, USER_A, USER_B};
use crate::live::peer::{Peer, say};
use crate::text;

pub(super) const ATTACKS: &[Case] = &[
    Case {
        name: "a-restart-shows-the-same",
        clauses: &["A", "R8"],
        about: "every form of Storage outlives the server, and a task with an open file gets ENOTCONN",
        both_ways: false,
        play: restart,
    },
    Case {
        name: "killed-in-a-storm-of-changes",
        clauses: &["A", "K"],
        about: "after kill -9 each file has the old grants or the new ones, never others",
        both_ways: false,
        play: storm,
    },
];

/// Catches state that only the server's memory has.
fn restart(setting: Setting) -> Result<(), Why> {
    let mut ground = Ground::new(setting, Kind::Ext4)?;
    if !ground.is_fuse() {
        return Err(Why::Skipped("no server to kill".to_owned()));
    }
    let forms = [(Grant::Entry, "e"), (Grant::Entries, "es"), (Grant::HostAndEntry, "he")];
    for (grant, name) in forms {
        let path = ground.file(name, OWNER)?;
        ground.grant(&path, grant)?;
    }
    let seen = |ground: &Ground| {
        forms
            .iter()
            .map(|(_, name)| {
                let holds = [USER_A, USER_B, crate::ground::HOST_USER];
                let holds = holds.map(|who| ground.gains(who, name).map(|set| set.bits()));
                Ok((state(&ground.path(name))?, holds.into_iter().collect::<io::Result<Vec<_>>>()?))
            })
            .collect::<io::Result<Vec<_>>>()
    };
    let before = seen(&ground)?;
    let dir = crate::ground::open(&ground.dir, OFlags::RDONLY)?;
    ground.kill()?;
    let gone = without_a_server(&dir);
    if gone != Err(Errno::NOTCONN) {
        return Err(Why::Through(format!("without a server: {gone:?}")));
    }
    ground.show()?;
    let after = seen(&ground)?;
    if before == after { Ok(()) } else { Err(Why::Through(format!("{before:?} became {after:?}"))) }
}

/// What an open says once the kernel has seen that the server is gone; what is asked before that
/// fails as something under way.
fn without_a_server(dir: impl AsFd) -> Result<(), Errno> {
    for _ in 0..500 {
        match rustix::fs::openat(&dir, "e", OFlags::RDONLY, Mode::empty()) {
            Err(Errno::CONNABORTED | Errno::CANCELED) => sleep(Duration::from_millis(10)),
            other => return other.map(drop),
        }
    }
    Err(Errno::CONNABORTED)
}

/// What root of the host sees of a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct State {
    host: Option<String>,
    entries: BTreeMap<u32, &'static str>,
}

/// The steps that a file goes through, over and over.
const CYCLE: [Change; 8] = [
    Change::Entry(100_000, "cap_net_raw=ep"),
    Change::Entry(200_000, "cap_chown=ep"),
    Change::Host,
    Change::Entry(300_000, "cap_kill=ep"),
    Change::NoHost,
    Change::Entry(50_000, "cap_fowner=ep"),
    Change::Host,
    Change::Nothing,
];

#[derive(Clone, Copy)]
enum Change {
    Entry(u32, &'static str),
    Host,
    NoHost,
    /// Both names, one after the other: the entries go last.
    Nothing,
}

impl Change {
    fn make(self, path: &Path) -> io::Result<()> {
        let set = |name, value: &str| {
            let value = text::value(value).map_err(io::Error::other)?;
            Ok(rustix::fs::lsetxattr(path, name, &value, XattrFlags::empty())?)
        };
        match self {
            Change::Entry(kuid, caps) => set(NSCAP, &format!("ns {kuid} {caps}")),
            Change::Host => set(CAP, "v2 cap_setuid=ep"),
            Change::NoHost => Ok(rustix::fs::lremovexattr(path, CAP)?),
            Change::Nothing => {
                rustix::fs::lremovexattr(path, CAP)?;
                Ok(rustix::fs::lremovexattr(path, NSCAP)?)
            }
        }
    }

    /// What a file may be seen as while the change is under way, what it is after it last.
    fn after(self, before: &State) -> Vec<State> {
        let mut state = before.clone();
        match self {
            Change::Entry(kuid, caps) => drop(state.entries.insert(kuid, caps)),
            Change::Host => state.host = Some("v2 cap_setuid=ep".to_owned()),
            Change::NoHost => state.host = None,
            Change::Nothing => {
                state.host = None;
                return vec![state, State::default()];
            }
        }
        vec![state]
    }
}

fn state(path: &Path) -> io::Result<(Option<String>, Option<String>)> {
    let get = |name| {
        let mut value = [0; 4096];
        match rustix::fs::lgetxattr(path, name, &mut value) {
            Ok(len) => Ok(Some(text::show_value(value.get(..len).unwrap_or_default()))),
            Err(rustix::io::Errno::NODATA) => Ok(None),
            Err(error) => Err(error),
        }
    };
    Ok((get(CAP)?, get(NSCAP)?))
}

impl State {
    fn shown(&self) -> (Option<String>, Option<String>) {
        let entries: Vec<String> =
            self.entries.iter().map(|(kuid, caps)| format!("{kuid} {caps}")).collect();
        // T: the host is shown the only entry by the other name too.
        let only = match entries.as_slice() {
            [only] => Some(format!("v3 {only}")),
            _ => None,
        };
        let entries = (!entries.is_empty()).then(|| format!("ns {}", entries.join("; ")));
        (self.host.clone().or(only), entries)
    }
}

/// Catches a change in more than one step that is not safe in between, an entry that a crash leaves
/// where it was removed, and a half-written table.
fn storm(setting: Setting) -> Result<(), Why> {
    const ROUNDS: usize = 25;
    const FILES: [&str; 4] = ["f0", "f1", "f2", "f3"];
    let mut ground = Ground::new(setting, Kind::Ext4)?;
    if !ground.is_fuse() {
        return Err(Why::Skipped("no server to kill".to_owned()));
    }
    let mut between = 0;
    for round in 0..ROUNDS {
        let mut changers = Vec::new();
        for name in FILES {
            ground.file(name, OWNER)?;
            let mut changer = changes(&ground, name)?;
            changer.hear()?;
            changers.push(changer);
        }
        std::thread::sleep(Duration::from_micros(5_000 + fastrand::u64(..25_000)));
        ground.kill()?;
        let ended: Vec<(usize, bool)> =
            changers.into_iter().map(ended).collect::<Result<_, _>>()?;
        ground.show()?;
        for (name, (made, under_way)) in FILES.iter().zip(ended) {
            between += usize::from(under_way);
            let possible = possible(made, under_way);
            let seen = state(&ground.path(name))?;
            if !possible.iter().any(|state| state.shown() == seen) {
                let expected: Vec<_> = possible.iter().map(State::shown).collect();
                return Err(Why::Through(format!(
                    "round {round}, {name} after {made} changes: {seen:?} is none of {expected:?}"
                )));
            }
        }
    }
    if between == 0 {
        return Err(Why::Broken("no change was under way when the server was killed".to_owned()));
    }
    Ok(())
}

/// Goes through the cycle; says how many changes it made, and what the next one met.
fn changes(ground: &Ground, name: &'static str) -> io::Result<Peer> {
    let path = ground.path(name);
    ground.start(HOST, |line| {
        say(line, "begins")?;
        for (made, change) in CYCLE.iter().cycle().enumerate() {
            if let Err(error) = change.make(&path) {
                return say(line, &format!("{made} {}", error.raw_os_error().unwrap_or(0)));
            }
        }
        Ok(())
    })
}

/// How many changes were made, and whether one more was under way.
fn ended(mut changer: Peer) -> Result<(usize, bool), Why> {
    let said = changer.hear()?;
    let broken = || Why::Broken(format!("a change fails: {said}"));
    let (made, errno) = said.split_once(' ').ok_or_else(broken)?;
    let made = made.parse().map_err(|_| broken())?;
    match errno.parse() {
        // A request that the server had read; then requests without a server, and for a new name.
        Ok(libc::ECONNABORTED | libc::ECANCELED) => Ok((made, true)),
        Ok(libc::ENOTCONN | libc::ENOENT) => Ok((made, false)),
        _ => Err(broken()),
    }
}

fn possible(made: usize, under_way: bool) -> Vec<State> {
    let mut state = State::default();
    for change in CYCLE.iter().cycle().take(made) {
        state = change.after(&state).pop().unwrap_or_default();
    }
    let mut possible = vec![state.clone()];
    if under_way && let Some(change) = CYCLE.get(made % CYCLE.len()) {
        possible.extend(change.after(&state));
    }
    possible
}
