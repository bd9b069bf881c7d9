package engine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

// ttlOf gives the TTL that a peer's connection has, and the least that it takes.
func ttlOf(t *testing.T, r *Router, peer string) (send, receive int) {
	t.Helper()
	p := r.peer(peer)
	p.mu.Lock()
	s := p.session
	p.mu.Unlock()
	if s == nil {
		t.Fatalf("there is no connection with %s", peer)
	}
	c, err := s.conn.SyscallConn()
	if err == nil {
		err = onSocket(c, func(fd int) (err error) {
			if send, err = unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL); err == nil {
				receive, err = unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MINTTL)
			}
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return send, receive
}

// What of a peer changes without a reset counts from the next session on, and at once where there is none.
func TestChangeCounts(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*bgp.Peer)
		asn    uint32 // the router's, afterwards
		ok     func(open *wire.Open, send, receive int) bool
	}{
		"hold time":    {func(p *bgp.Peer) { p.HoldTime = 30 * time.Second }, 65001, func(o *wire.Open, _, _ int) bool { return o.HoldTime == 30*time.Second }},
		"restart time": {func(p *bgp.Peer) { p.RestartTime = 30 * time.Second }, 65001, func(o *wire.Open, _, _ int) bool { return o.GracefulRestart.Time == 30*time.Second }},
		"multihop":     {func(p *bgp.Peer) { p.MultiHop = true }, 65001, func(_ *wire.Open, send, _ int) bool { return send == defaultTTL }},
		"TTL security": {func(p *bgp.Peer) { p.TTLSecurity = true }, 65001, func(_ *wire.Open, send, receive int) bool { return send == maxTTL && receive == maxTTL }},
		"AS number":    {func(p *bgp.Peer) { p.ASN, p.Type = 0, bgp.External }, 65002, func(*wire.Open, int, int) bool { return true }},
	} {
		begin := func(t *testing.T) (*Router, *speaker, bgp.Peer) {
			t.Parallel()
			r, _ := newRouter(t)
			s := newSpeaker(t, usual(65001))
			p := s.peer("tor")
			p.RestartTime, p.ConnectTime = time.Minute, 30*time.Second
			set(t, r, p)
			return r, s, p
		}
		check := func(t *testing.T, r *Router, s *speaker) {
			t.Helper()
			s.open.ASN = c.asn
			conn := s.establish()
			eventually(t, r, "tor", "established", func(s bgp.Session) bool { return s.State == bgp.Established && s.ASN == c.asn })
			if send, receive := ttlOf(t, r, "tor"); !c.ok(conn.ours, send, receive) {
				t.Errorf("the next session has the OPEN %+v, %+v, and sends with a TTL of %d, and takes %d or more", conn.ours, conn.ours.GracefulRestart, send, receive)
			}
		}
		t.Run(name+", over a loss", func(t *testing.T) {
			r, s, p := begin(t)
			conn := s.establish()
			eventually(t, r, "tor", "established", func(s bgp.Session) bool { return s.State == bgp.Established })
			c.change(&p)
			if resets := set(t, r, p); len(resets) > 0 {
				t.Errorf("resets %v", resets)
			}
			_ = conn.Close()
			check(t, r, s)
		})
		t.Run(name+", without a session", func(t *testing.T) {
			r, s, p := begin(t)
			for range 6 {
				_ = s.accept().Close()
			}
			// Now it would wait for 6 s at least.
			eventually(t, r, "tor", "lost again", func(s bgp.Session) bool { return s.State == bgp.OpenSent || s.LastError != "" })
			c.change(&p)
			began := time.Now()
			set(t, r, p)
			check(t, r, s)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("the change waits for %s", took)
			}
		})
	}
}

// A router keeps our routes when it is told nothing (RFC 4724): who will not be the same neighbour in the next session says goodbye.
func TestLeaveNeighbour(t *testing.T) {
	for name, change := range map[string]func(*bgp.Peer){
		"address":   func(p *bgp.Peer) { p.Address = netip.MustParseAddr("127.0.0.2") },
		"interface": func(p *bgp.Peer) { p.Address, p.Interface = netip.Addr{}, "fairlead-none" },
		"port":      func(p *bgp.Peer) { p.Port = 1 },
		"source":    func(p *bgp.Peer) { p.Source = netip.MustParseAddr("127.0.0.3") },
		"AS number": func(p *bgp.Peer) { p.ASN = 65002 },
		"local AS":  func(p *bgp.Peer) { p.LocalASN = 64513 },
		"":          func(p *bgp.Peer) { p.IPv6 = false },
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newRouter(t)
			s := newSpeaker(t, usual(65001))
			p := s.peer("tor")
			p.RestartTime = time.Minute
			set(t, r, p)
			c := s.establish()
			eventually(t, r, "tor", "established", func(s bgp.Session) bool { return s.State == bgp.Established })
			change(&p)
			if resets := set(t, r, p); len(resets) != 1 {
				t.Errorf("resets %v", resets)
			}
			n, err := c.notification()
			switch {
			case name == "" && !errors.Is(err, io.EOF):
				t.Errorf("the same neighbour ends with %v, %v", n, err)
			case name != "" && (err != nil || n.Code != wire.Cease || n.Subcode != wire.ConfigurationChange):
				t.Errorf("the session ends with %v, %v", n, err)
			}
		})
	}
}

// What a socket does not take is an error each time, until it does.
func TestChangeOfTTLFails(t *testing.T) {
	r, _ := newRouter(t)
	s := newSpeaker(t, usual(65001))
	p := s.peer("tor")
	set(t, r, p)
	s.establish()
	eventually(t, r, "tor", "established", func(s bgp.Session) bool { return s.State == bgp.Established })
	works := r.setTTL
	r.setTTL = func(*net.TCPConn, netip.Addr, *bgp.Peer) error { return syscall.ENOMEM }
	p.MultiHop = true
	for range 2 {
		if _, errs := r.SetPeers(t.Context(), []bgp.Peer{p}); errs["tor"] == nil || !strings.Contains(errs["tor"].Error(), "change the TTL of the session with 127.0.0.1") {
			t.Errorf("errors %v", errs)
		}
	}
	r.setTTL = works
	if resets := set(t, r, p); len(resets) > 0 {
		t.Errorf("resets %v", resets)
	}
	if send, _ := ttlOf(t, r, "tor"); send != defaultTTL {
		t.Errorf("the TTL is %d", send)
	}
}

// A router that has opened the session and goes no further is told that its hold time is over; one that closes then is not taken for one
// that has ended a session.
func TestNotConfirmed(t *testing.T) {
	r, _ := newRouter(t)
	s := newSpeaker(t, usual(65001))
	s.open.HoldTime = 3 * time.Second
	set(t, r, s.peer("tor"))
	began := time.Now()
	c := s.connected()
	c.greet(&s.open)
	if n, err := c.notification(); err != nil || n.Code != wire.HoldTimerExpired || time.Since(began) < s.open.HoldTime {
		t.Errorf("%v, %v after %s", n, err, time.Since(began))
	}
	eventually(t, r, "tor", "silent", func(s bgp.Session) bool {
		return strings.Contains(s.LastError, "127.0.0.1 does not confirm the OPEN for 3 s, the hold time")
	})
	s.open.HoldTime = 90 * time.Second // now it is not over, however slow this machine is
	c = s.connected()
	c.greet(&s.open)
	_ = c.Close()
	eventually(t, r, "tor", "closed", func(s bgp.Session) bool {
		return strings.HasPrefix(s.LastError, "127.0.0.1 answers the OPEN and closes the connection: check in its log")
	})
}

// Routes whose attributes no message has room for are withheld, which the session says while it is so.
func TestNoRoom(t *testing.T) {
	r, _ := newRouter(t)
	s := newSpeaker(t, usual(65001))
	p := s.peer("tor")
	p.NextHop6 = netip.Addr{}
	set(t, r, p)
	endless := &bgp.Attributes{}
	for i := range uint32(1100) {
		endless.Communities.Standard = append(endless.Communities.Standard, bgp.Community(i))
	}
	advertise(t, r, route("198.51.100.1/32", to(endless, "tor")), route("198.51.100.2/32", to(&bgp.Attributes{}, "tor")))
	s.establish()
	const family = "IPv6 routes are not advertised: this node has no IPv6 address for a next hop"
	eventually(t, r, "tor", "withheld", func(s bgp.Session) bool {
		return s.Routes == 1 && strings.HasPrefix(s.Withheld, family) && strings.Contains(s.Withheld, "; routes that are not advertised: 1, among them 198.51.100.1/32: the attributes (")
	})
	p.NextHop6 = netip.MustParseAddr("2001:db8::1")
	set(t, r, p)
	eventually(t, r, "tor", "withheld with a next hop", func(s bgp.Session) bool { return strings.HasPrefix(s.Withheld, "routes that are not advertised: 1") })
	advertise(t, r, route("198.51.100.1/32", to(&bgp.Attributes{}, "tor")))
	eventually(t, r, "tor", "advertised", func(s bgp.Session) bool { return s.Routes == 2 && s.Withheld == "" })
}

// What keeps an unnumbered peer's router from being found is told at once.
func TestNoInterface(t *testing.T) {
	r, _ := newRouter(t)
	p := newSpeaker(t, usual(65001)).peer("tor")
	p.Address, p.Interface = netip.Addr{}, "fairlead-none"
	began := time.Now()
	set(t, r, p)
	eventually(t, r, "tor", "told", func(s bgp.Session) bool {
		return s.LastError == "no router found on interface fairlead-none: this node has no interface fairlead-none"
	})
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("after %s", took)
	}
}

// Who cannot be reached with a TTL of 1 may be several hops away.
func TestUnreachable(t *testing.T) {
	const hint = "or it is several hops away: set ebgpMultiHop"
	for name, c := range map[string]struct {
		change func(*bgp.Peer)
		hint   bool
	}{
		"external":     {func(*bgp.Peer) {}, true},
		"multihop":     {func(p *bgp.Peer) { p.MultiHop = true }, false},
		"internal":     {func(p *bgp.Peer) { p.ASN = p.LocalASN }, false},
		"TTL security": {func(p *bgp.Peer) { p.TTLSecurity = true }, false},
		"unnumbered":   {func(p *bgp.Peer) { p.Interface = "eth0" }, false},
	} {
		p := bgp.Peer{LocalASN: 64512, ASN: 65001, Port: 179}
		c.change(&p)
		if got := connectError(syscall.EHOSTUNREACH, netip.MustParseAddr("192.0.2.1"), &p); strings.Contains(got, hint) != c.hint {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A zone is dialled by the interface's number, whatever Go remembers of its name.
func TestNumbered(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range map[string]string{
		"fe80::1%lo": fmt.Sprintf("fe80::1%%%d", lo.Index), "fe80::1%fairlead-none": "fe80::1%fairlead-none", "2001:db8::1": "2001:db8::1", "192.0.2.1": "192.0.2.1",
	} {
		if got := numbered(netip.MustParseAddr(from)).String(); got != want {
			t.Errorf("%s is dialled as %s, want %s", from, got, want)
		}
	}
}
