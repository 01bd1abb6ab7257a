// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes of content and owner: K.

use crate::decision::{Decision, Why};
use crate::stored::Stored;

/// What can happen to a file, as far as K cares.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// write(2) and its kin, of at least one byte.
    Write,
    /// truncate(2), ftruncate(2), open(2) with O_TRUNC.
    Truncate,
    /// fallocate(2), in any mode.
    Fallocate,
    /// chown(2), even to the same ids.
    Chown,
    /// copy_file_range(2) or a reflink into the file.
    CopyInto,
    /// mmap(2) with MAP_SHARED of a descriptor open for writing.
    SharedWritableMap,
    /// chmod(2).
    Chmod,
    /// rename(2) or link(2).
    Rename,
    /// utimensat(2).
    Utimes,
    /// setxattr(2) or removexattr(2) of another name.
    OtherXattr,
}

/// K: whether an operation drops the host value and every entry, before it becomes visible.
///
/// ```
/// use nscap_core::{Decision, Operation, Stored, Why, content_change};
/// assert_eq!(
///     content_change(Operation::Truncate),
///     Decision::Write(Stored::EMPTY, Why::ContentChanged)
/// );
/// assert_eq!(content_change(Operation::Rename), Decision::Keep(Why::ContentKept));
/// ```
#[must_use]
pub fn content_change(operation: Operation) -> Decision<Stored<'static>> {
    match operation {
        Operation::Write
        | Operation::Truncate
        | Operation::Fallocate
        | Operation::Chown
        | Operation::CopyInto
        | Operation::SharedWritableMap => Decision::Write(Stored::EMPTY, Why::ContentChanged),
        Operation::Chmod | Operation::Rename | Operation::Utimes | Operation::OtherXattr => {
            Decision::Keep(Why::ContentKept)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k_drops_everything_on_a_change_of_content_or_owner_only() {
        let empty = Decision::Write(Stored::EMPTY, Why::ContentChanged);
        assert_eq!(content_change(Operation::Chown), empty);
        assert_eq!(content_change(Operation::SharedWritableMap), empty);
        assert_eq!(content_change(Operation::Chmod), Decision::Keep(Why::ContentKept));
    }
}
