// SPDX-License-Identifier: MIT OR Apache-2.0
//! `--cap-add` and `--cap-drop` as each engine takes them, and the sets that it makes of them.

use nscap_core::{CapSet, Capability};

use super::{Engine, Machine, Runtime, Sets, input};
use crate::failure::Failure;

/// Names of capabilities, and `ALL`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Names {
    pub(super) all: bool,
    pub(super) caps: CapSet,
}

impl Names {
    /// Reads names, of which each may be several with commas between.
    ///
    /// # Errors
    /// EINVAL where one names no capability.
    pub(super) fn read<'t>(names: impl IntoIterator<Item = &'t str>) -> Result<Names, Failure> {
        let mut read = Names::default();
        for name in names.into_iter().flat_map(|names| names.split(',')).map(str::trim) {
            if name.eq_ignore_ascii_case("all") {
                read.all = true;
            } else if !name.is_empty() {
                read.caps = read.caps.with(capability(name)?);
            }
        }
        Ok(read)
    }
}

/// A name with or without `CAP_`, in any case.
pub(super) fn capability(name: &str) -> Result<Capability, Failure> {
    let long = format!("cap_{name}");
    Capability::from_name(name.as_bytes())
        .or_else(|| Capability::from_name(long.as_bytes()))
        .ok_or_else(|| input(crate::out::name(name.as_bytes()), "no capability has this name"))
}

/// What the options say of a container's capabilities.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) base: CapSet,
    pub(super) add: Names,
    pub(super) drop: Names,
    pub(super) privileged: bool,
}

impl Change {
    /// The list that the engine comes to.
    pub(super) fn merged(&self, engine: Engine, machine: &Machine) -> Result<CapSet, Failure> {
        let Change { base, add, drop, privileged } = *self;
        if privileged {
            return Ok(machine.all);
        }
        match engine {
            Engine::Podman => self.podman(machine),
            // "All" of what is added or dropped first, then single names.
            Engine::Containerd | Engine::Crio => {
                let base = if add.all { machine.all } else { base };
                let base = if drop.all { CapSet::EMPTY } else { base };
                Ok((base | add.caps).minus(drop.caps) & machine.all)
            }
            // What is added is added, whatever is dropped.
            Engine::Docker => Ok(machine.all
                & match (add.all, drop.all) {
                    (true, _) => machine.all.minus(drop.caps),
                    (false, true) => add.caps,
                    (false, false) => base.minus(drop.caps) | add.caps,
                }),
            Engine::Crun | Engine::Runc | Engine::Systemd => {
                let base = if drop.all { CapSet::EMPTY } else { base.minus(drop.caps) };
                let base = if add.all { machine.all } else { base | add.caps };
                Ok(base & machine.all)
            }
        }
    }

    fn podman(&self, machine: &Machine) -> Result<CapSet, Failure> {
        let Change { base, add, drop, .. } = *self;
        let both = add.caps & drop.caps;
        if add.all && drop.all {
            return Err(input("--cap-add, --cap-drop", "podman does not take ALL for both"));
        }
        if drop.all {
            return Ok(add.caps & machine.all);
        }
        if !both.is_empty() && !add.all {
            return Err(input(
                both.to_string(),
                "podman does not take it for --cap-add and --cap-drop both",
            ));
        }
        let base = if add.all { machine.all } else { base | add.caps };
        Ok(base.minus(drop.caps) & machine.all)
    }

    /// The sets for a user that is root or another one.
    pub(super) fn sets(
        &self,
        runtime: Runtime,
        as_root: bool,
        machine: &Machine,
    ) -> Result<Sets, Failure> {
        let list = self.merged(runtime.engine, machine)?;
        let inheritable = if runtime.inherits() { list } else { CapSet::EMPTY };
        let all = Sets {
            bounding: list,
            permitted: list,
            effective: list,
            inheritable,
            ambient: CapSet::EMPTY,
        };
        let none = CapSet::EMPTY;
        Ok(match runtime.engine {
            // Another user has what was added by name, and that is ambient.
            Engine::Podman if !as_root => {
                let own = if self.add.all { machine.all } else { self.add.caps & machine.all };
                Sets {
                    bounding: list,
                    permitted: own,
                    effective: own,
                    inheritable: own,
                    ambient: own,
                }
            }
            Engine::Docker if !as_root && runtime.takes_the_list() => {
                Sets { permitted: none, effective: none, ..all }
            }
            _ => all,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Machine = Machine { all: CapSet::KNOWN, known: CapSet::KNOWN };

    fn change(add: &str, drop: &str) -> Change {
        Change {
            base: Engine::Podman.defaults(),
            add: Names::read([add]).unwrap(),
            drop: Names::read([drop]).unwrap(),
            privileged: false,
        }
    }

    #[test]
    fn names_are_taken_with_and_without_their_prefix() {
        let names = Names::read(["NET_RAW,cap_chown", "all"]).unwrap();
        assert!(names.all && names.caps == CapSet::of(&[Capability::NetRaw, Capability::Chown]));
        assert!(Names::read(["net_row"]).is_err());
    }

    #[test]
    fn engines_differ_where_both_are_said() {
        let raw = CapSet::of(&[Capability::NetRaw]);
        let both = change("ALL", "NET_RAW");
        assert_eq!(both.merged(Engine::Docker, &ALL).unwrap(), CapSet::KNOWN.minus(raw));
        assert_eq!(both.merged(Engine::Containerd, &ALL).unwrap(), CapSet::KNOWN.minus(raw));
        let alone = change("NET_RAW", "ALL");
        for engine in [Engine::Podman, Engine::Docker, Engine::Containerd, Engine::Crun] {
            assert_eq!(alone.merged(engine, &ALL).unwrap(), raw, "{engine:?}");
        }
        let same = change("NET_RAW", "NET_RAW");
        assert!(same.merged(Engine::Podman, &ALL).is_err());
        assert!(same.merged(Engine::Docker, &ALL).unwrap().has(Capability::NetRaw));
        assert!(!same.merged(Engine::Containerd, &ALL).unwrap().has(Capability::NetRaw));
    }

    #[test]
    fn what_another_user_has_differs() {
        let raw = CapSet::of(&[Capability::NetRaw]);
        let of = |runtime| change("NET_RAW", "ALL").sets(runtime, false, &ALL).unwrap();
        assert_eq!(of(Runtime::today(Engine::Podman)).ambient, raw);
        for engine in [Engine::Containerd, Engine::Docker] {
            let sets = of(Runtime::today(engine));
            assert_eq!((sets.permitted, sets.ambient), (raw, CapSet::EMPTY), "{engine:?}");
        }
        let old = of("docker:20.10.24".parse().unwrap());
        assert_eq!((old.permitted, old.bounding), (CapSet::EMPTY, raw));
    }
}
