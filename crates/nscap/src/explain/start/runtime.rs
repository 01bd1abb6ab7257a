// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program that starts the task, and its version: what it leaves depends on both.

use std::str::FromStr;

use nscap_core::{CapSet, Capability};

/// What starts the task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Engine {
    Podman,
    Docker,
    /// containerd, as Kubernetes calls it.
    Containerd,
    /// CRI-O, as Kubernetes calls it.
    Crio,
    Crun,
    Runc,
    Systemd,
}

impl Engine {
    const ALL: [(&'static str, Engine); 8] = [
        ("podman", Engine::Podman),
        ("docker", Engine::Docker),
        ("kubernetes", Engine::Containerd),
        ("containerd", Engine::Containerd),
        ("crio", Engine::Crio),
        ("crun", Engine::Crun),
        ("runc", Engine::Runc),
        ("systemd", Engine::Systemd),
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Engine::Podman => "podman",
            Engine::Docker => "docker",
            Engine::Containerd => "containerd",
            Engine::Crio => "CRI-O",
            Engine::Crun => "crun",
            Engine::Runc => "runc",
            Engine::Systemd => "systemd",
        }
    }

    /// What a container has if nothing is said.
    pub(crate) fn defaults(self) -> CapSet {
        use Capability::{
            AuditWrite, Chown, DacOverride, Fowner, Fsetid, Kill, Mknod, NetBindService, NetRaw,
            Setfcap, Setgid, Setpcap, Setuid, SysChroot,
        };
        let crio = CapSet::of(&[
            Chown,
            DacOverride,
            Fsetid,
            Fowner,
            Setgid,
            Setuid,
            Setpcap,
            NetBindService,
            Kill,
        ]);
        let podman = crio | CapSet::of(&[Setfcap, SysChroot]);
        match self {
            Engine::Crio => crio,
            Engine::Podman => podman,
            Engine::Docker | Engine::Containerd => {
                podman | CapSet::of(&[Mknod, NetRaw, AuditWrite])
            }
            Engine::Crun | Engine::Runc | Engine::Systemd => CapSet::KNOWN,
        }
    }

    /// The first version that leaves the inheritable set empty (CVE-2022-24769, CVE-2022-27649,
    /// CVE-2022-27652): what is inheritable there, a file's inheritable set gives to any user.
    fn since_not_inheritable(self) -> [u32; 3] {
        match self {
            Engine::Podman => [4, 0, 3],
            Engine::Docker => [20, 10, 14],
            Engine::Containerd => [1, 6, 2],
            Engine::Crio => [1, 24, 0],
            Engine::Crun | Engine::Runc | Engine::Systemd => [0; 3],
        }
    }
}

/// An engine and its version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Runtime {
    pub(crate) engine: Engine,
    /// `None`: as it is today.
    pub(crate) version: Option<[u32; 3]>,
}

impl Runtime {
    pub(crate) const fn today(engine: Engine) -> Runtime {
        Runtime { engine, version: None }
    }

    /// Whether it is older than that.
    pub(crate) fn is_before(self, version: [u32; 3]) -> bool {
        self.version.is_some_and(|own| own < version)
    }

    /// Whether docker takes the list from another user than root before execve, so that under
    /// no_new_privs a file gives nothing. Since 23.0.7 and 24.0.6 it does not.
    pub(crate) fn takes_the_list(self) -> bool {
        let mended = if self.is_before([24, 0, 0]) { [23, 0, 7] } else { [24, 0, 6] };
        self.engine == Engine::Docker && self.is_before(mended)
    }

    /// Whether what a container has is inheritable, too.
    pub(crate) fn inherits(self) -> bool {
        self.is_before(self.engine.since_not_inheritable())
    }
}

impl std::fmt::Display for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.version {
            None => f.write_str(self.engine.name()),
            Some([major, minor, patch]) => {
                write!(f, "{} {major}.{minor}.{patch}", self.engine.name())
            }
        }
    }
}

impl FromStr for Runtime {
    type Err = String;

    fn from_str(text: &str) -> Result<Runtime, String> {
        let (name, version) = text.split_once(':').map_or((text, None), |(n, v)| (n, Some(v)));
        let engine = Engine::ALL.iter().find(|(known, _)| *known == name);
        let Some((_, engine)) = engine else {
            let names: Vec<&str> = Engine::ALL.iter().map(|(name, _)| *name).collect();
            return Err(format!("expected one of {}, and :VERSION", names.join(", ")));
        };
        Ok(Runtime { engine: *engine, version: version.map(numbers).transpose()? })
    }
}

/// `4`, `4.3` or `4.3.1`; what follows a number of the third part is left out (`4.3.1+ds1`).
fn numbers(text: &str) -> Result<[u32; 3], String> {
    let bad = || format!("{text}: no version like 4.3.1");
    let mut numbers = [0; 3];
    let mut parts = text.splitn(3, '.');
    for (n, number) in numbers.iter_mut().enumerate() {
        let Some(part) = parts.next() else { break };
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let whole = digits == part.len() || n == 2;
        *number = part[..digits].parse().ok().filter(|_| whole).ok_or_else(bad)?;
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_a_name_and_a_version() {
        let version = |text: &str| text.parse::<Runtime>().map(|runtime| runtime.version);
        assert_eq!(version("podman"), Ok(None));
        assert_eq!(version("podman:4.3.1+ds1"), Ok(Some([4, 3, 1])));
        assert_eq!(version("systemd:252"), Ok(Some([252, 0, 0])));
        for bad in ["", "lxc", "podman:", "podman:x", "podman:4.x", "podman:-1", "podman:4."] {
            assert!(version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_docker_takes_from_a_user_depends_on_the_version() {
        let takes = |text: &str| text.parse::<Runtime>().unwrap().takes_the_list();
        for old in ["docker:20.10.24", "docker:23.0.6", "docker:24.0.5"] {
            assert!(takes(old), "{old}");
        }
        for new in ["docker", "docker:23.0.7", "docker:24.0.6", "docker:26.1", "containerd:1.6"] {
            assert!(!takes(new), "{new}");
        }
    }

    #[test]
    fn what_is_inheritable_depends_on_the_version() {
        let inherits = |text: &str| text.parse::<Runtime>().unwrap().inherits();
        assert!(inherits("docker:20.10.13") && !inherits("docker:20.10.14"));
        assert!(inherits("podman:3.4") && !inherits("podman") && !inherits("crun:0.1"));
    }
}
