package controllers

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/bgproutes"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/endpoints"
	"fairlead.io/fairlead/internal/view"
	"fairlead.io/fairlead/ipam"
)

// planned is a plan for three nodes and two peers, one of them with one node only, and the queue that it tells.
func planned(t *testing.T) (*bgpPlan, queue) {
	t.Helper()
	p := newBGPPlan(nil, "", nil)
	peers := []v1beta1.BGPPeer{
		{ObjectMeta: metav1.ObjectMeta{Name: "tor"}, Spec: v1beta1.BGPPeerSpec{MyASN: 1, PeerASN: new(int64(2)), PeerAddress: "192.168.100.1"}},
		{ObjectMeta: metav1.ObjectMeta{Name: "tor2"}, Spec: v1beta1.BGPPeerSpec{MyASN: 1, PeerASN: new(int64(2)), PeerAddress: "192.168.100.2",
			NodeSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"name": "a"}}}}},
	}
	p.cluster = bgproutes.Cluster{BGP: config.CompileBGP(&config.BGPObjects{Peers: peers, Advertisements: make([]v1beta1.BGPAdvertisement, 1)}), Nodes: map[string]view.Node{}}
	for _, n := range []string{"a", "b", "c"} {
		p.cluster.Nodes[n] = view.Node{Labels: labels.Set{"name": n}}
		p.cluster.Members = append(p.cluster.Members, bgproutes.Member{Name: n, DataplaneReady: true})
	}
	p.cluster.Prepare()
	p.loaded = true
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	t.Cleanup(q.ShutDown)
	p.queue = q
	return p, q
}

// woken empties the queue.
func woken(q queue) []ipam.Key {
	var keys []ipam.Key
	for q.Len() > 0 {
		r, _ := q.Get()
		q.Done(r)
		keys = append(keys, ipam.Service(r.Namespace, r.Name))
	}
	slices.Sort(keys)
	return keys
}

func on(addr netip.Addr, local bool, nodes ...string) *view.Service {
	s := discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
	for _, n := range nodes {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{NodeName: &n})
	}
	return &view.Service{Addresses: []netip.Addr{addr}, Local: local, Endpoints: endpoints.FromSlices([]discoveryv1.EndpointSlice{s})}
}

// Whatever happens to sessions and Services, those are woken whose outcome has changed through no doing of their own, and no others; and
// nothing is kept of what is gone.
func TestWoken(t *testing.T) {
	addrs := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")}
	paths := []bgproutes.Path{{Node: "a", Peer: "tor"}, {Node: "b", Peer: "tor"}, {Node: "c", Peer: "tor"}, {Node: "a", Peer: "tor2"}}
	wakings := 0
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		p, q := planned(t)
		services := map[ipam.Key]*view.Service{}
		outcome := func() map[ipam.Key]string {
			out := map[ipam.Key]string{}
			for k, s := range services {
				// From scratch: by the paths of all Services of the address.
				up, peers := false, []string{}
				for _, other := range services {
					if other.Addresses[0] != s.Addresses[0] {
						continue
					}
					all, _ := p.cluster.Paths(other, s.Addresses[0])
					peers = append(peers, all.Peers...)
					up = up || slices.ContainsFunc(all.List, func(x bgproutes.Path) bool { _, ok := p.up[x]; return ok })
				}
				slices.Sort(peers)
				out[k] = fmt.Sprint(up, slices.Compact(peers))
			}
			return out
		}
		for step := range 60 {
			before, self := outcome(), ipam.Key("")
			if r.IntN(2) == 0 {
				now := map[bgproutes.Path]struct{}{}
				for _, path := range paths {
					if r.IntN(3) == 0 {
						now[path] = struct{}{}
					}
				}
				p.mu.Lock()
				p.setUp(now)
				p.mu.Unlock()
			} else {
				self = ipam.Service("default", fmt.Sprint("s", r.IntN(5)))
				if r.IntN(3) == 0 {
					delete(services, self)
					p.remove(self)
				} else {
					var nodes []string
					for _, n := range []string{"a", "b", "c"} {
						if r.IntN(2) == 0 {
							nodes = append(nodes, n)
						}
					}
					services[self] = on(addrs[r.IntN(len(addrs))], r.IntN(2) == 0, nodes...)
					got := p.set(self, services[self])[services[self].Addresses[0]]
					if want := outcome()[self]; fmt.Sprint(got.up, append([]string{}, got.peers...)) != want {
						t.Fatalf("seed %d step %d: %+v, want %s", seed, step, got, want)
					}
				}
			}
			after := outcome()
			told := woken(q)
			wakings += len(told)
			for k := range services {
				if k != self && before[k] != after[k] && !slices.Contains(told, k) {
					t.Fatalf("seed %d step %d: %s was not told: %s, then %s", seed, step, k, before[k], after[k])
				}
			}
			if self == "" {
				for _, k := range told { // a session concerns only whose last or first it is, or who shares an address with one
					shares := slices.ContainsFunc(slices.Collect(maps.Keys(services)), func(o ipam.Key) bool {
						return services[o].Addresses[0] == services[k].Addresses[0] && o != k
					})
					if before[k] == after[k] && !shares {
						t.Fatalf("seed %d step %d: %s was told of nothing", seed, step, k)
					}
				}
			}
		}
		for k := range services {
			p.remove(k)
		}
		if len(p.services)+len(p.byAddr)+len(p.groups)+len(p.byPath)+len(p.rivals) > 0 {
			t.Fatalf("seed %d: something is kept", seed)
		}
	}
	if wakings < 500 {
		t.Errorf("only %d wakings: nothing happens", wakings)
	}
}

// A session among several of a thousand Services concerns none of them; the last one concerns all.
func TestSessionsConcernFew(t *testing.T) {
	p, q := planned(t)
	all := map[bgproutes.Path]struct{}{{Node: "a", Peer: "tor"}: {}, {Node: "b", Peer: "tor"}: {}}
	p.setUp(all)
	for i := range 1000 {
		p.set(ipam.Service("default", fmt.Sprint("s", i)), on(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), false, "a"))
	}
	p.set("default/local", on(netip.MustParseAddr("10.9.9.9"), true, "b"))
	if len(p.groups) != 2 {
		t.Errorf("%d groups of Services, want 2", len(p.groups))
	}
	woken(q)
	p.setUp(map[bgproutes.Path]struct{}{{Node: "a", Peer: "tor"}: {}})
	if told := woken(q); !slices.Equal(told, []ipam.Key{"default/local"}) {
		t.Errorf("%d were told", len(told))
	}
	p.setUp(nil)
	if told := woken(q); len(told) != 1000 {
		t.Errorf("%d were told", len(told))
	}
}

func TestTrimSecret(t *testing.T) {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "bgp", CreationTimestamp: metav1.NewTime(time.Unix(1, 0)), Annotations: map[string]string{"last-applied": "sesame"}},
		Data: map[string][]byte{"password": []byte("sesame\n"), "binary": {0xff, 0xfe, 0, 'a'}}}
	o, err := trimSecret(s)
	got, ok := o.(*corev1.Secret)
	if err != nil || !ok || string(got.Data["password"]) != "xxxxxx\n" || string(got.Data["binary"]) != "xx\x00x" || len(got.Annotations) > 0 {
		t.Errorf("%+v, %v", o, err)
	}
}
