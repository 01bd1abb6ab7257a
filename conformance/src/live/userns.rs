// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real user namespaces: made by the task that the scenario says, their maps written by one that
//! may.
//!
//! Two processes make a namespace. The first enters the parent and keeps every capability there;
//! its child takes the owner's id and unshares. Then the first writes the maps. A descriptor keeps
//! the namespace when both are gone.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use nscap_core::Extent;
use rustix::process::{DumpableBehavior, Gid, Pid, Signal, Uid};
use rustix::thread::{CapabilitiesSecureBits, LinkNameSpaceType, UnshareFlags};

use super::peer::{Peer, say, until_end};
use super::sys;
use crate::scenario::Maps;

/// Makes a user namespace below `parent` (`None`: the runner's own) as this uid and gid of the
/// parent.
pub(crate) fn make(
    parent: Option<BorrowedFd<'_>>,
    owner: (u32, u32),
    maps: &Maps,
) -> io::Result<OwnedFd> {
    let mut maker = Peer::start(|line| {
        enter_with_caps(parent)?;
        let mut child = Peer::start(|line| {
            set_ids([owner.0; 3], [owner.1; 3])?;
            sys::unshare(UnshareFlags::NEWUSER)?;
            say(line, "unshared")?;
            until_end(line);
            Ok(())
        })?;
        child.hear()?;
        write_maps(child.pid, maps, true)?;
        say(line, &child.pid.as_raw_nonzero().to_string())?;
        until_end(line);
        Ok(())
    })?;
    let child = maker.hear()?;
    open(&child)
}

/// A descriptor of the user namespace that the process of this id is in.
pub(crate) fn open(pid: &str) -> io::Result<OwnedFd> {
    Ok(std::fs::File::open(format!("/proc/{pid}/ns/user"))?.into())
}

/// Enters a namespace, and sees to it that changing ids costs no capability.
pub(crate) fn enter_with_caps(ns: Option<BorrowedFd<'_>>) -> io::Result<()> {
    if let Some(ns) = ns {
        enter(ns)?;
    }
    Ok(rustix::thread::set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP)?)
}

/// setns(2) to a user namespace.
pub(crate) fn enter(ns: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::thread::move_into_link_name_space(ns, Some(LinkNameSpaceType::User))?)
}

/// Undoes what a change of credentials does beside: a process that is not dumpable could not write
/// the maps of its own child, and one without a death signal would outlive the runner.
pub(crate) fn stay_visible() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Sets real, effective and saved ids.
pub(crate) fn set_ids([ru, eu, su]: [u32; 3], [rg, eg, sg]: [u32; 3]) -> io::Result<()> {
    let (u, g) = (Uid::from_raw, Gid::from_raw);
    rustix::thread::set_thread_res_gid(g(rg), g(eg), g(sg))?;
    Ok(rustix::thread::set_thread_res_uid(u(ru), u(eu), u(su))?)
}

/// Whether this process may map gids of its present namespace for a child without giving up
/// setgroups(2) there.
pub(crate) fn keeps_setgroups() -> io::Result<bool> {
    let effective = rustix::thread::capabilities(None)?.effective;
    Ok(effective.contains(rustix::thread::CapabilitySet::SETGID))
}

/// Writes both maps of the namespace that a process has made.
pub(crate) fn write_maps(pid: Pid, maps: &Maps, keeps_setgroups: bool) -> io::Result<()> {
    let dir = format!("/proc/{}", pid.as_raw_nonzero());
    if !keeps_setgroups {
        std::fs::write(format!("{dir}/setgroups"), "deny")?;
    }
    std::fs::write(format!("{dir}/uid_map"), lines(&maps.uids))?;
    std::fs::write(format!("{dir}/gid_map"), lines(&maps.gids))
}

fn lines(map: &[Extent]) -> String {
    map.iter().map(|e| format!("{} {} {}\n", e.inside, e.outside, e.count)).collect()
}
