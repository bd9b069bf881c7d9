package controllers

import (
	"cmp"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/bgproutes"
	"fairlead.io/fairlead/internal/config"
)

// bgpVerdict is what an object is told in its status.
type bgpVerdict struct {
	accepted metav1.Condition
	// Of a peer alone.
	established metav1.Condition
	wanted, up  int
}

// verdicts on all objects.
func (p *bgpPlan) verdicts(s *bgpState) map[metricOf]bgpVerdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[metricOf]bgpVerdict{}
	pools := map[string]bool{}
	for i := range s.pools.Items {
		pools[s.pools.Items[i].Name] = true
	}
	lost := p.lost()
	for i := range s.Peers {
		out[metricOf{config.KindBGPPeer, s.Peers[i].Name}] = p.verdictOfPeer(s.Peers[i].Name)
	}
	for i := range s.Advertisements {
		adv := &s.Advertisements[i]
		var unknown []string
		for _, name := range adv.Spec.IPAddressPools {
			if !pools[name] {
				unknown = append(unknown, name)
			}
		}
		notes := p.cluster.BGP.Notes(config.KindBGPAdvertisement, adv.Name)
		if len(unknown) > 0 {
			notes = append([]config.Note{{Text: unknownPools(unknown)}}, notes...)
		}
		notes = append(lost[adv.Name], notes...)
		out[metricOf{config.KindBGPAdvertisement, adv.Name}] = bgpVerdict{accepted: p.accepted(config.KindBGPAdvertisement, adv.Name, "the advertisement", notes)}
	}
	for i := range s.Profiles {
		name := s.Profiles[i].Name
		out[metricOf{config.KindBFDProfile, name}] = bgpVerdict{accepted: p.accepted(config.KindBFDProfile, name, "the profile", nil)}
	}
	for i := range s.Communities {
		name := s.Communities[i].Name
		out[metricOf{config.KindCommunity, name}] = bgpVerdict{accepted: p.accepted(config.KindCommunity, name, "the object", p.cluster.BGP.Notes(config.KindCommunity, name))}
	}
	return out
}

// lost says of advertisements what they lose to older ones.
func (p *bgpPlan) lost() map[string][]config.Note {
	out := map[string][]config.Note{}
	for _, c := range p.conflicts.Conflicts() {
		where := c.Prefix.String()
		if c.Routes > 1 {
			where += " and other routes" // how many changes too often to be said
		}
		out[c.Loser] = append(out[c.Loser], config.Note{Reason: v1beta1.ReasonAttributeConflict, Text: fmt.Sprintf(
			"%s %d has no effect on %s: older BGPAdvertisement %s has %d there; let them agree, or not be for the same addresses, nodes and peers", c.Attribute, c.Lost, where, c.Winner, c.Won)})
	}
	return out
}

// accepted says if an object is in use. The first note with a reason gives the condition its.
func (p *bgpPlan) accepted(kind, name, what string, notes []config.Note) metav1.Condition {
	c := metav1.Condition{Type: v1beta1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAccepted, Message: what + " is in use as written"}
	if err := p.cluster.BGP.Refused(kind, name); err != nil {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, err.Reason, cut(err.Error())
		return c
	}
	var texts []string
	for _, n := range notes {
		texts = append(texts, n.Text)
		if c.Reason == v1beta1.ReasonAccepted && n.Reason != "" {
			c.Reason = n.Reason
		}
	}
	if len(texts) > 0 {
		c.Message = cut(what + " is in use, but " + strings.Join(texts, "; and "))
	}
	return c
}

func (p *bgpPlan) verdictOfPeer(name string) bgpVerdict {
	v := bgpVerdict{accepted: p.accepted(config.KindBGPPeer, name, "the peer", p.cluster.BGP.Notes(config.KindBGPPeer, name))}
	established := metav1.Condition{Type: v1beta1.ConditionEstablished, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonNotAccepted}
	var missing, troubled []string
	trouble := ""
	if v.accepted.Status == metav1.ConditionTrue {
		nodes, denied, why := p.cluster.Keepers(name)
		switch {
		case len(denied) > 0 && len(nodes) == 0:
			v.accepted.Status, v.accepted.Reason, v.accepted.Message = metav1.ConditionFalse, why.Reason, cut(why.Error())
		case len(denied) > 0:
			v.accepted.Reason, v.accepted.Message = why.Reason, cut(fmt.Sprintf("the peer is in use, but not on %s: %s", few(denied), why))
		}
		v.wanted = len(nodes)
		for _, node := range nodes {
			if text, up := p.established[bgproutes.Path{Node: node, Peer: name}]; up {
				if v.up++; text != "" {
					troubled = append(troubled, node)
					trouble = cmp.Or(trouble, text)
				}
			} else {
				missing = append(missing, node)
			}
		}
	}
	established.Message = fmt.Sprintf("%d/%d nodes", v.up, v.wanted)
	switch {
	case v.accepted.Status != metav1.ConditionTrue:
	case v.wanted == 0:
		established.Reason = v1beta1.ReasonNoNodes
		established.Message += "; no node with a speaker is selected: check spec.nodeSelectors"
	case len(missing) == 0:
		established.Status, established.Reason = metav1.ConditionTrue, v1beta1.ReasonAllEstablished
	default:
		if established.Reason = v1beta1.ReasonPartlyEstablished; v.up == 0 {
			established.Reason = v1beta1.ReasonNotEstablished
		}
		established.Message += "; not from " + few(missing) + ": their Speaker objects say why"
	}
	if len(troubled) > 0 {
		established.Message = cut(fmt.Sprintf("%s; on %s: %s", established.Message, few(troubled), trouble))
	}
	v.established = established
	return v
}

// few names the first of a list.
func few(names []string) string {
	const most = 3
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

func unknownPools(names []string) string {
	return "these pools do not exist: " + strings.Join(names, ", ") + "; create them or correct spec.ipAddressPools"
}
