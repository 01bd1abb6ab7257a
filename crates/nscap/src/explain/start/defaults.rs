// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a container has if nothing is said: podman reads it from containers.conf(5).

use std::path::{Path, PathBuf};

use nscap_core::CapSet;
use serde::Deserialize;

use super::merge::Names;
use super::{Engine, input, text_of};
use crate::failure::Failure;
use crate::out;

#[derive(Deserialize, Default)]
struct Config {
    #[serde(default)]
    containers: Containers,
}

#[derive(Deserialize, Default)]
struct Containers {
    default_capabilities: Option<Vec<String>>,
}

/// The set, and a note where a file says it.
pub(super) fn of(
    engine: Engine,
    notes: &mut Vec<(&'static str, String)>,
) -> Result<CapSet, Failure> {
    let mut set = engine.defaults();
    if engine != Engine::Podman {
        return Ok(set);
    }
    // Each file overrides those before it.
    for path in files() {
        let wrong = |e: toml::de::Error| {
            input(out::path(&path), format!("not as containers.conf(5): {}", e.message()))
        };
        let config: Config = toml::from_str(&text_of(&path)?).map_err(wrong)?;
        let Some(names) = config.containers.default_capabilities else { continue };
        let own = Names::read(names.iter().map(String::as_str))?.caps;
        if own != set {
            notes.push(("default", format!("{} has {own}", out::path(&path))));
        }
        set = own;
    }
    Ok(set)
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        ["/usr/share/containers/containers.conf", "/etc/containers/containers.conf"]
            .map(PathBuf::from)
            .into();
    let mut more: Vec<PathBuf> = std::fs::read_dir("/etc/containers/containers.conf.d")
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    more.retain(|path| path.extension().is_some_and(|end| end == "conf"));
    more.sort();
    files.append(&mut more);
    if !rustix::process::geteuid().is_root() {
        let home = std::env::var_os("HOME")
            .map(|home| Path::new(&home).join(".config/containers/containers.conf"));
        files.extend(home);
    }
    files.retain(|path| path.exists());
    files
}
