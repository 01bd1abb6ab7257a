// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command on real files and live namespaces: what it says is held against setcap, getcap,
//! getfattr and a real execve.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nscap_testing::{Container, cat, code, copy_program, host_gains, is_root, stderr, stdout};
use serde_json::Value;

const NET_RAW: u64 = 1 << 13;

fn nscap<A: AsRef<OsStr>>(args: &[A]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nscap")).args(args).output().unwrap()
}

/// One JSON object per line.
fn json<A: AsRef<OsStr>>(args: &[A]) -> Vec<Value> {
    let mut all = vec![OsString::from("--json")];
    all.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
    stdout(&nscap(&all)).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

struct Subject {
    directory: tempfile::TempDir,
    path: PathBuf,
}

impl Subject {
    /// A copy of cat(1) with this owner.
    fn new(owner: u32) -> Subject {
        let directory = tempfile::tempdir().unwrap();
        let path = cat(directory.path(), owner);
        Subject { directory, path }
    }

    fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Runs `nscap ARGS FILE MORE`.
    fn run(&self, args: &[&str], more: &[&str]) -> Output {
        nscap(&[args, &[self.name()], more].concat())
    }

    fn json(&self, args: &[&str], more: &[&str]) -> Value {
        json(&[args, &[self.name()], more].concat()).remove(0)
    }

    /// Both attributes as getfattr(1) prints them.
    fn attributes(&self) -> String {
        tool(
            "getfattr",
            &["--absolute-names", "-d", "-m", "^security[.](ns)?cap", "-e", "hex", self.name()],
        )
    }

    fn tool(&self, program: &str, args: &[&str]) -> String {
        tool(program, &[args, &[self.name()]].concat())
    }
}

/// What another program prints, which must succeed.
fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    stdout(&output)
}

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

/// A copy of the command where a namespace can execute it.
fn support_copy(subject: &Subject) -> PathBuf {
    let copy = subject.directory.path().join("nscap");
    copy_program(env!("CARGO_BIN_EXE_nscap").as_ref(), &copy);
    copy
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

/// What explain says of a container's ordinary user, and what execve gives it.
fn agrees(subject: &Subject, container: &Container) -> Value {
    let whom = format!("pid:{}", container.pid());
    let said = subject.json(&["explain"], &["--as", &whom, "--uid", "7"]);
    let gained = container.gains(&subject.path);
    let expected = said["after"]["permitted"].as_array().map(|caps| {
        u64::from(caps.contains(&"cap_net_raw".into())) * NET_RAW
            + u64::from(caps.contains(&"cap_chown".into()))
    });
    assert_eq!(gained, expected, "{said}");
    let status = subject.run(&["explain"], &["--as", &whom, "--uid", "7"]);
    assert_eq!(code(&status) == 0, said["complete"].as_bool().unwrap());
    said
}

#[test]
fn explain_says_what_execve_does() {
    if !is_root("explain_says_what_execve_does") {
        return;
    }
    let container = Container::new("0 560000 65536");
    let subject = Subject::new(0);
    assert_eq!(agrees(&subject, &container)["complete"], true);
    let set = |caps, whom| assert_eq!(code(&subject.run(&["set", caps, "--for", whom], &[])), 0);
    set("cap_net_raw=ep", "570000");
    let said = agrees(&subject, &container);
    assert_eq!((&said["complete"], &said["clause"]), (&false.into(), &"R3".into()));
    assert_eq!(code(&subject.run(&["rm", "--all"], &[])), 0);
    set("cap_net_raw=ep", "560000");
    assert_eq!(agrees(&subject, &container)["complete"], true);
    // Two entries are a table, which an unmodified kernel does not honour.
    set("cap_net_raw=ep", "570000");
    let said = agrees(&subject, &container);
    assert_eq!((&said["complete"], &said["clause"]), (&false.into(), &"A".into()));
    assert_eq!(said["lost"][0], "cap_net_raw");
    set("cap_chown=ep", "host");
    assert_eq!(agrees(&subject, &container)["after"]["permitted"][0], "cap_chown");
    std::fs::set_permissions(&subject.path, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .unwrap();
    let said = agrees(&subject, &container);
    assert_eq!((&said["errno"], &said["lost"][0]), (&"EACCES".into(), &"cap_chown".into()));
}

#[test]
fn explain_of_a_process_and_its_mending_command() {
    if !is_root("explain_of_a_process_and_its_mending_command") {
        return;
    }
    let container = Container::new("0 580000 65536");
    let subject = Subject::new(580_000);
    let pid = container.pid().to_string();
    assert_eq!(code(&subject.run(&["set", "cap_net_raw=ep", "--for", "590000"], &[])), 0);
    let explain = || subject.json(&["explain", "--pid", &pid], &[]);
    let said = explain();
    assert_eq!(said["complete"], false);
    assert_eq!(container.gains(&subject.path), Some(0));
    // The command is one that a shell takes, and it does mend.
    let mend = said["mend"].as_str().unwrap();
    let copy = format!("{}.580000", subject.name());
    assert!(mend.contains(&copy), "{mend}");
    let path = format!(
        "{}:{}",
        Path::new(env!("CARGO_BIN_EXE_nscap")).parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let ran = Command::new("sh").args(["-c", mend]).env("PATH", path).output().unwrap();
    assert!(ran.status.success(), "{mend}: {ran:?}");
    assert_eq!(container.gains(Path::new(&copy)), Some(NET_RAW));
    let said = json(&["explain", "--pid", &pid, &copy]).remove(0);
    assert_eq!(said["complete"], true, "{said}");
}

#[test]
fn explain_names_what_stands_in_the_way() {
    if !is_root("explain_names_what_stands_in_the_way") {
        return;
    }
    let subject = Subject::new(0);
    assert_eq!(code(&subject.run(&["set", "cap_net_raw=ep"], &[])), 0);
    // A script gets the interpreter's capabilities.
    let script = subject.directory.path().join("script");
    std::fs::write(&script, format!("#!{}\n", subject.name())).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let said = json(&["explain", script.to_str().unwrap(), "--as", "host", "--uid", "7"]).remove(0);
    assert_eq!(
        (&said["program"]["path"], &said["complete"]),
        (&subject.name().into(), &true.into())
    );
    tool("setcap", &["cap_chown=ep", script.to_str().unwrap()]);
    let said = json(&["explain", script.to_str().unwrap(), "--as", "host", "--uid", "7"]).remove(0);
    assert_eq!(said["complete"], false, "{said}");
    // A live task with no_new_privs and a reduced bounding set.
    let mut task = Command::new("setpriv")
        .args([
            "--no-new-privs",
            "--bounding-set=-net_raw",
            "--reuid=7",
            "--regid=7",
            "--clear-groups",
        ])
        .args(["sleep", "infinity"])
        .spawn()
        .unwrap();
    wait_for(task.id(), "sleep");
    let output = subject.run(&["explain", "--pid", &task.id().to_string()], &[]);
    task.kill().unwrap();
    task.wait().unwrap();
    assert_eq!(code(&output), 1);
    let text = stdout(&output);
    for part in
        ["no_new_privs", "lacks cap_net_raw", "execve fails", "EPERM", "--cap-add=cap_net_raw"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let gone = subject.run(&["explain", "--pid", &task.id().to_string()], &[]);
    assert_eq!(code(&gone), 2);
    assert!(stderr(&gone).contains("ESRCH"), "{gone:?}");
}

/// Waits until the process has become that program.
fn wait_for(pid: u32, comm: &str) {
    for _ in 0..1000 {
        let now = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if now.trim() == comm {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("process {pid} never became {comm}");
}

#[test]
fn the_tree_and_the_check_name_live_namespaces() {
    if !is_root("the_tree_and_the_check_name_live_namespaces") {
        return;
    }
    let outer = Container::new("0 600000 65536");
    let inner = Container::below(Some(&outer), "0 1000 1000");
    let twin = Container::new("0 600500 100");
    let all = json(&["ns"]);
    let of = |pid: u32| all.iter().find(|ns| ns["pid"] == pid).unwrap_or_else(|| panic!("{all:?}"));
    assert_eq!(of(outer.pid())["root"], 600_000);
    assert_eq!(of(inner.pid())["root"], 601_000);
    assert_eq!(of(inner.pid())["parent"], of(outer.pid())["namespace"]);
    assert_eq!(of(inner.pid())["uid_map"][0]["count"], 1000);
    assert_eq!(of(twin.pid())["processes"], 1);
    let text = stdout(&nscap(&["ns"]));
    assert!(text.contains("0:601000:1000"), "{text}");
    let output = nscap(&["check", "/tmp"]);
    assert_eq!(code(&output), 1, "{output:?}");
    let text = stdout(&output);
    assert!(text.contains("600500 to 600599"), "{text}");
    // U: root's own `unshare -r`.
    let same = Container::new("0 0 1");
    let found = json(&["check", "/tmp"]);
    let named = format!("pid {} ", same.pid());
    let is = |f: &&Value| f["kind"] == "root" && f["what"].as_str().unwrap().contains(&named);
    assert_eq!(found.iter().find(is).unwrap()["kuid"], 0);
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

/// Runs a script in a mount namespace of its own, where `$nscap` is the command and `$dir` a fresh
/// directory; gives what it prints, one JSON object per line.
fn with_own_mounts(script: &str) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "bash", "-euc", script])
        .env("nscap", env!("CARGO_BIN_EXE_nscap"))
        .env("dir", directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_mount_in_the_way_is_named_and_its_mending_command_mends() {
    if !is_root("a_mount_in_the_way_is_named_and_its_mending_command_mends") {
        return;
    }
    let said = with_own_mounts(
        r#"
        mount -t tmpfs -o nosuid,noexec,nodev,mode=755 none "$dir"
        cp /bin/cat "$dir/cat"
        "$nscap" set cap_net_raw=ep "$dir/cat"
        gained() {
            set -- $(setpriv --reuid=7 --regid=7 --clear-groups "$dir/cat" /proc/self/status 2>/dev/null | grep CapPrm)
            echo "\"${2:-failed}\""
        }
        for round in 1 2; do
            said=$("$nscap" --json explain "$dir/cat" --as host --uid 7) || true
            echo "$said"
            gained
            # Every reason is told at once, with what mends it.
            mends=$(grep -o '"mend":"[^"]*"' <<<"$said" | sed 's/"mend":"\(.*\)"/\1/' | sort -u)
            eval "$mends"
        done
        grep -q "$dir .*nodev" /proc/self/mountinfo && echo '"nodev"'
        mount -o remount,bind,ro "$dir"
        "$nscap" set cap_chown=ep "$dir/cat" 2>&1 | grep -q EROFS && echo '"EROFS"'
        "#,
    );
    let [noexec, first, free, second, nodev, read_only] = said.as_slice() else {
        panic!("{said:?}");
    };
    assert_eq!((&noexec["errno"], first), (&"EACCES".into(), &"failed".into()));
    let causes = noexec["causes"].as_array().unwrap();
    let why = |n: usize| causes[n]["why"].as_str().unwrap();
    assert!(
        why(0).contains("noexec") && why(1).contains("nosuid") && causes.len() == 2,
        "{noexec}"
    );
    assert_eq!((&free["complete"], second), (&true.into(), &"0000000000002000".into()));
    assert_eq!((nodev, read_only), (&"nodev".into(), &"EROFS".into()));
}

#[test]
fn configured_ranges_are_named() {
    if !is_root("configured_ranges_are_named") {
        return;
    }
    let said = with_own_mounts(
        r#"
        mount -t tmpfs none "$dir"
        printf 'alice:8100000:65536\nbob:8150000:65536\nnobody: here\n' > "$dir/subuid"
        if [ -e /etc/subuid ]; then
            mount --bind "$dir/subuid" /etc/subuid
        else
            mkdir "$dir/upper" "$dir/work"
            mount -t overlay -o "lowerdir=/etc,upperdir=$dir/upper,workdir=$dir/work" none /etc
            cp "$dir/subuid" /etc/subuid
        fi
        cp /bin/true "$dir/true"
        "$nscap" set cap_kill=ep "$dir/true" --for user:alice
        "$nscap" --json get "$dir/true"
        "$nscap" get "$dir/true" | grep -q 'first subordinate range of alice' && echo '"named"'
        "$nscap" --json check "$dir" 2>"$dir/notes" | grep '"overlap"' | grep alice
        grep -q 'line 3' "$dir/notes" && echo '"noted"'
        "$nscap" --json explain "$dir/true" --as user:alice --uid 65535
        "$nscap" explain "$dir/true" --as user:alice --uid 65536 2>&1 | grep -q 'no mapping' && echo '"beyond"'
        "#,
    );
    let [get, named, overlap, noted, explain, beyond] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!(get["entries"][0]["kuid"], 8_100_000);
    let alice = |holder: &Value| holder["user"] == "alice";
    assert!(get["entries"][0]["holders"].as_array().unwrap().iter().any(alice), "{get}");
    assert_eq!((named, noted, beyond), (&"named".into(), &"noted".into(), &"beyond".into()));
    assert_eq!((&overlap["first"], &overlap["last"]), (&8_150_000.into(), &8_165_535.into()));
    assert_eq!(explain["after"]["effective"][0], "cap_kill");
}
