# SPDX-License-Identifier: MIT OR Apache-2.0
"""Reads the vectors in a directory and decides each by itself; exit status 1 at the first difference.

values: the bytes of both attributes. maps: ids and kuids. reads: what getxattr(2) gives a caller (R4, R6,
T, M). members: the owners and capabilities of a layer's files in other terms (W).
"""
import base64, io, json, struct, sys, tarfile

FORMAT = {1: 12, 2: 20, 3: 24}
def load(kind):
    data = json.load(open(f"{sys.argv[1]}/{kind}.json"))
    assert (data["format"], data["version"], data["kind"]) == ("nscap-vectors", 1, kind)
    return data["cases"]
def same(kind, got, want, case):
    if got != want:
        sys.exit(f"{kind}: {got} and not {want}: {str(case)[:300]}")
def entry(rootid, flags, p, i, p2=0, i2=0):
    sets = {"permitted": f"{p2 << 32 | p:016x}", "inheritable": f"{i2 << 32 | i:016x}"}
    return {"rootid": rootid, **sets, "effective": bool(flags & 1)}
def decode(attribute, value):  # the entries, or [] for what is no value
    magic = struct.unpack("<I", value[:4])[0] if len(value) >= 4 else 0
    if attribute == "security.capability":
        if FORMAT.get(magic >> 24) != len(value): return []
        words = struct.unpack(f"<{len(value) // 4}I", value)
        return [entry(words[5] if len(words) == 6 else None, magic, *words[1:5])]
    rows = [struct.unpack_from("<6I", value, at) for at in range(8, len(value) - 23, 24)]
    ids = [row[0] for row in rows if row[0] != 0xFFFFFFFF]
    fits = magic == 1 << 24 and rows and value[4:8] == struct.pack("<I", len(rows)) and len(value) == 8 + 24 * len(rows)
    good = fits and ids == sorted(set(ids)) == [row[0] for row in rows[: len(ids)]] and all(row[1] < 2 for row in rows)
    return [entry(*row) for row in rows] if good else []
def words(e, *front):
    p, i = int(e["permitted"], 16), int(e["inheritable"], 16)
    return struct.pack(f"<{len(front) + 4}I", *front, p & 0xFFFFFFFF, i & 0xFFFFFFFF, p >> 32, i >> 32)
def plain(e, rootid=None):  # security.capability, revision 2 or 3
    return words(e, (2 if rootid is None else 3) << 24 | e["effective"]) + (b"" if rootid is None else struct.pack("<I", rootid))
def listed(entries):  # security.nscapability; entries are pairs of a rootid and capabilities
    return struct.pack("<2I", 1 << 24, len(entries)) + b"".join(words(e, i, e["effective"]) for i, e in sorted(entries, key=lambda x: x[0]))
def find(rows, id, here=0, there=1):
    return next((id - row[here] + row[there] for row in rows if 0 <= id - row[here] < row[2]), None)
def read(case, step, attribute):  # the value, or an errno
    spaces, file, chain = {ns["name"]: ns for ns in case["namespaces"]}, step["file"], []
    while (chain[-1]["parent"] if chain else step["caller"]["ns"]) is not None:
        chain.append(spaces[chain[-1]["parent"] if chain else step["caller"]["ns"]])
    below = case["fs"]["owner"] in [ns["name"] for ns in chain]
    host, entries = file["host"], file["entries"]
    if host and "malformed" not in host and (case["fs"]["idmap"] or not below):
        host, entries = None, [host] + (entries if below else [])
    inside = lambda e: find(chain[0]["uids"], e["kuid"], 1, 0) if e["kuid"] is not None else None
    if attribute == "security.nscapability":
        return listed([(0xFFFFFFFF if inside(e) is None else inside(e), e) for e in entries]) if entries else "ENODATA"
    if host: return "EINVAL" if "malformed" in host else plain(host)
    near = [e for ns in chain for e in entries if ns["root_kuid"] == e["kuid"] is not None]
    if near: return plain(near[0])
    return plain(entries[0], inside(entries[0])) if len(entries) == 1 and inside(entries[0]) is not None else "ENODATA"
def translate(case, m):  # owner, group and both values, or None where an id has no image
    image = lambda n, id: (lambda i: None if i is None else find(case["to"][n], i))(find(case["from"][n], id, 1, 0))
    old = [(a, bytes.fromhex(m[a])) for a in ("capability", "nscapability") if m[a] is not None]
    old = [e for a, v in old for e in decode(f"security.{a}", v) or [None]]
    new, owner = {}, (image(0, m["uid"]), image(1, m["gid"]))
    for e in old:
        id, sets = (image(0, e["rootid"] or 0), {**e, "rootid": None}) if e else (None, None)
        if id is None or new.setdefault(id, sets) != sets: return None
    if None in owner: return None
    if all(image(0, e["rootid"] or 0) == (e["rootid"] or 0) for e in old): return (*owner, m["capability"], m["nscapability"])
    host, rest = [plain(new[0])] if 0 in new else [], [(id, e) for id, e in new.items() if id != 0]
    alone = [plain(rest[0][1], rest[0][0])] if not host and len(rest) == 1 else host
    return (*owner, alone[0].hex() if alone else None, listed(rest).hex() if rest and (host or len(rest) > 1) else None)

count = dict.fromkeys(("values", "maps", "reads", "members"), 0)
for case in load("values"):
    count["values"] += 1
    same("value", decode(case["attribute"], bytes.fromhex(case["hex"])), case["entries"], case)
for case in load("maps"):
    for rows, key, here in [(m, k, h) for m in ("uids", "gids") for h, k in enumerate((f"{m[0]}id_to_k{m[0]}id", f"k{m[0]}id_to_{m[0]}id"))]:
        for id, want in case[key]:
            count["maps"] += 1
            same(key, find(case[rows], id, here, 1 - here), want, case)
for case in load("decisions"):
    for step in case["steps"]:
        verb = step["do"].split()[0]
        if verb in ("get-cap", "get-nscap", "size-cap", "size-nscap") and step.get("file"):
            count["reads"] += 1
            got = read(case, step, {"cap": "security.capability", "nscap": "security.nscapability"}[verb.split("-")[1]])
            said = {"errno": got} if isinstance(got, str) else {"length": len(got)} if verb[0] == "s" else {"value": got.hex()}
            same("read", said, step["answer"], step)
for case in load("layers"):
    for layer in (case["before"], case["after"]):
        for info, member in zip(tarfile.open(fileobj=io.BytesIO(base64.b64decode(layer["tar"]))), layer["members"], strict=True):
            value = lambda a: (info.pax_headers.get(f"SCHILY.xattr.security.{a}") or "").encode("utf-8", "surrogateescape").hex() or None
            found = (info.name, info.uid, info.gid, value("capability"), value("nscapability"))
            same("member", found, tuple(member.values()), member)
    for before, after in [*zip(case["before"]["members"], case["after"]["members"]), *((m, None) for m in case["refused"])]:
        count["members"] += 1
        same("translation", translate(case, before), after and tuple(after.values())[1:], before)
print("\n".join(f"{n} {what}" for what, n in count.items()))
