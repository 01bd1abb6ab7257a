// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the calls before an execve(2) leave of a task's capabilities: prctl(2), setresuid(2) and
//! capset(2), as capabilities(7) has them. A container runtime or a service manager makes such
//! calls; which ones, and in which order, is its own matter. Covers the start state of X.

use crate::cap::{CapSet, Capability};
use crate::cred::{Cred, Securebits};
use crate::decision::Errno;
use crate::id::{Kgid, Kuid};
use crate::ns::{UserNs, root_kuid};

impl<N: UserNs> Cred<N> {
    /// The bounding set without what is not in `kept` (prctl(2), PR_CAPBSET_DROP). The other sets
    /// stay.
    #[must_use]
    pub fn with_bounding(self, kept: CapSet) -> Cred<N> {
        Cred { bounding: self.bounding & kept, ..self }
    }

    /// setresuid(2) of all three ids, by a task that may (capabilities(7), "Effect of user ID
    /// changes on capabilities"). A task that was root and is not any more keeps what is permitted
    /// only with SECBIT_KEEP_CAPS, and loses the effective and the ambient set.
    ///
    /// ```
    /// use nscap_core::*;
    /// let host = Mapped::initial();
    /// let root = host.root();
    /// let user = root.with_uids(Kuid::new(1000).unwrap());
    /// assert!(user.permitted.is_empty() && user.bounding == CapSet::KNOWN);
    /// let kept = Cred { securebits: Securebits::KEEP_CAPS, ..root };
    /// let user = kept.with_uids(Kuid::new(1000).unwrap());
    /// assert!(user.permitted == CapSet::KNOWN && user.effective.is_empty());
    /// ```
    #[must_use]
    pub fn with_uids(self, id: Kuid) -> Cred<N> {
        let mut new = Cred { uid: id, euid: id, suid: id, fsuid: id, ..self };
        if self.securebits.contains(Securebits::NO_SETUID_FIXUP) {
            return new;
        }
        let root = root_kuid(self.ns);
        let is_root = |id: Kuid| root == Some(id);
        let was_root = [self.uid, self.euid, self.suid].into_iter().any(is_root);
        if was_root && !is_root(id) {
            if !self.securebits.contains(Securebits::KEEP_CAPS) {
                new.permitted = CapSet::EMPTY;
                new.effective = CapSet::EMPTY;
            }
            new.ambient = CapSet::EMPTY;
        }
        match (is_root(self.euid), is_root(id)) {
            (true, false) => new.effective = CapSet::EMPTY,
            (false, true) => new.effective = new.permitted,
            _ => {}
        }
        new
    }

    /// setresgid(2) of all three ids, by a task that may. No capability depends on it.
    #[must_use]
    pub fn with_gids(self, id: Kgid) -> Cred<N> {
        Cred { gid: id, egid: id, sgid: id, fsgid: id, ..self }
    }

    /// capset(2): the inheritable, permitted and effective set. What is ambient and not any more
    /// both permitted and inheritable goes.
    ///
    /// # Errors
    /// EPERM where the permitted set would grow, the effective set is not in it, the inheritable
    /// set grows by what the bounding set lacks, or, without CAP_SETPCAP, by what is not permitted.
    ///
    /// ```
    /// use nscap_core::*;
    /// let host = Mapped::initial();
    /// let raw = CapSet::of(&[Capability::NetRaw]);
    /// let root = host.root().with_caps(raw, raw, CapSet::EMPTY).unwrap();
    /// assert_eq!((root.permitted, root.effective), (raw, CapSet::EMPTY));
    /// assert_eq!(root.with_caps(raw, CapSet::KNOWN, raw).err(), Some(Errno::EPERM));
    /// ```
    pub fn with_caps(
        self,
        inheritable: CapSet,
        permitted: CapSet,
        effective: CapSet,
    ) -> Result<Cred<N>, Errno> {
        let free = self.has_cap(Capability::Setpcap);
        let own = inheritable.is_subset(self.inheritable | self.permitted);
        let allowed = (free || own)
            && inheritable.is_subset(self.inheritable | self.bounding)
            && permitted.is_subset(self.permitted)
            && effective.is_subset(permitted);
        if !allowed {
            return Err(Errno::EPERM);
        }
        let ambient = self.ambient & permitted & inheritable;
        Ok(Cred { inheritable, permitted, effective, ambient, ..self })
    }

    /// An ambient set of those in `wanted` that are permitted and inheritable (prctl(2),
    /// PR_CAP_AMBIENT_RAISE, which fails with EPERM for each other one).
    ///
    /// ```
    /// use nscap_core::*;
    /// let host = Mapped::initial();
    /// let raw = CapSet::of(&[Capability::NetRaw]);
    /// assert!(host.root().with_ambient(raw).ambient.is_empty());
    /// let root = host.root().with_caps(raw, CapSet::KNOWN, CapSet::KNOWN).unwrap();
    /// assert_eq!(root.with_ambient(CapSet::KNOWN).ambient, raw);
    /// ```
    #[must_use]
    pub fn with_ambient(self, wanted: CapSet) -> Cred<N> {
        Cred { ambient: wanted & self.permitted & self.inheritable, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mapped;

    const RAW: CapSet = CapSet::from_bits(1 << 13);

    #[test]
    fn x_a_namespace_without_root_has_no_change_from_root() {
        let host = Mapped::initial();
        let user = Cred { permitted: RAW, effective: RAW, ..host.user(7).unwrap() };
        let other = user.with_uids(Kuid::new(8).unwrap());
        assert_eq!((other.permitted, other.effective), (RAW, RAW));
    }

    #[test]
    fn x_capset_asks_the_bounding_set_for_what_is_to_be_inherited() {
        let host = Mapped::initial();
        let root = host.root().with_bounding(CapSet::KNOWN.minus(RAW));
        assert_eq!(root.with_caps(RAW, RAW, RAW).err(), Some(Errno::EPERM));
        assert!(root.with_caps(CapSet::EMPTY, RAW, RAW).is_ok());
        let weak = Cred { effective: CapSet::EMPTY, permitted: CapSet::EMPTY, ..host.root() };
        assert_eq!(weak.with_caps(RAW, CapSet::EMPTY, CapSet::EMPTY).err(), Some(Errno::EPERM));
    }

    #[test]
    fn x_becoming_root_again_raises_what_is_permitted() {
        let host = Mapped::initial();
        let user = Cred { permitted: RAW, ..host.user(7).unwrap() };
        assert_eq!(user.with_uids(Kuid::ROOT).effective, RAW);
        let fixed = Cred { securebits: Securebits::NO_SETUID_FIXUP, ..user };
        assert_eq!(fixed.with_uids(Kuid::ROOT).effective, CapSet::EMPTY);
    }
}
