#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# What the file system costs: native, bindfs, fuse-overlayfs, nscap, and a FUSE server that does nothing,
# on the same tree in alternating rounds; then memory for each inode that the kernel knows. Needs root.
# The tree is an ext4 image in a temporary directory, mounted in a mount namespace of its own; when this
# ends, however it does, all of it is gone.
#
# usage: benches/mount.sh [ROW]     only rows whose name has ROW in it, and no memory
# ROUNDS (9), PROCESSES (2: rows with 1 and with 2 clients), WALK (1000000: files for memory, 0: none),
# OPTIONS of nscap mount: with --no-io-uring as on a kernel that has no FUSE over io_uring, which is
# turned on here otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin"
[ -n "${NSCAP_BENCH_SWITCHED:-}" ] || NSCAP_BENCH_SWITCHED=1 exec ci/with-io-uring benches/mount.sh "$@"
if [ -z "${NSCAP_BENCH_INSIDE:-}" ]; then
    [ "$(id -u)" -eq 0 ] || { echo "benches/mount.sh: needs root" >&2; exit 2; }
    ci/need cargo:cargo cc:gcc bindfs:bindfs \
        fuse-overlayfs:fuse-overlayfs mkfs.ext4:e2fsprogs unshare:util-linux xz:xz-utils \
        /usr/src/linux-source-6.1.tar.xz:linux-source-6.1
    cargo build --quiet --release -p nscap -p nscap-bench
    work=$(mktemp -d)
    # With unshare goes the namespace's init, with that everything in it, and its mounts.
    inside=
    trap '[ -z "$inside" ] || { kill -KILL "$inside" 2>/dev/null; wait "$inside" 2>/dev/null || true; }; rm -rf "$work"' EXIT
    trap 'exit 143' TERM INT HUP
    NSCAP_BENCH_INSIDE=$work unshare --mount --pid --fork --kill-child --mount-proc \
        --propagation private "$0" "$@" &
    inside=$!
    wait "$inside"
    status=$?
    inside=
    exit "$status"
fi

work=$NSCAP_BENCH_INSIDE
# Whatever else runs here is to disturb as little as can be: servers and clients alike go first.
renice -n -15 -p $$ >/dev/null
bin=$PWD/target/release
client=$bin/bench-client
image() { # NAME SIZE INODES
    truncate -s "$2" "$work/$1.img"
    mkfs.ext4 -q -F -N "$3" -E lazy_itable_init=0 "$work/$1.img"
    mkdir "$work/$1"
    mount -o loop,noatime "$work/$1.img" "$work/$1"
}
await() { # DIR PID
    for _ in $(seq 200); do
        mountpoint -q "$1" && return 0
        kill -0 "$2" || exit 1
        sleep 0.05
    done
    echo "benches/mount.sh: $1 was never mounted" >&2
    exit 1
}

# A piece of a source tree: some 3,000 files.
mkdir "$work/piece"
tar -xf /usr/src/linux-source-6.1.tar.xz -C "$work/piece" linux-source-6.1/fs linux-source-6.1/kernel
export ARCHIVE=$work/piece.tar
tar -cf "$ARCHIVE" -C "$work/piece" .
rm -rf "$work/piece"

# The tree is one level down: a file system's own root has a lost+found.
image native 5G 400000
"$client" prepare "$work/native" /bin/true
mkdir "$work"/{bindfs,fuse-overlayfs,nscap,null} "$work/native/.upper" "$work/native/.work"
bindfs -f --multithreaded "$work/native" "$work/bindfs" &
await "$work/bindfs" $!
fuse-overlayfs -f -o "lowerdir=$work/native,upperdir=$work/native/.upper,workdir=$work/native/.work" \
    "$work/fuse-overlayfs" &
await "$work/fuse-overlayfs" $!
options=${OPTIONS:-}
# shellcheck disable=SC2086 # several options
"$bin/nscap" mount --foreground $options "$work/native" "$work/nscap" &
nscap=$!
await "$work/nscap" $nscap
"$bin/bench-null" "$work/null" "$work/native/part0/program" &
await "$work/null" $!

ONLY=${1:-} "$client" rows "native=$work/native" "bindfs=$work/bindfs" \
    "fuse-overlayfs=$work/fuse-overlayfs" "nscap=$work/nscap" "null=$work/null"

walk=${WALK:-1000000}
if [ $# -eq 0 ] && [ "$walk" -gt 0 ]; then
    image many 3G $((walk + 20000))
    "$client" fill "$work/many" "$walk"
    mkdir "$work/shown"
    # shellcheck disable=SC2086
    "$bin/nscap" mount --foreground $options "$work/many" "$work/shown" &
    server=$!
    await "$work/shown" $server
    memory() { awk '/^VmRSS/ { print $2 * 1024 }' "/proc/$server/status"; }
    before=$(memory)
    "$client" walk "$work/shown" >/dev/null
    full=$(memory)
    "$client" walk "$work/shown" >/dev/null
    again=$(memory)
    "$client" forget "$work/shown"
    sleep 2
    after=$(memory)
    awk -v n="$walk" -v before="$before" -v full="$full" -v again="$again" -v after="$after" 'BEGIN {
        per = (full - before) / n
        printf "\n%d files walked: resident %.1f MiB before, %.1f MiB after,", n, before / 2^20, full / 2^20
        printf " %.1f MiB after a second walk, %.1f MiB once forgotten\n", again / 2^20, after / 2^20
        printf "%.0f bytes an inode known (at most 300): %s\n", per, per <= 300 ? "kept" : "**missed**"
    }'
fi
