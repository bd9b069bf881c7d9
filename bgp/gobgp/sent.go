package gobgp

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"

	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

// sent is what a router has been sent and not been told to forget (Adj-RIB-Out). It is read from the UPDATE messages themselves:
// the engine keeps none, and would work out what it believes to have sent.
type sent struct {
	mu     *sync.Mutex // guards routes
	routes map[netip.Prefix]*bgp.Advertised
}

func newSent() sent { return sent{&sync.Mutex{}, map[netip.Prefix]*bgp.Advertised{}} }

func (s *sent) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.routes)
}

// list gives the routes in the order of their prefixes.
func (s *sent) list() []bgp.Advertised {
	s.mu.Lock()
	out := make([]bgp.Advertised, 0, len(s.routes))
	for prefix, a := range s.routes {
		route := *a
		route.Prefix = prefix
		out = append(out, route)
	}
	s.mu.Unlock()
	slices.SortFunc(out, func(a, b bgp.Advertised) int { return a.Prefix.Compare(b.Prefix) })
	return out
}

// record notes an UPDATE, and gives the family that it is the End-of-RIB of; 0: it is none.
func (s *sent) record(m wire.Message, fourOctet bool) (end packet.Family, err error) {
	u := &packet.BGPUpdate{}
	if err := u.DecodeFromBytes(m.Body(), &packet.MarshallingOption{Use2ByteAS: !fourOctet}); err != nil {
		return 0, err
	}
	if is, end := u.IsEndOfRib(); is {
		return end, nil
	}
	withdrawn, announced := u.WithdrawnRoutes, u.NLRI
	route := &bgp.Advertised{} // for all that are announced
	for _, a := range u.PathAttributes {
		switch a := a.(type) {
		case *packet.PathAttributeMpUnreachNLRI:
			withdrawn = append(withdrawn, a.Value...)
		case *packet.PathAttributeMpReachNLRI:
			announced, route.NextHop = append(announced, a.Value...), a.Nexthop
		default:
			describe(route, a)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range withdrawn {
		prefix, err := prefixOf(n)
		if err != nil {
			return 0, err
		}
		delete(s.routes, prefix)
	}
	for _, n := range announced {
		prefix, err := prefixOf(n)
		if err != nil {
			return 0, err
		}
		s.routes[prefix] = route
	}
	return 0, nil
}

func prefixOf(n packet.PathNLRI) (netip.Prefix, error) {
	p, ok := n.NLRI.(*packet.IPAddrPrefix)
	if !ok {
		return netip.Prefix{}, fmt.Errorf("%s is no prefix", n.NLRI)
	}
	return p.Prefix, nil
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
