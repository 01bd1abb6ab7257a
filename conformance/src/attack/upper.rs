// SPDX-License-Identifier: MIT OR Apache-2.0
//! W and K where the mount has the upper directory of an overlayfs: what copies a file up asks with
//! its mounter's credentials and the caller's thread, sets the owner after the capabilities, and
//! takes away what may be gone by then.
//!
//! Catches a server that fails the change for which a file is copied up, or that leaves a grant
//! beside it.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::callers::errno;
use crate::case::{Case, Setting, Why};
use crate::ground::{CAP, Ground, HOST, HOST_USER, Kind, OWNER, ROOT_A, USER_A, USER_B, Who, open};
use crate::live::{disk, sys};
use crate::text;

pub(super) const ATTACKS: &[Case] = &[Case {
    name: "an-overlayfs-with-its-upper-directory-on-the-mount",
    clauses: &["W", "K", "D"],
    about: "the first change of a file that has a capability below works, and leaves no grant that was not there",
    both_ways: true,
    play,
}];

type Change = fn(&Path) -> io::Result<()>;

fn owner(path: &Path, id: u32) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(id)), Some(Gid::from_raw(id)));
    Ok(rustix::fs::chownat(CWD, path, uid, gid, AtFlags::empty())?)
}

/// What is done first to a file below; and whether its capabilities go with it.
const CHANGES: [(&str, Change, bool); 6] = [
    ("chown", |path| owner(path, 7), true),
    ("chown to the same", |path| owner(path, 0), true),
    ("removexattr", |path| Ok(rustix::fs::lremovexattr(path, CAP)?), true),
    ("write", |path| Ok(rustix::io::write(open(path, OFlags::WRONLY)?, b"\x7f").map(drop)?), true),
    ("truncate", |path| sys::truncate(path, std::fs::metadata(path)?.len() + 1), true),
    ("chmod", |path| Ok(rustix::fs::chmod(path, Mode::from_raw_mode(0o775))?), false),
];

fn play(setting: Setting) -> Result<(), Why> {
    for (value, by) in [
        ("v2 cap_net_raw=ep", HOST),
        ("v3 100000 cap_net_raw=ep", HOST),
        ("v3 100000 cap_net_raw=ep", ROOT_A),
        ("v2 cap_net_raw=ep", ROOT_A),
        ("v3 200000 cap_net_raw=ep", ROOT_A),
    ] {
        let ground = Ground::new(setting, Kind::Ext4)?;
        let (lower, merged) = overlay(&ground)?;
        for (n, (what, change, drops)) in CHANGES.into_iter().enumerate() {
            let what = format!("{value}, {what} by {by:?}");
            one(&ground, (&lower, &merged), &n.to_string(), value, (by, change, drops), &what)?;
        }
    }
    Ok(())
}

fn one(
    ground: &Ground,
    (lower, merged): (&Path, &Path),
    name: &str,
    value: &str,
    (by, change, drops): (Who, Change, bool),
    what: &str,
) -> Result<(), Why> {
    let below = lower.join(name);
    std::fs::copy(ground.file("program", 0)?, &below)?;
    let id = if by == HOST { 0 } else { OWNER };
    rustix::fs::chmod(&below, Mode::from_raw_mode(0o777))?;
    owner(&below, id)?;
    let value = text::value(value).map_err(io::Error::other)?;
    rustix::fs::lsetxattr(&below, CAP, &value, rustix::fs::XattrFlags::empty())?;
    let through = format!("../beside/merged/{name}");
    let all = [USER_A, USER_B, HOST_USER];
    let gained = || all.map(|who| ground.gains(who, &through));
    let before = gained();
    let came = ground.try_to(by, || change(&merged.join(name)));
    if came.is_err() {
        return Err(Why::Through(format!("{what}: errno {}", errno(&came))));
    }
    for ((who, before), after) in all.iter().zip(before).zip(gained()) {
        let (before, after) = (before?, after?);
        if !after.minus(before).is_empty() || drops && !after.is_empty() {
            let set = text::show_set(after);
            return Err(Why::Through(format!("{what}: {who:?} gains {set} afterwards")));
        }
    }
    Ok(())
}

/// An overlayfs of the host's: its lower directory, on a file system of its own, and what it shows.
fn overlay(ground: &Ground) -> Result<(PathBuf, PathBuf), Why> {
    let at = |path: PathBuf| rustix::fs::mkdir(&path, Mode::from_raw_mode(0o777)).map(|()| path);
    let (lower, merged) = (at(ground.beside.join("lower"))?, at(ground.beside.join("merged"))?);
    let (upper, work) = (at(ground.path("upper"))?, at(ground.path("work"))?);
    let config = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC);
    let config = config.map_err(|error| Why::Skipped(format!("no overlayfs: {error}")))?;
    for (key, path) in [("lowerdir", &lower), ("upperdir", &upper), ("workdir", &work)] {
        rustix::mount::fsconfig_set_string(&config, key, path)?;
    }
    rustix::mount::fsconfig_create(&config)?;
    let mount =
        rustix::mount::fsmount(&config, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    disk::attach(&mount, &merged)?;
    Ok((lower, merged))
}
