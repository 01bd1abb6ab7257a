// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap explain`: what execve(2) would give a task, step by step, and what would mend it.
//!
//! On a file system of nscap's, and on a kernel that decides so itself, the design's rules decide;
//! everywhere else the kernel's own do, for they are what execve will meet. What cannot be seen is
//! said, and where it may change the answer, the answer is that it could not be told.

mod chain;
mod counts;
mod drawing;
mod format;
mod json;
mod look;
mod misc;
mod place;
mod reach;
mod remedy;
mod start;
mod subject;
mod tell;
mod unseen;
mod verdict;
mod walk;

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nscap_core::{Denied, Executed, Program, Stored, System as Kernel, Task, UserNs as _, bare};
use nscap_linux::{FileState, Hidden, LiveNs, Origin, Over, probe};

use chain::Chain;
use drawing::Drawing;
use start::{Described, Wanted};
pub(crate) use start::{Image, Runtime};
use subject::Subject;

use crate::cli::Explain;
use crate::failure::Failure;
use crate::out::{self, Out};
use crate::system::System;

/// Where FILE is neither a file nor in an image that is there, but reads like one of an image.
fn no_image(args: &Explain) -> Result<(), Failure> {
    let Some(file) = args.file.as_ref().filter(|_| args.opened.is_none()) else { return Ok(()) };
    let bytes = file.as_os_str().as_bytes();
    let colon = bytes.windows(2).position(|two| two == b":/").filter(|at| *at > 0);
    match colon {
        Some(at) if file.symlink_metadata().is_err() => Err(Failure::Input {
            what: out::name(&bytes[..at]),
            problem: "there is no such image (IMAGE:/path)".to_owned(),
            errno: crate::failure::ENOENT,
        }),
        _ => Ok(()),
    }
}

pub(crate) fn run(args: &Explain, out: &mut Out) -> Result<u8, Failure> {
    let args = &start::opened(args)?;
    let mut system = System::new()?;
    if !args.names_a_task() {
        no_image(args)?;
        return Err(Failure::Input {
            what: "FILE".to_owned(),
            problem:
                "its task is required: --as, --pid, or how it starts (--drop, --user, --oci, ...)"
                    .to_owned(),
            errno: crate::failure::EINVAL,
        });
    }
    let Some(first) = Wanted::find(args, &mut system)? else {
        let mut subject = Subject::find(args, &mut system)?;
        let mut drawing = args.svg.then(Drawing::default);
        let programs = args.file.as_slice();
        let answer =
            explain(programs, &mut subject, &mut system, &mut Told { out, drawing: &mut drawing })?;
        draw(drawing, out)?;
        return Ok(answer);
    };
    let mut drawing = args.svg.then(Drawing::default);
    let programs = first.programs(args)?;
    let readings = first.readings(args);
    let mut wanted = Some(first);
    let mut answers = Vec::new();
    for through_map in readings {
        let wanted = match wanted.take() {
            Some(wanted) => wanted,
            None => Wanted::find(args, &mut system)?.ok_or_else(start::gone)?,
        };
        let described = Described::new(wanted, through_map, &mut system)?;
        let mut subject = Subject::Described(Box::new(described));
        let mut told = Told { out, drawing: &mut drawing };
        answers.push(explain(&programs, &mut subject, &mut system, &mut told)?);
    }
    draw(drawing, out)?;
    // Where it depends on what the configuration does not say, it cannot be told.
    let same = answers.iter().all(|answer| *answer == answers[0]);
    Ok(if same { answers[0] } else { 2 })
}

/// Where an answer goes.
struct Told<'o, 'd> {
    out: &'o mut Out,
    /// Instead, where a picture is asked for.
    drawing: &'d mut Option<Drawing>,
}

fn draw(drawing: Option<Drawing>, out: &mut Out) -> Result<(), Failure> {
    let Some(Drawing { nodes, ends }) = drawing else { return Ok(()) };
    let title = "What execve gives: the task before it, each program, and what is left";
    Ok(out.bytes(crate::picture::svg(title, &ends.join(" "), &nodes).as_bytes())?)
}

/// Explains the last of programs that are executed one after the other, or the first that is not
/// executed.
fn explain(
    programs: &[PathBuf],
    subject: &mut Subject,
    system: &mut System,
    told: &mut Told<'_, '_>,
) -> Result<u8, Failure> {
    for (n, program) in programs.iter().enumerate() {
        let last = n + 1 == programs.len();
        let chain = Chain::follow(program, subject, system)?;
        if let (0, Some(drawing)) = (n, told.drawing.as_mut()) {
            let task = subject.task(system)?;
            let asked = programs.last().unwrap_or(program);
            drawing.begin(asked, subject, &task.cred, &subject.name(&task));
        }
        if chain.files.is_empty() {
            return match told.drawing {
                Some(drawing) => {
                    drawing.blocked(program, &chain, subject);
                    Ok(1)
                }
                None => tell::blocked(program, &chain, subject, system, told.out),
            };
        }
        let over = subject.live().map(|task| task.is_over(&mut system.namespaces));
        let over = over.unwrap_or_default();
        let question = Question::new(program, &chain, subject, &over, system)?;
        let answer = verdict::Verdict::of(&question);
        let next = match &answer.outcome {
            Some(Ok(executed)) if !last && chain.stops.is_empty() => {
                Some(executed.cred.with_ns(executed.cred.ns.index()))
            }
            _ => None,
        };
        if let Some(drawing) = told.drawing {
            drawing.executed(&question, &answer, next.is_none());
        }
        let Some(cred) = next else {
            if told.drawing.is_none() {
                tell::print(&question, &answer, told.out)?;
            }
            return Ok(match answer.complete() {
                Some(complete) => u8::from(!complete),
                None => 2,
            });
        };
        if let Subject::Described(described) = subject {
            described.becomes(cred, program);
        }
    }
    Ok(2)
}

/// The running kernel.
fn kernel() -> Kernel {
    Kernel { kernel: probe::version(), no_file_caps: !probe::file_caps() }
}

/// Everything that the answer depends on.
#[derive(Clone, Copy)]
struct Question<'a> {
    path: &'a Path,
    chain: &'a Chain,
    state: &'a FileState,
    stored: Stored<'a>,
    seal: nscap_core::storage::Seal,
    subject: &'a Subject,
    system: &'a System,
    /// The namespaces of other kinds that the task is in.
    over: &'a [Over],
    task: Task<'a, LiveNs<'a>>,
    how: Program<LiveNs<'a>>,
}

impl<'a> Question<'a> {
    fn new(
        path: &'a Path,
        chain: &'a Chain,
        subject: &'a Subject,
        over: &'a [Over],
        system: &'a System,
    ) -> Result<Question<'a>, Failure> {
        let state = &chain.program().state;
        let (stored, seal) = state.stored(&system.namespaces);
        let task = subject.task(system)?;
        let how = chain.program().program(&task, system);
        Ok(Question { path, chain, state, stored, seal, subject, system, over, task, how })
    }

    /// The same where the file's superblock is another namespace's, for each that it may be.
    fn readings(&self) -> impl Iterator<Item = Question<'a>> {
        let (question, system) = (*self, self.system);
        self.chain.program().readings.iter().map(move |state| {
            let (stored, seal) = state.stored(&system.namespaces);
            let how = question.chain.program().program_of(state, &question.task, system);
            Question { state, stored, seal, how, ..question }
        })
    }

    /// The same where the file's owner or group, shown as one without an id, has none.
    fn hazy(&self) -> impl Iterator<Item = Question<'a>> {
        let question = *self;
        // What it holds is the same.
        self.chain.program().hazy.iter().map(move |state| {
            let how = question.chain.program().program_of(state, &question.task, question.system);
            Question { how, ..question }
        })
    }

    /// M: the namespaces that may own the file's superblock, in words.
    fn possible_owners(&self) -> Vec<String> {
        let program = self.chain.program();
        let states = std::iter::once(&program.state).chain(&program.readings);
        let owners = states.flat_map(|state| state.mount.owner.possible());
        owners.map(|ns| self.ns_name(self.system.namespaces.get(*ns))).collect()
    }

    /// Whether the task is in our own namespace.
    fn is_ours(&self) -> bool {
        self.task.cred.ns.same(self.system.namespaces.own_ns())
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
        /// Revision 3 for rootid -1: well-formed, and of no root.
        const NOBODY: &[u8] =
            &[0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
        match self.state.hidden {
            Some(Hidden::Foreign) => Some(NOBODY),
            Some(Hidden::Malformed) => Some(&[0]),
            Some(Hidden::HostOrOwn | Hidden::HostOrAbove | Hidden::Table) | None => {
                self.state.capability.as_deref()
            }
        }
    }

    /// The path from the task's namespace to the initial one, in words.
    fn ns_name(&self, ns: LiveNs<'_>) -> String {
        if ns.is_initial() {
            "the initial namespace".to_owned()
        } else if *ns.origin() == Origin::Unseen {
            "another user namespace".to_owned()
        } else if !ns.is_namespace() {
            "a namespace with these ids".to_owned()
        } else {
            format!("user:[{}]", ns.inode())
        }
    }
}
