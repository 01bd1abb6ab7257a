// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap mount` and its SOURCE: the owner of its file system, its mount, and other users that
//! change it.

mod stage;

use nscap_testing::is_root;
use stage::{script, script_with};

/// Shell functions: `flags` of what is mounted on $dir/t, and a tmpfs in $dir/p/src that root of a
/// user namespace makes, with that map.
const OWNED: &str = r#"
    flags() { awk -v at="$dir/t" '$5 == at { print $6 }' /proc/self/mountinfo; }
    owned() {
        unshare --user --mount --propagation unchanged sleep infinity &
        local holder=$!
        until_so sh -c "[ \$(readlink /proc/$holder/ns/user) != $(readlink /proc/self/ns/user) ]"
        echo "$1" >/proc/$holder/uid_map
        echo "$1" >/proc/$holder/gid_map
        # Made in the namespace, it is attached here: a process with a descriptor of a mount of another mount
        # namespace can clone it, if that mount is detached.
        python3 - $holder "$dir/p/src" <<'EOF'
import ctypes, os, socket, sys, array
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    result = libc.syscall(number, *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"syscall {number}")
    return result
ours, theirs = socket.socketpair()
child = os.fork()
if child == 0:
    for kind in "user", "mnt":
        fd = os.open(f"/proc/{sys.argv[1]}/ns/{kind}", os.O_RDONLY)
        if libc.setns(fd, 0) != 0:
            os._exit(1)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    config = call(430, b"tmpfs", 1)
    call(431, config, 1, b"mode", b"0755", 0)
    call(431, config, 6, None, None, 0)
    mount = call(432, config, 1, 0)
    socket.send_fds(theirs, [b"x"], [mount])
    os._exit(0)
_, fds, _, _ = socket.recv_fds(ours, 1, 1)
call(429, fds[0], b"", -100, sys.argv[2].encode(), 4)
EOF
        kill $holder
    }
"#;

#[test]
fn a_source_of_a_namespaces_is_shown_nosuid_unless_the_administrator_vouches() {
    let test = "a_source_of_a_namespaces_is_shown_nosuid_unless_the_administrator_vouches";
    if !is_root(test) || !stage::has("python3", test) {
        return;
    }
    script(&format!(
        r#"{OWNED}
        owned "0 0 65536"
        install -m 4755 /bin/cat p/src/cat
        expect 0 "a user namespace may own its file system" "$nscap" mount p/src t
        flags | grep -q nosuid.*nodev || fail "$(flags)"
        "$nscap" umount t
        until_so is_gone "$dir/t"
        expect 0 "" "$nscap" mount --source-owner-ok p/src t
        [ ! -s err ] || fail "$(cat err)"
        flags | grep -q nosuid && fail "$(flags)"
        "$nscap" umount t
        until_so is_gone "$dir/t"
        expect 0 "" "$nscap" mount -o source-owner-ok,nodev p/src t
        flags | grep -q nosuid && fail "$(flags)"
        flags | grep -q nodev || fail "$(flags)"
        "$nscap" umount t
        [ "$(ls -A p/src)" = cat ] || fail "something is left: $(ls -A p/src)"
        "#
    ));
}

#[test]
fn a_source_of_roots_own_is_taken_as_it_is() {
    if !is_root("a_source_of_roots_own_is_taken_as_it_is") {
        return;
    }
    script(&format!(
        r#"{OWNED}
        plain() {{
            expect 0 "" "$nscap" mount p/src t
            [ ! -s err ] || fail "$1: $(cat err)"
            flags | grep -Eq "nosuid|nodev|noexec|ro[,$]" && fail "$1: $(flags)"
            "$nscap" umount t
            until_so is_gone "$dir/t"
            [ -z "$(ls -A p/src)" ] || fail "$1: something is left: $(ls -A p/src)"
        }}
        # A part of a tmpfs, the whole of one, and an overlay, where a device is tried.
        plain "part of a tmpfs"
        mount -t tmpfs none p/src
        plain tmpfs
        umount p/src
        mkdir low up work
        mount -t overlay -o lowerdir=low,upperdir=up,workdir=work none p/src
        plain overlay
        umount p/src
        "#
    ));
}

#[test]
fn what_the_mount_of_the_source_withholds_is_withheld_and_said() {
    if !is_root("what_the_mount_of_the_source_withholds_is_withheld_and_said") {
        return;
    }
    script(&format!(
        r#"{OWNED}
        mount -t tmpfs none p/src
        for flag in nosuid nodev noexec nosymfollow ro; do
            mount -o remount,bind,$flag p/src
            expect 0 "is on a mount that is $flag: $dir/t is $flag as well" "$nscap" mount p/src t
            flags | grep -qw $flag || fail "$flag: $(flags)"
            "$nscap" umount t
            until_so is_gone "$dir/t"
            # What was asked for needs no word.
            expect 0 "" "$nscap" mount -o $flag p/src t
            grep -q "is on a mount" err && fail "$flag: $(cat err)"
            "$nscap" umount t
            until_so is_gone "$dir/t"
            mount -o remount,bind,suid,dev,exec,symfollow,rw p/src
        done
        # A file system that is read-only as a whole, and a directory of a mount.
        mount -o remount,ro p/src
        expect 0 "is ro as well" "$nscap" mount p/src t
        expect 1 "Read-only" touch t/x
        "$nscap" umount t
        "#
    ));
}

/// How each option about access times shows on files of the source that are a day old and older.
#[test]
fn options_about_access_times_are_kept() {
    if !is_root("options_about_access_times_are_kept") {
        return;
    }
    script_with(
        r#"
        # A file and a directory whose access times lie after their last change: relatime leaves them.
        old() {
            rm -rf p/src/*; echo x >p/src/file; mkdir p/src/dir; touch p/src/dir/x
            touch -a -d '5 minutes' p/src/file p/src/dir
        }
        # What reading both through the mount changes beneath.
        changed() {
            local file dir
            old
            "$nscap" mount -o "$1" p/src t
            file=$(stat -c %X p/src/file) dir=$(stat -c %X p/src/dir)
            cat t/file >/dev/null; ls t/dir >/dev/null
            "$nscap" umount t
            until_so is_gone "$dir_/t"
            [ "$file" = "$(stat -c %X p/src/file)" ] || echo file
            [ "$dir" = "$(stat -c %X p/src/dir)" ] || echo dir
        }
        dir_=$dir
        for more in defaults no-passthrough; do
            mount -t tmpfs -o noatime none p/src
            [ -z "$(changed $more)" ] || fail "$more: as the source, which is noatime"
            [ -z "$(changed relatime,$more)" ] || fail "$more: relatime"
            [ "$(changed strictatime,$more | xargs)" = "file dir" ] || fail "$more: strictatime"
            [ "$(changed strictatime,nodiratime,$more)" = file ] || fail "$more: nodiratime"
            umount p/src
            mount -t tmpfs -o strictatime none p/src
            [ "$(changed $more | xargs)" = "file dir" ] || fail "$more: as the source, which is strictatime"
            [ -z "$(changed noatime,$more)" ] || fail "$more: noatime"
            [ "$(changed nodiratime,$more)" = file ] || fail "$more: nodiratime alone"
            umount p/src
        done
        expect 2 "is not offered" "$nscap" mount -o lazytime p/src t
        "#,
        &[],
    );
}

/// Shell functions: `mounted` and `refused`, about a SOURCE on $dir/t and $dir/t2.
const CLAIMS: &str = r#"
    mkdir -p t2 p/src/in/deep p/beside
    other() { "$nscap" mount --reachable-ok "$1" t2; }
    busy() { expect 2 "$1" "$nscap" mount --reachable-ok "$2" t2; grep -q EBUSY err || fail "$(cat err)"; }
    free() {
        expect 0 "" "$nscap" mount --reachable-ok "$1" t2
        "$nscap" umount t2
        until_so is_gone "$dir/t2"
    }
"#;

#[test]
fn a_tree_is_served_once_whatever_it_is_named_by() {
    if !is_root("a_tree_is_served_once_whatever_it_is_named_by") {
        return;
    }
    script(&format!(
        r#"{CLAIMS}
        in_turn() {{
            "$nscap" mount p/src/in t
            busy "is the source of another mount already ($dir/p/src/in, process" p/src/in
            busy "lies in the source of another mount" p/src/in/deep
            busy "contains the source of another mount" p/src
            busy "contains the source of another mount" p
            free p/beside
            # By bind mounts that show nothing of what is above or below.
            mkdir -p b
            mount --bind p/src/in/deep b; busy "lies in the source" b; umount b
            mount --bind p/src b; busy "contains the source" b; umount b
            mount --bind p/src/in b; busy "is the source" b; busy "lies in the source" b/deep; umount b
            mount --bind p/beside b; free b; umount b
            # In another mount namespace, with another /run and another /dev.
            expect 2 "lies in the source" unshare --mount --propagation private sh -euc '
                mount -t tmpfs none /run
                mount --bind p/src/in/deep b
                "$1" mount --reachable-ok b t2
            ' sh "$nscap"
            # Renamed, with what is above it: it is the same tree.
            mv p/src/in p/src/moved
            busy "lies in the source" p/src/moved/deep
            busy "contains the source" p/src
            mv p/src/moved p/beside/in
            busy "contains the source" p/beside
            mv p/beside/in p/src/in
            # Killed, it holds nothing.
            kill -KILL $(server "$dir/t")
            "$nscap" umount t
            free p/src
        }}
        in_turn
        # The same of a file system of its own, and of one that has no handles.
        mount -t tmpfs none p/src; mkdir -p p/src/in/deep
        mkdir -p p/src/beside; rmdir p/beside; ln -s src/beside p/beside
        in_src() {{
            "$nscap" mount p/src t
            busy "lies in the source" p/src/in
            mkdir -p b; mount --bind p/src/in b; busy "lies in the source" b; umount b
            "$nscap" umount t
            "$nscap" mount p/src/in t
            busy "contains the source" p/src
            busy "lies in the source" p/src/in/deep
            mount --bind p/src/in/deep b; busy "lies in the source" b; umount b
            free p/src/beside
            "$nscap" umount t
            until_so is_gone "$dir/t"
        }}
        in_src
        umount p/src
        mkdir low up work
        mount -t overlay -o lowerdir=low,upperdir=up,workdir=work none p/src
        mkdir -p p/src/in/deep p/src/beside
        in_src
        umount p/src
        "#
    ));
}

#[test]
fn a_tree_is_not_served_and_shifted_at_once() {
    if !is_root("a_tree_is_not_served_and_shifted_at_once") {
        return;
    }
    script(&format!(
        r#"{CLAIMS}
        shift_() {{ "$nscap" shift --from 0:0:65536 --to 0:100000:65536 "$1"; }}
        touch p/src/in/file
        "$nscap" mount p/src/in t
        for tree in p/src/in p/src/in/deep p/src; do
            expect 2 "EBUSY" shift_ $tree
            grep -Eq "source of a mount of nscap" err || fail "$(cat err)"
        done
        [ -z "$(find p/src ! -uid 0)" ] || fail "something was shifted"
        [ "$(ls -A p p/src | grep -v -e src -e in -e beside -e : | xargs)" = "" ] || fail "a journal: $(ls -A p p/src)"
        expect 0 "" "$nscap" shift --dry-run --from 0:0:65536 --to 0:100000:65536 p/src
        "$nscap" umount t
        # As root of a user namespace holds it, which has no registry.
        mkfifo hold
        python3 -c 'import fcntl, os, sys
root = os.open(sys.argv[1], os.O_RDONLY); fcntl.flock(root, fcntl.LOCK_EX)
print("held", flush=True); sys.stdin.read()' p/src/in <hold >held &
        exec 7>hold
        until_so grep -q held held
        busy "another process has claimed (process" p/src/in
        exec 7>&-
        wait $!
        shift_ p/src/in
        [ -z "$(find p/src/in ! -uid 100000)" ] || fail "not shifted"
        "#
    ));
}

#[test]
fn a_mount_ends_with_its_mount_namespace_and_keeps_none() {
    if !is_root("a_mount_ends_with_its_mount_namespace_and_keeps_none") {
        return;
    }
    script(
        r#"
        echo content >p/src/file
        # The process that made it ends, and so does the namespace; binds in it have no effect.
        unshare --mount --propagation private sh -euc '
            "$1" mount p/src t
            mkdir -p b
            mount --bind t b
            [ "$(cat b/file)" = content ]
        ' sh "$nscap"
        until_so is_gone "$dir/t"
        # A server in the foreground, which is the only process there.
        unshare --mount --propagation private "$nscap" mount --foreground p/src t &
        until_so sh -c "! [ -d /proc/$! ]"
        # What the server sees is nothing, and its mount is there all the same.
        "$nscap" mount p/src t
        pid=$(server "$dir/t")
        [ "$(grep -c . /proc/$pid/mountinfo)" = 1 ] || fail "$(cat /proc/$pid/mountinfo)"
        [ -z "$(ls -A /proc/$pid/root/)" ] || fail "$(ls /proc/$pid/root/)"
        # Nor does it keep what others want to unmount.
        mkdir m
        mount -t tmpfs none m
        mkdir -m 700 m/c
        mkdir m/c/src m/c/t
        "$nscap" umount t
        "$nscap" mount m/c/src t
        umount m || fail "the server keeps the mount of its source"
        touch t/x || fail "and cannot do without"
        "$nscap" umount t
        "#,
    );
}

#[test]
fn umount_waits_for_the_server_and_says_what_keeps_it() {
    if !is_root("umount_waits_for_the_server_and_says_what_keeps_it") {
        return;
    }
    script(
        r#"
        for _ in $(seq 20); do
            "$nscap" mount p/src t
            "$nscap" umount t 2>err
            [ ! -s err ] || fail "$(cat err)"
            [ -z "$(pgrep -f "^nscap mount --detached .* $dir/t\$")" ] || sleep 0.05
        done
        # umount(8) does not wait: then mount does.
        for _ in $(seq 10); do
            "$nscap" mount p/src t
            umount t
        done
        # A bind beside it, and another mount namespace.
        mkdir b
        "$nscap" mount p/src t
        mount --bind t b
        expect 0 "it is mounted at $dir/b" "$nscap" umount t
        expect 2 "is the source of another mount already" "$nscap" mount p/src t
        grep -q "it is mounted at $dir/b" err || fail "$(cat err)"
        "$nscap" umount b
        "$nscap" mount p/src t
        unshare --mount --propagation private sleep infinity &
        until_so sh -c "[ \$(readlink /proc/$!/ns/mnt) != $(readlink /proc/self/ns/mnt) ]"
        expect 0 "the mount namespace of pid $! (sleep" "$nscap" umount t
        expect 2 "is the source of another mount already" "$nscap" mount p/src t
        grep -q "the mount namespace of pid $! (sleep" err || fail "$(cat err)"
        kill $!
        until_so is_gone "$dir/t"
        "$nscap" mount p/src t
        # A server that does not answer: it is unmounted all the same, and no task waits for ever.
        kill -STOP $(server "$dir/t")
        expect 0 "has not ended yet" "$nscap" umount t
        pkill -KILL -f "^nscap mount --detached .* $dir/t\$"
        until_so is_gone "$dir/t"
        "$nscap" mount p/src t
        "$nscap" umount t
        "#,
    );
}

#[test]
fn a_limit_of_open_files_that_is_too_low_is_said_at_the_start() {
    if !is_root("a_limit_of_open_files_that_is_too_low_is_said_at_the_start") {
        return;
    }
    script(
        r#"
        for n in $(seq 900); do echo $n >p/src/$n; chmod 666 p/src/$n; done
        expect 2 EMFILE prlimit --nofile=200:200 "$nscap" mount p/src t
        grep -q "may open 200 files (the hard limit" err || fail "$(cat err)"
        [ -z "$(type_at "$dir/t")" ] || fail "it is mounted"
        # With as many as it says, users run out, and not the server.
        needed=$(sed -n 's/.* threads need \([0-9]*\) to serve.*/\1/p' err)
        expect 2 "EMFILE" prlimit --nofile=$((needed - 1)):$((needed - 1)) "$nscap" mount p/src t
        prlimit --nofile=$needed:$needed "$nscap" mount -o no-passthrough p/src t
        for user in 1000 1001; do
            setpriv --reuid=$user --regid=$user --clear-groups bash -c '
                for n in $(seq 900); do
                    { exec {fd}<>t/$n; } 2>/dev/null || { [ $n -gt 10 ] && exit 7; exit 8; }
                done' && fail "nobody ran out" || [ $? = 7 ] || fail "no user"
        done
        for n in $(seq 5 100 900); do [ "$(cat t/$n)" = $n ] || fail "afterwards: $n"; done
        ls -l t >/dev/null
        "$nscap" umount t
        "#,
    );
}

#[test]
fn overlays_that_leave_the_content_below_are_warned_of() {
    if !is_root("overlays_that_leave_the_content_below_are_warned_of") {
        return;
    }
    script(
        r#"
        parameter=/sys/module/overlay/parameters/metacopy
        [ -e $parameter ] || { say "no overlayfs"; exit 0; }
        echo Y >yes; echo N >no
        mount --bind yes $parameter
        expect 0 "metacopy=off" "$nscap" mount p/src t
        "$nscap" umount t
        expect 0 "" "$nscap" mount -o nosuid p/src t
        grep -q metacopy err && fail "where nothing is granted: $(cat err)"
        "$nscap" umount t
        umount $parameter
        mount --bind no $parameter
        expect 0 "" "$nscap" mount p/src t
        [ ! -s err ] || fail "$(cat err)"
        "$nscap" umount t
        "#,
    );
}

#[test]
fn servers_of_user_namespaces_keep_out_of_each_others_trees() {
    if !is_root("servers_of_user_namespaces_keep_out_of_each_others_trees") {
        return;
    }
    script(
        r#"
        mknod -m 666 fuse c 10 229
        mount --bind fuse /dev/fuse
        mkdir -p u/closed/src/in/deep u/closed/beside u/t u/t2
        touch u/closed/src/in/file
        chown -R 1000:1000 u
        chmod 700 u/closed
        mkfifo hold held
        chmod 666 hold held
        user="setpriv --reuid=1000 --regid=1000 --clear-groups unshare --user --map-root-user --mount --propagation private"
        $user sh -euc './nscap mount u/closed/src/in u/t; echo served >held; read line <hold' &
        first=$!
        read line <held
        busy() { expect 2 EBUSY $user ./nscap mount "$1" u/t2; grep -q "another process has claimed" err || fail "$(cat err)"; }
        busy u/closed/src/in
        busy u/closed/src/in/deep
        busy u/closed/src
        busy u/closed
        expect 0 "" $user ./nscap mount u/closed/beside u/t2
        # Nor does root change the tree meanwhile, from wherever that is.
        for tree in u/closed/src/in/deep u/closed/src/in u/closed/src u/closed; do
            expect 2 EBUSY "$nscap" shift --from 0:0:65536 --to 0:100000:65536 $tree
        done
        echo >hold
        wait $first
        until_so is_gone "$dir/u/t"
        expect 0 "" "$nscap" shift --from 0:0:65536 --to 0:100000:65536 u/closed/src
        "#,
    );
}
