package bgproutes

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/endpoints"
	"fairlead.io/fairlead/internal/view"
)

var (
	v4 = netip.MustParseAddr("192.168.100.240")
	v6 = netip.MustParseAddr("fd00:100::f0")
)

// onNodes are endpoints of both families; "" is one without a node name.
func onNodes(nodes ...string) endpoints.View {
	var list []discoveryv1.EndpointSlice
	for _, f := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		s := discoveryv1.EndpointSlice{AddressType: f}
		for _, n := range nodes {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{NodeName: &n})
		}
		list = append(list, s)
	}
	return endpoints.FromSlices(list)
}

func aService(change ...func(*view.Service)) *view.Service {
	s := &view.Service{Addresses: []netip.Addr{v4}, Pools: []string{"web"}, Endpoints: onNodes("a", "b", "c")}
	for _, f := range change {
		f(s)
	}
	return s
}

func local(nodes ...string) func(*view.Service) {
	return func(s *view.Service) { s.Local, s.Endpoints = true, onNodes(nodes...) }
}

func dual(s *view.Service) { s.Addresses = append(s.Addresses, v6) }

// setup is what a cluster is made of.
type setup struct {
	config.BGPObjects
	Cluster
}

func named(name string, day int) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Date(2026, 1, 1+day, 0, 0, 0, 0, time.UTC))}
}

func (s *setup) peer(name, address string, change ...func(*v1beta1.BGPPeerSpec)) {
	p := v1beta1.BGPPeer{ObjectMeta: named(name, len(s.BGPObjects.Peers)), Spec: v1beta1.BGPPeerSpec{MyASN: 64512, PeerASN: new(int64(64513)), PeerAddress: address}}
	for _, f := range change {
		f(&p.Spec)
	}
	s.BGPObjects.Peers = append(s.BGPObjects.Peers, p)
}

func (s *setup) adv(name string, change ...func(*v1beta1.BGPAdvertisementSpec)) {
	a := v1beta1.BGPAdvertisement{ObjectMeta: named(name, len(s.Advertisements))}
	for _, f := range change {
		f(&a.Spec)
	}
	s.Advertisements = append(s.Advertisements, a)
}

func (s *setup) member(name string) *Member {
	return &s.Members[slices.IndexFunc(s.Members, func(m Member) bool { return m.Name == name })]
}

func match(key, value string) []metav1.LabelSelector {
	return []metav1.LabelSelector{{MatchLabels: map[string]string{key: value}}}
}

// cluster has the nodes a, b and c, each labelled with its name, with addresses of both families and a live speaker.
func cluster(t testing.TB, change ...func(*setup)) *Cluster {
	t.Helper()
	s := &setup{}
	s.Nodes = map[string]view.Node{}
	for i, n := range []string{"a", "b", "c"} {
		s.Nodes[n] = view.Node{Labels: labels.Set{"name": n}, Addresses: []netip.Addr{
			netip.AddrFrom4([4]byte{192, 168, 100, byte(10 + i)}), netip.MustParseAddr(fmt.Sprintf("fd00:100::%d", 10+i))}}
		s.Members = append(s.Members, Member{Name: n, DataplaneReady: true})
	}
	for _, f := range change {
		f(s)
	}
	s.BGP = config.CompileBGP(&s.BGPObjects)
	s.Prepare()
	return &s.Cluster
}

// tor and all are the usual peer and the usual advertisement.
func tor(s *setup) { s.peer("tor", "192.168.100.1") }
func all(s *setup) { s.adv("all") }

// said is what Explain says of a node: for each address and peer the reason, and for routes what Wants has.
func said(t testing.TB, c *Cluster, node string, s *view.Service) string {
	t.Helper()
	wants := c.Wants(node, s)
	var out []string
	for _, v := range c.Explain(node, s) {
		var by []string
		for _, w := range wants {
			if w.Prefix.Contains(v.Addr) && slices.Contains(w.By.Peers, v.Peer) {
				by = append(by, w.Prefix.String()+" "+w.By.Name)
			}
		}
		if (v.Reason == Advertised) != (len(by) > 0) || v.Sentence() == "" {
			t.Errorf("%s, %s to %s: %s (%q), and wanted is %v", node, v.Addr, v.Peer, v.Reason, v.Sentence(), by)
		}
		text := v.Peer + " " + string(v.Reason)
		if len(by) > 0 {
			text = v.Peer + " " + strings.Join(by, " ")
		}
		if v.GateIgnored {
			text += " ignored"
		}
		if v.Drained != "" {
			text += " drained"
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

func TestReasons(t *testing.T) {
	named := func(names ...string) func(*v1beta1.BGPAdvertisementSpec) {
		return func(s *v1beta1.BGPAdvertisementSpec) { s.Peers = names }
	}
	onNode := func(name string) func(*v1beta1.BGPAdvertisementSpec) {
		return func(s *v1beta1.BGPAdvertisementSpec) { s.NodeSelectors = match("name", name) }
	}
	peerOn := func(name string) func(*v1beta1.BGPPeerSpec) {
		return func(s *v1beta1.BGPPeerSpec) { s.NodeSelectors = match("name", name) }
	}
	node := func(name string, change func(*view.Node)) func(*setup) {
		return func(s *setup) {
			n := s.Nodes[name]
			change(&n)
			s.Nodes[name] = n
		}
	}
	excluded := func(n *view.Node) { n.Labels = labels.Set{view.ExcludeLabel: "", "name": "a"} }
	notReady := func(names ...string) func(*setup) {
		return func(s *setup) {
			for _, n := range names {
				s.member(n).DataplaneReady = false
			}
		}
	}
	const route = "tor 192.168.100.240/32 all"
	for _, tt := range []struct {
		name    string
		setup   []func(*setup)
		service *view.Service
		a, b    string // of node a, and of node b; empty b: as a
	}{
		{"all", []func(*setup){tor, all}, aService(), route, ""},
		{"no endpoints", []func(*setup){tor, all}, aService(func(s *view.Service) { s.Endpoints = onNodes() }), "tor NoEndpoints", ""},
		{"none of the family", []func(*setup){tor, all}, aService(dual, func(s *view.Service) {
			s.Endpoints = endpoints.FromSlices([]discoveryv1.EndpointSlice{{AddressType: discoveryv1.AddressTypeIPv6, Endpoints: []discoveryv1.Endpoint{{}}}})
		}), "tor NoEndpoints; tor fd00:100::f0/128 all", ""},
		{"no advertisement", []func(*setup){tor}, aService(), "tor NoAdvertisement", ""},
		{"for another pool", []func(*setup){tor, func(s *setup) { s.adv("x", func(s *v1beta1.BGPAdvertisementSpec) { s.IPAddressPools = []string{"y"} }) }}, aService(), "tor NoAdvertisement", ""},
		{"for other Services", []func(*setup){tor, func(s *setup) {
			s.adv("x", func(s *v1beta1.BGPAdvertisementSpec) { s.ServiceSelectors = match("a", "b") })
		}}, aService(), "tor NoAdvertisement", ""},
		{"refused advertisement", []func(*setup){tor, func(s *setup) {
			s.adv("x", func(s *v1beta1.BGPAdvertisementSpec) { s.Communities = []v1beta1.CommunityValue{"nobody"} })
		}}, aService(), "tor NoAdvertisement", ""},
		{"no peer", []func(*setup){all}, aService(), "", ""},
		{"Local", []func(*setup){tor, all}, aService(local("b", "z")), "tor NoLocalEndpoint", route},
		{"Local, endpoint outside of the cluster", []func(*setup){tor, all}, aService(local("")), route, ""},
		{"no speaker", []func(*setup){tor, all, func(s *setup) { s.Members = s.Members[1:] }}, aService(), "tor NotAlive", route},
		{"no Node", []func(*setup){tor, all, func(s *setup) { delete(s.Nodes, "a") }}, aService(), "tor UnknownNode", route},
		{"excluded", []func(*setup){tor, all, node("a", excluded)}, aService(), "tor Excluded", route},
		{"excluded, but that is ignored", []func(*setup){tor, all, node("a", excluded), func(s *setup) { s.IgnoreExcludeLabel = true }}, aService(), route, ""},
		{"network unavailable", []func(*setup){tor, all, node("a", func(n *view.Node) { n.NetworkUnavailable = true })}, aService(), "tor NetworkUnavailable", route},
		{"node selectors of the advertisement", []func(*setup){tor, func(s *setup) { s.adv("all", onNode("b")) }}, aService(), "tor NodeNotSelected", route},
		{"node selectors of the peer", []func(*setup){all, func(s *setup) { s.peer("tor", "192.168.100.1", peerOn("b")) }}, aService(), "tor PeerNotOnNode", route},
		{"peers of the advertisement", []func(*setup){tor, func(s *setup) { s.peer("tor2", "192.168.100.2"); s.adv("all", named("tor")) }}, aService(), route + "; tor2 PeerNotNamed", ""},
		{"peers of two advertisements", []func(*setup){tor, func(s *setup) {
			s.peer("tor2", "192.168.100.2")
			s.adv("x", named("tor"), onNode("a"))
			s.adv("y", named("tor2"), onNode("b"))
		}}, aService(), "tor 192.168.100.240/32 x; tor2 PeerNotNamed", "tor PeerNotNamed; tor2 192.168.100.240/32 y"},
		{"two advertisements", []func(*setup){tor, all, func(s *setup) {
			s.adv("net", func(s *v1beta1.BGPAdvertisementSpec) { s.AggregationLength = new(int32(24)) })
		}}, aService(), "tor 192.168.100.240/32 all 192.168.100.0/24 net", ""},
		{"refused peer", []func(*setup){tor, all, func(s *setup) { s.peer("bad", "x") }}, aService(), "bad PeerRefused; " + route, ""},
		{"peer refused on the node", []func(*setup){all, func(s *setup) {
			s.peer("tor", "192.168.100.1", peerOn("a"))
			s.peer("tor2", "192.168.100.1")
		}}, aService(), route + "; tor2 PeerRefused", "tor PeerNotOnNode; tor2 192.168.100.240/32 all"},
		{"family", []func(*setup){all, func(s *setup) {
			s.peer("four", "192.168.100.1", func(s *v1beta1.BGPPeerSpec) { s.AddressFamilies = []v1beta1.AddressFamily{"ipv4"} })
			s.peer("six", "fd00:100::1", func(s *v1beta1.BGPPeerSpec) { s.AddressFamilies = []v1beta1.AddressFamily{"ipv6"} })
		}}, aService(dual), "four 192.168.100.240/32 all; six FamilyNotNegotiated; four FamilyNotNegotiated; six fd00:100::f0/128 all", ""},
		{"next hop", []func(*setup){tor, all, func(s *setup) {
			s.peer("tor6", "fd00:100::1")
			s.peer("link", "", func(s *v1beta1.BGPPeerSpec) { s.Interface = "eth0" })
		}, node("a", func(n *view.Node) { n.Addresses = n.Addresses[:1] })}, aService(func(s *view.Service) { s.Addresses = []netip.Addr{v6} }),
			"link fd00:100::f0/128 all; tor NoNextHop; tor6 fd00:100::f0/128 all",
			"link fd00:100::f0/128 all; tor fd00:100::f0/128 all; tor6 fd00:100::f0/128 all"},
		{"data plane", []func(*setup){tor, all, notReady("a")}, aService(), "tor DataplaneNotReady", route},
		{"nobody's data plane", []func(*setup){tor, all, notReady("a", "b", "c")}, aService(), route + " ignored", ""},
		{"the ready ones have no endpoint", []func(*setup){tor, all, notReady("a")}, aService(local("a")), route + " ignored", "tor NoLocalEndpoint"},
		{"the ready ones are not selected", []func(*setup){tor, func(s *setup) { s.adv("all", onNode("a")) }, notReady("a")}, aService(), route + " ignored", "tor NodeNotSelected"},
		{"the ready ones have no peer", []func(*setup){all, func(s *setup) { s.peer("tor", "192.168.100.1", peerOn("a")) }, notReady("a")}, aService(), route + " ignored", "tor PeerNotOnNode"},
		{"the ready ones are excluded", []func(*setup){tor, all, notReady("a"), node("b", excluded), node("c", excluded)}, aService(), route + " ignored", "tor Excluded"},
		{"only another family is ready elsewhere", []func(*setup){all, notReady("a"), func(s *setup) {
			s.peer("tor", "192.168.100.1", peerOn("a"))
			s.peer("six", "fd00:100::1", func(s *v1beta1.BGPPeerSpec) { s.AddressFamilies = []v1beta1.AddressFamily{"ipv6"} })
		}}, aService(dual), "six FamilyNotNegotiated; " + route + " ignored; six DataplaneNotReady; tor DataplaneNotReady",
			"six FamilyNotNegotiated; tor PeerNotOnNode; six fd00:100::f0/128 all; tor PeerNotOnNode"},
		{"cordoned", []func(*setup){tor, all, func(s *setup) { s.member("a").Draining = true }}, aService(), route + " drained", route},
		{"stopping", []func(*setup){tor, all, func(s *setup) { s.member("a").Stopping = true }}, aService(), route + " drained", route},
		{"stopping, to come back", []func(*setup){all, func(s *setup) {
			s.peer("tor", "192.168.100.1", func(s *v1beta1.BGPPeerSpec) { s.GracefulRestart = &v1beta1.GracefulRestart{Enabled: true} })
			s.member("a").Stopping = true
			s.member("b").Stopping, s.member("b").Draining = true, true
		}}, aService(), route, route + " drained"},
		{"maintenance", []func(*setup){all, tor, func(s *setup) {
			s.peer("other", "192.168.100.2", func(s *v1beta1.BGPPeerSpec) { s.Maintenance = true })
		}}, aService(), "other 192.168.100.240/32 all drained; " + route, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := cluster(t, tt.setup...)
			if tt.b == "" {
				tt.b = tt.a
			}
			if got := said(t, c, "a", tt.service); got != tt.a {
				t.Errorf("a: %s\nwant %s", got, tt.a)
			}
			if got := said(t, c, "b", tt.service); got != tt.b {
				t.Errorf("b: %s\nwant %s", got, tt.b)
			}
		})
	}
}

func TestSentences(t *testing.T) {
	c := cluster(t, all, func(s *setup) { s.peer("bad", "x") })
	v := c.Explain("a", aService())[0]
	if got := v.Sentence(); !strings.HasPrefix(got, `the BGPPeer is refused: spec.peerAddress: "x" is not the address of a host`) {
		t.Error(got)
	}
	v = Verdict{Reason: Advertised, GateIgnored: true, Drained: "the node is cordoned"}
	if got := v.Sentence(); got != "is advertised, though the node's service proxy is not healthy, as nobody's is, and marked for graceful shutdown, as the node is cordoned" {
		t.Error(got)
	}
}

func TestPeers(t *testing.T) {
	c := cluster(t, func(s *setup) {
		s.peer("tor6", "fd00:100::1", func(s *v1beta1.BGPPeerSpec) { s.BFDProfile, s.RouterID = "fast", "1.2.3.4" })
		s.peer("tor", "192.168.100.1")
		s.peer("link", "", func(s *v1beta1.BGPPeerSpec) { s.Interface, s.Maintenance = "eth0", true })
		s.peer("elsewhere", "192.168.100.9", func(s *v1beta1.BGPPeerSpec) { s.NodeSelectors = match("name", "c") })
		s.Profiles = []v1beta1.BFDProfile{{ObjectMeta: named("fast", 0)}}
		s.member("b").Draining = true
		n := s.Nodes["b"]
		n.Addresses = n.Addresses[:1]
		s.Nodes["b"] = n
	})
	show := func(node string) (out []string) {
		for _, p := range c.Peers(node) {
			out = append(out, fmt.Sprint(p.Name, " ", p.NextHop4, " ", p.NextHop6, " ", p.GracefulShutdown))
		}
		return out
	}
	if got, want := show("a"), []string{"link invalid IP invalid IP true", "tor invalid IP fd00:100::10 false", "tor6 192.168.100.10 invalid IP false"}; !slices.Equal(got, want) {
		t.Errorf("a: %q", got)
	}
	if got, want := show("b"), []string{"link invalid IP invalid IP true", "tor invalid IP invalid IP true", "tor6 192.168.100.11 invalid IP true"}; !slices.Equal(got, want) {
		t.Errorf("b: %q", got)
	}
	if got := c.BFD("a"); len(got) != 1 || got["tor6"].Name != "fast" {
		t.Errorf("BFD: %+v", got)
	}
	if id, made := c.RouterID("a"); id.String() != "1.2.3.4" || made {
		t.Errorf("router ID %s, made: %t", id, made)
	}
	c = cluster(t, tor, func(s *setup) {
		s.Nodes["b"] = view.Node{Addresses: []netip.Addr{v6}}
		s.Nodes["c"] = view.Node{Addresses: []netip.Addr{v6}}
	})
	a, madeA := c.RouterID("a")
	b, madeB := c.RouterID("b")
	c2, madeC := c.RouterID("c")
	if a.String() != "192.168.100.10" || !b.Is4() || b.IsUnspecified() || b == c2 || madeA || !madeB || !madeC {
		t.Errorf("router IDs %s, %s, %s, made: %t, %t, %t", a, b, c2, madeA, madeB, madeC)
	}
}

func TestKeepers(t *testing.T) {
	c := cluster(t, func(s *setup) {
		s.peer("old", "192.168.100.1", func(s *v1beta1.BGPPeerSpec) { s.NodeSelectors = append(match("name", "b"), match("name", "c")...) })
		s.peer("new", "192.168.100.1")
		slices.Reverse(s.Members)
		s.Nodes["idle"] = view.Node{} // without a speaker
	})
	for peer, want := range map[string]string{"old": "[b c] [] <nil>", "new": "[a] [b c] DuplicatePeer", "unknown": "[] [] <nil>"} {
		nodes, denied, why := c.Keepers(peer)
		reason := "<nil>"
		if why != nil {
			reason = why.Reason
		}
		if got := fmt.Sprint(nodes, denied, " ", reason); got != want {
			t.Errorf("%s: %s, want %s", peer, got, want)
		}
	}
}

// What stays the same stays one pointer, so that a table sees no change.
func TestOffersAreKept(t *testing.T) {
	c := cluster(t, tor, all)
	before := c.Wants("a", aService())
	c.Members = c.Members[:2]
	c.Prepare()
	if after := c.Wants("a", aService()); len(after) != 1 || after[0] != before[0] {
		t.Errorf("%+v, then %+v", before, after)
	}
	s := setup{}
	tor(&s)
	s.adv("all", func(s *v1beta1.BGPAdvertisementSpec) { s.MED = new(int64(1)) })
	c.BGP = config.CompileBGP(&s.BGPObjects)
	c.Prepare()
	if after := c.Wants("a", aService()); len(after) != 1 || after[0] == before[0] || *after[0].By.Attributes.MED != 1 {
		t.Errorf("a change is not seen: %+v", after)
	}
}

func TestPaths(t *testing.T) {
	c := cluster(t, tor, all, func(s *setup) {
		s.peer("tor2", "192.168.100.2", func(s *v1beta1.BGPPeerSpec) { s.NodeSelectors = match("name", "b") })
		s.member("a").DataplaneReady = false // which is ignored
	})
	everywhere, why := c.Paths(aService(), v4)
	want := []Path{{"a", "tor"}, {"b", "tor"}, {"b", "tor2"}, {"c", "tor"}}
	if why != "" || !slices.Equal(everywhere.List, want) || !slices.Equal(everywhere.Peers, []string{"tor", "tor2"}) {
		t.Errorf("%+v, %s", everywhere, why)
	}
	if again, _ := c.Paths(aService(dual), v4); again != everywhere {
		t.Error("the same paths are another pointer")
	}
	onB, _ := c.Paths(aService(local("b")), v4)
	if !slices.Equal(onB.List, want[1:3]) {
		t.Errorf("on b: %+v", onB)
	}
	if outside, _ := c.Paths(aService(local("")), v4); outside != everywhere {
		t.Errorf("outside: %+v", outside)
	}
	if nowhere, why := c.Paths(aService(local()), v4); why != NoEndpoints || len(nowhere.List) > 0 {
		t.Errorf("nowhere: %+v, %s", nowhere, why)
	}
	if unknown, why := c.Paths(aService(local("z")), v4); why != "" || len(unknown.List) > 0 {
		t.Errorf("on an unknown node: %+v, %s", unknown, why)
	}
}

func TestRivals(t *testing.T) {
	pref := func(n int64) func(*v1beta1.BGPAdvertisementSpec) {
		return func(s *v1beta1.BGPAdvertisementSpec) { s.LocalPref = &n }
	}
	prepend := func(n int32) func(*v1beta1.BGPAdvertisementSpec) {
		return func(s *v1beta1.BGPAdvertisementSpec) { s.ASPathPrepend = n }
	}
	inside := func(s *v1beta1.BGPPeerSpec) { *s.PeerASN = s.MyASN }
	onNode := func(name string) func(*v1beta1.BGPAdvertisementSpec) {
		return func(s *v1beta1.BGPAdvertisementSpec) { s.NodeSelectors = match("name", name) }
	}
	to := func(names ...string) func(*v1beta1.BGPAdvertisementSpec) {
		return func(s *v1beta1.BGPAdvertisementSpec) { s.Peers = names }
	}
	for name, tt := range map[string]struct {
		setup func(*setup)
		want  []string
	}{
		"none":                {func(s *setup) { s.adv("x"); s.adv("y", pref(1)); s.adv("z", pref(1)) }, nil},
		"two":                 {func(s *setup) { s.adv("x", pref(1)); s.adv("y", pref(2)) }, []string{"y loses localPref to x"}},
		"the winner of three": {func(s *setup) { s.adv("x", pref(1)); s.adv("y", pref(2)); s.adv("z", pref(3)) }, []string{"y loses localPref to x", "z loses localPref to x"}},
		"on different nodes":  {func(s *setup) { s.adv("x", pref(1), onNode("a")); s.adv("y", pref(2), onNode("b")) }, nil},
		"to different peers":  {func(s *setup) { s.adv("x", pref(1), to("tor")); s.adv("y", pref(2), to("tor2")) }, nil},
		"of different lengths": {func(s *setup) {
			s.adv("x", pref(1))
			s.adv("y", pref(2), func(s *v1beta1.BGPAdvertisementSpec) { s.AggregationLength = new(int32(24)) })
		}, nil},
		"of different pools": {func(s *setup) {
			s.adv("x", pref(1))
			s.adv("y", pref(2), func(s *v1beta1.BGPAdvertisementSpec) { s.IPAddressPools = []string{"y"} })
		}, nil},
		"in part": {func(s *setup) {
			s.adv("x", pref(1), onNode("a"))
			s.adv("y", pref(2), onNode("b"))
			s.adv("z", pref(3))
		}, []string{"z loses localPref to x", "z loses localPref to y"}},
		// What does not count for a peer is no conflict.
		"local preferences, to an external peer": {func(s *setup) { s.adv("x", pref(1), to("out")); s.adv("y", pref(2), to("out")) }, nil},
		"prepended, to an internal peer":         {func(s *setup) { s.adv("x", prepend(1), to("tor")); s.adv("y", prepend(2), to("tor")) }, nil},
		"prepended, to both": {func(s *setup) { s.adv("x", prepend(1), to("tor", "out")); s.adv("y", prepend(2), to("tor", "out")) },
			[]string{"y loses asPathPrepend to x"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster(t, func(s *setup) {
				s.peer("tor", "192.168.100.1", inside)
				s.peer("tor2", "192.168.100.2", inside)
				s.peer("out", "192.168.100.3")
			}, tt.setup)
			var table bgp.Table[int]
			table.Set(1, c.Rivals(aService(func(s *view.Service) { s.Endpoints = onNodes() })))
			if got := losers(table.Conflicts()); !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if meet := len(table.Routes()) > 0; meet == slices.Contains([]string{"none", "on different nodes", "to different peers", "local preferences, to an external peer", "prepended, to an internal peer"}, name) {
				t.Errorf("they meet: %t", meet)
			}
			if len(tt.want) > 0 && table.Conflicts()[0].Prefix != netip.MustParsePrefix("192.168.100.240/32") {
				t.Errorf("%+v", table.Conflicts())
			}
		})
	}
}

func losers(list []bgp.Conflict) (out []string) {
	for _, x := range list {
		out = append(out, fmt.Sprintf("%s loses %s to %s", x.Loser, x.Attribute, x.Winner))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func BenchmarkWants(b *testing.B) {
	c := cluster(b, tor, all, func(s *setup) { s.peer("tor2", "192.168.100.2"); s.peer("tor3", "192.168.100.3") })
	s := aService()
	b.ReportAllocs()
	for b.Loop() {
		if len(c.Wants("a", s)) != 1 {
			b.Fatal("it wants nothing")
		}
	}
}
