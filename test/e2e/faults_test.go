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

const (
	speakerProgram    = "fairlead-speaker"
	controllerProgram = "fairlead-controller"
)

// keepAway stops a node's kubelet as it stands, so that what ends on the node is not started again until comeBack.
func (s *scenario) keepAway(node string) (comeBack func()) {
	s.Helper()
	s.Expect(s.host(node).Signal("kubelet", unix.SIGSTOP)).To(Succeed())
	return s.undo(func() {
		s.Helper()
		s.Expect(s.host(node).Signal("kubelet", unix.SIGCONT)).To(Succeed())
	})
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
	s := newStanding(t)
	s.web("one", 1, "node1")
	svc, owner := s.exposeAwayFrom("node1", "one")
	addr := addresses(svc)[0]
	ownersMAC := mac(s, owner)

	s.fairly(func(seen Gomega) {
		l := s.load(addr, failoverTimeout)
		s.Expect(s.host("cp").Fault(lab.PauseAPIServer)).To(Succeed())
		resume := s.undo(func() { s.Expect(s.host("cp").Fault(lab.ResumeAPIServer)).To(Succeed()) })

		n := l.succeeded()
		s.Eventually(l.succeeded).Should(BeNumerically(">", n+200), "connections while the API server is paused")
		mend := s.cutOff(owner)
		s.Eventually(l.towards).Should(Not(Equal(ownersMAC)), "another node answers, elected without the API server")
		n = l.succeeded()
		s.Eventually(l.succeeded).Should(BeNumerically(">", n+50))
		mend()
		s.Eventually(func() ([]string, error) { return claims(addr, 500*time.Millisecond) }).Should(Equal([]string{ownersMAC}), "it goes home, still without the API server")
		resume()
		c := l.stop()
		t.Logf("API server paused and %s cut off: %s", owner, c)
		seen.Expect(c.LongestGap).To(BeNumerically("<=", 2*time.Second))
		s.atHome(addr)
	})
}

// testKillLoop: both daemons are killed again and again while Services come and go; no address is lost and none given twice.
func testKillLoop(t *testing.T) {
	s := newStanding(t)
	s.web("web", 3, "")
	kept := s.expose("kept", "web", dualStack)
	keptAddrs := addresses(kept)

	random := rand.New(rand.NewPCG(1, 2)) // the same story on every run
	c := churn{scenario: s, random: random, live: map[string]*corev1.Service{}, known: map[string][]netip.Addr{}}
	killed := map[string]int{}
	for range 5 {
		var now map[string]int
		// All daemons run and a controller leads. Then Services come and go, and in the midst of it no controller is left.
		s.allRun()
		const changes = 12
		at := random.IntN(changes)
		for i := range changes {
			c.change()
			if i == at {
				now = s.killSome(random)
			}
			c.check(s)
		}
		for program, n := range now {
			killed[program] += n
			s.Expect(n).To(BeNumerically(">", 0), "processes of %s that were killed; one may have been about to start", program)
		}
		s.Eventually(func(g Gomega) {
			g.Expect(c.check(g)).To(BeNumerically(">=", min(len(c.live), 7)), "Services with addresses, of %d", len(c.live))
		}).WithTimeout(2 * patience).Should(Succeed())
	}
	t.Logf("%d Services came, %d stayed; killed: %v", c.next, len(c.live), killed)

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

// killSome ends all controllers, and one node's speaker; it tells how many processes of each that were.
func (s *scenario) killSome(random *rand.Rand) map[string]int {
	s.Helper()
	nodes := theLab.Nodes()
	killed := map[string]int{}
	for _, node := range nodes {
		killed[controllerProgram] += s.kill(node, controllerProgram)
	}
	killed[speakerProgram] = s.kill(nodes[random.IntN(len(nodes))], speakerProgram)
	return killed
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
