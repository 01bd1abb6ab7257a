// SPDX-License-Identifier: MIT OR Apache-2.0
//! What messages say: a no names what is in the way and the command that helps, in a few lines.

mod stage;

use nscap_testing::is_root;
use stage::script;

#[test]
fn a_second_shift_says_in_a_few_lines_how_to_go_back() {
    if !is_root("a_second_shift_says_in_a_few_lines_how_to_go_back") {
        return;
    }
    script(
        r#"
        mkdir -p t/rootfs
        for n in $(seq 300); do : >t/rootfs/$n; done
        shift_it() { "$nscap" "$@" shift --from host --to 0:1500000:65536 t/rootfs; }
        shift_it 2>/dev/null
        owners() { stat -c '%n %u %g' t/rootfs/*; }
        owners >before
        expect 1 "nothing was changed; it was shifted so already, from" shift_it
        grep -q -- '--undo takes that back' err || fail "$(cat err)"
        [ "$(cat out err | wc -l)" -lt 40 ] || fail "$(cat out err)"
        grep -q '2[0-9][0-9] more of the kind' err || fail "$(cat err)"
        owners | cmp - before || fail "changed"
        # Programs get each.
        status=0; shift_it --json >out 2>err || status=$?
        [ $status = 1 ] && [ "$(grep -c '"event":"problem"' out)" -gt 600 ] || fail "$status: $(wc -l out)"
        [ "$(wc -l <err)" -lt 40 ] || fail "$(cat err)"
        expect 1 "it was shifted before, from" "$nscap" shift -n --from host --to 0:1700000:65536 t/rootfs
        "$nscap" shift --undo t/rootfs 2>/dev/null
        [ "$(stat -c %u t/rootfs/7)" = 0 ] || fail "not undone"
        # Without a shift before there is none to take back.
        chown 70000 t/rootfs/7
        expect 1 "nothing was changed" shift_it
        grep -q undo err && fail "$(cat err)"
        true
        "#,
    );
}

#[test]
fn a_shift_beside_a_server_says_what_to_unmount() {
    if !is_root("a_shift_beside_a_server_says_what_to_unmount") {
        return;
    }
    script(
        r#"
        mkdir -p p/src/in
        "$nscap" mount p/src t
        shift_it() { "$nscap" shift --from host --to 0:1500000:65536 "$1"; }
        expect 2 "is the source of a mount of nscap, whose server must see every change" shift_it p/src
        remedy=$(sed -n 's/.*first \(nscap umount .*\)/\1/p' err)
        [ "$remedy" = "nscap umount $dir/t" ] || fail "$(cat err)"
        expect 2 "lies in the source of a mount of nscap" shift_it p/src/in
        [ "$(stat -c %u p/src)" = 0 ] || fail changed
        # The command does help.
        "$nscap" ${remedy#nscap }
        expect 0 "" shift_it p/src
        "#,
    );
}

#[test]
fn umount_names_what_holds_the_mount_and_what_helps() {
    if !is_root("umount_names_what_holds_the_mount_and_what_helps") {
        return;
    }
    script(
        r#"
        mkdir p/src/below
        cp /bin/sleep p/src/sleeper
        "$nscap" mount p/src t
        # A directory, a descriptor, a program, and a mapping without a descriptor.
        (cd t/below; exec sleep 1000) & one=$!
        sleep 1000 7<t/below & two=$!
        t/sleeper 1000 & three=$!
        for pid in $one $two $three; do until_so grep -q sleep /proc/$pid/comm; done
        expect 2 EBUSY "$nscap" umount t
        for pid in $one $two $three; do grep -q "pid $pid (sleep" err || fail "$pid: $(cat err)"; done
        grep -qF "nscap umount --lazy $dir/t" err || fail "$(cat err)"
        [ "$(wc -l <err)" = 1 ] || fail "$(cat err)"
        kill $one $two $three
        wait 2>/dev/null || true
        # What is mounted in it.
        mount -t tmpfs none t/below
        expect 2 "$dir/t/below is mounted in it" "$nscap" umount t
        umount t/below
        # A container has a copy, which keeps the server.
        unshare --mount --propagation private sleep 1000 & container=$!
        until_so sh -c "[ \$(readlink /proc/$container/ns/mnt) != $(readlink /proc/self/ns/mnt) ]"
        expect 0 "the mount namespace of pid $container (sleep" "$nscap" umount t
        remedy=$(sed -n 's/.*goes on: \(.*\), or end them/\1/p' err)
        [ "$remedy" = "nsenter --target $container --mount umount $dir/t" ] || fail "$(cat err)"
        [ -n "$(server "$dir/t")" ] || fail "no server"
        # The command does help.
        $remedy
        until_so is_gone "$dir/t"
        kill $container
        # Another mount of the same namespace.
        mkdir other
        "$nscap" mount p/src t
        mount --bind t other
        expect 0 "it is mounted at $dir/other, so its server goes on: nscap umount $dir/other" "$nscap" umount t
        "$nscap" umount other
        until_so is_gone "$dir/t"
        "#,
    );
}

#[test]
fn several_layers_have_their_names_and_an_image_in_one_archive_is_read() {
    if !is_root("several_layers_have_their_names_and_an_image_in_one_archive_is_read") {
        return;
    }
    script(
        r#"
        cp /bin/cat ping
        "$nscap" set cap_net_raw=ep ping
        pack one.tar ping
        "$nscap" rm ping
        "$nscap" set cap_kill=ep ping --for 100000
        pack two.tar ping
        gzip -k two.tar
        expect 0 "two.tar.gz: ping" "$nscap" layer ls one.tar two.tar.gz
        grep -q '^one.tar: ping  *host' out || fail "$(cat out)"
        expect 1 "two.tar: ping" "$nscap" layer check --allow effective one.tar two.tar
        grep -q '^one.tar' out && fail "$(cat out)"
        expect 1 '"archive":"two.tar"' "$nscap" --json layer check one.tar two.tar
        "$nscap" layer ls one.tar | grep -q '^ping' || fail "one needs no name"
        # One that cannot be read does not hide the others.
        head -c 700 one.tar >cut.tar
        expect 2 "cut.tar" "$nscap" layer ls cut.tar two.tar missing.tar
        grep -q '^two.tar: ping' out || fail "$(cat out)"
        grep -q missing.tar err || fail "$(cat err)"
        # docker save, before and since version 25, and oci-archive: images without an image in them.
        mkdir -p old/abc new/blobs/sha256 oci/blobs/sha256
        cp one.tar old/abc/layer.tar; echo '[]' >old/manifest.json; echo '{}' >old/repositories
        cp one.tar new/blobs/sha256/abc; echo '[]' >new/manifest.json
        for dir_ in new oci; do echo '{"imageLayoutVersion":"1.0.0"}' >$dir_/oci-layout; echo '{}' >$dir_/index.json; done
        cp one.tar oci/blobs/sha256/abc
        for image in old new oci; do tar -cf $image.tar -C $image .; tar -cf $image-plain.tar -C $image $(ls $image); done
        for archive in old new oci old-plain new-plain oci-plain; do
            expect 1 "" "$nscap" layer ls $archive.tar
            expect 0 "" "$nscap" layer check $archive.tar
        done
        expect 0 "0 of 0 layers changed" "$nscap" layer map --from 0:100000:65536 --to host -o made.tar new.tar
        cmp new.tar made.tar
        # Its first members do not tell that it is an image, and of a pipe they are gone by then.
        expect 2 "a docker-archive that cannot be read so" "$nscap" layer map --from host --to host -o no.tar old-plain.tar
        [ ! -e no.tar ] || fail "a map of no layer"
        gzip old-plain.tar
        expect 2 "docker-archive" sh -c "cat old-plain.tar.gz | $nscap layer ls -"
        expect 1 "" "$nscap" layer ls - <old-plain.tar.gz
        # A layer may well have one of these names.
        mkdir rootfs
        echo '{}' >rootfs/manifest.json; cp ping rootfs/ping
        pack rootfs.tar -C rootfs .
        expect 1 "" "$nscap" layer ls rootfs.tar
        "#,
    );
}

#[test]
fn a_file_that_a_process_does_not_find_is_told_with_its_root() {
    if !is_root("a_file_that_a_process_does_not_find_is_told_with_its_root") {
        return;
    }
    script(
        r#"
        mkdir -p root/bin
        cp /bin/cat root/bin/cat
        for top in lib lib64 usr; do mkdir root/$top; mount --rbind /$top root/$top; done
        cp /bin/sleep root/bin/sleep
        chroot root /bin/sleep 1000 & pid=$!
        until_so grep -q sleep /proc/$pid/comm
        # Given as we see it, which is not how the process does.
        expect 2 "no such file below the root of process $pid (names start at its /)" \
            "$nscap" explain "$dir/root/bin/cat" --pid $pid
        grep -q 'ENOENT, No such file or directory' err || fail "$(cat err)"
        expect 0 "" "$nscap" explain /bin/cat --pid $pid
        kill $pid
        "#,
    );
}

#[test]
fn a_check_prints_what_it_can_and_why_not_the_rest() {
    if !is_root("a_check_prints_what_it_can_and_why_not_the_rest") {
        return;
    }
    script(
        r#"
        check() { "$nscap" check "$1" >out 2>err || status=$?; }
        has() { grep -q "$@" out || fail "$* not in: $(cat out err)"; }
        # On a mount of nscap.
        "$nscap" mount p/src t
        check t
        has '^  yes  security.capability  *can be set in t'
        has '^  yes  security.nscapability  *can be set in t, up to 1024 entries'
        "$nscap" umount t
        "$nscap" mount p/src t -o single
        check t
        has '^  yes  security.nscapability  *can be set in t, up to 1 entries'
        [ -z "$(ls -A t)" ] || fail "left $(ls -A t)"
        "$nscap" umount t
        # Where nothing can be made.
        mkdir ro
        mount -t tmpfs -o ro none ro
        for place in "/proc EOPNOTSUPP" "ro EROFS"; do
            status=0
            check ${place% *}
            [ $status = 2 ] || fail "$place: $status"
            has "^  ?    security.capability  *could not be tried: a file in ${place% *}: ${place#* }"
            has '^  yes  kernel'
            has 'needs what could not be tried'
            has '^Ranges'
        done
        setpriv --reuid=65534 --regid=65534 --clear-groups "$nscap" check . >out 2>err || true
        has 'could not be tried: a file in .: EACCES'
        expect 2 '"name":"security.capability","ok":null' "$nscap" --json check /proc
        expect 2 ENOENT "$nscap" check missing
        # A file system without O_TMPFILE.
        mkdir -p lower upper work merged
        mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none merged
        check merged
        has '^  yes  security.capability'
        [ -z "$(ls -A merged)" ] || fail "left $(ls -A merged)"
        # Many namespaces with one root take one line.
        pids=
        for n in $(seq 30); do unshare --user --map-root-user sleep 1000 & pids="$pids $!"; done
        until_so sh -c "[ \$(lsns -t user -n | wc -l) -gt 30 ]"
        check .
        [ "$(wc -l <out)" -lt 40 ] || fail "$(cat out)"
        has 'and [0-9]* more: the root, kuid 0, is also root of'
        kill $pids
        "#,
    );
}
