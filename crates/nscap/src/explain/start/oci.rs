// SPDX-License-Identifier: MIT OR Apache-2.0
//! A container by its config.json (the runtime specification of the Open Container Initiative), as
//! crun and runc take it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nscap_core::{CapSet, Extent};
use serde::Deserialize;

use super::flags::checked;
use super::merge::capability;
use super::rootfs::variable;
use super::{Engine, Home, Machine, Rootfs, Runtime, Sets, Wanted, Words, input, text_of};
use crate::cli::Explain;
use crate::explain::unseen::Unseen;
use crate::failure::Failure;
use crate::out;
use crate::system::System;

#[derive(Deserialize)]
struct Config {
    process: Option<Process>,
    root: Option<Root>,
    linux: Option<Linux>,
    #[serde(default)]
    mounts: Vec<Mount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    #[serde(default)]
    user: User,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    cwd: Option<PathBuf>,
    capabilities: Option<Capabilities>,
    #[serde(default)]
    no_new_privileges: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct User {
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default)]
    additional_gids: Vec<u32>,
}

#[derive(Deserialize, Default)]
struct Capabilities {
    #[serde(default)]
    bounding: Vec<String>,
    #[serde(default)]
    permitted: Vec<String>,
    #[serde(default)]
    effective: Vec<String>,
    #[serde(default)]
    inheritable: Vec<String>,
    #[serde(default)]
    ambient: Vec<String>,
}

#[derive(Deserialize)]
struct Root {
    path: PathBuf,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Linux {
    uid_mappings: Vec<Mapping>,
    gid_mappings: Vec<Mapping>,
    namespaces: Vec<Namespace>,
    seccomp: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    #[serde(rename = "containerID")]
    inside: u32,
    #[serde(rename = "hostID")]
    outside: u32,
    size: u32,
}

#[derive(Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    path: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Mount {
    destination: PathBuf,
}

pub(super) fn read(
    path: &Path,
    args: &Explain,
    machine: &Machine,
    system: &mut System,
) -> Result<Wanted, Failure> {
    let path = if path.is_dir() { path.join("config.json") } else { path.to_owned() };
    let wrong = |e: serde_json::Error| input(out::path(&path), format!("no config.json: {e}"));
    let config: Config = serde_json::from_str(&text_of(&path)?).map_err(wrong)?;
    let runtime = args.runtime.unwrap_or(Runtime::today(Engine::Crun));
    let bundle = path.parent().unwrap_or(Path::new("."));
    let dir =
        args.rootfs.clone().or_else(|| config.root.as_ref().map(|root| bundle.join(&root.path)));
    let process = config.process.ok_or_else(|| input(out::path(&path), "has no process"))?;
    let rootfs = Rootfs::of(args, dir).with_cwd(process.cwd.unwrap_or("/".into()));
    let mut wanted = Wanted::new(Words::Oci(path.clone()), runtime, rootfs);
    // A runtime takes all of this from config.json, and from the image nothing but its files.
    if let Some(image) = wanted.rootfs.image() {
        let text = format!("{}: its files alone", image.text());
        wanted.notes.push(("image", text));
    }
    let capabilities = process.capabilities.unwrap_or_default();
    (wanted.uid, wanted.gid) = (process.user.uid, process.user.gid);
    wanted.groups = process.user.additional_gids;
    wanted.no_new_privs = process.no_new_privileges;
    wanted.args = process.args.into_iter().map(OsString::from).collect();
    let environment = process.env.iter().map(String::as_str);
    wanted.search = variable(environment, "PATH").unwrap_or(wanted.search);
    let linux = config.linux.unwrap_or_default();
    wanted.home = home(&linux, system)?;
    wanted.sets = sets(&capabilities, machine.set(&wanted.home), &mut wanted);
    wanted.asked = wanted.sets.ambient;
    if linux.seccomp.is_some() {
        let text = "linux.seccomp has a filter: it may refuse execve";
        wanted.unseen.push(Unseen::aside("seccomp", text));
    }
    note_mounts(&config.mounts, args, &mut wanted);
    if args.runtime.is_none() {
        wanted.notes.push(("runtime", "crun, as nothing else is said (--runtime)".to_owned()));
    }
    Ok(wanted)
}

/// The sets; a name that this machine's kernel does not know is left out, as crun and runc do.
fn sets(from: &Capabilities, here: CapSet, wanted: &mut Wanted) -> Sets {
    let mut set = |field: &str, names: &[String]| {
        let mut set = CapSet::EMPTY;
        for name in names {
            match capability(name) {
                Ok(cap) if name.len() > 4 && name[..4].eq_ignore_ascii_case("cap_") => {
                    set = set.with(cap);
                }
                _ => {
                    let name = out::name(name.as_bytes());
                    let text = format!("process.capabilities.{field}: {name}: no capability");
                    wanted.notes.push(("left out", text));
                }
            }
        }
        let unknown = set.minus(here);
        if !unknown.is_empty() {
            let text = format!("process.capabilities.{field}: {unknown}: this machine has it not");
            wanted.notes.push(("left out", text));
        }
        set & here
    };
    Sets {
        bounding: set("bounding", &from.bounding),
        permitted: set("permitted", &from.permitted),
        effective: set("effective", &from.effective),
        inheritable: set("inheritable", &from.inheritable),
        ambient: set("ambient", &from.ambient),
    }
}

/// The user namespace: of `linux.namespaces`, with the maps beside it.
fn home(linux: &Linux, system: &mut System) -> Result<Home, Failure> {
    let Some(user) = linux.namespaces.iter().find(|namespace| namespace.kind == "user") else {
        return Ok(Home::Ours);
    };
    if let Some(path) = user.path.as_ref().filter(|path| !path.as_os_str().is_empty()) {
        return Ok(Home::Known(system.namespaces.add_path(path)?));
    }
    let extents = |mappings: &[Mapping]| {
        let extent =
            |map: &Mapping| Extent { inside: map.inside, outside: map.outside, count: map.size };
        checked(mappings.iter().map(extent).collect())
    };
    Ok(Home::New { uids: extents(&linux.uid_mappings)?, gids: extents(&linux.gid_mappings)? })
}

/// What is mounted over the program when the container starts is not there yet.
fn note_mounts(mounts: &[Mount], args: &Explain, wanted: &mut Wanted) {
    let named = args.file.iter().chain(&args.through).cloned();
    let first = wanted.args.first().map(PathBuf::from);
    for file in named.chain(first) {
        let over = mounts.iter().find(|mount| {
            file.is_absolute()
                && mount.destination != Path::new("/")
                && file.starts_with(&mount.destination)
        });
        if let Some(mount) = over {
            let text = format!(
                "{} is on what mounts mounts on {}, which is not there before the start",
                out::path(&file),
                out::path(&mount.destination),
            );
            wanted.unseen.push(Unseen::deciding("mounts", text));
        }
    }
}
