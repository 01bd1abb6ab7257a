// SPDX-License-Identifier: MIT OR Apache-2.0
//! `nscap mount`, `umount` and `stats` as administrators use them: by hand, by mount(8), by
//! systemd, and after things have gone wrong.

mod stage;

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nscap_testing::is_root;
use stage::{has, script, script_with};

#[test]
fn a_mount_is_usable_when_the_command_returns_and_the_server_holds_nothing_of_the_caller() {
    if !is_root("a_mount_is_usable_when_the_command_returns") {
        return;
    }
    script(
        r#"
        echo hello >p/src/file
        exec 9>lock
        cd p/src
        TERM= "$nscap" mount . ../../t
        cd "$dir"
        [ "$(cat t/file)" = hello ] || fail content
        [ "$(type_at "$dir/t")" = fuse.nscap ] || fail "type $(type_at "$dir/t")"
        grep -qF " - fuse.nscap $dir/p/src rw" /proc/self/mountinfo || fail source
        grep -F "$dir/t" /proc/self/mountinfo | grep -q nosuid && fail nosuid
        pid=$(server "$dir/t")
        [ "$(cat /proc/$pid/comm)" = nscap ] || fail comm
        [ "$(readlink /proc/$pid/cwd)" = / ] || fail "its directory"
        [ "$(cut -d' ' -f6 /proc/$pid/stat)" = "$pid" ] || fail "not a session of its own"
        [ "$(cut -d' ' -f7 /proc/$pid/stat)" = 0 ] || fail "it has a terminal"
        for fd in 0 1 2; do [ "$(readlink /proc/$pid/fd/$fd)" = /dev/null ] || fail "fd $fd"; done
        ls -l /proc/$pid/fd | grep -E "lock|pipe:" && fail "a descriptor of the caller's"
        "$nscap" umount t
        until_so is_gone "$dir/t"
        [ -z "$(type_at "$dir/t")" ] || fail "still mounted"
        # A journal, or another reader of the output, is not kept waiting.
        said=$("$nscap" mount p/src t 2>&1)
        [ -z "$said" ] || fail "said $said"
        "$nscap" umount "$dir/t/"
        # Nor does it depend on how few files its caller may have open.
        prlimit --nofile=16:1024 "$nscap" mount p/src t
        "$nscap" umount t
        "#,
    );
}

#[test]
fn what_cannot_be_mounted_is_said_and_mounts_nothing() {
    if !is_root("what_cannot_be_mounted_is_said_and_mounts_nothing") {
        return;
    }
    script(
        r#"
        before=$(cat /proc/self/mountinfo)
        expect 2 ENOENT "$nscap" mount missing t
        expect 2 ENOENT "$nscap" mount p/src missing
        touch p/file
        expect 2 ENOTDIR "$nscap" mount p/file t
        expect 2 ENOTDIR "$nscap" mount p/src p/file
        expect 2 "'nonsense': is unknown: EINVAL" "$nscap" mount -o ro,nonsense p/src t
        expect 2 "is not offered" "$nscap" mount -o sync p/src t
        expect 2 "--threads" "$nscap" mount --threads 0 p/src t
        expect 2 "from 1 to 64" "$nscap" mount -o threads=65 p/src t
        expect 2 "usage: nscap mount" sh -c "'$nscap' mount p/src 2>&1 | tr U u; exit 2"
        mkdir p/src/below
        expect 2 EINVAL "$nscap" mount p/src p/src/below
        name=$(printf 'a\033[2J\nb')
        mkdir "$name"
        chmod 755 .
        expect 2 reach "$nscap" mount "$name" t
        [ "$(wc -l <err)" = 1 ] && ! grep -q "$(printf '\033')" err || fail "a name forged: $(cat err)"
        # Others can reach it.
        chmod 711 p
        expect 2 "chmod 0700" "$nscap" mount p/src t
        expect 0 "" "$nscap" mount --reachable-ok p/src t
        "$nscap" umount t
        chmod 700 p
        [ "$(cat /proc/self/mountinfo)" = "$before" ] || fail "something is mounted"
        # An ordinary user.
        chmod 755 p
        expect 2 "root of a user namespace" setpriv --reuid=7 --regid=7 --clear-groups "$nscap" mount --reachable-ok p/src t
        chmod 700 p
        # No FUSE at all.
        mount -t tmpfs none /dev
        mknod -m 666 /dev/null c 1 3
        expect 2 "modprobe fuse" "$nscap" mount p/src t
        expect 2 "ENOENT" "$nscap" mount --foreground p/src t
        expect 2 "modprobe fuse" "$nscap" tour
        umount /dev
        pgrep -x nscap && fail "a server is left"
        [ "$(cat /proc/self/mountinfo)" = "$before" ] || fail "something is mounted"
        "#,
    );
}

#[test]
fn umount_is_for_mounts_of_nscap_and_says_busy() {
    if !is_root("umount_is_for_mounts_of_nscap_and_says_busy") {
        return;
    }
    script(
        r#"
        expect 2 "nothing is mounted there: EINVAL" "$nscap" umount t
        expect 2 "type tmpfs, not of nscap: EINVAL" "$nscap" umount .
        expect 2 ENOENT "$nscap" umount missing
        mkdir p/src/below
        "$nscap" mount p/src t
        expect 2 "nothing is mounted there" "$nscap" umount t/below
        expect 2 EPERM setpriv --reuid=7 --regid=7 --clear-groups "$nscap" umount t
        exec 5<t/below
        expect 2 EBUSY "$nscap" umount t
        expect 0 "" "$nscap" umount --lazy t
        [ -z "$(type_at "$dir/t")" ] || fail "still mounted"
        ls /proc/self/fd/5/ >/dev/null || fail "what is open works no more"
        [ -n "$(server "$dir/t")" ] || fail "its server is gone"
        exec 5<&-
        until_so is_gone "$dir/t"
        "#,
    );
}

#[test]
fn mount_8_finds_the_helper() {
    let test = "mount_8_finds_the_helper";
    if !is_root(test) || !has("mount.fuse3", test) {
        return;
    }
    script(
        r#"
        # /sbin with two links more, in this mount namespace.
        mkdir upper work
        mount -t overlay -o lowerdir=/usr/sbin,upperdir=upper,workdir=work none /usr/sbin
        ln -s "$nscap" /usr/sbin/mount.nscap
        flags() { awk -v at="$dir/t" '$5 == at { print $6 "," $NF }' /proc/self/mountinfo; }

        mount -t nscap "$dir/p/src" "$dir/t"
        [ "$(type_at "$dir/t")" = fuse.nscap ] || fail type
        umount "$dir/t"
        until_so is_gone "$dir/t"

        mount -t nscap "$dir/p/src" "$dir/t" -o ro,noexec,nodev,noatime,single,same-ok,threads=3
        for flag in ro noexec nodev noatime; do flags | grep -qw $flag || fail "$flag of $(flags)"; done
        tr '\0' ' ' </proc/$(server "$dir/t")/cmdline |
            grep -qF -- "-o defaults,single,busy=same-ok,ro,nodev,noexec,noatime,threads=3" || fail options
        expect 1 EROFS sh -c 'touch t/x || { echo EROFS; exit 1; }'
        umount "$dir/t"
        until_so is_gone "$dir/t"

        # user implies nosuid, and that is said.
        expect 0 "nosuid: execve looks at no capability" mount -t nscap "$dir/p/src" "$dir/t" -o nosuid
        flags | grep -qw nosuid || fail nosuid
        umount "$dir/t"
        until_so is_gone "$dir/t"

        expect 2 "'sames-ok': is unknown" mount -t nscap "$dir/p/src" "$dir/t" -o sames-ok
        expect 0 "" mount -s -t nscap "$dir/p/src" "$dir/t" -o sames-ok
        umount "$dir/t"
        expect 0 "" mount -f -t nscap "$dir/p/src" "$dir/t"
        [ -z "$(type_at "$dir/t")" ] || fail "mount -f mounted"

        # fstab(5), by the target, and all of it, twice.
        printf '%s %s nscap same-ok,_netdev,nofail,x-systemd.automount,comment=x 0 0\n' "$dir/p/src" "$dir/t" >fstab
        mount --fstab fstab "$dir/t"
        [ "$(type_at "$dir/t")" = fuse.nscap ] || fail "by the target"
        mount --fstab fstab -a
        [ "$(grep -c fuse.nscap /proc/self/mountinfo)" = 1 ] || fail "mounted again"
        umount "$dir/t"
        mount --fstab fstab -a
        [ "$(grep -c fuse.nscap /proc/self/mountinfo)" = 1 ] || fail "not all"
        umount "$dir/t"
        until_so is_gone "$dir/t"

        # As FUSE's own helper starts a file system.
        ln -s "$nscap" /usr/sbin/nscap
        mount -t fuse "nscap#$dir/p/src" "$dir/t"
        [ "$(type_at "$dir/t")" = fuse.nscap ] || fail "by mount.fuse"
        flags | grep -qw nosuid && fail "nosuid by mount.fuse"
        umount "$dir/t"
        mount -t fuse.nscap "$dir/p/src" "$dir/t" -o ro
        flags | grep -qw ro || fail "mount.fuse's options"
        umount "$dir/t"

        # In another mount namespace.
        unshare --mount --propagation private sleep infinity &
        other=$!
        until_so sh -c "[ \$(readlink /proc/$other/ns/mnt) != $(readlink /proc/self/ns/mnt) ]"
        mount -N $other -t nscap "$dir/p/src" "$dir/t"
        grep -q fuse.nscap /proc/self/mountinfo && fail "mounted here"
        grep -q fuse.nscap /proc/$other/mountinfo || fail "not mounted there"
        nsenter --mount --target $other "$nscap" umount "$dir/t"
        kill $other
        "#,
    );
}

#[test]
fn signals_end_it_in_order_and_a_hangup_does_not() {
    if !is_root("signals_end_it_in_order_and_a_hangup_does_not") {
        return;
    }
    script(
        r#"
        echo kept >p/src/file
        for signal in TERM INT; do
            "$nscap" mount p/src t
            kill -HUP $(server "$dir/t")
            [ "$(cat t/file)" = kept ] || fail "a hangup ended it"
            kill -$signal $(server "$dir/t")
            until_so is_gone "$dir/t"
            [ -z "$(type_at "$dir/t")" ] || fail "$signal left the mount"
        done
        # A task that has a file open keeps it for a moment.
        "$nscap" mount p/src t
        exec 5<t/file
        kill -TERM $(server "$dir/t")
        until_so sh -c "! grep -q fuse.nscap /proc/self/mountinfo"
        [ "$(cat <&5)" = kept ] || fail "no moment left"
        until_so is_gone "$dir/t"
        # The kernel lets go of the queues of io_uring a moment after their server is gone.
        not_connected() { ! cat <&5 >/dev/null 2>err && grep -q "not connected" err; }
        until_so not_connected
        expect 1 "not connected" cat /proc/self/fd/5
        exec 5<&-
        # In the foreground.
        "$nscap" mount --foreground --stats p/src t >out 2>err &
        server=$!
        until_so mountpoint -q t
        cat t/file >/dev/null
        kill -USR1 $server
        until_so grep -q "^opens *1$" err
        kill -TERM $server
        wait $server || fail "exit status $?"
        grep -q "^opens *1$" out || fail "no counters at the end: $(cat out)"
        "$nscap" --json mount --foreground --stats p/src t >out &
        server=$!
        until_so mountpoint -q t
        "$nscap" umount t
        wait $server || fail "exit status $?"
        grep -q '^{"path":"'"$dir"'/t","counters":{' out || fail "$(cat out)"
        "#,
    );
}

/// A thread of the server waits for a disk that does not answer: its process cannot end, and
/// neither the caller nor the administrator waits for that.
#[test]
fn a_request_that_hangs_keeps_nobody_when_the_server_is_to_end() {
    const NAME: &str = "a_request_that_hangs_keeps_nobody_when_the_server_is_to_end";
    if !is_root(NAME) || !has("mkfs.ext4", NAME) || !has("fsfreeze", NAME) {
        return;
    }
    script(
        r#"
        truncate -s 64M image
        mkfs.ext4 -q -F image
        mount -o loop image p/src
        mkdir p/src/tree
        "$nscap" mount p/src/tree t
        for n in 1 2 3 4 5 6 7 8; do echo >t/$n; done
        fsfreeze -f p/src
        (sleep 30; fsfreeze -u p/src) &
        thaws=$!
        asked=()
        for n in 1 2 3 4 5 6 7 8; do chmod 600 t/$n 2>err$n & asked+=($!); done
        sleep 0.5
        kill -TERM $(server "$dir/t")
        for task in "${asked[@]}"; do wait $task && fail "it was answered"; done
        kill $thaws
        fsfreeze -u p/src || fail "tasks waited for the disk"
        grep -L "connection abort\|not connected" err? | grep -q . && fail "$(cat err?)"
        [ -z "$(type_at "$dir/t")" ] || fail "still mounted"
        umount -l p/src
        "#,
    );
}

#[test]
fn a_killed_server_loses_nothing() {
    if !is_root("a_killed_server_loses_nothing") {
        return;
    }
    script(
        r#"
        cp /bin/cat p/src/cat
        "$nscap" mount p/src t
        for root in 100000 200000 300000; do
            "$nscap" set cap_net_raw=ep t/cat --for $root
        done
        "$nscap" set cap_chown=ep t/cat --for host
        before=$("$nscap" --json get t/cat)
        kill -KILL $(server "$dir/t")
        # A request that is being answered at that moment gets ECONNABORTED.
        not_connected() { ! cat t/cat >/dev/null 2>err && grep -q "not connected" err; }
        until_so not_connected
        expect 2 "is there already (nscap umount" "$nscap" mount p/src t
        "$nscap" umount t
        "$nscap" mount p/src t
        [ "$("$nscap" --json get t/cat)" = "$before" ] || fail "$("$nscap" --json get t/cat)"
        "$nscap" umount t
        say "$before"
        "#,
    );
}

#[test]
fn the_command_shows_and_changes_what_a_mount_shows() {
    if !is_root("the_command_shows_and_changes_what_a_mount_shows") {
        return;
    }
    script(
        r#"
        cp /bin/cat p/src/cat
        chown 100000:100000 p/src/cat
        "$nscap" mount p/src t
        unshare --user sleep infinity &
        container=$!
        until_so sh -c "[ \$(readlink /proc/$container/ns/user) != $(readlink /proc/self/ns/user) ]"
        echo "0 100000 65536" >/proc/$container/uid_map
        echo "0 100000 65536" >/proc/$container/gid_map
        inside() { local id=$1; shift; nsenter -U -S $id -G $id -t $container "$@"; }
        entries() { "$nscap" --json get "$1" | sed 's/.*"entries":/{"entries":/; s/"seal".*//'; }

        # From inside, by the name that the VFS lets through; no note about unmodified kernels.
        inside 0 "$nscap" set cap_net_raw=ep t/cat
        expect 1 EBUSY inside 0 "$nscap" set cap_chown=ep t/cat
        "$nscap" set cap_kill=ep t/cat --for 300000 2>err
        [ ! -s err ] || fail "$(cat err)"
        # The same through the mount and beneath it.
        [ "$(entries t/cat)" = "$(entries p/src/cat)" ] || fail "$(entries t/cat)"
        "$nscap" --json get t/cat | grep -q '"kuid":100000.*"kuid":300000' || fail get
        expect 0 "nothing lost" "$nscap" explain t/cat --as pid:$container --uid 7
        expect 1 "does not look at tables" "$nscap" explain p/src/cat --as pid:$container --uid 7
        inside 7 t/cat /proc/self/status | grep -q '^CapEff:.*0000000000002000' || fail "no grant"

        inside 0 "$nscap" set cap_chown=ep t/cat --replace
        "$nscap" get t/cat | grep -q "kuid 300000  cap_kill=ep" || fail "what others have is gone"
        inside 7 t/cat /proc/self/status | grep -q '^CapEff:.*0000000000000001' || fail "not replaced"
        inside 0 "$nscap" rm t/cat
        expect 1 ENODATA inside 0 "$nscap" rm t/cat
        "$nscap" get t/cat | grep -q "kuid 300000  cap_kill=ep" || fail "what others have is gone"
        "$nscap" set cap_setpcap=p t/cat --for host
        "$nscap" get t/cat | grep -q "^t/cat  host .*overrides" || fail "no host value"
        "$nscap" rm t/cat
        # What a child has is another's: neither command takes it away without its name.
        "$nscap" rm t/cat --for 300000
        "$nscap" set cap_kill=ep t/cat --for 100005
        expect 1 ENODATA inside 0 "$nscap" rm t/cat
        expect 1 ENODATA "$nscap" rm t/cat
        inside 0 "$nscap" set cap_chown=ep t/cat --replace
        "$nscap" --json get t/cat | grep -q '"kuid":100000.*"kuid":100005' || fail "a child's is gone"
        inside 0 "$nscap" rm t/cat
        [ "$(getcap -n t/cat)" = "t/cat cap_kill=ep [rootid=100005]" ] || fail "$(getcap -n t/cat)"
        [ "$(inside 0 getcap -n t/cat)" = "t/cat cap_kill=ep [rootid=5]" ] || fail "not named inside"
        "$nscap" --json get --as pid:$container t/cat | grep -q '"capability":{"value":{"rootid":5' || fail as
        "$nscap" rm --all t/cat
        expect 1 "" "$nscap" get t/cat
        [ -z "$(getfattr -d -m 'security[.](ns)?cap' p/src/cat)" ] || fail "something is left"
        kill $container
        "$nscap" umount t
        "#,
    );
}

#[test]
fn counters_are_for_who_administers_the_server() {
    if !is_root("counters_are_for_who_administers_the_server") {
        return;
    }
    let said = script(
        r#"
        expect 2 "not of nscap" "$nscap" stats .
        expect 2 "nothing is mounted there" "$nscap" stats p
        cp /bin/cat p/src/cat
        "$nscap" mount p/src t
        cat t/cat >/dev/null
        setcap cap_net_raw=ep t/cat
        "$nscap" stats t | grep -q "^passthrough opens *[1-9]" || fail "$("$nscap" stats t)"
        say "$("$nscap" --json stats t)"
        user="setpriv --reuid=7 --regid=7 --clear-groups"
        expect 2 ENODATA $user "$nscap" stats t
        expect 1 "No such attribute" $user getfattr -n system.nscap.stats t
        # Root of a namespace is not root.
        expect 2 ENODATA unshare --user --map-root-user "$nscap" stats t
        getfattr -d -m - t | grep -q stats && fail "it is listed"
        "$nscap" umount t
        "#,
    );
    let counters: serde_json::Value = serde_json::from_str(&said[0]).unwrap();
    assert_eq!(counters["counters"]["grants"], 1, "{counters}");
    let documented =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json.md"))
            .unwrap();
    for name in counters["counters"].as_object().unwrap().keys().chain(&["counters".to_owned()]) {
        assert!(documented.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn root_of_a_user_namespace_mounts_a_tree_of_its_own() {
    if !is_root("root_of_a_user_namespace_mounts_a_tree_of_its_own") {
        return;
    }
    script(
        r#"
        mknod -m 666 fuse c 10 229
        mount --bind fuse /dev/fuse
        chmod 777 .
        setpriv --reuid=1000 --regid=1000 --clear-groups \
            unshare --user --map-root-user --mount --propagation private bash -euc '
                mount -t tmpfs -o mode=755 none t
                mkdir -p t/p/src t/shown
                chmod 700 t/p
                cp /bin/cat t/p/src/cat
                ./nscap mount t/p/src t/shown
                ./nscap stats t/shown | grep -q "^passthrough opens *0$"
                setcap cap_net_raw=ep t/shown/cat
                t/shown/cat /proc/self/status | grep -q "^CapPrm"
                ./nscap stats t/shown | grep -q "^grants *1$"
                ./nscap umount t/shown
            ' || fail "in the namespace"
        grep -q fuse.nscap /proc/self/mountinfo && fail "it is seen outside"
        until_so is_gone "$dir/t/shown"
        "#,
    );
}

#[test]
fn systemd_takes_the_units_and_its_limits_are_enough() {
    let test = "systemd_takes_the_units_and_its_limits_are_enough";
    if !is_root(test) || !has("systemd-analyze", test) {
        return;
    }
    let units = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd");
    script_with(
        r#"
        # What systemd reads is /usr/bin/nscap.
        sed "s|/usr/bin/nscap|$nscap|" "$units/nscap@.service" >nscap@srv-tree.service
        cp "$units/srv-tree.mount" .
        systemd-analyze verify --man=no ./nscap@srv-tree.service ./srv-tree.mount >out 2>&1 || fail "$(cat out)"
        [ ! -s out ] || fail "$(cat out)"
        # None that makes a mount namespace.
        grep -E '^(Private|Protect|ReadOnly|ReadWrite|Inaccessible|Bind|TemporaryFileSystem|RootDirectory|DynamicUser|MountFlags)' \
            "$units/nscap@.service" && fail "the mount would not be seen"
        # The command line as systemd makes it, with no more capabilities than the unit leaves.
        caps=$(sed -n 's/^CapabilityBoundingSet=//p' "$units/nscap@.service" | tr ' ' '\n' |
            tr A-Z a-z | sed 's/^cap_/+/' | paste -sd, -)
        cp /bin/cat p/src/cat
        chown 100000:100000 p/src/cat
        setpriv --bounding-set="-all,$caps" --no-new-privs \
            "$nscap" mount --foreground -o "" -- "$dir/p/src" "$dir/t" &
        until_so mountpoint -q t
        grep -q "^NoNewPrivs:.*1" /proc/$!/status || fail "no limits"
        unshare --user sleep infinity &
        container=$!
        until_so sh -c "[ \$(readlink /proc/$container/ns/user) != $(readlink /proc/self/ns/user) ]"
        echo "0 100000 65536" >/proc/$container/uid_map
        echo "0 100000 65536" >/proc/$container/gid_map
        inside() { local id=$1; shift; nsenter -U -S $id -G $id -t $container "$@"; }
        inside 0 setcap cap_net_raw=ep t/cat
        inside 7 t/cat /proc/self/status | grep -q '^CapEff:.*0000000000002000' || fail "no grant"
        chmod 4755 t/cat && mknod t/node c 1 3 && chown 5:5 t/node && touch -d @7 t/node
        "$nscap" stats t | grep -q "^passthrough opens *[1-9]" || fail "no passthrough"
        "$nscap" umount t
        "#,
        &[("units", units)],
    );
}

#[test]
fn a_service_manager_is_told() {
    if !is_root("a_service_manager_is_told") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    script_with(
        r#"
        NOTIFY_SOCKET=$socket "$nscap" mount --foreground p/src t &
        until_so mountpoint -q t
        stat t >/dev/null
        sleep 0.2
        "$nscap" umount t
        wait
        "#,
        &[("socket", path.to_str().unwrap())],
    );
    let mut message = [0; 1000];
    let length = socket.recv(&mut message).unwrap();
    let text = String::from_utf8_lossy(&message[..length]);
    assert!(text.contains("READY=1\n") && text.contains("STATUS=serving "), "{text}");
}
