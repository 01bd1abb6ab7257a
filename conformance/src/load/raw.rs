// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables of a scenario file as serde sees them: every key that there is, and no other.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    #[serde(default)]
    pub(super) scenario: Vec<RawScenario>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScenario {
    pub(super) name: String,
    pub(super) clause: Vec<String>,
    pub(super) about: String,
    #[serde(default)]
    pub(super) policy: RawPolicy,
    pub(super) design_only: Option<String>,
    pub(super) fuse_skip: Option<String>,
    #[serde(default)]
    pub(super) ns: BTreeMap<String, RawNs>,
    #[serde(default)]
    pub(super) fs: RawFs,
    #[serde(default)]
    pub(super) file: BTreeMap<String, RawFile>,
    #[serde(default)]
    pub(super) task: BTreeMap<String, RawTask>,
    pub(super) steps: Vec<RawStep>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    #[serde(default)]
    pub(super) array: bool,
    pub(super) busy: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNs {
    #[serde(default = "init")]
    pub(super) parent: String,
    pub(super) owner: Option<u32>,
    pub(super) uids: String,
    pub(super) gids: Option<String>,
}

fn init() -> String {
    crate::scenario::INIT.to_owned()
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFs {
    pub(super) kind: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) idmap: Option<String>,
    #[serde(default)]
    pub(super) nosuid: bool,
    #[serde(default)]
    pub(super) noexec: bool,
    #[serde(default)]
    pub(super) read_only: bool,
    #[serde(default)]
    pub(super) foreign: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    #[serde(default)]
    pub(super) owner: u32,
    pub(super) group: Option<u32>,
    pub(super) mode: Option<String>,
    pub(super) content: Option<String>,
    pub(super) host: Option<String>,
    #[serde(default)]
    pub(super) entries: BTreeMap<String, String>,
    pub(super) raw: Option<String>,
    #[serde(default)]
    pub(super) immutable: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTask {
    pub(super) ns: Option<String>,
    #[serde(default)]
    pub(super) uid: u32,
    pub(super) euid: Option<u32>,
    pub(super) suid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) egid: Option<u32>,
    pub(super) sgid: Option<u32>,
    #[serde(default)]
    pub(super) groups: Vec<u32>,
    pub(super) caps: Option<String>,
    pub(super) permitted: Option<String>,
    pub(super) effective: Option<String>,
    pub(super) inheritable: Option<String>,
    pub(super) ambient: Option<String>,
    pub(super) bounding: Option<String>,
    pub(super) securebits: Option<String>,
    #[serde(default)]
    pub(super) no_new_privs: bool,
    #[serde(default)]
    pub(super) traced: bool,
    #[serde(default)]
    pub(super) shared_fs: bool,
    #[serde(default)]
    pub(super) pid_ns: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    pub(super) by: String,
    #[serde(rename = "do")]
    pub(super) action: String,
    pub(super) flag: Option<String>,
    pub(super) design: String,
    pub(super) design_fuse: Option<String>,
    pub(super) kernel: Option<String>,
    pub(super) design_6_1: Option<String>,
    pub(super) kernel_6_1: Option<String>,
}
