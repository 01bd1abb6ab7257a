// SPDX-License-Identifier: MIT OR Apache-2.0
//! `security.capability`, revisions 1, 2 and 3: the kernel's own formats (capabilities(7), "File
//! capability extended attribute versioning"; `struct vfs_ns_cap_data`).

use crate::cap::{CapSet, FileCaps};
use crate::id::Uid;
use crate::wire::{EFFECTIVE, Malformed, copy, put_u32, take_u32};

const REVISION_MASK: u32 = 0xff00_0000;
const REVISION_1: u32 = 0x0100_0000;
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;

/// Which of the three formats a value has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Revision {
    /// 12 bytes, capabilities 0 to 31. Honoured at exec; no current kernel lets one be written.
    V1,
    /// 20 bytes: a host value.
    V2,
    /// 24 bytes: an entry.
    V3 {
        /// The rootid field, an id of some namespace; may be 0xffffffff.
        rootid: u32,
    },
}

/// A decoded value of `security.capability`.
///
/// ```
/// use nscap_core::{CapSet, FileCaps, Revision, VfsCaps};
/// let permitted = CapSet::from_bits(1 << 13);
/// let caps = FileCaps { permitted, effective: true, ..FileCaps::default() };
/// let value = VfsCaps::v2(caps).encode();
/// assert_eq!(value.as_bytes().len(), 20);
/// let back = VfsCaps::decode(value.as_bytes()).unwrap();
/// assert_eq!((back.revision(), back.caps()), (Revision::V2, caps));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct VfsCaps {
    revision: Revision,
    /// The low 24 bits of the first word.
    flags: u32,
    permitted: CapSet,
    inheritable: CapSet,
}

impl VfsCaps {
    /// Decodes what exec takes: one of the three revisions with its exact length. Flags that the
    /// kernel does not know are kept, as exec ignores them; see [`settable`](VfsCaps::settable).
    ///
    /// # Errors
    /// [`Malformed`]; exec answers EINVAL.
    ///
    /// ```
    /// use nscap_core::{Malformed, Revision, VfsCaps};
    /// let v1 = [1, 0, 0, 1, 0, 0x20, 0, 0, 0, 0, 0, 0];
    /// assert_eq!(VfsCaps::decode(&v1).unwrap().revision(), Revision::V1);
    /// assert_eq!(VfsCaps::decode(&v1[..11]), Err(Malformed::Length));
    /// ```
    pub fn decode(value: &[u8]) -> Result<VfsCaps, Malformed> {
        if value.is_empty() {
            return Err(Malformed::Empty);
        }
        let mut rest = value;
        let magic = take_u32(&mut rest).ok_or(Malformed::Length)?;
        let words: usize = match magic & REVISION_MASK {
            REVISION_1 => 2,
            REVISION_2 => 4,
            REVISION_3 => 5,
            _ => return Err(Malformed::Revision),
        };
        if rest.len() != words.saturating_mul(4) {
            return Err(Malformed::Length);
        }
        let mut word = || take_u32(&mut rest).unwrap_or(0);
        let (p_low, i_low, p_high, i_high) = (word(), word(), word(), word());
        let revision = match magic & REVISION_MASK {
            REVISION_1 => Revision::V1,
            REVISION_2 => Revision::V2,
            _ => Revision::V3 { rootid: word() },
        };
        Ok(VfsCaps {
            revision,
            flags: magic & !REVISION_MASK,
            permitted: CapSet::from_words(p_low, p_high),
            inheritable: CapSet::from_words(i_low, i_high),
        })
    }

    /// Decodes what setxattr(2) takes and getxattr(2) gives: revision 2 or 3, and no flag but the
    /// effective bit.
    ///
    /// # Errors
    /// [`Malformed`]; the system calls answer EINVAL.
    ///
    /// ```
    /// use nscap_core::{Malformed, VfsCaps};
    /// let v1 = [1, 0, 0, 1, 0, 0x20, 0, 0, 0, 0, 0, 0];
    /// assert_eq!(VfsCaps::settable(&v1), Err(Malformed::Revision));
    /// ```
    pub fn settable(value: &[u8]) -> Result<VfsCaps, Malformed> {
        let caps = VfsCaps::decode(value)?;
        if caps.revision == Revision::V1 {
            return Err(Malformed::Revision);
        }
        if caps.flags & !EFFECTIVE != 0 {
            return Err(Malformed::Flags);
        }
        Ok(caps)
    }

    /// A host value, in revision 2.
    #[must_use]
    pub fn v2(caps: FileCaps) -> VfsCaps {
        VfsCaps::new(Revision::V2, caps)
    }

    /// An entry, in revision 3.
    #[must_use]
    pub fn v3(rootid: u32, caps: FileCaps) -> VfsCaps {
        VfsCaps::new(Revision::V3 { rootid }, caps)
    }

    fn new(revision: Revision, caps: FileCaps) -> VfsCaps {
        VfsCaps {
            revision,
            flags: if caps.effective { EFFECTIVE } else { 0 },
            permitted: caps.permitted,
            inheritable: caps.inheritable,
        }
    }

    /// The revision, with the rootid of revision 3.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The id whose root the value is for, in the value's own terms: 0 for revisions 1 and 2, which
    /// name none; `None` for -1.
    ///
    /// ```
    /// use nscap_core::{FileCaps, Uid, VfsCaps};
    /// assert_eq!(VfsCaps::v2(FileCaps::default()).rootid(), Some(Uid::ROOT));
    /// assert_eq!(VfsCaps::v3(100_000, FileCaps::default()).rootid(), Uid::new(100_000));
    /// ```
    #[must_use]
    pub fn rootid(&self) -> Option<Uid> {
        Uid::new(self.named().unwrap_or(0))
    }

    /// The rootid field of revision 3; `None` of a plain value.
    #[must_use]
    pub fn named(&self) -> Option<u32> {
        match self.revision {
            Revision::V1 | Revision::V2 => None,
            Revision::V3 { rootid } => Some(rootid),
        }
    }

    /// The value of this id's root: revision 2 for id 0, whose value is a host value (SPEC,
    /// Objects), else 3.
    #[must_use]
    pub fn of_root(rootid: Uid, caps: FileCaps) -> VfsCaps {
        if rootid == Uid::ROOT { VfsCaps::v2(caps) } else { VfsCaps::v3(rootid.get(), caps) }
    }

    /// M: the same capabilities for the same root, in other terms: `id` gives its id there. `None`
    /// where it has none.
    ///
    /// ```
    /// use nscap_core::*;
    /// let host = Mapped::initial();
    /// let container = host.below(100_000, 65_536);
    /// let (ping, file) = (FileCaps::from_text(b"cap_net_raw=ep").unwrap(), container.file());
    /// // What a container's task is shown as its own, as it is stored.
    /// // And as the container reads that.
    /// let stored = VfsCaps::v2(ping).translate(|uid| file.stored_from(uid, &container)).unwrap();
    /// assert_eq!(stored, VfsCaps::v3(100_000, ping));
    /// assert_eq!(stored.translate(|id| file.uid_in(id, &container)), Some(VfsCaps::v2(ping)));
    /// ```
    #[must_use]
    pub fn translate(&self, id: impl FnOnce(Uid) -> Option<Uid>) -> Option<VfsCaps> {
        Some(VfsCaps::of_root(id(self.rootid()?)?, self.caps()))
    }

    /// The capabilities.
    #[must_use]
    pub fn caps(&self) -> FileCaps {
        FileCaps {
            permitted: self.permitted,
            inheritable: self.inheritable,
            effective: self.flags & EFFECTIVE != 0,
        }
    }

    /// The bytes; decoding them gives the same value again, and encoding what was decoded gives
    /// the same bytes.
    #[must_use]
    pub fn encode(&self) -> VfsCapsBytes {
        let (revision, len) = match self.revision {
            Revision::V1 => (REVISION_1, 12),
            Revision::V2 => (REVISION_2, 20),
            Revision::V3 { .. } => (REVISION_3, 24),
        };
        let mut bytes = [0; 24];
        let mut out = bytes.as_mut_slice();
        put_u32(&mut out, revision | self.flags);
        put_u32(&mut out, self.permitted.low());
        put_u32(&mut out, self.inheritable.low());
        put_u32(&mut out, self.permitted.high());
        put_u32(&mut out, self.inheritable.high());
        if let Revision::V3 { rootid } = self.revision {
            put_u32(&mut out, rootid);
        }
        VfsCapsBytes { bytes, len }
    }
}

/// An encoded value of `security.capability`: 12, 20 or 24 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct VfsCapsBytes {
    bytes: [u8; 24],
    len: usize,
}

impl VfsCapsBytes {
    /// Any bytes that fit.
    pub(crate) fn copied(value: &[u8]) -> Option<VfsCapsBytes> {
        let mut bytes = [0; 24];
        copy(bytes.get_mut(..value.len())?, value);
        Some(VfsCapsBytes { bytes, len: value.len() })
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }

    /// The bytes, with zeros up to the longest length, and how many there are without.
    ///
    /// ```
    /// use nscap_core::{FileCaps, VfsCaps};
    /// let value = VfsCaps::v2(FileCaps::default()).encode();
    /// let (bytes, len) = value.padded();
    /// assert_eq!((bytes.len(), len), (24, 20));
    /// ```
    #[must_use]
    pub const fn padded(&self) -> (&[u8; 24], usize) {
        (&self.bytes, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(words: &[u32]) -> ([u8; 32], usize) {
        let mut bytes = [0; 32];
        for (slot, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *slot = word.to_le_bytes();
        }
        (bytes, words.len() * 4)
    }

    #[test]
    fn each_revision_goes_there_and_back() {
        for words in [
            [0x0100_0001, 1, 2].as_slice(),
            &[0x0200_0001, 1, 2, 3, 4],
            &[0x0300_0000, 1, 2, 3, 4, 100_000],
            &[0x0300_0000, 1, 2, 3, 4, u32::MAX],
            &[0x02ab_cdef, 1, 2, u32::MAX, u32::MAX],
        ] {
            let (bytes, len) = value(words);
            let caps = VfsCaps::decode(&bytes[..len]).unwrap();
            assert_eq!(caps.encode().as_bytes(), &bytes[..len]);
        }
    }

    #[test]
    fn one_byte_short_or_long_is_malformed() {
        for (words, wrong) in [(3, 0x0100_0000), (5, 0x0200_0000), (6, 0x0300_0000)] {
            let mut all = [0; 8];
            all[0] = wrong;
            let (bytes, _) = value(&all);
            for len in 0..32 {
                assert_eq!(VfsCaps::decode(&bytes[..len]).is_ok(), len == words * 4, "{len}");
            }
        }
    }

    #[test]
    fn setting_is_stricter_than_exec() {
        let (v1, n) = value(&[0x0100_0000, 1, 2]);
        assert_eq!(VfsCaps::settable(&v1[..n]), Err(Malformed::Revision));
        let (flagged, n) = value(&[0x0200_0002, 1, 2, 3, 4]);
        assert_eq!(VfsCaps::settable(&flagged[..n]), Err(Malformed::Flags));
        assert!(VfsCaps::decode(&flagged[..n]).is_ok());
        assert_eq!(VfsCaps::settable(&[]), Err(Malformed::Empty));
    }
}
