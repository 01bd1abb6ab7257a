// SPDX-License-Identifier: MIT OR Apache-2.0
//! A mount that becomes the root directory of its own server, as in a container whose root file
//! system it is: what the server needs to decide must not be looked for through itself.
//!
//! Catches a server that resolves an absolute path while it serves.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nscap_core::Extent;
use nscap_fuse::{Mount, Options};
use rustix::fs::Mode;
use rustix::mount::UnmountFlags;
use rustix::thread::UnshareFlags;

use super::callers::{errno, set};
use crate::case::{Case, Setting, Why};
use crate::ground::{CAP, ROOT_OF_A};
use crate::live::peer::{Peer, hear, say};
use crate::live::{Front, disk, fuse, sys, userns};
use crate::scenario::Maps;

pub(super) const ATTACKS: &[Case] = &[
    Case {
        name: "a-mount-that-becomes-its-servers-root",
        clauses: &["R5", "R8"],
        about: "pivot_root into the mount, in a user namespace; as many grants at once as there are threads",
        both_ways: false,
        play: |setting| play(setting, true),
    },
    Case {
        name: "a-mount-that-becomes-its-servers-root-on-the-host",
        clauses: &["R8"],
        about: "the same in a mount namespace of the host's",
        both_ways: true,
        play: |setting| play(setting, false),
    },
];

const THREADS: usize = 4;
/// More than everything takes, also where a lock is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

fn play(setting: Setting, in_namespace: bool) -> Result<(), Why> {
    if setting.front != Front::Fuse {
        return Err(Why::Skipped("there is no server".to_owned()));
    }
    let map = vec![Extent { inside: 0, outside: ROOT_OF_A, count: 65_536 }];
    let maps = Maps { uids: map.clone(), gids: map };
    let ns = if in_namespace { Some(userns::make(None, (1000, 1000), &maps)?) } else { None };
    let mut server = Peer::start(|line| {
        if let Some(ns) = &ns {
            fuse::device_for_all()?;
            userns::enter_with_caps(Some(ns.as_fd()))?;
            userns::set_ids([0; 3], [0; 3])?;
            userns::stay_visible()?;
        }
        sys::unshare(UnshareFlags::NEWNS)?;
        serve(line, setting)
    })?;
    server.line.set_read_timeout(Some(PATIENCE))?;
    match server.hear() {
        Ok(said) if said == "all answers" => Ok(()),
        Ok(said) => Err(Why::Through(said)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(Why::Through("the mount hangs".to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Serves, in a process and a mount namespace of its own; what a task there finds is passed on.
fn serve(line: &mut UnixStream, setting: Setting) -> io::Result<()> {
    let tmp = std::env::temp_dir();
    // /run is a container's own.
    for place in [&tmp, Path::new("/run")] {
        disk::attach(&disk::tmpfs(None)?, place)?;
    }
    let (source, target) = (tmp.join("source"), tmp.join("target"));
    for directory in [&source, &source.join("old"), &target] {
        rustix::fs::mkdir(directory, Mode::from_raw_mode(0o700))?;
    }
    for n in 0..THREADS {
        std::fs::write(source.join(n.to_string()), b"content")?;
    }
    let options = Options {
        threads: THREADS,
        passthrough: setting.passthrough,
        io_uring: fuse::by_io_uring(),
        reachable_ok: true,
        ..Options::default()
    };
    let mount = Mount::new(&source, &target, &options).map_err(io::Error::other)?;
    let mut task = Peer::start(|line| say(line, &moved_in(&target)?))?;
    let mut line = line.try_clone()?;
    std::thread::spawn(move || {
        let said = task.hear().unwrap_or_else(|error| format!("!{error}"));
        let _ = say(&mut line, &said);
        sys::leave();
    });
    mount.serve().map_err(io::Error::other)
}

/// Makes the mount the root directory of all tasks here, the server included, and uses it.
fn moved_in(target: &Path) -> io::Result<String> {
    rustix::process::chdir(target)?;
    rustix::process::pivot_root(".", "old")?;
    rustix::process::chdir("/")?;
    rustix::mount::unmount("/old", UnmountFlags::DETACH)?;
    let granters = (0..THREADS).map(|n| {
        Peer::start(|line| {
            hear(line)?;
            let path = format!("/{n}");
            say(line, &errno(&set(path.as_ref(), CAP, "v2 cap_net_raw=ep")).to_string())
        })
    });
    let mut granters = granters.collect::<io::Result<Vec<_>>>()?;
    for granter in &mut granters {
        say(&mut granter.line, "now")?;
    }
    for granter in &mut granters {
        let came = granter.hear()?;
        if came != "0" {
            return Ok(format!("a grant fails: errno {came}"));
        }
    }
    for n in 0..THREADS {
        let path = format!("/{n}");
        let shown = rustix::fs::lgetxattr(&path, CAP, &mut [0; 64])?;
        if shown == 0 || std::fs::read(&path)? != b"content" {
            return Ok(format!("{path} is not as it was"));
        }
        rustix::fs::lremovexattr(&path, CAP)?;
    }
    std::fs::write("/new", b"new")?;
    if std::fs::read_dir("/")?.count() != THREADS + 2 {
        return Ok("the directory is not as it was".to_owned());
    }
    Ok("all answers".to_owned())
}
