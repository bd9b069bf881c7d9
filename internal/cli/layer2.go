package cli

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/allocation"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/layer2"
	"fairlead.io/fairlead/internal/view"
	"fairlead.io/fairlead/ipam"
	"fairlead.io/fairlead/l2/election"
)

// layer2Of is the cluster as the speakers see it, with which they elect. Who is alive only the speakers know; from here, a
// speaker counts as alive while its Node is ready.
func layer2Of(s *Snapshot, o *ExplainOptions) *layer2.Cluster {
	c := &layer2.Cluster{Pools: config.CompilePools(s.Pools), Nodes: map[string]view.Node{}, IgnoreExcludeLabel: o.IgnoreExcludeLabel}
	for i := range s.L2Advertisements {
		if adv, err := config.CompileL2Advertisement(&s.L2Advertisements[i]); err == nil { // else its status says why it is not used
			c.Advertisements = append(c.Advertisements, adv)
		}
	}
	nodes := map[string]*corev1.Node{}
	for i := range s.Nodes {
		nodes[s.Nodes[i].Name] = &s.Nodes[i]
		c.Nodes[s.Nodes[i].Name] = view.NodeOf(&s.Nodes[i])
	}
	for i := range s.Speakers {
		sp := &s.Speakers[i]
		node := nodes[sp.Name]
		if slices.Contains(o.Without, sp.Name) || node != nil && !nodeReady(node) {
			continue
		}
		member := layer2.Member{Name: sp.Name, Draining: node != nil && node.Spec.Unschedulable,
			DataplaneReady: !meta.IsStatusConditionFalse(sp.Status.Conditions, v1beta1.SpeakerDataplaneReady),
			Settling:       meta.IsStatusConditionFalse(sp.Status.Conditions, v1beta1.SpeakerSettled)}
		if c := meta.FindStatusCondition(sp.Status.Conditions, v1beta1.SpeakerReady); c != nil && c.Status == metav1.ConditionFalse {
			if c.Reason != v1beta1.ReasonStopping {
				continue // it has not started
			}
			member.Stopping = true
		}
		for _, ifi := range sp.Status.Interfaces {
			member.Interfaces = append(member.Interfaces, ifi.Name)
			if ifi.Settling {
				member.SettlingInterfaces = append(member.SettlingInterfaces, ifi.Name)
			}
		}
		c.Members = append(c.Members, member)
	}
	c.Prepare()
	return c
}

func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return true // nobody has said otherwise
}

// holdersOf are the Services that have the address, as the speakers see them.
func holdersOf(views map[ipam.Key]*view.Service, addr netip.Addr) []*view.Service {
	var list []*view.Service
	for _, key := range slices.Sorted(maps.Keys(views)) {
		if v := views[key]; slices.Contains(v.Addresses, addr) {
			list = append(list, v)
		}
	}
	return list
}

// viewsOf the Services that have addresses of ours, as the speakers see them.
func viewsOf(s *Snapshot, o *ExplainOptions) map[ipam.Key]*view.Service {
	endpointSlices := slicesOf(s)
	views := map[ipam.Key]*view.Service{}
	for i := range s.Services {
		if svc := &s.Services[i]; o.Class.Ours(svc) {
			key := allocation.Key(svc)
			if v := view.ServiceOf(svc, endpointSlices[key]); v != nil {
				views[key] = v
			}
		}
	}
	return views
}

// slicesOf the Services.
func slicesOf(s *Snapshot) map[ipam.Key][]discoveryv1.EndpointSlice {
	out := map[ipam.Key][]discoveryv1.EndpointSlice{}
	for i := range s.EndpointSlices {
		key := ipam.Service(s.EndpointSlices[i].Namespace, s.EndpointSlices[i].Labels[discoveryv1.LabelServiceName])
		out[key] = append(out[key], s.EndpointSlices[i])
	}
	return out
}

// announcement explains which node answers for an address of a pool on the local network.
func (p *printer) announcement(s *Snapshot, o *ExplainOptions, c *layer2.Cluster, holders []*view.Service, addr netip.Addr, pool string) {
	d := c.Decide(addr, holders)
	title := addr.String() + " on the local network (layer 2)"
	if len(o.Without) > 0 {
		title += ", were it not for " + strings.Join(o.Without, " and ")
	}
	p.row(title)
	if d.Reason != "" {
		p.row("nobody answers: " + d.Reason.Sentence())
		p.end()
		return
	}
	state := statesOf(s.Speakers)[addr]
	refrains := state.Conflict != nil && !state.Announces && state.Node == d.Owner
	p.row("NODE", "RANK", "REASON", "WHY")
	for _, v := range d.Verdicts {
		rank := "-"
		if v.Rank > 0 {
			rank = fmt.Sprint(v.Rank)
		}
		why := v.Reason.Sentence()
		if v.Reason == election.Owner {
			on := "every usable interface"
			if d.Interfaces != nil {
				on = strings.Join(d.Interfaces, ", ")
			}
			why += " on " + on
			if refrains {
				why = "is to answer on " + on + ", and does not: another host uses the address"
			}
			for _, g := range d.Ignored {
				why += "; " + g.Sentence()
			}
		}
		p.row(v.Node, rank, string(v.Reason), why)
	}
	p.end()
	if state.Conflict != nil && !slices.Contains(o.Without, state.Node) {
		p.row(state.Sentence(addr, pool))
		p.end()
	}
	if claimed := claims(s.Speakers, addr); !refrains && len(o.Without) == 0 && !slices.Equal(claimed, []string{d.Owner}) {
		p.row("The speakers say that it is answered by: " + dash(strings.Join(claimed, ", ")) + ". They know who is alive, which is not known here; and they may be about to change it.")
		p.end()
	}
}

// claims are the nodes whose speakers say that they answer for the address.
func claims(speakers []v1beta1.Speaker, addr netip.Addr) []string {
	var nodes []string
	for i := range speakers {
		if slices.ContainsFunc(speakers[i].Status.Layer2, func(a v1beta1.Layer2Address) bool { return a.IP == addr.String() }) {
			nodes = append(nodes, speakers[i].Name)
		}
	}
	return nodes
}
