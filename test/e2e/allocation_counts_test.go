package e2e

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strings"

	. "github.com/onsi/gomega"
	"go4.org/netipx"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"fairlead.io/fairlead/api/v1beta1"
)

// poolsCount checks the numbers in the status of each pool of the case against what its spec says and what Services have, and
// that a pool in use, and no other, is kept from going.
func (s *stage) poolsCount(g Gomega) {
	var pools v1beta1.IPAddressPoolList
	g.Expect(cluster.List(s.ctx, &pools)).To(Succeed())
	slices.SortFunc(pools.Items, olderFirst)
	var services corev1.ServiceList
	g.Expect(cluster.List(s.ctx, &services)).To(Succeed())
	held := heldFrom(services.Items)

	var older netipx.IPSetBuilder // what the pools before this one have
	for i := range pools.Items {
		p := &pools.Items[i]
		own, err := addressesOf(&p.Spec, &older)
		g.Expect(err).NotTo(HaveOccurred())
		if s.pools[p.Name] != nil {
			s.pools[p.Name] = p
			ipv4, ipv6 := tally(own, p.Spec.AvoidBuggyIPs, held[p.Name])
			g.Expect(p.Status.ObservedGeneration).To(Equal(p.Generation), "the generation that the status of pool %s speaks of", p.Name)
			g.Expect(p.Status.IPv4).To(Equal(ipv4), "IPv4 addresses of pool %s, counted one by one", p.Name)
			g.Expect(p.Status.IPv6).To(Equal(ipv6), "IPv6 addresses of pool %s, counted one by one", p.Name)
			g.Expect(controllerutil.ContainsFinalizer(p, v1beta1.PoolInUseFinalizer)).To(Equal(len(held[p.Name]) > 0), "pool %s is kept while it is in use", p.Name)
		}
		older.AddSet(own)
	}
}

// olderFirst orders pools by who keeps what two of them have: to a pool that is being deleted every other is older.
func olderFirst(a, b v1beta1.IPAddressPool) int {
	if aGoes, bGoes := !a.DeletionTimestamp.IsZero(), !b.DeletionTimestamp.IsZero(); aGoes != bGoes {
		if aGoes {
			return 1
		}
		return -1
	}
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
}

// heldFrom are the addresses that Services have of each pool, as the Services themselves say.
func heldFrom(services []corev1.Service) map[string]map[netip.Addr]struct{} {
	held := map[string]map[netip.Addr]struct{}{}
	for i := range services {
		svc := &services[i]
		pools := strings.Split(svc.Annotations[v1beta1.AnnotationAllocatedFromPool], ",")
		for j, addr := range addresses(svc) {
			pool := pools[min(j, len(pools)-1)] // one name stands for all
			if held[pool] == nil {
				held[pool] = map[netip.Addr]struct{}{}
			}
			held[pool][addr] = struct{}{}
		}
	}
	return held
}

// addressesOf a pool: without those that it excludes and those that older pools have.
func addressesOf(spec *v1beta1.IPAddressPoolSpec, older *netipx.IPSetBuilder) (*netipx.IPSet, error) {
	var own netipx.IPSetBuilder
	for _, text := range spec.Addresses {
		own.AddRange(rangeOf(string(text)))
	}
	for _, text := range spec.ExcludeAddresses {
		own.RemoveRange(rangeOf(string(text)))
	}
	taken, err := older.IPSet()
	if err != nil {
		return nil, err
	}
	own.RemoveSet(taken)
	return own.IPSet()
}

// rangeOf a text that the API server has accepted: an address, a CIDR or a range.
func rangeOf(text string) netipx.IPRange {
	if strings.Contains(text, "/") {
		return netipx.RangeOfPrefix(netip.MustParsePrefix(text).Masked())
	}
	first, last, ok := strings.Cut(text, "-")
	if !ok {
		last = first
	}
	return netipx.IPRangeFrom(netip.MustParseAddr(first), netip.MustParseAddr(last))
}

// tally counts a pool's addresses one by one. An IPv6 block is either small or a /64 and wider, which has more than an int64 can count.
func tally(own *netipx.IPSet, avoidBuggy bool, held map[netip.Addr]struct{}) (ipv4, ipv6 v1beta1.AddressCounts) {
	of := func(addr netip.Addr) *v1beta1.AddressCounts {
		if addr.Is4() {
			return &ipv4
		}
		return &ipv6
	}
	buggy := func(addr netip.Addr) bool {
		return avoidBuggy && addr.Is4() && (addr.As4()[3] == 0 || addr.As4()[3] == 255)
	}
	for _, r := range own.Ranges() {
		if p, ok := r.Prefix(); ok && p.Addr().Is6() && p.Bits() <= 64 {
			ipv6.Available = math.MaxInt64
			continue
		}
		for addr := r.From(); r.Contains(addr); addr = addr.Next() {
			if _, inUse := held[addr]; !inUse && !buggy(addr) {
				of(addr).Available++
			}
		}
	}
	for addr := range held {
		of(addr).Assigned++
		if !own.Contains(addr) || buggy(addr) {
			of(addr).Outside++
		}
	}
	return ipv4, ipv6
}
