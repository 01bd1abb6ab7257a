// SPDX-License-Identifier: MIT OR Apache-2.0
//! A task of a scenario as a real process with exactly the credentials that the scenario says,
//! which does the steps that it is told.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nscap_core::CapSet;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use rustix::process::Gid;
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};

use super::peer::{self, Peer};
use super::{Front, Machine, ops, userns};
use crate::outcome::Outcome;
use crate::scenario::{Step, Task};
use crate::text;

/// How long a step may take before the scenario counts as hung.
const PATIENCE: Duration = Duration::from_secs(20);

/// A task that waits for steps.
#[derive(Debug)]
pub(crate) struct Worker(Peer);

/// What a task answers to a step.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// What came of it, or why that cannot be told.
    pub(crate) outcome: Result<Outcome, String>,
    /// A process in the namespace that the step made.
    pub(crate) made_ns: Option<i32>,
}

impl Worker {
    /// Starts a task in the namespace `ns` (`None`: the runner's own), which finds the files in
    /// `dir`.
    pub(crate) fn start(
        task: &Task,
        ns: Option<BorrowedFd<'_>>,
        machine: &Machine,
        dir: &OwnedFd,
        steps: &[Step],
        front: Front,
    ) -> io::Result<Worker> {
        let mut peer = Peer::start(|line| {
            let work = |line: &mut UnixStream| {
                become_task(task, ns, machine)?;
                peer::say(line, "ready")?;
                serve(line, task, steps, (dir, front))
            };
            if task.pid_ns { peer::in_new_pid_ns(line, work) } else { work(line) }
        })?;
        peer.hear()?;
        peer.line.set_read_timeout(Some(PATIENCE))?;
        Ok(Worker(peer))
    }

    /// Has the task do the step of this number, with the namespace that it is about, if any.
    pub(crate) fn step(&mut self, n: usize, ns: Option<BorrowedFd<'_>>) -> io::Result<Reply> {
        send(&self.0.line, u32::try_from(n).map_err(io::Error::other)?, ns)?;
        let reply = self.0.hear().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::other("the task does not answer"),
            _ => error,
        })?;
        serde_json::from_str(&reply).map_err(io::Error::other)
    }
}

fn serve(
    line: &mut UnixStream,
    task: &Task,
    steps: &[Step],
    (dir, front): (&OwnedFd, Front),
) -> io::Result<()> {
    let mut kept = Vec::new();
    while let Some((n, ns)) = receive(line)? {
        let step = usize::try_from(n).ok().and_then(|n| steps.get(n));
        let step = step.ok_or_else(|| io::Error::other("no such step"))?;
        // A mount may be closed to a task as a whole, and open after it has entered a namespace.
        let at = if step.op.files().is_empty() { Ok(()) } else { rustix::process::fchdir(dir) };
        let performed = match at {
            Ok(()) => ops::perform(task, &step.op, ns.as_ref().map(AsFd::as_fd), front),
            Err(errno) => Ok((Outcome::Failed(errno.raw_os_error()), None)),
        };
        let reply = match performed {
            Ok((outcome, made)) => {
                let made_ns = made.as_ref().map(|peer| peer.pid.as_raw_nonzero().get());
                kept.extend(made);
                Reply { outcome: Ok(outcome), made_ns }
            }
            Err(error) => Reply { outcome: Err(error.to_string()), made_ns: None },
        };
        let json = serde_json::to_string(&reply).map_err(io::Error::other)?;
        line.write_all(format!("{json}\n").as_bytes())?;
    }
    Ok(())
}

fn send(line: &UnixStream, n: u32, ns: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = ns.map(|fd| [fd]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let bytes = n.to_ne_bytes();
    rustix::net::sendmsg(line, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The next step's number and namespace; `None` when the runner is gone.
fn receive(line: &UnixStream) -> io::Result<Option<(u32, Option<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 4];
    let mut iov = [IoSliceMut::new(&mut bytes)];
    let got = rustix::net::recvmsg(line, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if got.bytes < bytes.len() {
        return Ok(None);
    }
    let mut ns = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            ns = fds.last();
        }
    }
    Ok(Some((u32::from_ne_bytes(bytes), ns)))
}

/// Takes on the credentials of a task. What needs privilege comes first, and the capabilities
/// that do it go last.
pub(crate) fn become_task(
    task: &Task,
    ns: Option<BorrowedFd<'_>>,
    machine: &Machine,
) -> io::Result<()> {
    let everything = machine.everything(&task.ns);
    let set = |text: &str| text::set(text, everything).map_err(io::Error::other);
    let [permitted, effective, inheritable, ambient, bounding] = [
        set(&task.sets.permitted)?,
        set(&task.sets.effective)?,
        set(&task.sets.inheritable)?,
        set(&task.sets.ambient)?,
        set(&task.sets.bounding)?,
    ];
    userns::enter_with_caps(ns)?;
    let groups: Vec<Gid> = task.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    rustix::thread::set_thread_groups(&groups)?;
    userns::set_ids(task.uids, task.gids)?;
    set_caps(everything, everything, inheritable)?;
    for cap in each(ambient) {
        rustix::thread::configure_capability_in_ambient_set(cap, true)?;
    }
    for cap in each(everything.minus(bounding)) {
        rustix::thread::remove_capability_from_bounding_set(cap)?;
    }
    let securebits = CapabilitiesSecureBits::from_bits_retain(task.securebits);
    rustix::thread::set_capabilities_secure_bits(securebits)?;
    set_caps(effective, permitted, inheritable)?;
    if task.no_new_privs {
        rustix::thread::set_no_new_privs(true)?;
    }
    userns::stay_visible()
}

fn set_caps(effective: CapSet, permitted: CapSet, inheritable: CapSet) -> io::Result<()> {
    let set = |set: CapSet| CapabilitySet::from_bits_retain(set.bits());
    let [effective, permitted, inheritable] = [effective, permitted, inheritable].map(set);
    Ok(rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective, permitted, inheritable },
    )?)
}

fn each(set: CapSet) -> impl Iterator<Item = CapabilitySet> {
    set.iter().map(|cap| CapabilitySet::from_bits_retain(1 << cap.number()))
}
