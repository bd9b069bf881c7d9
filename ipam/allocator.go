package ipam

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sort"
)

// Allocator knows the pools, who holds which address and who waits. It is not safe for concurrent use: one mutex, its owner's,
// guards all of it.
type Allocator struct {
	pools  map[string]*poolState
	choice []*poolState // in the order of choice
	claims []claim      // disjoint, sorted: which pool has an address

	services allocations
	// holders of an address: the first here, further ones, who share it, in sharers.
	holders holders
	sharers map[netip.Addr][]*allocation
	names   names
	// shared lists the addresses that are held under a sharing key.
	shared map[string][]netip.Addr

	// namespaces' labels, where they have any.
	namespaces map[string]map[string]string

	waiting waiting
	woken   map[Key]struct{}
	changed map[string]struct{} // pools whose counts may have changed
}

type claim struct {
	from, to netip.Addr
	pool     *poolState
}

// allocation is what one Service holds. There may be a million: its size is chosen with care, and most hold one address, which needs no
// memory of its own.
type allocation struct {
	service Key
	sharing *Sharing
	held    []hold
	one     [1]hold     // what held begins as
	next    *allocation // see allocations
}

type hold struct {
	addr netip.Addr
	// pool that the address is attributed to: the one that has it, else the one that last had it.
	pool poolName
	// leaving: the Service is to have another address; this one stays with it until Confirm.
	leaving bool
}

// foreign: another implementation serves the Service.
func (s *allocation) foreign() bool { return s.sharing != nil && s.sharing.Foreign }

func (s *allocation) leaves(addr netip.Addr) bool {
	return slices.ContainsFunc(s.held, func(h hold) bool { return h.addr == addr && h.leaving })
}

// attribution of an address that the Service has or leaves.
func (s *allocation) attribution(addr netip.Addr) poolName {
	i := slices.IndexFunc(s.held, func(h hold) bool { return h.addr == addr })
	if i < 0 {
		return 0
	}
	return s.held[i].pool
}

// NewAllocator has no pools and no holders.
func NewAllocator() *Allocator {
	return &Allocator{
		pools:    map[string]*poolState{},
		services: newAllocations(),
		holders:  newHolders(),
		sharers:  map[netip.Addr][]*allocation{},
		shared:   map[string][]netip.Addr{},
		names:    newNames(),

		namespaces: map[string]map[string]string{},

		waiting: newWaiting(),
		woken:   map[Key]struct{}{},
		changed: map[string]struct{}{},
	}
}

// Woken are the Services whose addresses or reasons changed by what happened to others since the last call.
func (a *Allocator) Woken() []Key { return drain(a.woken) }

// Changed are the pools whose counts or overlaps may have changed since the last call.
func (a *Allocator) Changed() []string { return drain(a.changed) }

// drain empties a set and returns what it had, sorted.
func drain[K cmp.Ordered](set map[K]struct{}) []K {
	if len(set) == 0 {
		return nil
	}
	keys := slices.Sorted(maps.Keys(set))
	clear(set)
	return keys
}

// Assign decides and remembers the decision. Addresses that the Service is no longer to have stay reserved until Confirm.
// A Service that did not get all it asks for waits, until something that can help happens or it is assigned again or released.
func (a *Allocator) Assign(req Request) Decision {
	d := a.assign(&req)
	a.settle()
	return d
}

// AssignAll assigns in the order in which waiting Services are served: explicit requests before automatic ones, then oldest first.
func (a *Allocator) AssignAll(reqs []Request) {
	slices.SortFunc(reqs, func(x, y Request) int { return requestOrder(&x, &y) })
	for i := range reqs {
		a.assign(&reqs[i])
	}
	a.settle()
}

func (a *Allocator) assign(req *Request) Decision {
	s := a.services.of(req.Service)
	d := a.decide(req, s, true)
	if s == nil && len(d.Addresses) > 0 {
		s = a.services.add(req.Service, req.Sharing)
	}
	if s != nil {
		a.setSharing(s, req.Sharing)
		for i := range s.held {
			h := &s.held[i]
			stays := slices.ContainsFunc(d.Addresses, func(x Assigned) bool { return x.Addr == h.addr })
			if !stays && !h.leaving {
				a.waiting.happened(waitKey{addr: h.addr}) // who was to leave for this Service's sake need not
			}
			h.leaving = !stays
		}
		for _, x := range d.Addresses {
			a.hold(s, x.Addr, x.Pool)
		}
	}
	if d.Complete {
		a.waiting.remove(req.Service)
	} else {
		a.waiting.put(req, d)
	}
	return d
}

// Held are the addresses that a Service has, without those that it is leaving.
func (a *Allocator) Held(service Key) []Assigned {
	s := a.services.of(service)
	if s == nil {
		return nil
	}
	var held []Assigned
	for _, h := range s.held {
		if !h.leaving {
			held = append(held, Assigned{h.addr, a.names.of(h.pool)})
		}
	}
	return held
}

// Reserved reports whether the address is reserved for the Service: held, or being left.
func (a *Allocator) Reserved(service Key, addr netip.Addr) bool {
	s := a.services.of(service)
	return s != nil && slices.ContainsFunc(s.held, func(h hold) bool { return h.addr == addr })
}

// Confirm says that the Service's status shows what it has and nothing else, so that what it was leaving is free.
func (a *Allocator) Confirm(service Key) {
	if s := a.services.of(service); s != nil {
		a.drop(s, func(h hold) bool { return h.leaving })
		a.settle()
	}
}

// Release frees everything that a Service has, and forgets that it waits.
func (a *Allocator) Release(service Key) {
	a.waiting.remove(service)
	delete(a.woken, service)
	if s := a.services.of(service); s != nil {
		a.drop(s, func(hold) bool { return true })
		a.settle()
	}
}

func (a *Allocator) drop(s *allocation, which func(hold) bool) {
	kept := s.held[:0]
	for _, h := range s.held {
		if which(h) {
			a.unhold(s, h)
		} else {
			kept = append(kept, h)
		}
	}
	s.held = kept
	if len(s.held) == 0 {
		a.services.remove(s)
	}
}

// hold notes that the Service has the address; pool is its attribution where no pool claims it.
func (a *Allocator) hold(s *allocation, addr netip.Addr, pool string) {
	if slices.ContainsFunc(s.held, func(h hold) bool { return h.addr == addr }) {
		return
	}
	claimant := a.claimant(addr)
	if claimant != nil {
		pool = claimant.Name
	}
	s.held = append(s.held, hold{addr: addr, pool: a.names.id(pool)})
	if a.holders.of(addr) == nil {
		a.holders.set(addr, s)
		if claimant != nil {
			claimant.take(addr)
		}
		a.count(pool, addr, 1)
	} else {
		a.sharers[addr] = append(a.sharers[addr], s)
	}
	if s.sharing != nil {
		a.listShared(s.sharing.Key, addr)
	}
}

// unhold undoes hold; the caller takes it off s.held.
func (a *Allocator) unhold(s *allocation, h hold) {
	others := a.sharers[h.addr]
	if a.holders.of(h.addr) == s {
		if len(others) > 0 {
			next := others[0]
			a.holders.set(h.addr, next)
			others = others[1:]
			// Where no pool has the address, those who share it may attribute it to different ones. It counts for the first holder's.
			if counts := next.attribution(h.addr); counts != h.pool {
				a.count(a.names.of(h.pool), h.addr, -1)
				a.count(a.names.of(counts), h.addr, 1)
			}
		} else {
			a.holders.remove(h.addr)
			if claimant := a.claimant(h.addr); claimant != nil {
				claimant.give(h.addr)
				a.waiting.happened(waitKey{pool: claimant.Name, family: FamilyOf(h.addr)})
			}
			a.count(a.names.of(h.pool), h.addr, -1)
		}
	} else {
		others = slices.DeleteFunc(slices.Clone(others), func(o *allocation) bool { return o == s })
	}
	if len(others) == 0 {
		delete(a.sharers, h.addr)
	} else {
		a.sharers[h.addr] = others
	}
	if s.sharing != nil {
		a.unlistShared(s.sharing.Key, h.addr)
	}
	// Those who stay may now have room for a Service that collided with the one that left, under a key that need not be its own.
	a.eachHolder(h.addr, func(o *allocation) bool {
		if o.sharing != nil {
			a.waiting.happened(waitKey{share: o.sharing.Key})
		}
		return true
	})
	a.waiting.happened(waitKey{addr: h.addr})
}

// count one address more or less for the pool that it is attributed to.
func (a *Allocator) count(pool string, addr netip.Addr, n int64) {
	if p := a.pools[pool]; p != nil {
		p.assigned[FamilyOf(addr)] += n
		a.changed[pool] = struct{}{}
	}
}

// claimant is the pool that has the address now; nil: none.
func (a *Allocator) claimant(addr netip.Addr) *poolState {
	i := sort.Search(len(a.claims), func(i int) bool { return addr.Less(a.claims[i].from) }) - 1
	if i < 0 || a.claims[i].to.Less(addr) {
		return nil
	}
	return a.claims[i].pool
}

// eachHolder calls f for each Service on the address until it returns false.
func (a *Allocator) eachHolder(addr netip.Addr, f func(*allocation) bool) {
	if s := a.holders.of(addr); s == nil || !f(s) {
		return
	}
	for _, s := range a.sharers[addr] {
		if !f(s) {
			return
		}
	}
}

// setSharing changes how a Service shares its addresses.
func (a *Allocator) setSharing(s *allocation, sharing *Sharing) {
	if s.sharing.equal(sharing) {
		return
	}
	old := s.sharing
	for _, h := range s.held {
		if old != nil {
			s.sharing = nil
			a.unlistShared(old.Key, h.addr)
		}
		a.waiting.happened(waitKey{addr: h.addr})
	}
	s.sharing = sharing
	if old != nil {
		a.waiting.happened(waitKey{share: old.Key})
	}
	if sharing != nil {
		for _, h := range s.held {
			a.listShared(sharing.Key, h.addr)
		}
	}
}

func (a *Allocator) listShared(key string, addr netip.Addr) {
	if key == "" {
		return // of a foreign Service: nobody can join it
	}
	list := a.shared[key]
	if i, found := slices.BinarySearchFunc(list, addr, netip.Addr.Compare); !found {
		a.shared[key] = slices.Insert(list, i, addr)
	}
	a.waiting.happened(waitKey{share: key})
}

// unlistShared takes the address off the key's list unless another holder of it names the key. The caller has already taken
// the leaving Service off the holders, or its sharing off.
func (a *Allocator) unlistShared(key string, addr netip.Addr) {
	stays := false
	a.eachHolder(addr, func(o *allocation) bool {
		stays = o.sharing != nil && o.sharing.Key == key
		return !stays
	})
	if stays {
		return
	}
	list := a.shared[key]
	if i, found := slices.BinarySearchFunc(list, addr, netip.Addr.Compare); found {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		delete(a.shared, key)
	} else {
		a.shared[key] = list
	}
}

// blocks finds a holder of the address that a Service cannot share it with. To a Service that is on the address already, those who
// are leaving it do not count: of two that cannot stay together one moves, and not the other as well; nor do those whom another
// implementation has put there meanwhile.
func (a *Allocator) blocks(addr netip.Addr, service Key, sharing *Sharing, staying bool) (keeper Key, why string) {
	a.eachHolder(addr, func(o *allocation) bool {
		if o.service != service && (!staying || !o.leaves(addr) && !o.foreign()) {
			keeper, why = o.service, sharing.conflict(o.sharing, staying)
		}
		return why == ""
	})
	return keeper, why
}

// Holders are the Services on an address.
func (a *Allocator) Holders(addr netip.Addr) []Key {
	var keys []Key
	a.eachHolder(addr, func(s *allocation) bool {
		keys = append(keys, s.service)
		return true
	})
	return keys
}

// PoolOf is the pool that has the address now; empty: none.
func (a *Allocator) PoolOf(addr netip.Addr) string {
	if p := a.claimant(addr); p != nil {
		return p.Name
	}
	return ""
}

// Holds reports whether the Service has or leaves an address.
func (a *Allocator) Holds(service Key) bool { return a.services.of(service) != nil }

// Knows reports whether the Service has or leaves an address, or waits for one.
func (a *Allocator) Knows(service Key) bool {
	return a.services.of(service) != nil || a.waiting.services[service] != nil
}

// Services that have or leave an address.
func (a *Allocator) Services() []Key {
	list := make([]Key, 0, a.services.n)
	for k := range a.services.all() {
		list = append(list, k)
	}
	return list
}
