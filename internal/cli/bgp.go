package cli

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/internal/bgproutes"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/layer2"
	"fairlead.io/fairlead/internal/view"
	"fairlead.io/fairlead/ipam"
)

// bgpCluster is the cluster as the speakers see it, with which they decide what they advertise by BGP.
type bgpCluster struct {
	bgproutes.Cluster
	advertisements int
	nodes          []string // in order
	sessions       map[bgproutes.Path]v1beta1.BGPSessionStatus
}

// bgpOf takes from layer 2 who is alive.
func bgpOf(s *Snapshot, l2 *layer2.Cluster) *bgpCluster {
	c := &bgpCluster{advertisements: len(s.BGPAdvertisements), sessions: map[bgproutes.Path]v1beta1.BGPSessionStatus{}}
	c.Pools, c.Nodes, c.IgnoreExcludeLabel = l2.Pools, l2.Nodes, l2.IgnoreExcludeLabel
	c.BGP = config.CompileBGP(&config.BGPObjects{Peers: s.BGPPeers, Advertisements: s.BGPAdvertisements, Profiles: s.BFDProfiles, Communities: s.Communities})
	names := map[string]bool{}
	for name := range c.Nodes {
		names[name] = true
	}
	for i := range l2.Members {
		m := &l2.Members[i]
		c.Members = append(c.Members, bgproutes.Member{Name: m.Name, Draining: m.Draining, Stopping: m.Stopping, DataplaneReady: m.DataplaneReady})
		names[m.Name] = true
	}
	c.nodes = slices.Sorted(maps.Keys(names))
	for i := range s.Speakers {
		for _, session := range s.Speakers[i].Status.BGP {
			c.sessions[bgproutes.Path{Node: s.Speakers[i].Name, Peer: session.Peer}] = session
		}
	}
	c.Prepare()
	return c
}

// used reports whether anything is configured.
func (c *bgpCluster) used() bool { return c.advertisements+len(c.BGP.PeerNames) > 0 }

// table of what a node advertises to the prefixes that one of these Services wants for the address.
func (c *bgpCluster) table(node string, views map[ipam.Key]*view.Service, addr netip.Addr) (*bgp.Table[ipam.Key], []netip.Prefix) {
	var prefixes []netip.Prefix
	wants := map[ipam.Key][]bgp.Want{}
	for key, v := range views {
		wants[key] = c.Wants(node, v)
		if !slices.Contains(v.Addresses, addr) {
			continue
		}
		for _, w := range wants[key] {
			if w.Prefix.Contains(addr) && !slices.Contains(prefixes, w.Prefix) {
				prefixes = append(prefixes, w.Prefix)
			}
		}
	}
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	t := &bgp.Table[ipam.Key]{}
	for key, list := range wants {
		t.Set(key, slices.DeleteFunc(list, func(w bgp.Want) bool { return !slices.Contains(prefixes, w.Prefix) }))
	}
	return t, prefixes
}

// routes explains what each node advertises to each peer for an address of a Service.
func (p *printer) routes(o *ExplainOptions, c *bgpCluster, views map[ipam.Key]*view.Service, key ipam.Key, addr netip.Addr) {
	title := addr.String() + " by BGP"
	if len(o.Without) > 0 {
		title += ", were it not for " + strings.Join(o.Without, " and ")
	}
	p.row(title)
	defer p.end()
	if len(c.BGP.PeerNames) == 0 {
		p.row("it is not advertised: there is no BGPPeer; create one")
		return
	}
	subjects := c.subjects(views, key, addr)
	if _, why := c.Paths(views[key], addr); why != "" {
		if len(subjects) == 0 {
			p.row("it is not advertised: " + why.Sentence())
			return
		}
		p.row(fmt.Sprintf("it is not advertised for this Service: %s. What follows is of Service %s, which shares it.", why.Sentence(), subjects[0]))
	}
	p.row("NODE", "PEER", "SESSION", "REASON", "WHY")
	var below []string
	for _, name := range c.BGP.PeerNames {
		if err := c.BGP.Refused(config.KindBGPPeer, name); err != nil {
			below = append(below, "BGPPeer "+name+" is refused: "+err.Error())
		}
	}
	for _, node := range c.nodes {
		for _, line := range p.routesOf(c, node, views, subjects, addr) {
			if !slices.Contains(below, line) {
				below = append(below, line)
			}
		}
	}
	if len(below) > 0 {
		p.end()
	}
	for _, line := range below {
		p.row(line)
	}
}

// routesOf prints the rows of a node, and returns what else there is to say.
func (p *printer) routesOf(c *bgpCluster, node string, views map[ipam.Key]*view.Service, subjects []ipam.Key, addr netip.Addr) (below []string) {
	verdicts := c.verdicts(node, views, subjects, addr)
	if len(verdicts) == 0 {
		return nil // all peers are refused
	}
	if !slices.ContainsFunc(verdicts, func(v judgement) bool { _, withNode := v.Reason.Lies(); return !withNode }) {
		p.row(node, "any", "-", string(verdicts[0].Reason), verdicts[0].Sentence())
		return nil
	}
	table, prefixes := c.table(node, views, addr)
	for _, v := range verdicts {
		session, known := c.sessions[bgproutes.Path{Node: node, Peer: v.Peer}]
		why, state := v.Sentence(), "-"
		if known {
			state = session.State
		}
		if v.Reason == bgproutes.Advertised {
			why = advertisedText(&v.Verdict, &session, table, prefixes)
			if v.of != subjects[0] {
				why += "; for Service " + string(v.of)
			}
		}
		p.row(node, v.Peer, state, string(v.Reason), why)
	}
	for _, x := range table.Conflicts() {
		below = append(below, fmt.Sprintf("BGPAdvertisements %s and %s differ in %s for routes to %s: the older one's %d is used, not %d",
			x.Winner, x.Loser, x.Attribute, strings.Join(x.Peers, " and "), x.Won, x.Lost))
	}
	return below
}

// subjects are the Services that have the address and that some node may advertise it for, the one that is asked about first.
func (c *bgpCluster) subjects(views map[ipam.Key]*view.Service, key ipam.Key, addr netip.Addr) []ipam.Key {
	var list []ipam.Key
	for other, v := range views {
		if slices.Contains(v.Addresses, addr) {
			if _, why := c.Paths(v, addr); why == "" {
				list = append(list, other)
			}
		}
	}
	slices.SortFunc(list, func(a, b ipam.Key) int {
		switch {
		case a == b:
			return 0
		case a == key:
			return -1
		case b == key:
			return 1
		}
		return strings.Compare(string(a), string(b))
	})
	return list
}

// judgement is a verdict, and which Service it is of.
type judgement struct {
	bgproutes.Verdict
	of ipam.Key
}

// verdicts on an address for each peer that is not refused everywhere: for the first of the Services that it is advertised for, else
// for the first of all.
func (c *bgpCluster) verdicts(node string, views map[ipam.Key]*view.Service, subjects []ipam.Key, addr netip.Addr) []judgement {
	var out []judgement
	for i, key := range subjects {
		verdicts := slices.DeleteFunc(c.Explain(node, views[key]), func(v bgproutes.Verdict) bool {
			return v.Addr != addr || c.BGP.Refused(config.KindBGPPeer, v.Peer) != nil
		})
		for j, v := range verdicts {
			if i == 0 {
				out = append(out, judgement{v, key})
			} else if v.Reason == bgproutes.Advertised && out[j].Reason != bgproutes.Advertised {
				out[j] = judgement{v, key}
			}
		}
	}
	return out
}

// advertisedText says as which routes an address goes to a peer, and if there is a session.
func advertisedText(v *bgproutes.Verdict, session *v1beta1.BGPSessionStatus, table *bgp.Table[ipam.Key], prefixes []netip.Prefix) string {
	var routes []string
	for _, prefix := range prefixes {
		for _, x := range table.Route(prefix).To {
			if x.Peer != v.Peer {
				continue
			}
			text := prefix.String()
			if a := x.Attributes.String(); a != "" {
				text += " with " + a
			}
			routes = append(routes, text)
		}
	}
	up := session.State == bgp.Established.String()
	text := v.Sentence()
	if !up {
		text = "is to be" + strings.TrimPrefix(text, "is") + ", once there is a session"
	}
	text += ": " + strings.Join(routes, ", and ")
	switch {
	case session.LastError == "":
	case up: // routes are withheld, or there is no BFD
		text += "; the session says: " + session.LastError
	default:
		text += "; the session's last error: " + session.LastError
	}
	return text
}
