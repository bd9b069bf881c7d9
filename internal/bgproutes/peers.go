package bgproutes

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/internal/config"
)

// Peers that a node keeps sessions with, in the order of their names. Where the node is cordoned or its speaker is stopping, or a peer
// is in maintenance, they are drained: routes stay, and are marked for graceful shutdown. For a speaker that stops on a node that is not
// cordoned, peers with graceful restart are not: it comes back, and they go on forwarding to the node meanwhile.
func (c *Cluster) Peers(node string) []bgp.Peer {
	p := c.on(node)
	peers := make([]bgp.Peer, 0, len(p.on.Peers))
	for _, x := range p.on.Peers {
		peer := x.Peer
		peer.GracefulShutdown = p.drains(x) != ""
		switch {
		case peer.Interface != "": // IPv4 routes have the link-local next hop: another may not be on the link
		case peer.Address.Is4():
			peer.NextHop6 = p.first(false)
		default:
			peer.NextHop4 = p.first(true)
		}
		peers = append(peers, peer)
	}
	slices.SortFunc(peers, func(a, b bgp.Peer) int { return strings.Compare(a.Name, b.Name) })
	return peers
}

// Keepers are the nodes with a live speaker that keep a session with a peer, in order; and those that the peer selects as well, but where
// an older one contradicts it, with the reason on the first of them.
func (c *Cluster) Keepers(peer string) (nodes, denied []string, why *config.Error) {
	for _, m := range c.Members {
		on := &c.on(m.Name).on
		if slices.ContainsFunc(on.Peers, func(p *config.BGPPeer) bool { return p.Name == peer }) {
			nodes = append(nodes, m.Name)
		} else if on.Refused[peer] != nil {
			denied = append(denied, m.Name)
		}
	}
	slices.Sort(nodes)
	slices.Sort(denied)
	if len(denied) > 0 {
		why = c.on(denied[0]).on.Refused[peer]
	}
	return nodes, denied, why
}

// drains says why a peer is drained; empty: it is not.
func (p *prepared) drains(peer *config.BGPPeer) string {
	switch {
	case p.cordoned:
		return "the node is cordoned"
	case p.stopping && peer.RestartTime == 0:
		return "the node's speaker is shutting down"
	case peer.Maintenance:
		return "the peer is in maintenance"
	}
	return ""
}

// BFD gives the profiles of those of a node's peers that a BFD session is to be kept with, by name.
func (c *Cluster) BFD(node string) map[string]*config.BFDProfile {
	profiles := map[string]*config.BFDProfile{}
	for _, x := range c.on(node).on.Peers {
		if x.BFD != nil {
			profiles[x.Name] = x.BFD
		}
	}
	return profiles
}

// RouterID is the BGP identifier of a node: what its peers ask for, else its IPv4 address, else a number made from its name, which need
// not be an address (RFC 6286) and is no better than one that is in use. It is always valid.
func (c *Cluster) RouterID(node string) (id netip.Addr, made bool) {
	p := c.on(node)
	if p.on.RouterID.IsValid() {
		return p.on.RouterID, false
	}
	if addr := p.first(true); addr.IsValid() {
		return addr, false
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(node)) // it never fails
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], max(h.Sum32(), 1))
	return netip.AddrFrom4(b), true
}
