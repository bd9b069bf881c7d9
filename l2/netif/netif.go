// Package netif knows the interfaces of this node that layer 2 can announce on, from the kernel's own notifications (rtnetlink).
//
// It says which are usable and never decides which of them an address is announced on. It never polls.
package netif

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// DefaultExclude are names of interfaces that are not the network's but made by container networks, virtual machines,
// service proxies and tunnels: an address is never announced there unless --interfaces-exclude says otherwise.
const DefaultExclude = `^(lo|docker\d+|br-[0-9a-f]{12}|virbr.*|vnet\d+|lxdbr\d+|lxc.*|podman\d+|cni\d+|cni-.*|cbr\d+|nerdctl\d+|` +
	`veth.*|cali.*|tunl\d+|vxlan.*|flannel.*|cilium.*|antrea.*|genev_sys_\d+|ovn.*|ovs-.*|weave.*|vethwe.*|datapath|kube-bridge|kube-ipvs\d+|kube-dummy-if|` +
	`nodelocaldns.*|dummy\d+|ifb\d+|gre\d+|gretap\d+|erspan\d+|sit\d+|ip6tnl\d+|ip6gre\d+|ip_vti\d+|ip6_vti\d+|teql\d+|wg\d+|tailscale\d+|tun\d+|nlmon\d+)$`

// MAC is an Ethernet address.
type MAC [6]byte

// String gives the usual form, 02:00:00:00:00:01.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Interface is a usable interface: Ethernet, up, with carrier, not a part of a bond or bridge, and not excluded by its name.
type Interface struct {
	Name  string
	Index int
	MAC   MAC
	// Addresses in their order; an interface may have none.
	Addresses []netip.Prefix
}

// link is what the kernel says of an interface.
type link struct {
	name     string
	index    int
	mac      net.HardwareAddr
	kind     string // "device", "veth", "bond", …
	ethernet bool
	loopback bool
	up       bool // administratively, and with carrier
	master   int  // index of what the interface is a part of; 0: nothing
}

// usable decides which links are usable. A part of a VRF keeps its addresses and neighbours, all other parts (of a bond, a
// bridge, a team, a switch) leave them to the whole.
func usable(links []link, exclude *regexp.Regexp) []Interface {
	kinds := make(map[int]string, len(links))
	for _, l := range links {
		kinds[l.index] = l.kind
	}
	var out []Interface
	for _, l := range links {
		switch {
		case !l.up, l.loopback, !l.ethernet, len(l.mac) != len(MAC{}):
			continue
		case l.kind == "dummy" || l.kind == "vrf":
			continue
		case l.master != 0 && kinds[l.master] != "vrf":
			continue
		case exclude != nil && exclude.MatchString(l.name):
			continue
		}
		out = append(out, Interface{Name: l.name, Index: l.index, MAC: MAC(l.mac)})
	}
	slices.SortFunc(out, func(a, b Interface) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Equal reports whether two lists say the same.
func Equal(a, b []Interface) bool {
	return slices.EqualFunc(a, b, func(x, y Interface) bool {
		return x.Name == y.Name && x.Index == y.Index && x.MAC == y.MAC && slices.Equal(x.Addresses, y.Addresses)
	})
}

// Names of the interfaces, in the order given.
func Names(list []Interface) []string {
	names := make([]string, 0, len(list))
	for _, i := range list {
		names = append(names, i.Name)
	}
	return names
}

// ParseExclude reads the flag's regular expression; empty excludes nothing by name.
func ParseExclude(expr string) (*regexp.Regexp, error) {
	if expr == "" {
		return nil, nil
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, fmt.Errorf("read the interfaces to exclude: %w", err)
	}
	return re, nil
}
