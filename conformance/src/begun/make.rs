// SPDX-License-Identifier: MIT OR Apache-2.0
//! A random container: what its config.json says, and what its root file system holds.

use nscap_core::{CapSet, Capability, FileCaps};
use serde_json::{Value, json};

use crate::fuzz::pick::Pick;
use crate::fuzz::values::file_caps;

/// What starts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Runtime {
    Crun,
    Runc,
}

impl Runtime {
    pub(super) fn name(self) -> &'static str {
        match self {
            Runtime::Crun => "crun",
            Runtime::Runc => "runc",
        }
    }
}

/// The user namespace of the container, and how its root file system is seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Home {
    Host,
    /// The files have the ids that they have.
    AsIs,
    /// The files are seen through an id-mapped mount.
    Mapped,
}

/// The base of the map of 65,536 ids.
pub(super) const BASE: u32 = 100_000;

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) number: u64,
    pub(super) runtime: Runtime,
    pub(super) home: Home,
    sets: [CapSet; 5],
    user: (u32, u32, Vec<u32>),
    no_new_privs: bool,
    /// Owner, group and mode of the file.
    pub(super) file: (u32, u32, u32),
    /// A root's id, `None` for a host value; and the capabilities.
    pub(super) caps: Option<(Option<u32>, FileCaps)>,
    /// The mode of the directory that the file is in.
    pub(super) dir: u32,
    /// Whether a script executes the program.
    pub(super) by_script: bool,
}

/// The field of each set in config.json.
const FIELDS: [&str; 5] = ["bounding", "permitted", "effective", "inheritable", "ambient"];

const CAPS: [Capability; 8] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
];

/// The case of this number.
pub(super) fn case(seed: u64, number: u64) -> Case {
    let mut pick = Pick::new(seed ^ 0x0c1, number);
    let home = pick.one([Home::Host, Home::Host, Home::AsIs, Home::Mapped]);
    let uid = pick.one([0, 0, 7, 7, 1000]);
    let groups = if pick.percent(30) { vec![5, 7] } else { Vec::new() };
    let base = if home == Home::AsIs { BASE } else { 0 };
    let id = |pick: &mut Pick| pick.one([0, base, base, base + 7, base + 1000]);
    let roots: &[u32] = if home == Home::Host { &[BASE] } else { &[BASE, BASE, BASE + 1000] };
    Case {
        number,
        runtime: pick.one([Runtime::Crun, Runtime::Runc]),
        home,
        sets: sets(&mut pick),
        user: (uid, pick.one([0, 7, 1000]), groups),
        no_new_privs: pick.percent(30),
        file: (
            id(&mut pick),
            id(&mut pick),
            pick.one([0o755, 0o755, 0o755, 0o750, 0o700, 0o4755, 0o2755, 0o6755]),
        ),
        caps: pick.percent(80).then(|| {
            let root = if pick.percent(40) { pick.of(roots) } else { None };
            (root, file_caps(&mut pick))
        }),
        dir: pick.one([0o755, 0o755, 0o755, 0o711, 0o700]),
        by_script: pick.percent(30),
    }
}

/// Mostly sets that capset(2) takes.
fn sets(pick: &mut Pick) -> [CapSet; 5] {
    let some = |pick: &mut Pick, of: CapSet, percent| {
        let caps: Vec<Capability> = of.iter().collect();
        CapSet::of(&pick.some(&caps, percent))
    };
    let all = CapSet::of(&CAPS);
    let bounding = match pick.below(4) {
        0 => CapSet::KNOWN,
        1 => CapSet::EMPTY,
        _ => some(pick, all, 60),
    };
    let odd = pick.percent(10);
    let permitted = some(pick, if odd { all } else { bounding & all }, 60);
    let effective = some(pick, if odd { all } else { permitted }, 70);
    let inheritable = if pick.percent(40) {
        some(pick, if odd { all } else { bounding & all }, 50)
    } else {
        CapSet::EMPTY
    };
    let ambient = some(pick, if odd { all } else { permitted & inheritable }, 70);
    [bounding, permitted, effective, inheritable, ambient]
}

impl Case {
    /// The config.json, with the root file system there.
    pub(super) fn config(&self, rootfs: &std::path::Path) -> Value {
        let names = |set: CapSet| -> Vec<String> {
            set.iter().map(|cap| cap.name().to_ascii_uppercase()).collect()
        };
        let capabilities: serde_json::Map<String, Value> = FIELDS
            .iter()
            .zip(self.sets)
            .map(|(field, set)| ((*field).into(), json!(names(set))))
            .collect();
        let (uid, gid, groups) = &self.user;
        let program = if self.by_script { "/entry" } else { "/d/f" };
        let mut namespaces = vec![
            json!({"type": "mount"}),
            json!({"type": "pid"}),
            json!({"type": "ipc"}),
            json!({"type": "uts"}),
        ];
        let mut linux = json!({});
        if self.home != Home::Host {
            namespaces.push(json!({"type": "user"}));
            let map = json!([{"containerID": 0, "hostID": BASE, "size": 65_536}]);
            linux = json!({"uidMappings": map, "gidMappings": map});
        }
        linux["namespaces"] = json!(namespaces);
        json!({
            "ociVersion": "1.0.0",
            "process": {
                "terminal": false,
                "user": {"uid": uid, "gid": gid, "additionalGids": groups},
                "args": [program],
                "env": ["PATH=/bin"],
                "cwd": "/",
                "capabilities": capabilities,
                "noNewPrivileges": self.no_new_privs,
            },
            "root": {"path": rootfs, "readonly": false},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": linux,
        })
    }
}
