package manager

import "fairlead.io/fairlead/bfd/udp"

// Network is what sessions send and receive with; package udp says what the methods do.
type Network interface {
	Listen(port uint16, ipv6 bool) (Listener, error)
	Dial(path udp.Path) (Conn, error)
}

// Listener receives on one port over one address family.
type Listener interface {
	Read(handle func(*udp.Datagram)) (more bool, err error)
	Close() error
}

// Conn sends a session's packets.
type Conn interface {
	Interface() int
	Stale() bool
	Send(packet []byte) error
	Close() error
}

// node is the node's own network.
type node struct{ sockets udp.Network }

func (n *node) Listen(port uint16, ipv6 bool) (Listener, error) {
	l, err := n.sockets.Listen(port, ipv6)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what failed
	}
	return l, nil
}

func (n *node) Dial(path udp.Path) (Conn, error) {
	c, err := n.sockets.Dial(path)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what failed
	}
	return c, nil
}
