// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors that abort a shift.

use std::path::{Path, PathBuf};

use nscap_linux::Quotable as _;
use nscap_linux::describe;
use rustix::io::Errno;

/// An error of a shift. A difficulty with one file is not an error: it is a
/// [`Problem`](super::Problem) of the plan or a [`Deviation`](super::Deviation) of the change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call of `nscap_linux` failed.
    #[error(transparent)]
    System(#[from] nscap_linux::Error),
    /// The shift cannot be made as it is.
    #[error("{}: {why}: {}", path.maybe_quote(), describe(*errno))]
    Refused {
        /// The file or tree.
        path: PathBuf,
        /// The reason.
        why: String,
        /// The errno of the reason.
        errno: i32,
    },
    /// A shift of this tree was begun and neither finished nor undone.
    #[error("{}: a shift was begun and not finished; --resume or --undo it ({}): {}",
        path.maybe_quote(), journal.maybe_quote(), describe(Errno::BUSY.raw_os_error()))]
    Open {
        /// The tree.
        path: PathBuf,
        /// Its journal.
        journal: PathBuf,
    },
    /// The tree has no journal.
    #[error("{}: has no shift to resume or undo ({}): {}", path.maybe_quote(), journal.maybe_quote(),
        describe(Errno::NOENT.raw_os_error()))]
    NoJournal {
        /// The tree.
        path: PathBuf,
        /// Where its journal would be.
        journal: PathBuf,
    },
}

/// The result type of this module.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The errno of the error.
    ///
    /// ```
    /// use nscap_image::shift::Tree;
    /// let mut namespaces = nscap_linux::Namespaces::own().unwrap();
    /// assert_eq!(Tree::open("/nonexistent".as_ref(), &mut namespaces).unwrap_err().errno(), 2);
    /// ```
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Error::System(error) => error.errno(),
            Error::Refused { errno, .. } => *errno,
            Error::Open { .. } => Errno::BUSY.raw_os_error(),
            Error::NoJournal { .. } => Errno::NOENT.raw_os_error(),
        }
    }

    pub(crate) fn call(path: &Path, call: &'static str, errno: Errno) -> Error {
        let errno = errno.raw_os_error();
        Error::System(nscap_linux::Error::Call { path: path.to_owned(), call, errno })
    }

    pub(crate) fn io(path: &Path, call: &'static str, error: &std::io::Error) -> Error {
        Error::call(path, call, Errno::from_io_error(error).unwrap_or(Errno::IO))
    }

    pub(crate) fn refused(path: &Path, why: impl Into<String>, errno: Errno) -> Error {
        Error::Refused { path: path.to_owned(), why: why.into(), errno: errno.raw_os_error() }
    }
}
