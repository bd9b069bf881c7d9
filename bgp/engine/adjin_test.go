package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

// adjRIBIn is what a router knows by the UPDATEs that it was sent, read by another codec than made them: GoBGP's own parser, and with
// what RFC 7606 says of where prefixes may be.
type adjRIBIn struct {
	mu       sync.Mutex // guards what follows
	routes   map[netip.Prefix]bgp.Advertised
	messages int
	// changes is how often a prefix was announced or withdrawn.
	changes map[netip.Prefix]int
}

func newAdjRIBIn() *adjRIBIn {
	return &adjRIBIn{routes: map[netip.Prefix]bgp.Advertised{}, changes: map[netip.Prefix]int{}}
}

func (a *adjRIBIn) len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.routes)
}

// record takes an UPDATE in, and gives the family that it is the End-of-RIB of; 0: it is none.
func (a *adjRIBIn) record(m wire.Message, fourOctet bool) (end packet.Family, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.messages++
	u := &packet.BGPUpdate{}
	if err := u.DecodeFromBytes(m.Body(), &packet.MarshallingOption{Use2ByteAS: !fourOctet}); err != nil {
		return 0, err
	}
	if is, end := u.IsEndOfRib(); is {
		return end, nil
	}
	route, withdrawn, announced := bgp.Advertised{}, u.WithdrawnRoutes, u.NLRI
	places := 0
	for _, list := range [][]packet.PathNLRI{withdrawn, announced} {
		if len(list) > 0 {
			places++
		}
	}
	for i, attr := range u.PathAttributes {
		switch attr := attr.(type) {
		case *packet.PathAttributeMpUnreachNLRI:
			withdrawn = attr.Value
		case *packet.PathAttributeMpReachNLRI:
			announced, route.NextHop = attr.Value, attr.Nexthop
		default:
			describe(&route, attr)
			continue
		}
		if places++; i > 0 {
			return 0, fmt.Errorf("%s is not the first attribute", attr.GetType())
		}
	}
	if places != 1 {
		return 0, fmt.Errorf("prefixes are in %d places of one UPDATE", places)
	}
	for _, n := range withdrawn {
		p := prefixOf(n)
		if _, ok := a.routes[p]; !ok {
			return 0, fmt.Errorf("%s is withdrawn, and was not announced", p)
		}
		a.changes[p]++
		delete(a.routes, p)
	}
	for _, n := range announced {
		p := prefixOf(n)
		a.changes[p]++
		route.Prefix = p
		a.routes[p] = route
	}
	return 0, nil
}

// prefixOf is invalid for what is no prefix.
func prefixOf(n packet.PathNLRI) (p netip.Prefix) {
	if a, ok := n.NLRI.(*packet.IPAddrPrefix); ok {
		p = a.Prefix
	}
	return p
}

// describe takes an attribute over that is one of bgp.Advertised.
func describe(route *bgp.Advertised, a packet.PathAttributeInterface) {
	attrs := &route.Attributes
	switch a := a.(type) {
	case *packet.PathAttributeNextHop:
		route.NextHop = a.Value
	case *packet.PathAttributeAsPath:
		for _, segment := range a.Value {
			route.ASPath = append(route.ASPath, segment.GetAS()...)
		}
	case *packet.PathAttributeLocalPref:
		attrs.LocalPref = &a.Value
	case *packet.PathAttributeMultiExitDisc:
		attrs.MED = &a.Value
	case *packet.PathAttributeCommunities:
		for _, c := range a.Value {
			attrs.Communities.Standard = append(attrs.Communities.Standard, bgp.Community(c))
		}
	case *packet.PathAttributeLargeCommunities:
		for _, c := range a.Values {
			attrs.Communities.Large = append(attrs.Communities.Large, bgp.LargeCommunity{Global: c.ASN, Local1: c.LocalData1, Local2: c.LocalData2})
		}
	default:
	}
}

// list gives the routes in the order of their prefixes.
func (a *adjRIBIn) list() []bgp.Advertised {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]bgp.Advertised, 0, len(a.routes))
	for _, route := range a.routes {
		out = append(out, route)
	}
	slices.SortFunc(out, func(a, b bgp.Advertised) int { return a.Prefix.Compare(b.Prefix) })
	return out
}

func (a *adjRIBIn) text() string { return routesText(a.list()) }

// routesText has one line for each route.
func routesText(list []bgp.Advertised) string {
	var lines []string
	for _, a := range list {
		lines = append(lines, fmt.Sprintf("%s via %s path %v %s", a.Prefix, a.NextHop, a.ASPath, a.Attributes.String()))
	}
	return strings.Join(lines, "\n")
}
