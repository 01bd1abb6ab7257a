// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong on the running system: which call on which thing said which errno.

use std::path::{Path, PathBuf};

use crate::quote::Quotable as _;

/// An error of this crate. Each function says which of these it gives.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("{}: {call}: {}", path.maybe_quote(), describe(*errno))]
    Call {
        /// What it was about.
        path: PathBuf,
        /// The call, as its manual page is named.
        call: &'static str,
        /// Why, as errno(3) numbers it.
        errno: i32,
    },
    /// Neither a regular file nor, where links are followed, a link to one.
    #[error("{}: {kind}, not a regular file: {}", path.maybe_quote(), describe(*errno))]
    NotRegular {
        /// The file.
        path: PathBuf,
        /// What it is, e.g. `"is a directory"`.
        kind: &'static str,
        /// The errno that says so: EISDIR for a directory, ELOOP for a link, else EINVAL.
        errno: i32,
    },
    /// A file system has not answered a call.
    #[error("{}: the file system has not answered for {seconds} s: {}", path.maybe_quote(),
        describe(nix::libc::ETIMEDOUT))]
    NoAnswer {
        /// The directory or file that the call was about.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// There is no such process, or it ended while it was looked at.
    #[error("process {pid}: {} (the process is gone)", describe(nix::libc::ESRCH))]
    NoProcess {
        /// Its id.
        pid: u32,
    },
    /// A thread of the kernel, which acts with credentials that /proc does not show, so that its
    /// caller cannot be identified.
    #[error("thread {thread} is the kernel's and acts for others: {}", describe(nix::libc::EPERM))]
    Worker {
        /// Its id.
        thread: u32,
    },
    /// What a file of the system says is not what it should be.
    #[error("{}: {problem}: {}", path.maybe_quote(), describe(nix::libc::EINVAL))]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The file's capabilities changed while they were being changed.
    #[error("{}: another process changed it meanwhile, nothing was granted: {}", path.maybe_quote(),
        describe(nix::libc::EAGAIN))]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The facts that a change depends on are not known, so nothing was changed.
    #[error("{}: {problem}: {}", path.maybe_quote(), describe(nix::libc::EOPNOTSUPP))]
    Untold {
        /// The file.
        path: PathBuf,
        /// What is not known.
        problem: &'static str,
    },
    /// Another process has been changing this file's capabilities for too long.
    #[error("{}: another process is changing its capabilities and does not finish: {}",
        path.maybe_quote(), describe(nix::libc::EAGAIN))]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Another process serves the tree, or changes all of it, or one in it or around it.
    #[error("{}: {problem}{by}: {}", path.maybe_quote(), describe(nix::libc::EBUSY))]
    Claimed {
        /// The tree.
        path: PathBuf,
        /// How the two lie to each other.
        problem: &'static str,
        /// What is known of the other.
        by: crate::Claimant,
    },
    /// WHO names no namespace or user.
    #[error("{who}: {problem}: {}", describe(nix::libc::EINVAL))]
    Who {
        /// The text, made harmless.
        who: String,
        /// What is wrong.
        problem: String,
    },
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The errno of the error.
    ///
    /// ```
    /// use nscap_linux::{CapFile, Links};
    /// let error = CapFile::open("/nonexistent".as_ref(), Links::Refuse).unwrap_err();
    /// assert_eq!(error.errno(), 2);
    /// ```
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Error::Call { errno, .. } | Error::NotRegular { errno, .. } => *errno,
            Error::Claimed { .. } => nix::libc::EBUSY,
            Error::NoAnswer { .. } => nix::libc::ETIMEDOUT,
            Error::NoProcess { .. } => nix::libc::ESRCH,
            Error::Worker { .. } => nix::libc::EPERM,
            Error::Untold { .. } => nix::libc::EOPNOTSUPP,
            Error::Unexpected { .. } | Error::Who { .. } => nix::libc::EINVAL,
            Error::Changed { .. } | Error::Locked { .. } => nix::libc::EAGAIN,
        }
    }

    /// Whether something could not be looked at because a resource was missing (descriptors,
    /// memory, processes): that says nothing about the thing itself.
    ///
    /// ```
    /// use nscap_linux::{CapFile, Links};
    /// let error = CapFile::open("/nonexistent".as_ref(), Links::Refuse).unwrap_err();
    /// assert!(!error.is_shortage());
    /// ```
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        use nix::libc::{EAGAIN, EMFILE, ENFILE, ENOMEM};
        matches!(self, Error::Call { errno: EAGAIN | EMFILE | ENFILE | ENOMEM, .. })
    }

    pub(crate) fn call(path: &Path, call: &'static str, errno: impl Into<Raw>) -> Error {
        Error::Call { path: path.to_owned(), call, errno: errno.into().0 }
    }

    pub(crate) fn unexpected(path: &Path, problem: impl Into<String>) -> Error {
        Error::Unexpected { path: path.to_owned(), problem: problem.into() }
    }
}

/// An errno from whichever crate made the call.
pub(crate) struct Raw(i32);

impl From<rustix::io::Errno> for Raw {
    fn from(errno: rustix::io::Errno) -> Raw {
        Raw(errno.raw_os_error())
    }
}

impl From<std::io::Error> for Raw {
    fn from(error: std::io::Error) -> Raw {
        Raw(error.raw_os_error().unwrap_or(nix::libc::EIO))
    }
}

impl From<i32> for Raw {
    fn from(errno: i32) -> Raw {
        Raw(errno)
    }
}

/// The name of an errno.
///
/// ```
/// assert_eq!(nscap_linux::errno_name(13), "EACCES");
/// ```
#[must_use]
pub fn errno_name(errno: i32) -> String {
    match nix::errno::Errno::from_raw(errno) {
        nix::errno::Errno::UnknownErrno => format!("errno {errno}"),
        known => format!("{known:?}"),
    }
}

/// An errno by name and in the words of strerror(3): `"EACCES, Permission denied"`.
///
/// ```
/// assert_eq!(nscap_linux::describe(13), "EACCES, Permission denied");
/// assert_eq!(nscap_linux::describe(11), "EAGAIN, Resource temporarily unavailable");
/// ```
#[must_use]
pub fn describe(errno: i32) -> String {
    match nix::errno::Errno::from_raw(errno) {
        nix::errno::Errno::UnknownErrno => format!("errno {errno}"),
        known => format!("{known:?}, {}", strerror(errno)),
    }
}

/// The words of strerror(3) alone, as every tool ends its messages.
///
/// ```
/// assert_eq!(nscap_linux::strerror(11), "Resource temporarily unavailable");
/// ```
#[must_use]
pub fn strerror(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// What an input or output error says: the errno as [`describe`] has it, where the system gave one.
///
/// ```
/// let full = std::io::Error::from_raw_os_error(28);
/// assert_eq!(nscap_linux::describe_io(&full), "ENOSPC, No space left on device");
/// let other = std::io::Error::other("the stream is cut short");
/// assert_eq!(nscap_linux::describe_io(&other), "the stream is cut short");
/// ```
#[must_use]
pub fn describe_io(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), describe)
}
