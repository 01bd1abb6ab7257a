// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap set` and `nscap rm`: R5, R7, R8, B and D decide, the file is written in one step.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nscap_core::storage::{self, Form, Seal};
use nscap_core::{
    Busy, Decision, EntryBuffer, Errno, FileCaps, Kuid, MAX_ENTRIES, NsCaps, Policy, RECORD_LEN,
    Record, SetFlags, Stored, UserNs as _, VfsCaps, Why, root_kuid,
};
use nscap_linux::{CapFile, FileState, Links, LiveNs, LiveTask, probe};
use serde::Serialize;

use crate::cli::{Rm, Set};
use crate::failure::Failure;
use crate::out::{self, JsonPath, Out};
use crate::system::System;
use crate::{for_each, note};

type Request<'r, 's, 'n> = nscap_core::Request<'r, 's, LiveNs<'n>>;
type Slots = [[u8; RECORD_LEN]];

/// What was done to one file.
#[derive(Serialize)]
struct Done {
    #[serde(flatten)]
    path: JsonPath,
    changed: bool,
    why: &'static str,
    clause: &'static str,
}

pub(crate) fn set(args: &Set, out: &mut Out) -> Result<u8, Failure> {
    let caps = FileCaps::from_text(args.caps.as_bytes())
        .map_err(|error| Failure::Caps { text: args.caps.clone(), error })?;
    // A kernel that decides would refuse a second entry all the same.
    let arrays = probe::kernel_policy().is_none_or(|kernel| kernel.array);
    let policy = args.policy.over(Policy::SEED.with_array(arrays));
    let policy = if args.replace { policy.with_busy(Busy::Replace) } else { policy };
    let mut change = Change::new(args.whom.as_deref(), policy)?;
    let whose = change.whose;
    let each =
        |path: &Path| change.make(path, false, |request, out| add(request, whose, caps, out));
    finish(for_each(&args.files, each)?, out)
}

pub(crate) fn rm(args: &Rm, out: &mut Out) -> Result<u8, Failure> {
    let mut change = Change::new(args.whom.as_deref(), Policy::ARRAYS)?;
    let whose = change.whose;
    let each = |path: &Path| {
        change.make(path, args.all, |request, out| {
            if args.all { remove_all(request, out) } else { remove(request, whose, out) }
        })
    };
    finish(for_each(&args.files, each)?, out)
}

fn finish((done, worst): (Vec<Done>, u8), out: &mut Out) -> Result<u8, Failure> {
    if out.is_json() {
        done.iter().try_for_each(|done| out.object(done))?;
    }
    Ok(worst)
}

/// Whose capabilities are meant.
#[derive(Clone, Copy)]
enum Whose {
    /// Those of the namespace that we are in: what setcap(8) would write here.
    Own,
    /// The entry of this root kuid.
    Root(Kuid),
}

fn add<'o>(
    request: &Request<'_, '_, '_>,
    whose: Whose,
    caps: FileCaps,
    out: &'o mut Slots,
) -> Decision<Stored<'o>> {
    let flags = SetFlags::default();
    let Whose::Root(kuid) = whose else {
        let value = VfsCaps::v2(caps).encode();
        return nscap_core::set_capability(request, value.as_bytes(), flags, out);
    };
    let Some(rootid) = request.cred.ns.uid(kuid) else {
        return Decision::Deny(Errno::EINVAL, Why::RootidUnmapped);
    };
    let mut value = [0; NsCaps::encoded_len(1)];
    match NsCaps::encode([Record::new(rootid.get(), caps)], &mut value) {
        Some(_) => nscap_core::set_nscapability(request, &value, flags, out),
        None => Decision::Deny(Errno::EINVAL, Why::NsValueMalformed),
    }
}

fn remove<'o>(
    request: &Request<'_, '_, '_>,
    whose: Whose,
    out: &'o mut Slots,
) -> Decision<Stored<'o>> {
    match whose {
        Whose::Own => nscap_core::remove_own(request, out),
        Whose::Root(kuid) => nscap_core::remove_entry(request, kuid, out),
    }
}

/// Removes the entries, then what security.capability holds.
fn remove_all<'o>(request: &Request<'_, '_, '_>, out: &'o mut Slots) -> Decision<Stored<'o>> {
    let mut rest = buffer();
    match nscap_core::remove_nscapability(request, rest.as_mut_slice()) {
        Decision::Write(stored, _) => {
            let left = Request { stored: &stored, ..*request };
            match nscap_core::remove_capability(&left, out).errno() {
                Some(Errno::ENODATA) => nscap_core::remove_nscapability(request, out),
                _ => nscap_core::remove_capability(&left, out),
            }
        }
        Decision::Deny(errno, why) if errno != Errno::ENODATA => Decision::Deny(errno, why),
        Decision::Keep(_) | Decision::Deny(..) => nscap_core::remove_capability(request, out),
    }
}

fn buffer() -> Box<EntryBuffer> {
    Box::new([[0; RECORD_LEN]; MAX_ENTRIES])
}

/// How often a decision is made anew before somebody else's writes are told as an error.
const TRIES: usize = 100;

/// What is the same for every file of one command.
struct Change {
    system: System,
    us: LiveTask,
    whose: Whose,
    policy: Policy,
}

impl Change {
    fn new(whom: Option<&OsStr>, policy: Policy) -> Result<Change, Failure> {
        let mut system = System::new()?;
        let us = LiveTask::read(std::process::id(), &mut system.namespaces)?;
        let whose = match whom {
            None => Whose::Own,
            Some(who) => {
                let kuid = system.resolve(who)?.kuid;
                let own = root_kuid(system.namespaces.own_ns());
                if own == Some(kuid) { Whose::Own } else { Whose::Root(kuid) }
            }
        };
        Ok(Change { system, us, whose, policy })
    }

    /// Decides on one file and writes it; decides again where somebody else was faster.
    /// `clear_void` says whether a table that counts for nothing is something to remove.
    fn make<F>(&mut self, path: &Path, clear_void: bool, decide: F) -> Result<Done, Failure>
    where
        F: for<'o> Fn(&Request<'_, '_, '_>, &'o mut Slots) -> Decision<Stored<'o>>,
    {
        let file = CapFile::open(path, Links::Refuse)?;
        for _ in 1..TRIES {
            match self.make_once(&file, path, clear_void, &decide) {
                Err(Failure::System(nscap_linux::Error::Changed { .. })) => {}
                done => return done,
            }
        }
        self.make_once(&file, path, clear_void, &decide)
    }

    fn make_once<F>(
        &mut self,
        file: &CapFile,
        path: &Path,
        clear_void: bool,
        decide: &F,
    ) -> Result<Done, Failure>
    where
        F: for<'o> Fn(&Request<'_, '_, '_>, &'o mut Slots) -> Decision<Stored<'o>>,
    {
        let before = self.system.read(file)?;
        let mut out = buffer();
        let decision = {
            let namespaces = &self.system.namespaces;
            let (cred, place) = (self.us.cred(namespaces), before.place(namespaces));
            let (stored, _) = before.stored(namespaces);
            let policy = self.policy;
            let request = Request { policy, cred: &cred, place: &place, stored: &stored };
            decide(&request, out.as_mut_slice())
        };
        let (next, why) = match decision {
            Decision::Write(next, why) => (next, why),
            Decision::Keep(why) => return Ok(done(path, false, why)),
            Decision::Deny(Errno::ENODATA, _) if clear_void && self.is_void(&before) => {
                (before.stored(&self.system.namespaces).0, Why::EntriesRemoved)
            }
            Decision::Deny(errno, why) => return Err(refused(path, errno, why)),
        };
        file.write(&before, &next, &self.system.namespaces)?;
        if storage::form_of(&next) == Form::TableBesideTripwire && !before.by_design() {
            note(&format!(
                "{}: holds {} entries; an unmodified kernel honours one at most and so none of these",
                out::path(path),
                next.entries.len()
            ));
        }
        Ok(done(path, true, why))
    }

    fn is_void(&self, state: &FileState) -> bool {
        matches!(state.stored(&self.system.namespaces).1, Seal::Void(_))
    }
}

fn done(path: &Path, changed: bool, why: Why) -> Done {
    Done { path: path.into(), changed, why: why.text(), clause: why.clause() }
}

fn refused(path: &Path, errno: Errno, why: Why) -> Failure {
    Failure::Denied {
        path: path.to_owned(),
        denied: nscap_core::Denied::new(errno, why),
        hint: (errno == Errno::EBUSY).then_some("--replace does both as one step"),
    }
}
