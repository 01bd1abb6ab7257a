// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files that execve(2) opens one after the other: scripts, handlers of binfmt_misc, the
//! binary, and the program that loads its libraries; and the one of them whose capabilities count.

use std::path::{Path, PathBuf};

use nscap_core::{check_executable, may_read};
use nscap_linux::Error;

use super::format::{self, Format, On};
use super::look::{Found, Looked, Stop};
use super::misc::{self, Handler};
use super::place::{Content, Place};
use super::subject::Subject;
use super::unseen::Unseen;
use crate::failure::{
    EACCES, EAGAIN, ELIBBAD, ELOOP, ENAMETOOLONG, ENOENT, ENOEXEC, ENOTDIR, Failure,
};
use crate::out;
use crate::system::System;

/// How many interpreters in a row are too many.
const DEPTH: usize = 5;

/// The files, and what was found on the way to them.
#[derive(Default)]
pub(crate) struct Chain {
    /// In the order in which execve(2) opens them; empty where the task may not even come to the
    /// first, and neither may we.
    pub(crate) files: Vec<Found>,
    /// Which of them decides about credentials.
    program: usize,
    /// Why execve(2) fails although the program may be executed, the first reason first.
    pub(crate) stops: Vec<Stop>,
    pub(crate) unseen: Vec<Unseen>,
    /// How much of that comes before the first stop.
    unseen_before: usize,
    /// What was looked at, and what was found.
    pub(crate) steps: Vec<(&'static str, String)>,
    /// Whether a script on the way has capabilities of its own.
    pub(crate) script_has_caps: bool,
    /// The file that execve(2) hands to its interpreter by a descriptor, and whether its
    /// credentials count.
    handed: Option<(usize, bool)>,
}

/// What to open next.
struct Next {
    path: PathBuf,
    /// The file that names it.
    by: PathBuf,
}

impl Chain {
    /// Follows a file to the program that is executed in the end.
    pub(crate) fn follow(
        named: &Path,
        subject: &Subject,
        system: &mut System,
    ) -> Result<Chain, Failure> {
        let start = subject.place()?;
        let mut chain = Chain::default();
        let named =
            if subject.live().is_some() { Path::new("/").join(named) } else { named.into() };
        let mut next = chain.open(None, &named, &start, subject, system)?;
        while let Some(Next { path, by }) = next {
            if chain.files.len() > DEPTH {
                let text = format!("{} has too many interpreters in a row", out::path(&named));
                chain.stop(ELOOP, text);
                break;
            }
            next = chain.open(Some(&by), &path, &start, subject, system)?;
        }
        if let Some((file, true)) = chain.handed {
            chain.program = file;
        }
        for file in chain.files.iter().take(chain.program) {
            let stored = file.state.stored(&system.namespaces).0;
            chain.script_has_caps |= !stored.is_empty() || file.state.hidden.is_some();
        }
        Ok(chain)
    }

    /// The file whose capabilities count.
    pub(crate) fn program(&self) -> &Found {
        &self.files[self.program]
    }

    fn stop(&mut self, errno: i32, text: String) {
        self.end([Stop { errno, text, why: None }]);
    }

    fn end(&mut self, stops: impl IntoIterator<Item = Stop>) {
        if self.stops.is_empty() {
            self.unseen_before = self.unseen.len();
        }
        self.stops.extend(stops);
    }

    /// Whether the task may not come as far as the first stop, by what cannot be seen.
    pub(crate) fn may_end_before(&self) -> bool {
        self.unseen.iter().take(self.unseen_before).any(|unseen| unseen.decides)
    }

    /// Opens a file as execve(2) does, and gives what that one makes it open next.
    fn open(
        &mut self,
        by: Option<&Path>,
        path: &Path,
        start: &Place,
        subject: &Subject,
        system: &mut System,
    ) -> Result<Option<Next>, Failure> {
        let Some(found) = self.find(by, path, start, subject, system)? else { return Ok(None) };
        self.files.push(found);
        let last = self.files.len() - 1;
        let found = &self.files[last];
        let task = subject.task(system)?;
        let refused = check_executable(&task, &found.program(&task, system)).err();
        let reads = found.may_be_read(&task, system);
        if let Some(denied) = refused {
            match self.handed {
                Some((_, true)) => {
                    self.stop(EACCES, format!("{}: {}", out::path(path), denied.why));
                }
                _ => self.program = last,
            }
            return Ok(None);
        }
        self.program = last;
        let Some((content, head)) = Chain::read(&self.files[last], &mut self.unseen)? else {
            return Ok(None);
        };
        let on = start.machine();
        let handlers = handlers(start, on, system);
        if let Some(handler) = handlers.iter().find(|handler| handler.takes(&head, path)) {
            return Ok(self.hand_over(handler, last, path));
        }
        match format::of(&content, &head, on) {
            Format::Script(interpreter) => {
                let mut text = format!(
                    "{} is a script: the capabilities of its interpreter {} count, not its own [X]",
                    out::path(path),
                    out::path(&interpreter),
                );
                if !reads {
                    text.push_str(
                        "; the task may execute it and not read it, as the interpreter must",
                    );
                }
                self.steps.push(("script", text));
                if interpreter.as_os_str().is_empty() {
                    // The kernel then opens the working directory.
                    self.stop(
                        EACCES,
                        format!("the interpreter of {} has no name", out::path(path)),
                    );
                    return Ok(None);
                }
                Ok(Some(Next { path: interpreter, by: path.to_owned() }))
            }
            Format::Binary(None) => Ok(None),
            Format::Binary(Some(loader)) => {
                self.load(path, &loader, start, subject, system)?;
                Ok(None)
            }
            Format::Related => {
                let text = format!(
                    "whether this kernel executes {}, a binary of a related machine",
                    out::path(path)
                );
                self.unseen.push(Unseen::deciding("format", text));
                Ok(None)
            }
            Format::Unknown => {
                let text = format!(
                    "{} is neither a binary of this machine nor a script, and no handler of binfmt_misc \
                     takes it",
                    out::path(path)
                );
                self.stop(ENOEXEC, text);
                Ok(None)
            }
        }
    }

    /// Finds a file as the task does. `None` where execve(2) does not find it: that is a stop.
    fn find(
        &mut self,
        by: Option<&Path>,
        path: &Path,
        start: &Place,
        subject: &Subject,
        system: &mut System,
    ) -> Result<Option<Found>, Failure> {
        let looked = Looked::at(path, start, subject, system)?;
        let of = by.map(|by| format!("the interpreter {} of {}", out::path(path), out::path(by)));
        match &of {
            Some(of) => {
                let from =
                    if path.is_absolute() { "" } else { ", from the task's working directory" };
                self.steps.push(("way", format!("{of}{from}: {}", looked.way)));
            }
            None => self.steps.push(("way", looked.way)),
        }
        self.unseen.extend(looked.unseen);
        self.end(looked.refused);
        let error = match (looked.found, of) {
            (Ok(found), _) => return Ok(Some(found)),
            // The task does not reach the file, if there is one.
            (Err(Error::Call { .. }), None) if !self.stops.is_empty() => return Ok(None),
            (Err(error), None) => return Err(not_there(error, subject)),
            (Err(error), Some(of)) => (error, of),
        };
        match error {
            (Error::NotRegular { kind, .. }, of) => self.stop(EACCES, format!("{of} {kind}")),
            (Error::Call { errno, path, .. }, of)
                if [ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG].contains(&errno) =>
            {
                let what = if errno == ENOENT { "there is no" } else { "the way ends at" };
                self.stop(errno, format!("{of}: {what} {}", out::path(&path)));
            }
            (error, _) => return Err(error.into()),
        }
        Ok(None)
    }

    /// The first bytes of a file; `None` where we may not read it, which the kernel does all the
    /// same.
    ///
    /// # Errors
    /// Where the file cannot be read just now, so that nothing is known of it.
    fn read<'f>(
        found: &'f Found,
        unseen: &mut Vec<Unseen>,
    ) -> Result<Option<(Content<'f>, [u8; format::HEAD])>, Failure> {
        let file = &found.file;
        let content = file.content();
        let errno = match content {
            Ok(content) => match format::head(&content) {
                Ok(head) => return Ok(Some((content, head))),
                Err(error) => error.raw_os_error().unwrap_or(EACCES),
            },
            Err(error) if error.errno() == EAGAIN => {
                return Err(Failure::Input {
                    what: out::path(file.path()),
                    problem: "cannot be read: another process holds a lease on it".to_owned(),
                    errno: EAGAIN,
                });
            }
            Err(error) => error.errno(),
        };
        let text = format!(
            "what {} is, a binary or a script: we may not read it ({})",
            out::path(file.path()),
            nscap_linux::describe(errno)
        );
        unseen.push(Unseen::deciding("format", text));
        Ok(None)
    }

    fn hand_over(&mut self, handler: &Handler, file: usize, path: &Path) -> Option<Next> {
        let text = format!(
            "{} gives {} to {}, flags {}{}",
            handler.name,
            out::path(path),
            out::path(&handler.interpreter),
            if handler.flags.is_empty() { "none" } else { &handler.flags },
            if handler.credentials {
                ": the capabilities of the file itself count"
            } else {
                ": the capabilities of that interpreter count"
            },
        );
        self.steps.push(("binfmt_misc", text));
        if handler.open {
            if self.handed.is_some() {
                let text =
                    format!("{}: two handlers want a descriptor of the file", out::path(path));
                self.stop(ENOEXEC, text);
                return None;
            }
            self.handed = Some((file, handler.credentials));
        } else if let (Some(handed), true) = (&mut self.handed, handler.credentials) {
            handed.1 = true;
        }
        if !handler.fixed {
            return Some(Next { path: handler.interpreter.clone(), by: path.to_owned() });
        }
        // Which file that is now, its path does not tell.
        let counts = self.handed.is_some_and(|(_, credentials)| credentials);
        let text = format!(
            "the interpreter of {}, which was opened when the handler was registered (F)",
            handler.name
        );
        let unseen = if counts { Unseen::aside } else { Unseen::deciding };
        self.unseen.push(unseen("interpreter", text));
        None
    }

    /// Looks at the program that loads a binary's libraries: it is opened, and decides about
    /// nothing.
    fn load(
        &mut self,
        binary: &Path,
        loader: &Path,
        start: &Place,
        subject: &Subject,
        system: &mut System,
    ) -> Result<(), Failure> {
        let (steps, stops) = (self.steps.len(), self.stops.len());
        let found = self.find(Some(binary), loader, start, subject, system)?;
        if self.stops.len() == stops {
            // Nothing to say.
            self.steps.truncate(steps);
        }
        let Some(found) = found else { return Ok(()) };
        let task = subject.task(system)?;
        if let Err(denied) = check_executable(&task, &found.program(&task, system)) {
            self.stop(EACCES, format!("{}: {}", out::path(loader), denied.why));
            return Ok(());
        }
        let head = found.file.content().ok().and_then(|f| format::head(&f).ok());
        if head.is_some_and(|head| !format::is_own_binary(&head, start.machine())) {
            let text = format!(
                "{}, which is to load {}, is no binary of this machine",
                out::path(loader),
                out::path(binary)
            );
            self.stop(ELIBBAD, text);
        }
        Ok(())
    }
}

impl Found {
    fn may_be_read(
        &self,
        task: &nscap_core::Task<'_, nscap_linux::LiveNs<'_>>,
        system: &System,
    ) -> bool {
        let view = self.state.view(&system.namespaces);
        may_read(task, &view, self.state.inode.mode, self.list())
    }
}

/// The handlers for a task there; those of another machine are not known.
fn handlers(place: &Place, on: On, system: &System) -> Vec<Handler> {
    match (place, on) {
        (Place::Here(start), _) => misc::handlers(&start.root, system.is_root_of_host()),
        (Place::Image(..), On::Here) => misc::handlers(rustix::fs::CWD, system.is_root_of_host()),
        (Place::Image(..), On::Other(_) | On::Unread) => Vec::new(),
    }
}

/// A name that a process does not find is looked up from its root directory, which may not be ours.
fn not_there(error: Error, subject: &Subject) -> Failure {
    match (error, subject.live()) {
        (Error::Call { path, errno: ENOENT, .. }, Some(task)) => Failure::Input {
            what: out::path(&path),
            problem: format!(
                "no such file below the root of process {} (names start at its /)",
                task.pid()
            ),
            errno: ENOENT,
        },
        (Error::Call { path, errno, .. }, None) if subject.image().is_some() => Failure::Input {
            what: out::path(&path),
            problem: subject.image().map_or(String::new(), |image| {
                format!("is not in the image {}", out::path(Path::new(&image.name)))
            }),
            errno,
        },
        (error, _) => error.into(),
    }
}
