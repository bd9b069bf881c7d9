// Package announce makes the network send the addresses that this node owns to this node: it answers for them on the
// interfaces that they are announced on, and tells the neighbours when it takes one over.
//
// It never decides who owns an address; its caller does. Nothing is sent on mere repetition of what is known.
package announce

import (
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
	// Refresh is the interval of announcements while nothing changes, and may be up to a sixtieth longer; 0: none.
	Refresh time.Duration
	// Rate limits announcements per second, over all addresses; 2000. One address on one interface costs two ARP frames or
	// one neighbour advertisement.
	Rate float64
	// HandOver bounds the time for which an address is still answered for after it was yielded; 3 s.
	HandOver time.Duration
	// Recheck is the time between probes for an address in conflict; 10 s.
	Recheck time.Duration
	// Speaker names the node that has an Ethernet address; empty: none of ours has. It must not wait.
	Speaker func(netif.MAC) string
	// Heard is told of each node that claims an address that this node owns, or is about to. It must not wait.
	Heard func(node string)
	// Broken is told when Broken may have changed; nil: nobody is told.
	Broken func()
	// Changed is told when Owned or Conflicts may have changed otherwise than by a call of Own, Yield or Release.
	Changed func()
	Metrics *metrics.Set
	Log     logr.Logger
}

// Care is what is done before an address is answered for.
type Care uint8

// The kinds of care.
const (
	// AtOnce: its owner is gone, or gives it up.
	AtOnce Care = iota
	// Confirm that nobody has it, by one probe of probeOnce: its owner may live, and only seem dead.
	Confirm
	// Probe whether it is free (RFC 5227, 2.1.1): it was never announced before. Instead of 4 to 7 s, as the RFC has it for hosts that
	// may be asleep or behind a switch that starts to forward, it takes probeCount times probeInterval: somebody waits for the Service.
	Probe
)

const (
	probeOnce     = 30 * time.Millisecond
	probeCount    = 3
	probeInterval = 100 * time.Millisecond
	// A conflict over an address that is answered for ends when as many probes in a row find nobody.
	conflictProbes = 2
	// defendInterval is the least time between two announcements in answer to claims (RFC 5227, 2.4), of strangers and of speakers.
	defendInterval        = 10 * time.Second
	defendSpeakerInterval = 800 * time.Millisecond // so that each of the claims that come once a second is answered
	// mostAtOnce are so few frames that a socket's usual buffer has room for them; what is not sent nonetheless is tried again.
	mostAtOnce  = 100
	resendAfter = 20 * time.Millisecond
	// claimantStays is for how long a stranger is told of who is not seen anymore while others claim the address. Who claims under ever
	// other hardware addresses does not make the report change each time.
	claimantStays = time.Minute
	// defendSpeakerAfter is time for the news that the other speaker is right.
	defendSpeakerAfter = 150 * time.Millisecond
)

// Conflict is an address that a host claims which runs no speaker.
type Conflict struct {
	Addr      netip.Addr
	Interface string // that the claim came in on
	MAC       netif.MAC
	Since     time.Time
	// Announced: this node answers for the address nonetheless. It did so before the conflict.
	Announced bool
}

// Opener starts to answer on an interface, asking and telling h.
type Opener func(ifi netif.Interface, h Handler) (Port, error)

// Port is an interface that is answered on.
type Port interface {
	// Announce tells the neighbours, once, that an address is here.
	Announce(addr netip.Addr) error
	// Probe asks the neighbours, once, who has an address.
	Probe(addr netip.Addr) error
	// Join receives what is needed to answer for an address; each Join is undone by one Leave.
	Join(addr netip.Addr) error
	Leave(addr netip.Addr) error
	Close() error
}

// Handler is whom a port asks and tells; see packages arp and ndp. None of its methods waits.
type Handler interface {
	Answers(ifname string, addr netip.Addr) bool
	Watches(ifname string, addr netip.Addr) bool
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
	started time.Time

	mu      sync.Mutex // guards what follows; never held while a port is opened or closed
	entries map[netip.Addr]*entry
	ports   map[string]*port
	wanted  []netif.Interface
	// vanished were not wanted for a while, maybe too short for Run to see it: whoever is behind them may have forgotten this node.
	vanished map[string]bool
	timers   schedule
	urgent   []netip.Addr // first announcements, in order
	owned    int          // entries in phase answering
	yields   int          // and in phase yielding
}

// phase is what is done for an address.
type phase uint8

const (
	gone phase = iota
	answering
	yielding // another node owns it, and it is answered for until that node is heard
	probing  // it is not answered for yet
	refused  // probing has found somebody who has it
)

// entry is an address that this node owns, or did until a short while ago.
type entry struct {
	phase      phase
	interfaces []string
	since      time.Time
	left       int           // announcements, or probes, still to be sent before it is only refreshed, or answered for
	due        time.Time     // when something is to be done next; a timer of another time is stale
	urgent     bool          // waits in Announcer.urgent
	probes     int           // to be sent, from the first on
	interval   time.Duration // between them
	claimed    time.Time     // when another speaker last claimed it
	defend     time.Time     // when to announce it against another speaker; zero: not
	defended   time.Time     // when it last was announced against anybody
	check      time.Time     // when to probe again, while answering, for who is in conflict
	conflict   *conflict     // nil: there is none
	unsent     bool          // what was due could not be sent, on any interface, and that was told
}

// conflict with a host that claims the address.
type conflict struct {
	Conflict
	last time.Time // when any stranger claimed it last
	seen time.Time // and the one who is told of
}

type port struct {
	Port
	ifi          netif.Interface
	opened       time.Time
	retry        time.Time // not zero: it could not be opened, or failed
	joinComplain bool
	broken       error // why it cannot be opened
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
	if cfg.Recheck <= 0 {
		cfg.Recheck = 10 * time.Second
	}
	if cfg.Speaker == nil {
		cfg.Speaker = func(netif.MAC) string { return "" }
	}
	if cfg.Heard == nil {
		cfg.Heard = func(string) {}
	}
	if cfg.Broken == nil {
		cfg.Broken = func() {}
	}
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	return &Announcer{
		cfg:     cfg,
		limiter: rate.NewLimiter(rate.Limit(cfg.Rate), max(1, min(int(cfg.Rate/20), mostAtOnce))),
		answers: answers{addrs: map[netip.Addr]answer{}},
		kick:    make(chan struct{}, 1),
		claims:  make(chan claim, 256),
		failed:  failures{news: make(chan struct{}, 1)},
		yielded: make(chan struct{}, 1),
		started: time.Now(),
		entries: map[netip.Addr]*entry{},
		ports:   map[string]*port{},

		vanished: map[string]bool{},
	}
}

// Own takes an address over, on the named interfaces (nil: all), with such care; repeated, it changes nothing but the interfaces.
func (a *Announcer) Own(addr netip.Addr, interfaces []string, care Care) {
	addr = addr.Unmap()
	interfaces = slices.Clone(interfaces)
	slices.Sort(interfaces)
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.entries[addr]
	switch {
	case e == nil:
		e = &entry{interfaces: interfaces}
		a.entries[addr] = e
		a.answers.set(addr, interfaces, false)
		a.joinAll(addr, interfaces)
		switch care {
		case AtOnce:
			a.answer(addr, e)
		case Confirm:
			a.probe(addr, e, 1, probeOnce)
		case Probe:
			a.probe(addr, e, probeCount, probeInterval)
		}
	case e.phase == yielding:
		e.claimed = time.Time{}
		a.move(addr, e, interfaces)
		a.answer(addr, e)
	case sameInterfaces(e.interfaces, interfaces):
		return
	default:
		a.move(addr, e, interfaces)
		switch e.phase {
		case answering:
			a.startAnnouncing(addr, e)
		case probing:
			a.probe(addr, e, e.probes, e.interval) // on the others nobody was asked
		case gone, refused, yielding:
		}
	}
	a.wake()
}

// answer for an address from now on; a.mu is held.
func (a *Announcer) answer(addr netip.Addr, e *entry) {
	a.enter(e, answering)
	e.since = time.Now()
	a.answers.set(addr, e.interfaces, true)
	a.startAnnouncing(addr, e)
}

// probe before an address is answered for; a.mu is held.
func (a *Announcer) probe(addr netip.Addr, e *entry, count int, interval time.Duration) {
	a.enter(e, probing)
	e.probes, e.left, e.interval, e.due = count, count, interval, time.Now()
	a.timers.add(e.due, addr)
}

// enter a phase; a.mu is held.
func (a *Announcer) enter(e *entry, p phase) {
	switch e.phase {
	case answering:
		a.owned--
	case yielding:
		a.yields--
		notify(a.yielded) // whoever waits has one less to wait for
	case gone, probing, refused:
	}
	switch p {
	case answering:
		a.owned++
	case yielding:
		a.yields++
	case gone, probing, refused:
	}
	e.phase = p
	a.cfg.Metrics.Owned.Set(float64(a.owned))
}

// Repeat announces an address that this node owns anew, as on a take-over: the neighbours may have been told otherwise.
func (a *Announcer) Repeat(addr netip.Addr) {
	addr = addr.Unmap()
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.entries[addr]; e != nil && e.phase == answering {
		a.startAnnouncing(addr, e)
		a.wake()
	}
}

// Yield goes on answering for an address that another node now owns until a speaker is heard to announce it, or the
// hand-over takes too long, so that the neighbours are never without an answer.
func (a *Announcer) Yield(addr netip.Addr) {
	addr = addr.Unmap()
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.entries[addr]
	if e == nil || e.phase == yielding {
		return
	}
	now := time.Now()
	if e.phase != answering || (!e.claimed.IsZero() && now.Sub(e.claimed) < a.cfg.HandOver) {
		a.drop(addr, e) // it was not answered for, or the other node was faster than the news of it
		return
	}
	a.enter(e, yielding)
	e.left, e.due = 0, now.Add(a.cfg.HandOver)
	e.conflict, e.defend, e.check = nil, time.Time{}, time.Time{}
	a.timers.add(e.due, addr)
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

// SetInterfaces names the usable interfaces. Addresses are announced anew where one has appeared or changed.
func (a *Announcer) SetInterfaces(list []netif.Interface) {
	a.mu.Lock()
	for _, before := range a.wanted {
		if !slices.ContainsFunc(list, func(i netif.Interface) bool { return i.Name == before.Name }) {
			a.vanished[before.Name] = true
		}
	}
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
	a.enter(e, gone)
}

// move changes the interfaces of an entry; a.mu is held.
func (a *Announcer) move(addr netip.Addr, e *entry, interfaces []string) {
	before := e.interfaces
	e.interfaces = interfaces
	a.joinAll(addr, interfaces)
	a.answers.set(addr, interfaces, e.phase == answering || e.phase == yielding)
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
