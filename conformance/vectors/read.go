// SPDX-License-Identifier: MIT OR Apache-2.0

// Reads the vectors in a directory and decides each by itself; exit status 1 at the first difference.
// values: the bytes of both attributes. maps: ids and kuids. reads: what getxattr(2) gives a caller
// (R4, R6, T, M). members: the owners and capabilities of a layer's files in other terms (W).
package main

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
)

type Entry struct {
	Rootid, Kuid           *uint32
	Permitted, Inheritable string
	Effective, Malformed   bool
}
type Row [3]uint32 // inside, outside, count
type Member struct {
	Name                     string
	Uid, Gid                 uint32
	Capability, Nscapability *string
}
type Layer struct {
	Tar     []byte
	Members []Member
}
type Step struct {
	Do     string
	Caller struct{ Ns string }
	File   *struct {
		Host    *Entry
		Entries []Entry
	}
	Answer json.RawMessage
}
type Case struct { // the fields of all kinds that are used here
	Attribute, Hex                                     string
	Entries                                            []Entry
	Uids, Gids                                         []Row
	Uid_to_kuid, Kuid_to_uid, Gid_to_kgid, Kgid_to_gid [][2]*uint32
	Fs                                                 struct {
		Owner string
		Idmap []Row
	}
	Namespaces []struct {
		Name      string
		Parent    *string
		Root_kuid *uint32
		Uids      []Row
	}
	Steps         []Step
	From, To      [2][]Row
	Before, After Layer
	Refused       []Member
}

var le, none = binary.LittleEndian, ^uint32(0)

func load(kind string) []Case {
	var all struct {
		Version int
		Cases   []Case
	}
	text, err := os.ReadFile(os.Args[1] + "/" + kind + ".json")
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil || all.Version != 1 {
		panic(fmt.Sprint(kind, all.Version, err))
	}
	return all.Cases
}

func same(what string, got, want any) {
	g, _ := json.Marshal(got)
	if w, _ := json.Marshal(want); string(g) != string(w) {
		fmt.Printf("%s: %s and not %s\n", what, g, w)
		os.Exit(1)
	}
}

func entry(rootid *uint32, flags uint32, w []byte) Entry {
	word := func(n int) uint64 {
		if 4*n+4 > len(w) {
			return 0 // revision 1 has no capabilities above 31
		}
		return uint64(le.Uint32(w[4*n:]))
	}
	set := func(lo, hi uint64) string { return fmt.Sprintf("%016x", hi<<32|lo) }
	return Entry{rootid, nil, set(word(0), word(2)), set(word(1), word(3)), flags&1 == 1, false}
}

func decode(attribute string, v []byte) []Entry { // none for what is no value
	at := func(n int) *uint32 { w := le.Uint32(v[n:]); return &w }
	if len(v) < 8 {
		return []Entry{}
	}
	if magic := *at(0); attribute == "security.capability" {
		switch length := map[uint32]int{1: 12, 2: 20, 3: 24}[magic>>24]; {
		case length != len(v):
			return []Entry{}
		case length == 24:
			return []Entry{entry(at(20), magic, v[4:20])}
		default:
			return []Entry{entry(nil, magic, v[4:])}
		}
	}
	all, last := []Entry{}, int64(-1)
	for n := 8; n+24 <= len(v); n += 24 {
		if id := int64(*at(n)); id <= last && id != int64(none) || *at(n + 4) > 1 {
			return []Entry{}
		} else {
			all, last = append(all, entry(at(n), *at(n + 4), v[n+8:n+24])), id
		}
	}
	if *at(0) != 1<<24 || len(all) == 0 || int(*at(4)) != len(all) || len(v) != 8+24*len(all) {
		return []Entry{}
	}
	return all
}

func words(e Entry, front ...uint32) []byte {
	p, _ := strconv.ParseUint(e.Permitted, 16, 64)
	i, _ := strconv.ParseUint(e.Inheritable, 16, 64)
	var out bytes.Buffer
	binary.Write(&out, le, append(front, uint32(p), uint32(i), uint32(p>>32), uint32(i>>32)))
	return out.Bytes()
}

func bit(e Entry) uint32 {
	if e.Effective {
		return 1
	}
	return 0
}

func plain(e Entry, rootid *uint32) *string { // security.capability, revision 2 or 3
	value := words(e, 2<<24|bit(e))
	if rootid != nil && *rootid != 0 {
		value = le.AppendUint32(words(e, 3<<24|bit(e)), *rootid)
	}
	text := hex.EncodeToString(value)
	return &text
}

func listed(all map[uint32][]Entry) *string { // security.nscapability, by rootid
	ids, count, value := []uint32{}, 0, []byte{}
	for id := range all {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(a, b int) bool { return ids[a] < ids[b] })
	for _, id := range ids {
		for _, e := range all[id] {
			count, value = count+1, append(value, words(e, id, bit(e))...)
		}
	}
	text := hex.EncodeToString(append(le.AppendUint32([]byte{0, 0, 0, 1}, uint32(count)), value...))
	return &text
}

func find(rows []Row, id *uint32, here int) *uint32 {
	for _, row := range rows {
		if id != nil && *id >= row[here] && *id-row[here] < row[2] {
			found := *id - row[here] + row[1-here]
			return &found
		}
	}
	return nil
}

func read(c Case, s Step, attribute string) (value *string, errno string) {
	chain, below, ns := []int{}, false, &s.Caller.Ns
	for ns != nil {
		for n, space := range c.Namespaces {
			if space.Name == *ns {
				chain, below, ns = append(chain, n), below || space.Name == c.Fs.Owner, space.Parent
				break
			}
		}
	}
	host, entries := s.File.Host, s.File.Entries
	if host != nil && !host.Malformed && (len(c.Fs.Idmap) > 0 || !below) {
		if entries = append([]Entry{*host}, entries...); !below {
			entries = entries[:1]
		}
		host = nil
	}
	inside := func(e Entry) *uint32 { return find(c.Namespaces[chain[0]].Uids, e.Kuid, 1) }
	if attribute == "nscap" {
		all := map[uint32][]Entry{}
		for _, e := range entries {
			id := none
			if found := inside(e); found != nil {
				id = *found
			}
			all[id] = append(all[id], e)
		}
		if len(entries) == 0 {
			return nil, "ENODATA"
		}
		return listed(all), ""
	}
	if host != nil && host.Malformed {
		return nil, "EINVAL"
	} else if host != nil {
		return plain(*host, nil), ""
	}
	for _, n := range chain {
		for _, e := range entries {
			if root := c.Namespaces[n].Root_kuid; root != nil && e.Kuid != nil && *root == *e.Kuid {
				return plain(e, nil), ""
			}
		}
	}
	if len(entries) == 1 && inside(entries[0]) != nil {
		return plain(entries[0], inside(entries[0])), ""
	}
	return nil, "ENODATA"
}

func translate(c Case, m Member) *Member { // nil where an id has no image
	image := func(n int, id uint32) *uint32 { return find(c.To[n], find(c.From[n], &id, 1), 0) }
	uid, gid, moved, all := image(0, m.Uid), image(1, m.Gid), false, map[uint32][]Entry{}
	for attribute, value := range map[string]*string{"capability": m.Capability, "nscapability": m.Nscapability} {
		if value == nil {
			continue
		}
		raw, _ := hex.DecodeString(*value)
		grants := decode("security."+attribute, raw)
		for _, e := range grants {
			old := uint32(0)
			if e.Rootid != nil {
				old = *e.Rootid
			}
			id := image(0, old)
			if e.Rootid = nil; id == nil || len(all[*id]) > 0 && all[*id][0] != e {
				return nil
			}
			all[*id], moved = []Entry{e}, moved || *id != old
		}
		if len(grants) == 0 {
			return nil
		}
	}
	if uid == nil || gid == nil {
		return nil
	}
	out := Member{m.Name, *uid, *gid, m.Capability, m.Nscapability}
	if host, has := all[0]; moved {
		out.Capability, out.Nscapability = nil, nil
		if delete(all, 0); has {
			out.Capability = plain(host[0], nil)
		}
		for id := range all {
			if id := id; !has && len(all) == 1 {
				out.Capability = plain(all[id][0], &id)
			} else {
				out.Nscapability = listed(all)
			}
		}
	}
	return &out
}

func main() {
	values, maps, reads, members := 0, 0, 0, 0
	for _, c := range load("values") {
		raw, _ := hex.DecodeString(c.Hex)
		same("value "+c.Hex, decode(c.Attribute, raw), c.Entries)
		values++
	}
	for _, c := range load("maps") {
		for n, pairs := range [][][2]*uint32{c.Uid_to_kuid, c.Kuid_to_uid, c.Gid_to_kgid, c.Kgid_to_gid} {
			for _, pair := range pairs {
				same("map", find([][]Row{c.Uids, c.Gids}[n/2], pair[0], n%2), pair[1])
				maps++
			}
		}
	}
	for _, c := range load("decisions") {
		for _, s := range c.Steps {
			verb, attribute, _ := strings.Cut(strings.Fields(s.Do)[0], "-")
			if s.File == nil || verb != "get" && verb != "size" {
				continue
			}
			value, errno := read(c, s, attribute)
			var said any = map[string]string{"errno": errno}
			if value != nil && verb == "get" {
				said = map[string]string{"value": *value}
			} else if value != nil {
				said = map[string]int{"length": len(*value) / 2}
			}
			same(s.Do, said, s.Answer)
			reads++
		}
	}
	for _, c := range load("layers") {
		for _, layer := range []Layer{c.Before, c.After} {
			archive := tar.NewReader(bytes.NewReader(layer.Tar))
			for _, m := range layer.Members {
				header, err := archive.Next()
				if err != nil {
					panic(err)
				}
				value := func(name string) *string {
					raw, is := header.PAXRecords["SCHILY.xattr.security."+name]
					if text := hex.EncodeToString([]byte(raw)); is {
						return &text
					}
					return nil
				}
				same("member", Member{header.Name, uint32(header.Uid), uint32(header.Gid), value("capability"), value("nscapability")}, m)
			}
		}
		for n, m := range c.Before.Members {
			same("translation", translate(c, m), c.After.Members[n])
		}
		for _, m := range c.Refused {
			same("translation", translate(c, m), nil)
		}
		members += len(c.Before.Members) + len(c.Refused)
	}
	fmt.Printf("%d values\n%d maps\n%d reads\n%d members\n", values, maps, reads, members)
}
