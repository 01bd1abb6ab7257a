// SPDX-License-Identifier: MIT OR Apache-2.0
//! No bytes of an image in an archive panic, whatever is done with them; what is changed is an image
//! again, with the file's new value and every other file as it was.

use std::io::Write as _;

use bolero::check;
use nscap_core::{ArchiveChange, FileCaps};
use nscap_image::layer::{
    self, CapableFiles, FileChange, ImageName, ImageTree, Layout, Opened, TreeEnd, change_layer,
    change_to,
};
use nscap_testing::archives::{archive, entries, extended, file, header, host};
use sha2::{Digest as _, Sha256};

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// A docker archive and an OCI archive of the same image: two layers, a link, a whiteout.
fn images() -> [Vec<u8>; 2] {
    let mut link = header(b'2', "bin", 0);
    link.set_link_name("usr").unwrap();
    link.set_cksum();
    let mut hard = header(b'1', "usr/pong", 0);
    hard.set_link_name("usr/ping").unwrap();
    hard.set_cksum();
    let lower = archive(&[
        header(b'5', "usr/", 0).as_bytes().to_vec(),
        link.as_bytes().to_vec(),
        file("usr/ping", &[host()], &[7; 700]),
        hard.as_bytes().to_vec(),
        file("usr/old", &[entries(&[5, 7])], b"x"),
    ]);
    let upper = archive(&[file("usr/.wh.old", &[], b""), file("usr/new", &[host()], b"")]);
    let config = format!(
        "{{\"os\":\"linux\",\"architecture\":\"amd64\",\"history\":[],\"rootfs\":{{\"diff_ids\":[\"sha256:{}\",\"sha256:{}\"]}}}}",
        digest(&lower),
        digest(&upper)
    );
    let config = config.as_bytes();
    let docker = format!(
        "[{{\"Config\":\"{}.json\",\"RepoTags\":[\"a:x\"],\"Layers\":[\"l/layer.tar\",\"u.tar\"]}}]",
        digest(config)
    );
    let docker = archive(&[
        file(&format!("{}.json", digest(config)), &[], config),
        file("l/layer.tar", &[], &lower),
        file("u.tar", &[], &upper),
        file("manifest.json", &[], docker.as_bytes()),
    ]);
    let descriptor = |kind: &str, blob: &[u8]| {
        let (digest, size) = (digest(blob), blob.len());
        format!(
            "{{\"mediaType\":\"application/vnd.oci.image.{kind}\",\"digest\":\"sha256:{digest}\",\"size\":{size}}}"
        )
    };
    let manifest = format!(
        "{{\"schemaVersion\":2,\"config\":{},\"layers\":[{},{}]}}",
        descriptor("config.v1+json", config),
        descriptor("layer.v1.tar", &lower),
        descriptor("layer.v1.tar", &upper)
    );
    let manifest = manifest.as_bytes();
    let index =
        format!("{{\"manifests\":[{}]}}", descriptor("manifest.v1+json", manifest)).into_bytes();
    let blob = |bytes: &[u8]| file(&format!("blobs/sha256/{}", digest(bytes)), &[], bytes);
    let oci = archive(&[
        file("oci-layout", &[], b"{\"imageLayoutVersion\":\"1.0.0\"}"),
        file("index.json", &[], &index),
        blob(manifest),
        blob(config),
        blob(&lower),
        blob(&upper),
    ]);
    [docker, oci]
}

fn change(path: &[u8], rewrite: bool) -> FileChange<'_> {
    let caps = FileCaps::from_text(b"cap_kill=p").unwrap();
    let change = ArchiveChange::Set(caps);
    FileChange { path, change, rewrite, all_links: true, created_by: "test" }
}

fn open(bytes: &[u8]) -> layer::Result<Opened> {
    let name = ImageName { path: "image.tar".into(), reference: None };
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Layout::in_archive(bytes, Some(file), &name)
}

/// Files are looked up and read, and what is read is no more than there is.
fn look_up(bytes: &[u8]) {
    let Ok(Opened::Image(layout)) = open(bytes) else { return };
    let Ok(tree) = ImageTree::of(*layout) else { return };
    for path in [&b"/bin/pong"[..], b"usr/new", b"/usr/old", b"bin/../usr/./ping", b"/bin/", b""] {
        let Ok(way) = tree.take(b"/usr", path) else { continue };
        if let TreeEnd::File(file) = way.end {
            let mut buffer = [0; 256];
            for at in [0, 600, u64::MAX] {
                let read = tree.read_at(&file, &mut buffer, at).unwrap_or(0);
                assert!(read as u64 <= file.size.saturating_sub(at), "{read} of {}", file.size);
            }
        }
    }
}

/// Everything that is done with an image; the names of capable files after each change.
fn all_of_it(bytes: &[u8], directory: &std::path::Path) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let _ = layer::looks_like_image(bytes);
    look_up(bytes);
    let Ok(Opened::Image(layout)) = open(bytes) else { return found };
    let names = |layout: &Layout| -> layer::Result<Vec<String>> {
        let mut all = Vec::new();
        for image in layout.images()? {
            for file in layout.capable(&image, true)? {
                let caps = file.grants.iter().flatten().map(|grant| grant.caps.to_string());
                let caps: Vec<_> = caps.collect();
                all.push(format!("{} {}", String::from_utf8_lossy(&file.name), caps.join(",")));
            }
        }
        Ok(all)
    };
    found.extend(names(&layout));
    for path in [&b"bin/pong"[..], b"usr/new", b"usr/old", b"bin/../usr"] {
        for rewrite in [false, true] {
            let target = directory.join("new.tar");
            let change = change(path, rewrite);
            if change_to(&layout, &target, &change, &mut |_| Ok(())).is_ok() {
                let bytes = std::fs::read(&target).unwrap();
                std::fs::remove_file(&target).unwrap();
                let Ok(Opened::Image(new)) = open(&bytes) else { panic!("no image any more") };
                found.push(names(&new).unwrap());
            }
            assert_eq!(std::fs::read_dir(directory).unwrap().count(), 0);
        }
    }
    found
}

#[test]
fn a_changed_image_has_the_new_value_and_all_else() {
    let directory = tempfile::tempdir().unwrap();
    for image in images() {
        let found = all_of_it(&image, directory.path());
        let (ping, new) = ("usr/ping cap_net_raw=ep", "usr/new cap_net_raw=ep");
        let before = vec![new.to_owned(), ping.into(), "usr/pong cap_net_raw=ep".into()];
        let linked =
            vec![new.to_owned(), "usr/ping cap_kill=p".into(), "usr/pong cap_kill=p".into()];
        let other =
            vec!["usr/new cap_kill=p".to_owned(), ping.into(), "usr/pong cap_net_raw=ep".into()];
        // Each path twice, but for what is not there any more and for a directory.
        assert_eq!(found, [before, linked.clone(), linked, other.clone(), other]);
    }
}

#[test]
fn nearly_an_image() {
    let directory = tempfile::tempdir().unwrap();
    let images = images();
    check!().with_type::<(bool, Vec<(u16, u8)>, u16)>().for_each(|(which, changes, cut)| {
        let mut bytes = images[usize::from(*which)].clone();
        for (at, value) in changes.iter().take(4) {
            let at = usize::from(*at) % bytes.len();
            // Also in JSON and in names, not in checksums alone.
            bytes[at] = *value;
            let block = at / 512 * 512;
            let block = &mut bytes[block..][..512];
            if block[257..262] == *b"ustar" && !(148..156).contains(&(at % 512)) {
                let mut fixed = tar::Header::from_byte_slice(block).clone();
                fixed.set_cksum();
                block.copy_from_slice(fixed.as_bytes());
            }
        }
        if cut % 8 == 0 {
            bytes.truncate(usize::from(*cut) % bytes.len());
        }
        all_of_it(&bytes, directory.path());
    });
}

#[test]
fn any_layer_alone_and_any_manifest() {
    check!().for_each(|bytes: &[u8]| {
        let mut files = CapableFiles::new(true);
        let _ = files.add(bytes);
        let _ = files.finish();
        let _ = nscap_image::manifest::parse(&String::from_utf8_lossy(bytes));
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let layout = Layout::alone(file);
        let _ = change_layer(&layout, std::io::sink(), &change(b"a", false), &mut |_| Ok(()));
    });
}

/// What programs disagree about, or what costs without end.
#[test]
fn hostile_images_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let layer = |members: &[Vec<u8>]| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&archive(members)).unwrap();
        let layout = Layout::alone(file);
        let changed = change_layer(&layout, std::io::sink(), &change(b"a", true), &mut |_| Ok(()));
        changed.unwrap_err().to_string()
    };
    let link = |kind: u8, name: &str, target: &str| {
        let mut header = header(kind, name, 0);
        header.set_link_name(target).unwrap();
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    for (members, said) in [
        (vec![link(b'2', "a", "b"), link(b'2', "b", "a")], "too many symbolic links"),
        (vec![link(b'2', "a", "../../x")], "no such file"),
        (vec![link(b'1', "a", "b")], "leads to what is no regular file"),
        (vec![link(b'1', "a", "a")], "too many hard links"),
        (vec![file("a", &[], b"1"), file("a", &[], b"2")], "twice"),
        (vec![file("a", &[], b"1"), file("a/b", &[], b"2")], "no directory"),
        (vec![extended(b'g', &[host()]), file("a", &[], b"")], "global"),
        (vec![archive(&[]), file("a", &[], b"")], "after the end"),
        (vec![header(b'3', "a", 0).as_bytes().to_vec()], "no regular file"),
    ] {
        let told = layer(&members);
        assert!(told.contains(said), "{said}: {told}");
    }
    // A link of an archive that leads to itself, and a document that is one.
    for document in [link(b'2', "manifest.json", "manifest.json"), link(b'2', "manifest.json", "x")]
    {
        let image = archive(&[file("l.tar", &[], b""), document]);
        assert!(matches!(open(&image), Ok(Opened::Layer(_))));
    }
    // Deep, and without an end in sight.
    let deep = format!("[{}", "[".repeat(100_000));
    let image = archive(&[file("manifest.json", &[], deep.as_bytes())]);
    let Ok(Opened::Image(layout)) = open(&image) else { panic!() };
    assert!(layout.images().is_err());
    let large = archive(&[file("manifest.json", &[], &vec![b' '; 5 << 20])]);
    assert!(open(&large).is_err());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
