package bgproutes

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"fairlead.io/fairlead/internal/view"
)

// Path is a session that an address is advertised by.
type Path struct{ Node, Peer string }

// Paths are all sessions that an address is to be advertised by, as long as nodes have a ready data plane. Addresses that have the same
// paths mostly have one pointer to them, until the next Prepare.
type Paths struct {
	List []Path
	// Peers that they go to, each once, in order.
	Peers []string
}

// Paths of an address of a Service; where there are none the reason says why, if it is the same for all nodes.
func (c *Cluster) Paths(s *view.Service, addr netip.Addr) (*Paths, Reason) {
	advs, why := c.selected(s, addr)
	if why != "" {
		return &Paths{}, why
	}
	key := []byte{0}
	if addr.Is4() {
		key[0] = 1
	}
	for _, i := range advs {
		key = binary.AppendUvarint(key, uint64(i))
	}
	var nodes []string // that have an endpoint, if that matters
	if s.Local {
		if on, everywhere := s.Endpoints.Nodes(addr); !everywhere {
			nodes = slices.Sorted(on)
			for _, name := range nodes {
				key = append(append(key, ' '), name...)
			}
			key = append(key, ' ')
		}
	}
	if p := c.paths[string(key)]; p != nil {
		return p, ""
	}
	p := &Paths{}
	for _, m := range c.Members {
		on := c.on(m.Name)
		if !on.could(s, addr, advs) {
			continue
		}
		var peers []string
		for _, i := range advs {
			for _, adv := range on.advs[i].of(addr) {
				peers = append(peers, adv.Peers...)
			}
		}
		slices.Sort(peers)
		for _, peer := range slices.Compact(peers) {
			p.List = append(p.List, Path{m.Name, peer})
			p.Peers = append(p.Peers, peer)
		}
	}
	slices.Sort(p.Peers)
	p.Peers = slices.Compact(p.Peers)
	c.paths[string(key)] = p
	return p, ""
}
