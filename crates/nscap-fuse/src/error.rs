// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong before a mount is served, and what to do about it.

use std::path::{Path, PathBuf};

use nscap_linux::Quotable as _;
use nscap_linux::describe;

/// Why a tree could not be mounted or served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// /dev/fuse cannot be used.
    #[error("/dev/fuse: open: {}; is the module loaded (modprobe fuse), and may we use it?",
        describe(*errno))]
    NoFuse {
        /// Why.
        errno: i32,
    },
    /// Tasks other than root's can reach the source by its path: what they change there, no rule of
    /// ours sees.
    #[error("{}: others than root can reach the source: {}; chmod 0700 a directory of its own above it ({} \
        has mode {mode:04o}), or say that it may be reachable",
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
        /// Which.
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
        /// How many it may.
        limit: u64,
        /// How many it must be allowed to.
        needed: u64,
        /// How many threads serve, with those of the queues of io_uring.
        threads: usize,
    },
    /// A system call failed.
    #[error("{}: {call}: {}", path.maybe_quote(), describe(*errno))]
    Call {
        /// What it was about.
        path: PathBuf,
        /// The call, as its manual page is named.
        call: &'static str,
        /// Why.
        errno: i32,
    },
    /// What the running system did not tell.
    #[error(transparent)]
    System(#[from] nscap_linux::Error),
}

impl Error {
    /// The errno that the error stands for.
    ///
    /// ```
    /// use nscap_fuse::{Mount, Options};
    /// let error = Mount::new("/nonexistent".as_ref(), "/mnt".as_ref(), &Options::default())
    ///     .err().unwrap();
    /// assert!(error.errno() > 0);
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
