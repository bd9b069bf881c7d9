package announce

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"fairlead.io/fairlead/l2/metrics"
	"fairlead.io/fairlead/l2/netif"
)

// BenchmarkClaims is what it costs to hear a claim, while one hostile host claims 1,000 addresses, each time with another hardware
// address: time, memory that stays, and how often a report changes.
func BenchmarkClaims(b *testing.B) {
	m, err := metrics.New(prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	n := &network{joined: map[string]int{}, open: map[string]int{}}
	var changes atomic.Int64
	a := New(Config{Open: n.opener, Count: 1, Metrics: m, Log: logr.Discard(), Changed: func() { changes.Add(1) }})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	a.SetInterfaces([]netif.Interface{eth0})
	for i := range 1000 {
		a.Own(nth(i), nil, AtOnce)
	}
	random := rand.New(rand.NewPCG(1, 2))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	i := 0
	for b.Loop() {
		a.claims <- claim{"eth0", nth(i % 1000), netif.MAC{2, 0, byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32())}}
		i++
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/1024, "KiB-that-stay")
	b.ReportMetric(float64(changes.Load()), "changes")
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
