package gobgp

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"go.uber.org/goleak"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// speaker is a BGP router that does what a test wants, also what no router should.
type speaker struct {
	t        testing.TB
	listener net.Listener
	open     wire.Open
	conns    chan *speaking
}

// newSpeaker listens on the loopback interface.
func newSpeaker(t testing.TB, open wire.Open) *speaker {
	t.Helper()
	return newSpeakerAt(t, "127.0.0.1", open)
}

// newSpeakerAt listens at an address of the loopback interface.
func newSpeakerAt(t testing.TB, address string, open wire.Open) *speaker {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := &speaker{t: t, listener: l, open: open, conns: make(chan *speaking)}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			select {
			case s.conns <- &speaking{t: t, Conn: conn, in: bufio.NewReader(conn), sent: newSent()}:
			case <-stop:
				_ = conn.Close()
				return
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		_ = l.Close()
		wg.Wait()
	})
	return s
}

// hurry makes a Router try at once, however often it has failed.
func (s *speaker) hurry(r *Router, peer string) {
	s.t.Helper()
	p := r.peer(peer)
	cfg := p.config()
	all := r.all()
	var peers []bgp.Peer
	for _, other := range all {
		c := other.config()
		if other == p {
			c.IPv6 = !cfg.IPv6
		}
		peers = append(peers, c)
	}
	set(s.t, r, peers...)
}

func (s *speaker) port() uint16 {
	return netip.MustParseAddrPort(s.listener.Addr().String()).Port()
}

// speaking is a connection of a speaker.
type speaking struct {
	t testing.TB
	net.Conn
	in     *bufio.Reader
	buffer wire.Buffer
	ours   *wire.Open // what the Router has said
	sent   sent       // by the Router
	ends   int        // End-of-RIB
}

// accept takes the next connection.
func (s *speaker) accept() *speaking {
	s.t.Helper()
	select {
	case c := <-s.conns:
		s.t.Cleanup(func() { _ = c.Close() })
		return c
	case <-time.After(10 * time.Second):
		s.t.Fatal("nobody connects within 10 s")
		return nil
	}
}

func (c *speaking) read() wire.Message {
	c.t.Helper()
	m, err := c.next()
	if err != nil {
		c.t.Fatalf("read a message: %v", err)
	}
	return m
}

func (c *speaking) next() (wire.Message, error) {
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return nil, err
	}
	return wire.Read(c.in, &c.buffer)
}

func (c *speaking) write(m []byte) {
	c.t.Helper()
	if _, err := c.Write(m); err != nil {
		c.t.Fatalf("write a message: %v", err)
	}
}

// establish opens a session as it is usual.
func (s *speaker) establish() *speaking {
	s.t.Helper()
	c := s.accept()
	c.greet(&s.open)
	c.write(wire.Keepalive())
	return c
}

func (c *speaking) greet(open *wire.Open) {
	c.t.Helper()
	m := c.read()
	if m.Type() != wire.TypeOpen {
		c.t.Fatalf("the session begins with %s", m.Type())
	}
	var err error
	if c.ours, err = wire.ParseOpen(m.Body()); err != nil {
		c.t.Fatal(err)
	}
	c.write(open.Message())
	if m := c.read(); m.Type() != wire.TypeKeepalive {
		if m.Type() == wire.TypeNotification {
			c.t.Fatalf("the OPEN is answered by %v", wire.ParseNotification(m.Body()))
		}
		c.t.Fatalf("the OPEN is answered by %s", m.Type())
	}
}

// until reads UPDATEs, and answers keepalives, until what was sent is as wanted.
func (c *speaking) until(what string, done func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: not within 20 s; sent is %v", what, c.sent.list())
		}
		c.take(c.read())
	}
}

func (c *speaking) take(m wire.Message) {
	c.t.Helper()
	switch m.Type() {
	case wire.TypeUpdate:
		end, err := c.sent.record(m, true)
		if err != nil {
			c.t.Fatal(err)
		}
		if end != 0 {
			c.ends++
		}
	case wire.TypeKeepalive:
		c.write(m)
	case wire.TypeNotification:
		c.t.Fatalf("the Router ends the session: %v", wire.ParseNotification(m.Body()))
	default:
		c.t.Fatalf("unexpected %s", m.Type())
	}
}

// notification reads until the Router ends the session.
func (c *speaking) notification() (*wire.Notification, error) {
	for {
		m, err := c.next()
		if err != nil {
			return nil, err
		}
		if m.Type() == wire.TypeNotification {
			return wire.ParseNotification(m.Body()), nil
		}
	}
}

// text of what was sent, one line for each route.
func (s *sent) text() string {
	var lines []string
	for _, a := range s.list() {
		lines = append(lines, fmt.Sprintf("%s via %s path %v %s", a.Prefix, a.NextHop, a.ASPath, a.Attributes.String()))
	}
	return strings.Join(lines, "\n")
}

// logs collects what is logged.
type logs struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *logs) logger(v int) logr.Logger {
	return funcr.New(func(prefix, args string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		fmt.Fprintln(&l.text, prefix, args)
	}, funcr.Options{Verbosity: v})
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newRouter(t testing.TB) (*Router, *logs) {
	t.Helper()
	return newRouterAt(t, 9)
}

// newQuietRouter logs no more than in production.
func newQuietRouter(t testing.TB) (*Router, *logs) {
	t.Helper()
	return newRouterAt(t, 0)
}

func newRouterAt(t testing.TB, verbosity int) (*Router, *logs) {
	t.Helper()
	l := &logs{}
	r, err := New(t.Context(), netip.MustParseAddr("192.0.2.1"), l.logger(verbosity))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background(), false); err != nil {
			t.Errorf("close: %v", err)
		}
		if t.Failed() && testing.Verbose() {
			t.Log(l)
		}
	})
	return r, l
}

// peerOf is a peer at the speaker.
func (s *speaker) peer(name string) bgp.Peer {
	return bgp.Peer{
		Name: name, Address: netip.MustParseAddrPort(s.listener.Addr().String()).Addr(), Port: s.port(), LocalASN: 64512, ASN: s.open.ASN,
		HoldTime: 90 * time.Second, KeepaliveTime: 30 * time.Second, ConnectTime: time.Second, IPv4: true, IPv6: true,
		NextHop6: netip.MustParseAddr("2001:db8::1"),
	}
}

func usual(asn uint32) wire.Open {
	return wire.Open{
		ASN: asn, HoldTime: 90 * time.Second, ID: netip.MustParseAddr("192.0.2.9"), IPv4: true, IPv6: true, FourOctetASN: true, RouteRefresh: true,
		GracefulRestart: &wire.Restart{},
	}
}

func set(t testing.TB, r *Router, peers ...bgp.Peer) []bgp.Reset {
	t.Helper()
	resets, errs := r.SetPeers(t.Context(), peers)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return resets
}

func advertise(t testing.TB, r *Router, routes ...bgp.Route) {
	t.Helper()
	if err := r.SetRoutes(t.Context(), routes); err != nil {
		t.Fatal(err)
	}
}

func to(attrs *bgp.Attributes, peers ...string) (out []bgp.Export) {
	for _, p := range peers {
		out = append(out, bgp.Export{Peer: p, Attributes: attrs})
	}
	return out
}

func route(prefix string, to []bgp.Export) bgp.Route {
	return bgp.Route{Prefix: netip.MustParsePrefix(prefix), To: to}
}

// sessionOf is the state of a peer's session.
func sessionOf(t testing.TB, r *Router, peer string) bgp.Session {
	t.Helper()
	all := r.Sessions()
	i := slices.IndexFunc(all, func(s bgp.Session) bool { return s.Peer == peer })
	if i < 0 {
		t.Fatalf("there is no session with %s in %+v", peer, all)
	}
	return all[i]
}

// eventually waits until a session is as wanted.
func eventually(t testing.TB, r *Router, peer, what string, ok func(bgp.Session) bool) bgp.Session {
	t.Helper()
	deadline := time.After(45 * time.Second)
	for {
		s := sessionOf(t, r, peer)
		if ok(s) {
			return s
		}
		select {
		case <-r.Changed():
		case <-time.After(20 * time.Millisecond): // what is not told of: counters, transitions on the way
		case <-deadline:
			t.Fatalf("%s: not within 45 s: %+v", what, s)
		}
	}
}
