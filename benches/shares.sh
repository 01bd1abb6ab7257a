#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Fair shares: what a lookup costs three innocent users while a fourth is hostile, and what it cost them before;
# once with requests by io_uring and once by /dev/fuse. Needs root. Medians of 400 lookups at intervals of 5 ms,
# the worst of the three users; and the same of a server that does nothing, which has no hostile user: what it
# waits for is the processor. `attack` of the conformance suite has the same as pass and fail, and the ways that
# a shell has not (an inode lock without end, fanotify, leases).
#
# usage: benches/shares.sh
# ROUNDS (5): each is measured as often, and the median taken
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin"
[ -n "${NSCAP_BENCH_SWITCHED:-}" ] || NSCAP_BENCH_SWITCHED=1 exec ci/with-io-uring benches/shares.sh "$@"
bin=${CARGO_TARGET_DIR:-$PWD/target}/release
if [ -z "${NSCAP_BENCH_INSIDE:-}" ]; then
    [ "$(id -u)" -eq 0 ] || { echo "benches/shares.sh: needs root" >&2; exit 2; }
    ci/need cargo:cargo mkfs.ext4:e2fsprogs unshare:util-linux setpriv:util-linux fsfreeze:util-linux taskset:util-linux
    cargo build --quiet --release -p nscap -p nscap-bench
    work=$(mktemp -d)
    chmod 755 "$work"
    # With unshare goes the namespace's init, with that everything in it, and its mounts.
    inside=
    trap '[ -z "$inside" ] || { kill -KILL "$inside" 2>/dev/null; wait "$inside" 2>/dev/null || true; }; rm -rf "$work"' EXIT
    trap 'exit 143' TERM INT HUP
    NSCAP_BENCH_INSIDE=$work unshare --mount --pid --fork --kill-child --mount-proc \
        --propagation private "$0" "$@" &
    inside=$!
    wait "$inside"
    exit
fi

work=$NSCAP_BENCH_INSIDE rounds=${ROUNDS:-5}
cp "$bin/bench-client" "$work/client"
truncate -s 2G "$work/image"
mkfs.ext4 -q -F -E lazy_itable_init=0 "$work/image"
mkdir -m 700 "$work/private"
mkdir "$work/private/fs" "$work/shown"
mount -o loop,noatime "$work/image" "$work/private/fs"
mkdir -m 777 "$work/private/fs/tree"
for n in $(seq 200); do echo x >"$work/private/fs/tree/f$n"; done
chown 1000 "$work/private/fs/tree"/f*
for n in $(seq 0 39); do
    for m in 1 2 3; do
        echo x >"$work/private/fs/tree/c$n-$m"
        chown $((100000 + n)) "$work/private/fs/tree/c$n-$m"
    done
done

as() { # UID COMMAND...
    local uid=$1
    shift
    exec setpriv --reuid "$uid" --regid "$uid" --clear-groups "$@"
}
lookups() { # MOUNT COMMAND-PREFIX...: the worst of three users
    local uid names=$RANDOM-$RANDOM mount=$1
    shift
    for uid in 2001 2002 2003; do
        (as $uid "$@" "$work/client" lookups "$mount" "none-$names-$uid") &
    done | sort -g | tail -n 1
}
hostile=()
stop() {
    [ ${#hostile[@]} -eq 0 ] || kill -KILL "${hostile[@]}" 2>/dev/null || true
    wait "${hostile[@]}" 2>/dev/null || true
    hostile=()
}
nothing() { :; }
writers() {
    local n
    for n in 1 2 3 4 5 6; do
        (as 1000 bash -c "while :; do dd if=/dev/zero of=$work/shown/w$n bs=1M count=30 conv=fsync status=none; done") &
        hostile+=($!)
    done
}
pinned() {
    local n
    for n in $(seq 8); do
        (as 1000 taskset -c 0 bash -c "while :; do dd if=/dev/zero of=$work/shown/p$n bs=1M count=8 conv=fsync status=none; done") &
        hostile+=($!)
    done
}
freeze() {
    local n m
    # However this ends.
    (sleep 60; fsfreeze -u "$work/private/fs" 2>/dev/null) &
    thaws=$!
    fsfreeze -f "$work/private/fs"
    for n in $(seq 200); do
        (as 1000 chmod 600 "$work/shown/f$n") &
        hostile+=($!)
    done
    for n in $(seq 0 39); do
        for m in 1 2 3; do
            (as $((100000 + n)) chmod 600 "$work/shown/c$n-$m") &
            hostile+=($!)
        done
    done
}
thaw() {
    fsfreeze -u "$work/private/fs"
    kill $thaws 2>/dev/null || true
}
median() { sort -g | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }
row() { # NAME START END COMMAND-PREFIX...
    local name=$1 start=$2 end=$3 n before=() beside=() floor=()
    shift 3
    for n in $(seq "$rounds"); do
        before+=("$(lookups "$work/shown" "$@")")
        $start
        sleep 1.5
        beside+=("$(lookups "$work/shown" "$@")")
        floor+=("$(lookups "$work/null" "$@")")
        $end
        stop
    done
    before=$(printf '%s\n' "${before[@]}" | median) beside=$(printf '%s\n' "${beside[@]}" | median)
    floor=$(printf '%s\n' "${floor[@]}" | median)
    awk -v name="$name" -v how="$how" -v before="$before" -v beside="$beside" -v floor="$floor" 'BEGIN {
        ratio = beside / before
        printf "| %s | %s | %.0f | %.0f | %.0f | %.2f | %s |\n", name, how, before, beside, floor, ratio,
            ratio <= 5 || beside <= 1.25 * floor ? "kept" : "**missed**"
    }'
}

mkdir "$work/null"
"$bin/bench-null" "$work/null" /bin/true &
for n in $(seq 200); do
    mountpoint -q "$work/null" && break
    sleep 0.05
done
echo "| lookups of others, beside | requests by | undisturbed, us | beside it, us | null beside it, us | ratio | at most 5, or as null |"
echo "|---|---|---|---|---|---|---|"
for how in io_uring /dev/fuse; do
    option=
    [ "$how" = io_uring ] || option=--no-io-uring
    "$bin/nscap" mount $option "$work/private/fs/tree" "$work/shown"
    row "six that write 30 MiB and fsync" writers nothing
    row "eight that fsync on processor 0, all on it" pinned nothing taskset -c 0
    row "200 requests of one user and 120 of a container's forty that hang" freeze thaw
    "$bin/nscap" umount --lazy "$work/shown"
done
