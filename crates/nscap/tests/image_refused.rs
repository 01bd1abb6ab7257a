// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images about which programs disagree, or which one of them refuses: `explain` does not tell what
//! their files give, and `layer set` does not change them.

mod images;

use images::{Stage, containers, fails, has, layer, nscap, run, static_program, tool, value};
use tar::EntryType::{self, Directory, Link, Regular, Symlink};

#[test]
fn what_programs_disagree_about_is_not_told() {
    let (cap, none) = (value(None), None);
    let stage = Stage::new();
    let ask = |layers: &[&[u8]], path: &str| {
        let layout = stage.layout(layers);
        let output = nscap(&["explain", &format!("{layout}:{path}"), "--user", "1000"]);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    // A hard link whose record says something else.
    let links =
        layer(&[("a", Regular, "", 0, 0o755, none), ("b", Link, "a", 0, 0o755, Some(&cap))]);
    for path in ["/a", "/b"] {
        let (status, text) = ask(&[&links], path);
        assert!(status == Some(2) || text.contains("hard link"), "{path}: {text}");
    }
    let both = layer(&[("a", Regular, "", 0, 0o755, none), (".wh.a", Regular, "", 0, 0o644, none)]);
    let (status, text) = ask(&[&both], "/a");
    assert!(status == Some(2) && text.contains("programs disagree"), "{text}");
    // Asked for another file, it does not matter.
    let beside = layer(&[
        ("a", Regular, "", 0, 0o755, none),
        (".wh.a", Regular, "", 0, 0o644, none),
        ("c", Regular, "", 0, 0o755, none),
    ]);
    assert!(!ask(&[&beside], "/c").1.contains("programs disagree"));
    // A list that a mount of nscap's gave: nothing of an unmodified kernel honours it. One that is
    // no list neither, and root may write it.
    let list =
        [&[0, 0, 0, 1, 1, 0, 0, 0][..], &100_000_u32.to_le_bytes(), &value(None)[..20]].concat();
    for (bytes, part) in
        [(&list[..], "unpack it on a mount of nscap's"), (b"?", "unpack it on a mount")]
    {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions([("SCHILY.xattr.security.nscapability", bytes)]).unwrap();
        let content = static_program();
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        header.set_path("a").unwrap();
        header.set_cksum();
        builder.append(&header, content.as_slice()).unwrap();
        let (status, text) = ask(&[&builder.into_inner().unwrap()], "/a");
        assert!(status == Some(1) && text.contains(part), "{text}");
    }
    // A value that setxattr(2) refuses.
    let bad = layer(&[("a", Regular, "", 0, 0o755, Some(b"?"))]);
    let (_, text) = ask(&[&bad], "/a");
    assert!(text.contains("setxattr"), "{text}");
}

/// Layers, what the two programs make of them, and what is said of /b.
type Case<'c> = (&'c [&'c [u8]], [bool; 2], &'c str);

/// What umoci and podman's overlay make of an image: `true` where they take it.
fn taken(stage: &Stage, layout: &str) -> [bool; 2] {
    let bundle = stage.name("bundle");
    let unpacked = run("umoci", &["unpack", "--image", &format!("{layout}:x"), &bundle]);
    let _ = std::fs::remove_dir_all(&bundle);
    let pull = format!(
        "podman --storage-driver overlay --cgroup-manager cgroupfs pull -q oci:{layout}:x >&2 && \
         echo taken || echo refused; umount -R /var/lib/containers/storage/overlay || true"
    );
    let said = containers(&["sh", "-c", &pull]);
    assert!(["taken", "refused"].contains(&said.as_str()), "{said}");
    [unpacked.status.success(), said == "taken"]
}

#[test]
fn what_a_program_refuses_or_unpacks_elsewhere_is_neither_told_nor_changed() {
    const NAME: &str = "what_a_program_refuses_or_unpacks_elsewhere_is_neither_told_nor_changed";
    if !has(NAME, &["umoci", "podman", "tar"]) {
        return;
    }
    let stage = Stage::new();
    let file = |name| (name, Regular, "", 0, 0o755, None);
    let kind = |kind| layer(&[file("b"), ("a", EntryType::new(kind), "", 0, 0o755, None)]);
    let a = layer(&[file("a")]);
    let link = layer(&[("b", Link, "a", 0, 0o755, None)]);
    let through = layer(&[
        ("e", Directory, "", 0, 0o755, None),
        ("d", Symlink, "e", 0, 0o777, None),
        ("d/b", Regular, "", 0, 0o755, None),
        file("b"),
    ]);
    // GNU tar's own form of a file with holes.
    std::fs::File::create(stage.path("b")).unwrap().set_len(1 << 20).unwrap();
    let (here, sparse) = (stage.name(""), stage.name("sparse.tar"));
    tool("tar", &["--sparse", "--format=gnu", "-C", &here, "-cf", &sparse, "b"]);
    let sparse = std::fs::read(sparse).unwrap();
    let cases: [Case<'_>; 6] = [
        (&[&layer(&[file("b")])], [true, true], ""),
        (&[&a, &link], [true, false], "what only a lower layer has"),
        (&[&kind(b'7')], [false, false], "of the kind '7'"),
        (&[&sparse], [false, false], "of the kind 'S'"),
        (&[&kind(b'V')], [false, false], "of the kind 'V'"),
        (&[&through], [true, true], "unpacked through it"),
    ];
    for (layers, takes, part) in cases {
        let layout = stage.layout(layers);
        assert_eq!(taken(&stage, &layout), takes, "{part}");
        let explain = ["explain", &format!("{layout}:x:/b"), "--user", "1000"];
        let new = stage.name("new");
        let set = ["layer", "set", "-o", &new, &layout, "/b", "cap_kill=p"];
        let remove = ["layer", "rm", "-o", &new, &layout, "/b"];
        if part.is_empty() {
            assert!(nscap(&set).status.success());
            std::fs::remove_dir_all(&new).unwrap();
            continue;
        }
        for args in [&explain[..], &set, &remove] {
            let error = fails(2, args);
            assert!(error.contains(part), "{args:?}: {error}");
        }
        assert!(!std::path::Path::new(&new).exists());
    }
}
