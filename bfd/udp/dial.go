package udp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/internal/rawsocket"
)

const (
	maxTTL = 255 // RFC 5881, 5
	// networkControl is the traffic class CS6, of routing protocols (RFC 4594, 3.1).
	networkControl = 0xc0
)

// Path is the way of a session's packets.
type Path struct {
	// Peer is the neighbour; Local the source address, unset: what the kernel chooses for the peer.
	Peer, Local netip.Addr
	// Interface to send on; empty: what the routes say. A link-local peer needs it.
	Interface string
	// Port is the destination port.
	Port uint16
}

// Conn sends a session's packets, always from the same port. Its methods are not safe for concurrent use.
type Conn struct {
	network *Network
	fd      int
	to      *rawsocket.Address
	port    uint16
	ifname  string
	ifindex int // 0: the path names no interface
}

// Dial opens a socket for a path. It sends with a TTL of 255 from a port that no other session has, and receives nothing.
func (n *Network) Dial(p Path) (*Conn, error) {
	c := &Conn{network: n, ifname: p.Interface}
	if p.Interface != "" {
		ifi, err := net.InterfaceByName(p.Interface)
		if err != nil {
			return nil, fmt.Errorf("send BFD packets to %s on %s: %w", p.Peer, p.Interface, err)
		}
		c.ifindex = ifi.Index
	}
	c.to = rawsocket.NewAddress(netip.AddrPortFrom(p.Peer, p.Port))
	domain := unix.AF_INET
	if p.Peer.Is6() {
		domain = unix.AF_INET6
	}
	var err error
	if c.fd, err = unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
		if err = errors.Join(configure(c.fd, domain, p.Interface), c.bind(p)); err != nil {
			_ = c.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open a socket to send BFD packets to %s: %w", p.Peer, err)
	}
	return c, nil
}

func configure(fd, domain int, ifname string) error {
	level, ttl, class := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_TOS
	if domain == unix.AF_INET6 {
		level, ttl, class = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_TCLASS
	}
	nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	err := errors.Join(
		os.NewSyscallError("set the TTL", unix.SetsockoptInt(fd, level, ttl, maxTTL)),
		os.NewSyscallError("set the traffic class", unix.SetsockoptInt(fd, level, class, networkControl)),
		os.NewSyscallError("receive nothing", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})),
	)
	if ifname != "" {
		err = errors.Join(err, os.NewSyscallError("bind to "+ifname, unix.BindToDevice(fd, ifname)))
	}
	return err
}

// bind takes a port at random out of those that nobody has.
func (c *Conn) bind(p Path) error {
	local := p.Local
	if !local.IsValid() {
		if local = netip.IPv4Unspecified(); p.Peer.Is6() {
			local = netip.IPv6Unspecified()
		}
	}
	first := rand.IntN(sourcePorts) //nolint:gosec // a port is no secret
	for i := range sourcePorts {
		port := uint16(firstSourcePort + (first+i)%sourcePorts)
		if !c.network.reserve(port) {
			continue
		}
		err := unix.Bind(c.fd, sockaddr(local, port, c.ifindex))
		if err == nil {
			c.port = port
			return nil
		}
		c.network.release(port)
		if !errors.Is(err, unix.EADDRINUSE) {
			return fmt.Errorf("use the local address %s: %w", local, err)
		}
	}
	return fmt.Errorf("all UDP ports from %d are in use", firstSourcePort)
}

func sockaddr(a netip.Addr, port uint16, ifindex int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: int(port)}
	}
	s := &unix.SockaddrInet6{Addr: a.As16(), Port: int(port)}
	if a.IsLinkLocalUnicast() {
		s.ZoneId = uint32(ifindex)
	}
	return s
}

// Interface is the index of the path's interface; 0: the path names none.
func (c *Conn) Interface() int { return c.ifindex }

// Stale reports that the path's interface is gone, or was replaced by another one of its name: a new Conn is needed.
func (c *Conn) Stale() bool {
	if c.ifname == "" {
		return false
	}
	request, err := unix.NewIfreq(c.ifname)
	if err == nil {
		err = unix.IoctlIfreq(c.fd, unix.SIOCGIFINDEX, request)
	}
	return err != nil || int(request.Uint32()) != c.ifindex
}

// Send sends a packet. It never waits: a packet that cannot be sent at once is lost.
func (c *Conn) Send(packet []byte) error {
	return os.NewSyscallError("sendto", rawsocket.Send(c.fd, packet, c.to))
}

// Close closes the socket.
func (c *Conn) Close() error {
	if c.port != 0 {
		c.network.release(c.port)
	}
	return os.NewSyscallError("close", unix.Close(c.fd))
}
