// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors of making and serving a mount, each with what to do about it.

use std::path::{Path, PathBuf};

use nscap_linux::Quotable as _;
use nscap_linux::describe;

/// Why a tree could not be mounted or served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// /dev/fuse cannot be used.
    #[error("/dev/fuse: open: {}; load the module (modprobe fuse), or give this user access to it",
        describe(*errno))]
    NoFuse {
        /// Why.
        errno: i32,
    },
    /// Tasks of other users than root can reach the source by its path: their changes there bypass
    /// the rules.
    #[error("{}: users other than root can reach the source: {}; chmod 0700 a directory of its own above it ({} \
        has mode {mode:04o}), or allow a source that others can reach",
        path.maybe_quote(), describe(libc::EPERM), parent.maybe_quote())]
    Reachable {
        /// The source.
        path: PathBuf,
        /// The source's parent.
        parent: PathBuf,
        /// The mode of that directory.
        mode: u32,
    },
    /// The source or the target is not a directory, or one lies in the other.
    #[error("{}: {problem}: {}", path.maybe_quote(), describe(*errno))]
    Place {
        /// The source or the target.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
        /// ENOTDIR or EINVAL.
        errno: i32,
    },
    /// This process may not open enough files.
    #[error(
        "this process may open {limit} files (the hard limit, RLIMIT_NOFILE), and {threads} threads need \
        {needed} to serve: {}; raise it (LimitNOFILE=, ulimit -Hn), or have fewer threads (--no-io-uring, --threads)",
        describe(libc::EMFILE)
    )]
    Descriptors {
        /// The limit, in open files.
        limit: u64,
        /// The limit that is needed.
        needed: u64,
        /// How many threads serve, including those of the io_uring queues.
        threads: usize,
    },
    /// A system call failed.
    #[error("{}: {call}: {}", path.maybe_quote(), describe(*errno))]
    Call {
        /// The file of the call.
        path: PathBuf,
        /// The call, by the name of its manual page.
        call: &'static str,
        /// Why.
        errno: i32,
    },
    /// Namespaces, mounts or claims could not be read.
    #[error(transparent)]
    System(#[from] nscap_linux::Error),
}

impl Error {
    /// The errno of the error.
    ///
    /// ```
    /// use nscap_fuse::{Mount, Options};
    /// let error = Mount::new("/nonexistent".as_ref(), "/mnt".as_ref(), &Options::default())
    ///     .err().unwrap();
    /// assert_eq!(error.errno(), 2); // ENOENT
    /// ```
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Error::NoFuse { errno } | Error::Place { errno, .. } | Error::Call { errno, .. } => {
                *errno
            }
            Error::Reachable { .. } => libc::EPERM,
            Error::Descriptors { .. } => libc::EMFILE,
            Error::System(error) => error.errno(),
        }
    }

    pub(crate) fn call(path: &Path, call: &'static str, errno: rustix::io::Errno) -> Error {
        Error::Call { path: path.to_owned(), call, errno: errno.raw_os_error() }
    }
}
