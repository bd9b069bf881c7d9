package engine

import (
	"net/netip"
	"strings"

	"fairlead.io/fairlead/bgp"
)

// termsFor says what the routes get on a session, and which families are not advertised on it, and why.
func (s *session) termsFor(cfg *bgp.Peer) (t terms, withheld string) {
	t = terms{
		localASN: cfg.LocalASN, internal: s.open.ASN == cfg.LocalASN, fourOctet: s.open.FourOctetASN,
		nextHop4: s.local, nextHop6: s.local, drain: cfg.GracefulShutdown,
	}
	var reasons []string
	for _, f := range []struct {
		name             string
		wanted, has, own bool // own: the session's transport is of the family
		own6             bool // an IPv6 next hop will do
		given            netip.Addr
		hop              *netip.Addr
		how              string
	}{
		{"IPv4", cfg.IPv4, s.open.IPv4, s.local.Is4(), s.open.ExtendedNextHop, cfg.NextHop4, &t.nextHop4, "the router has not agreed to IPv6 next hops (RFC 8950), and this node has no IPv4 address for one"},
		{"IPv6", cfg.IPv6, s.open.IPv6, s.local.Is6(), false, cfg.NextHop6, &t.nextHop6, "this node has no IPv6 address for a next hop, and the session runs over IPv4"},
	} {
		switch {
		case !f.wanted:
			*f.hop = netip.Addr{}
		case !f.has:
			*f.hop = netip.Addr{}
			reasons = append(reasons, f.name+" routes are not advertised: the router has not agreed to the family")
		case f.own:
		case f.given.IsValid():
			*f.hop = f.given
		case f.own6:
		default:
			*f.hop = netip.Addr{}
			reasons = append(reasons, f.name+" routes are not advertised: "+f.how)
		}
	}
	return t, strings.Join(reasons, "; ")
}

// agreed are the families that both ends have.
func (s *session) agreed() families {
	return familySet(s.cfg.IPv4 && s.open.IPv4, s.cfg.IPv6 && s.open.IPv6)
}
