// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap scan` on real trees: held against `getcap -r`, and against what getcap does not say.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use nscap_testing::{Container, code, copy_program, is_root, stderr, stdout};
use serde_json::Value;

const NSCAP: &str = env!("CARGO_BIN_EXE_nscap");

/// A directory that every user may search, with a tree in it that a script made.
struct Tree {
    directory: tempfile::TempDir,
}

impl Tree {
    /// The script runs in the tree's own directory.
    fn new(script: &str) -> Tree {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let tree = Tree { directory };
        std::fs::create_dir(tree.path("tree")).unwrap();
        tree.bash(&format!("cd tree\n{script}"));
        tree
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        Command::new(program).args(args).current_dir(self.directory.path()).output().unwrap()
    }

    /// In a mount namespace of its own, beside the tree; `$nscap` is the command.
    fn bash(&self, script: &str) -> String {
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "bash", "-euc", script])
            .env("nscap", NSCAP)
            .current_dir(self.directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn scan(&self, args: &[&str]) -> Output {
        self.run(NSCAP, &[&["scan"], args].concat())
    }

    /// As uid and gid 7, with no capability.
    fn scan_as_7(&self, args: &[&str]) -> Output {
        let program = copy(self);
        let user = ["--reuid=7", "--regid=7", "--clear-groups", program.to_str().unwrap(), "scan"];
        self.run("setpriv", &[&user, args].concat())
    }

    fn json(&self, args: &[&str]) -> Vec<Value> {
        let output = self.run(NSCAP, &[&["--json", "scan"], args].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A copy of the command that every user can execute.
fn copy(tree: &Tree) -> PathBuf {
    let copy = tree.path("nscap");
    if !copy.exists() {
        copy_program(NSCAP.as_ref(), &copy);
    }
    copy
}

/// The bytes of an object's path.
fn path_of(object: &Value) -> Vec<u8> {
    let Some(hex) = object.get("path_hex").and_then(Value::as_str) else {
        return object["path"].as_str().unwrap().as_bytes().to_vec();
    };
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// Files with capabilities under every kind of name, and much that has none.
const ODD: &str = r#"
    mkdir -p a/b 'a dir' $'new\nline' $'\xff\xfe' empty
    n=0
    for name in plain a/b/file 'a dir/a file' $'new\nline/forged cap_sys_admin=ep\nand so' \
        $'\xff\xfe/\x01\x9b31m\xff' $'esc\e[31mred' $'c1\xc2\x9b31m' -dash "it's" '$(quoted)' "$(printf %0255d 0)"; do
        cp /bin/true "./$name"
        caps=('cap_net_raw=ep' 'cap_chown,cap_kill=p' 'cap_setpcap=i' 'cap_net_raw=ei cap_chown+p-e+e' '=' '=ep')
        # A value for the host, or for a root.
        if [ $((n % 3)) = 2 ]; then setcap -n $((100000 + n)) "${caps[n % 6]}" "./$name"
        else setcap "${caps[n % 6]}" "./$name"; fi
        n=$((n + 1))
    done
    cp plain none; cp plain changed; setcap cap_kill=ep changed; echo >> changed
    ln a/b/file a/hardlink; ln -s plain link; ln -s a linked-directory
    mkfifo fifo; mknod device c 4095 1; chmod u+s none
"#;

#[test]
fn finds_what_getcap_finds_under_any_name() {
    if !is_root("finds_what_getcap_finds_under_any_name") {
        return;
    }
    let tree = Tree::new(ODD);
    let getcap = tree.run("getcap", &["-n", "-r", "tree"]);
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for object in tree.json(&["tree"]) {
        assert!(object["void"].is_null() && object["hidden"].is_null(), "{object}");
        let entries = object["entries"].as_array().unwrap();
        let (caps, rootid) = match entries.as_slice() {
            [] => (&object["host"]["caps"], String::new()),
            [entry] => (&entry["caps"], format!(" [rootid={}]", entry["kuid"])),
            _ => panic!("{object}"),
        };
        let rest = format!(" {}{rootid}\n", caps.as_str().unwrap());
        lines.push([&path_of(&object)[..], rest.as_bytes()].concat());
    }
    assert_eq!(lines.len(), 12);
    // Names may have line feeds in them, so it is the bytes that are compared.
    let mut rest = getcap.stdout.clone();
    for line in &lines {
        let at = rest.windows(line.len()).position(|window| window == line);
        let at = at.unwrap_or_else(|| panic!("getcap: {}", String::from_utf8_lossy(line)));
        rest.drain(at..at + line.len());
    }
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

#[test]
fn names_cannot_forge_lines_and_come_out_whole_with_nul() {
    if !is_root("names_cannot_forge_lines_and_come_out_whole_with_nul") {
        return;
    }
    let tree = Tree::new(ODD);
    let output = tree.scan(&["--sort", "tree"]);
    assert_eq!((code(&output), stderr(&output)), (0, String::new()));
    let text = stdout(&output);
    assert_eq!(text.lines().count(), 12);
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("and so")), "{text}");
    let paths = tree.scan(&["-0", "tree"]).stdout;
    let mut paths: Vec<&[u8]> = paths.split(|byte| *byte == 0).collect();
    assert_eq!(paths.pop(), Some(&b""[..]));
    assert_eq!(paths.len(), 12);
    for path in &paths {
        assert!(tree.directory.path().join(OsStr::from_bytes(path)).exists(), "{path:?}");
    }
    let mut objects: Vec<Vec<u8>> = tree.json(&["tree"]).iter().map(path_of).collect();
    objects.sort();
    paths.sort_unstable();
    assert_eq!(objects, paths);
}

#[test]
fn sorted_output_is_the_same_for_any_number_of_threads() {
    if !is_root("sorted_output_is_the_same_for_any_number_of_threads") {
        return;
    }
    let tree = Tree::new(&format!(
        "{ODD}
        for n in $(seq 300); do mkdir -p d/$((n % 7))/$n; cp plain d/$((n % 7))/$n/f; done
        find d -name f -exec setcap cap_kill=ep {{}} \\;"
    ));
    for args in [&["--sort", "tree", "missing"][..], &["--sort", "-0", "tree", "./tree"]] {
        let all: Vec<Output> = ["1", "2", "8"]
            .iter()
            .map(|threads| tree.scan(&[args, &["--threads", threads]].concat()))
            .collect();
        assert!(all[0].stdout.len() > 1000);
        assert!(all.iter().all(|one| *one == all[0]), "{args:?}");
    }
    let [one, other] = ["1", "8"].map(|n| tree.json(&["--sort", "tree", "--threads", n]));
    assert!(one == other && one.len() == 312);
}

#[test]
fn what_cannot_be_read_is_named_with_status_2() {
    if !is_root("what_cannot_be_read_is_named_with_status_2") {
        return;
    }
    let tree = Tree::new(
        "mkdir -p open closed/below unsearchable/below
         for d in open closed unsearchable; do cp /bin/true $d/file; done
         setcap cap_kill=ep open/file; setcap cap_kill=ep closed/file
         chmod 700 closed; chmod 744 unsearchable",
    );
    let getcap = tree.run("setpriv", &["--reuid=7", "--clear-groups", "getcap", "-r", "tree"]);
    assert_eq!((code(&getcap), stderr(&getcap)), (0, String::new()), "the reason for all this");
    for threads in ["1", "2"] {
        let output = tree.scan_as_7(&["--sort", "--threads", threads, "tree"]);
        assert_eq!(code(&output), 2);
        assert_eq!(stdout(&output), "tree/open/file  host  cap_kill=ep  everyone\n");
        let text = stderr(&output);
        let lines: Vec<&str> = text.lines().collect();
        let [closed, unsearchable] = lines.as_slice() else { panic!("{text}") };
        assert!(closed.starts_with("nscap: tree/closed: open: EACCES"), "{closed}");
        assert!(unsearchable.starts_with("nscap: tree/unsearchable: "), "{unsearchable}");
        assert!(unsearchable.contains("EACCES"), "{unsearchable}");
    }
    // Nothing found, but all of it read; and roots that are none.
    assert_eq!(code(&tree.scan(&["tree/unsearchable"])), 1);
    assert_eq!(code(&tree.scan(&["tree"])), 0);
    std::os::unix::fs::symlink("open", tree.path("tree/link")).unwrap();
    for (root, errno) in
        [("missing", "ENOENT"), ("tree/open/file/", "ENOTDIR"), ("tree/link", "ENOTDIR")]
    {
        let output = tree.scan(&[root, "tree"]);
        assert_eq!((code(&output), stdout(&output).lines().count()), (2, 2), "{root}");
        assert!(stderr(&output).contains(errno), "{output:?}");
    }
    assert_eq!(stdout(&tree.scan(&["tree/link/"])).lines().count(), 1);
    // A file is looked at, as getcap -r does.
    assert_eq!(code(&tree.scan(&["tree/open/file"])), 0);
}

#[test]
fn a_path_longer_than_path_max() {
    if !is_root("a_path_longer_than_path_max") {
        return;
    }
    let tree = Tree::new("");
    let name = "x".repeat(200);
    let script = format!(
        "cd -P tree; for n in $(seq 25); do mkdir {name}; cd -P ./{name}; done
         cp /bin/true file; setcap cap_kill=ep file"
    );
    tree.bash(&script);
    let expected = format!("tree/{}file", format!("{name}/").repeat(25));
    let output = tree.scan(&["tree", "-0"]);
    assert_eq!((code(&output), stdout(&output)), (0, format!("{expected}\0")));
    assert_eq!(tree.json(&["tree"])[0]["host"]["caps"], "cap_kill=ep");
}

#[test]
fn voided_tables_are_found_and_stale() {
    if !is_root("voided_tables_are_found_and_stale") {
        return;
    }
    let tree = Tree::new("for f in sealed changed kept; do cp /bin/true $f; done");
    for file in ["tree/sealed", "tree/changed"] {
        for whom in ["4100000", "4200000"] {
            let set = tree.run(NSCAP, &["set", "cap_kill=ep", file, "--for", whom]);
            assert_eq!(code(&set), 0, "{set:?}");
        }
    }
    std::fs::write(tree.path("tree/changed"), "changed").unwrap();
    let found = tree.json(&["--sort", "tree"]);
    let [changed, sealed] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((&changed["seal"], &sealed["seal"]), (&"void".into(), &"sealed".into()));
    assert!(changed["void"].as_str().unwrap().contains("has changed"), "{changed}");
    assert_eq!(changed["entries"].as_array().unwrap().len(), 0);
    assert_eq!(sealed["entries"].as_array().unwrap().len(), 2);
    let output = tree.scan(&["tree"]);
    assert!(stdout(&output).contains("tree/changed  void"), "{output:?}");
    // getcap has no word for either.
    let getcap = stdout(&tree.run("getcap", &["-r", "tree"]));
    assert!(!getcap.contains("changed"), "{getcap}");
    assert_eq!(tree.json(&["--stale", "--sort", "tree"]).len(), 2);
    let container = Container::new("0 4200000 10");
    let stale = tree.json(&["--stale", "--sort", "tree"]);
    assert_eq!(stale.len(), 2, "an entry for 4100000 is nobody's still");
    let live = &stale[1]["entries"][1]["holders"][0];
    assert_eq!(live["pid"], container.pid());
}

#[test]
fn whose_they_are_selects() {
    if !is_root("whose_they_are_selects") {
        return;
    }
    let tree = Tree::new(
        "for f in host live range user bound dead; do cp /bin/true $f; done
         setcap cap_kill=ep host
         setcap -n 4300000 cap_kill=ep live
         setcap -n 4400007 cap_kill=ep range
         setcap -n 7 cap_kill=ep user
         setcap -n 4500000 cap_kill=ep bound
         setcap -n 4600000 cap_kill=ep dead",
    );
    let container = Container::new("0 4300000 10");
    // A namespace that only a bind mount keeps, and ranges in /etc/subuid.
    let script = r#"
        touch bound subuid
        own=$(readlink /proc/self/ns/user)
        unshare --user sleep infinity &
        until [ "$(readlink /proc/$!/ns/user)" != "$own" ]; do sleep 0.01; done
        echo 0 4500000 10 > /proc/$!/uid_map
        mount --bind /proc/$!/ns/user bound
        kill $!; wait $! || true
        printf 'alice:4400000:1000\nbob:4400000:8\n' > subuid
        [ -e /etc/subuid ] && mount --bind subuid /etc/subuid || {
            mkdir upper work
            mount -t overlay -o lowerdir=/etc,upperdir=upper,workdir=work none /etc
            cp subuid /etc/subuid
        }
        "$nscap" scan --sort tree 2>notes
        echo; cat notes
        echo; "$nscap" scan --stale tree
        "#;
    let said = tree.bash(script);
    let parts: Vec<&str> = said.split("\n\n").collect();
    let [all, notes, stale] = parts.as_slice() else { panic!("{said}") };
    let line = |name: &str| {
        let start = format!("tree/{name} ");
        all.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{said}"))
    };
    assert!(line("host").ends_with("everyone"));
    assert!(line("live").contains(&format!("namespace of pid {}", container.pid())));
    assert!(line("bound").contains("namespace user:["), "{all}");
    let range = "within a subordinate range of alice, within a subordinate range of bob";
    assert!(line("range").ends_with(range), "{all}");
    assert!(line("user").ends_with("the uid of lp"), "{all}");
    assert!(line("dead").ends_with("none running or configured here"));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(stale), words(line("dead")));
    // S: the range is two people's.
    let shared = "kuid 4400007 is in each of: range of alice in /etc/subuid; range of bob";
    assert!(notes.contains(shared) && notes.contains("[S]"), "{notes}");
    for (who, name) in [("host", "host"), ("4600000", "dead"), ("0", "host")] {
        let found = tree.json(&["--for", who, "tree"]);
        let paths: Vec<_> = found.iter().map(|object| object["path"].clone()).collect();
        assert_eq!(paths, [format!("tree/{name}")], "{who}");
    }
    let pid = format!("pid:{}", container.pid());
    assert_eq!(tree.json(&["--for", &pid, "tree"])[0]["path"], "tree/live");
    assert_eq!(code(&tree.scan(&["--for", "4700000", "tree"])), 1);
    assert_eq!(code(&tree.scan(&["--for", "nobody", "tree"])), 2);
}

#[test]
fn live_namespaces_that_share_a_kuid_are_named() {
    if !is_root("live_namespaces_that_share_a_kuid_are_named") {
        return;
    }
    let tree = Tree::new("cp /bin/true file; setcap -n 4800000 cap_kill=ep file");
    let [one, other] = [Container::new("0 4800000 10"), Container::new("0 4800000 20")];
    let found = tree.json(&["tree"]);
    let shared = found[0]["shared"].as_array().unwrap();
    assert_eq!((shared.len(), &shared[0]["kuid"]), (1, &4_800_000.into()));
    for container in [&one, &other] {
        let pid = format!("pid {} ", container.pid());
        let by = shared[0]["by"].as_array().unwrap();
        assert!(by.iter().any(|text| text.as_str().unwrap().contains(&pid)), "{found:?}");
    }
    drop(other);
    assert_eq!(tree.json(&["tree"])[0]["shared"], Value::Array(Vec::new()));
}

#[test]
fn processes_that_may_not_be_looked_at_count_as_well() {
    if !is_root("processes_that_may_not_be_looked_at_count_as_well") {
        return;
    }
    let tree = Tree::new("cp /bin/true file; setcap -n 5100000 cap_kill=ep file");
    let stale = tree.scan_as_7(&["--stale", "tree"]);
    assert_eq!((code(&stale), stdout(&stale).lines().count()), (0, 1), "{stale:?}");
    let container = Container::new("0 5100000 10");
    let output = tree.scan_as_7(&["tree"]);
    let pid = format!("root of the namespace of pid {}\n", container.pid());
    assert!(stdout(&output).ends_with(&pid), "{output:?}");
    assert_eq!(code(&tree.scan_as_7(&["--stale", "tree"])), 1);
}

#[test]
fn inside_a_namespace_foreign_values_are_shown_as_such() {
    if !is_root("inside_a_namespace_foreign_values_are_shown_as_such") {
        return;
    }
    let tree = Tree::new(
        "for f in own foreign table none; do cp /bin/true $f; done
         setcap -n 4900000 cap_kill=ep own; setcap -n 5 cap_kill=ep foreign",
    );
    for whom in ["4100000", "4200000"] {
        tree.run(NSCAP, &["set", "cap_kill=ep", "tree/table", "--for", whom]);
    }
    let container = Container::new("0 4900000 65536");
    let program = copy(&tree);
    let root = tree.path("tree");
    let inside = |args: &[&str]| {
        let command = [program.to_str().unwrap(), "scan", "--sort", root.to_str().unwrap()];
        container.run(&[&command, args].concat(), "0")
    };
    let output = inside(&[]);
    assert_eq!((code(&output), stderr(&output)), (0, String::new()));
    let text = stdout(&output);
    let line = |name: &str| -> Vec<&str> {
        let start = format!("{}/{name} ", root.display());
        text.lines().filter_map(|line| line.strip_prefix(&start)).map(str::trim).collect()
    };
    assert!(line("own")[0].starts_with("kuid"), "{text}");
    let foreign = "an entry whose root has no id in this namespace";
    assert!(line("foreign")[0].starts_with("hidden") && line("foreign")[0].ends_with(foreign));
    // What cannot be compared with its companion is not called void.
    assert!(line("table")[0].starts_with("table") && line("table")[1].ends_with(foreign), "{text}");
    assert_eq!(line("none").len(), 0);
    // Whether these are stale cannot be told from in here.
    let stale = inside(&["--stale"]);
    assert_eq!(code(&stale), 2);
    assert!(stderr(&stale).contains("2 more file(s)"), "{stale:?}");
}

#[test]
fn malformed_values_are_found() {
    if !is_root("malformed_values_are_found") {
        return;
    }
    let tree = Tree::new("");
    let said = tree.bash(
        r#"
        truncate -s 4M image; mkfs.ext4 -q -F image
        echo bad > bytes
        printf 'write bytes malformed\nwrite bytes none\nea_set malformed security.capability abc\n' > script
        debugfs -w -f script image >/dev/null 2>&1
        mount -o loop image tree
        "$nscap" --json scan tree
        "$nscap" scan tree
        "#,
    );
    let (json, text) = said.split_once('\n').unwrap();
    let object: Value = serde_json::from_str(json).unwrap();
    assert_eq!(object["path"], "tree/malformed");
    assert!(object["hidden"].as_str().unwrap().contains("malformed"), "{object}");
    assert!(text.starts_with("tree/malformed  hidden"), "{text}");
}

#[test]
fn one_file_system() {
    if !is_root("one_file_system") {
        return;
    }
    let tree = Tree::new("mkdir a other again; cp /bin/true a/file; setcap cap_kill=ep a/file");
    let said = tree.bash(
        r#"
        mount -t tmpfs none tree/other
        cp tree/a/file tree/other; setcap cap_chown=ep tree/other/file
        mount --bind tree/a tree/again
        "$nscap" scan --sort tree | cut -d' ' -f1; echo
        "$nscap" scan -x tree | cut -d' ' -f1; echo
        "$nscap" scan -x tree/other | cut -d' ' -f1
        "#,
    );
    let expected =
        "tree/a/file\ntree/again/file\ntree/other/file\n\ntree/a/file\n\ntree/other/file\n";
    assert_eq!(said, expected);
}

#[test]
fn progress_is_for_terminals() {
    let tree = Tree { directory: tempfile::tempdir().unwrap() };
    let output = tree.scan(&["/usr/bin"]);
    assert_eq!(stderr(&output), "");
    // script(1) gives it a terminal; it would take a while, and is ended when it has shown
    // something.
    let scan = format!("{NSCAP} scan $(yes /usr | head -n 300)");
    let mut script = Command::new("script")
        .args(["--quiet", "--command", &scan, "/dev/null"])
        // Where there is none, or "dumb", nothing is shown.
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = String::new();
    let mut terminal = script.stdout.take().unwrap();
    while !(shown.contains(" directories, ") && shown.contains(" files")) {
        let mut some = [0; 4096];
        let length = terminal.read(&mut some).unwrap();
        assert_ne!(length, 0, "it ended with {shown:?}");
        shown += &String::from_utf8_lossy(&some[..length]);
    }
    // Without its terminal the scan gets SIGHUP.
    script.kill().unwrap();
    script.wait().unwrap();
}

#[test]
fn a_reader_that_goes_away_ends_the_search() {
    let script =
        format!("set -o pipefail; {NSCAP} --json scan /usr /usr --threads 2 | head -c1 >/dev/null");
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert!(!stderr(&output).contains("panick"), "{output:?}");
}
