package interop

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mdlayher/ndp"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/internal/testnet"
	"fairlead.io/fairlead/test/router"
)

// The case of the host's prefixes.
const (
	v4 = "198.51.100.1/32"
	v6 = "2001:db8:ff::1/128"
)

func overIPv6(c *BGPConfig, p *bgp.Peer) {
	c.Host, p.Address = addr("2001:db8::1"), addr("2001:db8::2")
}

func both(c *BGPConfig, p *bgp.Peer) {
	c.IPv4, c.IPv6, p.IPv4, p.IPv6 = true, true, true, true
}

func unnumbered(c *BGPConfig, p *bgp.Peer) {
	both(c, p)
	c.Host, p.Address = netip.Addr{}, netip.Addr{}
	c.Interface, p.Interface, c.ExtendedHop = "eth0", "eth0", true
	c.Hold, p.HoldTime, p.KeepaliveTime = 9, 9*time.Second, 3*time.Second // what a lost interface costs
}

func internal(c *BGPConfig, p *bgp.Peer) { c.ASN, p.ASN = hostASN, hostASN }

func bgpCases() []bgpCase {
	const noUnnumbered = "gobgpd takes no connection from a link-local neighbour that it does not know, and looks for its address in the kernel's table only when it starts"
	return []bgpCase{
		{name: "IPv4"},
		{name: "IPv6 over IPv6", change: func(c *BGPConfig, p *bgp.Peer) {
			overIPv6(c, p)
			c.IPv4, c.IPv6, p.IPv4, p.IPv6 = false, true, false, true
		}, check: func(l *bgpLab) { l.route(v6, wanted{nextHop: "2001:db8::1"}) }},
		{name: "both over IPv4", change: func(c *BGPConfig, p *bgp.Peer) {
			both(c, p)
			p.NextHop6 = addr("2001:db8::1")
		}, check: func(l *bgpLab) {
			l.route(v4, wanted{})
			l.route(v6, wanted{nextHop: "2001:db8::1"})
			l.unharmed(1)
		}},
		{name: "both over IPv6 RFC 8950", change: func(c *BGPConfig, p *bgp.Peer) {
			both(c, p)
			overIPv6(c, p)
			c.ExtendedHop = true
			p.Source = c.Host // FRR advertises the prefix then, and the kernel makes itself another address
		}, check: (*bgpLab).extendedNextHop},
		{name: "both over IPv6 IPv4 next hop", change: func(c *BGPConfig, p *bgp.Peer) {
			both(c, p)
			overIPv6(c, p)
			p.NextHop4 = addr("192.0.2.1")
		}, check: func(l *bgpLab) {
			l.route(v4, wanted{})
			l.route(v6, wanted{nextHop: "2001:db8::1"})
		}},
		{name: "MD5", change: func(c *BGPConfig, p *bgp.Peer) { c.Password, p.Password = "first-secret", "first-secret" }, check: (*bgpLab).rotate},
		{name: "MD5 over IPv6", change: func(c *BGPConfig, p *bgp.Peer) {
			overIPv6(c, p)
			c.Password, p.Password, c.IPv4, c.IPv6, p.IPv4, p.IPv6 = "some-secret", "some-secret", false, true, false, true
		}, check: func(l *bgpLab) { l.route(v6, wanted{nextHop: "2001:db8::1"}) }},
		{name: "TTL security", change: func(c *BGPConfig, p *bgp.Peer) { c.TTLSecurity, p.TTLSecurity = true, true }, check: (*bgpLab).ttl},
		{name: "multihop", change: func(c *BGPConfig, p *bgp.Peer) {
			c.Host, c.Local, p.Address, c.MultiHop, p.MultiHop = addr("10.1.0.1"), addr("10.2.0.2"), addr("10.2.0.2"), true, true
		}, check: func(l *bgpLab) { l.route(v4, wanted{nextHop: "10.1.0.1"}) }},
		{name: "graceful restart", change: func(_ *BGPConfig, p *bgp.Peer) { p.RestartTime = 50 * time.Second }, check: (*bgpLab).restart},
		{name: "unnumbered", change: unnumbered, check: (*bgpLab).unnumbered, cannot: map[router.Kind]string{router.GoBGP: noUnnumbered}},
		{name: "attributes", check: (*bgpLab).attributes},
		{name: "internal", change: internal, check: (*bgpLab).internal},
		{name: "dynamic AS", change: func(_ *BGPConfig, p *bgp.Peer) { p.ASN, p.Type = 0, bgp.External }, check: (*bgpLab).dynamic},
		{name: "large AS", change: func(c *BGPConfig, p *bgp.Peer) {
			c.ASN, p.ASN, c.HostASN, p.LocalASN = 4200000002, 4200000002, 4200000001, 4200000001
		}},
		{name: "source address", change: func(c *BGPConfig, p *bgp.Peer) {
			c.Host, p.Source, c.Local, c.MultiHop, p.MultiHop = addr("10.1.0.1"), addr("10.1.0.1"), addr("192.0.2.2"), true, true
		}, check: func(l *bgpLab) {
			l.route(v4, wanted{nextHop: "10.1.0.1"})
			if s := l.speaker.Session("tor"); s.Local != addr("10.1.0.1") {
				l.t.Errorf("session %+v", s)
			}
		}},
		{name: "port", change: func(c *BGPConfig, p *bgp.Peer) { c.Port, p.Port = 1790, 1790 }},
		{name: "timers", change: func(c *BGPConfig, p *bgp.Peer) {
			c.Hold, p.HoldTime, p.KeepaliveTime = 30, 9*time.Second, 2*time.Second
		}, check: (*bgpLab).timers},
		// Less than 9 s, and who gets no processor for a while is lost without a cut.
		{name: "cut", change: func(c *BGPConfig, p *bgp.Peer) { c.Hold, p.HoldTime, p.KeepaliveTime = 9, 9*time.Second, 3*time.Second }, check: (*bgpLab).cut},
		{name: "graceful shutdown", check: (*bgpLab).drain},
		{name: "changes", check: (*bgpLab).changes},
	}
}

func number32(n uint32) *uint32 { return &n }

// attributes of all kinds arrive, and change, and go.
func (l *bgpLab) attributes() {
	l.t.Helper()
	rich := &bgp.Attributes{
		LocalPref: number32(333), MED: number32(50), Prepend: 3,
		Communities: bgp.Communities{Standard: []bgp.Community{64512<<16 | 100, bgp.NoExport}, Large: []bgp.LargeCommunity{{Global: 64512, Local1: 1, Local2: 4294967295}}},
	}
	// An aggregate and a host route in it, with other attributes.
	l.speaker.Routes(export("198.51.100.0/24", rich), export("198.51.100.7/32", &bgp.Attributes{MED: number32(7)}))
	l.route("198.51.100.0/24", wanted{
		med: 50, path: []uint32{hostASN, hostASN, hostASN, hostASN}, communities: []string{"64512:100", "65535:65281"}, large: []string{"64512:1:4294967295"},
	})
	if r, _ := l.other.Route("198.51.100.0/24"); value(r.LocalPref) == 333 {
		l.t.Error("a local preference reaches another AS")
	}
	l.route("198.51.100.7/32", wanted{med: 7})
	l.route(v4, wanted{})
	l.speaker.Routes(export("198.51.100.0/24", plain), bgp.Route{Prefix: netip.MustParsePrefix("198.51.100.7/32")})
	l.route("198.51.100.0/24", wanted{})
	l.noRoute("198.51.100.7/32")
	l.unharmed(1)
	for _, a := range l.speaker.Advertised("tor") {
		if got, ok := l.other.Route(a.Prefix.String()); !ok || got.NextHop != a.NextHop {
			l.t.Errorf("said to be advertised is %+v, the router has %+v", a, got)
		}
	}
}

// extendedNextHop: IPv4 routes have an IPv6 next hop (RFC 8950), one of their own when there is one, and go.
func (l *bgpLab) extendedNextHop() {
	l.t.Helper()
	l.speaker.Routes(export("198.51.100.2/32", plain))
	for _, prefix := range []string{v4, "198.51.100.2/32", v6} {
		l.route(prefix, wanted{nextHop: "2001:db8::1"})
	}
	l.speaker.Routes(bgp.Route{Prefix: netip.MustParsePrefix("198.51.100.2/32")})
	l.noRoute("198.51.100.2/32")
	l.peer.NextHop4 = addr("192.0.2.1")
	if resets := l.speaker.Peers(l.peer); len(resets) > 0 {
		l.t.Errorf("resets %v", resets)
	}
	l.route(v4, wanted{})
	l.peer.NextHop4 = netip.Addr{}
	l.speaker.Peers(l.peer)
	l.route(v4, wanted{nextHop: "2001:db8::1"})
	l.speaker.Routes(bgp.Route{Prefix: netip.MustParsePrefix(v4)}, bgp.Route{Prefix: netip.MustParsePrefix(v6)})
	l.noRoute(v4)
	l.noRoute(v6)
	l.unharmed(1)
}

// internal peers get a local preference, and no AS of ours.
func (l *bgpLab) internal() {
	l.t.Helper()
	l.speaker.Routes(export("198.51.100.2/32", &bgp.Attributes{LocalPref: number32(250)}), export("198.51.100.3/32", &bgp.Attributes{Prepend: 2}))
	l.route("198.51.100.3/32", wanted{localPref: 100}) // with our AS in its path it would be a loop
	l.route(v4, wanted{localPref: 100})
	l.route("198.51.100.2/32", wanted{localPref: 250})
	l.unharmed(1)
}

// rotate changes the password on both ends: that session alone is reset. A wrong one is told of when there is no answer for 30 s.
func (l *bgpLab) rotate() {
	l.t.Helper()
	l.route(v4, wanted{})
	l.other.SetPassword("second-secret")
	l.peer.Password = "second-secret"
	if resets := l.speaker.Peers(l.peer); len(resets) > 1 || len(resets) == 1 && resets[0] != (bgp.Reset{Peer: "tor", Reason: "changed: password"}) {
		l.t.Errorf("resets %v", resets)
	}
	l.up(2)
	l.route(v4, wanted{})
	if l.kind != router.FRR {
		return // silence is the kernel's and ours: once is enough
	}
	l.peer.Password = "wrong-secret"
	began := time.Now()
	l.speaker.Peers(l.peer)
	Until(l.t, patience, "the wrong password is suspected", func() string {
		s := l.speaker.Session("tor")
		if s.LastError == "MD5 mismatch suspected: no answer to SYN from 192.0.2.2:179 for 30 s; check that both ends have the same password" {
			return ""
		}
		return fmt.Sprintf("%+v", s)
	})
	if took := time.Since(began); took < 30*time.Second {
		l.t.Errorf("it was suspected after %s", took)
	}
	l.peer.Password = "second-secret"
	l.speaker.Peers(l.peer)
	l.up(3)
	if s := l.speaker.Session("tor"); s.LastError != "" {
		l.t.Errorf("session %+v", s)
	}
}

// ttl security counts: without it our end sends a TTL of 1, which the router drops, so that the session is lost.
func (l *bgpLab) ttl() {
	l.t.Helper()
	l.route(v4, wanted{})
	l.peer.TTLSecurity = false
	if resets := l.speaker.Peers(l.peer); len(resets) > 0 {
		l.t.Errorf("resets %v", resets)
	}
	before := l.retransmitted()
	l.speaker.Routes(export("198.51.100.2/32", plain))
	Until(l.t, patience, "it is sent again, because nobody has acknowledged it", func() string {
		if l.retransmitted() > before {
			return ""
		}
		return "it is not"
	})
	l.peer.TTLSecurity = true
	if _, ok := l.other.Route("198.51.100.2/32"); ok {
		l.t.Error("what has a TTL of 1 arrives")
	}
	if resets := l.speaker.Peers(l.peer); len(resets) > 0 {
		l.t.Errorf("resets %v", resets)
	}
	l.route("198.51.100.2/32", wanted{})
	l.unharmed(1)
}

// retransmitted is how many segments of TCP the host has sent again.
func (l *bgpLab) retransmitted() (n uint64) {
	l.t.Helper()
	l.host.Do(func() error {
		b, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		var names []string
		for line := range strings.Lines(string(b)) {
			values, ok := strings.CutPrefix(line, "Tcp:")
			fields := strings.Fields(values)
			if i := slices.Index(names, "RetransSegs"); ok && i >= 0 {
				n, err = strconv.ParseUint(fields[i], 10, 64)
				return err
			}
			if ok {
				names = fields
			}
		}
		return errors.New("the kernel does not count what TCP sends again")
	})
	return n
}

// restart: the routes stay while the speaker is away, and those that it does not have any more go afterwards.
func (l *bgpLab) restart() {
	l.t.Helper()
	l.speaker.Routes(export("198.51.100.2/32", plain))
	l.route(v4, wanted{})
	l.route("198.51.100.2/32", wanted{})
	if d := l.other.Details(); d.Restart != 50 {
		l.t.Errorf("the router shows %+v", d)
	}
	l.speaker.Close(true)
	Until(l.t, patience, "the router sees the session end", l.other.Down)
	there := func(when string) {
		for _, prefix := range []string{v4, "198.51.100.2/32"} {
			if _, ok := l.other.Route(prefix); !ok {
				l.t.Errorf("%s: the route to %s is gone", when, prefix)
			}
		}
	}
	there("speaker stopped")
	l.speaker = NewBGPSpeaker(l.t, l.host, "192.0.2.1")
	l.speaker.Routes(export(v4, plain))
	there("speaker started")
	l.speaker.Peers(l.peer)
	Until(l.t, patience, "the session comes back", func() string {
		if _, ok := l.other.Route(v4); !ok {
			l.t.Fatal("the route was lost when the session came back")
		}
		return l.other.Up()
	})
	l.route(v4, wanted{})
	l.noRoute("198.51.100.2/32")

	// Killed, it says as little.
	l.speaker.Kill()
	Until(l.t, patience, "the router sees the session end", l.other.Down)
	if _, ok := l.other.Route(v4); !ok {
		l.t.Error("the route is gone with a speaker that was killed")
	}
	l.speaker = NewBGPSpeaker(l.t, l.host, "192.0.2.1")
	l.speaker.Routes(export(v4, plain))
	l.speaker.Peers(l.peer)
	l.up(1)
	l.route(v4, wanted{})
	l.speaker.Close(false)
	l.noRoute(v4)
}

// unnumbered: the router is found on the interface, and found again with another address.
func (l *bgpLab) unnumbered() {
	l.t.Helper()
	l.route(v4, wanted{nextHop: "fe80::1"})
	l.route(v6, wanted{nextHop: "fe80::1"})
	if s := l.speaker.Session("tor"); s.Remote != addr("fe80::2%eth0") || s.Local != addr("fe80::1") {
		l.t.Errorf("session %+v", s)
	}
	l.others()
	l.unharmed(1)
	// Another router in its place.
	l.other.Kill()
	l.router.DeleteAddress("eth0", "fe80::2/64")
	l.router.AddAddress("eth0", "fe80::22/64")
	l.other.Start(l.config)
	l.up(2)
	if s := l.speaker.Session("tor"); s.Remote != addr("fe80::22%eth0") {
		l.t.Errorf("session %+v", s)
	}
	l.route(v4, wanted{nextHop: "fe80::1"})
	// Another interface of its name: nothing that was known of the old one is of use.
	l.wires.DeleteLink("host")
	testnet.Connect(l.wires, "host", l.host, "eth0")
	l.wires.Join("switch0", "host")
	l.host.AddAddress("eth0", "fe80::1/64")
	Until(l.t, patience, "the session over the new interface", func() string {
		if s := l.speaker.Session("tor"); s.State != bgp.Established || s.Established < 3 {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	l.route(v4, wanted{nextHop: "fe80::1"})
}

// others are on the link too, and say that they are routers, which ends no session.
func (l *bgpLab) others() {
	l.t.Helper()
	var from []string
	for i := range 20 {
		from = append(from, fmt.Sprintf("fe80::%d", 100+i))
		l.wires.AddAddress("switch0", from[i]+"/64")
	}
	l.wires.Do(func() error {
		ifi, err := net.InterfaceByName("switch0")
		if err != nil {
			return err
		}
		ifi.Name = strconv.Itoa(ifi.Index) // by which Go finds it in whatever namespace
		for _, a := range from {
			conn, _, err := ndp.Listen(ifi, ndp.Addr(a))
			if err != nil {
				return err
			}
			err = conn.WriteTo(&ndp.RouterAdvertisement{RouterLifetime: time.Minute}, nil, addr("ff02::1"))
			if err := errors.Join(err, conn.Close()); err != nil {
				return err
			}
		}
		return nil
	})
	// What was heard of them has had its effect when a later route has come, and was asked for after they were.
	l.speaker.Routes(export("198.51.100.9/32", plain))
	l.route("198.51.100.9/32", wanted{nextHop: "fe80::1"})
}

// dynamic: the AS is the one of the OPEN, if that is external; to name it then changes nothing, and an internal one is refused.
func (l *bgpLab) dynamic() {
	l.t.Helper()
	l.route(v4, wanted{})
	if s := l.speaker.Session("tor"); s.ASN != routerASN {
		l.t.Errorf("session %+v", s)
	}
	l.peer.ASN = routerASN
	if resets := l.speaker.Peers(l.peer); len(resets) > 0 {
		l.t.Errorf("resets %v", resets)
	}
	l.unharmed(1)
	l.peer.ASN, l.peer.Type = 0, bgp.Internal
	if resets := l.speaker.Peers(l.peer); len(resets) != 1 || resets[0].Reason != "changed: AS number" {
		l.t.Errorf("resets %v", resets)
	}
	Until(l.t, patience, "the AS is refused", func() string {
		s := l.speaker.Session("tor")
		if s.LastError == "192.0.2.2 says that it is in AS 65001, but the peer must be internal, in AS 64512 like this node" {
			return ""
		}
		return fmt.Sprintf("%+v", s)
	})
}

// timers: the shorter hold time counts on both ends, and keepalives by it keep the session.
func (l *bgpLab) timers() {
	l.t.Helper()
	s := l.speaker.Session("tor")
	if s.HoldTime != 9*time.Second || s.KeepaliveTime != 2*time.Second {
		l.t.Errorf("session %+v", s)
	}
	if got := l.other.Details().Hold; got != 9 {
		l.t.Errorf("the router has a hold time of %d s", got)
	}
	lasting := time.Now().Add(10 * time.Second)
	Until(l.t, patience, "longer than the hold time", func() string {
		l.unharmed(1)
		if time.Now().Before(lasting) {
			return "not yet"
		}
		return ""
	})
}

// cut: who says nothing any more is found lost within the hold time, and comes back.
func (l *bgpLab) cut() {
	l.t.Helper()
	l.route(v4, wanted{})
	l.wires.SetLink("near", false)
	Until(l.t, patience, "the loss is seen", func() string {
		s := l.speaker.Session("tor")
		if s.State != bgp.Established && s.LastError == "nothing was heard from 192.0.2.2 for 9 s, the hold time" {
			return ""
		}
		return fmt.Sprintf("%+v", s)
	})
	l.noRoute(v4)
	l.wires.SetLink("near", true)
	l.up(2)
	l.route(v4, wanted{})
	// Lost by another's judgement.
	l.speaker.Drop("tor", "BFD found 192.0.2.2 lost")
	dropped := time.Now()
	l.up(3)
	l.t.Logf("back %s after it was dropped", time.Since(dropped).Round(ms))
	l.route(v4, wanted{})
}

// drain: RFC 8326 in one session.
func (l *bgpLab) drain() {
	l.t.Helper()
	l.route(v4, wanted{})
	l.peer.GracefulShutdown = true
	if resets := l.speaker.Peers(l.peer); len(resets) > 0 {
		l.t.Errorf("resets %v", resets)
	}
	l.route(v4, wanted{communities: []string{"65535:0"}})
	l.speaker.Routes(export("198.51.100.2/32", &bgp.Attributes{Communities: bgp.Communities{Standard: []bgp.Community{7}}}))
	l.route("198.51.100.2/32", wanted{communities: []string{"0:7", "65535:0"}})
	l.peer.GracefulShutdown = false
	l.speaker.Peers(l.peer)
	l.route(v4, wanted{})
	l.unharmed(1)
}

// changes to the peer and beside it leave the session alone.
func (l *bgpLab) changes() {
	l.t.Helper()
	l.route(v4, wanted{})
	other := l.peer
	other.Name, other.Address = "other", addr("192.0.2.3")
	l.speaker.Peers(l.peer, other)
	l.speaker.Routes(bgp.Route{Prefix: netip.MustParsePrefix(v4), To: []bgp.Export{{Peer: "other", Attributes: plain}, {Peer: "tor", Attributes: plain}}})
	other.Password, l.peer.ConnectTime, l.peer.KeepaliveTime, l.peer.HoldTime = "x", 9*time.Second, 5*time.Second, 60*time.Second
	if resets := l.speaker.Peers(other, l.peer); len(resets) > 0 {
		l.t.Errorf("resets %v", resets)
	}
	l.speaker.Peers(l.peer)
	l.route(v4, wanted{})
	l.unharmed(1)
	l.speaker.Peers()
	l.noRoute(v4)
}
