// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which requests may last: as long as a disk, another task, a lease or a fanotify listener likes, or
//! as long as a reader or a writer of the source's file holds its inode lock (i_rwsem). That lock can
//! be held without end: by a direct read or write into memory whose pages do not come.

use crate::proto::abi;

/// How long a request may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// It waits for nothing but metadata, and for no lock of a file's content.
    Quick,
    /// It may last, and its caller waits for it.
    Lasting,
    /// It may last, and nobody waits: the kernel's own word that something is over. The last
    /// descriptor of a file without a name frees its blocks.
    Over,
}

/// The one table. What the server answers without the source is quick, and so is what it does not
/// know.
pub(crate) fn class(opcode: u32) -> Class {
    match opcode {
        // Content is opened: leases, fanotify's permission events, O_TRUNC, the inode lock.
        abi::OPEN | abi::CREATE | abi::TMPFILE => Class::Lasting,
        // Content, where the server reads and writes it.
        abi::READ | abi::WRITE | abi::COPY_FILE_RANGE | abi::COPY_FILE_RANGE_64 => Class::Lasting,
        // The disk.
        abi::FSYNC | abi::FSYNCDIR | abi::SYNCFS => Class::Lasting,
        // The inode lock of the file: fallocate(2), SEEK_DATA and SEEK_HOLE on ext4 and xfs,
        // FS_IOC_SETFLAGS, notify_change(), vfs_setxattr() and vfs_removexattr().
        abi::FALLOCATE | abi::LSEEK | abi::IOCTL | abi::SETATTR => Class::Lasting,
        abi::SETXATTR | abi::REMOVEXATTR => Class::Lasting,
        // The inode lock of what a name stood for: vfs_unlink(), vfs_rename(), vfs_link(). The lock of
        // a directory in which one of these waits, and the journal.
        abi::UNLINK | abi::RMDIR | abi::RENAME | abi::RENAME2 | abi::LINK => Class::Lasting,
        abi::SYMLINK | abi::MKNOD | abi::MKDIR => Class::Lasting,
        abi::RELEASE | abi::FORGET | abi::BATCH_FORGET => Class::Over,
        _ => Class::Quick,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What looks at names and attributes has its thread whatever others do.
    #[test]
    fn looking_is_quick() {
        let looking = [
            abi::LOOKUP,
            abi::GETATTR,
            abi::STATX,
            abi::READLINK,
            abi::GETXATTR,
            abi::LISTXATTR,
            abi::READDIR,
            abi::READDIRPLUS,
            abi::STATFS,
        ];
        assert!(looking.iter().all(|opcode| class(*opcode) == Class::Quick));
        assert_eq!(class(u32::MAX), Class::Quick);
        assert_eq!(class(abi::OPEN), Class::Lasting);
        assert_eq!(class(abi::FORGET), Class::Over);
    }
}
