// SPDX-License-Identifier: MIT OR Apache-2.0
//! The threads that serve. Each has its own descriptor of /dev/fuse or its own entry of a queue,
//! and answers the requests from there one after the other. A request that may last occupies its
//! thread; so the thread that calls [`run`] adds threads to a group without an idle one. Threads
//! that were added for /dev/fuse end later. An entry of a queue cannot be withdrawn: its thread
//! sleeps until the end.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle, park, park_timeout};
use std::time::{Duration, Instant};

use nscap_linux::server::{FuseDevice, FuseQueue, prepare_thread, stay_on};
use rustix::io::Errno;

use crate::groups::{Group, Seen, Watch};
use crate::requests::{DATA_MAX, Failed, FromDevice, FromQueue};
use crate::serve::Server;
use crate::shares::Shares;
use crate::tree::{Tree, WITHOUT};

/// How often the groups are looked at while one has no idle thread, or a request waits.
const LOOK: Duration = Duration::from_millis(2);
/// After this many looks without a need the looks end.
const LOOKS: u32 = 50;
/// The most threads that are added.
const ADDED: u64 = 2048;
/// The size of a thread's stack, in bytes.
const STACK: usize = 512 * 1024;

/// Where a thread gets its requests.
enum From {
    Device(FuseDevice),
    Queue(Box<FuseQueue>),
}

/// Serves until the file system is unmounted: with as many threads for /dev/fuse as the options
/// say, one for each entry of a queue, and more when these are busy. With queues, threads of
/// /dev/fuse get only FORGET and INTERRUPT, or everything if the kernel declines the queues.
pub(crate) fn run(
    tree: &Arc<Tree>,
    device: &FuseDevice,
    queues: Vec<FuseQueue>,
) -> Result<(), Failed> {
    let threads = tree.options.threads.max(1);
    let mut groups = vec![Group::new(None, threads)];
    for place in &queues {
        if groups.last().and_then(|group| group.queue) != Some(place.number()) {
            let number = place.number();
            let places = queues.iter().filter(|place| place.number() == number).count();
            groups.push(Group::new(Some(number), places));
        }
    }
    let server = Arc::new(Server {
        tree: tree.clone(),
        device: device.clone(),
        groups,
        shares: Shares::new(tree.stats.clone()),
        watch: Watch::default(),
    });
    server.watch.begin();
    let base = (threads + queues.len()) as u64;
    let mut threads_of = Threads { server, base, all: Vec::new(), ended: Ok(()) };
    let mut devices = vec![device.clone()];
    for _ in 1..threads {
        devices.push(another(device)?);
    }
    for device in devices {
        threads_of.start(0, From::Device(device), false)?;
    }
    for place in queues {
        let at = threads_of.server.groups.iter().position(|g| g.queue == Some(place.number()));
        threads_of.start(at.unwrap_or(0), From::Queue(Box::new(place)), false)?;
    }
    threads_of.look_after()
}

fn another(device: &FuseDevice) -> Result<FuseDevice, Failed> {
    device.another().map_err(|errno| ("ioctl(FUSE_DEV_IOC_CLONE)", errno))
}

/// All threads of a mount.
struct Threads {
    server: Arc<Server>,
    /// How many threads there are while no request lasts.
    base: u64,
    all: Vec<JoinHandle<Result<(), Failed>>>,
    /// The first failure.
    ended: Result<(), Failed>,
}

impl Threads {
    fn start(&mut self, group: usize, from: From, added: bool) -> Result<(), Failed> {
        let server = self.server.clone();
        let kind = server.groups.get(group).and_then(|group| group.queue);
        let name =
            kind.map_or_else(|| "nscap".to_owned(), |number| format!("nscap-queue-{number}"));
        let member = Member::new(server, group);
        let work = move || member.serve(from, added);
        let started = Builder::new().name(name).stack_size(STACK).spawn(work);
        let thread = started
            .map_err(|error| ("clone", Errno::from_io_error(&error).unwrap_or(Errno::AGAIN)))?;
        self.all.push(thread);
        Ok(())
    }

    /// Adds a thread to a group.
    fn add(&mut self, group: usize) -> Result<(), Failed> {
        if self.server.tree.stats.threads.get() >= self.base + ADDED {
            return Err(("clone", Errno::AGAIN));
        }
        let from = match self.server.groups.get(group).and_then(|group| group.queue) {
            None => From::Device(another(&self.server.device)?),
            Some(number) => {
                let place = FuseQueue::new(number, DATA_MAX as usize);
                From::Queue(Box::new(place.map_err(|errno| ("io_uring_setup", errno))?))
            }
        };
        self.start(group, from, true)
    }

    /// Adds threads as they are needed, until the connection is over and all threads have ended.
    fn look_after(mut self) -> Result<(), Failed> {
        let server = self.server.clone();
        let mut seen: Vec<Seen> = server.groups.iter().map(|_| Seen::default()).collect();
        let (mut calm, mut last) = (0, Instant::now());
        while !server.watch.is_over() && !self.all.is_empty() {
            if server.watch.has_to_hurry() {
                self.add_all(|group| group.wants_one());
            } else if !server.watch.is_armed() {
                park();
            } else if let Some(left) = LOOK.checked_sub(last.elapsed()) {
                park_timeout(left);
            } else {
                last = Instant::now();
                calm = if self.look(&mut seen) { 0 } else { calm + 1 };
                if calm > LOOKS {
                    calm = 0;
                    server.rest();
                }
            }
            self.collect(|thread| thread.is_finished());
        }
        server.shares.close();
        self.collect(|_| true);
        self.ended
    }

    /// One look at all groups; whether there was anything to do.
    fn look(&mut self, seen: &mut [Seen]) -> bool {
        let server = self.server.clone();
        let mut seen = seen.iter_mut();
        let ready = self.add_all(|group| {
            let backlog = || group.queue.is_some() || server.has_backlog();
            seen.next().is_some_and(|seen| group.needs_one(seen, backlog))
        });
        if !ready && server.shares.any_ready() {
            // If no thread can be added, a busy one does it later.
            let _ = self.add(0);
        }
        if server.shares.any_waits() {
            server.shares.go_on();
        }
        server.is_tense()
    }

    /// Adds a thread to each group that needs one; whether any did.
    fn add_all(&mut self, mut needs_one: impl FnMut(&Group) -> bool) -> bool {
        let server = self.server.clone();
        let needed: Vec<usize> = (0..server.groups.len())
            .filter(|number| server.groups.get(*number).is_some_and(&mut needs_one))
            .collect();
        // While no thread can be added, requests that may last are refused.
        let added = needed.iter().filter(|group| self.add(**group).is_ok()).count();
        server.watch.set_full(added < needed.len());
        !needed.is_empty()
    }

    /// Waits for threads that have ended.
    fn collect(&mut self, which: impl Fn(&JoinHandle<Result<(), Failed>>) -> bool) {
        let (ended, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.all).into_iter().partition(|thread| which(thread));
        self.all = left;
        for thread in ended {
            let end = thread.join().unwrap_or(Err(("worker", Errno::IO)));
            // Waits for all of them, also after a failure.
            self.ended = std::mem::replace(&mut self.ended, Ok(())).and(end);
        }
    }
}

/// A thread of a group; counted until it ends.
struct Member {
    server: Arc<Server>,
    group: usize,
    is_counted: bool,
}

impl Member {
    fn new(server: Arc<Server>, group: usize) -> Member {
        server.tree.stats.threads.add();
        if let Some(group) = server.groups.get(group) {
            group.join();
        }
        Member { server, group, is_counted: true }
    }

    fn serve(mut self, from: From, added: bool) -> Result<(), Failed> {
        prepare_thread(WITHOUT).map_err(|errno| ("prctl(PR_SET_SECUREBITS)", errno))?;
        let server = self.server.clone();
        let Some(group) = server.groups.get(self.group) else { return Ok(()) };
        match from {
            From::Device(device) => {
                let later = Some(device.clone());
                let over = server.serve(group, FromDevice::new(device), later)?;
                self.is_counted = over;
                if over {
                    server.watch.end();
                }
            }
            From::Queue(mut place) => {
                stay_on(place.number());
                if added {
                    // An error comes again with the first wait for a request.
                    let _ = place.register(&server.device).map(|()| server.nudge());
                }
                let requests = FromQueue::new(server.device.clone(), *place);
                // The kernel may refuse an entry that was added; the others go on.
                if server.serve(group, requests, None)? && !added {
                    group.end();
                }
            }
        }
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.server.tree.stats.threads.subtract();
        if let Some(group) = self.server.groups.get(self.group).filter(|_| self.is_counted) {
            group.leave();
        }
        self.server.watch.wake();
    }
}
