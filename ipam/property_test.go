package ipam

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"go4.org/netipx"
)

// check what must hold at any time. The pools of the tests that call it are small enough to look at each address.
func check(t *testing.T, a *Allocator) {
	t.Helper()
	holders := map[netip.Addr][]*allocation{}
	for key, s := range a.services.all() {
		if s.service != key || len(s.held) == 0 {
			t.Fatalf("%s is listed as %s and holds %v", s.service, key, s.held)
		}
		for _, h := range s.held {
			holders[h.addr] = append(holders[h.addr], s)
		}
	}
	assigned := map[string][families]int64{}
	for addr, list := range holders {
		for i, s := range list {
			for _, o := range list[:i] {
				if s.leaves(addr) || o.leaves(addr) || s.foreign() || o.foreign() {
					continue // that they cannot be together may be why; and what others do is theirs
				}
				if why := s.sharing.conflict(o.sharing, true); why != "" {
					t.Fatalf("%s and %s are both on %s: %s", s.service, o.service, addr, why)
				}
			}
			if s.sharing != nil && !s.foreign() && !slices.Contains(a.shared[s.sharing.Key], addr) {
				t.Fatalf("%s is not listed under the key %s", addr, s.sharing.Key)
			}
		}
		if n := 1 + len(a.sharers[addr]); a.holders.of(addr) == nil || n != len(list) {
			t.Fatalf("%s has %d holders and lists %d", addr, len(list), n)
		}
		pool := a.names.of(a.holders.of(addr).attribution(addr))
		if c := a.claimant(addr); c != nil && c.Name != pool {
			t.Fatalf("%s is attributed to pool %q and claimed by %q", addr, pool, c.Name)
		}
		n := assigned[pool]
		n[FamilyOf(addr)]++
		assigned[pool] = n
	}
	if len(holders) != a.holders.len() {
		t.Fatalf("%d addresses are held, %d listed", len(holders), a.holders.len())
	}
	claimed := map[netip.Addr]string{}
	for name, p := range a.pools {
		if p.assigned != assigned[name] {
			t.Fatalf("pool %s counts %v, has %v", name, p.assigned, assigned[name])
		}
		var free [families][]netip.Addr
		for _, e := range p.Addresses {
			for addr := e.From(); addr.IsValid() && !e.To().Less(addr); addr = addr.Next() {
				if size(e.From(), e.To(), false).int64() > 4096 {
					break // too large to look at each
				}
				if a.claimant(addr) != p {
					continue
				}
				if other, ok := claimed[addr]; ok && other != name {
					t.Fatalf("%s is in pools %s and %s", addr, name, other)
				}
				claimed[addr] = name
				f := FamilyOf(addr)
				if holders[addr] == nil && (!p.AvoidBuggyIPs || !buggy(addr)) && !slices.Contains(free[f], addr) {
					free[f] = append(free[f], addr)
				}
			}
		}
		for f := range Family(families) {
			if lowest, ok := p.lowest(f); p.available(f) <= 4096 && (ok != (len(free[f]) > 0) || ok && lowest != free[f][0] || p.available(f) != int64(len(free[f]))) {
				t.Fatalf("pool %s has %d free %s addresses, %v; it says %d, the lowest %s", name, len(free[f]), f, free[f], p.available(f), lowest)
			}
		}
	}
	// Nobody waits for something that is there, and what is said of the pools agrees with what is given.
	for key, w := range a.waiting.services {
		var held []Assigned
		for _, f := range w.req.Families {
			for _, x := range a.Held(key) {
				if FamilyOf(x.Addr) == f {
					held = append(held, x)
				}
			}
		}
		d := a.Decide(w.req)
		for _, c := range d.Considered {
			if c.Used && !slices.ContainsFunc(d.Addresses, func(x Assigned) bool { return x.Addr == c.addr }) {
				t.Fatalf("%s: %s is said to be used, and %q is given", key, c.addr, text(d.Addresses))
			}
		}
		for _, x := range d.Addresses {
			if w.req.Invalid == "" && !slices.ContainsFunc(d.Considered, func(c Considered) bool { return c.Used && c.addr == x.Addr }) {
				t.Fatalf("%s: %s is given, and nothing said of it", key, x.Addr)
			}
		}
		if text(d.Addresses) != text(held) {
			t.Fatalf("%s waits with %q for %v (%s) and could have %q: %s; %+v", key, text(held), w.keys, w.decision.Message(), text(d.Addresses), d.Message(), w.req)
		}
	}
	for key, w := range a.waiting.services {
		if w.decision.Reason == "" || w.decision.Message() == "" {
			t.Fatalf("%s waits without a reason", key)
		}
	}
	if len(a.waiting.events) != 0 {
		t.Fatalf("unseen events %v", a.waiting.events)
	}
}

// world is a random sequence of everything that can happen.
type world struct {
	t     *testing.T
	r     *rand.Rand
	a     *Allocator
	pools map[string]Pool
	reqs  map[Key]Request
	// theirs is what Services of other implementations show.
	theirs map[Key][]netip.Addr
}

func (w *world) pick(list ...string) string { return list[w.r.IntN(len(list))] }

func (w *world) randomPool(name string) Pool {
	p := Pool{Name: name, Created: start.Add(time.Duration(w.r.IntN(4)) * time.Second), AutoAssign: w.r.IntN(5) > 0,
		AvoidBuggyIPs: w.r.IntN(3) == 0, Disabled: w.r.IntN(6) == 0, Deleting: w.r.IntN(8) == 0, ShareAcrossNamespaces: w.r.IntN(2) == 0}
	for range 1 + w.r.IntN(3) {
		p.Addresses = append(p.Addresses, w.randomRange()...)
	}
	if w.r.IntN(3) == 0 {
		p.Exclude = w.randomRange()
	}
	if w.r.IntN(3) == 0 {
		p.Limits = &Limits{Priority: int32(w.r.IntN(3))}
		if w.r.IntN(2) == 0 {
			p.Limits.Namespaces = []string{w.pick("a", "b")}
		}
		if w.r.IntN(3) == 0 {
			p.Limits.NamespaceSelectors = []Selector{labelSelector{"team", "x"}}
		}
	}
	if w.r.IntN(12) == 0 {
		p.Invalid = "unreadable"
	}
	return p
}

func (w *world) randomRange() []netipx.IPRange {
	n := w.r.IntN(24)
	size := w.r.IntN(6)
	base := netip.MustParseAddr("192.0.2.244")
	if w.r.IntN(3) == 0 {
		base = netip.MustParseAddr("fd00::")
	}
	for range n {
		base = base.Next()
	}
	to := base
	for range size {
		to = to.Next()
	}
	return ranges(w.t, base.String()+"-"+to.String())
}

func (w *world) randomRequest(key Key, created int) Request {
	r := Request{Service: key, Created: start.Add(time.Duration(created) * time.Second), Families: []Family{IPv4}}
	switch w.r.IntN(5) {
	case 0:
		r.Families = []Family{IPv4, IPv6}
	case 1:
		r.Families = []Family{IPv6, IPv4}
		r.Policy = Require
	case 2:
		r.Families = []Family{IPv6}
	}
	if w.r.IntN(4) == 0 {
		r.Pool = w.pick("p0", "p1", "p2", "gone")
	}
	if w.r.IntN(4) == 0 {
		r.Addresses = []netip.Addr{w.randomRange()[0].From()}
	}
	if w.r.IntN(2) == 0 {
		s := Sharing{Key: w.pick("k", "l"), Local: w.pick("", "", "x", "y")}
		for range 1 + w.r.IntN(2) {
			if p := (Port{w.pick("TCP", "UDP"), uint16(w.r.IntN(4))}); !slices.Contains(s.Ports, p) {
				s.Ports = append(s.Ports, p)
			}
		}
		r.Sharing = &s
	}
	return r
}

func (w *world) step() string {
	key := Key(w.pick("a", "b") + fmt.Sprintf("/%d", w.r.IntN(14)))
	switch w.r.IntN(11) {
	case 10:
		key = Key(fmt.Sprintf("theirs/%d", w.r.IntN(3)))
		w.theirs[key] = nil
		for range w.r.IntN(3) {
			if addr := w.randomRange()[0].From(); !slices.Contains(w.theirs[key], addr) {
				w.theirs[key] = append(w.theirs[key], addr)
			}
		}
		w.a.Observe(key, w.theirs[key])
		return fmt.Sprintf("observe %s with %v", key, w.theirs[key])
	case 0:
		name := w.pick("p0", "p1", "p2")
		if w.r.IntN(3) == 0 {
			delete(w.pools, name)
			if err := w.a.RemovePool(name); err != nil {
				w.t.Fatal(err)
			}
			return "remove pool " + name
		}
		w.pools[name] = w.randomPool(name)
		set(w.t, w.a, w.pools[name])
		return fmt.Sprintf("set pool %+v", w.pools[name])
	case 1, 2:
		delete(w.reqs, key)
		w.a.Release(key)
		return "release " + string(key)
	case 3:
		w.a.Confirm(key)
		return "confirm " + string(key)
	case 4:
		labels := map[string]string{"team": w.pick("x", "y")}
		w.a.SetNamespace(key.Namespace(), labels)
		return fmt.Sprintf("label %s %v", key.Namespace(), labels)
	}
	if _, ok := w.reqs[key]; !ok || w.r.IntN(3) == 0 {
		w.reqs[key] = w.randomRequest(key, w.r.IntN(20))
	}
	w.a.Assign(w.reqs[key])
	return fmt.Sprintf("assign %+v", w.reqs[key])
}

// Whatever happens in whatever order: no address is given to two that cannot share it, what is given lies in a pool that is open, what
// is held stays held, the counts are right, and nobody waits for what is there.
func TestAnyHistory(t *testing.T) {
	var doing string
	defer func() {
		if t.Failed() {
			t.Log(doing)
		}
	}()
	for seed := range uint64(300) {
		w := &world{t: t, r: rand.New(rand.NewPCG(seed, 1)), a: NewAllocator(), pools: map[string]Pool{}, reqs: map[Key]Request{}, theirs: map[Key][]netip.Addr{}}
		for i := range 150 {
			before := w.snapshot()
			did := w.step()
			doing = fmt.Sprintf("seed %d, step %d: %s", seed, i, did)
			w.checkKept(before, did)
			check(t, w.a)
		}
		w.restart()
	}
}

// Whatever order events come in, those who wait are served in their own order: so the outcome is that of assigning all at once.
func TestOrderOfEvents(t *testing.T) {
	for seed := range uint64(300) {
		w := &world{t: t, r: rand.New(rand.NewPCG(seed, 2))}
		var pools []Pool
		for i := range 3 {
			pools = append(pools, w.randomPool(fmt.Sprintf("p%d", i)))
		}
		var reqs []Request
		for i := range 14 {
			reqs = append(reqs, w.randomRequest(Key(fmt.Sprintf("%s/%d", w.pick("a", "b"), i)), w.r.IntN(20)))
		}
		labels := map[string]string{"team": "x"}
		atOnce := allocator(t, pools...)
		atOnce.SetNamespace("a", labels)
		atOnce.AssignAll(slices.Clone(reqs))
		check(t, atOnce)

		// Everybody waits already when the pools come, and they come as one change.
		w.r.Shuffle(len(reqs), func(i, j int) { reqs[i], reqs[j] = reqs[j], reqs[i] })
		w.r.Shuffle(len(pools), func(i, j int) { pools[i], pools[j] = pools[j], pools[i] })
		waiting := allocator(t)
		for _, r := range reqs {
			waiting.Assign(r)
		}
		waiting.SetNamespace("a", labels)
		if err := waiting.SetPools(pools); err != nil {
			t.Fatal(err)
		}
		check(t, waiting)
		for _, r := range reqs {
			if x, y := text(atOnce.Held(r.Service)), text(waiting.Held(r.Service)); x != y {
				t.Fatalf("seed %d: assigned at once, %s has %q, having waited %q: %+v", seed, r.Service, x, y, r)
			}
		}
	}
}

func (w *world) snapshot() map[Key][]hold {
	m := map[Key][]hold{}
	for k, s := range w.a.services.all() {
		m[k] = slices.Clone(s.held)
	}
	return m
}

// checkKept: an address leaves a Service only by Release, or by Confirm after it was marked; what is new lies in an open pool.
func (w *world) checkKept(before map[Key][]hold, did string) {
	w.t.Helper()
	for k, addrs := range w.theirs {
		for _, addr := range addrs {
			if !w.a.Reserved(k, addr) {
				w.t.Fatalf("%s: %s of %s is free", did, addr, k)
			}
		}
	}
	for k, held := range before {
		if k.Namespace() == "theirs" {
			continue
		}
		for _, h := range held {
			if !w.a.Reserved(k, h.addr) && did != "release "+string(k) && (did != "confirm "+string(k) || !h.leaving) {
				w.t.Fatalf("%s took %s from %s", did, h.addr, k)
			}
		}
	}
	for k, s := range w.a.services.all() {
		if s.foreign() {
			continue
		}
		for _, h := range s.held {
			if o := w.a.Holders(h.addr); slices.ContainsFunc(o, func(o Key) bool { return o.Namespace() == "theirs" }) &&
				!slices.ContainsFunc(before[k], func(o hold) bool { return o.addr == h.addr }) {
				w.t.Fatalf("%s gave %s to %s, which %v has", did, h.addr, k, o)
			}
			if slices.ContainsFunc(before[k], func(o hold) bool { return o.addr == h.addr }) {
				continue
			}
			p := w.a.claimant(h.addr)
			if p == nil {
				w.t.Fatalf("%s gave %s to %s, which is in no pool", did, h.addr, k)
			}
			if _, why := p.why(p.stopped()); why != "" || p.AvoidBuggyIPs && buggy(h.addr) {
				w.t.Fatalf("%s gave %s to %s: %s", did, h.addr, k, why)
			}
		}
	}
}

// restart from what the statuses show: nobody's address changes.
func (w *world) restart() {
	w.t.Helper()
	next := NewAllocator()
	var pools []Pool
	for _, p := range w.pools {
		pools = append(pools, p)
	}
	if err := next.SetPools(pools); err != nil {
		w.t.Fatal(err)
	}
	var items []Imported
	var reqs []Request
	for key, r := range w.reqs {
		w.a.Assign(r) // so that the sharing in memory is that of the request
		w.a.Confirm(key)
	}
	for len(w.a.Woken()) > 0 { // a confirmed move lets others move
		for key := range w.reqs {
			w.a.Confirm(key)
		}
	}
	check(w.t, w.a)
	for key, r := range w.reqs {
		it := Imported{Request: r}
		for _, x := range w.a.Held(key) {
			it.Addresses = append(it.Addresses, x.Addr)
			it.Pools = append(it.Pools, x.Pool)
		}
		items, reqs = append(items, it), append(reqs, r)
	}
	for name, labels := range w.a.namespaces {
		next.SetNamespace(name, labels)
	}
	if c := next.Import(items); len(c) != 0 {
		w.t.Fatalf("conflicts after a restart: %v", c)
	}
	for key, addrs := range w.theirs {
		next.Observe(key, addrs)
	}
	next.AssignAll(reqs)
	check(w.t, next)
	for key := range w.reqs {
		if was, is := text(w.a.Held(key)), text(next.Held(key)); was != is {
			w.t.Fatalf("%s had %q before the restart and has %q after it: %+v; before: %s; after: %+v", key, was, is, w.reqs[key],
				w.a.Decide(w.reqs[key]).Message(), next.Decide(w.reqs[key]))
		}
	}
}
