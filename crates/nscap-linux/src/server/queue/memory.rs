// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory that a queue shares with the kernel.

use std::ptr::NonNull;

/// Length in bytes of the places for a header, and for what comes before the data of each
/// operation.
pub(super) const PLACE: usize = 128;
/// Where the data begins in the room: the rest of a request goes before it, so that it is whole.
pub(super) const DATA: usize = 2 * PLACE;

/// `struct fuse_uring_req_header`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Headers {
    pub(super) in_out: [u8; PLACE],
    pub(super) operation: [u8; PLACE],
    flags: u64,
    pub(super) commit: u64,
    pub(super) data: u32,
    padding: u32,
    reserved: u64,
}

/// What the kernel is given to read and write.
#[repr(C)]
struct Shared {
    headers: Headers,
    /// The headers, and the data.
    segments: [libc::iovec; 2],
}

/// Memory that the kernel reads and writes while it has a command. References to it are made only
/// while it has none.
pub(super) struct Memory {
    shared: NonNull<Shared>,
    room: NonNull<[u8]>,
}

// SAFETY: a value of this type has the only pointer to its memory.
unsafe impl Send for Memory {}

impl Memory {
    /// `largest`: the most data that a request or a reply has, in bytes.
    pub(super) fn new(largest: usize) -> Memory {
        // Pages that are never used take no memory.
        let room = Box::into_raw(vec![0; DATA + largest].into_boxed_slice());
        let headers = Headers {
            in_out: [0; PLACE],
            operation: [0; PLACE],
            flags: 0,
            commit: 0,
            data: 0,
            padding: 0,
            reserved: 0,
        };
        let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let shared = Box::into_raw(Box::new(Shared { headers, segments: [nothing; 2] }));
        // SAFETY: both have just been made, and are as long as is said here.
        unsafe {
            let headers = (&raw mut (*shared).headers).cast();
            let data = room.cast::<u8>().add(DATA).cast();
            (*shared).segments = [
                libc::iovec { iov_base: headers, iov_len: size_of::<Headers>() },
                libc::iovec { iov_base: data, iov_len: largest },
            ];
            Memory { shared: NonNull::new_unchecked(shared), room: NonNull::new_unchecked(room) }
        }
    }

    pub(super) fn segments(&self) -> u64 {
        // SAFETY: no reference is made; the pointer is good as long as this value lives.
        (unsafe { &raw const (*self.shared.as_ptr()).segments }) as u64
    }

    /// The headers and the room. The kernel must have no command.
    pub(super) fn parts(&mut self) -> (&mut Headers, &mut [u8]) {
        // SAFETY: both are ours as long as this value lives and the kernel has no command; they do
        // not overlap.
        unsafe { (&mut (*self.shared.as_ptr()).headers, self.room.as_mut()) }
    }

    /// Gives it back. The kernel must have no command, and get none.
    pub(super) fn free(&mut self) {
        // SAFETY: both come from boxes, and this is called once, by the owner's drop.
        unsafe {
            drop(Box::from_raw(self.shared.as_ptr()));
            drop(Box::from_raw(self.room.as_ptr()));
        }
    }
}
