package manager

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bfd/udp"
	"fairlead.io/fairlead/internal/sleep"
)

const (
	ms    = time.Millisecond
	delay = ms // of the wire
)

// wire joins nodes in memory. It has one lock for everything.
type wire struct {
	mu     sync.Mutex
	nodes  map[netip.Addr]*wireNode
	flying []udp.Datagram // in order
}

// wireNode is a node's network.
type wireNode struct {
	wire      *wire
	addr      netip.Addr
	listeners map[uint16]*wireListener

	// What a test may change, under the wire's lock.
	deaf, mute         bool  // nothing comes in, nothing goes out
	listenErr, dialErr error // of the next attempts
	sendErr, readErr   error
	ifindex, ttl       int
	listened, reads    int           // attempts
	conns              int           // that are open
	stall              time.Duration // after what is read next
}

func newWire(addrs ...string) (*wire, []*wireNode) {
	w := &wire{nodes: map[netip.Addr]*wireNode{}}
	var nodes []*wireNode
	for _, a := range addrs {
		n := &wireNode{wire: w, addr: netip.MustParseAddr(a), listeners: map[uint16]*wireListener{}, ifindex: 2, ttl: 255}
		w.nodes[n.addr] = n
		nodes = append(nodes, n)
	}
	return w, nodes
}

// set changes a node.
func (n *wireNode) set(change func()) {
	n.wire.mu.Lock()
	defer n.wire.mu.Unlock()
	change()
}

type wireListener struct {
	node    *wireNode
	port    uint16
	waiting []udp.Datagram
	err     error // of the first reading that failed, and of all that follow
}

func (n *wireNode) Listen(port uint16, _ bool) (Listener, error) {
	n.wire.mu.Lock()
	defer n.wire.mu.Unlock()
	n.listened++
	if n.listenErr != nil {
		return nil, n.listenErr
	}
	if n.listeners[port] != nil {
		return nil, errors.New("listening already")
	}
	l := &wireListener{node: n, port: port}
	n.listeners[port] = l
	return l, nil
}

// Read is part of Listener.
func (l *wireListener) Read(handle func(*udp.Datagram)) (bool, error) {
	l.node.wire.mu.Lock()
	if l.err == nil {
		l.err = l.node.readErr
	}
	waiting, err, stall := l.waiting, l.err, l.node.stall
	l.waiting, l.node.stall = nil, 0
	l.node.reads++
	l.node.wire.mu.Unlock()
	for _, d := range waiting {
		handle(&d)
	}
	time.Sleep(stall)
	return false, err
}

// Close is part of Listener.
func (l *wireListener) Close() error {
	l.node.wire.mu.Lock()
	defer l.node.wire.mu.Unlock()
	delete(l.node.listeners, l.port)
	return nil
}

type wireConn struct {
	node    *wireNode
	path    udp.Path
	ifindex int
}

func (n *wireNode) Dial(path udp.Path) (Conn, error) {
	n.wire.mu.Lock()
	defer n.wire.mu.Unlock()
	if n.dialErr != nil {
		return nil, n.dialErr
	}
	n.conns++
	c := &wireConn{node: n, path: path}
	if path.Interface != "" {
		c.ifindex = n.ifindex
	}
	return c, nil
}

// Interface is part of Conn.
func (c *wireConn) Interface() int { return c.ifindex }

// Stale is part of Conn.
func (c *wireConn) Stale() bool {
	c.node.wire.mu.Lock()
	defer c.node.wire.mu.Unlock()
	return c.ifindex != 0 && c.ifindex != c.node.ifindex
}

// Close is part of Conn.
func (c *wireConn) Close() error {
	c.node.set(func() { c.node.conns-- })
	return nil
}

// Send is part of Conn.
func (c *wireConn) Send(packet []byte) error {
	w := c.node.wire
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.node.sendErr != nil {
		return c.node.sendErr
	}
	if c.ifindex != 0 && c.ifindex != c.node.ifindex {
		return errors.New("no such device")
	}
	source := c.path.Local
	if !source.IsValid() {
		source = c.node.addr
	}
	d := udp.Datagram{Port: c.path.Port, Source: source, Destination: c.path.Peer, TTL: uint8(c.node.ttl), Payload: slices.Clone(packet)}
	if !c.node.mute {
		w.flying = append(w.flying, d)
		time.AfterFunc(delay, w.arrive)
	}
	return nil
}

// arrive takes the next datagram off the wire.
func (w *wire) arrive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.flying[0]
	w.flying = w.flying[1:]
	n := w.nodes[d.Destination]
	if n == nil || n.deaf || n.listeners[d.Port] == nil || n.listeners[d.Port].err != nil {
		return
	}
	d.Interface, d.Arrived = n.ifindex, time.Now()
	l := n.listeners[d.Port]
	l.waiting = append(l.waiting, d)
}

// user is a manager on a node, with somebody who reads its events.
type user struct {
	t testing.TB
	*Manager
	node   *wireNode
	events *Events
}

func newUser(t testing.TB, n *wireNode) *user {
	m := Over(n, sleep.Runtime())
	return &user{t: t, Manager: m, node: n, events: m.NewEvents()}
}

func (u *user) close() {
	u.t.Helper()
	if err := u.Close(u.t.Context()); err != nil {
		u.t.Error(err)
	}
	u.node.set(func() {
		if u.node.conns != 0 || len(u.node.listeners) != 0 {
			u.t.Errorf("%d sockets to send and %d to receive are open in the end", u.node.conns, len(u.node.listeners))
		}
	})
}

func (u *user) add(k Key, s Settings) {
	u.t.Helper()
	if err := u.Add(k, s, u.events); err != nil {
		u.t.Fatal(err)
	}
}

// next waits for an event, for a minute of the bubble's time.
func (u *user) next() Event {
	u.t.Helper()
	select {
	case e, ok := <-u.events.C():
		if !ok {
			u.t.Fatal("the channel is closed")
		}
		return e
	case <-time.After(time.Minute):
		u.t.Fatal("no event")
		return Event{}
	}
}

// until waits for a state, and gives the event that brought it.
func (u *user) until(s bfd.State) Event {
	u.t.Helper()
	for {
		if e := u.next(); e.New == s && e.Old != s {
			return e
		}
	}
}

// quiet checks that nothing is to be told.
func (u *user) quiet() {
	u.t.Helper()
	synctest.Wait()
	select {
	case e, ok := <-u.events.C():
		u.t.Errorf("event %+v, %t", e, ok)
	default:
	}
}

// only is the status of the only session.
func (u *user) only() Status {
	u.t.Helper()
	all := u.Snapshot()
	if len(all) != 1 {
		u.t.Fatalf("%d sessions, want 1", len(all))
	}
	return all[0]
}

func fast() Settings {
	return Settings{Config: bfd.Config{DesiredMinTx: 100 * ms, RequiredMinRx: 100 * ms, DetectMult: 3}}
}

func to(n *wireNode) Key { return Key{Peer: n.addr, Port: udp.PortSingleHop, Interface: "eth0"} }

// two are two users with a session between them, which is Up.
func two(t testing.TB, settings Settings) (a, b *user) {
	t.Helper()
	_, n := newWire("192.0.2.1", "192.0.2.2")
	a, b = newUser(t, n[0]), newUser(t, n[1])
	a.add(to(b.node), settings)
	b.add(to(a.node), settings)
	a.until(bfd.Up)
	b.until(bfd.Up)
	time.Sleep(time.Second) // the timers are negotiated
	return a, b
}
