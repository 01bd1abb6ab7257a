// SPDX-License-Identifier: MIT OR Apache-2.0
//! The walking threads, and the one that hears what they tell and sees which of them do not come
//! back.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::shared::{Shared, share_of_descriptors};
use super::slot::Slot;
use super::{Event, WAITING_EVENTS};
use crate::error::Error;

enum Message {
    Event(Event),
    /// A thread has ended.
    Ended,
}

/// A thread, and how it was seen last.
struct Watched {
    slot: Arc<Slot>,
    beat: u64,
    since: Instant,
}

struct Watch {
    shared: Arc<Shared>,
    patience: Duration,
    sender: SyncSender<Message>,
    threads: Vec<Watched>,
    /// How many are waited for.
    alive: usize,
}

/// Walks with that many threads, until the end or until `each` has enough.
pub(super) fn run(
    shared: Arc<Shared>,
    threads: NonZeroUsize,
    patience: Duration,
    mut each: impl FnMut(Event) -> ControlFlow<()>,
) {
    let (sender, events) = sync_channel(share_of_descriptors(WAITING_EVENTS));
    let mut watch = Watch { shared, patience, sender, threads: Vec::new(), alive: 0 };
    (0..threads.get()).for_each(|_| watch.start());
    if watch.hear(&events, &mut each).is_break() {
        watch.shared.stop();
        // Wakes threads that wait to deliver a result: the receiver is gone.
        drop(events);
    }
}

impl Watch {
    fn start(&mut self) {
        let slot = Arc::new(Slot::new());
        let (shared, own, sender) =
            (Arc::clone(&self.shared), Arc::clone(&slot), self.sender.clone());
        let work = move || {
            let send = |event| match sender.send(Message::Event(event)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            };
            if shared.work(&own, send) {
                drop(shared);
                let _ = sender.send(Message::Ended);
            }
        };
        std::thread::spawn(work);
        self.threads.push(Watched { slot, beat: 0, since: Instant::now() });
        self.alive += 1;
    }

    fn hear(
        &mut self,
        events: &Receiver<Message>,
        each: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let tick = self.patience / 8;
        let mut looked = Instant::now();
        while self.alive > 0 {
            match events.recv_timeout(tick) {
                Ok(Message::Event(event)) => each(event)?,
                Ok(Message::Ended) => self.alive -= 1,
                Err(RecvTimeoutError::Timeout) => {}
                // We hold a sender.
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if looked.elapsed() >= tick {
                self.look(each)?;
                looked = Instant::now();
            }
        }
        ControlFlow::Continue(())
    }

    /// Leaves the threads that have not moved for too long, and starts others.
    fn look(&mut self, each: &mut dyn FnMut(Event) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut left = Vec::new();
        let patience = self.patience;
        self.threads.retain_mut(|thread| {
            let (beat, telling) = thread.slot.now();
            if telling || beat != thread.beat {
                (thread.beat, thread.since) = (beat, Instant::now());
                return true;
            }
            let waited = thread.since.elapsed();
            let at = (waited >= patience).then(|| thread.slot.leave(beat)).flatten();
            let stays = at.is_none();
            left.extend(at.map(|at| (at, waited)));
            stays
        });
        for (at, waited) in left {
            self.alive -= 1;
            self.start();
            self.shared.give_up(at.mount);
            each(Event::Failed(Error::NoAnswer { path: at.path(), seconds: waited.as_secs() }))?;
        }
        ControlFlow::Continue(())
    }
}
