//! `nscap get`: for whom each of a file's capabilities holds, or what the tools of one namespace
//! would see of it (R4, R6).

use std::path::Path;

use nscap_core::storage::Seal;
use nscap_core::{Denied, FileCaps, Host, Kuid, NsCaps, Place, Revision, Stored, VfsCaps};
use nscap_linux::{CapFile, FileState, Hidden, Links, LiveNs, NsIndex};
use serde::Serialize;

use crate::cli::Get;
use crate::failure::{EINVAL, Failure};
use crate::out::{self, JsonPath, Out, Table, names};
use crate::system::{Holder, System, describe};
use crate::{for_each, report};

pub(crate) fn run(args: &Get, out: &mut Out) -> Result<u8, Failure> {
    let mut system = System::new()?;
    match &args.seen_by {
        None => {
            let (files, mut worst) = for_each(&args.files, |path| look(path, &mut system))?;
            for file in files.iter().filter(|file| file.malformed) {
                worst = worst.max(report(&Failure::Input {
                    what: file.shown_path.clone(),
                    problem: file.hidden.unwrap_or_default().to_owned(),
                    errno: EINVAL,
                }));
            }
            print(&files, Contents::has_capabilities, Contents::rows, worst, out)
        }
        Some(who) => {
            system.scan()?;
            let ns = system.resolve(who)?.namespace(&mut system.namespaces)?;
            let (files, worst) = for_each(&args.files, |path| look_as(path, ns, &mut system))?;
            print(&files, SeenBy::has_capabilities, SeenBy::rows, worst, out)
        }
    }
}

/// Prints all, and gives the exit status: 0 where any has capabilities.
fn print<T: Serialize>(
    files: &[T],
    has: impl Fn(&T) -> bool,
    rows: impl Fn(&T, &mut Table),
    worst: u8,
    out: &mut Out,
) -> Result<u8, Failure> {
    if out.is_json() {
        files.iter().try_for_each(|file| out.object(file))?;
    } else {
        let mut table = Table::default();
        files.iter().for_each(|file| rows(file, &mut table));
        out.table(&table)?;
    }
    let none = u8::from(!files.iter().any(has));
    Ok(if worst == 0 { none } else { worst })
}

/// Capabilities of a file, as JSON has them.
#[derive(Serialize)]
struct JsonCaps {
    caps: String,
    permitted: Vec<String>,
    inheritable: Vec<String>,
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

#[derive(Serialize)]
struct Entry {
    kuid: Option<u32>,
    #[serde(flatten)]
    caps: JsonCaps,
    holders: Vec<Holder>,
}

/// What a file holds, and for whom.
#[derive(Serialize)]
struct Contents {
    #[serde(flatten)]
    path: JsonPath,
    #[serde(skip)]
    shown_path: String,
    host: Option<JsonCaps>,
    entries: Vec<Entry>,
    seal: &'static str,
    void: Option<&'static str>,
    hidden: Option<&'static str>,
    #[serde(skip)]
    malformed: bool,
}

fn look(path: &Path, system: &mut System) -> Result<Contents, Failure> {
    let file = CapFile::open(path, Links::Refuse)?;
    let state = system.read(&file)?;
    let (host, entries, seal) = {
        let place = state.place(&system.namespaces);
        let (stored, seal) = state.stored(&system.namespaces);
        let entries: Vec<(Option<Kuid>, FileCaps)> =
            stored.entries.iter().map(|(rootid, caps)| (place.kuid_of(rootid), caps)).collect();
        (stored.host, entries, seal)
    };
    let mut named = Vec::new();
    for (kuid, caps) in entries {
        let holders = kuid.map_or(Ok(Vec::new()), |kuid| system.holders(kuid))?;
        named.push(Entry { kuid: kuid.map(Kuid::get), caps: caps.into(), holders });
    }
    let (seal, void) = match seal {
        Seal::None => ("none", None),
        Seal::Sealed => ("sealed", None),
        Seal::Void(reason) => ("void", Some(reason.text())),
    };
    Ok(Contents {
        path: path.into(),
        shown_path: out::path(path),
        host: match host {
            Host::Value(caps) => Some(caps.into()),
            Host::Absent | Host::Malformed => None,
        },
        entries: named,
        seal,
        void,
        hidden: hidden(&state, host),
        malformed: host == Host::Malformed,
    })
}

/// What the file has that cannot be shown.
fn hidden(state: &FileState, host: Host) -> Option<&'static str> {
    match (state.hidden, host) {
        (Some(Hidden::Foreign), _) => Some("an entry whose root has no id in this namespace"),
        (Some(Hidden::HostOrOwn), _) => {
            Some("whether it is a host value: from inside a namespace both look the same")
        }
        (Some(Hidden::Malformed), _) => Some("security.capability is malformed or of revision 1"),
        (None, Host::Malformed) => Some("security.capability is malformed"),
        (None, Host::Absent | Host::Value(_)) => None,
    }
}

impl Contents {
    fn has_capabilities(&self) -> bool {
        self.host.is_some() || !self.entries.is_empty()
    }

    fn rows(&self, table: &mut Table) {
        let mut row = |who: String, caps: String, rest: &str| {
            table.row([self.shown_path.clone(), who, caps, rest.to_owned()]);
        };
        if let Some(host) = &self.host {
            let overrides = !self.entries.is_empty();
            let rest = if overrides { "everyone; overrides every entry" } else { "everyone" };
            row("host".to_owned(), host.caps.clone(), rest);
        }
        for entry in &self.entries {
            let who = entry.kuid.map_or("kuid ?".to_owned(), |kuid| format!("kuid {kuid}"));
            let holders = match entry.kuid {
                Some(_) => describe(&entry.holders),
                None => "no kuid through this mount".to_owned(),
            };
            row(who, entry.caps.caps.clone(), &holders);
        }
        if self.seal == "sealed" {
            let rest = "sealed: unchanged since; an unmodified kernel does not look at it";
            row("table".to_owned(), "-".to_owned(), rest);
        }
        if let Some(reason) = self.void {
            row(
                "void".to_owned(),
                "-".to_owned(),
                &format!("entries that count for nothing: {reason}"),
            );
        }
        if let Some(hidden) = self.hidden {
            row("hidden".to_owned(), "-".to_owned(), hidden);
        }
    }
}

/// What one name gives in one namespace: a value, or why there is none.
#[derive(Serialize)]
struct Answer<T> {
    value: Option<T>,
    errno: Option<&'static str>,
    why: Option<&'static str>,
    clause: Option<&'static str>,
}

impl<T> From<Result<T, Denied>> for Answer<T> {
    fn from(result: Result<T, Denied>) -> Answer<T> {
        match result {
            Ok(value) => Answer { value: Some(value), errno: None, why: None, clause: None },
            Err(Denied { errno, why }) => Answer {
                value: None,
                errno: Some(errno.name()),
                why: Some(why.text()),
                clause: Some(why.clause()),
            },
        }
    }
}

impl<T> Answer<T> {
    fn no(&self) -> String {
        let text = |text: Option<&'static str>| text.unwrap_or_default();
        format!("{} [{}]", text(self.why), text(self.clause))
    }
}

/// An entry in the caller's own terms.
#[derive(Serialize)]
struct Shown {
    /// `None` for -1.
    rootid: Option<u32>,
    #[serde(flatten)]
    caps: JsonCaps,
}

/// What one namespace's tools see.
#[derive(Serialize)]
struct SeenBy {
    #[serde(flatten)]
    path: JsonPath,
    #[serde(skip)]
    shown_path: String,
    /// R4.
    capability: Answer<JsonCaps>,
    /// R6.
    nscapability: Answer<Vec<Shown>>,
    /// What an unmodified kernel answers to getxattr of `security.capability`.
    bare: Option<Answer<Shown>>,
}

fn look_as(path: &Path, ns: NsIndex, system: &mut System) -> Result<SeenBy, Failure> {
    let file = CapFile::open(path, Links::Refuse)?;
    let state = system.read(&file)?;
    let ns = system.namespaces.get(ns);
    let place = state.place(&system.namespaces);
    let (stored, _) = state.stored(&system.namespaces);
    let capability = nscap_core::get_capability(ns, &place, &stored);
    let bare = || {
        let value = nscap_core::bare::get_capability(ns, &place, state.capability.as_deref());
        value.map(shown).into()
    };
    Ok(SeenBy {
        path: path.into(),
        shown_path: out::path(path),
        capability: capability.map(|(value, _)| value.caps().into()).into(),
        nscapability: nscapability(ns, &place, &stored).into(),
        bare: (!state.by_design() && state.hidden.is_none()).then(bare),
    })
}

fn shown(value: VfsCaps) -> Shown {
    let rootid = match value.revision() {
        Revision::V3 { rootid } => Some(rootid),
        Revision::V1 | Revision::V2 => None,
    };
    Shown { rootid, caps: value.caps().into() }
}

fn nscapability(
    ns: LiveNs<'_>,
    place: &Place<LiveNs<'_>>,
    stored: &Stored<'_>,
) -> Result<Vec<Shown>, Denied> {
    let mut value = vec![0; nscap_core::nscapability_len(ns, place, stored)?];
    nscap_core::get_nscapability(ns, place, stored, &mut value)?;
    let entries = NsCaps::decode_shown(&value);
    let shown = |record: nscap_core::Record| Shown {
        rootid: Some(record.rootid()).filter(|rootid| *rootid != u32::MAX),
        caps: record.caps().into(),
    };
    Ok(entries.iter().flat_map(NsCaps::iter).map(shown).collect())
}

impl SeenBy {
    fn has_capabilities(&self) -> bool {
        self.capability.value.is_some()
    }

    fn rows(&self, table: &mut Table) {
        let mut row = |name: &str, value: String, rest: String| {
            table.row([self.shown_path.clone(), name.to_owned(), value, rest]);
        };
        let name = "security.capability";
        match &self.capability.value {
            Some(caps) => row(name, caps.caps.clone(), String::new()),
            None => {
                row(name, self.capability.errno.unwrap_or_default().into(), self.capability.no())
            }
        }
        if let Some(bare) = &self.bare {
            let name = "  on a bare kernel";
            match &bare.value {
                Some(Shown { rootid, caps }) => {
                    let rootid = rootid.map(|id| format!("rootid={id}")).unwrap_or_default();
                    row(name, caps.caps.clone(), rootid);
                }
                None => row(name, bare.errno.unwrap_or_default().to_owned(), bare.no()),
            }
        }
        let name = "security.nscapability";
        for entry in self.nscapability.value.iter().flatten() {
            let rootid = entry.rootid.map_or(-1, i64::from);
            row(name, entry.caps.caps.clone(), format!("rootid={rootid}"));
        }
        if let Some(errno) = self.nscapability.errno {
            row(name, errno.to_owned(), self.nscapability.no());
        }
    }
}
