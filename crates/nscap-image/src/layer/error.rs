// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors of a layer or an image, with their position.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use nscap_core::Denied;
use nscap_linux::{Quotable as _, describe_io};

/// Why a layer or an image could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The archive is not one that every consumer reads the same way.
    #[error("{}offset {offset}: {problem}", shown(.member))]
    Archive {
        /// Where, in bytes of the uncompressed archive.
        offset: u64,
        /// The member's name, where it is known.
        member: Option<Vec<u8>>,
        /// What is wrong.
        problem: Problem,
    },
    /// A grant that the target cannot hold, or that is malformed.
    #[error("{}offset {offset}: {} [{}]", shown(&Some(.member.clone())), .denied.why, .denied.why.clause())]
    Denied {
        /// Where the member begins, in bytes of the uncompressed archive.
        offset: u64,
        /// The member's name.
        member: Vec<u8>,
        /// The answer of the rule.
        denied: Denied,
    },
    /// The input could not be read or uncompressed.
    #[error("reading the layer: {}", describe_io(.0))]
    Read(#[source] io::Error),
    /// The output, or a report about it, could not be written.
    #[error("writing the layer: {}", describe_io(.0))]
    Write(#[source] io::Error),
    /// A system call on a part of an image failed.
    #[error("{what}: {call}: {}", describe_io(error))]
    Call {
        /// The file or directory, quoted where needed.
        what: String,
        /// The call.
        call: &'static str,
        /// What it said.
        #[source]
        error: io::Error,
    },
    /// A part of an image differs from its description, or from the image specification.
    #[error("{what}: {problem}")]
    Image {
        /// The file, or the digest of the blob.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// A path in an image leads to no file that can be changed.
    #[error("{}: {problem}", quoted(path))]
    Lookup {
        /// The path, or the name that it leads to.
        path: Vec<u8>,
        /// Why not.
        problem: String,
    },
    /// An error in one blob of an image.
    #[error("{digest}: {error}")]
    Blob {
        /// The digest of the blob as the image names it.
        digest: String,
        /// What is wrong in it.
        #[source]
        error: Box<Error>,
    },
}

/// The result type of this module.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn image(what: impl Into<String>, problem: impl Into<String>) -> Error {
        Error::Image { what: what.into(), problem: problem.into() }
    }

    pub(crate) fn lookup(path: &[u8], problem: &str) -> Error {
        Error::Lookup { path: path.to_vec(), problem: problem.to_owned() }
    }

    pub(crate) fn call(what: impl Into<String>, call: &'static str, error: io::Error) -> Error {
        Error::Call { what: what.into(), call, error }
    }

    pub(crate) fn in_blob(self, digest: &str) -> Error {
        Error::Blob { digest: digest.to_owned(), error: Box::new(self) }
    }

    /// The error of the system, if it was one.
    #[must_use]
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Error::Read(error) | Error::Write(error) | Error::Call { error, .. } => Some(error),
            Error::Blob { error, .. } => error.io(),
            Error::Archive { .. }
            | Error::Denied { .. }
            | Error::Image { .. }
            | Error::Lookup { .. } => None,
        }
    }

    /// Whether a rule refused: the target cannot hold a grant.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        match self {
            Error::Denied { .. } => true,
            Error::Blob { error, .. } => error.is_denied(),
            _ => false,
        }
    }

    /// Whether the reader of the output has closed it (EPIPE).
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Error::Write(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// What is wrong with an archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The input ends inside a member.
    #[error("the archive ends inside a member")]
    Truncated,
    /// Not a header: its checksum is wrong.
    #[error("not a tar header: the checksum is wrong")]
    Checksum,
    /// A number of a header that is malformed, negative, or too large.
    #[error("the field `{0}` is not a number from 0 to 2^63 - 1")]
    Number(&'static str),
    /// An extended header, or a long name, above [`MAX_EXTENSION`](super::MAX_EXTENSION).
    #[error("an extended header or long name of more than 1 MiB")]
    TooLong,
    /// A record of an extended header without a right length, `=` or newline.
    #[error("an extended header has a malformed record")]
    Record,
    /// A capability in `LIBARCHIVE.xattr.` that is not base64.
    #[error("a LIBARCHIVE.xattr record is not base64")]
    Base64,
    /// Two extended headers, long names or long link names for one member.
    #[error("two extended headers of one kind for one member; programs disagree which counts")]
    TwoExtensions,
    /// An extended header that no member follows.
    #[error("an extended header without a member")]
    Orphan,
    /// A size on a member that has no content.
    #[error("a size on a link, device or directory; programs disagree whether content follows")]
    SizeWithoutContent,
    /// A `size` record beside a header that gives another one.
    #[error(
        "the header and its extended header give different sizes; programs disagree which counts"
    )]
    SizesDiffer,
    /// Records for all members after it, which a member in another layer would not have.
    #[error("a global extended header changes what the member's own says")]
    GlobalRecords,
    /// `size` in a global header.
    #[error("`size` in a global extended header; programs disagree whether it counts")]
    GlobalSize,
    /// Several records of one kind for one file, with different values.
    #[error("several values of {0} for one member; programs disagree which counts")]
    Differ(&'static str),
    /// A name in several forms that do not agree.
    #[error("a name that is empty in a record or differs between them; programs disagree about it")]
    Names,
    /// A global header that gives capabilities, and a member with its own.
    #[error("capabilities in a global extended header and in the member's own")]
    GlobalAndOwn,
    /// An owner in a global header, under `--owners`.
    #[error("an owner in a global extended header; programs disagree whether it counts")]
    GlobalOwner,
    /// An eStargz table of contents in a layer that changes.
    #[error("a table of contents repeats the attributes that were changed: convert to plain gzip")]
    StargzIndex,
    /// A sparse member that is not GNU's.
    #[error("a sparse member that is not in GNU's format")]
    Sparse,
    /// An access control list under `--owners`.
    #[error("an access control list, whose ids are not translated")]
    Acl,
    /// A member after the end, of an archive that is to be changed.
    #[error("a member after the end of the archive; programs disagree whether it counts")]
    AfterEnd,
    /// More than 65,536 files with capabilities.
    #[error("more than 65,536 files with capabilities")]
    ManyCapable,
    /// More than 65,536 members.
    #[error("an image's archive with more than 65,536 members")]
    ManyMembers,
    /// index.json or manifest.json under an extended header, or as a link.
    #[error("a document of the image that is a link or has an extended header is not changed")]
    Document,
    /// An id too large for its field, without a record that could hold it.
    #[error("the translated id does not fit the header")]
    IdTooLarge,
}

fn shown(member: &Option<Vec<u8>>) -> String {
    member.as_ref().map_or_else(String::new, |name| format!("{}: ", quoted(name)))
}

/// A name from an archive, quoted so that it cannot forge a line of output.
#[must_use]
pub(crate) fn quoted(name: &[u8]) -> String {
    OsStr::from_bytes(name).maybe_quote().to_string()
}
