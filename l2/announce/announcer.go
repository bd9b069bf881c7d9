// Package announce makes the network send the addresses that this node owns to this node: it answers for them on the
// interfaces that they are announced on, and tells the neighbours when it takes one over.
//
// It never decides who owns an address; its caller does. Nothing is sent on mere repetition of what is known.
package announce

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"

	"fairlead.io/fairlead/l2/metrics"
	"fairlead.io/fairlead/l2/netif"
)

// Config of an Announcer. Zero values are replaced by the defaults given.
type Config struct {
	// Open starts to answer on an interface; OpenPort outside of tests.
	Open Opener
	// Count of announcements on a take-over, the first at once; 5.
	Count int
	// Interval between them; 1 s.
	Interval time.Duration
	// Refresh is the interval of announcements while nothing changes; 0: none.
	Refresh time.Duration
	// Rate limits announcements per second, over all addresses; 2000. One address on one interface costs two ARP frames or
	// one neighbour advertisement.
	Rate float64
	// HandOver bounds the time for which an address is still answered for after it was yielded; 3 s.
	HandOver time.Duration
	Metrics  *metrics.Set
	Log      logr.Logger
}

// Opener starts to answer on an interface, asking and telling h.
type Opener func(ifi netif.Interface, h Handler) (Port, error)

// Port is an interface that is answered on.
type Port interface {
	// Announce tells the neighbours, once, that an address is here.
	Announce(addr netip.Addr) error
	// Join receives what is needed to answer for an address; each Join is undone by one Leave.
	Join(addr netip.Addr) error
	Leave(addr netip.Addr) error
	Close() error
}

// Handler is whom a port asks and tells; see packages arp and ndp. None of its methods waits.
type Handler interface {
	Answers(ifname string, addr netip.Addr) bool
	Claimed(ifname string, addr netip.Addr, mac netif.MAC)
	Failed(ifname string, err error)
}

// Owned is an address that this node owns.
type Owned struct {
	Addr netip.Addr
	// Interfaces that it is announced on; nil: all.
	Interfaces []string
	// Since is when this node took it over.
	Since time.Time
}

// Announcer owns this node's addresses. Its methods are safe for concurrent use; Run must be running for anything to be sent.
type Announcer struct {
	cfg     Config
	limiter *rate.Limiter
	answers answers
	kick    chan struct{}
	claims  chan claim
	failed  failures
	yielded chan struct{}

	mu      sync.Mutex // guards what follows; never held while a port is opened or closed
	entries map[netip.Addr]*entry
	ports   map[string]*port
	wanted  []netif.Interface
	timers  schedule
	urgent  []netip.Addr // first announcements, in order
	yields  int
}

// entry is an address that is answered for.
type entry struct {
	interfaces []string
	since      time.Time
	left       int       // announcements still to be made before it is only refreshed
	due        time.Time // of the next announcement; a timer of another time is stale
	urgent     bool      // waits in Announcer.urgent
	yieldEnd   time.Time // not zero: another node owns it, and it is answered for until then at most
	foreign    time.Time // when other hardware last claimed it
}

type port struct {
	Port
	ifi          netif.Interface
	retry        time.Time // not zero: it could not be opened, or failed
	joinComplain bool
}

type claim struct {
	ifname string
	addr   netip.Addr
	mac    netif.MAC
}

const reopenAfter = time.Second

// New makes an Announcer that owns nothing.
func New(cfg Config) *Announcer {
	if cfg.Count <= 0 {
		cfg.Count = 5
	}
	if cfg.Interval <= 0 {
		cfg.Interval = time.Second
	}
	if cfg.Rate <= 0 {
		cfg.Rate = 2000
	}
	if cfg.HandOver <= 0 {
		cfg.HandOver = 3 * time.Second
	}
	return &Announcer{
		cfg:     cfg,
		limiter: rate.NewLimiter(rate.Limit(cfg.Rate), max(1, int(cfg.Rate/20))),
		answers: answers{addrs: map[netip.Addr][]string{}},
		kick:    make(chan struct{}, 1),
		claims:  make(chan claim, 256),
		failed:  failures{news: make(chan struct{}, 1)},
		yielded: make(chan struct{}, 1),
		entries: map[netip.Addr]*entry{},
		ports:   map[string]*port{},
	}
}

// Own takes an address over, on the named interfaces (nil: all). Repeated, it does nothing.
func (a *Announcer) Own(addr netip.Addr, interfaces []string) {
	addr = addr.Unmap()
	interfaces = slices.Clone(interfaces)
	slices.Sort(interfaces)
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.entries[addr]
	switch {
	case e == nil:
		e = &entry{interfaces: interfaces, since: time.Now()}
		a.entries[addr] = e
		a.answers.set(addr, interfaces)
		a.joinAll(addr, interfaces)
	case !e.yieldEnd.IsZero():
		e.yieldEnd, e.foreign, e.since = time.Time{}, time.Time{}, time.Now()
		a.yields--
		notify(a.yielded) // whoever waits has one less to wait for
		a.move(addr, e, interfaces)
	case !sameInterfaces(e.interfaces, interfaces):
		a.move(addr, e, interfaces)
	default:
		return
	}
	a.cfg.Metrics.Owned.Set(float64(len(a.entries) - a.yields))
	a.startAnnouncing(addr, e)
	a.wake()
}

// Repeat announces an address that this node owns anew, as on a take-over: the neighbours may have been told otherwise.
func (a *Announcer) Repeat(addr netip.Addr) {
	addr = addr.Unmap()
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.entries[addr]; e != nil && e.yieldEnd.IsZero() {
		a.startAnnouncing(addr, e)
		a.wake()
	}
}

// Yield goes on answering for an address that another node now owns until that node is heard to announce it, or the
// hand-over takes too long, so that the neighbours are never without an answer.
func (a *Announcer) Yield(addr netip.Addr) {
	addr = addr.Unmap()
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.entries[addr]
	if e == nil || !e.yieldEnd.IsZero() {
		return
	}
	now := time.Now()
	if !e.foreign.IsZero() && now.Sub(e.foreign) < a.cfg.HandOver {
		a.drop(addr, e) // the other node was faster than the news of it
		return
	}
	e.yieldEnd, e.left, e.due = now.Add(a.cfg.HandOver), 0, time.Time{}
	a.yields++
	a.timers.add(e.yieldEnd, addr)
	a.cfg.Metrics.Owned.Set(float64(len(a.entries) - a.yields))
	a.wake()
}

// Release stops answering for an address at once.
func (a *Announcer) Release(addr netip.Addr) {
	addr = addr.Unmap()
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.entries[addr]; e != nil {
		a.drop(addr, e)
	}
}

// Owned are the addresses that this node owns, in their order.
func (a *Announcer) Owned() []Owned {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []Owned
	for addr, e := range a.entries {
		if e.yieldEnd.IsZero() {
			out = append(out, Owned{Addr: addr, Interfaces: e.interfaces, Since: e.since})
		}
	}
	slices.SortFunc(out, func(x, y Owned) int { return x.Addr.Compare(y.Addr) })
	return out
}

// Yielding is the number of addresses that were yielded and are still answered for.
func (a *Announcer) Yielding() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.yields
}

// WaitYielded waits until no yielded address is answered for anymore.
func (a *Announcer) WaitYielded(ctx context.Context) error {
	for a.Yielding() > 0 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.yielded:
		}
	}
	return nil
}

// SetInterfaces names the usable interfaces. Addresses are announced anew where one has appeared or changed.
func (a *Announcer) SetInterfaces(list []netif.Interface) {
	a.mu.Lock()
	a.wanted = slices.Clone(list)
	a.mu.Unlock()
	a.wake()
}

func (a *Announcer) wake() { notify(a.kick) }

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is waiting already
	}
}

// drop forgets an entry; a.mu is held.
func (a *Announcer) drop(addr netip.Addr, e *entry) {
	a.answers.remove(addr)
	a.leaveAll(addr, e.interfaces)
	delete(a.entries, addr)
	if !e.yieldEnd.IsZero() {
		a.yields--
		notify(a.yielded)
	}
	a.cfg.Metrics.Owned.Set(float64(len(a.entries) - a.yields))
}

// move changes the interfaces of an entry; a.mu is held.
func (a *Announcer) move(addr netip.Addr, e *entry, interfaces []string) {
	before := e.interfaces
	e.interfaces = interfaces
	a.joinAll(addr, interfaces)
	a.answers.set(addr, interfaces)
	a.leaveAll(addr, before)
}

// startAnnouncing queues a first announcement and the repeats after it; a.mu is held.
func (a *Announcer) startAnnouncing(addr netip.Addr, e *entry) {
	e.left, e.due = a.cfg.Count, time.Time{}
	if !e.urgent {
		e.urgent = true
		a.urgent = append(a.urgent, addr)
	}
}

func (a *Announcer) joinAll(addr netip.Addr, interfaces []string) {
	for name, p := range a.ports {
		if p.Port != nil && covers(interfaces, name) {
			a.join(p, addr)
		}
	}
}

func (a *Announcer) join(p *port, addr netip.Addr) {
	if err := p.Join(addr); err != nil && !p.joinComplain {
		p.joinComplain = true // once for each opening; with many addresses all fail for one reason
		a.cfg.Log.Info("solicitations for an address may not arrive", "interface", p.ifi.Name, "address", addr, "error", err.Error())
	}
}

func (a *Announcer) leaveAll(addr netip.Addr, interfaces []string) {
	for name, p := range a.ports {
		if p.Port != nil && covers(interfaces, name) {
			if err := p.Leave(addr); err != nil {
				a.cfg.Log.V(1).Info("could not leave a group", "interface", name, "address", addr, "error", err.Error())
			}
		}
	}
}

func covers(interfaces []string, name string) bool {
	return interfaces == nil || slices.Contains(interfaces, name)
}

// sameInterfaces tells nil, all interfaces, from none.
func sameInterfaces(a, b []string) bool { return (a == nil) == (b == nil) && slices.Equal(a, b) }

// closePorts is Run's end.
func (a *Announcer) closePorts() error {
	a.mu.Lock()
	open := a.ports
	a.ports = map[string]*port{}
	a.mu.Unlock()
	var err error
	for _, p := range open {
		if p.Port != nil {
			err = errors.Join(err, p.Close())
		}
	}
	return err
}
