// SPDX-License-Identifier: MIT OR Apache-2.0
//! The maps of namespaces without a process: a child process enters them, each from its parent, and
//! this process reads the child's maps. One child serves for a whole line of namespaces. The number
//! of children and the time of a snapshot are limited: the owner of a namespace may stop a child
//! that is in it, and an unprivileged user may own thousands.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, pidfd_send_signal, waitpid,
};

use super::member::{self, Shown, proc_is_ours};
use crate::sys;

/// How many children one snapshot takes.
const CHILDREN: usize = 1000;
/// How long they may take together.
const TIME: Duration = Duration::from_secs(5);
/// How long one step may take.
const STEP: Duration = Duration::from_secs(1);

/// The limits that are left for one snapshot.
#[derive(Debug)]
pub(super) struct Visits {
    children: usize,
    time: Duration,
    /// Why a namespace that was asked for was not seen: EPERM where we may not enter it (setns(2):
    /// CAP_SYS_ADMIN in it), EAGAIN where that took too long, pipe(2)'s and fork(2)'s.
    failed: Option<Errno>,
}

impl Default for Visits {
    fn default() -> Visits {
        Visits { children: CHILDREN, time: TIME, failed: None }
    }
}

#[cfg(test)]
thread_local!(pub(crate) static FORKS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) });

impl Visits {
    /// For one line of namespaces, in this time.
    pub(super) fn one(time: Duration) -> Visits {
        Visits { children: 1, time, failed: None }
    }

    /// Why not all were seen that were asked for.
    pub(super) fn failed(&self) -> Option<Errno> {
        self.failed
    }

    /// The maps of a line of namespaces, each the parent of the next; as far as the child came.
    /// setns(2) wants CAP_SYS_ADMIN in the first.
    pub(super) fn line(&mut self, namespaces: &[OwnedFd]) -> Vec<Shown> {
        if namespaces.is_empty() {
            return Vec::new();
        }
        if !proc_is_ours() {
            self.failed = Some(Errno::PERM);
            return Vec::new();
        }
        if self.children == 0 || self.time.is_zero() {
            self.failed = Some(Errno::AGAIN);
            return Vec::new();
        }
        self.children -= 1;
        let begin = Instant::now();
        let mut shown = Vec::new();
        let done = Child::send(namespaces)
            .and_then(|child| child.read(namespaces.len(), self.time, &mut shown));
        if let Err(error) = done {
            self.failed = Some(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN));
        }
        self.time = self.time.saturating_sub(begin.elapsed());
        shown
    }
}

/// A child on its way. It waits in each namespace until it is told to go on.
struct Child {
    pid: Pid,
    /// The descriptor that ends the child, and no other process that got its number.
    pidfd: Option<OwnedFd>,
    entered: io::PipeReader,
    go_on: io::PipeWriter,
}

impl Child {
    fn send(namespaces: &[OwnedFd]) -> io::Result<Child> {
        let (entered, says) = io::pipe()?;
        let (waits, go_on) = io::pipe()?;
        let line: Vec<RawFd> = namespaces.iter().map(AsRawFd::as_raw_fd).collect();
        let mut keep = line.clone();
        keep.extend([says.as_raw_fd(), waits.as_raw_fd()]);
        keep.sort_unstable();
        #[cfg(test)]
        FORKS.set(FORKS.get() + 1);
        // SAFETY: the child calls nothing but prctl, setns, close_range, write, read and _exit, all
        // of them async-signal-safe, and never returns.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: plain system calls on descriptors that the fork copied. Not dumpable, so that
            // no task in a namespace looks into the copy of our memory; no descriptor of ours is
            // kept open beyond our own end, and the child does not outlive the thread that waits.
            unsafe {
                libc::prctl(libc::PR_SET_DUMPABLE, 0);
                let mut first = 0;
                for &fd in &keep {
                    if first < fd {
                        libc::syscall(libc::SYS_close_range, first, fd - 1, 0);
                    }
                    first = fd + 1;
                }
                libc::syscall(libc::SYS_close_range, first, libc::c_int::MAX, 0);
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                for &fd in &line {
                    let mut byte = u8::from(libc::setns(fd, libc::CLONE_NEWUSER) == 0);
                    // Entering a namespace takes it back.
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    libc::write(says.as_raw_fd(), (&raw const byte).cast(), 1);
                    if byte == 0 || libc::read(waits.as_raw_fd(), (&raw mut byte).cast(), 1) != 1 {
                        break;
                    }
                }
                libc::_exit(0);
            }
        }
        let pid = Pid::from_raw(pid).filter(|_| pid > 0).ok_or_else(io::Error::last_os_error)?;
        Ok(Child { pid, pidfd: pidfd_open(pid, PidfdFlags::empty()).ok(), entered, go_on })
    }

    fn read(mut self, most: usize, time: Duration, all: &mut Vec<Shown>) -> io::Result<()> {
        let end = Instant::now() + time;
        let path = PathBuf::from(format!("/proc/{}", self.pid.as_raw_nonzero()));
        let dir = member::open(&path)?;
        while all.len() < most {
            self.is_in_next(end)?;
            let shown = member::both(&path, &dir);
            all.push(shown.map_err(|error| io::Error::from_raw_os_error(error.errno()))?);
            if all.len() < most {
                self.go_on.write_all(&[1])?;
            }
        }
        Ok(())
    }

    fn is_in_next(&mut self, end: Instant) -> io::Result<()> {
        let left = end.saturating_duration_since(Instant::now()).min(STEP);
        let mut byte = [0];
        if !sys::readable_within(&self.entered, left.as_millis() as libc::c_int) {
            return Err(Errno::AGAIN.into());
        }
        match (self.entered.read(&mut byte)?, byte) {
            (1, [1]) => Ok(()),
            (1, _) => Err(Errno::PERM.into()),
            // It has been ended.
            (_, _) => Err(Errno::AGAIN.into()),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = match &self.pidfd {
            Some(child) => pidfd_send_signal(child, Signal::KILL),
            None => kill_process(self.pid, Signal::KILL),
        };
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }
}
