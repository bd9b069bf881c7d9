package bgproutes

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/internal/view"
)

// random makes a cluster and Services of which little is alike.
func random(t *testing.T, r *rand.Rand) (*Cluster, []*view.Service) {
	t.Helper()
	coin := func() bool { return r.IntN(2) == 0 }
	selectors := func() []metav1.LabelSelector {
		if r.IntN(3) > 0 {
			return nil
		}
		return match("name", []string{"a", "b", "c"}[r.IntN(3)])
	}
	c := cluster(t, func(s *setup) {
		for i, n := range []string{"a", "b", "c"} {
			m := &s.Members[i]
			m.DataplaneReady, m.Draining = coin(), coin()
			node := s.Nodes[n]
			node.NetworkUnavailable = r.IntN(5) == 0
			node.Addresses = node.Addresses[:1+r.IntN(2)]
			if r.IntN(5) == 0 {
				node.Labels = labels.Set{"name": n, view.ExcludeLabel: ""}
			}
			s.Nodes[n] = node
		}
		if r.IntN(4) == 0 {
			s.Members = s.Members[:2]
		}
		for i := range 1 + r.IntN(4) {
			s.peer(fmt.Sprint("peer", i), fmt.Sprintf("192.168.100.%d", 1+r.IntN(5)), func(s *v1beta1.BGPPeerSpec) {
				s.NodeSelectors = selectors()
				if coin() {
					*s.PeerASN = s.MyASN
				}
				if coin() {
					s.AddressFamilies = []v1beta1.AddressFamily{[]v1beta1.AddressFamily{"ipv4", "ipv6"}[r.IntN(2)]}
				}
			})
		}
		for i := range r.IntN(5) {
			s.adv(fmt.Sprint("adv", i), func(s *v1beta1.BGPAdvertisementSpec) {
				s.NodeSelectors = selectors()
				if coin() {
					s.Peers = []string{fmt.Sprint("peer", r.IntN(4))}
				}
				if r.IntN(4) == 0 {
					s.IPAddressPools = []string{"other"}
				}
				if coin() {
					s.AggregationLength = new(int32(28))
				}
				if coin() {
					s.LocalPref = new(int64(r.IntN(3)))
				}
				if coin() {
					s.ASPathPrepend = int32(r.IntN(3))
				}
				if coin() {
					s.MED = new(int64(r.IntN(3)))
				}
			})
		}
	})
	var services []*view.Service
	for i := range 6 {
		services = append(services, aService(func(s *view.Service) {
			s.Addresses[0] = netip.AddrFrom4([4]byte{192, 168, 100, byte(240 + i)})
			s.Pools = []string{[]string{"web", "other"}[r.IntN(2)]}
			if coin() {
				dual(s)
			}
			var nodes []string
			for _, n := range []string{"a", "b", "c", ""} {
				if r.IntN(3) == 0 {
					nodes = append(nodes, n)
				}
			}
			s.Local, s.Endpoints = coin(), onNodes(nodes...)
		}))
	}
	return c, services
}

// Whatever the cluster: what is wanted is what is explained; a gate leaves nothing dark; paths are what is wanted were all data planes
// ready; and rivals find the conflicts that the nodes have.
func TestProperties(t *testing.T) {
	nodes := []string{"a", "b", "c"}
	routes, conflicts := 0, 0
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		c, services := random(t, r)
		wanted := map[string]bool{} // address and peer
		for _, s := range services {
			for _, n := range nodes {
				said(t, c, n, s)
				for _, w := range c.Wants(n, s) {
					routes++
					for _, addr := range s.Addresses {
						if w.Prefix.Contains(addr) {
							wanted[addr.String()] = true
						}
					}
				}
			}
		}
		for i := range c.Members {
			c.Members[i].DataplaneReady = true
		}
		c.Prepare()
		for _, s := range services {
			for _, addr := range s.Addresses {
				paths, _ := c.Paths(s, addr)
				var want []Path
				for _, n := range nodes {
					for _, v := range c.Explain(n, s) {
						if v.Addr == addr && v.Reason == Advertised {
							want = append(want, Path{n, v.Peer})
						}
					}
				}
				if !slices.Equal(paths.List, want) {
					t.Fatalf("seed %d: paths %v, want %v", seed, paths.List, want)
				}
				if (len(want) > 0) != wanted[addr.String()] && addr != v6 { // which several Services have
					t.Fatalf("seed %d: a gate has made %s dark, or bright", seed, addr)
				}
			}
		}
		// With endpoints everywhere, on nodes that may advertise, the tables of the nodes have the conflicts that the rivals find.
		for i := range c.Members {
			node := c.Nodes[c.Members[i].Name]
			node.NetworkUnavailable = false
			c.Nodes[c.Members[i].Name] = node
		}
		c.IgnoreExcludeLabel = true
		c.Prepare()
		var found bgp.Table[int]
		var own []bgp.Conflict
		for i, s := range services {
			found.Set(i, c.Rivals(s))
		}
		for _, n := range nodes {
			var table bgp.Table[int]
			for i, s := range services {
				s.Local, s.Endpoints = false, onNodes("a")
				table.Set(i, c.Wants(n, s))
			}
			own = append(own, table.Conflicts()...)
		}
		if got, want := losers(found.Conflicts()), losers(own); len(c.Members) == 3 && !slices.Equal(got, want) {
			t.Fatalf("seed %d: conflicts %q, want %q", seed, got, want)
		}
		conflicts += len(own)
	}
	if routes < 500 || conflicts < 100 {
		t.Errorf("only %d routes and %d conflicts: the clusters are too dull", routes, conflicts)
	}
}
