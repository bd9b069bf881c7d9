package doctor

import (
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/config"
)

// advertisement of either kind that is in use, that is to say not refused.
type advertisement struct {
	object    string
	selection *config.Selection
	pools     int  // that it selects
	nowhere   bool // no node, or no peer, is there to announce what it selects
}

// advertisements must take every pool, and lead somewhere.
func (e *examiner) advertisements() {
	if e.none() || !e.unless(e.in.Objects.Unread, "Fairlead's objects") {
		return
	}
	o := &e.in.Objects.Is
	switch {
	case len(o.Pools) == 0 && len(o.L2Advertisements)+len(o.BGPAdvertisements)+len(o.BGPPeers) == 0:
		e.find(Warning, "IPAddressPools", "nothing is configured: create an IPAddressPool, and an L2Advertisement, or a BGPPeer and a BGPAdvertisement")
		return
	case len(o.Pools) == 0:
		e.find(Warning, "IPAddressPools", "there is none, so that no Service is given an address: create one")
		return
	}
	before := len(e.found)
	list := append(e.layer2(), e.bgp()...)
	knownNodes := e.unless(e.in.Nodes.Unread, "Nodes that advertisements select")
	for i := range list {
		if knownNodes && !e.somewhere(&list[i]) {
			list[i].nowhere = true
			e.find(Warning, list[i].object, "its spec.nodeSelectors select no node, so that nothing is announced by it: correct them, or label nodes")
		}
	}
	for i := range o.Pools {
		e.pool(&o.Pools[i], list)
	}
	for i := range list {
		if list[i].pools == 0 {
			e.find(Warning, list[i].object, "it selects none of the IPAddressPools that there are: correct spec.ipAddressPools or spec.ipAddressPoolSelectors")
		}
	}
	if e.quiet(before) {
		e.find(OK, "IPAddressPools", "each is advertised")
	}
}

// pool must be taken by an advertisement.
func (e *examiner) pool(pool *v1beta1.IPAddressPool, list []advertisement) {
	taken, led := false, false
	for i := range list {
		if a := &list[i]; a.selection.SelectsPool(pool.Name, labels.Merge(pool.Labels, nil)) {
			a.pools++
			taken, led = true, led || !a.nowhere
		}
	}
	object := "IPAddressPool " + pool.Name
	switch {
	case !pool.DeletionTimestamp.IsZero() || led:
	case taken:
		e.find(Problem, object, "the advertisements that select it lead nowhere, so that nobody announces its addresses: see what is said of them here")
	default:
		e.find(Problem, object, "no L2Advertisement or BGPAdvertisement that is in use selects it, so that nobody announces its addresses: create one, or name the pool in spec.ipAddressPools of one")
	}
}

// somewhere reports whether an advertisement selects a node.
func (e *examiner) somewhere(a *advertisement) bool {
	for i := range e.in.Nodes.Is {
		if a.selection.SelectsNode(labels.Merge(e.in.Nodes.Is[i].Labels, nil)) {
			return true
		}
	}
	return len(e.in.Nodes.Is) == 0
}

// layer2 are the L2Advertisements in use.
func (e *examiner) layer2() []advertisement {
	o := &e.in.Objects.Is
	var interfaces []string
	for i := range o.Speakers {
		for _, x := range o.Speakers[i].Status.Interfaces {
			interfaces = append(interfaces, x.Name)
		}
	}
	var list []advertisement
	for i := range o.L2Advertisements {
		a, err := config.CompileL2Advertisement(&o.L2Advertisements[i])
		if err != nil {
			continue // its status says why
		}
		x := advertisement{object: "L2Advertisement " + a.Name, selection: &a.Selection}
		if matched, all := a.MatchInterfaces(interfaces); len(interfaces) > 0 && !all && len(matched) == 0 {
			x.nowhere = true
			e.find(Warning, x.object, "no node has an interface that its spec.interfaces name: kubectl get speakers shows those that there are")
		}
		list = append(list, x)
	}
	return list
}

// bgp are the BGPAdvertisements in use.
func (e *examiner) bgp() []advertisement {
	o := &e.in.Objects.Is
	c := config.CompileBGP(&config.BGPObjects{Peers: o.BGPPeers, Advertisements: o.BGPAdvertisements, Profiles: o.BFDProfiles, Communities: o.Communities})
	var list []advertisement
	for _, a := range c.Advertisements {
		x := advertisement{object: config.KindBGPAdvertisement + " " + a.Name, selection: &a.Selection}
		if !slices.ContainsFunc(c.Peers, func(p *config.BGPPeer) bool { return len(a.Peers) == 0 || slices.Contains(a.Peers, p.Name) }) {
			x.nowhere = true
			e.find(Warning, x.object, "there is no BGPPeer in use that it could be advertised to: create one, or correct spec.peers")
		}
		list = append(list, x)
	}
	if len(o.BGPPeers) > 0 && len(o.BGPAdvertisements) == 0 {
		e.find(Warning, config.KindBGPPeer+"s", "there is no BGPAdvertisement, so that nothing is advertised to them: create one")
	}
	return list
}
