package engine

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

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
	// It sends as who is on the link itself (RFC 5082).
	lc := net.ListenConfig{Control: func(network, _ string, c syscall.RawConn) error {
		return onSocket(c, func(fd int) error {
			if network == "tcp6" {
				return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, maxTTL)
			}
			return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, maxTTL)
		})
	}}
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
			case s.conns <- &speaking{t: t, Conn: conn, in: bufio.NewReader(conn), rib: newAdjRIBIn()}:
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

// setPassword has the next connections from its own address need a password (RFC 2385).
func (s *speaker) setPassword(password string) {
	s.t.Helper()
	c, err := s.listener.(*net.TCPListener).SyscallConn() //nolint:errcheck // that is what "tcp" gives
	if err == nil {
		at := netip.MustParseAddrPort(s.listener.Addr().String()).Addr()
		err = onSocket(c, func(fd int) error { return setMD5(fd, at, password) })
	}
	if err != nil {
		s.t.Fatal(err)
	}
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
	rib    *adjRIBIn
	ends   int // End-of-RIB
}

// accept takes the next connection.
func (s *speaker) accept() *speaking {
	s.t.Helper()
	select {
	case c := <-s.conns:
		s.t.Cleanup(func() { _ = c.Close() })
		return c
	case <-time.After(20 * time.Second):
		s.t.Fatal("nobody connects within 20 s")
		return nil
	}
}

// connected takes the next connection that the Router has not given up: to dial may have taken it longer than the connect time, of a second.
func (s *speaker) connected() *speaking {
	s.t.Helper()
	for {
		c := s.accept()
		err := c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if err == nil {
			_, err = c.in.Peek(1) // it speaks first
		}
		if err == nil {
			return c
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			s.t.Fatalf("the Router connects and says nothing: %v", err)
		}
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
	c := s.connected()
	c.greet(&s.open)
	c.write(wire.Keepalive())
	return c
}

func (c *speaking) greet(open *wire.Open) {
	c.t.Helper()
	if err := c.tryGreet(open); err != nil {
		c.t.Fatal(err)
	}
}

// tryGreet exchanges OPENs on a connection that the Router may have given up.
func (c *speaking) tryGreet(open *wire.Open) error {
	m, err := c.next()
	if err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	if m.Type() != wire.TypeOpen {
		return fmt.Errorf("the session begins with %s", m.Type())
	}
	if c.ours, err = wire.ParseOpen(m.Body()); err != nil {
		return err
	}
	if _, err := c.Write(open.Message()); err != nil {
		return fmt.Errorf("write a message: %w", err)
	}
	switch m, err := c.next(); {
	case err != nil:
		return fmt.Errorf("read a message: %w", err)
	case m.Type() == wire.TypeNotification:
		return fmt.Errorf("the OPEN is answered by %w", wire.ParseNotification(m.Body()))
	case m.Type() != wire.TypeKeepalive:
		return fmt.Errorf("the OPEN is answered by %s", m.Type())
	}
	return nil
}

// until reads UPDATEs, and answers keepalives, until what was sent is as wanted.
func (c *speaking) until(what string, done func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			list := c.rib.list()
			c.t.Fatalf("%s: not within 20 s; there are %d routes, the first are\n%s", what, len(list), routesText(list[:min(len(list), 5)]))
		}
		c.take(c.read())
	}
}

func (c *speaking) take(m wire.Message) {
	c.t.Helper()
	switch m.Type() {
	case wire.TypeUpdate:
		end, err := c.rib.record(m, true)
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

// peer is a peer at the speaker.
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
