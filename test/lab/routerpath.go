//go:build linux

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/test/lab/plan"
)

// Carry makes this router the one that traffic between ext and the nodes goes through, both ways, until another one is or `up`
// gives that back to tor: it is the default route of ext, of the control plane's host and of the nodes.
func (r *Router) Carry(ctx context.Context) error {
	for _, h := range r.lab.Hosts() {
		v4, v6 := r.IPv4, r.IPv6
		switch h.Role {
		case plan.Outside:
			v4, v6 = r.Outside4, r.Outside6
		case plan.Client, plan.Router:
			continue
		default:
		}
		for _, to := range []netip.Addr{v4, v6} {
			if _, err := h.Exec(ctx, "ip", family(to), "route", "replace", "default", "via", to.String()); err != nil {
				return fmt.Errorf("send what %s sends through %s: %w", h.Name, r.Name, err)
			}
		}
	}
	return nil
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "-4"
	}
	return "-6"
}

// NextHop is where the kernel sends packets to.
type NextHop struct {
	Addr netip.Addr
	// Host is the host of the lab that has the address, link-local ones too.
	Host string
}

// Forwarding is what the kernel does for the routes of the router's programs: prefixes and their next hops, in ascending order. There are
// none of gobgpd's.
func (r *Router) Forwarding() (map[netip.Prefix][]NextHop, error) {
	table := map[netip.Prefix][]NextHop{}
	var routes []netlink.Route
	err := r.Do(func() (err error) {
		routes, err = netlink.RouteList(nil, netlink.FAMILY_ALL)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the routes of %s: %w", r.Name, err)
	}
	owners := r.lab.owners()
	for _, route := range routes {
		if route.Dst == nil || !slices.Contains([]netlink.RouteProtocol{unix.RTPROT_ZEBRA, unix.RTPROT_BIRD, unix.RTPROT_BGP}, route.Protocol) {
			continue
		}
		addr, ok := netip.AddrFromSlice(route.Dst.IP)
		if !ok {
			return nil, fmt.Errorf("list the routes of %s: one goes to %s", r.Name, route.Dst)
		}
		bits, _ := route.Dst.Mask.Size()
		prefix := netip.PrefixFrom(addr, bits)
		for _, hop := range append(route.MultiPath, &netlink.NexthopInfo{Gw: route.Gw, Via: route.Via}) {
			// An IPv6 next hop of an IPv4 route.
			if via, ok := hop.Via.(*netlink.Via); ok {
				hop.Gw = via.Addr
			}
			if gw, ok := netip.AddrFromSlice(hop.Gw); ok {
				table[prefix] = append(table[prefix], NextHop{gw.Unmap(), owners[gw.Unmap()]})
			}
		}
		slices.SortFunc(table[prefix], func(a, b NextHop) int { return a.Addr.Compare(b.Addr) })
	}
	return table, nil
}

// owners says which host has an address on the LAN.
func (l *Lab) owners() map[netip.Addr]string {
	owners := map[netip.Addr]string{}
	for _, h := range l.plan.Hosts {
		owners[h.IPv4], owners[h.IPv6], owners[linkLocal(h.MAC)] = h.Name, h.Name, h.Name
	}
	return owners
}

// linkLocal is the address that the kernel makes of a hardware address (RFC 4291, appendix A).
func linkLocal(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}
