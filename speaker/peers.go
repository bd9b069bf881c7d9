package speaker

import (
	"context"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bfd/manager"
	"fairlead.io/fairlead/l2/liveness"
	"fairlead.io/fairlead/l2/membership"
	"fairlead.io/fairlead/l2/metrics"
	"fairlead.io/fairlead/l2/netif"
)

// Sessions says how this node and the next in the order of an address watch each other.
type Sessions struct {
	// Port of the sessions, UDP.
	Port uint16
	// Interval between packets; 0: there are no sessions, and gossip alone finds dead nodes.
	Interval time.Duration
	// Multiplier is how many packets must be missed.
	Multiplier uint8
}

// gossip is what peers asks who is a member; see membership.Membership.
type gossip interface {
	Members() []membership.Member
	Changes() <-chan struct{}
	Left(name string) bool
	Seen(name string) time.Time
	Addr() netip.AddrPort
}

// peers knows the other speakers: what they last said of themselves, who is alive, and whose hardware is whose. It keeps
// the sessions with those for whom this node is the next to take over, or who are for it.
type peers struct {
	self    string
	gossip  gossip
	bfd     *manager.Manager // nil: there are no sessions
	cfg     Sessions
	log     logr.Logger
	moved   func() // others may have changed
	metrics *metrics.Set
	changes chan struct{}
	kick    chan struct{}

	mu       sync.Mutex // guards what follows
	tracker  *liveness.Tracker
	last     map[string]membership.Member // as it last said of itself, this node too
	members  map[string]bool              // of the gossip
	hardware map[netif.MAC]string
	known    map[string]netip.AddrPort // where those gossip that have a Speaker object
	pairs    map[string]bool           // whom the elections want a session with
	auth     *bfd.Auth                 // nil: the key is not known
	sessions map[string]session
	signs    map[string]time.Time // of life, as sessions and the network gave them last
	alive    map[string]bool      // at the last look

	failing map[string]string // why there is no session with whom, as it was told; of sync alone
}

// session with another speaker. One that is no longer wanted is kept for a while: made anew it would take seconds to come up, because
// the neighbour goes on expecting the sequence numbers of the one before (RFC 5880, 6.7.3).
type session struct {
	key      manager.Key
	settings manager.Settings
	unwanted time.Time // since when; zero: it is wanted
}

const linger = time.Minute

func newPeers(self string, cfg Sessions, profile membership.Profile, moved func(), m *metrics.Set, log logr.Logger) *peers {
	return &peers{
		self: self, cfg: cfg, log: log, moved: moved, metrics: m, changes: make(chan struct{}, 1), kick: make(chan struct{}, 1),
		tracker: liveness.New(profile.DetectionBound()), last: map[string]membership.Member{}, members: map[string]bool{}, hardware: map[netif.MAC]string{},
		sessions: map[string]session{}, signs: map[string]time.Time{}, alive: map[string]bool{}, failing: map[string]string{},
	}
}

// use gossip from now on; run is called afterwards.
func (p *peers) use(g gossip) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gossip = g
}

// run keeps the sessions until the context ends. The manager is closed by the caller.
func (p *peers) run(ctx context.Context) {
	var events <-chan manager.Event
	var told *manager.Events
	if p.bfd != nil {
		told = p.bfd.NewEvents()
		events = told.C()
	}
	clock := time.NewTimer(0)
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.gossip.Changes():
		case <-p.kick:
		case <-clock.C:
		case e := <-events:
			p.event(e)
		}
		p.look()
		p.measure(time.Now())
		p.sync(told)
		p.mu.Lock()
		next := p.tracker.Next(time.Now())
		p.mu.Unlock()
		if !next.IsZero() {
			clock.Reset(time.Until(next))
		}
		p.moved()
		notify(p.changes)
	}
}

// Changes delivers a value after Members may have changed.
func (p *peers) Changes() <-chan struct{} { return p.changes }

// look takes over what gossip knows.
func (p *peers) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.gossip.Members() // under the lock, so that nobody takes an older list over after a newer one
	names := make([]string, 0, len(list))
	clear(p.members)
	for _, m := range list {
		p.last[m.Name] = m
		p.members[m.Name] = true
		names = append(names, m.Name)
	}
	p.tracker.Gossip(names, p.gossip.Left)
	keep := func(name string) bool { _, ok := p.known[name]; return ok }
	p.tracker.Forget(keep)
	maps.DeleteFunc(p.last, func(name string, _ membership.Member) bool { return !p.members[name] && !keep(name) })
	clear(p.hardware)
	for name, m := range p.last {
		for _, mac := range m.Meta.Hardware {
			p.hardware[mac] = name
		}
	}
}

// measure tells the metrics how long it took to find speakers lost since the last time.
func (p *peers) measure(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range p.last {
		switch p.tracker.Verdict(now, name) {
		case liveness.Alive:
			p.alive[name] = true
			continue
		case liveness.Lost, liveness.Silent:
			sign := p.signs[name]
			if seen := p.gossip.Seen(name); seen.After(sign) {
				sign = seen
			}
			if p.alive[name] && !sign.IsZero() {
				p.metrics.Detection.Observe(now.Sub(sign).Seconds())
			}
		case liveness.Unknown, liveness.Left:
		}
		delete(p.alive, name)
	}
	gone := func(name string) bool { _, ok := p.last[name]; return !ok }
	maps.DeleteFunc(p.alive, func(name string, _ bool) bool { return gone(name) })
	maps.DeleteFunc(p.signs, func(name string, _ time.Time) bool { return gone(name) })
}

// Members are the live speakers, this one among them, by name.
func (p *peers) Members() []membership.Member {
	p.look()
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	var live []membership.Member
	for name, m := range p.last {
		if name == p.self || p.tracker.Verdict(now, name) == liveness.Alive {
			live = append(live, m)
		}
	}
	slices.SortFunc(live, func(a, b membership.Member) int { return strings.Compare(a.Name, b.Name) })
	return live
}

// Verdict says what became of a speaker.
func (p *peers) Verdict(name string) liveness.Verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tracker.Verdict(time.Now(), name)
}

// node that has an Ethernet address; empty: no speaker has.
func (p *peers) node(mac netif.MAC) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hardware[mac]
}

// heard tells that a speaker claims an address on the network: it lives.
func (p *peers) heard(name string) {
	if name == p.self {
		return
	}
	p.mu.Lock()
	now := time.Now()
	before := p.tracker.Verdict(now, name)
	p.signs[name] = now
	p.tracker.Heard(now, name)
	after := p.tracker.Verdict(now, name)
	p.mu.Unlock()
	if after != before { // whoever forges a speaker's frames does not keep this node busy
		notify(p.kick)
	}
}

// setKnown tells which speakers have an object, and where they gossip.
func (p *peers) setKnown(known map[string]netip.AddrPort) {
	p.mu.Lock()
	p.known = known
	p.mu.Unlock()
	notify(p.kick)
}

// setPairs tells with whom this node shares an address: one owns it, and the other is next.
func (p *peers) setPairs(pairs map[string]bool) {
	p.mu.Lock()
	p.pairs = pairs
	p.mu.Unlock()
	notify(p.kick)
}

// setKeys gives the gossip's keys, from which the sessions' are derived: the first is sent with, all are accepted.
func (p *peers) setKeys(keys [][]byte) error {
	auth := &bfd.Auth{Type: bfd.MeticulousKeyedSHA1}
	for i, k := range keys {
		secret, err := derive(k, "bfd")
		if err != nil {
			return err
		}
		// 20 bytes are a key, and another one is its name.
		key := bfd.AuthKey{ID: secret[20], Secret: []byte(secret[:20])}
		if i == 0 {
			auth.Send = key
		} else {
			auth.Accept = append(auth.Accept, key)
		}
	}
	p.mu.Lock()
	if !reflect.DeepEqual(p.auth, auth) {
		p.auth = auth
	}
	p.mu.Unlock()
	notify(p.kick)
	return nil
}

// others is what counts of the other speakers: how many there are but for those that have said goodbye, how many of them live for all
// that is known, how many are members of the gossip, and of these whether one is settled, and whether one that is was not cut off either.
type others struct {
	known, alive, members int
	settled, together     bool
}

func (p *peers) others() others {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	var o others
	for name := range p.known {
		if name != p.self && (p.gossip == nil || !p.gossip.Left(name)) {
			o.known++
		}
	}
	for name, m := range p.last {
		if name == p.self {
			continue
		}
		if p.members[name] || p.tracker.Verdict(now, name) == liveness.Alive {
			o.alive++ // a member whose session has failed may only seem dead: nobody is cut off for that
		}
		if p.members[name] {
			o.members++
			o.settled = o.settled || !m.Meta.Settling
			o.together = o.together || !m.Meta.CutOff && !m.Meta.Settling // one that has just come knows nothing of a cut
		}
	}
	o.known = max(o.known, o.alive)
	return o
}

// missing are the speakers that have an object and, as far as this one knows, take no part. Before it takes part itself it knows of none.
func (p *peers) missing() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gossip == nil {
		return nil
	}
	var names []string
	for name := range p.known {
		if name != p.self && p.tracker.Verdict(time.Now(), name) != liveness.Alive {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// event tells the tracker what became of a session.
func (p *peers) event(e manager.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, s := range p.sessions {
		if s.key != e.Key {
			continue
		}
		if e.LastReceived.After(p.signs[name]) {
			p.signs[name] = e.LastReceived
		}
		if e.Problem != nil { // maybe with a loss: this node's link may be down
			p.log.Info("the session with another speaker cannot send or receive", "node", name, "error", e.Problem.Error())
		}
		switch {
		case e.New == bfd.Up:
			p.log.V(1).Info("session is up", "node", name)
			p.tracker.Session(e.Time, name, liveness.Up)
		case e.Old == bfd.Up && e.RemoteState != bfd.AdminDown && e.Diagnostic == bfd.DetectionTimeExpired:
			p.log.Info("session is lost", "node", name, "diagnostic", e.Diagnostic.String())
			p.tracker.Session(e.Time, name, liveness.Expired)
		case e.Old == bfd.Up && e.RemoteState != bfd.AdminDown:
			p.log.Info("the other end of a session has lost this one", "node", name, "diagnostic", e.Diagnostic.String())
			p.tracker.Session(e.Time, name, liveness.Signaled)
		case e.Old == bfd.Up:
			p.tracker.Session(e.Time, name, liveness.Ended)
		}
		return
	}
}

// sync makes the sessions those that are wanted: with whom this node shares an address, and, against a gossip that is cut off,
// with those that it has lost.
func (p *peers) sync(events *manager.Events) {
	if p.bfd == nil {
		return
	}
	now := time.Now()
	p.mu.Lock()
	want := p.wanted(now)
	have := maps.Clone(p.sessions)
	p.mu.Unlock()
	// Opening a session may take long, and nobody is to wait for that with the lock. Nobody else changes sessions.
	ended := map[string]bool{}
	for name, h := range have {
		w, ok := want[name]
		if !ok && p.lingers(name, &h, now) {
			have[name] = h
			continue
		}
		if !ok || w.key != h.key {
			p.bfd.Remove(h.key)
			delete(have, name)
			ended[name] = true
		}
	}
	p.mu.Lock()
	p.sessions = maps.Clone(have)
	for name := range ended {
		p.tracker.Session(now, name, liveness.Ended)
	}
	p.mu.Unlock()
	for name, w := range want {
		h, ok := have[name]
		var err error
		switch {
		case !ok:
			err = p.bfd.Add(w.key, w.settings, events)
		case h.settings.Auth != w.settings.Auth:
			err = p.bfd.Change(w.key, w.settings)
		case !h.unwanted.IsZero():
		default:
			continue
		}
		if err != nil {
			if p.failing[name] != err.Error() {
				p.failing[name] = err.Error()
				p.log.Info("no session with another speaker; gossip alone watches it", "node", name, "error", err.Error())
			}
			continue
		}
		delete(p.failing, name)
		p.mu.Lock()
		p.sessions[name] = w
		p.mu.Unlock()
	}
	maps.DeleteFunc(p.failing, func(name string, _ string) bool { _, ok := want[name]; return !ok })
}

// wanted are the sessions that there should be; p.mu is held.
func (p *peers) wanted(now time.Time) map[string]session {
	want := map[string]session{}
	if p.auth == nil {
		return want
	}
	add := func(name string) {
		at := p.known[name]
		if m, ok := p.last[name]; ok && p.members[name] {
			at = m.Addr
		}
		if name == p.self || !at.IsValid() || p.gossip.Left(name) {
			return
		}
		want[name] = session{
			key: manager.Key{Peer: at.Addr(), Local: p.gossip.Addr().Addr(), Port: p.cfg.Port},
			settings: manager.Settings{MinTTL: 1, Config: bfd.Config{ // authenticated, so that it may come from another network
				DesiredMinTx: p.cfg.Interval, RequiredMinRx: p.cfg.Interval, DetectMult: p.cfg.Multiplier, Auth: p.auth}},
		}
	}
	for name := range p.pairs {
		add(name)
	}
	for name := range p.known {
		if !p.members[name] || p.tracker.Verdict(now, name) == liveness.Lost {
			add(name)
		}
	}
	return want
}

// lingers reports whether a session that is not wanted is kept for a while nonetheless.
func (p *peers) lingers(name string, s *session, now time.Time) bool {
	p.mu.Lock()
	_, known := p.known[name]
	same := s.settings.Auth == p.auth
	p.mu.Unlock()
	if !known || !same || p.gossip.Left(name) {
		return false
	}
	if s.unwanted.IsZero() {
		s.unwanted = now
		time.AfterFunc(linger, func() { notify(p.kick) })
	}
	return now.Sub(s.unwanted) < linger
}
