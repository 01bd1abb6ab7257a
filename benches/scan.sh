#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# benches/scan.sh: `nscap scan` against `getcap -r` and against a bare C loop (benches/scan.c) that makes
# the same system calls, on 300,000 files in 20,000 directories of a fresh ext4. Each round runs
# all of them, in another order each time; ROUNDS (15) says how many. The table has medians, and the
# medians of the rounds' ratios to getcap; exit status 1 where a target is missed.
#
# As root, on Linux 6.13 or newer; takes 1 GB in TMPDIR for a while, and leaves nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin"
rounds=${ROUNDS:-15}

if [ -z "${SCAN_BENCH_DIR:-}" ]; then
    ci/need cargo:cargo cc:gcc getcap:libcap2-bin mkfs.ext4:e2fsprogs /usr/bin/time:time
    cargo build --quiet --release -p nscap
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    # The mount goes with the namespace.
    SCAN_BENCH_DIR=$dir unshare --mount --propagation private "$0"
    exit
fi

dir=$SCAN_BENCH_DIR
cc -O2 -Wall -o "$dir/scan" benches/scan.c -lpthread
install target/release/nscap "$dir/nscap"
truncate -s 2G "$dir/image"
mkfs.ext4 -q -N 400000 "$dir/image"
mkdir "$dir/mount"
mount -o loop "$dir/image" "$dir/mount"
tree=$dir/mount/tree
mkdir "$tree"
(
    cd "$tree"
    printf 'directory-%03d\n' {0..99} | tee directories | xargs mkdir
    while read -r one; do printf "$one/below-%03d\n" {0..198}; done <directories | xargs mkdir
    rm directories
    find . -mindepth 1 -type d | while read -r one; do
        printf "$one/file-%02d.txt\n" {0..14}
    done | xargs touch
    for n in 0 33 66 99; do
        file=$(printf 'directory-%03d/below-%03d/file-07.txt' $n $n)
        setcap cap_net_raw=ep "$file"
        setcap -n 100000 cap_net_raw=ep "${file/07/08}"
    done
)

ways=(getcap nscap-1 nscap-2 loop-1 loop-2)
run() {
    case $1 in
    getcap) getcap -r "$tree" ;;
    nscap-*) "$dir/nscap" scan --threads "${1#*-}" "$tree" ;;
    loop-*) "$dir/scan" "${1#*-}" list "$tree" ;;
    esac
}
echo "$(find "$tree" -type f | wc -l) files in $(find "$tree" -mindepth 1 -type d | wc -l) directories, $rounds rounds"
for way in "${ways[@]}"; do
    run "$way" | cut -d' ' -f1 | sort >"$dir/found-$way"
    cmp "$dir/found-getcap" "$dir/found-$way"
done
peak=$(/usr/bin/time -f %M "$dir/nscap" scan -0 --threads 2 "$tree" 2>&1 >/dev/null)

TIMEFORMAT='%3R %3U %3S'
for ((round = 0; round < rounds; round++)); do
    for ((n = 0; n < ${#ways[@]}; n++)); do
        way=${ways[(n + round) % ${#ways[@]}]}
        echo "$round $way $({ time run "$way" >/dev/null 2>&1; } 2>&1)"
    done
done | awk -v rounds="$rounds" -v peak="$peak" '
    { wall[$2, $1] = $3; cpu[$2, $1] = $4 + $5 }
    function median(values, count,    i, j, kept) {
        for (i = 1; i < count; i++)
            for (j = i; j > 0 && values[j] < values[j - 1]; j--) {
                kept = values[j]; values[j] = values[j - 1]; values[j - 1] = kept
            }
        return values[int(count / 2)]
    }
    function of(times, way,    r, all) {
        for (r = 0; r < rounds; r++) all[r] = times[way, r]
        return median(all, rounds)
    }
    function ratio(times, way, other,    r, all) {
        for (r = 0; r < rounds; r++) all[r] = times[way, r] / times[other, r]
        return median(all, rounds)
    }
    function row(name, way) {
        printf "| %s | %.0f ms | %.2f | %.0f ms | %.2f |\n", name, 1000 * of(wall, way),
            ratio(wall, way, "getcap"), 1000 * of(cpu, way), ratio(cpu, way, "getcap")
    }
    function target(name, is, most, unit) {
        printf "| %s | %.2f%s | %s%s | %s |\n", name, is, unit, most, unit, is <= most ? "met" : "missed"
        if (is > most) missed = 1
    }
    END {
        print "\n| | wall | to getcap | CPU | to getcap |\n|---|---|---|---|---|"
        row("`getcap -r`", "getcap"); row("`nscap scan`, 1 thread", "nscap-1")
        row("`nscap scan`, 2 threads", "nscap-2"); row("C loop, 1 thread", "loop-1")
        row("C loop, 2 threads", "loop-2")
        print "\n| target | is | at most | |\n|---|---|---|---|"
        target("1 thread, wall to getcap", ratio(wall, "nscap-1", "getcap"), 0.45, "")
        target("2 threads, wall to getcap", ratio(wall, "nscap-2", "getcap"), 0.27, "")
        target("1 thread, wall to the C loop", ratio(wall, "nscap-1", "loop-1"), 1.1, "")
        target("2 threads, wall to the C loop", ratio(wall, "nscap-2", "loop-2"), 1.1, "")
        target("peak memory, 2 threads", peak / 1024, 8, " MB")
        exit missed
    }'
