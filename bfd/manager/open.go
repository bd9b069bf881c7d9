package manager

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bfd/udp"
)

const (
	// repairInterval is the time between attempts to open what could not be opened.
	repairInterval = time.Second
	// portInterval is the time between attempts to open a port that another program has: finding out which one takes a while.
	portInterval = 10 * time.Second
)

// port is what a listener listens on.
type port struct {
	number uint16
	ipv6   bool
}

func (k Key) port() port { return port{k.Port, k.Peer.Is6()} }

// listener is a port that is open, or that was not to be had lately.
type listener struct {
	socket Listener    // nil: it could not be opened
	broken atomic.Bool // reading has failed for good

	err   error // why it could not be opened
	tried time.Time
}

func (l *listener) close() error {
	if l.socket == nil {
		return nil
	}
	return l.socket.Close()
}

// listen gives the listener of a port, and opens it first if need be.
func (m *Manager) listen(p port) (*listener, error) {
	l := m.listeners[p]
	if l != nil && l.err == nil && !l.broken.Load() {
		return l, nil
	}
	if l != nil && l.err != nil && time.Since(l.tried) < portInterval {
		return nil, l.err
	}
	if l != nil {
		_ = l.close() // what was wrong with it is known
	}
	l = &listener{tried: time.Now()}
	m.listeners[p] = l
	l.socket, l.err = m.network.Listen(p.number, p.ipv6)
	m.readAll()
	return l, l.err
}

// readAll lets all open listeners be read.
func (m *Manager) readAll() {
	var all []*listener
	for _, l := range m.listeners {
		if l.err == nil {
			all = append(all, l)
		}
	}
	m.reading.Store(&all)
}

// open gives a session what it needs to send and receive.
func (m *Manager) open(s *session) {
	m.opening.Lock()
	defer m.opening.Unlock()
	select {
	case <-m.stop: // Close waits for the lock, to close what is open
		return
	default:
	}
	l, err := m.listen(s.key.port())
	var conn Conn
	if err == nil {
		conn, err = m.network.Dial(udp.Path{Peer: s.key.Peer, Local: s.key.Local, Interface: s.key.Interface, Port: s.key.Port})
	}
	s.opened(l, conn, err)
}

// opened takes what was opened in place of what the session had, if it worked.
func (s *session) opened(l *listener, conn Conn, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		if err == nil {
			_ = conn.Close() // it was not used
		}
		return
	}
	s.openErr = err
	if err == nil {
		if s.conn != nil {
			_ = s.conn.Close() // its interface is gone
		}
		s.conn, s.listener, s.sendErr = conn, l, nil
		s.ifindex.Store(int64(conn.Interface()))
	}
	s.settle(time.Now(), s.machine.State())
}

// broken reports whether a session must be opened again.
func (s *session) broken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn == nil || s.openErr != nil || s.listener.broken.Load() ||
		s.machine.State() != bfd.Up && s.conn.Stale()
}

// repair opens what could not be opened before, and closes ports that no session needs.
func (m *Manager) repair() {
	tick := time.NewTicker(repairInterval)
	defer tick.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-tick.C:
		}
		for _, s := range m.all() {
			if s.broken() {
				m.open(s)
			}
		}
		m.closeUnused()
		m.coarsen()
	}
}

// all sessions, also those that were removed.
func (m *Manager) all() []*session {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Collect(maps.Values(m.tables.byDiscr))
}

// closeUnused closes the ports that no session needs.
func (m *Manager) closeUnused() {
	m.opening.Lock() // so that nobody opens a port for a session that is not in the tables yet
	defer m.opening.Unlock()
	needed := map[port]bool{}
	for _, s := range m.all() {
		needed[s.key.port()] = true
	}
	for p, l := range m.listeners {
		if !needed[p] {
			delete(m.listeners, p)
			_ = l.close() // nothing is lost with it
		}
	}
	m.readAll()
}
