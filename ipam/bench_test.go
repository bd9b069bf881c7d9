package ipam

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// services are n names. What else a request has is made when it is used: a million requests are not what is measured.
func services(n int) []Key {
	list := make([]Key, n)
	for i := range list {
		list[i] = Key(fmt.Sprintf("shop/svc-%07d", i))
	}
	return list
}

var one = []Family{IPv4}

func plain(k Key, i int) Request {
	return Request{Service: k, Created: start.Add(time.Duration(i) * time.Second), Families: one}
}

// BenchmarkFill allocates n addresses of a /14 (a /8 where that is too small).
func BenchmarkFill(b *testing.B) {
	for _, n := range []int{10_000, 20_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			names := services(n)
			cidr := "10.0.0.0/14"
			if n > 1<<18 {
				cidr = "10.0.0.0/8"
			}
			for b.Loop() {
				a := allocator(b, pool(b, "web", 0, cidr))
				for i, k := range names {
					if d := a.Assign(plain(k, i)); !d.Satisfied {
						b.Fatal(d.Message())
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/allocation")
		})
	}
}

// BenchmarkDrain releases n addresses in the order in which they were given.
func BenchmarkDrain(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			names := services(n)
			for b.Loop() {
				b.StopTimer()
				a := allocator(b, pool(b, "web", 0, "10.0.0.0/8"))
				for i, k := range names {
					a.Assign(plain(k, i))
				}
				b.StartTimer()
				for _, k := range names {
					a.Release(k)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/release")
		})
	}
}

// BenchmarkReleaseAndAssign takes addresses from Services all over the memory: what it costs with a million is waiting for that.
func BenchmarkReleaseAndAssign(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			names := services(n)
			a := allocator(b, pool(b, "web", 0, "10.0.0.0/8"))
			for i, k := range names {
				a.Assign(plain(k, i))
			}
			i := 0
			for b.Loop() {
				j := i * 7919 % n
				a.Release(names[j])
				a.Assign(plain(names[j], j))
				i++
			}
		})
	}
}

// BenchmarkFull asks a full pool of a million addresses.
func BenchmarkFull(b *testing.B) {
	const n = 1 << 20
	a := allocator(b, pool(b, "web", 0, "10.0.0.0/12"))
	names := services(n + 1)
	for i, k := range names[:n] {
		a.Assign(plain(k, i))
	}
	for b.Loop() {
		if d := a.Assign(plain(names[n], n)); d.Satisfied {
			b.Fatal("given")
		}
	}
}

func BenchmarkMemory(b *testing.B) {
	const n = 1_000_000
	names := services(n)
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		a := allocator(b, pool(b, "web", 0, "10.0.0.0/8"))
		for i, k := range names {
			a.Assign(plain(k, i))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/allocation")
		runtime.KeepAlive(a)
	}
}
