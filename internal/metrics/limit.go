package metrics

import (
	"net"
	"sync"
)

// So many connections there are at most, of all hosts and of one. Each has buffers and maybe a handshake to compute, and whoever reaches the
// port can open some: on the host network that is everybody on the nodes' network, and the memory is that of the program that announces.
const (
	connections = 64
	perSource   = 16
)

// limited is a listener that closes connections that are too many at once.
type limited struct {
	net.Listener

	mu  sync.Mutex // guards what follows
	all int
	of  map[string]int // by source
}

func limit(l net.Listener) *limited { return &limited{Listener: l, of: map[string]int{}} }

// Accept is part of net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err //nolint:wrapcheck // http.Server looks at it
		}
		from := source(c.RemoteAddr().String())
		if l.enter(from) {
			return &counted{Conn: c, leave: sync.OnceFunc(func() { l.leave(from) })}, nil
		}
		_ = c.Close() // nothing was said on it
	}
}

func (l *limited) enter(from string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= connections || l.of[from] >= perSource {
		return false
	}
	l.all++
	l.of[from]++
	return true
}

func (l *limited) leave(from string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.of[from]--; l.of[from] == 0 {
		delete(l.of, from)
	}
}

// counted is a connection that is counted until it is closed.
type counted struct {
	net.Conn

	leave func()
}

// Close is part of net.Conn.
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close() //nolint:wrapcheck // it is that of the connection
}
