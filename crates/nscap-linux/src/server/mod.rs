// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls for a program that serves files to other tasks: the FUSE device and its queues,
//! inodes by file handle, and threads that make files with another user's ids. Nothing here decides
//! about permissions.

mod calls;
mod fuse;
mod handle;
mod private;
mod queue;
mod same;
mod thread;

pub use crate::places::hold as hold_places;
pub use calls::{fs_ioctl, getdents, return_memory};
pub use fuse::{Backing, FuseDevice, let_go_of_devices};
pub use handle::FileHandle;
pub use private::set_mount;
pub use queue::{FuseQueue, stay_on};
pub use same::{prepare_same_inode, same_inode};
pub use thread::{FsIds, Lowered, prepare_thread, set_umask};
