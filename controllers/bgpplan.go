package controllers

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/internal/bgproutes"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/view"
	"fairlead.io/fairlead/ipam"
)

// bgpPlan is what the speakers are to advertise by BGP, decided by their own code, and over which sessions they can. Its outcome for a
// Service is what the condition Announced says of BGP.
//
// A session that is established or lost concerns only the Services whose last session it is, or first: those that have the same paths
// are in one group, which counts them.
type bgpPlan struct {
	client    client.Reader // of the cache
	namespace string        // of the Secrets
	holders   func() []ipam.Key

	turn sync.Mutex // held while the objects are read, so that the last one who read them is who tells

	mu          sync.Mutex // guards what follows
	cluster     bgproutes.Cluster
	fingerprint string // of what the cluster was made of
	loaded      bool
	queue       queue                     // of Services; nil until the controller runs
	tell        func()                    // that there may be something to say of advertisements; nil until the controller runs
	established map[bgproutes.Path]string // and what there is to say of a session
	// up are the established sessions that something is advertised over.
	up        map[bgproutes.Path]struct{}
	services  map[ipam.Key]map[netip.Addr]*bgproutes.Paths // nil: the address is not advertised
	byAddr    map[netip.Addr]map[ipam.Key]struct{}
	groups    map[*bgproutes.Paths]*bgpGroup
	byPath    map[bgproutes.Path]map[*bgproutes.Paths]struct{}
	conflicts bgp.Table[ipam.Key]
	rivals    map[ipam.Key]bool // has a part in conflicts
}

// bgpGroup are the Services that have an address with the same paths.
type bgpGroup struct {
	up      int // paths
	members map[ipam.Key]int
}

// newBGPPlan reads objects from c, and Secrets in a namespace. holders are all Services that have an address.
func newBGPPlan(c client.Reader, namespace string, holders func() []ipam.Key) *bgpPlan {
	return &bgpPlan{client: c, namespace: namespace, holders: holders, up: map[bgproutes.Path]struct{}{},
		services: map[ipam.Key]map[netip.Addr]*bgproutes.Paths{}, byAddr: map[netip.Addr]map[ipam.Key]struct{}{},
		groups: map[*bgproutes.Paths]*bgpGroup{}, byPath: map[bgproutes.Path]map[*bgproutes.Paths]struct{}{}, rivals: map[ipam.Key]bool{}}
}

// bgpState is the objects as they were read.
type bgpState struct {
	config.BGPObjects
	pools    v1beta1.IPAddressPoolList
	nodes    corev1.NodeList
	speakers v1beta1.SpeakerList
}

func (p *bgpPlan) read(ctx context.Context) (*bgpState, error) {
	var s bgpState
	var peers v1beta1.BGPPeerList
	var advertisements v1beta1.BGPAdvertisementList
	var profiles v1beta1.BFDProfileList
	var communities v1beta1.CommunityList
	var secrets corev1.SecretList
	for _, x := range []struct {
		what string
		list client.ObjectList
		opts []client.ListOption
	}{
		{"BGPPeers", &peers, nil},
		{"BGPAdvertisements", &advertisements, nil},
		{"BFDProfiles", &profiles, nil},
		{"Communities", &communities, nil},
		{"IPAddressPools", &s.pools, nil},
		{"Secrets", &secrets, []client.ListOption{client.InNamespace(p.namespace)}},
		{"Nodes", &s.nodes, nil},
		{"Speakers", &s.speakers, nil},
	} {
		if err := p.client.List(ctx, x.list, append(x.opts, client.UnsafeDisableDeepCopy)...); err != nil {
			return nil, fmt.Errorf("list %s: %w", x.what, err)
		}
	}
	s.Peers, s.Advertisements, s.Profiles, s.Communities = peers.Items, advertisements.Items, profiles.Items, communities.Items
	s.Secrets = make(config.Secrets, len(secrets.Items))
	for i := range secrets.Items {
		s.Secrets[secrets.Items[i].Name] = secrets.Items[i].Data
	}
	return &s, nil
}

// refresh takes over what the objects say now, and tells the queue of the Services for which that may be news.
func (p *bgpPlan) refresh(ctx context.Context) (*bgpState, error) {
	p.turn.Lock()
	defer p.turn.Unlock()
	s, err := p.read(ctx)
	if err != nil {
		return nil, err
	}
	compiled := config.CompileBGP(&s.BGPObjects)
	nodes := make(map[string]view.Node, len(s.nodes.Items))
	ready := make(map[string]bool, len(s.nodes.Items))
	for i := range s.nodes.Items {
		nodes[s.nodes.Items[i].Name] = view.NodeOf(&s.nodes.Items[i])
		ready[s.nodes.Items[i].Name] = nodeReady(&s.nodes.Items[i])
	}
	members := make([]bgproutes.Member, 0, len(s.speakers.Items))
	established, up := map[bgproutes.Path]string{}, map[bgproutes.Path]struct{}{}
	for i := range s.speakers.Items {
		sp := &s.speakers.Items[i]
		// The gates of data planes are the speakers' affair: they never make an address go dark, and that is what matters here.
		members = append(members, bgproutes.Member{Name: sp.Name, DataplaneReady: true})
		for _, x := range sp.Status.BGP {
			// Nobody takes back what the speaker of a dead node said last.
			if path := (bgproutes.Path{Node: sp.Name, Peer: x.Peer}); ready[sp.Name] && x.State == bgp.Established.String() {
				established[path] = x.LastError
				if x.RoutesAdvertised > 0 {
					up[path] = struct{}{}
				}
			}
		}
	}
	slices.SortFunc(members, func(a, b bgproutes.Member) int { return cmp.Compare(a.Name, b.Name) })
	fingerprint := fingerprintOf(s, compiled)

	p.mu.Lock()
	defer p.mu.Unlock()
	p.established = established
	c := &p.cluster
	if p.loaded && fingerprint == p.fingerprint && slices.Equal(c.Members, members) && maps.EqualFunc(c.Nodes, nodes, view.Node.Equal) {
		c.BGP = compiled // its words may be others
		p.setUp(up)
		return s, nil
	}
	first, used := !p.loaded, p.usedLocked()
	// Whether speakers respect the exclude label is a flag of theirs. A node that does not advertise has no routes, and counts for nothing.
	*c = bgproutes.Cluster{Pools: config.CompilePools(s.pools.Items), BGP: compiled, Nodes: nodes, Members: members, IgnoreExcludeLabel: true}
	c.Prepare()
	p.fingerprint, p.loaded = fingerprint, true
	if !first && (used || p.usedLocked()) { // the first time each Service is looked at anyway
		for _, k := range p.holders() {
			p.wake(k)
		}
	}
	p.setUp(up)
	return s, nil
}

// fingerprintOf tells whether something has changed that a plan depends on, beside nodes and speakers.
func fingerprintOf(s *bgpState, compiled *config.BGP) string {
	var b strings.Builder
	for _, x := range compiled.Peers {
		fmt.Fprintf(&b, "peer %s\n", x.Name)
	}
	for _, x := range compiled.Advertisements {
		fmt.Fprintf(&b, "advertisement %s %s\n", x.Name, x.Attributes.String())
	}
	for i := range s.Peers {
		fmt.Fprintf(&b, "%s %d\n", s.Peers[i].UID, s.Peers[i].Generation)
	}
	for i := range s.Advertisements {
		fmt.Fprintf(&b, "%s %d\n", s.Advertisements[i].UID, s.Advertisements[i].Generation)
	}
	for i := range s.pools.Items {
		x := &s.pools.Items[i]
		fmt.Fprintf(&b, "%s %d %t %v\n", x.UID, x.Generation, x.DeletionTimestamp.IsZero(), x.Labels) // maps are printed in the order of their keys
	}
	return b.String()
}

func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return true // nobody has said otherwise
}
