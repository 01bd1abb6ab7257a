// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap mount`: from arguments to a tree that is served, here or by a process that goes on when
//! this one is done.

mod apart;
pub(crate) mod detach;
pub(crate) mod helper;
mod options;
mod serve;
mod signals;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};

use nscap_linux::MountPoint;
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, LinkNameSpaceType, move_into_link_name_space};

use crate::cli;
use crate::failure::{Failure, call};
use crate::note;
use crate::out::Out;

use options::Wanted;

/// What nosuid means here, for the administrator.
const NOSUID: &str =
    "nosuid: execve looks at no capability there, so nothing that is granted has an effect";

/// What is to be mounted where, and how.
struct Request {
    /// A whole path, as the first column of mountinfo shows it.
    source: PathBuf,
    /// A whole path.
    target: PathBuf,
    wanted: Wanted,
    /// Whether the counters are printed at the end.
    stats: bool,
}

pub(crate) fn run(args: &cli::Mount, out: &mut Out) -> Result<u8, Failure> {
    let wanted = wanted(args)?;
    if let Some(namespace) = &args.namespace {
        enter(namespace)?;
    }
    let request = Request {
        source: whole(&args.source)?,
        target: whole(&args.target)?,
        wanted,
        stats: args.stats,
    };
    possible(&request.target)?;
    if request.wanted.nosuid && !args.detached {
        note(NOSUID);
    }
    if args.fake {
        return Ok(0);
    }
    if args.foreground || args.detached {
        serve::run(&request, args.detached, out)
    } else {
        detach::run(&request, out.is_json())
    }
}

/// The options, then what has a flag of its own.
fn wanted(args: &cli::Mount) -> Result<Wanted, Failure> {
    let mut wanted = Wanted::default();
    args.options.iter().try_for_each(|list| wanted.take(list, args.sloppy))?;
    wanted.policy = args.policy.over(wanted.policy);
    wanted.reachable_ok |= args.reachable_ok;
    wanted.source_owner_ok |= args.source_owner_ok;
    wanted.no_passthrough |= args.no_passthrough;
    wanted.no_io_uring |= args.no_io_uring;
    wanted.read_only |= args.read_only;
    wanted.threads = args.threads.map(usize::from).or(wanted.threads);
    Ok(wanted)
}

fn whole(path: &Path) -> Result<PathBuf, Failure> {
    std::fs::canonicalize(path).map_err(|error| call(path, "open", error))
}

/// Whether this process may mount, and nothing of ours is there already: a dead mount would come to
/// light again under the new one.
fn possible(target: &Path) -> Result<(), Failure> {
    let sets = rustix::thread::capabilities(None).map_err(|error| call(target, "capget", error))?;
    if !sets.effective.contains(CapabilitySet::SYS_ADMIN) {
        let problem = "only root may, or root of a user namespace in a mount namespace of its own \
            (unshare --map-root-user --mount)";
        return Err(call(target, problem, Errno::PERM));
    }
    let there = MountPoint::at(target)?;
    if there.is_some_and(|mount| mount.is_nscap()) {
        let problem = "a mount of nscap is there already (nscap umount takes it away)";
        return Err(call(target, problem, Errno::BUSY));
    }
    Ok(())
}

/// mount -N: a file of a mount namespace, or a process in it.
fn enter(namespace: &OsStr) -> Result<(), Failure> {
    let pid = namespace.to_str().and_then(|text| text.parse::<u32>().ok());
    let path = pid.map_or_else(|| namespace.to_owned(), |p| format!("/proc/{p}/ns/mnt").into());
    let path: &Path = path.as_ref();
    let file = File::open(path).map_err(|error| call(path, "open", error))?;
    move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Mount))
        .map_err(|error| call(path, "setns", error))
}

impl Request {
    /// The arguments of a server that does this.
    fn to_server(&self) -> Vec<OsString> {
        let mut all: Vec<OsString> = ["mount", "--detached", "-o"].map(OsString::from).into();
        all.push(self.wanted.to_list().into());
        all.extend(self.stats.then(|| "--stats".into()));
        all.extend(["--".into(), self.source.clone().into(), self.target.clone().into()]);
        all
    }
}
