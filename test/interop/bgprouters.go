package interop

import (
	"net/netip"
	"testing"

	"fairlead.io/fairlead/internal/testnet"
)

// BGPConfig is how a router speaks to the host.
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

// BGPRoute is a route as a router shows it.
type BGPRoute struct {
	NextHop     string
	Path        []uint32
	LocalPref   uint32
	MED         uint32
	Communities []string // asn:value, in order
	Large       []string // a:b:c, in order
	Stale       bool
}

// BGPSession is a session as a router shows it.
type BGPSession struct {
	Up   bool
	Ups  int // how often it was established; -1: the router does not count
	Hold int // seconds, as negotiated
	// Restart: the host announced graceful restart, with that time in seconds; -1: not.
	Restart int
}

// BGPRouter is a router with one neighbour, the host.
type BGPRouter interface {
	// Start starts it, or starts it anew, with a configuration.
	Start(c BGPConfig)
	// SetPassword changes the password while it runs.
	SetPassword(password string)
	// Session with the host.
	Session() BGPSession
	// Route gives the route to a prefix from the host.
	Route(prefix string) (BGPRoute, bool)
	// Routes is the number of routes of a family.
	Routes(v6 bool) int
	Kill()
}

// BGPRouters are the makes of routers.
func BGPRouters() map[string]func(testing.TB, *testnet.Namespace) BGPRouter {
	return map[string]func(testing.TB, *testnet.Namespace) BGPRouter{"FRR": NewFRRBGP, "BIRD": NewBIRDBGP, "GoBGP": NewGoBGP}
}
