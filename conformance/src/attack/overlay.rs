// SPDX-License-Identifier: MIT OR Apache-2.0
//! W: what an overlayfs makes of the files of a mount when it copies them up with its own mounter's
//! credentials. The upper layer is an ordinary file system, so what lands there counts on the host.
//!
//! Catches an entry that is answered as a revision 2 value: the copy-up by a container's chmod then
//! made a host value of it.

use std::io;
use std::path::{Path, PathBuf};

use nscap_core::CapSet;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::case::{Case, Setting, Why};
use crate::ground::{
    CAP, Grant, Ground, HOST, HOST_USER, Kind, OWNER_A, ROOT_A, USER_A, USER_B, Who, open,
};
use crate::live::disk;
use crate::text;

pub(super) const ATTACKS: &[Case] = &[Case {
    name: "an-overlayfs-copies-up",
    clauses: &["W", "R3"],
    about: "a copy-up grants no task more than the file below did",
    both_ways: true,
    play: copy_up,
}];

/// What makes an overlayfs copy a file up.
type Change = fn(&Path) -> io::Result<()>;

/// The task that copies a file up, and the change that causes it.
const UP: [(Who, &str, Change); 4] = [
    (ROOT_A, "the container's chmod", |path| chmod(path)),
    (OWNER_A, "the owner's chmod", |path| chmod(path)),
    (HOST, "the host's chmod", |path| chmod(path)),
    (ROOT_A, "a new time", |path| {
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
        Ok(rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::empty())?)
    }),
];

fn chmod(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(0o775))?)
}

fn copy_up(setting: Setting) -> Result<(), Why> {
    for grant in [Grant::Entry, Grant::Entries, Grant::HostAndEntry] {
        if setting.front == crate::live::Front::Bare && grant != Grant::Entry {
            continue;
        }
        for (who, how, change) in UP {
            let what = format!("{grant:?}, {how}");
            one(setting, grant, (who, change), &what)?;
        }
    }
    Ok(())
}

fn one(
    setting: Setting,
    grant: Grant,
    (who, change): (Who, Change),
    what: &str,
) -> Result<(), Why> {
    let ground = Ground::new(setting, Kind::Ext4)?;
    let below = ground.file("f", crate::ground::OWNER)?;
    ground.grant(&below, grant)?;
    let all = [USER_A, USER_B, HOST_USER];
    let gained = |dir: &Path| {
        // Names are relative to the shared directory.
        let name = dir.strip_prefix(std::env::temp_dir()).map_err(io::Error::other)?;
        let name = format!("../{}/f", name.display());
        let gained = all.iter().map(|who| ground.gains(*who, &name));
        gained.collect::<io::Result<Vec<CapSet>>>()
    };
    let before = gained(&ground.dir)?;
    let (merged, upper) = overlay(&ground)?;
    if gained(&merged)? != before {
        return Err(Why::Broken(format!("{what}: an overlayfs shows other grants")));
    }
    let file = merged.join("f");
    ground.try_to(who, || change(&file))?;
    let fd = open(upper.join("f"), OFlags::RDONLY)?;
    let mut value = [0; 64];
    let kept = match rustix::fs::fgetxattr(&fd, CAP, &mut value) {
        Ok(len) => text::show_value(value.get(..len).unwrap_or_default()),
        Err(error) => error.to_string(),
    };
    for dir in [&upper, &merged] {
        for ((who, before), after) in all.iter().zip(&before).zip(gained(dir)?) {
            if !after.minus(*before).is_empty() {
                let set = text::show_set(after);
                let how = format!("{what}: {who:?} gains {set} above; copied up: {kept}");
                return Err(Why::Through(how));
            }
        }
    }
    // W: the copy keeps the entry that its reader has, with its rootid.
    if grant == Grant::Entry && who != HOST && gained(&merged)? != before {
        return Err(Why::Through(format!("{what}: the grant is lost; copied up: {kept}")));
    }
    Ok(())
}

/// An overlayfs of the host on the shared directory; and its upper directory.
fn overlay(ground: &Ground) -> Result<(PathBuf, PathBuf), Why> {
    let at = |name: &str| {
        let path = ground.beside.join(name);
        rustix::fs::mkdir(&path, Mode::from_raw_mode(0o777)).map(|()| path)
    };
    let (merged, upper, work) = (at("merged")?, at("upper")?, at("work")?);
    let config = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC);
    let config = config.map_err(|error| Why::Skipped(format!("no overlayfs: {error}")))?;
    for (key, path) in [("lowerdir", &ground.dir), ("upperdir", &upper), ("workdir", &work)] {
        rustix::mount::fsconfig_set_string(&config, key, path)?;
    }
    rustix::mount::fsconfig_create(&config)?;
    let attributes = MountAttrFlags::empty();
    let mount = rustix::mount::fsmount(&config, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    disk::attach(&mount, &merged)?;
    Ok((merged, upper))
}
