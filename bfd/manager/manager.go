package manager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bfd/udp"
	"fairlead.io/fairlead/internal/sleep"
)

// Manager keeps sessions. Its methods are safe for concurrent use.
type Manager struct {
	network   Network
	sleeper   sleep.Sleeper
	queue     *queue
	handler   func(*udp.Datagram) // handle, made once
	grain     atomic.Int64        // the least of the sessions, in nanoseconds
	discarded [bfd.Discards]atomic.Uint64
	stop      chan struct{} // closed when everything is to end
	done      sync.WaitGroup

	opening   sync.Mutex // guards listeners; taken before mu
	listeners map[port]*listener
	reading   atomic.Pointer[[]*listener] // those that are open

	mu     sync.RWMutex // guards what follows
	closed bool
	tables tables
}

// New makes a manager of sessions over the node's own network.
func New() *Manager { return Over(&node{}, sleep.New()) }

// Over makes a manager of sessions over any network, which closes the sleeper.
func Over(network Network, sleeper sleep.Sleeper) *Manager {
	m := &Manager{
		network: network, sleeper: sleeper, queue: &queue{wake: sleeper.Wake}, stop: make(chan struct{}),
		listeners: map[port]*listener{}, tables: newTables(),
	}
	m.handler = m.handle
	m.grain.Store(int64(idle))
	m.reading.Store(&[]*listener{})
	m.done.Go(m.serve)
	m.done.Go(m.repair)
	return m
}

// NewEvents makes a channel of events for one user.
func (m *Manager) NewEvents() *Events {
	e := &Events{c: make(chan Event), more: make(chan struct{}, 1)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		close(e.c)
		return e
	}
	m.done.Go(func() { e.deliver(m.stop) })
	return e
}

// Add starts a session in the state Down, and tells of it on events (nil: nobody is told). What keeps the node from sending or
// receiving is no error but told as an event and tried again: a port that another program has, an interface or address that is
// not there yet.
func (m *Manager) Add(key Key, settings Settings, events *Events) error {
	key, err := key.normal()
	if err != nil {
		return err
	}
	if settings, err = settings.normal(key); err != nil {
		return err
	}
	s, replaced, err := m.insert(key, settings, events)
	if err != nil {
		return err
	}
	for _, old := range replaced {
		_ = old.end() // nothing is lost with it
	}
	m.open(s)
	return nil
}

// insert makes a session, which takes the place of those with the same neighbour that were removed and still say so: he would take
// their AdminDown for the new one's.
func (m *Manager) insert(key Key, settings Settings, events *Events) (s *session, replaced []*session, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return nil, nil, fmt.Errorf("BFD session %s: the manager is closed", key)
	case m.tables.byKey[key] != nil:
		return nil, nil, fmt.Errorf("BFD session %s is there already: change it instead", key)
	}
	discriminator, random, err := m.tables.identity()
	if err != nil {
		return nil, nil, fmt.Errorf("BFD session %s: %w", key, err)
	}
	now := time.Now()
	machine, err := bfd.NewSession(settings.Config, discriminator, random, now)
	if err != nil {
		return nil, nil, fmt.Errorf("BFD session %s: %w", key, err)
	}
	s = &session{m: m, key: key, events: events, place: place{index: -1}, machine: machine, settings: settings, since: now}
	if settings.AdminDown {
		machine.Disable(now)
	}
	for _, old := range m.tables.leaving {
		if key.overlaps(old.key) {
			m.tables.forget(old)
			replaced = append(replaced, old)
		}
	}
	m.tables.insert(s)
	return s, replaced, nil
}

// Change gives a session other settings, without losing it: the timers are negotiated anew.
func (m *Manager) Change(key Key, settings Settings) error {
	key, err := key.normal()
	if err != nil {
		return err
	}
	if settings, err = settings.normal(key); err != nil {
		return err
	}
	m.mu.RLock()
	s := m.tables.byKey[key]
	m.mu.RUnlock()
	if s == nil {
		return fmt.Errorf("BFD session %s does not exist", key)
	}
	return s.change(time.Now(), settings)
}

// Remove ends a session; removing what is not there does nothing. No event of it is told any more. The neighbour is told for
// as long as he would take to find out, in the background.
func (m *Manager) Remove(key Key) {
	key, err := key.normal()
	if err != nil {
		return // there is no such session
	}
	m.mu.Lock()
	s := m.tables.byKey[key]
	if s != nil {
		m.tables.leave(s)
	}
	m.mu.Unlock()
	if s != nil {
		s.leave(time.Now())
		s.events.forget(s)
	}
}

// Close removes all sessions, waits until the neighbours were told, or the context ends, and stops.
func (m *Manager) Close(ctx context.Context) error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return errors.New("close the BFD manager: it is closed already")
	}
	m.closed = true
	empty := m.tables.empty
	var all []*session
	for _, s := range m.tables.byKey {
		m.tables.leave(s)
		all = append(all, s)
	}
	none := len(m.tables.byDiscr) == 0
	m.mu.Unlock()
	now := time.Now()
	for _, s := range all {
		s.leave(now)
	}
	if !none {
		select {
		case <-ctx.Done():
		case <-empty:
		}
	}
	close(m.stop)
	m.sleeper.Wake()
	m.done.Wait()

	errs := []error{m.sleeper.Close()}
	m.mu.Lock()
	for _, s := range m.tables.byDiscr {
		errs = append(errs, s.end())
	}
	m.mu.Unlock()
	m.opening.Lock()
	defer m.opening.Unlock()
	for _, l := range m.listeners {
		errs = append(errs, l.close())
	}
	return errors.Join(errs...)
}

// Status is what is known of a session.
type Status struct {
	Key Key
	// Settings without the authentication's keys.
	Settings Settings
	bfd.Status
	// Since is when the session came into its state.
	Since time.Time
	// Problem keeps this node from sending or receiving; nil: nothing does.
	Problem  error
	Counters Counters
}

// Snapshot gives the status of all sessions, in the order of their keys.
func (m *Manager) Snapshot() []Status {
	m.mu.RLock()
	all := make([]*session, 0, len(m.tables.byKey))
	for _, s := range m.tables.byKey {
		all = append(all, s)
	}
	m.mu.RUnlock()
	out := make([]Status, 0, len(all))
	for _, s := range all {
		out = append(out, s.status())
	}
	slices.SortFunc(out, func(a, b Status) int {
		if c := a.Key.Peer.Compare(b.Key.Peer); c != 0 {
			return c
		}
		return strings.Compare(a.Key.String(), b.Key.String())
	})
	return out
}

// Discarded counts the packets that were discarded since the start, for each reason that there was; those of sessions too.
func (m *Manager) Discarded() map[bfd.Discard]uint64 {
	out := map[bfd.Discard]uint64{}
	for i := range m.discarded {
		if n := m.discarded[i].Load(); n > 0 {
			out[bfd.Discard(i)] = n
		}
	}
	return out
}
