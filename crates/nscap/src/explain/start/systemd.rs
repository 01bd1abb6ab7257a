// SPDX-License-Identifier: MIT OR Apache-2.0
//! A service by its unit file (systemd.exec(5)).

use std::path::Path;

use nscap_core::{CapSet, Capability, Extent, Kuid};
use nscap_linux::{group_id, group_name, user_ids, user_name};

use super::merge::capability;
use super::rootfs::User;
use super::unit::Unit;
use super::{Engine, Home, Machine, Rootfs, Runtime, Wanted, Words, input};
use crate::cli::Explain;
use crate::explain::unseen::Unseen;
use crate::failure::Failure;
use crate::out;

/// Settings that bring a seccomp filter. Before systemd 255 they imply NoNewPrivileges= for any
/// user but root.
const FILTERS: [&str; 12] = [
    "SystemCallFilter",
    "SystemCallLog",
    "SystemCallArchitectures",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "PrivateDevices",
    "ProtectKernelTunables",
    "ProtectKernelModules",
    "ProtectKernelLogs",
    "ProtectClock",
    "MemoryDenyWriteExecute",
    "RestrictRealtime",
];

/// More of them.
const FILTERS_MORE: [&str; 3] = ["RestrictSUIDSGID", "LockPersonality", "ProtectHostname"];

/// Settings with which a service has a mount namespace of its own.
const MOUNTS: [&str; 23] = [
    "RootDirectory",
    "RootImage",
    "ReadWritePaths",
    "ReadOnlyPaths",
    "InaccessiblePaths",
    "ExecPaths",
    "NoExecPaths",
    "BindPaths",
    "BindReadOnlyPaths",
    "TemporaryFileSystem",
    "MountImages",
    "ExtensionImages",
    "ExtensionDirectories",
    "PrivateTmp",
    "PrivateDevices",
    "PrivateMounts",
    "ProtectSystem",
    "ProtectHome",
    "ProtectKernelTunables",
    "ProtectKernelModules",
    "ProtectKernelLogs",
    "ProtectControlGroups",
    "DynamicUser",
];

/// Settings that take capabilities out of the bounding set.
const TAKEN: [(&str, &[Capability]); 4] = [
    ("PrivateDevices", &[Capability::Mknod, Capability::SysRawio]),
    ("ProtectKernelModules", &[Capability::SysModule]),
    ("ProtectKernelLogs", &[Capability::Syslog]),
    ("ProtectClock", &[Capability::SysTime, Capability::WakeAlarm]),
];

/// What systemd 255 and later keep over the change of the user for a seccomp filter: not permitted any more then, but still
/// inheritable. Seen of 257.
const LEFT: [Capability; 2] = [Capability::Setpcap, Capability::SysAdmin];

/// The first uid that systemd takes for DynamicUser=.
const DYNAMIC: u32 = 61_184;

/// A uid and a gid that systemd has without a database, as it has 0.
const NOBODY: u32 = 65_534;

pub(super) fn read(unit: &Path, args: &Explain, machine: &Machine) -> Result<Wanted, Failure> {
    let unit = Unit::read(unit)?;
    let runtime = args.runtime.unwrap_or(Runtime::today(Engine::Systemd));
    if runtime.engine != Engine::Systemd {
        return Err(input("--runtime", "a unit is started by systemd"));
    }
    let own = unit.last("RootDirectory").or(unit.last("RootImage"));
    if args.opened.is_some() && own.is_none() {
        let problem = "has neither RootDirectory= nor RootImage=: it executes this machine's files";
        return Err(input(out::name(unit.name.as_bytes()), problem));
    }
    // What is named is what the unit has as its root.
    let dir = args.rootfs.clone().or_else(|| unit.last("RootDirectory").map(Into::into));
    let rootfs = Rootfs::of(args, dir).with_cwd(unit.last("WorkingDirectory").unwrap_or("/"));
    let words = Words::Unit { name: unit.name.clone(), implied: false };
    let mut wanted = Wanted::new(words, runtime, rootfs);
    let files: Vec<String> = unit.files.iter().map(|path| out::path(path)).collect();
    wanted.notes.push(("unit", files.join(", ")));
    wanted.notes.extend(wanted.rootfs.image().map(|image| ("image", image.text())));
    let prefixes = command(&unit, &mut wanted);
    wanted.sets.bounding = machine.all;
    if prefixes.contains('+') {
        let text = "ExecStart= begins with +: User=, capabilities and NoNewPrivileges= do not hold";
        wanted.notes.push(("unit", text.to_owned()));
        return Ok(wanted);
    }
    if !prefixes.contains('!') {
        // The manager looks names up before it changes the root: of RootDirectory= none counts.
        user(&unit, &Rootfs::new(args.rootfs.clone()), &mut wanted)?;
    }
    home(&unit, &mut wanted);
    sets(&unit, machine.set(&wanted.home), &mut wanted);
    privileges(&unit, &mut wanted);
    mounts(&unit, &mut wanted);
    beside(&unit, &mut wanted);
    Ok(wanted)
}

/// The first command; gives the characters before it.
fn command(unit: &Unit, wanted: &mut Wanted) -> String {
    let Some(line) = unit.list("ExecStart").first().copied() else { return String::new() };
    let program = line.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let prefixes = line[..line.len() - program.len()].to_owned();
    let word = match program.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => program.split_ascii_whitespace().next(),
    };
    wanted.args = word.map(|word| expanded(word, unit, wanted).into()).into_iter().collect();
    prefixes
}

/// The specifiers that stand for the unit's name (systemd.unit(5)).
fn expanded(text: &str, unit: &Unit, wanted: &mut Wanted) -> String {
    let stem = unit.name.rsplit_once('.').map_or(unit.name.as_str(), |(stem, _)| stem);
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    let mut expanded = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            expanded.push(character);
            continue;
        }
        match characters.next() {
            Some('%') => expanded.push('%'),
            Some('n') => expanded.push_str(&unit.name),
            Some('N') => expanded.push_str(stem),
            Some('p') => expanded.push_str(prefix),
            Some('i') => expanded.push_str(instance),
            other => {
                let name = other.map(String::from).unwrap_or_default();
                let text = format!(
                    "the specifier %{} in {}",
                    out::name(name.as_bytes()),
                    out::name(text.as_bytes())
                );
                wanted.unseen.push(Unseen::deciding("unit", text));
            }
        }
    }
    expanded
}

fn user(unit: &Unit, users: &Rootfs, wanted: &mut Wanted) -> Result<(), Failure> {
    let is_dynamic = unit.is_set("DynamicUser");
    // With --root the users are those of that directory.
    let whose = if users.is_a_containers() { "the root file system" } else { "this machine" };
    let none = |key: &str, name: &str, what: &str| {
        let unit = out::name(unit.name.as_bytes());
        let problem = format!("no {what} of {whose}: {unit} ends with ");
        let status = if what == "user" { "217/USER" } else { "216/GROUP" };
        input(format!("{key}={}", out::name(name.as_bytes())), problem + status)
    };
    if let Some(name) = unit.last("User") {
        let name = expanded(name, unit, wanted);
        let User { uid, gid, groups } = match user_of(&name, users)? {
            None if is_dynamic => {
                let id = name.parse().unwrap_or(DYNAMIC);
                User { uid: id, gid: id, groups: Vec::new() }
            }
            user => user.ok_or_else(|| none("User", &name, "user"))?,
        };
        (wanted.uid, wanted.gid, wanted.groups) = (uid, gid, groups);
    } else if is_dynamic {
        (wanted.uid, wanted.gid) = (DYNAMIC, DYNAMIC);
    }
    if let Some(name) = unit.last("Group") {
        wanted.gid = match group_of(name, users)? {
            None if is_dynamic => name.parse().unwrap_or(DYNAMIC),
            group => group.ok_or_else(|| none("Group", name, "group"))?,
        };
    }
    let key = "SupplementaryGroups";
    for name in unit.list(key).iter().flat_map(|list| list.split_ascii_whitespace()) {
        let group = group_of(name, users)?;
        wanted.groups.push(group.ok_or_else(|| none(key, name, "group"))?);
    }
    Ok(())
}

/// A user that has a name: of a number alone systemd starts nothing. Of uids 0 and 65534
/// it asks no database.
fn user_of(name: &str, users: &Rootfs) -> Result<Option<User>, Failure> {
    if users.lists("/etc/passwd", name)? {
        return users.user(name).map(Some);
    }
    let ids = match (name, name.parse()) {
        ("root" | "0", _) => Some((0, 0)),
        ("nobody" | "65534", _) => Some((NOBODY, NOBODY)),
        _ if users.is_a_containers() => None,
        (_, Ok(uid)) => Kuid::new(uid).and_then(user_name).and_then(|name| user_ids(&name)),
        (_, Err(_)) => user_ids(name),
    };
    Ok(ids.map(|(uid, gid)| User { uid, gid, groups: Vec::new() }))
}

/// A group, likewise.
fn group_of(name: &str, users: &Rootfs) -> Result<Option<u32>, Failure> {
    if users.lists("/etc/group", name)? {
        return users.group(name).map(Some);
    }
    Ok(match (name, name.parse()) {
        ("root" | "0", _) => Some(0),
        ("65534", _) => Some(NOBODY),
        _ if users.is_a_containers() => None,
        (_, Ok(gid)) => group_name(gid).map(|_| gid),
        (_, Err(_)) => group_id(name),
    })
}

fn sets(unit: &Unit, here: CapSet, wanted: &mut Wanted) {
    let bounding = merged(unit, "CapabilityBoundingSet", CapSet::KNOWN, wanted);
    let ambient = merged(unit, "AmbientCapabilities", CapSet::EMPTY, wanted);
    let mut bounding = bounding & here;
    for (key, caps) in TAKEN.iter().filter(|(key, _)| unit.is_set(key)) {
        let taken = CapSet::of(caps) & bounding;
        if !taken.is_empty() {
            wanted.notes.push(("unit", format!("{key}= takes {taken} out of the bounding set")));
        }
        bounding = bounding.minus(taken);
    }
    wanted.sets.bounding = bounding;
    wanted.sets.ambient = ambient & here;
    wanted.asked = ambient;
    let secure = unit.list("SecureBits");
    if !secure.is_empty() {
        let text = format!("SecureBits={}: not looked at", out::name(secure.join(" ").as_bytes()));
        wanted.unseen.push(Unseen::deciding("unit", text));
    }
}

/// One of the two sets of capabilities as systemd merges its lines: the first one replaces what is
/// there without any, `~` takes away.
fn merged(unit: &Unit, key: &str, without: CapSet, wanted: &mut Wanted) -> CapSet {
    let mut set = without;
    for value in unit.all(key) {
        let (invert, names) = value.strip_prefix('~').map_or((false, value), |names| (true, names));
        let mut sum = CapSet::EMPTY;
        for name in names.split_ascii_whitespace() {
            match capability(name) {
                Ok(cap)
                    if name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("cap_")) =>
                {
                    sum = sum.with(cap);
                }
                _ => {
                    let text = format!("{key}={}: no capability", out::name(name.as_bytes()));
                    wanted.notes.push(("left out", text));
                }
            }
        }
        set = match (invert, sum.is_empty() || set == without) {
            (true, true) => CapSet::KNOWN.minus(sum),
            (false, true) => sum,
            (true, false) => set.minus(sum),
            (false, false) => set | sum,
        };
    }
    set
}

/// NoNewPrivileges=, and what implies it.
fn privileges(unit: &Unit, wanted: &mut Wanted) {
    let filter = FILTERS.iter().chain(&FILTERS_MORE).find(|key| is_on(unit, key));
    let as_user = wanted.uid != 0;
    let implied = match filter {
        Some(key) if as_user && wanted.runtime.is_before([255, 0, 0]) => Some(*key),
        Some(key) if as_user && wanted.runtime.version.is_none() => {
            let text = format!(
                "{key}= implies NoNewPrivileges=yes before systemd 255 (--runtime systemd:VERSION)"
            );
            wanted.unseen.push(Unseen::aside("systemd", text));
            None
        }
        _ => None,
    };
    let filter = filter.copied().or(unit.is_set("DynamicUser").then_some("DynamicUser"));
    if let Some(key) = filter.filter(|_| as_user && !wanted.runtime.is_before([255, 0, 0])) {
        wanted.sets.inheritable = CapSet::of(&LEFT);
        let text = format!("{key}= leaves {} inheritable since systemd 255", CapSet::of(&LEFT));
        wanted.notes.push(("unit", text));
    }
    let implied = implied.or(unit.is_set("DynamicUser").then_some("DynamicUser"));
    wanted.no_new_privs = unit.is_set("NoNewPrivileges") || implied.is_some();
    if let Some(key) = implied {
        if let Words::Unit { implied, .. } = &mut wanted.words {
            *implied = true;
        }
        wanted.notes.push(("unit", format!("{key}= implies NoNewPrivileges=yes")));
    }
}

/// Whether a setting that takes more than yes and no has an effect.
fn is_on(unit: &Unit, key: &str) -> bool {
    let off = ["0", "no", "n", "false", "f", "off", "~"];
    unit.last(key).is_some_and(|value| !off.contains(&value))
}

/// With NoNewPrivileges= a mount namespace of its own has all file systems nosuid since systemd 249, but
/// not where SELinux decides, which takes that for more. What a filter implies is not meant by that.
fn mounts(unit: &Unit, wanted: &mut Wanted) {
    let none_new = unit.is_set("NoNewPrivileges") || unit.is_set("DynamicUser");
    let own = MOUNTS.iter().find(|key| is_on(unit, key));
    let (true, Some(key), false) = (none_new, own, wanted.runtime.is_before([249, 0, 0])) else {
        return;
    };
    if Path::new("/sys/fs/selinux/enforce").exists() {
        return;
    }
    wanted.nosuid = true;
    wanted.notes.push(("unit", format!("NoNewPrivileges= and {key}=: each file system is nosuid")));
}

/// PrivateUsers=: root, the service's own user, and no other.
fn home(unit: &Unit, wanted: &mut Wanted) {
    let value = unit.last("PrivateUsers").unwrap_or("no");
    let one = |id: u32, count: u32| Extent { inside: id, outside: id, count };
    let pair = |id: u32| if id == 0 { vec![one(0, 1)] } else { vec![one(0, 1), one(id, 1)] };
    let (uids, gids) = match value {
        "identity" => (vec![one(0, 65_536)], vec![one(0, 65_536)]),
        "full" => (vec![one(0, u32::MAX)], vec![one(0, u32::MAX)]),
        value if super::unit::is_yes(value) || value == "self" => {
            (pair(wanted.uid), pair(wanted.gid))
        }
        _ => return,
    };
    wanted.home = Home::New { uids, gids };
}

/// What else may decide.
fn beside(unit: &Unit, wanted: &mut Wanted) {
    if unit.last("RootImage").is_some() && wanted.rootfs.image().is_none() {
        wanted
            .unseen
            .push(Unseen::deciding("unit", "RootImage=: what is in the image is not looked at"));
    }
    for key in [
        "NoExecPaths",
        "InaccessiblePaths",
        "TemporaryFileSystem",
        "BindPaths",
        "BindReadOnlyPaths",
        "ExtensionImages",
        "MountImages",
    ] {
        if !unit.list(key).is_empty() {
            let text = format!("{key}= changes what is mounted: not looked at");
            wanted.unseen.push(Unseen::aside("unit", text));
        }
    }
}
