// SPDX-License-Identifier: MIT OR Apache-2.0
//! M, its last sentence: a mount of the files that is id-mapped for a container, as most runtimes
//! make them now. A container's tools there have the same effects, for the same tasks, on a FUSE
//! mount as on the file system beneath.
//!
//! Catches a server that refuses a value that the VFS has translated, takes it for another's, or
//! gives more than the file system beneath would.

use std::io;
use std::path::Path;
use std::process::Command;

use nscap_core::Extent;
use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid, XattrFlags};

use super::callers::{errno, set};
use crate::case::{Case, Setting, Why};
use crate::ground::{
    CAP, Ground, HOST, HOST_USER, Kind, ROOT_A, ROOT_B, ROOT_OF_A, SYSTEM, USER_A, USER_B, Who,
};
use crate::live::{Front, disk, sys, userns};
use crate::scenario::Maps;
use crate::text;

pub(super) const ATTACKS: &[Case] = &[
    Case {
        name: "a-mount-that-is-id-mapped-for-a-container",
        clauses: &["M", "R5", "R8", "D"],
        about: "setcap, exec, a second setcap, removal, cp, rsync, tar and dpkg do as on the file system beneath",
        both_ways: true,
        play: as_beneath,
    },
    Case {
        name: "a-value-that-was-translated-for-another",
        clauses: &["M", "U", "P"],
        about: "a caller that could not have written it gains nothing by an id-mapped mount",
        both_ways: false,
        play: not_for_others,
    },
];

/// A second mount of the shared directory, id-mapped for the container A.
fn id_mapped(ground: &Ground) -> io::Result<std::path::PathBuf> {
    let map = vec![Extent { inside: 0, outside: ROOT_OF_A, count: 65_536 }];
    let ns = userns::make(None, (1000, 1000), &Maps { uids: map.clone(), gids: map })?;
    let mount = disk::detached(CWD, &ground.dir)?;
    let idmap = Some(std::os::fd::AsFd::as_fd(&ns));
    sys::set_mount(&mount, sys::MountFlags { idmap, ..sys::MountFlags::default() })?;
    let at = ground.beside.join("id-mapped");
    rustix::fs::mkdir(&at, Mode::from_raw_mode(0o755))?;
    disk::attach(&mount, &at)?;
    Ok(at)
}

fn shown(path: &Path) -> io::Result<String> {
    let mut value = [0; 64];
    match rustix::fs::lgetxattr(path, CAP, &mut value) {
        Ok(length) => Ok(text::show_value(value.get(..length).unwrap_or_default())),
        Err(errno) => Ok(errno.raw_os_error().to_string()),
    }
}

/// What came of everything, line by line.
fn outcomes(ground: &Ground) -> Result<Vec<String>, Why> {
    let at = id_mapped(ground)?;
    let mut all = Vec::new();
    ground.file("f", 0)?;
    let file = at.join("f");
    let in_a = |path: &Path| ground.ask(ROOT_A, || shown(path));
    let state = |what: &str, came: i32, name: &str| -> Result<String, Why> {
        let (inside, beneath) =
            (in_a(&at.join(name))?, ground.ask(HOST, || shown(&ground.path(name)))?);
        let through = format!("../beside/id-mapped/{name}");
        let gains =
            [(USER_A, through.as_str()), (HOST_USER, name), (USER_B, name)].map(|(who, name)| {
                ground
                    .gains(who, name)
                    .map(text::show_set)
                    .unwrap_or_else(|error| error.to_string())
            });
        Ok(format!("{what}: {came}; {inside}; {beneath}; {gains:?}"))
    };
    let write = |who: Who, value: &str| errno(&ground.try_to(who, || set(&file, CAP, value)));
    let remove = || errno(&ground.try_to(ROOT_A, || Ok(rustix::fs::lremovexattr(&file, CAP)?)));
    all.push(state("set", write(ROOT_A, "v2 cap_net_raw=ep"), "f")?);
    all.push(state("set the same", write(ROOT_A, "v2 cap_net_raw=ep"), "f")?);
    all.push(state("set another", write(ROOT_A, "v2 cap_chown=ep"), "f")?);
    for (what, program, arguments) in [
        ("cp -a", "cp", &["-a", "f", "cp"][..]),
        ("rsync -aX", "rsync", &["-aX", "f", "rsync"]),
        ("rsync -aX again", "rsync", &["-aX", "f", "rsync"]),
        ("tar -c", "tar", &["--xattrs", "--xattrs-include=*", "-cf", "tar.tar", "f"]),
        (
            "tar -x",
            "tar",
            &["--xattrs", "--xattrs-include=*", "-xf", "tar.tar", "--transform=s/f/tar/"],
        ),
    ] {
        let came = ground.ask(ROOT_A, || run(&at, program, arguments))?;
        let made = what.split(' ').next().filter(|_| what != "tar -c").unwrap_or("f");
        all.push(state(what, came.parse().map_err(io::Error::other)?, made)?);
    }
    all.push(state("remove", remove(), "f")?);
    all.push(state("remove again", remove(), "f")?);
    all.push(state("by an ordinary user of the container", write(USER_A, "v2 cap_chown=ep"), "f")?);
    all.push(state("by another container", write(ROOT_B, "v2 cap_chown=ep"), "f")?);
    all.push(state("by the host", write(HOST, "v2 cap_chown=ep"), "f")?);
    all.push(state("by the host, named", write(HOST, "v3 100000 cap_chown=ep"), "f")?);
    let came = ground.try_to(ROOT_A, || std::fs::write(at.join("g"), b"x"));
    all.push(format!("a new file: {}", errno(&came)));
    let chown = |path: &Path| {
        Ok(rustix::fs::chownat(
            CWD,
            path,
            Some(Uid::from_raw(7)),
            Some(Gid::from_raw(7)),
            AtFlags::empty(),
        )?)
    };
    all.push(state("chown", errno(&ground.try_to(ROOT_A, || chown(&file))), "f")?);
    all.push(format!("dpkg: {}", ground.ask(ROOT_A, || dpkg_twice(&at))?));
    Ok(all)
}

/// Runs a program in a directory; its exit status.
fn run(at: &Path, program: &str, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(program).args(arguments).current_dir(at).output()?;
    Ok(output.status.code().unwrap_or(-1).to_string())
}

/// A package whose postinst is as iputils-ping's, installed twice; what is left of its program.
fn dpkg_twice(at: &Path) -> io::Result<String> {
    const POSTINST: &str =
        "#!/bin/sh\nset -e\nsetcap cap_net_raw+ep $DPKG_ROOT/ping || chmod u+s $DPKG_ROOT/ping\n";
    let (package, root) = (at.join("package"), at.join("root"));
    for directory in [
        &package.join("DEBIAN"),
        &root.join("var/lib/dpkg/info"),
        &root.join("var/lib/dpkg/updates"),
    ] {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(root.join("var/lib/dpkg/status"), "")?;
    std::fs::copy(at.join("f"), package.join("ping"))?;
    let control =
        "Package: ping\nVersion: 1\nArchitecture: all\nMaintainer: a <a@a>\nDescription: a\n";
    std::fs::write(package.join("DEBIAN/control"), control)?;
    std::fs::write(package.join("DEBIAN/postinst"), POSTINST)?;
    for (name, mode) in [("DEBIAN", 0o755), ("DEBIAN/postinst", 0o755), ("ping", 0o755)] {
        rustix::fs::chmod(package.join(name), Mode::from_raw_mode(mode))?;
    }
    let built = run(at, "dpkg-deb", &["-b", "package", "ping.deb"])?;
    let root = root.display().to_string();
    let root = format!("--root={root}");
    let install = [
        "--force-script-chrootless",
        "--force-not-root",
        "--log=/dev/null",
        &root,
        "-i",
        "ping.deb",
    ];
    let came = [run(at, "dpkg", &install)?, run(at, "dpkg", &install)?];
    let ping = at.join("root/ping");
    let mode = rustix::fs::stat(&ping)?.st_mode & 0o7777;
    Ok(format!("{built}; {came:?}; {mode:o}; {}", shown(&ping)?))
}

fn as_beneath(setting: Setting) -> Result<(), Why> {
    let bare = Ground::new(Setting { front: Front::Bare, ..setting }, Kind::Ext4)?;
    let expected = outcomes(&bare)?;
    drop(bare);
    let set = expected.first().is_some_and(|line| line.starts_with("set: 0; v2 cap_net_raw=ep;"));
    if !set {
        return Err(Why::Broken(format!("on the file system beneath: {expected:#?}")));
    }
    let came = outcomes(&Ground::new(setting, Kind::Ext4)?)?;
    for (expected, came) in expected.iter().zip(&came) {
        if expected != came {
            return Err(Why::Through(format!(
                "on the file system beneath: {expected}; here: {came}"
            )));
        }
    }
    Ok(())
}

fn not_for_others(setting: Setting) -> Result<(), Why> {
    let ground = Ground::new(setting, Kind::Ext4)?;
    if !ground.is_fuse() {
        return Err(Why::Skipped("the kernel's own rules are what they are".to_owned()));
    }
    let at = id_mapped(&ground)?;
    ground.file("f", 0)?;
    let file = at.join("f");
    // Without CAP_SETFCAP in its namespace; of another namespace; by the name that nothing
    // translates.
    for (who, name, value) in [
        (Who(crate::ground::At::A, 0, "none"), CAP, "v2 cap_sys_admin=ep"),
        (USER_A, CAP, "v2 cap_sys_admin=ep"),
        (ROOT_B, CAP, "v2 cap_sys_admin=ep"),
        (ROOT_B, CAP, "v3 0 cap_sys_admin=ep"),
        (ROOT_A, SYSTEM, "ns 0 cap_sys_admin=ep"),
        (ROOT_A, SYSTEM, "ns 65536 cap_sys_admin=ep"),
        (USER_A, SYSTEM, "ns 0 cap_sys_admin=ep"),
        (HOST_USER, SYSTEM, "ns 0 cap_sys_admin=ep"),
    ] {
        let came = ground.try_to(who, || set(&file, name, value));
        if came.is_ok() {
            return Err(Why::Through(format!("{who:?} sets {name} to {value}")));
        }
        ground.grants_nothing("f", &format!("{who:?}, {name}, {value}"))?;
    }
    // By the mount that is not id-mapped nothing is translated.
    let plain = ground.file("plain", crate::ground::OWNER)?;
    for value in ["v3 0 cap_sys_admin=ep", "v2 cap_sys_admin=ep"] {
        let _ = ground.set(ROOT_A, &plain, CAP, value);
        if !ground.gains(HOST_USER, "plain")?.is_empty()
            || !ground.gains(USER_B, "plain")?.is_empty()
        {
            return Err(Why::Through(format!("{value} on the plain mount is more than an entry")));
        }
    }
    let empty =
        ground.try_to(ROOT_A, || Ok(rustix::fs::lsetxattr(&file, CAP, &[], XattrFlags::empty())?));
    if errno(&empty) != libc::EINVAL {
        return Err(Why::Through(format!("an empty value: {empty:?}")));
    }
    Ok(())
}
