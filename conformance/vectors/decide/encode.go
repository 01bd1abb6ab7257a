// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"encoding/binary"
	"encoding/hex"
	"log"
	"sort"
	"strconv"

	"../nscap"
)

// Pair is an entry with the rootid that it is shown with, which its own need not be.
type Pair struct {
	Rootid uint32
	Entry  nscap.Entry
}

// words appends flags and sets, which both attributes have in one order.
func words(value []byte, flags uint32, e nscap.Entry) []byte {
	if e.Effective {
		flags |= 1
	}
	permitted, inheritable := set(e.Permitted), set(e.Inheritable)
	for _, word := range []uint32{
		flags,
		uint32(permitted), uint32(inheritable),
		uint32(permitted >> 32), uint32(inheritable >> 32),
	} {
		value = binary.LittleEndian.AppendUint32(value, word)
	}
	return value
}

func set(text string) uint64 {
	bits, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		log.Fatal(err)
	}
	return bits
}

// plain gives security.capability of revision 2 in hexadecimal.
func plain(e nscap.Entry) *string {
	return text(words(nil, 2<<24, e))
}

// named gives security.capability of revision 3, or 2 where the rootid is 0.
func named(p Pair) *string {
	if p.Rootid == 0 {
		return plain(p.Entry)
	}
	return text(binary.LittleEndian.AppendUint32(words(nil, 3<<24, p.Entry), p.Rootid))
}

// listed gives security.nscapability. Several entries may have -1, and keep their order.
func listed(pairs []Pair) *string {
	sort.SliceStable(pairs, func(a, b int) bool { return pairs[a].Rootid < pairs[b].Rootid })
	value := binary.LittleEndian.AppendUint32(nil, 1<<24)
	value = binary.LittleEndian.AppendUint32(value, uint32(len(pairs)))
	for _, p := range pairs {
		value = binary.LittleEndian.AppendUint32(value, p.Rootid)
		value = words(value, 0, p.Entry)
	}
	return text(value)
}

func text(value []byte) *string {
	digits := hex.EncodeToString(value)
	return &digits
}
