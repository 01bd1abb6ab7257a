// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap layer` on every form of an image that the field's tools write.

mod images;

use std::path::Path;

use images::{Stage, expect, fails, has, nscap, tool};

/// What `layer ls` says of an image.
fn listed(image: &str) -> String {
    expect(0, &["layer", "ls", image])
}

#[test]
fn every_form_that_skopeo_writes_is_read() {
    if !has("every_form_that_skopeo_writes_is_read", &["skopeo", "umoci"]) {
        return;
    }
    let stage = Stage::new();
    let oci = stage.image();
    for (form, target) in [
        ("oci", stage.name("copied")),
        ("oci-archive", stage.name("oci.tar")),
        ("docker-archive", stage.name("docker.tar")),
        ("dir", stage.name("dir")),
    ] {
        let reference = if form == "dir" { "" } else { ":example.org/a:x" };
        stage.skopeo(&oci, &format!("{form}:{target}{reference}"));
        let found = listed(&target);
        assert!(found.contains("usr/bin/ping") && found.contains("host"), "{form}: {found}");
        assert!(found.contains("cap_net_raw=ep"), "{form}: {found}");
        let json = expect(0, &["--json", "layer", "ls", &target]);
        assert!(json.contains("\"layer\":\"sha256:"), "{json}");
        expect(1, &["layer", "check", &target]);
        expect(0, &["layer", "check", "--allow", "effective", &target]);
        if form != "dir" {
            for good in ["example.org/a:x", "x"] {
                if form == "docker-archive" || good == "example.org/a:x" {
                    expect(0, &["layer", "ls", &format!("{target}:{good}")]);
                }
            }
            let none = fails(2, &["layer", "ls", &format!("{target}:y")]);
            assert!(none.contains("no image of that reference"), "{none}");
        }
        // Translated there and back, in the same form; whole, and read by skopeo again.
        let (there, back) = (format!("{target}.there"), format!("{target}.back"));
        let map = |from: &str, to: &str, output: &str, input: &str| {
            expect(0, &["layer", "map", "--from", from, "--to", to, "-o", output, input]);
        };
        map("host", "0:510000:65536", &there, &target);
        assert!(listed(&there).contains("rootid 510000"), "{form}");
        map("0:510000:65536", "host", &back, &there);
        assert!(listed(&back).contains("host"), "{form}");
        let again = stage.name("again");
        stage.skopeo(&format!("{form}:{there}{reference}"), &format!("oci:{again}:x"));
        assert!(listed(&again).contains("rootid 510000"), "{form}");
        std::fs::remove_dir_all(again).unwrap();
    }
}

#[test]
fn a_compressed_archive_and_one_from_a_pipe_are_images_too() {
    if !has("a_compressed_archive_and_one_from_a_pipe_are_images_too", &["skopeo", "umoci", "xz"]) {
        return;
    }
    let stage = Stage::new();
    let plain = stage.name("docker.tar");
    stage.skopeo(&stage.image(), &format!("docker-archive:{plain}:a:x"));
    for (program, end) in [("gzip", "gz"), ("zstd", "zst"), ("xz", "xz")] {
        let script = format!("{program} -c {plain} > {plain}.{end}");
        tool("sh", &["-c", &script]);
        assert!(listed(&format!("{plain}.{end}")).contains("cap_net_raw=ep"), "{program}");
        assert!(listed(&format!("{plain}.{end}:a:x")).contains("cap_net_raw=ep"), "{program}");
    }
    let bin = env!("CARGO_BIN_EXE_nscap");
    for command in [format!("cat {plain} | {bin} layer ls"), format!("{bin} layer ls < {plain}")] {
        assert!(tool("sh", &["-c", &command]).contains("cap_net_raw=ep"), "{command}");
    }
}

/// Old archives have links in place of layers that are equal to another image's.
#[test]
fn a_layer_of_an_old_archive_may_be_a_link() {
    if !has("a_layer_of_an_old_archive_may_be_a_link", &["skopeo", "umoci"]) {
        return;
    }
    let stage = Stage::new();
    let plain = stage.name("docker.tar");
    stage.skopeo(&stage.image(), &format!("docker-archive:{plain}:a:x"));
    let script = format!(
        "mkdir {0}.d && cd {0}.d && tar -xf {0} && \
         for layer in *.tar; do id=${{layer%.tar}}; \
         [ -L $id.tar ] || {{ mkdir $id-own && mv $layer $id-own/layer.tar; }}; \
         mkdir -p $id-new; ln -sf ../$id-own/layer.tar $id-new/layer.tar; \
         sed -i s,$layer,$id-new/layer.tar, manifest.json; rm -f $layer; done; \
         tar -cf {0}.old *.json *-new *-own",
        plain
    );
    tool("bash", &["-c", &script]);
    let manifest = tool("tar", &["-xOf", &format!("{plain}.old"), "manifest.json"]);
    assert!(manifest.contains("-new/layer.tar"), "{manifest}");
    assert!(listed(&format!("{plain}.old")).contains("cap_net_raw=ep"));
}

#[test]
fn read_only_file_systems_are_listed_by_the_tools_of_their_field() {
    let programs = ["mksquashfs", "sqfs2tar", "mkfs.erofs"];
    if !has("read_only_file_systems_are_listed_by_the_tools_of_their_field", &programs) {
        return;
    }
    let stage = Stage::new();
    let tree = stage.tree();
    let (squash, erofs) = (stage.name("a.squashfs"), stage.name("a.erofs"));
    tool("mksquashfs", &[&*tree, &*squash, "-quiet", "-no-progress", "-xattrs"]);
    tool("mkfs.erofs", &[&erofs, &tree]);
    for image in [squash, erofs] {
        let found = expect(0, &["layer", "ls", &image]);
        assert!(found.contains("usr/bin/ping") && found.contains("cap_net_raw=ep"), "{found}");
    }
    assert!(!std::fs::read_to_string("/proc/self/mounts").unwrap().contains("nscap-erofs"));
    let cut = stage.name("cut.squashfs");
    std::fs::write(&cut, b"hsqs").unwrap();
    assert!(fails(2, &["layer", "ls", &cut]).contains("failed"));
}

/// The multi-architecture index of two images, made by hand of what skopeo wrote.
#[test]
fn a_platform_chooses_among_the_images_of_an_index() {
    if !has("a_platform_chooses_among_the_images_of_an_index", &["skopeo", "umoci"]) {
        return;
    }
    let stage = Stage::new();
    let layout = stage.multi();
    assert_eq!(expect(0, &["layer", "ls", &layout]).lines().count(), 2);
    let one = expect(0, &["layer", "ls", "--platform", "linux/arm64", &layout]);
    assert_eq!(one.lines().count(), 1, "{one}");
    let json = expect(0, &["--json", "layer", "ls", "--platform", "linux/arm64", &layout]);
    assert!(json.contains("\"platform\":\"linux/arm64/v8\""), "{json}");
    let none = fails(2, &["layer", "ls", "--platform", "linux/s390x", &layout]);
    assert!(none.contains("no image of the platform linux/s390x"), "{none}");
}

#[test]
fn what_is_no_image_is_said_to_be_none() {
    let stage = Stage::new();
    let empty = stage.name("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(fails(2, &["layer", "ls", &empty]).contains("oci-layout"));
    // Begins like an image and is a layer.
    let layer = stage.name("layer.tar");
    std::fs::create_dir_all(Path::new(&empty).join("blobs")).unwrap();
    tool("tar", &["-cf", &layer, "-C", &empty, "blobs"]);
    assert_eq!(nscap(&["layer", "ls", &layer]).status.code(), Some(1));
    assert!(fails(2, &["layer", "ls", "--platform", "linux/arm64", &layer]).contains("a layer"));
    for bytes in [&b"hello, world"[..], &[0xfd, b'7', b'z', b'X', b'Z', 0, 1, 2, 3]] {
        std::fs::write(&layer, bytes).unwrap();
        fails(2, &["layer", "ls", &layer]);
    }
}
