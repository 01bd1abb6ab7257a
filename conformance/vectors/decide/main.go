// SPDX-License-Identifier: MIT OR Apache-2.0

// Decides reads and layers of the vectors in a directory; exit status 1 at the first difference.
// reads: what getxattr(2) of both names gives a caller (R4, R6, T, M of the specification).
// members: what the owners and capabilities of a layer's files become in other terms (W).
package main

import "fmt"

func main() {
	fmt.Printf("%d reads\n%d members\n", checkReads(), checkMembers())
}
