// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unmodified programs on a mount (R1): setcap and getcap, setfattr and getfattr, tar, bsdtar, cp
//! and rsync, run by root of a container, by its users, and by the host.
//!
//! What they list they copy, and a copy grants what its original did, to the task that made it (L,
//! W).

use std::io;
use std::path::Path;
use std::process::Command;

use nscap_core::{Busy, CapSet, Capability};

use crate::case::{Case, Setting, Why};
use crate::ground::{
    Grant, Ground, HOST, HOST_USER, Kind, OWNER, ROOT_A, ROOT_B, USER_A, USER_B, Who,
};
use crate::live::Front;

mod again;

const CASES: &[Case] = &[
    Case {
        name: "setcap-and-getcap",
        clauses: &["R1", "R4", "R5", "B", "D"],
        about: "a container's root grants, asks, is refused, and takes back",
        both_ways: false,
        play: setcap,
    },
    Case {
        name: "setcap-by-the-host",
        clauses: &["R1", "R7", "R8", "R4", "T"],
        about: "setcap -n names a container's root; getcap -n shows the host one entry, and of two none",
        both_ways: false,
        play: setcap_by_the_host,
    },
    Case {
        name: "setfattr-and-getfattr",
        clauses: &["R1", "R6", "R7", "L"],
        about: "both names, and the one that the VFS leaves to a container's root",
        both_ways: false,
        play: setfattr,
    },
    Case {
        name: "getfattr-dump-and-restore",
        clauses: &["R1", "L"],
        about: "all that is listed can be set on a copy",
        both_ways: false,
        play: dump_and_restore,
    },
    Case {
        name: "tar",
        clauses: &["R1", "L", "W"],
        about: "packed in one container, unpacked there, in another, and by the host",
        both_ways: true,
        play: |setting| archive(setting, &TAR),
    },
    Case {
        name: "bsdtar",
        clauses: &["R1", "L", "W"],
        about: "the same with libarchive's tar",
        both_ways: true,
        play: |setting| {
            archive(setting, &BSDTAR)?;
            archive(Setting { busy: Busy::SameOk, ..setting }, &BSDTAR)?;
            archive(Setting { busy: Busy::Replace, ..setting }, &BSDTAR)
        },
    },
    Case {
        name: "cp-a",
        clauses: &["R1", "L", "W"],
        about: "a copy keeps the grant of the task that made it",
        both_ways: true,
        play: |setting| copy(setting, "cp -a {from} {to}"),
    },
    Case {
        name: "rsync-aX",
        clauses: &["R1", "L", "W"],
        about: "a copy keeps the grant of the task that made it",
        both_ways: true,
        play: |setting| copy(setting, "rsync -aX {from}/ {to}"),
    },
    Case {
        name: "cp-a-to-another-file-system",
        clauses: &["W"],
        about: "what leaves the mount is no wider where the kernel alone decides",
        both_ways: false,
        play: leave,
    },
];

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    [CASES, again::CASES].concat()
}

/// Runs a command line with sh(1) in the shared directory.
fn sh(ground: &Ground, who: Who, line: &str) -> io::Result<(bool, String)> {
    let said = ground.ask(who, || {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("sh");
        command.args(["-c", line]).env("PATH", path).env("LC_ALL", "C");
        let output = command.output()?;
        let text = [output.stdout, output.stderr].concat();
        let said = (output.status.success(), String::from_utf8_lossy(&text).trim().to_owned());
        serde_json::to_string(&said).map_err(io::Error::other)
    })?;
    serde_json::from_str(&said).map_err(io::Error::other)
}

fn must(ground: &Ground, who: Who, line: &str) -> Result<String, Why> {
    match sh(ground, who, line)? {
        (true, said) => Ok(said),
        (false, said) => Err(Why::Through(format!("{line}, by {who:?}: {said}"))),
    }
}

fn must_not(ground: &Ground, who: Who, line: &str, with: &str) -> Result<(), Why> {
    match sh(ground, who, line)? {
        (false, said) if said.contains(with) => Ok(()),
        (_, said) => Err(Why::Through(format!("{line}, by {who:?}, should say {with:?}: {said}"))),
    }
}

fn says(ground: &Ground, who: Who, line: &str, what: &str) -> Result<(), Why> {
    let said = must(ground, who, line)?;
    if said == what {
        return Ok(());
    }
    Err(Why::Through(format!("{line}, by {who:?}, should say {what:?}: {said:?}")))
}

/// What tasks of A, of B and of the host gain.
fn gains(ground: &Ground, name: &str, expected: [Option<Capability>; 3]) -> Result<(), Why> {
    for (who, cap) in [USER_A, USER_B, HOST_USER].into_iter().zip(expected) {
        let expected = cap.map_or(CapSet::EMPTY, |cap| CapSet::EMPTY.with(cap));
        let gained = ground.gains(who, name)?;
        if gained != expected {
            let (got, want) = (crate::text::show_set(gained), crate::text::show_set(expected));
            return Err(Why::Through(format!("{who:?} gains {got} by {name}, not {want}")));
        }
    }
    Ok(())
}

const NET_RAW: Option<Capability> = Some(Capability::NetRaw);
const CHOWN: Option<Capability> = Some(Capability::Chown);
const KILL: Option<Capability> = Some(Capability::Kill);

fn ground(setting: Setting) -> Result<Ground, Why> {
    if setting.front != Front::Fuse {
        return Err(Why::Skipped("what a bare kernel does is its own".to_owned()));
    }
    Ground::new(setting, Kind::Ext4)
}

fn setcap(setting: Setting) -> Result<(), Why> {
    let ground = ground(setting)?;
    ground.file("f", OWNER)?;
    must(&ground, ROOT_A, "setcap cap_net_raw+ep f")?;
    says(&ground, ROOT_A, "getcap f", "f cap_net_raw=ep")?;
    says(&ground, USER_A, "getcap -n f", "f cap_net_raw=ep")?;
    must(&ground, ROOT_A, "setcap -v cap_net_raw+ep f")?;
    gains(&ground, "f", [NET_RAW, None, None])?;
    // For a caller that is no container's root the VFS decides, before the eight points.
    must_not(&ground, ROOT_A, "setcap cap_chown+ep f", "Device or resource busy")?;
    must_not(&ground, USER_A, "setcap cap_chown+ep f", "")?;
    must_not(&ground, ROOT_B, "setcap cap_chown+ep f", "")?;
    says(&ground, ROOT_B, "getcap -n f", "")?;
    gains(&ground, "f", [NET_RAW, None, None])?;
    must(&ground, ROOT_A, "setcap -r f")?;
    says(&ground, ROOT_A, "getcap f", "")?;
    gains(&ground, "f", [None; 3])?;
    must(&ground, ROOT_A, "setcap cap_chown=ep f && getcap -r . | grep -q 'f cap_chown=ep'")?;
    gains(&ground, "f", [CHOWN, None, None])
}

fn setcap_by_the_host(setting: Setting) -> Result<(), Why> {
    let ground = ground(setting)?;
    ground.file("f", OWNER)?;
    must(&ground, HOST, "setcap -n 100000 cap_net_raw+ep f")?;
    says(&ground, HOST, "getcap -n f", "f cap_net_raw=ep [rootid=100000]")?;
    must(&ground, HOST, "setcap -n 200000 cap_chown+ep f")?;
    gains(&ground, "f", [NET_RAW, CHOWN, None])?;
    says(&ground, HOST, "getcap -n f", "")?;
    says(&ground, ROOT_A, "getcap -n f", "f cap_net_raw=ep")?;
    says(&ground, ROOT_B, "getcap -n f", "f cap_chown=ep")?;
    must_not(&ground, HOST, "setcap -n 100000 cap_kill+ep f", "Device or resource busy")?;
    must(&ground, HOST, "setcap cap_kill+ep f")?;
    says(&ground, HOST, "getcap -n f", "f cap_kill=ep")?;
    gains(&ground, "f", [KILL, KILL, KILL])?;
    must(&ground, HOST, "setcap -r f")?;
    gains(&ground, "f", [NET_RAW, CHOWN, None])
}

/// Form F: one entry with cap_net_raw=ep for this rootid.
fn form(rootid: u32) -> String {
    let rootid: String = rootid.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x0000000101000000{rootid}0100000000200000{:024}", 0)
}

fn setfattr(setting: Setting) -> Result<(), Why> {
    let ground = ground(setting)?;
    ground.file("f", OWNER)?;
    let set = |name: &str, rootid| format!("setfattr -n {name} -v {} f", form(rootid));
    let get =
        |name: &str| format!("getfattr --only-values -n {name} f | od -An -v -tx1 | tr -d ' \\n'");
    let shown = |rootid| form(rootid).trim_start_matches("0x").to_owned();
    must(&ground, HOST, &set("security.nscapability", 100_000))?;
    says(&ground, HOST, &get("security.nscapability"), &shown(100_000))?;
    says(&ground, ROOT_A, &get("system.nscapability"), &shown(0))?;
    says(&ground, USER_A, &get("security.nscapability"), &shown(0))?;
    says(&ground, USER_B, &get("security.nscapability"), &shown(u32::MAX))?;
    gains(&ground, "f", [NET_RAW, None, None])?;
    must_not(&ground, USER_A, "setfattr -x system.nscapability f", "not permitted")?;
    must(&ground, ROOT_A, "setfattr -x system.nscapability f")?;
    gains(&ground, "f", [None; 3])?;
    must_not(&ground, ROOT_A, &set("security.nscapability", 0), "not permitted")?;
    must(&ground, ROOT_A, &set("system.nscapability", 0))?;
    gains(&ground, "f", [NET_RAW, None, None])?;
    must_not(&ground, ROOT_A, &set("system.nscapability", 0), "Device or resource busy")?;
    must_not(&ground, USER_A, &set("system.nscapability", 5), "")?;
    let names = "getfattr -m - f | grep -v '^#' | grep .";
    says(&ground, ROOT_A, names, "security.capability")?;
    says(&ground, HOST, names, "security.capability")?;
    must_not(&ground, ROOT_B, names, "")?;
    must(&ground, HOST, "setfattr -x security.nscapability f")?;
    gains(&ground, "f", [None; 3])
}

fn dump_and_restore(setting: Setting) -> Result<(), Why> {
    let ground = ground(setting)?;
    for (grant, who, expected) in [
        (Grant::Entry, ROOT_A, [NET_RAW, None, None]),
        (Grant::Entry, HOST, [NET_RAW, None, None]),
        (Grant::Entries, ROOT_A, [NET_RAW, None, None]),
        (Grant::Entries, HOST, [NET_RAW, CHOWN, None]),
        (Grant::HostAndEntry, HOST, [KILL, KILL, KILL]),
    ] {
        let path = ground.file("f", OWNER)?;
        ground.file("copy", OWNER)?;
        ground.grant(&path, grant)?;
        let restore =
            "getfattr -d -e hex -m - f | sed 's/file: f/file: copy/' | setfattr --restore=-";
        must(&ground, who, restore)?;
        gains(&ground, "copy", expected)
            .map_err(|why| about(why, &format!("{grant:?}, {who:?}")))?;
    }
    Ok(())
}

fn about(why: Why, what: &str) -> Why {
    match why {
        Why::Through(how) => Why::Through(format!("{what}: {how}")),
        other => other,
    }
}

struct Archiver {
    pack: &'static str,
    unpack: &'static str,
    /// Whether it sets what is named `security.nscapability` after content and owner. One that does
    /// it before loses the entry to K: nothing is granted that should not be.
    keeps_entries: bool,
    /// Whether it sets each attribute twice: by default the second time is EBUSY (B), and it says
    /// so.
    sets_twice: bool,
}

const TAR: Archiver = Archiver {
    pack: "tar --xattrs --xattrs-include='*' -C tree -cf",
    unpack: "tar --xattrs --xattrs-include='*' --numeric-owner -xpf",
    keeps_entries: false,
    sets_twice: false,
};

const BSDTAR: Archiver = Archiver {
    pack: "bsdtar --xattrs -C tree -cf",
    unpack: "bsdtar --xattrs --numeric-owner -xpf",
    keeps_entries: true,
    sets_twice: true,
};

/// A tree of a container's files with each kind of grant.
fn tree(ground: &Ground, dir: &str) -> Result<(), Why> {
    must(
        ground,
        HOST,
        &format!("rm -rf {dir} && mkdir -m 777 {dir} && chown 100000:100000 {dir}"),
    )?;
    for (name, grant) in
        [("entry", Grant::Entry), ("entries", Grant::Entries), ("both", Grant::HostAndEntry)]
    {
        let path = ground.file(&format!("{dir}/{name}"), OWNER)?;
        ground.grant(&path, grant)?;
    }
    ground.file(&format!("{dir}/plain"), OWNER)?;
    Ok(())
}

fn archive(setting: Setting, archiver: &Archiver) -> Result<(), Why> {
    let ground = ground(setting)?;
    tree(&ground, "tree")?;
    let Archiver { pack, unpack, .. } = archiver;
    let to = |who: Who, dir: &str, archive: &str| {
        let line = format!("rm -rf {dir} && mkdir {dir} && {unpack} {archive} -C {dir}");
        if archiver.sets_twice && setting.busy == Busy::Error {
            must_not(&ground, who, &line, "Cannot restore extended attributes")
        } else {
            must(&ground, who, &line).map(drop)
        }
    };
    let kept = |cap| if archiver.keeps_entries { cap } else { None };
    let (by_a, by_host) = ("../beside/a.tar", "../beside/host.tar");
    must(&ground, ROOT_A, &format!("{pack} {by_a} ."))?;
    must(&ground, HOST, &format!("{pack} {by_host} ."))?;
    // Unpacked where it was packed, the grants are the container's; the host value, which a
    // container reads as a plain value, has become the container's own.
    to(ROOT_A, "in_a", by_a)?;
    gains(&ground, "in_a/entry", [NET_RAW, None, None])?;
    gains(&ground, "in_a/entries", [NET_RAW, None, None])?;
    gains(&ground, "in_a/both", [KILL, None, None])?;
    gains(&ground, "in_a/plain", [None; 3])?;
    // Another container makes its own of what it unpacks.
    to(ROOT_B, "in_b", by_a)?;
    gains(&ground, "in_b/entry", [None, NET_RAW, None])?;
    gains(&ground, "in_b/both", [None, KILL, None])?;
    // The host packs and unpacks every entry, with its root.
    to(HOST, "by_host", by_host)?;
    gains(&ground, "by_host/entry", [NET_RAW, None, None])?;
    gains(&ground, "by_host/entries", [kept(NET_RAW), kept(CHOWN), None])?;
    gains(&ground, "by_host/both", [KILL, KILL, KILL])?;
    gains(&ground, "by_host/plain", [None; 3])?;
    must(&ground, HOST, "setcap -r by_host/both")?;
    gains(&ground, "by_host/both", [kept(NET_RAW), None, None])
}

/// `line` copies the directory `{from}`; `{to}` does not exist.
fn copy(setting: Setting, line: &str) -> Result<(), Why> {
    let ground = ground(setting)?;
    tree(&ground, "tree")?;
    let line = |to: &str| line.replace("{from}", "tree").replace("{to}", to);
    must(&ground, ROOT_A, &line("by_a"))?;
    gains(&ground, "by_a/entry", [NET_RAW, None, None])?;
    gains(&ground, "by_a/entries", [NET_RAW, None, None])?;
    gains(&ground, "by_a/both", [KILL, None, None])?;
    gains(&ground, "by_a/plain", [None; 3])?;
    must(&ground, HOST, &line("by_host"))?;
    gains(&ground, "by_host/entry", [NET_RAW, None, None])?;
    gains(&ground, "by_host/entries", [NET_RAW, CHOWN, None])?;
    gains(&ground, "by_host/both", [KILL, KILL, KILL])?;
    must(&ground, HOST, "setcap -r by_host/both")?;
    gains(&ground, "by_host/both", [NET_RAW, None, None])
}

fn leave(setting: Setting) -> Result<(), Why> {
    let ground = ground(setting)?;
    tree(&ground, "tree")?;
    let away = Path::new("../beside");
    for (who, to) in [(ROOT_A, "a"), (HOST, "host")] {
        let to = away.join(to);
        // What another file system does not take is reported and left out.
        sh(&ground, who, &format!("cp -a tree {}", to.display()))?;
        for name in ["entry", "entries", "both"] {
            let (original, copy) = (format!("tree/{name}"), to.join(name));
            for task in [USER_A, USER_B, HOST_USER] {
                let had = ground.gains(task, &original)?;
                let has = ground.gains(task, &copy.to_string_lossy())?;
                if !has.minus(had).is_empty() {
                    let (has, had) = (crate::text::show_set(has), crate::text::show_set(had));
                    let how = format!("{name} copied by {who:?}: {task:?} gains {has}, had {had}");
                    return Err(Why::Through(how));
                }
            }
        }
    }
    Ok(())
}
