// SPDX-License-Identifier: MIT OR Apache-2.0

// Package nscap tells what the values of both attributes grant, and maps ids.
package nscap

import (
	"encoding/binary"
	"fmt"
)

// Entry is one grant. Only a security.capability of revision 1 or 2 has no rootid.
type Entry struct {
	Rootid                 *uint32
	Permitted, Inheritable string // 16 hexadecimal digits, as in the vectors
	Effective              bool
}

// Unmapped is the rootid of each entry whose root has no id in the reader's namespace.
const Unmapped = ^uint32(0)

// Decode gives the entries of a value, and none where the bytes are no value.
func Decode(attribute string, value []byte) []Entry {
	size, entries := len(value), []Entry{}
	value = append(value[:size:size], make([]byte, 24)...) // a short value ends in zeros
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(value[at:]) }
	add := func(rootid *uint32, at int) { // of flags, capabilities to 31, capabilities from 32
		set := func(at int) string { return fmt.Sprintf("%08x%08x", word(at+8), word(at)) }
		entries = append(entries, Entry{rootid, set(at + 4), set(at + 8), word(at)&1 == 1})
	}
	revision, rootid := word(0)>>24, word(20)
	switch host := attribute == "security.capability"; {
	case host && (revision == 1 && size == 12 || revision == 2 && size == 20):
		add(nil, 0)
	case host && revision == 3 && size == 24:
		add(&rootid, 0)
	case !host && word(0) == 1<<24 && uint64(size) == 8+24*uint64(word(4)):
		for at := 8; at < size; at += 24 {
			rootid := word(at)
			if at > 8 && rootid <= word(at-24) && rootid != Unmapped || word(at+4) > 1 {
				return []Entry{}
			}
			add(&rootid, at+4)
		}
	}
	return entries
}

// Map has rows of a first id inside, a first id outside, and how many.
type Map [][3]uint32

// Find gives the id on the other side, nil where it has none; here is 0 inside and 1 outside.
func (m Map) Find(id uint32, here int) *uint32 {
	for _, row := range m {
		if offset := id - row[here]; id >= row[here] && offset < row[2] {
			image := row[1-here] + offset
			return &image
		}
	}
	return nil
}
