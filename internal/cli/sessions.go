package cli

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/service"
	"fairlead.io/fairlead/ipam"
)

// peers is a table of them; nothing where there is none.
func (p *printer) peers(list []v1beta1.BGPPeer) {
	if len(list) == 0 {
		return
	}
	p.row("BGP PEER", "ADDRESS", "ASN", "ACCEPTED", "ESTABLISHED", "MAINTENANCE")
	for i := range list {
		peer := &list[i]
		asn := "-"
		switch {
		case peer.Spec.PeerASN != nil:
			asn = fmt.Sprint(*peer.Spec.PeerASN)
		case peer.Spec.DynamicASN != nil:
			asn = string(*peer.Spec.DynamicASN)
		}
		maintenance := "no"
		if peer.Spec.Maintenance {
			maintenance = "yes"
		}
		p.row(peer.Name, dash(cmp.Or(peer.Spec.PeerAddress, peer.Spec.Interface)), asn, conditionCell(peer.Status.Conditions, v1beta1.ConditionAccepted),
			fmt.Sprintf("%d/%d nodes", peer.Status.Established, peer.Status.Wanted), maintenance)
	}
	p.end()
}

// sessions is a table of all that speakers tell of; nothing where there is none.
func (p *printer) sessions(speakers []v1beta1.Speaker) {
	header := false
	for i := range speakers {
		for _, x := range speakers[i].Status.BGP {
			if !header {
				p.row("NODE", "BGP PEER", "SESSION", "SINCE", "ROUTES", "BFD", "LAST ERROR")
				header = true
			}
			since := "-"
			if !x.Since.IsZero() {
				since = x.Since.UTC().Format(time.RFC3339)
			}
			p.row(speakers[i].Name, x.Peer, x.State, since, fmt.Sprint(x.RoutesAdvertised), dash(x.BFDState), dash(x.LastError))
		}
	}
	if header {
		p.end()
	}
}

// routedTo are the peers that a Service's addresses are advertised to by BGP, over sessions that speakers say are established.
func routedTo(s *Snapshot) map[ipam.Key][]string {
	out := map[ipam.Key][]string{}
	o := &ExplainOptions{Class: service.Class{Name: v1beta1.DefaultLoadBalancerClass}}
	c := bgpOf(s, layer2Of(s, o))
	if !c.used() {
		return out
	}
	for key, v := range viewsOf(s, o) {
		var peers []string
		for _, addr := range v.Addresses {
			paths, _ := c.Paths(v, addr)
			for _, path := range paths.List {
				if c.sessions[path].State == bgp.Established.String() {
					peers = append(peers, path.Peer)
				}
			}
		}
		slices.Sort(peers)
		out[key] = slices.Compact(peers)
	}
	return out
}

// attentionBGP reports what is not as it should be. An object that is in use may have something to tell all the same.
func attentionBGP(s *Snapshot, report func(kind, name string, conditions []metav1.Condition, good metav1.ConditionStatus, types ...string)) {
	accepted := func(kind, name string, conditions []metav1.Condition) {
		good := metav1.ConditionTrue
		if c := meta.FindStatusCondition(conditions, v1beta1.ConditionAccepted); c != nil && c.Reason != v1beta1.ReasonAccepted {
			good = ""
		}
		report(kind, name, conditions, good, v1beta1.ConditionAccepted)
	}
	for i := range s.BGPAdvertisements {
		accepted(config.KindBGPAdvertisement, s.BGPAdvertisements[i].Name, s.BGPAdvertisements[i].Status.Conditions)
	}
	for i := range s.Communities {
		accepted(config.KindCommunity, s.Communities[i].Name, s.Communities[i].Status.Conditions)
	}
	for i := range s.BFDProfiles {
		accepted(config.KindBFDProfile, s.BFDProfiles[i].Name, s.BFDProfiles[i].Status.Conditions)
	}
	for i := range s.BGPPeers {
		conditions := s.BGPPeers[i].Status.Conditions
		accepted(config.KindBGPPeer, s.BGPPeers[i].Name, conditions)
		if c := meta.FindStatusCondition(conditions, v1beta1.ConditionEstablished); c != nil && c.Reason != v1beta1.ReasonNotAccepted {
			report(config.KindBGPPeer, s.BGPPeers[i].Name, conditions, metav1.ConditionTrue, v1beta1.ConditionEstablished)
		}
	}
}
