// SPDX-License-Identifier: MIT OR Apache-2.0
//! Credentials of a task, and `cap_capable` with the rule for owners of namespaces
//! (credentials(7), user_namespaces(7), "Capabilities"). Covers P and the privilege that R8 asks.

use crate::cap::{CapSet, Capability};
use crate::id::{Kgid, Kuid};
use crate::ns::{UserNs, path_to_initial};

/// Securebits flags, capabilities(7), "The securebits flags".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Securebits(pub u32);

impl Securebits {
    /// `SECBIT_NOROOT`: uid 0 gets nothing for being uid 0.
    pub const NOROOT: Securebits = Securebits(1);
    /// `SECBIT_NO_SETUID_FIXUP`: changing uids leaves capabilities alone.
    pub const NO_SETUID_FIXUP: Securebits = Securebits(1 << 2);
    /// `SECBIT_KEEP_CAPS`, which every execve clears.
    pub const KEEP_CAPS: Securebits = Securebits(1 << 4);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Securebits) -> bool {
        self.0 & other.0 == other.0
    }

    /// These bits without those of `other`.
    #[must_use]
    pub const fn without(self, other: Securebits) -> Securebits {
        Securebits(self.0 & !other.0)
    }
}

/// The credentials of one task, in initial-namespace terms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cred<N> {
    /// The task's user namespace.
    pub ns: N,
    /// Real user id.
    pub uid: Kuid,
    /// Effective user id.
    pub euid: Kuid,
    /// Saved set-user-ID.
    pub suid: Kuid,
    /// File system user id.
    pub fsuid: Kuid,
    /// Real group id.
    pub gid: Kgid,
    /// Effective group id.
    pub egid: Kgid,
    /// Saved set-group-ID.
    pub sgid: Kgid,
    /// File system group id.
    pub fsgid: Kgid,
    /// Inheritable set.
    pub inheritable: CapSet,
    /// Permitted set.
    pub permitted: CapSet,
    /// Effective set.
    pub effective: CapSet,
    /// Bounding set.
    pub bounding: CapSet,
    /// Ambient set.
    pub ambient: CapSet,
    /// Securebits flags.
    pub securebits: Securebits,
}

impl<N> Cred<N> {
    /// The same credentials with another handle for their namespace.
    ///
    /// ```
    /// use nscap_core::{Cred, Initial, Kgid, Kuid};
    /// let stored: Cred<usize> = Cred::privileged(Initial, Kuid::ROOT, Kgid::ROOT).with_ns(0);
    /// assert_eq!(stored.with_ns(Initial).euid, Kuid::ROOT);
    /// ```
    #[must_use]
    pub fn with_ns<M>(self, ns: M) -> Cred<M> {
        Cred {
            ns,
            uid: self.uid,
            euid: self.euid,
            suid: self.suid,
            fsuid: self.fsuid,
            gid: self.gid,
            egid: self.egid,
            sgid: self.sgid,
            fsgid: self.fsgid,
            inheritable: self.inheritable,
            permitted: self.permitted,
            effective: self.effective,
            bounding: self.bounding,
            ambient: self.ambient,
            securebits: self.securebits,
        }
    }
}

impl<N: UserNs> Cred<N> {
    /// Credentials with all four uids and all four gids the same and no capability but a full
    /// bounding set: what an ordinary login has.
    #[must_use]
    pub fn ordinary(ns: N, uid: Kuid, gid: Kgid) -> Cred<N> {
        Cred {
            ns,
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            inheritable: CapSet::EMPTY,
            permitted: CapSet::EMPTY,
            effective: CapSet::EMPTY,
            bounding: CapSet::KNOWN,
            ambient: CapSet::EMPTY,
            securebits: Securebits(0),
        }
    }

    /// Credentials as [`ordinary`](Cred::ordinary), with every capability permitted and effective:
    /// what root of a namespace has.
    #[must_use]
    pub fn privileged(ns: N, uid: Kuid, gid: Kgid) -> Cred<N> {
        Cred { permitted: CapSet::KNOWN, effective: CapSet::KNOWN, ..Cred::ordinary(ns, uid, gid) }
    }

    /// The kernel's `cap_capable`: whether the task has `cap` over `target`.
    ///
    /// A task has `cap` over its own namespace if the capability is in its effective set. It has
    /// `cap` over a namespace below if it has it over its own, or if, on the way up, it is in the
    /// parent of a namespace that its effective uid made. It has `cap` over no other namespace.
    ///
    /// ```
    /// use nscap_core::*;
    /// let host = Mapped::initial();
    /// let container = host.below(100_000, 65_536);
    /// let inner = container.below(150_000, 1000);
    /// let has = |cred: Cred<_>, ns| cred.has_cap_over(Capability::Setfcap, ns);
    /// assert!(has(container.root(), &container) && has(container.root(), &inner));
    /// assert!(!has(container.root(), &host));
    /// assert!(!has(container.user(1000).unwrap(), &container));
    /// ```
    pub fn has_cap_over(&self, cap: Capability, target: N) -> bool {
        for ns in path_to_initial(target) {
            if ns.same(self.ns) {
                return self.effective.has(cap);
            }
            let child_of_ours = ns.parent().is_some_and(|parent| parent.same(self.ns));
            if child_of_ours && ns.owner() == self.euid {
                return true;
            }
        }
        false
    }

    /// Whether the task has `cap` in its own namespace (`ns_capable(current_user_ns(), cap)`).
    pub fn has_cap(&self, cap: Capability) -> bool {
        self.effective.has(cap)
    }
}
