// SPDX-License-Identifier: MIT OR Apache-2.0
//! Archives of every kind that producers write, and those that programs read differently.

use nscap_core::storage::{SealFacts, Table, tripwire};
use nscap_core::translate::Translation;
use nscap_core::{Entries, Extent, IdMap, Record, Uid, VfsCaps, Why};
use nscap_image::layer::{self, Change, Changed, Error, Problem, Trouble};
use nscap_testing::archives::{
    CAPABILITY, NSCAPABILITY, archive, entries, entry, extended, file, header, host, ping, record,
};

const ALL: [Extent; 1] = [Extent { inside: 0, outside: 0, count: u32::MAX }];
const A: [Extent; 1] = [Extent { inside: 0, outside: 100_000, count: 65_536 }];

fn translation(from: &'static [Extent], to: &'static [Extent]) -> Translation<'static> {
    let [from, to] = [from, to].map(|map| IdMap::from_sorted(map, map));
    Translation { from, to, drop_unmapped: false }
}

fn into_own() -> Change<'static> {
    Change { uids: translation(&A, &ALL), gids: None }
}

fn map(bytes: &[u8], change: &Change<'_>) -> Result<(Vec<u8>, Changed), Error> {
    let mut out = Vec::new();
    layer::map(bytes, &mut out, change, &mut |_| Ok(())).map(|changed| (out, changed))
}

/// Ids by member.
fn ids(bytes: &[u8]) -> Vec<(String, Vec<u32>)> {
    let mut all = Vec::new();
    let listed = layer::list(bytes, &mut |listed| {
        let name = String::from_utf8_lossy(listed.member).into_owned();
        let grants = listed.grants.as_ref().unwrap();
        all.push((name, grants.iter().map(|grant| grant.id.map_or(u32::MAX, Uid::get)).collect()));
        Ok(())
    });
    listed.unwrap();
    all
}

fn problem(bytes: &[u8]) -> (u64, Problem) {
    match map(bytes, &into_own()) {
        Err(Error::Archive { offset, problem, .. }) => (offset, problem),
        other => panic!("{:?}", other.map(|(_, changed)| changed)),
    }
}

#[test]
fn only_the_record_and_its_header_change() {
    let records = [record("mtime", b"1.25"), entry(100_000), record("comment", b"\n\0=")];
    let before =
        archive(&[file("a", &[], b"x"), file("ping", &records, &[7; 600]), file("b", &[], b"")]);
    let (after, changed) = map(&before, &into_own()).unwrap();
    assert_eq!((changed.members, changed.grants, changed.dropped), (1, 1, 0));
    // A host value is four bytes shorter, in the record and in the size of the extended header.
    let records = [record("mtime", b"1.25"), host(), record("comment", b"\n\0=")];
    let expected =
        archive(&[file("a", &[], b"x"), file("ping", &records, &[7; 600]), file("b", &[], b"")]);
    assert_eq!(after, expected);
}

#[test]
fn several_entries_and_both_attributes() {
    let before = archive(&[
        file("many", &[entries(&[100_000, 100_005])], b""),
        file("nested", &[entry(100_007)], b""),
        file("same", &[entry(100_000), entries(&[100_000, 100_001])], b""),
    ]);
    let (after, _) = map(&before, &into_own()).unwrap();
    let expected = [("many", vec![0, 5]), ("nested", vec![7]), ("same", vec![0, 1])];
    assert_eq!(ids(&after), expected.map(|(name, ids)| (name.to_owned(), ids)));
}

#[test]
fn both_spellings_of_libarchive_change_together() {
    let libarchive = |value: &[u8]| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(value);
        record("LIBARCHIVE.xattr.security.capability", text.as_bytes())
    };
    let [v3, v2] = [VfsCaps::v3(100_000, ping()), VfsCaps::v2(ping())].map(|value| value.encode());
    let before = archive(&[file("ping", &[libarchive(v3.as_bytes()), entry(100_000)], b"")]);
    let (after, _) = map(&before, &into_own()).unwrap();
    assert_eq!(after, archive(&[file("ping", &[libarchive(v2.as_bytes()), host()], b"")]));

    let differ = archive(&[file("ping", &[libarchive(v2.as_bytes()), entry(100_000)], b"")]);
    let Err(Error::Denied { denied, .. }) = map(&differ, &into_own()) else { panic!() };
    assert_eq!(denied.why, Why::GrantsDiffer);
}

#[test]
fn what_has_no_place_is_refused_or_left_out() {
    for (records, why) in [
        (vec![entry(5)], Why::NoSourceId),
        (vec![host()], Why::NoSourceId),
        (vec![entry(u32::MAX)], Why::NoSourceId),
        (vec![record(CAPABILITY, b"?")], Why::ValueMalformed),
        (vec![record(CAPABILITY, b"")], Why::ValueMalformed),
        (vec![record(CAPABILITY, &[1, 0, 0, 1, 0, 32, 0, 0, 0, 0, 0, 0])], Why::ValueMalformed),
        (vec![record(NSCAPABILITY, b"nSC1")], Why::NsValueMalformed),
        (vec![entry(100_000), record(CAPABILITY, b"?")], Why::GrantsDiffer),
    ] {
        let before = archive(&[file("x", &[], b""), file("ping", &records, b"abc")]);
        let Err(Error::Denied { offset, member, denied }) = map(&before, &into_own()) else {
            panic!()
        };
        assert_eq!((offset, member.as_slice(), denied.why), (512, b"ping".as_slice(), why));
        let mut change = into_own();
        change.uids.drop_unmapped = true;
        let (after, changed) = map(&before, &change).unwrap();
        assert_eq!(changed.dropped, 1);
        assert_eq!(after, archive(&[file("x", &[], b""), file("ping", &[], b"abc")]));
    }
}

#[test]
fn one_of_two_is_left_out() {
    let before = archive(&[file("ping", &[entries(&[7, 100_000])], b"")]);
    let mut change = into_own();
    change.uids.drop_unmapped = true;
    let mut told = Vec::new();
    let hear = &mut |decided: &layer::Decided<'_>| {
        told.push((decided.grant.unwrap().id.unwrap().get(), decided.decision.why()));
        Ok(())
    };
    let mut after = Vec::new();
    layer::map(&before[..], &mut after, &change, hear).unwrap();
    assert_eq!(told, [(7, Why::NoSourceId), (100_000, Why::TranslatedToHost)]);
    assert_eq!(after, archive(&[file("ping", &[host()], b"")]));
}

#[test]
fn a_sealed_table_is_sealed_again() {
    let table = |rootids: &[u32], uid, companion: &[u8]| {
        let records: Vec<_> =
            rootids.iter().map(|id| *Record::new(*id, ping()).as_bytes()).collect();
        let facts = SealFacts { size: 3, uid, gid: uid };
        let mut out = vec![0; Table::encoded_len(records.len())];
        Table::encode(&Entries::decode(&records).unwrap(), companion, facts, &mut out).unwrap();
        [record(CAPABILITY, companion), record(NSCAPABILITY, &out)]
    };
    let trip = tripwire(77);
    let before = archive(&[file("p", &table(&[100_001, 100_002], 0, trip.as_bytes()), b"abc")]);
    let (after, _) = map(&before, &into_own()).unwrap();
    assert_eq!(after, archive(&[file("p", &table(&[1, 2], 0, trip.as_bytes()), b"abc")]));

    let owners = Change { gids: Some(translation(&ALL, &A)), uids: translation(&ALL, &A) };
    let own = archive(&[file("p", &table(&[1, 2], 0, trip.as_bytes()), b"abc")]);
    let (after, _) = map(&own, &owners).unwrap();
    assert_eq!(ids(&after), [("p".to_owned(), vec![100_001, 100_002])]);

    let v2 = VfsCaps::v2(ping()).encode();
    let own = archive(&[file("p", &table(&[5], 0, v2.as_bytes()), b"abc")]);
    let (after, _) = map(&own, &Change { uids: translation(&ALL, &A), gids: None }).unwrap();
    assert_eq!(ids(&after), [("p".to_owned(), vec![100_000, 100_005])]);

    let void = archive(&[file("p", &table(&[1, 2], 9, trip.as_bytes()), b"abc")]);
    let Err(Error::Denied { denied, .. }) = map(&void, &into_own()) else { panic!() };
    assert_eq!(denied.why, Why::TableVoid);
}

#[test]
fn owners_change_in_header_and_records_and_names_go() {
    let mut main = header(b'0', "f", 0);
    main.set_uid(100_000);
    main.set_gid(100_005);
    main.set_username("ubuntu").unwrap();
    main.set_groupname("users").unwrap();
    main.set_cksum();
    let records = [record("uid", b"100000"), record("uname", b"ubuntu"), record("mtime", b"2")];
    let before = archive(&[extended(b'x', &records), main.as_bytes().to_vec()]);
    let change = Change { gids: Some(translation(&A, &ALL)), ..into_own() };
    let (after, changed) = map(&before, &change).unwrap();
    assert_eq!(changed.members, 1);
    let mut main = header(b'0', "f", 0);
    main.set_gid(5);
    main.set_cksum();
    let records = [record("uid", b"0"), record("mtime", b"2")];
    let expected = archive(&[extended(b'x', &records), main.as_bytes().to_vec()]);
    assert_eq!(after, expected);
    let Err(Error::Denied { denied, .. }) = map(&after, &change) else { panic!() };
    assert_eq!(denied.why, Why::NoSourceId);

    let acl = archive(&[file("f", &[record("SCHILY.acl.access", b"user::rwx")], b"")]);
    assert!(map(&acl, &into_own()).is_ok());
    let Err(Error::Archive { problem, .. }) = map(&acl, &change) else { panic!() };
    assert_eq!(problem, Problem::Acl);
}

#[test]
fn a_global_header_is_translated_and_stands_alone() {
    let global = |records: &[Vec<u8>]| extended(b'g', records);
    let before = archive(&[global(&[entry(100_003)]), file("a", &[], b"")]);
    let (after, _) = map(&before, &into_own()).unwrap();
    assert_eq!(after, archive(&[global(&[entry(3)]), file("a", &[], b"")]));
    let both = archive(&[global(&[entry(100_003)]), file("a", &[entry(100_000)], b"")]);
    assert_eq!(problem(&both), (1024, Problem::GlobalAndOwn));
    let sized = archive(&[global(&[record("size", b"5")]), file("a", &[], b"")]);
    assert_eq!(problem(&sized), (0, Problem::GlobalSize));
}

#[test]
fn gnu_sparse_members_pass_with_their_maps() {
    let mut main = tar::Header::new_gnu();
    main.set_path("sparse").unwrap();
    main.set_entry_type(tar::EntryType::new(b'S'));
    main.set_size(1024);
    let gnu = main.as_gnu_mut().unwrap();
    gnu.set_real_size(1 << 30);
    gnu.set_is_extended(true);
    main.set_cksum();
    let mut more = [0; 512];
    more[504] = 1;
    let extended_header = extended(b'x', &[entry(100_000)]);
    let member = [extended_header.as_slice(), main.as_bytes(), &more, &[0; 512], &[9; 1024]];
    let before = archive(&[member.concat(), file("after", &[entry(100_001)], b"")]);
    let (after, changed) = map(&before, &into_own()).unwrap();
    assert_eq!(changed.members, 2);
    assert_eq!(ids(&after), [("sparse".to_owned(), vec![0]), ("after".to_owned(), vec![1])]);
}

#[test]
fn members_after_the_end_are_seen() {
    let hidden = [
        archive(&[file("a", &[], b"")]),
        file("ping", &[entry(100_000)], b""),
        b"garbage".to_vec(),
    ];
    let (after, _) = map(&hidden.concat(), &into_own()).unwrap();
    assert_eq!(ids(&after), [("ping".to_owned(), vec![0])]);
    assert!(after.ends_with(b"garbage"));
}

#[test]
fn what_programs_read_differently_is_refused() {
    let with_size = |kind, name: &str| header(kind, name, 512).as_bytes().to_vec();
    let x = extended(b'x', &[entry(100_000)]);
    let two_sizes = [extended(b'x', &[record("size", b"512")]), with_size(b'0', "a")];
    let mut other_size = two_sizes.clone();
    other_size[1] = header(b'0', "a", 1024).as_bytes().to_vec();
    let negative = {
        let mut main = header(b'0', "a", 0);
        main.as_old_mut().size = [0xff; 12];
        main.set_cksum();
        main.as_bytes().to_vec()
    };
    let mut wrong = header(b'0', "a", 0).as_bytes().to_vec();
    wrong[0] ^= 1;
    let huge = header(b'x', "a", (1 << 20) + 1).as_bytes().to_vec();
    for (bytes, offset, expected) in [
        (archive(&[with_size(b'1', "link")]), 0, Problem::SizeWithoutContent),
        (archive(&[with_size(b'5', "dir")]), 0, Problem::SizeWithoutContent),
        (archive(&[with_size(b'\0', "dir/")]), 0, Problem::SizeWithoutContent),
        (archive(&[x.clone(), x.clone(), file("a", &[], b"")]), 1024, Problem::TwoExtensions),
        (archive(std::slice::from_ref(&x)), 1024, Problem::Orphan),
        (x.clone(), 1024, Problem::Orphan),
        (archive(&[x.clone(), extended(b'g', &[])]), 1024, Problem::Orphan),
        (archive(&other_size), 0, Problem::SizesDiffer),
        (archive(&[negative]), 0, Problem::Number("size")),
        (archive(&[wrong]), 0, Problem::Checksum),
        (archive(&[huge]), 0, Problem::TooLong),
        (
            archive(&[extended(b'x', &[b"9 a=b\n".to_vec()]), file("a", &[], b"")]),
            0,
            Problem::Record,
        ),
        (file("a", &[], &[1; 2000])[..1000].to_vec(), 1000, Problem::Truncated),
        (header(b'0', "a", 0).as_bytes()[..100].to_vec(), 100, Problem::Truncated),
        (x[..600].to_vec(), 0, Problem::Truncated),
    ] {
        assert_eq!(problem(&bytes), (offset, expected));
    }
    // As GNU tar and Go write large members, and libarchive: 0 or the same.
    assert!(map(&archive(&[two_sizes.concat(), vec![0; 512]]), &into_own()).is_ok());
}

#[test]
fn an_own_index_in_the_layer_must_not_become_stale() {
    let index = file("stargz.index.json", &[], b"{}");
    let stale = archive(&[file("ping", &[entry(100_000)], b""), index.clone()]);
    assert_eq!(problem(&stale).1, Problem::StargzIndex);
    assert!(map(&archive(&[file("ping", &[], b""), index]), &into_own()).is_ok());
}

#[test]
fn an_error_names_the_member_and_forges_no_line() {
    let cut = &file("a\nb", &[], &[1; 5000])[..2000];
    let error = map(cut, &into_own()).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("offset 2000") && error.contains("ends inside a member"), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

fn troubles(bytes: &[u8], consumer: &'static [Extent]) -> Vec<(String, Trouble)> {
    let mut all = Vec::new();
    let consumer = IdMap::from_sorted(consumer, consumer);
    layer::check(bytes, consumer, &mut |finding| {
        all.push((String::from_utf8_lossy(finding.member).into_owned(), finding.trouble));
        Ok(())
    })
    .unwrap();
    all
}

#[test]
fn check_finds_what_a_consumer_would_not_expect() {
    let own: &[Extent] = &[Extent { inside: 0, outside: 0, count: 1 }];
    let with_mode = |name: &str, mode, kind| {
        let mut main = header(kind, name, 0);
        main.set_mode(mode);
        main.set_cksum();
        [extended(b'x', &[host()]), main.as_bytes().to_vec()].concat()
    };
    let link = |name: &str, target: &str, records: &[Vec<u8>]| {
        let mut main = header(b'1', name, 0);
        main.set_link_name(target).unwrap();
        main.set_cksum();
        [extended(b'x', records), main.as_bytes().to_vec()].concat()
    };
    // Each of these has the effective bit.
    let without_effective = |mut all: Vec<(String, Trouble)>| {
        all.retain(|(_, trouble)| *trouble != Trouble::Effective);
        all
    };
    let troubles = |bytes: &[u8], consumer| without_effective(troubles(bytes, consumer));
    let of = |members: &[Vec<u8>]| troubles(&archive(members), own);
    let one = |name: &str, trouble| vec![(name.to_owned(), trouble)];
    assert!(of(&[file("ping", &[host()], b""), file("a", &[], b"")]).is_empty());
    assert_eq!(of(&[file("p", &[entry(7)], b"")]), one("p", Trouble::Foreign));
    assert_eq!(of(&[file("p", &[record(CAPABILITY, b"?")], b"")]), one("p", Trouble::Malformed));
    assert_eq!(of(&[with_mode("p", 0o4755, b'0')]), one("p", Trouble::SetuidRoot));
    assert_eq!(of(&[with_mode("p", 0o757, b'0')]), one("p", Trouble::Writable));
    assert_eq!(of(&[with_mode("p", 0o755, b'5')]), one("p", Trouble::NotRegular));
    assert_eq!(
        of(&[file("p", &[record("path", b"a/../p"), host()], b"")]),
        one("a/../p", Trouble::Path)
    );
    assert_eq!(of(&[file("p", &[host(), host()], b"")]), one("p", Trouble::Repeated));
    assert_eq!(
        of(&[file("p", &[host()], b""), file("./p", &[], b"")]),
        one("p", Trouble::Duplicate)
    );
    assert_eq!(of(&[file("p", &[], b""), file("p", &[host()], b"")]), one("p", Trouble::Duplicate));
    assert!(of(&[file("p", &[host()], b""), link("q", "p", &[host()])]).is_empty());
    assert_eq!(of(&[file("p", &[], b""), link("q", "p", &[host()])]), one("q", Trouble::HardLink));
    assert_eq!(of(&[link("q", "lower", &[host()])]), one("q", Trouble::HardLink));
    assert_eq!(
        of(&[file("d/.wh.p", &[], b""), file("d/p", &[host()], b"")]),
        one("d/p", Trouble::Whiteout)
    );
    assert_eq!(
        of(&[file("d/p", &[host()], b""), file("d/.wh.p", &[], b"")]),
        one("d/.wh.p", Trouble::Whiteout)
    );
    let global = "(global extended header)";
    assert_eq!(of(&[extended(b'g', &[host()]), file("a", &[], b"")]), one(global, Trouble::Global));
    let cut = file("a", &[], b"");
    assert_eq!(troubles(&cut, own), one("", Trouble::Unterminated));
    let late = [archive(&[]), file("p", &[host()], b"")].concat();
    assert_eq!(troubles(&late, own), one("p", Trouble::AfterEnd));
    // In the host's terms the container's grants are expected and a host value is not.
    let members = [file("p", &[entry(100_000)], b""), file("h", &[host()], b"")];
    assert_eq!(troubles(&archive(&members), &A), one("h", Trouble::Foreign));
}

#[test]
fn check_finds_what_a_container_cannot_have_or_dies_of() {
    use nscap_core::{FileCaps, VfsCaps};
    let own: &[Extent] = &[Extent { inside: 0, outside: 0, count: 1 }];
    let of = |records: &[Vec<u8>], mode, uid| {
        let mut main = header(b'0', "p", 0);
        main.set_mode(mode);
        main.set_uid(uid);
        main.set_cksum();
        let member = [extended(b'x', records), main.as_bytes().to_vec()].concat();
        let all = troubles(&archive(&[member]), own);
        all.into_iter().map(|(_, trouble)| trouble).collect::<Vec<_>>()
    };
    assert_eq!(of(&[host()], 0o755, 0), [Trouble::Effective]);
    let permitted = FileCaps::from_text(b"cap_net_raw=p").unwrap();
    let permitted = record(CAPABILITY, VfsCaps::v2(permitted).encode().as_bytes());
    assert_eq!(of(std::slice::from_ref(&permitted), 0o755, 0), []);
    assert_eq!(of(std::slice::from_ref(&permitted), 0o4755, 0), [Trouble::SetuidRoot]);
    assert_eq!(of(std::slice::from_ref(&permitted), 0o4755, 7), [Trouble::Setuid]);
    let ima = record("SCHILY.xattr.security.ima", b"\x03");
    assert_eq!(of(std::slice::from_ref(&ima), 0o755, 0), [Trouble::Unsettable]);
    assert_eq!(of(&[record("SCHILY.xattr.user.a", b"")], 0o755, 0), []);
}
