package ipam

import (
	"net/netip"
	"slices"
)

// Imported is what a Service's status shows when the Allocator starts.
type Imported struct {
	Request
	Addresses []netip.Addr
	// Pools that the Service's annotation names for the addresses, in their order; may be shorter or empty.
	Pools []string
}

// Conflict is an address that two Services' statuses show and that they cannot share. The older one keeps it.
type Conflict struct {
	Service Key
	Addr    netip.Addr
	Keeper  Key
	Why     string
}

// Import takes over what Services' statuses show, before anything is assigned: in pools or not, whatever the pools' rules
// are. Only where two Services cannot be on one address does the younger not get it: see Conflict.
func (a *Allocator) Import(items []Imported) []Conflict {
	items = slices.Clone(items)
	slices.SortFunc(items, func(x, y Imported) int { return ageOrder(&x.Request, &y.Request) })
	var conflicts []Conflict
	for i := range items {
		it := &items[i]
		s := a.services.of(it.Service)
		for j, addr := range it.Addresses {
			if keeper, why := a.blocks(addr, it.Service, it.Sharing, true); why != "" {
				conflicts = append(conflicts, Conflict{it.Service, addr, keeper, why})
				continue
			}
			pool := ""
			if j < len(it.Pools) {
				pool = it.Pools[j]
			} else if len(it.Pools) == 1 {
				pool = it.Pools[0]
			}
			if s == nil {
				s = a.services.add(it.Service, it.Sharing)
			}
			a.hold(s, addr, pool)
		}
	}
	a.settle()
	return conflicts
}

// Observe notes which addresses the status of a Service shows that another implementation serves; none: it is gone, or shows none.
// Nobody is given them as long as it does. A Service of ours that has one of them keeps it.
func (a *Allocator) Observe(service Key, addrs []netip.Addr) {
	s := a.services.of(service)
	if s == nil && len(addrs) == 0 {
		return
	}
	foreign := &Sharing{Foreign: true}
	if s == nil {
		s = a.services.add(service, foreign)
	}
	a.setSharing(s, foreign)
	for _, addr := range addrs {
		a.hold(s, addr, "")
	}
	a.drop(s, func(h hold) bool { return !slices.Contains(addrs, h.addr) })
	a.waiting.remove(service)
	a.settle()
}
