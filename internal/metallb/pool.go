package metallb

import (
	"fmt"
	"math"
	"strings"

	"fairlead.io/fairlead/api/v1beta1"
)

func (c *converter) pool(s *source) {
	pool := c.newPool(s)
	if a := s.spec.part("serviceAllocation"); a != nil {
		pool.Spec.ServiceAllocation = serviceAllocation(a)
	}
	c.addPool(s, pool)
}

// newPool has what pools of all versions have.
func (c *converter) newPool(s *source) *v1beta1.IPAddressPool {
	pool := &v1beta1.IPAddressPool{TypeMeta: typeMeta("IPAddressPool"), ObjectMeta: s.meta(c.names.take("IPAddressPool", s.name))}
	if pool.Name != s.name {
		s.item.Find(Changes, "name", "it is imported as IPAddressPool %s, because %q is no name of an object or another pool has it: Services that ask for it in an annotation must be changed", pool.Name, s.name)
	}
	for i, entry := range s.spec.texts("addresses") {
		pool.Spec.Addresses = append(pool.Spec.Addresses, addressRange(s.spec, i, entry))
	}
	pool.Spec.AutoAssign = s.spec.boolean("autoAssign")
	if s.kind != "AddressPool" || s.version != "v1alpha1" {
		pool.Spec.AvoidBuggyIPs = s.spec.is("avoidBuggyIPs")
	}
	return pool
}

func (c *converter) addPool(s *source, pool *v1beta1.IPAddressPool) {
	if len(pool.Spec.Addresses) == 0 {
		s.spec.find(Broken, "addresses", "it is missing or empty: a pool needs addresses")
	}
	if s.item.broken() {
		return
	}
	c.out.Pools = append(c.out.Pools, *pool)
	c.becomes(s, "IPAddressPool", pool.Name)
}

// addressRange is an entry of a pool without spaces at its ends.
func addressRange(f *fields, i int, entry string) v1beta1.AddressRange {
	first, last, isRange := strings.Cut(entry, "-")
	first, last = strings.TrimSpace(first), strings.TrimSpace(last)
	if isRange {
		return v1beta1.AddressRange(first + "-" + last)
	}
	if !strings.Contains(first, "/") {
		f.find(Changes, fmt.Sprintf("addresses[%d]", i), "MetalLB refuses %q for want of a prefix length; Fairlead takes it as one address", first)
	}
	return v1beta1.AddressRange(first)
}

// serviceAllocation has the same rules with both: namespaces by name or by selector, and among them Services by selector.
func serviceAllocation(f *fields) *v1beta1.ServiceAllocation {
	a := &v1beta1.ServiceAllocation{
		Namespaces:         f.set("namespaces"),
		NamespaceSelectors: f.selectors("namespaceSelectors"),
		ServiceSelectors:   f.selectors("serviceSelectors"),
	}
	if p := f.number("priority", math.MinInt64, math.MaxInt64); p != nil {
		if *p < 0 || *p > math.MaxInt32 {
			f.find(NoEquivalent, "priority", "%d is out of range, which is 0 to %d; the pool is imported without priority and comes last: give it and the others new ones", *p, math.MaxInt32)
		} else {
			a.Priority = int32(*p)
		}
	}
	if len(a.NamespaceSelectors) > 0 && len(a.Namespaces) == 0 {
		f.find(Changes, "namespaceSelectors", "while they select no namespace at all, MetalLB gives addresses of the pool to Services of every namespace that ask for it or match serviceSelectors, and Fairlead to none: see that they select the namespaces that are meant")
	}
	return a
}

// addressPool is a pool of the time before there were advertisements: it says itself how it is announced.
func (c *converter) addressPool(s *source) {
	pool := c.newPool(s)
	protocol := s.spec.text("protocol")
	var advs []*v1beta1.BGPAdvertisement
	for _, f := range s.spec.entries("bgpAdvertisements") {
		adv := &v1beta1.BGPAdvertisement{TypeMeta: typeMeta("BGPAdvertisement")}
		c.bgpAttributes(f, &adv.Spec)
		advs = append(advs, adv)
	}
	switch protocol {
	case "layer2":
		if len(advs) > 0 {
			s.spec.find(NoEquivalent, "bgpAdvertisements", "the pool's protocol is layer2: MetalLB makes nothing of them, and they are left out")
		}
	case "bgp":
	default:
		s.spec.find(Broken, "protocol", "it is %q and must be layer2 or bgp", protocol)
	}
	c.addPool(s, pool)
	if s.item.broken() {
		return
	}
	if protocol == "layer2" {
		adv := v1beta1.L2Advertisement{TypeMeta: typeMeta("L2Advertisement"), ObjectMeta: s.meta(c.derived(s, "L2Advertisement", pool.Name))}
		adv.Spec.IPAddressPools = []string{pool.Name}
		c.out.L2Advertisements = append(c.out.L2Advertisements, adv)
		c.becomes(s, "L2Advertisement", adv.Name)
		return
	}
	if len(advs) == 0 {
		advs = append(advs, &v1beta1.BGPAdvertisement{TypeMeta: typeMeta("BGPAdvertisement")})
	}
	for i, adv := range advs {
		name := pool.Name
		if len(advs) > 1 {
			name = fmt.Sprintf("%s-%d", name, i+1)
		}
		adv.ObjectMeta = s.meta(c.derived(s, "BGPAdvertisement", name))
		adv.Spec.IPAddressPools = []string{pool.Name}
		c.out.BGPAdvertisements = append(c.out.BGPAdvertisements, *adv)
		c.becomes(s, "BGPAdvertisement", adv.Name)
	}
}

// derived is the name of an object that the source has none for.
func (c *converter) derived(s *source, kind, wanted string) string {
	name := c.names.take(kind, wanted)
	if name != wanted {
		s.item.Find(Changes, "", "its %s is called %s, because another one has the name %s already", kind, name, wanted)
	}
	return name
}
