// SPDX-License-Identifier: MIT OR Apache-2.0
//! A forked process with a line to it. It goes when its [`Peer`] does, and it can tell when the
//! runner is gone: its end of the line is at end of file.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use rustix::thread::UnshareFlags;

use super::sys;

/// A forked process.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its process id.
    pub(crate) pid: Pid,
    /// The line to it.
    pub(crate) line: UnixStream,
}

impl Peer {
    /// Runs `work` in a new process, with the other end of the line. An error of `work` is said on
    /// the line.
    pub(crate) fn start(work: impl FnOnce(&mut UnixStream) -> io::Result<()>) -> io::Result<Peer> {
        let (ours, theirs) = UnixStream::pair()?;
        let (mut ours, mut theirs) = (Some(ours), Some(theirs));
        let pid = sys::fork(|| {
            drop(ours.take());
            let Some(mut line) = theirs.take() else { return 1 };
            let died_with_us = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            end_of(&mut line, |line| {
                died_with_us.map_err(io::Error::from).and_then(|()| work(line))
            })
        })?;
        drop(theirs.take());
        match ours {
            Some(line) => Ok(Peer { pid, line }),
            None => Err(io::Error::other("no line to a new process")),
        }
    }

    /// The next line that the process says.
    pub(crate) fn hear(&mut self) -> io::Result<String> {
        hear(&mut self.line)
    }
}

/// Does the work of a process and gives its exit status. An error is said on the line.
pub(crate) fn end_of(
    line: &mut UnixStream,
    work: impl FnOnce(&mut UnixStream) -> io::Result<()>,
) -> u8 {
    match work(line) {
        Ok(()) => 0,
        Err(error) => {
            let _ = say(line, &format!("!{error}"));
            1
        }
    }
}

/// Does the work as the first process of a new pid namespace.
pub(crate) fn in_new_pid_ns(
    line: &mut UnixStream,
    work: impl FnOnce(&mut UnixStream) -> io::Result<()>,
) -> io::Result<()> {
    sys::unshare(UnshareFlags::NEWPID)?;
    let first = sys::fork(|| {
        end_of(line, |line| {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            work(line)
        })
    })?;
    wait(first).map(drop)
}

/// How long a process may take to leave in order, with the processes that it started.
const LEAVE: Duration = Duration::from_secs(1);

impl Drop for Peer {
    fn drop(&mut self) {
        // At end of file it ends what it started and then itself; one that hangs is killed.
        let _ = self.line.shutdown(Shutdown::Write);
        let _ = self.line.set_read_timeout(Some(LEAVE));
        let _ = io::copy(&mut self.line, &mut io::sink());
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        let _ = wait(self.pid);
    }
}

/// Says a line; it must contain no line feed.
pub(crate) fn say(line: &mut UnixStream, text: &str) -> io::Result<()> {
    let flat = text.replace('\n', " ");
    line.write_all(format!("{flat}\n").as_bytes())
}

/// Hears a line. One that begins with `!` is an error of the other side.
pub(crate) fn hear(line: &mut UnixStream) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    loop {
        if line.read(&mut byte)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a process went away"));
        }
        if byte == *b"\n" {
            break;
        }
        bytes.extend(byte);
    }
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    match text.strip_prefix('!') {
        Some(error) => Err(io::Error::other(error.to_owned())),
        None => Ok(text),
    }
}

/// Waits until the other side has closed.
pub(crate) fn until_end(line: &mut UnixStream) {
    let _ = line.read(&mut [0]);
}

/// Waits for the end, or a stop, of a child.
pub(crate) fn wait(pid: Pid) -> io::Result<WaitStatus> {
    loop {
        match rustix::process::waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(status),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
