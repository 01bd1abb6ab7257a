// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shares: how much of the server one caller can use at a time. A request that may last counts for
//! its caller's share. Beyond the share it waits: a request from /dev/fuse as a copy of its bytes,
//! one from an io_uring queue as a sleeping thread. If too many wait, a request fails with EAGAIN,
//! for its caller alone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use nscap_linux::server::FuseDevice;
use rustix::io::write;

use crate::proto::Reply;
use crate::shards::locked;
use crate::stats::Stats;

mod accounts;
mod class;

use accounts::{Accounts, Waiting};
pub(crate) use accounts::{Client, Party};
pub(crate) use class::{Class, class};

/// How many interrupts are remembered for requests that do not wait yet.
const EARLY: usize = 64;

/// A request that waits without a thread.
pub(crate) struct Aside {
    pub(crate) request: Vec<u8>,
    /// The device that its reply is written to.
    pub(crate) device: FuseDevice,
}

/// A thread that waits for its turn.
#[derive(Default)]
pub(crate) struct Seat {
    called: Mutex<Option<Called>>,
    changed: Condvar,
}

/// Why a waiting thread wakes.
#[derive(Clone, Copy)]
enum Called {
    /// Its request is to be carried out, and is counted as running.
    Run(Client),
    /// Its caller got a signal: EINTR.
    Interrupted,
    /// The connection is over.
    Closed,
}

impl Seat {
    fn call(&self, called: Called) {
        *locked(&self.called) = Some(called);
        self.changed.notify_one();
    }
}

enum Ticket {
    Aside(Aside),
    Seat(Arc<Seat>),
}

/// Whether a request runs, waits or fails.
pub(crate) enum Verdict<'s> {
    /// It is to be carried out while this lives.
    Run(Permit<'s>),
    /// It was set aside.
    Aside,
    /// The thread is to wait for its turn.
    Sit(Arc<Seat>),
    /// EAGAIN: its caller's share is used up.
    Refused,
    /// EINTR: its caller got a signal.
    Interrupted,
    /// The connection is over.
    Closed,
}

#[derive(Default)]
struct State {
    accounts: Accounts<Ticket>,
    ready: VecDeque<(Aside, Client)>,
    early: VecDeque<u64>,
    closed: bool,
}

/// The shares of all callers.
#[derive(Default)]
pub(crate) struct Shares {
    state: Mutex<State>,
    ready: AtomicUsize,
    stats: Arc<Stats>,
}

/// The right to carry out a request that may last, until dropped.
#[must_use]
pub(crate) struct Permit<'s> {
    shares: &'s Shares,
    client: Client,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.shares.end(&self.client);
        self.shares.stats.lasting.subtract();
    }
}

impl Shares {
    pub(crate) fn new(stats: Arc<Stats>) -> Shares {
        Shares { stats, ..Shares::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn permit(&self, client: Client) -> Permit<'_> {
        self.stats.lasting.add();
        Permit { shares: self, client }
    }

    fn end(&self, client: &Client) {
        let mut state = self.lock();
        state.accounts.end(client);
        while let Some(waiting) = state.accounts.next() {
            self.begin(&mut state, waiting);
        }
    }

    /// Whether a request is carried out now. `client` looks its caller up. `length`: its bytes.
    /// `aside` copies the request so that it can wait without a thread; `None` if it cannot.
    pub(crate) fn enter(
        &self,
        class: Class,
        (unique, length): (u64, usize),
        client: impl FnOnce() -> Client,
        aside: impl FnOnce() -> Option<Aside>,
    ) -> Verdict<'_> {
        let client = if class == Class::Over { Client::one(Party::Over) } else { client() };
        let mut state = self.lock();
        if state.closed {
            return Verdict::Closed;
        }
        if state.accounts.start(&client) {
            return Verdict::Run(self.permit(client));
        }
        if state.early.contains(&unique) {
            state.early.retain(|early| *early != unique);
            return Verdict::Interrupted;
        }
        let mut seat = None;
        let ticket = || match aside() {
            Some(aside) => Ticket::Aside(aside),
            None => Ticket::Seat(seat.insert(Arc::<Seat>::default()).clone()),
        };
        if !state.accounts.wait(client, unique, length, ticket) {
            self.stats.turned_away.add();
            return Verdict::Refused;
        }
        self.stats.waiting.add();
        seat.map_or(Verdict::Aside, Verdict::Sit)
    }

    /// Waits for the thread's turn.
    pub(crate) fn sit(&self, seat: &Seat) -> Verdict<'_> {
        let mut called = locked(&seat.called);
        loop {
            match *called {
                Some(Called::Run(client)) => return Verdict::Run(self.permit(client)),
                Some(Called::Interrupted) => return Verdict::Interrupted,
                Some(Called::Closed) => return Verdict::Closed,
                None => {}
            }
            called = seat.changed.wait(called).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Starts a request that waited; it already counts as running.
    fn begin(&self, state: &mut State, waiting: Waiting<Ticket>) {
        self.stats.waiting.subtract();
        match waiting.what {
            Ticket::Seat(seat) => seat.call(Called::Run(waiting.client)),
            Ticket::Aside(aside) => {
                state.ready.push_back((aside, waiting.client));
                self.ready.store(state.ready.len(), Ordering::SeqCst);
            }
        }
    }

    /// Takes a request that was set aside and has its turn.
    pub(crate) fn take_ready(&self) -> Option<(Aside, Permit<'_>)> {
        if !self.any_ready() {
            return None;
        }
        let mut state = self.lock();
        let (aside, client) = state.ready.pop_front()?;
        self.ready.store(state.ready.len(), Ordering::SeqCst);
        Some((aside, self.permit(client)))
    }

    /// Whether such a request waits for a thread.
    pub(crate) fn any_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst) > 0
    }

    pub(crate) fn any_waits(&self) -> bool {
        self.lock().accounts.any_waits()
    }

    /// Called at intervals while requests wait: those that run may never end.
    pub(crate) fn go_on(&self) {
        let mut state = self.lock();
        if let Some(waiting) = state.accounts.look_for_more() {
            self.begin(&mut state, waiting);
        }
    }

    /// INTERRUPT: the caller of this request got a signal. A request that waits fails with EINTR;
    /// one that runs goes on.
    pub(crate) fn interrupt(&self, unique: u64) {
        let mut state = self.lock();
        let Some(waiting) = state.accounts.remove(unique) else {
            // It may be about to wait.
            state.early.push_back(unique);
            if state.early.len() > EARLY {
                state.early.pop_front();
            }
            return;
        };
        drop(state);
        self.stats.waiting.subtract();
        match waiting.what {
            Ticket::Seat(seat) => seat.call(Called::Interrupted),
            Ticket::Aside(aside) => {
                let mut reply = Reply::default();
                let _ = write(&aside.device, reply.finish(unique, libc::EINTR));
            }
        }
    }

    /// The connection is over: no request waits from now on.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let (waiting, ready) = (state.accounts.remove_all(), std::mem::take(&mut state.ready));
        self.ready.store(0, Ordering::SeqCst);
        drop(state);
        drop(ready);
        for waiting in waiting {
            self.stats.waiting.subtract();
            if let Ticket::Seat(seat) = waiting.what {
                seat.call(Called::Closed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::accounts::RUNNING;
    use super::*;

    fn client() -> Client {
        Client::one(Party::Uid(1000))
    }

    /// Starts as many requests as run at a time.
    fn full(shares: &Shares) -> Vec<Permit<'_>> {
        let run = |_| match shares.enter(Class::Lasting, (0, 0), client, || None) {
            Verdict::Run(permit) => permit,
            _ => panic!("it waits"),
        };
        (0..RUNNING).map(run).collect()
    }

    #[test]
    fn a_thread_sits_until_another_is_done() {
        let shares = Shares::default();
        let mut running = full(&shares);
        let Verdict::Sit(seat) = shares.enter(Class::Lasting, (7, 0), client, || None) else {
            panic!("it does not wait")
        };
        assert_eq!(shares.stats.snapshot().waiting, 1);
        running.pop();
        assert!(matches!(shares.sit(&seat), Verdict::Run(_)));
        drop(running);
        let now = shares.stats.snapshot();
        assert_eq!((now.waiting, now.lasting), (0, 0));
    }

    #[test]
    fn a_request_can_be_interrupted_while_it_waits_and_before() {
        let shares = Shares::default();
        let _running = full(&shares);
        let wait = |unique| shares.enter(Class::Lasting, (unique, 0), client, || None);
        let Verdict::Sit(seat) = wait(7) else { panic!("it does not wait") };
        shares.interrupt(7);
        assert!(matches!(shares.sit(&seat), Verdict::Interrupted));
        shares.interrupt(8);
        assert!(matches!(wait(8), Verdict::Interrupted));
        assert!(matches!(wait(8), Verdict::Sit(_)));
        for unique in 0..1000 {
            shares.interrupt(2 * unique + 1);
        }
        assert!(shares.lock().early.len() <= EARLY);
    }

    #[test]
    fn the_end_wakes_each_waiting_thread() {
        let shares = Shares::default();
        let _running = full(&shares);
        let Verdict::Sit(seat) = shares.enter(Class::Lasting, (7, 0), client, || None) else {
            panic!("it does not wait")
        };
        shares.close();
        assert!(matches!(shares.sit(&seat), Verdict::Closed));
        assert!(matches!(shares.enter(Class::Lasting, (8, 0), client, || None), Verdict::Closed));
    }

    #[test]
    fn what_was_set_aside_has_its_turn() {
        let Ok(device) = FuseDevice::open() else { return println!("skipped: needs /dev/fuse") };
        let shares = Shares::default();
        let mut running = full(&shares);
        let aside = || Some(Aside { request: vec![1], device: device.clone() });
        assert!(matches!(shares.enter(Class::Lasting, (7, 0), client, aside), Verdict::Aside));
        assert!(shares.take_ready().is_none() && shares.any_waits());
        running.pop();
        assert!(shares.any_ready() && !shares.any_waits());
        let (aside, _permit) = shares.take_ready().unwrap();
        assert_eq!(aside.request, [1]);
        assert!(!shares.any_ready());
    }
}
