package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

// counting is a router that counts what it has been sent.
type counting struct {
	*speaking
	routes atomic.Int64
}

// count reads until the session ends.
func (c *counting) count() {
	for {
		m, err := c.next()
		if err != nil {
			return
		}
		switch m.Type() {
		case wire.TypeUpdate:
			if _, err := c.rib.record(m, true); err != nil {
				c.t.Error(err)
				return
			}
			c.routes.Store(int64(c.rib.len()))
		case wire.TypeKeepalive:
			if _, err := c.Write(m); err != nil {
				return
			}
		default:
		}
	}
}

func cpu() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkTenThousand shows how long 10,000 routes need to three peers (it includes what the peers here do to read them), and one
// route more, with a fourth peer that never answers.
func BenchmarkTenThousand(b *testing.B) {
	const n, more = 10000, 200
	for range b.N {
		r, _ := newQuietRouter(b)
		routers := make([]*speaker, 3)
		var peers []bgp.Peer
		var names []string
		for i := range routers {
			routers[i] = newSpeakerAt(b, fmt.Sprintf("127.0.1.%d", i+1), usual(uint32(65001+i)))
			p := routers[i].peer(fmt.Sprint("router", i))
			peers, names = append(peers, p), append(names, p.Name)
		}
		hole := peers[0]
		hole.Name, hole.Address = "hole", netip.MustParseAddr("240.0.0.1") // no route, or no answer
		attrs := []*bgp.Attributes{{}, {MED: pointer(7), Communities: bgp.Communities{Standard: []bgp.Community{bgp.NoExport}}}}
		address := func(i int) netip.Prefix {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		}
		var routes []bgp.Route
		for i := range n {
			routes = append(routes, bgp.Route{Prefix: address(i), To: to(attrs[i%2], names...)})
		}
		b.StopTimer()
		var wg sync.WaitGroup
		conns := make([]*counting, 3)
		busy, began := cpu(), time.Now()
		b.StartTimer()
		advertise(b, r, routes...)
		added := time.Since(began)
		set(b, r, append(peers, hole)...)
		for i, s := range routers {
			conns[i] = &counting{speaking: s.establish()}
			wg.Go(conns[i].count)
		}
		all := func(want int64) {
			for slices.ContainsFunc(conns, func(c *counting) bool { return c.routes.Load() < want }) {
				time.Sleep(50 * time.Microsecond)
			}
		}
		all(n)
		b.ReportMetric(time.Since(began).Seconds(), "s/10000x3")
		b.ReportMetric((cpu() - busy).Seconds(), "cpu-s/10000x3")
		b.ReportMetric(added.Seconds(), "s/added")
		var took []time.Duration
		for i := range more {
			began := time.Now()
			advertise(b, r, bgp.Route{Prefix: address(n + i), To: to(attrs[0], names...)})
			all(int64(n + i + 1))
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[more/2].Microseconds())/1000, "ms/route-p50")
		b.ReportMetric(float64(took[more*99/100].Microseconds())/1000, "ms/route-p99")
		b.StopTimer()
		for _, c := range conns {
			_ = c.Close()
		}
		wg.Wait()
		b.StartTimer()
	}
}
