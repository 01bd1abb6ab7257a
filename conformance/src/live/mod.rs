// SPDX-License-Identifier: MIT OR Apache-2.0
//! The live kernel: every scenario in real user namespaces, with real files and a real execve.
//!
//! Each scenario has a process of its own (the stage) with its own mount namespace. Everything
//! that it makes is in that namespace or a child of that process, so nothing is left when it ends,
//! however it ends. Root is needed; what the machine lacks beyond that skips single scenarios.

pub(crate) mod disk;
pub(crate) mod fuse;
pub(crate) mod hold;
pub(crate) mod image;
mod machine;
pub(crate) mod ops;
pub(crate) mod peer;
pub(crate) mod ring;
mod stage;
pub(crate) mod sys;
pub(crate) mod task;
pub(crate) mod userns;

use std::io;

use nscap_core::SYSCTLS;
use serde::{Deserialize, Serialize};

pub use disk::content;
pub use machine::{Machine, version};

use crate::outcome::Outcome;
use crate::scenario::{FsKind, Scenario};
use image::Image;
use peer::Peer;

/// Why a scenario has no outcome.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// This machine cannot play it.
    #[error("skipped: {0}")]
    Skipped(String),
    /// Something went wrong that has nothing to do with what is tested.
    #[error("{0}")]
    Broken(String),
}

/// Says what was being done when a call failed.
fn context<T>(what: &str, result: io::Result<T>) -> Result<T, Failure> {
    result.map_err(|error| Failure::Broken(format!("{what}: {error}")))
}

/// What decides about the two attributes on the kernel that runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Front {
    /// Nothing but the kernel's own rules.
    Bare,
    /// The kernel itself, by the design's rules; its policy is in /proc/sys/kernel.
    Linux,
    /// A FUSE server in front of the files.
    Fuse,
}

impl Front {
    /// Sets the policy, where there is one to set.
    fn follow(self, policy: nscap_core::Policy) -> io::Result<()> {
        if self != Front::Linux {
            return Ok(());
        }
        let ((array, busy), numbers) = (SYSCTLS, policy.numbers());
        std::fs::write(array, numbers.0.to_string())?;
        std::fs::write(busy, numbers.1.to_string())
    }
}

/// Plays scenarios on the kernel that runs.
#[derive(Debug)]
pub struct Runner {
    machine: Machine,
    front: Front,
    image: Option<Image>,
}

/// Whether we may make namespaces, mounts and entries.
///
/// # Errors
/// [`Failure::Skipped`] if not.
pub(crate) fn needs_root(machine: &Machine) -> Result<(), Failure> {
    let need = [nscap_core::Capability::SysAdmin, nscap_core::Capability::Setfcap];
    let able = need.iter().all(|cap| machine.available.has(*cap));
    if rustix::process::geteuid().is_root() && able {
        Ok(())
    } else {
        Err(Failure::Skipped("needs root".to_owned()))
    }
}

impl Runner {
    /// Prepares to play these scenarios. The process moves to a mount namespace of its own; it
    /// must not have started a thread.
    ///
    /// # Errors
    /// [`Failure::Skipped`] where the process is not root; [`Failure::Broken`].
    pub fn new(scenarios: &[&Scenario]) -> Result<Runner, Failure> {
        Runner::with(Front::Bare, scenarios)
    }

    /// As [`new`](Runner::new), with this front end.
    ///
    /// # Errors
    /// As [`new`](Runner::new); [`Failure::Skipped`] where the kernel is not the one that is asked
    /// for.
    pub fn with(front: Front, scenarios: &[&Scenario]) -> Result<Runner, Failure> {
        if (front == Front::Linux) != std::path::Path::new(SYSCTLS.0).exists() {
            return Err(Failure::Skipped("another kernel runs here".to_owned()));
        }
        let machine = Machine::this();
        needs_root(&machine)?;
        context("mounts of its own", sys::own_mounts())?;
        let on_ext4: Vec<(usize, &Scenario)> = scenarios
            .iter()
            .enumerate()
            .filter(|(_, scenario)| scenario.world.fs.kind == FsKind::Ext4)
            .map(|(n, scenario)| (n, *scenario))
            .collect();
        let image = if on_ext4.is_empty() { None } else { Some(Image::new(&on_ext4)?) };
        Ok(Runner { machine, front, image })
    }

    /// What this machine gives.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Plays the scenario that is the `n`th of those given to [`new`](Runner::new), and gives one
    /// outcome for each step.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn run(&self, n: usize, scenario: &Scenario) -> Result<Vec<Outcome>, Failure> {
        let image = self.image.as_ref().filter(|_| scenario.world.fs.kind == FsKind::Ext4);
        let stage = Peer::start(|line| {
            let files = || image.map(|image| image.files(n));
            let played = stage::play(scenario, &self.machine, self.front, files);
            let json = serde_json::to_string(&played).map_err(io::Error::other)?;
            peer::say(line, &json)
        });
        let said = context("the scenario's process", stage.and_then(|mut stage| stage.hear()))?;
        serde_json::from_str(&said).map_err(|error| Failure::Broken(error.to_string()))?
    }
}
