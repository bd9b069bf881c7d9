package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

// narrow makes the kernel take so little of what a session writes that most of what fat routes need stays with the writer while the router
// reads nothing.
func narrow(t *testing.T, r *Router, peer string) {
	t.Helper()
	p := r.peer(peer)
	p.mu.Lock()
	ours := p.session.conn
	p.mu.Unlock()
	if err := ours.SetWriteBuffer(32 << 10); err != nil {
		t.Fatal(err)
	}
}

// fat are routes that need a message each, of almost the greatest length.
func fat(n int, peers ...string) (routes []bgp.Route) {
	for i := range n {
		a := &bgp.Attributes{MED: pointer(uint32(i))}
		for j := range uint32(320) {
			a.Communities.Large = append(a.Communities.Large, bgp.LargeCommunity{Global: 64512, Local1: j})
		}
		routes = append(routes, bgp.Route{Prefix: host(i), To: to(a, peers...)})
	}
	return routes
}

// taken waits until the writer has taken what is pending for a peer.
func taken(t *testing.T, r *Router, peer string) {
	t.Helper()
	eventually(t, r, peer, "the writer has begun", func(bgp.Session) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		s := r.established[peer]
		return s != nil && len(s.task.pending) == 0
	})
}

// A router that stands still while routes flap is told of no more than the last state; what waits for it does not grow, and nobody
// else waits.
func TestCoalescing(t *testing.T) {
	const flaps, many = 1000, 500
	r, _ := newQuietRouter(t)
	slow, quick := newSpeaker(t, usual(65001)), newSpeakerAt(t, "127.0.0.2", usual(65002))
	set(t, r, slow.peer("slow"), quick.peer("quick"))
	c, other := slow.establish(), quick.establish()
	for _, c := range []*speaking{c, other} {
		c.until("End-of-RIB", func() bool { return c.ends == 2 })
	}
	narrow(t, r, "slow")
	advertise(t, r, fat(many, "slow")...)
	taken(t, r, "slow") // and is with the first of them until the router reads
	flap, gone := netip.MustParsePrefix("198.51.100.1/32"), netip.MustParsePrefix("198.51.100.2/32")
	last := host(many - 1)
	for i := range uint32(flaps) {
		attrs := &bgp.Attributes{MED: pointer(i)}
		advertise(t, r, bgp.Route{Prefix: flap, To: to(attrs, "quick", "slow")}, bgp.Route{Prefix: gone, To: to(attrs, "slow")})
		advertise(t, r, bgp.Route{Prefix: gone}, bgp.Route{Prefix: last, To: to(attrs, "slow")})
	}
	other.until("the last state, at the other router", func() bool {
		return other.rib.text() == "198.51.100.1/32 via 127.0.0.1 path [64512] MED 999"
	})
	r.mu.Lock()
	if n := len(r.established["slow"].task.pending); n != 3 {
		t.Errorf("%d prefixes are pending, want 3", n)
	}
	r.mu.Unlock()
	if st := sessionOf(t, r, "slow"); st.Routes >= many {
		t.Errorf("said to be advertised: %d routes, of which the router has read none", st.Routes)
	}
	c.until("all", func() bool {
		attrs := c.rib.routes[last].Attributes
		return c.rib.len() == many+1 && attrs.String() == "MED 999"
	})
	if got := fmt.Sprint(c.rib.changes[flap], c.rib.changes[gone], c.rib.changes[last]); got != "1 0 2" {
		t.Errorf("the router was told %s times, want once, never, twice", got)
	}
	eventually(t, r, "slow", "noted", func(s bgp.Session) bool { return s.Routes == many+1 && s.Established == 1 })
}

// A router that takes nothing for the send hold time is given up (RFC 9687), although it lets hear that it is alive; no other session is concerned.
func TestSendHold(t *testing.T) {
	r, _ := newQuietRouter(t)
	var impatient atomic.Bool
	r.sendHold = func(hold time.Duration) time.Duration {
		if hold != 90*time.Second || !impatient.Load() {
			return time.Minute // the session is not open yet, or another one's
		}
		return 300 * time.Millisecond
	}
	open := usual(65002)
	open.HoldTime = 60 * time.Second
	s, sane := newSpeaker(t, usual(65001)), newSpeakerAt(t, "127.0.0.2", open)
	set(t, r, s.peer("tor"), sane.peer("sane"))
	c, other := s.establish(), sane.establish()
	c.until("End-of-RIB", func() bool { return c.ends == 2 })
	narrow(t, r, "tor")
	impatient.Store(true)
	const many = 500
	advertise(t, r, fat(many, "sane", "tor")...)
	c.write(wire.Keepalive())
	st := eventually(t, r, "tor", "given up", func(s bgp.Session) bool { return s.LastError != "" })
	if st.LastError != "127.0.0.1 takes no messages any more" || st.Routes != 0 {
		t.Errorf("session %+v", st)
	}
	if n, err := c.notification(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ends with %v, %v", n, err)
	}
	other.until("all routes, at the other router", func() bool { return other.rib.len() == many })
	if st := sessionOf(t, r, "sane"); st.State != bgp.Established || st.Established != 1 {
		t.Errorf("the other session: %+v", st)
	}
	for hold, want := range map[time.Duration]time.Duration{0: 8 * time.Minute, 90 * time.Second: 8 * time.Minute, time.Hour: 2 * time.Hour} {
		if got := sendHold(hold); got != want {
			t.Errorf("send hold time %s with a hold time of %s, want %s", got, hold, want)
		}
	}
}

// A router that asks for a family gets that family again, and no other; asked for often, it is sent seldom.
func TestRefresh(t *testing.T) {
	r, _ := newRouter(t)
	s := newSpeaker(t, usual(65001))
	advertise(t, r, route("198.51.100.1/32", to(&bgp.Attributes{}, "tor")), route("198.51.100.2/32", to(&bgp.Attributes{MED: pointer(1)}, "tor")),
		route("198.51.100.3/32", to(&bgp.Attributes{}, "other")), route("2001:db8:1::1/128", to(&bgp.Attributes{}, "tor")))
	set(t, r, s.peer("tor"))
	c := s.establish()
	c.until("End-of-RIB", func() bool { return c.ends == 2 })
	four, six := prefixes("198.51.100.1/32", "198.51.100.2/32"), netip.MustParsePrefix("2001:db8:1::1/128")
	told := func() string { return fmt.Sprint(c.rib.changes[four[0]], c.rib.changes[four[1]], c.rib.changes[six]) }
	began := time.Now()
	c.write(wire.RouteRefresh(wire.IPv4))
	c.until("IPv4 again", func() bool { return told() == "2 2 1" })
	for range 100 {
		c.write(wire.RouteRefresh(wire.IPv6))
	}
	c.until("IPv6 again", func() bool { return told() == "2 2 2" })
	if took := time.Since(began); took < refreshEvery {
		t.Errorf("the next one came after %s", took)
	}
	advertise(t, r, route("198.51.100.9/32", to(&bgp.Attributes{}, "tor")))
	c.until("one more", func() bool { return c.rib.len() == 4 })
	// Where this takes long, what was asked for late may have been sent once more.
	most := 1 + int(time.Since(began)/refreshEvery)
	if c.rib.changes[four[0]] != 2 || c.rib.changes[four[1]] != 2 || c.rib.changes[six] > most || c.ends != 2 {
		t.Errorf("told %s times, of IPv6 at most %d, and %d times the end", told(), most, c.ends)
	}
}

// When a peer's next hop changes, its routes are sent again that have it, and no others; an attribute that a router does not get is no
// change.
func TestOnlyWhatDiffers(t *testing.T) {
	r, _ := newRouter(t)
	s := newSpeaker(t, usual(65001))
	four, six, mark := netip.MustParsePrefix("198.51.100.1/32"), netip.MustParsePrefix("2001:db8:1::1/128"), netip.MustParsePrefix("198.51.100.9/32")
	advertise(t, r, bgp.Route{Prefix: four, To: to(&bgp.Attributes{}, "tor")}, bgp.Route{Prefix: six, To: to(&bgp.Attributes{}, "tor")})
	p := s.peer("tor")
	set(t, r, p)
	c := s.establish()
	c.until("End-of-RIB", func() bool { return c.ends == 2 })
	for i, step := range []struct {
		name   string
		change func()
		want   string
	}{
		{"another IPv6 next hop", func() { p.NextHop6 = netip.MustParseAddr("2001:db8::2") }, "1 2"},
		{"an IPv4 next hop that is not used", func() { p.NextHop4 = netip.MustParseAddr("192.0.2.77") }, "1 2"},
		{"a local preference for an external peer", func() {
			advertise(t, r, bgp.Route{Prefix: four, To: to(&bgp.Attributes{LocalPref: pointer(9)}, "tor")})
		}, "1 2"},
		{"the same again", func() { advertise(t, r, bgp.Route{Prefix: six, To: to(&bgp.Attributes{}, "tor")}) }, "1 2"},
		{"a route of another peer", func() { advertise(t, r, bgp.Route{Prefix: six, To: to(&bgp.Attributes{}, "other", "tor")}) }, "1 2"},
		{"drained", func() { p.GracefulShutdown = true }, "2 3"},
		{"no IPv6 next hop", func() { p.NextHop6 = netip.Addr{} }, "2 4"},
	} {
		step.change()
		if resets := set(t, r, p); len(resets) > 0 {
			t.Errorf("%s: resets %v", step.name, resets)
		}
		advertise(t, r, bgp.Route{Prefix: mark, To: to(&bgp.Attributes{MED: pointer(uint32(i))}, "tor")})
		c.until(step.name, func() bool { m := c.rib.routes[mark].Attributes.MED; return m != nil && *m == uint32(i) })
		c.until(step.name, func() bool { return fmt.Sprint(c.rib.changes[four], c.rib.changes[six]) == step.want })
	}
	if got := c.rib.len(); got != 2 {
		t.Errorf("%d routes are left", got)
	}
}

// Routes that cannot be advertised are errors, and keep no others from it.
func TestSetRoutes(t *testing.T) {
	r, _ := newRouter(t)
	attrs := &bgp.Attributes{}
	err := r.SetRoutes(t.Context(), []bgp.Route{
		{Prefix: netip.MustParsePrefix("10.0.0.1/8"), To: to(attrs, "tor")}, {To: to(attrs, "tor")}, {Prefix: netip.MustParsePrefix("::ffff:10.0.0.1/128"), To: to(attrs, "tor")},
		{Prefix: host(1), To: append(to(attrs, "z", "a"), to(nil, "tor")...)}, {Prefix: host(2), To: to(attrs, "z", "a", "z", "m")}, {Prefix: host(3)},
	})
	for _, want := range []string{"prefix 10.0.0.1/8 is none", "prefix invalid Prefix is none", "prefix ::ffff:10.0.0.1/128 is none", "has no attributes for peer tor"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.routes) != 1 || len(r.routes[host(2)]) != 3 || exportTo(r.routes[host(2)], "m") != attrs || exportTo(r.routes[host(2)], "b") != nil {
		t.Errorf("routes %v", r.routes)
	}
}

// Of routes that are withdrawn and peers that are gone nothing is kept.
func TestForgotten(t *testing.T) {
	r, _ := newRouter(t)
	s := newSpeaker(t, usual(65001))
	set(t, r, s.peer("tor"))
	c := s.establish()
	for i := range uint32(300) {
		advertise(t, r, route("198.51.100.1/32", to(&bgp.Attributes{MED: pointer(i)}, "stranger", "tor")), route("198.51.100.2/32", to(&bgp.Attributes{}, "tor")))
	}
	c.until("the last one", func() bool {
		return strings.Contains(c.rib.text(), "198.51.100.1/32 via 127.0.0.1 path [64512] MED 299") && c.rib.len() == 2
	})
	advertise(t, r, route("198.51.100.1/32", nil), route("198.51.100.2/32", nil))
	c.until("withdrawn", func() bool { return c.rib.len() == 0 })
	eventually(t, r, "tor", "noted", func(s bgp.Session) bool { return s.Routes == 0 })
	set(t, r)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.routes)+len(r.established)+len(r.peers) != 0 {
		t.Errorf("kept: %d routes, %d sessions, %d peers", len(r.routes), len(r.established), len(r.peers))
	}
}
