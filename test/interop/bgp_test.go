package interop

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/bgp"
)

const (
	hostASN   = 64512
	routerASN = 65001
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// bgpLab is a router and a speaker with a session over eth0.
type bgpLab struct {
	topology
	t       *testing.T
	make    string
	router  BGPRouter
	config  BGPConfig
	speaker *BGPSpeaker
	peer    bgp.Peer
}

// bgpCase is one way of having a session. change alters both ends from what is usual: one session over IPv4, with IPv4 routes.
type bgpCase struct {
	name   string
	change func(*BGPConfig, *bgp.Peer)
	// check is called with the session up and the routes of plain there; nil: that is all.
	check func(*bgpLab)
	// cannot says which routers cannot have it, and why.
	cannot map[string]string
}

var plain = &bgp.Attributes{}

func export(prefix string, attrs *bgp.Attributes) bgp.Route {
	return bgp.Route{Prefix: netip.MustParsePrefix(prefix), To: []bgp.Export{{Peer: "tor", Attributes: attrs}}}
}

// routes waits until the router has a route like that, from us.
func (l *bgpLab) route(prefix string, want BGPRoute) {
	l.t.Helper()
	if want.Path == nil && l.peer.ASN != hostASN {
		want.Path = []uint32{l.peer.LocalASN}
	}
	if want.NextHop == "" {
		want.NextHop = "192.0.2.1"
	}
	Until(l.t, 20*time.Second, "the route to "+prefix, func() string {
		got, ok := l.router.Route(prefix)
		if !ok {
			return "is not there"
		}
		if got.NextHop != want.NextHop || !slices.Equal(got.Path, want.Path) || got.MED != want.MED || got.Stale || !sameSet(got.Communities, want.Communities) ||
			!sameSet(got.Large, want.Large) || want.LocalPref != 0 && got.LocalPref != want.LocalPref {
			return fmt.Sprintf("is %+v, and should be %+v", got, want)
		}
		return ""
	})
}

func (l *bgpLab) noRoute(prefix string) {
	l.t.Helper()
	Until(l.t, 20*time.Second, "the route to "+prefix+" goes", func() string {
		if r, ok := l.router.Route(prefix); ok {
			return fmt.Sprintf("it is there: %+v", r)
		}
		return ""
	})
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// up waits until both ends have the session.
func (l *bgpLab) up(n uint64) bgp.Session {
	l.t.Helper()
	s := l.speaker.Up("tor", n)
	Until(l.t, 20*time.Second, "the router has the session", func() string {
		if got := l.router.Session(); !got.Up {
			return fmt.Sprintf("it shows %+v", got)
		}
		return ""
	})
	return s
}

// unharmed checks that the session is still the nth one.
func (l *bgpLab) unharmed(n uint64) {
	l.t.Helper()
	if s := l.speaker.Session("tor"); s.State != bgp.Established || s.Established != n {
		l.t.Errorf("the session was reset: %+v", s)
	}
	if s := l.router.Session(); !s.Up || s.Ups >= 0 && s.Ups != int(n) {
		l.t.Errorf("the router shows another session: %+v", s)
	}
}

func TestBGP(t *testing.T) {
	for name, start := range BGPRouters() {
		for _, c := range bgpCases() {
			if c.cannot[name] != "" {
				continue
			}
			t.Run(name+"/"+strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				l := &bgpLab{topology: newTopology(t), t: t, make: name}
				l.config = BGPConfig{
					ASN: routerASN, HostASN: hostASN, RouterID: "192.0.2.2", Host: addr("192.0.2.1"), Port: 179, Hold: 90, IPv4: true,
				}
				l.peer = bgp.Peer{
					Name: "tor", Address: addr("192.0.2.2"), Port: 179, LocalASN: hostASN, ASN: routerASN, HoldTime: 90 * time.Second,
					KeepaliveTime: 30 * time.Second, ConnectTime: time.Second, IPv4: true,
				}
				if c.change != nil {
					c.change(&l.config, &l.peer)
				}
				l.router = start(t, l.topology.router)
				l.router.Start(l.config)
				l.speaker = NewBGPSpeaker(t, l.host, "192.0.2.1")
				l.speaker.Routes(export("198.51.100.1/32", plain), export("2001:db8:ff::1/128", plain))
				l.speaker.Peers(l.peer)
				l.up(1)
				if c.check != nil {
					c.check(l)
					return
				}
				l.route("198.51.100.1/32", BGPRoute{})
				l.unharmed(1)
			})
		}
	}
}
