// SPDX-License-Identifier: MIT OR Apache-2.0
//! The running system for a command: all live namespaces, which are read when first needed, and the
//! holders of a root kuid.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use nscap_core::Kuid;
use nscap_linux::{CapFile, FileState, LiveNs, Mount, Namespaces, Subids, Target, Who};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
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
    /// Whether it is worked out in which namespaces each grant holds, for a picture.
    pub(crate) draws: bool,
}

impl System {
    pub(crate) fn new() -> Result<System, Failure> {
        Ok(System {
            namespaces: Namespaces::own()?,
            scanned: false,
            subids: None,
            mounts: HashMap::new(),
            holders: HashMap::new(),
            draws: false,
        })
    }

    /// Asks something about a file in another thread, which is left where it is when the file
    /// system does not answer. What is known by then is lost with it.
    pub(crate) fn ask<T: Send + 'static>(
        &mut self,
        path: &Path,
        patience: Duration,
        ask: impl FnOnce(&mut System) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let mut system = std::mem::replace(self, System::new()?);
        let (sender, answer) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let answer = ask(&mut system);
            let _ = sender.send((system, answer));
        });
        match answer.recv_timeout(patience) {
            Ok((system, answer)) => {
                *self = system;
                answer
            }
            Err(_) => {
                let (path, seconds) = (path.to_owned(), patience.as_secs());
                Err(nscap_linux::Error::NoAnswer { path, seconds }.into())
            }
        }
    }

    /// Whether we are root of the initial user namespace.
    pub(crate) fn is_root_of_host(&self) -> bool {
        let own = self.namespaces.own_ns();
        own.is_initial() && own.is_namespace() && rustix::process::geteuid().is_root()
    }

    /// Finds every live namespace.
    pub(crate) fn scan(&mut self) -> Result<(), Failure> {
        if !self.scanned {
            raise_descriptor_limit();
            self.namespaces.complete()?;
            self.scanned = true;
        }
        Ok(())
    }

    /// Finds every live namespace that may have this root.
    pub(crate) fn scan_for(&mut self, root: Kuid) -> Result<(), Failure> {
        if !self.scanned {
            raise_descriptor_limit();
            self.namespaces.complete_for(root)?;
        }
        Ok(())
    }

    pub(crate) fn resolve(&mut self, who: &OsStr) -> Result<Target, Failure> {
        Ok(Who::parse(who)?.resolve(&mut self.namespaces)?)
    }

    /// As [`resolve`](System::resolve); of a root kuid a live namespace, where there is one.
    pub(crate) fn resolve_live(&mut self, who: &OsStr) -> Result<Target, Failure> {
        let target = self.resolve(who)?;
        if target.ns.is_some() {
            return Ok(target);
        }
        self.scan_for(target.kuid)?;
        let ns = self.namespaces.rooted(target.kuid).next().map(LiveNs::index);
        Ok(Target { ns, ..target })
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

    /// The holders of a root kuid among the running namespaces and the configured ranges.
    pub(crate) fn holders(&mut self, kuid: Kuid) -> Result<Vec<Holder>, Failure> {
        if let Some(known) = self.holders.get(&kuid) {
            return Ok(known.clone());
        }
        let found = self.find_holders(kuid)?;
        if self.holders.len() < REMEMBERED {
            self.holders.insert(kuid, found.clone());
        }
        Ok(found)
    }

    fn find_holders(&mut self, kuid: Kuid) -> Result<Vec<Holder>, Failure> {
        self.scan_for(kuid)?;
        let mut rooted: Vec<LiveNs<'_>> = self.namespaces.rooted(kuid).collect();
        rooted.sort_by_key(|ns| ns.first_pid().unwrap_or(u32::MAX));
        let mut live: Vec<Holder> = rooted.iter().take(NAMED).map(|ns| Holder::of(*ns)).collect();
        let mut more = rooted.len() - live.len();
        let mut unseen = self.namespaces.unseen_with_root(kuid).map(|pid| Holder::Unseen { pid });
        live.extend(unseen.by_ref().take(NAMED));
        more += unseen.count();
        live.extend((more > 0).then_some(Holder::More { count: more }));
        let count = self.namespaces.left_out(Some(kuid));
        live.extend((count > 0).then_some(Holder::LeftOut { count }));
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

/// How many kuids are remembered: a layer could name every one.
const REMEMBERED: usize = 4096;

/// How many holders of one kind are named.
const NAMED: usize = 16;

/// What takes no part in an answer, in words.
pub(crate) fn left_out(count: usize) -> String {
    format!("{count} namespace(s) or process(es) were not looked at")
}

/// Before Linux 6.18 a snapshot takes a descriptor for each namespace.
fn raise_descriptor_limit() {
    let limits = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits });
}

/// A holder of a root kuid.
#[derive(Clone, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Holder {
    /// A live namespace.
    Live { namespace: u64, pid: Option<u32>, command: Option<String> },
    /// A process in a namespace that we may not look at.
    Unseen { pid: u32 },
    /// Further ones of these two kinds.
    More { count: usize },
    /// Namespaces and processes that were not looked at, any of which it may be.
    #[serde(rename = "left-out")]
    LeftOut { count: usize },
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

/// The holders of an entry, in one phrase.
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
    let further = holders.iter().map(|holder| match holder {
        Holder::More { count } => *count,
        _ => 0,
    });
    match live.count() + further.sum::<usize>() {
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
            Holder::Live { .. } | Holder::Unseen { .. } | Holder::More { .. } => continue,
            Holder::LeftOut { count } => {
                parts.push(left_out(*count));
                continue;
            }
            Holder::Configured { user } => ("first subordinate range of", user),
            Holder::Range { user } => ("within a subordinate range of", user),
            Holder::User { user } => ("the uid of", user),
        };
        parts.push(format!("{what} {}", out::name(user.as_bytes())));
    }
    if parts.is_empty() { "none running or configured here".to_owned() } else { parts.join(", ") }
}
