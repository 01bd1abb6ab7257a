// SPDX-License-Identifier: MIT OR Apache-2.0
//! The capabilities that a file promises to a task and an execve(2) does not give it, and why: X,
//! and A and K where an unmodified kernel does not look at the entries that would apply.

use crate::cap::{CapSet, FileCaps};
use crate::decision::{Denied, Why};
use crate::exec::Executed;
use crate::grant::{Grant, file_grant};
use crate::inode_view::InodeView;
use crate::ns::UserNs;
use crate::storage::{Seal, VoidReason};
use crate::stored::{HostValue, Stored};

/// All that a file holds for the tasks of one namespace, whether or not the kernel that decides
/// looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Promise<'s, N> {
    /// The task's user namespace.
    pub ns: N,
    /// The file as the task reaches it.
    pub inode: &'s InodeView<N>,
    /// What it holds.
    pub stored: &'s Stored<'s>,
    /// Whether its table is void.
    pub seal: Seal,
    /// Whether it has capabilities that could not be read.
    pub hidden: bool,
}

/// What a task does not get.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Loss {
    /// The capabilities; none where it is not known which.
    pub caps: CapSet,
    /// Why.
    pub why: Why,
}

impl<N: UserNs> Promise<'_, N> {
    /// What the design's rules would give the task, mount flags aside (R8, R3, A).
    ///
    /// ```
    /// use nscap_core::storage::Seal;
    /// use nscap_core::*;
    /// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
    /// let inode = InodeView::plain(Initial, Kuid::ROOT, Kgid::ROOT);
    /// let stored = Stored::host(ping);
    /// let seal = Seal::None;
    /// let promise = Promise { ns: Initial, inode: &inode, stored: &stored, seal, hidden: false };
    /// assert_eq!(promise.caps(), Some(ping));
    /// ```
    #[must_use]
    pub fn caps(&self) -> Option<FileCaps> {
        file_grant(self.ns, self.inode, self.stored).ok()?.caps()
    }

    /// The part of this that an execve did not give, or would not give; `None` where nothing is
    /// lost.
    ///
    /// ```
    /// use nscap_core::storage::Seal;
    /// use nscap_core::*;
    /// let ping = FileCaps::from_text(b"cap_net_raw=ep").unwrap();
    /// let inode = InodeView::plain(Initial, Kuid::ROOT, Kgid::ROOT);
    /// let (stored, seal) = (Stored::host(ping), Seal::None);
    /// let promise = Promise { ns: Initial, inode: &inode, stored: &stored, seal, hidden: false };
    /// let user = Cred::ordinary(Initial, Kuid::new(1000).unwrap(), Kgid::new(1000).unwrap());
    /// let program = Program { nosuid: true, ..Program::plain(inode, 0o755) };
    /// let outcome = exec(System::kernel(6, 18), &Task::of(user), &program, &stored);
    /// assert_eq!(promise.loss(&outcome), Some(Loss { caps: ping.permitted, why: Why::NoSuid }));
    /// ```
    #[must_use]
    pub fn loss(&self, outcome: &Result<Executed<N>, Denied>) -> Option<Loss> {
        match outcome {
            Ok(executed) => executed.loss(self),
            Err(no) => Some(Loss { caps: self.permitted(), why: no.why }),
        }
    }

    fn permitted(&self) -> CapSet {
        self.caps().unwrap_or_default().permitted.known()
    }

    /// Every capability that the file names, for any root.
    fn named(&self) -> CapSet {
        let host = match self.stored.host {
            HostValue::Present(caps) => caps.permitted,
            HostValue::Absent | HostValue::Malformed => CapSet::EMPTY,
        };
        let entries = self.stored.entries.iter();
        entries.fold(host, |all, (_, caps)| all | caps.permitted).known()
    }

    /// The loss where the file gave nothing, for this reason; the task has these capabilities now.
    fn nothing_given(&self, why: Why, has: CapSet) -> Option<Loss> {
        let named = self.named();
        if !named.is_empty() && named.is_subset(has) {
            // Root gets by itself what the file does not give.
            return None;
        }
        let caps = self.permitted();
        let unseen = matches!(why, Why::NoCapsOnFile | Why::NoEntryApplies);
        let why = if unseen && self.seal == Seal::Void(VoidReason::Copied) {
            Why::EntriesCopied
        } else if unseen && matches!(self.seal, Seal::Void(_)) {
            Why::EntriesVoid
        } else if unseen && !caps.is_empty() {
            Why::TableUnread
        } else if !self.stored.is_empty() || self.hidden {
            why
        } else {
            return None;
        };
        Some(Loss { caps, why })
    }
}

impl<N: UserNs> Executed<N> {
    /// The part of the file's promise that the task did not get. A file's effective bit is never
    /// lost alone.
    ///
    /// ```
    /// use nscap_core::storage::Seal;
    /// use nscap_core::*;
    /// let ping = FileCaps::from_text(b"cap_net_raw=p").unwrap();
    /// let inode = InodeView::plain(Initial, Kuid::ROOT, Kgid::ROOT);
    /// let (stored, seal) = (Stored::host(ping), Seal::None);
    /// let promise = Promise { ns: Initial, inode: &inode, stored: &stored, seal, hidden: false };
    /// let mut user = Cred::ordinary(Initial, Kuid::new(1000).unwrap(), Kgid::new(1000).unwrap());
    /// user.bounding = CapSet::EMPTY;
    /// let program = Program::plain(inode, 0o755);
    /// let got = exec(System::kernel(6, 18), &Task::of(user), &program, &stored).unwrap();
    /// assert_eq!(got.loss(&promise).unwrap().why, Why::BoundingLacks);
    /// ```
    #[must_use]
    pub fn loss(&self, promise: &Promise<'_, N>) -> Option<Loss> {
        if let Grant::Nothing(why) = self.grant {
            return promise.nothing_given(why, self.cred.effective);
        }
        let loss = Loss { caps: self.lost(), why: self.limited.unwrap_or(Why::BoundingLacks) };
        (!loss.caps.is_empty()).then_some(loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{World, kgid, kuid};
    use crate::{Cred, Program, System, Task, Uid, bare, exec};

    const NOW: System = System::kernel(6, 18);
    const PING: FileCaps = FileCaps {
        permitted: CapSet::from_bits(1 << 13),
        inheritable: CapSet::EMPTY,
        effective: true,
    };

    /// The initial namespace, and 1 with root kuid 100000.
    fn world() -> World {
        World::side_by_side(&[(100_000, 1000)])
    }

    #[test]
    fn a_an_unmodified_kernel_loses_what_the_table_would_give_and_k_what_is_void() {
        let world = world();
        let inode = InodeView::plain(world.ns(0), kuid(0), kgid(0));
        let user = Cred::ordinary(world.ns(1), kuid(100_007), kgid(100_007));
        let program = Program::plain(inode, 0o755);
        let outcome = bare::exec(NOW, &Task::of(user), &program, None);
        let entry = Stored::one(Uid::new(100_000).unwrap(), PING);
        let loss = |stored: &Stored<'_>, seal, hidden| {
            let promise = Promise { ns: world.ns(1), inode: &inode, stored, seal, hidden };
            promise.loss(&outcome)
        };
        let unread = Loss { caps: PING.permitted, why: Why::TableUnread };
        assert_eq!(loss(&entry, Seal::Sealed, false), Some(unread));
        let void = Loss { caps: CapSet::EMPTY, why: Why::EntriesVoid };
        let copied = Loss { caps: CapSet::EMPTY, why: Why::EntriesCopied };
        assert_eq!(loss(&Stored::EMPTY, Seal::Void(VoidReason::Copied), false), Some(copied));
        let seal = Seal::Void(VoidReason::CompanionAbsent);
        assert_eq!(loss(&Stored::EMPTY, seal, false), Some(void));
        assert_eq!(loss(&Stored::EMPTY, Seal::None, false), None);
        let hidden = Loss { caps: CapSet::EMPTY, why: Why::NoCapsOnFile };
        assert_eq!(loss(&Stored::EMPTY, Seal::None, true), Some(hidden));
        // Another root's entry is no promise, and the reason says so.
        let other = Stored::one(Uid::new(5).unwrap(), PING);
        let no_entry = loss(&other, Seal::None, false).unwrap();
        assert_eq!((no_entry.caps, no_entry.why), (CapSet::EMPTY, Why::NoCapsOnFile));
    }

    #[test]
    fn x_root_misses_nothing_that_it_has_by_itself_and_a_denied_exec_loses_all() {
        let world = world();
        let inode = InodeView::plain(world.ns(0), kuid(0), kgid(0));
        let stored = Stored::host(PING);
        let promise = Promise {
            ns: world.ns(0),
            inode: &inode,
            stored: &stored,
            seal: Seal::None,
            hidden: false,
        };
        let root = Cred::privileged(world.ns(0), kuid(0), kgid(0));
        let nosuid = Program { nosuid: true, ..Program::plain(inode, 0o755) };
        assert_eq!(promise.loss(&exec(NOW, &Task::of(root), &nosuid, &stored)), None);
        let mut user = Cred::ordinary(world.ns(0), kuid(7), kgid(7));
        user.bounding = CapSet::EMPTY;
        let outcome = exec(NOW, &Task::of(user), &Program::plain(inode, 0o755), &stored);
        let loss = Loss { caps: PING.permitted, why: Why::CapsMissing };
        assert_eq!(promise.loss(&outcome), Some(loss));
    }

    #[test]
    fn x_with_the_effective_bit_all_that_is_had_is_in_effect() {
        let world = world();
        let inode = InodeView::plain(world.ns(0), kuid(7), kgid(0));
        let stored = Stored::host(PING);
        for (uid, euid, mode) in [(0, 7, 0o755), (7, 0, 0o755), (7, 7, 0o4755), (0, 7, 0o4755)] {
            let mut cred = Cred::ordinary(world.ns(0), kuid(uid), kgid(0));
            (cred.euid, cred.suid, cred.fsuid) = (kuid(euid), kuid(euid), kuid(euid));
            let program = Program::plain(inode, mode);
            let got = exec(NOW, &Task::of(cred), &program, &stored).unwrap();
            assert!(got.lost().is_empty() && PING.permitted.is_subset(got.cred.effective));
        }
    }
}
