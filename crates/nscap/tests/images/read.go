// SPDX-License-Identifier: MIT OR Apache-2.0

// Prints what Go's archive/tar reads of the layer that is named.
package main

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"os"
)

func main() {
	file, err := os.Open(os.Args[1])
	if err != nil {
		panic(err)
	}
	plain, err := gzip.NewReader(file)
	if err != nil {
		panic(err)
	}
	archive := tar.NewReader(plain)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(err)
		}
		kind := "file"
		switch header.Typeflag {
		case tar.TypeDir:
			kind = "directory"
		case tar.TypeLink:
			kind = "link"
		}
		value := header.PAXRecords["SCHILY.xattr.security.capability"]
		fmt.Printf("%s %s %s %x\n", header.Name, kind, header.Linkname, value)
	}
}
