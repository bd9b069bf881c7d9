// Package membership knows which speakers are alive, by encrypted gossip (hashicorp/memberlist, SWIM with suspicion).
//
// It reports members and what they say of themselves. It never decides what follows from that, and knows no cluster: the
// caller says who the peers are, and whom it named last is tried again until he answers, also when nobody can say anymore.
package membership

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/hashicorp/memberlist"
)

// label keeps other memberlist clusters out that happen to use the port; it is authenticated with each message.
const label = "fairlead"

// Config says how to take part in the gossip.
type Config struct {
	// Name of this node.
	Name string
	// Bind is the address and port, TCP and UDP, to listen on; the address must be one that peers reach. Port 0 chooses one.
	Bind netip.AddrPort
	// Keys of the gossip, KeySize bytes each; see SetKeys.
	Keys [][]byte
	// Profile says how hard to look for dead members; empty: Fast.
	Profile Profile
	// RejoinInterval is the time between attempts to reach peers that are no members; 0: 3 s.
	RejoinInterval time.Duration
	Log            logr.Logger
}

// Member is a live speaker. One that is suspected to be dead counts as alive until the suspicion is confirmed.
type Member struct {
	Name string
	Addr netip.AddrPort
	Meta Meta
}

// Membership is this node's part in the gossip. Its methods are safe for concurrent use.
type Membership struct {
	cfg     Config
	list    *memberlist.Memberlist
	keyring *memberlist.Keyring
	addr    netip.AddrPort
	changes chan struct{}
	publish chan struct{} // the local meta has changed
	rejoin  chan struct{} // the peers have changed
	stop    context.CancelFunc
	done    sync.WaitGroup

	ending sync.Mutex // guards closed, and lets Leave and Close not overlap
	closed bool

	mu      sync.Mutex // guards what follows
	local   Meta
	leaving bool
	members map[string]Member         // all but this node
	left    map[string]bool           // those that are no members any more because they said so
	peers   map[string]netip.AddrPort // those that should be members
	seen    map[string]time.Time      // when those that are or were members gave a sign of life last
}

// Start takes up gossip. It listens, but knows nobody before SetPeers and Join.
func Start(cfg Config, local Meta) (*Membership, error) {
	if err := checkKeys(cfg.Keys); err != nil {
		return nil, fmt.Errorf("start gossip as %s: %w", cfg.Name, err)
	}
	keyring, err := memberlist.NewKeyring(cfg.Keys, cfg.Keys[0])
	if err != nil {
		return nil, fmt.Errorf("start gossip as %s: %w", cfg.Name, err)
	}
	if cfg.RejoinInterval == 0 {
		cfg.RejoinInterval = 3 * time.Second
	}
	m := &Membership{
		cfg:     cfg,
		keyring: keyring,
		changes: make(chan struct{}, 1),
		publish: make(chan struct{}, 1),
		rejoin:  make(chan struct{}, 1),
		local:   normal(local),
		members: map[string]Member{},
		left:    map[string]bool{},
		seen:    map[string]time.Time{},
		peers:   map[string]netip.AddrPort{},
	}
	carrier, err := listen(cfg.Bind, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("start gossip as %s on %s: %w", cfg.Name, cfg.Bind, err)
	}
	list, err := memberlist.Create(m.config(carrier))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start gossip as %s on %s: %w", cfg.Name, cfg.Bind, err), carrier.Shutdown())
	}
	m.list, m.addr = list, addrOf(list.LocalNode())
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = cancel
	m.done.Go(func() { m.publishLoop(ctx) })
	m.done.Go(func() { m.rejoinLoop(ctx) })
	return m, nil
}

// config is memberlist's configuration.
func (m *Membership) config(carrier *transport) *memberlist.Config {
	c := m.cfg.Profile.config()
	c.Name = m.cfg.Name
	c.Label = label
	c.Transport = carrier
	c.AdvertiseAddr = m.cfg.Bind.Addr().String()
	c.AdvertisePort = int(carrier.port())
	c.Keyring = m.keyring
	c.EnableCompression = false             // of a few hundred bytes: a compressor is made for each, and costs more than it saves
	c.DeadNodeReclaimTime = 5 * time.Second // a node that comes back with another address
	c.Delegate = delegate{m}
	c.Events = events{m}
	c.Ping = pings{m}
	c.Conflict = &namesakes{m: m}
	c.Logger = log.New(logWriter{m.cfg.Log}, "", 0)
	return c
}

// normal is the meta as others will read it.
func normal(meta Meta) Meta { return DecodeMeta(meta.Encode(memberlist.MetaMaxSize)) }

// Addr is where this node listens.
func (m *Membership) Addr() netip.AddrPort {
	return m.addr
}

// Changes delivers a value after members or their metas have changed; several changes may be told by one value.
func (m *Membership) Changes() <-chan struct{} { return m.changes }

// Members are the live speakers, this one among them, by name.
func (m *Membership) Members() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := append(slices.Collect(maps.Values(m.members)), Member{Name: m.cfg.Name, Addr: m.addr, Meta: m.local})
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Seen is when a speaker last answered this one's probe, or became a member; zero: neither is known of it.
func (m *Membership) Seen(name string) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen[name]
}

// Left reports whether a speaker that is no member any more has said that it goes.
func (m *Membership) Left(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.left[name]
}

// SetLocal says something new of this node. The others are told within some 100 to 300 ms.
func (m *Membership) SetLocal(meta Meta) {
	meta = normal(meta)
	m.mu.Lock()
	same := m.local.Equal(meta)
	m.local = meta
	m.mu.Unlock()
	if !same {
		notify(m.publish)
		notify(m.changes)
	}
}

// SetPeers names the speakers that should be members, with their gossip addresses. Those who are not yet, or no longer, are
// tried at once and then time and again.
func (m *Membership) SetPeers(peers map[string]netip.AddrPort) {
	m.mu.Lock()
	same := maps.Equal(m.peers, peers)
	m.peers = maps.Clone(peers)
	maps.DeleteFunc(m.left, func(name string, _ bool) bool { _, known := peers[name]; return !known })
	maps.DeleteFunc(m.seen, func(name string, _ time.Time) bool {
		_, known := peers[name]
		_, member := m.members[name]
		return !known && !member
	})
	m.mu.Unlock()
	if !same {
		notify(m.rejoin)
	}
}

// Missing are the peers that are no members.
func (m *Membership) Missing() map[string]bool {
	missing := map[string]bool{}
	for name := range m.missing() {
		missing[name] = true
	}
	return missing
}

// missing are the peers that are no members.
func (m *Membership) missing() map[string]netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	missing := map[string]netip.AddrPort{}
	for name, addr := range m.peers {
		if member, ok := m.members[name]; name != m.cfg.Name && (!ok || member.Addr != addr) {
			missing[name] = addr
		}
	}
	return missing
}

// joinAtOnce is how many peers are tried at the same time. Each tells of all others that it knows, so that a few are mostly enough.
const joinAtOnce = 8

// Join tries each peer that is not a member once, a few at the same time, and returns when each has answered or failed, or is a member. One
// that was taken for dead is a member again only when it has refuted that, by gossip, somewhat later: see Missing.
func (m *Membership) Join(ctx context.Context) error {
	tried := map[string]bool{}
	var all []error
	for {
		next := m.missing()
		maps.DeleteFunc(next, func(name string, _ netip.AddrPort) bool { return tried[name] })
		if len(next) == 0 {
			return errors.Join(all...)
		}
		for name := range next {
			if len(next) <= joinAtOnce {
				break
			}
			delete(next, name) // a map's order is random enough
		}
		errs, err := m.joinThese(ctx, next)
		if err != nil {
			return err
		}
		for name := range next {
			tried[name] = true
		}
		all = append(all, errs...)
	}
}

// joinThese tries these peers at the same time. The error is that the context has ended.
func (m *Membership) joinThese(ctx context.Context, peers map[string]netip.AddrPort) (failed []error, err error) {
	var wg sync.WaitGroup
	errs := make(chan error, len(peers))
	for name, addr := range peers {
		wg.Go(func() {
			if _, err := m.list.Join([]string{name + "/" + addr.String()}); err != nil {
				errs <- fmt.Errorf("join %s at %s: %w", name, addr, err)
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }() // ends with memberlist's own time-out
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-finished:
	}
	close(errs)
	for err := range errs {
		failed = append(failed, err)
	}
	return failed, nil
}

// Leave tells the others that this node goes, so that nobody needs to find out, and waits at most for timeout until one was told.
func (m *Membership) Leave(timeout time.Duration) error {
	m.ending.Lock()
	defer m.ending.Unlock()
	if m.closed { // memberlist would panic
		return fmt.Errorf("leave the gossip as %s: it was stopped before", m.cfg.Name)
	}
	m.mu.Lock()
	m.leaving = true
	m.mu.Unlock()
	start := time.Now()
	if err := m.list.UpdateNode(timeout / 2); err != nil { // before it leaves: what is told after that replaces what was not sent yet
		m.cfg.Log.V(1).Info("telling the other speakers of leaving takes long", "error", err.Error())
	}
	if err := m.list.Leave(timeout - time.Since(start)); err != nil {
		return fmt.Errorf("leave the gossip as %s: %w", m.cfg.Name, err)
	}
	return nil
}

// Close stops gossiping. Without Leave the others find this node dead.
func (m *Membership) Close() error {
	m.stop()
	m.ending.Lock()
	defer m.ending.Unlock()
	m.closed = true
	err := m.list.Shutdown()
	m.done.Wait()
	if err != nil {
		return fmt.Errorf("stop gossip as %s: %w", m.cfg.Name, err)
	}
	return nil
}

func (m *Membership) publishLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.publish:
		}
		if err := m.list.UpdateNode(time.Second); err != nil {
			// The new state is queued nonetheless, and a state sync would carry it too.
			m.cfg.Log.V(1).Info("telling the other speakers takes long", "error", err.Error())
		}
	}
}

func (m *Membership) rejoinLoop(ctx context.Context) {
	tick := time.NewTicker(m.cfg.RejoinInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.rejoin:
		case <-tick.C:
		}
		if err := m.Join(ctx); err != nil && ctx.Err() == nil {
			m.cfg.Log.V(1).Info("some speakers cannot be reached; trying again", "error", err.Error())
		}
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is waiting already
	}
}

func addrOf(n *memberlist.Node) netip.AddrPort {
	a, ok := netip.AddrFromSlice(n.Addr)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Unmap(), n.Port)
}

// events keeps the table of members. memberlist calls it under its own lock, one call at a time, so that it must not wait.
type events struct{ m *Membership }

func (e events) NotifyJoin(n *memberlist.Node)   { e.set(n, "speaker has joined") }
func (e events) NotifyUpdate(n *memberlist.Node) { e.set(n, "") }

func (e events) NotifyLeave(n *memberlist.Node) {
	if n.Name == e.m.cfg.Name {
		return
	}
	left := DecodeMeta(n.Meta).Leaving // n.State never says it
	e.m.mu.Lock()
	delete(e.m.members, n.Name)
	e.m.left[n.Name] = left
	e.m.mu.Unlock()
	e.m.cfg.Log.Info("speaker is gone", "node", n.Name, "left", left)
	notify(e.m.changes)
}

func (e events) set(n *memberlist.Node, message string) {
	if n.Name == e.m.cfg.Name {
		return
	}
	member := Member{Name: n.Name, Addr: addrOf(n), Meta: DecodeMeta(n.Meta)}
	e.m.mu.Lock()
	e.m.members[n.Name] = member
	e.m.seen[n.Name] = time.Now()
	delete(e.m.left, n.Name)
	e.m.mu.Unlock()
	if message != "" {
		e.m.cfg.Log.Info(message, "node", member.Name, "address", member.Addr)
	}
	notify(e.m.changes)
}

// namesakes tells that two speakers have one name, and not more often than now and then: memberlist notices it with each message.
// Called under its lock, it must not wait.
type namesakes struct {
	m    *Membership
	told time.Time
}

const tellNamesakes = time.Minute

// NotifyConflict is part of memberlist.ConflictDelegate.
func (s *namesakes) NotifyConflict(known, other *memberlist.Node) {
	now := time.Now()
	if !s.told.IsZero() && now.Sub(s.told) < tellNamesakes {
		return
	}
	s.told = now
	s.m.cfg.Log.Info("two speakers have one name, and both answer for what is that node's; give each its own Node's name (--node-name)",
		"node", known.Name, "address", addrOf(known), "other", addrOf(other))
}

// delegate gives memberlist the local meta.
type delegate struct{ m *Membership }

func (d delegate) NodeMeta(limit int) []byte {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	meta := d.m.local
	meta.Leaving = d.m.leaving
	return meta.Encode(limit)
}

// pings are told of the answers to this node's probes.
type pings struct{ m *Membership }

func (pings) AckPayload() []byte { return nil }

func (p pings) NotifyPingComplete(other *memberlist.Node, _ time.Duration, _ []byte) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.m.seen[other.Name] = time.Now()
}

// The other ways to carry data are not used.

func (delegate) NotifyMsg([]byte)                {}
func (delegate) GetBroadcasts(_, _ int) [][]byte { return nil }
func (delegate) LocalState(bool) []byte          { return nil }
func (delegate) MergeRemoteState([]byte, bool)   {}
