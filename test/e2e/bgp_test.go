package e2e

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/test/e2e/observe"
	"fairlead.io/fairlead/test/lab"
	"fairlead.io/fairlead/test/router"
)

// outside is the router that clients outside reach the cluster through, and such a client.
type outside struct {
	*scenario
	tor *lab.Router
	ext *lab.Host
}

// newOutside lets all nodes have a session with the router, and the scenario's addresses be advertised to it, beside layer 2.
func newOutside(s *scenario, edits ...func(*v1beta1.BGPPeerSpec)) (o *outside, peer *v1beta1.BGPPeer) {
	s.Helper()
	o = &outside{scenario: s, ext: s.host("ext")}
	var err error
	o.tor, err = theLab.Router("tor")
	s.Expect(err).NotTo(HaveOccurred())
	asn := int64(64513)
	peer = &v1beta1.BGPPeer{
		ObjectMeta: metav1.ObjectMeta{Name: s.pool.Name},
		Spec:       v1beta1.BGPPeerSpec{MyASN: 64512, PeerASN: &asn, PeerAddress: o.tor.IPv4.String()},
	}
	for _, edit := range edits {
		edit(&peer.Spec)
	}
	s.create(peer)
	s.create(&v1beta1.BGPAdvertisement{
		ObjectMeta: metav1.ObjectMeta{Name: s.pool.Name},
		Spec:       v1beta1.BGPAdvertisementSpec{AdvertisementSelection: v1beta1.AdvertisementSelection{IPAddressPools: []string{s.pool.Name}}},
	})
	s.Eventually(func(g Gomega) {
		s.get(g, peer)
		g.Expect(peer.Status.Established).To(BeEquivalentTo(len(theLab.Nodes())), "established sessions of BGPPeer %s: %v", peer.Name, peer.Status.Conditions)
	}).Should(Succeed())
	return o, peer
}

// nextHops are the hosts that the router's kernel sends packets for an address to; none: there is no route to it alone.
func (o *outside) nextHops(addr netip.Addr) ([]string, error) {
	table, err := o.tor.Forwarding()
	var names []string
	for _, hop := range table[netip.PrefixFrom(addr, addr.BitLen())] {
		names = append(names, hop.Host)
	}
	slices.Sort(names)
	return names, err
}

// routed waits until packets for an address go to these nodes, and no others.
func (o *outside) routed(addr netip.Addr, nodes ...string) {
	o.Helper()
	o.Eventually(func() ([]string, error) { return o.nextHops(addr) }).Should(Equal(nodes), "where the router sends packets for %s", addr)
}

// client is the outside client's address, of the family of another.
func (o *outside) client(family netip.Addr) string {
	if family.Is4() {
		return o.ext.IPv4.String()
	}
	return o.ext.IPv6.String()
}

// testBGP: a client outside, behind a router, reaches Services over all nodes by IPv4 and IPv6; with externalTrafficPolicy Local over the
// nodes with a pod, which see its address; without a peer not at all.
func testBGP(t *testing.T) {
	s := newScenario(t)
	o, peer := newOutside(s)
	s.web("web", 3, "")
	web := s.expose("web", "web", dualStack)
	for _, addr := range addresses(web) {
		o.routed(addr, "node1", "node2", "node3")
		s.Eventually(func() (map[string]int, error) { return answeringPodsTo(s.ctx, o.ext, addr, 3, 60) }).Should(HaveLen(3), "pods that answer at %s", addr)
	}
	s.Eventually(func(g Gomega) {
		s.get(g, web)
		g.Expect(message(web, v1beta1.ConditionAnnounced)).To(And(ContainSubstring("(layer 2)"), ContainSubstring("advertised to "+peer.Name+" (BGP)")))
	}).Should(Succeed())

	first, second := s.webSet("local-1", 1, "node1"), s.webSet("local-2", 1, "node2")
	for _, rs := range []*metav1.ObjectMeta{&first.Spec.Template.ObjectMeta, &second.Spec.Template.ObjectMeta} {
		rs.Labels["service"] = "local"
	}
	s.create(first)
	s.ready(first)
	local := s.expose("local", "", localTraffic, dualStack, func(svc *corev1.Service) { svc.Spec.Selector = map[string]string{"service": "local"} })
	followed := func(node, pod string) {
		s.Helper()
		for _, addr := range addresses(local) {
			o.routed(addr, node)
			s.Eventually(func() (string, error) { return answeringPodTo(s.ctx, o.ext, addr) }).Should(HavePrefix(pod))
			s.Expect(getFrom(s.ctx, o.ext, addr, "/client")).To(ContainSubstring(o.client(addr)), "the client's address as the pod sees it")
		}
	}
	followed("node1", "local-1-")
	s.create(second)
	s.ready(second)
	s.remove(first)
	followed("node2", "local-2-")
	s.remove(second)
	for _, addr := range addresses(local) {
		o.routed(addr)
	}

	s.remove(peer)
	s.Eventually(func() (int, error) { return o.established(s.ctx) }).Should(BeZero(), "sessions of the router's")
	for _, addr := range addresses(web) {
		o.routed(addr)
	}
}

// established counts the router's sessions.
func (o *outside) established(ctx context.Context) (int, error) {
	sessions, err := o.tor.Sessions(ctx)
	n := 0
	for _, x := range sessions {
		if x.State == "Established" {
			n++
		}
	}
	return n, err
}

// load starts one from outside and waits until connections succeed.
func (o *outside) load(addr netip.Addr, timeout time.Duration) *load {
	o.Helper()
	l, err := startLoadOver(o.tor, o.ext, addr, timeout)
	o.Expect(err).NotTo(HaveOccurred())
	o.Cleanup(l.cancel)
	o.Eventually(l.succeeded).Should(BeNumerically(">", 20), "connections from outside to %s that succeed", addr)
	return l
}

// testBGPMoves: while the data planes work, no new connection from outside is lost, whatever happens to speakers or is said of nodes and peers.
func testBGPMoves(t *testing.T) {
	for _, kind := range []struct {
		name string
		edit func(*v1beta1.BGPPeerSpec)
	}{
		{"plain", func(*v1beta1.BGPPeerSpec) {}},
		{"graceful restart", func(s *v1beta1.BGPPeerSpec) { s.GracefulRestart = &v1beta1.GracefulRestart{Enabled: true} }},
	} {
		t.Run(kind.name, func(t *testing.T) {
			s := newStanding(t)
			o, peer := newOutside(s, kind.edit)
			s.web("web", 3, "")
			addr := addresses(s.expose("web", "web"))[0]
			all := []string{"node1", "node2", "node3"}
			for _, tc := range []struct {
				name  string
				leave func(s *scenario) (comeBack func())
				// via are the nodes that it goes over before comeBack; nil: it does not matter.
				via []string
				// anew are the nodes whose sessions end with it and are opened anew.
				anew []string
			}{
				{"node cordoned", func(s *scenario) func() {
					return s.patchNode("node1", `{"spec": {"unschedulable": true}}`, `{"spec": {"unschedulable": null}}`)
				}, []string{"node2", "node3"}, nil},
				{"peer in maintenance", func(s *scenario) func() {
					update(s, peer, func(p *v1beta1.BGPPeer) { p.Spec.Maintenance = true })
					s.Eventually(func() (int, error) { return o.drained(s.ctx, addr) }).Should(Equal(3), "nodes whose route to %s has graceful-shutdown", addr)
					return func() {
						update(s, peer, func(p *v1beta1.BGPPeer) { p.Spec.Maintenance = false })
						s.Eventually(func() (int, error) { return o.drained(s.ctx, addr) }).Should(BeZero(), "nodes whose route to %s has graceful-shutdown", addr)
					}
				}, all, nil},
				{"speaker stopped", func(s *scenario) func() { return s.end("node1", lab.StopSpeaker) }, nil, all[:1]},
				{"rolling restart of all speakers", func(s *scenario) func() { return s.restartSpeakers() }, nil, all},
			} {
				t.Run(tc.name, func(t *testing.T) {
					s := s.in(t)
					o := &outside{s, o.tor, o.ext}
					o.routed(addr, all...)
					l := o.load(addr, patientTimeout)
					left := time.Now()
					comeBack := tc.leave(s)
					if tc.via != nil {
						o.routed(addr, tc.via...)
					}
					comeBack()
					s.Eventually(func(g Gomega) {
						for _, node := range tc.anew {
							g.Expect(establishedSince(s.ctx, node, peer.Name)).To(BeTemporally(">=", left.Truncate(time.Second)), "since when %s has its session", node)
						}
						s.get(g, peer)
						g.Expect(peer.Status.Established).To(BeEquivalentTo(3), "established sessions of BGPPeer %s", peer.Name)
					}).Should(Succeed())
					o.routed(addr, all...)
					s.nothingLost(l, kind.name+", "+tc.name)
				})
			}
		})
	}
}

// establishedSince is since when, in whole seconds, a node has had its session with a peer, as its Speaker object says; zero: it has none.
func establishedSince(ctx context.Context, node, peer string) (time.Time, error) {
	var speaker v1beta1.Speaker
	if err := cluster.Get(ctx, client.ObjectKey{Name: node}, &speaker); err != nil {
		return time.Time{}, err
	}
	for _, x := range speaker.Status.BGP {
		if x.Peer == peer && x.State == "Established" {
			return x.Since.Time, nil
		}
	}
	return time.Time{}, nil
}

// cut cuts a node off while a client outside opens connections, and mends its link. It returns what the client saw of the cut when the
// router has its routes again.
func (o *outside) cut(addr netip.Addr, node string) observe.Connections {
	o.Helper()
	o.routed(addr, "node1", "node2", "node3")
	l := o.load(addr, failoverTimeout)
	o.Eventually(l.succeeded).Should(BeNumerically(">", 100))
	mend := o.cutOff(node)
	before := l.succeeded()
	o.Eventually(func() ([]string, error) { return o.nextHops(addr) }).ShouldNot(ContainElement(node), "the router has found %s lost", node)
	o.Eventually(l.succeeded).Should(BeNumerically(">", before+100), "connections that succeed after %s was cut off", node)
	c := l.stop()
	mend()
	o.routed(addr, "node1", "node2", "node3")
	return c
}

// routedFailover is where a node can be cut off, again and again: cut says for how long new connections from outside failed after that, some of
// them, those that the router sends to that node until it finds it lost.
func (s *scenario) routedFailover(bfd bool, holdTime time.Duration) (cut func() time.Duration) {
	s.Helper()
	var settings router.Settings
	if bfd {
		settings.BFD = &router.BFD{Interval: 100 * time.Millisecond, Multiplier: 3}
	}
	tor, err := theLab.Router("tor")
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(tor.Apply(s.ctx, settings)).To(Succeed())
	s.Cleanup(func() { s.Expect(tor.Apply(context.Background(), router.Settings{})).To(Succeed()) })
	profile := &v1beta1.BFDProfile{ObjectMeta: metav1.ObjectMeta{Name: s.pool.Name}, Spec: v1beta1.BFDProfileSpec{ReceiveInterval: 100, TransmitInterval: 100, DetectMultiplier: 3}}
	s.create(profile)
	o, peer := newOutside(s, func(p *v1beta1.BGPPeerSpec) {
		if bfd {
			p.BFDProfile = profile.Name
		}
		p.HoldTime = &metav1.Duration{Duration: holdTime}
	})
	s.web("one", 1, "node1")
	addr := addresses(s.expose("web", "one"))[0]
	return func() time.Duration {
		s.Helper()
		if bfd {
			o.watched(peer.Name)
		}
		return o.cut(addr, "node3").LastFailure.Round(time.Millisecond)
	}
}

// testBGPFailover: BFD finds a node lost that is cut off, long before the hold time is over, and comes up again when it is back.
func testBGPFailover(t *testing.T) {
	s := newStanding(t)
	const holdTime = 90 * time.Second
	cut := s.routedFailover(true, holdTime)
	for range 2 {
		failed := cut()
		t.Logf("new connections failed for %s after node3 was cut off", failed)
		s.Expect(failed).To(BeNumerically("<", holdTime/10))
	}
}

// BenchmarkBGPFailover cuts a node off, again and again.
func BenchmarkBGPFailover(b *testing.B) {
	for _, bench := range []struct {
		name string
		bfd  bool
	}{{"BFD 3x100ms", true}, {"hold time 3s", false}} {
		b.Run(bench.name, func(b *testing.B) {
			cut := newScenario(b).routedFailover(bench.bfd, 3*time.Second)
			var gaps []time.Duration
			for b.Loop() {
				gaps = append(gaps, cut())
			}
			b.Logf("node3 cut off, failures until: %v", gaps)
			slices.Sort(gaps)
			n := len(gaps)
			b.ReportMetric(milliseconds(gaps[n-1]), "longest-ms")
			b.ReportMetric(milliseconds(gaps[(n-1)/2]+gaps[n/2])/2, "median-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// watched waits until all nodes' BFD sessions with a peer are up, as the router and as the nodes see them.
func (o *outside) watched(peer string) {
	o.Helper()
	o.Eventually(func(g Gomega) {
		sessions, err := o.tor.Sessions(o.ctx)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(sessions).To(HaveLen(len(theLab.Nodes())))
		for _, x := range sessions {
			g.Expect(x.BFD).To(Equal("Up"), "BFD of the router with %s", x.Peer)
		}
		var speakers v1beta1.SpeakerList
		g.Expect(cluster.List(o.ctx, &speakers)).To(Succeed())
		for i := range speakers.Items {
			for _, x := range speakers.Items[i].Status.BGP {
				if x.Peer == peer {
					g.Expect(x.BFDState).To(Equal("Up"), "BFD of %s with %s", speakers.Items[i].Name, peer)
				}
			}
		}
	}).Should(Succeed())
}

// drained counts the routes to an address that carry the community graceful-shutdown (RFC 8326).
func (o *outside) drained(ctx context.Context, addr netip.Addr) (int, error) {
	routes, err := o.tor.Routes(ctx)
	n := 0
	for _, path := range routes[netip.PrefixFrom(addr, addr.BitLen())] {
		if slices.Contains(path.Communities, "65535:0") {
			n++
		}
	}
	return n, err
}
