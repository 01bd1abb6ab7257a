// SPDX-License-Identifier: MIT OR Apache-2.0
//! The processes of a tour. The first stays outside; the second makes namespaces; the third is the
//! init of the pid namespace and plays. When the third ends, however that comes, everything that it
//! started ends, and with the last process of the mount namespace everything that it mounted is
//! gone. It ends at the latest when the first does: both hold an end of one line.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus, Stdio};

use nscap_linux::isolate::{Kind, unshare};
use nscap_linux::pipe;
use rustix::process::{DumpableBehavior, Signal, getegid, geteuid};
use rustix::thread::CapabilitySet;

use super::cannot;
use super::ids::{self, Ids};
use crate::failure::{EINVAL, EIO, Failure, call};
use crate::mount::detach::SELF;
use crate::note;

/// The first: with a user namespace for the others where it may not mount by itself, or has too few
/// ids.
pub(super) fn begin(json: bool) -> Result<u8, Failure> {
    let sets =
        rustix::thread::capabilities(None).map_err(|error| call("/".as_ref(), "capget", error))?;
    let enough = matches!(Ids::here()?, Ids::Two { .. });
    if enough && sets.effective.contains(CapabilitySet::SYS_ADMIN) {
        let (line, mut child) = start("space", json)?;
        let status = wait(&mut child)?;
        drop(line);
        return Ok(status);
    }
    let (mut line, mut child) = start("user", json)?;
    let mut said = [0];
    // At end of file it has said why on standard error.
    if line.read(&mut said).is_ok_and(|read| read == 1) {
        if let Some(less) = ids::map(child.id(), geteuid().as_raw(), getegid().as_raw())? {
            note(&less);
        }
        line.write_all(&said).map_err(Failure::from)?;
    }
    wait(&mut child)
}

/// The second, where it needs a user namespace first.
pub(super) fn user(json: bool) -> Result<u8, Failure> {
    unshare(&[Kind::User]).map_err(|error| {
        let why = "this machine lets no ordinary user make a user namespace (sysctl \
            user.max_user_namespaces, kernel.unprivileged_userns_clone, \
            kernel.apparmor_restrict_unprivileged_userns); run it as root";
        cannot("user namespace", why, error.errno())
    })?;
    // Otherwise the first could not write the maps.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
        .map_err(|error| call("/".as_ref(), "prctl", error))?;
    let mut line = stdin()?;
    line.write_all(b"u")?;
    line.read_exact(&mut [0])?;
    keep_capabilities()?;
    space(json)
}

/// Where the namespace has no uid 0, execve would take every capability.
fn keep_capabilities() -> Result<(), Failure> {
    if geteuid().is_root() {
        return Ok(());
    }
    let failed = |error| call("/".as_ref(), "capset", error);
    let mut sets = rustix::thread::capabilities(None).map_err(failed)?;
    sets.inheritable = sets.permitted;
    rustix::thread::set_capabilities(None, sets).map_err(failed)?;
    for cap in sets.permitted.iter() {
        rustix::thread::configure_capability_in_ambient_set(cap, true).map_err(failed)?;
    }
    Ok(())
}

/// The second: makes the other namespaces, and waits for the third.
pub(super) fn space(json: bool) -> Result<u8, Failure> {
    die_with_parent()?;
    unshare(&[Kind::Mount, Kind::Pid])?;
    let mut child = part("stage", json);
    wait(&mut child.stdin(Stdio::inherit()).spawn().map_err(|e| call(SELF.as_ref(), "execve", e))?)
}

/// The third: sees to it that it does not outlive the first.
pub(super) fn stay_with_the_first() -> Result<(), Failure> {
    die_with_parent()?;
    let mut line = stdin()?;
    std::thread::spawn(move || {
        // Nothing is said on the line any more: it only ends.
        let _ = line.read(&mut [0]);
        std::process::exit(2)
    });
    Ok(())
}

fn die_with_parent() -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| call("/".as_ref(), "prctl", error))
}

fn part(name: &str, json: bool) -> Command {
    let mut command = Command::new(SELF);
    command.arg0("nscap").args(json.then_some("--json")).args(["tour", "--part", name]);
    command.env("PATH", super::path()).env("LC_ALL", "C");
    command
}

/// Starts a part whose standard input is the other end of the line.
fn start(name: &str, json: bool) -> Result<(UnixStream, std::process::Child), Failure> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = part(name, json);
    let child = command.stdin(OwnedFd::from(theirs)).spawn();
    Ok((ours, child.map_err(|error| call(SELF.as_ref(), "execve", error))?))
}

fn stdin() -> Result<UnixStream, Failure> {
    let line = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)
        .map_err(|error| call("/dev/stdin".as_ref(), "fcntl", error))?;
    let line = UnixStream::from(line);
    line.peer_addr().map_err(|_| cannot("--part", "is for the tour itself to say", EINVAL))?;
    Ok(line)
}

fn wait(child: &mut std::process::Child) -> Result<u8, Failure> {
    let status = child.wait().map_err(|error| call(SELF.as_ref(), "wait", error))?;
    let code = |status: ExitStatus| {
        let piped = status.signal() == Some(Signal::PIPE.as_raw());
        status.code().and_then(|code| u8::try_from(code).ok()).or(piped.then_some(pipe::STATUS))
    };
    code(status).ok_or_else(|| cannot("the tour", &format!("was ended ({status})"), EIO))
}
