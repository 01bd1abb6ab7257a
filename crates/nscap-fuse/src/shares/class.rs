// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which requests may last. A request lasts while it waits for a disk, another task, a lease or a
//! fanotify listener, or for the inode lock (i_rwsem) of the source's file. A reader or writer can
//! hold that lock without end: by a direct read or write whose pages never arrive.

use crate::proto::abi;

/// How long a request may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// It waits for metadata only, and for no lock of a file's content.
    Quick,
    /// It may last, and its caller waits for it.
    Lasting,
    /// It may last, and no caller waits for it: the kernel says that a handle or an inode ended.
    /// The last descriptor of a file without a name frees its blocks.
    Over,
}

/// The class of an opcode. Requests that the server answers without the source are quick, and so
/// are unknown ones.
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
        // The inode lock of the inode that has the name: vfs_unlink(), vfs_rename(), vfs_link().
        // The lock of a directory in which one of these waits, and the journal.
        abi::UNLINK | abi::RMDIR | abi::RENAME | abi::RENAME2 | abi::LINK => Class::Lasting,
        abi::SYMLINK | abi::MKNOD | abi::MKDIR => Class::Lasting,
        abi::RELEASE | abi::FORGET | abi::BATCH_FORGET => Class::Over,
        _ => Class::Quick,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lookups and reads of attributes never wait for a share, and what waits for a disk does.
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
        let of_content = [abi::OPEN, abi::WRITE, abi::FSYNC, abi::FSYNCDIR, abi::SYNCFS];
        assert!(of_content.iter().all(|opcode| class(*opcode) == Class::Lasting));
        assert_eq!(class(abi::FORGET), Class::Over);
    }
}
