// SPDX-License-Identifier: MIT OR Apache-2.0

// Checks what values and ids of the vectors in a directory mean; exit status 1 at a difference.
package main

import (
	"./nscap"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
)

type Case struct { // of values.json and of maps.json
	Attribute, Hex                                     string
	Entries                                            []nscap.Entry
	Uids, Gids                                         nscap.Map
	Uid_to_kuid, Kuid_to_uid, Gid_to_kgid, Kgid_to_gid [][2]*uint32
}

func load(kind string) []Case {
	var file struct {
		Version int
		Cases   []Case
	}
	text, _ := os.ReadFile(os.Args[1] + "/" + kind + ".json")
	if err := json.Unmarshal(text, &file); err != nil || file.Version != 1 {
		log.Fatalf("%s.json is not of version 1: %v", kind, err)
	}
	return file.Cases
}

func same(kind string, got, want, of any) {
	g, _ := json.Marshal(got)
	if w, _ := json.Marshal(want); string(g) != string(w) {
		log.Fatalf("%s: %s and not %s: %v", kind, g, w, of)
	}
}

func images(m nscap.Map, here int, pairs [][2]*uint32) { // 0 is inside, 1 outside
	for _, pair := range pairs {
		same("maps", m.Find(*pair[0], here), pair[1], m)
	}
}

func main() {
	values, maps := load("values"), load("maps")
	for _, c := range values {
		value, _ := hex.DecodeString(c.Hex)
		same("values", nscap.Decode(c.Attribute, value), c.Entries, c.Hex)
	}
	for _, c := range maps {
		images(c.Uids, 0, c.Uid_to_kuid)
		images(c.Uids, 1, c.Kuid_to_uid)
		images(c.Gids, 0, c.Gid_to_kgid)
		images(c.Gids, 1, c.Kgid_to_gid)
	}
	fmt.Printf("%d values\n%d maps\n", len(values), len(maps))
}
