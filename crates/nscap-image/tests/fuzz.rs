// SPDX-License-Identifier: MIT OR Apache-2.0
//! No bytes panic. A valid archive without a change is copied byte by byte, and a translation there
//! and back restores it. The output has grants for translated ids only, as the `tar` crate reads
//! it.

use std::io::Read as _;

use bolero::{check, produce};
use nscap_core::translate::Translation;
use nscap_core::{Extent, IdMap, Uid};
use nscap_image::layer::{self, Change, Changed};
use nscap_testing::archives::{
    CAPABILITY, NSCAPABILITY, archive, entries, entry, extended, file, header, host, padded, record,
};

const ALL: [Extent; 1] = [Extent { inside: 0, outside: 0, count: u32::MAX }];
const A: [Extent; 1] = [Extent { inside: 0, outside: 100_000, count: 1000 }];
const B: [Extent; 2] = [
    Extent { inside: 0, outside: 300_000, count: 500 },
    Extent { inside: 500, outside: 7, count: 500 },
];

fn map_of(extents: &'static [Extent]) -> IdMap<'static> {
    static BY_OUTSIDE: [Extent; 2] = [B[1], B[0]];
    let outside = if extents.len() == 2 { &BY_OUTSIDE } else { extents };
    IdMap::from_sorted(extents, outside)
}

fn translation(from: &'static [Extent], to: &'static [Extent]) -> Translation<'static> {
    Translation { from: map_of(from), to: map_of(to), drop_unmapped: false }
}

fn change(from: &'static [Extent], to: &'static [Extent], owners: bool) -> Change<'static> {
    let uids = translation(from, to);
    Change { uids, gids: owners.then_some(uids) }
}

fn mapped(bytes: &[u8], change: &Change<'_>) -> Option<(Vec<u8>, Changed)> {
    let mut out = Vec::new();
    let changed = layer::map(bytes, &mut out, change, &mut |_| Ok(())).ok()?;
    Some((out, changed))
}

/// Everything that is done with bytes from outside.
fn all_of_it(bytes: &[u8]) {
    for (from, to) in [(&ALL[..], &ALL[..]), (&A, &ALL), (&ALL, &A), (&A, &B)] {
        for owners in [false, true] {
            for drop_unmapped in [false, true] {
                let mut change = change(from, to, owners);
                change.uids.drop_unmapped = drop_unmapped;
                let out = mapped(bytes, &change);
                if let Some((out, changed)) = out.filter(|_| !owners) {
                    assert_eq!(out != bytes, changed.any());
                    assert!(from != to || drop_unmapped || out == bytes);
                }
            }
        }
    }
    let _ = layer::list(bytes, &mut |_| Ok(()));
    let _ = layer::check(bytes, map_of(&A), &mut |_| Ok(()));
    let _ = layer::map_stream(bytes, std::io::sink(), &change(&A, &B, false), &mut |_| Ok(()));
}

#[test]
fn any_bytes() {
    check!().for_each(all_of_it);
}

/// A member, as random numbers say.
type Spec = (u8, u8, u16, u16);

fn member(&(kind, attributes, id, size): &Spec, number: usize) -> Vec<u8> {
    let name = format!("d/{number}");
    let id = |n: u32| u32::from(id) % 1000 + n;
    let mut records = match attributes % 8 {
        0 => vec![host()],
        1 => vec![entry(id(100_000))],
        2 => vec![entries(&[id(100_000), 101_500])],
        3 => vec![record("mtime", b"1.5"), entries(&[100_000, id(100_001)])],
        4 => vec![host(), entries(&[id(1), 5000])],
        5 => vec![record("SCHILY.xattr.user.x", b"\n\0\n10 a=b\n"), entry(100_000)],
        6 => vec![record("path", name.as_bytes())],
        _ => vec![],
    };
    let content = vec![number as u8; usize::from(size) % 2000];
    match kind % 8 {
        0 => [header(b'5', &name, 0).as_bytes().as_slice()].concat(),
        1 => [header(b'2', &name, 0).as_bytes().as_slice()].concat(),
        2 => {
            let long = format!("{name}{}", "x".repeat(300));
            let link = header(b'L', "././@LongLink", 1 + long.len() as u64);
            [
                link.as_bytes(),
                &padded([long.as_bytes(), b"\0"].concat())[..],
                &file(&name, &records, &content),
            ]
            .concat()
        }
        3 => {
            // As for what is too large for the header's own field.
            // First, since the tar crate loses what comes after a value with a newline.
            records.insert(0, record("size", content.len().to_string().as_bytes()));
            let main = header(b'0', &name, 0);
            [&extended(b'x', &records), main.as_bytes().as_slice(), &padded(content)].concat()
        }
        _ => file(&name, &records, &content),
    }
}

fn valid() -> impl bolero::ValueGenerator<Output = Vec<u8>> {
    use bolero::ValueGenerator as _;
    produce::<(Vec<Spec>, Vec<u8>)>().map_gen(|(specs, trailing)| {
        let members: Vec<_> =
            specs.iter().take(12).enumerate().map(|(n, s)| member(s, n)).collect();
        [archive(&members), trailing].concat()
    })
}

/// Right archives with a few bytes changed, mostly under a right checksum.
#[test]
fn nearly_archives() {
    let generator = (valid(), produce::<Vec<(u16, u8)>>(), produce::<u16>(), produce::<bool>());
    check!().with_generator(generator).for_each(|(bytes, flips, cut, mend)| {
        let mut bytes = bytes.clone();
        for (at, value) in flips.iter().take(8) {
            let length = bytes.len();
            bytes[usize::from(*at) % length] = *value;
        }
        if *mend {
            for block in bytes.as_chunks_mut::<512>().0 {
                if block[257..262] == *b"ustar" {
                    let mut header = tar::Header::from_byte_slice(block).clone();
                    header.set_cksum();
                    *block = *header.as_bytes();
                }
            }
        } else {
            bytes.truncate(usize::from(*cut) * 4);
        }
        all_of_it(&bytes);
    });
}

#[test]
fn the_identity_is_byte_identical() {
    check!().with_generator(valid()).for_each(|bytes| {
        for owners in [false, true] {
            let (out, changed) = mapped(bytes, &change(&ALL, &ALL, owners)).unwrap();
            assert!(out == *bytes && !changed.any());
        }
    });
}

#[test]
fn there_and_back_is_byte_identical() {
    check!().with_generator(valid()).for_each(|bytes| {
        for (from, to) in [(&ALL[..], &A[..]), (&A, &ALL), (&A, &B)] {
            for owners in [false, true] {
                let Some((there, _)) = mapped(bytes, &change(from, to, owners)) else {
                    continue;
                };
                let (back, _) = mapped(&there, &change(to, from, owners)).unwrap();
                assert!(back == *bytes || split_attributes(bytes));
                assert_eq!(grants(&back), grants(bytes));
            }
        }
    });
}

/// Both attributes in one header: what becomes of them may come back in another order.
fn split_attributes(bytes: &[u8]) -> bool {
    let count = |name: &str| bytes.windows(name.len()).filter(|w| *w == name.as_bytes()).count();
    count(CAPABILITY) > 0 && count(NSCAPABILITY) > 0
}

/// Member, id, capabilities.
fn grants(bytes: &[u8]) -> Vec<(Vec<u8>, u32, String)> {
    let mut all = Vec::new();
    layer::list(bytes, &mut |listed| {
        for grant in listed.grants.as_ref().unwrap() {
            all.push((listed.member.to_vec(), grant.id.unwrap().get(), grant.caps.to_string()));
        }
        Ok(())
    })
    .unwrap();
    all.sort();
    all
}

/// Names, content and everything but capabilities, as another program reads it.
fn as_read(bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path_bytes().into_owned(), entry.header().as_bytes().to_vec(), content)
    });
    entries.collect()
}

#[test]
fn nobody_gains_and_everything_else_is_the_same() {
    check!().with_generator(valid()).for_each(|bytes| {
        for (from, to) in [(&ALL[..], &A[..]), (&A, &ALL), (&A, &B)] {
            let translation = translation(from, to);
            let before = grants(bytes);
            let expected: Option<Vec<_>> = before
                .into_iter()
                .map(|(name, id, caps)| Some((name, translation.id(id).ok()?, caps)))
                .collect();
            let out = mapped(bytes, &change(from, to, false));
            assert_eq!(out.is_some(), expected.is_some());
            let (Some((out, _)), Some(mut expected)) = (out, expected) else {
                continue;
            };
            expected.sort();
            assert_eq!(grants(&out), expected);
            assert_eq!(as_read(&out), as_read(bytes));
            let is_host = |(_, id, _): &&(Vec<u8>, u32, String)| Uid::new(*id) == Some(Uid::ROOT);
            let hosts = expected.iter().filter(is_host).count();
            assert!(translation.from.inside(0).is_some() || hosts <= expected.len());
        }
    });
}
