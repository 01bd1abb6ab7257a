// SPDX-License-Identifier: MIT OR Apache-2.0
//! What decides beside the features: whether a directory's file system can be id-mapped, the
//! overlay that it is of, and settings of the kernel. None of it is missing from nscap.

use std::path::{Path, PathBuf};

use nscap_core::CapSet;
use nscap_linux::{LiveTask, MountPoint, Namespaces, probe};
use serde::Serialize;

use crate::out;

/// One thing that is so.
#[derive(Clone, Serialize)]
pub(crate) struct Fact {
    pub(crate) name: &'static str,
    /// Its value; `None` where it is not there or could not be tried.
    pub(crate) value: Option<String>,
    /// What that means.
    pub(crate) text: String,
}

/// All of them.
pub(crate) fn all(dir: &Path, namespaces: &mut Namespaces) -> Vec<Fact> {
    let mut facts = vec![idmap(dir)];
    facts.extend(overlays(dir));
    facts.extend(own_set(namespaces));
    facts.extend(SETTINGS.iter().filter_map(setting));
    facts
}

fn idmap(dir: &Path) -> Fact {
    let (value, text) = match probe::can_be_idmapped(dir) {
        Ok(Ok(())) => (
            Some("yes".to_owned()),
            "containers can have it with ids of their own (podman --rootfs DIR:idmap, hostUsers: false), \
             and a host value is an entry there"
                .to_owned(),
        ),
        Ok(Err(errno)) => (
            Some("no".to_owned()),
            format!(
                "{}: a runtime changes the owners of a copy, and its rootids have to be moved with \
                 them (nscap shift)",
                nscap_linux::describe(errno)
            ),
        ),
        Err(error) => (None, format!("could not be tried: {error}")),
    };
    Fact { name: "id-mapped mounts", value, text }
}

/// Of an overlay: where a change goes. Of a layer: for which mount it is one.
fn overlays(dir: &Path) -> Vec<Fact> {
    let (Ok(dir), Ok(mounts)) = (std::fs::canonicalize(dir), MountPoint::all()) else {
        return Vec::new();
    };
    let mut facts = Vec::new();
    let own = mounts
        .iter()
        .filter(|mount| dir.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.as_os_str().len());
    if let Some(mount) = own.filter(|mount| mount.fs_type == "overlay") {
        let upper = layers(mount).into_iter().find(|(kind, _)| *kind == "upperdir");
        let text = match &upper {
            Some((_, upper)) => format!(
                "a change of a file of a lower layer makes a copy in {}; security.* is kept in it",
                out::path(upper)
            ),
            None => "it has no upper layer: nothing in it can be changed".to_owned(),
        };
        let value = out::path(&mount.point);
        facts.push(Fact { name: "overlay", value: Some(value), text });
    }
    for mount in mounts.iter().filter(|mount| mount.fs_type == "overlay") {
        let layer = layers(mount).into_iter().find(|(_, layer)| dir.starts_with(layer));
        if let Some((kind, _)) = layer {
            let text = format!(
                "it is the {kind} of a mounted overlay: what is changed here meanwhile need not show there"
            );
            facts.push(Fact {
                name: "layer of an overlay",
                value: Some(out::path(&mount.point)),
                text,
            });
        }
    }
    facts
}

/// The layers of an overlay, as its options name them.
fn layers(mount: &MountPoint) -> Vec<(&'static str, PathBuf)> {
    let options = mount.options.to_string_lossy().into_owned();
    let mut layers = Vec::new();
    for option in options.split(',') {
        let Some((key, value)) = option.split_once('=') else { continue };
        match key {
            "upperdir" => layers.push(("upperdir", value.into())),
            "lowerdir" => layers.extend(value.split(':').map(|dir| ("lowerdir", dir.into()))),
            // Since Linux 6.8, one each.
            "lowerdir+" | "datadir+" => layers.push(("lowerdir", value.into())),
            _ => {}
        }
    }
    layers
}

/// What `ALL` means for a container that is started here.
fn own_set(namespaces: &mut Namespaces) -> Option<Fact> {
    let own = LiveTask::read(std::process::id(), namespaces).ok()?;
    let missing = CapSet::KNOWN.minus(own.cred(namespaces).bounding);
    let value = if missing.is_empty() { "all".to_owned() } else { format!("all but {missing}") };
    let text = "what --cap-add ALL and --privileged give in this user namespace".to_owned();
    Some(Fact { name: "bounding set", value: Some(value), text })
}

/// A setting: its name, its file, and what a value means.
type Setting = (&'static str, &'static str, fn(&str) -> &'static str);

const SETTINGS: [Setting; 11] = [
    ("user.max_user_namespaces", "/proc/sys/user/max_user_namespaces", |value| match value {
        "0" => "no user namespace can be made",
        _ => "how many user namespaces one user may make",
    }),
    ("kernel.unprivileged_userns_clone", "/proc/sys/kernel/unprivileged_userns_clone", |value| {
        match value {
            "0" => "only root makes user namespaces: no rootless container",
            _ => "every user may make user namespaces",
        }
    }),
    (
        "kernel.apparmor_restrict_unprivileged_userns",
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        |value| match value {
            "0" => "every user's user namespaces have their capabilities",
            _ => {
                "a user's own user namespace has no capabilities unless an AppArmor profile permits it"
            }
        },
    ),
    ("net.ipv4.ping_group_range", "/proc/sys/net/ipv4/ping_group_range", |value| {
        match value.split_ascii_whitespace().collect::<Vec<_>>()[..] {
            ["1", "0"] => "ping needs cap_net_raw",
            _ => "groups of this range ping without cap_net_raw",
        }
    }),
    (
        "net.ipv4.ip_unprivileged_port_start",
        "/proc/sys/net/ipv4/ip_unprivileged_port_start",
        |value| match value {
            "0" => "no port needs cap_net_bind_service",
            _ => "ports below need cap_net_bind_service",
        },
    ),
    ("fuse.enable_uring", "/sys/module/fuse/parameters/enable_uring", |value| match value {
        "Y" => "a mount's requests may come by io_uring",
        _ => "a mount's requests come by /dev/fuse",
    }),
    ("kernel.io_uring_disabled", "/proc/sys/kernel/io_uring_disabled", |value| match value {
        "0" => "every process may use io_uring",
        "1" => "only processes with cap_sys_admin, or in one group, use io_uring",
        _ => "no process uses io_uring",
    }),
    ("kernel.yama.ptrace_scope", "/proc/sys/kernel/yama/ptrace_scope", |value| match value {
        "0" => "a process may look at others of its user (explain --pid)",
        _ => "only root and parents look at other processes (explain --pid)",
    }),
    ("fs.protected_hardlinks", "/proc/sys/fs/protected_hardlinks", |value| match value {
        "0" => {
            "every user may link a file with capabilities to another name, and keep it beyond an update"
        }
        _ => "a file that a user may not write is linked by its owner alone",
    }),
    ("fs.protected_symlinks", "/proc/sys/fs/protected_symlinks", |value| match value {
        "0" => "links of other users are followed in /tmp",
        _ => "links of other users are not followed in directories like /tmp",
    }),
    ("fs.protected_regular", "/proc/sys/fs/protected_regular", |value| match value {
        "0" => "open with O_CREAT takes another user's file in /tmp",
        _ => "open with O_CREAT takes no other user's file in directories like /tmp",
    }),
];

fn setting((name, path, means): &Setting) -> Option<Fact> {
    let text = std::fs::read_to_string(path).ok()?;
    let value = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    let means = means(&value).to_owned();
    Some(Fact { name, value: Some(value), text: means })
}
