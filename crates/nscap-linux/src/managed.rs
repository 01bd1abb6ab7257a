// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first process of a container, machine or unit, by the name that its manager knows: found as
//! the manager's own command finds it (podman inspect, docker inspect, incus info, crictl inspect,
//! machinectl show, systemctl show).
//!
//! A number alone may be another process's meanwhile. So a descriptor of the process is taken, and
//! then the manager is asked again: it must still name that number, the process must have begun
//! before the manager says that it did, and the descriptor must refer to a living process.

mod names;

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{Error, Result};

/// What manages containers or services.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manager {
    /// podman(1): `podman:NAME`, a container's name or id.
    Podman,
    /// Docker: `docker:NAME`.
    Docker,
    /// Incus: `incus:NAME`, an instance.
    Incus,
    /// Kubernetes, by crictl on its node: `kube:NS/POD/CONTAINER`.
    Kube,
    /// systemd-machined(8): `machine:NAME`.
    Machine,
    /// systemd(1): `unit:NAME`, a service.
    Unit,
}

impl Manager {
    const ALL: [(&'static str, Manager); 6] = [
        ("podman:", Manager::Podman),
        ("docker:", Manager::Docker),
        ("incus:", Manager::Incus),
        ("kube:", Manager::Kube),
        ("machine:", Manager::Machine),
        ("unit:", Manager::Unit),
    ];

    fn prefix(self) -> &'static str {
        Manager::ALL.iter().find(|(_, own)| *own == self).map_or("", |(prefix, _)| prefix)
    }

    /// The command that is asked.
    fn program(self) -> &'static str {
        match self {
            Manager::Podman => "podman",
            Manager::Docker => "docker",
            Manager::Incus => "incus",
            Manager::Kube => "crictl",
            Manager::Machine => "machinectl",
            Manager::Unit => "systemctl",
        }
    }
}

/// A container, machine or unit by its name.
///
/// ```
/// use nscap_linux::{Managed, Manager};
/// let web = Managed::parse("podman:web").unwrap()?;
/// assert_eq!(web.manager(), Manager::Podman);
/// assert!(Managed::parse("pid:7").is_none());
/// assert!(Managed::parse("kube:web").unwrap().is_err());
/// # Ok::<(), nscap_linux::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Managed {
    manager: Manager,
    name: String,
}

/// The first process of what a manager has.
#[derive(Debug)]
pub struct Leader {
    managed: Managed,
    pid: u32,
    pidfd: OwnedFd,
}

/// What a manager says of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Said {
    pid: u32,
    /// When it began.
    since: Option<Since>,
}

/// A time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Since {
    /// In seconds since 1970.
    Epoch(u64),
    /// In microseconds of CLOCK_MONOTONIC.
    Monotonic(u64),
}

/// By how many seconds a clock may have been set since.
const SLACK: u64 = 5;

impl Managed {
    /// Reads `podman:NAME` and the like; `None` where the text is of another form.
    ///
    /// # Errors
    /// [`Error::Who`] where the name is empty or can be none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Result<Managed>> {
        let manager = Manager::of(text)?;
        let name = &text[manager.prefix().len()..];
        let managed = Managed { manager, name: name.to_owned() };
        let harmless = |name: &str, more: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
            !name.starts_with('-') && !name.is_empty() && name.chars().all(fits)
        };
        let fits = match manager {
            Manager::Podman | Manager::Docker => harmless(name, "_.-"),
            Manager::Incus => harmless(name, "-"),
            Manager::Machine => harmless(name, "_.-"),
            Manager::Unit => harmless(name, ":_.\\@-"),
            Manager::Kube => {
                name.split('/').count() == 3 && name.split('/').all(|part| harmless(part, ".-"))
            }
        };
        Some(match (fits, manager) {
            (true, _) => Ok(managed),
            (false, Manager::Kube) => Err(managed.error("expected kube:NAMESPACE/POD/CONTAINER")),
            (false, _) => Err(managed.error("no such name can be")),
        })
    }

    /// What manages it.
    #[must_use]
    pub fn manager(&self) -> Manager {
        self.manager
    }

    /// Finds its first process.
    ///
    /// # Errors
    /// [`Error::Who`] where the manager's command is missing or says no, where it is not running,
    /// or where the process is another one meanwhile.
    pub fn leader(&self) -> Result<Leader> {
        let first = self.ask()?;
        let gone = || self.error("has ended meanwhile");
        let pid = i32::try_from(first.pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| match error {
            Errno::SRCH => gone(),
            error => Error::call(format!("pid {}", first.pid).as_ref(), "pidfd_open", error),
        })?;
        let second = self.ask()?;
        if second.pid != first.pid {
            return Err(self.error("has been started again meanwhile"));
        }
        if !began_before(first.pid, second.since) {
            let problem = format!("pid {} is another process meanwhile", first.pid);
            return Err(self.error(&problem));
        }
        let leader = Leader { managed: self.clone(), pid: first.pid, pidfd };
        leader.check()?;
        Ok(leader)
    }

    fn ask(&self) -> Result<Said> {
        let name = self.name.as_str();
        match self.manager {
            Manager::Podman => self.inspect("{{.State.StartedAt.Unix}}"),
            Manager::Docker => self.inspect("{{.State.StartedAt}}"),
            Manager::Incus => {
                let text = self.run(&["info", name])?;
                let field = |key: &str| field(&text, key, ':');
                let state = field("Status").unwrap_or_default().to_ascii_lowercase();
                self.running(["running", "frozen"].contains(&&*state), &state, field("PID"), None)
            }
            Manager::Kube => self.kube(),
            Manager::Machine => {
                let text = self.run(&["show", "-p", "Leader", "-p", "State", "--", name])?;
                let state = field(&text, "State", '=').unwrap_or_default();
                self.running(state == "running", state, field(&text, "Leader", '='), None)
            }
            Manager::Unit => {
                let keys = "MainPID,ActiveState,LoadState,ExecMainStartTimestampMonotonic";
                let text = self.run(&["show", "-p", keys, "--", name])?;
                let field = |key: &str| field(&text, key, '=');
                if field("LoadState") == Some("not-found") {
                    return Err(self.error("systemd has no such unit"));
                }
                let since = field("ExecMainStartTimestampMonotonic").and_then(|t| t.parse().ok());
                let pid = field("MainPID").filter(|pid| *pid != "0");
                let state = field("ActiveState").unwrap_or_default();
                self.running(pid.is_some(), state, pid, since.map(Since::Monotonic))
            }
        }
    }

    /// podman and docker, which has taken over its command line.
    fn inspect(&self, started: &str) -> Result<Said> {
        let format = format!("{{{{.State.Pid}}}} {{{{.State.Status}}}} {started}");
        let arguments = ["inspect", "--type", "container", "--format", &format, "--", &self.name];
        let text = self.run(&arguments)?;
        let mut words = text.split_ascii_whitespace();
        let pid = words.next();
        let state = words.next().unwrap_or_default();
        let since = words.next().and_then(epoch);
        self.running(["running", "paused"].contains(&state), state, pid, since)
    }

    fn kube(&self) -> Result<Said> {
        let mut parts = self.name.split('/');
        let mut part = || parts.next().unwrap_or_default();
        let (namespace, pod, container) = (part(), part(), part());
        let exactly = |name: &str| format!("^{}$", name.replace('.', "\\."));
        let one = |what: &str, text: &str| {
            let mut ids = text.split_ascii_whitespace();
            match (ids.next(), ids.next()) {
                (Some(id), None) => Ok(id.to_owned()),
                (None, _) => {
                    Err(self.error(&format!("crictl has no running {what} of this name here")))
                }
                (Some(_), Some(_)) => {
                    Err(self.error(&format!("crictl has several {what}s of this name")))
                }
            }
        };
        let pods =
            ["pods", "--namespace", namespace, "--name", &exactly(pod), "--state", "ready", "-q"];
        let pod = one("pod", &self.run(&pods)?)?;
        let own = ["ps", "--pod", &pod, "--name", &exactly(container), "--state", "running", "-q"];
        let id = one("container", &self.run(&own)?)?;
        let template = "{{.info.pid}} {{.status.state}} {{.status.startedAt}}";
        let text =
            self.run(&["inspect", "--output", "go-template", "--template", template, &id])?;
        let mut words = text.split_ascii_whitespace();
        let pid = words.next();
        let state = words.next().unwrap_or_default();
        self.running(state == "CONTAINER_RUNNING", state, pid, words.next().and_then(epoch))
    }

    /// What is paused has its processes: it can be looked at, and `docker ps` lists it.
    fn running(
        &self,
        is: bool,
        state: &str,
        pid: Option<&str>,
        since: Option<Since>,
    ) -> Result<Said> {
        let pid = pid.and_then(|pid| pid.parse().ok()).filter(|pid| *pid > 0);
        match pid {
            Some(pid) if is => Ok(Said { pid, since }),
            _ if state.is_empty() => Err(self.error("is not running")),
            _ => Err(self.error(&format!("is not running (it is {state})"))),
        }
    }

    /// What the manager's command prints.
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let program = self.manager.program();
        let output = Command::new(program)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => {
                    self.error(&format!("{program} is not installed, which would know it"))
                }
                _ => Error::call(program.as_ref(), "execve", error),
            })?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            let said: String = lines.next_back().unwrap_or("no").chars().take(200).collect();
            return Err(self.error(&format!("{program} says: {}", said.escape_debug())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn error(&self, problem: &str) -> Error {
        let who = format!("{}{}", self.manager.prefix(), self.name);
        crate::who::error(OsStr::new(&who), problem)
    }
}

impl Leader {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it lives, so that its number is still its own.
    ///
    /// # Errors
    /// [`Error::Who`] where it has ended.
    pub fn check(&self) -> Result<()> {
        let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut ended, Some(&now)) {
            Ok(0) => Ok(()),
            _ => Err(self.managed.error("has ended meanwhile")),
        }
    }
}

/// The value of a line `KEY=VALUE` or `KEY: VALUE`.
fn field<'t>(text: &'t str, key: &str, between: char) -> Option<&'t str> {
    let value = |line: &'t str| line.trim().strip_prefix(key)?.strip_prefix(between);
    text.lines().find_map(value).map(str::trim)
}

/// Seconds since 1970, or a time as RFC 3339 has it in UTC.
fn epoch(text: &str) -> Option<Since> {
    if let Ok(seconds) = text.parse() {
        return Some(Since::Epoch(seconds));
    }
    let since = humantime::parse_rfc3339(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Since::Epoch(since.as_secs()))
}

/// Whether the process began no later than its manager says. Where that cannot be compared, the
/// descriptor alone decides.
fn began_before(pid: u32, since: Option<Since>) -> bool {
    let Some(since) = since else { return true };
    let Some(began) = crate::status::began(pid) else { return false };
    let now = |clock| rustix::time::clock_gettime(clock).tv_sec.unsigned_abs();
    // In seconds since the machine started, suspended or not.
    let boot = now(rustix::time::ClockId::Boottime);
    let since = match since {
        Since::Epoch(seconds) => {
            let start = now(rustix::time::ClockId::Realtime).saturating_sub(boot);
            seconds.saturating_sub(start)
        }
        Since::Monotonic(micros) => {
            let asleep = boot.saturating_sub(now(rustix::time::ClockId::Monotonic));
            (micros / 1_000_000).saturating_add(asleep)
        }
    };
    began <= since.saturating_add(SLACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_be_an_option_or_a_pattern_is_none() {
        let read = |text: &str| Managed::parse(text).map(|read| read.is_ok());
        for good in [
            "podman:web_1",
            "docker:3f2a",
            "incus:c1",
            "kube:default/web-0/app",
            "unit:a@b.service",
        ] {
            assert_eq!(read(good), Some(true), "{good}");
        }
        for bad in [
            "podman:",
            "podman:-l",
            "docker:a b",
            "incus:r:c",
            "kube:a/b",
            "kube:a/.*/c",
            "kube:a//c",
            "unit:-.slice\n",
        ] {
            assert_eq!(read(bad), Some(false), "{bad}");
        }
        assert_eq!(read("user:podman"), None);
    }

    #[test]
    fn a_process_that_began_later_is_another_one() {
        let own = std::process::id();
        let seconds = |clock| rustix::time::clock_gettime(clock).tv_sec.unsigned_abs();
        let now = seconds(rustix::time::ClockId::Realtime);
        assert!(began_before(own, Some(Since::Epoch(now))) && began_before(own, None));
        assert!(!began_before(own, Some(Since::Epoch(now - 3600))));
        let monotonic = seconds(rustix::time::ClockId::Monotonic) * 1_000_000;
        assert!(began_before(own, Some(Since::Monotonic(monotonic))));
        assert!(!began_before(own, Some(Since::Monotonic(0))) || monotonic < 60_000_000);
    }

    #[test]
    fn times_and_fields_are_read_as_the_commands_print_them() {
        assert_eq!(epoch("1700000000"), Some(Since::Epoch(1_700_000_000)));
        assert_eq!(epoch("2023-11-14T22:13:20.123456789Z"), Some(Since::Epoch(1_700_000_000)));
        assert_eq!(epoch("never"), None);
        assert_eq!(field("Name: c1\n  Status: RUNNING\nPID: 812\n", "PID", ':'), Some("812"));
        assert_eq!(field("MainPID=0\n", "MainPID", '='), Some("0"));
    }
}
