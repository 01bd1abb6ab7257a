// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap tour`: the eight points of the design, played with real namespaces, the tools that people
//! have, and a real execve, on a file system of its own; each answer held against what its clause
//! says it must be.

mod ask;
mod chain;
mod front;
mod ids;
mod people;
mod play;
mod script;
mod tell;

use std::path::{Path, PathBuf};

use nscap_linux::probe;

use crate::cli::{Tour, TourPart};
use crate::failure::Failure;
use crate::out::Out;

pub(crate) fn run(args: &Tour, out: &mut Out) -> Result<u8, Failure> {
    match args.part {
        None => {
            tools()?;
            front::possible(args.kernel)?;
            outside_of_a_chroot()?;
            chain::begin(out.is_json())
        }
        Some(TourPart::User) => chain::user(out.is_json()),
        Some(TourPart::Space) => chain::space(out.is_json()),
        Some(TourPart::Stage) => {
            chain::stay_with_the_first()?;
            play::run(out)
        }
    }
}

/// The tools that the tour plays with, and the Debian package of each.
const TOOLS: [(&str, &str); 7] = [
    ("setcap", "libcap2-bin"),
    ("getcap", "libcap2-bin"),
    ("setfattr", "attr"),
    ("getfattr", "attr"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
];

/// Where tools are: an ordinary user's PATH lacks what is root's.
fn path() -> String {
    let given = std::env::var("PATH").unwrap_or_default();
    format!("{given}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
}

fn find(program: &str) -> Option<PathBuf> {
    path().split(':').map(|dir| Path::new(dir).join(program)).find(|file| file.is_file())
}

fn tools() -> Result<(), Failure> {
    let missing = TOOLS.iter().filter(|(tool, _)| find(tool).is_none());
    let missing: Vec<_> = missing.map(|(tool, package)| format!("{tool} ({package})")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(cannot(&missing.join(", "), "not found; in brackets the package that has it, in Debian", 2))
}

/// The kernel makes no user namespace for a task whose root directory is not that of its mount
/// namespace.
fn outside_of_a_chroot() -> Result<(), Failure> {
    match probe::user_namespace() {
        Err(error) if probe::is_chroot() => {
            let why = "a chroot can make none (user_namespaces(7)); run it outside, or in a container whose root \
                was changed by pivot_root(2)";
            Err(cannot("user namespace", why, error.errno()))
        }
        // What else there may be is said where it is made.
        _ => Ok(()),
    }
}

/// Why the tour cannot be played here.
fn cannot(what: &str, problem: &str, errno: i32) -> Failure {
    Failure::Input { what: what.to_owned(), problem: problem.to_owned(), errno }
}
