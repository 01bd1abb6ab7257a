// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"encoding/hex"
	"log"

	"../nscap"
)

// image gives the id in the other terms; which is 0 for a uid and 1 for a gid.
func image(c Layer, which int, id uint32) *uint32 {
	outside := c.From[which].Find(id, 1)
	if outside == nil {
		return nil
	}
	return c.To[which].Find(*outside, 0)
}

// grants gives what the member's values grant in the other terms, by rootid, and whether a rootid
// changed; false as ok where a value is none, an id has no image, or two grants are of one root.
func grants(c Layer, m Member) (all map[uint32]nscap.Entry, moved, ok bool) {
	all = map[uint32]nscap.Entry{}
	for attribute, digits := range map[string]*string{
		"security.capability":   m.Capability,
		"security.nscapability": m.Nscapability,
	} {
		if digits == nil {
			continue
		}
		value, err := hex.DecodeString(*digits)
		entries := nscap.Decode(attribute, value)
		if err != nil || len(entries) == 0 {
			return nil, false, false
		}
		for _, e := range entries {
			old := uint32(0)
			if e.Rootid != nil {
				old = *e.Rootid
			}
			rootid := image(c, 0, old)
			if rootid == nil {
				return nil, false, false
			}
			e.Rootid = nil
			// The same grant may be in both values.
			if other, is := all[*rootid]; is && other != e {
				return nil, false, false
			}
			all[*rootid] = e
			moved = moved || *rootid != old
		}
	}
	return all, moved, true
}

// translate gives the member in the other terms, and nil where it is refused.
func translate(c Layer, m Member) *Member {
	uid, gid := image(c, 0, m.Uid), image(c, 1, m.Gid)
	all, moved, ok := grants(c, m)
	if uid == nil || gid == nil || !ok {
		return nil
	}
	out := Member{m.Name, *uid, *gid, m.Capability, m.Nscapability}
	if !moved {
		return &out
	}
	out.Capability, out.Nscapability = nil, nil
	host, has := all[0]
	if has {
		out.Capability = plain(host)
		delete(all, 0)
	}
	pairs := []Pair{}
	for rootid, e := range all {
		pairs = append(pairs, Pair{rootid, e})
	}
	if len(pairs) == 1 && !has {
		out.Capability = named(pairs[0])
	} else if len(pairs) > 0 {
		out.Nscapability = listed(pairs)
	}
	return &out
}

// checkArchive holds the archive against the members that the case says it has.
func checkArchive(a Archive) {
	archive := tar.NewReader(bytes.NewReader(a.Tar))
	for _, m := range a.Members {
		header, err := archive.Next()
		if err != nil {
			log.Fatalf("archive: %v: %s", err, m.Name)
		}
		value := func(attribute string) *string {
			record, is := header.PAXRecords["SCHILY.xattr."+attribute]
			if !is {
				return nil
			}
			return text([]byte(record))
		}
		found := Member{
			header.Name, uint32(header.Uid), uint32(header.Gid),
			value("security.capability"), value("security.nscapability"),
		}
		nscap.Same("archive", found, m, m.Name)
	}
	if header, err := archive.Next(); err == nil {
		log.Fatalf("archive: one member more: %s", header.Name)
	}
}

// checkMembers gives how many members of layers it decided.
func checkMembers() (count int) {
	for _, c := range nscap.Load[Layer]("layers") {
		checkArchive(c.Before)
		checkArchive(c.After)
		for n, m := range c.Before.Members {
			nscap.Same("members", translate(c, m), c.After.Members[n], m.Name)
		}
		for _, m := range c.Refused {
			nscap.Same("members", translate(c, m), nil, m.Name)
		}
		count += len(c.Before.Members) + len(c.Refused)
	}
	return count
}
