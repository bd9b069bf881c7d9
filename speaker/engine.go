package speaker

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/layer2"
	"fairlead.io/fairlead/internal/view"
	"fairlead.io/fairlead/l2/announce"
	"fairlead.io/fairlead/l2/election"
	"fairlead.io/fairlead/l2/liveness"
	"fairlead.io/fairlead/l2/membership"
	"fairlead.io/fairlead/l2/metrics"
)

// announcer is what the engine tells its decisions to; see announce.Announcer.
type announcer interface {
	Own(addr netip.Addr, interfaces []string, care announce.Care)
	Repeat(addr netip.Addr)
	Yield(addr netip.Addr)
	Release(addr netip.Addr)
}

// members is what the engine asks who is alive; see peers.
type members interface {
	Members() []membership.Member
	Changes() <-chan struct{}
	Verdict(name string) liveness.Verdict
}

// engine keeps what is known of the cluster, elects the owners of the addresses that a change can affect, and tells the
// announcer. Reconcilers feed it; it needs no API server to go on from what it was fed last.
type engine struct {
	self      string
	announcer announcer
	metrics   *metrics.Set
	log       logr.Logger
	kick      chan struct{}
	pings     chan chan struct{}
	changed   func()                // something that the Speaker object reports may have changed
	paired    func(map[string]bool) // with whom this node shares an address, as owner and next, has changed

	mu        sync.Mutex // guards what follows
	cluster   layer2.Cluster
	services  map[types.NamespacedName]*view.Service
	holders   map[netip.Addr][]types.NamespacedName
	owners    map[netip.Addr]string // as elected last
	dirty     map[netip.Addr]struct{}
	prepare   bool     // the cluster has changed: all addresses may be affected
	newcomers []string // members since the last election
	members   members
	elected   bool                    // at least once
	announced map[netip.Addr]struct{} // had an owner, or may have had before this speaker started
	disputed  map[netip.Addr]bool     // that some node was to answer for and does not, because a host outside the cluster has them
	pairOf    map[netip.Addr]string   // the other node of an address's pair, where this is one
	pairs     map[string]int          // how many addresses
	repair    bool                    // pairs has got or lost a name
}

func newEngine(self string, ignoreExclude bool, a announcer, m *metrics.Set, changed func(), paired func(map[string]bool), log logr.Logger) *engine {
	return &engine{
		self: self, announcer: a, metrics: m, log: log, changed: changed, paired: paired,
		kick:     make(chan struct{}, 1),
		pings:    make(chan chan struct{}),
		cluster:  layer2.Cluster{Nodes: map[string]view.Node{}, IgnoreExcludeLabel: ignoreExclude},
		services: map[types.NamespacedName]*view.Service{},
		holders:  map[netip.Addr][]types.NamespacedName{},
		owners:   map[netip.Addr]string{},
		dirty:    map[netip.Addr]struct{}{},

		announced: map[netip.Addr]struct{}{},
		pairOf:    map[netip.Addr]string{},
		pairs:     map[string]int{},
	}
}

// setService tells of a Service that has addresses of ours; nil: it has none anymore.
func (e *engine) setService(name types.NamespacedName, s *view.Service) {
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.services[name]
	switch {
	case old == nil && s == nil:
		return
	case old != nil && s != nil && old.Equal(s):
		return
	}
	if old != nil {
		for _, addr := range old.Addresses {
			left := slices.DeleteFunc(e.holders[addr], func(n types.NamespacedName) bool { return n == name })
			if e.holders[addr] = left; len(left) == 0 {
				delete(e.holders, addr)
			}
			e.dirty[addr] = struct{}{}
		}
	}
	if s == nil {
		delete(e.services, name)
	} else {
		e.services[name] = s
		for _, addr := range s.Addresses {
			e.holders[addr] = append(e.holders[addr], name)
			e.dirty[addr] = struct{}{}
		}
	}
	e.wake()
}

// setNode tells of a Node; nil: it is gone.
func (e *engine) setNode(name string, n *view.Node) {
	e.mu.Lock()
	defer e.mu.Unlock()
	old, ok := e.cluster.Nodes[name]
	switch {
	case n == nil && !ok, n != nil && ok && old.Equal(*n):
		return
	case n == nil:
		delete(e.cluster.Nodes, name)
	default:
		e.cluster.Nodes[name] = *n
	}
	e.prepare = true
	e.wake()
}

// setConfig tells of pools and advertisements.
func (e *engine) setConfig(pools *config.Pools, advertisements []*config.L2Advertisement) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cluster.Pools, e.cluster.Advertisements = pools, advertisements
	e.prepare = true
	e.wake()
}

// setDisputed tells which addresses a speaker reports to leave to a host outside the cluster. Another that is to answer for them
// instead must not take them from him.
func (e *engine) setDisputed(addrs map[netip.Addr]bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.disputed = addrs
}

func (e *engine) wake() { notify(e.kick) }

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is waiting already
	}
}

// run elects until the context ends. Nothing is elected before: a speaker that knows half of the cluster would announce what
// is not its own.
func (e *engine) run(ctx context.Context, m members) {
	e.mu.Lock()
	e.members = m
	e.mu.Unlock()
	e.setMembers(m.Members())
	for {
		e.elect()
		select {
		case <-ctx.Done():
			return
		case <-e.kick:
		case <-m.Changes():
			e.setMembers(m.Members())
		case done := <-e.pings:
			e.setMembers(m.Members())
			e.elect()
			close(done)
		}
	}
}

// ping waits until all that the engine was told so far is decided and acted upon.
func (e *engine) ping(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case e.pings <- done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (e *engine) setMembers(list []membership.Member) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := make([]layer2.Member, 0, len(list))
	for _, m := range list {
		now = append(now, layer2.Member{Name: m.Name, Draining: m.Meta.Draining, Stopping: m.Meta.Stopping, Settling: m.Meta.Settling,
			DataplaneReady: m.Meta.DataplaneReady, Interfaces: m.Meta.Interfaces, SettlingInterfaces: m.Meta.SettlingInterfaces})
	}
	if slices.EqualFunc(e.cluster.Members, now, func(a, b layer2.Member) bool { return a.Equal(&b) }) {
		return
	}
	for _, m := range now {
		if !slices.ContainsFunc(e.cluster.Members, func(b layer2.Member) bool { return b.Name == m.Name }) {
			e.newcomers = append(e.newcomers, m.Name)
		}
	}
	e.cluster.Members = now
	e.prepare = true
}

// elect decides all addresses that a change since the last time can affect.
func (e *engine) elect() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.prepare {
		e.cluster.Prepare()
		e.prepare = false
		for addr := range e.holders {
			e.dirty[addr] = struct{}{}
		}
	}
	if len(e.dirty) == 0 {
		e.elected = true
		return
	}
	for _, addr := range slices.SortedFunc(maps.Keys(e.dirty), netip.Addr.Compare) {
		e.decide(addr)
	}
	clear(e.dirty)
	e.newcomers, e.elected = nil, true
	e.changed()
	if e.repair {
		e.repair = false
		names := make(map[string]bool, len(e.pairs))
		for name := range e.pairs {
			names[name] = true
		}
		e.paired(names)
	}
}

// pair notes the other node of an address's pair; empty: this node is in none.
func (e *engine) pair(addr netip.Addr, other string) {
	before := e.pairOf[addr]
	if before == other {
		return
	}
	if before != "" {
		if e.pairs[before]--; e.pairs[before] == 0 {
			delete(e.pairs, before)
			e.repair = true
		}
	}
	if other == "" {
		delete(e.pairOf, addr)
		return
	}
	e.pairOf[addr] = other
	if e.pairs[other]++; e.pairs[other] == 1 {
		e.repair = true
	}
}

// care that an address needs when this node takes it over.
func (e *engine) care(addr netip.Addr, before string) announce.Care {
	_, announced := e.announced[addr]
	switch {
	case !announced, e.disputed[addr]:
		return announce.Probe
	case !e.elected: // whoever has it now is not known
		return announce.Confirm
	case before != "" && e.members != nil && e.members.Verdict(before) == liveness.Silent:
		return announce.Confirm
	}
	return announce.AtOnce
}

// decide elects an address's owner and acts if that is, or was, this node; e.mu is held.
func (e *engine) decide(addr netip.Addr) {
	before := e.owners[addr]
	names := e.holders[addr]
	if len(names) == 0 {
		delete(e.owners, addr)
		delete(e.announced, addr)
		e.pair(addr, "")
		e.announcer.Release(addr)
		if before == e.self {
			e.log.Info("address is released", "address", addr, "reason", "no Service has it anymore")
		}
		return
	}
	services := make([]*view.Service, 0, len(names))
	for _, name := range names {
		services = append(services, e.services[name])
	}
	d := e.cluster.Decide(addr, services)
	e.owners[addr] = d.Owner
	if !e.elected {
		e.announced[addr] = struct{}{}
	}
	care := e.care(addr, before)
	if d.Owner != "" {
		e.announced[addr] = struct{}{}
	}
	switch e.self {
	case d.Owner:
		e.pair(addr, d.Standby)
	case d.Standby:
		e.pair(addr, d.Owner)
	default:
		e.pair(addr, "")
	}
	switch {
	case d.Owner == e.self:
		e.announcer.Own(addr, d.Interfaces, care)
		if before == e.self {
			// While it was alone, cut off or just started, a newcomer has won what it is a candidate for, and has told the
			// neighbours. For us nothing has changed, yet they must be told anew.
			if slices.ContainsFunc(e.newcomers, d.Candidate) {
				e.announcer.Repeat(addr)
			}
			return
		}
		if before != "" {
			e.metrics.Failovers.Inc()
		}
		e.log.Info("address is taken over", "address", addr, "from", before, "gatesIgnored", d.Ignored)
	case d.Owner != "" && canAnswer(&d, e.self):
		e.announcer.Yield(addr) // if this node answers for it at all
		if before == e.self {
			e.log.Info("address is handed over", "address", addr, "to", d.Owner)
		}
	default:
		e.announcer.Release(addr)
		if before == e.self {
			e.log.Info("address is released", "address", addr, "to", d.Owner, "reason", d.Why(e.self))
		}
	}
}

// canAnswer reports whether a node that is not, or no longer, to answer for an address still can until the one that is does.
func canAnswer(d *layer2.Decision, node string) bool {
	switch election.Reason(d.Why(node)) {
	case election.NoLocalEndpoint, election.NoInterface, election.NotAlive:
		return false
	default:
		return true
	}
}
