package interop

import (
	"fmt"
	"net/netip"
	"strings"

	"fairlead.io/fairlead/test/router"
)

// BGPConfig is how a router speaks to the host, its one neighbour.
type BGPConfig struct {
	ASN, HostASN uint32
	RouterID     string
	Host         netip.Addr // the host's address; invalid with Interface
	Local        netip.Addr // the router's address of the session, where it must be named
	Interface    string     // unnumbered
	Port         uint16     // that the router listens on
	Password     string
	TTLSecurity  bool
	MultiHop     bool
	Hold         int // seconds
	IPv4, IPv6   bool
	ExtendedHop  bool // RFC 8950
}

// lines is a text that grows by lines.
type lines struct{ strings.Builder }

func (l *lines) add(format string, args ...any) { fmt.Fprintf(l, format+"\n", args...) }

// render writes a router's configuration file.
func (c *BGPConfig) render(kind router.Kind) string {
	switch kind {
	case router.FRR:
		return c.frr()
	case router.BIRD:
		return c.bird()
	default:
		return c.gobgpd()
	}
}

// neighbour is the host as FRR calls it.
func (c *BGPConfig) neighbour() string {
	if c.Interface != "" {
		return c.Interface
	}
	return c.Host.String()
}

func (c *BGPConfig) frr() string {
	n, l := c.neighbour(), lines{}
	l.add("hostname router\nrouter bgp %d", c.ASN)
	l.add(" bgp router-id %s\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n no bgp network import-check", c.RouterID)
	l.add(" bgp graceful-restart stalepath-time 60")
	if c.Interface != "" {
		l.add(" neighbor %s interface remote-as %d", n, c.HostASN)
	} else {
		l.add(" neighbor %s remote-as %d", n, c.HostASN)
	}
	if c.Password != "" {
		l.add(" neighbor %s password %s", n, c.Password)
	}
	if c.TTLSecurity {
		l.add(" neighbor %s ttl-security hops 1", n)
	}
	if c.MultiHop {
		l.add(" neighbor %s ebgp-multihop 5", n)
	}
	l.add(" neighbor %s timers %d %d\n neighbor %s timers connect 1", n, max(1, c.Hold/3), c.Hold, n)
	if c.ExtendedHop {
		l.add(" neighbor %s capability extended-nexthop", n)
	}
	for family, wanted := range map[string]bool{"ipv4": c.IPv4, "ipv6": c.IPv6} {
		if wanted {
			l.add(" address-family %s unicast\n  neighbor %s activate\n exit-address-family", family, n)
		}
	}
	l.add("exit")
	return l.String()
}

func (c *BGPConfig) bird() string {
	l := lines{}
	l.add("router id %s;\ntimeformat protocol iso long;\nprotocol device { scan time 1; }\nprotocol bfd { }", c.RouterID) // without BFD it does not say that there is none
	if c.Interface != "" {
		// It advertises itself as a router, and takes the host whatever its link-local address is.
		l.add("protocol radv { interface %q { max ra interval 4; default lifetime 0; }; }", c.Interface)
	}
	l.add("protocol bgp host {\n local as %d;\n strict bind off;", c.ASN)
	if c.Port != 179 {
		l.add(" local port %d;", c.Port)
	}
	if c.Interface != "" {
		l.add(" interface %q;\n neighbor range fe80::/10 as %d;\n dynamic name \"host\";", c.Interface, c.HostASN)
	} else {
		l.add(" neighbor %s as %d;", c.Host, c.HostASN)
	}
	if c.Local.IsValid() {
		l.add(" source address %s;", c.Local)
	}
	if c.Password != "" {
		l.add(" password %q;", c.Password)
	}
	if c.TTLSecurity {
		l.add(" ttl security on;")
	}
	if c.MultiHop {
		l.add(" multihop 5;")
	} else if c.Interface == "" {
		l.add(" direct;")
	}
	l.add(" hold time %d;\n passive on;\n graceful restart on;\n connect retry time 1;\n error wait time 1, 2;", c.Hold)
	if c.IPv4 {
		l.add(" ipv4 { import all; export none; %s};", map[bool]string{true: "extended next hop on; "}[c.ExtendedHop])
	}
	if c.IPv6 {
		l.add(" ipv6 { import all; export none; };")
	}
	l.add("}")
	return l.String()
}

func (c *BGPConfig) gobgpd() string {
	l := lines{}
	l.add("[global.config]\n as = %d\n router-id = %q\n port = %d", c.ASN, c.RouterID, c.Port)
	l.add("[[neighbors]]\n[neighbors.config]\n neighbor-address = %q\n peer-as = %d", c.Host, c.HostASN)
	if c.Password != "" {
		l.add(" auth-password = %q", c.Password)
	}
	l.add("[neighbors.transport.config]\n passive-mode = true")
	l.add("[neighbors.timers.config]\n hold-time = %d\n keepalive-interval = %d\n idle-hold-time-after-reset = 1", c.Hold, max(1, c.Hold/3))
	l.add("[neighbors.graceful-restart.config]\n enabled = true\n restart-time = 20")
	if c.TTLSecurity {
		l.add("[neighbors.ttl-security.config]\n enabled = true\n ttl-min = 255")
	}
	if c.MultiHop {
		l.add("[neighbors.ebgp-multihop.config]\n enabled = true\n multihop-ttl = 5")
	}
	for name, wanted := range map[string]bool{"ipv4-unicast": c.IPv4, "ipv6-unicast": c.IPv6} {
		if wanted {
			l.add("[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\n afi-safi-name = %q", name)
			l.add("[neighbors.afi-safis.mp-graceful-restart.config]\n enabled = true")
		}
	}
	return l.String()
}
