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
	"golang.org/x/time/rate"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
		if got := a.routers[0].Log(); !slices.Contains(got, "close for a restart: the router ID changes from 192.168.100.11 to 1.1.1.1") || len(a.ids) != 2 || a.ids[1].String() != "1.1.1.1" {
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

// What the Router cannot have stays in the report, whatever is told to it beside, and is told to it again after a while.
func TestAdvertiseRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdvertising(t)
		a.service("web", "192.168.100.240", "node1")
		a.configure(peerAt("tor", "192.168.100.1"), peerAt("tor2", "192.168.100.2"))
		a.members(bgproutes.Member{Name: "node1", DataplaneReady: true})
		a.expect("two peers", "route 192.168.100.240/32, tor, tor2", "peers, tor, tor2")
		r := a.routers[0]
		r.Refuse(map[string]error{"tor": errors.New("this node's kernel has no TCP MD5 signatures")})
		a.configure(peerAt("tor", "192.168.100.1", func(s *v1beta1.BGPPeerSpec) { s.PeerPort = 1179 }), peerAt("tor2", "192.168.100.2"))
		a.expect("one that cannot be had", "peers, tor, tor2")
		refused := func(when string, want bool) {
			t.Helper()
			if got := fmt.Sprintf("%+v", a.report()); strings.Contains(got, "Peer:tor State:Idle") != want || strings.Contains(got, "LastError:this node's kernel has no TCP MD5") != want {
				t.Errorf("%s: %s", when, got)
			}
		}
		refused("at once", true)
		a.service("dns", "192.168.100.241", "node1")
		a.expect("another route", "route 192.168.100.241/32, tor, tor2")
		refused("with another route", true)
		time.Sleep(31 * time.Second)
		a.expect("a while later", "peers, tor, tor2")
		refused("a while later", true)
		r.Refuse(nil)
		time.Sleep(30 * time.Second)
		a.expect("later", "peers, tor, tor2")
		if got := fmt.Sprintf("%+v", a.report()); strings.Contains(got, "no TCP MD5") || !strings.Contains(got, "Peer:tor State:Idle") {
			t.Errorf("mended: %s", got)
		}
		time.Sleep(time.Hour)
		a.expect("and that is all")
	})
}

// A Node that is gone for a moment, or has no address, costs no session: the router ID stays what it is.
func TestAdvertiseWithoutNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdvertising(t)
		a.service("web", "192.168.100.240", "node1")
		a.configure(peerAt("tor", "192.168.100.1"))
		a.members(bgproutes.Member{Name: "node1", DataplaneReady: true})
		a.expect("a peer", "route 192.168.100.240/32, tor", "peers, tor")
		node := &view.Node{Addresses: []netip.Addr{netip.MustParseAddr("192.168.100.11"), netip.MustParseAddr("fd00:100::11")}}
		for _, without := range []*view.Node{nil, {}} {
			a.setNode("node1", without)
			synctest.Wait()
			a.setNode("node1", node)
			synctest.Wait()
		}
		if len(a.ids) != 1 || slices.ContainsFunc(a.routers[0].Log(), func(s string) bool { return strings.HasPrefix(s, "close") }) {
			t.Errorf("the Router was opened with %v", a.ids)
		}
		if got := a.routers[0].Routes(); !slices.Equal(got, []string{"192.168.100.240/32, tor"}) {
			t.Errorf("the Router has %q", got)
		}
		a.setNode("node1", &view.Node{Addresses: []netip.Addr{netip.MustParseAddr("192.168.100.12")}})
		synctest.Wait()
		if len(a.ids) != 2 || a.ids[1].String() != "192.168.100.12" {
			t.Errorf("with another address the Router was opened with %v", a.ids)
		}
	})
}

// A session that was lost and is back when it is looked at was lost all the same; one that a change has reset was not lost.
func TestAdvertiseFlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdvertising(t)
		a.configure(peerAt("tor", "192.168.100.1"))
		a.members(bgproutes.Member{Name: "node1", DataplaneReady: true})
		synctest.Wait()
		r := a.routers[0]
		for n := range uint64(2) {
			r.SetSession(bgp.Session{Peer: "tor", State: bgp.Established, Established: n + 1})
			synctest.Wait()
		}
		r.Reset(bgp.Reset{Peer: "tor", Reason: "changed: password"})
		a.configure(peerAt("tor", "192.168.100.1", func(s *v1beta1.BGPPeerSpec) { s.PeerPort = 1179 }))
		synctest.Wait()
		want := []string{
			"tor SessionEstablished: node1 has established its session with 192.168.100.1",
			"tor SessionLost: node1 had lost its session with 192.168.100.1, and has it again; the speaker's log says why",
			"tor SessionEstablished: node1 has established its session with 192.168.100.1",
			"tor SessionReset: node1 ends its session and opens it anew: changed: password",
		}
		if !slices.Equal(a.told, want) {
			t.Errorf("events\n  %s\nwant\n  %s", strings.Join(a.told, "\n  "), strings.Join(want, "\n  "))
		}
	})
}

// anyPeer is a client that knows each BGPPeer.
type anyPeer struct{ client.Reader }

func (anyPeer) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	o.SetName(key.Name)
	return nil
}

// A session that comes and goes does not keep other events from being written.
func TestPeerEvents(t *testing.T) {
	recorder := events.NewFakeRecorder(1000)
	e := &peerEvents{client: anyPeer{}, recorder: recorder, limiters: map[peerEvent]*rate.Limiter{}}
	for range 100 {
		e.tell("tor", reasonLost, "lost")
		e.tell("tor", reasonEstablished, "established")
	}
	e.tell("tor", reasonReset, "reset")
	e.tell("tor2", reasonLost, "lost")
	if n := len(recorder.Events); n != 2*peerEventBurst+2 {
		t.Errorf("%d events", n)
	}
	e.forget(map[string]bool{"tor2": true})
	if len(e.limiters) != 1 {
		t.Errorf("limiters %v", e.limiters)
	}
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
		{"", false, false, []string{"peers, tor drained", "route 192.168.100.240/32", "close for a restart: the speaker restarts"}, 10 * time.Second},
		{"to come back", false, true, []string{"close for a restart: the speaker restarts"}, 0},
		// It was drained before.
		{"cordoned", true, true, []string{"route 192.168.100.240/32", "close: the node is cordoned and its speaker stops"}, 10 * time.Second},
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
				// Its endpoint goes while the peer is drained.
				time.AfterFunc(5*time.Second, func() { a.service("web", "192.168.100.240", "node2") })
				a.leave(t.Context(), 10*time.Second)
				if took := time.Since(begin); took != tt.takes {
					t.Errorf("it took %s", took)
				}
				if got := r.Log(); !slices.Equal(got, tt.want) {
					t.Errorf("the Router was told %q, want %q", got, tt.want)
				}
				a.service("web", "192.168.100.240", "node1", "node3")
				synctest.Wait()
				if got := r.Log(); len(got) > 0 {
					t.Errorf("after the end it was told %q", got)
				}
			})
		})
	}
}
