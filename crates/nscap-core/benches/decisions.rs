// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a decision costs: `cargo bench -p nscap-core`. The figures to stay under are in
//! docs/benchmarks.md.

use divan::{Bencher, black_box};
use nscap_core::{
    CapSet, Capability, Cred, Entries, Extent, FileCaps, IdMap, InodeView, MAX_EXTENTS, Program,
    Record, System, Task, VfsCaps, exec,
    storage::{self, Seal, Table},
};

#[path = "../tests/world/mod.rs"]
mod world;
use world::{Ns, World, kgid, kuid};

fn main() {
    divan::main();
}

/// Four namespaces below the initial one, five extents each, as a container in a container has
/// them: each level's root is another id of the level above.
fn four_deep() -> World {
    let mut world = World::new();
    for level in 1..=4u32 {
        let base = 100_000 * level;
        let map: Vec<(u32, u32, u32)> =
            (0..5).map(|n| (n * 1000, base + n * 10_000, 1000)).collect();
        world.add(level as usize - 1, base, &map);
    }
    world
}

fn user(ns: Ns<'_>, id: u32) -> Task<'static, Ns<'_>> {
    Task::of(Cred::ordinary(ns, kuid(id), kgid(id)))
}

fn ping() -> FileCaps {
    let net_raw = CapSet::EMPTY.with(Capability::NetRaw);
    FileCaps { permitted: net_raw, effective: true, ..FileCaps::default() }
}

/// Decodes a revision 3 value of the outermost container's root and decides execve for a task
/// four levels down: the whole path is walked.
#[divan::bench]
fn decode_and_exec_four_deep(bencher: Bencher<'_, '_>) {
    let world = four_deep();
    let task = user(world.ns(4), 400_007);
    let program =
        Program::plain(InodeView::plain(world.ns(0), kuid(100_000), kgid(100_000)), 0o755);
    let value = VfsCaps::v3(100_000, ping()).encode();
    let facts = storage::SealFacts { size: 1, uid: 100_000, gid: 100_000 };
    bencher.bench_local(|| {
        let (stored, _) = storage::read(Some(black_box(value.as_bytes())), None, facts, true);
        exec(System::kernel(6, 18), black_box(&task), &program, &stored).map(|e| e.cred.permitted)
    });
}

/// The same for a file without capabilities, which is nearly every exec.
#[divan::bench]
fn exec_of_an_ordinary_file(bencher: Bencher<'_, '_>) {
    let world = four_deep();
    let task = user(world.ns(4), 400_007);
    let program =
        Program::plain(InodeView::plain(world.ns(0), kuid(100_000), kgid(100_000)), 0o755);
    let facts = storage::SealFacts { size: 1, uid: 100_000, gid: 100_000 };
    bencher.bench_local(|| {
        let (stored, _) = storage::read(black_box(None), None, facts, true);
        exec(System::kernel(6, 18), black_box(&task), &program, &stored).map(|e| e.cred.permitted)
    });
}

fn largest_map() -> [Extent; MAX_EXTENTS] {
    let mut extents = [Extent::default(); MAX_EXTENTS];
    for (n, extent) in (0u32..).zip(extents.iter_mut()) {
        *extent = Extent { inside: 1000 * n, outside: 1_000_000 + 1500 * n, count: 700 };
    }
    extents
}

/// One id through the largest map, another each time, a third of them unmapped.
#[divan::bench]
fn lookup_in_340_extents(bencher: Bencher<'_, '_>) {
    let (mut down, mut up) = (largest_map(), largest_map());
    let map = IdMap::new(&mut down, &mut up).expect("the extents are disjoint");
    let mut id = 1u32;
    bencher.bench_local(move || {
        id = id.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        map.outside(black_box(id % 340_000))
    });
}

/// The nearest of 1,024 entries of which one applies.
#[divan::bench]
fn exec_of_a_file_with_1024_entries(bencher: Bencher<'_, '_>) {
    let world = four_deep();
    let task = user(world.ns(4), 400_007);
    let program = Program::plain(InodeView::plain(world.ns(0), kuid(0), kgid(0)), 0o755);
    let facts = storage::SealFacts { size: 1, uid: 0, gid: 0 };
    let companion = storage::tripwire(1);
    let records: Vec<_> =
        (0..1024u32).map(|n| *Record::new(99_000 + n, ping()).as_bytes()).collect();
    let entries = Entries::decode(&records).expect("ascending");
    let mut table = vec![0; Table::encoded_len(1024)];
    Table::encode(&entries, companion.as_bytes(), facts, &mut table).expect("fits");
    bencher.bench_local(|| {
        let (stored, seal) =
            storage::read(Some(companion.as_bytes()), Some(black_box(&table)), facts, true);
        assert_eq!(seal, Seal::Sealed);
        exec(System::kernel(6, 18), &task, &program, &stored).map(|e| e.cred.permitted)
    });
}
