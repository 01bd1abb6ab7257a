// SPDX-License-Identifier: MIT OR Apache-2.0
//! X and K: a set-user-ID program must not keep the bit with content of another user. A write
//! without CAP_FSETID drops the set-id bits, on a mount as on the file system beneath.
//!
//! Catches a server that writes with its own CAP_FSETID (a mode 4777 file written by another user
//! stayed 4777), in each way of reading and writing, whether the kernel or the server drops the
//! bits.

use std::io::{self, Write as _};

use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid};

use super::weapons::{WEAPONS, Weapon};
use crate::case::{Case, Setting, Why};
use crate::ground::{At, Ground, Kind, Who};
use crate::live::Front;

pub(super) const ATTACKS: &[Case] = &[Case {
    name: "set-id-bits-go-with-the-content",
    clauses: &["K", "X"],
    about: "another user changes a program with set-id bits: they go as they do beneath",
    both_ways: true,
    play: set_id,
}];

const OTHER: Who = Who(At::Host, 1001, "none");

fn set_id(setting: Setting) -> Result<(), Why> {
    let native = modes(Setting { front: Front::Bare, ..setting })?;
    let here = modes(setting)?;
    let mut stripped = 0;
    let mut kept = Vec::new();
    for ((name, native), (_, here)) in native.iter().zip(&here) {
        let bits = |mode: &Option<u32>| mode.map(|mode| mode & 0o6000);
        stripped += usize::from(bits(native) == Some(0));
        // More may go than beneath, not less.
        if let (Some(native), Some(here)) = (bits(native), bits(here))
            && here & !native != 0
        {
            kept.push(format!("{name}: {here:04o} stays, beneath {native:04o}"));
        }
    }
    if stripped < 10 {
        return Err(Why::Broken(format!("beneath, only {stripped} changes strip anything")));
    }
    if kept.is_empty() { Ok(()) } else { Err(Why::Through(kept.join("\n  "))) }
}

/// The mode after each change, where it succeeds.
fn modes(setting: Setting) -> Result<Vec<(&'static str, Option<u32>)>, Why> {
    let ground = Ground::new(setting, Kind::Ext4)?;
    let others = WEAPONS.iter().filter(|weapon| weapon.only.is_none_or(|only| only == Kind::Ext4));
    others.map(|weapon| Ok((weapon.name, mode_after(&ground, weapon)?))).collect()
}

fn mode_after(ground: &Ground, weapon: &Weapon) -> Result<Option<u32>, Why> {
    let path = ground.file("f", 1000)?;
    let from = ground.file("from", 1000)?;
    let (uid, gid) = (Some(Uid::from_raw(1000)), Some(Gid::from_raw(1000)));
    rustix::fs::chownat(CWD, &path, uid, gid, AtFlags::empty())?;
    rustix::fs::chmod(&path, Mode::from_raw_mode(0o6777))?;
    let mut attacker = match super::content::attacker(ground, OTHER, weapon, &path, &from) {
        Ok(attacker) => attacker,
        // Another user may not link to it.
        Err(_) => return Ok(None),
    };
    attacker.line.write_all(b"strike\n")?;
    let errno: i32 = attacker.hear()?.parse().map_err(io::Error::other)?;
    if errno != 0 {
        return Ok(None);
    }
    Ok(Some(rustix::fs::stat(&path)?.st_mode))
}
