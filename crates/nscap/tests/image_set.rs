// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap layer set` and `layer rm`, checked by the programs that unpack images.

mod images;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use images::{Stage, containers, expect, fails, has, nscap, tool};
use serde_json::Value;

/// What getcap(8) says of a file.
fn getcap(file: &Path) -> String {
    let said = tool("getcap", &[file]);
    said.rsplit(' ').next().unwrap_or_default().trim().to_owned()
}

/// The tree of an image, as umoci unpacks it.
fn unpacked(stage: &Stage, layout: &str, name: &str) -> std::path::PathBuf {
    let bundle = stage.name(name);
    tool("umoci", &["unpack", "--image", &format!("{layout}:x"), &bundle]);
    stage.path(name).join("rootfs")
}

#[test]
fn a_layer_on_top_gives_the_file_its_capabilities_and_changes_nothing_else() {
    let test = "a_layer_on_top_gives_the_file_its_capabilities_and_changes_nothing_else";
    if !has(test, &["umoci", "skopeo", "buildah", "getcap"]) {
        return;
    }
    let stage = Stage::new();
    stage.image();
    let (old, new) = (stage.name("image"), stage.name("new"));
    let set = ["layer", "set", "-o", &new, &format!("{old}:x"), "/bin/cat", "cap_chown=ep"];
    let said = expect(0, &set);
    assert!(said.contains("usr/bin/cat  nothing -> host cap_chown=ep"), "{said}");
    // The same change of the same image has the same bytes.
    let again = stage.name("again");
    let mut repeated = set;
    repeated[3] = &again;
    expect(0, &repeated);
    tool("diff", &["-r", &new, &again]);

    let before = unpacked(&stage, &old, "before");
    let after = unpacked(&stage, &new, "after");
    assert_eq!(getcap(&after.join("usr/bin/cat")), "cap_chown=ep");
    assert_eq!(getcap(&after.join("usr/bin/ping")), "cap_net_raw=ep");
    // Its other name is another file now.
    assert_eq!(getcap(&after.join("usr/bin/dog")), "");
    for name in ["", "usr", "usr/bin", "private", "tmp", "etc", "usr/bin/ping", "usr/bin/cat"] {
        let [old, new] = [&before, &after].map(|tree| tree.join(name).metadata().unwrap());
        let facts = |m: &std::fs::Metadata| (m.mode(), m.uid(), m.gid(), m.mtime());
        assert_eq!(facts(&old), facts(&new), "{name}");
    }
    assert_eq!(
        std::fs::read(before.join("usr/bin/cat")).unwrap(),
        std::fs::read(after.join("usr/bin/cat")).unwrap()
    );

    // skopeo verifies each digest and size; history and diff ids have one more.
    let copy = stage.name("copy");
    stage.skopeo(&format!("oci:{new}:x"), &format!("oci:{copy}:x"));
    let [old, new] = [&old, &new].map(|layout| {
        let image = format!("oci:{layout}:x");
        let said = containers(&["skopeo", "inspect", "--config", &image]);
        serde_json::from_str::<Value>(&said).unwrap()
    });
    let count = |image: &Value, path: &str| image.pointer(path).unwrap().as_array().unwrap().len();
    for path in ["/rootfs/diff_ids", "/history"] {
        assert_eq!(count(&old, path) + 1, count(&new, path), "{path}");
    }
    let last = new["history"].as_array().unwrap().last().unwrap();
    assert_eq!(last["created_by"], "nscap layer set /bin/cat cap_chown=ep");
    assert_eq!(old["config"], new["config"]);

    // buildah's storage, which podman has too.
    let (root, run) = (stage.name("storage"), stage.name("run"));
    let buildah = |args: &[&str]| {
        let own = ["buildah", "--storage-driver", "vfs", "--root", &root, "--runroot", &run];
        containers(&[&own, args].concat())
    };
    let container = buildah(&["from", "--quiet", &format!("oci:{copy}:x")]);
    let tree = buildah(&["mount", container.lines().last().unwrap()]);
    let tree = Path::new(&tree);
    assert_eq!(getcap(&tree.join("usr/bin/cat")), "cap_chown=ep");
    assert_eq!(tree.join("private").metadata().unwrap().mode() & 0o7777, 0o700);
    assert_eq!(tree.join("tmp").metadata().unwrap().mode() & 0o7777, 0o1777);
}

/// A directory of mode 0700 above the file: its record is in the new layer.
#[test]
fn directories_above_keep_their_modes_in_the_layer_itself() {
    let test = "directories_above_keep_their_modes_in_the_layer_itself";
    if !has(test, &["umoci", "tar", "bsdtar", "python3"]) {
        return;
    }
    let stage = Stage::new();
    stage.image();
    let layout = stage.name("image");
    expect(0, &["layer", "set", "--in-place", &layout, "private/program", "cap_kill=p"]);
    let json = expect(0, &["--json", "layer", "ls", &layout]);
    let last = json.lines().last().unwrap();
    let digest = serde_json::from_str::<Value>(last).unwrap()["layer"].as_str().unwrap().to_owned();
    let blob = stage.name("image/blobs/sha256/") + &digest[7..];
    let layer = stage.name("layer.tar");
    tool("sh", &["-c", &format!("gzip -dc {blob} > {layer}")]);
    let names = tool("tar", &["-tf", &layer]);
    let names: Vec<&str> = names.lines().map(|name| name.trim_matches(['.', '/'])).collect();
    assert_eq!(
        names.into_iter().filter(|n| !n.is_empty()).collect::<Vec<_>>(),
        ["private", "private/program"]
    );
    let unpack = |name: &str, program: &[&str]| {
        let to = stage.path(name);
        std::fs::create_dir(&to).unwrap();
        tool(program[0], &[&program[1..], &[&layer, "-C", to.to_str().unwrap()]].concat());
        assert_eq!(to.join("private").metadata().unwrap().mode() & 0o7777, 0o700, "{name}");
        to.join("private/program")
    };
    let gnu = ["tar", "--xattrs", "--xattrs-include=security.*", "-xpf"];
    assert_eq!(getcap(&unpack("gnu", &gnu)), "cap_kill=p");
    assert_eq!(getcap(&unpack("bsd", &["bsdtar", "--xattrs", "-xpf"])), "cap_kill=p");
    // Python's reads the record where Go's does.
    let script = "import sys, tarfile\n\
        for m in tarfile.open(sys.argv[1]):\n \
        print(m.name, oct(m.mode), m.pax_headers.get('SCHILY.xattr.security.capability', '').encode().hex())";
    let said = tool("python3", &["-c", script, &layer]);
    assert!(
        said.contains("private/program 0o755 01000002")
            || said.contains("private/program 0o755 00000002"),
        "{said}"
    );
    // Removed again, by one more layer.
    let said = expect(0, &["layer", "rm", "--in-place", &layout, "private/program"]);
    assert!(said.contains("host cap_kill=p -> nothing"), "{said}");
    let tree = unpacked(&stage, &layout, "removed");
    assert_eq!(getcap(&tree.join("private/program")), "");
    assert!(fails(1, &["layer", "rm", "--in-place", &layout, "private/program"]).contains("[D]"));
}

/// The reader of archives that docker, podman and buildah have.
#[test]
fn gos_archive_tar_reads_the_record() {
    if !has("gos_archive_tar_reads_the_record", &["umoci"]) {
        return;
    }
    let go = std::process::Command::new("go").arg("version").output();
    if go.is_err() {
        println!("skipped: gos_archive_tar_reads_the_record: go is not installed");
        return;
    }
    let stage = Stage::new();
    stage.image();
    let layout = stage.name("image");
    expect(0, &["layer", "set", "--in-place", "--all-links", &layout, "usr/bin/cat", "cap_kill=p"]);
    let json = expect(0, &["--json", "layer", "ls", &layout]);
    let last = serde_json::from_str::<Value>(json.lines().last().unwrap()).unwrap();
    let digest = last["layer"].as_str().unwrap();
    let blob = stage.name("image/blobs/sha256/") + &digest[7..];
    let program = stage.path("main.go");
    std::fs::write(&program, include_str!("images/read.go")).unwrap();
    let cache = format!("GOCACHE={}", stage.name("cache"));
    let run = ["GOFLAGS=-mod=mod", &cache, "go", "run", program.to_str().unwrap(), &blob];
    let said = tool("env", &run);
    assert!(said.contains("usr/bin/cat file  00000002"), "{said}");
    assert!(said.contains("usr/bin/dog link usr/bin/cat "), "{said}");
}

#[test]
fn a_rewritten_layer_has_the_record_and_all_else_byte_for_byte() {
    if !has("a_rewritten_layer_has_the_record_and_all_else_byte_for_byte", &["umoci", "skopeo"]) {
        return;
    }
    let stage = Stage::new();
    stage.image();
    let (old, new) = (stage.name("image"), stage.name("new"));
    // cat has another name, which would change too.
    let links =
        fails(2, &["layer", "set", "--rewrite", "-o", &new, &old, "usr/bin/cat", "cap_kill=p"]);
    assert!(
        links.contains("usr/bin/dog is the same file") && links.contains("--all-links"),
        "{links}"
    );
    assert!(!Path::new(&new).exists());
    let set =
        ["layer", "set", "--rewrite", "--all-links", "-o", &new, &old, "usr/bin/dog", "cap_kill=p"];
    expect(0, &set);
    let tree = unpacked(&stage, &new, "after");
    assert_eq!(getcap(&tree.join("usr/bin/cat")), "cap_kill=p");
    assert_eq!(getcap(&tree.join("usr/bin/dog")), "cap_kill=p");
    let layers = |layout: &str| {
        let said = containers(&["skopeo", "inspect", &format!("oci:{layout}:x")]);
        serde_json::from_str::<Value>(&said).unwrap()["Layers"].as_array().unwrap().len()
    };
    assert_eq!(layers(&old), layers(&new));
    // Taken away again, the layer is as it was.
    let back = stage.name("back");
    expect(0, &["layer", "rm", "--rewrite", "--all-links", "-o", &back, &new, "usr/bin/cat"]);
    let plain = |layout: &str| {
        let script = format!(
            "for b in {layout}/blobs/sha256/*; do gzip -dc $b 2>/dev/null; done | tar -tvf - --ignore-zeros"
        );
        tool("sh", &["-c", &script])
    };
    assert_eq!(plain(&old), plain(&back));
    assert_ne!(layers(&old), 0);
}

#[test]
fn the_effective_bit_can_go_alone() {
    if !has("the_effective_bit_can_go_alone", &["umoci"]) {
        return;
    }
    let stage = Stage::new();
    stage.image();
    let layout = stage.name("image");
    let output = nscap(&["layer", "set", "--no-effective", "--in-place", &layout, "/etc/link"]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("usr/bin/ping  host cap_net_raw=ep -> host cap_net_raw=p"), "{said}");
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(notes.contains("raise it itself") && notes.contains("signature"), "{notes}");
    assert_eq!(getcap(&unpacked(&stage, &layout, "after").join("usr/bin/ping")), "cap_net_raw=p");
    // There is nothing to do then, and the image stays as it is.
    let index = std::fs::read(stage.path("image/index.json")).unwrap();
    let said = expect(0, &["layer", "set", "--no-effective", "--in-place", &layout, "bin/ping"]);
    assert!(said.contains("already"), "{said}");
    assert_eq!(std::fs::read(stage.path("image/index.json")).unwrap(), index);
}

#[test]
fn every_form_of_an_image_is_written_in_its_form() {
    if !has("every_form_of_an_image_is_written_in_its_form", &["umoci", "skopeo"]) {
        return;
    }
    let stage = Stage::new();
    let oci = stage.image();
    for form in ["oci-archive", "docker-archive", "dir"] {
        let target = stage.name(form);
        let reference = if form == "dir" { "" } else { ":example.org/a:x" };
        stage.skopeo(&oci, &format!("{form}:{target}{reference}"));
        for rewrite in [&["--all-links"][..], &["--all-links", "--rewrite"]] {
            let new = format!("{target}.new");
            let set = ["layer", "set", "-o", &new, &target, "bin/cat", "cap_kill=ep"];
            expect(0, &[&set[..], rewrite].concat());
            let copy = stage.name("copy");
            stage.skopeo(&format!("{form}:{new}{reference}"), &format!("oci:{copy}:x"));
            let tree = unpacked(&stage, &copy, "after");
            for name in ["cat", "dog"] {
                assert_eq!(
                    getcap(&tree.join("usr/bin").join(name)),
                    "cap_kill=ep",
                    "{form} {rewrite:?}"
                );
            }
            assert_eq!(tree.join("usr/bin/cat").metadata().unwrap().nlink(), 2);
            assert_eq!(getcap(&tree.join("usr/bin/ping")), "cap_net_raw=ep");
            let taken = fails(2, &[&set[..], rewrite].concat());
            assert!(taken.contains("EEXIST"), "{taken}");
            // In place, and back to nothing.
            expect(0, &[&["layer", "rm", "--in-place", &new, "bin/cat"][..], rewrite].concat());
            std::fs::remove_dir_all(&copy).unwrap();
            stage.skopeo(&format!("{form}:{new}{reference}"), &format!("oci:{copy}:x"));
            std::fs::remove_dir_all(stage.path("after")).unwrap();
            let tree = unpacked(&stage, &copy, "after");
            assert_eq!(getcap(&tree.join("usr/bin/dog")), "", "{form} {rewrite:?}");
            let left: Vec<_> =
                std::fs::read_dir(stage.directory.path()).unwrap().flatten().collect();
            let left: Vec<_> = left.iter().map(std::fs::DirEntry::file_name).collect();
            assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
            tool("rm", &["-rf", &copy, &new, &stage.name("after")]);
        }
    }
}

#[test]
fn a_layer_alone_and_each_compression() {
    if !has("a_layer_alone_and_each_compression", &["tar", "xz", "zstd"]) {
        return;
    }
    let stage = Stage::new();
    let tree = stage.tree();
    let layer = stage.name("layer.tar");
    tool("tar", &["--xattrs", "--xattrs-include=security.*", "-C", &tree, "-cf", &layer, "."]);
    for (program, end) in [("cat", "plain"), ("gzip -c", "gz"), ("zstd -c", "zst"), ("xz -c", "xz")]
    {
        let (input, output) = (format!("{layer}.{end}"), format!("{layer}.{end}.new"));
        tool("sh", &["-c", &format!("{program} < {layer} > {input}")]);
        expect(0, &["layer", "set", "-o", &output, &input, "etc/link", "cap_chown=ep"]);
        let to = stage.path(end);
        std::fs::create_dir(&to).unwrap();
        let unpack = [
            "--xattrs",
            "--xattrs-include=security.*",
            "-C",
            to.to_str().unwrap(),
            "-xpf",
            &output,
        ];
        tool("tar", &unpack);
        assert_eq!(getcap(&to.join("usr/bin/ping")), "cap_chown=ep", "{end}");
        expect(0, &["layer", "rm", "--in-place", &output, "usr/bin/ping"]);
        expect(1, &["layer", "ls", &output]);
    }
}

#[test]
fn all_platforms_are_changed_or_the_one_that_is_named() {
    if !has("all_platforms_are_changed_or_the_one_that_is_named", &["umoci", "skopeo"]) {
        return;
    }
    let stage = Stage::new();
    let layout = stage.multi();
    let set = ["layer", "set", "--in-place", &layout, "usr/bin/other", "cap_kill=p"];
    let none = fails(2, &set);
    assert!(none.contains("no such file"), "{none}");
    let said = expect(0, &[&set[..], &["--platform", "linux/arm64"]].concat());
    assert!(said.starts_with("linux/arm64/v8  usr/bin/other"), "{said}");
    let both = expect(0, &["layer", "set", "--in-place", &layout, "usr/bin/cat", "cap_kill=p"]);
    assert_eq!(both.lines().count(), 2, "{both}");
    let all = stage.name("all");
    containers(&[
        "skopeo",
        "copy",
        "--all",
        "--quiet",
        "--insecure-policy",
        &format!("oci:{layout}:x"),
        &format!("dir:{all}"),
    ]);
    let listed = expect(0, &["layer", "ls", &all]);
    assert_eq!(listed.matches("usr/bin/cat").count(), 2, "{listed}");
    // A directory of skopeo's with several images, changed and read by skopeo again.
    let new = stage.name("new");
    expect(0, &["layer", "set", "-o", &new, &all, "private/program", "cap_kill=p"]);
    let oci = format!("oci:{}:x", stage.name("oci"));
    containers(&[
        "skopeo",
        "copy",
        "--all",
        "--quiet",
        "--insecure-policy",
        &format!("dir:{new}"),
        &oci,
    ]);
    let listed = expect(0, &["layer", "ls", &stage.name("oci")]);
    assert_eq!(listed.matches("private/program").count(), 2, "{listed}");
}

#[test]
fn what_unpackers_disagree_about_and_what_is_no_file_is_refused_and_nothing_is_written() {
    let test =
        "what_unpackers_disagree_about_and_what_is_no_file_is_refused_and_nothing_is_written";
    if !has(test, &["umoci"]) {
        return;
    }
    let stage = Stage::new();
    stage.image();
    let layout = stage.name("image");
    let before =
        tool("sh", &["-c", &format!("cd {layout} && find . -type f | sort | xargs sha256sum")]);
    for (path, said) in [
        ("nowhere", "no such file"),
        ("usr/bin", "is a directory"),
        ("usr/bin/cat/x", "no directory"),
        ("../../../usr/bin/none", "no such file"),
        ("/", "is a directory"),
    ] {
        let told = fails(2, &["layer", "set", "--in-place", &layout, path, "cap_kill=p"]);
        assert!(told.contains(said), "{path}: {told}");
    }
    assert!(
        fails(2, &["layer", "set", "--in-place", &layout, "bin/cat", "cap_none=p"])
            .contains("EINVAL")
    );
    fails(2, &["layer", "set", &layout, "bin/cat", "cap_kill=p"]);
    let after =
        tool("sh", &["-c", &format!("cd {layout} && find . -type f | sort | xargs sha256sum")]);
    assert_eq!(before, after);
    assert!(stage.directory.path().metadata().unwrap().permissions().mode() & 0o777 == 0o755);
}
