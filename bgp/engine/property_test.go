package engine

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

// facts are what a Router is told, of which the tests decide what a router should have.
type facts struct {
	peer   bgp.Peer
	routes map[netip.Prefix][]bgp.Export
	attrs  []*bgp.Attributes
}

func newFacts(peer bgp.Peer) facts {
	f := facts{peer: peer, routes: map[netip.Prefix][]bgp.Export{}}
	for i := range 12 { // some are equal
		a := &bgp.Attributes{Prepend: uint8(i % 3)}
		if i%4 == 0 {
			a.LocalPref, a.MED = pointer(uint32(i/8)), pointer(7)
		}
		if i%4 == 1 {
			a.Communities = bgp.Communities{Standard: []bgp.Community{bgp.NoExport}, Large: []bgp.LargeCommunity{{Global: 1}}}
		}
		f.attrs = append(f.attrs, a)
	}
	return f
}

// wanted are the routes that the router is to have over a session from an address, as adjRIBIn writes them.
func (w *facts) wanted(own netip.Addr) string {
	internal := w.peer.ASN == w.peer.LocalASN
	var list []bgp.Advertised
	for prefix, to := range w.routes {
		if f := familyOf(prefix); f == wire.IPv4 && !w.peer.IPv4 || f == wire.IPv6 && !w.peer.IPv6 {
			continue
		}
		hop := own
		if prefix.Addr().Is4() && own.Is6() && w.peer.NextHop4.IsValid() {
			hop = w.peer.NextHop4
		}
		if prefix.Addr().Is6() && own.Is4() {
			hop = w.peer.NextHop6
		}
		for _, x := range to {
			if x.Peer != "tor" || !hop.IsValid() {
				continue
			}
			a := bgp.Advertised{Prefix: prefix, NextHop: hop, Attributes: *x.Attributes}
			a.Attributes.Prepend, a.Attributes.LocalPref = 0, nil
			if !internal {
				a.ASPath = slices.Repeat([]uint32{w.peer.LocalASN}, 1+int(x.Attributes.Prepend))
			}
			if internal {
				if a.Attributes.LocalPref = x.Attributes.LocalPref; a.Attributes.LocalPref == nil {
					a.Attributes.LocalPref = pointer(100)
				}
			}
			if w.peer.GracefulShutdown {
				a.Attributes.Communities = a.Attributes.Communities.Union(bgp.Communities{Standard: []bgp.Community{bgp.GracefulShutdown}})
				if internal {
					a.Attributes.LocalPref = pointer(0)
				}
			}
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b bgp.Advertised) int { return a.Prefix.Compare(b.Prefix) })
	return routesText(list)
}

// know takes routes over.
func (w *facts) know(routes []bgp.Route) {
	for _, r := range routes {
		if w.routes[r.Prefix] = r.To; len(r.To) == 0 {
			delete(w.routes, r.Prefix)
		}
	}
}

// route is drawn from few prefixes, so that they meet.
func (w *facts) route(a, b byte) bgp.Route {
	r := bgp.Route{Prefix: host(int(a % 16))}
	if a&16 != 0 {
		r.Prefix = host6(int(a % 16))
	}
	for i, peer := range []string{"other", "tor", "zone"} {
		if b&(1<<i) != 0 {
			r.To = append(r.To, bgp.Export{Peer: peer, Attributes: w.attrs[int(b>>3)%len(w.attrs)]})
		}
	}
	return r
}

// some are the routes of a step.
func (w *facts) some(a, b byte) []bgp.Route {
	if a>>5 == 4 {
		return []bgp.Route{w.route(a, b), w.route(b, a), w.route(a^b, b), w.route(a+b, b<<1)}
	}
	return []bgp.Route{w.route(a, b)}
}

// hops changes the next hops.
func (w *facts) hops(b byte) {
	hops := []netip.Addr{{}, netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")}
	w.peer.NextHop6 = hops[int(b)%len(hops)]
	if w.peer.NextHop4 = netip.MustParseAddr("192.0.2.7"); b&8 != 0 {
		w.peer.NextHop4 = netip.Addr{}
	}
}

// world is a Router with a session, and the router at its other end.
type world struct {
	facts
	t      *testing.T
	router *Router
	there  *speaker
	own    netip.Addr
	conn   *speaking
	ended  chan struct{} // the connection has
	ups    uint64
	marks  uint32
}

// connect takes the next session, and reads what comes until it ends.
func (w *world) connect() {
	w.conn = w.there.establish()
	w.ups++
	eventually(w.t, w.router, "tor", "established", func(s bgp.Session) bool { return s.State == bgp.Established && s.Established == w.ups })
	c, ended := w.conn, make(chan struct{})
	w.ended = ended
	go func() {
		defer close(ended)
		for {
			m, err := c.next()
			if err != nil {
				return
			}
			if m.Type() == wire.TypeUpdate {
				if _, err := c.rib.record(m, true); err != nil {
					w.t.Error(err)
					return
				}
			}
		}
	}()
}

func (w *world) leave() {
	_ = w.conn.Close()
	<-w.ended
}

// settled checks that the router has what it is to have, also when what was on its way has arrived.
func (w *world) settled() {
	w.t.Helper()
	for range 2 {
		prefix := netip.MustParsePrefix("203.0.113.9/32")
		w.marks++
		w.advertise(bgp.Route{Prefix: prefix, To: to(&bgp.Attributes{MED: pointer(w.marks)}, "tor")})
		want := w.wanted(w.own)
		eventually(w.t, w.router, "tor", "the wanted routes", func(bgp.Session) bool { return w.conn.rib.text() == want || w.t.Failed() })
	}
	// What was written is noted after that: the router may have it sooner.
	var text string
	var err error
	defer func() {
		if w.t.Failed() {
			w.t.Logf("said to be advertised:\n%s\n%v\nwanted\n%s", text, err, w.wanted(w.own))
		}
	}()
	eventually(w.t, w.router, "tor", "said to be advertised", func(bgp.Session) bool {
		var got []bgp.Advertised
		got, err = w.router.Advertised(w.t.Context(), "tor")
		text = routesText(got)
		return err == nil && text == w.wanted(w.own)
	})
}

func (w *world) advertise(routes ...bgp.Route) {
	w.t.Helper()
	w.know(routes)
	advertise(w.t, w.router, routes...)
}

// step does what two bytes say.
func (w *world) step(a, b byte) {
	set := func() { set(w.t, w.router, w.peer) }
	switch a >> 5 {
	default:
		w.advertise(w.some(a, b)...)
	case 5:
		w.peer.GracefulShutdown = b&1 != 0
		set()
	case 6:
		w.hops(b)
		set()
	case 7:
		again := func() { // another session
			w.leave()
			w.connect()
		}
		switch b % 16 {
		case 0:
			if err := w.router.Drop(w.t.Context(), "tor", "the test wants it"); err != nil {
				w.t.Error(err)
			}
			again()
		case 1:
			w.settled()
		case 2: // no reset
			w.peer.HoldTime, w.peer.RestartTime = time.Minute+time.Duration(b)*time.Second, time.Minute+time.Duration(b)*time.Second
			set()
		case 3: // neither
			w.peer.TTLSecurity = !w.peer.TTLSecurity
			set()
		case 4:
			w.peer.Password += "x"
			w.there.setPassword(string(w.peer.Password))
			set()
			again()
		case 5:
			w.peer.IPv6 = !w.peer.IPv6
			set()
			again()
		case 6:
			w.router.SetPeers(w.t.Context(), nil)
			w.ups = 0
			w.leave()
			set()
			w.connect()
		default:
			_, _ = w.conn.Write(wire.RouteRefresh(wire.Family(1 + b%2)))
		}
	}
}

// programs are steps of two bytes each.
func programs(n, length int) (list [][]byte) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range n {
		program := make([]byte, length)
		for j := range program {
			program[j] = byte(rng.Uint32())
		}
		list = append(list, program)
	}
	return list
}

// Whatever happens in whatever order, a router has in the end what it is to have.
func TestWhatever(t *testing.T) {
	for i, program := range programs(8, 300) {
		internal, ipv6 := i%4 < 2, i%2 == 0
		t.Run("", func(t *testing.T) {
			t.Parallel()
			r, _ := newQuietRouter(t)
			open, at := usual(65001), "127.0.0.1"
			if internal {
				open.ASN = 64512
			}
			if ipv6 {
				open.ExtendedNextHop, at = true, "::1"
			}
			w := &world{t: t, router: r, there: newSpeakerAt(t, at, open), own: netip.MustParseAddr(at)}
			w.facts = newFacts(w.there.peer("tor"))
			w.peer.RestartTime = time.Minute
			set(t, r, w.peer)
			w.connect()
			for ; len(program) > 1 && !t.Failed(); program = program[2:] {
				w.step(program[0], program[1])
			}
			w.settled()
			w.leave()
		})
	}
}

// still is a session without a connection: what its writer would send, the test reads at once when it likes.
type still struct {
	facts
	t       *testing.T
	router  *Router
	session *session
	encoder *encoder
	rib     *adjRIBIn
	own     netip.Addr
	open    wire.Open
}

// begin has a session with a router that has no routes.
func (s *still) begin() {
	cfg, open := s.peer, s.open
	p := s.router.peer("tor")
	p.mu.Lock()
	p.cfg = cfg
	p.mu.Unlock()
	s.session = &session{p: p, cfg: &cfg, local: s.own, remote: cfg.Address, hold: time.Minute, open: &open, task: newTask(), told: adjRIBOut{routes: map[netip.Prefix]*attributeSet{}}}
	s.encoder, s.rib = &encoder{}, newAdjRIBIn()
	p.mu.Lock()
	p.session = s.session
	p.mu.Unlock()
	if err := s.router.admit(s.session); err != nil {
		s.t.Fatal(err)
	}
}

// change the peer, without a reset.
func (s *still) change() {
	p := s.router.peer("tor")
	p.mu.Lock()
	p.cfg = s.peer
	p.mu.Unlock()
	s.router.adapt(p)
}

// send what the writer would: the router takes it, and has what it is to have.
func (s *still) send() {
	list, terms, again := s.router.take(s.session)
	s.encoder.use(terms)
	var sent bytes.Buffer
	for _, g := range s.session.told.difference(list, s.encoder, again) {
		for part := range g.messages() {
			m, err := g.appendTo(nil, part)
			if err != nil || len(m) > wire.MaxLen {
				s.t.Fatalf("a message of %d bytes, %v", len(m), err)
			}
			sent.Write(m)
			s.session.told.record([]written{{part, g.set}})
		}
	}
	for sent.Len() > 0 {
		m, err := wire.Read(&sent, new(wire.Buffer))
		if err == nil {
			_, err = s.rib.record(m, s.open.FourOctetASN)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	if got, want := s.rib.text(), s.wanted(s.own); got != want {
		s.t.Fatalf("the router has\n%s\nand is to have\n%s", got, want)
	}
	if got := routesText(s.session.told.list()); got != s.wanted(s.own) {
		s.t.Fatalf("said to be advertised is\n%s", got)
	}
}

// step does what two bytes say.
func (s *still) step(a, b byte) {
	switch a >> 5 {
	default:
		routes := s.some(a, b)
		s.know(routes)
		advertise(s.t, s.router, routes...)
	case 5:
		s.peer.GracefulShutdown = b&1 != 0
		s.change()
	case 6:
		s.hops(b)
		s.change()
	case 7:
		switch b % 8 {
		case 0: // the next session has another AS, or other families
			s.router.dismiss(s.session)
			s.peer.IPv6 = b&16 == 0
			if s.peer.LocalASN = 64512; b&32 != 0 {
				s.peer.LocalASN = 65002
			}
			s.begin()
		case 1: // the peer is removed, and set again
			s.router.dismiss(s.session)
			s.router.peers["tor"] = newPeer(s.router, s.peer)
			s.begin()
		case 2, 3:
			s.router.refresh(s.session, wire.Family(1+b>>4%2))
		default:
			s.send()
		}
	}
}

// What a writer sends, whenever it looks, makes of what a router had what it is to have: all but the sockets, and so quick. To
// fuzz it, use -fuzzminimizetime=1x: what is covered depends on the order of maps, which Go would try to make smaller for a minute each time.
func FuzzRoutes(f *testing.F) {
	for i, program := range programs(16, 200) {
		f.Add(i%4 < 2, i%2 == 0, program)
	}
	f.Fuzz(func(t *testing.T, internal, ipv6 bool, program []byte) {
		r, err := New(netip.MustParseAddr("192.0.2.1"), logr.Discard())
		if err != nil {
			t.Fatal(err)
		}
		s := &still{t: t, router: r, own: netip.MustParseAddr("127.0.0.1"), open: usual(65001)}
		if internal {
			s.open.ASN = 64512
		}
		if ipv6 {
			s.own, s.open.ExtendedNextHop = netip.IPv6Loopback(), true
		}
		s.facts = newFacts(bgp.Peer{Name: "tor", Address: s.own, LocalASN: 64512, ASN: s.open.ASN, IPv4: true, IPv6: true, KeepaliveTime: time.Second})
		r.peers["tor"] = newPeer(r, s.peer)
		s.begin()
		for program = program[:min(len(program), 400)]; len(program) > 1; program = program[2:] {
			s.step(program[0], program[1])
		}
		s.send()
	})
}
