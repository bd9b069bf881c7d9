package engine

import (
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

func pointer(n uint32) *uint32 { return &n }

// Routes reach an external peer with their attributes, and changes do.
func TestExternal(t *testing.T) {
	r, _ := newRouter(t)
	s := newSpeaker(t, usual(4200000001))
	plain := &bgp.Attributes{}
	rich := &bgp.Attributes{
		LocalPref: pointer(200), MED: pointer(0), Prepend: 2,
		Communities: bgp.Communities{
			Standard: []bgp.Community{64512<<16 | 7, bgp.NoExport}, Large: []bgp.LargeCommunity{{Global: 64512, Local1: 1, Local2: 2}},
		},
	}
	advertise(t, r,
		route("198.51.100.1/32", to(plain, "tor", "other")), route("198.51.100.0/24", to(rich, "tor")),
		route("2001:db8:1::1/128", to(plain, "tor")), route("198.51.100.9/32", to(rich, "other")),
	)
	set(t, r, s.peer("tor"))
	c := s.establish()
	c.until("both End-of-RIB", func() bool { return c.ends == 2 })
	want := `198.51.100.0/24 via 127.0.0.1 path [64512 64512 64512] MED 0, communities 64512:7 65535:65281 large:64512:1:2
198.51.100.1/32 via 127.0.0.1 path [64512] 
2001:db8:1::1/128 via 2001:db8::1 path [64512] `
	if got := c.rib.text(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	st := eventually(t, r, "tor", "established", func(s bgp.Session) bool { return s.State == bgp.Established && s.Routes == 3 })
	if st.ASN != 4200000001 || st.HoldTime != 90*time.Second || st.KeepaliveTime != 30*time.Second || !st.IPv4 || !st.IPv6 || st.Withheld != "" ||
		st.Local != netip.MustParseAddr("127.0.0.1") || st.Remote != st.Local || st.Established != 1 || st.Updates == 0 || st.LastError != "" {
		t.Errorf("session %+v", st)
	}
	got, err := r.Advertised(t.Context(), "tor")
	if err != nil || len(got) != 3 || got[0].Prefix != netip.MustParsePrefix("198.51.100.0/24") || len(got[0].ASPath) != 3 {
		t.Errorf("advertised %v, %v", got, err)
	}

	// Another set of attributes, one that is known, and a withdrawal.
	advertise(t, r,
		route("198.51.100.1/32", to(&bgp.Attributes{MED: pointer(5)}, "tor")), route("198.51.100.0/24", nil), route("2001:db8:1::1/128", to(plain, "other")),
		route("198.51.100.3/32", to(rich, "tor")),
	)
	want = `198.51.100.1/32 via 127.0.0.1 path [64512] MED 5
198.51.100.3/32 via 127.0.0.1 path [64512 64512 64512] MED 0, communities 64512:7 65535:65281 large:64512:1:2`
	c.until("changes", func() bool { return c.rib.text() == want })

	// Draining is no reset, nor is its end.
	p := s.peer("tor")
	p.GracefulShutdown, p.ConnectTime, p.NextHop4 = true, 7*time.Second, netip.MustParseAddr("192.0.2.77")
	if resets := set(t, r, p); len(resets) > 0 {
		t.Errorf("draining resets %v", resets)
	}
	drained := strings.ReplaceAll(strings.ReplaceAll(want, "MED 5", "MED 5, communities 65535:0"), "65535:65281", "65535:0 65535:65281")
	c.until("drained", func() bool { return c.rib.text() == drained })
	set(t, r, s.peer("tor"))
	c.until("drained no more", func() bool { return c.rib.text() == want })

	// All routes again.
	before := sessionOf(t, r, "tor").Updates
	c.write(wire.RouteRefresh(wire.IPv4))
	eventually(t, r, "tor", "sent again", func(s bgp.Session) bool { return s.Updates > before })

	set(t, r)
	if n, err := c.notification(); err != nil || n.Code != wire.Cease || n.Subcode != wire.PeerDeconfigured {
		t.Errorf("removed: %v, %v", n, err)
	}
	if len(r.Sessions()) != 0 {
		t.Errorf("sessions %v", r.Sessions())
	}
}

// To an internal peer there is a local preference and no AS of ours; a family without a next hop is withheld.
func TestInternal(t *testing.T) {
	r, _ := newRouter(t)
	s := newSpeaker(t, usual(64512))
	p := s.peer("rr")
	p.NextHop6 = netip.Addr{}
	advertise(t, r,
		route("198.51.100.1/32", to(&bgp.Attributes{}, "rr")), route("198.51.100.2/32", to(&bgp.Attributes{LocalPref: pointer(0)}, "rr")),
		route("198.51.100.3/32", to(&bgp.Attributes{LocalPref: pointer(300), Prepend: 1}, "rr")), route("2001:db8::9/128", to(&bgp.Attributes{}, "rr")),
	)
	set(t, r, p)
	c := s.establish()
	want := `198.51.100.1/32 via 127.0.0.1 path [] localPref 100
198.51.100.2/32 via 127.0.0.1 path [] localPref 0
198.51.100.3/32 via 127.0.0.1 path [] localPref 300`
	c.until("routes", func() bool { return c.ends == 2 })
	if got := c.rib.text(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	st := eventually(t, r, "rr", "established", func(s bgp.Session) bool { return s.State == bgp.Established })
	if !strings.Contains(st.Withheld, "IPv6 routes are not advertised: this node has no IPv6 address for a next hop") {
		t.Errorf("withheld: %q", st.Withheld)
	}
	// A next hop comes, without a reset.
	p.NextHop6 = netip.MustParseAddr("2001:db8::1")
	p.GracefulShutdown = true
	if resets := set(t, r, p); len(resets) > 0 {
		t.Errorf("resets %v", resets)
	}
	want = `198.51.100.1/32 via 127.0.0.1 path [] localPref 0, communities 65535:0
198.51.100.2/32 via 127.0.0.1 path [] localPref 0, communities 65535:0
198.51.100.3/32 via 127.0.0.1 path [] localPref 0, communities 65535:0
2001:db8::9/128 via 2001:db8::1 path [] localPref 0, communities 65535:0`
	c.until("drained", func() bool { return c.rib.text() == want })
	if st := sessionOf(t, r, "rr"); st.Withheld != "" {
		t.Errorf("withheld: %q", st.Withheld)
	}
}

// A change resets what it must, says so, and nothing else.
func TestReset(t *testing.T) {
	r, logged := newRouter(t)
	s := newSpeaker(t, usual(65001))
	p := s.peer("tor")
	p.RestartTime = 60 * time.Second
	set(t, r, p)
	c := s.establish()
	eventually(t, r, "tor", "established", func(s bgp.Session) bool { return s.State == bgp.Established })
	if g := c.ours.GracefulRestart; g == nil || !g.Restarting || g.Time != time.Minute || len(g.Preserved) != 2 {
		t.Errorf("graceful restart announced: %+v", g)
	}
	p.HoldTime, p.KeepaliveTime, p.RestartTime, p.MultiHop = 30*time.Second, time.Second, 30*time.Second, true
	p.ASN, p.Type = 0, bgp.External
	if resets := set(t, r, p); len(resets) > 0 {
		t.Errorf("resets %v", resets)
	}
	for keepalives := 0; keepalives < 2; { // by the keepalive time of before there is one each 30 s, which is not waited for
		if c.read().Type() == wire.TypeKeepalive {
			keepalives++
		}
	}
	p.Password, p.IPv6 = "no secret for the log", false
	resets := set(t, r, p)
	if len(resets) != 1 || resets[0] != (bgp.Reset{Peer: "tor", Reason: "changed: families, password"}) {
		t.Errorf("resets %v", resets)
	}
	// With graceful restart on both sides the router keeps its routes: it is told nothing.
	if n, err := c.notification(); !errors.Is(err, io.EOF) {
		t.Errorf("the session ends with %v, %v", n, err)
	}
	if strings.Contains(logged.String(), "no secret for the log") {
		t.Error("a password was logged")
	}
	p.Password = ""
	set(t, r, p)
	c = s.establish()
	eventually(t, r, "tor", "established again", func(s bgp.Session) bool { return s.State == bgp.Established && s.Established == 2 })
	if c.ours.GracefulRestart.Restarting || c.ours.IPv6 || c.ours.HoldTime != 30*time.Second {
		t.Errorf("OPEN %+v", c.ours)
	}
	p.RestartTime = 0
	set(t, r, p)
	c = s.establish()
	eventually(t, r, "tor", "established without graceful restart", func(s bgp.Session) bool { return s.Established == 3 })
	p.LocalASN = 64513
	if resets := set(t, r, p); len(resets) != 1 || resets[0].Reason != "changed: local AS number" {
		t.Errorf("resets %v", resets)
	}
	if n, err := c.notification(); err != nil || n.Code != wire.Cease || n.Subcode != wire.ConfigurationChange {
		t.Errorf("the session ends with %v, %v", n, err)
	}
}

// Whoever sees that a session is lost sees why.
func TestLostSaysWhy(t *testing.T) {
	r, _ := newRouter(t)
	s := newSpeaker(t, usual(64513))
	set(t, r, s.peer("tor"))
	c := s.establish()
	eventually(t, r, "tor", "established", func(s bgp.Session) bool { return s.State == bgp.Established })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if st := eventually(t, r, "tor", "lost", func(s bgp.Session) bool { return s.State != bgp.Established }); st.LastError == "" {
		t.Errorf("session %+v", st)
	}
}

// Closing for a restart says nothing to who keeps our routes meanwhile, and says goodbye to others.
func TestClose(t *testing.T) {
	for _, c := range []struct {
		name    string
		restart bool
		time    time.Duration
		peer    *wire.Restart
		want    string
	}{
		{"stop", false, time.Minute, &wire.Restart{}, `Cease: Administrative Shutdown ("why")`},
		{"restart", true, time.Minute, &wire.Restart{}, ""},
		{"restart, the router cannot", true, time.Minute, nil, `Cease: Administrative Reset ("why")`},
		{"restart, not configured", true, 0, &wire.Restart{}, `Cease: Administrative Reset ("why")`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _ := newRouter(t)
			open := usual(65001)
			open.GracefulRestart = c.peer
			s := newSpeaker(t, open)
			p := s.peer("tor")
			p.RestartTime = c.time
			set(t, r, p)
			conn := s.establish()
			eventually(t, r, "tor", "established", func(s bgp.Session) bool { return s.State == bgp.Established })
			if err := r.Close(t.Context(), "why", c.restart); err != nil {
				t.Fatal(err)
			}
			n, err := conn.notification()
			if c.want == "" && !errors.Is(err, io.EOF) || c.want != "" && (n == nil || n.Error() != c.want) {
				t.Errorf("the session ends with %v, %v", n, err)
			}
			if err := r.SetRoutes(t.Context(), nil); !errors.Is(err, errClosed) {
				t.Errorf("a closed router takes routes: %v", err)
			}
			if _, errs := r.SetPeers(t.Context(), []bgp.Peer{p}); !errors.Is(errs["tor"], errClosed) {
				t.Errorf("a closed router takes peers: %v", errs)
			}
			if err := r.Close(t.Context(), "why", false); err != nil {
				t.Errorf("closed again: %v", err)
			}
		})
	}
}
