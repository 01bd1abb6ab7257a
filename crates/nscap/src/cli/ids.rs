// SPDX-License-Identifier: MIT OR Apache-2.0
//! Users and groups as chown(1) and setpriv(1) take them: a number, or a name of this machine's.

use nscap_linux::{LiveTask, Managed, Namespaces, Result as Found, group_id, user_ids};

/// A user.
#[derive(Clone, Copy)]
pub(crate) struct User {
    pub(crate) uid: u32,
    /// The login group of a name; of a number, the same number.
    pub(crate) gid: u32,
}

/// A process that runs.
#[derive(Clone, Debug)]
pub(crate) enum Process {
    Number(u32),
    Managed(Managed),
}

impl Process {
    pub(crate) fn read(&self, namespaces: &mut Namespaces) -> Found<LiveTask> {
        match self {
            Process::Number(pid) => LiveTask::read(*pid, namespaces),
            Process::Managed(managed) => {
                let leader = managed.leader()?;
                let task = LiveTask::read(leader.pid(), namespaces)?;
                // What was read is the same process's.
                leader.check()?;
                Ok(task)
            }
        }
    }
}

pub(super) fn process(text: &str) -> Result<Process, String> {
    if let Some(managed) = Managed::parse(text) {
        return managed.map(Process::Managed).map_err(|error| error.to_string());
    }
    let number = text.parse().ok().filter(|number| *number > 0);
    number
        .map(Process::Number)
        .ok_or_else(|| "not a process id, and not podman:NAME or the like".to_owned())
}

/// As chown(1), a name before a number.
pub(super) fn user(text: &str) -> Result<User, String> {
    let number = || text.parse().ok().map(|uid| User { uid, gid: uid });
    let named = user_ids(text).map(|(uid, gid)| User { uid, gid });
    named.or_else(number).ok_or_else(|| "neither a uid nor the name of a user here".to_owned())
}

pub(super) fn group(text: &str) -> Result<u32, String> {
    let id = group_id(text).or_else(|| text.parse().ok());
    id.ok_or_else(|| "neither a gid nor the name of a group here".to_owned())
}
