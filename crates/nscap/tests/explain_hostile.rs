// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `nscap explain IMAGE:/path` says of images that programs unpack differently, or that are made to
//! look like others: nothing that one of them would not do.

mod images;

use images::{Stage, nscap, run, static_program};

type Records<'r> = &'r [(&'r str, &'r [u8])];

/// One member, with records and a long name before it; content on a regular file.
#[derive(Clone, Copy)]
struct Member<'m> {
    name: &'m str,
    kind: u8,
    link: &'m str,
    uid: u64,
    mode: u32,
    records: Records<'m>,
    long: Option<&'m str>,
    content: &'m [u8],
}

const PLAIN: Member<'static> = Member {
    name: "",
    kind: b'0',
    link: "",
    uid: 0,
    mode: 0o755,
    records: &[],
    long: None,
    content: b"",
};

fn file(name: &str) -> Member<'_> {
    Member { name, ..PLAIN }
}

fn dir(name: &str) -> Member<'_> {
    Member { name, kind: b'5', ..PLAIN }
}

fn link<'m>(name: &'m str, kind: u8, link: &'m str) -> Member<'m> {
    Member { name, kind, link, ..PLAIN }
}

fn layer(members: &[Member<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for member in members {
        if !member.records.is_empty() {
            builder.append_pax_extensions(member.records.iter().copied()).unwrap();
        }
        if let Some(long) = member.long {
            let mut header = tar::Header::new_gnu();
            header.set_path("././@LongLink").unwrap();
            header.set_entry_type(tar::EntryType::GNULongName);
            header.set_size(long.len() as u64 + 1);
            header.set_cksum();
            builder.append(&header, [long.as_bytes(), b"\0"].concat().as_slice()).unwrap();
        }
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().linkflag = [member.kind];
        header.set_mode(member.mode);
        header.set_uid(member.uid);
        header.set_gid(0);
        header.set_size(member.content.len() as u64);
        header.set_path(member.name).unwrap();
        if !member.link.is_empty() {
            header.set_link_name(member.link).unwrap();
        }
        header.set_cksum();
        builder.append(&header, member.content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Exit status and all that is printed.
fn asked(args: &[&str]) -> (Option<i32>, String) {
    let output = nscap(&[&["explain"], args].concat());
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// For a file of these layers, by any user.
fn of(layers: &[&[u8]], path: &str) -> (Option<i32>, String) {
    let layout = Stage::new();
    asked(&[&format!("{}:{path}", layout.layout(layers)), "--user", "1000"])
}

#[test]
fn a_name_that_programs_read_differently_is_no_answer() {
    let (path, sparse): (Records<'_>, Records<'_>) =
        (&[("path", b"bin/other")], &[("GNU.sparse.name", b"bin/other")]);
    for (what, name, records, long) in [
        ("a record beside a long name", "bin/z", path, Some("bin/p")),
        ("a sparse name of what is not sparse", "bin/p", sparse, None),
        ("an empty record", "bin/p", &[("path", &b""[..])][..], None),
    ] {
        let member = Member { records, long, ..file(name) };
        let (status, text) = of(&[&layer(&[dir("bin/"), member])], "/bin/p");
        assert!(status == Some(2) && text.contains("programs disagree"), "{what}: {text}");
    }
    // Both forms with one name are one.
    let same = Member { records: &[("path", b"bin/p")], long: Some("bin/p"), ..file("bin/z") };
    assert!(of(&[&layer(&[dir("bin/"), same])], "/bin/p").1.contains("program       /bin/p"));
}

#[test]
fn a_whiteout_below_a_link_is_no_answer() {
    // Unpacked onto the layers below, it removes usr/bin/p; as a layer of an overlay, it makes bin
    // an empty directory.
    let first = layer(&[dir("usr/bin/"), file("usr/bin/p"), link("bin", b'2', "usr/bin")]);
    for whiteout in ["bin/.wh.p", "bin/.wh..wh..opq"] {
        let (status, text) = of(&[&first, &layer(&[file(whiteout)])], "/bin/p");
        assert!(status == Some(2) && text.contains("programs disagree"), "{whiteout}: {text}");
    }
}

#[test]
fn a_hard_link_before_its_target_is_no_answer() {
    // Umoci links to the file of the layer below, which then has this name alone.
    let first = layer(&[dir("bin/"), file("bin/old")]);
    let second = layer(&[link("bin/p", b'1', "bin/old"), file("bin/old")]);
    let (status, text) = of(&[&first, &second], "/bin/p");
    assert!(status == Some(2) && text.contains("programs disagree"), "{text}");
    let after = layer(&[file("bin/old"), link("bin/p", b'1', "bin/old")]);
    assert!(of(&[&first, &after], "/bin/p").1.contains("program       /bin/p"));
}

#[test]
fn a_hard_link_to_a_symbolic_link_is_followed() {
    let links = [link("to", b'2', "usr/bin"), link("bin", b'1', "to")];
    let layer = layer(&[&[dir("usr/bin/"), file("usr/bin/p")][..], &links].concat());
    for path in ["/bin/p", "/to/p", "/bin/./p"] {
        let (_, text) = of(&[&layer], path);
        assert!(text.contains("program       /usr/bin/p"), "{text}");
    }
}

#[test]
fn a_directory_that_a_layer_passes_over_is_what_programs_make_of_it() {
    // In podman's overlay it is root's and of mode 0755, and umoci leaves it as it was.
    let first = layer(&[Member { uid: 5, mode: 0o700, ..dir("app/") }]);
    let program = Member { content: &static_program(), ..file("app/p") };
    let (status, text) = of(&[&first, &layer(&[program])], "/app/p");
    assert!(status == Some(2) && text.contains("umoci leaves it"), "{text}");
    assert!(!text.contains("may not be searched"), "{text}");
    // With a record of it, all do the same.
    let again = layer(&[Member { uid: 5, mode: 0o700, ..dir("app/") }, program]);
    assert!(of(&[&first, &again], "/app/p").1.contains("may not be searched"));
}

#[test]
fn a_program_is_searched_for_as_crun_does() {
    // What may not be executed by anyone is passed over, in an image and in a directory.
    let program = Member { content: &static_program(), ..PLAIN };
    let layer = layer(&[
        dir("a/"),
        Member { name: "a/p", mode: 0o644, ..program },
        dir("b/"),
        Member { name: "b/p", ..program },
        Member { name: "a/q", mode: 0o644, ..program },
    ]);
    let stage = Stage::new();
    let image = stage.layout(&[&layer]);
    std::fs::create_dir(stage.path("tree")).unwrap();
    std::fs::write(stage.path("layer.tar"), &layer).unwrap();
    run("tar", &["-xf", &stage.name("layer.tar"), "-C", &stage.name("tree")]);
    for (name, path) in [("p", "/b/p"), ("q", "/a/q")] {
        let process = serde_json::json!({"args": [name], "env": ["PATH=/a:/b"], "cwd": "/"});
        let config = serde_json::json!({"process": process, "root": {"path": "tree"}});
        std::fs::write(stage.path("config.json"), config.to_string()).unwrap();
        let config = stage.name("config.json");
        for args in [&["--oci", &config, "--image", &image][..], &["--oci", &config]] {
            let (_, text) = asked(args);
            assert!(text.contains(&format!("program       {path}")), "{args:?}: {text}");
        }
    }
}

#[test]
fn a_list_of_users_that_is_not_read_is_an_error() {
    // Twice in a layer, it is one or the other.
    let passwd = Member { content: b"w:x:1000:1000::/:\n", ..file("etc/passwd") };
    let layer = layer(&[passwd, passwd, file("p")]);
    let (status, text) = of(&[&layer], "/p");
    assert!(status == Some(2) && text.contains("a layer has it twice"), "{text}");
}

#[test]
fn many_names_of_one_file_are_looked_up_at_once() {
    // 39 links in a row, again and again: one look for each link of each row took minutes.
    let names: Vec<String> = (0..780).map(|n| format!("bin/l{n}")).collect();
    let others: Vec<String> = (0..2000).map(|n| format!("share/package-{n}/file-{n}")).collect();
    let mut members = vec![dir("bin/"), file("bin/p")];
    members.extend(others.iter().map(|name| file(name)));
    for (n, name) in names.iter().enumerate() {
        let to = if n % 39 == 0 { "bin/p" } else { names[n - 1].as_str() };
        members.push(link(name, b'1', to));
    }
    let begin = std::time::Instant::now();
    assert!(of(&[&layer(&members)], "/bin/p").1.contains("program       /bin/p"));
    assert!(begin.elapsed().as_secs() < 30, "{:?}", begin.elapsed());
}

#[test]
fn a_link_through_hundreds_of_directories_is_an_error() {
    // Each may be a look at all names of the image.
    let names: Vec<String> = (0..600).map(|n| format!("{n}/")).collect();
    let target = names.iter().map(|name| format!("{name}../")).collect::<String>();
    let records: Records<'_> = &[("linkpath", target.as_bytes())];
    let mut members: Vec<_> = names.iter().map(|name| dir(name)).collect();
    members.push(Member { records, ..link("l", b'2', "0") });
    members.push(file("p"));
    let (status, text) = of(&[&layer(&members)], "/l/p");
    assert!(status == Some(2) && text.contains("too many directories"), "{text}");
    assert!(of(&[&layer(&members)], "/0/../1/../p").1.contains("program       /p"));
}

#[test]
fn a_directory_that_was_a_link_in_its_layer_is_no_answer() {
    // Umoci removes what the directory has when the link comes.
    let members = [dir("bin/"), file("bin/p"), link("bin", b'2', "usr"), dir("bin/")];
    let (status, text) = of(&[&layer(&members)], "/bin/p");
    assert!(status == Some(2) && text.contains("twice"), "{text}");
    let again = [dir("bin/"), file("bin/p"), dir("bin/")];
    assert!(of(&[&layer(&again)], "/bin/p").1.contains("program       /bin/p"));
}

#[test]
fn a_whiteout_of_no_name_is_an_error() {
    // Umoci and podman take it for one of the directory, or of the one above, and fail.
    for name in ["bin/.wh.", "bin/.wh..", "bin/.wh..."] {
        let layers = [layer(&[dir("bin/"), file("bin/p")]), layer(&[file(name)])];
        let (status, text) = of(&[&layers[0], &layers[1]], "/bin/p");
        assert!(status == Some(2) && text.contains("whiteout of no name"), "{name}: {text}");
    }
}

#[test]
fn an_image_that_is_not_there_is_said_to_be_missing() {
    let error = asked(&["/none/image:x:/bin/p"]).1;
    assert!(error.contains("there is no such image") && error.contains("/none/image"), "{error}");
    assert!(asked(&["/none"]).1.contains("its task is required"));
}

#[test]
fn a_picture_is_no_json() {
    let args = ["/bin/sh", "--user", "0"];
    assert_eq!(asked(&[&args[..], &["--svg"]].concat()).0, asked(&args).0);
    let (status, text) = asked(&[&args[..], &["--svg", "--json"]].concat());
    assert!(status == Some(2) && text.contains("cannot be used with"), "{text}");
}

#[test]
fn an_attribute_of_overlayfs_is_no_answer() {
    // Podman writes it into its overlay, which hides the lower directory then; umoci writes it to a file
    // system that knows nothing of it.
    let first = layer(&[dir("bin/"), file("bin/p")]);
    for key in ["trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.opaque"] {
        let key = format!("SCHILY.xattr.{key}");
        let records: Records<'_> = &[(&key, b"y")];
        let (status, text) = of(&[&first, &layer(&[Member { records, ..dir("bin/") }])], "/bin/p");
        assert!(status == Some(2) && text.contains("programs disagree"), "{key}: {text}");
        // Of a directory that is not on the way, it decides nothing.
        let beside = layer(&[Member { records, ..dir("share/") }]);
        assert!(of(&[&first, &beside], "/bin/p").1.contains("program       /bin/p"));
    }
}

#[test]
fn what_a_layer_unpacks_through_its_own_link_is_no_answer() {
    // Umoci and podman have usr/bin/p of the last member.
    for how in [b'2', b'1'] {
        let links = [
            link("to", b'2', "usr/bin"),
            link("bin", how, if how == b'1' { "to" } else { "usr/bin" }),
        ];
        let before = [dir("usr/bin/"), file("usr/bin/p")];
        let through = Member { mode: 0o4755, ..file("bin/p") };
        let (status, text) =
            of(&[&layer(&[&before[..], &links, &[through]].concat())], "/usr/bin/p");
        assert!(status == Some(2) && text.contains("below a link"), "{text}");
        // A directory in its place is none.
        let instead = layer(&[&before[..], &links, &[dir("bin/"), through]].concat());
        assert!(of(&[&instead], "/usr/bin/p").1.contains("program       /usr/bin/p"));
    }
}
