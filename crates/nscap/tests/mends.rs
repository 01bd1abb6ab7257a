// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every command line that `nscap explain` offers is executed, and mends: a real execve gives then
//! what the file promises. And none is offered where it cannot, or where it would trust what a
//! container controls.

mod stage;

use nscap_testing::is_root;
use stage::script;

/// `mends CAPS FILE TASK... -- OPTIONS...`: the commands that explain prints for these options,
/// executed, have the task (what runs `"$@"` as it) gain CAPS, which it did not before. Each is
/// noted in `ran`.
const TOOLS: &str = r#"
    PATH=$dir:$PATH
    touch ran
    user() { setpriv --reuid=7 --regid=7 --clear-groups sh -c '"$@"' sh "$@"; }
    inside() { nsenter -t "$holder" --user --setuid 7 --setgid 7 -- "$@"; }
    gained() { local got; got=$("$@" /proc/self/status 2>/dev/null | sed -n 's/^CapPrm:\t//p'); echo "${got:-failed}"; }
    commands() {
        "$nscap" --json explain "$@" >said || [ $? -le 2 ] || fail "explain $*: $(cat said)"
        grep -o '"mend":"[^"]*"' said | sed 's/"mend":"\(.*\)"/\1/' | sort -u
    }
    mends() {
        local caps=$1 file=$2 task=()
        shift 2
        while [ "$1" != -- ]; do task+=("$1"); shift; done
        shift
        [ "$(gained "${task[@]}" "$file")" != "$caps" ] || fail "$file: nothing to mend"
        commands "$file" "$@" >lines
        [ -s lines ] || fail "$file: no command: $(cat said)"
        while read -r line; do eval "$line" >&2 || fail "$line"; echo "$line" >>ran; done <lines
        [ "$(gained "${task[@]}" "$file")" = "$caps" ] ||
            fail "$(cat lines) did not mend: $(gained "${task[@]}" "$file"), $(cat said)"
    }
    # COMMANDS are none for that; and what is said holds a part.
    none() {
        local part=$1
        shift
        [ -z "$(commands "$@")" ] || fail "$*: $(commands "$@")"
        grep -qF -- "$part" said || fail "no '$part': $(cat said)"
    }
    container() {
        unshare --user "$@" sh -c 'echo; exec sleep 100' >up & holder=$!
        until [ -s up ]; do sleep 0.05; done; rm up
        echo '0 100000 65536' >/proc/$holder/uid_map; echo '0 100000 65536' >/proc/$holder/gid_map
        nsenter -t $holder --user ${1:+"$1"} --setuid 7 --setgid 7 -- sleep 100 & task=$!
        until_so grep -q sleep /proc/$task/comm
    }
    both=0000000000003000 raw=0000000000002000 none=0000000000000000
"#;

fn run(name: &str, text: &str) -> Vec<String> {
    if is_root(name) && stage::has("setfacl", name) && stage::has("debugfs", name) {
        return script(&format!("{TOOLS}\n{text}"));
    }
    Vec::new()
}

/// The kinds of command that the program can print, as its source has them.
fn kinds() -> Vec<String> {
    let source = include_str!("../src/explain/remedy.rs");
    let programs = ["nscap ", "chmod ", "setfacl ", "mount ", "cp "];
    let texts = source.split('"').skip(1).step_by(2);
    let begins = |text: &&str| programs.iter().any(|program| text.starts_with(program));
    let mut kinds: Vec<String> = texts
        .filter(begins)
        .filter(|text| text.contains('{'))
        .map(|text| text.split(['{', ',']).next().unwrap().trim().to_owned())
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

#[test]
fn every_command_that_is_offered_mends() {
    const NAME: &str = "every_command_that_is_offered_mends";
    let ran = run(
        NAME,
        r#"
        # Flags of a mount, both at once.
        mkdir m; mount -t tmpfs -o nosuid,noexec,nodev,mode=755 none m
        cp /bin/cat m/cat; setcap cap_net_raw=ep m/cat
        mends $raw "$dir/m/cat" user -- --as host --uid 7
        setpriv --reuid=7 --regid=7 --clear-groups sleep 100 & plain=$!
        until_so grep -q sleep /proc/$plain/comm
        mount -o remount,bind,nosuid m
        mends $raw "$dir/m/cat" user -- --pid $plain
        # Execute permission, for the very task: others still have none.
        cp /bin/cat f; chmod 700 f; setcap cap_net_raw=ep f
        mends $raw "$dir/f" user -- --as host --uid 7
        other() { setpriv --reuid=8 --regid=8 --clear-groups sh -c '"$@"' sh "$@"; }
        [ "$(gained other "$dir/f")" = failed ] || fail "others may execute it"
        setfacl -m u:7:- f
        mends $raw "$dir/f" user -- --as host --uid 7
        cp /bin/cat o; chown 7 o; chmod 600 o; setcap cap_net_raw=ep o
        mends $raw "$dir/o" user -- --as host --uid 7
        setfacl -b f; chmod 755 f; setcap cap_net_raw=ep f
        # A capability that the task cannot have; with the last one, the effective bit.
        lacking() { setpriv --bounding-set=-net_admin --reuid=7 --regid=7 --clear-groups sh -c '"$@"' sh "$@"; }
        lacking sleep 101 &
        until_so pgrep -xf 'sleep 101' >/dev/null; lacking=$(pgrep -xf 'sleep 101')
        setcap cap_net_raw,cap_net_admin=ep f
        mends $raw "$dir/f" lacking -- --pid $lacking
        setcap cap_net_admin=ep f
        mends $none "$dir/f" lacking -- --pid $lacking
        # Of the host's value, for a task of a container: the host's is what overrides.
        container
        setcap cap_net_raw,cap_net_admin=ep f
        below() {
            nsenter -t "$holder" --user --setuid 0 --setgid 0 -- setpriv --bounding-set=-net_admin --reuid=7 \
                --regid=7 --clear-groups sh -c '"$@"' sh "$@"
        }
        below sleep 102 &
        until_so pgrep -xf 'sleep 102' >/dev/null; below=$(pgrep -xf 'sleep 102')
        mends $raw "$dir/f" below -- --pid $below
        # An entry of a container's own, where each can have one.
        cp /bin/cat p/src/cat; "$nscap" mount p/src t
        "$nscap" set cap_net_raw=ep t/cat --for 200000
        mends $raw "$dir/t/cat" inside -- --pid $task
        # And where the kernel alone decides, a file of its own.
        cp /bin/cat g; "$nscap" set cap_net_raw=ep g --for 200000
        commands "$dir/g" --pid $task >lines
        eval "$(cat lines)"; cat lines >>ran
        [ "$(gained inside "$dir/g.100000")" = $raw ] || fail "$(cat lines)"
        # A value that the kernel does not show.
        truncate -s 8M image; mkfs.ext4 -q -F image; mkdir e; mount -o loop image e
        cp /bin/cat e/one; setcap cap_kill=ep e/one; umount e
        printf '\1\0\0\1\0\40\0\0\0\0\0\0\1' >value
        debugfs -w -R 'ea_set -f value one security.capability' image 2>/dev/null
        mount -o loop image e
        mends $none "$dir/e/one" user -- --as host --uid 7
        "$nscap" umount t
        while read -r line; do say "$line"; done <ran
        "#,
    );
    if ran.is_empty() {
        return;
    }
    let kinds = kinds();
    assert!(kinds.len() >= 5, "{kinds:?}");
    for kind in &kinds {
        assert!(ran.iter().any(|line| line.contains(kind.as_str())), "{kind} was not run: {ran:?}");
    }
}

#[test]
fn values_that_the_kernel_does_not_show_are_not_guessed() {
    run(
        "values_that_the_kernel_does_not_show_are_not_guessed",
        r#"
        truncate -s 8M image; mkfs.ext4 -q -F image; mkdir e; mount -o loop image e
        for name in one flags long bad; do cp /bin/cat e/$name; setcap cap_kill=ep e/$name; done; umount e
        stored() { printf "$2" >value; debugfs -w -R "ea_set -f value $1 security.capability" image 2>/dev/null; }
        stored one '\1\0\0\1\0\40\0\0\0\0\0\0'
        stored flags '\3\0\0\2\0\40\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        stored long '\1\0\0\2\0\40\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
        stored bad '\1\0\0\2\0\40\0\0\0'
        mount -o loop image e
        # execve honours the first two, and refuses the others.
        for name in one flags; do [ "$(gained user "$dir/e/$name")" = $raw ] || fail "$name: $(gained user "$dir/e/$name")"; done
        for name in long bad; do [ "$(gained user "$dir/e/$name")" = failed ] || fail "$name"; done
        for name in one flags long bad; do
            expect 2 'execve(2) honours revision 1' "$nscap" explain "$dir/e/$name" --as host --uid 7
            grep -q "to clear it: nscap rm $dir/e/$name --all" out || fail "$(cat out)"
        done
        # Where it is not looked at, the answer is known.
        mount -o remount,bind,nosuid e
        expect 1 'the mount is nosuid' "$nscap" explain "$dir/e/one" --as host --uid 7
        "#,
    );
}

#[test]
fn none_is_offered_that_cannot_mend_or_trusts_a_container() {
    run(
        "none_is_offered_that_cannot_mend_or_trusts_a_container",
        r#"
        # In a container's mount namespace flags are locked, and the program that mounts is not ours.
        mkdir m; mount -t tmpfs -o nosuid,mode=755 none m; cp /bin/cat m/cat; setcap cap_net_raw=ep m/cat
        container --mount
        none 'where the mount is configured' "$dir/m/cat" --pid $task
        kill $task $holder
        # Nor is one cleared on what other users can change.
        mkdir n; mount -t tmpfs -o nosuid,mode=777 none n; cp /bin/cat n/cat; setcap cap_net_raw=ep n/cat
        none 'where the mount is configured' "$dir/n/cat" --as host --uid 7
        # A file that a container controls gets nothing of the host's.
        container
        cp /bin/cat f; chown 100000:100000 f; "$nscap" set cap_net_raw=ep f --for 100000
        none 'nscap mount' "$dir/f" --as host --uid 7
        cp /bin/cat h; chown 100000:100000 h
        "$nscap" explain "$dir/h" --as host --uid 7 >out
        ! grep -q 'nscap set' out || fail "$(cat out)"
        # Neither does one that others may write.
        cp /bin/cat w; chmod 777 w
        "$nscap" explain "$dir/w" --as host --uid 7 >out
        ! grep -q 'nscap set' out || fail "$(cat out)"
        # Nor one of another container's: root of this one would trust it.
        chown 200000:200000 w; "$nscap" set cap_net_raw=ep w --for 200000; chmod 755 w
        none 'nscap mount' "$dir/w" --pid $task
        # A path that a container can turn elsewhere is no path for a root shell.
        mkdir c; cp /bin/cat c/x; chmod 700 c/x; setcap cap_net_raw=ep c/x
        "$nscap" explain "$dir/c/x" --as host --uid 7 >out || true
        grep -q 'mend: setfacl -m u:7:x' out || fail "$(cat out)"
        chmod 4700 c/x; none 'give the task execute permission' "$dir/c/x" --as host --uid 7
        chmod 700 c/x; chown 100000 c
        none 'give the task execute permission' "$dir/c/x" --as host --uid 7
        chown 0 c; chmod 777 c
        none 'give the task execute permission' "$dir/c/x" --as host --uid 7
        cp /bin/cat c/y; chmod 755 c/y; "$nscap" set cap_net_raw=ep c/y --for 200000
        none 'nscap mount' "$dir/c/y" --pid $task
        # Nothing is written to what is read-only.
        mkdir r; cp /bin/cat r/z; chmod 700 r/z; setcap cap_net_raw=ep r/z
        mount --bind r r; mount -o remount,bind,ro r
        none 'give the task execute permission' "$dir/r/z" --as host --uid 7
        kill $task $holder
        "#,
    );
}
