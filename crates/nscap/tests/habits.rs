// SPDX-License-Identifier: MIT OR Apache-2.0
//! What users of getcap, setcap, coreutils and find expect of a command line, held against these
//! tools.

mod stage;

use nscap_testing::is_root;
use stage::{has, script};

#[test]
fn directories_are_searched_as_getcap_searches_them() {
    if !is_root("directories_are_searched_as_getcap_searches_them") {
        return;
    }
    let said = script(
        r#"
        mkdir -p t/one/two t/none
        for file in t/a t/one/b t/one/two/c; do cp /bin/cat $file; setcap cap_net_raw=ep $file; done
        cp /bin/cat t/none/d
        getcap -r t t/a | sed 's/ .*//' | sort -u >theirs
        "$nscap" get -r t t/a | sed 's/ .*//' | sort -u >ours
        cmp theirs ours || fail "$(cat ours)"
        expect 1 "" "$nscap" get -r t/none
        expect 0 cap_net_raw=ep "$nscap" get --recursive t/a
        expect 0 cap_net_raw=ep "$nscap" scan t/a
        expect 2 "Is a directory" "$nscap" get t
        expect 2 ENOTDIR "$nscap" scan t/a/
        ln -s a t/link
        expect 2 ENOTDIR "$nscap" scan t/link
        wc -l <ours >&3
        "#,
    );
    assert_eq!(said, ["3"]);
}

#[test]
fn r_removes_as_setcap_does_and_a_dash_is_standard_input() {
    if !is_root("r_removes_as_setcap_does_and_a_dash_is_standard_input") {
        return;
    }
    script(
        r#"
        values() { getfattr --absolute-names -d -m '^security[.]' -e hex "$1" | grep =; }
        for text in 'cap_net_raw=ep\n' 'cap_net_raw=ep\n\n' 'cap_net_raw=p cap_chown+p\ncap_kill=i\n\n'; do
            cp /bin/cat theirs
            cp /bin/cat ours
            printf "$text" | setcap -q - theirs
            printf "$text" | "$nscap" set - ours || fail "$text"
            [ "$(values theirs)" = "$(values ours)" ] || fail "$text: $(values theirs) $(values ours)"
        done
        setcap -r theirs
        "$nscap" set -r ours
        [ -z "$(getcap theirs ours)" ] || fail "$(getcap theirs ours)"
        # There is nothing any more.
        status=0; setcap -r theirs 2>/dev/null || status=$?
        expect $status ENODATA "$nscap" set -r ours
        cp ours more
        "$nscap" set cap_kill=ep ours more
        expect 0 "" "$nscap" set -r ours more
        [ -z "$(getcap ours more)" ] || fail left
        expect 2 "cannot be used" "$nscap" set -r --replace ours
        expect 2 "required" "$nscap" set cap_kill=ep
        expect 2 EINVAL "$nscap" set - ours <<<cap_nonsense=ep
        setcap -q - ours </dev/null 2>/dev/null && fail "setcap takes nothing for capabilities"
        expect 2 "holds no capabilities" "$nscap" set - ours </dev/null
        head -c 9000 /dev/zero | tr '\0' a >long
        expect 2 "too long" "$nscap" set - ours <long
        printf ours >names
        expect 2 "cannot hold both" "$nscap" set - --files0-from - <names
        [ -z "$(getcap ours)" ] || fail changed
        "#,
    );
}

#[test]
fn names_of_files_come_from_a_list() {
    if !is_root("names_of_files_come_from_a_list") {
        return;
    }
    let said = script(
        r#"
        for name in a 'b c' $'d\ne'; do cp /bin/cat "t/$name"; done
        find t -type f -print0 | "$nscap" set cap_net_raw=ep --files0-from -
        find t -type f -print0 >list
        [ "$("$nscap" get --files0-from list | wc -l)" = 3 ] || fail "$("$nscap" get --files0-from list)"
        # A list that scan makes, and as wc(1) says what is no name.
        "$nscap" scan -0 t | "$nscap" rm --files0-from=-
        expect 1 "" "$nscap" get --files0-from list
        printf 't/a\0\0t/b c\0' >gap
        theirs=0; wc --files0-from=gap >out 2>err || theirs=$?
        grep -o 'gap:2: invalid zero-length file name' err >&3
        expect 2 "gap:2: invalid zero-length file name" "$nscap" get --files0-from gap
        [ "$theirs" != 0 ] || fail "wc gave $theirs"
        expect 2 "cannot be used with" "$nscap" get --files0-from gap t/a
        expect 2 ENOENT "$nscap" get --files0-from missing
        : >none
        expect 0 "" "$nscap" set cap_kill=ep --files0-from none
        "#,
    );
    assert_eq!(said, ["gap:2: invalid zero-length file name"]);
}

#[test]
fn a_closed_pipe_ends_it_as_it_ends_coreutils() {
    if !is_root("a_closed_pipe_ends_it_as_it_ends_coreutils") {
        return;
    }
    script(
        r#"
        cp /bin/cat ping
        setcap cap_net_raw=ep ping
        pack layer.tar ping
        # The reader is gone before the first byte.
        status() { { sleep 0.2; "$@"; } 2>err | true; echo "${PIPESTATUS[0]}"; }
        theirs=$(status seq 100000 || true)
        [ "$theirs" = 141 ] || fail "seq: $theirs"
        for words in ns "--json ns" "get ping" "scan ping" "scan -0 ." "check ." "layer ls layer.tar" --help \
            "explain ping --as host" "generate completions bash" "generate who" tour; do
            set +e +o pipefail
            got=$(status "$nscap" $words)
            set -e -o pipefail
            [ "$got" = "$theirs" ] || fail "$words: $got: $(cat err)"
            [ "$words" = tour ] || [ ! -s err ] || fail "$words: $(cat err)"
        done
        # Where the caller has SIGPIPE ignored, the write is an error.
        trap '' PIPE
        set +e +o pipefail
        got=$(status seq 100000); grep -q 'Broken pipe' err || fail "seq: $(cat err)"
        [ "$got" = 1 ] || fail "seq: $got"
        for words in ns "get ping" "scan ping"; do
            got=$(status "$nscap" $words)
            [ "$got" = 2 ] || fail "$words: $got"
            grep -q 'Broken pipe' err || fail "$words: $(cat err)"
        done
        true
        "#,
    );
}

#[test]
fn an_errno_has_the_words_of_strerror() {
    let said = script(
        r#"
        ln -s loop loop
        cat loop/x 2>theirs || true
        expect 2 "$(sed 's/.*: //' theirs)" "$nscap" get loop/x
        grep -F "$(sed 's/.*: //' theirs)" err >&3
        expect 2 "Operation not supported" "$nscap" set cap_kill=ep /proc/self/status
        "#,
    );
    assert!(said[0].ends_with("ELOOP, Too many levels of symbolic links"), "{said:?}");
}

#[test]
fn a_search_passes_over_what_holds_no_programs() {
    if !is_root("a_search_passes_over_what_holds_no_programs") {
        return;
    }
    let said = script(
        r#"
        mkdir -p t/proc t/sys t/cgroup t/tmp
        mount -t proc proc t/proc
        mount -t sysfs sysfs t/sys
        mount -t cgroup2 cgroup t/cgroup || mount -t cgroup -o none,name=nscap cgroup t/cgroup
        mount -t tmpfs tmpfs t/tmp
        cp /bin/cat t/tmp/cat
        setcap cap_net_raw=ep t/tmp/cat
        # kernfs stores any name of security.*, and no program is executed from there.
        group=t/cgroup/${dir##*/}
        mkdir "$group"
        trap 'rmdir "$dir/$group"' EXIT
        setcap cap_net_raw=ep "$group/cgroup.procs"
        "$nscap" scan t >found 2>err || fail "$(cat err)"
        [ ! -s err ] || fail "$(cat err)"
        cat found >&3
        for top in t/proc t/sys t/cgroup "$group"; do expect 1 "" "$nscap" scan "$top"; done
        # What leads out of proc is searched.
        expect 0 cap_net_raw=ep "$nscap" scan /proc/self/cwd/t/tmp
        cd "$dir"
        "#,
    );
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("t/tmp/cat "), "{said:?}");
}

#[test]
fn names_of_users_are_taken_where_ids_are() {
    if !is_root("names_of_users_are_taken_where_ids_are") {
        return;
    }
    script(
        r#"
        cp /bin/cat ping
        setcap cap_net_raw=ep ping
        # Of before and after, in a line each.
        ids() { "$nscap" --json explain ping --as host "$@" | grep -o '"uids":[^]]*],"gids":[^]]*'; }
        [ "$(ids --uid "$(id -u nobody)" --gid "$(id -g nobody)")" = "$(ids --uid nobody)" ] || fail "$(ids --uid nobody)"
        [ "$(ids --uid 7 --gid "$(id -g nobody)")" = "$(ids --uid 7 --gid "$(id -gn nobody)")" ] || fail group
        expect 2 "neither a uid nor the name of a user" "$nscap" explain ping --as host --uid no-such-user
        expect 2 "neither a gid nor the name of a group" "$nscap" explain ping --as host --gid no-such-group
        # The ids after execve, which a set-user-ID file changes.
        chown 7:8 ping
        chmod u+s,g+s ping
        theirs=$(setpriv --reuid=5 --regid=6 --clear-groups ./ping /proc/self/status | awk '/^[UG]id/ {print $2, $3, $4}' | tr '\n' ' ')
        ours=$(ids --uid 5 --gid 6 | sed -n '2{s/[^0-9,]//g; s/,/ /g; s/$/ /; p}')
        [ "$ours" = "$theirs" ] || fail "$ours, not $theirs"
        "#,
    );
}

#[test]
fn links_of_a_tree_stay_in_it() {
    if !is_root("links_of_a_tree_stay_in_it") {
        return;
    }
    script(
        r#"
        mkdir -p rootfs/usr/bin host
        cp /bin/cat rootfs/usr/bin/ping
        cp /bin/cat host/ping
        mkdir -p "rootfs$dir/host"
        cp /bin/cat "rootfs$dir/host/ping"
        # A link that means a place of the container's, and leads to one of ours.
        ln -s "$dir/host" rootfs/bin
        ln -s usr rootfs/relative
        "$nscap" set --root rootfs cap_net_raw=ep /bin/ping 2>err
        [ ! -s err ] || fail "$(cat err)"
        [ -z "$(getcap host/ping)" ] || fail "the host's file"
        [ -n "$(getcap "rootfs$dir/host/ping")" ] || fail "not the container's file"
        "$nscap" get --root rootfs ../../../bin/ping | grep -q '^rootfs/.*cap_net_raw' || fail "$("$nscap" get --root rootfs ../bin/ping)"
        "$nscap" rm --root rootfs bin/ping
        [ -z "$(getcap "rootfs$dir/host/ping")" ] || fail "not removed"
        expect 2 ELOOP "$nscap" set --root rootfs cap_kill=ep /bin
        expect 2 ENOENT "$nscap" set --root rootfs cap_kill=ep /bin/none
        expect 2 ENOTDIR "$nscap" set --root host/ping cap_kill=ep /bin/none
        # Without it the link is followed, as setcap follows it, and that is said.
        expect 0 "$dir/host/ping" "$nscap" set cap_net_raw=ep rootfs/bin/ping
        grep -q -- '--root' err || fail "$(cat err)"
        [ -n "$(getcap host/ping)" ] || fail "not followed"
        expect 0 "" "$nscap" set cap_net_raw=ep rootfs/relative/bin/ping
        [ ! -s err ] || fail "$(cat err)"
        "#,
    );
}

#[test]
fn a_no_has_its_next_step() {
    if !is_root("a_no_has_its_next_step") {
        return;
    }
    script(
        r#"
        chmod 755 .
        cp /bin/cat ping
        user="setpriv --reuid=65534 --regid=65534 --clear-groups"
        expect 1 cap_setfcap $user "$nscap" set cap_net_raw=ep ping
        "$nscap" set cap_net_raw=ep ping --for 100000
        expect 1 "--replace does both" "$nscap" set cap_kill=ep ping --for 100000
        # EBUSY comes first (B); what would be EPERM is not offered.
        expect 1 "--replace is refused" $user "$nscap" set cap_kill=ep ping --for 100000
        expect 1 EPERM $user "$nscap" set cap_kill=ep ping --for 100000 --replace
        expect 1 "nscap rm --for" "$nscap" set cap_kill=ep ping --for 200000 --single
        # What the rules allow and the kernel does not is a no as well.
        unshare --user sleep infinity & container=$!
        until_so sh -c "[ \$(readlink /proc/$container/ns/user) != $(readlink /proc/self/ns/user) ]"
        echo "0 100000 65536" >/proc/$container/uid_map
        echo "0 100000 65536" >/proc/$container/gid_map
        cp /bin/cat own
        chown 100000:100000 own
        inside() { nsenter -U -S 0 -G 0 -t $container "$@"; }
        inside "$nscap" set cap_net_raw=ep own
        expect 1 "run it on the host with --for" inside "$nscap" set cap_kill=ep own --for 100001
        grep -q EPERM err || fail "$(cat err)"
        expect 1 "run it on the host with --for" inside "$nscap" set cap_kill=ep ping --for 100001
        kill $container
        chattr +i ping 2>/dev/null || exit 0
        expect 1 "chattr -i" "$nscap" set cap_kill=ep ping --for 200000
        chattr -i ping
        "#,
    );
}

#[test]
fn what_a_change_does_beside_what_was_asked_is_said() {
    if !is_root("what_a_change_does_beside_what_was_asked_is_said") {
        return;
    }
    script(
        r#"
        cp /bin/cat ping
        quiet() { expect 0 "" "$@"; [ ! -s err ] || fail "$*: $(cat err)"; }
        quiet "$nscap" set cap_net_raw=ep ping
        quiet "$nscap" set cap_net_raw=ep ping
        expect 0 "the host value was cap_net_raw=ep and is replaced" "$nscap" set cap_kill=ep ping
        expect 0 "no effect while the host value cap_kill=ep is there" "$nscap" set cap_chown=ep ping --for 100000
        quiet "$nscap" rm ping --for 100000
        quiet "$nscap" rm ping
        # The host's value overrides: that is what it means.
        printf '#!/bin/sh\n' >script
        expect 0 "a script: execve uses the capabilities of its interpreter" "$nscap" set cap_net_raw=ep script
        # Entries that a change of the content has made void go with the next writer.
        "$nscap" set cap_net_raw=ep ping --for 100000
        "$nscap" set cap_net_raw=ep ping --for 200000 2>/dev/null
        echo >>ping
        expect 0 "were void and are removed" "$nscap" set cap_net_raw=ep ping --for 300000
        "#,
    );
}

#[test]
fn entries_that_a_removal_loses_are_said() {
    let test = "entries_that_a_removal_loses_are_said";
    if !is_root(test) || !has("mkfs.ext4", test) {
        return;
    }
    let said = script(
        r#"
        truncate -s 16M disk
        mkfs.ext4 -q -I 256 -b 1024 -O ^ea_inode disk
        mount -o loop disk t
        cp /bin/cat t/ping
        for kuid in $(seq 100000 100009); do
            "$nscap" set cap_net_raw=ep t/ping --for $kuid 2>/dev/null || break
        done
        "$nscap" set cap_kill=ep t/ping
        # The owner of a file fills the space for its attributes.
        for size in 400 200 100 50 20 10 4 1; do
            for n in 1 2 3 4 5 6 7 8; do
                setfattr -n "user.$size-$n" -v "$(head -c $size /dev/zero | tr '\0' a)" t/ping 2>/dev/null || break
            done
        done
        before=$("$nscap" get t/ping | grep -c kuid)
        status=0; "$nscap" rm t/ping 2>err || status=$?
        after=$("$nscap" get t/ping | grep -c kuid) || true
        lost=$((before - after))
        umount t
        [ $status = 0 ] || fail "$(cat err)"
        grep -q "$lost other entries are lost" err || fail "$lost lost: $(cat err)"
        say $lost
        "#,
    );
    assert_ne!(said, ["0"]);
}

#[test]
fn bits_without_a_name_are_numbers() {
    if !is_root("bits_without_a_name_are_numbers") {
        return;
    }
    let said = script(
        r#"
        cp /bin/cat ping
        # Revision 2: cap_net_raw, 41 and 63 permitted, 41 inheritable.
        setfattr -n security.capability -v 0x0100000200200000000000000002008000020000 ping
        "$nscap" --json get ping >&3
        "$nscap" --json explain ping --as host --uid 7 >&3
        "#,
    );
    let object: serde_json::Value = serde_json::from_str(&said[0]).unwrap();
    assert_eq!(object["host"]["permitted"], serde_json::json!(["cap_net_raw", 41, 63]));
    assert_eq!(object["host"]["inheritable"], serde_json::json!([41]));
    let object: serde_json::Value = serde_json::from_str(&said[1]).unwrap();
    assert_eq!(object["after"]["permitted"], serde_json::json!(["cap_net_raw"]));
}

#[test]
fn tables_fit_the_terminal() {
    let test = "tables_fit_the_terminal";
    if !is_root(test) || !has("script", test) {
        return;
    }
    let said = script(
        r#"
        unshare --user --map-root-user sleep infinity & container=$!
        until_so grep -q sleep /proc/$container/comm
        cp /bin/cat ping
        setcap cap_net_raw=ep ping
        on_terminal() { script -qec "stty cols $1; $2" /dev/null </dev/null | tr -d '\r' | sed 's/\x1b\[[0-9;]*m//g'; }
        # A word that is longer than a line has one to itself.
        widest() { awk 'NF > 1 && length($0) > w { w = length($0) } END { print w }'; }
        [ "$(on_terminal 80 "'$nscap' ns" | widest)" -le 80 ] || fail "$(on_terminal 80 "'$nscap' ns")"
        explain="'$nscap' explain ping --as 100000 --uid 7"
        [ "$(on_terminal 70 "$explain" | widest)" -gt 70 ] && fail "$(on_terminal 70 "$explain")"
        # What is no terminal gets each row in one line, whatever the environment says.
        COLUMNS=40 "$nscap" ns | widest >&3
        # As lsns, whose lines are cut.
        [ "$(on_terminal 60 lsns | widest)" -le 60 ] || fail lsns
        kill $!
        "#,
    );
    assert!(said[0].parse::<usize>().unwrap() > 60, "{said:?}");
}
