# SPDX-License-Identifier: MIT OR Apache-2.0
"""Decides reads and layers of the vectors in a directory; exit status 1 at the first difference.

reads: what getxattr(2) of both names gives a caller (R4, R6, T, M of the specification).
members: what the owners and capabilities of a layer's files become in other terms (W).
"""
import base64
import io
import struct
import tarfile

from read import UNMAPPED, decode, find, load, same

HOST, LIST = "security.capability", "security.nscapability"


def words(entry):
    """The four words of both sets, as both attributes have them."""
    permitted, inheritable = int(entry["permitted"], 16), int(entry["inheritable"], 16)
    halves = (permitted, inheritable, permitted >> 32, inheritable >> 32)
    return struct.pack("<4I", *(half & 0xFFFFFFFF for half in halves))


def plain(entry, rootid=None):
    """security.capability of revision 2, or 3 with a rootid."""
    revision = 2 if rootid is None else 3
    value = struct.pack("<I", revision << 24 | entry["effective"]) + words(entry)
    return value if rootid is None else value + struct.pack("<I", rootid)


def listed(entries):
    """security.nscapability of pairs of a rootid and its entry."""
    value = struct.pack("<2I", 1 << 24, len(entries))
    for rootid, entry in sorted(entries, key=lambda pair: pair[0]):
        value += struct.pack("<2I", rootid, entry["effective"]) + words(entry)
    return value


def ancestry(case, name):
    """The namespace of that name, and those above it."""
    spaces = {ns["name"]: ns for ns in case["namespaces"]}
    while name is not None:
        yield spaces[name]
        name = spaces[name]["parent"]


def read(case, step, attribute):
    """What getxattr(2) gives: a value, or the name of an errno."""
    chain = list(ancestry(case, step["caller"]["ns"]))
    host, entries = step["file"]["host"], step["file"]["entries"]
    # M: on an id-mapped mount, and outside the owner's namespace, a host value is an entry.
    below = case["fs"]["owner"] in [ns["name"] for ns in chain]
    if host and "malformed" not in host and (case["fs"]["idmap"] or not below):
        host, entries = None, [host] + (entries if below else [])

    def inside(entry):
        return None if entry["kuid"] is None else find(chain[0]["uids"], entry["kuid"], 1)

    if attribute == LIST:  # R6
        pairs = [(UNMAPPED if inside(e) is None else inside(e), e) for e in entries]
        return listed(pairs) if pairs else "ENODATA"
    if host:  # R4, 1
        return "EINVAL" if "malformed" in host else plain(host)
    for ns in chain:  # R4, 2
        for e in entries:
            if e["kuid"] is not None and e["kuid"] == ns["root_kuid"]:
                return plain(e)
    if len(entries) == 1 and inside(entries[0]) is not None:  # T
        return plain(entries[0], inside(entries[0]))
    return "ENODATA"


def translate(case, member):
    """Owner, group and both values in the other terms; None where an id has no image."""

    def image(which, id):  # 0 for uids, 1 for gids
        outer = find(case["from"][which], id, 1)
        return None if outer is None else find(case["to"][which], outer, 0)

    owners = (image(0, member["uid"]), image(1, member["gid"]))
    if None in owners:
        return None
    grants, moved = {}, False
    for key in ("capability", "nscapability"):
        if member[key] is None:
            continue
        entries = decode(f"security.{key}", bytes.fromhex(member[key]))
        if not entries:
            return None
        for e in entries:
            old = e["rootid"] or 0
            new, e["rootid"] = image(0, old), None
            # The same grant may be in both values; two different ones of one root may not.
            if new is None or grants.setdefault(new, e) != e:
                return None
            moved = moved or new != old
    if not moved:
        return (*owners, member["capability"], member["nscapability"])
    host = grants.pop(0, None)
    if host is None and len(grants) == 1:
        [(rootid, only)] = grants.items()
        return (*owners, plain(only, rootid).hex(), None)
    return (
        *owners,
        None if host is None else plain(host).hex(),
        listed(list(grants.items())).hex() if grants else None,
    )


def records(info, key):
    """The attribute of an archive's member as hexadecimal, None where it has none."""
    value = info.pax_headers.get(f"SCHILY.xattr.security.{key}")
    return value and value.encode("utf-8", "surrogateescape").hex()


def check_archive(layer):
    """The archive has the members that the case says it has."""
    archive = tarfile.open(fileobj=io.BytesIO(base64.b64decode(layer["tar"])))
    for info, member in zip(archive, layer["members"], strict=True):
        found = {"name": info.name, "uid": info.uid, "gid": info.gid}
        found |= {key: records(info, key) for key in ("capability", "nscapability")}
        same("archive", found, {key: member[key] for key in found}, member)


def check_reads():
    count = 0
    for case in load("decisions"):
        for step in case["steps"]:
            verb, _, name = step["do"].split()[0].partition("-")
            if verb not in ("get", "size") or not step.get("file"):
                continue
            got = read(case, step, {"cap": HOST, "nscap": LIST}[name])
            if isinstance(got, str):
                answer = {"errno": got}
            else:
                answer = {"value": got.hex()} if verb == "get" else {"length": len(got)}
            same("reads", answer, step["answer"], step)
            count += 1
    return count


def check_members():
    count = 0
    for case in load("layers"):
        check_archive(case["before"])
        check_archive(case["after"])
        before, after = case["before"]["members"], case["after"]["members"]
        for member, changed in zip(before, after, strict=True):
            keys = ("uid", "gid", "capability", "nscapability")
            same("members", translate(case, member), tuple(changed[key] for key in keys), member)
        for member in case["refused"]:
            same("members", translate(case, member), None, member)
        count += len(before) + len(case["refused"])
    return count


if __name__ == "__main__":
    print(f"{check_reads()} reads\n{check_members()} members")
