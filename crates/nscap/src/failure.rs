// SPDX-License-Identifier: MIT OR Apache-2.0
//! What ends a command, and with which exit status.

use std::path::{Path, PathBuf};

use nscap_core::{Denied, Errno, TextError};
use nscap_linux::{describe, describe_io, pipe};

use crate::out;

/// errno(3), where the input itself is the error.
pub(crate) const EPERM: i32 = 1;
pub(crate) const ENOENT: i32 = 2;
pub(crate) const EIO: i32 = 5;
pub(crate) const ENOEXEC: i32 = 8;
pub(crate) const EAGAIN: i32 = 11;
pub(crate) const EACCES: i32 = 13;
pub(crate) const ENOTDIR: i32 = 20;
pub(crate) const EISDIR: i32 = 21;
pub(crate) const EINVAL: i32 = 22;
pub(crate) const ENOTTY: i32 = 25;
pub(crate) const ENAMETOOLONG: i32 = 36;
pub(crate) const ELOOP: i32 = 40;
pub(crate) const ENODATA: i32 = 61;
pub(crate) const ELIBBAD: i32 = 80;

/// An error that is told to the user: what, why, and the errno where there is one.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The running system said no.
    System(nscap_linux::Error),
    /// The file system could not be mounted or served.
    Mount(nscap_fuse::Error),
    /// The shift of a tree could not be made.
    Shift(nscap_image::shift::Error),
    /// A rule said no; with the next step, where there is one.
    Denied { path: PathBuf, denied: Denied, next: Option<String> },
    /// The kernel said no to a change that no rule of ours refuses.
    Refused { error: nscap_linux::Error, next: String },
    /// Not a capability text.
    Caps { text: std::ffi::OsString, error: TextError },
    /// Anything else about the input.
    Input { what: String, problem: String, errno: i32 },
    /// A layer or an image.
    Layer(nscap_image::layer::Error),
    /// Standard output.
    Output(std::io::Error),
}

impl Failure {
    /// 1 where the answer is no, 2 for everything else; 141 where a reader has gone and SIGPIPE is
    /// to end the command.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Denied { denied, .. }
                if matches!(denied.errno, Errno::EPERM | Errno::EBUSY | Errno::ENODATA) =>
            {
                1
            }
            Failure::Refused { .. } => 1,
            Failure::Layer(error) if error.is_denied() => 1,
            Failure::Shift(nscap_image::shift::Error::Open { .. }) => 1,
            _ if self.is_end() => pipe::STATUS,
            _ => 2,
        }
    }

    /// Whether SIGPIPE is to end the command, which then says nothing.
    pub(crate) fn is_end(&self) -> bool {
        self.is_broken_pipe() && !pipe::was_ignored()
    }

    /// Whether the reader of the output has closed it (EPIPE): then nothing is reported.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        match self {
            Failure::Output(error) => error.kind() == std::io::ErrorKind::BrokenPipe,
            Failure::Layer(error) => error.is_broken_pipe(),
            _ => false,
        }
    }
}

/// What a system call on a path said.
pub(crate) fn call(path: &Path, call: &str, error: impl Into<std::io::Error>) -> Failure {
    let errno = error.into().raw_os_error().unwrap_or(EIO);
    Failure::Input { what: out::path(path), problem: call.to_owned(), errno }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::System(error) => error.fmt(f),
            Failure::Mount(error @ nscap_fuse::Error::Reachable { .. }) => {
                write!(f, "{error} (--reachable-ok)")
            }
            Failure::Mount(error) => error.fmt(f),
            Failure::Shift(error) => error.fmt(f),
            Failure::Denied { path, denied, next } => {
                let (why, errno) = (denied.why, describe(denied.errno.raw()));
                write!(f, "{}: {why} [{}]: {errno}", out::path(path), why.clause())?;
                next.as_ref().map_or(Ok(()), |next| write!(f, " ({next})"))
            }
            Failure::Refused { error, next } => write!(f, "{error} ({next})"),
            Failure::Caps { text, error } => {
                use nscap_linux::Quotable as _;
                write!(f, "{}: {error}: {}", text.quote(), describe(EINVAL))
            }
            Failure::Input { what, problem, errno } => {
                write!(f, "{what}: {problem}: {}", describe(*errno))
            }
            Failure::Layer(error) => {
                let errno = error.io().map_or(Some(EINVAL), std::io::Error::raw_os_error);
                match (error.io(), errno) {
                    (None, Some(errno)) => write!(f, "{error}: {}", describe(errno)),
                    _ => error.fmt(f),
                }
            }
            Failure::Output(error) => write!(f, "standard output: {}", describe_io(error)),
        }
    }
}

impl From<nscap_linux::Error> for Failure {
    fn from(error: nscap_linux::Error) -> Failure {
        Failure::System(error)
    }
}

impl From<nscap_fuse::Error> for Failure {
    fn from(error: nscap_fuse::Error) -> Failure {
        Failure::Mount(error)
    }
}

impl From<nscap_image::layer::Error> for Failure {
    fn from(error: nscap_image::layer::Error) -> Failure {
        Failure::Layer(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Output(error)
    }
}

impl From<nscap_image::shift::Error> for Failure {
    fn from(error: nscap_image::shift::Error) -> Failure {
        Failure::Shift(error)
    }
}
