// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copying twice is copying once (T, L): from a bare file system onto a mount, again and again, and
//! back, by the host and by a container's root. After each run both show the same names with the
//! same values.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use nscap_core::Busy;
use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lremovexattr, lsetxattr};

use super::{NET_RAW, about, gains, ground, must};
use crate::case::{Case, Setting, Why};
use crate::ground::{CAP, Ground, HOST, NSCAP, OWNER, ROOT_A, Who};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "rsync-again",
        clauses: &["T", "L", "R1"],
        about: "rsync -aX three times onto a mount, and back",
        both_ways: true,
        play: |setting| again(setting, &RSYNC, &ALL),
    },
    Case {
        name: "cp-again",
        clauses: &["T", "L", "R1"],
        about: "cp -a twice onto a mount, over what the first left, and back",
        both_ways: true,
        play: |setting| again(setting, &CP, &ALL),
    },
    Case {
        name: "tar-again",
        clauses: &["T", "L", "R1"],
        about: "an archive of GNU tar, unpacked twice, and one of what it made",
        both_ways: true,
        play: |setting| again(setting, &TAR, &ALL),
    },
    Case {
        name: "bsdtar-again",
        clauses: &["T", "L", "B"],
        about: "the same with libarchive's tar, which sets each attribute twice",
        both_ways: true,
        play: |setting| again(setting, &BSDTAR, &[Busy::SameOk, Busy::Replace]),
    },
    Case {
        name: "restore-in-restics-order",
        clauses: &["T", "L", "B", "D"],
        about: "what was saved is set and all else is removed, again where it is all there already",
        both_ways: false,
        play: restored,
    },
];

const ALL: [Busy; 3] = [Busy::Error, Busy::SameOk, Busy::Replace];

/// One tool: how often it is run, and its command line from the directory `{from}` to `{to}`.
struct Tool {
    times: usize,
    line: &'static str,
}

const RSYNC: Tool = Tool { times: 3, line: "rsync -aX {from}/ {to}/" };
const CP: Tool = Tool { times: 2, line: "cp -a {from}/. {to}/" };
const TAR: Tool = Tool {
    times: 2,
    line: "tar --xattrs --xattrs-include='*' -C {from} -cf - . | \
        tar --xattrs --xattrs-include='*' --numeric-owner -C {to} -xpf -",
};
const BSDTAR: Tool = Tool {
    times: 2,
    line: "bsdtar --xattrs -C {from} -cf - . | bsdtar --xattrs --numeric-owner -C {to} -xpf -",
};

/// The bare file systems, each with the task that copies from it and back to it.
const PLACES: [(&str, Who); 3] = [("tmpfs", HOST), ("ext4", HOST), ("ext4-of-a", ROOT_A)];

/// The path of this tree, from the shared directory.
fn bare(kind: &str) -> String {
    format!("../beside/{kind}")
}

/// A bare file system with a tree of a container's files, which hold what one value can say: an
/// entry for the container's root, one for a root in it, and nothing; for the host also its own
/// value.
fn tree(ground: &Ground, kind: &str, who: Who) -> Result<(), Why> {
    let at = bare(kind);
    let mount = match kind {
        "tmpfs" => format!("mount -t tmpfs -o mode=777 none {at}"),
        _ => format!(
            "truncate -s 64M {at}.image && mkfs.ext4 -q -F {at}.image && \
            mount -o loop {at}.image {at} && chmod 777 {at}"
        ),
    };
    must(ground, HOST, &format!("mkdir -p {at} && {mount}"))?;
    ground.file("probe", OWNER)?;
    let (make, grant) = match who {
        HOST => ("cp own host && ", " && setcap cap_kill=ep host"),
        _ => ("", ""),
    };
    let files = format!(
        "mkdir -m 777 {at}/from {at}/back && cp probe {at}/from/own && cd {at}/from && \
        cp own nested && cp own plain && {make}chmod 755 * && chown 100000:100000 * . ../back && \
        setcap -n 100000 cap_net_raw=ep own && setcap -n 100005 cap_chown=ep nested{grant}"
    );
    must(ground, HOST, &files).map(drop)
}

type Attributes = BTreeMap<String, Vec<u8>>;

/// The two attributes of a file, as a caller lists and reads them.
fn attributes(path: &Path) -> io::Result<Attributes> {
    let mut names = [0; 4096];
    let length = llistxattr(path, &mut names[..])?;
    let names = names[..length].split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let ours = names.filter(|name| name == CAP || name == NSCAP);
    ours.map(|name| {
        let mut value = [0; 4096];
        let length = lgetxattr(path, name.as_ref(), &mut value[..])?;
        Ok((name.into_owned(), value[..length].to_vec()))
    })
    .collect()
}

/// What a task sees of each file in a directory.
fn seen(ground: &Ground, who: Who, dir: &str) -> io::Result<BTreeMap<String, Attributes>> {
    let said = ground.ask(who, || {
        let mut all = BTreeMap::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            all.insert(name, attributes(&entry.path())?);
        }
        serde_json::to_string(&all).map_err(io::Error::other)
    })?;
    serde_json::from_str(&said).map_err(io::Error::other)
}

fn same(ground: &Ground, who: Who, original: &str, copy: &str) -> Result<(), Why> {
    let (had, has) = (seen(ground, who, original)?, seen(ground, who, copy)?);
    if had == has && had.values().any(|attributes| !attributes.is_empty()) {
        return Ok(());
    }
    Err(Why::Through(format!("{who:?} sees {had:x?} of {original} and {has:x?} of {copy}")))
}

fn again(setting: Setting, tool: &Tool, policies: &[Busy]) -> Result<(), Why> {
    for busy in policies {
        let ground = ground(Setting { busy: *busy, ..setting })?;
        for (kind, who) in PLACES {
            tree(&ground, kind, who)?;
            let what = |run: usize| format!("{kind}, {who:?}, {}, run {run}", busy.name());
            let (from, back) = (format!("{}/from", bare(kind)), format!("{}/back", bare(kind)));
            let to = format!("to_{kind}");
            must(&ground, who, &format!("mkdir {to}"))?;
            for (from, to) in [(&from, &to), (&to, &back)] {
                let line = tool.line.replace("{from}", from).replace("{to}", to);
                for run in 1..=tool.times {
                    must(&ground, who, &line)
                        .and_then(|_| same(&ground, who, from, to))
                        .map_err(|why| about(why, &what(run)))?;
                    gains(&ground, &format!("{to}/own"), [NET_RAW, None, None])
                        .map_err(|why| about(why, &what(run)))?;
                }
            }
            same(&ground, HOST, &from, &back).map_err(|why| about(why, &what(0)))?;
        }
    }
    Ok(())
}

/// As restic restores a file's attributes: each that was saved is set, then each that is listed and
/// was not saved is removed.
fn restore(saved: &Attributes, path: &Path) -> io::Result<()> {
    for (name, value) in saved {
        lsetxattr(path, name.as_str(), value, XattrFlags::empty())?;
    }
    for name in attributes(path)?.keys().filter(|name| !saved.contains_key(*name)) {
        lremovexattr(path, name.as_str())?;
    }
    Ok(())
}

fn restored(setting: Setting) -> Result<(), Why> {
    for busy in ALL {
        let ground = ground(Setting { busy, ..setting })?;
        for (kind, who) in PLACES {
            tree(&ground, kind, who)?;
            let from = format!("{}/from", bare(kind));
            must(&ground, who, &format!("mkdir to_{kind} && cp {from}/* to_{kind}/"))?;
            let all = |from: &str, to: &str| {
                ground.try_to(who, || {
                    for entry in std::fs::read_dir(from)? {
                        let entry = entry?;
                        let saved = attributes(&entry.path())?;
                        restore(&saved, &Path::new(to).join(entry.file_name()))?;
                    }
                    Ok(())
                })
            };
            let to = format!("to_{kind}");
            for run in 1..=3 {
                let done = all(&from, &to);
                // B: by default what exists is busy, and it stays as it is.
                let expected = if run > 1 && busy == Busy::Error { libc::EBUSY } else { 0 };
                let errno = done.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1));
                if errno != expected {
                    let busy = busy.name();
                    let how = format!("{who:?}, {busy}, run {run}: errno {errno}, not {expected}");
                    return Err(Why::Through(how));
                }
                same(&ground, who, &from, &to)?;
                gains(&ground, &format!("{to}/own"), [NET_RAW, None, None])?;
            }
            must(&ground, who, &format!("setcap -r {to}/own"))?;
            gains(&ground, &format!("{to}/own"), [None; 3])?;
        }
    }
    Ok(())
}
