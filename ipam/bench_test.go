package ipam

import (
	"fmt"
	"runtime"
	"testing"
)

func keys(n int) []Request {
	reqs := make([]Request, n)
	for i := range reqs {
		reqs[i] = request(fmt.Sprintf("svc-%07d", i), i)
	}
	return reqs
}

// BenchmarkFill allocates n addresses of a /14 (a /8 where that is too small).
func BenchmarkFill(b *testing.B) {
	for _, n := range []int{10_000, 20_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			reqs := keys(n)
			cidr := "10.0.0.0/14"
			if n > 1<<18 {
				cidr = "10.0.0.0/8"
			}
			for b.Loop() {
				a := allocator(b, pool(b, "web", 0, cidr))
				for i := range reqs {
					if d := a.Assign(reqs[i]); !d.Satisfied {
						b.Fatal(d.Message())
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/allocation")
		})
	}
}

func BenchmarkReleaseAndAssign(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			reqs := keys(n)
			a := allocator(b, pool(b, "web", 0, "10.0.0.0/8"))
			for i := range reqs {
				a.Assign(reqs[i])
			}
			i := 0
			for b.Loop() {
				r := reqs[i*7919%n]
				a.Release(r.Service)
				a.Assign(r)
				i++
			}
		})
	}
}

// BenchmarkFull asks a full pool of a million addresses.
func BenchmarkFull(b *testing.B) {
	const n = 1 << 20
	a := allocator(b, pool(b, "web", 0, "10.0.0.0/12"))
	reqs := keys(n + 1)
	for i := range reqs[:n] {
		a.Assign(reqs[i])
	}
	for b.Loop() {
		if d := a.Assign(reqs[n]); d.Satisfied {
			b.Fatal("given")
		}
	}
}

func BenchmarkMemory(b *testing.B) {
	const n = 1_000_000
	reqs := keys(n)
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		a := allocator(b, pool(b, "web", 0, "10.0.0.0/8"))
		for i := range reqs {
			a.Assign(reqs[i])
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/allocation")
		runtime.KeepAlive(a)
	}
}
