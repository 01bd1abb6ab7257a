// SPDX-License-Identifier: MIT OR Apache-2.0
//! FUSE over io_uring (Linux 6.14): requests come in a queue of the processor that the caller runs
//! on, and a reply and the next request are one system call instead of two. Offered where the
//! administrator has set /sys/module/fuse/parameters/enable_uring.
//!
//! A connection has a queue for each possible processor, and a queue one or more places; a
//! [`FuseQueue`] is one place, for one thread. What a request says is the same as what read(2)
//! gives (linux/fuse.h); only forgotten inodes and interrupts still come that way.

use std::fmt;
use std::fs::read_to_string;
use std::ops::Range;
use std::os::fd::{AsFd as _, AsRawFd as _};

use io_uring::opcode::UringCmd80;
use io_uring::squeue::Entry128;
use io_uring::{IoUring, cqueue, types};
use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_setaffinity};

mod memory;

use super::FuseDevice;
use memory::{DATA, Memory};

/// FUSE_IO_URING_CMD_REGISTER, FUSE_IO_URING_CMD_COMMIT_AND_FETCH.
const REGISTER: u32 = 1;
const COMMIT_AND_FETCH: u32 = 2;

/// Lengths in bytes of `struct fuse_in_header` and `fuse_out_header`.
const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The kernel does not know of it.
    New,
    /// The kernel has a command, and the memory with it.
    Waiting,
    /// A request, by the number that its reply is committed under.
    Answering(u64),
}

/// One place in the queue of one processor, for one request at a time.
///
/// ```no_run
/// use nscap_linux::server::{FuseDevice, FuseQueue};
/// # let device = FuseDevice::open()?; // and mounted, and FUSE_OVER_IO_URING agreed on
/// let mut queue = FuseQueue::new(0, 1 << 20)?;
/// while let Some(request) = queue.next(&device)? {
///     let unique = request[8..16].to_vec();
///     let not_known = [&16u32.to_ne_bytes()[..], &(-38i32).to_ne_bytes(), &unique].concat();
///     queue.answer(&not_known);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct FuseQueue {
    ring: IoUring<Entry128, cqueue::Entry>,
    number: u16,
    memory: Memory,
    state: State,
}

impl fmt::Debug for FuseQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, state) = (self.number, self.state);
        f.debug_struct("FuseQueue").field("number", &number).field("state", &state).finish()
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

impl FuseQueue {
    /// How many queues a connection has: one for each possible processor, whether it is there or
    /// not. `None` where that cannot be found out, or where the kernel offers none.
    ///
    /// ```
    /// let queues = nscap_linux::server::FuseQueue::count();
    /// assert_ne!(queues, Some(0));
    /// ```
    #[must_use]
    pub fn count() -> Option<u16> {
        let enabled = read_to_string("/sys/module/fuse/parameters/enable_uring").ok()?;
        let possible = read_to_string("/sys/devices/system/cpu/possible").ok()?;
        enabled.starts_with('Y').then(|| processors(&possible)).flatten()
    }

    /// A place in the queue of processor `number`; nothing is fetched yet. `largest`: the most data
    /// of a request or a reply in bytes, not less than FUSE_INIT agreed on (`max_write`,
    /// `max_pages`). Its own thread is to be the first that calls [`next`](FuseQueue::next).
    ///
    /// # Errors
    /// io_uring_setup(2)'s: EPERM where kernel.io_uring_disabled or a filter forbids it, ENOSYS,
    /// EMFILE, ENOMEM; EINVAL before Linux 6.1.
    ///
    /// ```no_run
    /// let queue = nscap_linux::server::FuseQueue::new(0, 1 << 20)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(number: u16, largest: usize) -> Result<FuseQueue, Errno> {
        let mut wanted = IoUring::<Entry128, cqueue::Entry>::builder();
        wanted.setup_single_issuer().setup_defer_taskrun().setup_r_disabled();
        let ring = wanted.build(2).map_err(|error| errno(&error))?;
        Ok(FuseQueue { ring, number, memory: Memory::new(largest), state: State::New })
    }

    /// The number of the queue's processor.
    ///
    /// ```no_run
    /// assert_eq!(nscap_linux::server::FuseQueue::new(3, 8192)?.number(), 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Tells the kernel of a new place, which may get a request from then on;
    /// [`next`](FuseQueue::next) does so where this was not called. Its own thread is to call it.
    ///
    /// # Errors
    /// io_uring_register(2)'s and io_uring_enter(2)'s; what the kernel says of the place itself is
    /// an error of `next`.
    ///
    /// ```no_run
    /// # fn f(device: &nscap_linux::server::FuseDevice) -> Result<(), rustix::io::Errno> {
    /// let mut queue = nscap_linux::server::FuseQueue::new(0, 1 << 20)?;
    /// queue.register(device)?;
    /// let request = queue.next(device)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn register(&mut self, device: &FuseDevice) -> Result<(), Errno> {
        if self.state == State::New {
            self.enable_and_register(device)?;
            self.ring.submit().map_err(|error| errno(&error))?;
        }
        Ok(())
    }

    fn enable_and_register(&mut self, device: &FuseDevice) -> Result<(), Errno> {
        self.ring.submitter().register_enable_rings().map_err(|error| errno(&error))?;
        self.command(device, REGISTER, 0)
    }

    /// Sends the answer to the request before, if there was one, and waits for the next, which is
    /// what read(2) of `device` would give. `None` at the end of the connection. A request that
    /// [was not answered](FuseQueue::answer) fails.
    ///
    /// # Errors
    /// Of the first call: EOPNOTSUPP, EINVAL, ENOMEM where the kernel takes no queue: the
    /// connection then goes on without any. Else io_uring_enter(2)'s.
    ///
    /// ```no_run
    /// # use nscap_linux::server::{FuseDevice, FuseQueue};
    /// # fn f(queue: &mut FuseQueue, device: &FuseDevice) {
    /// let ended = queue.next(device).is_ok_and(|request| request.is_none());
    /// # }
    /// ```
    pub fn next(&mut self, device: &FuseDevice) -> Result<Option<&[u8]>, Errno> {
        let request = loop {
            match self.state {
                State::New => self.enable_and_register(device)?,
                State::Answering(commit) => self.command(device, COMMIT_AND_FETCH, commit)?,
                State::Waiting => {}
            }
            match self.wait() {
                Ok(()) => {}
                Err(Errno::NOTCONN | Errno::CONNABORTED | Errno::CANCELED) => return Ok(None),
                Err(errno) => return Err(errno),
            }
            if let Some(request) = self.arrange() {
                break request;
            }
            // A length that no request has: it fails.
            self.answer(&[]);
        };
        Ok(self.memory.parts().1.get(request))
    }

    /// Gives the kernel a command, and the memory with it.
    fn command(&mut self, device: &FuseDevice, operation: u32, commit: u64) -> Result<(), Errno> {
        /// Where `struct io_uring_sqe` has its `len`, in numbers of four bytes.
        const LENGTH: usize = 6;
        // `struct fuse_uring_cmd_req`: flags, commit id, queue, padding.
        let mut command = [0; 80];
        let (_flags, rest) = command.split_at_mut(8);
        put(rest, &commit.to_ne_bytes());
        let (_commit, rest) = rest.split_at_mut(8);
        put(rest, &self.number.to_ne_bytes());
        let mut entry = UringCmd80::new(types::Fd(device.as_fd().as_raw_fd()), operation)
            .cmd(command)
            .addr(Some(self.memory.segments()))
            .build();
        // SAFETY: an entry is `struct io_uring_sqe` as the kernel has it (the crate gives no way
        // to this field), which is longer than that.
        unsafe { (&raw mut entry).cast::<u32>().add(LENGTH).write(2) };
        // SAFETY: what the command points to stays where it is until the kernel is done with it:
        // `Drop` sees to that. The descriptor is used when it is submitted, in `wait`, and the
        // kernel holds the file from then on.
        unsafe { self.ring.submission().push(&entry) }.map_err(|_| Errno::BUSY)?;
        self.state = State::Waiting;
        Ok(())
    }

    /// Waits until the kernel is done with the command.
    fn wait(&mut self) -> Result<(), Errno> {
        let done = loop {
            if let Some(done) = self.ring.completion().next() {
                break done.result();
            }
            match self.ring.submit_and_wait(1).map_err(|error| errno(&error)) {
                Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
                Err(errno) => return Err(errno),
            }
        };
        // The kernel has no command any more, and will get none for what it did not take.
        self.state = State::New;
        if done < 0 { Err(Errno::from_raw_os_error(-done)) } else { Ok(()) }
    }

    /// Puts together the request that has come: header, what comes before the data, data. Where it
    /// is in the room; `None` where its lengths make no sense.
    fn arrange(&mut self) -> Option<Range<usize>> {
        let (headers, room) = self.memory.parts();
        self.state = State::Answering(headers.commit);
        let (length, _) = headers.in_out.split_first_chunk()?;
        let (length, data) = (u32::from_ne_bytes(*length) as usize, headers.data as usize);
        let before = length.checked_sub(IN_HEADER)?.checked_sub(data)?;
        let start = DATA.checked_sub(IN_HEADER)?.checked_sub(before)?;
        let request = start..DATA + data;
        let (header, rest) = room.get_mut(request.clone())?.split_at_mut_checked(IN_HEADER)?;
        header.copy_from_slice(headers.in_out.get(..IN_HEADER)?);
        rest.get_mut(..before)?.copy_from_slice(headers.operation.get(..before)?);
        Some(request)
    }

    /// The answer to the request that came last, as it would be written to the device; it is sent
    /// by [`next`](FuseQueue::next). One that is no reply or that does not fit becomes EIO.
    ///
    /// ```no_run
    /// # fn f(queue: &mut nscap_linux::server::FuseQueue, reply: &[u8]) {
    /// queue.answer(reply);
    /// # }
    /// ```
    pub fn answer(&mut self, reply: &[u8]) {
        if !matches!(self.state, State::Answering(_)) {
            return;
        }
        let (headers, room) = self.memory.parts();
        let room = room.get_mut(DATA..).unwrap_or_default();
        match reply.split_first_chunk::<OUT_HEADER>() {
            Some((header, data)) if data.len() <= room.len() => {
                put(&mut headers.in_out, header);
                put(room, data);
                headers.data = u32::try_from(data.len()).unwrap_or(0);
            }
            // `struct fuse_out_header` with the number of the request, which is where it was.
            _ => {
                let [a, b, c, d] = (-libc::EIO).to_ne_bytes();
                put(&mut headers.in_out, &[OUT_HEADER as u8, 0, 0, 0, a, b, c, d]);
                headers.data = 0;
            }
        }
    }
}

/// Copies to the beginning of something longer.
fn put(to: &mut [u8], from: &[u8]) {
    if let Some(to) = to.get_mut(..from.len()) {
        to.copy_from_slice(from);
    }
}

impl Drop for FuseQueue {
    fn drop(&mut self) {
        // The kernel may still write to this memory: it is not freed until the process ends.
        if self.state != State::Waiting {
            self.memory.free();
        }
    }
}

/// Keeps the calling thread on one processor, where that can be: where the queue's requests are
/// made.
///
/// ```
/// std::thread::spawn(|| nscap_linux::server::stay_on(0));
/// ```
pub fn stay_on(processor: u16) {
    if usize::from(processor) < CpuSet::MAX_CPU {
        let mut only = CpuSet::new();
        only.set(processor.into());
        // One that is off, or not ours to use: then anywhere.
        let _ = sched_setaffinity(None, &only);
    }
}

/// How many processors a list like `0-3,8` names.
fn processors(list: &str) -> Option<u16> {
    let mut count = 0u16;
    for range in list.trim_end().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::memory::PLACE;
    use super::*;

    #[test]
    fn processors_are_counted() {
        let counts = [("0\n", 1), ("0-1\n", 2), ("0-3,8", 5), ("0,2,4-4", 3)];
        for (list, count) in counts {
            assert_eq!(processors(list), Some(count), "{list}");
        }
        for list in ["", "\n", "a", "1-0", "0-65535", "0-", "-1", "0,,1"] {
            assert_eq!(processors(list), None, "{list}");
        }
    }

    fn queue() -> Option<FuseQueue> {
        FuseQueue::new(0, 8192)
            .inspect_err(|errno| println!("skipped: FuseQueue: io_uring_setup: {errno}"))
            .ok()
    }

    /// As the kernel would put it there.
    fn came(queue: &mut FuseQueue, length: u32, before: &[u8], data: &[u8], says: usize) {
        let (headers, room) = queue.memory.parts();
        headers.in_out = [7; PLACE];
        put(&mut headers.in_out, &length.to_ne_bytes());
        put(&mut headers.operation, before);
        put(&mut room[DATA..], data);
        headers.data = says as u32;
        headers.commit = 5;
    }

    #[test]
    fn a_request_is_whole() {
        let Some(mut queue) = queue() else { return };
        came(&mut queue, 40 + 8 + 3, b"eight by", b"ab\0", 3);
        let request = queue.arrange().unwrap();
        let request = &queue.memory.parts().1[request];
        assert_eq!(request[..4], 51u32.to_ne_bytes());
        assert_eq!(request[4..40], [7; 36]);
        assert_eq!(&request[40..], b"eight byab\0");
        assert_eq!(queue.state, State::Answering(5));
        // The most of both.
        came(&mut queue, 40 + 128 + 8192, &[1; 128], &[2; 8192], 8192);
        assert_eq!(queue.arrange().unwrap().len(), 40 + 128 + 8192);
    }

    #[test]
    fn no_length_leads_outside() {
        let Some(mut queue) = queue() else { return };
        let all = [(0, 0), (39, 0), (40, 1), (u32::MAX, 0), (u32::MAX, 8193), (40 + 129, 0)];
        for (length, says) in all.into_iter().chain([(41 + 8192, 8193), (0, usize::MAX >> 32)]) {
            came(&mut queue, length, b"", b"", says);
            assert_eq!(queue.arrange(), None, "{length} {says}");
        }
    }

    #[test]
    fn an_answer_that_does_not_fit_is_an_error() {
        let Some(mut queue) = queue() else { return };
        came(&mut queue, 40, b"", b"", 0);
        queue.arrange().unwrap();
        queue.answer(&[3; 16 + 8192]);
        let (headers, room) = queue.memory.parts();
        assert_eq!((headers.data, headers.in_out[15], room[DATA + 8191]), (8192, 3, 3));
        for bad in [&[3; 15][..], &[3; 16 + 8193]] {
            queue.answer(bad);
            let (headers, _) = queue.memory.parts();
            assert_eq!((headers.data, &headers.in_out[4..8]), (0, &(-5i32).to_ne_bytes()[..]));
        }
    }

    #[test]
    fn without_a_connection_there_are_no_requests() {
        let (Some(mut queue), Ok(device)) = (queue(), FuseDevice::open()) else { return };
        assert!(!matches!(queue.next(&device), Ok(Some(_))));
    }
}
