// Package bgproutes decides, from what is known of the cluster, which routes a node advertises by BGP to which peers, and for each
// address and peer why, or why not. What comes of the wishes of all Services together is bgp.Table's to say.
//
// It holds no client and no session: the speaker acts on its decisions, and others print them.
package bgproutes

import (
	"net/netip"
	"slices"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/view"
)

// Member is a live speaker.
type Member struct {
	Name string
	// Draining: its node is cordoned. Stopping: the speaker is shutting down.
	Draining, Stopping bool
	// DataplaneReady: the node's service proxy is healthy, or there is none to ask.
	DataplaneReady bool
}

// Cluster is what is known, beside the Services. After a change of its fields Prepare must be called, and what was asked before then
// be asked anew. It is not safe for concurrent use.
type Cluster struct {
	Pools *config.Pools
	BGP   *config.BGP
	Nodes map[string]view.Node
	// Members are the live speakers, in any order.
	Members []Member
	// IgnoreExcludeLabel: nodes with view.ExcludeLabel advertise.
	IgnoreExcludeLabel bool

	nodes        map[string]*prepared
	paths        map[string]*Paths
	rivals       *rivals
	made, before map[offer]*bgp.Advertisement
}

// prepared is a node and what the objects mean for it, so that it need not be found out for each address.
type prepared struct {
	name string
	node view.Node
	// state of its speaker.
	cordoned, stopping, ready bool
	// why the node advertises nothing; empty: it may.
	why  Reason
	on   config.OnNode
	advs []forNode // as BGP.Advertisements
}

type forNode struct {
	selected bool
	v4, v6   []*bgp.Advertisement // to external and to internal peers, if there are any
}

func (f *forNode) of(addr netip.Addr) []*bgp.Advertisement {
	if addr.Is4() {
		return f.v4
	}
	return f.v6
}

// offer is what a bgp.Advertisement is made of.
type offer struct {
	node, name   string
	v4, internal bool
}

// Prepare takes over changes of the fields.
func (c *Cluster) Prepare() {
	c.before, c.made = c.made, map[offer]*bgp.Advertisement{}
	c.nodes, c.paths, c.rivals = map[string]*prepared{}, map[string]*Paths{}, nil
}

// on gives what the objects mean for a node.
func (c *Cluster) on(name string) *prepared {
	if p := c.nodes[name]; p != nil {
		return p
	}
	node, known := c.Nodes[name]
	p := &prepared{name: name, node: node, on: c.BGP.On(node.Labels), advs: make([]forNode, len(c.BGP.Advertisements))}
	c.nodes[name] = p
	i := slices.IndexFunc(c.Members, func(m Member) bool { return m.Name == name })
	switch {
	case i < 0:
		p.why = NotAlive
	case !known:
		p.why = UnknownNode
	case node.Excluded() && !c.IgnoreExcludeLabel:
		p.why = Excluded
	case node.NetworkUnavailable:
		p.why = NetworkUnavailable
	}
	if i >= 0 {
		p.ready, p.cordoned, p.stopping = c.Members[i].DataplaneReady, c.Members[i].Draining, c.Members[i].Stopping
	}
	for i, adv := range c.BGP.Advertisements {
		f := &p.advs[i]
		if f.selected = adv.SelectsNode(node.Labels); f.selected {
			f.v4, f.v6 = c.offers(p, adv, true), c.offers(p, adv, false)
		}
	}
	return p
}

// offers are what an advertisement comes to on a node for one family.
func (c *Cluster) offers(p *prepared, adv *config.BGPAdvertisement, v4 bool) (out []*bgp.Advertisement) {
	for _, internal := range []bool{false, true} {
		if o := c.offer(p, adv, v4, internal); o != nil {
			out = append(out, o)
		}
	}
	return out
}

// offer is what it comes to for the peers of one type; nil: it goes to none. While it stays the same it is one pointer.
func (c *Cluster) offer(p *prepared, adv *config.BGPAdvertisement, v4, internal bool) *bgp.Advertisement {
	var peers []string
	for _, peer := range p.on.Peers {
		if peer.Internal() == internal && adv.Names(peer.Name) && p.carries(peer, v4) == "" {
			peers = append(peers, peer.Name)
		}
	}
	if len(peers) == 0 {
		return nil
	}
	slices.Sort(peers)
	key := offer{p.name, adv.Name, v4, internal}
	out := &bgp.Advertisement{Name: adv.Name, Created: adv.Created, Peers: peers, Attributes: adv.Attributes.For(internal)}
	if b := c.before[key]; b != nil && b.Created.Equal(out.Created) && slices.Equal(b.Peers, peers) && b.Attributes.Equal(&out.Attributes) {
		out = b
	}
	c.made[key] = out
	return out
}

// carries says why routes of a family cannot go to a peer of the node; empty: they can.
func (p *prepared) carries(peer *config.BGPPeer, v4 bool) Reason {
	switch {
	case v4 && !peer.IPv4, !v4 && !peer.IPv6:
		return FamilyNotNegotiated
	case !v4 && peer.Address.Is4() && !p.first(false).IsValid():
		return NoNextHop
	}
	return ""
}

// first address of a family that the node has; invalid: none.
func (p *prepared) first(v4 bool) netip.Addr {
	for _, addr := range p.node.Addresses {
		if addr.Is4() == v4 {
			return addr
		}
	}
	return netip.Addr{}
}

// Wants are the routes that a node is to advertise for a Service. Whether other Services have the same addresses does not matter: an
// address is advertised while one of them wants it.
func (c *Cluster) Wants(node string, s *view.Service) []bgp.Want {
	p := c.on(node)
	var wants []bgp.Want
	for _, addr := range s.Addresses {
		f := c.find(p, s, addr)
		if f.why != "" {
			continue
		}
		for _, i := range f.advs {
			for _, adv := range p.advs[i].of(addr) {
				wants = append(wants, bgp.Want{Prefix: c.BGP.Advertisements[i].Prefix(addr), By: adv})
			}
		}
	}
	return wants
}

// found is what there is to say of an address on a node before the peers are looked at.
type found struct {
	advs []int // the advertisements that select address and node, by index
	why  Reason
	// gateIgnored: the node's data plane is not ready, and no other's is where the address could be advertised from.
	gateIgnored bool
}

func (c *Cluster) find(p *prepared, s *view.Service, addr netip.Addr) found {
	advs, why := c.selected(s, addr)
	switch {
	case why != "":
		return found{why: why}
	case p.why != "":
		return found{why: p.why}
	case s.Local && !s.Endpoints.On(addr, p.name):
		return found{why: NoLocalEndpoint}
	}
	var f found
	for _, i := range advs {
		if p.advs[i].selected {
			f.advs = append(f.advs, i)
		}
	}
	switch {
	case len(f.advs) == 0:
		f.why = NodeNotSelected
	case !p.ready && c.readyElsewhere(p, s, addr, advs):
		f.why = DataplaneNotReady
	default:
		f.gateIgnored = !p.ready
	}
	return f
}

// selected are the advertisements that select an address of a Service, by index; with none, why the address is advertised nowhere.
func (c *Cluster) selected(s *view.Service, addr netip.Addr) ([]int, Reason) {
	if !s.Endpoints.Any(addr) {
		return nil, NoEndpoints
	}
	var advs []int
	name, set := c.Pools.Of(addr, s.Pool(addr))
	for i, adv := range c.BGP.Advertisements {
		if adv.SelectsPool(name, set) && adv.SelectsService(s.Labels) {
			advs = append(advs, i)
		}
	}
	if len(advs) == 0 {
		return nil, NoAdvertisement
	}
	return advs, ""
}

// readyElsewhere reports whether another node, with a ready data plane, advertises the address.
func (c *Cluster) readyElsewhere(p *prepared, s *view.Service, addr netip.Addr, advs []int) bool {
	return slices.ContainsFunc(c.Members, func(m Member) bool {
		return m.Name != p.name && m.DataplaneReady && c.on(m.Name).could(s, addr, advs)
	})
}

// could reports whether a node advertises an address that these advertisements select, whatever the state of its data plane.
func (p *prepared) could(s *view.Service, addr netip.Addr, advs []int) bool {
	return p.why == "" && (!s.Local || s.Endpoints.On(addr, p.name)) &&
		slices.ContainsFunc(advs, func(i int) bool { return len(p.advs[i].of(addr)) > 0 })
}
