// Package election decides which node answers for an address, which one would be next, and why no other does.
//
// It is one pure function over plain values, so that the speaker, `kubectl-fairlead explain` and a dry run give the same
// answer. It never looks at a cluster, a socket or a clock.
package election

import (
	"cmp"
	"net/netip"
	"slices"
)

// Reason says why a node is, or is not, the one that answers.
type Reason string

// Reasons of candidates.
const (
	// Owner: the node answers.
	Owner Reason = "Owner"
	// Standby: the node answers when the owner is lost.
	Standby Reason = "Standby"
	// ServesFewer: a node before it can serve more of the Services that share the address.
	ServesFewer Reason = "ServesFewer"
	// LowerPreference: a node before it has a greater preference weight.
	LowerPreference Reason = "LowerPreference"
	// Draining: the node is cordoned, and nodes that are not go first.
	Draining Reason = "Draining"
	// LowerScore: all else being equal, the rendezvous hash puts other nodes first.
	LowerScore Reason = "LowerScore"
	// DataplaneNotReady: the node's service proxy is not healthy, and nodes whose proxy is go first.
	DataplaneNotReady Reason = "DataplaneNotReady"
	// Stopping: the node's speaker is shutting down, and nodes that stay go first.
	Stopping Reason = "Stopping"
	// Settling: the node, or its interface, has come back a short while ago, and nodes that have been well for longer go first.
	Settling Reason = "Settling"
)

// Reasons of nodes that are no candidates. All but NotAlive are found by the caller, who knows the cluster.
const (
	// NotAlive: no speaker of the node is a member of the gossip.
	NotAlive Reason = "NotAlive"
	// UnknownNode: there is a speaker, but no Node object of its name.
	UnknownNode Reason = "UnknownNode"
	// Excluded: the node is labelled node.kubernetes.io/exclude-from-external-load-balancers.
	Excluded Reason = "Excluded"
	// NetworkUnavailable: the node's condition NetworkUnavailable is True.
	NetworkUnavailable Reason = "NetworkUnavailable"
	// NotSelected: the node selectors of no advertisement of the address match the node.
	NotSelected Reason = "NotSelected"
	// NoInterface: the node has no usable interface that an advertisement of the address names.
	NoInterface Reason = "NoInterface"
	// NoLocalEndpoint: externalTrafficPolicy is Local and the node has no serving endpoint.
	NoLocalEndpoint Reason = "NoLocalEndpoint"
)

// Gate is a rule that puts nodes behind all others and that is ignored when it leaves no candidate.
type Gate string

// The gates.
const (
	// GateDataplane wants a healthy service proxy.
	GateDataplane Gate = "Dataplane"
	// GateStopping wants a speaker that is not shutting down.
	GateStopping Gate = "Stopping"
)

// Node is what is known of one node with regard to one address.
type Node struct {
	Name string
	// Alive: the node's speaker is a member of the gossip.
	Alive bool
	// Ineligible says why the node is no candidate; empty: it is one.
	Ineligible Reason
	// Serves is how many of the Services that share the address this node can serve.
	Serves int
	// Weight is the sum of the preference weights that select the node.
	Weight int
	// Draining: the node is cordoned.
	Draining bool
	// Stopping: the node's speaker is shutting down.
	Stopping bool
	// Settling: the node, or all its interfaces that count, have come back a short while ago.
	Settling bool
	// DataplaneReady: the node's service proxy is healthy, or there is none to ask.
	DataplaneReady bool
}

// Verdict is the outcome for one node.
type Verdict struct {
	Node string
	// Rank is 1 for the owner, 2 for the standby and so on; 0: not a candidate.
	Rank   int
	Reason Reason
}

// Result is who answers for an address.
type Result struct {
	// Owner answers; empty: nobody can.
	Owner string
	// Standby is next; empty: there is only one candidate.
	Standby string
	// Verdicts has every node: candidates in their order, then the others by name.
	Verdicts []Verdict
	// Ignored are the gates that even the owner does not pass, because no candidate does.
	Ignored []Gate
}

// Elect orders the candidates for an address. The first is the owner. Nodes pass before those that do not, in this order of
// importance:
//
//  1. a ready data plane;
//  2. a speaker that is not shutting down;
//  3. not settling;
//  4. more of the address's Services served (differs only for a shared address);
//  5. a greater preference weight;
//  6. not draining;
//  7. a greater rendezvous hash of (node, address), see Score; by name where even these are equal.
//
// As these only order, they never leave an address without an owner while there is a candidate.
func Elect(addr netip.Addr, nodes []Node) Result {
	type candidate struct {
		*Node
		score uint64
	}
	candidates := make([]candidate, 0, len(nodes))
	result := Result{Verdicts: make([]Verdict, 0, len(nodes))}
	for i := range nodes {
		if n := &nodes[i]; n.Alive && n.Ineligible == "" {
			candidates = append(candidates, candidate{n, Score(n.Name, addr)})
		}
	}
	slices.SortFunc(candidates, func(a, b candidate) int {
		switch { // spelled out rather than cmp.Or: this runs for every address when a node is lost
		case a.DataplaneReady != b.DataplaneReady:
			return first(a.DataplaneReady)
		case a.Stopping != b.Stopping:
			return first(b.Stopping)
		case a.Settling != b.Settling:
			return first(b.Settling)
		case a.Serves != b.Serves:
			return first(a.Serves > b.Serves)
		case a.Weight != b.Weight:
			return first(a.Weight > b.Weight)
		case a.Draining != b.Draining:
			return first(b.Draining)
		case a.score != b.score:
			return first(a.score > b.score)
		}
		return cmp.Compare(a.Name, b.Name)
	})
	for i, c := range candidates {
		v := Verdict{Node: c.Name, Rank: i + 1}
		switch i {
		case 0:
			v.Reason, result.Owner = Owner, c.Name
			if !c.DataplaneReady {
				result.Ignored = append(result.Ignored, GateDataplane)
			}
			if c.Stopping {
				result.Ignored = append(result.Ignored, GateStopping)
			}
		case 1:
			v.Reason, result.Standby = Standby, c.Name
		default:
			v.Reason = behind(candidates[0].Node, c.Node)
		}
		result.Verdicts = append(result.Verdicts, v)
	}
	ranked := len(result.Verdicts)
	for i := range nodes {
		switch n := &nodes[i]; {
		case !n.Alive:
			result.Verdicts = append(result.Verdicts, Verdict{Node: n.Name, Reason: NotAlive})
		case n.Ineligible != "":
			result.Verdicts = append(result.Verdicts, Verdict{Node: n.Name, Reason: n.Ineligible})
		}
	}
	slices.SortFunc(result.Verdicts[ranked:], func(a, b Verdict) int { return cmp.Compare(a.Node, b.Node) })
	return result
}

// first is the comparison's result when a comes first, or not.
func first(a bool) int {
	if a {
		return -1
	}
	return 1
}

// behind is the first rule by which n comes after the owner.
func behind(owner, n *Node) Reason {
	switch {
	case owner.DataplaneReady && !n.DataplaneReady:
		return DataplaneNotReady
	case !owner.Stopping && n.Stopping:
		return Stopping
	case !owner.Settling && n.Settling:
		return Settling
	case owner.Serves > n.Serves:
		return ServesFewer
	case owner.Weight > n.Weight:
		return LowerPreference
	case !owner.Draining && n.Draining:
		return Draining
	}
	return LowerScore
}
