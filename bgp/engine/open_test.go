package engine

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

// An OPEN that contradicts what is configured is refused with the RFC's code, and the session says what is wrong.
func TestRefusal(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*wire.Open, *bgp.Peer)
		subcode uint8
		want    string
	}{
		"another AS":          {func(_ *wire.Open, p *bgp.Peer) { p.ASN = 65002 }, wire.BadPeerAS, "says that it is in AS 65001, and not in AS 65002 as is configured here"},
		"not internal":        {func(_ *wire.Open, p *bgp.Peer) { p.ASN, p.Type = 0, bgp.Internal }, wire.BadPeerAS, "says that it is in AS 65001, but the peer must be internal, in AS 64512 like this node"},
		"not external":        {func(o *wire.Open, p *bgp.Peer) { o.ASN, p.ASN = 64512, 0 }, wire.BadPeerAS, "says that it is in AS 64512 like this node, but the peer must be external"},
		"AS 0":                {func(o *wire.Open, p *bgp.Peer) { o.ASN, p.ASN = 0, 0 }, wire.BadPeerAS, "says that it is in AS 0"},
		"no router ID":        {func(o *wire.Open, _ *bgp.Peer) { o.ID = netip.IPv4Unspecified() }, wire.BadIdentifier, "has no router ID"},
		"our router ID":       {func(o *wire.Open, p *bgp.Peer) { o.ASN, p.ASN, o.ID = 64512, 64512, netip.MustParseAddr("192.0.2.1") }, wire.BadIdentifier, "has the same router ID as this node, 192.0.2.1"},
		"no hold time":        {func(o *wire.Open, _ *bgp.Peer) { o.HoldTime = 0 }, wire.UnacceptableHoldTime, "wants a hold time of 0 s, with which a loss is not found"},
		"short hold time":     {func(o *wire.Open, _ *bgp.Peer) { o.HoldTime = 2 * time.Second }, wire.UnacceptableHoldTime, "wants a hold time of 2 s"},
		"no family in common": {func(o *wire.Open, p *bgp.Peer) { o.IPv4, p.IPv6 = false, false }, wire.UnsupportedCapability, "have no address family in common: it has IPv6, and IPv4 is wanted"},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newRouter(t)
			open := usual(65001)
			s := newSpeaker(t, open)
			p := s.peer("tor")
			c.change(&s.open, &p)
			set(t, r, p)
			conn := s.connected()
			conn.read()
			conn.write(s.open.Message())
			n, err := conn.notification()
			if err != nil || n.Code != wire.OpenError || n.Subcode != c.subcode {
				t.Errorf("refused by %v, %v", n, err)
			}
			st := eventually(t, r, "tor", "reported", func(s bgp.Session) bool { return s.LastError != "" })
			if !strings.Contains(st.LastError, c.want) || !strings.HasPrefix(st.LastError, "127.0.0.1 ") || st.Established != 0 {
				t.Errorf("session %+v", st)
			}
		})
	}
}

// A session takes what an OPEN allows: the AS of a dynamic peer, the shorter hold time, old speakers.
func TestNegotiation(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*wire.Open, *bgp.Peer)
		ok     func(bgp.Session) bool
	}{
		"external by its OPEN": {func(_ *wire.Open, p *bgp.Peer) { p.ASN = 0 }, func(s bgp.Session) bool { return s.ASN == 65001 }},
		"internal by its OPEN": {func(o *wire.Open, p *bgp.Peer) { o.ASN, p.ASN, p.Type = 64512, 0, bgp.Internal }, func(s bgp.Session) bool { return s.ASN == 64512 }},
		"its hold time":        {func(o *wire.Open, _ *bgp.Peer) { o.HoldTime = 9 * time.Second }, func(s bgp.Session) bool { return s.HoldTime == 9*time.Second && s.KeepaliveTime == 3*time.Second }},
		"our hold time":        {func(_ *wire.Open, p *bgp.Peer) { p.HoldTime, p.KeepaliveTime = 6*time.Second, time.Second }, func(s bgp.Session) bool { return s.HoldTime == 6*time.Second && s.KeepaliveTime == time.Second }},
		"without capabilities": {func(o *wire.Open, _ *bgp.Peer) { *o = wire.Open{ASN: 65001, HoldTime: o.HoldTime, ID: o.ID} }, func(s bgp.Session) bool {
			return s.IPv4 && !s.IPv6 && strings.Contains(s.Withheld, "IPv6 routes are not advertised: the router has not agreed")
		}},
		"two bytes for ASNs":     {func(o *wire.Open, p *bgp.Peer) { o.FourOctetASN, p.LocalASN = false, 4200000000 }, func(s bgp.Session) bool { return s.Routes == 1 }},
		"IPv6 alone, over IPv4":  {func(_ *wire.Open, p *bgp.Peer) { p.IPv4 = false }, func(s bgp.Session) bool { return !s.IPv4 && s.IPv6 && s.Withheld == "" }},
		"from a certain address": {func(_ *wire.Open, p *bgp.Peer) { p.Source = netip.MustParseAddr("127.0.0.77") }, func(s bgp.Session) bool { return s.Local == netip.MustParseAddr("127.0.0.77") }},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newRouter(t)
			s := newSpeaker(t, usual(65001))
			p := s.peer("tor")
			c.change(&s.open, &p)
			advertise(t, r, route("198.51.100.1/32", to(&bgp.Attributes{Prepend: 1}, "tor")))
			set(t, r, p)
			conn := s.establish()
			st := eventually(t, r, "tor", "negotiated", func(s bgp.Session) bool { return s.State == bgp.Established && c.ok(s) })
			if !st.IPv4 {
				return
			}
			for {
				m := conn.read()
				if m.Type() != wire.TypeUpdate {
					continue
				}
				if _, err := conn.rib.record(m, s.open.FourOctetASN); err != nil {
					t.Fatal(err)
				}
				if routes := conn.rib.list(); len(routes) == 1 {
					want := []uint32{p.LocalASN, p.LocalASN}
					switch {
					case !s.open.FourOctetASN && p.LocalASN > 0xffff:
						want = []uint32{23456, 23456}
					case s.open.ASN == p.LocalASN:
						want = nil
					}
					if !slices.Equal(routes[0].ASPath, want) || routes[0].NextHop != st.Local {
						t.Errorf("advertised %+v", routes[0])
					}
					return
				}
			}
		})
	}
}

// A router that says nothing is found lost when its hold time is over, one that closes at once, and one that is dropped on order; the
// session comes back without delay.
func TestLoss(t *testing.T) {
	r, _ := newRouter(t)
	s := newSpeaker(t, usual(65001))
	s.open.HoldTime = 3 * time.Second
	set(t, r, s.peer("tor"))
	began := time.Now()
	c := s.establish()
	// However late this sees it, it may be over by then.
	if st := eventually(t, r, "tor", "established", func(s bgp.Session) bool { return s.Established == 1 }); st.Since.Before(began) {
		t.Errorf("established since %s", st.Since)
	}
	n, err := c.notification()
	if took := time.Since(began); err != nil || n.Code != wire.HoldTimerExpired || took < s.open.HoldTime {
		t.Errorf("silent: %v, %v after %s", n, err, took)
	}
	if st := eventually(t, r, "tor", "lost", func(s bgp.Session) bool { return s.LastError != "" }); st.LastError != "nothing was heard from 127.0.0.1 for 3 s, the hold time" || st.State == bgp.Established || st.Routes != 0 {
		t.Errorf("session %+v", st)
	}
	s.open.HoldTime = 90 * time.Second // from now on it is not lost by itself, however slow this machine is
	for i, f := range []struct {
		lose func(*speaking)
		want string
	}{
		{func(c *speaking) { c.Close() }, "127.0.0.1 has closed the connection"},
		{func(c *speaking) { c.write(wire.Shutdown(wire.AdministrativeStop, "night").Message()) }, `127.0.0.1 has ended the session: Cease: Administrative Shutdown ("night"); it was shut down there`},
		{func(*speaking) {
			if err := r.Drop(t.Context(), "tor", "BFD found 127.0.0.1 lost"); err != nil {
				t.Error(err)
			}
		}, "BFD found 127.0.0.1 lost"},
		{func(c *speaking) { c.write(s.open.Message()) }, "127.0.0.1 has sent OPEN where it does not belong"},
	} {
		c := s.establish()
		st := eventually(t, r, "tor", "established", func(s bgp.Session) bool { return s.State == bgp.Established && s.Established == uint64(i+2) })
		if st.LastError != "" {
			t.Errorf("established, and the last error is %q", st.LastError)
		}
		c.until("End-of-RIB", func() bool { return c.ends == 2 }) // who closes with something unread resets the connection
		f.lose(c)
		eventually(t, r, "tor", "lost", func(s bgp.Session) bool { return s.LastError == f.want })
		s.accept().Close()
	}
	if err := r.Drop(t.Context(), "nobody", ""); err == nil {
		t.Error("an unknown peer was dropped")
	}
}

// Before there is a session its state says why there is none.
func TestNoSession(t *testing.T) {
	r, _ := newRouter(t)
	s := newSpeaker(t, usual(65001))
	p, refused, away := s.peer("closes"), s.peer("refused"), s.peer("away")
	p.ConnectTime = 30 * time.Second // it does not give up before it is closed
	refused.Address, refused.Port = netip.MustParseAddr("127.0.0.2"), 1
	away.Address, away.Source = netip.MustParseAddr("127.0.0.3"), netip.MustParseAddr("192.0.2.200")
	set(t, r, p, refused, away)
	s.accept().Close()
	for name, want := range map[string]string{
		"closes":  "127.0.0.1 accepts the connection and closes it: check that it knows 127.0.0.1 as a neighbour",
		"refused": "127.0.0.2:1 refuses connections: check that BGP runs there and knows this node as a neighbour",
		"away":    "this node does not have the source address 192.0.2.200",
	} {
		st := eventually(t, r, name, want, func(s bgp.Session) bool { return strings.Contains(s.LastError, want) })
		if st.Established != 0 || st.Since.IsZero() || !st.Remote.IsValid() {
			t.Errorf("session %+v", st)
		}
	}
}

func TestCheck(t *testing.T) {
	r, _ := newRouter(t)
	good := bgp.Peer{
		Name: "tor", Address: netip.MustParseAddr("192.0.2.2"), Port: 179, LocalASN: 1, ASN: 2, HoldTime: 90 * time.Second, KeepaliveTime: 30 * time.Second,
		ConnectTime: 5 * time.Second, IPv4: true,
	}
	if err := r.check(&good); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*bgp.Peer){
		"both an address and an interface":               func(p *bgp.Peer) { p.Interface = "eth0" },
		"none that a router can have":                    func(p *bgp.Peer) { p.Address = netip.Addr{} },
		"needs the interface it is on, as fe80::1%eth0":  func(p *bgp.Peer) { p.Address = netip.MustParseAddr("fe80::1") },
		"of another family than 192.0.2.2":               func(p *bgp.Peer) { p.Source = netip.MustParseAddr("2001:db8::1") },
		"the port is 0":                                  func(p *bgp.Peer) { p.Port = 0 },
		"this node's AS number is 0":                     func(p *bgp.Peer) { p.LocalASN = 0 },
		"the hold time 2s must be":                       func(p *bgp.Peer) { p.HoldTime, p.KeepaliveTime = 2*time.Second, time.Second },
		"the hold time 3.5s must be whole":               func(p *bgp.Peer) { p.HoldTime, p.KeepaliveTime = 3500*time.Millisecond, time.Second },
		"the keepalive time 2m0s must be":                func(p *bgp.Peer) { p.KeepaliveTime = 2 * time.Minute },
		"the connect time 0s must be":                    func(p *bgp.Peer) { p.ConnectTime = 0 },
		"the restart time 1h8m16s must be":               func(p *bgp.Peer) { p.RestartTime = 4096 * time.Second },
		"longer than 80 bytes":                           func(p *bgp.Peer) { p.Password = bgp.Password(strings.Repeat("x", 81)) },
		"several hops away and have TTL security":        func(p *bgp.Peer) { p.MultiHop, p.TTLSecurity = true, true },
		"no address family":                              func(p *bgp.Peer) { p.IPv4 = false },
		"the IPv4 next hop 2001:db8::1 is no IPv4":       func(p *bgp.Peer) { p.NextHop4 = netip.MustParseAddr("2001:db8::1") },
		"the IPv6 next hop 192.0.2.1 is no IPv6 address": func(p *bgp.Peer) { p.NextHop6 = netip.MustParseAddr("192.0.2.1") },
	} {
		p := good
		change(&p)
		if err := r.check(&p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
	other, twin := good, good
	other.Name = "other"
	// What is refused has no address that another one could not have.
	for _, peers := range [][]bgp.Peer{{good, twin, other}, {good, other, twin}, {other, good, twin}} {
		if ok, errs := r.valid(peers); len(errs) != 1 || errs["tor"] == nil || len(ok) != 1 {
			t.Errorf("%v: %v, errors %v", peers, ok, errs)
		}
	}
	for _, peers := range [][]bgp.Peer{{good, other}, {good, twin}, {good, {Name: "bad"}}} {
		_, errs := r.SetPeers(t.Context(), peers)
		if len(errs) != 1 {
			t.Errorf("%v: errors %v", peers, errs)
		}
	}
}
