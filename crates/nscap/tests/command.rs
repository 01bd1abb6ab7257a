// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command on real files and live namespaces: what it says is held against setcap, getcap,
//! getfattr and a real execve.

mod subject;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use nscap_testing::{Container, code, host_gains, is_root, stderr, stdout};
use serde_json::Value;
use subject::{NET_RAW, Subject, json, nscap, support_copy};

#[test]
fn each_tool_reads_what_each_wrote() {
    if !is_root("each_tool_reads_what_each_wrote") {
        return;
    }
    let texts = [
        "cap_net_raw=ep",
        "cap_chown,cap_kill+p",
        "cap_net_raw=ei cap_chown+p-e+e",
        "=ep",
        "cap_setpcap=i",
    ];
    for text in texts {
        let by_setcap = Subject::new(0);
        by_setcap.tool("setcap", &[text]);
        let by_nscap = Subject::new(0);
        assert_eq!(code(&by_nscap.run(&["set", text], &[])), 0);
        let content = |subject: &Subject| subject.attributes().replace(subject.name(), "");
        assert_eq!(content(&by_setcap), content(&by_nscap), "{text}");
        for subject in [&by_setcap, &by_nscap] {
            let getcap = subject.tool("getcap", &["-n"]);
            let shown = subject.json(&["get"], &[]);
            let expected =
                format!("{} {}\n", subject.name(), shown["host"]["caps"].as_str().unwrap());
            assert_eq!(getcap, expected);
        }
    }
}

#[test]
fn each_tool_reads_what_each_wrote_for_a_container() {
    if !is_root("each_tool_reads_what_each_wrote_for_a_container") {
        return;
    }
    let container = Container::new("0 510000 65536");
    let by_setcap = Subject::new(510_000);
    by_setcap.tool("setcap", &["-n", "510000", "cap_net_raw=ep"]);
    let by_inside = Subject::new(510_000);
    let output = container.run(&["setcap", "cap_net_raw=ep", by_inside.name()], "0");
    assert!(output.status.success(), "{output:?}");
    let by_nscap = Subject::new(510_000);
    let whom = format!("pid:{}", container.pid());
    assert_eq!(code(&by_nscap.run(&["set", "cap_net_raw=ep"], &["--for", &whom])), 0);
    let nscap_inside = Subject::new(510_000);
    let program = support_copy(&nscap_inside);
    let output = container
        .run(&[program.to_str().unwrap(), "set", "cap_net_raw=ep", nscap_inside.name()], "0");
    assert!(output.status.success(), "{output:?}");
    let by_setfattr = Subject::new(510_000);
    let revision_3 = "0x0100000300200000000000000000000000000000".to_owned() + "30c80700";
    by_setfattr.tool("setfattr", &["-n", "security.capability", "-v", &revision_3]);
    for subject in [&by_setcap, &by_inside, &by_nscap, &nscap_inside, &by_setfattr] {
        assert!(subject.attributes().contains(&format!("security.capability={revision_3}")));
        let getcap = subject.tool("getcap", &["-n"]);
        assert_eq!(getcap, format!("{} cap_net_raw=ep [rootid=510000]\n", subject.name()));
        let shown = subject.json(&["get"], &[]);
        assert_eq!(shown["host"], Value::Null);
        assert_eq!(shown["entries"][0]["kuid"], 510_000);
        assert_eq!(shown["entries"][0]["caps"], "cap_net_raw=ep");
        assert_eq!(shown["entries"][0]["holders"][0]["pid"], container.pid());
        assert_eq!(container.gains(&subject.path), Some(NET_RAW));
        assert_eq!(host_gains(&subject.path), Some(0));
        let inside = container.run(&["getcap", subject.name()], "0");
        assert_eq!(stdout(&inside), format!("{} cap_net_raw=ep\n", subject.name()));
        let seen = subject.json(&["get"], &["--as", &whom]);
        assert_eq!(seen["capability"]["value"]["caps"], "cap_net_raw=ep");
        assert_eq!(seen["nscapability"]["value"][0]["rootid"], 0);
        assert_eq!(seen["bare"]["value"]["rootid"], Value::Null);
        let other = subject.json(&["get"], &["--as", "900000"]);
        assert_eq!(other["capability"]["errno"], "ENODATA");
        assert_eq!(other["nscapability"]["value"][0]["rootid"], Value::Null);
        assert_eq!(other["bare"]["errno"], "EOVERFLOW");
    }
}

#[test]
fn busy_replace_and_same() {
    if !is_root("busy_replace_and_same") {
        return;
    }
    let subject = Subject::new(0);
    let set =
        |caps, more: &[&str]| subject.run(&["set", caps], &[&["--for", "520000"], more].concat());
    assert_eq!(code(&set("cap_net_raw=ep", &[])), 0);
    let before = subject.attributes();
    let busy = set("cap_chown=ep", &[]);
    assert_eq!(code(&busy), 1);
    assert!(stderr(&busy).contains("EBUSY") && stderr(&busy).contains("--replace"), "{busy:?}");
    assert_eq!(code(&set("cap_chown=ep", &["--same-ok"])), 1);
    assert_eq!(code(&set("cap_net_raw=ep", &["--same-ok"])), 0);
    assert_eq!(subject.attributes(), before);
    assert_eq!(code(&set("cap_chown=ep", &["--replace"])), 0);
    assert_eq!(
        subject.tool("getcap", &["-n"]),
        format!("{} cap_chown=ep [rootid=520000]\n", subject.name())
    );
    let single = subject.run(&["set", "cap_chown=ep"], &["--for", "530000", "--single"]);
    assert_eq!(code(&single), 1);
    let second = subject.run(&["set", "cap_kill=ep"], &["--for", "530000"]);
    assert_eq!(code(&second), 0);
    assert!(stderr(&second).contains("note:"), "{second:?}");
    let shown = subject.json(&["get"], &[]);
    assert_eq!(shown["seal"], "sealed");
    assert_eq!(shown["entries"].as_array().unwrap().len(), 2);
    // Back to one entry: what the kernel honours by itself.
    assert_eq!(code(&subject.run(&["rm"], &["--for", "520000"])), 0);
    assert_eq!(
        subject.tool("getcap", &["-n"]),
        format!("{} cap_kill=ep [rootid=530000]\n", subject.name())
    );
    assert_eq!(code(&subject.run(&["rm"], &["--for", "520000"])), 1);
    assert_eq!(code(&subject.run(&["rm"], &["--all"])), 0);
    assert_eq!(subject.attributes(), "");
    assert_eq!(code(&subject.run(&["rm"], &["--all"])), 1);
    assert_eq!(code(&subject.run(&["get"], &[])), 1);
}

#[test]
fn changed_content_voids_a_table_and_rm_clears_it() {
    if !is_root("changed_content_voids_a_table_and_rm_clears_it") {
        return;
    }
    let subject = Subject::new(0);
    for whom in ["540000", "550000", "host"] {
        assert_eq!(code(&subject.run(&["set", "cap_net_raw=ep"], &["--for", whom])), 0);
    }
    let shown = subject.json(&["get"], &[]);
    assert_eq!((&shown["seal"], &shown["void"]), (&"sealed".into(), &Value::Null));
    assert_eq!(shown["host"]["caps"], "cap_net_raw=ep");
    std::fs::write(&subject.path, "other").unwrap();
    let shown = subject.json(&["get"], &[]);
    assert_eq!(shown["seal"], "void");
    assert_eq!(shown["entries"].as_array().unwrap().len(), 0);
    assert_eq!(code(&subject.run(&["get"], &[])), 1);
    let explained = subject.run(&["explain"], &["--as", "540000", "--uid", "7"]);
    assert_eq!(code(&explained), 1);
    assert!(stdout(&explained).contains("changed"), "{explained:?}");
    assert_eq!(code(&subject.run(&["rm"], &[])), 1);
    assert_eq!(code(&subject.run(&["rm"], &["--all"])), 0);
    assert_eq!(subject.attributes(), "");
}

#[test]
fn bad_input_is_named_and_changes_nothing() {
    if !is_root("bad_input_is_named_and_changes_nothing") {
        return;
    }
    let subject = Subject::new(0);
    assert_eq!(code(&subject.run(&["set", "cap_kill=ep"], &[])), 0);
    let before = subject.attributes();
    let file = subject.name();
    let directory = subject.directory.path().to_str().unwrap();
    let link = subject.directory.path().join("link");
    std::os::unix::fs::symlink(&subject.path, &link).unwrap();
    let link = link.to_str().unwrap();
    let missing = format!("{directory}/missing");
    let cases: &[(&[&str], &str)] = &[
        (&["set", "cap_nonsense=ep", file], "EINVAL"),
        (&["set", "cap_chown", file], "EINVAL"),
        (&["set", "cap_chown=ep cap_kill=p", file], "EINVAL"),
        (&["set", "", directory], "EISDIR"),
        (&["set", "cap_chown=ep", link], "ELOOP"),
        (&["rm", link], "ELOOP"),
        (&["get", link], "ELOOP"),
        (&["get", directory], "EISDIR"),
        (&["get", "/dev/null"], "EINVAL"),
        (&["get", &missing], "ENOENT"),
        (&["explain", directory, "--as", "host"], "EISDIR"),
        (&["explain", file, "--as", "host", "--uid", "4294967295"], "EINVAL"),
        (&["explain", file, "--as", "700000", "--uid", "70000"], "EINVAL"),
        (&["set", "cap_chown=ep", file, "--for", "nobody"], "EINVAL"),
        (&["set", "cap_chown=ep", file, "--for", "4294967295"], "EINVAL"),
        (&["set", "cap_chown=ep", file, "--for", "-1"], "EINVAL"),
        (&["set", "cap_chown=ep", file, "--for", "pid:0"], "EINVAL"),
        (&["set", "cap_chown=ep", file, "--for", "pid:4194305"], "ESRCH"),
        (&["set", "cap_chown=ep", file, "--for", "user:no-such-user"], "EINVAL"),
        (&["set", "cap_chown=ep", file, "--for", "ns:/dev/null"], "EINVAL"),
        (&["set", "cap_chown=ep", file, "--for", "ns:/proc/self/ns/net"], "EINVAL"),
        (&["explain", file, "--pid", "0"], "--pid"),
        (&["explain", file], "required"),
        (&["explain", file, "--as", "host", "--pid", "1"], "cannot be used"),
        (&["set", "cap_chown=ep", "/proc/self/status"], "EOPNOTSUPP"),
        (&["check", &missing], "ENOENT"),
        (&["generate", "man", &missing], "ENOENT"),
        (&["rm", file, "--all", "--for", "host"], "cannot be used"),
    ];
    for (args, part) in cases {
        let output = nscap(args);
        assert_eq!(code(&output), 2, "{args:?}: {output:?}");
        assert!(stderr(&output).contains(part), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
    }
    assert_eq!(subject.attributes(), before);
    let mixed = nscap(&["get", &missing, file]);
    assert_eq!((code(&mixed), stdout(&mixed).lines().count()), (2, 1));
}

#[test]
fn an_ordinary_user_is_refused_with_a_reason() {
    if !is_root("an_ordinary_user_is_refused_with_a_reason") {
        return;
    }
    let subject = Subject::new(7);
    assert_eq!(code(&subject.run(&["set", "cap_kill=ep"], &[])), 0);
    let before = subject.attributes();
    let plain = Subject::new(7);
    let program = support_copy(&subject);
    let as_user = |args: &[&str]| {
        let user = ["--reuid=7", "--regid=7", "--clear-groups"];
        Command::new("setpriv").args(user).arg(&program).args(args).output().unwrap()
    };
    for args in [
        ["set", "cap_net_raw=ep", plain.name()].as_slice(),
        &["set", "cap_net_raw=ep", subject.name(), "--replace"],
        &["set", "cap_net_raw=ep", subject.name(), "--for", "0", "--replace"],
        &["rm", subject.name()],
        &["rm", "--all", subject.name()],
    ] {
        let output = as_user(args);
        assert_eq!(code(&output), 1, "{args:?}: {output:?}");
        assert!(stderr(&output).contains("EPERM"), "{args:?}: {output:?}");
    }
    assert_eq!(subject.attributes(), before);
    assert_eq!(plain.attributes(), "");
    assert_eq!(code(&as_user(&["get", subject.name()])), 0);
    assert_eq!(code(&as_user(&["explain", subject.name(), "--as", "host", "--uid", "7"])), 0);
    std::fs::set_permissions(
        subject.directory.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o711),
    )
    .unwrap();
    std::fs::create_dir(subject.directory.path().join("closed")).unwrap();
    let closed = subject.directory.path().join("closed");
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let output = as_user(&["get", closed.join("file").to_str().unwrap()]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("EACCES"), "{output:?}");
}

#[test]
fn names_cannot_forge_output() {
    let directory = tempfile::tempdir().unwrap();
    for name in
        [b"a\nhost cap_sys_admin=ep".as_slice(), b"\x1b[2Jx", b"\xff\xfe", b"\xe2\x80\xaex", b"a b"]
    {
        let path = directory.path().join(OsStr::from_bytes(name));
        std::fs::write(&path, "x").unwrap();
        if is_root("names_cannot_forge_output") {
            assert_eq!(
                code(&nscap(&[OsStr::new("set"), OsStr::new("cap_kill=ep"), path.as_os_str()])),
                0
            );
            let output = nscap(&[OsStr::new("get"), path.as_os_str()]);
            let text = stdout(&output);
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(!text.contains('\x1b') && !text.contains('\u{202e}'), "{text}");
            let object = json(&[OsStr::new("get"), path.as_os_str()]).remove(0);
            assert_eq!(object.get("path_hex").is_some(), std::str::from_utf8(name).is_err());
        }
        let missing = directory.path().join("missing").join(OsStr::from_bytes(name));
        let output = nscap(&[OsStr::new("get"), missing.as_os_str()]);
        let text = stderr(&output);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains('\x1b'), "{text}");
        let output = nscap(&[
            OsStr::new("explain"),
            path.as_os_str(),
            OsStr::new("--as"),
            OsStr::new("host"),
        ]);
        assert!(!stdout(&output).contains('\x1b'));
        assert!(!stdout(&output).contains("\nhost cap_sys_admin"), "{output:?}");
    }
    let output = nscap(&["get", "--as", "x\nnscap: fine", "/bin/true"]);
    assert_eq!((code(&output), stderr(&output).lines().count()), (2, 1), "{output:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let script =
        format!("{} ns --json | true; echo ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_nscap"));
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert!(!stderr(&output).contains("panicked"), "{output:?}");
    assert!(["0\n", "141\n"].contains(&stdout(&output).as_str()), "{output:?}");
}

#[test]
fn every_json_field_is_documented() {
    let documented =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json.md"))
            .unwrap();
    let mut objects = json(&["ns"]);
    objects.extend(json(&["check", "/tmp"]));
    objects.extend(json(&["explain", "/bin/true", "--as", "host"]));
    objects.extend(json(&["get", "/bin/true"]));
    objects.extend(json(&["get", "/bin/true", "--as", "100000"]));
    if is_root("every_json_field_is_documented") {
        let subject = Subject::new(0);
        let container = Container::new("0 650000 10");
        objects.push(subject.json(&["set", "cap_kill=ep", "--for", "650000"], &[]));
        objects.push(subject.json(&["get"], &[]));
        objects.push(subject.json(&["get", "--as", "650000"], &[]));
        let _sharing = Container::new("0 650000 20");
        let found = json(&["scan", subject.directory.path().to_str().unwrap()]);
        assert_eq!(found[0]["shared"][0]["kuid"], 650_000);
        objects.extend(found);
        drop(container);
    }
    assert!(objects.len() >= 5);
    for object in &objects {
        for field in fields(object) {
            assert!(documented.contains(&format!("`{field}`")), "{field}: {object}");
        }
    }
}

fn fields(value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| [vec![key.clone()], fields(value)].concat())
            .collect(),
        Value::Array(items) => items.iter().flat_map(fields).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn many_at_once_lose_no_grant() {
    if !is_root("many_at_once_lose_no_grant") {
        return;
    }
    let subject = Subject::new(0);
    let set = |kuid: u32| {
        Command::new(env!("CARGO_BIN_EXE_nscap"))
            .args(["set", "cap_kill=ep", subject.name(), "--for", &kuid.to_string()])
            .spawn()
            .unwrap()
    };
    let all: Vec<_> = (700_000..700_020).map(set).collect();
    for mut one in all {
        assert!(one.wait().unwrap().success());
    }
    let shown = subject.json(&["get"], &[]);
    assert_eq!(shown["entries"].as_array().unwrap().len(), 20);
    assert_eq!(shown["seal"], "sealed");
}
