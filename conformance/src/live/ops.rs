// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operations of a step as real system calls, done by the task itself.
//!
//! Files are named relative to the current directory, which is the tasks' mount. A call that fails
//! is an outcome; an error here means that the outcome cannot be told.

use std::ffi::{CStr, CString};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::process::Pid;
use rustix::thread::{CapabilitySet, UnshareFlags};

use super::peer::{Peer, say, until_end, wait};
use super::{Front, sys, userns};
use crate::outcome::{Executed, Outcome};
use crate::scenario::{Attr, Flag, MapWriter, Maps, Op, Task};

/// More than any attribute that the kernel takes.
const VALUE_MAX: usize = 1 << 16;

/// What /proc calls the initial user namespace (PROC_USER_INIT_INO).
const INITIAL_USER_NS: &str = "user:[4026531837]";

type Performed = (Outcome, Option<Peer>);

/// Does `op` and says what came of it; `ns` is the namespace that it is about. A namespace that it
/// makes stays as long as the process that is given back.
pub(crate) fn perform(
    task: &Task,
    op: &Op,
    ns: Option<BorrowedFd<'_>>,
    front: Front,
) -> io::Result<Performed> {
    let plain = |outcome: io::Result<Outcome>| Ok((outcome?, None));
    match op {
        Op::Exec(file) => plain(exec(task, file)),
        Op::Unshare { maps, writer, .. } => unshare(maps, *writer),
        Op::Enter(_) => {
            let ns = ns.ok_or_else(|| io::Error::other("no namespace to enter"))?;
            plain(done(userns::enter(ns).and_then(|()| userns::stay_visible())))
        }
        Op::Set { .. } | Op::Get(..) | Op::Size(..) | Op::Remove(..) | Op::List(_) => {
            plain(xattr(op, front))
        }
        _ => plain(done(change(op))),
    }
}

fn done(result: io::Result<()>) -> io::Result<Outcome> {
    outcome(result.map(|()| Outcome::Done))
}

/// An errno is an outcome.
fn outcome(result: io::Result<Outcome>) -> io::Result<Outcome> {
    match result {
        Err(error) => match error.raw_os_error() {
            Some(errno) => Ok(Outcome::Failed(errno)),
            None => Err(error),
        },
        ok => ok,
    }
}

/// The name to ask for. The kernel allows only root of the superblock's owner to write
/// `security.nscapability`; a FUSE mount has another name for all other tasks.
fn name_of(attr: Attr, front: Front) -> io::Result<&'static str> {
    if attr == Attr::Cap || front != Front::Fuse {
        return Ok(attr.name());
    }
    let able = rustix::thread::capabilities(None)?.effective.contains(CapabilitySet::SYS_ADMIN);
    let initial = std::fs::read_link("/proc/self/ns/user")?.as_os_str() == INITIAL_USER_NS;
    Ok(if able && initial { attr.name() } else { "system.nscapability" })
}

fn xattr(op: &Op, front: Front) -> io::Result<Outcome> {
    let name = |attr: &Attr| name_of(*attr, front);
    let mut buffer = vec![0; VALUE_MAX];
    let result = match op {
        Op::Set { attr, file, value, flag } => {
            let flag = match flag {
                Flag::None => XattrFlags::empty(),
                Flag::Create => XattrFlags::CREATE,
                Flag::Replace => XattrFlags::REPLACE,
            };
            rustix::fs::lsetxattr(file, name(attr)?, value, flag).map(|()| Outcome::Done)
        }
        Op::Get(attr, file) => {
            rustix::fs::lgetxattr(file, name(attr)?, buffer.as_mut_slice()).map(|len| {
                buffer.truncate(len);
                Outcome::Value(buffer)
            })
        }
        Op::Size(attr, file) => rustix::fs::lgetxattr_query(file, name(attr)?).map(Outcome::Length),
        Op::Remove(attr, file) => {
            rustix::fs::lremovexattr(file, name(attr)?).map(|()| Outcome::Done)
        }
        Op::List(file) => rustix::fs::llistxattr(file, buffer.as_mut_slice()).map(|len| {
            buffer.truncate(len);
            let has = |attr: Attr| buffer.split(|b| *b == 0).any(|n| n == attr.name().as_bytes());
            Outcome::Listed { cap: has(Attr::Cap), nscap: has(Attr::Nscap) }
        }),
        _ => return Err(io::Error::other("not about an attribute")),
    };
    outcome(result.map_err(io::Error::from))
}

/// Changes of content, owner and the rest. The content stays the same byte for byte: the file
/// must still be executable, and the kernel does not look.
fn change(op: &Op) -> io::Result<()> {
    match op {
        Op::Write(file) => {
            let byte = first_byte(file)?;
            rustix::io::pwrite(open(file, OFlags::WRONLY)?, &byte, 0)?;
        }
        Op::Truncate(file) => {
            let size = rustix::fs::stat(file)?.st_size;
            let size = u64::try_from(size).map_err(io::Error::other)?;
            rustix::fs::ftruncate(open(file, OFlags::WRONLY)?, size)?;
        }
        Op::Fallocate(file) => {
            let fd = open(file, OFlags::WRONLY)?;
            rustix::fs::fallocate(fd, FallocateFlags::KEEP_SIZE, 0, 1)?;
        }
        Op::Mmap(file) => sys::touch_mapped(open(file, OFlags::RDWR)?)?,
        Op::CopyInto { from, file } => {
            let (from, into) = (open(from, OFlags::RDONLY)?, open(file, OFlags::WRONLY)?);
            rustix::fs::copy_file_range(from, None, into, None, 1)?;
        }
        Op::Chown { file, uid, gid } => {
            let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
            rustix::fs::chownat(CWD, file, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Op::Chmod(file, mode) => rustix::fs::chmod(file, Mode::from_raw_mode(*mode))?,
        Op::Rename(from, to) => rustix::fs::rename(from, to)?,
        Op::Link(from, to) => rustix::fs::link(from, to)?,
        Op::Utimes(file) => {
            let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
            let times = Timestamps { last_access: now, last_modification: now };
            rustix::fs::utimensat(CWD, file, &times, AtFlags::empty())?;
        }
        _ => return Err(io::Error::other("not a change of a file")),
    }
    Ok(())
}

fn open(file: &str, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(file, flags | OFlags::CLOEXEC, Mode::empty())?)
}

/// What is first in every file that a scenario makes: a task that may not read it need not.
fn first_byte(file: &str) -> io::Result<[u8; 1]> {
    let mut byte = [0x7f];
    match open(file, OFlags::RDONLY) {
        Ok(fd) => {
            rustix::io::pread(fd, &mut byte, 0)?;
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(error) => return Err(error),
    }
    Ok(byte)
}

/// execve(2) in a child with the task's credentials.
pub(crate) fn exec(task: &Task, file: &str) -> io::Result<Outcome> {
    exec_by(task, file, sys::exec)
}

/// As [`exec`]; `by` calls execve(2) in the child, and returns only with an error.
pub(crate) fn exec_by(
    task: &Task,
    file: &str,
    by: impl FnOnce(&CStr) -> io::Error,
) -> io::Result<Outcome> {
    let path = CString::new(format!("./{file}"))?;
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let child = || {
        // The errno goes where the probe's line would have gone.
        let failed = match run(task, &path, write.as_fd(), by) {
            Err(error) | Ok(error) => error,
        };
        let said = format!("errno {}\n", failed.raw_os_error().unwrap_or(0));
        u8::from(rustix::io::write(&write, said.as_bytes()).is_err())
    };
    let pid = if task.shared_fs { sys::fork_sharing_fs(child) } else { sys::fork(child) }?;
    drop(write);
    let ended = end(pid);
    let mut said = String::new();
    std::fs::File::from(read).read_to_string(&mut said)?;
    ended?;
    credentials(&said)
}

/// Becomes the program; whatever comes back is an error.
fn run(
    task: &Task,
    path: &CStr,
    out: BorrowedFd<'_>,
    by: impl FnOnce(&CStr) -> io::Error,
) -> io::Result<io::Error> {
    rustix::stdio::dup2_stdout(out)?;
    if task.traced {
        sys::trace_me()?;
    }
    Ok(by(path))
}

/// Waits for the end of a child, and lets it go on where tracing has stopped it.
fn end(pid: Pid) -> io::Result<()> {
    loop {
        let status = wait(pid)?;
        if status.stopped() {
            sys::untrace(pid)?;
        } else if let Some(signal) = status.terminating_signal() {
            return Err(io::Error::other(format!("the program died of signal {signal}")));
        } else if status.exited() {
            return Ok(());
        }
    }
}

/// Reads the line of the probe.
pub(crate) fn credentials(said: &str) -> io::Result<Outcome> {
    let numbers = said.strip_prefix("errno ").unwrap_or(said).split_whitespace();
    let numbers = numbers.map(str::parse).collect::<Result<Vec<u64>, _>>();
    let bad = || io::Error::other(format!("the program said {said:?}"));
    let numbers = numbers.map_err(|_| bad())?;
    if said.starts_with("errno ") {
        let errno = numbers.first().and_then(|n| i32::try_from(*n).ok());
        return errno.map(Outcome::Failed).ok_or_else(bad);
    }
    let [ids @ .., p, e, i, a, b, secure, nnp, securebits] = numbers.as_slice() else {
        return Err(bad());
    };
    let ids = ids.iter().map(|id| u32::try_from(*id)).collect::<Result<Vec<_>, _>>();
    let [ru, eu, su, rg, eg, sg] = ids.map_err(|_| bad())?.try_into().map_err(|_| bad())?;
    Ok(Outcome::Executed(Executed {
        uids: [ru, eu, su],
        gids: [rg, eg, sg],
        sets: [*p, *e, *i, *a, *b],
        secure: *secure == 1,
        no_new_privs: *nnp == 1,
        securebits: u32::try_from(*securebits).map_err(|_| bad())?,
    }))
}

/// unshare(2) of a user namespace by a child, which stays in it.
fn unshare(maps: &Maps, writer: MapWriter) -> io::Result<Performed> {
    let setgroups = userns::keeps_setgroups()?;
    let mut child = Peer::start(|line| {
        let made = sys::unshare(UnshareFlags::NEWUSER).and_then(|()| match writer {
            MapWriter::Child => userns::write_maps(rustix::process::getpid(), maps, setgroups),
            MapWriter::Parent => Ok(()),
        });
        say(line, &made.err().and_then(|e| e.raw_os_error()).unwrap_or(0).to_string())?;
        until_end(line);
        Ok(())
    })?;
    let errno: i32 = child.hear()?.parse().map_err(io::Error::other)?;
    if errno != 0 {
        return Ok((Outcome::Failed(errno), None));
    }
    let written = match writer {
        MapWriter::Child => Ok(()),
        MapWriter::Parent => userns::write_maps(child.pid, maps, setgroups),
    };
    let written = done(written)?;
    let made = (written == Outcome::Done).then_some(child);
    Ok((written, made))
}
