// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two sides of an attack on the shares: tasks that ask for much, and innocent users that must
//! go on meanwhile.

use std::io;
use std::time::Duration;

use rustix::fs::{CWD, Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::case::{Setting, Why};
use crate::ground::{At, Ground, Kind, Who};
use crate::live::peer::{Peer, say};

/// How long an innocent task may take for all that it does; blocked, it would take for ever.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);

/// What an innocent task does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Look,
    LookAndOpen,
}

/// Where tasks run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    Any,
    Processor0,
}

impl On {
    pub(super) fn go(self) {
        if self == On::Processor0 {
            let mut only = CpuSet::new();
            only.set(0);
            let _ = sched_setaffinity(None, &only);
        }
    }
}

pub(super) fn user(uid: u32) -> Who {
    Who(At::Host, uid, "none")
}

/// Looks up names that do not exist, at intervals, so that the lookups meet times of lasting
/// requests in proportion to their length.
pub(super) fn look(prefix: &str, doing: Doing) -> io::Result<()> {
    const COUNT: usize = 100;
    const INTERVAL: Duration = Duration::from_millis(5);
    for number in 0..COUNT {
        std::thread::sleep(INTERVAL);
        match rustix::fs::stat(format!("{prefix}-{number}")) {
            Err(Errno::NOENT) => {}
            other => {
                return Err(io::Error::other(format!("a name that does not exist: {other:?}")));
            }
        }
        if doing == Doing::LookAndOpen && std::fs::read("quiet")? != b"quiet" {
            return Err(io::Error::other("another content"));
        }
    }
    Ok(())
}

/// That three innocent users go on, each on its own.
pub(super) fn others_go_on(
    ground: &Ground,
    meanwhile: &str,
    doing: Doing,
    on: On,
) -> Result<(), Why> {
    let start = |uid| {
        ground.start(user(uid), move |line| {
            on.go();
            let prefix = format!("absent-{uid}-{}", fastrand::u64(..));
            look(&prefix, doing)?;
            say(line, "went on")
        })
    };
    let mut all = [2001, 2002, 2003].into_iter().map(start).collect::<io::Result<Vec<_>>>()?;
    for peer in &mut all {
        peer.line.set_read_timeout(Some(PATIENCE))?;
        match peer.hear() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Why::Through(format!("while {meanwhile}: another's lookups wait")));
            }
            said => said?,
        };
    }
    Ok(())
}

/// A process whose threads each do something once, which may last; it says how many failed with
/// EAGAIN and how many otherwise when all are done.
pub(super) fn attackers(
    ground: &Ground,
    who: Who,
    on: On,
    count: usize,
    work: impl Fn(usize) -> io::Result<()> + Sync,
) -> io::Result<Peer> {
    ground.start(who, |line| {
        on.go();
        let (mut again, mut failed) = (0, 0);
        std::thread::scope(|scope| {
            let work = &work;
            let all: Vec<_> = (0..count).map(|n| scope.spawn(move || work(n))).collect();
            for thread in all {
                match thread.join() {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) if error.raw_os_error() == Some(libc::EAGAIN) => again += 1,
                    _ => failed += 1,
                }
            }
        });
        say(line, &format!("{again} {failed}"))
    })
}

/// How many of an attacker's requests failed with EAGAIN, and how many otherwise.
pub(super) fn failed(attackers: &mut Peer) -> Result<(usize, usize), Why> {
    attackers.line.set_read_timeout(Some(3 * PATIENCE))?;
    let said = attackers.hear()?;
    let (again, other) = said.split_once(' ').ok_or_else(|| io::Error::other("no counts"))?;
    let number = |text: &str| text.parse::<usize>().map_err(io::Error::other);
    Ok((number(again)?, number(other)?))
}

/// Until what was started waits.
pub(super) fn wait_until_calm() {
    std::thread::sleep(Duration::from_millis(300));
}

/// A ground with one file that all may read.
pub(super) fn ground(setting: Setting) -> Result<Ground, Why> {
    let ground = Ground::new(setting, Kind::Ext4)?;
    std::fs::write(ground.path("quiet"), "quiet")?;
    Ok(ground)
}

/// Files of one owner.
pub(super) fn files(ground: &Ground, prefix: &str, owner: u32, count: usize) -> io::Result<()> {
    for number in 0..count {
        let path = ground.path(&format!("{prefix}{number}"));
        std::fs::write(&path, "content")?;
        let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
        rustix::fs::chown(&path, Some(uid), Some(gid))?;
    }
    Ok(())
}

pub(super) fn change_mode(prefix: &str, number: usize) -> io::Result<()> {
    let mode = Mode::from_raw_mode(0o600);
    Ok(rustix::fs::chmodat(CWD, format!("{prefix}{number}"), mode, rustix::fs::AtFlags::empty())?)
}
