// SPDX-License-Identifier: MIT OR Apache-2.0
//! Accounts: how many requests of each caller run and wait, and which caller has the next turn.
//! Pure bookkeeping: it never blocks.

use std::collections::{HashMap, VecDeque};

/// How many lasting requests of one party run at a time.
pub(super) const RUNNING: usize = 8;
/// How many run at a time in all, if every party that waits has one that runs.
pub(super) const RUNNING_ALL: usize = 64;
/// The most that ever run in all. A party gets one more at a time if none of its requests has begun
/// or ended for [`STUCK`] looks, and if it runs at most half of what the other parties leave.
pub(super) const RUNNING_EVER: usize = 512;
const STUCK: u64 = 50;
/// How many wait in all. One party has at most half of what the other parties leave.
pub(super) const WAITING_ALL: usize = 1536;
/// A waiting request counts once more for each so many bytes of its length.
const WEIGHT: usize = 256 * 1024;

/// A party that requests count for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Party {
    /// The kernel, which says that a handle or an inode ended.
    Over,
    /// Callers that cannot be identified.
    Unknown,
    /// A kuid.
    Uid(u32),
    /// A user namespace that root made, and all below it.
    Namespace(u64),
}

/// The caller of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Client {
    pub(crate) own: Party,
    /// The party that counts once more than half of a resource is used. A caller may use every kuid
    /// that its namespace maps, so this is the outermost namespace, or the user that made it.
    pub(crate) whole: Party,
}

impl Client {
    pub(crate) fn one(party: Party) -> Client {
        Client { own: party, whole: party }
    }
}

/// A request that waits. `T`: how it continues when its turn comes.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub(super) client: Client,
    /// The request's number.
    pub(super) unique: u64,
    weight: usize,
    pub(super) what: T,
}

#[derive(Debug)]
struct Account<T> {
    running: usize,
    /// Weights of its waiting requests, also of those that count for it as the `whole` party.
    held: usize,
    /// The clock at its last turn.
    turn: u64,
    /// The look at which one of its requests last began or ended.
    changed: u64,
    waiting: VecDeque<Waiting<T>>,
}

impl<T> Default for Account<T> {
    fn default() -> Account<T> {
        Account { running: 0, held: 0, turn: 0, changed: 0, waiting: VecDeque::new() }
    }
}

/// The accounts of all parties.
#[derive(Debug)]
pub(super) struct Accounts<T> {
    all: HashMap<Party, Account<T>>,
    running: usize,
    held: usize,
    clock: u64,
    looks: u64,
}

impl<T> Default for Accounts<T> {
    fn default() -> Accounts<T> {
        Accounts { all: HashMap::new(), running: 0, held: 0, clock: 0, looks: 0 }
    }
}

/// The weight of a waiting request of `length` bytes.
fn weight(length: usize) -> usize {
    1 + length / WEIGHT
}

impl<T> Accounts<T> {
    /// Starts a request if it may run; whether it does.
    pub(super) fn start(&mut self, client: &Client) -> bool {
        let may = self.may_run(client);
        if may {
            self.count_running(client);
        }
        may
    }

    pub(super) fn end(&mut self, client: &Client) {
        self.running = self.running.saturating_sub(usize::from(client.own != Party::Over));
        let looks = self.looks;
        self.each(client, |account| {
            account.running = account.running.saturating_sub(1);
            account.changed = looks;
        });
    }

    /// Lets a request wait; `false` if the caller's share is used up.
    pub(super) fn wait(
        &mut self,
        client: Client,
        unique: u64,
        length: usize,
        what: impl FnOnce() -> T,
    ) -> bool {
        let weight = weight(length);
        if !self.may_wait(&client, weight) {
            return false;
        }
        self.held += self.counted(&client, weight);
        self.each(&client, |account| account.held += weight);
        let account = self.all.entry(client.own).or_default();
        account.waiting.push_back(Waiting { client, unique, weight, what: what() });
        true
    }

    /// The request that has the next turn: of the party whose last turn is longest ago.
    pub(super) fn next(&mut self) -> Option<Waiting<T>> {
        let party = self.longest(|accounts, client| accounts.may_run(client))?;
        self.start_first(party)
    }

    /// As [`next`](Accounts::next), beyond the number that runs at a time: for a party that has
    /// none running, or whose running requests may never end. Called at intervals while requests
    /// wait.
    pub(super) fn look_for_more(&mut self) -> Option<Waiting<T>> {
        self.looks += 1;
        let party = self.longest(|accounts, client| {
            let idle = |party| accounts.running_of(party) == 0;
            let more = |party| accounts.may_run_more(party);
            (idle(client.own) && idle(client.whole)) || (more(client.own) && more(client.whole))
        })?;
        self.start_first(party)
    }

    fn may_run_more(&self, party: Party) -> bool {
        let left = RUNNING_EVER.saturating_sub(self.running);
        self.all.get(&party).is_none_or(|account| {
            account.running < left.div_ceil(2) && self.looks - account.changed >= STUCK
        })
    }

    /// Removes a waiting request.
    pub(super) fn remove(&mut self, unique: u64) -> Option<Waiting<T>> {
        let (party, at) = self.all.iter().find_map(|(party, account)| {
            let at = account.waiting.iter().position(|waiting| waiting.unique == unique)?;
            Some((*party, at))
        })?;
        self.take(party, at)
    }

    /// Removes all waiting requests.
    pub(super) fn remove_all(&mut self) -> Vec<Waiting<T>> {
        let parties: Vec<Party> = self.all.keys().copied().collect();
        let mut all = Vec::new();
        for party in parties {
            while let Some(waiting) = self.take(party, 0) {
                all.push(waiting);
            }
        }
        all
    }

    pub(super) fn any_waits(&self) -> bool {
        self.all.values().any(|account| !account.waiting.is_empty())
    }

    fn may_run(&self, client: &Client) -> bool {
        if self.running_of(client.own) >= RUNNING {
            return false;
        }
        client.own == Party::Over
            || self.running < RUNNING_ALL / 2
            || (self.running < RUNNING_ALL && self.running_of(client.whole) < RUNNING)
    }

    /// Requests of [`Party::Over`] always wait; the kernel limits their number.
    fn may_wait(&self, client: &Client, weight: usize) -> bool {
        let free = WAITING_ALL.saturating_sub(self.held);
        let fits = |party| self.held_of(party) + weight <= free.div_ceil(2);
        let whole = self.held < WAITING_ALL / 2 || fits(client.whole);
        client.own == Party::Over || (whole && fits(client.own))
    }

    fn counted(&self, client: &Client, weight: usize) -> usize {
        if client.own == Party::Over { 0 } else { weight }
    }

    fn running_of(&self, party: Party) -> usize {
        self.all.get(&party).map_or(0, |account| account.running)
    }

    fn held_of(&self, party: Party) -> usize {
        self.all.get(&party).map_or(0, |account| account.held)
    }

    fn count_running(&mut self, client: &Client) {
        self.running += usize::from(client.own != Party::Over);
        self.clock += 1;
        let (clock, looks) = (self.clock, self.looks);
        self.each(client, |account| {
            account.running += 1;
            account.turn = clock;
            account.changed = looks;
        });
    }

    /// Changes the accounts of a caller, and removes those that are empty.
    fn each(&mut self, client: &Client, mut change: impl FnMut(&mut Account<T>)) {
        let whole = (client.whole != client.own).then_some(client.whole);
        for party in [Some(client.own), whole].into_iter().flatten() {
            let account = self.all.entry(party).or_default();
            change(account);
            if account.running == 0 && account.held == 0 && account.waiting.is_empty() {
                self.all.remove(&party);
            }
        }
    }

    fn longest(&self, may: impl Fn(&Accounts<T>, &Client) -> bool) -> Option<Party> {
        let turn = |party: Party| self.all.get(&party).map_or(0, |account| account.turn);
        let firsts = self.all.iter().filter_map(|(party, account)| {
            let client = &account.waiting.front()?.client;
            may(self, client).then(|| (turn(client.whole), turn(*party), *party))
        });
        firsts.min_by_key(|(whole, own, _)| (*whole, *own)).map(|(_, _, party)| party)
    }

    fn start_first(&mut self, party: Party) -> Option<Waiting<T>> {
        let waiting = self.take(party, 0)?;
        self.count_running(&waiting.client);
        Some(waiting)
    }

    fn take(&mut self, party: Party, at: usize) -> Option<Waiting<T>> {
        let waiting = self.all.get_mut(&party)?.waiting.remove(at)?;
        let (client, weight) = (waiting.client, waiting.weight);
        self.held = self.held.saturating_sub(self.counted(&client, weight));
        self.each(&client, |account| account.held = account.held.saturating_sub(weight));
        Some(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32) -> Client {
        Client::one(Party::Uid(uid))
    }

    fn contained(uid: u32) -> Client {
        Client { own: Party::Uid(uid), whole: Party::Namespace(7) }
    }

    fn waits(accounts: &mut Accounts<u32>, client: Client) -> bool {
        accounts.wait(client, 0, 0, || 0)
    }

    fn most(mut one_more: impl FnMut() -> bool) -> usize {
        (0..100_000).take_while(|_| one_more()).count()
    }

    #[test]
    fn one_user_runs_and_waits_in_a_share() {
        let mut accounts = Accounts::default();
        assert_eq!(most(|| accounts.start(&user(1000))), RUNNING);
        assert_eq!(most(|| waits(&mut accounts, user(1000))), WAITING_ALL / 3);
        assert!(accounts.start(&user(1001)));
        assert!(waits(&mut accounts, user(1001)));
    }

    #[test]
    fn many_users_leave_something() {
        let mut accounts = Accounts::default();
        let all = (0..12).map(|uid| most(|| waits(&mut accounts, user(uid)))).collect::<Vec<_>>();
        assert!(all.iter().all(|waiting| *waiting > 0), "{all:?}");
        assert!(waits(&mut accounts, user(5000)));
        // As many as one runs, for each of eight.
        for uid in 0..8 {
            assert_eq!(most(|| accounts.start(&user(uid))), RUNNING);
        }
        assert!(!accounts.start(&user(5000)));
        // Requests that do not end do not delay other parties for ever.
        let beyond = accounts.look_for_more().unwrap();
        assert!(accounts.running_of(beyond.client.own) == 1);
    }

    /// Requests of root, some of which hang at another user's files.
    #[test]
    fn what_hangs_does_not_keep_its_own_user_for_ever() {
        let mut accounts = Accounts::default();
        assert_eq!(most(|| accounts.start(&user(0))), RUNNING);
        while waits(&mut accounts, user(0)) {}
        for _ in 1..STUCK {
            assert!(accounts.look_for_more().is_none());
        }
        assert!(accounts.look_for_more().is_some());
        assert!(accounts.look_for_more().is_none());
        for _ in 0..STUCK * 500 {
            accounts.look_for_more();
        }
        assert_eq!(accounts.running, RUNNING_EVER.div_ceil(3));
        assert!(waits(&mut accounts, user(1)) && accounts.look_for_more().is_some());
    }

    #[test]
    fn a_container_is_one_party_once_half_is_used() {
        let mut accounts = Accounts::default();
        let mut uids = 0..;
        let running = most(|| accounts.start(&contained(uids.next().unwrap())));
        assert_eq!(running, RUNNING_ALL / 2);
        let waiting = most(|| waits(&mut accounts, contained(uids.next().unwrap())));
        assert_eq!(waiting, WAITING_ALL / 2);
        assert_eq!(most(|| accounts.start(&user(1000))), RUNNING);
        assert_eq!(most(|| waits(&mut accounts, user(1000))), WAITING_ALL / 6);
    }

    #[test]
    fn turns_are_taken() {
        let mut accounts = Accounts::default();
        for number in 0..100 {
            assert!(accounts.wait(user(1), number, 0, || 1));
        }
        assert!(accounts.wait(user(2), 100, 0, || 2));
        assert!(accounts.wait(contained(3), 101, 0, || 3));
        assert!(accounts.wait(contained(4), 102, 0, || 4));
        // Two users and a container.
        let next = |accounts: &mut Accounts<u32>| accounts.next().unwrap().what.min(3);
        let mut first = [0; 3].map(|_| next(&mut accounts));
        first.sort_unstable();
        assert_eq!(first, [1, 2, 3]);
        // The user with more, and the container's other one.
        let mut second = [0; 2].map(|_| next(&mut accounts));
        second.sort_unstable();
        assert_eq!(second, [1, 3]);
        assert_eq!(most(|| accounts.next().is_some()), RUNNING - 2);
    }

    #[test]
    fn what_is_removed_is_not_counted() {
        let mut accounts = Accounts::default();
        assert!(accounts.wait(contained(1), 5, 3 << 20, || 1));
        assert_eq!(accounts.held, 13);
        assert!(accounts.remove(4).is_none());
        assert_eq!(accounts.remove(5).unwrap().what, 1);
        assert!(accounts.start(&contained(1)));
        accounts.end(&contained(1));
        assert!(accounts.all.is_empty() && accounts.held == 0 && accounts.running == 0);
        assert!(accounts.wait(user(1), 6, 0, || 1) && accounts.any_waits());
        assert_eq!(accounts.remove_all().len(), 1);
        assert!(accounts.all.is_empty() && !accounts.any_waits());
    }

    #[test]
    fn what_is_over_is_never_turned_away() {
        let mut accounts = Accounts::default();
        let over = Client::one(Party::Over);
        while waits(&mut accounts, user(1)) || waits(&mut accounts, user(2)) {}
        assert!((0..10_000).all(|_| waits(&mut accounts, over)));
        assert_eq!(most(|| accounts.start(&over)), RUNNING);
        assert!(waits(&mut accounts, user(3)));
    }
}
