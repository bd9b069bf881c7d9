package speaker

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// hop is the way to an address, as the kernel routes now.
type hop struct {
	local  netip.Addr // that packets are sent from
	ifname string
	direct bool // the address is on the interface's own network
}

// routeTo asks the kernel for the way to an address; source, if valid, is the local address to use.
func routeTo(addr, source netip.Addr) (hop, error) {
	opts := netlink.RouteGetOptions{}
	if source.IsValid() {
		opts.SrcAddr = source.AsSlice()
	}
	opts.Oif = addr.Zone()
	routes, err := netlink.RouteGetWithOptions(addr.WithZone("").AsSlice(), &opts)
	if err != nil {
		return hop{}, fmt.Errorf("find the route to %s: %w", addr, err)
	}
	if len(routes) == 0 {
		return hop{}, fmt.Errorf("there is no route to %s", addr)
	}
	link, err := net.InterfaceByIndex(routes[0].LinkIndex)
	if err != nil {
		return hop{}, fmt.Errorf("find the interface of the route to %s: %w", addr, err)
	}
	local, _ := netip.AddrFromSlice(routes[0].Src)
	if source.IsValid() {
		local = source
	}
	return hop{local: local.Unmap(), ifname: link.Name, direct: len(routes[0].Gw) == 0 && routes[0].Via == nil}, nil
}
