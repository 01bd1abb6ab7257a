// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap tour` as root, as an ordinary user with and without a range of ids, and where something
//! is missing; that it tells a wrong answer, and that nothing of it stays behind.

mod stage;

use std::collections::BTreeSet;
use std::process::Command;

use nscap_testing::is_root;
use serde_json::Value;
use stage::{has, script};

/// In a script: `as_user COMMAND...` runs it as uid 65534, which may open /dev/fuse, and has a
/// directory for temporary files, which must be empty afterwards.
const AS_USER: &str = r#"
    mknod -m 666 fuse c 10 229
    mount --bind fuse /dev/fuse
    mkdir -m 1777 tmp
    as_user() { TMPDIR=$dir/tmp setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
"#;

fn objects(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The clauses of which something was played; each answer must be right.
fn played(objects: &[Value]) -> BTreeSet<String> {
    let answers = objects.iter().filter(|object| object["left_out"].is_null());
    answers
        .map(|object| {
            assert_eq!(object["ok"], true, "{object}");
            assert_eq!(object["answer"], object["expected"]);
            object["scene"].as_str().unwrap().to_owned()
        })
        .collect()
}

fn all() -> BTreeSet<String> {
    ["R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8", "A", "K", "B"].map(str::to_owned).into()
}

#[test]
fn root_plays_every_clause_and_nothing_stays_behind() {
    if !is_root("root_plays_every_clause_and_nothing_stays_behind") {
        return;
    }
    let said = script(
        r#"
        mkdir tmp
        export TMPDIR=$dir/tmp
        before=$(cat /proc/self/mountinfo)
        (umask 077; exec "$nscap" --json tour >&3) || fail "exit status $?"
        [ -z "$(ls -A tmp)" ] || fail "left $(ls -A tmp)"
        after=$(cat /proc/self/mountinfo)
        [ "$before" = "$after" ] || fail "left $after"
        pgrep -lx "nscap|sleep|unshare|nsenter|sh" >&2 && fail "left processes"
        true
        "#,
    );
    let objects = objects(&said);
    assert_eq!(played(&objects), all());
    assert!(objects.len() > 50, "{}", objects.len());
    let documented =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json.md"))
            .unwrap();
    for field in objects.iter().flat_map(|object| object.as_object().unwrap().keys()) {
        assert!(documented.contains(&format!("`{field}`")), "{field}");
    }
    // What is said to have been executed is real.
    let exec = objects.iter().find(|object| object["who"] == "B user").unwrap();
    let words: Vec<&str> =
        exec["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!((words[0], words[words.len() - 1]), ("nsenter", "/proc/self/status"));
}

#[test]
fn people_read_it_without_colours_in_a_pipe() {
    if !is_root("people_read_it_without_colours_in_a_pipe") {
        return;
    }
    let text = script(r#""$nscap" tour >&3"#).join("\n");
    assert!(!text.contains('\x1b'), "{text}");
    for part in
        ["R1  two ways in", "R8  a host value overrides", "EBUSY", "[U]", "each as its clause says"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.lines().all(|line| line.len() < 130), "{text}");
}

#[test]
fn a_wrong_answer_is_told() {
    if !is_root("a_wrong_answer_is_told") {
        return;
    }
    // A setcap that says that it did what it never did.
    let said = script(
        r#"
        printf '#!/bin/sh\nexit 0\n' >setcap
        chmod 755 setcap
        mount --bind setcap "$(readlink -f "$(command -v setcap)")"
        status=0
        "$nscap" tour >out || status=$?
        say "$status"
        grep "must be" out >&3
        tail -1 out >&3
        "#,
    );
    assert_eq!(said[0], "1");
    assert!(said[1].contains("nothing") && said[1].contains("must be: cap_net_raw=ep"), "{said:?}");
    assert!(said.last().unwrap().contains("answers are wrong"), "{said:?}");
}

#[test]
fn an_ordinary_user_plays_what_one_id_allows() {
    if !is_root("an_ordinary_user_plays_what_one_id_allows") {
        return;
    }
    let said = script(&format!(
        "{AS_USER}{}",
        r#"
        [ ! -s /etc/subuid ] || mount --bind /dev/null /etc/subuid
        as_user "$nscap" --json tour >&3 2>err || fail "exit status $?: $(cat err)"
        grep -q "install uidmap" err || fail "not said what is missing: $(cat err)"
        [ -z "$(ls -A tmp)" ] || fail "left $(ls -A tmp)"
        pgrep -u 65534 && fail "processes are left"
        true
        "#
    ));
    let objects = objects(&said);
    let played = played(&objects);
    let left_out: BTreeSet<String> = all().difference(&played).cloned().collect();
    assert_eq!(left_out, ["A", "R8"].map(str::to_owned).into());
}

#[test]
fn an_ordinary_user_with_a_range_plays_all_that_a_namespace_can_store() {
    let test = "an_ordinary_user_with_a_range_plays_all_that_a_namespace_can_store";
    if !is_root(test) || !has("newuidmap", test) {
        return;
    }
    let said = script(&format!(
        "{AS_USER}{}",
        r#"
        mkdir upper work
        mount -t overlay -o lowerdir=/etc,upperdir=upper,workdir=work none /etc
        echo nobody:5000000:65536 >/etc/subuid
        echo 65534:5000000:65536 >/etc/subgid
        as_user "$nscap" --json tour >&3 2>err || fail "exit status $?: $(cat err)"
        [ ! -s err ] || fail "$(cat err)"
        [ -z "$(ls -A tmp)" ] || fail "left $(ls -A tmp)"
        "#
    ));
    let objects = objects(&said);
    let played = played(&objects);
    let left_out: BTreeSet<String> = all().difference(&played).cloned().collect();
    assert_eq!(left_out, ["A"].map(str::to_owned).into());
    assert!(objects.len() > 45, "{}", objects.len());
}

#[test]
fn what_is_missing_is_said_with_how_to_get_it() {
    if !is_root("what_is_missing_is_said_with_how_to_get_it") {
        return;
    }
    script(
        r#"
        mkdir -m 1777 tmp
        export TMPDIR=$dir/tmp
        user="setpriv --reuid=65534 --regid=65534 --clear-groups"
        mknod -m 600 fuse c 10 229
        mount --bind fuse /dev/fuse
        expect 2 "chmod 0666 /dev/fuse" $user "$nscap" tour
        umount /dev/fuse
        tool=$(readlink -f "$(command -v getfattr)")
        mount --bind /dev/null "$tool"
        expect 2 "getfattr (attr): not found" "$nscap" tour
        umount "$tool"
        # No user namespace for ordinary users.
        chmod 666 fuse
        mount --bind fuse /dev/fuse
        expect 2 "run it as root" $user unshare --user sh -c \
            "echo 0 >/proc/sys/user/max_user_namespaces; exec '$nscap' tour"
        expect 2 "--part" "$nscap" tour --part stage </dev/null
        expect 2 "--part" "$nscap" tour --part user </dev/null
        [ -z "$(ls -A tmp)" ] || fail "left $(ls -A tmp)"
        "#,
    );
}

#[test]
fn a_kernel_that_was_asked_for_is_told_apart() {
    if !is_root("a_kernel_that_was_asked_for_is_told_apart") {
        return;
    }
    // The same tests run in kernels that decide by the design.
    script(
        r#"
        mkdir tmp
        export TMPDIR=$dir/tmp
        mount -t tmpfs none /run
        mkdir /run/modules-load.d
        "$nscap" check >before || true
        echo nscap >/run/modules-load.d/nscap.conf
        if [ -e /proc/sys/kernel/nscap_array ]; then
            "$nscap" tour --kernel >out || fail "exit status $?"
            expect 0 "this kernel decides by the design" cat out
            expect 0 "" cmp before <("$nscap" check || true)
        else
            expect 2 "modprobe nscap" "$nscap" tour --kernel
            grep -q 'EOPNOTSUPP' err || fail "$(cat err)"
            [ "$(wc -l <err)" = 1 ] || fail "$(cat err)"
            expect 1 "" grep "nscap in the kernel" before
            "$nscap" check >after || true
            expect 0 "modprobe nscap" grep "no *nscap in the kernel" after
        fi
        "#,
    );
}

#[test]
fn a_chroot_is_said_to_make_no_user_namespace() {
    if !is_root("a_chroot_is_said_to_make_no_user_namespace") {
        return;
    }
    script(
        r#"
        # A directory, and a mount, which a chroot can be as well.
        mkdir plain bound
        for top in bin sbin lib lib64 usr etc dev proc tmp; do
            [ -e /$top ] || continue
            mkdir plain/$top
            mount --rbind /$top plain/$top
        done
        mount --rbind plain bound
        cp "$nscap" plain/nscap
        for root in plain bound; do
            for words in "" --json; do
                expect 2 "a chroot can make none" chroot $root /nscap $words tour
                grep -q 'EPERM, Operation not permitted' err || fail "$(cat err)"
                [ "$(wc -l <err)" = 1 ] || fail "$(cat err)"
            done
            # The kernel's own answer.
            chroot $root unshare --user true 2>err && fail "a user namespace in $root"
            grep -q 'Operation not permitted' err || fail "$(cat err)"
        done
        "#,
    );
}

#[test]
fn killed_at_any_moment_nothing_stays_behind() {
    if !is_root("killed_at_any_moment_nothing_stays_behind") {
        return;
    }
    script(
        r#"
        mkdir tmp
        export TMPDIR=$dir/tmp
        before=$(cat /proc/self/mountinfo)
        alone() { [ "$(pgrep -c nscap)" = 0 ] && [ "$(pgrep -c sleep)" = 0 ]; }
        for moment in 0.01 0.03 0.06 0.1 0.15 0.2 0.3; do
            "$nscap" tour >/dev/null 2>&1 &
            sleep $moment
            kill -KILL $! 2>/dev/null || true
            wait $! 2>/dev/null || true
            until_so alone
            [ -z "$(ls -A tmp)" ] || fail "left $(ls -A tmp)"
            [ "$(cat /proc/self/mountinfo)" = "$before" ] || fail "left mounts"
        done
        "#,
    );
}

#[test]
fn the_help_and_the_pages_say_it() {
    let help = Command::new(env!("CARGO_BIN_EXE_nscap")).args(["tour", "--help"]).output().unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(text.contains("eight points") && !text.contains("--part"), "{text}");
}
