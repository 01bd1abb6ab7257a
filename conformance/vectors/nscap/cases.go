// SPDX-License-Identifier: MIT OR Apache-2.0

package nscap

import (
	"encoding/json"
	"log"
	"os"
)

// Load gives the cases of a file in the directory that the command line names.
func Load[Case any](kind string) []Case {
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

// Same ends the program where two values differ as JSON.
func Same(kind string, got, want, of any) {
	g, _ := json.Marshal(got)
	if w, _ := json.Marshal(want); string(g) != string(w) {
		log.Fatalf("%s: %s and not %s: %v", kind, g, w, of)
	}
}
