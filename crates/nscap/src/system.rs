//! The running system as a command asks about it: all live namespaces, but only once somebody
//! wants to know them, and for whom a root kuid stands here.

use std::ffi::OsStr;

use nscap_core::Kuid;
use nscap_linux::{CapFile, FileState, LiveNs, Namespaces, Subids, Target, Who};
use serde::Serialize;

use crate::failure::Failure;
use crate::out;

/// The namespaces that are known so far.
pub(crate) struct System {
    pub(crate) namespaces: Namespaces,
    scanned: bool,
    subids: Option<Subids>,
}

impl System {
    pub(crate) fn new() -> Result<System, Failure> {
        Ok(System { namespaces: Namespaces::own()?, scanned: false, subids: None })
    }

    /// Finds every live namespace.
    pub(crate) fn scan(&mut self) -> Result<(), Failure> {
        if !self.scanned {
            self.namespaces.complete()?;
            self.scanned = true;
        }
        Ok(())
    }

    pub(crate) fn resolve(&mut self, who: &OsStr) -> Result<Target, Failure> {
        Ok(Who::parse(who)?.resolve(&mut self.namespaces)?)
    }

    pub(crate) fn read(&mut self, file: &CapFile) -> Result<FileState, Failure> {
        Ok(file.read(&mut self.namespaces)?)
    }

    pub(crate) fn subids(&mut self) -> Result<&Subids, Failure> {
        let subids = match self.subids.take() {
            Some(known) => known,
            None => Subids::configured()?,
        };
        Ok(self.subids.insert(subids))
    }

    /// For whom a root kuid stands, among what runs and what is configured here.
    pub(crate) fn holders(&mut self, kuid: Kuid) -> Result<Vec<Holder>, Failure> {
        self.scan()?;
        let mut live: Vec<Holder> = self.namespaces.rooted(kuid).map(Holder::of).collect();
        live.sort_by_key(|holder| match holder {
            Holder::Live { pid, .. } => pid.unwrap_or(u32::MAX),
            Holder::Configured { .. } => u32::MAX,
        });
        let users = self.subids()?.first_ranges_at(kuid.get());
        let users = users
            .map(|user| Holder::Configured { user: String::from_utf8_lossy(user).into_owned() });
        live.extend(users);
        Ok(live)
    }
}

/// One for whom a root kuid stands.
#[derive(Clone, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Holder {
    /// A live namespace.
    Live { namespace: u64, pid: Option<u32>, command: Option<String> },
    /// The first subordinate range of a user.
    Configured { user: String },
}

impl Holder {
    fn of(ns: LiveNs<'_>) -> Holder {
        let first = ns.first_process();
        Holder::Live {
            namespace: ns.inode(),
            pid: first.as_ref().map(|process| process.pid),
            command: first.map(|process| String::from_utf8_lossy(&process.comm).into_owned()),
        }
    }
}

/// For whom an entry holds, in one phrase.
pub(crate) fn describe(holders: &[Holder]) -> String {
    let mut live = holders.iter().filter_map(|holder| match holder {
        Holder::Live { namespace, pid, command } => Some((namespace, pid, command)),
        Holder::Configured { .. } => None,
    });
    let mut parts = Vec::new();
    if let Some((namespace, pid, command)) = live.next() {
        parts.push(match (pid, command) {
            (Some(pid), Some(command)) => {
                let command = out::name(command.as_bytes());
                format!("root of the namespace of pid {pid} ({command})")
            }
            _ => format!("root of the namespace user:[{namespace}]"),
        });
    }
    match live.count() {
        0 => {}
        more => parts.push(format!("also {more} more")),
    }
    for holder in holders {
        if let Holder::Configured { user } = holder {
            let user = out::name(user.as_bytes());
            parts.push(format!("first subordinate range of {user}"));
        }
    }
    if parts.is_empty() { "nobody running or configured here".to_owned() } else { parts.join(", ") }
}
