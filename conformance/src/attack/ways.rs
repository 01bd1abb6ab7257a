// SPDX-License-Identifier: MIT OR Apache-2.0
//! K: more than one way to a file. One task has it open for writing through the mount, which alone
//! would not be in the way of a grant; another comes by a descriptor of the directory, a hard link,
//! or a second server, and leaves a mapping. And direct writes that are still on their way when a
//! grant is made.
//!
//! Catches a server that takes its own view of the writers for the whole: at a grant only the
//! kernel knows.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};
use rustix::mount::MountFlags;

use super::content::grant_again;
use crate::case::{Case, Setting, Why};
use crate::ground::{Grant, Ground, Kind, OWNER, OWNER_A, open};
use crate::live::peer::{Peer, hear, say, until_end};
use crate::live::sys::{self, Mapping};

pub(super) const ATTACKS: &[Case] = &[
    Case {
        name: "another-way-in-beside-a-writer",
        clauses: &["K"],
        about: "a mapping by another way than the mount, while the mount has a writer too: no grant",
        both_ways: true,
        play: beside_a_writer,
    },
    Case {
        name: "direct-writes-in-flight",
        clauses: &["K"],
        about: "the content that a grant is made for is the one that stays: what is on its way counts",
        both_ways: true,
        play: in_flight,
    },
];

/// Another way to the same files.
struct Way {
    name: &'static str,
    dir: OwnedFd,
    _server: Option<Peer>,
}

fn ways(ground: &Ground) -> Result<Vec<Way>, Why> {
    let before = Way {
        name: "a descriptor of the directory",
        dir: rustix::io::fcntl_dupfd_cloexec(ground.beneath(), 0)?,
        _server: None,
    };
    if !ground.is_fuse() {
        return Ok(vec![before]);
    }
    match ground.shown_twice() {
        Ok((server, dir)) => {
            Ok(vec![before, Way { name: "a second server", dir, _server: Some(server) }])
        }
        // This way is excluded for certain.
        Err(error) if error.to_string().contains("EBUSY") => Ok(vec![before]),
        Err(error) => Err(error.into()),
    }
}

fn at(way: &Way, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(&way.dir, name, flags | OFlags::CLOEXEC, Mode::empty())?)
}

/// The task that has the file open through the mount meanwhile, and the open flags.
const BESIDE: [Option<OFlags>; 3] =
    [None, Some(OFlags::WRONLY), Some(OFlags::WRONLY.union(OFlags::APPEND))];

fn beside_a_writer(setting: Setting) -> Result<(), Why> {
    let ground = Ground::new(setting, Kind::Ext4)?;
    let ways = ways(&ground)?;
    let mut count = 0;
    for way in &ways {
        for linked in [false, true] {
            for beside in BESIDE {
                for closes in [true, false] {
                    // A second server knows a name for a second.
                    count += 1;
                    let name = format!("f{count}");
                    let what = format!("{}, {linked}, beside {beside:?}, {closes}", way.name);
                    one_way(&ground, way, (&name, linked), (beside, closes), &what)?;
                }
            }
        }
    }
    Ok(())
}

fn one_way(
    ground: &Ground,
    way: &Way,
    (name, linked): (&str, bool),
    (beside, closes): (Option<OFlags>, bool),
    what: &str,
) -> Result<(), Why> {
    let path = ground.file(name, OWNER)?;
    let other = if linked { format!("{name}-too") } else { name.to_owned() };
    if linked {
        rustix::fs::link(&path, ground.path(&other))?;
    }
    let mut attacker = ground.start(OWNER_A, |line| {
        // The mount's own writer comes first.
        let beside = beside.map(|flags| open(name, flags)).transpose()?;
        let fd = at(way, &other, OFlags::RDWR)?;
        let end = super::weapons::tail(&fd)?;
        let mut mapping = Mapping::shared(&fd, end, true)?;
        if closes {
            drop(fd);
        }
        say(line, "ready")?;
        hear(line)?;
        mapping.store(b'x');
        say(line, "struck")?;
        until_end(line);
        drop((mapping, beside));
        Ok(())
    })?;
    attacker.hear()?;
    let granted = ground.grant(&path, Grant::Entry);
    attacker.line.write_all(b"strike\n")?;
    attacker.hear()?;
    match granted {
        Ok(()) => ground.grants_nothing(name, what)?,
        Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {}
        Err(error) => return Err(Why::Broken(format!("{what}: the grant: {error}"))),
    }
    drop(attacker);
    grant_again(ground, &path)
}

/// Tasks whose direct writes to the files' disk take their time (cgroup v1, blkio.throttle).
struct Slow(PathBuf);

impl Slow {
    fn new(ground: &Ground) -> Result<Slow, Why> {
        let at = ground.beside.join("blkio");
        rustix::fs::mkdir(&at, Mode::from_raw_mode(0o700))?;
        rustix::mount::mount("cgroup", &at, "cgroup", MountFlags::empty(), c"blkio")
            .map_err(|errno| Why::Skipped(format!("no cgroup of blkio: {errno}")))?;
        let slow = Slow(at.join(format!("nscap-{}", std::process::id())));
        rustix::fs::mkdir(&slow.0, Mode::from_raw_mode(0o700))?;
        let disk = rustix::fs::fstat(ground.beneath())?.st_dev;
        let (major, minor) = (rustix::fs::major(disk), rustix::fs::minor(disk));
        let limit = format!("{major}:{minor} {A_SECOND}");
        std::fs::write(slow.0.join("blkio.throttle.write_bps_device"), limit)
            .map_err(|error| Why::Skipped(format!("no throttle of blkio: {error}")))?;
        Ok(slow)
    }

    fn take(&self, task: &Peer) -> io::Result<()> {
        let pid = task.pid.as_raw_nonzero().to_string();
        std::fs::write(self.0.join("cgroup.procs"), pid)
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        // Until the last task in it is gone.
        for _ in 0..200 {
            if rustix::fs::rmdir(&self.0) != Err(rustix::io::Errno::BUSY) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// How fast, in bytes.
const A_SECOND: usize = 32 << 20;

/// How much is on its way, in bytes.
const LENGTH: usize = 16 << 20;

fn in_flight(setting: Setting) -> Result<(), Why> {
    const ROUNDS: usize = 2;
    let ground = Ground::new(setting, Kind::Ext4)?;
    let slow = Slow::new(&ground)?;
    for flags in [OFlags::WRONLY, OFlags::RDWR] {
        for round in 0..ROUNDS {
            one_flight(&ground, &slow, flags, &format!("round {round}, {flags:?}"))?;
        }
    }
    Ok(())
}

fn one_flight(ground: &Ground, slow: &Slow, flags: OFlags, what: &str) -> Result<(), Why> {
    let path = ground.file("f", OWNER)?;
    let start = std::fs::metadata(&path)?.len();
    let file = open(&path, OFlags::WRONLY)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), start, LENGTH as u64)?;
    rustix::io::pwrite(&file, &vec![b'o'; LENGTH], start)?;
    rustix::fs::fsync(&file)?;
    drop(file);
    let (uid, gid) = (Uid::from_raw(OWNER), Gid::from_raw(OWNER));
    rustix::fs::chownat(CWD, &path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    let mut attacker = ground.start(OWNER_A, |line| {
        say(line, "there")?;
        hear(line)?;
        let fd = open("f", flags | OFlags::DIRECT)?;
        let flight = sys::submit_by_ring(&fd, start, LENGTH)?;
        say(line, "submitted")?;
        hear(line)?;
        flight.wait()?;
        say(line, "arrived")?;
        until_end(line);
        drop(fd);
        Ok(())
    })?;
    attacker.hear()?;
    slow.take(&attacker)?;
    attacker.line.write_all(b"go\n")?;
    attacker.hear()?;
    // It has begun, so that what it strips is stripped.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let end = start + LENGTH as u64 - 4096;
    let beneath = rustix::fs::openat(ground.beneath(), "f", OFlags::RDONLY, Mode::empty())?;
    let last = || {
        let mut byte = [0];
        rustix::io::pread(&beneath, &mut byte, end).map(|_| byte[0])
    };
    let granted = ground.grant(&path, Grant::Entry);
    let seen = last()?;
    attacker.line.write_all(b"wait\n")?;
    attacker.hear()?;
    match granted {
        Ok(()) if last()? != seen => ground.grants_nothing("f", what)?,
        Ok(()) => return Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {}
        Err(error) => return Err(Why::Broken(format!("{what}: the grant: {error}"))),
    }
    drop((attacker, beneath));
    grant_again(ground, &path)
}
