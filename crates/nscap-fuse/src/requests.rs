// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where requests come from: read from /dev/fuse, or, where the administrator has the kernel offer it
//! (Linux 6.14), by the queues of io_uring, one for each processor.

use nscap_linux::server::{FuseDevice, FuseQueue};
use rustix::io::{Errno, read, write};

use crate::worker::Failed;

/// The most data that a request or a reply carries, in bytes.
pub(crate) const DATA_MAX: u32 = 1024 * 1024;
/// And the rest of it: headers, names.
const REQUEST_MAX: usize = DATA_MAX as usize + 16 * 1024;

/// Places of each queue at the start, each with a thread; more come as they are needed. The kernel takes
/// the one that was busy last.
const PLACES: usize = 4;

/// More queues are not used: each has threads and memory of its own, also those of processors that are
/// only possible.
const QUEUES_MAX: u16 = 64;

/// One thread's source of requests.
pub(crate) trait Requests {
    /// The next one; `None` at the end of the connection.
    fn next(&mut self) -> Result<Option<&[u8]>, Failed>;
    /// A reply to it. One that the kernel does not take has failed the request there, and one to a
    /// request that was taken back is of no use.
    fn answer(&mut self, reply: &[u8]);
}

/// /dev/fuse.
pub(crate) struct FromDevice {
    device: FuseDevice,
    room: Vec<u8>,
}

impl FromDevice {
    pub(crate) fn new(device: FuseDevice) -> FromDevice {
        FromDevice { device, room: vec![0; REQUEST_MAX] }
    }
}

impl Requests for FromDevice {
    fn next(&mut self) -> Result<Option<&[u8]>, Failed> {
        loop {
            match read(&self.device, &mut *self.room) {
                Ok(length) => return Ok(self.room.get(..length)),
                // The request was taken back, or a signal came.
                Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => {}
                Err(Errno::NODEV) => return Ok(None),
                Err(errno) => return Err(("read(/dev/fuse)", errno)),
            }
        }
    }

    fn answer(&mut self, reply: &[u8]) {
        let _ = write(&self.device, reply);
    }
}

/// A place in a queue.
pub(crate) struct FromQueue {
    device: FuseDevice,
    queue: FuseQueue,
    has_served: bool,
}

impl FromQueue {
    pub(crate) fn new(device: FuseDevice, queue: FuseQueue) -> FromQueue {
        FromQueue { device, queue, has_served: false }
    }
}

impl Requests for FromQueue {
    fn next(&mut self) -> Result<Option<&[u8]>, Failed> {
        match self.queue.next(&self.device) {
            Ok(request) => {
                self.has_served = true;
                Ok(request)
            }
            // The kernel does not take it, and goes on without queues: by the device.
            Err(_) if !self.has_served => Ok(None),
            Err(errno) => Err(("io_uring_enter(/dev/fuse)", errno)),
        }
    }

    fn answer(&mut self, reply: &[u8]) {
        self.queue.answer(reply);
    }
}

/// All places of all queues, for a connection that is to be made; none where one cannot be had, since
/// the kernel waits for all of them.
pub(crate) fn places() -> Vec<FuseQueue> {
    let count = FuseQueue::count().filter(|count| *count <= QUEUES_MAX);
    let numbers = 0..count.unwrap_or(0);
    let all = numbers.flat_map(|number| [number; PLACES]);
    let places: Result<_, Errno> =
        all.map(|number| FuseQueue::new(number, DATA_MAX as usize)).collect();
    places.unwrap_or_default()
}
