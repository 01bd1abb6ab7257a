// SPDX-License-Identifier: MIT OR Apache-2.0
//! The identity of the caller: a thread and not its process, a namespace and not its number, and
//! the same task until the answer. Covers P, R3 and R5 where the attack is on that identity.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nscap_core::Extent;
use rustix::fs::XattrFlags;
use rustix::process::{Pid, Signal, WaitOptions};

use crate::case::{Case, Setting, Why};
use crate::ground::{CAP, Ground, HOST_USER, Kind, NSCAP, OWNER, ROOT_A, SYSTEM};
use crate::live::fuse::PidNs;
use crate::live::peer::{say, until_end, wait};
use crate::live::{sys, userns};
use crate::scenario::Maps;
use crate::text;

pub(super) const ATTACKS: &[Case] = &[
    Case {
        name: "a-caller-that-dies-and-whose-pid-comes-back",
        clauses: &["P", "R7"],
        about: "an ordinary user asks for a grant and dies; its pid becomes root's before the server looks",
        both_ways: false,
        play: pid_comes_back,
    },
    Case {
        name: "a-caller-with-a-pid-that-was-roots",
        clauses: &["P", "R7"],
        about: "root asks and ends; an ordinary user with its pid asks next",
        both_ways: false,
        play: pid_was_roots,
    },
    Case {
        name: "a-namespace-that-died-and-whose-number-came-back",
        clauses: &["R3", "R5"],
        about: "another namespace with the inode number of one that the server knew is another",
        both_ways: false,
        play: number_comes_back,
    },
    Case {
        name: "a-caller-without-a-pid",
        clauses: &["R3", "R5", "R4"],
        about: "a server in a pid namespace of its own knows no caller: none gains, none changes anything",
        both_ways: false,
        play: without_a_pid,
    },
    Case {
        name: "a-proc-of-another-pid-namespace",
        clauses: &["P", "R7"],
        about: "pids mean other tasks in the server's /proc: none may be taken for the caller",
        both_ways: false,
        play: foreign_proc,
    },
    Case {
        name: "a-namespace-without-a-uid-0",
        clauses: &["R5", "R7", "P"],
        about: "uid 1000 mapped to itself, with every capability there, by every name and form",
        both_ways: false,
        play: no_uid_0,
    },
];

pub(super) fn set(path: &std::path::Path, name: &str, value: &str) -> io::Result<()> {
    let value = text::value(value).map_err(io::Error::other)?;
    Ok(rustix::fs::lsetxattr(path, name, &value, XattrFlags::empty())?)
}

/// The errno, 0 for none.
pub(super) fn errno(result: &io::Result<()>) -> i32 {
    result.as_ref().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO))
}

/// Catches a server that remembers callers by their pid.
fn pid_was_roots(setting: Setting) -> Result<(), Why> {
    const ROUNDS: u32 = 20;
    let ground = Ground::new(setting, Kind::Tmpfs)?;
    if !ground.is_fuse() {
        return Err(Why::Skipped("no server that remembers".to_owned()));
    }
    let path = ground.file("f", 1000)?;
    let mut again = 0;
    for round in 0..ROUNDS {
        let mut root = ground.start(crate::ground::HOST, |line| {
            set(&path, NSCAP, "ns 100000 cap_net_raw=ep")?;
            rustix::fs::lremovexattr(&path, NSCAP)?;
            say(line, "known")
        })?;
        root.hear()?;
        let pid = root.pid;
        drop(root);
        next_pid_is(pid)?;
        let mut user = ground.start(HOST_USER, |line| {
            let came = errno(&set(&path, SYSTEM, "ns 100000 cap_sys_admin=ep"));
            say(line, &came.to_string())
        })?;
        again += u32::from(user.pid == pid);
        let came = user.hear()?;
        if came != libc::EPERM.to_string() {
            return Err(Why::Through(format!("round {round}: errno {came}")));
        }
    }
    if again == 0 {
        return Err(Why::Broken("no pid came back".to_owned()));
    }
    Ok(())
}

/// Catches a server that looks its caller up after the reply, or that goes on with a request whose
/// caller has died.
fn pid_comes_back(setting: Setting) -> Result<(), Why> {
    const ROUNDS: u32 = 150;
    let ground = Ground::new(setting, Kind::Tmpfs)?;
    let Some(server) = ground.server() else {
        return Err(Why::Skipped("no server that is slow".to_owned()));
    };
    let path = ground.file("f", 1000)?;
    let (mut died, mut came_back) = (0, 0);
    for round in 0..ROUNDS {
        // Every fourth time the server is stopped before the request is sent.
        let early = round % 4 == 0;
        let signal = |signal| rustix::process::kill_process(server, signal);
        if early {
            signal(Signal::STOP)?;
        }
        let caller = ground.start(HOST_USER, |line| {
            say(line, "asks")?;
            let _ = set(&path, SYSTEM, "ns 100000 cap_sys_admin=ep");
            until_end(line);
            Ok(())
        });
        let mut caller = match caller {
            Ok(caller) => caller,
            Err(error) => {
                signal(Signal::CONT)?;
                return Err(error.into());
            }
        };
        let _ = caller.hear();
        std::thread::sleep(Duration::from_micros(if early { 2000 } else { fastrand::u64(..120) }));
        signal(Signal::STOP)?;
        rustix::process::kill_process(caller.pid, Signal::KILL)?;
        let gone = ends_soon(caller.pid);
        if gone {
            died += 1;
            came_back += u32::from(root_with_pid(caller.pid)?);
        }
        signal(Signal::CONT)?;
        if gone {
            // Its pid belongs to another task now, which must not be killed.
            std::mem::forget(caller);
        }
        let mut value = [0; 64];
        std::thread::sleep(Duration::from_millis(1));
        if rustix::fs::lgetxattr(&path, NSCAP, &mut value) != Err(rustix::io::Errno::NODATA) {
            return Err(Why::Through(format!("round {round}: the grant was made")));
        }
    }
    if died == 0 || came_back == 0 {
        return Err(Why::Broken(format!("{died} died in between, {came_back} pids came back")));
    }
    Ok(())
}

fn ends_soon(pid: Pid) -> bool {
    (0..10).any(|_| {
        std::thread::sleep(Duration::from_micros(300));
        rustix::process::waitpid(Some(pid), WaitOptions::NOHANG).is_ok_and(|ended| ended.is_some())
    })
}

fn next_pid_is(pid: Pid) -> io::Result<()> {
    let last = pid.as_raw_nonzero().get() - 1;
    std::fs::write("/proc/sys/kernel/ns_last_pid", last.to_string())
}

/// Has root's own process get this pid, and stay for a while.
fn root_with_pid(pid: Pid) -> io::Result<bool> {
    next_pid_is(pid)?;
    let next = sys::fork(|| {
        std::thread::sleep(Duration::from_millis(15));
        0
    })?;
    if next != pid {
        wait(next)?;
        return Ok(false);
    }
    // It is waited for by the next round, or with this process.
    Ok(true)
}

/// Catches a cache of namespaces by inode number.
fn number_comes_back(setting: Setting) -> Result<(), Why> {
    const TRIES: usize = 400;
    let ground = Ground::new(setting, Kind::Tmpfs)?;
    let path = ground.file("f", 300_000)?;
    let range = |outside| {
        let map = vec![Extent { inside: 0, outside, count: 65_536 }];
        Maps { uids: map.clone(), gids: map }
    };
    ground.set(crate::ground::HOST, &path, CAP, "v3 300000 cap_net_raw=ep")?;
    let number = |ns: &std::os::fd::OwnedFd| Ok::<_, io::Error>(rustix::fs::fstat(ns)?.st_ino);
    let first = userns::make(None, (1000, 1000), &range(300_000))?;
    let old = number(&first)?;
    let gains = ground.gains_in(first.as_fd(), 8, "f")?;
    if gains.is_empty() {
        return Err(Why::Broken("the first namespace does not gain".to_owned()));
    }
    drop(first);
    // The lowest number that is free is the next; those in between are kept.
    let mut others = Vec::new();
    let again = loop {
        let next = userns::make(None, (1001, 1001), &range(400_000))?;
        if number(&next)? == old {
            break next;
        }
        others.push(next);
        if others.len() > TRIES {
            return Err(Why::Skipped(format!("number {old} does not come back")));
        }
    };
    if !ground.gains_in(again.as_fd(), 8, "f")?.is_empty() {
        return Err(Why::Through("the new namespace gains by the old one's entry".to_owned()));
    }
    // And what it writes is for its own root.
    let mine = ground.file("g", 400_000)?;
    let wrote = ground
        .ask_in(again.as_fd(), 0, || Ok(errno(&set(&mine, CAP, "v2 cap_kill=ep")).to_string()))?;
    let mut value = [0; 64];
    let len = rustix::fs::lgetxattr(&mine, NSCAP, &mut value).unwrap_or(0);
    let shown = text::show_value(value.get(..len).unwrap_or_default());
    if ground.is_fuse() && shown != "ns 400000 cap_kill=ep" {
        return Err(Why::Through(format!("it wrote (errno {wrote}) {shown}")));
    }
    Ok(())
}

/// Catches a server that takes "unknown" for itself, for pid 1, or for the host.
fn without_a_pid(setting: Setting) -> Result<(), Why> {
    let ground = Ground::with(setting, Kind::Tmpfs, PidNs::Own)?;
    if !ground.is_fuse() {
        return Err(Why::Skipped("no task in another pid namespace".to_owned()));
    }
    let path = ground.file("f", OWNER)?;
    for (who, name, value) in [
        (ROOT_A, CAP, "v2 cap_net_raw=ep"),
        (ROOT_A, SYSTEM, "ns 0 cap_net_raw=ep"),
        (HOST_USER, SYSTEM, "ns 100000 cap_net_raw=ep"),
        (crate::ground::HOST, NSCAP, "ns 100000 cap_net_raw=ep"),
        (crate::ground::HOST, CAP, "v2 cap_net_raw=ep"),
    ] {
        match ground.set(who, &path, name, value) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
            other => return Err(Why::Through(format!("{who:?} sets {name}: {other:?}"))),
        }
    }
    ground.grants_nothing("f", "no caller could set anything")?;
    ground.stores("stored", OWNER, "v3 100000 cap_net_raw=ep")?;
    ground.grants_nothing("stored", "no caller is identified")?;
    for name in [CAP, SYSTEM, NSCAP] {
        let stored = ground.path("stored");
        let removed = ground.try_to(ROOT_A, || Ok(rustix::fs::lremovexattr(&stored, name)?));
        if removed.is_ok() && name != CAP {
            return Err(Why::Through(format!("an unknown caller removes {name}")));
        }
    }
    Ok(())
}

/// Catches a server that trusts whatever /proc is mounted. Refusing to mount is an answer.
fn foreign_proc(setting: Setting) -> Result<(), Why> {
    if setting.front != crate::live::Front::Fuse {
        return Err(Why::Skipped("no task in another pid namespace".to_owned()));
    }
    let ground = match Ground::with(setting, Kind::Tmpfs, PidNs::OwnButOuterProc) {
        Ok(ground) => ground,
        Err(Why::Broken(problem)) if problem.contains("/proc") => return Ok(()),
        Err(other) => return Err(other),
    };
    let path = ground.file("f", 1000)?;
    // In the server's pid namespace the low numbers are free, in the /proc that it sees they are
    // init and the kernel's threads: root.
    let set = ground.try_in_pid_ns_of_the_server(HOST_USER, || {
        set(&path, SYSTEM, "ns 100000 cap_sys_admin=ep")
    })?;
    if set.is_ok() {
        return Err(Why::Through("an ordinary user was taken for another task".to_owned()));
    }
    Ok(())
}

/// Catches (b) of R5 left out, or a rootid of 0 taken for the host's.
fn no_uid_0(setting: Setting) -> Result<(), Why> {
    let ground = Ground::new(setting, Kind::Tmpfs)?;
    if !ground.is_fuse() {
        return Err(Why::Skipped("SPEC says what a bare kernel lets through".to_owned()));
    }
    let path = ground.file("f", 1000)?;
    let map = vec![Extent { inside: 1000, outside: 1000, count: 1 }];
    let ns = userns::make(None, (1000, 1000), &Maps { uids: map.clone(), gids: map })?;
    for (name, value) in [
        (CAP, "v2 cap_sys_admin=ep"),
        (CAP, "v3 0 cap_sys_admin=ep"),
        (CAP, "v3 1000 cap_sys_admin=ep"),
        (CAP, "v3 -1 cap_sys_admin=ep"),
        (SYSTEM, "ns 0 cap_sys_admin=ep"),
        (SYSTEM, "ns 1000 cap_sys_admin=ep"),
        (SYSTEM, "ns -1 cap_sys_admin=ep"),
        (SYSTEM, "ns 100000 cap_sys_admin=ep"),
    ] {
        let came =
            ground.ask_in(ns.as_fd(), 1000, || Ok(errno(&set(&path, name, value)).to_string()))?;
        if came == "0" {
            return Err(Why::Through(format!("{name} = {value} is accepted")));
        }
        ground.grants_nothing("f", &format!("{name} = {value} (errno {came})"))?;
    }
    Ok(())
}
