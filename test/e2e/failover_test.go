package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/l2/election"
	"fairlead.io/fairlead/test/e2e/observe"
	"fairlead.io/fairlead/test/lab"
)

const (
	// failoverTimeout of a connection is less than the second after which the kernel sends its first packet again: what was lost must
	// not succeed after all, or it would hide the gap.
	failoverTimeout = 500 * time.Millisecond
	// patientTimeout is that of a connection that may take its time but must not be lost.
	patientTimeout = 5 * time.Second
)

// home is the node that answers for an address while all nodes may and none is preferred: that of the greatest score.
func home(addr netip.Addr) string {
	return slices.MaxFunc(theLab.Nodes(), func(a, b *lab.Host) int {
		if election.Score(a.Name, addr) < election.Score(b.Name, addr) {
			return -1
		}
		return 1
	}).Name
}

// atHome waits until the address is at home: that node, and no other, reports it and answers.
func (s *scenario) atHome(addr netip.Addr) (node string) {
	s.Helper()
	node = home(addr)
	nodesMAC := mac(s, node)
	s.Eventually(func(g Gomega) {
		nodes, err := reportedOwners(s.ctx, addr)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(nodes).To(Equal([]string{node}), "nodes that report to answer for %s", addr)
		macs, err := claims(addr, 200*time.Millisecond)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(macs).To(Equal([]string{nodesMAC}), "who answers for %s", addr)
	}).WithTimeout(2 * patience).Should(Succeed())
	return node
}

// exposeAwayFrom makes a Service whose IPv4 address is at home on another node than the given one, where its only pod is. A node that
// is cut off then takes the address along, but not the pod.
func (s *scenario) exposeAwayFrom(node, app string) (svc *corev1.Service, owner string) {
	s.Helper()
	for s.tried < poolSize {
		addr := addIP(s.v4, s.tried)
		if s.tried++; home(addr) != node {
			svc = s.expose(fmt.Sprintf("at-%d", s.tried), app, requests(addr))
			return svc, s.atHome(addr)
		}
	}
	s.Fatalf("no address that is left in pool %s is at home on another node than %s", s.pool.Name, node)
	return nil, ""
}

// exposeTogether makes a Service whose IPv4 and IPv6 address are at home on one node.
func (s *scenario) exposeTogether(app string) (svc *corev1.Service, owner string) {
	s.Helper()
	for i := range poolSize * poolSize {
		v4, v6 := addIP(s.v4, i/poolSize), addIP(s.v6, i%poolSize)
		if home(v4) == home(v6) {
			return s.expose("together", app, dualStack, requests(v4, v6)), home(v4)
		}
	}
	s.Fatalf("no IPv4 and IPv6 address of pool %s are at home on one node", s.pool.Name)
	return nil, ""
}

// requests makes a Service ask for addresses.
func requests(addrs ...netip.Addr) func(*corev1.Service) {
	return func(svc *corev1.Service) {
		var list []string
		for _, addr := range addrs {
			list = append(list, addr.String())
		}
		metav1.SetMetaDataAnnotation(&svc.ObjectMeta, v1beta1.AnnotationLoadBalancerIPs, strings.Join(list, ","))
	}
}

// cutOff cuts a host's link, and mends it when the test ends if the test did not.
func (s *scenario) cutOff(host string) (mend func()) {
	s.Helper()
	s.Expect(s.host(host).Fault(lab.LinkDown)).To(Succeed())
	return s.undo(func() {
		s.Helper()
		s.Expect(s.host(host).Fault(lab.LinkUp)).To(Succeed())
	})
}

// load starts a load and waits until connections succeed.
func (s *scenario) load(addr netip.Addr, timeout time.Duration) *load {
	s.Helper()
	l, err := startLoad(addr, timeout)
	s.Expect(err).NotTo(HaveOccurred())
	s.Cleanup(l.cancel)
	s.Eventually(l.succeeded).Should(BeNumerically(">", 20), "connections to %s that succeed", addr)
	return l
}

// failover cuts the owner of an address off while a client opens connections, and then mends the link. It returns what the client saw of the
// cut when all is as it was before.
func (s *scenario) failover(addr netip.Addr) observe.Connections {
	s.Helper()
	owner := s.atHome(addr)
	l := s.load(addr, failoverTimeout)
	s.Eventually(l.succeeded).Should(BeNumerically(">", 100))
	mend := s.cutOff(owner)
	s.Eventually(l.towards).ShouldNot(Equal(mac(s, owner)), "another node than %s takes %s over", owner, addr)
	before := l.succeeded()
	s.Eventually(l.succeeded).Should(BeNumerically(">", before+100), "connections that succeed after %s was cut off", owner)
	c := l.stop()
	mend()
	s.atHome(addr)
	return c
}

// testLinkCut: the owner is cut off, three times; each time another node takes over, and connections go on. How fast it is is
// measured by BenchmarkFailover; the bound here is for what does not work at all.
func testLinkCut(t *testing.T) {
	s := newStanding(t)
	s.web("one", 1, "node1")
	svc, owner := s.exposeAwayFrom("node1", "one")
	for range 3 {
		s.fairly(func(seen Gomega) {
			c := s.failover(addresses(svc)[0])
			t.Logf("%s cut off: %s", owner, c)
			seen.Expect(c.LongestGap).NotTo(BeZero(), "%s was cut off: did it answer? %s", owner, c)
			seen.Expect(c.LongestGap).To(BeNumerically("<=", 1500*time.Millisecond), "%s cut off: %s", owner, c)
		})
	}
}

// BenchmarkFailover is testLinkCut for figures: the longest and the median gap in new connections when the owner is cut off.
func BenchmarkFailover(b *testing.B) {
	s := newScenario(b)
	s.web("web", 1, "node1")
	svc, owner := s.exposeAwayFrom("node1", "web")
	var gaps []time.Duration
	for b.Loop() {
		gap := s.failover(addresses(svc)[0]).LongestGap
		s.Expect(gap).NotTo(BeZero(), "the gap that it makes to cut %s off: did it answer?", owner)
		gaps = append(gaps, gap.Round(time.Millisecond))
	}
	b.Logf("%s cut off, gaps: %v", owner, gaps)
	slices.Sort(gaps)
	n := len(gaps)
	b.ReportMetric(milliseconds(gaps[n-1]), "longest-gap-ms")
	b.ReportMetric(milliseconds(gaps[(n-1)/2]+gaps[n/2])/2, "median-gap-ms")
	b.ReportMetric(0, "ns/op") // which is mostly waiting until the address is at home again
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
