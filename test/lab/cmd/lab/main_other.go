//go:build !linux

// Command lab needs Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "lab: the lab is made of Linux network namespaces and runs on Linux alone")
	os.Exit(1)
}
