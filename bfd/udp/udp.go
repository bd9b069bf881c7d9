// Package udp carries BFD packets over UDP: RFC 5881 (a single hop) and RFC 5883 (several hops), IPv4 and IPv6.
//
// It receives with one socket for each port and address family, and sends with one for each session. It never looks into a
// packet, and reports the TTL of what it receives without judging it.
//
// No socket needs a capability on Linux 5.7 and later; before, binding one to an interface needs CAP_NET_RAW.
package udp

import (
	"net/netip"
	"sync"
	"time"
)

// The destination ports of RFC 5881, 4 and RFC 5883, 5.
const (
	PortSingleHop = 3784
	PortMultihop  = 4784
)

// The range of source ports (RFC 5881, 4).
const (
	firstSourcePort = 49152
	sourcePorts     = 1<<16 - firstSourcePort
)

// Datagram is a received datagram.
type Datagram struct {
	// Port is the local port.
	Port uint16
	// Source and Destination are unmapped and without a zone.
	Source, Destination netip.Addr
	// Interface is the index of the interface that it came in on.
	Interface int
	// Arrived is when the kernel received it, by its clock that may be set: if that happened meanwhile it is wrong, but never after the
	// time when it was read.
	Arrived time.Time
	// TTL is the TTL or hop limit that was left.
	TTL uint8
	// Payload holds up to 256 bytes, more than any packet, and only until the handler returns.
	Payload []byte
}

// Network is a node's network as BFD uses it. Its zero value is ready for use; it must not be copied.
type Network struct {
	mu    sync.Mutex          // guards what follows
	ports map[uint16]struct{} // source ports in use: each session has its own (RFC 5881, 4)
}

func (n *Network) reserve(port uint16) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ports == nil {
		n.ports = map[uint16]struct{}{}
	}
	if _, taken := n.ports[port]; taken {
		return false
	}
	n.ports[port] = struct{}{}
	return true
}

func (n *Network) release(port uint16) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.ports, port)
}
