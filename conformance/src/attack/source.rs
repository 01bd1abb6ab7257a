// SPDX-License-Identifier: MIT OR Apache-2.0
//! M and X: what a mount honours is never more than what its source's own superblock and mount
//! would. The kernel honours set-id bits and capabilities only in the namespace that owns the
//! superblock and below, and not on a mount that is nosuid; a server that reads such files with its
//! own eyes must not honour them for the whole machine.
//!
//! Catches a server that takes whatever root attached for root's: a tmpfs that a namespace's root
//! had made gave uid 1000 of the host euid 0 and the capabilities that it had written itself.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nscap_core::Extent;
use rustix::fs::{Mode, OFlags};

use crate::case::{Case, Setting, Why};
use crate::ground::{CAP, Ground, HOST, HOST_USER, Kind, NSCAP, OWNER_A, ROOT_OF_A, open};
use crate::live::fuse::PidNs;
use crate::live::sys::MountFlags;
use crate::live::{disk, sys, userns};
use crate::scenario::Maps;
use crate::text;

pub(super) const ATTACKS: &[Case] = &[
    Case {
        name: "a-source-that-a-namespace-owns",
        clauses: &["M", "X"],
        about: "a tmpfs made by a user namespace that maps the host's ids holds nothing for the host",
        both_ways: true,
        play: owned_by_a_namespace,
    },
    Case {
        name: "a-refused-grant-on-a-source-that-a-namespace-owns",
        clauses: &["R8", "M"],
        about: "root of the host sets a host value where the superblock's owner has no id for it",
        both_ways: false,
        play: refused,
    },
    Case {
        name: "a-source-that-is-mounted-nosuid",
        clauses: &["X"],
        about: "what the mount of the source ignores, the mount of it ignores too",
        both_ways: true,
        play: mounted_nosuid,
    },
    Case {
        name: "a-source-that-is-mounted-noexec-or-read-only",
        clauses: &["X", "V"],
        about: "nothing is executed from it, nothing is changed",
        both_ways: true,
        play: mounted_otherwise,
    },
];

const VALUE: &str = "v2 cap_net_raw=ep";

/// A namespace of root's that maps as many ids, from this one.
fn namespace(first: u32) -> io::Result<OwnedFd> {
    let map = vec![Extent { inside: 0, outside: first, count: 65_536 }];
    userns::make(None, (0, 0), &Maps { uids: map.clone(), gids: map })
}

/// A ground on a tmpfs that the namespace's root makes, with such files of its own.
fn owned(setting: Setting, ns: &OwnedFd) -> Result<Ground, Why> {
    Ground::on(setting, PidNs::Shared, |_, source| {
        Ok(disk::attach(disk::tmpfs(Some((ns.as_fd(), 0, 0)))?, source)?)
    })
}

/// A program with a host value, and one that is set-user-ID root, by the files' own path.
fn programs(ground: &Ground) -> io::Result<()> {
    let value = text::value(VALUE).map_err(io::Error::other)?;
    for (name, mode) in [("f", 0o755), ("s", 0o4755)] {
        let path = ground.source.join(name);
        std::fs::write(&path, disk::PROBE)?;
        rustix::fs::chmod(&path, Mode::from_raw_mode(mode))?;
    }
    let flags = rustix::fs::XattrFlags::empty();
    Ok(rustix::fs::setxattr(ground.source.join("f"), CAP, &value, flags)?)
}

fn gain_nothing(ground: &Ground, how: &str) -> Result<(), Why> {
    for name in ["f", "s"] {
        let gained = ground.gains(HOST_USER, name)?;
        if !gained.is_empty() {
            let set = text::show_set(gained);
            return Err(Why::Through(format!("{how}: uid 1000 gains {set} by executing {name}")));
        }
    }
    Ok(())
}

fn owned_by_a_namespace(setting: Setting) -> Result<(), Why> {
    let ground = owned(setting, &namespace(0)?)?;
    programs(&ground)?;
    gain_nothing(&ground, "a tmpfs of a namespace")?;
    // What root of the host writes there is no more the host's.
    let _ = ground.set(HOST, &ground.path("s"), CAP, VALUE);
    let _ = ground.set(HOST, &ground.path("f"), NSCAP, "ns 100000 cap_net_raw=ep");
    gain_nothing(&ground, "after grants by root")?;
    // A file system of root's own is another matter.
    let ground = Ground::new(setting, Kind::Tmpfs)?;
    programs(&ground)?;
    if ground.gains(HOST_USER, "f")?.is_empty() || ground.gains(HOST_USER, "s")?.is_empty() {
        return Err(Why::Broken("a tmpfs of root's grants nothing".to_owned()));
    }
    Ok(())
}

fn refused(setting: Setting) -> Result<(), Why> {
    let ground = owned(setting, &namespace(ROOT_OF_A)?)?;
    if !ground.is_fuse() {
        return Err(Why::Skipped("the kernel writes what it is told".to_owned()));
    }
    let path = ground.path("f");
    // Root of the host has no id there, and can make nothing.
    ground.try_to(OWNER_A, || std::fs::write(&path, disk::PROBE))?;
    let set = ground.set(HOST, &path, CAP, VALUE);
    let Err(error) = set else {
        return Err(Why::Through("a host value where there is no id for it".to_owned()));
    };
    let below = open(ground.source.join("f"), OFlags::RDONLY)?;
    for name in [CAP, NSCAP] {
        let left = rustix::fs::fgetxattr(&below, name, &mut [0; 64][..]);
        if left != Err(rustix::io::Errno::NODATA) {
            return Err(Why::Through(format!("refused ({error}), and {name} is left: {left:?}")));
        }
    }
    Ok(())
}

/// A ground on a tmpfs of root's that is mounted with these flags once `prepare` has been there.
fn flagged(
    setting: Setting,
    flags: MountFlags<'_>,
    prepare: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<Ground, Why> {
    Ground::on(setting, PidNs::Shared, |_, source| {
        let mount = disk::tmpfs(None)?;
        disk::attach(&mount, source)?;
        rustix::fs::chmod(source, Mode::from_raw_mode(0o777))?;
        prepare(source)?;
        Ok(sys::set_mount(&mount, flags)?)
    })
}

fn mounted_nosuid(setting: Setting) -> Result<(), Why> {
    let flags = MountFlags { nosuid: true, noexec: false, read_only: false, idmap: None };
    let ground = flagged(setting, flags, |_| Ok(()))?;
    programs(&ground)?;
    gain_nothing(&ground, "a source that is mounted nosuid")
}

fn mounted_otherwise(setting: Setting) -> Result<(), Why> {
    let flags = MountFlags { nosuid: false, noexec: true, read_only: false, idmap: None };
    let ground = flagged(setting, flags, |_| Ok(()))?;
    programs(&ground)?;
    let executed = ground.try_to(HOST_USER, || {
        let status = std::process::Command::new(ground.path("f")).status();
        status.map(drop)
    });
    if executed.as_ref().err().and_then(io::Error::raw_os_error) != Some(libc::EACCES) {
        return Err(Why::Through(format!("a program of a noexec source: {executed:?}")));
    }
    drop(ground);
    let flags = MountFlags { nosuid: false, noexec: false, read_only: true, idmap: None };
    let prepare = |source: &Path| std::fs::write(source.join("f"), "");
    let ground = flagged(setting, flags, prepare)?;
    let path = ground.path("f");
    let shown = rustix::fs::statvfs(&path)?.f_flag;
    let written = ground.try_to(HOST, || std::fs::write(&path, "x"));
    let read_only = shown.contains(rustix::fs::StatVfsMountFlags::RDONLY);
    if !read_only || written.is_ok() {
        return Err(Why::Through(format!("a read-only source: {shown:?}, a write: {written:?}")));
    }
    Ok(())
}
