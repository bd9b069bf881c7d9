package e2e

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
)

// testWalkthrough: the pool's first address, and every pod answers, by IPv4, by IPv6 and dual stack.
func testWalkthrough(t *testing.T) {
	s := newScenario(t)
	s.web("web", 3, "")

	v4 := s.expose("v4", "web")
	s.Expect(addresses(v4)).To(Equal([]netip.Addr{s.v4}), "the lowest address of the pool")
	s.Expect(v4.Annotations).To(HaveKeyWithValue(v1beta1.AnnotationAllocatedFromPool, s.pool.Name))
	s.Expect(v4.Status.LoadBalancer.Ingress[0].IPMode).To(HaveValue(Equal(corev1.LoadBalancerIPModeVIP)))
	s.Expect(reason(v4, v1beta1.ConditionAddressAssigned)).To(Equal(v1beta1.ReasonAssigned))

	v6 := s.expose("v6", "web", ipv6Only)
	s.Expect(addresses(v6)).To(Equal([]netip.Addr{s.v6}))

	dual := s.expose("dual", "web", dualStack)
	s.Expect(addresses(dual)).To(ConsistOf(s.v4.Next(), s.v6.Next()))

	for _, svc := range []*corev1.Service{v4, v6, dual} {
		for _, addr := range addresses(svc) {
			// An address may move meanwhile, for which a connection may be reset.
			s.Eventually(func() (map[string]int, error) { return answeringPods(s.ctx, addr, 3, 60) }).
				Should(HaveLen(3), "pods that answered at %s of Service %s", addr, svc.Name)
		}
	}

	s.Eventually(func(g Gomega) {
		s.get(g, s.pool)
		g.Expect(s.pool.Status.IPv4).To(Equal(v1beta1.AddressCounts{Assigned: 2, Available: 6}))
		g.Expect(s.pool.Status.IPv6).To(Equal(v1beta1.AddressCounts{Assigned: 2, Available: 6}))
	}).Should(Succeed())
}

// testOneAnswer: exactly one hardware address answers for an address, and it is that of the node that says so.
func testOneAnswer(t *testing.T) {
	s := newScenario(t)
	s.web("web", 1, "")
	for _, svc := range []*corev1.Service{s.expose("a", "web", dualStack), s.expose("b", "web", dualStack), s.expose("c", "web", dualStack)} {
		for _, addr := range addresses(svc) {
			node := s.atHome(addr)
			s.Eventually(func(g Gomega) {
				s.get(g, svc)
				g.Expect(message(svc, v1beta1.ConditionAnnounced)).To(ContainSubstring("%s is announced by %s", addr, node), "the Service's condition names the node that answers")
				macs, err := claims(addr, time.Second)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(macs).To(Equal([]string{mac(s, node)}), "who answers for %s; %s says that it does", addr, node)
			}).Should(Succeed())
		}
	}
}

// mac is the hardware address of a node's interface on the LAN.
func mac(s *scenario, node string) string {
	s.Helper()
	var ifi *net.Interface
	h := s.host(node)
	s.Expect(h.Do(func() (err error) {
		ifi, err = net.InterfaceByName(h.Interface())
		return err
	})).To(Succeed())
	return ifi.HardwareAddr.String()
}

// testNoSelector: a Service without selector, whose endpoints are made by hand, works.
func testNoSelector(t *testing.T) {
	s := newScenario(t)
	s.web("web", 1, "")
	var pods corev1.PodList
	s.Expect(cluster.List(s.ctx, &pods, client.InNamespace(s.namespace))).To(Succeed())
	s.Expect(pods.Items).To(HaveLen(1))

	svc := s.service("by-hand", "web", func(svc *corev1.Service) { svc.Spec.Selector = nil })
	s.create(svc)
	s.Eventually(func(g Gomega) {
		s.get(g, svc)
		g.Expect(addresses(svc)).NotTo(BeEmpty())
	}).Should(Succeed())
	s.create(s.endpointSlice(svc.Name, netip.MustParseAddr(pods.Items[0].Status.PodIP), 8080))
	s.announced(svc)
	s.Eventually(func() (string, error) { return answeringPod(s.ctx, addresses(svc)[0]) }).Should(Equal(pods.Items[0].Name))
}

// testNoNodePorts: allocateLoadBalancerNodePorts false works; nothing depends on node ports.
func testNoNodePorts(t *testing.T) {
	s := newScenario(t)
	s.web("web", 1, "")
	svc := s.expose("no-node-ports", "web", func(svc *corev1.Service) {
		no := false
		svc.Spec.AllocateLoadBalancerNodePorts = &no
	})
	s.Expect(svc.Spec.Ports[0].NodePort).To(BeZero()) // and an answer has come
}

// testLeftAlone: headless, ExternalName, NodePort, ClusterIP Services, and those of another class get nothing from us.
func testLeftAlone(t *testing.T) {
	s := newScenario(t)
	s.web("web", 1, "")
	kinds := map[string]func(*corev1.Service){
		"headless": func(svc *corev1.Service) {
			svc.Spec.Type, svc.Spec.ClusterIP = corev1.ServiceTypeClusterIP, corev1.ClusterIPNone
		},
		"cluster-ip": func(svc *corev1.Service) { svc.Spec.Type = corev1.ServiceTypeClusterIP },
		"node-port":  func(svc *corev1.Service) { svc.Spec.Type = corev1.ServiceTypeNodePort },
		"external-name": func(svc *corev1.Service) {
			svc.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.test"}
		},
		"other-class": func(svc *corev1.Service) {
			class := "example.test/other"
			svc.Spec.LoadBalancerClass = &class
		},
	}
	var alone []*corev1.Service
	for name, edit := range kinds {
		svc := s.service(name, "web", edit)
		s.create(svc)
		alone = append(alone, svc)
	}
	// A Service of ours that is created after them and is announced shows that they were passed over, and not just not reached yet.
	s.expose("ours", "web")
	for _, svc := range alone {
		created := svc.DeepCopy()
		s.get(s, svc)
		s.Expect(svc.Status).To(Equal(created.Status), "status of %s", svc.Name)
		s.Expect(svc.Annotations).To(Equal(created.Annotations), "annotations of %s", svc.Name)
	}
}

// testSessionAffinity: ClientIP affinity holds one pod, for as long as one node answers: each kube-proxy chooses for itself.
func testSessionAffinity(t *testing.T) {
	s := newScenario(t)
	s.web("web", 3, "")
	svc := s.expose("sticky", "web", func(svc *corev1.Service) { svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP })
	addr := addresses(svc)[0]
	var pods map[string]int
	s.Eventually(func(g Gomega) {
		before, err := ownedSince(s.ctx, addr)
		g.Expect(err).NotTo(HaveOccurred())
		pods, err = answeringPods(s.ctx, addr, 2, 30)
		g.Expect(err).NotTo(HaveOccurred())
		after, err := ownedSince(s.ctx, addr)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(after).To(And(HaveLen(1), Equal(before)), "who answers for %s, and since when", addr)
	}).Should(Succeed())
	s.Expect(pods).To(HaveLen(1), "pods that answered one client 30 times")
}

// testLocal: with externalTrafficPolicy Local the address is where the pod is, follows it, and the pod sees the client's own address.
func testLocal(t *testing.T) {
	s := newScenario(t)
	first := s.webSet("web-1", 1, "node1")
	second := s.webSet("web-2", 1, "node2")
	for _, rs := range []*metav1.ObjectMeta{&first.Spec.Template.ObjectMeta, &second.Spec.Template.ObjectMeta} {
		rs.Labels["service"] = "local"
	}
	s.create(first)
	s.ready(first)
	svc := s.expose("local", "", localTraffic, dualStack, func(svc *corev1.Service) { svc.Spec.Selector = map[string]string{"service": "local"} })
	v4, v6 := addresses(svc)[0], addresses(svc)[1]
	for _, addr := range []netip.Addr{v4, v6} {
		s.Expect(s.owner(addr)).To(Equal("node1"), "the pod's node answers for %s", addr)
		seen, err := get(s.ctx, addr, "/client")
		s.Expect(err).NotTo(HaveOccurred())
		s.Expect(seen).To(ContainSubstring(clientAddress(addr)), "the client's address as the pod sees it")
	}

	// The pod moves: another one starts elsewhere, the first one goes.
	s.create(second)
	s.ready(second)
	s.remove(first)
	for _, addr := range []netip.Addr{v4, v6} {
		s.Eventually(func() string { return s.owner(addr) }).Should(Equal("node2"), "the address %s follows the pod", addr)
		s.Eventually(func() ([]string, error) { return claims(addr, 300*time.Millisecond) }).Should(Equal([]string{mac(s, "node2")}))
		s.Eventually(func() (string, error) { return answeringPod(s.ctx, addr) }).Should(HavePrefix("web-2-"))
		seen, err := get(s.ctx, addr, "/client")
		s.Expect(err).NotTo(HaveOccurred())
		s.Expect(seen).To(ContainSubstring(clientAddress(addr)))
	}

	// With no pod left nobody answers.
	s.remove(second)
	s.silent(v4)
	s.silent(v6)
}

func clientAddress(family netip.Addr) string {
	if family.Is4() {
		return "192.168.100.100"
	}
	return "fd00:100::100"
}

// silent waits until nobody answers for an address.
func (s *scenario) silent(addr netip.Addr) {
	s.Helper()
	s.Eventually(func() ([]string, error) { return claims(addr, 300*time.Millisecond) }).Should(BeEmpty(), "who answers for %s", addr)
}

// testDelete: a deleted Service's address is free again, and nobody answers for it; so is that of a Service that changes its type.
func testDelete(t *testing.T) {
	s := newScenario(t)
	s.web("web", 1, "")
	svc := s.expose("doomed", "web", dualStack)
	addrs := addresses(svc)
	s.remove(svc)
	for _, addr := range addrs {
		s.silent(addr)
	}
	s.Eventually(func(g Gomega) {
		s.get(g, s.pool)
		g.Expect(s.pool.Status.IPv4).To(Equal(v1beta1.AddressCounts{Available: poolSize}), "IPv4 addresses, of which none is in use")
	}).Should(Succeed())

	changed := s.expose("changed", "web", dualStack)
	s.Expect(addresses(changed)).To(Equal(addrs), "the addresses are free again")
	update(s, changed, func(svc *corev1.Service) {
		svc.Spec.Type = corev1.ServiceTypeClusterIP
		for i := range svc.Spec.Ports {
			svc.Spec.Ports[i].NodePort = 0
		}
		svc.Spec.AllocateLoadBalancerNodePorts = nil
		svc.Spec.ExternalTrafficPolicy = ""
	})
	for _, addr := range addrs {
		s.silent(addr)
	}
	s.Eventually(func(g Gomega) {
		s.get(g, changed)
		g.Expect(addresses(changed)).To(BeEmpty())
		g.Expect(changed.Annotations).NotTo(HaveKey(v1beta1.AnnotationAllocatedFromPool))
		g.Expect(changed.Status.Conditions).To(BeEmpty())
		s.get(g, s.pool)
		g.Expect(s.pool.Status.IPv4).To(Equal(v1beta1.AddressCounts{Available: 8}))
	}).Should(Succeed())
}

// testUDP: the address carries UDP as well.
func testUDP(t *testing.T) {
	s := newScenario(t)
	s.web("web", 1, "")
	svc := s.expose("udp", "web", func(svc *corev1.Service) {
		svc.Spec.Ports = []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolUDP, TargetPort: intstr.FromInt32(8080)}}
	})
	s.Eventually(func() (string, error) { return echo(s.ctx, addresses(svc)[0], "ahoy") }).Should(Equal("ahoy"))
}

// testBadInput: what cannot be honoured says so, names what is wrong, and disturbs nothing else.
func testBadInput(t *testing.T) {
	s := newScenario(t)
	s.web("web", 1, "")
	good := s.expose("good", "web")

	// Refused by the API server, with the entry named.
	for entry, words := range map[string]string{
		"192.168.100.300":                 "is not an address",
		"192.168.100.9-192.168.100.1":     "is reversed",
		"fd00:100::f-fd00:100::1":         "is reversed",
		"192.168.100.1-fd00:100::1":       "mixes IPv4 and IPv6",
		"192.168.100.0/33":                "is not an address",
		"192.168.100.1-192.168.100.2-bad": "is not an address",
	} {
		err := cluster.Create(s.ctx, &v1beta1.IPAddressPool{
			ObjectMeta: metav1.ObjectMeta{Name: s.namespace + "-bad"},
			Spec:       v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"192.168.100.1", v1beta1.AddressRange(entry)}},
		})
		s.Expect(err).To(MatchError(And(ContainSubstring("'"+entry+"'"), ContainSubstring(words))), "entry %q", entry)
	}

	// A newer pool that overlaps: it says so, and only the part in common is not its own.
	overlap := &v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: s.namespace + "-overlap"},
		Spec: v1beta1.IPAddressPoolSpec{
			Addresses:         []v1beta1.AddressRange{v1beta1.AddressRange(addIP(s.v4, 6).String() + "-" + addIP(s.v4, 7).String()), "192.168.100.20"},
			ServiceAllocation: &v1beta1.ServiceAllocation{Namespaces: []string{s.namespace}},
		},
	}
	s.create(overlap)
	s.create(advertisement(overlap.Name))
	s.Eventually(func(g Gomega) {
		s.get(g, overlap)
		g.Expect(overlap.Status.Conditions).To(ContainElement(And(
			HaveField("Type", v1beta1.ConditionReady), HaveField("Reason", v1beta1.ReasonConflict), HaveField("Message", ContainSubstring(s.pool.Name)))))
		g.Expect(overlap.Status.IPv4.Available).To(Equal(int64(1)))
	}).Should(Succeed())
	fromOverlap := s.expose("from-overlap", "web", func(svc *corev1.Service) {
		svc.Annotations = map[string]string{v1beta1.AnnotationAddressPool: overlap.Name}
	})
	s.Expect(addresses(fromOverlap)).To(Equal([]netip.Addr{netip.MustParseAddr("192.168.100.20")}), "the part of the pool that is its own")

	// Requests that cannot be met stay pending, with a sentence that names what was asked for.
	for name, c := range map[string]struct{ annotation, value, reason, words string }{
		"foreign":   {v1beta1.AnnotationLoadBalancerIPs, "198.51.100.7", v1beta1.ReasonAddressNotInPool, "198.51.100.7"},
		"malformed": {v1beta1.AnnotationLoadBalancerIPs, "not-an-address", v1beta1.ReasonInvalidRequest, "not-an-address"},
		"no-pool":   {v1beta1.AnnotationAddressPool, "no-such-pool", v1beta1.ReasonUnknownPool, "no-such-pool"},
		"taken":     {v1beta1.AnnotationLoadBalancerIPs, addresses(good)[0].String(), v1beta1.ReasonAddressInUse, s.namespace + "/good"},
	} {
		svc := s.service(name, "web", func(svc *corev1.Service) { svc.Annotations = map[string]string{c.annotation: c.value} })
		s.create(svc)
		s.Eventually(func(g Gomega) {
			s.get(g, svc)
			g.Expect(status(svc, v1beta1.ConditionAddressAssigned)).To(Equal(metav1.ConditionFalse))
			g.Expect(reason(svc, v1beta1.ConditionAddressAssigned)).To(Equal(c.reason))
			g.Expect(message(svc, v1beta1.ConditionAddressAssigned)).To(ContainSubstring(c.words))
			g.Expect(addresses(svc)).To(BeEmpty())
		}).Should(Succeed(), "Service %s", name)
	}

	// Nothing of this disturbed the others.
	before := good.DeepCopy()
	s.get(s, good)
	s.Expect(good.Status.LoadBalancer).To(Equal(before.Status.LoadBalancer))
	s.Expect(message(good, v1beta1.ConditionAddressAssigned)).To(Equal(message(before, v1beta1.ConditionAddressAssigned)))
	s.Expect(status(good, v1beta1.ConditionAnnounced)).To(Equal(metav1.ConditionTrue)) // by whom may change at any time
	s.Eventually(func() (string, error) { return answeringPod(s.ctx, addresses(good)[0]) }).ShouldNot(BeEmpty())
}

func addIP(addr netip.Addr, n int) netip.Addr {
	for range n {
		addr = addr.Next()
	}
	return addr
}

// testNoEndpoints: a Service without a serving endpoint is not announced, and says so; with the first one it is.
func testNoEndpoints(t *testing.T) {
	s := newScenario(t)
	svc := s.service("lonely", "web")
	s.create(svc)
	s.Eventually(func(g Gomega) {
		s.get(g, svc)
		g.Expect(addresses(svc)).NotTo(BeEmpty())
		g.Expect(status(svc, v1beta1.ConditionAnnounced)).To(Equal(metav1.ConditionFalse))
		g.Expect(strings.ToLower(message(svc, v1beta1.ConditionAnnounced))).To(ContainSubstring("endpoint"))
	}).Should(Succeed())
	macs, err := claims(addresses(svc)[0], time.Second)
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(macs).To(BeEmpty())
	s.web("web", 1, "")
	s.announced(svc)
}
