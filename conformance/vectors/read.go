// SPDX-License-Identifier: MIT OR Apache-2.0

// Checks what values and ids of the vectors in a directory mean; exit status 1 at a difference.
package main

import (
	"./nscap"
	"encoding/hex"
	"fmt"
)

type Case struct { // of values.json and of maps.json
	Attribute, Hex                                     string
	Entries                                            []nscap.Entry
	Uids, Gids                                         nscap.Map
	Uid_to_kuid, Kuid_to_uid, Gid_to_kgid, Kgid_to_gid [][2]*uint32
}

func images(m nscap.Map, here int, pairs [][2]*uint32) { // 0 is inside, 1 outside
	for _, pair := range pairs {
		nscap.Same("maps", m.Find(*pair[0], here), pair[1], m)
	}
}

func main() {
	values, maps := nscap.Load[Case]("values"), nscap.Load[Case]("maps")
	for _, c := range values {
		value, _ := hex.DecodeString(c.Hex)
		nscap.Same("values", nscap.Decode(c.Attribute, value), c.Entries, c.Hex)
	}
	for _, c := range maps {
		images(c.Uids, 0, c.Uid_to_kuid)
		images(c.Uids, 1, c.Kuid_to_uid)
		images(c.Gids, 0, c.Gid_to_kgid)
		images(c.Gids, 1, c.Kgid_to_gid)
	}
	fmt.Printf("%d values\n%d maps\n", len(values), len(maps))
}
