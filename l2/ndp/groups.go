package ndp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
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
	sockets []int
}

type group struct {
	count  int // addresses that need it
	socket int // that holds the IPv6 membership; -1: none
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
	m := &group{count: 1, socket: -1}
	g.members[name] = m
	fd, err := g.joinIPv6(name)
	if err != nil {
		return fmt.Errorf("join %s on %s (an MLD snooping switch may keep solicitations from us): %w", name, g.ifi.Name, err)
	}
	m.socket = fd
	return nil
}

func (g *groups) joinIPv6(name netip.Addr) (int, error) {
	request := &unix.IPv6Mreq{Multiaddr: name.As16(), Interface: uint32(g.ifi.Index)}
	if n := len(g.sockets); n > 0 {
		fd := g.sockets[n-1]
		err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, request)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.ENOMEM) {
			return -1, err
		}
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, request); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	g.sockets = append(g.sockets, fd)
	return fd, nil
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
	if m.socket >= 0 {
		request := &unix.IPv6Mreq{Multiaddr: name.As16(), Interface: uint32(g.ifi.Index)}
		err = errors.Join(err, unix.SetsockoptIPv6Mreq(m.socket, unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP, request))
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
	for _, fd := range g.sockets {
		err = errors.Join(err, unix.Close(fd))
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
