package e2e

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/test/e2e/observe"
	"fairlead.io/fairlead/test/process"
)

// many is the number of addresses in BenchmarkThousandAddresses.
const many = 1000

// BenchmarkThousandAddresses shows what becomes of many addresses, and how fast they are announced on the wire: when a node is lost, only
// its own move; and all of them move at once when another node is selected. Reported are the greatest distance of a node's share from the even one, and
// how long it took from the first announcement of a take-over until each address was announced once: for the share of a lost node,
// and for all addresses.
func BenchmarkThousandAddresses(b *testing.B) {
	s := newScenario(b)
	addrs, adv := s.manyAddresses()
	for b.Loop() {
		before := s.allOwned(addrs)
		spread := 0.0
		for _, node := range theLab.Nodes() {
			own := 0
			for _, owner := range before {
				if owner == node.Name {
					own++
				}
			}
			even := float64(many) / float64(len(theLab.Nodes()))
			spread = max(spread, math.Abs(float64(own)-even)/even*100)
		}
		s.Expect(spread).To(BeNumerically("<=", 15), "percent between a node's share of the addresses and an even one")

		lost := "node2" // where the pod is not
		heard := s.listen(addrs...)
		mend := s.cutOff(lost)
		var after map[netip.Addr]string // who has announced what was another's
		s.Eventually(func() int {
			left := 0
			after = heard.announcedBy()
			maps.DeleteFunc(after, func(addr netip.Addr, node string) bool { return before[addr] == node }) // it refreshes what is its own
			for addr, owner := range before {
				if _, ok := after[addr]; !ok && owner == lost {
					left++
				}
			}
			return left
		}).Should(BeZero(), "addresses of %s's that nobody has announced", lost)
		moved, lasted := len(after), heard.lasted(after)
		heard.stop()
		for addr := range after {
			s.Expect(before[addr]).To(Equal(lost), "whose %s was that %s has announced while %s was lost", addr, after[addr], lost)
		}
		mend()
		s.Expect(s.allOwned(addrs)).To(HaveLen(many), "%s is back", lost)

		heard = s.listen(addrs...)
		update(s, adv, func(a *v1beta1.L2Advertisement) { a.Spec.NodeSelectors = onNode("node3") })
		s.allOwnedBy(addrs, "node3")
		heard.stop()
		heard = s.listen(addrs...)
		update(s, adv, func(a *v1beta1.L2Advertisement) { a.Spec.NodeSelectors = onNode("node1") })
		s.Eventually(func() int { return len(heard.announcedBy()) }).Should(Equal(many), "addresses that node1 announces")
		all := heard.lasted(heard.announcedBy())
		heard.stop()
		s.allOwnedBy(addrs, "node1")
		update(s, adv, func(a *v1beta1.L2Advertisement) { a.Spec.NodeSelectors = nil })

		b.ReportMetric(spread, "spread-%")
		b.ReportMetric(float64(moved), "moved-with-the-node")
		b.ReportMetric(milliseconds(lasted), "lost-node-announced-ms")
		b.ReportMetric(milliseconds(all), "all-announced-ms")
	}
	b.ReportMetric(0, "ns/op") // which is mostly waiting until the addresses are at home again
}

// manyAddresses are so many Services' addresses that layer 2 announces, by one advertisement.
func (s *scenario) manyAddresses() ([]netip.Addr, *v1beta1.L2Advertisement) {
	s.Helper()
	s.web("web", 1, "node1")
	first := netip.MustParseAddr("10.0.0.1") // as in the election's TestSpread
	addrs := make([]netip.Addr, many)
	for i := range addrs {
		addrs[i] = addIP(first, i)
	}
	pool := &v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: s.pool.Name + "-many"},
		Spec: v1beta1.IPAddressPoolSpec{
			Addresses:         []v1beta1.AddressRange{v1beta1.AddressRange(fmt.Sprintf("%s-%s", first, addrs[many-1]))},
			ServiceAllocation: &v1beta1.ServiceAllocation{Namespaces: []string{s.namespace}, Priority: 1},
		},
	}
	s.create(pool)
	adv := advertisement(pool.Name)
	s.create(adv)
	s.exposeMany(addrs)
	return addrs, adv
}

// BenchmarkIdle is what a speaker costs that has nothing to do, while there are many addresses: processor time in a minute, of the speaker that
// needs most of it, and memory.
func BenchmarkIdle(b *testing.B) {
	s := newScenario(b)
	addrs, _ := s.manyAddresses()
	s.Expect(s.allOwned(addrs)).To(HaveLen(many))
	for b.Loop() {
		const minute = time.Minute
		before := s.speakersCPU()
		began := time.Now()
		<-time.After(minute)
		most, memory := 0.0, 0.0
		for node, cpu := range s.speakersCPU() {
			share := (cpu - before[node]).Seconds() / time.Since(began).Seconds() * 100
			b.Logf("%s: %.2f %% of a core", node, share)
			most = max(most, share)
			memory = max(memory, s.resident(s.processes(node, speakerProgram)[0]))
		}
		b.ReportMetric(most, "%-of-a-core")
		b.ReportMetric(memory, "rss-MiB")
	}
	b.ReportMetric(0, "ns/op")
}

// speakersCPU is the processor time that each node's speaker has had since it started.
func (s *scenario) speakersCPU() map[string]time.Duration {
	s.Helper()
	used := map[string]time.Duration{}
	for _, node := range theLab.Nodes() {
		pids := s.processes(node.Name, speakerProgram)
		s.Expect(pids).To(HaveLen(1), "speakers of %s", node.Name)
		cpu, err := process.CPU(pids[0])
		s.Expect(err).NotTo(HaveOccurred())
		used[node.Name] = cpu
	}
	return used
}

// resident is a process's memory, in MiB.
func (s *scenario) resident(pid int) float64 {
	s.Helper()
	bytes, err := process.Resident(pid)
	s.Expect(err).NotTo(HaveOccurred())
	return float64(bytes) / (1 << 20)
}

func onNode(name string) []metav1.LabelSelector {
	return []metav1.LabelSelector{{MatchLabels: map[string]string{corev1.LabelHostname: name}}}
}

// exposeMany makes a Service of the pods of app web for each address, and removes them all, together, when the test ends.
func (s *scenario) exposeMany(addrs []netip.Addr) {
	s.Helper()
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		defer cancel()
		each(addrs, func(i int, _ netip.Addr) {
			svc := s.service(fmt.Sprintf("many-%d", i), "web")
			if err := cluster.Delete(ctx, svc); err != nil && !apierrors.IsNotFound(err) {
				s.Errorf("clean up Service %s: %v", svc.Name, err)
			}
		})
	})
	each(addrs, func(i int, addr netip.Addr) {
		svc := s.service(fmt.Sprintf("many-%d", i), "web", requests(addr), func(svc *corev1.Service) {
			no := false
			svc.Spec.AllocateLoadBalancerNodePorts = &no // there are fewer than three times as many
		})
		if err := cluster.Create(s.ctx, svc); err != nil {
			s.Errorf("create Service %s: %v", svc.Name, err)
		}
	})
	s.Eventually(func() int { return len(s.owned(addrs)) }).WithTimeout(3*patience).Should(Equal(len(addrs)), "addresses that are announced")
}

// each calls f for all addresses, some at a time.
func each(addrs []netip.Addr, f func(int, netip.Addr)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range 16 {
		wg.Go(func() {
			for i := range next {
				f(i, addrs[i])
			}
		})
	}
	for i := range addrs {
		next <- i
	}
	close(next)
	wg.Wait()
}

// owned is who says in its Speaker object that it answers, for each address of which one node does.
func (s *scenario) owned(addrs []netip.Addr) map[netip.Addr]string {
	s.Helper()
	var speakers v1beta1.SpeakerList
	s.Expect(cluster.List(s.ctx, &speakers)).To(Succeed())
	owners := map[netip.Addr][]string{}
	for i := range speakers.Items {
		for _, a := range speakers.Items[i].Status.Layer2 {
			addr := netip.MustParseAddr(a.IP)
			owners[addr] = append(owners[addr], speakers.Items[i].Name)
		}
	}
	one := map[netip.Addr]string{}
	for _, addr := range addrs {
		if len(owners[addr]) == 1 {
			one[addr] = owners[addr][0]
		}
	}
	return one
}

// allOwned waits until each address has one owner, at home.
func (s *scenario) allOwned(addrs []netip.Addr) map[netip.Addr]string {
	s.Helper()
	want := map[netip.Addr]string{}
	for _, addr := range addrs {
		want[addr] = home(addr)
	}
	s.Eventually(func() bool { return maps.Equal(s.owned(addrs), want) }).WithTimeout(2*patience).Should(BeTrue(), "each address is at home")
	return want
}

func (s *scenario) allOwnedBy(addrs []netip.Addr, node string) {
	s.Helper()
	s.Eventually(func() int {
		n := 0
		for _, owner := range s.owned(addrs) {
			if owner == node {
				n++
			}
		}
		return n
	}).WithTimeout(2*patience).Should(Equal(len(addrs)), "addresses that %s answers for", node)
}

// announcedBy is who announced each address last, of those that were announced.
func (a *asker) announcedBy() map[netip.Addr]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	by := map[netip.Addr]string{}
	for addr, list := range a.announcements {
		by[addr] = list[len(list)-1].Who
	}
	return by
}

// lasted is the time from the first announcement of any address by the node given for it to the first one of the last address.
func (a *asker) lasted(by map[netip.Addr]string) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	var firsts []time.Time
	for addr, list := range a.announcements {
		if i := slices.IndexFunc(list, func(n observe.Answer) bool { return n.Who == by[addr] }); i >= 0 {
			firsts = append(firsts, list[i].At)
		}
	}
	if len(firsts) == 0 {
		return 0
	}
	return slices.MaxFunc(firsts, time.Time.Compare).Sub(slices.MinFunc(firsts, time.Time.Compare))
}
