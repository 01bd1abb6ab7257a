//! The running system as a command asks about it: all live namespaces, but only once somebody
//! wants to know them, and for whom a root kuid stands here.

use std::collections::HashMap;
use std::ffi::OsStr;

use nscap_core::Kuid;
use nscap_linux::{CapFile, FileState, LiveNs, Mount, Namespaces, Subids, Target, Who};
use serde::Serialize;

use crate::failure::Failure;
use crate::out;

/// The namespaces that are known so far.
pub(crate) struct System {
    pub(crate) namespaces: Namespaces,
    scanned: bool,
    subids: Option<Subids>,
    /// By the mount's id, which no later mount has.
    mounts: HashMap<u64, Mount>,
    holders: HashMap<Kuid, Vec<Holder>>,
}

impl System {
    pub(crate) fn new() -> Result<System, Failure> {
        Ok(System {
            namespaces: Namespaces::own()?,
            scanned: false,
            subids: None,
            mounts: HashMap::new(),
            holders: HashMap::new(),
        })
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
        let Some(id) = Mount::id_of(file) else {
            return Ok(file.read(&mut self.namespaces)?);
        };
        let mount = match self.mounts.get(&id) {
            Some(known) => known.clone(),
            None => {
                let mount = Mount::of(file, file.path(), &mut self.namespaces)?;
                self.mounts.entry(id).or_insert(mount).clone()
            }
        };
        Ok(file.read_through(mount, &self.namespaces)?)
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
        if let Some(known) = self.holders.get(&kuid) {
            return Ok(known.clone());
        }
        let found = self.find_holders(kuid)?;
        Ok(self.holders.entry(kuid).or_insert(found).clone())
    }

    fn find_holders(&mut self, kuid: Kuid) -> Result<Vec<Holder>, Failure> {
        self.scan()?;
        let mut live: Vec<Holder> = self.namespaces.rooted(kuid).map(Holder::of).collect();
        live.sort_by_key(|holder| match holder {
            Holder::Live { pid, .. } => pid.unwrap_or(u32::MAX),
            _ => u32::MAX,
        });
        let unseen = self.namespaces.unseen_with_root(kuid).map(|pid| Holder::Unseen { pid });
        live.extend(unseen.collect::<Vec<_>>());
        let text = |user: &[u8]| String::from_utf8_lossy(user).into_owned();
        let subids = self.subids()?;
        let first: Vec<&[u8]> = subids.first_ranges_at(kuid.get()).collect();
        live.extend(first.iter().map(|user| Holder::Configured { user: text(user) }));
        let within = subids.ranges.iter().filter(|range| range.contains(kuid.get()));
        let mut within: Vec<&[u8]> = within.map(|range| range.user.as_slice()).collect();
        within.sort_unstable();
        within.dedup();
        within.retain(|user| !first.contains(user));
        live.extend(within.into_iter().map(|user| Holder::Range { user: text(user) }));
        live.extend(nscap_linux::user_name(kuid).map(|user| Holder::User { user }));
        Ok(live)
    }
}

/// One for whom a root kuid stands.
#[derive(Clone, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Holder {
    /// A live namespace.
    Live { namespace: u64, pid: Option<u32>, command: Option<String> },
    /// A process in a namespace that we may not look at.
    Unseen { pid: u32 },
    /// The first subordinate range of a user.
    Configured { user: String },
    /// A later id of a subordinate range of a user.
    Range { user: String },
    /// A user's own uid, of which any process of theirs can make a namespace's root.
    User { user: String },
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
        _ => None,
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
    let mut unseen = holders.iter().filter_map(|holder| match holder {
        Holder::Unseen { pid } => Some(pid),
        _ => None,
    });
    if let Some(pid) = unseen.next() {
        parts.push(format!("root of the namespace of pid {pid}"));
    }
    for holder in holders {
        let (what, user) = match holder {
            Holder::Live { .. } | Holder::Unseen { .. } => continue,
            Holder::Configured { user } => ("first subordinate range of", user),
            Holder::Range { user } => ("within a subordinate range of", user),
            Holder::User { user } => ("the uid of", user),
        };
        parts.push(format!("{what} {}", out::name(user.as_bytes())));
    }
    if parts.is_empty() { "nobody running or configured here".to_owned() } else { parts.join(", ") }
}
