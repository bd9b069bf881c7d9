package layer2

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/endpoints"
	"fairlead.io/fairlead/internal/view"
	"fairlead.io/fairlead/l2/election"
)

var addr = netip.MustParseAddr("192.168.100.240")

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
	s := &view.Service{Addresses: []netip.Addr{addr}, Pools: []string{"pool"}, Endpoints: onNodes("a", "b", "c")}
	for _, f := range change {
		f(s)
	}
	return s
}

func local(nodes ...string) func(*view.Service) {
	return func(s *view.Service) { s.Local, s.Endpoints = true, onNodes(nodes...) }
}

func labelled(set labels.Set) func(*view.Service) { return func(s *view.Service) { s.Labels = set } }

func adv(t *testing.T, name string, change ...func(*v1beta1.L2AdvertisementSpec)) *config.L2Advertisement {
	t.Helper()
	a := &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, f := range change {
		f(&a.Spec)
	}
	c, err := config.CompileL2Advertisement(a)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func match(key, value string) []metav1.LabelSelector {
	return []metav1.LabelSelector{{MatchLabels: map[string]string{key: value}}}
}

// cluster has nodes a, b and c, each labelled with its name, with a live speaker and eth0.
func cluster(t *testing.T, change ...func(*Cluster)) *Cluster {
	t.Helper()
	c := &Cluster{Nodes: map[string]view.Node{}, Advertisements: []*config.L2Advertisement{adv(t, "all")}}
	for _, n := range []string{"a", "b", "c"} {
		c.Nodes[n] = view.Node{Labels: labels.Set{"name": n}}
		c.Members = append(c.Members, Member{Name: n, DataplaneReady: true, Interfaces: []string{"eth0"}})
	}
	for _, f := range change {
		f(c)
	}
	c.Prepare()
	return c
}

func candidates(d Decision) []string {
	var out []string
	for _, v := range d.Verdicts {
		if v.Rank > 0 {
			out = append(out, v.Node)
		}
	}
	slices.Sort(out)
	return out
}

func reasonOf(d Decision, node string) election.Reason {
	for _, v := range d.Verdicts {
		if v.Node == node {
			return v.Reason
		}
	}
	return ""
}

func TestCandidates(t *testing.T) {
	advs := func(list ...*config.L2Advertisement) func(*Cluster) {
		return func(c *Cluster) { c.Advertisements = list }
	}
	interfaces := func(names ...string) func(*v1beta1.L2AdvertisementSpec) {
		return func(s *v1beta1.L2AdvertisementSpec) { s.Interfaces = names }
	}
	nodes := func(name string) func(*v1beta1.L2AdvertisementSpec) {
		return func(s *v1beta1.L2AdvertisementSpec) { s.NodeSelectors = match("name", name) }
	}
	node := func(name string, n view.Node) func(*Cluster) { return func(c *Cluster) { c.Nodes[name] = n } }
	excluded := view.Node{Labels: labels.Set{view.ExcludeLabel: "", "name": "a"}}
	tests := []struct {
		name     string
		cluster  *Cluster
		services []*view.Service
		want     []string
		reason   Reason
		why      map[string]election.Reason
		ifaces   []string
	}{
		{name: "all", cluster: cluster(t), services: []*view.Service{aService()}, want: []string{"a", "b", "c"}},
		{name: "no endpoints", cluster: cluster(t), services: []*view.Service{aService(func(s *view.Service) { s.Endpoints = onNodes() })}, reason: NoEndpoints},
		{name: "endpoint outside of the cluster", cluster: cluster(t), services: []*view.Service{aService(local(""))}, want: []string{"a", "b", "c"}},
		{name: "no advertisement", cluster: cluster(t, advs()), services: []*view.Service{aService()}, reason: NoAdvertisement},
		{name: "advertisement for another pool", cluster: cluster(t, advs(adv(t, "x", func(s *v1beta1.L2AdvertisementSpec) { s.IPAddressPools = []string{"y"} }))),
			services: []*view.Service{aService()}, reason: NoAdvertisement},
		{name: "advertisement for other Services", cluster: cluster(t, advs(adv(t, "x", func(s *v1beta1.L2AdvertisementSpec) { s.ServiceSelectors = match("a", "b") }))),
			services: []*view.Service{aService()}, reason: NoAdvertisement},
		{name: "Local", cluster: cluster(t), services: []*view.Service{aService(local("b", "z"))}, want: []string{"b"},
			why: map[string]election.Reason{"a": election.NoLocalEndpoint, "b": election.Owner}},
		{name: "not Local: endpoints elsewhere", cluster: cluster(t), services: []*view.Service{aService(func(s *view.Service) { s.Endpoints = onNodes("b") })}, want: []string{"a", "b", "c"}},
		{name: "node selector", cluster: cluster(t, advs(adv(t, "x", nodes("b")))), services: []*view.Service{aService()}, want: []string{"b"},
			why: map[string]election.Reason{"a": election.NotSelected}},
		{name: "two advertisements unite", cluster: cluster(t, advs(adv(t, "x", nodes("b")), adv(t, "y", nodes("c")))), services: []*view.Service{aService()},
			want: []string{"b", "c"}},
		{name: "excluded", cluster: cluster(t, node("a", excluded)), services: []*view.Service{aService()}, want: []string{"b", "c"},
			why: map[string]election.Reason{"a": election.Excluded}},
		{name: "excluded, but that is ignored", cluster: cluster(t, node("a", excluded), func(c *Cluster) { c.IgnoreExcludeLabel = true }),
			services: []*view.Service{aService()}, want: []string{"a", "b", "c"}},
		{name: "network unavailable", cluster: cluster(t, node("a", view.Node{NetworkUnavailable: true})), services: []*view.Service{aService()}, want: []string{"b", "c"},
			why: map[string]election.Reason{"a": election.NetworkUnavailable}},
		{name: "no Node", cluster: cluster(t, func(c *Cluster) { delete(c.Nodes, "a") }), services: []*view.Service{aService()}, want: []string{"b", "c"},
			why: map[string]election.Reason{"a": election.UnknownNode}},
		{name: "no speaker", cluster: cluster(t, func(c *Cluster) { c.Members = c.Members[1:] }), services: []*view.Service{aService()}, want: []string{"b", "c"},
			why: map[string]election.Reason{"a": election.NotAlive}},
		{name: "no interface at all", cluster: cluster(t, func(c *Cluster) { c.Members[0].Interfaces = nil }), services: []*view.Service{aService()}, want: []string{"b", "c"},
			why: map[string]election.Reason{"a": election.NoInterface}},
		{name: "interface missing", cluster: cluster(t, advs(adv(t, "x", interfaces("eth?"))), func(c *Cluster) { c.Members[0].Interfaces = []string{"bond0"} }),
			services: []*view.Service{aService()}, want: []string{"b", "c"}, why: map[string]election.Reason{"a": election.NoInterface}, ifaces: []string{"eth0"}},
		{name: "interfaces unite", cluster: cluster(t, advs(adv(t, "x", interfaces("eth0")), adv(t, "y", interfaces("bond*"))), func(c *Cluster) {
			c.Members = []Member{{Name: "a", DataplaneReady: true, Interfaces: []string{"bond0", "eth0", "eth1"}}}
		}), services: []*view.Service{aService()}, want: []string{"a"}, ifaces: []string{"bond0", "eth0"}},
		{name: "an interface that two advertisements name is one", cluster: cluster(t, advs(adv(t, "x", interfaces("eth0")), adv(t, "y", interfaces("eth*")))), services: []*view.Service{aService()},
			want: []string{"a", "b", "c"}, ifaces: []string{"eth0"}},
		{name: "all interfaces with some are all", cluster: cluster(t, advs(adv(t, "x", interfaces("eth0")), adv(t, "y"))), services: []*view.Service{aService()},
			want: []string{"a", "b", "c"}},
		{name: "shared: nodes that serve both go first", cluster: cluster(t), services: []*view.Service{aService(local("a", "b")), aService(local("b", "c"))},
			want: []string{"a", "b", "c"}, why: map[string]election.Reason{"b": election.Owner}},
		{name: "shared: the nearest reason is told", cluster: cluster(t, advs(adv(t, "x", func(s *v1beta1.L2AdvertisementSpec) { s.ServiceSelectors = match("app", "web") }, nodes("b")),
			adv(t, "y", func(s *v1beta1.L2AdvertisementSpec) { s.ServiceSelectors = match("app", "dns") }, interfaces("bond0")),
			adv(t, "z", func(s *v1beta1.L2AdvertisementSpec) { s.ServiceSelectors = match("app", "api") }))),
			services: []*view.Service{aService(labelled(labels.Set{"app": "web"})), aService(labelled(labels.Set{"app": "dns"})), aService(local("c"), labelled(labels.Set{"app": "api"}))},
			want:     []string{"b", "c"}, why: map[string]election.Reason{"a": election.NoLocalEndpoint}},
		{name: "shared: one without endpoints does not count", cluster: cluster(t), services: []*view.Service{aService(local()), aService(local("c"))},
			want: []string{"c"}},
		{name: "shared: one without advertisement does not count", cluster: cluster(t, advs(adv(t, "x", func(s *v1beta1.L2AdvertisementSpec) { s.ServiceSelectors = match("app", "web") }))),
			services: []*view.Service{aService(local("a")), aService(local("c"), labelled(labels.Set{"app": "web"}))}, want: []string{"c"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := tt.cluster.Decide(addr, tt.services)
			if got := candidates(d); !slices.Equal(got, tt.want) || d.Reason != tt.reason {
				t.Errorf("candidates %v, reason %q; want %v, %q", got, d.Reason, tt.want, tt.reason)
			}
			for node, want := range tt.why {
				if got := reasonOf(d, node); got != want {
					t.Errorf("%s: %s, want %s", node, got, want)
				}
			}
			if !reflect.DeepEqual(d.Interfaces, tt.ifaces) {
				t.Errorf("interfaces %v, want %v", d.Interfaces, tt.ifaces)
			}
			slices.Reverse(tt.services)
			if again := tt.cluster.Decide(addr, tt.services); !reflect.DeepEqual(again, d) {
				t.Errorf("the order of Services matters: %+v, then %+v", d, again)
			}
		})
	}
}

func TestPreferencesAddUp(t *testing.T) {
	prefer := func(name string, weight int32) func(*v1beta1.L2AdvertisementSpec) {
		return func(s *v1beta1.L2AdvertisementSpec) {
			s.PreferredNodeSelectors = append(s.PreferredNodeSelectors, v1beta1.PreferredNodeSelector{Weight: weight, Preference: match("name", name)[0]})
		}
	}
	c := cluster(t, func(c *Cluster) {
		c.Advertisements = []*config.L2Advertisement{adv(t, "x", prefer("a", 10), prefer("b", 6)), adv(t, "y", prefer("b", 6))}
	})
	// Two Services that share the address do not count an advertisement twice.
	if d := c.Decide(addr, []*view.Service{aService(), aService()}); d.Owner != "b" || d.Standby != "a" {
		t.Errorf("owner %s, standby %s, want b (6+6) before a (10)", d.Owner, d.Standby)
	}
}

func TestPoolsOfTwoFamilies(t *testing.T) {
	v6 := netip.MustParseAddr("fd00::240")
	c := cluster(t, func(c *Cluster) {
		c.Advertisements = []*config.L2Advertisement{adv(t, "x", func(s *v1beta1.L2AdvertisementSpec) { s.IPAddressPools = []string{"six"} })}
	})
	s := aService(func(s *view.Service) { s.Addresses, s.Pools = []netip.Addr{addr, v6}, []string{"four", "six"} })
	if d := c.Decide(addr, []*view.Service{s}); d.Reason != NoAdvertisement || d.Why("a") != string(NoAdvertisement) {
		t.Errorf("IPv4: %+v", d)
	}
	if d := c.Decide(v6, []*view.Service{s}); d.Owner == "" || d.Why(d.Owner) != string(election.Owner) || !d.Candidate("a") || d.Candidate("z") {
		t.Errorf("IPv6: %+v", d)
	}
}

func BenchmarkDecide(b *testing.B) {
	c := &Cluster{Nodes: map[string]view.Node{}, Advertisements: []*config.L2Advertisement{{Name: "all"}}}
	for _, n := range []string{"a", "b", "c"} {
		c.Nodes[n] = view.Node{}
		c.Members = append(c.Members, Member{Name: n, DataplaneReady: true, Interfaces: []string{"eth0"}})
	}
	c.Prepare()
	services := []*view.Service{aService()}
	for b.Loop() {
		c.Decide(addr, services)
	}
}

// A node goes behind others while it is settling, or all its interfaces are that an advertisement of the address names.
func TestSettling(t *testing.T) {
	on := func(names ...string) func(*v1beta1.L2AdvertisementSpec) {
		return func(s *v1beta1.L2AdvertisementSpec) { s.Interfaces = names }
	}
	for _, tt := range []struct {
		name     string
		advs     []*config.L2Advertisement
		node     bool
		settling []string
		want     bool
	}{
		{"nothing is", []*config.L2Advertisement{adv(t, "all")}, false, nil, false},
		{"the node is", []*config.L2Advertisement{adv(t, "all")}, true, nil, true},
		{"one of its interfaces is", []*config.L2Advertisement{adv(t, "all")}, false, []string{"eth0"}, false},
		{"all are", []*config.L2Advertisement{adv(t, "all")}, false, []string{"eth0", "eth1"}, true},
		{"the one that counts is", []*config.L2Advertisement{adv(t, "one", on("eth0"))}, false, []string{"eth0"}, true},
		{"the other is", []*config.L2Advertisement{adv(t, "one", on("eth0"))}, false, []string{"eth1"}, false},
		{"one of two advertisements' is", []*config.L2Advertisement{adv(t, "one", on("eth0")), adv(t, "two", on("eth1"))}, false, []string{"eth1"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Cluster{Pools: config.CompilePools(nil), Advertisements: tt.advs, Nodes: map[string]view.Node{"a": {}, "b": {}}}
			both := []string{"eth0", "eth1"}
			c.Members = []Member{{Name: "a", DataplaneReady: true, Interfaces: both}, {Name: "b", DataplaneReady: true, Interfaces: both}}
			c.Prepare()
			d := c.Decide(addr, []*view.Service{aService()})
			first, second := d.Owner, d.Standby
			for i := range c.Members {
				if c.Members[i].Name == first {
					c.Members[i].Settling, c.Members[i].SettlingInterfaces = tt.node, tt.settling
				}
			}
			c.Prepare()
			d = c.Decide(addr, []*view.Service{aService()})
			if want := map[bool]string{false: first, true: second}[tt.want]; d.Owner != want || d.Standby == "" {
				t.Errorf("the owner is %s, want %s", d.Owner, want)
			}
		})
	}
}

// What is not the same is another member.
func TestMemberEqual(t *testing.T) {
	m := Member{Name: "a", Interfaces: []string{"eth0"}, SettlingInterfaces: []string{"eth0"}}
	for name, change := range map[string]func(*Member){
		"name": func(m *Member) { m.Name = "b" }, "draining": func(m *Member) { m.Draining = true }, "stopping": func(m *Member) { m.Stopping = true },
		"settling": func(m *Member) { m.Settling = true }, "data plane": func(m *Member) { m.DataplaneReady = true },
		"interfaces": func(m *Member) { m.Interfaces = nil }, "settling interfaces": func(m *Member) { m.SettlingInterfaces = nil },
	} {
		o := m
		if change(&o); m.Equal(&o) || !m.Equal(&m) {
			t.Errorf("another %s is no difference", name)
		}
	}
}
