// SPDX-License-Identifier: MIT OR Apache-2.0
//! Containers by the names that their managers have, and what `check` says of a directory.

mod stage;

use nscap_testing::is_root;
use stage::script;

#[test]
fn a_container_of_podman_is_found_by_its_name() {
    const NAME: &str = "a_container_of_podman_is_found_by_its_name";
    if !(is_root(NAME) && stage::has("podman", NAME) && stage::has("crun", NAME)) {
        return;
    }
    script(
        r#"
        umount -l /sys/fs/cgroup/unified 2>/dev/null || true
        mkdir -p rootfs/bin rootfs/dev rootfs/proc rootfs/sys rootfs/etc rootfs/run store run tmp bin
        cp /bin/sleep rootfs/bin/
        ldd /bin/sleep | grep -o '/[^ ]*' | while read -r file; do
            mkdir -p "rootfs$(dirname "$file")"; cp -L "$file" "rootfs$file"
        done
        touch rootfs/run/.containerenv; chown -R 100000:100000 rootfs
        cp /bin/sleep rootfs/bin/able; setcap cap_net_raw=ep rootfs/bin/able
        export TMPDIR=$dir/tmp XDG_RUNTIME_DIR=$dir/run
        # The real one, with its state here.
        cat >bin/podman <<END
#!/bin/sh
exec $(command -v podman) --root $dir/store --runroot $(short_run) --cgroup-manager cgroupfs "\$@"
END
        chmod 755 bin/podman; export PATH=$dir/bin:$PATH
        trap 'podman rm -f -t 0 web >/dev/null 2>&1 || true; umount -R store 2>/dev/null || true' EXIT
        podman run -d --name web --network none --ulimit nofile=512:512 --ulimit nproc=512:512 \
            --uidmap 0:100000:65536 --rootfs "$dir/rootfs" /bin/sleep 100 >/dev/null
        pid=$(podman inspect --format '{{.State.Pid}}' web)
        expect 1 "pid $pid (sleep), uid 0" "$nscap" explain /bin/able --pid podman:web
        expect 1 'the bounding set lacks' "$nscap" explain /bin/able --pid podman:web
        expect 0 podman:web "$nscap" generate who podman:
        cp /bin/true file
        expect 0 '' "$nscap" set cap_net_raw=ep file --for podman:web
        expect 0 'cap_net_raw=ep' "$nscap" get file --as 100000
        expect 2 'no such container' "$nscap" get file --as podman:other
        podman stop -t 0 web >/dev/null
        [ -z "$("$nscap" generate who podman:)" ] || fail "a name of what does not run"
        expect 2 'is not running (it is exited)' "$nscap" get file --as podman:web
        expect 2 'is not running (it is exited)' "$nscap" explain /bin/sleep --pid podman:web
        "#,
    );
}

/// What cannot run here answers as its own manual has it; each is there for one command and for
/// nothing of ours.
#[test]
fn a_manager_that_is_missing_or_wrong_is_an_error() {
    const NAME: &str = "a_manager_that_is_missing_or_wrong_is_an_error";
    if !is_root(NAME) {
        return;
    }
    script(
        r#"
        for who in podman:a docker:a incus:a kube:a/b/c machine:a unit:a; do
            expect 2 'is not installed' /usr/bin/env PATH=/nonexistent \
                "$nscap" get "$dir/nscap" --as $who
        done
        expect 2 'expected kube:NAMESPACE/POD/CONTAINER' "$nscap" get nscap --as kube:a
        expect 2 'no such name can be' "$nscap" get nscap --as podman:--all
        mkdir -p bin; export PATH=$dir/bin:$PATH
        answers() { printf '#!/bin/sh\n%s\n' "$2" >bin/$1; chmod 755 bin/$1; }
        sleep 100 & first=$!; sleep 100 & second=$!
        sleeps() { grep -qx sleep /proc/$first/comm; }
        until_so sleeps
        now=$(date +%s)
        answers docker "echo $first running $(date -u -d @$now +%Y-%m-%dT%H:%M:%S.123456789Z)"
        expect 0 "pid $first (sleep)" "$nscap" explain /bin/true --pid docker:a
        # Another process has its number meanwhile.
        answers docker "echo $first running $(date -u -d @$((now - 600)) +%Y-%m-%dT%H:%M:%S.1Z)"
        expect 2 'is another process meanwhile' "$nscap" explain /bin/true --pid docker:a
        # It is started again between two looks.
        answers podman "if [ -e again ]; then echo $second running $now; else touch again; echo $first running $now; fi"
        expect 2 'has been started again meanwhile' "$nscap" explain /bin/true --pid podman:a
        # What is paused has its process.
        answers docker "echo $first paused x"
        expect 0 "pid $first (sleep)" "$nscap" explain /bin/true --pid docker:a
        answers docker "echo 0 exited x"
        expect 2 'is not running (it is exited)' "$nscap" explain /bin/true --pid docker:a
        answers docker "echo 4194399 running x"
        expect 2 'has ended meanwhile' "$nscap" explain /bin/true --pid docker:a
        answers docker "printf 'Error: \\033[31mno such\\n' >&2; exit 1"
        expect 2 'docker says: Error: ' "$nscap" explain /bin/true --pid docker:a
        ! grep -q "$(printf '\033')" err || fail "a control character: $(cat -v err)"
        answers systemctl "printf 'MainPID=$first\nActiveState=active\nLoadState=loaded\n'"
        expect 0 "pid $first (sleep)" "$nscap" explain /bin/true --pid unit:web.service
        answers systemctl "printf 'MainPID=0\nActiveState=inactive\nLoadState=not-found\n'"
        expect 2 'no such unit' "$nscap" explain /bin/true --pid unit:web.service
        answers machinectl "printf 'Leader=$first\nState=running\n'"
        expect 0 "pid $first (sleep)" "$nscap" explain /bin/true --pid machine:m
        answers incus "printf 'Name: c\nStatus: RUNNING\nPID: $first\n'"
        expect 0 "pid $first (sleep)" "$nscap" explain /bin/true --pid incus:c
        answers incus "printf 'Name: c\nStatus: FROZEN\nPID: $first\n'"
        expect 0 "pid $first (sleep)" "$nscap" explain /bin/true --pid incus:c
        answers crictl 'case $1 in pods) echo p1 ;; ps) echo c1 ;; inspect) echo '"$first"' CONTAINER_RUNNING x ;; esac'
        expect 0 "pid $first (sleep)" "$nscap" explain /bin/true --pid kube:ns/pod/web
        answers crictl 'case $1 in pods) echo p1; echo p2 ;; esac'
        expect 2 'several pods' "$nscap" explain /bin/true --pid kube:ns/pod/web
        kill $first $second
        "#,
    );
}

/// As bash asks: what is offered for the word, with the colon as a word of its own.
#[test]
fn a_shell_completes_the_names_that_managers_have() {
    const NAME: &str = "a_shell_completes_the_names_that_managers_have";
    if !is_root(NAME) {
        return;
    }
    script(
        r#"
        mkdir -p bin; ln "$nscap" bin/nscap; cp /bin/bash bin/; all=$PATH; path=$dir/bin:/usr/bin:/bin
        answers() { printf '#!/bin/sh\n%s\n' "$2" >bin/$1; chmod 755 bin/$1; }
        answers podman '[ "$*" = "ps --format {{.Names}}" ] && printf "web\ndb-1,alias\n"'
        answers systemctl '[ $1 = list-units ] && printf "%s loaded active running What\n" a.service "dev-\\x2d.service" b@1.service'
        answers machinectl '[ "$1 $2" = "list --no-legend" ] && printf "m1 container nspawn debian 12 -\n"'
        answers incus '[ "$*" = "list status=running --format csv --columns n" ] && echo c1'
        answers crictl 'exit 1'
        bin/nscap generate completions bash >completions
        offers() { # offers OPTION WORD: what bash has then
            PATH=$path bin/bash -c 'source ./completions
                COMP_LINE="nscap explain x $1 $2"; COMP_POINT=${#COMP_LINE}
                _nscap_or_who nscap "${2##*:}" "$1"; echo "${COMPREPLY[*]}"' bash "$1" "$2"
        }
        is() { [ "$(offers "$1" "$2")" = "$3" ] || fail "$1 $2: $(offers "$1" "$2"), not $3"; }
        is --pid podman: 'web db-1'
        is --as podman:w web
        # A name that a shell would read otherwise is left out.
        is --pid unit: 'a.service b@1.service'
        is --pid machine:m m1
        is --pid incus: c1
        is --pid kube: ''
        is --pid pod podman:
        is --as inc incus:
        offers --as '' | grep -q '^host .*ns: .*podman: .*kube: machine: unit:$' || fail "$(offers --as '')"
        ! offers --pid '' | grep -q host || fail "$(offers --pid '')"
        answers podman 'exit 1'
        is --pid podman: ''
        "#,
    );
}

#[test]
fn check_tries_whether_a_file_system_can_be_id_mapped() {
    const NAME: &str = "check_tries_whether_a_file_system_can_be_id_mapped";
    if !is_root(NAME) {
        return;
    }
    script(
        r#"
        fact() { # fact DIR NAME: its value
            "$nscap" --json check "$1" >said || true
            grep "\"name\":\"$2\"" said | sed 's/.*"value":\("[^"]*"\|null\).*/\1/'
        }
        # Held against mount(8) of util-linux or the kernel's own list: tmpfs since 6.3, proc never.
        mkdir over lower upper work plain again
        [ "$(fact /proc 'id-mapped mounts')" = '"no"' ] || fail "proc: $(cat said)"
        truncate -s 8M image; mkfs.ext4 -q -F image; mount -o loop image plain
        [ "$(fact "$dir/plain" 'id-mapped mounts')" = '"yes"' ] || fail "ext4: $(cat said)"
        [ -z "$(fact "$dir/plain" overlay)" ] || fail "overlay: $(cat said)"
        mount -t overlay overlay -o lowerdir=$dir/lower,upperdir=$dir/upper,workdir=$dir/work over
        [ "$(fact "$dir/over" overlay)" = "\"$dir/over\"" ] || fail "overlay: $(cat said)"
        grep -q '/upper' said || fail "no upper layer: $(cat said)"
        mount -t overlay overlay -o lowerdir=$dir/lower:$dir/plain again
        fact "$dir/lower" 'layer of an overlay' | grep -qF "\"$dir/again\"" || fail "layer: $(cat said)"
        # Nothing was left behind: no mount, no child.
        [ "$(fact "$dir/plain" 'user.max_user_namespaces')" = "\"$(cat /proc/sys/user/max_user_namespaces)\"" ] ||
            fail "a setting: $(cat said)"
        expect '' 'What decides beside' sh -c '"$@" || true' sh "$nscap" check plain
        "#
        .replace("expect ''", "expect 0")
        .as_str(),
    );
}
