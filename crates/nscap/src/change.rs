// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap set` and `nscap rm`: R5, R7, R8, B and D decide, the file is written in one step.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nscap_core::storage::{self, Form, Seal};
use nscap_core::{
    Busy, Decision, EntryBuffer, Errno, FileCaps, HostValue, Kuid, MAX_ENTRIES, Policy, RECORD_LEN,
    SetFlags, Stored, Why, root_kuid,
};
use nscap_linux::{CapFile, FileState, LiveNs, LiveTask, Who};
use serde::Serialize;

use crate::cli::{FileArgs, Rm, Set};
use crate::failure::{EINVAL, Failure};
use crate::files::{self, Files};
use crate::out::{self, JsonPath, Out};
use crate::system::System;
use crate::{attribute, for_each, next, note, stdin};

pub(crate) type Request<'r, 's, 'n> = nscap_core::Request<'r, 's, LiveNs<'n>>;
pub(crate) type Slots = [[u8; RECORD_LEN]];

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
    let given = args.files();
    if args.remove {
        return change(&given, args.whom.as_deref(), Policy::ARRAYS, Act::Remove, out);
    }
    // A kernel that decides would refuse a second entry all the same.
    let arrays = nscap_linux::kernel_policy().is_none_or(|kernel| kernel.array);
    let policy = args.policy.over(Policy::SEED.with_array(arrays));
    let policy = if args.replace { policy.with_busy(Busy::Replace) } else { policy };
    if args.from_attribute {
        return change(&given, None, policy, Act::AddCopied, out);
    }
    // clap asks for them.
    let caps = match args.caps.as_deref().unwrap_or_default() {
        text if text == "-" => stdin::caps(&given)?,
        text => text.to_owned(),
    };
    let caps = FileCaps::from_text(caps.as_bytes())
        .map_err(|error| Failure::Caps { text: caps.clone(), error })?;
    change(&given, args.whom.as_deref(), policy, Act::Add(caps), out)
}

pub(crate) fn rm(args: &Rm, out: &mut Out) -> Result<u8, Failure> {
    let act = if args.all { Act::RemoveAll } else { Act::Remove };
    change(&args.files, args.whom.as_deref(), Policy::ARRAYS, act, out)
}

fn change(
    given: &FileArgs,
    whom: Option<&OsStr>,
    policy: Policy,
    act: Act,
    out: &mut Out,
) -> Result<u8, Failure> {
    let (names, unnamed) = files::named(given)?;
    let mut change = Change::new(Files::new(given)?, whom, policy, act)?;
    let (done, worst) = for_each(&names, |path| change.make(path))?;
    if out.is_json() {
        done.iter().try_for_each(|done| out.object(done))?;
    }
    Ok(worst.max(unnamed))
}

/// What is to be done to each file.
#[derive(Clone, Copy)]
enum Act {
    Add(FileCaps),
    /// Adds the entries of a list that was copied.
    AddCopied,
    Remove,
    /// Removes the entries, then what security.capability holds.
    RemoveAll,
}

impl Act {
    fn adds(self) -> bool {
        matches!(self, Act::Add(_) | Act::AddCopied)
    }

    fn decide<'o>(
        self,
        request: &Request<'_, '_, '_>,
        whose: Whose,
        copied: impl FnOnce(&'o mut Slots) -> Result<Decision<Stored<'o>>, Failure>,
        out: &'o mut Slots,
    ) -> Result<Decision<Stored<'o>>, Failure> {
        Ok(match self {
            Act::Add(caps) => add(request, whose, caps, out),
            Act::AddCopied => copied(out)?,
            Act::Remove => remove(request, whose, out),
            Act::RemoveAll => nscap_core::remove_all(request, out),
        })
    }

    /// The step that EBUSY leaves: --replace, where that would not be refused as well.
    fn instead_of_busy(self, request: &Request<'_, '_, '_>, whose: Whose) -> Option<String> {
        let Act::Add(caps) = self else { return None };
        let mut room = buffer();
        let policy = request.policy.with_busy(Busy::Replace);
        match add(&Request { policy, ..*request }, whose, caps, room.as_mut_slice()) {
            Decision::Deny(Errno::EPERM, why) => {
                Some(format!("--replace is refused as well: {why}"))
            }
            Decision::Deny(Errno::EBUSY, _) => {
                Some("nscap get says whose it is, nscap rm --for removes it".to_owned())
            }
            Decision::Deny(..) => None,
            Decision::Write(..) | Decision::Keep(_) => {
                Some("--replace does both as one step".to_owned())
            }
        }
    }
}

/// Whose capabilities are meant.
#[derive(Clone, Copy)]
enum Whose {
    /// Those of our own namespace: what setcap(8) would write here.
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
    match whose {
        Whose::Own => nscap_core::set_own(request, caps, flags, out),
        Whose::Root(kuid) => nscap_core::set_entry(request, kuid, caps, flags, out),
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

fn buffer() -> Box<EntryBuffer> {
    Box::new([[0; RECORD_LEN]; MAX_ENTRIES])
}

/// How many times a decision is made again before writes of other tasks are an error.
const TRIES: usize = 100;

/// What is the same for every file of one command.
struct Change {
    files: Files,
    system: System,
    us: LiveTask,
    whose: Whose,
    /// The process that names it.
    process: Option<u32>,
    policy: Policy,
    act: Act,
}

impl Change {
    fn new(
        files: Files,
        whom: Option<&OsStr>,
        policy: Policy,
        act: Act,
    ) -> Result<Change, Failure> {
        let mut system = System::new()?;
        let us = LiveTask::read(std::process::id(), &mut system.namespaces)?;
        let process = match whom.map(Who::parse).transpose()? {
            Some(Who::Process(pid)) => Some(pid),
            _ => None,
        };
        let whose = match whom {
            None => Whose::Own,
            Some(who) => {
                let kuid = system.resolve(who)?.kuid;
                let own = root_kuid(system.namespaces.own_ns());
                if own == Some(kuid) { Whose::Own } else { Whose::Root(kuid) }
            }
        };
        Ok(Change { files, system, us, whose, process, policy, act })
    }

    /// Decides on one file and writes it; decides again where another task was faster.
    fn make(&mut self, path: &Path) -> Result<Done, Failure> {
        let file = self.files.open(path)?;
        let mut tries = 1;
        let done = loop {
            match self.make_once(&file) {
                Err(Failure::System(nscap_linux::Error::Changed { .. })) if tries < TRIES => {
                    tries += 1;
                }
                done => break done?,
            }
        };
        if let Some((link, real)) = self.files.leads_away(path) {
            note(&format!(
                "{}: a link on the way ({}) leads to {}; with --root DIR links stay below DIR",
                out::path(path),
                out::path(&link),
                out::path(&real)
            ));
        }
        Ok(done)
    }

    fn make_once(&mut self, file: &CapFile) -> Result<Done, Failure> {
        let before = self.system.read(file)?;
        let path = file.path();
        let mut room = buffer();
        let (next, why) = match self.decide(&before, path, room.as_mut_slice())? {
            Decision::Write(next, why) => (next, why),
            Decision::Keep(why) => return Ok(done(path, false, why)),
            Decision::Deny(errno, why) => return Err(refused(path, errno, why, None)),
        };
        self.check_reach(file, &before)?;
        file.write(&before, &next, &self.system.namespaces).map_err(|error| kernel(error, path))?;
        self.remark(file, &before, &next)?;
        Ok(done(path, true, why))
    }

    /// M: an entry for the root of a process has no effect if the process reaches the file only
    /// through id maps by which the entry is another root's.
    fn check_reach(&mut self, file: &CapFile, before: &FileState) -> Result<(), Failure> {
        let (Whose::Root(kuid), Some(pid), true) = (self.whose, self.process, self.act.adds())
        else {
            return Ok(());
        };
        let stored = before.view(&self.system.namespaces).stored_of(kuid);
        let mut instead = None;
        for reached in file.as_reached_by(pid)? {
            let state = self.system.read(&reached)?;
            let view = state.view(&self.system.namespaces);
            if stored.and_then(|stored| view.kuid_of(stored)) == Some(kuid) {
                return Ok(());
            }
            instead.get_or_insert_with(|| out::path(reached.path()));
        }
        instead.map_or(Ok(()), |path| {
            Err(Failure::Input {
                what: out::path(file.path()),
                problem: format!(
                    "process {pid} reaches it through an id map by which this entry is not its root's, \
                     so it would have no effect [M]; nscap set CAPS {path} --for pid:{pid} has one"
                ),
                errno: EINVAL,
            })
        })
    }

    /// What is to be written; a no with its next step.
    fn decide<'o>(
        &self,
        before: &'o FileState,
        path: &Path,
        room: &'o mut Slots,
    ) -> Result<Decision<Stored<'o>>, Failure> {
        let namespaces = &self.system.namespaces;
        let (cred, view) = (self.us.cred(namespaces), before.view(namespaces));
        let (stored, seal) = before.stored(namespaces);
        let request = Request { policy: self.policy, cred: &cred, inode: &view, stored: &stored };
        let copied = |room| attribute::decide(&request, before, path, namespaces, room);
        match self.act.decide(&request, self.whose, copied, room)? {
            // A table that is void is something to remove.
            Decision::Deny(Errno::ENODATA, _)
                if matches!((self.act, seal), (Act::RemoveAll, Seal::Void(_))) =>
            {
                Ok(Decision::Write(stored, Why::EntriesRemoved))
            }
            Decision::Deny(errno, why) => {
                let step = match errno {
                    Errno::EBUSY => self.act.instead_of_busy(&request, self.whose),
                    _ => next::after(why, path),
                };
                Err(refused(path, errno, why, step))
            }
            decision => Ok(decision),
        }
    }

    /// Says what a user may not expect of a change that was made.
    fn remark(
        &mut self,
        file: &CapFile,
        before: &FileState,
        next: &Stored<'_>,
    ) -> Result<(), Failure> {
        let path = out::path(file.path());
        let say = |text: String| note(&format!("{path}: {text}"));
        let (was, seal) = before.stored(&self.system.namespaces);
        match (was.host, next.host) {
            (HostValue::Present(old), HostValue::Present(new)) if old != new => {
                say(format!("the host value was {old} and is replaced [R8]"));
            }
            (HostValue::Present(host), HostValue::Present(_))
                if self.act.adds() && was != *next =>
            {
                say(format!(
                    "no effect while the host value {host} is there: it overrides every entry [R8] \
                     (nscap rm --for host {path})"
                ));
            }
            _ => {}
        }
        if let Seal::Void(reason) = seal
            && !matches!(self.act, Act::AddCopied)
        {
            say(format!("its entries were void and are removed: {} [K]", reason.text()));
        }
        if storage::form_of(next) == Form::TableBesideTripwire && !before.by_design() {
            let entries = next.entries.len();
            say(format!(
                "holds {entries} entries; an unmodified kernel honours one at most and so none of these"
            ));
        }
        if self.act.adds() {
            if files::is_script(file) {
                say("a script: execve uses the capabilities of its interpreter, so these have no effect \
                     [X]"
                    .to_owned());
            }
            return Ok(());
        }
        let left = self.system.read(file)?.stored(&self.system.namespaces).0.entries.len();
        match next.entries.len().saturating_sub(left) {
            0 => {}
            lost => {
                say(format!("there was no room to write the rest: {lost} other entries are lost"))
            }
        }
        Ok(())
    }
}

fn done(path: &Path, changed: bool, why: Why) -> Done {
    Done { path: path.into(), changed, why: why.text(), clause: why.clause() }
}

fn refused(path: &Path, errno: Errno, why: Why, next: Option<String>) -> Failure {
    let denied = nscap_core::Denied::new(errno, why);
    Failure::Denied { path: path.to_owned(), denied, next }
}

/// A change that the rules allow and the kernel refuses.
fn kernel(error: nscap_linux::Error, path: &Path) -> Failure {
    const EPERM: i32 = Errno::EPERM.raw();
    match error {
        error @ nscap_linux::Error::Call { errno: EPERM, .. } => {
            let next = next::after_the_kernel(path);
            Failure::Refused { error, next }
        }
        error => error.into(),
    }
}
