// SPDX-License-Identifier: MIT OR Apache-2.0
//! One thread's loop: it takes a request and carries it out. A request that may last waits for its
//! turn in its caller's share. A panic fails one request.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use nscap_linux::server::FuseDevice;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, write};

use crate::fs::{Done, carry_out};
use crate::groups::{Group, One, Watch};
use crate::proto::abi;
use crate::proto::{Arguments, Header, Reply};
use crate::requests::{Failed, Requests};
use crate::shares::{Aside, Class, Client, Party, Permit, Shares, Verdict, class};
use crate::tree::Tree;

/// What all threads of a mount share.
pub(crate) struct Server {
    pub(crate) tree: Arc<Tree>,
    pub(crate) device: FuseDevice,
    pub(crate) groups: Vec<Group>,
    pub(crate) shares: Shares,
    pub(crate) watch: Watch,
}

impl Server {
    /// Whether a group has no thread left, or something waits.
    pub(crate) fn is_tense(&self) -> bool {
        self.groups.iter().any(Group::none_left)
            || self.shares.any_ready()
            || self.shares.any_waits()
    }

    /// No more looks until a thread asks for them.
    pub(crate) fn rest(&self) {
        self.watch.disarm();
        if self.is_tense() {
            self.watch.arm();
        }
    }

    /// Makes the kernel send requests that wait for an entry of this processor's queue: it sends
    /// them after a reply there, so this causes a request.
    pub(crate) fn nudge(&self) {
        let mut files = self.tree.inodes.some_regular();
        // ENOENT: the kernel has just forgotten the inode.
        files.any(|file| self.device.nudge(file) != Err(Errno::NOENT));
    }

    /// Whether requests wait at /dev/fuse.
    pub(crate) fn has_backlog(&self) -> bool {
        let mut polled = [PollFd::new(&self.device, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }
}

/// A request that may last, while it is carried out, with its part of the caller's share.
struct Running<'s> {
    _one: One<'s>,
    _permit: Option<Permit<'s>>,
}

/// How a request is answered, beside the bytes in the reply.
struct PendingReply<'s> {
    unique: u64,
    /// An errno, or 0.
    error: i32,
    /// Held until the reply has been sent.
    _running: Option<Running<'s>>,
}

impl Server {
    /// Serves until the connection ends (`true`), or until the group has a thread too many
    /// (`false`). `later`: the device for the replies of requests that were set aside.
    pub(crate) fn serve(
        &self,
        group: &Group,
        mut requests: impl Requests,
        later: Option<FuseDevice>,
    ) -> Result<bool, Failed> {
        let mut reply = Reply::default();
        loop {
            if later.is_some() {
                self.carry_out_ready(group, &mut reply);
            }
            let Some(request) = requests.next()? else {
                return Ok(true);
            };
            let busy = group.take(&self.watch);
            if group.queue.is_some() {
                self.tree.stats.by_io_uring.add();
            }
            let Some((header, arguments)) = Header::parse(request) else {
                return Err(("read(/dev/fuse)", Errno::PROTO));
            };
            let aside = || {
                let device = later.clone()?;
                Some(Aside { request: request.to_vec(), device })
            };
            let length = request.len();
            let answer = self.take(group, &header, arguments, (length, aside), &mut reply);
            if let Some(answer) = answer {
                requests.answer(reply.finish(answer.unique, answer.error));
            }
            drop(busy);
            if group.is_one_too_many() {
                return Ok(false);
            }
        }
    }

    /// Carries out requests that were set aside and have their turn.
    fn carry_out_ready(&self, group: &Group, reply: &mut Reply) {
        while self.shares.any_ready() {
            let _busy = group.take(&self.watch);
            let Some((aside, permit)) = self.shares.take_ready() else {
                return;
            };
            let Some((header, arguments)) = Header::parse(&aside.request) else {
                continue;
            };
            let running = Some(Running { _one: group.lasting(), _permit: Some(permit) });
            if let Some(answer) = self.carry_out(&header, arguments, running, reply) {
                // If the kernel refuses the reply, it gave up the request.
                let _ = write(&aside.device, reply.finish(answer.unique, answer.error));
            }
        }
    }

    /// Takes a new request: carries it out, sets it aside, or refuses it.
    fn take<'s>(
        &'s self,
        group: &'s Group,
        header: &Header,
        mut arguments: Arguments<'_>,
        (length, aside): (usize, impl FnOnce() -> Option<Aside>),
        reply: &mut Reply,
    ) -> Option<PendingReply<'s>> {
        if header.opcode == abi::INTERRUPT {
            self.shares.interrupt(arguments.u64().ok()?);
            return None;
        }
        let class = match class(header.opcode) {
            Class::Quick if group.is_blocked() => Class::Lasting,
            class => class,
        };
        if class == Class::Quick {
            return self.carry_out(header, arguments, None, reply);
        }
        let refusal = |error| {
            let answered = !matches!(header.opcode, abi::FORGET | abi::BATCH_FORGET);
            answered.then_some(PendingReply { unique: header.unique, error, _running: None })
        };
        // The last thread is kept for quick requests.
        if class == Class::Lasting && self.watch.is_full() && group.none_left() {
            self.tree.stats.turned_away.add();
            return refusal(libc::EAGAIN);
        }
        if let Some(one) = group.one_of_few() {
            let running = Some(Running { _one: one, _permit: None });
            return self.carry_out(header, arguments, running, reply);
        }
        let client = || self.client(header.tid);
        let mut verdict = self.shares.enter(class, (header.unique, length), client, aside);
        if let Verdict::Sit(seat) = verdict {
            verdict = group.away(&self.watch, || self.shares.sit(&seat));
        }
        match verdict {
            Verdict::Run(permit) => {
                let running = Some(Running { _one: group.lasting(), _permit: Some(permit) });
                self.carry_out(header, arguments, running, reply)
            }
            Verdict::Aside => {
                self.watch.arm();
                None
            }
            Verdict::Refused | Verdict::Sit(_) => refusal(libc::EAGAIN),
            Verdict::Interrupted => refusal(libc::EINTR),
            Verdict::Closed => refusal(libc::ENOTCONN),
        }
    }

    fn client(&self, tid: u32) -> Client {
        let looked = catch_unwind(AssertUnwindSafe(|| self.tree.caps.client(tid)));
        looked.unwrap_or(Client::one(Party::Unknown))
    }

    fn carry_out<'s>(
        &self,
        header: &Header,
        arguments: Arguments<'_>,
        running: Option<Running<'s>>,
        reply: &mut Reply,
    ) -> Option<PendingReply<'s>> {
        reply.clear();
        // Data under a lock stay usable after a panic: no invariant covers two locks. So one
        // request fails, and not the mount.
        let done = catch_unwind(AssertUnwindSafe(|| {
            carry_out(&self.tree, &self.device, header, arguments, reply)
        }));
        let error = match done {
            Ok(Ok(Done::NoReply)) => return None,
            Ok(Ok(Done::Unknown)) => libc::ENOSYS,
            Ok(Ok(Done::Reply)) => 0,
            // ENOSYS from the source would turn the operation off for the whole mount.
            Ok(Err(Errno::NOSYS)) | Err(_) => libc::EIO,
            Ok(Err(errno)) => errno.raw_os_error(),
        };
        Some(PendingReply { unique: header.unique, error, _running: running })
    }
}
