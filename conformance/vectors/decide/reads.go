// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"log"
	"strings"

	"../nscap"
)

// ancestry gives the namespace of that name, and those above it.
func ancestry(all []Namespace, name string) (chain []Namespace) {
	for _, ns := range all {
		if ns.Name == name {
			chain = append(chain, ns)
			if ns.Parent != nil {
				chain = append(chain, ancestry(all, *ns.Parent)...)
			}
			return chain
		}
	}
	log.Fatalf("no namespace %s", name)
	return nil
}

// getxattr gives a value in hexadecimal, or the name of an errno.
func getxattr(c Decision, s Step, attribute string) (value *string, errno string) {
	chain := ancestry(c.Namespaces, s.Caller.Ns)
	below := false
	for _, ns := range chain {
		below = below || ns.Name == c.Fs.Owner
	}
	host, entries := s.File.Host, s.File.Entries
	// M: on an id-mapped mount, and outside the owner's namespace, a host value is an entry.
	if host != nil && !host.Malformed && (len(c.Fs.Idmap) > 0 || !below) {
		seen := []Grant{*host}
		if below {
			seen = append(seen, entries...)
		}
		host, entries = nil, seen
	}
	if attribute == "nscap" {
		return list(chain[0].Uids, entries)
	}
	if host != nil && host.Malformed {
		return nil, "EINVAL"
	}
	if host != nil { // R4, 1
		return plain(host.Entry), ""
	}
	for _, ns := range chain { // R4, 2
		for _, e := range entries {
			if ns.Root_kuid != nil && e.Kuid != nil && *ns.Root_kuid == *e.Kuid {
				return plain(e.Entry), ""
			}
		}
	}
	if len(entries) == 1 { // T
		if rootid := inside(chain[0].Uids, entries[0]); rootid != nil {
			return named(Pair{*rootid, entries[0].Entry}), ""
		}
	}
	return nil, "ENODATA"
}

// list is R6.
func list(uids nscap.Map, entries []Grant) (value *string, errno string) {
	pairs := []Pair{}
	for _, e := range entries {
		rootid := nscap.Unmapped
		if found := inside(uids, e); found != nil {
			rootid = *found
		}
		pairs = append(pairs, Pair{rootid, e.Entry})
	}
	if len(pairs) == 0 {
		return nil, "ENODATA"
	}
	return listed(pairs), ""
}

func inside(uids nscap.Map, e Grant) *uint32 {
	if e.Kuid == nil {
		return nil
	}
	return uids.Find(*e.Kuid, 1)
}

// checkReads gives how many answers of getxattr(2) it decided.
func checkReads() (count int) {
	for _, c := range nscap.Load[Decision]("decisions") {
		for _, s := range c.Steps {
			verb, attribute, _ := strings.Cut(strings.Fields(s.Do)[0], "-")
			if s.File == nil || verb != "get" && verb != "size" {
				continue
			}
			value, errno := getxattr(c, s, attribute)
			answer := map[string]any{"errno": errno}
			if value != nil && verb == "get" {
				answer = map[string]any{"value": *value}
			} else if value != nil {
				answer = map[string]any{"length": len(*value) / 2}
			}
			nscap.Same("reads", answer, s.Answer, s.Do)
			count++
		}
	}
	return count
}
