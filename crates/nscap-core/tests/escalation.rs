// SPDX-License-Identifier: MIT OR Apache-2.0
//! SPEC's two security arguments, run: why an entry needs a uid 0 mapping, and clause U.
//!
//! A bounded search goes through every tree of three namespaces below the initial one with every
//! map of at most two ids, lets a fully privileged task in each namespace write every entry that
//! it can, and lets a task in each other namespace execute the file. With the rules as they are an
//! entry reaches outside its writer's subtree only by SPEC S (another namespace with the same
//! root kuid). With (d) left out, or with owners in place of roots, the same search finds the
//! exploits, so the search can find what it looks for.

mod world;

use nscap_core::{
    CapSet, Capability, Cred, Decision, EntryBuffer, FileCaps, InodeView, Kuid, MAX_ENTRIES,
    NsCaps, Policy, Record, Request, SetFlags, Stored, Uid, UserNs, file_grant, is_same_or_below,
    path_to_initial, root_kuid, set_capability, set_nscapability,
};
use world::{World, kgid, kuid};

const CAPS: FileCaps =
    FileCaps { permitted: CapSet::from_bits(1 << 13), inheritable: CapSet::EMPTY, effective: true };

/// Every map of one or two ids, out of three inside and three outside.
fn maps() -> Vec<Vec<(u32, u32, u32)>> {
    let pairs: Vec<_> = (0..3).flat_map(|i| (0..3).map(move |o| (i, o, 1))).collect();
    let one = pairs.iter().map(|p| vec![*p]);
    let two = pairs.iter().flat_map(|a| {
        let later = pairs.iter().filter(move |b| a.0 < b.0 && a.1 != b.1);
        later.map(move |b| vec![*a, *b])
    });
    one.chain(two).collect()
}

/// Whether every id outside maps into the parent: a child cannot map what its parent lacks.
fn fits(world: &World, parent: usize, map: &[(u32, u32, u32)]) -> bool {
    map.iter().all(|&(_, outside, _)| world.ns(parent).uid(kuid(outside)).is_some())
}

/// Calls `with` for every world: three namespaces, each below the initial one or an earlier one.
fn every_world(mut with: impl FnMut(&World)) -> usize {
    let maps = maps();
    let mut worlds = 0;
    for (second, third) in [(1, 2), (1, 1), (1, 0), (0, 0)] {
        for a in &maps {
            for b in &maps {
                for c in maps.iter().step_by(if second == third { 2 } else { 1 }) {
                    let mut world = World::new();
                    world.add(0, 1, a);
                    if !fits(&world, second, b) {
                        continue;
                    }
                    world.add(second, 1, b);
                    if !fits(&world, third, c) {
                        continue;
                    }
                    world.add(third, 1, c);
                    with(&world);
                    worlds += 1;
                }
            }
        }
    }
    worlds
}

/// The kuids for which a fully privileged task in `writer` gets an entry onto a file that it owns.
fn writable(world: &World, writer: usize) -> Vec<Kuid> {
    let ns = world.ns(writer);
    let mut written = Vec::new();
    for owner in 0..3 {
        if ns.uid(kuid(owner)).is_none() || ns.gid(kgid(owner)).is_none() {
            continue;
        }
        let cred = Cred::privileged(ns, kuid(owner), kgid(owner));
        let inode = InodeView::plain(world.ns(0), kuid(owner), kgid(owner));
        let request = Request {
            policy: Policy::default(),
            cred: &cred,
            inode: &inode,
            stored: &Stored::EMPTY,
        };
        let mut out: EntryBuffer = [[0; 24]; MAX_ENTRIES];
        for rootid in 0..3 {
            let mut bytes = [0; NsCaps::encoded_len(1)];
            NsCaps::encode([Record::new(rootid, CAPS)], &mut bytes).unwrap();
            let decision = set_nscapability(&request, &bytes, SetFlags::default(), &mut out);
            if let Decision::Write(stored, _) = decision {
                written.extend(stored.entries.iter().map(|(id, _)| kuid(id.get())));
                assert_eq!(stored.host, nscap_core::HostValue::Absent, "never a host value");
            }
        }
        let v2 = nscap_core::VfsCaps::v2(CAPS).encode();
        if let Decision::Write(stored, _) =
            set_capability(&request, v2.as_bytes(), SetFlags::default(), &mut out)
        {
            written.extend(stored.entries.iter().map(|(id, _)| kuid(id.get())));
        }
    }
    written.sort();
    written.dedup();
    written
}

/// Whether a task in namespace `n` gets the capabilities of an entry for `k`.
fn honoured(world: &World, k: Kuid, n: usize) -> bool {
    let inode = InodeView::plain(world.ns(0), kuid(0), kgid(0));
    let stored = Stored::one(Uid::new(k.get()).unwrap(), CAPS);
    file_grant(world.ns(n), &inode, &stored).unwrap().caps().is_some()
}

/// SPEC S: `k` is the root of a namespace on the path of `n` that is no relation of the writer.
fn shared(world: &World, k: Kuid, n: usize, writer: usize) -> bool {
    path_to_initial(world.ns(n)).any(|at| {
        root_kuid(at) == Some(k)
            && !is_same_or_below(at, world.ns(writer))
            && !is_same_or_below(world.ns(writer), at)
    })
}

#[test]
fn an_entry_reaches_outside_its_writers_subtree_only_by_shared_kuids() {
    let (mut grants, mut shares) = (0, 0);
    let worlds = every_world(|world| {
        for writer in 1..4 {
            for k in writable(world, writer) {
                for n in (0..4).filter(|&n| honoured(world, k, n)) {
                    grants += 1;
                    if !is_same_or_below(world.ns(n), world.ns(writer)) {
                        assert!(shared(world, k, n, writer));
                        shares += 1;
                    }
                }
            }
        }
    });
    assert!(worlds > 1000 && grants > 1000 && shares > 0, "{worlds} {grants} {shares}");
}

/// (a) to (c) of R5 and no (d): the eight points alone.
fn writable_without_d(world: &World, writer: usize) -> Option<Kuid> {
    root_kuid(world.ns(writer))
}

#[test]
fn without_d_the_search_finds_the_holes_at_two_and_at_three_levels() {
    let mut depths = [0; 4];
    every_world(|world| {
        for writer in 1..4 {
            let Some(k) = writable_without_d(world, writer) else {
                continue;
            };
            for n in (0..4).filter(|&n| honoured(world, k, n)) {
                let above = !is_same_or_below(world.ns(n), world.ns(writer));
                if above && !shared(world, k, n, writer) {
                    depths[path_to_initial(world.ns(writer)).count() - 1] += 1;
                }
            }
        }
    });
    assert!(depths[1] > 0 && depths[2] > 0 && depths[3] > 0, "{depths:?}");
}

#[test]
fn the_seeds_worry_a_naive_owner_is_exploitable_and_a_root_kuid_is_not() {
    let mut world = World::new();
    let child = world.add(0, 1000, &[(1000, 1000, 1)]);
    let writer = Cred::privileged(world.ns(child), kuid(1000), kgid(1000));
    assert!(writer.has_cap(Capability::Setfcap));

    // Naive: the entry belongs to the writer's own kuid and holds wherever that kuid maps. It maps
    // in the parent, so uid 1000 without any capability there would use what it wrote here.
    let holds_naively = |n: usize| world.ns(n).uid(writer.euid).is_some();
    assert!(holds_naively(0), "the naive rule is exploitable");

    // This design: no uid 0, no entry; and an entry for kuid 1000 would hold nowhere above.
    assert!(writable(&world, child).is_empty());
    assert!(!honoured(&world, kuid(1000), 0));
    assert!(!honoured(&world, kuid(1000), child));
}
