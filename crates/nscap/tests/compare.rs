// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap diff`, `save` and `restore`, and the gate of a pipeline.

mod images;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use images::{Stage, expect, fails, has, nscap, tool};
use serde_json::Value;

fn setcap(caps: &str, file: &Path) {
    tool("setcap", &[caps, file.to_str().unwrap()]);
}

fn getcap(file: &Path) -> String {
    tool("getcap", &[file]).rsplit(' ').next().unwrap_or_default().trim().to_owned()
}

#[test]
fn trees_layers_and_images_of_one_content_are_the_same() {
    let test = "trees_layers_and_images_of_one_content_are_the_same";
    if !has(test, &["umoci", "skopeo", "tar", "mksquashfs", "sqfs2tar"]) {
        return;
    }
    let stage = Stage::new();
    let (tree, image) = (stage.tree(), stage.image());
    let layer = stage.name("layer.tar");
    tool("tar", &["--xattrs", "--xattrs-include=security.*", "-C", &tree, "-cf", &layer, "."]);
    let docker = stage.name("docker.tar");
    stage.skopeo(&image, &format!("docker-archive:{docker}:a:x"));
    let squash = stage.name("a.squashfs");
    tool("mksquashfs", &[&*tree, &*squash, "-quiet", "-no-progress", "-xattrs"]);
    let layout = stage.name("image");
    let all = [&tree, &layer, &docker, &squash, &layout];
    for one in all {
        for other in all {
            assert_eq!(expect(0, &["diff", one, other]), "", "{one} {other}");
        }
    }
    // Each of these differs from every other kind in the same way.
    let ping = Path::new(&tree).join("usr/bin/ping");
    setcap("cap_net_raw,cap_sys_admin=ep", &ping);
    setcap("cap_kill=p", &Path::new(&tree).join("usr/bin/cat"));
    for one in [&layer, &docker, &squash, &layout] {
        let said = expect(1, &["diff", one, &tree]);
        let lines: Vec<_> =
            said.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "added usr/bin/cat host cap_kill=p",
                "added usr/bin/dog host cap_kill=p",
                "widened usr/bin/ping host cap_net_raw=ep -> cap_net_raw,cap_sys_admin=ep"
            ]
        );
        let back = expect(1, &["diff", &tree, one]);
        assert!(back.contains("lost") && back.contains("narrowed"), "{back}");
        let json = expect(1, &["--json", "diff", one, &tree]);
        let last: Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
        assert_eq!((&last["difference"], &last["rootid"]), (&"widened".into(), &0.into()));
    }
}

#[test]
fn whiteouts_opaque_directories_and_replaced_files_are_what_an_unpacker_makes_of_them() {
    use nscap_testing::archives::{archive, file, header, host};
    let stage = Stage::new();
    let directory = |name: &str| header(b'5', name, 0).as_bytes().to_vec();
    let lower = archive(&[
        directory("a/"),
        file("a/one", &[host()], b"1"),
        file("a/two", &[host()], b"2"),
        directory("b/"),
        file("b/three", &[host()], b"3"),
        file("c", &[host()], b"4"),
        file("d/e/five", &[host()], b"5"),
        file("kept", &[host()], b"6"),
    ]);
    let upper = archive(&[
        file("a/.wh.one", &[], b""),
        file("b/new", &[host()], b"n"),
        file("b/.wh..wh..opq", &[], b""),
        file("c", &[], b"4"),
        file("d", &[], b"no directory any more"),
    ]);
    let layout = stage.layout(&[&lower, &upper]);
    let layer = stage.name("merged.tar");
    let merged = archive(&[
        file("a/two", &[host()], b"2"),
        file("b/new", &[host()], b"n"),
        file("kept", &[host()], b"6"),
    ]);
    std::fs::write(&layer, merged).unwrap();
    assert_eq!(expect(0, &["diff", &layer, &layout]), "");
    // The same by a program that unpacks it.
    if has(
        "whiteouts_opaque_directories_and_replaced_files_are_what_an_unpacker_makes_of_them",
        &["umoci"],
    ) {
        let bundle = stage.name("bundle");
        tool("umoci", &["unpack", "--image", &format!("{layout}:x"), &bundle]);
        assert_eq!(expect(0, &["diff", &layer, &format!("{bundle}/rootfs")]), "");
    }
    // What they disagree about is no image that may be changed.
    let set = |path: &str| fails(2, &["layer", "set", "--in-place", &layout, path, "cap_kill=p"]);
    assert!(set("a/one").contains("no such file"));
    assert!(set("b/three").contains("no such file"));
    assert!(set("d/e/five").contains("no directory"));
    expect(0, &["layer", "set", "--in-place", &layout, "b/new", "cap_kill=p"]);
    let both = archive(&[file("a/.wh.two", &[], b""), file("a/two", &[], b"2")]);
    let layout = stage.layout(&[&lower, &both]);
    let told = fails(2, &["layer", "set", "--in-place", &layout, "a/two", "cap_kill=p"]);
    assert!(told.contains("programs disagree"), "{told}");
    let mut link = header(b'2', "a", 0);
    link.set_link_name("b").unwrap();
    link.set_cksum();
    let below = archive(&[file("a/two", &[], b"2")]);
    let layout = stage.layout(&[&archive(&[link.as_bytes().to_vec()]), &below]);
    let told = fails(2, &["layer", "set", "--in-place", &layout, "a/two", "cap_kill=p"]);
    assert!(told.contains("programs disagree"), "{told}");
}

#[test]
fn ids_of_a_side_are_translated() {
    if !has("ids_of_a_side_are_translated", &["setcap"]) {
        return;
    }
    let stage = Stage::new();
    let tree = stage.tree();
    let other = stage.name("other");
    tool("cp", &["-a", &tree, &other]);
    let ping = Path::new(&other).join("usr/bin/ping");
    tool("setcap", &["-n", "100000", "cap_net_raw=ep", ping.to_str().unwrap()]);
    let said = expect(1, &["diff", &tree, &other]);
    assert!(said.contains("lost") && said.contains("rootid 100000"), "{said}");
    expect(0, &["diff", "--ids-after", "0:100000:65536", &tree, &other]);
    let told = fails(2, &["diff", "--ids-after", "0:200000:65536", &tree, &other]);
    assert!(told.contains("[W]") && told.contains("usr/bin/ping"), "{told}");
}

#[test]
fn the_gate_says_what_differs_and_ends_as_diff_does() {
    if !has("the_gate_says_what_differs_and_ends_as_diff_does", &["setcap"]) {
        return;
    }
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let stage = Stage::new();
    let tree = stage.tree();
    let other = stage.name("other");
    tool("cp", &["-a", &tree, &other]);
    let gate = |after: &str| {
        let summary = stage.path("summary");
        let output = Command::new(top.join("ci/capability-gate"))
            .args([&tree, after])
            .env("NSCAP", env!("CARGO_BIN_EXE_nscap"))
            .env("GITHUB_STEP_SUMMARY", &summary)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let summary = std::fs::read_to_string(&summary).unwrap();
        assert!(summary.contains(said.lines().next().unwrap()), "{summary}");
        (output.status.code(), said)
    };
    assert_eq!(gate(&other).0, Some(0));
    setcap("cap_kill=ep", &Path::new(&other).join("usr/bin/cat"));
    let (code, said) = gate(&other);
    assert!(code == Some(1) && said.contains("added") && said.contains("usr/bin/cat"), "{said}");
    assert_eq!(gate("/nonexistent").0, Some(2));
    // The steps of the action and of the template, as their runners execute them.
    for (file, after_line, env) in [
        (
            "action.yml",
            "      run: |",
            [("GITHUB_ACTION_PATH", top.to_str().unwrap()), ("OPTIONS", "")],
        ),
        ("ci/gitlab/capability-gate.yml", "    - |", [("OPTIONS", ""), ("X", "")]),
    ] {
        let text = std::fs::read_to_string(top.join(file)).unwrap();
        let lines = text.lines().skip_while(|line| *line != after_line).skip(1);
        let indent = after_line.len() - after_line.trim_start().len() + 2;
        let script: Vec<_> = lines
            .take_while(|line| line.len() >= indent && line.starts_with(&" ".repeat(indent)))
            .collect();
        assert!(script.len() >= 3, "{file}: {script:?}");
        let output = Command::new("bash")
            .args(["-c", &script.join("\n")])
            .envs(env)
            .env("NSCAP", env!("CARGO_BIN_EXE_nscap"))
            .env("BEFORE", &tree)
            .env("AFTER", &other)
            .current_dir(stage.directory.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{file}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("usr/bin/cat"), "{file}");
    }
}

#[test]
fn what_is_saved_is_restored_to_the_same_files_only() {
    if !has("what_is_saved_is_restored_to_the_same_files_only", &["setcap", "umoci"]) {
        return;
    }
    let stage = Stage::new();
    let (tree, copy) = (stage.tree(), stage.name("copy"));
    setcap("cap_kill=p", &Path::new(&tree).join("usr/bin/cat"));
    let manifest = expect(0, &["save", &tree]);
    assert!(manifest.contains("file usr/bin/cat\n  name usr/bin/dog\n"), "{manifest}");
    assert!(manifest.contains("grant host cap_net_raw=ep 01000002"), "{manifest}");
    let saved = stage.name("manifest");
    std::fs::write(&saved, &manifest).unwrap();
    // cp without -a: no attributes, no hard links.
    tool("cp", &["-r", "--preserve=mode,ownership", &tree, &copy]);
    let at = |name: &str| Path::new(&copy).join(name);
    let said = expect(0, &["restore", "--dry-run", &saved, &copy]);
    assert!(said.contains("usr/bin/ping") && said.contains("would be set"), "{said}");
    assert_eq!(getcap(&at("usr/bin/ping")), "");
    expect(0, &["restore", &saved, &copy]);
    for (name, caps) in [("ping", "cap_net_raw=ep"), ("cat", "cap_kill=p"), ("dog", "cap_kill=p")] {
        assert_eq!(getcap(&at("usr/bin").join(name)), caps);
    }
    let said = expect(0, &["restore", &saved, &copy]);
    assert_eq!(said.matches("already").count(), said.lines().count(), "{said}");
    expect(0, &["diff", &tree, &copy]);
    // The same text of the image.
    stage.image();
    let of_image = expect(0, &["save", &stage.name("image")]);
    assert!(manifest.contains(of_image.split("\n\n").nth(1).unwrap().trim_end()), "{of_image}");

    let refused = |change: &dyn Fn(&Path), said: &str, code: i32| {
        tool("rm", &["-rf", &copy]);
        tool("cp", &["-r", "--preserve=mode,ownership", &tree, &copy]);
        change(&at("usr/bin/ping"));
        let told = fails(code, &["restore", &saved, &copy]);
        assert!(told.contains("usr/bin/ping") && told.contains(said), "{told}");
        assert_eq!(getcap(&at("usr/bin/cat")), "cap_kill=p");
        getcap(&at("usr/bin/ping"))
    };
    let none = String::new();
    let mode = |file: &Path, mode| {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    assert_eq!(refused(&|p| mode(p, 0o775), "mode allows more", 1), none);
    assert_eq!(refused(&|p| mode(p, 0o4755), "mode allows more", 1), none);
    let own = |p: &Path| std::os::unix::fs::chown(p, Some(1000), None).unwrap();
    assert_eq!(refused(&own, "owner or group", 1), none);
    let group = |p: &Path| std::os::unix::fs::chown(p, None, Some(1000)).unwrap();
    assert_eq!(refused(&group, "owner or group", 1), none);
    let longer = |p: &Path| {
        let mut bytes = std::fs::read(p).unwrap();
        bytes.push(0);
        std::fs::write(p, bytes).unwrap();
    };
    assert_eq!(refused(&longer, "content or its size", 1), none);
    let other = |p: &Path| {
        let mut bytes = std::fs::read(p).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(p, bytes).unwrap();
    };
    assert_eq!(refused(&other, "content or its size", 1), none);
    let linked = |p: &Path| {
        std::fs::rename(p, p.with_extension("real")).unwrap();
        std::os::unix::fs::symlink("ping.real", p).unwrap();
    };
    assert_eq!(refused(&linked, "ELOOP", 2), none);
    let gone = |p: &Path| std::fs::rename(p, p.with_extension("real")).unwrap();
    tool("rm", &["-rf", &copy]);
    tool("cp", &["-r", "--preserve=mode,ownership", &tree, &copy]);
    gone(&at("usr/bin/ping"));
    assert!(fails(2, &["restore", &saved, &copy]).contains("ENOENT"));
    // Another grant stays, unless it is to be replaced.
    let other = |p: &Path| setcap("cap_chown=ep", p);
    assert_eq!(refused(&other, "EBUSY", 1), "cap_chown=ep");
    expect(0, &["restore", "--replace", &saved, &copy]);
    assert_eq!(getcap(&at("usr/bin/ping")), "cap_net_raw=ep");
    // A mode that allows less, and an owner that is root, are as good.
    mode(&at("usr/bin/ping"), 0o700);
    tool("setcap", &["-r", at("usr/bin/ping").to_str().unwrap()]);
    expect(0, &["restore", &saved, &copy]);
    assert_eq!(at("usr/bin/ping").metadata().unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn a_file_that_is_being_written_and_a_tree_that_is_a_link_away_get_nothing() {
    if !has("a_file_that_is_being_written_and_a_tree_that_is_a_link_away_get_nothing", &["setcap"])
    {
        return;
    }
    let stage = Stage::new();
    let (tree, copy) = (stage.tree(), stage.name("copy"));
    let saved = stage.name("manifest");
    std::fs::write(&saved, expect(0, &["save", &tree])).unwrap();
    tool("cp", &["-r", "--preserve=mode,ownership", &tree, &copy]);
    let ping = Path::new(&copy).join("usr/bin/ping");
    let writer = std::fs::File::options().append(true).open(&ping).unwrap();
    assert!(fails(1, &["restore", &saved, &copy]).contains("open for writing"));
    drop(writer);
    // A directory on the way is a link to the same tree.
    std::fs::rename(Path::new(&copy).join("usr"), Path::new(&copy).join("lib")).unwrap();
    std::os::unix::fs::symlink("lib", Path::new(&copy).join("usr")).unwrap();
    assert!(fails(2, &["restore", &saved, &copy]).contains("ELOOP"));
    assert_eq!(getcap(&Path::new(&copy).join("lib/bin/ping")), "");
    // A manifest that was changed by hand, and names that lead out.
    let text = std::fs::read_to_string(&saved).unwrap();
    for (old, new) in
        [("cap_net_raw=ep", "cap_net_raw=eip"), ("usr/bin/ping", "../tree/usr/bin/ping")]
    {
        std::fs::write(&saved, text.replacen(old, new, 1)).unwrap();
        let told = fails(2, &["restore", &saved, &tree]);
        assert!(told.contains("line ") && told.contains("EINVAL"), "{told}");
    }
    std::fs::write(&saved, [0xff, 0, 7]).unwrap();
    assert!(fails(2, &["restore", &saved, &tree]).contains("not a manifest"));
}

/// The entry of a container's root, in the range that it has here.
#[test]
fn an_entry_goes_where_its_range_is_the_same() {
    if !has("an_entry_goes_where_its_range_is_the_same", &["setcap"]) {
        return;
    }
    let stage = Stage::new();
    let (tree, copy) = (stage.tree(), stage.name("copy"));
    let ping = Path::new(&tree).join("usr/bin/ping");
    // No range of this machine has it.
    tool("setcap", &["-n", "4100000000", "cap_net_raw=ep", ping.to_str().unwrap()]);
    let text = expect(0, &["save", &tree]);
    assert!(text.contains("grant 4100000000 cap_net_raw=ep 01000003"), "{text}");
    assert!(text.trim_end().ends_with("range none"), "{text}");
    tool("cp", &["-r", "--preserve=mode,ownership", &tree, &copy]);
    let saved = stage.name("manifest");
    std::fs::write(&saved, text.replace("range none", "range 4100000000:65536")).unwrap();
    let told = fails(1, &["restore", &saved, &copy]);
    assert!(told.contains("another range") && told.contains("--any-range"), "{told}");
    expect(0, &["restore", "--any-range", &saved, &copy]);
    assert!(expect(0, &["get", &format!("{copy}/usr/bin/ping")]).contains("4100000000"));
    std::fs::write(&saved, text).unwrap();
    assert!(expect(0, &["restore", &saved, &copy]).contains("already"));
    // The ids of an image are in no range of this machine, whatever form it has.
    use nscap_testing::archives::{archive, entry, file};
    let layout = stage.layout(&[&archive(&[file("ping", &[entry(100_000)], b"")])]);
    let text = expect(0, &["save", &layout]);
    assert!(text.contains("grant 100000 ") && text.trim_end().ends_with("range none"), "{text}");
}

#[test]
fn every_json_field_of_these_is_documented() {
    if !has("every_json_field_of_these_is_documented", &["setcap"]) {
        return;
    }
    let documented = include_str!("../../../docs/json.md");
    let stage = Stage::new();
    let tree = stage.tree();
    let layer = stage.name("layer.tar");
    tool("tar", &["--xattrs", "--xattrs-include=security.*", "-C", &tree, "-cf", &layer, "."]);
    let saved = stage.name("manifest");
    std::fs::write(&saved, expect(0, &["save", &tree])).unwrap();
    let set =
        ["--json", "layer", "set", "--in-place", "--all-links", &layer, "bin/cat", "cap_kill=p"];
    let lines = [
        expect(0, &set),
        expect(1, &["--json", "diff", &tree, &layer]),
        expect(0, &["--json", "restore", &saved, &tree]),
    ];
    for line in lines.iter().flat_map(|lines| lines.lines()) {
        let Value::Object(fields) = serde_json::from_str::<Value>(line).unwrap() else { panic!() };
        for field in fields.keys() {
            assert!(documented.contains(&format!("`{field}`")), "{field}: {line}");
        }
    }
    assert!(nscap(&["save", "/proc/self/fdinfo"]).status.code() != Some(0));
}
