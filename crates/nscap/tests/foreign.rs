// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files on mounts of other mount namespaces, as nearly every container's are: what the command
//! says of them, seen from the host and from inside, beside a real execve(2).

mod stage;

use nscap_testing::is_root;
use stage::script;

/// `container NAME ROOT`: a process in a user namespace that maps 0 to the kuid ROOT, and in a
/// mount namespace which that owns; `$NAME` is its id. `mine $PID UID COMMAND...`: as a user of the
/// container. `theirs $PID UID COMMAND...`: as a user of the host in the container's mount
/// namespace.
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
            $nscap check "/proc/$one/root$dir/t" >out 2>&1 || true
            grep -q 'yes *security.nscapability *can be set' out || fail "check: $(cat out)"
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

/// Python: `idmap SOURCE TARGET PID`: mounts a directory through the maps of a process's user
/// namespace. `refused PID ERRNO COMMAND...`: as root of the container, without statmount(2), as a
/// seccomp filter has it.
const MOUNTS: &str = r#"
    cat >idmap.py <<'EOF'
import ctypes, os, sys, struct
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    result = libc.syscall(number, *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"syscall {number}")
    return result
source, target, pid = sys.argv[1:]
tree = call(428, -100, source.encode(), 1 | 0o2000000)
maps = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
attributes = struct.pack("QQQQ", 0x100000, 0, 0, maps)
call(442, tree, b"", 0x1000, attributes, len(attributes))
call(429, tree, b"", -100, target.encode(), 4)
EOF
    cat >refused.py <<'EOF'
import ctypes, os, sys, struct
libc = ctypes.CDLL(None, use_errno=True)
errno = int(sys.argv[1])
# Load the number of the call; refuse statmount(2) and listmount(2), allow the rest.
code = [(0x20, 0, 0, 0), (0x15, 1, 0, 457), (0x15, 0, 1, 458), (6, 0, 0, 0x50000 | errno), (6, 0, 0, 0x7fff0000)]
filter = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
program = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(filter))
assert libc.prctl(38, 1, 0, 0, 0) == 0 or os.geteuid() == 0
assert libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0) == 0, ctypes.get_errno()
os.execv(sys.argv[2], sys.argv[2:])
EOF
    idmap() { python3 idmap.py "$@"; }
    refused() { mine "$1" 0 python3 "$dir/refused.py" "${@:2}"; }
    disk() { truncate -s 20M "$1.img" && mkfs.ext4 -q "$1.img" && mkdir "$1" && mount -o loop "$1.img" "$1"; }
    # STATUS theirs|mine PID UID FILE: explain ends so, and what it says is what execve gives, unless it cannot tell.
    agrees() {
        local status=$1 file=$5 got real said
        task "$2" "$3" "$4"
        real=$(gained "$2" "$3" "$4" "$file")
        got=0; $nscap --json explain "$file" --pid "$task" >out || got=$?
        said=$(python3 -c 'import json,sys; o=json.load(open("out")); a=o["after"]; print(o["errno"] if a is None else ",".join(a["permitted"]) or "nothing")')
        [ "$got" = "$status" ] || fail "explain for ${*:2} ended with $got, not $status; execve gives $real: $($nscap explain "$file" --pid "$task")"
        [ "$got" = 2 ] || [ "$said" = "$real" ] || fail "${*:2} gets $real, explain says $said"
        kill "$task"
    }
"#;

fn with_mounts(test: &str, text: &str) {
    with_containers(test, &format!("{MOUNTS}\n{text}"));
}

#[test]
fn whose_a_superblock_is_is_told_by_a_witness_or_not_at_all() {
    with_mounts(
        "whose_a_superblock_is_is_told_by_a_witness_or_not_at_all",
        r#"
        mkdir host own over low up work zero zup zwork
        chmod 755 low up zup
        install -m 755 /bin/cat low/cat
        container one 100000
        nsenter -t $one -m mount -t tmpfs -o mode=755 none "$dir/host"
        nsenter -t $one -m install -m 755 /bin/cat "$dir/host/cat"
        nsenter -t $one -m setcap cap_net_raw=ep "$dir/host/cat"
        mine $one 0 mount -t tmpfs -o mode=755 none "$dir/own"
        mine $one 0 install -m 755 /bin/cat "$dir/own/cat"
        mine $one 0 setcap cap_net_raw=ep "$dir/own/cat"
        nsenter -t $one -m mount -t overlay -o "lowerdir=$dir/low,upperdir=$dir/up,workdir=$dir/work" none "$dir/over"
        nsenter -t $one -m setcap cap_net_raw=ep "$dir/over/cat"
        for file in host over; do
            agrees 0 mine $one 7 "$dir/$file/cat"
            agrees 0 theirs $one 7 "$dir/$file/cat"
        done
        agrees 0 mine $one 7 "$dir/own/cat"
        agrees 1 theirs $one 7 "$dir/own/cat"
        # An entry for the container's root holds, whatever namespace owns the superblock.
        nsenter -t $one -m setcap -n 100000 cap_net_raw=ep "$dir/over/cat"
        agrees 0 mine $one 7 "$dir/over/cat"
        agrees 1 theirs $one 7 "$dir/over/cat"
        # A namespace that maps kuid 0 may own what the initial one reads as revision 2.
        container zero 0
        nsenter -t $zero -m mount -t overlay -o "lowerdir=$dir/low,upperdir=$dir/zup,workdir=$dir/zwork" none "$dir/zero"
        nsenter -t $zero -m setcap cap_net_raw=ep "$dir/zero/cat"
        agrees 0 mine $zero 7 "$dir/zero/cat"
        agrees 2 theirs $zero 7 "$dir/zero/cat"
        task theirs $zero 7
        expect 2 'no witness tells' $nscap explain "$dir/zero/cat" --pid $task
        # A table of which that is not known is neither used nor removed.
        nsenter -t $zero -m setfattr -n security.nscapability -v 0x00 "$dir/zero/cat"
        expect 2 'whether a table of entries is to be trusted' $nscap get "/proc/$zero/root$dir/zero/cat"
        expect 2 'nothing was changed' $nscap set cap_chown=ep "/proc/$zero/root$dir/zero/cat" --for 300000
        expect 2 'nothing was changed' $nscap rm "/proc/$zero/root$dir/zero/cat"
        gets cap_net_raw mine $zero 7 "$dir/zero/cat"
        "#,
    );
}

#[test]
fn an_id_mapped_mount_is_seen_through_from_the_host_and_from_inside() {
    with_mounts(
        "an_id_mapped_mount_is_seen_through_from_the_host_and_from_inside",
        r#"
        disk e
        install -m 755 /bin/cat e/cat
        install -m 4755 -o 70000 -g 70000 /bin/cat e/set-id
        setcap cap_net_raw=ep e/cat
        mkdir m
        container map 100000
        idmap "$dir/e" "$dir/m" $map
        container one 100000
        agrees 0 mine $one 7 "$dir/m/cat"
        agrees 1 theirs $one 7 "$dir/m/cat"
        for at in "$dir/m" "/proc/$one/root$dir/m"; do
            expect 0 'kuid 100000  cap_net_raw=ep' $nscap get $at/cat
            grep -q everyone out && fail "everyone: $(cat out)"
            expect 0 'kuid 100000  cap_net_raw=ep' $nscap scan $at
            expect 0 '' $nscap set cap_chown=ep $at/cat --for 100000 --replace
            gets cap_chown mine $one 7 "$dir/m/cat"
            gets cap_chown setpriv --reuid 7 --regid 7 --clear-groups "$dir/e/cat"
            expect 0 'kuid 100000  cap_chown=ep' $nscap get $at/cat
            expect 0 '' $nscap rm $at/cat --for 100000
            gets nothing mine $one 7 "$dir/m/cat"
            setcap cap_net_raw=ep e/cat
        done
        # On the source the entry would be for a root that is not the container's there.
        nsenter -t $one -m mount -t tmpfs none "$dir/e"
        expect 2 "nscap set CAPS /proc/$one/root$dir/m/cat --for pid:$one has one" $nscap set --replace cap_kill=ep e/cat --for pid:$one
        expect 0 'cap_net_raw=ep' $nscap get e/cat
        expect 0 '' $nscap set --replace cap_kill=ep "/proc/$one/root$dir/m/cat" --for pid:$one
        gets cap_kill mine $one 7 "$dir/m/cat"
        setcap cap_net_raw=ep e/cat
        # An owner that the map does not have is unmapped, and is not kuid 65534.
        task mine $one 7
        expect 0 'owner kuid unmapped' $nscap explain "$dir/m/set-id" --pid $task
        agrees 0 mine $one 7 "$dir/m/set-id"
        for errno in 1 38; do
            refused $one $errno $nscap get "$dir/m/cat" >out 2>&1 || fail "inside, errno $errno: $(cat out)"
            grep -q cap_net_raw=ep out || fail "inside, errno $errno: $(cat out)"
            refused $one $errno $nscap explain "$dir/m/cat" --pid $one >out 2>&1 || fail "inside: $(cat out)"
            refused $one $errno $nscap set --replace cap_kill=ep "$dir/m/cat" >out 2>&1 || fail "inside, errno $errno: $(cat out)"
            gets cap_kill mine $one 7 "$dir/m/cat"
            refused $one $errno $nscap rm "$dir/m/cat" >out 2>&1 || fail "inside, errno $errno: $(cat out)"
            gets nothing mine $one 7 "$dir/m/cat"
            setcap cap_net_raw=ep e/cat
            refused $one $errno $nscap scan "$dir/m" >out 2>&1 || fail "inside: $(cat out)"
        done
        "#,
    );
}

#[test]
fn from_inside_what_applies_is_shown_and_what_cannot_be_read_is_said() {
    with_mounts(
        "from_inside_what_applies_is_shown_and_what_cannot_be_read_is_said",
        r#"
        install -m 755 /bin/cat p/src/cat
        install -m 755 /bin/cat cat
        $nscap mount p/src t
        $nscap set cap_net_raw=ep t/cat --for host
        $nscap set cap_chown=ep t/cat --for 200000
        $nscap set cap_chown=ep cat --for 200000
        container one 100000
        mine $one 0 getcap "$dir/t/cat" | grep -q cap_net_raw=ep || fail getcap
        gets cap_net_raw mine $one 7 "$dir/t/cat"
        task mine $one 7
        mine $one 0 $nscap get "$dir/t/cat" >out 2>&1 || fail "get: $(cat out)"
        grep -q 'host  *cap_net_raw=ep' out || fail "get: $(cat out)"
        mine $one 0 $nscap explain "$dir/t/cat" --pid $task >out 2>&1 || fail "explain: $(cat out)"
        grep -q 'file gives *cap_net_raw=ep' out || fail "explain: $(cat out)"
        for command in get "explain --pid $task"; do
            got=0; mine $one 0 $nscap $command "$dir/cat" >out 2>&1 || got=$?
            [ $got = 2 ] && grep -q hidden out || fail "$command: $got, $(cat out)"
        done
        "#,
    );
}

#[test]
fn an_overlayfs_over_a_mount_of_nscap_answers_as_the_mount_does() {
    with_mounts(
        "an_overlayfs_over_a_mount_of_nscap_answers_as_the_mount_does",
        r#"
        mkdir up work over
        chmod 755 up
        install -m 755 /bin/cat p/src/cat
        install -m 755 /bin/cat p/src/other
        $nscap mount p/src t
        for file in cat other; do
            $nscap set cap_net_raw=ep t/$file --for 100000
            $nscap set cap_chown=ep t/$file --for 200000
        done
        mount -t overlay -o "lowerdir=$dir/t,upperdir=$dir/up,workdir=$dir/work" none over
        container one 100000
        gets cap_net_raw mine $one 7 "$dir/over/cat"
        agrees 0 mine $one 7 "$dir/over/cat"
        expect 0 'kuid 100000' $nscap get over/cat
        expect 0 'kuid 200000' $nscap get over/cat
        expect 2 'below this overlayfs' $nscap set cap_kill=ep over/cat --for 300000
        expect 2 'below this overlayfs' $nscap rm over/cat --all
        gets cap_net_raw mine $one 7 "$dir/over/cat"
        "#,
    );
}

#[test]
fn a_shift_on_a_mount_of_nscap_is_undone_to_what_was() {
    with_containers(
        "a_shift_on_a_mount_of_nscap_is_undone_to_what_was",
        r#"
        mkdir p/src/tree
        for file in both one many host; do install -m 755 /bin/cat p/src/tree/$file; done
        $nscap mount p/src t
        for file in both many; do
            $nscap set cap_net_raw=ep t/tree/$file --for 1000
            $nscap set cap_kill=ep t/tree/$file --for 2000
        done
        $nscap set cap_fowner=ep t/tree/one --for 1000
        for file in both host; do $nscap set cap_chown=ep t/tree/$file --for host; done
        $nscap --json scan --sort t/tree >before
        $nscap shift --from 0:0:65536 --to 0:100000:65536 t/tree >&2
        expect 0 'kuid 101000' $nscap get t/tree/both
        expect 0 'kuid 100000  cap_chown=ep' $nscap get t/tree/host
        $nscap shift --undo t/tree >&2 || fail 'not undone'
        $nscap --json scan --sort t/tree >after
        diff before after >&2 || fail 'not as before'
        [ "$(stat -c %u t/tree/both)" = 0 ] || fail "$(stat t/tree/both)"
        "#,
    );
}

#[test]
fn a_list_that_was_copied_to_a_bare_disk_is_named_and_taken_each_entry_for_its_root() {
    with_mounts(
        "a_list_that_was_copied_to_a_bare_disk_is_named_and_taken_each_entry_for_its_root",
        r#"
        disk e
        install -m 755 /bin/cat p/src/cat
        $nscap mount p/src t
        $nscap set cap_net_raw=ep t/cat --for 100000
        $nscap set cap_chown=ep t/cat --for 200000
        cp -a t/cat e/cat
        expect 1 'copied from a mount' $nscap get e/cat
        container one 100000
        task mine $one 7
        expect 1 'copied from a mount' $nscap explain "$dir/e/cat" --pid $task
        expect 1 '--from-attribute' $nscap explain "$dir/e/cat" --pid $task
        expect 0 'an unmodified kernel honours one' $nscap set --from-attribute e/cat
        for kuid in 100000 200000; do expect 0 "kuid $kuid" $nscap get e/cat; done
        expect 2 'no list of entries' $nscap set --from-attribute e/cat
        # A server takes the table for what it is.
        mkdir p/e u
        mount --bind e p/e
        $nscap mount p/e u
        gets cap_net_raw nsenter -t $one -U -S 7 -G 7 -- "$dir/u/cat"
        $nscap umount u
        umount p/e
        # No host value and no entry of another container comes of a list that a container can have written.
        list() {
            python3 -c 'import struct, sys; print("0x" + struct.pack("<8I", 1 << 24, 1, int(sys.argv[1]), 1, 1 << 13, 0, 0, 0).hex())' $1
        }
        for file in zero one; do install -m 755 /bin/cat e/$file; done
        setfattr -n security.nscapability -v $(list 0) e/zero
        expect 2 'host value' $nscap set --from-attribute e/zero
        expect 2 'host value' $nscap set --from-attribute --replace e/zero
        setfattr -n security.nscapability -v $(list 4294967295) e/zero
        expect 2 'EINVAL' $nscap set --from-attribute e/zero
        setfattr -n security.nscapability -v $(list 300000) e/one
        mkdir own
        mine $one 0 mount -t tmpfs -o mode=755 none "$dir/own"
        mine $one 0 install -m 755 /bin/cat "$dir/own/cat"
        mine $one 0 setfattr -n security.nscapability -v $(list 300000) "$dir/own/cat"
        expect 2 'namespace below' $nscap set --from-attribute "/proc/$one/root$dir/own/cat"
        expect 1 'copied' $nscap get "/proc/$one/root$dir/own/cat"
        expect 0 '' $nscap set --from-attribute e/one
        expect 0 'kuid 300000' $nscap get e/one
        "#,
    );
}
