// Package plan decides every name and address of a lab: hosts, LAN, the network behind the routers, service and pod ranges. It is
// pure: it knows nothing of what runs, and the same numbers give the same plan each time.
package plan

import (
	"fmt"
	"net"
	"net/netip"
)

// MaxNodes keeps node addresses (.11 upwards) clear of the client's (.100) and pod subnets inside their range.
const MaxNodes = 32

// MaxRouters keeps the routers' addresses (.1 upwards) clear of the control plane's (.10).
const MaxRouters = 8

// Interface is the name of every host's leg on the LAN; that of ext, which is not on the LAN, has the same name.
const Interface = "eth0"

// OutsideInterface is the name of a router's leg on the network behind it.
const OutsideInterface = "eth1"

// AS numbers of the nodes and of all routers, as config/samples has them.
const (
	NodeASN   uint32 = 64512
	RouterASN uint32 = 64513
)

// Role says what a host is for.
type Role string

// The roles of hosts.
const (
	ControlPlane Role = "control-plane" // etcd, API server, controller manager, scheduler; no kubelet
	Node         Role = "node"          // containerd, kubelet, kube-proxy
	Client       Role = "client"        // only on the LAN: no route to pods or services
	Router       Role = "router"        // on the LAN and the network behind it
	Outside      Role = "outside"       // a client on the network behind the routers, in no way on the LAN
)

// Host is one machine on the LAN, or, with role Outside, behind the routers.
type Host struct {
	Name       string
	Role       Role
	IPv4, IPv6 netip.Addr
	MAC        net.HardwareAddr
	// Outside4, Outside6 and OutsideMAC are a router's on the network behind it; only routers have them.
	Outside4, Outside6 netip.Addr
	OutsideMAC         net.HardwareAddr
	// Pods4 and Pods6 are the pod subnets; only nodes have them.
	Pods4, Pods6 netip.Prefix
}

// Plan is the whole lab.
type Plan struct {
	LAN4, LAN6           netip.Prefix
	Gateway4, Gateway6   netip.Addr // the first router's place; nobody answers there unless the lab has routers
	Outside4, Outside6   netip.Prefix
	Services4, Services6 netip.Prefix
	API4, API6           netip.Addr // the Service kubernetes.default
	DNS4, DNS6           netip.Addr // handed to pods; no DNS server runs
	Pods4, Pods6         netip.Prefix
	Hosts                []Host // cp, client, node1.., and with routers tor, tor2.., ext
}

// New plans a lab of so many nodes and routers.
func New(nodes, routers int) (Plan, error) {
	if nodes < 1 || nodes > MaxNodes {
		return Plan{}, fmt.Errorf("%d nodes asked for: a lab has 1 to %d", nodes, MaxNodes)
	}
	if routers < 0 || routers > MaxRouters {
		return Plan{}, fmt.Errorf("%d routers asked for: a lab has at most %d", routers, MaxRouters)
	}
	p := Plan{
		LAN4:      netip.MustParsePrefix("192.168.100.0/24"),
		LAN6:      netip.MustParsePrefix("fd00:100::/64"),
		Gateway4:  netip.MustParseAddr("192.168.100.1"),
		Gateway6:  netip.MustParseAddr("fd00:100::1"),
		Outside4:  netip.MustParsePrefix("192.168.200.0/24"),
		Outside6:  netip.MustParsePrefix("fd00:200::/64"),
		Services4: netip.MustParsePrefix("10.233.0.0/18"),
		Services6: netip.MustParsePrefix("fd00:10:96::/108"),
		API4:      netip.MustParseAddr("10.233.0.1"),
		API6:      netip.MustParseAddr("fd00:10:96::1"),
		DNS4:      netip.MustParseAddr("10.233.0.3"),
		DNS6:      netip.MustParseAddr("fd00:10:96::3"),
		Pods4:     netip.MustParsePrefix("10.233.64.0/18"),
		Pods6:     netip.MustParsePrefix("fd00:10:233::/48"),
	}
	p.Hosts = append(p.Hosts, p.host("cp", ControlPlane, 10), p.host("client", Client, 100))
	for i := 1; i <= nodes; i++ {
		h := p.host(fmt.Sprintf("node%d", i), Node, 10+i)
		h.Pods4 = netip.MustParsePrefix(fmt.Sprintf("10.233.%d.0/24", 63+i))
		h.Pods6 = netip.MustParsePrefix(fmt.Sprintf("fd00:10:233:%d::/64", 63+i))
		p.Hosts = append(p.Hosts, h)
	}
	for i := 1; i <= routers; i++ {
		h := p.host(RouterName(i), Router, i)
		h.Outside4, h.Outside6, h.OutsideMAC = addresses(p.Outside4, p.Outside6, i)
		p.Hosts = append(p.Hosts, h)
	}
	if routers > 0 {
		ext := Host{Name: "ext", Role: Outside}
		ext.IPv4, ext.IPv6, ext.MAC = addresses(p.Outside4, p.Outside6, 100)
		p.Hosts = append(p.Hosts, ext)
	}
	return p, nil
}

// RouterName is the name of the i-th router, counted from 1: tor, tor2 and so on.
func RouterName(i int) string {
	if i == 1 {
		return "tor"
	}
	return fmt.Sprintf("tor%d", i)
}

func (p Plan) host(name string, role Role, digits int) Host {
	h := Host{Name: name, Role: role}
	h.IPv4, h.IPv6, h.MAC = addresses(p.LAN4, p.LAN6, digits)
	return h
}

// addresses writes the same decimal digits at the end of both addresses, and the IPv4 address into the MAC, so that a
// capture can be read without a table.
func addresses(net4, net6 netip.Prefix, digits int) (netip.Addr, netip.Addr, net.HardwareAddr) {
	v4 := net4.Addr().As4()
	v4[3] = byte(digits)
	v6 := netip.MustParseAddr(fmt.Sprintf("%s%d", net6.Addr(), digits))
	return netip.AddrFrom4(v4), v6, append(net.HardwareAddr{0x02, 0x00}, v4[:]...)
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
