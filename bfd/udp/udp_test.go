package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }

// hosts are this process's namespace (eth0: 192.0.2.1, 2001:db8::1, fe80::1) and a neighbour's (.2).
func hosts(t testing.TB) *testnet.Namespace {
	t.Helper()
	own, neighbour := testnet.Own(t), testnet.New(t)
	own.Sysctl("ipv6/conf/default/addr_gen_mode", "1")
	own.SetLink("lo", true)
	testnet.Connect(own, "eth0", neighbour, "eth0")
	for i, n := range []*testnet.Namespace{own, neighbour} {
		for _, prefix := range []string{"192.0.2.%d/24", "2001:db8::%d/64", "fe80::%d/64"} {
			n.AddAddress("eth0", fmt.Sprintf(prefix, i+1))
		}
	}
	return neighbour
}

// listen opens a listener for the time of the test.
func listen(t testing.TB, n *Network, port uint16, ipv6 bool) *Listener {
	t.Helper()
	l, err := n.Listen(port, ipv6)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func dial(t testing.TB, n *Network, p Path) *Conn {
	t.Helper()
	c, err := n.Dial(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// patience is how long what must happen may take; it is no measure of anything.
const patience = 30 * time.Second

// receive waits for a datagram.
func receive(t testing.TB, l *Listener) (got Datagram) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); got.Payload == nil; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("nothing was received")
		}
		if _, err := l.Read(func(d *Datagram) {
			got = *d
			got.Payload = slices.Clone(d.Payload)
		}); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

// RFC 5881, 4 and 5: ports, addresses and TTL of what is sent, and what is told of what is received.
func TestSendAndReceive(t *testing.T) {
	neighbour := hosts(t)
	ifi, err := net.InterfaceByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	var here, there Network
	for _, port := range []uint16{PortSingleHop, PortMultihop, 9793} {
		l4 := listen(t, &here, port, false)
		l6 := listen(t, &here, port, true)
		for _, c := range []struct {
			peer, local, source string // local "": left open
			ifname              string
			l                   *Listener
		}{
			{"192.0.2.1", "192.0.2.2", "192.0.2.2", "eth0", l4},
			{"192.0.2.1", "", "192.0.2.2", "", l4},
			{"2001:db8::1", "2001:db8::2", "2001:db8::2", "eth0", l6},
			{"2001:db8::1", "", "2001:db8::2", "", l6},
			{"fe80::1", "fe80::2", "fe80::2", "eth0", l6},
			{"fe80::1", "", "fe80::2", "eth0", l6},
		} {
			path := Path{Peer: netip.MustParseAddr(c.peer), Interface: c.ifname, Port: port}
			if c.local != "" {
				path.Local = netip.MustParseAddr(c.local)
			}
			var conn *Conn
			neighbour.Do(func() error { conn = dial(t, &there, path); return nil })
			if bound := conn.Interface() != 0; bound != (c.ifname != "") {
				t.Errorf("%+v: interface %d", path, conn.Interface())
			}
			for _, o := range [][2]int{{unix.IPPROTO_IP, unix.IP_TOS}, {unix.IPPROTO_IPV6, unix.IPV6_TCLASS}} {
				if v6 := o[0] == unix.IPPROTO_IPV6; v6 != path.Peer.Is6() {
					continue
				}
				if class, err := unix.GetsockoptInt(conn.fd, o[0], o[1]); err != nil || class != networkControl {
					t.Errorf("%+v: traffic class %#x, %v", path, class, err)
				}
			}
			for i := range 3 {
				payload, sent := fmt.Sprintf("packet %d", i), time.Now()
				if err := conn.Send([]byte(payload)); err != nil {
					t.Fatal(err)
				}
				d := receive(t, c.l)
				want := Datagram{Port: port, Source: netip.MustParseAddr(c.source), Destination: path.Peer, Interface: ifi.Index, TTL: 255, Payload: []byte(payload)}
				if d.Arrived.Before(sent.Add(-time.Millisecond)) || d.Arrived.After(time.Now()) { // the kernel's two clocks are not read at one instant
					t.Errorf("arrived %s after it was sent", d.Arrived.Sub(sent))
				}
				if d.Arrived = (time.Time{}); fmt.Sprint(d) != fmt.Sprint(want) {
					t.Errorf("received %v, want %v", d, want)
				}
			}
		}
	}
}

// The TTL is the one that was left, not the one that would be right.
func TestTTLIsReported(t *testing.T) {
	neighbour := hosts(t)
	var here Network
	l4 := listen(t, &here, PortSingleHop, false)
	l6 := listen(t, &here, PortSingleHop, true)
	for _, c := range []struct {
		to            string
		level, option int
		l             *Listener
	}{
		{"192.0.2.1:3784", unix.IPPROTO_IP, unix.IP_TTL, l4},
		{"[2001:db8::1]:3784", unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, l6},
	} {
		for _, ttl := range []int{1, 64, 254} {
			neighbour.Do(func() error {
				conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(c.to)))
				if err != nil {
					return err
				}
				defer func() { _ = conn.Close() }()
				raw, err := conn.SyscallConn()
				if err != nil {
					return err
				}
				if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), c.level, c.option, ttl) }); e != nil || err != nil {
					return errors.Join(e, err)
				}
				_, err = conn.Write([]byte("x"))
				return err
			})
			if d := receive(t, c.l); int(d.TTL) != ttl {
				t.Errorf("%s: sent with %d, received with %d", c.to, ttl, d.TTL)
			}
		}
	}
}

// sourcePort as the receiver sees it.
func sourcePort(t *testing.T, to *net.UDPConn, c *Conn) uint16 {
	t.Helper()
	if err := c.Send([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := to.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	_, from, err := to.ReadFromUDPAddrPort(make([]byte, 10))
	if err != nil {
		t.Fatal(err)
	}
	return from.Port()
}

// RFC 5881, 4: 49152 to 65535, the same for all packets of a session, and of no other session.
func TestSourcePorts(t *testing.T) {
	hosts(t)
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	to := netip.MustParseAddrPort(server.LocalAddr().String())
	var n Network
	seen := map[uint16]bool{}
	for i := range 300 {
		path := Path{Peer: to.Addr(), Port: to.Port()}
		if i%2 == 1 { // on another address the kernel would give the same port again
			path.Local = netip.MustParseAddr("127.0.0.2")
		}
		c := dial(t, &n, path)
		port := sourcePort(t, server, c)
		if port < 49152 || seen[port] || sourcePort(t, server, c) != port {
			t.Fatalf("source port %d: too small, of another session, or not kept", port)
		}
		seen[port] = true
	}
}

func TestSourcePortIsFreedAndBusyOnesAreAvoided(t *testing.T) {
	hosts(t)
	var n Network
	n.ports = map[uint16]struct{}{}
	for p := firstSourcePort; p < 1<<16; p++ {
		n.ports[uint16(p)] = struct{}{}
	}
	path := Path{Peer: netip.MustParseAddr("192.0.2.2"), Port: PortSingleHop}
	if _, err := n.Dial(path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("with all ports in use: %v", err)
	}
	other, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 50001}) // another program
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	delete(n.ports, 50001)
	if _, err := n.Dial(path); err == nil {
		t.Error("took a port that another program has")
	}
	delete(n.ports, 50002)
	c, err := n.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.port != 50002 {
		t.Errorf("port %d", c.port)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	c = dial(t, &n, path)
	if c.port != 50002 {
		t.Errorf("port %d after the only free one was given back", c.port)
	}
}

// A path with an interface uses it, whatever the routes say.
func TestBoundToInterface(t *testing.T) {
	hosts(t)
	own, second := testnet.Own(t), testnet.New(t)
	testnet.Connect(own, "eth1", second, "eth0")
	own.AddAddress("eth1", "192.0.2.1/24") // the same subnet; the route over eth0 is older
	second.AddAddress("eth0", "192.0.2.2/24")
	var here, there Network
	var l *Listener
	second.Do(func() error { l = listen(t, &there, PortSingleHop, false); return nil })
	c := dial(t, &here, Path{Peer: netip.MustParseAddr("192.0.2.2"), Interface: "eth1", Port: PortSingleHop})
	if err := c.Send([]byte("x")); err != nil {
		t.Fatal(err)
	}
	receive(t, l)
}

// An interface that was replaced by another of its name is not the one that a socket is bound to.
func TestStale(t *testing.T) {
	hosts(t)
	var n Network
	free, bound := dial(t, &n, Path{Peer: netip.MustParseAddr("192.0.2.2"), Port: PortSingleHop}),
		dial(t, &n, Path{Peer: netip.MustParseAddr("192.0.2.2"), Interface: "eth0", Port: PortSingleHop})
	stale := func(when string, want bool) {
		t.Helper()
		if free.Stale() || bound.Stale() != want {
			t.Errorf("%s: stale are %t (bound to no interface), %t (bound)", when, free.Stale(), bound.Stale())
		}
	}
	stale("at first", false)
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	stale("removed", true)
	if err := bound.Send([]byte("x")); err == nil {
		t.Error("sent over an interface that is gone")
	}
	testnet.Connect(testnet.Own(t), "eth0", testnet.New(t), "eth0")
	stale("replaced", true)
}

func TestDialErrors(t *testing.T) {
	hosts(t)
	var n Network
	for _, c := range []struct {
		path Path
		want string
	}{
		{Path{Peer: netip.MustParseAddr("192.0.2.2"), Interface: "eth7", Port: PortSingleHop}, "eth7"},
		{Path{Peer: netip.MustParseAddr("192.0.2.2"), Local: netip.MustParseAddr("198.51.100.1"), Port: PortSingleHop}, "use the local address 198.51.100.1"},
	} {
		if _, err := n.Dial(c.path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want an error with %q", c.path, err, c.want)
		}
	}
	if len(n.ports) != 0 {
		t.Errorf("%d ports are kept by failed attempts", len(n.ports))
	}
}

// Nobody can fill the buffers of a sending socket.
func TestSenderReceivesNothing(t *testing.T) {
	hosts(t)
	var n Network
	c := dial(t, &n, Path{Peer: netip.MustParseAddr("192.0.2.2"), Port: PortSingleHop})
	conn, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", c.port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("x")); err != nil { // loopback delivers before Write returns
		t.Fatal(err)
	}
	if _, _, err := unix.Recvfrom(c.fd, make([]byte, 10), unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("received: %v", err)
	}
}

func TestPortIsTaken(t *testing.T) {
	hosts(t)
	other, err := net.ListenUDP("udp4", &net.UDPAddr{Port: PortSingleHop})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	var n Network
	_, err = n.Listen(PortSingleHop, false)
	var taken *PortTakenError
	if !errors.As(err, &taken) || !errors.Is(err, unix.EADDRINUSE) {
		t.Fatalf("error %v", err)
	}
	if self := fmt.Sprintf("(process %d)", os.Getpid()); !strings.Contains(err.Error(), "3784") || !strings.Contains(err.Error(), self) {
		t.Errorf("error %q does not name the port and %s", err, self)
	}
	listen(t, &n, PortSingleHop, true) // the other family is free
	listen(t, &n, PortMultihop, false) // and the other port

	taken.Holders = nil // as in a container, which does not see the node's processes
	if !strings.Contains(taken.Error(), "bfdd") {
		t.Errorf("error %q does not say what it is likely to be", taken)
	}
}

func TestInodes(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1220: 00000000:0EC8 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 41181 2 00000000b4cb0d3f 0
 1221: 00000000:0EC9 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 41182 2 00000000b4cb0d3f 0
 2220: 0100007F:0EC8 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 41183 2 00000000b4cb0d3f 0
garbage
`
	if got := inodes(table, PortSingleHop); !slices.Equal(got, []string{"41181", "41183"}) {
		t.Errorf("inodes %q", got)
	}
}

// Read takes all that has come, however much, and nothing from a closed listener.
func TestRead(t *testing.T) {
	hosts(t)
	var n Network
	l, err := n.Listen(9793, false)
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, &n, Path{Peer: netip.MustParseAddr("127.0.0.1"), Port: 9793})
	for _, want := range []int{0, 1, 2, 200} {
		for range want { // loopback delivers before Send returns
			if err := c.Send([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		got := 0
		more, err := l.Read(func(*Datagram) { got++ })
		if more || err != nil || got != want {
			t.Errorf("read %d of %d, more %t, error %v", got, want, more, err)
		}
	}
	// who sends while he reads is put off
	got := 0
	if err := c.Send([]byte("x")); err != nil {
		t.Fatal(err)
	}
	more, err := l.Read(func(*Datagram) {
		got++
		if err := c.Send([]byte("x")); err != nil {
			t.Fatal(err)
		}
	})
	if !more || err != nil || got != l.batch {
		t.Errorf("read %d, more %t, error %v", got, more, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if more, err := l.Read(func(*Datagram) { t.Error("read") }); more || err != nil {
		t.Errorf("from a closed listener: more %t, error %v", more, err)
	}
}

// A payload longer than any packet is cut.
func TestLongDatagram(t *testing.T) {
	hosts(t)
	var n Network
	l := listen(t, &n, 9793, false)
	c := dial(t, &n, Path{Peer: netip.MustParseAddr("127.0.0.1"), Port: 9793})
	if err := c.Send(make([]byte, 1400)); err != nil {
		t.Fatal(err)
	}
	if d := receive(t, l); len(d.Payload) != 256 || d.TTL != 255 {
		t.Errorf("%d bytes with TTL %d", len(d.Payload), d.TTL)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	hosts(t)
	var n Network
	for _, peer := range []string{"127.0.0.1", "::1"} {
		a := netip.MustParseAddr(peer)
		l, c := listen(t, &n, 9793, a.Is6()), dial(t, &n, Path{Peer: a, Port: 9793})
		packet := make([]byte, 52)
		if allocs := testing.AllocsPerRun(1000, func() {
			if err := c.Send(packet); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Read(func(*Datagram) {}); err != nil {
				t.Fatal(err)
			}
		}); allocs != 0 {
			t.Errorf("%s: %v allocations", peer, allocs)
		}
	}
}

func BenchmarkSendAndRead(b *testing.B) {
	hosts(b)
	var n Network
	l, c := listen(b, &n, 9793, false), dial(b, &n, Path{Peer: netip.MustParseAddr("127.0.0.1"), Port: 9793})
	packet := make([]byte, 52)
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Send(packet); err != nil {
			b.Fatal(err)
		}
		if _, err := l.Read(func(*Datagram) {}); err != nil {
			b.Fatal(err)
		}
	}
}
