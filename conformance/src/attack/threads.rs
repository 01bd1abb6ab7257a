// SPDX-License-Identifier: MIT OR Apache-2.0
//! P and R3 where the caller is a thread of a process whose other threads are not like it.

use std::io;
use std::time::Duration;

use rustix::thread::{CapabilitySet, CapabilitySets};

use super::callers::{errno, set};
use crate::case::{Case, Setting, Why};
use crate::ground::{Grant, Ground, HOST_USER, Kind, OWNER, ROOT_A, SYSTEM, USER_A};
use crate::live::peer::say;
use crate::live::{ops, sys};
use crate::outcome::Outcome;

pub(super) const ATTACKS: &[Case] = &[
    Case {
        name: "a-thread-that-is-not-the-leader",
        clauses: &["P", "R5", "R7", "D"],
        about: "the calling thread's own capabilities count, not its process's; also when the leader is gone",
        both_ways: false,
        play: threads,
    },
    Case {
        name: "an-exec-by-a-thread-that-is-not-the-leader",
        clauses: &["R3"],
        about: "any thread of the container's gains by execve what the file grants, also when the leader is gone",
        both_ways: false,
        play: exec_by_thread,
    },
];

fn has_setfcap(has: bool) -> io::Result<()> {
    let all = rustix::thread::capabilities(None)?;
    let setfcap = CapabilitySet::SETFCAP;
    let effective = if has { all.permitted } else { all.permitted - setfcap };
    Ok(rustix::thread::set_capabilities(None, CapabilitySets { effective, ..all })?)
}

/// The thread of a process that has CAP_SETFCAP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Able {
    Leader,
    Thread,
}

/// Catches a server that looks at /proc/PID of the process, by pid or by a pidfd of the leader.
fn threads(setting: Setting) -> Result<(), Why> {
    let ground = Ground::new(setting, Kind::Tmpfs)?;
    if !ground.is_fuse() {
        return Err(Why::Skipped("there is no name that the kernel does not check".to_owned()));
    }
    let path = ground.file("f", OWNER)?;
    for able in [Able::Leader, Able::Thread] {
        for leader_leaves in [false, true] {
            let what = format!("{able:?} may, leader leaves: {leader_leaves}");
            let expected = if able == Able::Thread { 0 } else { libc::EPERM };
            let mut task = ground.start(ROOT_A, |line| {
                has_setfcap(able == Able::Leader)?;
                let (mut line, path) = (line.try_clone()?, path.clone());
                let thread = std::thread::spawn(move || {
                    // What another thread of the process has is not changed by this.
                    std::thread::sleep(Duration::from_millis(20));
                    let came = has_setfcap(able == Able::Thread).map(|()| {
                        let set = errno(&set(&path, SYSTEM, "ns 0 cap_net_raw=ep"));
                        let removed =
                            errno(&rustix::fs::lremovexattr(&path, SYSTEM).map_err(Into::into));
                        format!("{set} {removed}")
                    });
                    let _ = say(&mut line, &came.unwrap_or_else(|error| format!("!{error}")));
                    sys::leave();
                });
                if leader_leaves {
                    sys::leave_thread();
                }
                let _ = thread.join();
                Ok(())
            })?;
            let said = task.hear()?;
            let removed = if expected == 0 { 0 } else { libc::ENODATA };
            if said != format!("{expected} {removed}") {
                return Err(Why::Through(format!("{what}: errnos {said}")));
            }
        }
    }
    Ok(())
}

fn exec_by_thread(setting: Setting) -> Result<(), Why> {
    let ground = Ground::new(setting, Kind::Tmpfs)?;
    let path = ground.file("f", OWNER)?;
    ground.grant(&path, Grant::Entry)?;
    for leader_leaves in [false, true] {
        for (who, gains) in [(USER_A, true), (HOST_USER, false)] {
            let said = ground.ask(who, || {
                let by_thread = |path: &std::ffi::CStr| {
                    let path = path.to_owned();
                    let thread = std::thread::spawn(move || sys::exec(&path));
                    if leader_leaves {
                        sys::leave_thread();
                    }
                    thread.join().unwrap_or_else(|_| io::Error::other("the thread panicked"))
                };
                match ops::exec_by(&who.task(), "f", by_thread)? {
                    Outcome::Executed(got) => Ok((got.sets[0] != 0).to_string()),
                    other => Err(io::Error::other(other.to_string())),
                }
            })?;
            if said != gains.to_string() {
                let what = format!("{who:?}, leader leaves: {leader_leaves}: gains {said}");
                return Err(Why::Through(what));
            }
        }
    }
    Ok(())
}
