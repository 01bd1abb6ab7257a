// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap explain`: what execve(2) would give a task, step by step, and what would mend it.
//!
//! On a file system of nscap's, and on a kernel that decides so itself, the design's rules decide; everywhere else the kernel's own do, for
//! they are what execve will meet.

mod program;
mod remedy;
mod verdict;
mod walk;

use std::ffi::OsStr;
use std::path::Path;

use nscap_core::{
    Cred, Denied, Executed, Gid, Program, Stored, System as Kernel, Task, Uid, UserNs as _, bare,
};
use nscap_linux::{CapFile, FileState, Hidden, Links, LiveNs, LiveTask, NsIndex, probe};

use crate::cli::Explain;
use crate::failure::{EINVAL, Failure};
use crate::out::{self, Out};
use crate::system::System;

pub(crate) fn run(args: &Explain, out: &mut Out) -> Result<u8, Failure> {
    let mut system = System::new()?;
    let subject = Subject::find(args, &mut system)?;
    let named = subject.open(&args.file)?;
    let mut program = program::resolve(named, |path| subject.open(path))?;
    check_scripts(&mut program, &subject, &mut system)?;
    let state = subject.read(&program.file, &mut system)?;
    let question = Question::new(args, &subject, &program, &state, &system)?;
    let answer = verdict::Verdict::of(&question);
    walk::print(&question, &answer, out)?;
    Ok(u8::from(!answer.complete()))
}

/// Looks at the scripts on the way: whether any has capabilities of its own; and the first that may
/// not be executed is the file that decides.
fn check_scripts(
    program: &mut program::Resolved,
    subject: &Subject,
    system: &mut System,
) -> Result<(), Failure> {
    for n in 0..program.scripts.len() {
        let state = subject.read(&program.scripts[n], system)?;
        program.script_has_caps |= !state.stored(&system.namespaces).0.is_empty();
        let how = how(&state, system);
        if bare::exec(kernel(), &subject.task(system)?, &how, None).is_err() {
            program.file = program.scripts.swap_remove(n);
            program.scripts.truncate(n);
            return Ok(());
        }
    }
    Ok(())
}

/// The file as execve(2) sees it, but for its capabilities.
fn how<'n>(state: &FileState, system: &'n System) -> Program<LiveNs<'n>> {
    Program {
        place: state.place(&system.namespaces),
        mode: state.inode.mode,
        nosuid: state.mount.nosuid,
        noexec: state.mount.noexec,
        foreign: state.mount.foreign,
    }
}

/// The running kernel.
fn kernel() -> Kernel {
    Kernel { kernel: probe::version(), no_file_caps: !probe::file_caps() }
}

/// The task that is asked about.
enum Subject {
    /// A process as it is.
    Live(Box<LiveTask>),
    /// One that would be.
    Supposed { ns: NsIndex, uid: u32, gid: u32 },
}

impl Subject {
    fn find(args: &Explain, system: &mut System) -> Result<Subject, Failure> {
        if let Some(pid) = args.pid {
            return Ok(Subject::Live(Box::new(LiveTask::read(pid, &mut system.namespaces)?)));
        }
        let who = args.seen_by.as_deref().unwrap_or(OsStr::new("host"));
        let ns = system.resolve_live(who)?.namespace(&mut system.namespaces)?;
        let uid = args.uid.unwrap_or(0);
        Ok(Subject::Supposed { ns, uid, gid: args.gid.unwrap_or(uid) })
    }

    /// A file as the task finds it; a supposed task finds what we find.
    fn open(&self, path: &Path) -> Result<CapFile, Failure> {
        Ok(match self {
            Subject::Live(task) => CapFile::open_in_root(task.root(), path)?,
            Subject::Supposed { .. } => CapFile::open(path, Links::Follow)?,
        })
    }

    fn read(&self, file: &CapFile, system: &mut System) -> Result<FileState, Failure> {
        Ok(match self {
            Subject::Live(task) => file.read_as_task(task.pid(), &mut system.namespaces)?,
            Subject::Supposed { .. } => file.read(&mut system.namespaces)?,
        })
    }

    fn task<'n>(&'n self, system: &'n System) -> Result<Task<'n, LiveNs<'n>>, Failure> {
        match self {
            Subject::Live(task) => Ok(task.task(&system.namespaces)),
            Subject::Supposed { ns, uid, gid } => supposed(system.namespaces.get(*ns), *uid, *gid),
        }
    }

    /// What the task is called in a sentence.
    fn name(&self, task: &Task<'_, LiveNs<'_>>) -> String {
        let uid =
            |kuid| task.cred.ns.uid(kuid).map_or("unmapped".to_owned(), |uid| uid.to_string());
        match self {
            Subject::Live(live) => format!(
                "pid {} ({}), uid {} in its namespace",
                live.pid(),
                out::name(live.name()),
                uid(task.cred.uid)
            ),
            Subject::Supposed { .. } => {
                format!("a task with uid {} in its namespace", uid(task.cred.uid))
            }
        }
    }
}

/// uid 0 has every capability, as the first process of a container has; others have none.
fn supposed(ns: LiveNs<'_>, uid: u32, gid: u32) -> Result<Task<'static, LiveNs<'_>>, Failure> {
    let unmapped = |what: &str, id: u32| Failure::Input {
        what: format!("{what} {id}"),
        problem: "has no mapping in the namespace".to_owned(),
        errno: EINVAL,
    };
    let kuid = Uid::new(uid).and_then(|uid| ns.kuid(uid)).ok_or_else(|| unmapped("uid", uid))?;
    let kgid = Gid::new(gid).and_then(|gid| ns.kgid(gid)).ok_or_else(|| unmapped("gid", gid))?;
    let cred =
        if uid == 0 { Cred::privileged(ns, kuid, kgid) } else { Cred::ordinary(ns, kuid, kgid) };
    Ok(Task::of(cred))
}

/// Everything that the answer depends on.
struct Question<'a> {
    path: &'a Path,
    program: &'a program::Resolved,
    state: &'a FileState,
    stored: Stored<'a>,
    seal: nscap_core::storage::Seal,
    subject: &'a Subject,
    task: Task<'a, LiveNs<'a>>,
    how: Program<LiveNs<'a>>,
}

impl<'a> Question<'a> {
    fn new(
        args: &'a Explain,
        subject: &'a Subject,
        program: &'a program::Resolved,
        state: &'a FileState,
        system: &'a System,
    ) -> Result<Question<'a>, Failure> {
        let (stored, seal) = state.stored(&system.namespaces);
        let how = how(state, system);
        let task = subject.task(system)?;
        Ok(Question { path: &args.file, program, state, stored, seal, subject, task, how })
    }

    /// Whether the design's rules decide, and not the kernel's own alone.
    fn by_design(&self) -> bool {
        self.state.by_design()
    }

    fn exec(&self) -> Result<Executed<LiveNs<'a>>, Denied> {
        if self.by_design() {
            return nscap_core::exec(kernel(), &self.task, &self.how, &self.stored);
        }
        bare::exec(kernel(), &self.task, &self.how, self.bytes())
    }

    /// security.capability as the kernel will find it.
    fn bytes(&self) -> Option<&'a [u8]> {
        /// Revision 3 for rootid -1: well-formed, and nobody's.
        const NOBODY: &[u8] =
            &[0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
        match self.state.hidden {
            Some(Hidden::Foreign) => Some(NOBODY),
            Some(Hidden::Malformed) => Some(&[0]),
            Some(Hidden::HostOrOwn) | None => self.state.capability.as_deref(),
        }
    }

    /// The path from the task's namespace to the initial one, in words.
    fn ns_name(&self, ns: LiveNs<'_>) -> String {
        if ns.is_initial() {
            "the initial namespace".to_owned()
        } else if !ns.is_namespace() {
            "a namespace with these ids".to_owned()
        } else {
            format!("user:[{}]", ns.inode())
        }
    }
}
