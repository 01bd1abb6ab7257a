// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two sources of requests: read(2) of /dev/fuse, and the queues of io_uring, one for each
//! processor (Linux 6.14, where the administrator allows it).

use nscap_linux::server::{FuseDevice, FuseQueue};
use rustix::io::{Errno, read, write};

/// Which call failed, and why.
pub(crate) type Failed = (&'static str, Errno);

/// The most data that a request or a reply carries, in bytes.
pub(crate) const DATA_MAX: u32 = 1024 * 1024;
/// The largest request: data, headers and names.
const REQUEST_MAX: usize = DATA_MAX as usize + 16 * 1024;

/// Entries of each queue at the start, each with a thread; the server adds more when all are busy.
/// The kernel prefers the entry that was busy last.
const PLACES: usize = 4;

/// With more possible processors than this the server uses no queues: each queue has its own
/// threads and memory, also those of processors that are not present.
const QUEUES_MAX: u16 = 64;

/// One thread's source of requests.
pub(crate) trait Requests {
    /// The next request; `None` at the end of the connection.
    fn next(&mut self) -> Result<Option<&[u8]>, Failed>;
    /// Sends a reply. An error is ignored: the kernel then failed the request, or the request was
    /// interrupted.
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
                // The kernel withdrew the request, or a signal came.
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

/// One entry of a queue.
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
            // The kernel refused the entry, and sends all requests through /dev/fuse.
            Err(_) if !self.has_served => Ok(None),
            Err(errno) => Err(("io_uring_enter(/dev/fuse)", errno)),
        }
    }

    fn answer(&mut self, reply: &[u8]) {
        self.queue.answer(reply);
    }
}

/// The entries of all queues for a new connection. Empty if one of them cannot be made: the kernel
/// starts only when it has all of them.
pub(crate) fn places() -> Vec<FuseQueue> {
    let count = FuseQueue::count().filter(|count| *count <= QUEUES_MAX);
    let numbers = 0..count.unwrap_or(0);
    let all = numbers.flat_map(|number| [number; PLACES]);
    let places: Result<_, Errno> =
        all.map(|number| FuseQueue::new(number, DATA_MAX as usize)).collect();
    places.unwrap_or_default()
}
