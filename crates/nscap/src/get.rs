// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap get`: the capabilities of files and the containers that each applies to, or what the
//! tools of one namespace see of them (R4, T, R6).

use nscap_core::{Denied, InodeView, NsCaps, Stored, VfsCaps};
use nscap_linux::{CapFile, LiveNs, NsIndex};
use serde::Serialize;

use crate::cli::{Get, Scan};
use crate::contents::{Contents, JsonCaps};
use crate::failure::{EINVAL, Failure};
use crate::files::{self, Files};
use crate::out::{self, JsonPath, Out, Table};
use crate::system::System;
use crate::{for_each, report, scan};

pub(crate) fn run(args: &Get, out: &mut Out) -> Result<u8, Failure> {
    let (names, unnamed) = files::named(&args.files)?;
    if args.recursive {
        return Ok(scan::run(&Scan::of(names), out)?.max(unnamed));
    }
    let (found, mut system) = (Files::new(&args.files)?, System::new()?);
    match &args.seen_by {
        None => {
            let (files, mut worst) = for_each(&names, |path| {
                let file = found.open(path)?;
                Contents::of(&file, &mut system)
            })?;
            worst = worst.max(unnamed);
            for file in files.iter().filter(|file| file.malformed) {
                worst = worst.max(report(&Failure::Input {
                    what: file.shown_path.clone(),
                    problem: file.hidden.unwrap_or_default().to_owned(),
                    errno: EINVAL,
                }));
            }
            // What is hidden may be capabilities.
            let untold = files.iter().any(Contents::has_secrets);
            let worst = if untold { worst.max(2) } else { worst };
            print(&files, Contents::has_capabilities, Contents::rows, worst, out)
        }
        Some(who) => {
            let ns = system.resolve_live(who)?.namespace(&mut system.namespaces)?;
            let (files, worst) =
                for_each(&names, |path| look_as(&found.open(path)?, ns, &mut system))?;
            print(&files, SeenBy::has_capabilities, SeenBy::rows, worst.max(unnamed), out)
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

/// The answer to one name in one namespace: a value, or why there is none.
#[derive(Serialize)]
struct Reading<T> {
    value: Option<T>,
    errno: Option<&'static str>,
    why: Option<&'static str>,
    clause: Option<&'static str>,
}

impl<T> From<Result<T, Denied>> for Reading<T> {
    fn from(result: Result<T, Denied>) -> Reading<T> {
        match result {
            Ok(value) => Reading { value: Some(value), errno: None, why: None, clause: None },
            Err(Denied { errno, why }) => Reading {
                value: None,
                errno: Some(errno.name()),
                why: Some(why.text()),
                clause: Some(why.clause()),
            },
        }
    }
}

impl<T> Reading<T> {
    fn no(&self) -> String {
        let text = |text: Option<&'static str>| text.unwrap_or_default();
        format!("{} [{}]", text(self.why), text(self.clause))
    }
}

/// A value or an entry in the caller's own terms.
#[derive(Serialize)]
struct Shown {
    /// `None` of a value of revision 2, and for -1.
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
    /// R4 and T.
    capability: Reading<Shown>,
    /// R6.
    nscapability: Reading<Vec<Shown>>,
    /// What an unmodified kernel answers to getxattr of `security.capability`.
    bare: Option<Reading<Shown>>,
}

fn look_as(file: &CapFile, ns: NsIndex, system: &mut System) -> Result<SeenBy, Failure> {
    let path = file.path();
    let state = system.read(file)?;
    let ns = system.namespaces.get(ns);
    let view = state.view(&system.namespaces);
    let (stored, _) = state.stored(&system.namespaces);
    let capability = nscap_core::get_capability(ns, &view, &stored);
    let bare = || {
        let value = nscap_core::bare::get_capability(ns, &view, state.capability.as_deref());
        value.map(shown).into()
    };
    Ok(SeenBy {
        path: path.into(),
        shown_path: out::path(path),
        capability: capability.map(|(value, _)| shown(value)).into(),
        nscapability: nscapability(ns, &view, &stored).into(),
        bare: (!state.by_design() && state.hidden.is_none()).then(bare),
    })
}

fn shown(value: VfsCaps) -> Shown {
    Shown { rootid: value.named(), caps: value.caps().into() }
}

fn nscapability(
    ns: LiveNs<'_>,
    view: &InodeView<LiveNs<'_>>,
    stored: &Stored<'_>,
) -> Result<Vec<Shown>, Denied> {
    let mut value = vec![0; nscap_core::nscapability_len(ns, view, stored)?];
    nscap_core::get_nscapability(ns, view, stored, &mut value)?;
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
        let bare = self.bare.as_ref().map(|bare| ("  on a bare kernel", bare));
        for (name, answer) in [(name, &self.capability)].into_iter().chain(bare) {
            match &answer.value {
                Some(Shown { rootid, caps }) => {
                    let rootid = rootid.map(|id| format!("rootid={id}")).unwrap_or_default();
                    row(name, caps.caps.clone(), rootid);
                }
                None => row(name, answer.errno.unwrap_or_default().to_owned(), answer.no()),
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
