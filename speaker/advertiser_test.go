package speaker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/fake"
	"fairlead.io/fairlead/internal/bgproutes"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/endpoints"
	"fairlead.io/fairlead/internal/view"
)

// advertising is an advertiser of node1 with a fake Router, in a synctest bubble.
type advertising struct {
	*advertiser
	t       *testing.T
	routers []*fake.Router // as they were opened
	ids     []netip.Addr
	told    []string // events
	objects config.BGPObjects
}

func newAdvertising(t *testing.T) *advertising {
	a := &advertising{t: t}
	open := func(_ context.Context, id netip.Addr) (bgp.Router, error) {
		a.routers, a.ids = append(a.routers, &fake.Router{}), append(a.ids, id)
		return a.routers[len(a.routers)-1], nil
	}
	a.advertiser = newAdvertiser("node1", false, open, func(peer, reason, message string) { a.told = append(a.told, peer+" "+reason+": "+message) }, func() {}, logr.Discard())
	a.watch = newWatcher(a.drop, func() {}, logr.Discard())
	a.setNode("node1", &view.Node{Labels: labels.Set{"rack": "1"}, Addresses: []netip.Addr{netip.MustParseAddr("192.168.100.11"), netip.MustParseAddr("fd00:100::11")}})
	a.objects.Advertisements = []v1beta1.BGPAdvertisement{{ObjectMeta: metav1.ObjectMeta{Name: "all"}}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); a.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return a
}

func (a *advertising) configure(peers ...v1beta1.BGPPeer) {
	a.objects.Peers = peers
	a.setBGP(config.CompileBGP(&a.objects))
}

func (a *advertising) members(members ...bgproutes.Member) {
	a.setMembers(members, true)
}

// expect waits until all is done and compares what the Router was told.
func (a *advertising) expect(what string, want ...string) {
	a.t.Helper()
	synctest.Wait()
	var got []string
	if n := len(a.routers); n > 0 {
		got = a.routers[n-1].Log()
	}
	if !slices.Equal(got, want) {
		a.t.Errorf("%s: the Router was told\n  %s\nwant\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func (a *advertising) service(name, addr string, nodes ...string) {
	s := discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
	for _, n := range nodes {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{NodeName: &n})
	}
	a.setService(types.NamespacedName{Name: name}, &view.Service{Addresses: []netip.Addr{netip.MustParseAddr(addr)}, Local: true, Endpoints: endpoints.FromSlices([]discoveryv1.EndpointSlice{s})})
}

func peerAt(name, address string, change ...func(*v1beta1.BGPPeerSpec)) v1beta1.BGPPeer {
	p := v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.BGPPeerSpec{MyASN: 64512, PeerASN: new(int64(64513)), PeerAddress: address}}
	for _, f := range change {
		f(&p.Spec)
	}
	return p
}

// What a change costs, and in what order the Router is told: routes first, and of a Service's change that Service's alone.
func TestAdvertise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdvertising(t)
		me := bgproutes.Member{Name: "node1", DataplaneReady: true}
		a.service("web", "192.168.100.240", "node1")
		a.members(me)
		synctest.Wait()
		if len(a.routers) != 0 {
			t.Fatal("a Router was opened without a peer")
		}
		a.configure(peerAt("tor", "192.168.100.1"))
		a.expect("a peer", "route 192.168.100.240/32, tor", "peers, tor")
		a.service("dns", "192.168.100.241", "node1")
		a.expect("a Service", "route 192.168.100.241/32, tor")
		a.service("dns", "192.168.100.241", "node2")
		a.expect("its endpoint moves", "route 192.168.100.241/32")
		a.service("dns", "192.168.100.241", "node2", "node3")
		a.expect("nothing changes here")
		a.configure(peerAt("tor", "192.168.100.1"), peerAt("tor2", "192.168.100.2"))
		a.expect("another peer", "route 192.168.100.240/32, tor, tor2", "peers, tor, tor2")
		me.Draining = true
		a.members(me)
		a.expect("cordoned", "peers, tor drained, tor2 drained")

		me.Draining = false
		a.members(me)
		a.expect("uncordoned", "peers, tor, tor2")
		a.routers[0].Fail(errors.New("no"))
		a.setService(types.NamespacedName{Name: "web"}, nil)
		a.expect("the Router fails")
		a.routers[0].Fail(nil)
		time.Sleep(2 * time.Second)
		a.expect("and works again", "route 192.168.100.240/32")

		a.configure(peerAt("tor", "192.168.100.1", func(s *v1beta1.BGPPeerSpec) { s.RouterID = "1.1.1.1" }))
		a.service("web", "192.168.100.240", "node1")
		synctest.Wait()
		if got := a.routers[0].Log(); !slices.Contains(got, "close") || len(a.ids) != 2 || a.ids[1].String() != "1.1.1.1" {
			t.Errorf("another router ID: %q, %v", got, a.ids)
		}
		if got := a.routers[1].Routes(); !slices.Equal(got, []string{"192.168.100.240/32, tor"}) {
			t.Errorf("the new Router has %q", got)
		}
	})
}

// With a data plane that is not ready nothing is told before the others were looked for: they may be.
func TestAdvertiseTooEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdvertising(t)
		a.configure(peerAt("tor", "192.168.100.1"))
		a.service("web", "192.168.100.240", "node1")
		a.expect("nothing is known of this node")
		me := bgproutes.Member{Name: "node1"}
		a.setMembers([]bgproutes.Member{me}, false)
		a.expect("nothing is known of the others")
		a.setMembers([]bgproutes.Member{me}, true)
		a.expect("there are no others", "route 192.168.100.240/32, tor", "peers, tor")
	})
}

// Transitions of sessions become events, once each; the report says what is.
func TestAdvertiseSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdvertising(t)
		inRack := func(s *v1beta1.BGPPeerSpec) {
			s.NodeSelectors = []metav1.LabelSelector{{MatchLabels: map[string]string{"rack": "1"}}}
		}
		a.configure(peerAt("tor", "192.168.100.1", inRack), peerAt("tor2", "192.168.100.1"))
		a.members(bgproutes.Member{Name: "node1", DataplaneReady: true})
		synctest.Wait()
		r := a.routers[0]
		since := time.Now()
		for range 2 {
			r.SetSession(bgp.Session{Peer: "tor", State: bgp.Established, Since: since, Routes: 3, Established: 1})
			synctest.Wait()
		}
		r.SetSession(bgp.Session{Peer: "tor", State: bgp.Active, Since: since, LastError: "hold timer expired", Established: 1})
		synctest.Wait()
		if want := []string{"tor SessionEstablished: node1 has established its session with 192.168.100.1", "tor SessionLost: node1 has lost its session with 192.168.100.1: hold timer expired"}; !slices.Equal(a.told, want) {
			t.Errorf("events %q", a.told)
		}
		report := fmt.Sprintf("%+v", a.report())
		for _, part := range []string{"Peer:tor State:Active", "hold timer expired", "Peer:tor2 State:Idle", "older BGPPeer tor has the address 192.168.100.1 too"} {
			if !strings.Contains(report, part) {
				t.Errorf("the report does not say %q: %s", part, report)
			}
		}
	})
}

// A speaker that stops drains what has no graceful restart, for as long as it is told, and then ends the sessions for a restart; on a
// cordoned node it drains all, and ends them for good.
func TestAdvertiseLeave(t *testing.T) {
	for _, tt := range []struct {
		name             string
		cordoned, repeat bool // and whether the peer has graceful restart
		want             []string
		takes            time.Duration
	}{
		{"", false, false, []string{"peers, tor drained", "close for a restart"}, 10 * time.Second},
		{"to come back", false, true, []string{"close for a restart"}, 0},
		{"cordoned", true, true, []string{"close"}, 10 * time.Second}, // it was drained before
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAdvertising(t)
				a.configure(peerAt("tor", "192.168.100.1", func(s *v1beta1.BGPPeerSpec) {
					if tt.repeat {
						s.GracefulRestart = &v1beta1.GracefulRestart{Enabled: true}
					}
				}))
				a.service("web", "192.168.100.240", "node1")
				me := bgproutes.Member{Name: "node1", DataplaneReady: true, Draining: tt.cordoned}
				a.members(me)
				synctest.Wait()
				r := a.routers[0]
				r.SetSession(bgp.Session{Peer: "tor", State: bgp.Established, Routes: 1, Established: 1})
				synctest.Wait()
				r.Log()
				me.Stopping = true
				a.members(me)
				begin := time.Now()
				a.leave(t.Context(), 10*time.Second)
				if took := time.Since(begin); took != tt.takes {
					t.Errorf("it took %s", took)
				}
				if got := r.Log(); !slices.Equal(got, tt.want) {
					t.Errorf("the Router was told %q, want %q", got, tt.want)
				}
				a.service("web", "192.168.100.240", "node2")
				synctest.Wait()
				if got := r.Log(); len(got) > 0 {
					t.Errorf("after the end it was told %q", got)
				}
			})
		})
	}
}
