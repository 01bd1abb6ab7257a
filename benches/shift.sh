#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# How fast `nscap shift` moves a tree, beside what people do today. A context figure: chown(1) plans
# nothing, can be neither resumed nor undone, and loses every capability and set-id bit on its way.
#
#     benches/shift.sh [FILES] [ROUNDS] [DIR]
#
# FILES (100000) in directories of 15 below DIR (a new one in /tmp), ROUNDS (5) alternating runs.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin"
files=${1:-100000} rounds=${2:-5} place=${3:-/tmp}
ci/need cargo:cargo setcap:libcap2-bin python3:python3
[ "$(id -u)" -eq 0 ] || { echo "benches/shift.sh: needs root" >&2; exit 2; }
cargo build --quiet --release -p nscap
nscap=$PWD/target/release/nscap
work=$(mktemp -d "$place/nscap-shift.XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 - "$work/tree" "$files" <<'PY'
import os, sys
top, files = sys.argv[1], int(sys.argv[2])
os.mkdir(top)
for n in range(files):
    if n % 15 == 0:
        here = f"{top}/{n // 1500}/{n // 15}"
        os.makedirs(here)
    with open(f"{here}/{n}", "w") as file:
        file.write("x")
PY
for n in 0 1 2 3 4 5 6 7; do
    cp /bin/cat "$work/tree/0/cap$n"
    setcap -n 100000 cap_net_raw=ep "$work/tree/0/cap$n"
done
chown -hR 100000:100000 "$work/tree"
inodes=$(find "$work/tree" | wc -l)
a=0:100000:65536 b=0:200000:65536
seconds() {
    local start=$EPOCHREALTIME
    "$@" >/dev/null 2>&1
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }'
}
with_find() { find "$work/tree" -print0 | xargs -0 chown -h 300000:300000; }
back() { find "$work/tree" -print0 | xargs -0 chown -h 100000:100000; }
for ((round = 0; round < rounds; round++)); do
    echo "shift $(seconds "$nscap" shift --from $a --to $b "$work/tree")"
    echo "undo $(seconds "$nscap" shift --undo "$work/tree")"
    echo "dry-run $(seconds "$nscap" shift -n --from $a --to $b "$work/tree")"
    echo "chown-R $(seconds chown -hR 300000:300000 "$work/tree")"
    back
    echo "find-chown $(seconds with_find)"
    back
done | python3 -c '
import collections, statistics, sys
inodes = int(sys.argv[1])
times = collections.defaultdict(list)
for line in sys.stdin:
    name, value = line.split()
    times[name].append(float(value))
base = times["find-chown"]
print("| %d inodes | median | inodes/s | of find \\| chown |\n|---|---|---|---|" % inodes)
for name, values in times.items():
    ratio = statistics.median(a / b for a, b in zip(values, base))
    median = statistics.median(values)
    print("| %s | %.2f s | %d | %.2f |" % (name, median, inodes / median, ratio))
' "$inodes"
