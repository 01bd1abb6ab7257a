// SPDX-License-Identifier: MIT OR Apache-2.0
//! T and L, in every small world: what a tool copies by the names that it sees listed, it sees
//! listed under the same names, with the same values; and of one grant a bare file system, a mount
//! and the design say the same.

mod world;

use nscap_core::storage::{self, Form};
use nscap_core::{
    Busy, Cred, Decision, EntryBuffer, Errno, FileCaps, HostValue, InodeView, Listed, MAX_ENTRIES,
    Policy, Record, Request, Revision, SetFlags, Stored, VfsCaps, Why, bare, get_capability,
    get_nscapability, get_plainly, handed_to_kernel, list, nscapability_len, remove_capability,
    set_capability, set_nscapability, writes_host_value,
};
use world::{Ns, World, kgid, kuid};

/// Beside the initial namespace: a container, one nested in it, a sibling, one without a uid 0, and
/// one that maps its parent's root.
fn namespaces() -> (World, Vec<u32>) {
    let mut world = World::new();
    world.add(0, 1000, &[(0, 100_000, 1000)]);
    world.add(1, 100_000, &[(0, 100_500, 100)]);
    world.add(0, 1001, &[(0, 200_000, 1000)]);
    world.add(0, 1002, &[(5, 100_000, 10)]);
    world.add(0, 1003, &[(0, 100_000, 600), (700, 0, 1)]);
    (world, vec![0, 100_000, 100_500, 200_000, 100_003, 100_000])
}

fn caps(bit: u32) -> FileCaps {
    let permitted = nscap_core::CapSet::from_bits(1 << bit);
    FileCaps { permitted, effective: true, ..FileCaps::default() }
}

/// One way to a file, for one caller.
struct Way<'w> {
    cred: Cred<Ns<'w>>,
    inode: InodeView<Ns<'w>>,
}

/// Each caller, with every capability in its namespace, on each superblock and through each id map;
/// the files are the caller's own.
fn ways<'w>(world: &'w World, ids: &[u32]) -> Vec<Way<'w>> {
    let mut ways = Vec::new();
    for (caller, id) in ids.iter().enumerate() {
        for sb in 0..ids.len() {
            for idmap in [None, Some(1), Some(3)] {
                let cred = Cred::privileged(world.ns(caller), kuid(*id), kgid(*id));
                let inode = InodeView {
                    idmap: idmap.map(|map| world.ns(map)),
                    ..InodeView::plain(world.ns(sb), kuid(*id), kgid(*id))
                };
                ways.push(Way { cred, inode });
            }
        }
    }
    ways
}

/// Calls `with` for every file: a host value or none, and up to three entries.
fn every_file(mut with: impl FnMut(&Stored<'_>)) {
    const IDS: [u32; 6] = [3, 500, 700, 100_000, 100_500, 200_000];
    for chosen in 0u32..1 << IDS.len() {
        if chosen.count_ones() > 3 {
            continue;
        }
        let ids = (0u32..).zip(IDS).filter(|(n, _)| chosen & 1 << n != 0);
        let records: Vec<_> = ids.map(|(n, id)| *Record::new(id, caps(n)).as_bytes()).collect();
        let entries = nscap_core::Entries::decode(&records).unwrap();
        for host in [HostValue::Absent, HostValue::Present(caps(30))] {
            with(&Stored { host, entries });
        }
    }
}

/// What a tool saves of a file: the names that are listed, with their values.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Saved {
    capability: Option<VfsCaps>,
    nscapability: Option<Vec<u8>>,
}

fn save(way: &Way<'_>, stored: &Stored<'_>) -> Saved {
    let (ns, inode) = (way.cred.ns, &way.inode);
    let Listed { capability, nscapability } = list(ns, inode, stored);
    let entries = || {
        let mut value = vec![0; nscapability_len(ns, inode, stored).unwrap()];
        get_nscapability(ns, inode, stored, &mut value).unwrap();
        value
    };
    Saved {
        capability: capability.then(|| get_capability(ns, inode, stored).unwrap().0),
        nscapability: nscapability.then(entries),
    }
}

/// Sets what was saved; `None` where the caller may not.
fn restore<R>(
    way: &Way<'_>,
    policy: Policy,
    saved: &Saved,
    onto: &Stored<'_>,
    then: impl FnOnce(&Stored<'_>) -> R,
) -> Option<R> {
    let flags = SetFlags::default();
    let (mut first, mut second): (EntryBuffer, EntryBuffer) =
        ([[0; 24]; MAX_ENTRIES], [[0; 24]; MAX_ENTRIES]);
    let request = |stored| Request { policy, cred: &way.cred, inode: &way.inode, stored };
    let mut now = *onto;
    if let Some(value) = &saved.capability {
        match set_capability(&request(onto), value.encode().as_bytes(), flags, &mut first) {
            Decision::Write(next, _) => now = next,
            Decision::Keep(_) => {}
            Decision::Deny(..) => return None,
        }
    }
    let mut last = now;
    if let Some(value) = &saved.nscapability {
        match set_nscapability(&request(&now), value, flags, &mut second) {
            Decision::Write(next, _) => last = next,
            Decision::Keep(_) => {}
            Decision::Deny(..) => return None,
        }
    }
    Some(then(&last))
}

#[test]
fn a_copy_by_the_names_that_are_listed_is_listed_and_read_as_its_original() {
    let (world, ids) = namespaces();
    let (mut copies, mut named) = (0, 0);
    for way in ways(&world, &ids) {
        every_file(|stored| {
            let shown = get_capability(way.cred.ns, &way.inode, stored);
            let writes_host = writes_host_value(&way.cred, &way.inode);
            if matches!(shown, Ok((_, Why::EntryRead))) && writes_host {
                // A plain value that such a caller writes is the owner's (R8), whatever it read as
                // its own.
                return;
            }
            let saved = save(&way, stored);
            for single in [Policy::SEED, Policy::ARRAYS] {
                let again = |copy: &Stored<'_>| {
                    assert_eq!(save(&way, copy), saved, "{stored:?} {:?}", way.inode);
                    // A restore over a file that has it already: nothing is left to remove.
                    for busy in [Busy::SameOk, Busy::Replace] {
                        let policy = single.with_busy(busy);
                        restore(&way, policy, &saved, copy, |twice| assert_eq!(twice, copy))
                            .expect("what was set can be set again");
                    }
                };
                copies += u32::from(restore(&way, single, &saved, &Stored::EMPTY, again).is_some());
            }
            let revision = saved.capability.map(|value| value.revision());
            named += u32::from(matches!(revision, Some(Revision::V3 { .. })));
        });
    }
    assert!(copies > 2000 && named > 200, "{copies} {named}");
}

#[test]
fn what_t_shows_and_the_caller_could_have_written_goes_by_the_same_name() {
    let (world, ids) = namespaces();
    let (mut removed, mut kept) = (0, 0);
    for way in ways(&world, &ids) {
        every_file(|stored| {
            let shown = get_capability(way.cred.ns, &way.inode, stored);
            let Ok((value, Why::OnlyEntryRead)) = shown else { return };
            for policy in [Policy::SEED, Policy::ARRAYS] {
                let request = Request { policy, cred: &way.cred, inode: &way.inode, stored };
                let mut out: EntryBuffer = [[0; 24]; MAX_ENTRIES];
                match remove_capability(&request, &mut out) {
                    Decision::Write(next, _) => {
                        // From outside the owner namespace what waited beside a host value is next.
                        let left = get_capability(way.cred.ns, &way.inode, &next);
                        assert_ne!(left.ok().map(|(value, _)| value), Some(value));
                        removed += 1;
                    }
                    decision => {
                        assert_eq!(decision.errno(), Some(Errno::EPERM));
                        kept += 1;
                    }
                }
            }
        });
    }
    assert!(removed > 200 && kept > 0, "{removed} {kept}");
}

/// What a kernel makes of a value that a file system gives it.
fn by_the_kernel(way: &Way<'_>, value: &[u8]) -> Option<VfsCaps> {
    bare::get_capability(way.cred.ns, &way.inode, Some(value)).ok()
}

#[test]
fn of_one_entry_a_bare_file_system_a_mount_and_the_design_show_the_same() {
    let (world, ids) = namespaces();
    let (mut same, mut known) = (0, 0);
    for way in ways(&world, &ids) {
        every_file(|stored| {
            let Form::Alone(raw) = storage::form_of(stored) else { return };
            let (ns, inode) = (way.cred.ns, &way.inode);
            let bare = by_the_kernel(&way, raw.as_bytes());
            let design = get_capability(ns, inode, stored);
            let handed = handed_to_kernel(ns, inode, stored);
            assert_eq!(design.is_ok(), handed.is_ok());
            let mount =
                handed.ok().and_then(|(value, _)| by_the_kernel(&way, value.encode().as_bytes()));
            let Ok((shown, why)) = design else {
                assert_eq!(bare.filter(|value| value.revision() != Revision::V2), None);
                return;
            };
            match why {
                // V: root of an ancestor, and another uid here.
                Why::EntryRead | Why::HostValueRead if mount != Some(shown) => {
                    let value = mount.map_or(shown, |value| value);
                    assert_eq!(value.caps(), shown.caps());
                    known += 1;
                }
                Why::OnlyEntryRead => {
                    assert_eq!((bare, mount), (Some(shown), Some(shown)));
                    same += 1;
                }
                _ => assert_eq!(mount, Some(shown)),
            }
        });
    }
    assert!(same > 50 && known > 0, "{same} {known}");
}

/// Stored bytes of `security.capability`: each revision with each kind of rootid, flag and length.
fn every_value(mut with: impl FnMut(&[u8])) {
    let rootids = [0, 3, 500, 700, 100_000, 100_500, storage::TRIPWIRE_ROOTID, u32::MAX];
    for flags in [0, 1, 2, 0x0000_0100] {
        for value in rootids.map(|rootid| VfsCaps::v3(rootid, caps(13))).iter().chain([
            &VfsCaps::v2(caps(13)),
            &VfsCaps::v2(FileCaps { effective: false, ..caps(60) }),
        ]) {
            let mut bytes = value.encode().as_bytes().to_vec();
            for (byte, flag) in bytes.iter_mut().zip(u32::to_le_bytes(flags)).take(3) {
                *byte = flag;
            }
            for length in [12, 19, 20, 21, 23, 24, 25] {
                bytes.resize(length, 0);
                for revision in 0..5 {
                    bytes[3] = revision;
                    with(&bytes);
                }
            }
            with(value.encode().as_bytes());
        }
    }
    for length in 0..20 {
        with(&vec![3; length]);
    }
}

#[test]
fn what_is_plain_is_what_r4_gives_and_most_of_what_r4_gives_is_plain() {
    let (world, ids) = namespaces();
    let facts = storage::SealFacts { size: 1, uid: 0, gid: 0 };
    let (mut plain, mut others) = (0, 0);
    for way in ways(&world, &ids) {
        let (ns, inode) = (way.cred.ns, &way.inode);
        every_value(|bytes| {
            let (stored, _) = storage::read(Some(bytes), None, facts, true);
            let shown = get_capability(ns, inode, &stored);
            match get_plainly(ns, inode, bytes) {
                Some(value) => {
                    let value = VfsCaps::settable(&value).unwrap();
                    assert_eq!(shown.map(|(shown, _)| shown), Ok(value), "{bytes:x?}");
                    plain += 1;
                }
                None => {
                    let whole = VfsCaps::settable(bytes)
                        .is_ok_and(|value| value.revision() != Revision::V3 { rootid: 0 });
                    let own = matches!(shown, Ok((_, Why::EntryRead | Why::HostValueRead)));
                    let below = nscap_core::is_same_or_below(ns, inode.sb_ns);
                    assert!(!(whole && own && below && inode.idmap.is_none()), "{bytes:x?}");
                    others += 1;
                }
            }
        });
    }
    assert!(plain > 100 && others > 100, "{plain} {others}");
}
