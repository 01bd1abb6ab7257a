// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files on mounts of other mount namespaces, as nearly every container's are: what the command says of them,
//! seen from the host and from inside, beside a real execve(2).

mod stage;

use nscap_testing::is_root;
use stage::script;

/// `container NAME ROOT`: a process in a user namespace that maps 0 to the kuid ROOT, and in a mount namespace which
/// that owns; `$NAME` is its id.
/// `mine $PID UID COMMAND...`: as a user of the container. `theirs $PID UID COMMAND...`: as a user of the host in the
/// container's mount namespace.
const CONTAINERS: &str = r#"
    container() {
        unshare --user --mount --propagation private sh -c 'echo up; exec sleep infinity' >"up-$1" &
        local pid=$!
        until_so grep -q up "up-$1"
        echo "0 $2 65536" >"/proc/$pid/uid_map"
        echo "0 $2 65536" >"/proc/$pid/gid_map"
        printf -v "$1" %s "$pid"
    }
    mine() { nsenter -t "$1" -U -m -S "$2" -G "$2" -- "${@:3}"; }
    theirs() { nsenter -t "$1" -m -- setpriv --reuid "$2" --regid "$2" --clear-groups "${@:3}"; }
    gained() {
        local sets; sets=$("$@" /proc/self/status 2>&1 | sed -n 's/^CapPrm:\s*//p')
        [ -n "$sets" ] || { "$@" /proc/self/status | head -1; return; }
        capsh --decode="$sets" | sed 's/.*=//; s/^$/nothing/'
    }
    # WHAT COMMAND... CAT: what execve gives.
    gets() { local got; got=$(gained "${@:2}"); [ "$got" = "$1" ] || fail "${*:2} gets $got, not $1"; }
    # theirs|mine PID UID: starts a task as theirs or mine does; $task is its id.
    task() {
        ("$@" sh -c 'echo $$; exec sleep infinity' >task) &
        until_so [ -s task ]
        task=$(cat task)
        rm task
    }
"#;

/// Runs a script as `script` does, with the functions above.
fn with_containers(test: &str, text: &str) {
    if is_root(test) {
        script(&format!("{CONTAINERS}\n{text}"));
    }
}

#[test]
fn a_container_with_mounts_of_its_own_gains_what_its_entry_on_a_mount_of_nscap_gives() {
    with_containers(
        "a_container_with_mounts_of_its_own_gains_what_its_entry_on_a_mount_of_nscap_gives",
        r#"
        install -m 755 /bin/cat p/src/cat
        $nscap mount p/src t
        $nscap set cap_net_raw=ep t/cat --for 100000
        $nscap set cap_chown=ep t/cat --for 200000
        container one 100000
        container other 200000
        container third 300000
        task mine $one 7
        for round in both only-theirs; do
            gets cap_net_raw mine $one 7 "$dir/t/cat"
            expect 0 'cap_net_raw=ep, by the entry for kuid 100000' $nscap explain "$dir/t/cat" --pid $task
            expect 0 'cap_net_raw=ep' $nscap explain "$dir/t/cat" --pid $one
            gets nothing mine $third 7 "$dir/t/cat"
            expect 1 'nothing gained' $nscap explain "$dir/t/cat" --pid $third
            expect 0 'kuid 200000' $nscap get "/proc/$one/root$dir/t/cat"
            # From here on nothing but the containers has the mount.
            [ $round = only-theirs ] || umount t
        done
        task theirs $one 7
        gets nothing theirs $one 7 "$dir/t/cat"
        expect 1 'nothing gained' $nscap explain "$dir/t/cat" --pid $task
        "#,
    );
}

#[test]
fn a_path_through_a_process_leads_to_the_same_answers() {
    with_containers(
        "a_path_through_a_process_leads_to_the_same_answers",
        r#"
        truncate -s 20M disk && mkfs.ext4 -q disk && mkdir e && mount -o loop disk e
        container one 100000
        install -m 755 /bin/cat e/cat
        for at in "$dir/e" "/proc/$one/root$dir/e"; do
            $nscap set cap_net_raw=ep e/cat --for 100000
            $nscap set cap_chown=ep e/cat --for 200000
            $nscap get --json e/cat | sed 's/"path":"[^"]*"//' >plain
            $nscap get --json $at/cat | sed 's/"path":"[^"]*"//' >through
            diff plain through >&2 || fail "get $at"
            expect 0 '' $nscap set cap_kill=ep $at/cat --for 300000
            for kuid in 100000 200000 300000; do expect 0 "kuid $kuid" $nscap get e/cat; done
            expect 0 'kuid 300000' $nscap scan --stale $at
            expect 0 '' $nscap set cap_fowner=ep $at/cat --for host
            for kuid in 100000 200000 300000; do expect 0 "kuid $kuid" $nscap get e/cat; done
            expect 0 '' $nscap rm $at/cat --for 200000
            [ "$($nscap get e/cat | grep -c kuid)" = 2 ] || fail "$($nscap get e/cat)"
            $nscap --json get $at/cat | grep -q '"seal":"sealed"' || fail "$($nscap get $at/cat)"
            expect 0 '' $nscap rm $at/cat --all
        done
        "#,
    );
}
