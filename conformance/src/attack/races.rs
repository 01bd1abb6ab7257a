// SPDX-License-Identifier: MIT OR Apache-2.0
//! K, R5 and D while other tasks act at the same time: what is seen of a change before it is
//! complete, a grant and an open at once, a grant and a chown at once, execs around a revocation.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, CWD, Gid, OFlags, Uid, XattrFlags};

use crate::case::{Case, Setting, Why};
use crate::ground::{
    CAP, Grant, Ground, HOST, Kind, NSCAP, OWNER, OWNER_A, ROOT_A, SYSTEM, USER_A, Who, open,
};
use crate::live::ops;
use crate::live::peer::{Peer, hear, say};
use crate::live::sys::Mapping;
use crate::outcome::Outcome;
use crate::text;

pub(super) const ATTACKS: &[Case] = &[
    Case {
        name: "the-new-content-with-the-old-grant",
        clauses: &["K"],
        about: "a task that sees the new content must not see the grant any more",
        both_ways: true,
        play: new_content_old_grant,
    },
    Case {
        name: "a-grant-and-an-open-at-once",
        clauses: &["K"],
        about: "a file that a task has open for reading and writing has no grant, in any order",
        both_ways: true,
        play: grant_and_open,
    },
    Case {
        name: "a-grant-and-a-chown-at-once",
        clauses: &["K", "R5"],
        about: "a file that was given away has no grant of its former owner's root",
        both_ways: false,
        play: grant_and_chown,
    },
    Case {
        name: "revoked-in-a-storm-of-execs",
        clauses: &["D", "R3"],
        about: "no exec that starts after the removal returned has the capability",
        both_ways: false,
        play: revoked,
    },
];

/// A task that does the same whenever it is told to, and says the errno (0: none).
fn on_demand(
    ground: &Ground,
    who: Who,
    mut work: impl FnMut() -> io::Result<()>,
) -> io::Result<Peer> {
    let mut peer = ground.start(who, |line| {
        say(line, "ready")?;
        while hear(line).is_ok() {
            let errno = work().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
            say(line, &errno.to_string())?;
        }
        Ok(())
    })?;
    peer.hear()?;
    Ok(peer)
}

fn tell(peer: &mut Peer) -> io::Result<()> {
    peer.line.write_all(b"now\n")
}

fn errno(peer: &mut Peer) -> io::Result<i32> {
    peer.hear()?.parse().map_err(io::Error::other)
}

/// Catches a server that strips after the write, or that answers from what it remembers.
fn new_content_old_grant(setting: Setting) -> Result<(), Why> {
    const ROUNDS: usize = 150;
    let ground = Ground::new(setting, Kind::Ext4)?;
    let path = ground.path("f");
    let mut writer = on_demand(&ground, OWNER_A, || {
        let fd = open("f", OFlags::WRONLY)?;
        let size = u64::try_from(rustix::fs::fstat(&fd)?.st_size).map_err(io::Error::other)?;
        Ok(rustix::io::pwrite(fd, b"x", size - 4096).map(drop)?)
    })?;
    // EALREADY means that the forbidden state was seen.
    let mut reader = on_demand(&ground, USER_A, || {
        let fd = open("f", OFlags::RDONLY)?;
        let size = u64::try_from(rustix::fs::fstat(&fd)?.st_size).map_err(io::Error::other)?;
        let page = Mapping::shared(&fd, size - 4096, false)?;
        let began = Instant::now();
        while page.load() != b'x' {
            if began.elapsed() > Duration::from_secs(5) {
                return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
            }
        }
        let mut value = [0; 64];
        match rustix::fs::fgetxattr(&fd, CAP, &mut value) {
            Ok(_) => Err(io::Error::from_raw_os_error(libc::EALREADY)),
            Err(rustix::io::Errno::NODATA) => Ok(()),
            Err(error) => Err(error.into()),
        }
    })?;
    for round in 0..ROUNDS {
        ground.file("f", OWNER)?;
        ground.grant(&path, if round % 2 == 0 { Grant::Entry } else { Grant::Entries })?;
        tell(&mut reader)?;
        std::thread::sleep(Duration::from_micros(fastrand::u64(..2000)));
        tell(&mut writer)?;
        let (wrote, read) = (errno(&mut writer)?, errno(&mut reader)?);
        if read == libc::EALREADY {
            return Err(Why::Through(format!("round {round}: the grant outlives the content")));
        }
        if wrote != 0 || read != 0 {
            return Err(Why::Broken(format!("round {round}: errno {wrote}, {read}")));
        }
    }
    Ok(())
}

/// Catches a check for writers that is not one step with the change, and an open that looks for
/// grants before it counts as open.
fn grant_and_open(setting: Setting) -> Result<(), Why> {
    const ROUNDS: usize = 80;
    let ground = Ground::new(setting, Kind::Ext4)?;
    let mut kept = None;
    let mut attacker = on_demand(&ground, OWNER_A, || {
        if kept.take().is_some() {
            return Ok(());
        }
        let fd = open("f", OFlags::RDWR)?;
        let size = u64::try_from(rustix::fs::fstat(&fd)?.st_size).map_err(io::Error::other)?;
        let mut page = Mapping::shared(&fd, size - 4096, true)?;
        page.store(b'x');
        kept = Some((fd, page));
        Ok(())
    })?;
    let value = text::value("v2 cap_net_raw=ep").map_err(io::Error::other)?;
    let mut granter = on_demand(&ground, ROOT_A, || {
        Ok(rustix::fs::lsetxattr("f", CAP, &value, XattrFlags::empty())?)
    })?;
    let (mut granted, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        ground.file("f", OWNER)?;
        let (first, second) = if round % 2 == 0 {
            (&mut attacker, &mut granter)
        } else {
            (&mut granter, &mut attacker)
        };
        tell(first)?;
        std::thread::sleep(Duration::from_micros(fastrand::u64(..300)));
        tell(second)?;
        let (opened, set) = (errno(&mut attacker)?, errno(&mut granter)?);
        match set {
            0 => granted += 1,
            libc::ETXTBSY => refused += 1,
            _ => return Err(Why::Broken(format!("round {round}: the grant gives errno {set}"))),
        }
        if opened != 0 {
            return Err(Why::Broken(format!("round {round}: the open gives errno {opened}")));
        }
        ground.grants_nothing("f", &format!("round {round}, the grant gave errno {set}"))?;
        tell(&mut attacker)?;
        errno(&mut attacker)?;
        ground.grants_nothing("f", &format!("round {round}, and the attacker has left"))?;
    }
    if ground.is_fuse() && (granted == 0 || refused == 0) {
        let seen = format!("no race: {granted} granted first, {refused} refused");
        return Err(Why::Broken(seen));
    }
    Ok(())
}

/// Catches an owner (R5 c) that is remembered, or looked at in another step than the one that
/// writes the entry. By the name that the VFS does not check as well as by the other.
fn grant_and_chown(setting: Setting) -> Result<(), Why> {
    const ROUNDS: usize = 150;
    let ground = Ground::new(setting, Kind::Tmpfs)?;
    let path = ground.file("f", OWNER)?;
    let plain = text::value("v2 cap_net_raw=ep").map_err(io::Error::other)?;
    let form = text::value("ns 0 cap_net_raw=ep").map_err(io::Error::other)?;
    let other = if ground.is_fuse() { (SYSTEM, &form) } else { (CAP, &plain) };
    let mut names = [(CAP, &plain), other].into_iter().cycle();
    // Grants and takes back until the file is another's.
    let mut granter = on_demand(&ground, ROOT_A, || {
        let (name, value) = names.next().unwrap_or(other);
        let began = Instant::now();
        loop {
            if began.elapsed() > Duration::from_secs(3) {
                return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
            }
            let _ = rustix::fs::lremovexattr("f", name);
            match rustix::fs::lsetxattr("f", name, value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(rustix::io::Errno::PERM) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    })?;
    let give = |id: u32| {
        let (uid, gid) = (Some(Uid::from_raw(id)), Some(Gid::from_raw(id)));
        rustix::fs::chownat(CWD, &path, uid, gid, AtFlags::empty())
    };
    for round in 0..ROUNDS {
        give(OWNER)?;
        tell(&mut granter)?;
        std::thread::sleep(Duration::from_micros(200 + fastrand::u64(..500)));
        let given = give(5);
        let ended = errno(&mut granter)?;
        if ended == libc::ETIMEDOUT {
            let how = format!("round {round}: a file that was given away is granted on");
            return Err(Why::Through(how));
        }
        if given.is_err() || ended != 0 {
            return Err(Why::Broken(format!("round {round}: {given:?}, errno {ended}")));
        }
        let mut value = [0; 64];
        for name in [CAP, NSCAP] {
            if rustix::fs::lgetxattr(&path, name, &mut value) != Err(rustix::io::Errno::NODATA) {
                let how = format!("round {round}: {name} on a file that was given away");
                return Err(Why::Through(how));
            }
        }
    }
    Ok(())
}

/// Catches a cached grant: one that the server, or the kernel, still gives after the removal.
fn revoked(setting: Setting) -> Result<(), Why> {
    let ground = Ground::new(setting, Kind::Tmpfs)?;
    let path = ground.file("f", OWNER)?;
    for (who, name, grant) in [
        (ROOT_A, CAP, Grant::Entry),
        (HOST, NSCAP, Grant::Entry),
        (HOST, NSCAP, Grant::Entries),
        (ROOT_A, CAP, Grant::Entries),
        (ROOT_A, CAP, Grant::Entry),
    ] {
        if !ground.is_fuse() && (name == NSCAP || grant == Grant::Entries) {
            continue;
        }
        ground.grant(&path, grant)?;
        let mut storm = (0..3).map(|_| executes(&ground)).collect::<io::Result<Vec<Peer>>>()?;
        std::thread::sleep(Duration::from_millis(200));
        ground.try_to(who, || Ok(rustix::fs::lremovexattr(&path, name)?))?;
        let returned = now();
        std::thread::sleep(Duration::from_millis(100));
        let mut gains = 0;
        for peer in &mut storm {
            tell(peer)?;
            let said = peer.hear()?;
            let (count, last) = said.split_once(' ').ok_or_else(|| io::Error::other("no time"))?;
            gains += count.parse::<u64>().map_err(io::Error::other)?;
            let last: u64 = last.parse().map_err(io::Error::other)?;
            if last >= returned {
                let late = (last - returned) / 1000;
                return Err(Why::Through(format!("an exec {late} us after the removal gained")));
            }
        }
        if gains == 0 {
            return Err(Why::Broken("no exec gained before the removal".to_owned()));
        }
        if grant == Grant::Entries && who == ROOT_A {
            ground.try_to(HOST, || Ok(rustix::fs::lremovexattr(&path, NSCAP)?))?;
        }
    }
    Ok(())
}

/// Executes the file again and again; says how many gained, and when the last of them started.
fn executes(ground: &Ground) -> io::Result<Peer> {
    ground.start(USER_A, |line| {
        let (mut count, mut last) = (0_u64, 0);
        loop {
            let began = now();
            if let Outcome::Executed(got) = ops::exec(&USER_A.task(), "f")?
                && got.sets[0] != 0
            {
                count += 1;
                last = began;
            }
            let mut polled = [PollFd::new(&*line, PollFlags::IN)];
            if rustix::event::poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0 {
                return say(line, &format!("{count} {last}"));
            }
        }
    })
}

/// Nanoseconds of the clock that all processes share.
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanoseconds) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds * 1_000_000_000 + nanoseconds
}
