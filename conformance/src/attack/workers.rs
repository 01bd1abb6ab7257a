// SPDX-License-Identifier: MIT OR Apache-2.0
//! Callers that act for another thread: workers of io_uring and threads of the kernel. Covers P,
//! R5, R7 and R4 where /proc shows other credentials than the request's; and K where such a thread
//! changes the content.
//!
//! Catches a server that decides by what /proc says of the thread that the request names, whatever
//! thread that is.

use std::ffi::CStr;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::weapons::tail;
use crate::case::{Case, Setting, Why};
use crate::ground::{
    Grant, Ground, HOST, HOST_USER, Kind, OWNER, OWNER_A, ROOT_A, USER_A, Who, open,
};
use crate::live::peer::say;
use crate::live::ring::Ring;
use crate::live::userns;
use crate::text;

pub(super) const ATTACKS: &[Case] = &[
    Case {
        name: "a-worker-of-one-that-was-privileged",
        clauses: &["P", "R5", "R7", "D"],
        about: "a task has io_uring make a worker, drops what it has, and lets the worker set and remove",
        both_ways: false,
        play: was_privileged,
    },
    Case {
        name: "a-worker-that-waited-long",
        clauses: &["P", "R7"],
        about: "the same with a worker that had nothing to do for longer than the kernel keeps most",
        both_ways: false,
        play: waited,
    },
    Case {
        name: "a-worker-that-reads",
        clauses: &["R4", "R6", "T"],
        about: "a worker is shown nothing, by any name and with any maker",
        both_ways: false,
        play: reads,
    },
    Case {
        name: "a-worker-that-writes",
        clauses: &["K", "V"],
        about: "the file's owner writes to a granted file by a worker: the write works, the grant is gone",
        both_ways: true,
        play: writes,
    },
    Case {
        name: "a-loop-device-that-writes",
        clauses: &["K", "V"],
        about: "a thread of the kernel's own writes to a file of the mount: the write works, no grant is left",
        both_ways: true,
        play: loop_device,
    },
];

/// What a task gives up after it has a worker.
#[derive(Clone, Copy, Debug)]
enum Loses {
    /// It becomes this uid and gid, with no capability.
    Ids(u32),
    /// It keeps its ids and has no capability.
    Capabilities,
}

impl Loses {
    fn take(self) -> io::Result<()> {
        if let Loses::Ids(id) = self {
            userns::set_ids([id; 3], [id; 3])?;
        }
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        Ok(rustix::thread::set_capabilities(None, sets)?)
    }
}

const NAMES: [&CStr; 3] =
    [c"security.capability", c"security.nscapability", c"system.nscapability"];

/// What it asks for, name by name.
const VALUES: [&str; 3] = ["v2 cap_sys_admin=ep", "ns 0 cap_sys_admin=ep", "ns 0 cap_sys_admin=ep"];

/// A request's errno, 0 for none.
fn errno<T>(result: io::Result<T>) -> i32 {
    result.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO))
}

/// What a ring of a task that drops what it has gets for setting each name, and then removes.
fn asks(
    ground: &Ground,
    (who, loses): (Who, Loses),
    path: &Path,
    values: [&str; 3],
    idle: Duration,
) -> io::Result<Vec<i32>> {
    let said = ground.ask(who, || {
        let mut ring = Ring::new()?;
        ring.make_a_worker()?;
        loses.take()?;
        std::thread::sleep(idle);
        let file = open(path, OFlags::RDONLY)?;
        let mut came = Vec::new();
        for (name, value) in NAMES.iter().zip(values) {
            let value = text::value(value).map_err(io::Error::other)?;
            came.push(errno(ring.set(&file, name, &value)).to_string());
        }
        Ok(came.join(" "))
    })?;
    let numbers = said.split(' ').map(str::parse);
    numbers.collect::<Result<_, _>>().map_err(io::Error::other)
}

fn was_privileged(setting: Setting) -> Result<(), Why> {
    let ground = Ground::new(setting, Kind::Tmpfs)?;
    let fronts = [
        (HOST, Loses::Ids(1000), 1000),
        (HOST, Loses::Capabilities, 1000),
        (HOST, Loses::Capabilities, 0),
        (ROOT_A, Loses::Ids(7), OWNER),
        (ROOT_A, Loses::Capabilities, OWNER),
    ];
    for (n, (who, loses, owner)) in fronts.into_iter().enumerate() {
        let name = format!("f{n}");
        let path = ground.file(&name, owner)?;
        let what = format!("{who:?} loses {loses:?}");
        let came = asks(&ground, (who, loses), &path, VALUES, Duration::ZERO)?;
        if came.iter().any(|errno| *errno != libc::EPERM) {
            return Err(Why::Through(format!("{what}: set: {came:?}")));
        }
        ground.grants_nothing(&name, &what)?;
    }
    Ok(())
}

/// The kernel ends workers that have been idle for 5 seconds, but for the last.
fn waited(setting: Setting) -> Result<(), Why> {
    let ground = Ground::new(setting, Kind::Tmpfs)?;
    let path = ground.file("f", 1000)?;
    let came = asks(&ground, (HOST, Loses::Ids(1000)), &path, VALUES, Duration::from_secs(6))?;
    if came.iter().any(|errno| *errno != libc::EPERM) {
        return Err(Why::Through(format!("after idling, set: {came:?}")));
    }
    ground.grants_nothing("f", "after idling")
}

fn reads(setting: Setting) -> Result<(), Why> {
    let ground = Ground::new(setting, Kind::Tmpfs)?;
    if !ground.is_fuse() {
        return Err(Why::Skipped("the kernel answers by the request's own credentials".to_owned()));
    }
    for grant in [Grant::Entry, Grant::Entries, Grant::HostAndEntry] {
        let path = ground.file("f", OWNER)?;
        ground.grant(&path, grant)?;
        for who in [HOST, HOST_USER, ROOT_A, USER_A] {
            let said = ground.ask(who, || {
                let mut ring = Ring::new()?;
                ring.make_a_worker()?;
                let file = open(&path, OFlags::RDONLY)?;
                let came = NAMES.map(|name| errno(ring.get(&file, name)).to_string());
                Ok(came.join(" "))
            })?;
            let nodata = libc::ENODATA;
            if said != format!("{nodata} {nodata} {nodata}") {
                return Err(Why::Through(format!("{grant:?}, {who:?} reads: {said}")));
            }
        }
    }
    Ok(())
}

fn writes(setting: Setting) -> Result<(), Why> {
    for kind in [Kind::Tmpfs, Kind::Ext4] {
        let ground = Ground::new(setting, kind)?;
        for grant in [Grant::Entry, Grant::Entries, Grant::HostAndEntry] {
            // The worker is made before the grant, the file opened after it; and the other way
            // round.
            for opened_before in [true, false] {
                let path = ground.file("f", OWNER)?;
                let mut task = ground.start(OWNER_A, |line| {
                    let mut ring = Ring::new()?;
                    ring.make_a_worker()?;
                    let before =
                        if opened_before { Some(open(&path, OFlags::WRONLY)?) } else { None };
                    say(line, "ready")?;
                    crate::live::peer::hear(line)?;
                    let file = before.map_or_else(|| open(&path, OFlags::WRONLY), Ok)?;
                    let at = tail(&file)?;
                    say(line, &errno(ring.write(&file, at)).to_string())
                })?;
                task.hear()?;
                let what = format!("{kind:?}, {grant:?}, opened before: {opened_before}");
                match ground.grant(&path, grant) {
                    Ok(()) => {}
                    // Nothing is granted while the file is open for writing: an answer.
                    Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) && opened_before => {}
                    Err(error) => return Err(error.into()),
                }
                say(&mut task.line, "write")?;
                let came = task.hear()?;
                if came != "0" {
                    return Err(Why::Through(format!("{what}: the write fails: errno {came}")));
                }
                drop(task);
                ground.grants_nothing("f", &what)?;
            }
        }
    }
    Ok(())
}

fn loop_device(setting: Setting) -> Result<(), Why> {
    let ground = Ground::new(setting, Kind::Ext4)?;
    let path = ground.file("f", 0)?;
    let made = Command::new("losetup").args(["--find", "--show"]).arg(&path).output()?;
    let said = String::from_utf8_lossy(&made.stdout);
    let device = said.trim();
    if !made.status.success() || device.is_empty() {
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        return Err(Why::Skipped(format!("no loop device: {said}")));
    }
    let played = written_by_a_loop_device(&ground, &path, device);
    let detached = Command::new("losetup").args(["--detach", device]).status()?;
    played?;
    if !detached.success() {
        return Err(Why::Broken(format!("losetup --detach {device}: {detached}")));
    }
    ground.grants_nothing("f", "a loop device has written")
}

fn written_by_a_loop_device(ground: &Ground, path: &Path, device: &str) -> Result<(), Why> {
    // While the loop device can write, this is ETXTBSY or taken away by what it writes.
    let _ = ground.grant(path, Grant::Entry);
    let block = open(device, OFlags::WRONLY | OFlags::SYNC)?;
    let at = tail(open(path, OFlags::RDONLY)?)?;
    rustix::io::pwrite(&block, &[b'x'; 4096], at)?;
    let mut there = [0; 1];
    rustix::io::pread(open(path, OFlags::RDONLY)?, &mut there, at)?;
    if there != *b"x" {
        return Err(Why::Broken("the loop device's write is not there".to_owned()));
    }
    ground.grants_nothing("f", "a loop device writes")
}
