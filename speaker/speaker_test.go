package speaker

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/l2/election"
	"fairlead.io/fairlead/l2/netif"
)

// expected is what the pure function says of the named nodes.
func expected(addr string, nodes ...string) string {
	var list []election.Node
	for _, n := range nodes {
		list = append(list, election.Node{Name: n, Alive: true, Serves: 1, DataplaneReady: true})
	}
	return election.Elect(netip.MustParseAddr(addr), list).Owner
}

// three makes a cluster of three nodes with speakers, an advertisement for all, and waits until they know each other.
func three(t *testing.T, adv ...func(*v1beta1.L2Advertisement)) *cluster {
	t.Helper()
	k := newCluster(t)
	a := &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Name: "all"}}
	for _, f := range adv {
		f(a)
	}
	k.create(a)
	for _, n := range []string{"node1", "node2", "node3"} {
		k.node(n)
		k.speaker(n)
	}
	k.together("node1", "node2", "node3")
	return k
}

// together waits until the named speakers are ready and know each other and nobody else.
func (k *cluster) together(names ...string) {
	k.t.Helper()
	k.eventually(fmt.Sprintf("%v know each other", names), func() bool {
		for _, n := range names {
			s := k.speakers[n].Speaker
			s.mu.Lock()
			m := s.members
			s.mu.Unlock()
			if m == nil || !s.synced.Load() || len(m.Members()) != len(names) {
				return false
			}
		}
		return true
	})
}

func (k *cluster) ownedBy(addr, owner string) {
	k.t.Helper()
	k.eventually(fmt.Sprintf("%s owned by %q, and nobody else; last seen: %q", addr, owner, k.owners(addr)), func() bool { return k.owners(addr) == owner })
}

func TestOwnersAreThoseOfThePureFunction(t *testing.T) {
	k := three(t)
	nodes := []string{"node1", "node2", "node3"}
	for i := range 10 {
		v4, v6 := fmt.Sprintf("192.168.100.24%d", i), fmt.Sprintf("fd00:100::24%d", i)
		k.service(fmt.Sprintf("web%d", i), []string{v4, v6}, []string{"node1"})
	}
	for i := range 10 {
		for _, a := range []string{fmt.Sprintf("192.168.100.24%d", i), fmt.Sprintf("fd00:100::24%d", i)} {
			owner := expected(a, nodes...)
			k.ownedBy(a, owner)
			k.eventually(a+" is announced by its owner", func() bool { return k.speakers[owner].port.count(netip.MustParseAddr(a)) > 0 })
		}
	}
	// each Speaker object tells it
	for _, n := range nodes {
		k.eventually("Speaker "+n+" reports what it owns", func() bool {
			var s v1beta1.Speaker
			if err := k.Get(context.Background(), client.ObjectKey{Name: n}, &s); err != nil {
				return false
			}
			owned := k.speakers[n].announcer.Owned()
			if len(owned) != len(s.Status.Layer2) || int(s.Status.Layer2Count) != len(owned) {
				return false
			}
			for i := range owned {
				if owned[i].Addr.String() != s.Status.Layer2[i].IP {
					return false
				}
			}
			return meta.IsStatusConditionTrue(s.Status.Conditions, v1beta1.SpeakerReady) &&
				meta.IsStatusConditionTrue(s.Status.Conditions, v1beta1.SpeakerDataplaneReady) &&
				len(s.Status.Interfaces) == 1 && len(s.OwnerReferences) == 1 && s.OwnerReferences[0].Name == n &&
				s.Status.GossipAddress == k.speakers[n].members.Addr().String() && slices.Equal(s.Status.NodeAddresses, []string{"127.0.0.1"})
		})
	}
}

func TestStatusIsNotWrittenWithoutChange(t *testing.T) {
	k := three(t)
	k.service("web", []string{"192.168.100.240"}, []string{"node1"})
	k.ownedBy("192.168.100.240", expected("192.168.100.240", "node1", "node2", "node3"))
	write := func() *v1beta1.Speaker {
		if err := k.speakers["node1"].status.write(context.Background()); err != nil {
			t.Fatal(err)
		}
		var s v1beta1.Speaker
		if err := k.Get(context.Background(), client.ObjectKey{Name: "node1"}, &s); err != nil {
			t.Fatal(err)
		}
		return &s
	}
	k.eventually("two writes without a change between them", func() bool {
		before, after := write(), write()
		if !equality.Semantic.DeepEqual(before.Status, after.Status) {
			return false
		}
		if after.ResourceVersion != before.ResourceVersion {
			t.Errorf("a write without a change made version %s of %s", after.ResourceVersion, before.ResourceVersion)
		}
		return true
	})
}

func TestSpeakerKilledAndStopped(t *testing.T) {
	k := three(t)
	const addr = "192.168.100.240"
	k.service("web", []string{addr}, []string{"node1"})
	first := expected(addr, "node1", "node2", "node3")
	k.ownedBy(addr, first)

	others := slices.DeleteFunc([]string{"node1", "node2", "node3"}, func(n string) bool { return n == first })
	second := expected(addr, others...)
	k.speakers[first].kill()
	k.eventually("the standby owns the address", func() bool { return k.owners(addr) == second || k.owners(addr) == first+","+second })
	k.eventually("the standby announces it", func() bool { return k.speakers[second].port.count(netip.MustParseAddr(addr)) > 0 })

	third := others[0]
	if third == second {
		third = others[1]
	}
	delete(k.speakers, first)
	k.together(others...)
	k.speakers[second].stop()
	k.ownedBy(addr, third)
	k.eventually("the stopped speaker says so", func() bool {
		var s v1beta1.Speaker
		if err := k.Get(context.Background(), client.ObjectKey{Name: second}, &s); err != nil {
			return false
		}
		c := meta.FindStatusCondition(s.Status.Conditions, v1beta1.SpeakerReady)
		return c != nil && c.Reason == v1beta1.ReasonStopping && len(s.Status.Layer2) == 0
	})
}

func TestAPIServerPaused(t *testing.T) {
	k := three(t)
	const addr = "192.168.100.240"
	k.service("web", []string{addr}, []string{"node1"})
	first := expected(addr, "node1", "node2", "node3")
	k.ownedBy(addr, first)
	resume := pauseAPIServer(t)
	others := slices.DeleteFunc([]string{"node1", "node2", "node3"}, func(n string) bool { return n == first })
	// its network is gone: others find it dead without being told
	if err := k.speakers[first].members.Close(); err != nil {
		t.Fatal(err)
	}
	delete(k.speakers, first)
	k.ownedBy(addr, expected(addr, others...))
	resume()
	k.eventually("the new owner reports it", func() bool {
		var s v1beta1.Speaker
		err := k.Get(context.Background(), client.ObjectKey{Name: expected(addr, others...)}, &s)
		return err == nil && s.Status.Layer2Count == 1
	})
}

func TestWhatMovesAnAddress(t *testing.T) {
	k := three(t)
	const addr = "192.168.100.240"
	all := []string{"node1", "node2", "node3"}
	svc := k.service("web", []string{addr}, all, func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal })
	home := expected(addr, all...)
	others := slices.DeleteFunc(slices.Clone(all), func(n string) bool { return n == home })
	away := expected(addr, others...)
	k.ownedBy(addr, home)

	edit := func(change func(*corev1.Node)) {
		t.Helper()
		var n corev1.Node
		if err := k.Get(context.Background(), client.ObjectKey{Name: home}, &n); err != nil {
			t.Fatal(err)
		}
		before := n.DeepCopy()
		change(&n)
		if err := k.Patch(context.Background(), &n, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(n *corev1.Node, on bool){
		"cordon": func(n *corev1.Node, on bool) { n.Spec.Unschedulable = on },
		"exclude label": func(n *corev1.Node, on bool) {
			if delete(n.Labels, "node.kubernetes.io/exclude-from-external-load-balancers"); on {
				n.Labels["node.kubernetes.io/exclude-from-external-load-balancers"] = ""
			}
		},
	} {
		edit(func(n *corev1.Node) { change(n, true) })
		k.ownedBy(addr, away)
		edit(func(n *corev1.Node) { change(n, false) })
		k.ownedBy(addr, home)
		t.Log(name, "moved the address and its end brought it back")
	}

	k.speakers[home].setHealth(health{Reason: v1beta1.ReasonProxyUnhealthy})
	k.ownedBy(addr, away)
	k.speakers[home].setHealth(health{Ready: true, Reason: v1beta1.ReasonProxyHealthy})
	k.ownedBy(addr, home)

	// interfaces
	k.speakers[home].setInterfaces(nil)
	k.ownedBy(addr, away)
	k.speakers[home].setInterfaces([]netif.Interface{{Name: "eth0", Index: 1, MAC: netif.MAC{2, 0, 0, 0, 0, 9}}})
	k.ownedBy(addr, home)

	// endpoints, externalTrafficPolicy being Local
	k.endpoints("web", others)
	k.ownedBy(addr, away)
	k.endpoints("web", nil)
	k.ownedBy(addr, "")
	k.endpoints("web", all)
	k.ownedBy(addr, home)

	if err := k.Delete(context.Background(), svc); err != nil {
		t.Fatal(err)
	}
	k.ownedBy(addr, "")
}

func TestAdvertisements(t *testing.T) {
	k := three(t, func(a *v1beta1.L2Advertisement) { a.Spec.IPAddressPools = []string{"pool"} })
	const addr, foreign = "192.168.100.240", "192.0.2.1"
	all := []string{"node1", "node2", "node3"}
	k.service("web", []string{addr}, all)
	k.service("foreign", []string{foreign}, all)
	k.service("other", []string{"192.168.100.249"}, all, func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("example.org/other") })
	k.ownedBy(addr, expected(addr, all...))
	if got := k.owners(foreign) + k.owners("192.168.100.249"); got != "" {
		t.Errorf("%s announces what is of no pool, or of another class", got)
	}

	update := func(change func(*v1beta1.L2AdvertisementSpec)) {
		t.Helper()
		a := &v1beta1.L2Advertisement{}
		if err := k.Get(context.Background(), client.ObjectKey{Name: "all"}, a); err != nil {
			t.Fatal(err)
		}
		change(&a.Spec)
		if err := k.Update(context.Background(), a); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range all {
		update(func(s *v1beta1.L2AdvertisementSpec) {
			s.NodeSelectors = []metav1.LabelSelector{{MatchLabels: map[string]string{"kubernetes.io/hostname": n}}}
		})
		k.ownedBy(addr, n)
	}
	for _, n := range all {
		update(func(s *v1beta1.L2AdvertisementSpec) {
			s.NodeSelectors = nil
			s.PreferredNodeSelectors = []v1beta1.PreferredNodeSelector{{Weight: 5, Preference: metav1.LabelSelector{
				MatchLabels: map[string]string{"kubernetes.io/hostname": n}}}}
		})
		k.ownedBy(addr, n)
	}
	update(func(s *v1beta1.L2AdvertisementSpec) { s.Interfaces = []string{"bond*"} })
	k.ownedBy(addr, "")
	update(func(s *v1beta1.L2AdvertisementSpec) { s.Interfaces = []string{"bond*", "eth?"} })
	k.ownedBy(addr, "node3")
	// another one is of no use, and disturbs nobody
	k.create(&v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Name: "broken"}, Spec: v1beta1.L2AdvertisementSpec{Interfaces: []string{"[a-"}}})
	update(func(s *v1beta1.L2AdvertisementSpec) { s.PreferredNodeSelectors = nil })
	k.ownedBy(addr, expected(addr, all...))
}

func TestReadyOnlyWithTheGossipKey(t *testing.T) {
	k := newCluster(t)
	k.node("node1")
	r := k.speaker("node1", func(o *Options) { o.GossipSecret = "missing" })
	k.eventually("the Speaker object says that it is starting", func() bool {
		var s v1beta1.Speaker
		err := k.Get(context.Background(), client.ObjectKey{Name: "node1"}, &s)
		c := meta.FindStatusCondition(s.Status.Conditions, v1beta1.SpeakerReady)
		return err == nil && c != nil && c.Reason == v1beta1.ReasonStarting
	})
	if r.Ready(nil) == nil {
		t.Error("a speaker without a key says that it is ready")
	}
	k.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "missing"},
		Data: map[string][]byte{GossipKey: make([]byte, 32)}})
	k.eventually("the speaker is ready", func() bool { return r.Ready(nil) == nil })
	if err := r.Healthy(httptest.NewRequest(http.MethodGet, "/healthz", nil)); err != nil {
		t.Error(err)
	}
}

func TestGate(t *testing.T) {
	var status atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	var got []health
	gateOf := func(report func(health)) *gate {
		g := newGate(server.URL, report, logr.Discard())
		g.client.Timeout = patience // an answer that comes late is none of what is tested
		return g
	}
	g := gateOf(func(h health) { got = append(got, h) })
	expect := func(reason string, ready bool) {
		t.Helper()
		g.check(context.Background())
		if g.state.Reason != reason || g.state.Ready != ready {
			t.Errorf("%+v, want %s %t", g.state, reason, ready)
		}
	}
	status.Store(200)
	expect(v1beta1.ReasonProxyHealthy, true)
	status.Store(503)
	expect(v1beta1.ReasonProxyHealthy, true)
	expect(v1beta1.ReasonProxyHealthy, true)
	expect(v1beta1.ReasonProxyUnhealthy, false)
	status.Store(200)
	expect(v1beta1.ReasonProxyHealthy, true)
	server.Close()
	expect(v1beta1.ReasonProxyHealthy, true)
	expect(v1beta1.ReasonProxyHealthy, true)
	expect(v1beta1.ReasonProxyUnhealthy, false)
	if len(got) != 4 {
		t.Errorf("%d changes reported, want 4: %+v", len(got), got)
	}
	// One that has never answered well, and then not at all. Each question has a connection of its own: one that is kept still works when
	// nobody listens any more.
	var connections atomic.Int32
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	g = gateOf(func(health) {})
	expect(v1beta1.ReasonNoProxyHealth, true)
	expect(v1beta1.ReasonNoProxyHealth, true)
	if got := connections.Load(); got != 2 {
		t.Errorf("%d connections for two questions", got)
	}
	server.Close()
	expect(v1beta1.ReasonProxyUnhealthy, false)

	never := gateOf(func(h health) { t.Errorf("reported %+v", h) })
	for range 5 {
		never.check(context.Background())
	}
	if !never.state.Ready || never.state.Reason != v1beta1.ReasonNoProxyHealth {
		t.Errorf("%+v: where nothing ever listened the gate is open", never.state)
	}
}
