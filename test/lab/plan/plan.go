// Package plan decides every name and address of a lab: hosts, LAN, service and pod ranges. It is pure: it knows nothing
// of what runs, and the same number of nodes gives the same plan each time.
package plan

import (
	"fmt"
	"net"
	"net/netip"
)

// MaxNodes keeps node addresses (.11 upwards) clear of the client's (.100) and pod subnets inside their range.
const MaxNodes = 32

// Interface is the name of every host's leg on the LAN.
const Interface = "eth0"

// Role says what a host is for.
type Role string

// The roles of hosts.
const (
	ControlPlane Role = "control-plane" // etcd, API server, controller manager, scheduler; no kubelet
	Node         Role = "node"          // containerd, kubelet, kube-proxy
	Client       Role = "client"        // only on the LAN: no route to pods or services
)

// Host is one machine on the LAN.
type Host struct {
	Name       string
	Role       Role
	IPv4, IPv6 netip.Addr
	MAC        net.HardwareAddr
	// Pods4 and Pods6 are the pod subnets; only nodes have them.
	Pods4, Pods6 netip.Prefix
}

// Plan is the whole lab.
type Plan struct {
	LAN4, LAN6           netip.Prefix
	Gateway4, Gateway6   netip.Addr // the first router's place; nobody answers there until routers are asked for
	Services4, Services6 netip.Prefix
	API4, API6           netip.Addr // the Service kubernetes.default
	DNS4, DNS6           netip.Addr // handed to pods; no DNS server runs
	Pods4, Pods6         netip.Prefix
	Hosts                []Host // cp, client, node1..
}

// New plans a lab of so many nodes.
func New(nodes int) (Plan, error) {
	if nodes < 1 || nodes > MaxNodes {
		return Plan{}, fmt.Errorf("%d nodes asked for: a lab has 1 to %d", nodes, MaxNodes)
	}
	p := Plan{
		LAN4:      netip.MustParsePrefix("192.168.100.0/24"),
		LAN6:      netip.MustParsePrefix("fd00:100::/64"),
		Gateway4:  netip.MustParseAddr("192.168.100.1"),
		Gateway6:  netip.MustParseAddr("fd00:100::1"),
		Services4: netip.MustParsePrefix("10.233.0.0/18"),
		Services6: netip.MustParsePrefix("fd00:10:96::/108"),
		API4:      netip.MustParseAddr("10.233.0.1"),
		API6:      netip.MustParseAddr("fd00:10:96::1"),
		DNS4:      netip.MustParseAddr("10.233.0.3"),
		DNS6:      netip.MustParseAddr("fd00:10:96::3"),
		Pods4:     netip.MustParsePrefix("10.233.64.0/18"),
		Pods6:     netip.MustParsePrefix("fd00:10:233::/48"),
	}
	p.Hosts = append(p.Hosts, host("cp", ControlPlane, 10), host("client", Client, 100))
	for i := 1; i <= nodes; i++ {
		h := host(fmt.Sprintf("node%d", i), Node, 10+i)
		h.Pods4 = netip.MustParsePrefix(fmt.Sprintf("10.233.%d.0/24", 63+i))
		h.Pods6 = netip.MustParsePrefix(fmt.Sprintf("fd00:10:233:%d::/64", 63+i))
		p.Hosts = append(p.Hosts, h)
	}
	return p, nil
}

// host writes the same decimal digits at the end of both addresses, and the IPv4 address into the MAC, so that a
// capture can be read without a table.
func host(name string, role Role, digits int) Host {
	h := Host{
		Name: name,
		Role: role,
		IPv4: netip.MustParseAddr(fmt.Sprintf("192.168.100.%d", digits)),
		IPv6: netip.MustParseAddr(fmt.Sprintf("fd00:100::%d", digits)),
	}
	v4 := h.IPv4.As4()
	h.MAC = append(net.HardwareAddr{0x02, 0x00}, v4[:]...)
	return h
}

// Host finds a host by name.
func (p Plan) Host(name string) (Host, bool) {
	for _, h := range p.Hosts {
		if h.Name == name {
			return h, true
		}
	}
	return Host{}, false
}

// WithRole lists the hosts of a role in order.
func (p Plan) WithRole(role Role) []Host {
	var hosts []Host
	for _, h := range p.Hosts {
		if h.Role == role {
			hosts = append(hosts, h)
		}
	}
	return hosts
}
