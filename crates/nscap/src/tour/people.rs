// SPDX-License-Identifier: MIT OR Apache-2.0
//! The user namespaces of a tour, each with a process in it, and commands as users there.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nscap_linux::probe;

use super::ids::{BELOW, COUNT, Ids, PLAIN};
use rustix::io::Errno;

use crate::failure::{EIO, Failure, call};

/// The task that asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    /// Root of the tour's own namespace, which owns the file system.
    Host,
    /// An ordinary user there.
    HostUser,
    /// Root of a namespace.
    Root(Place),
    /// An ordinary user of one.
    User(Place),
}

/// A namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// One.
    A,
    /// The one below A.
    Below,
    /// The other.
    B,
    /// Its uid 0 is the host's own.
    Same,
}

impl Place {
    pub(super) fn name(self) -> &'static str {
        match self {
            Place::A => "A",
            Place::Below => "A1",
            Place::B => "B",
            Place::Same => "C",
        }
    }
}

impl Who {
    pub(super) fn name(self) -> String {
        match self {
            Who::Host => "host".to_owned(),
            Who::HostUser => "host user".to_owned(),
            Who::Root(place) => format!("{} root", place.name()),
            Who::User(place) => format!("{} user", place.name()),
        }
    }
}

/// All of them; they end with the tour's pid namespace.
pub(super) struct People {
    ids: Ids,
    all: Vec<(Place, Child)>,
}

impl People {
    pub(super) fn gather(ids: Ids) -> Result<People, Failure> {
        let mut people = People { ids, all: Vec::new() };
        match ids {
            Ids::Two { a, b, owner } => {
                let map = |root| format!("0 {root} {COUNT}\n{COUNT} {owner} 1\n");
                people.start(Place::A, &map(a))?;
                people.start(Place::B, &map(b))?;
                people.start(Place::Same, "0 0 1\n")?;
                people.start(Place::Below, &format!("0 {BELOW} {BELOW}\n"))?;
            }
            Ids::One { a } => {
                people.start(Place::A, &format!("0 {a} 1\n"))?;
                people.start(Place::Below, "0 0 1\n")?;
            }
        }
        Ok(people)
    }

    /// Starts a process in a new namespace, and writes the maps of that.
    fn start(&mut self, place: Place, map: &str) -> Result<(), Failure> {
        let mut command = match place {
            Place::Below => self.enter(Place::A, "0", &["unshare"])?,
            _ => Command::new("unshare"),
        };
        let stay = ["--user", "sh", "-c", "echo up; exec sleep infinity"];
        command.args(stay).stdin(Stdio::null()).stdout(Stdio::piped());
        let failed = |error| call("unshare".as_ref(), "execve", error);
        let mut child = command.spawn().map_err(failed)?;
        let mut line = String::new();
        if let Some(said) = child.stdout.take() {
            BufReader::new(said).read_line(&mut line).map_err(failed)?;
        }
        if line != "up\n" {
            let errno = probe::user_namespace().err().map_or(EIO, |error| error.errno());
            return Err(super::cannot("unshare --user", "made no user namespace", errno));
        }
        for name in ["uid_map", "gid_map"] {
            let path = PathBuf::from(format!("/proc/{}/{name}", child.id()));
            match place {
                Place::Below => self.write_from_a(&path, map)?,
                _ => std::fs::write(&path, map).map_err(|error| call(&path, "write", error))?,
            }
        }
        self.all.push((place, child));
        Ok(())
    }

    /// The maps of a namespace are written from the one above it.
    fn write_from_a(&self, path: &Path, map: &str) -> Result<(), Failure> {
        let failed = |error| call(path, "write", error);
        let mut command = self.enter(Place::A, "0", &["dd", "status=none", "conv=notrunc"])?;
        command.arg(format!("of={}", path.display())).stdin(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(map.as_bytes()).map_err(failed)?;
        }
        if child.wait().map_err(failed)?.success() { Ok(()) } else { Err(failed(Errno::IO.into())) }
    }

    /// A command as one of these users, with only the capabilities that execve gives.
    pub(super) fn command(&self, who: Who, argv: &[&str]) -> Result<Command, Failure> {
        let plain = PLAIN.to_string();
        match (who, self.ids) {
            (Who::Host, _) => Ok(words(argv)),
            (Who::HostUser, Ids::Two { .. }) => {
                let ids = [format!("--reuid={plain}"), format!("--regid={plain}")];
                Ok(words(&[&["setpriv", &ids[0], &ids[1], "--clear-groups"], argv].concat()))
            }
            (Who::HostUser, Ids::One { .. }) => {
                Ok(words(&[&["setpriv"], WITHOUT_INHERITED, argv].concat()))
            }
            (Who::Root(place), _) => self.enter(place, "0", argv),
            (Who::User(place), Ids::Two { .. }) => self.enter(place, &plain, argv),
            // There is no other id, so uid 0 without what makes it root.
            (Who::User(place), Ids::One { .. }) => {
                let bare = [&["setpriv", "--securebits=+noroot"], WITHOUT_INHERITED, argv].concat();
                self.enter(place, "0", &bare)
            }
        }
    }

    fn enter(&self, place: Place, id: &str, argv: &[&str]) -> Result<Command, Failure> {
        let found = self.all.iter().find(|(there, _)| *there == place);
        let (_, child) =
            found.ok_or_else(|| super::cannot(place.name(), "no such namespace", EIO))?;
        let pid = child.id().to_string();
        Ok(match self.ids {
            Ids::Two { .. } => {
                words(&[&["nsenter", "-t", &pid, "-U", "-S", id, "-G", id], argv].concat())
            }
            Ids::One { .. } => {
                let to = ["nsenter", "-t", &pid, "-U", "--preserve-credentials"];
                words(&[&to, argv].concat())
            }
        })
    }
}

const WITHOUT_INHERITED: &[&str] = &["--inh-caps=-all", "--ambient-caps=-all"];

fn words(argv: &[&str]) -> Command {
    let mut argv = argv.iter();
    let mut command = Command::new(argv.next().copied().unwrap_or("false"));
    command.args(argv);
    command
}
