package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/test/lab"
)

// exposeAwayFrom finds a Service whose IPv4 address is answered for by another node than the given one, where its only pod is. A node
// that is cut off then takes the address along, but not the pod.
func (s *scenario) exposeAwayFrom(node, app string) (svc *corev1.Service, owner string) {
	s.Helper()
	svc = s.exposeNotAt(node, app)
	return svc, s.owner(addresses(svc)[0])
}

// exposeNotAt makes Services until one's IPv4 address is answered for by another node than the given one.
func (s *scenario) exposeNotAt(node, app string) *corev1.Service {
	s.Helper()
	for range 8 {
		s.exposed++
		svc := s.expose(fmt.Sprintf("at-%d", s.exposed), app)
		if s.owner(addresses(svc)[0]) != node {
			return svc
		}
	}
	s.Fatalf("eight addresses are all answered for by %s", node)
	return nil
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
	bystander := addresses(s.exposeNotAt(owner, "web"))[0]
	bystandersMAC := mac(s, s.owner(bystander))

	l := s.load(addr, 20*time.Millisecond, time.Second)
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
	s.Eventually(func(g Gomega) {
		s.get(g, svc)
		nodes := announcers(svc)
		g.Expect(nodes).To(HaveLen(1), "the Service says who announces it; Announced says: %s", message(svc, v1beta1.ConditionAnnounced))
		g.Expect(mac(s, nodes[0])).To(Equal(macs[0]), "and that is who answers")
	}).Should(Succeed())

	// The node that was cut off had the others for dead. It must meet them before it answers, and not answer for what is theirs.
	mend()
	mended := time.Now()
	var doubled time.Duration // after mending
	for time.Since(mended) < 8*time.Second {
		macs, err := claims(bystander, 100*time.Millisecond)
		s.Expect(err).NotTo(HaveOccurred())
		if !slices.Equal(macs, []string{bystandersMAC}) {
			doubled = time.Since(mended)
		}
	}
	t.Logf("%s, whose node was never cut off, was last answered for by another one %v after the link was mended", bystander, doubled)
	s.Expect(doubled).To(BeNumerically("<", time.Second))
	s.Eventually(func() ([]string, error) { return reportedOwners(s.ctx, addr) }).Should(Equal([]string{owner}), "the address goes home")
	s.Eventually(func() ([]string, error) { return claims(addr, 500*time.Millisecond) }).Should(Equal([]string{mac(s, owner)}))
}

// testSpeakerGone: the owner's speaker is killed, then stopped; another node takes over, and when the speaker is back the address
// goes home. No connection is lost in any of it.
func testSpeakerGone(t *testing.T) {
	s := newScenario(t)
	s.web("web", 3, "")
	svc := s.expose("web", "web", dualStack)
	for _, fault := range []lab.Fault{lab.KillSpeaker, lab.StopSpeaker} {
		for _, addr := range addresses(svc) {
			owner := s.owner(addr)
			l := s.load(addr, 20*time.Millisecond, 5*time.Second)
			s.Eventually(l.succeeded).Should(BeNumerically(">", 10))
			comeBack := s.keepAway(owner)
			s.Expect(s.host(owner).Fault(fault)).To(Succeed())
			s.Eventually(func() ([]string, error) { return claims(addr, 200*time.Millisecond) }).
				WithPolling(10*time.Millisecond).Should(And(HaveLen(1), Not(ContainElement(mac(s, owner)))), "another node takes %s over after %s of %s", addr, fault, owner)
			comeBack()
			s.Eventually(func() ([]string, error) { return claims(addr, 200*time.Millisecond) }).
				WithTimeout(2*patience).Should(Equal([]string{mac(s, owner)}), "%s goes home to %s", addr, owner)
			s.noneFailed(l, fmt.Sprintf("%s on %s until another node had %s and it was home again", fault, owner, addr))
		}
	}
}

// testSpeakerRestarts: the owner's speaker is killed, then stopped, and kubelet starts it again at once, perhaps before anybody
// noticed. No new connection is lost, and the address is at home afterwards.
func testSpeakerRestarts(t *testing.T) {
	s := newScenario(t)
	s.web("web", 3, "")
	addr := addresses(s.expose("web", "web"))[0]
	for _, fault := range []lab.Fault{lab.KillSpeaker, lab.StopSpeaker} {
		owner := s.owner(addr)
		before := s.processes(owner, speakerProgram)
		l := s.load(addr, 20*time.Millisecond, 5*time.Second)
		s.Eventually(l.succeeded).Should(BeNumerically(">", 10))
		s.Expect(s.host(owner).Fault(fault)).To(Succeed())
		s.Eventually(func() []int { return s.processes(owner, speakerProgram) }).
			Should(And(HaveLen(1), Not(Equal(before))), "the speaker of %s runs again", owner)
		s.Eventually(func() ([]string, error) { return claims(addr, 200*time.Millisecond) }).
			WithTimeout(2 * patience).Should(Equal([]string{mac(s, owner)}))
		s.noneFailed(l, fmt.Sprintf("%s on %s, which started it again", fault, owner))
	}
}

// noneFailed lets the load go on for another fifty connections, and checks that none failed since it started.
func (s *scenario) noneFailed(l *load, story string) {
	s.Helper()
	n := l.succeeded()
	s.Eventually(l.succeeded).Should(BeNumerically(">", n+50))
	r := l.stop()
	s.Logf("%s: %d of %d new connections failed, %d were under way at one of %d moves, the slowest took %v", story, len(r.failures), r.attempts, r.caught, r.moves, r.slowest)
	s.Expect(r.failures).To(BeEmpty())
}

// load starts a load.
func (s *scenario) load(addr netip.Addr, interval, timeout time.Duration) *load {
	s.Helper()
	l, err := startLoad(addr, interval, timeout)
	s.Expect(err).NotTo(HaveOccurred())
	return l
}

const (
	speakerProgram    = "fairlead-speaker"
	controllerProgram = "fairlead-controller"
)

// keepAway stops a node's kubelet as it stands, so that what ends on the node is not started again until comeBack.
func (s *scenario) keepAway(node string) (comeBack func()) {
	s.Helper()
	s.Expect(s.host(node).Signal("kubelet", unix.SIGSTOP)).To(Succeed())
	stopped := true
	comeBack = func() {
		s.Helper()
		if stopped {
			stopped = false
			s.Expect(s.host(node).Signal("kubelet", unix.SIGCONT)).To(Succeed())
		}
	}
	s.Cleanup(comeBack)
	return comeBack
}

func (s *scenario) processes(node, program string) []int {
	s.Helper()
	pids, err := s.host(node).Processes(program)
	s.Expect(err).NotTo(HaveOccurred())
	return pids
}

var controllerPods = client.MatchingLabels{"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/component": "controller"}

// restartControllers deletes both controllers' pods and waits until one that came in their place leads. It may still be reading what is
// assigned.
func (s *scenario) restartControllers() {
	s.Helper()
	var old corev1.PodList
	s.Expect(cluster.List(s.ctx, &old, client.InNamespace(system), controllerPods)).To(Succeed())
	s.Expect(cluster.DeleteAllOf(s.ctx, &corev1.Pod{}, client.InNamespace(system), controllerPods)).To(Succeed())
	s.Eventually(func(g Gomega) {
		var lease coordinationv1.Lease
		g.Expect(cluster.Get(s.ctx, client.ObjectKey{Namespace: system, Name: "fairlead-controller"}, &lease)).To(Succeed())
		g.Expect(lease.Spec.HolderIdentity).To(HaveValue(Not(BeEmpty())), "holder of the lease")
		leader, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_") // the pod's name; what follows tells its processes apart
		for i := range old.Items {
			g.Expect(leader).NotTo(Equal(old.Items[i].Name), "who leads")
		}
	}).WithTimeout(2 * patience).Should(Succeed())
}

// testAPIServerPaused: traffic and elections go on while the API server does not answer.
func testAPIServerPaused(t *testing.T) {
	s := newScenario(t)
	s.web("web", 1, "node1")
	svc, owner := s.exposeAwayFrom("node1", "web")
	addr := addresses(svc)[0]
	ownersMAC := mac(s, owner)

	l := s.load(addr, 20*time.Millisecond, time.Second)
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
	kept := s.expose("kept", "web", dualStack)
	keptAddrs := addresses(kept)

	random := rand.New(rand.NewPCG(1, 2)) // the same story on every run
	c := churn{scenario: s, random: random, live: map[string]*corev1.Service{}, known: map[string][]netip.Addr{}}
	killed := map[string]int{}
	for range 5 {
		// All daemons run and a controller leads. Then Services come and go, and in the midst of it no controller is left.
		s.allRun()
		const changes = 12
		at := random.IntN(changes)
		for i := range changes {
			c.change()
			if i == at {
				nodes := theLab.Nodes()
				for _, node := range nodes {
					killed[controllerProgram] += s.kill(node, controllerProgram)
				}
				killed[speakerProgram] += s.kill(nodes[random.IntN(len(nodes))], speakerProgram)
			}
			c.check(s)
		}
		s.Eventually(func(g Gomega) {
			g.Expect(c.check(g)).To(BeNumerically(">=", min(len(c.live), 7)), "Services with addresses, of %d", len(c.live))
		}).WithTimeout(2 * patience).Should(Succeed())
	}
	t.Logf("%d Services came, %d stayed; killed: %v", c.next, len(c.live), killed)
	s.Expect(killed).To(Equal(map[string]int{controllerProgram: 10, speakerProgram: 5}), "processes killed")

	s.get(s, kept)
	s.Expect(addresses(kept)).To(Equal(keptAddrs))
	s.Eventually(func() (string, error) { return answeringPod(s.ctx, keptAddrs[0]) }).ShouldNot(BeEmpty())
	for _, svc := range c.live {
		s.remove(svc)
	}
	s.Eventually(func(g Gomega) {
		s.get(g, s.pool)
		g.Expect(s.pool.Status.IPv4).To(Equal(v1beta1.AddressCounts{Assigned: 1, Available: 7}), "nothing is lost: all but the kept address is free again")
	}).Should(Succeed())
}

// allRun waits until both controllers and the speakers of all nodes run, and a controller leads: it has renewed the lease since.
func (s *scenario) allRun() {
	s.Helper()
	since := time.Now()
	s.Eventually(func(g Gomega) {
		controllers := 0
		for _, node := range theLab.Nodes() {
			controllers += len(s.processes(node.Name, controllerProgram))
			g.Expect(s.processes(node.Name, speakerProgram)).To(HaveLen(1), "speaker of %s", node.Name)
		}
		g.Expect(controllers).To(Equal(2), "controllers")
		var lease coordinationv1.Lease
		g.Expect(cluster.Get(s.ctx, client.ObjectKey{Namespace: system, Name: "fairlead-controller"}, &lease)).To(Succeed())
		g.Expect(lease.Spec.RenewTime).NotTo(BeNil())
		g.Expect(lease.Spec.RenewTime.Time).To(BeTemporally(">", since), "the lease is renewed")
	}).WithTimeout(2 * patience).Should(Succeed())
}

// churn makes Services and deletes them, and knows what each must still have.
type churn struct {
	*scenario
	random *rand.Rand
	live   map[string]*corev1.Service
	known  map[string][]netip.Addr // addresses once seen, for as long as the Service lives
	next   int
}

// change makes a Service or deletes one; there are four to nine, for seven IPv4 addresses.
func (c *churn) change() {
	c.Helper()
	if len(c.live) < 4 || (len(c.live) < 9 && c.random.IntN(2) == 0) {
		svc := c.service(fmt.Sprintf("s%d", c.next), "web")
		if c.next++; c.random.IntN(2) == 0 {
			dualStack(svc)
		}
		c.Expect(cluster.Create(c.ctx, svc)).To(Succeed())
		c.live[svc.Name] = svc
		return
	}
	names := slices.Sorted(maps.Keys(c.live))
	name := names[c.random.IntN(len(names))]
	c.Expect(cluster.Delete(c.ctx, c.live[name])).To(Succeed())
	delete(c.live, name)
	delete(c.known, name)
}

// check all Services in the API: no two have one address, and none lost one that it had. It returns how many have one.
func (c *churn) check(g Gomega) int {
	c.Helper()
	var services corev1.ServiceList
	g.Expect(cluster.List(c.ctx, &services, client.InNamespace(c.namespace))).To(Succeed())
	holder := map[netip.Addr]string{}
	assigned := 0
	for i := range services.Items {
		svc := &services.Items[i]
		addrs := addresses(svc)
		for _, addr := range addrs {
			c.Expect(holder).NotTo(HaveKey(addr), "%s has the address of another Service", svc.Name)
			holder[addr] = svc.Name
		}
		if c.live[svc.Name] == nil {
			continue
		}
		if len(addrs) > 0 {
			assigned++
		}
		for _, addr := range c.known[svc.Name] {
			c.Expect(addrs).To(ContainElement(addr), "%s lost an address", svc.Name)
		}
		c.known[svc.Name] = addrs
	}
	return assigned
}

// kill ends a program on a node, as kill -9 does, and returns how many processes that were; none runs while kubelet restarts it.
func (s *scenario) kill(node *lab.Host, program string) int {
	s.Helper()
	pids := s.processes(node.Name, program)
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			s.Expect(err).To(MatchError(unix.ESRCH), "kill %s on %s", program, node.Name) // it has just ended
		}
	}
	return len(pids)
}
