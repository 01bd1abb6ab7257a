// SPDX-License-Identifier: MIT OR Apache-2.0
//! The capabilities of a file and their holders, as `nscap get` and `nscap scan` print them.

use nscap_core::storage::{Seal, VoidReason};
use nscap_core::{FileCaps, HostValue, InodeView, Kuid, Stored, Uid};
use nscap_linux::{CapFile, FileState, Hidden, LiveNs, Namespaces};
use serde::Serialize;

use crate::failure::Failure;
use crate::out::{self, JsonPath, Name, Table, names};
use crate::picture::{FileRow, Row};
use crate::system::{Holder, System, describe};

/// Capabilities of a file, as JSON has them.
#[derive(Serialize)]
pub(crate) struct JsonCaps {
    pub(crate) caps: String,
    permitted: Vec<Name>,
    inheritable: Vec<Name>,
    effective: bool,
}

impl From<FileCaps> for JsonCaps {
    fn from(caps: FileCaps) -> JsonCaps {
        JsonCaps {
            caps: caps.to_string(),
            permitted: names(caps.permitted),
            inheritable: names(caps.inheritable),
            effective: caps.effective,
        }
    }
}

/// An entry, as JSON has it.
#[derive(Serialize)]
pub(crate) struct Entry {
    /// `None` if the rootid has no kuid on this mount.
    pub(crate) kuid: Option<u32>,
    #[serde(flatten)]
    caps: JsonCaps,
    pub(crate) holders: Vec<Holder>,
}

/// The capabilities of a file, and their holders.
#[derive(Serialize)]
pub(crate) struct Contents {
    #[serde(flatten)]
    path: JsonPath,
    #[serde(skip)]
    pub(crate) shown_path: String,
    pub(crate) host: Option<JsonCaps>,
    /// Whose the host value is on this mount: root of the superblock's owner, through the mount's
    /// map.
    #[serde(skip)]
    pub(crate) host_kuid: Option<Kuid>,
    pub(crate) entries: Vec<Entry>,
    seal: &'static str,
    pub(crate) void: Option<&'static str>,
    pub(crate) hidden: Option<&'static str>,
    #[serde(skip)]
    secret: bool,
    #[serde(skip)]
    pub(crate) malformed: bool,
    /// Each live namespace in which execve takes a grant, and the grant's root; `None`: the host value.
    #[serde(skip)]
    holds: Vec<(u64, Option<u32>)>,
}

/// What the file has that cannot be shown, or not with certainty.
fn hidden(state: &FileState, host: HostValue) -> Option<&'static str> {
    match (state.hidden, host) {
        (Some(Hidden::HostOrAbove), _) => Some(
            "whether it is a host value: from inside a namespace one for a root above looks the same",
        ),
        (Some(Hidden::Table), _) => Some(
            "whether a table of entries is to be trusted: whose the file system is cannot be told from here",
        ),
        (Some(Hidden::Foreign), _) => Some("an entry whose root has no id in this namespace"),
        (Some(Hidden::HostOrOwn), _) => {
            Some("whether it is a host value: from inside a namespace both look the same")
        }
        (Some(Hidden::Malformed), _) => Some("security.capability is malformed or of revision 1"),
        (None, HostValue::Malformed) => Some("security.capability is malformed"),
        (None, HostValue::Absent | HostValue::Present(_)) => None,
    }
}

/// Told of each row: a grant's root, as in `holds`; in words what it belongs to, its capabilities and
/// its holders.
type HearRow<'h> = dyn FnMut(Option<Option<u32>>, String, String, &str) + 'h;

/// What execve looks at in each namespace that is known (R3, R8, A).
fn holds(
    stored: &Stored<'_>,
    view: &InodeView<LiveNs<'_>>,
    namespaces: &Namespaces,
) -> Vec<(u64, Option<u32>)> {
    let in_one = |ns: LiveNs<'_>| {
        let seen = stored.seen_from(ns, view);
        match seen.host() {
            HostValue::Present(_) => Some((ns.inode(), None)),
            HostValue::Malformed => None,
            HostValue::Absent => {
                let kuid = seen.nearest(ns)?.0.kuid?;
                Some((ns.inode(), Some(kuid.get())))
            }
        }
    };
    namespaces.iter().filter(|ns| ns.is_namespace()).filter_map(in_one).collect()
}

impl Contents {
    /// Reads them.
    pub(crate) fn of(file: &CapFile, system: &mut System) -> Result<Contents, Failure> {
        let state = system.read(file)?;
        let view = state.view(&system.namespaces);
        let (stored, seal) = state.stored(&system.namespaces);
        let host_kuid = view.kuid_of(Uid::ROOT);
        let mut entries: Vec<(Option<Kuid>, FileCaps)> =
            stored.entries.iter().map(|(rootid, caps)| (view.kuid_of(rootid), caps)).collect();
        // M: through an id map, and on a superblock that a namespace beside ours owns, it is an
        // entry for one root.
        let mut host = stored.host;
        if let HostValue::Present(caps) = host
            && stored.seen_from(system.namespaces.own_ns(), &view).host() == HostValue::Absent
        {
            entries.insert(0, (host_kuid, caps));
            host = HostValue::Absent;
        }
        let draws = system.draws;
        let holds = if draws { holds(&stored, &view, &system.namespaces) } else { Vec::new() };
        let mut named = Vec::new();
        for (kuid, caps) in entries {
            let holders = kuid.map_or(Ok(Vec::new()), |kuid| system.holders(kuid))?;
            named.push(Entry { kuid: kuid.map(Kuid::get), caps: caps.into(), holders });
        }
        let (seal, void) = match seal {
            Seal::None if state.hidden == Some(Hidden::Table) => ("unknown", None),
            Seal::None => ("none", None),
            // Then we cannot see how it is stored.
            Seal::Sealed if state.by_design() => ("none", None),
            Seal::Sealed => ("sealed", None),
            // The companion is a value that the kernel did not show us.
            Seal::Void(VoidReason::CompanionAbsent)
                if matches!(state.hidden, Some(Hidden::Foreign | Hidden::Malformed)) =>
            {
                ("unknown", None)
            }
            Seal::Void(reason) => ("void", Some(reason.text())),
        };
        Ok(Contents {
            path: file.path().into(),
            shown_path: out::path(file.path()),
            host: match host {
                HostValue::Present(caps) => Some(caps.into()),
                HostValue::Absent | HostValue::Malformed => None,
            },
            host_kuid,
            entries: named,
            seal,
            void,
            hidden: hidden(&state, host),
            secret: matches!(
                state.hidden,
                Some(Hidden::Foreign | Hidden::Malformed | Hidden::Table)
            ),
            malformed: host == HostValue::Malformed,
            holds,
        })
    }

    /// Whether there is anything in either attribute.
    pub(crate) fn is_anything(&self) -> bool {
        self.has_capabilities() || self.seal != "none" || self.hidden.is_some()
    }

    /// Whether no task here can use a part of it: an entry without a holder, or a table that is
    /// void.
    pub(crate) fn is_stale(&self) -> bool {
        self.void.is_some() || self.entries.iter().any(|entry| entry.holders.is_empty())
    }

    /// Whether an entry may have a holder that was not looked at.
    pub(crate) fn is_unsure(&self) -> bool {
        let left_out = |holder: &Holder| matches!(holder, Holder::LeftOut { .. });
        self.entries.iter().any(|entry| entry.holders.iter().any(left_out))
    }

    /// Whether a part of it may belong to an unknown root.
    pub(crate) fn has_secrets(&self) -> bool {
        self.secret
    }

    /// Whether it holds what a grant to this root kuid would be.
    pub(crate) fn is_for(&self, kuid: Kuid) -> bool {
        let host = self.host.is_some() && self.host_kuid == Some(kuid);
        host || self.entries.iter().any(|entry| entry.kuid == Some(kuid.get()))
    }

    pub(crate) fn has_capabilities(&self) -> bool {
        self.host.is_some() || !self.entries.is_empty()
    }

    pub(crate) fn rows(&self, table: &mut Table) {
        self.each(&mut |_, who, caps, rest| {
            table.row([self.shown_path.clone(), who, caps, rest.to_owned()]);
        });
    }

    /// The rows of a page.
    pub(crate) fn file_row(&self) -> FileRow {
        let mut rows = Vec::new();
        self.each(&mut |root, of, caps, rest| {
            let holds_in = root.map(|root| {
                self.holds.iter().filter(|held| held.1 == root).map(|held| held.0).collect()
            });
            rows.push(Row { of, caps, holders: rest.to_owned(), holds_in });
        });
        FileRow { path: self.shown_path.clone(), rows }
    }

    /// Each grant and whatever else the file has: its root as in `holds`, where it is one, and in words;
    /// its capabilities; its holders.
    fn each(&self, row: &mut HearRow<'_>) {
        if let Some(host) = &self.host {
            let overrides = !self.entries.is_empty();
            let rest = if overrides { "everyone; overrides every entry" } else { "everyone" };
            row(Some(None), "host".to_owned(), host.caps.clone(), rest);
        }
        for entry in &self.entries {
            let who = entry.kuid.map_or("kuid ?".to_owned(), |kuid| format!("kuid {kuid}"));
            let holders = match entry.kuid {
                Some(_) => describe(&entry.holders),
                None => "no kuid through this mount".to_owned(),
            };
            row(entry.kuid.map(Some), who, entry.caps.caps.clone(), &holders);
        }
        if self.seal == "sealed" {
            let rest = "sealed: unchanged since; an unmodified kernel does not look at it";
            row(None, "table".to_owned(), "-".to_owned(), rest);
        }
        if self.seal == "unknown" {
            let rest =
                "entries, if what cannot be seen from here is as it was when they were written";
            row(None, "table".to_owned(), "-".to_owned(), rest);
        }
        if let Some(reason) = self.void {
            row(
                None,
                "void".to_owned(),
                "-".to_owned(),
                &format!("entries that count for nothing: {reason}"),
            );
        }
        if let Some(hidden) = self.hidden {
            row(None, "hidden".to_owned(), "-".to_owned(), hidden);
        }
    }
}
