package e2e

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/test/lab"
)

// outside is the router that clients outside reach the cluster through, and such a client.
type outside struct {
	*scenario
	tor *lab.Router
	ext *lab.Host
}

// newOutside lets all nodes have a session with the router, and the scenario's addresses be advertised to it, beside layer 2.
func newOutside(s *scenario) (o *outside, peer *v1beta1.BGPPeer) {
	s.Helper()
	o = &outside{scenario: s, ext: s.host("ext")}
	var err error
	o.tor, err = theLab.Router("tor")
	s.Expect(err).NotTo(HaveOccurred())
	asn := int64(64513)
	peer = &v1beta1.BGPPeer{
		ObjectMeta: metav1.ObjectMeta{Name: s.namespace},
		Spec:       v1beta1.BGPPeerSpec{MyASN: 64512, PeerASN: &asn, PeerAddress: o.tor.IPv4.String()},
	}
	s.create(peer)
	s.create(&v1beta1.BGPAdvertisement{
		ObjectMeta: metav1.ObjectMeta{Name: s.namespace},
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
