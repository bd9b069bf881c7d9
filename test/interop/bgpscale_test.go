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
		})
		s.routers[name], s.names = r, append(s.names, name)
		s.peers = append(s.peers, bgp.Peer{
			Name: name, Address: addr(fmt.Sprintf("192.0.%d.2", i)), Port: 179, LocalASN: hostASN, ASN: routerASN, HoldTime: 90 * time.Second,
			KeepaliveTime: 30 * time.Second, ConnectTime: time.Second, IPv4: true,
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
	Until(t, 60*time.Second, fmt.Sprintf("%d routes at all routers", n), func() string {
		for name, r := range s.routers {
			if got := r.Received(); got != n {
				return fmt.Sprintf("%s has %d", name, got)
			}
		}
		return ""
	})
}

// 10,000 routes are at three routers in no more than three seconds after the speaker has its peers, although a fourth never answers;
// one more is sent to all within 100 ms.
func TestTenThousandRoutes(t *testing.T) {
	const n, more = 10000, 200
	s := newScale(t)
	speaker := NewBGPSpeaker(t, s.host, "192.0.1.1")
	sets := []bgp.Attributes{{}, {MED: number32(7)}}
	began := time.Now()
	speaker.Many(n, addr("10.0.0.0"), sets, s.names...)
	speaker.Peers(s.peers...)
	s.all(t, n)
	took := time.Since(began)
	t.Logf("%d routes at %d routers after %s, %s of processor time, %d MB of memory", n, len(s.routers), took.Round(ms), speaker.CPU().Round(ms), speaker.Memory()>>20)
	if took > 3*time.Second {
		t.Errorf("%d routes needed %s", n, took)
	}
	var times []time.Duration
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
			if time.Since(began) > 10*time.Second {
				t.Fatalf("one route more is sent to %d routers after 10 s", sent)
			}
		}
		times = append(times, time.Since(began))
	}
	s.all(t, n+more)
	slices.Sort(times)
	t.Logf("one route more is sent to all: median %s, 99 %% %s", times[more/2], times[more*99/100])
	if times[more*99/100] > 100*time.Millisecond {
		t.Errorf("one route more needs %s", times[more*99/100])
	}
	for _, name := range s.names {
		if session := speaker.Session(name); session.Established != 1 {
			t.Errorf("session %+v", session)
		}
	}
}
