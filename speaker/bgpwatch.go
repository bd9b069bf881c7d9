package speaker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bfd/manager"
)

// watched is a BGP peer that is watched by BFD.
type watched struct {
	peer     string
	key      manager.Key
	settings manager.Settings
}

// watcher keeps the BFD sessions to BGP peers. A peer that was reached and is lost loses its BGP session at once (RFC 5882, 4.3.2). One that was
// never reached keeps it, because a router may begin BFD only when BGP is up; and so does one that has ended BFD itself (AdminDown).
type watcher struct {
	bfd     *manager.Manager
	drop    func(peer, reason string)
	changed func()
	log     logr.Logger
	events  *manager.Events

	mu       sync.Mutex // guards what follows
	sessions map[string]*watchedSession
}

type watchedSession struct {
	watched
	state bfd.State
	since time.Time
	err   error // why there is no session, or it cannot work
	// losses counts how often it was up and went down, by the peer's will or not.
	losses uint64
}

func newWatcher(drop func(peer, reason string), changed func(), log logr.Logger) *watcher {
	return &watcher{drop: drop, changed: changed, log: log, sessions: map[string]*watchedSession{}}
}

// use a manager, from now on.
func (w *watcher) use(m *manager.Manager) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bfd, w.events = m, m.NewEvents()
}

// set makes the sessions those that are given.
func (w *watcher) set(list []watched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	want := make(map[string]watched, len(list))
	for _, x := range list {
		want[x.peer] = x
	}
	for peer, have := range w.sessions {
		if x, ok := want[peer]; !ok || x.key != have.key {
			w.bfd.Remove(have.key)
			delete(w.sessions, peer)
		}
	}
	for peer, x := range want {
		have := w.sessions[peer]
		switch {
		case have == nil:
			have = &watchedSession{watched: x, state: bfd.Down, since: time.Now()}
			have.err = w.bfd.Add(x.key, x.settings, w.events)
			w.sessions[peer] = have
		case have.settings != x.settings || have.err != nil:
			if have.err = w.bfd.Change(x.key, x.settings); have.err != nil {
				have.err = w.bfd.Add(x.key, x.settings, w.events) // the first attempt had failed
			}
			have.watched = x
		default:
			continue
		}
		if have.err != nil {
			w.log.Info("no BFD session with a BGP peer", "peer", peer, "error", have.err.Error())
		}
	}
}

// of a peer: how it is watched.
func (w *watcher) of(peer string) (watched, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sessions[peer]
	if s == nil {
		return watched{}, false
	}
	return s.watched, true
}

// watchState is what there is to say of a session.
type watchState struct {
	state, problem string
	losses         uint64
}

// states of all sessions, by peer.
func (w *watcher) states() map[string]watchState {
	w.mu.Lock()
	defer w.mu.Unlock()
	states := make(map[string]watchState, len(w.sessions))
	for peer, s := range w.sessions {
		x := watchState{state: s.state.String(), losses: s.losses}
		if s.err != nil {
			x.problem = s.err.Error()
		}
		states[peer] = x
	}
	return states
}

// run drops the BGP sessions of peers that are lost, until the context ends.
func (w *watcher) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-w.events.C():
			w.event(e)
		}
	}
}

func (w *watcher) event(e manager.Event) {
	w.mu.Lock()
	var s *watchedSession
	for _, candidate := range w.sessions {
		if candidate.key == e.Key {
			s = candidate
		}
	}
	if s == nil {
		w.mu.Unlock()
		return
	}
	s.err = e.Problem
	if e.Old == bfd.Up && e.New != bfd.Up {
		s.losses++
	}
	if s.state != e.New {
		s.state, s.since = e.New, e.Time
	}
	peer := s.peer
	w.mu.Unlock()
	switch {
	case e.New == bfd.Up && e.Old != bfd.Up:
		w.log.Info("BFD session is up", "peer", peer)
	case e.Old == bfd.Up && e.New != bfd.Up && e.RemoteState == bfd.AdminDown:
		w.log.Info("the peer has ended BFD; the BGP session stays", "peer", peer)
	case e.Old == bfd.Up && e.New != bfd.Up:
		w.drop(peer, fmt.Sprintf("BFD: %s", e.Diagnostic))
	}
	w.changed()
}
