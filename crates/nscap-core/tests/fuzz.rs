// SPDX-License-Identifier: MIT OR Apache-2.0
//! No bytes from outside panic, and what decodes encodes back to the same bytes. One target for
//! each decoder, the text form and the id maps; docs/fuzzing.md says how to run one for hours.

use bolero::{check, produce};
use nscap_core::storage::{self, SealFacts, Table};
use nscap_core::{
    CapText, Cred, Entries, Extent, FileCaps, IdMap, InodeView, NsCaps, Policy, Program, Record,
    Request, Revision, SetFlags, System, Task, VfsCaps, bare,
};

mod world;
use world::{World, kgid, kuid};

#[test]
fn security_capability() {
    check!().for_each(|bytes: &[u8]| {
        let Ok(value) = VfsCaps::decode(bytes) else {
            assert!(VfsCaps::settable(bytes).is_err());
            return;
        };
        assert_eq!(value.encode().as_bytes(), bytes);
        let remade = match value.revision() {
            Revision::V1 => return,
            Revision::V2 => VfsCaps::v2(value.caps()),
            Revision::V3 { rootid } => VfsCaps::v3(rootid, value.caps()),
        };
        // A value that may be set says nothing but its capabilities and rootid.
        assert_eq!(VfsCaps::settable(bytes).is_ok(), remade == value);
    });
}

/// Few, so that duplicates and -1 come often.
const ROOTIDS: [u32; 4] = [0, 1000, 100_000, u32::MAX];

/// Bytes that are often a value: raw, or records behind the right header.
fn nearly_nscapability() -> impl bolero::ValueGenerator<Output = Vec<u8>> {
    use bolero::ValueGenerator as _;
    produce::<(bool, u32, Vec<(u32, u64, u64, bool)>, Vec<u8>)>().map_gen(
        |(raw, cut, mut entries, bytes)| {
            if raw {
                return bytes;
            }
            entries.truncate(8);
            let caps = |p, i, effective| FileCaps {
                permitted: nscap_core::CapSet::from_bits(p),
                inheritable: nscap_core::CapSet::from_bits(i),
                effective,
            };
            let records = entries
                .iter()
                .map(|&(id, p, i, e)| Record::new(ROOTIDS[id as usize % 4], caps(p, i, e)));
            let mut out = vec![0; NsCaps::encoded_len(entries.len())];
            NsCaps::encode(records, &mut out);
            let keep = out.len() - (cut % 16).saturating_sub(12) as usize;
            out.truncate(keep);
            out.extend(bytes.iter().take((cut >> 4) as usize % 2));
            out
        },
    )
}

#[test]
fn security_nscapability() {
    check!().with_generator(nearly_nscapability()).for_each(|bytes| {
        let Ok(value) = NsCaps::decode_shown(bytes) else {
            assert!(NsCaps::decode(bytes).is_err());
            return;
        };
        let mut again = vec![0; bytes.len()];
        assert_eq!(NsCaps::encode(value.iter(), &mut again), Some(bytes.len()));
        assert_eq!(&again, bytes);
        let unmapped = value.iter().any(|record| record.rootid() == u32::MAX);
        assert_eq!(NsCaps::decode(bytes).is_err(), unmapped);
    });
}

#[test]
fn stored_attributes() {
    type Input = (Option<Vec<u8>>, Vec<u8>, Vec<(u32, u64)>, u64, bool, u8);
    check!().with_type::<Input>().for_each(|(capability, junk, ids, size, trusted, mode)| {
        let facts = SealFacts { size: *size, uid: 1, gid: 2 };
        let companion = match mode % 3 {
            0 => Some(storage::tripwire(*size).as_bytes().to_vec()),
            1 => Some(VfsCaps::v2(FileCaps::default()).encode().as_bytes().to_vec()),
            _ => capability.clone(),
        };
        let table = table(companion.as_deref().unwrap_or_default(), facts, ids, junk);
        let (stored, _) = storage::read(companion.as_deref(), Some(&table), facts, *trusted);
        let _ = storage::form_of(&stored);
        let elsewhere = SealFacts { size: size.wrapping_add(1), ..facts };
        let (other, _) = storage::read(companion.as_deref(), Some(&table), elsewhere, *trusted);
        assert!(other.entries.len() <= 1, "a table holds for content of another size");
        let mut rest = table.as_slice();
        if Table::take(&mut rest).is_err() {
            assert_eq!(rest.len(), table.len(), "a failed decode moved on");
        }
    });
}

/// A sealed table of these entries, or only the junk where they make none.
fn table(companion: &[u8], facts: SealFacts, ids: &[(u32, u64)], junk: &[u8]) -> Vec<u8> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup_by_key(|(id, _)| *id);
    let record = |&(id, bits): &(u32, u64)| {
        let permitted = nscap_core::CapSet::from_bits(bits);
        *Record::new(id, FileCaps { permitted, ..FileCaps::default() }).as_bytes()
    };
    let records: Vec<_> = ids.iter().map(record).collect();
    let mut out = vec![0; Table::encoded_len(records.len())];
    let encoded = Entries::decode(&records)
        .ok()
        .and_then(|entries| Table::encode(&entries, companion, facts, &mut out));
    if encoded.is_none() {
        return junk.to_vec();
    }
    out.extend(junk.iter().take(junk.len() % 3));
    out
}

#[test]
fn values_given_to_the_decisions() {
    let mut world = World::new();
    world.add(0, 0, &[(0, 100_000, 1000)]);
    type Input = (Vec<u8>, Vec<u8>, Vec<u8>, u8, u8, u8);
    check!().with_type::<Input>().for_each(|(value, capability, nscap, array, busy, flags)| {
        let (root, init) = (world.ns(1), world.ns(0));
        let cred = Cred::privileged(root, kuid(100_000), kgid(100_000));
        let inode = InodeView::plain(init, kuid(100_000), kgid(100_000));
        let facts = SealFacts { size: 0, uid: 100_000, gid: 100_000 };
        let (stored, _) = storage::read(Some(capability), Some(nscap), facts, true);
        let policy = Policy::of_numbers(((array & 1).into(), (busy % 4).into()));
        let request = Request { policy, cred: &cred, inode: &inode, stored: &stored };
        let flags = SetFlags { create: flags & 1 != 0, replace: flags & 2 != 0 };
        let mut out = [[0; nscap_core::RECORD_LEN]; nscap_core::MAX_ENTRIES];
        let _ = nscap_core::set_capability(&request, value, flags, &mut out);
        let _ = nscap_core::set_nscapability(&request, value, flags, &mut out);
        let _ = nscap_core::remove_nscapability(&request, &mut out);
        let task = Task::of(cred);
        let program = Program::plain(inode, 0o755);
        let _ = nscap_core::exec(System::kernel(6, 18), &task, &program, &stored);
        let _ = bare::exec(System::kernel(6, 1), &task, &program, Some(capability));
        let _ = bare::set_capability(&cred, &inode, Some(capability), value, flags);
        let _ = bare::get_capability(root, &inode, Some(capability));
        if let Some(plain) = nscap_core::get_plainly(root, &inode, capability) {
            let shown = nscap_core::get_capability(root, &inode, &stored).map(|(value, _)| value);
            assert_eq!(Ok(shown), VfsCaps::decode(&plain).map(Ok));
        }
    });
}

#[test]
fn capability_text() {
    const PARTS: [&str; 12] =
        ["cap_chown", "all", "63", "0x", ",", "=", "+", "-", "ep", "i", " ", "cap_"];
    type Input = (Vec<u8>, Vec<u8>);
    check!().with_type::<Input>().for_each(|(raw, parts)| {
        let made: String = parts.iter().map(|&n| PARTS[n as usize % PARTS.len()]).collect();
        for text in [raw.as_slice(), made.as_bytes()] {
            let Ok(read) = CapText::parse(text) else { continue };
            assert_eq!(CapText::parse(read.to_string().as_bytes()), Ok(read));
            if let Ok(caps) = read.to_file() {
                assert_eq!(FileCaps::from_text(caps.to_string().as_bytes()), Ok(caps));
            }
        }
    });
}

#[test]
fn id_maps() {
    check!().with_type::<(Vec<(u32, u32, u32)>, u32)>().for_each(|(extents, id)| {
        let extent = |&(inside, outside, count)| Extent { inside, outside, count };
        let mut down: Vec<Extent> = extents.iter().map(extent).collect();
        let mut up = down.clone();
        let Ok(map) = IdMap::new(&mut down, &mut up) else { return };
        let ids = extents.iter().flat_map(|e| [e.0, e.0.wrapping_add(e.2)]).chain([*id]);
        for id in ids {
            if let Some(outside) = map.outside(id) {
                assert_eq!(map.inside(outside), Some(id));
            }
        }
    });
}
