// Package memory says when a program collects garbage: seldom while it starts, and often while it has little to do.
package memory

import (
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// early is how much memory, in bytes, the Go runtime may have before it collects for the first time. What a program reads at its start
	// mostly stays, so that each of the many small collections until then would find little and take its time from what it does.
	early = 96 << 20
	// atRest is by how much, in per cent, the heap may grow between two collections once what there is at the start has been read. A program
	// that allocates little from then on pays next to nothing for that, and needs a fifth less memory.
	atRest = 30
	// afterwards is time for what follows from what was read.
	afterwards = 10 * time.Second
)

// Collector says when garbage is collected. What the environment says in GOGC and GOMEMLIMIT goes before.
type Collector struct {
	begin func() // collecting, as Go does
}

// Start is called first of all.
func Start() *Collector {
	c := &Collector{begin: func() {}}
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return c
	}
	percent, limit := debug.SetGCPercent(-1), debug.SetMemoryLimit(first(os.DirFS("/sys/fs/cgroup")))
	c.begin = sync.OnceFunc(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
	// Its first collection takes it.
	runtime.AddCleanup(new([64]byte), func(begin func()) { begin() }, c.begin)
	return c
}

// first is at how much memory there is a collection first: early, or half of what the container may have, which would be killed before it
// came to that. The folder is that of control groups.
func first(cgroup fs.FS) int64 {
	least := int64(early)
	for _, name := range []string{"memory.max", "memory/memory.limit_in_bytes"} { // of version 2, of version 1
		raw, err := fs.ReadFile(cgroup, name)
		if err != nil {
			continue // it is the other version, or there is no container
		}
		if most, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64); err == nil && most > 0 { // else it says "max"
			least = min(least, most/2)
		}
	}
	return least
}

// Rest is called once, when the program has started. A little later it returns to the system what only that took.
func (c *Collector) Rest() {
	time.AfterFunc(afterwards, func() {
		c.begin()
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(atRest)
		}
		debug.FreeOSMemory()
	})
}
