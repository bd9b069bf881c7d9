package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/test/lab"
)

// exposeAwayFrom makes Services until one's IPv4 address is answered for by another node than the given one, where its only pod is.
// A node that is cut off then takes the address along, but not the pod.
func (s *scenario) exposeAwayFrom(node, app string) (*corev1.Service, string) {
	s.Helper()
	for i := range 8 {
		svc := s.expose(fmt.Sprintf("away-%d", i), app)
		if owner := s.owner(addresses(svc)[0]); owner != node {
			return svc, owner
		}
	}
	s.Fatalf("eight addresses are all answered for by %s", node)
	return nil, ""
}

// cutOff cuts a host's link, and mends it when the test ends if the test did not.
func (s *scenario) cutOff(host string) (mend func()) {
	s.Helper()
	s.Expect(s.host(host).Fault(lab.LinkDown)).To(Succeed())
	cut := true
	mend = func() {
		s.Helper()
		if cut {
			cut = false
			s.Expect(s.host(host).Fault(lab.LinkUp)).To(Succeed())
		}
	}
	s.Cleanup(mend)
	return mend
}

// testLinkCut: the owner is cut off; another node answers within two seconds, and connections go on.
func testLinkCut(t *testing.T) {
	s := newScenario(t)
	s.web("web", 1, "node1")
	svc, owner := s.exposeAwayFrom("node1", "web")
	addr := addresses(svc)[0]

	l := startLoad(addr, 20*time.Millisecond, time.Second)
	s.Eventually(l.succeeded).Should(BeNumerically(">", 10))
	mend := s.cutOff(owner)
	before := l.succeeded()
	s.Eventually(l.succeeded).Should(BeNumerically(">", before+50), "connections that succeed after %s was cut off", owner)
	r := l.stop()
	t.Logf("%s cut off: %d of %d connections failed, longest gap %v", owner, len(r.failures), r.attempts, r.longestGap)
	s.Expect(r.longestGap).To(BeNumerically("<=", 2*time.Second))

	macs, err := claims(addr, time.Second)
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(macs).To(HaveLen(1))
	s.Expect(macs).NotTo(ContainElement(mac(s, owner)))

	mend()
	s.Eventually(func() ([]string, error) { return reportedOwners(s.ctx, addr) }).Should(Equal([]string{owner}), "the address goes home")
	s.Eventually(func() ([]string, error) { return claims(addr, 500*time.Millisecond) }).Should(Equal([]string{mac(s, owner)}))
}

// testSpeakerGone: the owner's speaker is killed, then stopped; no connection is lost, and the speaker comes back.
func testSpeakerGone(t *testing.T) {
	s := newScenario(t)
	s.web("web", 3, "")
	svc := s.expose("web", "web", dualStack)
	for _, fault := range []lab.Fault{lab.KillSpeaker, lab.StopSpeaker} {
		for _, addr := range addresses(svc) {
			owner := s.owner(addr)
			l := startLoad(addr, 20*time.Millisecond, 5*time.Second)
			s.Eventually(l.succeeded).Should(BeNumerically(">", 10))
			s.Expect(s.host(owner).Fault(fault)).To(Succeed())
			// Another node takes over, the speaker returns, and the address goes home: connections are made through all of it.
			s.Eventually(func() ([]string, error) { return claims(addr, 200*time.Millisecond) }).
				WithPolling(10*time.Millisecond).Should(And(HaveLen(1), Not(ContainElement(mac(s, owner)))), "another node takes %s over after %s of %s", addr, fault, owner)
			s.Eventually(func() ([]string, error) { return claims(addr, 200*time.Millisecond) }).
				WithTimeout(2*patience).Should(Equal([]string{mac(s, owner)}), "%s goes home to %s", addr, owner)
			n := l.succeeded()
			s.Eventually(l.succeeded).Should(BeNumerically(">", n+20))
			r := l.stop()
			t.Logf("%s on %s: %d of %d connections failed", fault, owner, len(r.failures), r.attempts)
			s.Expect(r.failures).To(BeEmpty())
		}
	}
}

// testControllerRestarts: the controllers are restarted five times while rivals wait for an address; none moves.
func testControllerRestarts(t *testing.T) {
	s := newScenario(t)
	s.web("web", 1, "")
	want := map[string][]netip.Addr{}
	var assigned []*corev1.Service
	for i := range 8 { // all that the pool has
		svc := s.expose(fmt.Sprintf("held-%d", i), "web")
		want[svc.Name] = addresses(svc)
		assigned = append(assigned, svc)
	}
	var rivals []*corev1.Service
	for i := range 4 {
		rival := s.service(fmt.Sprintf("a-rival-%d", i), "web") // before the others in the order of names
		s.create(rival)
		rivals = append(rivals, rival)
	}
	for _, rival := range rivals {
		s.Eventually(func(g Gomega) {
			s.get(g, rival)
			g.Expect(reason(rival, v1beta1.ConditionAddressAssigned)).To(Equal(v1beta1.ReasonPoolExhausted))
		}).Should(Succeed())
	}
	for range 5 {
		s.Expect(cluster.DeleteAllOf(s.ctx, &corev1.Pod{}, client.InNamespace(system), controllerPods)).To(Succeed())
		s.controllersReady()
		for _, svc := range assigned {
			s.get(s, svc)
			s.Expect(addresses(svc)).To(Equal(want[svc.Name]), "addresses of %s", svc.Name)
		}
		for _, rival := range rivals {
			s.get(s, rival)
			s.Expect(addresses(rival)).To(BeEmpty(), "addresses of %s", rival.Name)
		}
	}
	// The controller that runs now does its work: what is released goes to the rival that has waited longest.
	s.remove(assigned[3])
	s.Eventually(func(g Gomega) {
		s.get(g, rivals[0])
		g.Expect(addresses(rivals[0])).To(Equal(want["held-3"]))
	}).Should(Succeed())
}

var controllerPods = client.MatchingLabels{"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/component": "controller"}

// controllersReady waits until all of the Deployment's pods are new enough and ready, and one of them leads.
func (s *scenario) controllersReady() {
	s.Helper()
	s.Eventually(func(g Gomega) {
		var pods corev1.PodList
		g.Expect(cluster.List(s.ctx, &pods, client.InNamespace(system), controllerPods)).To(Succeed())
		ready := 0
		for i := range pods.Items {
			p := &pods.Items[i]
			for _, c := range p.Status.Conditions {
				if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil {
					ready++
				}
			}
		}
		g.Expect(ready).To(Equal(2), "ready controllers")
	}).WithTimeout(2 * patience).Should(Succeed())
}

// testAPIServerPaused: traffic and elections go on while the API server does not answer.
func testAPIServerPaused(t *testing.T) {
	s := newScenario(t)
	s.web("web", 1, "node1")
	svc, owner := s.exposeAwayFrom("node1", "web")
	addr := addresses(svc)[0]
	ownersMAC := mac(s, owner)

	l := startLoad(addr, 20*time.Millisecond, time.Second)
	s.Eventually(l.succeeded).Should(BeNumerically(">", 10))
	s.Expect(s.host("cp").Fault(lab.PauseAPIServer)).To(Succeed())
	resumed := false
	resume := func() {
		if !resumed {
			resumed = true
			s.Expect(s.host("cp").Fault(lab.ResumeAPIServer)).To(Succeed())
		}
	}
	s.Cleanup(resume)

	n := l.succeeded()
	s.Eventually(l.succeeded).Should(BeNumerically(">", n+100), "connections while the API server is paused")
	mend := s.cutOff(owner)
	s.Eventually(func() ([]string, error) { return claims(addr, 100*time.Millisecond) }).WithPolling(10*time.Millisecond).
		Should(And(HaveLen(1), Not(ContainElement(ownersMAC))), "another node answers, elected without the API server")
	n = l.succeeded()
	s.Eventually(l.succeeded).Should(BeNumerically(">", n+50))
	mend()
	s.Eventually(func() ([]string, error) { return claims(addr, 500*time.Millisecond) }).Should(Equal([]string{ownersMAC}), "it goes home, still without the API server")
	resume()
	r := l.stop()
	t.Logf("API server paused and %s cut off: %d of %d connections failed, longest gap %v", owner, len(r.failures), r.attempts, r.longestGap)
	s.Expect(r.longestGap).To(BeNumerically("<=", 2*time.Second))
	s.Eventually(func() ([]string, error) { return reportedOwners(s.ctx, addr) }).WithTimeout(2 * patience).Should(Equal([]string{owner}))
}

// testKillLoop: both daemons are killed again and again while Services come and go; no address is lost and none given twice.
func testKillLoop(t *testing.T) {
	s := newScenario(t)
	s.web("web", 3, "")
	const rounds = 40
	kept := s.expose("kept", "web", dualStack)
	keptAddrs := addresses(kept)

	random := rand.New(rand.NewPCG(1, 2)) // the same story on every run
	live := map[string]*corev1.Service{}
	known := map[string][]netip.Addr{} // once assigned, for as long as the Service lives
	next := 0
	for round := range rounds {
		switch {
		case len(live) < 4 || (len(live) < 9 && random.IntN(2) == 0):
			svc := s.service(fmt.Sprintf("s%d", next), "web")
			if next++; random.IntN(2) == 0 {
				dualStack(svc)
			}
			s.Expect(cluster.Create(s.ctx, svc)).To(Succeed())
			live[svc.Name] = svc
		default:
			names := make([]string, 0, len(live))
			for name := range live {
				names = append(names, name)
			}
			slices.Sort(names)
			name := names[random.IntN(len(names))]
			s.Expect(cluster.Delete(s.ctx, live[name])).To(Succeed())
			delete(live, name)
			delete(known, name)
		}
		switch round % 4 {
		case 1, 3:
			for _, node := range theLab.Nodes() {
				s.kill(node, "fairlead-controller")
			}
		case 2:
			nodes := theLab.Nodes()
			s.kill(nodes[random.IntN(len(nodes))], "fairlead-speaker")
		}
		s.noAddressTwice(live, known)
	}

	// When the dust has settled every Service that can have an address has one.
	s.controllersReady()
	s.Eventually(func(g Gomega) {
		assigned := s.noAddressTwice(live, known)
		g.Expect(assigned).To(BeNumerically(">=", min(len(live), 7)), "Services with addresses, of %d", len(live))
	}).WithTimeout(2 * patience).Should(Succeed())
	s.get(s, kept)
	s.Expect(addresses(kept)).To(Equal(keptAddrs))
	s.Eventually(func() (string, error) { return answeringPod(s.ctx, keptAddrs[0]) }).ShouldNot(BeEmpty())
	for _, svc := range live {
		s.remove(svc)
	}
	s.Eventually(func(g Gomega) {
		s.get(g, s.pool)
		g.Expect(s.pool.Status.IPv4).To(Equal(v1beta1.AddressCounts{Assigned: 1, Available: 7}), "nothing is lost: all but the kept address is free again")
	}).Should(Succeed())
}

// kill ends a program on a node, as kill -9 does; not running (because it was killed just before) is fine.
func (s *scenario) kill(node *lab.Host, program string) {
	s.Helper()
	pids, err := node.Processes(program)
	s.Expect(err).NotTo(HaveOccurred())
	if len(pids) > 0 {
		s.Expect(node.Signal(program, unix.SIGKILL)).To(Succeed())
	}
}

// noAddressTwice checks all live Services in the API: no two have one address, and none lost the address it had. It returns how many have one.
func (s *scenario) noAddressTwice(live map[string]*corev1.Service, known map[string][]netip.Addr) int {
	s.Helper()
	var services corev1.ServiceList
	s.Expect(cluster.List(s.ctx, &services, client.InNamespace(s.namespace))).To(Succeed())
	holder := map[netip.Addr]string{}
	assigned := 0
	for i := range services.Items {
		svc := &services.Items[i]
		addrs := addresses(svc)
		for _, addr := range addrs {
			s.Expect(holder).NotTo(HaveKey(addr), "%s has the address of another Service", svc.Name)
			holder[addr] = svc.Name
		}
		if live[svc.Name] == nil {
			continue
		}
		if len(addrs) > 0 {
			assigned++
		}
		s.Expect(addrs).To(ContainElements(known[svc.Name]), "%s lost an address", svc.Name)
		known[svc.Name] = addrs
	}
	return assigned
}
