package bgproutes

import (
	"encoding/binary"
	"maps"
	"slices"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/internal/view"
)

// rivals are the advertisements that want different attributes and meet on some node for some peer, by index. Instead of the peers they
// have each set of advertisements that meet somewhere, which are few however many nodes there are.
type rivals struct{ v4, v6 map[int][]*bgp.Advertisement }

// Rivals are what a bgp.Table needs to find the conflicts of advertisements over the routes of a Service, on all nodes at once and
// whatever its endpoints. Its conflicts are true but for the peers, which stand for several. Mostly there are none, and it costs nothing.
func (c *Cluster) Rivals(s *view.Service) []bgp.Want {
	if c.rivals == nil {
		c.rivals = &rivals{c.meetings(true), c.meetings(false)}
	}
	var wants []bgp.Want
	for _, addr := range s.Addresses {
		meet := c.rivals.v6
		if addr.Is4() {
			meet = c.rivals.v4
		}
		if len(meet) == 0 {
			continue
		}
		name, set := c.Pools.Of(addr, s.Pool(addr))
		for i, adv := range c.BGP.Advertisements {
			if len(meet[i]) == 0 || !adv.SelectsPool(name, set) || !adv.SelectsService(s.Labels) {
				continue
			}
			for _, by := range meet[i] {
				wants = append(wants, bgp.Want{Prefix: adv.Prefix(addr), By: by})
			}
		}
	}
	return wants
}

// meetings finds which advertisements meet that contradict each other.
func (c *Cluster) meetings(v4 bool) map[int][]*bgp.Advertisement {
	out := map[int][]*bgp.Advertisement{}
	for _, internal := range []bool{false, true} {
		for i, adv := range c.meetingsAt(v4, internal) {
			out[i] = append(out[i], adv)
		}
	}
	return out
}

// meetingsAt finds them for peers of one type.
func (c *Cluster) meetingsAt(v4, internal bool) map[int]*bgp.Advertisement {
	advs := c.BGP.Advertisements
	attributes := make([]bgp.Attributes, len(advs))
	contradicts := make([]bool, len(advs)) // some other one
	for i := range advs {
		attributes[i] = advs[i].Attributes.For(internal)
		for j := range i {
			if bgp.Contradict(&attributes[i], &attributes[j]) {
				contradicts[i], contradicts[j] = true, true
			}
		}
	}
	var list []int
	for i := range advs {
		if contradicts[i] {
			list = append(list, i)
		}
	}
	if len(list) == 0 {
		return nil
	}
	sets := map[string][]int{}
	for name := range c.Nodes {
		c.on(name) // makes its offers
		byPeer := map[string][]int{}
		for _, i := range list {
			if adv := c.made[offer{name, advs[i].Name, v4, internal}]; adv != nil {
				for _, peer := range adv.Peers {
					byPeer[peer] = append(byPeer[peer], i)
				}
			}
		}
		for _, set := range byPeer {
			var key []byte
			for _, i := range set {
				key = binary.AppendUvarint(key, uint64(i))
			}
			sets[string(key)] = set
		}
	}
	out := map[int]*bgp.Advertisement{}
	for _, key := range slices.Sorted(maps.Keys(sets)) {
		if len(sets[key]) < 2 {
			continue
		}
		for _, i := range sets[key] {
			if out[i] == nil {
				out[i] = &bgp.Advertisement{Name: advs[i].Name, Created: advs[i].Created, Attributes: attributes[i]}
			}
			out[i].Peers = append(out[i].Peers, key)
		}
	}
	return out
}
