package ndp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/l2/frames"
	"fairlead.io/fairlead/l2/netif"
)

// groups are an interface's memberships of solicited-node multicast groups. Addresses that end alike share a group.
//
// A group is joined twice over. The packet socket's membership makes the interface receive the group's frames whatever the
// host's IPv6 does there. The IPv6 membership sends MLD reports (RFC 3810), without which a switch that snoops MLD would not
// forward the frames to us; it needs no privilege. A socket can hold only so many of the latter (net.core.optmem_max), so
// they are spread over as many sockets as it takes.
type groups struct {
	ifi  netif.Interface
	conn *frames.Conn

	mu      sync.Mutex // guards what follows
	members map[netip.Addr]*group
	sockets []*socket
}

type group struct {
	count  int     // addresses that need it
	socket *socket // that holds the IPv6 membership; nil: none
}

// socket holds IPv6 memberships, and does nothing else.
type socket struct {
	fd   int
	held int
	full bool
}

// join adds an address. The error says that the IPv6 membership failed; the group's frames are received nonetheless.
func (g *groups) join(addr netip.Addr) error {
	name, mac, err := solicitedNode(addr)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if m := g.members[name]; m != nil {
		m.count++
		return nil
	}
	if err := g.conn.JoinGroup(mac); err != nil {
		return err
	}
	m := &group{count: 1}
	g.members[name] = m
	if m.socket, err = g.joinIPv6(name); err != nil {
		return fmt.Errorf("join %s on %s (an MLD snooping switch may keep solicitations from us): %w", name, g.ifi.Name, err)
	}
	return nil
}

// joinIPv6 joins with the first socket that has room, which may be one from which others have left.
func (g *groups) joinIPv6(name netip.Addr) (*socket, error) {
	request := &unix.IPv6Mreq{Multiaddr: name.As16(), Interface: uint32(g.ifi.Index)}
	for _, s := range g.sockets {
		if s.full {
			continue
		}
		err := unix.SetsockoptIPv6Mreq(s.fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, request)
		if err == nil {
			s.held++
			return s, nil
		}
		if !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.ENOMEM) {
			return nil, err
		}
		s.full = true
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, request); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	s := &socket{fd: fd, held: 1}
	g.sockets = append(g.sockets, s)
	return s, nil
}

// leaveIPv6 undoes joinIPv6. A socket that holds nothing anymore is closed.
func (g *groups) leaveIPv6(s *socket, name netip.Addr) error {
	err := unix.SetsockoptIPv6Mreq(s.fd, unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP, &unix.IPv6Mreq{Multiaddr: name.As16(), Interface: uint32(g.ifi.Index)})
	s.full = false
	if s.held--; s.held == 0 {
		g.sockets = slices.DeleteFunc(g.sockets, func(o *socket) bool { return o == s })
		err = errors.Join(err, unix.Close(s.fd))
	}
	return err
}

// leave removes an address that was joined.
func (g *groups) leave(addr netip.Addr) error {
	name, mac, err := solicitedNode(addr)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.members[name]
	if m == nil {
		return nil
	}
	if m.count--; m.count > 0 {
		return nil
	}
	delete(g.members, name)
	err = g.conn.LeaveGroup(mac)
	if m.socket != nil {
		err = errors.Join(err, g.leaveIPv6(m.socket, name))
	}
	if err != nil {
		return fmt.Errorf("leave %s on %s: %w", name, g.ifi.Name, err)
	}
	return nil
}

// close leaves all groups.
func (g *groups) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var err error
	for _, s := range g.sockets {
		err = errors.Join(err, unix.Close(s.fd))
	}
	g.sockets, g.members = nil, map[netip.Addr]*group{}
	return err
}

// solicitedNode is an address's solicited-node multicast group (RFC 4291, 2.7.1), and that as an Ethernet address (RFC 2464, 7).
func solicitedNode(addr netip.Addr) (netip.Addr, net.HardwareAddr, error) {
	name, err := ndp.SolicitedNodeMulticast(addr)
	if err != nil {
		return netip.Addr{}, nil, fmt.Errorf("solicited-node group of %s: %w", addr, err)
	}
	b := name.As16()
	return name, net.HardwareAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}, nil
}
