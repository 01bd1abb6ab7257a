// SPDX-License-Identifier: MIT OR Apache-2.0
//! What to change, in the words of the file or command line that starts the task. Each names the
//! least that suffices.

use std::path::PathBuf;

use nscap_core::CapSet;

use super::Engine;
use crate::out;

/// Where the start is described.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Words {
    /// Options of this command, and the engine that they stand for.
    Options(Engine),
    Oci(PathBuf),
    /// The arguments of `podman run` or `docker run`.
    Run(Engine),
    /// A pod's file, and the container.
    Pod {
        file: PathBuf,
        field: String,
        container: String,
    },
    Unit {
        name: String,
        /// Whether another setting implies NoNewPrivileges=, which then cannot be turned off.
        implied: bool,
    },
}

impl Words {
    /// What it is called in a sentence.
    pub(crate) fn name(&self) -> String {
        match self {
            Words::Options(_) => "the options".to_owned(),
            Words::Oci(path) => out::path(path),
            Words::Run(engine) => format!("{} run", engine.name()),
            Words::Pod { file, container, .. } => {
                format!("container {} of {}", out::name(container.as_bytes()), out::path(file))
            }
            Words::Unit { name, .. } => out::name(name.as_bytes()),
        }
    }

    /// How to let the task gain these of a file.
    pub(crate) fn bound(&self, caps: CapSet) -> String {
        match self {
            Words::Options(_) => format!("--add {}", list(caps, "", ",")),
            Words::Oci(path) => format!(
                "in {}, add {} to process.capabilities.bounding",
                out::path(path),
                quoted(caps, "CAP_")
            ),
            Words::Run(engine) => {
                let add = caps.iter().map(|cap| format!("--cap-add={}", short(cap.name())));
                format!("{} run {}", engine.name(), add.collect::<Vec<_>>().join(" "))
            }
            Words::Pod { field, .. } => {
                format!("{field}.securityContext.capabilities.add: [{}]", quoted(caps, ""))
            }
            Words::Unit { .. } => format!(
                "CapabilityBoundingSet={} in a drop-in ({})",
                list(caps, "CAP_", " "),
                self.edit()
            ),
        }
    }

    /// How to let it gain something under no_new_privs: by having it permitted where that is
    /// possible, or without no_new_privs.
    pub(crate) fn new_privileges(&self, caps: CapSet) -> String {
        match self {
            Words::Options(Engine::Docker) => "leave out --no-new-privileges".to_owned(),
            Words::Options(Engine::Systemd) => "leave out --no-new-privileges".to_owned(),
            Words::Options(_) => {
                format!("--add {}: what is permitted before is not new", list(caps, "", ","))
            }
            Words::Oci(path) => format!(
                "in {}, add {} to process.capabilities.permitted and .bounding: what is permitted \
                 before is not new (or process.noNewPrivileges: false)",
                out::path(path),
                quoted(caps, "CAP_")
            ),
            Words::Run(Engine::Docker) => {
                "docker run --security-opt=no-new-privileges=false".to_owned()
            }
            Words::Run(_) => format!("{}: what is permitted before is not new", self.bound(caps)),
            Words::Pod { field, .. } => format!(
                "{}: what is permitted before is not new (or \
                 {field}.securityContext.allowPrivilegeEscalation: true)",
                self.bound(caps)
            ),
            Words::Unit { implied: true, .. } => {
                format!("{}: what is permitted before is not new", self.keep(caps))
            }
            Words::Unit { .. } => format!("NoNewPrivileges=no in a drop-in ({})", self.edit()),
        }
    }

    /// How the task keeps these after it executes a file that gives nothing.
    pub(crate) fn keep(&self, caps: CapSet) -> String {
        match self {
            Words::Options(Engine::Podman) | Words::Run(Engine::Podman) => {
                format!("{} with --user: podman makes it ambient then", self.bound(caps))
            }
            Words::Oci(path) => format!(
                "in {}, add {} to process.capabilities.bounding, .permitted, .inheritable and \
                 .ambient",
                out::path(path),
                quoted(caps, "CAP_")
            ),
            Words::Unit { .. } => format!(
                "AmbientCapabilities={} in a drop-in ({})",
                list(caps, "CAP_", " "),
                self.edit()
            ),
            Words::Options(_) | Words::Run(_) | Words::Pod { .. } => {
                let field = if matches!(self, Words::Pod { .. }) { "field" } else { "option" };
                format!(
                    "there is no {field} for ambient capabilities: give them to the file in the image"
                )
            }
        }
    }

    fn edit(&self) -> String {
        match self {
            Words::Unit { name, .. } => format!("systemctl edit {}", out::name(name.as_bytes())),
            _ => String::new(),
        }
    }
}

fn short(name: &str) -> String {
    name.trim_start_matches("cap_").to_ascii_uppercase()
}

fn list(caps: CapSet, prefix: &str, between: &str) -> String {
    let names = caps.iter().map(|cap| format!("{prefix}{}", short(cap.name())));
    names.collect::<Vec<_>>().join(between)
}

fn quoted(caps: CapSet, prefix: &str) -> String {
    let names = caps.iter().map(|cap| format!("\"{prefix}{}\"", short(cap.name())));
    names.collect::<Vec<_>>().join(", ")
}
