// SPDX-License-Identifier: MIT OR Apache-2.0
//! Capabilities and sets of them, as capabilities(7) names and numbers them.

use core::ops::{BitAnd, BitOr, Not};

macro_rules! capabilities {
    ($($number:literal $variant:ident $name:literal)*) => {
        /// One capability of Linux, 0 to 40 (`CAP_LAST_CAP` since Linux 5.9).
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "capabilities(7) documents each; the name is the whole text")]
        pub enum Capability { $($variant = $number),* }

        impl Capability {
            /// Every capability, ascending by number.
            pub const ALL: [Capability; 41] = [$(Capability::$variant),*];

            /// The name in lower case, as cap_to_text(3) writes it.
            ///
            /// ```
            /// assert_eq!(nscap_core::Capability::NetRaw.name(), "cap_net_raw");
            /// ```
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Capability::$variant => $name),* }
            }

            /// The capability with this number, or `None` above 40.
            ///
            /// ```
            /// use nscap_core::Capability;
            /// assert_eq!(Capability::from_number(13), Some(Capability::NetRaw));
            /// assert_eq!(Capability::from_number(41), None);
            /// ```
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Capability> {
                match number { $($number => Some(Capability::$variant),)* _ => None }
            }
        }
    };
}

capabilities! {
    0 Chown "cap_chown"
    1 DacOverride "cap_dac_override"
    2 DacReadSearch "cap_dac_read_search"
    3 Fowner "cap_fowner"
    4 Fsetid "cap_fsetid"
    5 Kill "cap_kill"
    6 Setgid "cap_setgid"
    7 Setuid "cap_setuid"
    8 Setpcap "cap_setpcap"
    9 LinuxImmutable "cap_linux_immutable"
    10 NetBindService "cap_net_bind_service"
    11 NetBroadcast "cap_net_broadcast"
    12 NetAdmin "cap_net_admin"
    13 NetRaw "cap_net_raw"
    14 IpcLock "cap_ipc_lock"
    15 IpcOwner "cap_ipc_owner"
    16 SysModule "cap_sys_module"
    17 SysRawio "cap_sys_rawio"
    18 SysChroot "cap_sys_chroot"
    19 SysPtrace "cap_sys_ptrace"
    20 SysPacct "cap_sys_pacct"
    21 SysAdmin "cap_sys_admin"
    22 SysBoot "cap_sys_boot"
    23 SysNice "cap_sys_nice"
    24 SysResource "cap_sys_resource"
    25 SysTime "cap_sys_time"
    26 SysTtyConfig "cap_sys_tty_config"
    27 Mknod "cap_mknod"
    28 Lease "cap_lease"
    29 AuditWrite "cap_audit_write"
    30 AuditControl "cap_audit_control"
    31 Setfcap "cap_setfcap"
    32 MacOverride "cap_mac_override"
    33 MacAdmin "cap_mac_admin"
    34 Syslog "cap_syslog"
    35 WakeAlarm "cap_wake_alarm"
    36 BlockSuspend "cap_block_suspend"
    37 AuditRead "cap_audit_read"
    38 Perfmon "cap_perfmon"
    39 Bpf "cap_bpf"
    40 CheckpointRestore "cap_checkpoint_restore"
}

impl Capability {
    /// The number, 0 to 40.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The capability with this name, in any case, as cap_from_name(3) takes it; the `cap_` is
    /// not optional.
    ///
    /// ```
    /// use nscap_core::Capability;
    /// assert_eq!(Capability::from_name(b"CAP_Net_Raw"), Some(Capability::NetRaw));
    /// assert_eq!(Capability::from_name(b"net_raw"), None);
    /// ```
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Capability> {
        Capability::ALL.into_iter().find(|c| c.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// A set of capabilities: 64 bits, of which the kernel knows the lowest 41.
///
/// A set read from a file keeps the bits above, since they are stored and given back; whatever
/// decides what a task gets first takes [`known`](CapSet::known) (SPEC X).
///
/// ```
/// use nscap_core::{CapSet, Capability};
/// let set = CapSet::of(&[Capability::NetRaw, Capability::Chown]);
/// assert!(set.has(Capability::NetRaw));
/// assert_eq!(set.bits(), 0x2001);
/// assert!(set.is_subset(CapSet::KNOWN));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CapSet(u64);

impl CapSet {
    /// No capability.
    pub const EMPTY: CapSet = CapSet(0);
    /// All 41 capabilities that the kernel knows.
    pub const KNOWN: CapSet = CapSet(0x1ff_ffff_ffff);

    /// The set with these bits; capability n is bit n.
    #[must_use]
    pub const fn from_bits(bits: u64) -> CapSet {
        CapSet(bits)
    }

    /// The set of two 32-bit words, as the wire formats store it.
    #[must_use]
    pub const fn from_words(low: u32, high: u32) -> CapSet {
        CapSet(low as u64 | (high as u64) << 32)
    }

    /// The bits; capability n is bit n.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Capabilities 0 to 31 as the wire formats store them.
    #[must_use]
    pub const fn low(self) -> u32 {
        self.0 as u32
    }

    /// Capabilities 32 to 63 as the wire formats store them.
    #[must_use]
    pub const fn high(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The set of these capabilities.
    ///
    /// ```
    /// use nscap_core::{CapSet, Capability};
    /// let set = CapSet::of(&[Capability::NetRaw, Capability::Chown]);
    /// assert!(set.has(Capability::NetRaw) && set.without(Capability::NetRaw).is_subset(set));
    /// assert_eq!(set.to_string(), "cap_chown,cap_net_raw");
    /// ```
    #[must_use]
    pub fn of(caps: &[Capability]) -> CapSet {
        caps.iter().fold(CapSet::EMPTY, |set, &c| set.with(c))
    }

    /// This set and `cap`.
    #[must_use]
    pub const fn with(self, cap: Capability) -> CapSet {
        CapSet(self.0 | 1u64 << cap.number())
    }

    /// This set without `cap`.
    #[must_use]
    pub const fn without(self, cap: Capability) -> CapSet {
        CapSet(self.0 & !(1u64 << cap.number()))
    }

    /// Whether `cap` is in the set.
    #[must_use]
    pub const fn has(self, cap: Capability) -> bool {
        self.0 & (1u64 << cap.number()) != 0
    }

    /// The capabilities that the kernel knows; bits above 40 dropped.
    #[must_use]
    pub const fn known(self) -> CapSet {
        CapSet(self.0 & CapSet::KNOWN.0)
    }

    /// Whether no bit is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether every bit of this set is in `other`.
    #[must_use]
    pub const fn is_subset(self, other: CapSet) -> bool {
        self.0 & !other.0 == 0
    }

    /// The bits of this set that are not in `other`.
    #[must_use]
    pub const fn minus(self, other: CapSet) -> CapSet {
        CapSet(self.0 & !other.0)
    }

    /// The known capabilities in the set, ascending.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |&c| self.has(c))
    }
}

impl BitOr for CapSet {
    type Output = CapSet;
    fn bitor(self, other: CapSet) -> CapSet {
        CapSet(self.0 | other.0)
    }
}

impl BitAnd for CapSet {
    type Output = CapSet;
    fn bitand(self, other: CapSet) -> CapSet {
        CapSet(self.0 & other.0)
    }
}

impl Not for CapSet {
    type Output = CapSet;
    fn not(self) -> CapSet {
        CapSet(!self.0)
    }
}

impl core::fmt::Debug for CapSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "CapSet({:#x})", self.0)
    }
}

/// The capabilities of a file: what `security.capability` and one entry of
/// `security.nscapability` hold beside their rootid.
///
/// The permitted and inheritable sets keep bits that the kernel does not know; the effective set
/// of a file is a single bit (capabilities(7), "File capabilities").
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct FileCaps {
    /// Capabilities that the task gets, as far as its bounding set lets it.
    pub permitted: CapSet,
    /// Capabilities that the task gets if its own inheritable set has them too.
    pub inheritable: CapSet,
    /// Whether what the task gets is effective at once.
    pub effective: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_agree_with_each_other() {
        for (n, cap) in (0u8..).zip(Capability::ALL) {
            assert_eq!(cap.number(), n);
            assert_eq!(Capability::from_number(n), Some(cap));
            assert_eq!(Capability::from_name(cap.name().as_bytes()), Some(cap));
        }
        assert_eq!(CapSet::of(&Capability::ALL), CapSet::KNOWN);
    }

    #[test]
    fn unknown_bits_are_kept_and_can_be_masked() {
        let set = CapSet::from_words(1, 1 << 31);
        assert_eq!((set.low(), set.high()), (1, 1 << 31));
        assert_eq!(set.known(), CapSet::from_bits(1));
        assert_eq!(set.iter().count(), 1);
    }
}
