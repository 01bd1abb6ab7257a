// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls for a program that serves files on behalf of others: inodes by handle, a thread
//! that makes files as somebody else, and what can be done to an inode by an O_PATH descriptor.
//! Nothing here decides who may.

mod fuse;
mod handle;
mod inode;
mod private;
mod queue;
mod same;
mod thread;

pub use crate::places::hold as hold_places;
pub use fuse::{Backing, FuseDevice, let_go_of_devices};
pub use handle::FileHandle;
pub use inode::{
    chmod, fs_ioctl, getdents, getxattr, link, listxattr, open_again, removexattr, return_memory,
    setxattr,
};
pub use private::set_mount;
pub use queue::{FuseQueue, stay_on};
pub use same::{prepare_same_inode, same_inode};
pub use thread::{FsIds, Raised, set_umask, settle};
