// SPDX-License-Identifier: MIT OR Apache-2.0
//! W, for overlayfs: what a file of a layer grants in the terms of the superblock above it, what is
//! made again on a copy, and what a copy-up may leave out.

use crate::chunks::chunks;
use crate::decision::Errno;
use crate::id::Uid;
use crate::inode_view::InodeView;
use crate::ns::UserNs;
use crate::nscaps::{HEADER_LEN, NsCaps, put_header};
use crate::vfscap::{Revision, VfsCaps};
use crate::wire::{RECORD_LEN, position};

/// The only entry of a layer's file, as revision 3 in the terms of the superblock above, which
/// `above` owns. `inode` is the file as the layer's mount reaches it, and `capability` its stored
/// value. `None` where this is no entry, or has no rootid above.
///
/// ```
/// # use nscap_core::*;
/// # let root = Kuid::new(0).unwrap();
/// # let inode = InodeView::plain(Initial, root, Kgid::new(0).unwrap());
/// let entry = VfsCaps::v3(100_000, FileCaps::default());
/// assert_eq!(entry_above(Initial, &inode, entry.encode().as_bytes()), Some(entry));
/// let host = VfsCaps::v2(FileCaps::default());
/// assert_eq!(entry_above(Initial, &inode, host.encode().as_bytes()), None);
/// ```
#[must_use]
pub fn entry_above<N: UserNs>(
    above: N,
    inode: &InodeView<N>,
    capability: &[u8],
) -> Option<VfsCaps> {
    let value = VfsCaps::decode(capability).ok()?;
    let Revision::V3 { rootid } = value.revision() else {
        return None;
    };
    let rootid = above.uid(inode.kuid_of(Uid::new(rootid)?)?)?;
    Some(VfsCaps::v3(rootid.get(), value.caps()))
}

/// Keeps in a value of [`get_nscapability`](crate::get_nscapability) only the entries that its
/// reader can name, as R7 takes them: a copy-up can make no others again. Returns the length in
/// bytes, `None` where no entry is left.
///
/// ```
/// # use nscap_core::*;
/// let records = [7, u32::MAX].map(|id| Record::new(id, FileCaps::default()));
/// let mut value = [0; NsCaps::encoded_len(2)];
/// NsCaps::encode(records, &mut value).unwrap();
/// assert_eq!(keep_named(&mut value), Some(32));
/// assert_eq!(NsCaps::decode(&value[..32]).unwrap().iter().next().unwrap().rootid(), 7);
/// ```
pub fn keep_named(value: &mut [u8]) -> Option<usize> {
    let (header, body) = value.split_first_chunk_mut::<HEADER_LEN>()?;
    let (records, _) = chunks(body);
    let named = position(records, u32::MAX).unwrap_or(records.len());
    put_header(header, named)?;
    if named == 0 { None } else { Some(NsCaps::encoded_len(named)) }
}

/// Writes the `index`th entry of a value of `security.nscapability` to `out`, as a value with this
/// entry alone. `false` where the value has fewer entries.
///
/// ```
/// # use nscap_core::*;
/// let mut value = [0; NsCaps::encoded_len(2)];
/// NsCaps::encode([7, 8].map(|id| Record::new(id, FileCaps::default())), &mut value).unwrap();
/// let mut alone = [0; NsCaps::encoded_len(1)];
/// assert!(entry_alone(&value, 1, &mut alone));
/// assert_eq!(NsCaps::decode(&alone).unwrap().iter().next().unwrap().rootid(), 8);
/// assert!(!entry_alone(&value, 2, &mut alone));
/// ```
#[must_use]
pub fn entry_alone(value: &[u8], index: usize, out: &mut [u8; NsCaps::encoded_len(1)]) -> bool {
    put_alone(value, index, out).is_some()
}

fn put_alone(value: &[u8], index: usize, out: &mut [u8; NsCaps::encoded_len(1)]) -> Option<()> {
    let (_, body) = value.split_first_chunk::<HEADER_LEN>()?;
    let (records, _) = chunks::<RECORD_LEN>(body);
    let record = records.get(index)?;
    let (header, slot) = out.split_first_chunk_mut::<HEADER_LEN>()?;
    *slot.first_chunk_mut()? = *record;
    put_header(header, 1)
}

/// EDQUOT and E2BIG, which no rule of ours answers with.
const OF_THE_FILE_SYSTEM: [i32; 2] = [7, 122];

/// Whether a copy-up leaves a grant out silently, when it could not make the grant on the copy and
/// got this positive errno. An error would fail the whole copy-up, and with it the chmod or the
/// open that needs it. A grant is left out if the mounter could not have written it, or if the
/// upper file system cannot hold it. Every other errno fails the copy-up, since it says nothing
/// about the grant.
///
/// ```
/// use nscap_core::{Errno, left_behind};
/// assert!(left_behind(Errno::EPERM.raw()) && left_behind(Errno::ENOSPC.raw()));
/// // EIO, EINTR: whether the grant could be kept is not known.
/// assert!(!left_behind(5) && !left_behind(4));
/// ```
#[must_use]
pub fn left_behind(errno: i32) -> bool {
    [Errno::EPERM, Errno::EBUSY, Errno::EINVAL, Errno::ENOSPC, Errno::ERANGE, Errno::EOPNOTSUPP]
        .iter()
        .any(|known| known.raw() == errno)
        || OF_THE_FILE_SYSTEM.contains(&errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cap::FileCaps;
    use crate::read::get_nscapability;
    use crate::stored::{Entries, HostValue, Stored};
    use crate::wire::Record;
    use crate::world::{World, kgid, kuid};

    /// Two containers with the root kuids 100000 and 200000.
    const BOTH: [(u32, u32); 2] = [(100_000, 1000), (200_000, 1000)];

    #[test]
    fn w_an_entry_keeps_its_kuid_in_other_terms_or_is_none() {
        let world = World::side_by_side(&BOTH);
        let inode = InodeView::plain(world.ns(0), kuid(0), kgid(0));
        let above = |ns, rootid| {
            let value = VfsCaps::v3(rootid, FileCaps::default()).encode();
            entry_above(world.ns(ns), &inode, value.as_bytes()).map(|value| value.revision())
        };
        assert_eq!(above(0, 100_000), Some(Revision::V3 { rootid: 100_000 }));
        assert_eq!(above(1, 100_007), Some(Revision::V3 { rootid: 7 }));
        assert_eq!((above(2, 100_000), above(1, u32::MAX)), (None, None));
        // Through a mount that maps 0 to 200000.
        let mapped = InodeView { idmap: Some(world.ns(2)), ..inode };
        let value = VfsCaps::v3(7, FileCaps::default()).encode();
        let through = entry_above(world.ns(0), &mapped, value.as_bytes()).map(|v| v.revision());
        assert_eq!(through, Some(Revision::V3 { rootid: 200_007 }));
    }

    #[test]
    fn w_a_copy_has_the_entries_that_its_mounter_can_name() {
        let world = World::side_by_side(&BOTH);
        let inode = InodeView::plain(world.ns(0), kuid(0), kgid(0));
        let records = [100_000, 100_001, 200_000]
            .map(|rootid| *Record::new(rootid, FileCaps::default()).as_bytes());
        let entries = Entries::decode(&records).unwrap();
        let stored = Stored { host: HostValue::Absent, entries };
        let named = |ns| {
            let mut value = [0; NsCaps::encoded_len(3)];
            get_nscapability(world.ns(ns), &inode, &stored, &mut value).unwrap();
            let len = keep_named(&mut value)?;
            let alone = |index| {
                let mut alone = [0; NsCaps::encoded_len(1)];
                let found = entry_alone(&value[..len], index, &mut alone);
                found.then(|| NsCaps::decode(&alone).unwrap().iter().next().unwrap().rootid())
            };
            let count = NsCaps::decode(&value[..len]).unwrap().len();
            Some((count, [0, 1, 2, 3].map(alone)))
        };
        let all = [Some(100_000), Some(100_001), Some(200_000), None];
        assert_eq!(named(0), Some((3, all)));
        assert_eq!(named(1), Some((2, [Some(0), Some(1), None, None])));
        assert_eq!(named(2), Some((1, [Some(0), None, None, None])));
        let one = Stored::one(Uid::new(7).unwrap(), FileCaps::default());
        let mut value = [0; NsCaps::encoded_len(1)];
        get_nscapability(world.ns(1), &inode, &one, &mut value).unwrap();
        assert_eq!((keep_named(&mut value), keep_named(&mut [0; 7])), (None, None));
    }
}
