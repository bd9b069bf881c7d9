// Package layer2 decides, from what is known of the cluster, which node answers for an address on the local network.
//
// It finds for each node if it may answer, and why not, and leaves the order among those that may to l2/election. It holds no
// client and no socket: the speaker acts on its decisions, and others may print them.
package layer2

import (
	"maps"
	"net/netip"
	"slices"

	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/view"
	"fairlead.io/fairlead/l2/election"
)

// Member is a live speaker.
type Member struct {
	Name                                         string
	Draining, Stopping, Settling, DataplaneReady bool
	Interfaces                                   []string
	// SettlingInterfaces are those of them that have come back a short while ago.
	SettlingInterfaces []string
}

// Equal reports whether two members are the same.
func (m *Member) Equal(o *Member) bool {
	return m.Name == o.Name && m.Draining == o.Draining && m.Stopping == o.Stopping && m.Settling == o.Settling &&
		m.DataplaneReady == o.DataplaneReady && slices.Equal(m.Interfaces, o.Interfaces) && slices.Equal(m.SettlingInterfaces, o.SettlingInterfaces)
}

// Cluster is what is known, beside the Services. After a change of its fields Prepare must be called.
type Cluster struct {
	Pools          *config.Pools
	Advertisements []*config.L2Advertisement
	Nodes          map[string]view.Node
	Members        []Member
	// IgnoreExcludeLabel: nodes with view.ExcludeLabel may answer.
	IgnoreExcludeLabel bool

	nodes []prepared
}

// prepared is a node and what each advertisement means for it, so that it need not be found out for each address.
type prepared struct {
	election.Node
	advs []forNode
}

type forNode struct {
	selected   bool
	all        bool // every interface
	interfaces []string
	settled    bool // one of them is
	weight     int
}

// Prepare works out what the advertisements mean for the nodes.
func (c *Cluster) Prepare() {
	members := make(map[string]*Member, len(c.Members))
	names := make(map[string]struct{}, len(c.Nodes))
	for i := range c.Members {
		members[c.Members[i].Name] = &c.Members[i]
		names[c.Members[i].Name] = struct{}{}
	}
	for name := range c.Nodes {
		names[name] = struct{}{}
	}
	c.nodes = make([]prepared, 0, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		p := prepared{Node: election.Node{Name: name}, advs: make([]forNode, len(c.Advertisements))}
		var interfaces, settling []string
		if m := members[name]; m != nil {
			p.Alive, p.Draining, p.Stopping, p.Settling, p.DataplaneReady = true, m.Draining, m.Stopping, m.Settling, m.DataplaneReady
			interfaces, settling = m.Interfaces, m.SettlingInterfaces
		}
		node, known := c.Nodes[name]
		switch {
		case !known:
			p.Ineligible = election.UnknownNode
		case node.Excluded() && !c.IgnoreExcludeLabel:
			p.Ineligible = election.Excluded
		case node.NetworkUnavailable:
			p.Ineligible = election.NetworkUnavailable
		}
		for i, adv := range c.Advertisements {
			f := &p.advs[i]
			if f.selected = adv.SelectsNode(node.Labels); f.selected {
				f.interfaces, f.all = adv.MatchInterfaces(interfaces)
				f.settled = slices.ContainsFunc(f.interfaces, func(name string) bool { return !slices.Contains(settling, name) })
				f.weight = adv.Weight(node.Labels)
			}
		}
		c.nodes = append(c.nodes, p)
	}
}

// Reason says why nobody answers for an address, whatever the nodes.
type Reason string

// Reasons why nobody answers.
const (
	// NoEndpoints: no Service of the address has a serving endpoint.
	NoEndpoints Reason = "NoEndpoints"
	// NoAdvertisement: no advertisement selects the address.
	NoAdvertisement Reason = "NoAdvertisement"
)

// Sentence says what the reason means, and what to do.
func (r Reason) Sentence() string {
	if r == NoEndpoints {
		return "no Service of the address has a serving endpoint; see that its pods are ready and its selector selects them"
	}
	return "no L2Advertisement selects the address; create one, or correct its pools and selectors"
}

// Decision is who answers for an address.
type Decision struct {
	election.Result
	// Reason why there was no election; empty: there was.
	Reason Reason
	// Interfaces of the owner that the address is announced on; nil: all usable ones.
	Interfaces []string
}

// Candidate reports whether a node could answer, now or after others are lost.
func (d *Decision) Candidate(node string) bool {
	return slices.ContainsFunc(d.Verdicts, func(v election.Verdict) bool { return v.Node == node && v.Rank > 0 })
}

// Decide elects the owner of an address that the given Services have. There are several when they share it; then
//
//   - those without a serving endpoint, or that no advertisement selects, are left out of the account;
//   - a node can answer when it can serve at least one of the others, and nodes that can serve more of them go first: the
//     one owner then serves all wherever a node can, and as many as possible where none can;
//   - the address is announced on the interfaces of every advertisement that selects one of them and the owner, and each such
//     advertisement gives its preference once.
func (c *Cluster) Decide(addr netip.Addr, services []*view.Service) Decision {
	serving := make([]*view.Service, 0, len(services))
	for _, s := range services {
		if s.Endpoints.Any(addr) {
			serving = append(serving, s)
		}
	}
	if len(serving) == 0 {
		return Decision{Reason: NoEndpoints}
	}
	// advertised[i] are the advertisements, by index, of serving[i].
	advertised := make([][]int, len(serving))
	found := false
	for i, s := range serving {
		name, set := c.Pools.Of(addr, s.Pool(addr))
		for a, adv := range c.Advertisements {
			if adv.SelectsPool(name, set) && adv.SelectsService(s.Labels) {
				advertised[i] = append(advertised[i], a)
				found = true
			}
		}
	}
	if !found {
		return Decision{Reason: NoAdvertisement}
	}
	nodes := make([]election.Node, len(c.nodes))
	for i := range c.nodes {
		nodes[i] = c.nodes[i].candidate(addr, serving, advertised)
	}
	d := Decision{Result: election.Elect(addr, nodes)}
	for i := range c.nodes {
		if c.nodes[i].Name == d.Owner {
			d.Interfaces = c.nodes[i].announceOn(advertised)
		}
	}
	return d
}

// candidate completes a node for one address.
func (p *prepared) candidate(addr netip.Addr, serving []*view.Service, advertised [][]int) election.Node {
	n := p.Node
	if !n.Alive || n.Ineligible != "" {
		return n
	}
	n.Ineligible = election.NotSelected
	better := func(r election.Reason) { // the reason that is nearest to being a candidate
		if n.Ineligible != election.NoLocalEndpoint {
			n.Ineligible = r
		}
	}
	for i, s := range serving {
		selected, connected := false, false
		for _, a := range advertised[i] {
			f := &p.advs[a]
			selected = selected || f.selected
			connected = connected || (f.selected && len(f.interfaces) > 0)
		}
		switch {
		case !selected:
		case !connected:
			better(election.NoInterface)
		case s.Local && !s.Endpoints.On(addr, n.Name):
			n.Ineligible = election.NoLocalEndpoint
		default:
			n.Serves++
		}
	}
	if n.Serves > 0 {
		n.Ineligible = ""
		settled := false
		for a := range distinct(advertised) {
			if p.advs[a].selected {
				n.Weight += p.advs[a].weight
				settled = settled || p.advs[a].settled
			}
		}
		n.Settling = n.Settling || !settled
	}
	return n
}

// announceOn unites the interfaces of the advertisements that select the node; nil: all.
func (p *prepared) announceOn(advertised [][]int) []string {
	names := []string{}
	for a := range distinct(advertised) {
		switch f := &p.advs[a]; {
		case f.selected && f.all:
			return nil
		case f.selected:
			names = append(names, f.interfaces...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// distinct yields each advertisement once.
func distinct(advertised [][]int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i, list := range advertised {
			for _, a := range list {
				if !slices.ContainsFunc(advertised[:i], func(before []int) bool { return slices.Contains(before, a) }) && !yield(a) {
					return
				}
			}
		}
	}
}

// Why says why a node is not the owner: the reason why there was no election, or the node's own.
func (d *Decision) Why(node string) string {
	if d.Reason != "" {
		return string(d.Reason)
	}
	for _, v := range d.Verdicts {
		if v.Node == node {
			return string(v.Reason)
		}
	}
	return string(election.UnknownNode)
}
