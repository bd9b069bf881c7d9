package memory

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/fstest"
	"time"
)

// Nothing is collected early, and then as Go always does.
func TestStart(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	runtime.GC()
	before := collections()
	c := Start()
	var block []byte
	allocate := func(mib int) {
		for range mib {
			block = make([]byte, 1<<20)
		}
	}
	allocate(32)
	if n := collections() - before; n != 0 {
		t.Errorf("after 32 MiB there were %d collections, want none", n)
	}
	deadline := time.Now().Add(10 * time.Second)
	for limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64; limit = debug.SetMemoryLimit(-1) {
		if time.Now().After(deadline) {
			t.Fatalf("the memory limit is still %d", limit)
		}
		allocate(32)
	}
	if percent := debug.SetGCPercent(100); percent != 100 {
		t.Errorf("the heap may grow by %d %% between two collections, want 100 %%", percent)
	}
	runtime.KeepAlive(block)
	debug.SetGCPercent(atRest)
	c.begin() // once is enough: it would undo what Rest has set
	if percent := debug.SetGCPercent(100); percent != atRest {
		t.Errorf("the heap may grow by %d %% between two collections, want %d %%, as was set later", percent, atRest)
	}
}

// A container that may have little memory is not killed for garbage that nobody collected.
func TestFirst(t *testing.T) {
	for _, tc := range []struct {
		name, file, content string
		want                int64
	}{
		{"no container", "other", "", early},
		{"no limit", "memory.max", "max\n", early},
		{"the usual limit", "memory.max", "268435456\n", early},
		{"a low limit", "memory.max", "67108864\n", 32 << 20},
		{"no limit, version 1", "memory/memory.limit_in_bytes", "9223372036854771712\n", early},
		{"a low limit, version 1", "memory/memory.limit_in_bytes", "67108864\n", 32 << 20},
	} {
		if got := first(fstest.MapFS{tc.file: {Data: []byte(tc.content)}}); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

// The environment goes before.
func TestEnvironment(t *testing.T) {
	t.Setenv("GOGC", "50")
	before := debug.SetGCPercent(50)
	defer debug.SetGCPercent(before)
	Start().begin()
	if percent := debug.SetGCPercent(50); percent != 50 {
		t.Errorf("the heap may grow by %d %% between two collections, want 50 %%", percent)
	}
}

func collections() uint32 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.NumGC
}
