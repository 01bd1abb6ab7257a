#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# What `nscap layer` costs: a plain layer through a pipe against cat in the same place, alternating,
# and the peak memory of each command. Layers of large files, and of small ones with an extended
# header each, of which one in fifty has an entry that is translated.
#
#   benches/layer.sh [ROUNDS [MIB]]
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-7} mib=${2:-1024}
ci/need cargo:cargo tar:tar zstd:zstd /usr/bin/time:time
cargo build --quiet --release -p nscap
nscap=$PWD/target/release/nscap
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# One benchmark at a time on this machine.
exec 9>/tmp/bench.lock && flock 9

layer() { # NAME SIZE_OF_A_FILE
    local count=$((mib * 1048576 / ($2 + 1536)))
    # One member after the other from one file: a gigabyte of files would be a benchmark of its own.
    awk -v count="$count" -v size="$2" 'BEGIN { for (n = 0; n < count; n++) printf "%d %d\n", n, size }' |
        "$work/members" >"$1"
}
cat >"$work/members.c" <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static void header(char kind, const char *name, unsigned long size) {
    char b[512] = {0}; unsigned sum = 0;
    snprintf(b, 100, "%s", name); memcpy(b + 100, "0000755\0000000000\0000000000", 24);
    snprintf(b + 124, 12, "%011lo", size); memcpy(b + 136, "00000000001", 12);
    memset(b + 148, ' ', 8); b[156] = kind; memcpy(b + 257, "ustar\00000", 8);
    for (int i = 0; i < 512; i++) sum += (unsigned char)b[i];
    snprintf(b + 148, 8, "%06o", sum); b[155] = ' ';
    fwrite(b, 512, 1, stdout);
}
int main(void) {
    unsigned long n, size; static char zero[1 << 20]; char name[100], record[512];
    memset(zero, 'x', sizeof zero);
    while (scanf("%lu %lu", &n, &size) == 2) {
        snprintf(name, sizeof name, "d%lu/f%lu", n / 1000, n);
        memset(record, 0, sizeof record);
        unsigned long len = 20; memcpy(record, "20 mtime=1234567.25\n", 20);
        if (n % 50 == 0) {
            memcpy(record + 20, "61 SCHILY.xattr.security.capability=", 36);
            memcpy(record + 56, "\001\0\0\003\0\040\0\0\0\0\0\0\0\0\0\0\0\0\0\0\240\206\001\0\n", 25);
            len += 61;
        }
        header('x', "PaxHeaders/x", len); fwrite(record, 512, 1, stdout);
        header('0', name, size);
        for (unsigned long left = size; left;) {
            unsigned long part = left < sizeof zero ? left : sizeof zero;
            fwrite(zero, part, 1, stdout); left -= part;
        }
        fwrite("\0", 0, 1, stdout);
        memset(record, 0, sizeof record); fwrite(record, (512 - size % 512) % 512, 1, stdout);
    }
    memset(zero, 0, 1024); fwrite(zero, 1024, 1, stdout);
    return 0;
}
C
cc -O2 -w -o "$work/members" "$work/members.c"
layer "$work/large.tar" 8388608
layer "$work/small.tar" 4096

# Each leaves the wall time of the whole pipe, and the processor time of what is in its middle.
in_the_middle() { # FILE COMMAND...
    local file=$1 start=$EPOCHREALTIME
    shift
    cat "$file" | /usr/bin/time -o "$work/cpu" -f '%U %S' "$@" | cat >/dev/null
    echo "$start $EPOCHREALTIME $(cat "$work/cpu")" | awk '{ print $2 - $1, $3 + $4 }'
}
median() { cut -d' ' -f"$1" "$work/times" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

printf '%-26s %10s %10s %7s %10s %10s\n' "plain, $mib MiB, $rounds rounds" cat nscap ratio 'cat cpu' 'nscap cpu'
for kind in large small; do
    for to in 100000 host; do
        for ((round = 0; round < rounds; round++)); do
            echo "$(in_the_middle "$work/$kind.tar" cat)" \
                "$(in_the_middle "$work/$kind.tar" "$nscap" layer map --from 100000 --to $to)"
        done | awk '{ print $1, $2, $3, $4, $1 / $3 }' >"$work/times"
        what="$kind files, $([ $to = host ] && echo translated || echo unchanged)"
        awk -v w="$what" -v a="$(median 1)" -v b="$(median 3)" -v r="$(median 5)" -v m="$mib" \
            -v c="$(median 2)" -v d="$(median 4)" 'BEGIN {
                gb = m * 1048576 / 1e9
                printf "%-26s %5.2f GB/s %5.2f GB/s %7.2f %8.2f s %8.2f s\n", w, gb / a, gb / b, r, c, d }'
    done
done

echo
printf '%-34s %12s\n' "peak memory" MiB
peak() { # WHAT COMMAND...
    local what=$1; shift
    /usr/bin/time -o "$work/peak" -f %M "$@" >/dev/null 2>&1 || true
    awk -v w="$what" 'END { printf "%-34s %12.1f\n", w, $1 / 1024 }' "$work/peak"
}
gzip -1 <"$work/small.tar" >"$work/small.gz"
# A window of 8 MiB, the largest that is read.
zstd -q -1 --long=23 "$work/small.tar" -o "$work/small.zst"
for file in small.tar large.tar small.gz small.zst; do
    peak "map $file" "$nscap" layer map --from 100000 --to host -o "$work/out" "$work/$file"
done
peak "check small.tar" "$nscap" layer check --for 100000 "$work/small.tar"
peak "ls small.tar" "$nscap" layer ls "$work/small.tar"
