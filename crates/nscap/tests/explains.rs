// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the command says of tasks, namespaces and mounts is held against them: `explain` against a
//! real execve, `ns` and `check` against live namespaces.

mod subject;

use std::path::Path;
use std::process::Command;

use nscap_testing::{Container, code, is_root, stderr, stdout};
use serde_json::Value;
use subject::{NET_RAW, Subject, json, nscap, tool, wait_for, with_own_mounts};

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
fn explain_names_what_is_in_the_way() {
    if !is_root("explain_names_what_is_in_the_way") {
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

#[test]
fn the_tree_and_the_check_name_live_namespaces() {
    if !is_root("the_tree_and_the_check_name_live_namespaces") {
        return;
    }
    let outer = Container::new("0 700000 65536");
    let inner = Container::below(Some(&outer), "0 1000 1000");
    let twin = Container::new("0 700500 100");
    let all = json(&["ns"]);
    let of = |pid: u32| all.iter().find(|ns| ns["pid"] == pid).unwrap_or_else(|| panic!("{all:?}"));
    assert_eq!(of(outer.pid())["root"], 700_000);
    assert_eq!(of(inner.pid())["root"], 701_000);
    assert_eq!(of(inner.pid())["parent"], of(outer.pid())["namespace"]);
    assert_eq!(of(inner.pid())["uid_map"][0]["count"], 1000);
    assert_eq!(of(twin.pid())["processes"], 1);
    let text = stdout(&nscap(&["ns"]));
    assert!(text.contains("0:701000:1000"), "{text}");
    let output = nscap(&["check", "/tmp"]);
    assert_eq!(code(&output), 1, "{output:?}");
    let text = stdout(&output);
    assert!(text.contains("700500 to 700599"), "{text}");
    // U: root's own `unshare -r`.
    let same = Container::new("0 0 1");
    let found = json(&["check", "/tmp"]);
    let named = format!("pid {} ", same.pid());
    let is = |f: &&Value| f["kind"] == "root" && f["what"].as_str().unwrap().contains(&named);
    assert_eq!(found.iter().find(is).unwrap()["kuid"], 0);
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
