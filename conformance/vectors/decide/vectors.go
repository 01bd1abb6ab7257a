// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"encoding/json"

	"../nscap"
)

// Grant is the host value or an entry of a file in decisions.json.
type Grant struct {
	nscap.Entry
	Kuid      *uint32
	Malformed bool
}

type File struct {
	Host    *Grant
	Entries []Grant
}

type Step struct {
	Do     string
	Caller struct{ Ns string }
	File   *File
	Answer json.RawMessage
}

type Namespace struct {
	Name      string
	Parent    *string
	Root_kuid *uint32
	Uids      nscap.Map
}

// Decision is a case of decisions.json, as far as reads need it.
type Decision struct {
	Fs struct {
		Owner string
		Idmap nscap.Map
	}
	Namespaces []Namespace
	Steps      []Step
}

// Member is a file of an archive; its values are hexadecimal.
type Member struct {
	Name                     string
	Uid, Gid                 uint32
	Capability, Nscapability *string
}

type Archive struct {
	Tar     []byte
	Members []Member
}

// Layer is a case of layers.json. From and To are maps of uids and of gids.
type Layer struct {
	From, To      [2]nscap.Map
	Before, After Archive
	Refused       []Member
}
