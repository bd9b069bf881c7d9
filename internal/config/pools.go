package config

import (
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"
	"k8s.io/apimachinery/pkg/labels"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/ipam"
)

// Pools tells which pool an address belongs to.
type Pools struct {
	ordered []pool
	byName  map[string]*pool
}

type pool struct {
	name   string
	labels labels.Set
	ranges *netipx.IPSet
}

// CompilePools compiles the pools. Entries that cannot be read count for nothing; the controller tells of them in the pool's status.
func CompilePools(list []v1beta1.IPAddressPool) *Pools {
	sorted := make([]*v1beta1.IPAddressPool, 0, len(list))
	for i := range list {
		sorted = append(sorted, &list[i])
	}
	slices.SortFunc(sorted, func(a, b *v1beta1.IPAddressPool) int {
		// As ipam does it: to a pool that is being deleted every other is older, and takes the overlap over.
		if aDeleting, bDeleting := !a.DeletionTimestamp.IsZero(), !b.DeletionTimestamp.IsZero(); aDeleting != bDeleting {
			if bDeleting {
				return -1
			}
			return 1
		}
		if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	p := &Pools{byName: make(map[string]*pool, len(list))}
	for _, obj := range sorted { // whose labels are never nil: selectors may match what has none
		p.ordered = append(p.ordered, pool{name: obj.Name, labels: labels.Merge(obj.Labels, nil), ranges: Ranges(obj)})
	}
	for i := range p.ordered {
		p.byName[p.ordered[i].name] = &p.ordered[i]
	}
	return p
}

// Ranges of a pool: what it can give out. Entries that cannot be read count for nothing.
func Ranges(obj *v1beta1.IPAddressPool) *netipx.IPSet {
	var b netipx.IPSetBuilder
	for _, entry := range obj.Spec.Addresses {
		if r, err := ipam.ParseRange(string(entry)); err == nil {
			b.AddRange(r)
		}
	}
	for _, entry := range obj.Spec.ExcludeAddresses {
		if r, err := ipam.ParseRange(string(entry)); err == nil {
			b.RemoveRange(r)
		}
	}
	set, err := b.IPSet()
	if err != nil {
		return &netipx.IPSet{} // cannot be: only valid ranges were added
	}
	return set
}

// Of gives an address's pool and its labels: the pool whose ranges hold it, where they overlap the oldest that stays; else the pool
// that the Service's annotation says it was taken from, as the ranges may have changed since. Empty: none is known. The labels are nil
// where there is no such pool any more.
func (p *Pools) Of(addr netip.Addr, annotated string) (string, labels.Set) {
	if p == nil {
		return annotated, nil
	}
	for i := range p.ordered {
		if p.ordered[i].ranges.Contains(addr) {
			return p.ordered[i].name, p.ordered[i].labels
		}
	}
	if known := p.byName[annotated]; known != nil {
		return known.name, known.labels
	}
	return annotated, nil
}
