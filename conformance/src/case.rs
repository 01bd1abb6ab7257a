// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cases that no table of steps can say: code that plays on a file system with two
//! containers and tells whether what it tries to break held.

use std::io;

use nscap_core::Busy;
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use crate::live::peer::{self, Peer};
use crate::live::sys;
use crate::live::{Failure, Front, Machine, needs_root};

/// What an attack is played against.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// What decides about the two attributes.
    pub front: Front,
    /// On a FUSE mount: whether the kernel reads and writes the files itself.
    pub passthrough: bool,
    /// What a write does where an entry is in its way (B).
    pub busy: Busy,
}

/// A case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Unique among all.
    pub name: &'static str,
    /// The clauses that it is about.
    pub clauses: &'static [&'static str],
    /// One sentence for people.
    pub about: &'static str,
    /// Whether it is played with and without passthrough.
    pub both_ways: bool,
    pub(crate) play: fn(Setting) -> Result<(), Why>,
}

/// Why a case did not pass.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Why {
    /// A task gained, was shown, or was refused what it must not.
    #[error("{0}")]
    Through(String),
    /// This machine cannot play it.
    #[error("skipped: {0}")]
    Skipped(String),
    /// Something went wrong that has nothing to do with what is tested.
    #[error("broken: {0}")]
    Broken(String),
}

impl From<io::Error> for Why {
    fn from(error: io::Error) -> Why {
        Why::Broken(error.to_string())
    }
}

impl From<rustix::io::Errno> for Why {
    fn from(errno: rustix::io::Errno) -> Why {
        Why::Broken(errno.to_string())
    }
}

impl From<Failure> for Why {
    fn from(failure: Failure) -> Why {
        match failure {
            Failure::Skipped(reason) => Why::Skipped(reason),
            Failure::Broken(problem) => Why::Broken(problem),
        }
    }
}

/// The two ways that a FUSE mount has to read and write.
impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.front, self.passthrough) {
            (Front::Fuse, false) => f.write_str(" (without passthrough)"),
            _ => Ok(()),
        }
    }
}

impl Case {
    /// What it is played against: on a FUSE mount, each way of reading and writing that matters.
    #[must_use]
    pub fn settings(&self, fuse: bool) -> Vec<Setting> {
        let front = if fuse { Front::Fuse } else { Front::Bare };
        let ways: &[bool] = if fuse && self.both_ways { &[true, false] } else { &[true] };
        let setting = |passthrough| Setting { front, passthrough, busy: Busy::Error };
        ways.iter().copied().map(setting).collect()
    }
}

/// Plays a case in a process and a mount namespace of its own. The caller must not have started
/// a thread.
///
/// # Errors
/// [`Why`].
pub fn play(case: &Case, setting: Setting) -> Result<(), Why> {
    needs_root(&Machine::this())?;
    let mut stage = Peer::start(|line| {
        let played = sys::unshare(UnshareFlags::NEWNS)
            .map_err(Why::from)
            .and_then(|()| (case.play)(setting));
        peer::say(line, &serde_json::to_string(&played).map_err(io::Error::other)?)
    })?;
    serde_json::from_str(&stage.hear()?).map_err(|error| Why::Broken(error.to_string()))?
}
