package bgproutes

import (
	"net/netip"
	"slices"

	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/view"
)

// Reason says why an address is, or is not, advertised by a node to a peer.
type Reason string

// Advertised means that the node advertises the address to the peer, as long as there is a session.
const Advertised Reason = "Advertised"

// Reasons that keep an address from being advertised at all.
const (
	// NoEndpoints: the Service has no serving endpoint of the address's family.
	NoEndpoints Reason = "NoEndpoints"
	// NoAdvertisement: no advertisement selects the address.
	NoAdvertisement Reason = "NoAdvertisement"
)

// Reasons that lie with the node.
const (
	// NotAlive: there is no live speaker.
	NotAlive Reason = "NotAlive"
	// UnknownNode: there is a speaker, but no Node object of its name.
	UnknownNode Reason = "UnknownNode"
	// Excluded: the node is labelled node.kubernetes.io/exclude-from-external-load-balancers.
	Excluded Reason = "Excluded"
	// NetworkUnavailable: the node's condition NetworkUnavailable is True.
	NetworkUnavailable Reason = "NetworkUnavailable"
	// NoLocalEndpoint: externalTrafficPolicy is Local and the node has no serving endpoint.
	NoLocalEndpoint Reason = "NoLocalEndpoint"
	// NodeNotSelected: no advertisement of the address selects the node.
	NodeNotSelected Reason = "NodeNotSelected"
	// DataplaneNotReady: the node's service proxy is not healthy, and that of another node that advertises the address is.
	DataplaneNotReady Reason = "DataplaneNotReady"
)

// Reasons that lie with the peer.
const (
	// PeerRefused: the peer is refused, everywhere or on the node.
	PeerRefused Reason = "PeerRefused"
	// PeerNotNamed: no advertisement of the address that selects the node names the peer.
	PeerNotNamed Reason = "PeerNotNamed"
	// PeerNotOnNode: the peer does not select the node.
	PeerNotOnNode Reason = "PeerNotOnNode"
	// FamilyNotNegotiated: the peer does not have the address's family.
	FamilyNotNegotiated Reason = "FamilyNotNegotiated"
	// NoNextHop: the session runs over IPv4, and the node has no IPv6 address to be the next hop.
	NoNextHop Reason = "NoNextHop"
)

var sentences = map[Reason]string{
	Advertised:          "is advertised",
	NoEndpoints:         "the Service has no serving endpoint of the address's family; see that its pods are ready and its selector selects them",
	NoAdvertisement:     "no accepted BGPAdvertisement selects the address; create one, or correct its pools and selectors",
	NotAlive:            "the node has no live speaker",
	UnknownNode:         "the node has a speaker and no Node object",
	Excluded:            "the node is labelled " + view.ExcludeLabel,
	NetworkUnavailable:  "the node has the condition NetworkUnavailable",
	NoLocalEndpoint:     "the node has no serving endpoint, and externalTrafficPolicy is Local",
	NodeNotSelected:     "no BGPAdvertisement of the address selects the node (spec.nodeSelectors)",
	DataplaneNotReady:   "the node's service proxy is not healthy, and that of another node is",
	PeerRefused:         "the BGPPeer is refused",
	PeerNotNamed:        "no BGPAdvertisement of the address that selects the node names the peer (spec.peers)",
	PeerNotOnNode:       "the BGPPeer does not select the node (spec.nodeSelectors)",
	FamilyNotNegotiated: "the BGPPeer does not have the address's family (spec.addressFamilies)",
	NoNextHop:           "the session runs over IPv4, and the node has no internal IPv6 address to be the next hop",
}

// Sentence says what the reason means.
func (r Reason) Sentence() string { return sentences[r] }

// Verdict is the outcome for an address, a node and a peer.
type Verdict struct {
	Addr   netip.Addr
	Peer   string
	Reason Reason
	// Refused says why the peer is refused.
	Refused string
	// GateIgnored: it is advertised though the node's service proxy is not healthy, because no other node's is that could advertise it.
	GateIgnored bool
	// Drained says why the route is marked for graceful shutdown; empty: it is not.
	Drained string
}

// Sentence says what the verdict means.
func (v *Verdict) Sentence() string {
	s := v.Reason.Sentence()
	if v.Refused != "" {
		s += ": " + v.Refused
	}
	if v.GateIgnored {
		s += ", though the node's service proxy is not healthy, as nobody's is"
	}
	if v.Drained != "" {
		s += ", and marked for graceful shutdown, as " + v.Drained
	}
	return s
}

// Lies reports where the reason lies: with the Service, so that it is the same for all nodes, or with the node, so that it is the same for
// all peers that are not refused.
func (r Reason) Lies() (withService, withNode bool) {
	switch r {
	case NoEndpoints, NoAdvertisement:
		return true, false
	case NotAlive, UnknownNode, Excluded, NetworkUnavailable, NoLocalEndpoint, NodeNotSelected, DataplaneNotReady:
		return false, true
	default:
		return false, false
	}
}

// Explain says for each address of a Service, and each peer there is in the order of their names, if a node advertises it and why. It
// goes by the same steps as Wants.
func (c *Cluster) Explain(node string, s *view.Service) []Verdict {
	p := c.on(node)
	verdicts := make([]Verdict, 0, len(s.Addresses)*len(c.BGP.PeerNames))
	for _, addr := range s.Addresses {
		f := c.find(p, s, addr)
		for _, name := range c.BGP.PeerNames {
			v := Verdict{Addr: addr, Peer: name}
			c.judge(p, &f, &v)
			verdicts = append(verdicts, v)
		}
	}
	return verdicts
}

func (c *Cluster) judge(p *prepared, f *found, v *Verdict) {
	if withService, _ := f.why.Lies(); withService {
		v.Reason = f.why
		return
	}
	if err := c.BGP.Refused(config.KindBGPPeer, v.Peer); err != nil {
		v.Reason, v.Refused = PeerRefused, err.Error()
		return
	}
	if v.Reason = f.why; v.Reason != "" {
		return
	}
	if !slices.ContainsFunc(f.advs, func(i int) bool { return c.BGP.Advertisements[i].Names(v.Peer) }) {
		v.Reason = PeerNotNamed
		return
	}
	if err := p.on.Refused[v.Peer]; err != nil {
		v.Reason, v.Refused = PeerRefused, err.Error()
		return
	}
	i := slices.IndexFunc(p.on.Peers, func(peer *config.BGPPeer) bool { return peer.Name == v.Peer })
	if i < 0 {
		v.Reason = PeerNotOnNode
		return
	}
	if v.Reason = p.carries(p.on.Peers[i], v.Addr.Is4()); v.Reason == "" {
		v.Reason, v.GateIgnored, v.Drained = Advertised, f.gateIgnored, p.drains(p.on.Peers[i])
	}
}
