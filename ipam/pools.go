package ipam

import (
	"fmt"
	"maps"
	"slices"

	"go4.org/netipx"
)

// SetPools replaces all pools. It is what a start does once; later changes are SetPool's and RemovePool's.
func (a *Allocator) SetPools(pools []Pool) error {
	next := make(map[string]Pool, len(pools))
	for _, p := range pools {
		next[p.Name] = p
	}
	return a.replace(next, true)
}

// SetPool adds or changes a pool. No address that a Service has is touched. The error means that the pool's ranges were not made by
// ParseRange.
func (a *Allocator) SetPool(p Pool) error {
	old := a.pools[p.Name]
	space, rules := old == nil || !sameSpace(&old.Pool, &p), old == nil || !sameRules(&old.Pool, &p)
	if !space && !rules {
		return nil
	}
	next := a.specs()
	next[p.Name] = p
	return a.replace(next, space)
}

// RemovePool takes a pool away, and gives the part that newer pools could not use to them. Addresses in use stay with their Services.
func (a *Allocator) RemovePool(name string) error {
	if a.pools[name] == nil {
		return nil
	}
	next := a.specs()
	delete(next, name)
	return a.replace(next, true)
}

func (a *Allocator) specs() map[string]Pool {
	specs := make(map[string]Pool, len(a.pools)+1)
	for name, p := range a.pools {
		specs[name] = p.Pool
	}
	return specs
}

// replace the pools. Where only rules change, the spaces stay as they are.
func (a *Allocator) replace(specs map[string]Pool, space bool) error {
	old := a.pools
	next := make(map[string]*poolState, len(specs))
	for name, spec := range specs {
		next[name] = &poolState{Pool: spec}
		if !space {
			state := *old[name]
			state.Pool = spec
			next[name] = &state
		}
	}
	byAge := slices.SortedFunc(maps.Values(next), precedes)
	if space {
		if err := layOut(byAge); err != nil {
			return err
		}
	}
	a.pools = next
	a.choice = slices.SortedFunc(maps.Values(next), choiceOrder)
	a.claims = a.claims[:0]
	for _, p := range byAge {
		for _, x := range p.claimed {
			a.claims = append(a.claims, claim{x.From(), x.To(), p})
		}
	}
	slices.SortFunc(a.claims, func(x, y claim) int { return x.from.Compare(y.from) })
	if space {
		a.attribute()
	}
	for name := range next {
		a.changed[name] = struct{}{}
	}
	a.waiting.happened(waitKey{})
	a.settle()
	return nil
}

// layOut gives each pool, oldest first, the part of its addresses that no older one has.
func layOut(byAge []*poolState) error {
	var taken netipx.IPSetBuilder
	takenSet, err := taken.IPSet()
	if err != nil {
		return fmt.Errorf("start laying out pools: %w", err)
	}
	for i, p := range byAge {
		own, err := p.ownAddresses()
		if err != nil {
			return err
		}
		var rest netipx.IPSetBuilder
		rest.AddSet(own)
		if own.Overlaps(takenSet) {
			rest.RemoveSet(takenSet)
			for _, older := range byAge[:i] {
				common, err := intersection(own, older.claimed)
				if err != nil {
					return fmt.Errorf("compare pools %s and %s: %w", p.Name, older.Name, err)
				}
				for _, r := range common {
					p.overlaps = append(p.overlaps, Overlap{r, older.Name})
				}
			}
		}
		restSet, err := rest.IPSet()
		if err != nil {
			return fmt.Errorf("lay out pool %s: %w", p.Name, err)
		}
		p.claimed = restSet.Ranges()
		entries := p.Addresses
		if p.Invalid != "" {
			entries = nil
		}
		p.space = newSpace(entries, p.claimed, p.AvoidBuggyIPs)
		taken.AddSet(restSet)
		if takenSet, err = taken.IPSet(); err != nil {
			return fmt.Errorf("lay out pool %s: %w", p.Name, err)
		}
	}
	return nil
}

// ownAddresses of a pool: its addresses without the excluded ones.
func (p *poolState) ownAddresses() (*netipx.IPSet, error) {
	var b netipx.IPSetBuilder
	if p.Invalid == "" {
		for _, r := range p.Addresses {
			b.AddRange(r)
		}
		for _, r := range p.Exclude {
			b.RemoveRange(r)
		}
	}
	set, err := b.IPSet()
	if err != nil {
		return nil, fmt.Errorf("read the addresses of pool %s: %w", p.Name, err)
	}
	return set, nil
}

func intersection(set *netipx.IPSet, ranges []netipx.IPRange) ([]netipx.IPRange, error) {
	var b netipx.IPSetBuilder
	for _, r := range ranges {
		b.AddRange(r)
	}
	b.Intersect(set)
	common, err := b.IPSet()
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller names the pools
	}
	return common.Ranges(), nil
}

// attribute each held address to the pool that has it now, and count anew.
func (a *Allocator) attribute() {
	for _, p := range a.pools {
		p.assigned = [families]int64{}
	}
	for _, s := range a.services.all() {
		for i := range s.held {
			h := &s.held[i]
			claimant := a.claimant(h.addr)
			if claimant != nil && claimant.Name != a.names.of(h.pool) {
				h.pool = a.names.id(claimant.Name)
				a.woken[s.service] = struct{}{}
			}
			if a.holders.of(h.addr) != s {
				continue
			}
			if claimant != nil {
				claimant.take(h.addr)
			}
			a.count(a.names.of(h.pool), h.addr, 1)
		}
	}
}

// PoolStatus is what a pool has and gives out.
type PoolStatus struct {
	IPv4, IPv6 Counts
	// Overlaps are the parts that older pools keep.
	Overlaps []Overlap
	// Stopped says why the pool gives out nothing new; empty: it does, as far as it has addresses of its own.
	Stopped string
}

// Counts of one family. What does not fit an int64 is the greatest int64.
type Counts struct {
	// Assigned addresses; one that is shared counts once.
	Assigned int64
	// Available addresses.
	Available int64
	// Outside counts the assigned addresses that the pool could not give out now: it no longer has them, or leaves them out.
	Outside int64
}

// Status of a pool; false: there is no such pool.
func (a *Allocator) Status(pool string) (PoolStatus, bool) {
	p := a.pools[pool]
	if p == nil {
		return PoolStatus{}, false
	}
	counts := func(f Family) Counts {
		return Counts{Assigned: p.assigned[f], Available: p.available(f), Outside: max(p.assigned[f]-p.inUse[f], 0)}
	}
	_, stopped := p.why(p.stopped())
	return PoolStatus{IPv4: counts(IPv4), IPv6: counts(IPv6), Overlaps: slices.Clone(p.overlaps), Stopped: stopped}, true
}

// InUse reports whether any address is attributed to the pool.
func (a *Allocator) InUse(pool string) bool {
	p := a.pools[pool]
	return p != nil && p.assigned != [families]int64{}
}

func (o Overlap) String() string {
	return fmt.Sprintf("%s belongs to older pool %s", FormatRange(o.Range), o.Older)
}
