package interop

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/test/router"
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
	kind    router.Kind
	other   *BGPRouter
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
	cannot map[router.Kind]string
}

var plain = &bgp.Attributes{}

func export(prefix string, attrs *bgp.Attributes) bgp.Route {
	return bgp.Route{Prefix: netip.MustParsePrefix(prefix), To: []bgp.Export{{Peer: "tor", Attributes: attrs}}}
}

// wanted is a route as it should be at the router; what is left out: the usual.
type wanted struct {
	nextHop            string
	path               []uint32
	med, localPref     uint32
	communities, large []string
}

func value(n *uint32) uint32 {
	if n == nil {
		return 0
	}
	return *n
}

// route waits until the router has a route like that, from us.
func (l *bgpLab) route(prefix string, want wanted) {
	l.t.Helper()
	if want.path == nil && l.peer.ASN != hostASN {
		want.path = []uint32{l.peer.LocalASN}
	}
	if want.nextHop == "" {
		want.nextHop = "192.0.2.1"
	}
	Until(l.t, patience, "the route to "+prefix, func() string {
		got, ok := l.other.Route(prefix)
		if !ok {
			return "is not there"
		}
		if got.NextHop.WithZone("") != addr(want.nextHop) || !slices.Equal(got.ASPath, want.path) || value(got.MED) != want.med ||
			!slices.Equal(got.Communities, want.communities) || !slices.Equal(got.LargeCommunities, want.large) ||
			want.localPref != 0 && value(got.LocalPref) != want.localPref {
			return fmt.Sprintf("is %+v, and should be %+v", got, want)
		}
		return ""
	})
}

func (l *bgpLab) noRoute(prefix string) {
	l.t.Helper()
	Until(l.t, patience, "the route to "+prefix+" goes", func() string {
		if r, ok := l.other.Route(prefix); ok {
			return fmt.Sprintf("it is there: %+v", r)
		}
		return ""
	})
}

// up waits until both ends have the session.
func (l *bgpLab) up(n uint64) {
	l.t.Helper()
	l.speaker.Up("tor", n)
	Until(l.t, patience, "the router has the session", l.other.Up)
}

// unharmed checks that the session is still the nth one.
func (l *bgpLab) unharmed(n uint64) {
	l.t.Helper()
	if s := l.speaker.Session("tor"); s.State != bgp.Established || s.Established != n {
		l.t.Errorf("the session was reset: %+v", s)
	}
	if why := l.other.Up(); why != "" {
		l.t.Error(why)
	}
	if d := l.other.Details(); d.Ups >= 0 && d.Ups != int(n) {
		l.t.Errorf("the router shows another session: %+v", d)
	}
}

func TestBGP(t *testing.T) {
	for _, kind := range router.Kinds() {
		for _, c := range bgpCases() {
			if c.cannot[kind] != "" {
				continue
			}
			t.Run(string(kind)+"/"+strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				l := &bgpLab{topology: newTopology(t), t: t, kind: kind}
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
				l.other = NewBGPRouter(t, l.router, kind)
				l.other.Start(l.config)
				l.speaker = NewBGPSpeaker(t, l.host, "192.0.2.1")
				l.speaker.Routes(export(v4, plain), export(v6, plain))
				l.speaker.Peers(l.peer)
				l.up(1)
				if c.check != nil {
					c.check(l)
					return
				}
				l.route(v4, wanted{})
				l.unharmed(1)
			})
		}
	}
}

// What a router cannot is written down for a router that there is.
func TestBGPCases(t *testing.T) {
	for _, c := range bgpCases() {
		for kind, why := range c.cannot {
			if !slices.Contains(router.Kinds(), kind) || why == "" {
				t.Errorf("%s: %s cannot: %q", c.name, kind, why)
			}
		}
	}
}
