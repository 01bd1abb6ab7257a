# SPDX-License-Identifier: MIT OR Apache-2.0
"""Checks what values and ids of the vectors in a directory mean; exit status 1 at a difference."""
import json
import struct
import sys

LENGTHS = {1: 12, 2: 20, 3: 24}  # of security.capability, by revision
UNMAPPED = 0xFFFFFFFF  # the rootid of entries that the reader has no id for


def load(kind):
    with open(f"{sys.argv[1]}/{kind}.json") as file:
        data = json.load(file)
    if (data["format"], data["version"], data["kind"]) != ("nscap-vectors", 1, kind):
        sys.exit(f"{kind}.json is not of version 1: {data['version']}")
    return data["cases"]


def same(kind, got, want, of):
    if got != want:
        sys.exit(f"{kind}: {got} and not {want}: {str(of)[:300]}")


def entry(rootid, flags, permitted, inheritable, permitted_32=0, inheritable_32=0):
    """A grant of two sets, each in two halves; only revisions 1 and 2 have no rootid."""
    sets = (f"{permitted_32:08x}{permitted:08x}", f"{inheritable_32:08x}{inheritable:08x}")
    return dict(rootid=rootid, permitted=sets[0], inheritable=sets[1], effective=flags & 1 == 1)


def decode(attribute, value):
    """The entries of a value, and none where the bytes are no value."""
    words = struct.unpack_from(f"<{len(value) // 4}I", value)
    if attribute == "security.capability":
        if not words or LENGTHS.get(words[0] >> 24) != len(value):
            return []
        return [entry(words[5] if len(words) == 6 else None, *words[:5])]
    if len(words) < 2 or words[0] != 1 << 24 or len(value) != 8 + 24 * words[1]:
        return []
    rows = [words[at : at + 6] for at in range(2, len(words), 6)]
    ascend = all(a[0] < b[0] or b[0] == UNMAPPED for a, b in zip(rows, rows[1:]))
    return [entry(*row) for row in rows] if ascend and all(row[1] < 2 for row in rows) else []


def find(extents, id, here):
    """The id on the other side, or None; here is 0 inside and 1 outside."""
    for row in extents:
        if row[here] <= id < row[here] + row[2]:
            return id - row[here] + row[1 - here]


if __name__ == "__main__":
    values, maps = load("values"), load("maps")
    for case in values:
        same("values", decode(case["attribute"], bytes.fromhex(case["hex"])), case["entries"], case)
    for case in maps:
        for rows, here, key in (("uids", 0, "uid_to_kuid"), ("uids", 1, "kuid_to_uid"),
                                ("gids", 0, "gid_to_kgid"), ("gids", 1, "kgid_to_gid")):
            for id, image in case[key]:
                same("maps", find(case[rows], id, here), image, case)
    print(f"{len(values)} values\n{len(maps)} maps")
