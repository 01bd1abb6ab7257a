// SPDX-License-Identifier: MIT OR Apache-2.0
//! K: the content is not the one that the grant was for. Every way that a task has to change a file
//! which it may write, each with its descriptors and mappings made before the grant, and after;
//! each against every form of Storage.
//!
//! Catches a server that forgets an operation, that trusts its own bookkeeping where the kernel
//! writes past it (passthrough, mappings), or that strips after the change.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;

use super::weapons::{WEAPONS, Weapon, tail};
use crate::case::{Case, Setting, Why};
use crate::ground::{Grant, Ground, Kind, OWNER, OWNER_A, Who, open};
use crate::live::Front;
use crate::live::peer::{Peer, hear, say, until_end};

pub(super) const ATTACKS: &[Case] = &[
    Case {
        name: "content-on-tmpfs",
        clauses: &["K"],
        about: "the owner changes what was granted for, in each way that there is",
        both_ways: true,
        play: |setting| play(setting, Kind::Tmpfs),
    },
    Case {
        name: "content-on-ext4",
        clauses: &["K"],
        about: "the same on a file system with blocks",
        both_ways: true,
        play: |setting| play(setting, Kind::Ext4),
    },
    Case {
        name: "content-on-btrfs",
        clauses: &["K"],
        about: "the same where files share blocks",
        both_ways: true,
        play: |setting| play(setting, Kind::Btrfs),
    },
    Case {
        name: "content-after-a-restart",
        clauses: &["K"],
        about: "a mapping that outlives the server still writes: no grant while it is there",
        both_ways: true,
        play: after_a_restart,
    },
];

/// When the descriptors are opened and the mappings made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Opened {
    BeforeTheGrant,
    AfterTheGrant,
}

fn play(setting: Setting, kind: Kind) -> Result<(), Why> {
    let ground = Ground::new(setting, kind)?;
    let mut through = Vec::new();
    for weapon in WEAPONS.iter().filter(|w| w.only.is_none_or(|only| only == kind)) {
        for grant in [Grant::Entry, Grant::Entries, Grant::HostAndEntry] {
            for opened in [Opened::BeforeTheGrant, Opened::AfterTheGrant] {
                if setting.front == Front::Bare && grant != Grant::Entry {
                    continue;
                }
                let what = format!("{} ({opened:?}, {grant:?})", weapon.name);
                match wield(&ground, weapon, grant, opened, &what) {
                    Err(Why::Through(how)) => through.push(how),
                    Err(Why::Broken(problem)) => {
                        return Err(Why::Broken(format!("{what}: {problem}")));
                    }
                    other => other?,
                }
            }
        }
    }
    if through.is_empty() { Ok(()) } else { Err(Why::Through(through.join("\n  "))) }
}

fn wield(
    ground: &Ground,
    weapon: &Weapon,
    grant: Grant,
    opened: Opened,
    what: &str,
) -> Result<(), Why> {
    let path = ground.file("f", OWNER)?;
    let from = ground.file("from", OWNER)?;
    let granted = |ground: &Ground| match ground.grant(&path, grant) {
        Err(error) if weapon.reads_too && error.raw_os_error() == Some(libc::ETXTBSY) => Ok(()),
        other => other,
    };
    if opened == Opened::AfterTheGrant {
        ground.grant(&path, grant)?;
        if grant == Grant::Entry {
            ground.grants("f", what)?;
        }
    }
    let mut attacker = attacker(ground, OWNER_A, weapon, &path, &from)?;
    if opened == Opened::BeforeTheGrant {
        granted(ground)?;
    }
    attacker.line.write_all(b"strike\n")?;
    let errno: i32 = attacker.hear()?.parse().map_err(io::Error::other)?;
    if weapon.bare_only && ground.is_fuse() {
        if errno != libc::EOPNOTSUPP {
            return Err(Why::Broken(format!("FUSE has it now: errno {errno}")));
        }
        return Ok(());
    }
    if errno != 0 {
        return Err(Why::Broken(format!(
            "the change fails: {}",
            io::Error::from_raw_os_error(errno)
        )));
    }
    // A mapping is still there.
    ground.grants_nothing("f", what)?;
    drop(attacker);
    ground.grants_nothing("f", &format!("{what}, and the attacker has left"))?;
    grant_again(ground, &path)
}

/// Opens, says so, waits, strikes, says what came, and keeps its mappings until it is let go.
pub(super) fn attacker(
    ground: &Ground,
    who: Who,
    weapon: &Weapon,
    path: &Path,
    from: &Path,
) -> io::Result<Peer> {
    let mut attacker = ground.start(who, |line| {
        let strike = (weapon.prepare)(path, from)?;
        say(line, "ready")?;
        hear(line)?;
        let errno = strike().err().map(|error| error.raw_os_error().unwrap_or(libc::EIO));
        say(line, &errno.unwrap_or(0).to_string())?;
        until_end(line);
        Ok(())
    })?;
    attacker.hear()?;
    Ok(attacker)
}

/// A grant is possible again when no task has the file open. The kernel tells a server of a close
/// with a delay.
pub(super) fn grant_again(ground: &Ground, path: &Path) -> Result<(), Why> {
    for _try in 0..100 {
        match ground.grant(path, Grant::Entry) {
            Ok(()) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Why::Broken("no task has the file open, and still a grant is ETXTBSY".to_owned()))
}

/// Catches a server that knows of mappings only what it saw itself.
fn after_a_restart(setting: Setting) -> Result<(), Why> {
    let mut ground = Ground::new(setting, Kind::Ext4)?;
    for weapon in WEAPONS.iter().filter(|weapon| weapon.reads_too) {
        let path = ground.file("f", OWNER)?;
        let from = ground.file("from", OWNER)?;
        let mut attacker = attacker(&ground, OWNER_A, weapon, &path, &from)?;
        ground.kill()?;
        ground.show()?;
        let what = format!("{} from before a restart", weapon.name);
        let granted = ground.grant(&path, Grant::Entry);
        attacker.line.write_all(b"strike\n")?;
        // Without passthrough such a mapping belongs to the dead mount: the file stays as it is,
        // and a store to a page that the kernel would have to request is SIGBUS.
        let struck: i32 = match attacker.hear() {
            Err(_) if !setting.passthrough => libc::EIO,
            said => said?.parse().map_err(io::Error::other)?,
        };
        let read = open(&path, OFlags::RDONLY)?;
        let mut byte = [0];
        rustix::io::pread(&read, &mut byte, tail(&read)?)?;
        if byte == *b"x" || granted.is_err() {
            ground.grants_nothing("f", &what)?;
        } else if struck == 0 && setting.passthrough {
            return Err(Why::Broken(format!("{what}: the change is nowhere")));
        }
        match granted {
            Err(error) if error.raw_os_error() != Some(libc::ETXTBSY) => return Err(error.into()),
            _ => {}
        }
        drop(attacker);
        if path.exists() {
            rustix::fs::unlink(&path)?;
        }
    }
    Ok(())
}
