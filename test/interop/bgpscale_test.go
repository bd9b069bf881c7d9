package interop

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/internal/testnet"
	"fairlead.io/fairlead/test/router"
)

// scale is a host with a router of each make, and a peer that never answers.
type scale struct {
	routers map[string]*BGPRouter
	peers   []bgp.Peer
	names   []string
	host    *testnet.Namespace
}

func newScale(t testing.TB) *scale {
	t.Helper()
	return newScaleWith(t, "")
}

func newScaleWith(t testing.TB, password string) *scale {
	t.Helper()
	s := &scale{routers: map[string]*BGPRouter{}, host: testnet.New(t)}
	for i, kind := range router.Kinds() {
		i, name := i+1, string(kind)
		ns, ifname := testnet.New(t), fmt.Sprintf("eth%d", i)
		testnet.Connect(s.host, ifname, ns, "eth0")
		s.host.AddAddress(ifname, fmt.Sprintf("192.0.%d.1/24", i))
		ns.AddAddress("eth0", fmt.Sprintf("192.0.%d.2/24", i))
		r := NewBGPRouter(t, ns, kind)
		r.Start(BGPConfig{
			ASN: routerASN, HostASN: hostASN, RouterID: fmt.Sprintf("192.0.%d.2", i), Host: addr(fmt.Sprintf("192.0.%d.1", i)), Port: 179, Hold: 90, IPv4: true,
			Password: password,
		})
		s.routers[name], s.names = r, append(s.names, name)
		s.peers = append(s.peers, bgp.Peer{
			Name: name, Address: addr(fmt.Sprintf("192.0.%d.2", i)), Port: 179, LocalASN: hostASN, ASN: routerASN, HoldTime: 90 * time.Second,
			KeepaliveTime: 30 * time.Second, ConnectTime: time.Second, IPv4: true, Password: bgp.Password(password),
		})
	}
	// A peer on a network where nobody answers, not even to ARP.
	hole := s.peers[0]
	hole.Name, hole.Address, hole.Password = "hole", addr("192.0.1.99"), "secret"
	s.peers = append(s.peers, hole)
	return s
}

// all waits until each router has that many routes.
func (s *scale) all(t testing.TB, n int) {
	t.Helper()
	Until(t, patience, fmt.Sprintf("%d routes at all routers", n), func() string {
		for name, r := range s.routers {
			if got := r.Received(); got != n {
				return fmt.Sprintf("%s has %d", name, got)
			}
		}
		return ""
	})
}

// A password that changes resets its own session alone, whichever router it is: what the others say of theirs is that it lasts.
func TestPasswordOfOne(t *testing.T) {
	s := newScaleWith(t, "first-secret")
	speaker := NewBGPSpeaker(t, s.host, "192.0.1.1")
	speaker.Many(10, addr("10.0.0.0"), []bgp.Attributes{{}}, s.names...)
	speaker.Peers(s.peers...)
	s.all(t, 10)
	ups := map[string]uint64{}
	for i, name := range s.names {
		s.routers[name].SetPassword("second-secret")
		s.peers[i].Password = "second-secret"
		speaker.Peers(s.peers...)
		ups[name]++
		Until(t, patience, name+" has its session again", func() string {
			if n := speaker.Session(name).Established; n != 2 {
				return fmt.Sprintf("it was established %d times", n)
			}
			return s.routers[name].Up()
		})
		s.all(t, 10)
		for _, other := range s.names {
			if n := speaker.Session(other).Established; n != 1+ups[other] {
				t.Errorf("the password of %s has changed, and the session with %s was established %d times", name, other, n)
			}
			if d := s.routers[other].Details(); other != name && ups[other] == 0 && d.Ups > 1 {
				t.Errorf("the password of %s has changed, and %s had its session established %d times", name, other, d.Ups)
			}
		}
	}
}

// 10,000 routes come to three routers, although a fourth never answers, and so does each one more; no session is lost by that.
func TestTenThousandRoutes(t *testing.T) {
	all, more, cpu, memory := tenThousandRoutes(t)
	t.Logf("at the routers after %s, %s of processor time, %d MB of memory; one route more is sent to all: median %s, 99 %% %s",
		all.Round(ms), cpu.Round(ms), memory>>20, more[len(more)/2], more[len(more)*99/100])
}

// BenchmarkTenThousandRoutes is how long it takes from when the speaker has its peers until 10,000 routes are at all routers, and one route
// more is sent to all. Run it without the race detector.
func BenchmarkTenThousandRoutes(b *testing.B) {
	for b.Loop() {
		all, more, cpu, memory := tenThousandRoutes(b)
		b.ReportMetric(all.Seconds(), "s-to-all-routers")
		b.ReportMetric(float64(more[len(more)*99/100])/float64(time.Millisecond), "ms-one-more-p99")
		b.ReportMetric(cpu.Seconds(), "cpu-s")
		b.ReportMetric(float64(memory)/(1<<20), "rss-MiB")
	}
	b.ReportMetric(0, "ns/op")
}

func tenThousandRoutes(t testing.TB) (all time.Duration, times []time.Duration, cpu time.Duration, memory uint64) {
	t.Helper()
	const n, more = 10000, 200
	s := newScale(t)
	speaker := NewBGPSpeaker(t, s.host, "192.0.1.1")
	sets := []bgp.Attributes{{}, {MED: number32(7)}}
	began := time.Now()
	speaker.Many(n, addr("10.0.0.0"), sets, s.names...)
	speaker.Peers(s.peers...)
	s.all(t, n)
	all, cpu, memory = time.Since(began), speaker.CPU(), uint64(speaker.Memory())
	for i := range more {
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 200, byte(i >> 8), byte(i)}), 32)
		r := bgp.Route{Prefix: prefix}
		for _, name := range s.names {
			r.To = append(r.To, bgp.Export{Peer: name, Attributes: &sets[0]})
		}
		began := time.Now()
		speaker.Routes(r)
		// That it was sent is asked of the speaker, who counts what it writes to the connections: the routers answer too slowly.
		for sent := 0; sent < len(s.names); {
			sent = 0
			for _, name := range s.names {
				if speaker.Session(name).Routes == n+i+1 {
					sent++
				}
			}
			if time.Since(began) > patience {
				t.Fatalf("one route more is sent to %d routers after %s", sent, patience)
			}
		}
		times = append(times, time.Since(began))
	}
	s.all(t, n+more)
	slices.Sort(times)
	for _, name := range s.names {
		if session := speaker.Session(name); session.Established != 1 {
			t.Errorf("session %+v", session)
		}
	}
	return all, times, cpu, memory
}
