package udp

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// PortTakenError says that another program has a port that BFD needs.
type PortTakenError struct {
	Port uint16
	// Holders are the programs that have it, as far as this process may see them.
	Holders []string
}

// Error names who has the port, or is likely to have it.
func (e *PortTakenError) Error() string {
	who := "likely by another BFD daemon on this node, such as FRR's bfdd (MetalLB in its FRR modes runs one) or BIRD"
	if len(e.Holders) > 0 {
		who = "by " + strings.Join(e.Holders, " and ")
	}
	return fmt.Sprintf("UDP port %d is taken, %s: stop BFD there, or do without BFD here", e.Port, who)
}

// Unwrap gives the kernel's error.
func (e *PortTakenError) Unwrap() error { return unix.EADDRINUSE }

// holders looks for the programs that have a port. It finds only those that this process may look into: in a container,
// its own.
func holders(port uint16, ipv6 bool) []string {
	tables := []string{"/proc/thread-self/net/udp6"}
	if !ipv6 {
		tables = append(tables, "/proc/thread-self/net/udp") // an IPv6 socket may take IPv4 too
	}
	links := map[string]bool{}
	for _, table := range tables {
		raw, err := os.ReadFile(table)
		if err != nil {
			continue // then nobody is found
		}
		for _, inode := range inodes(string(raw), port) {
			links["socket:["+inode+"]"] = true
		}
	}
	if len(links) == 0 {
		return nil
	}
	var found []string
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if link, err := os.Readlink(fd); err != nil || !links[link] {
			continue
		}
		dir := filepath.Dir(filepath.Dir(fd))
		if name, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
			found = append(found, fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), filepath.Base(dir)))
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// inodes of the sockets that have a port, from one of the kernel's tables.
func inodes(table string, port uint16) []string {
	var found []string
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 10 {
			continue
		}
		_, hex, _ := strings.Cut(f[1], ":")
		if n, err := strconv.ParseUint(hex, 16, 16); err == nil && uint16(n) == port {
			found = append(found, f[9])
		}
	}
	return found
}
