package manager

import (
	"slices"
	"sync"
	"time"

	"fairlead.io/fairlead/bfd"
)

// Event tells what became of a session.
type Event struct {
	Key  Key
	Time time.Time
	// Old and New are the states before and after; they are the same when only Problem has changed.
	Old, New bfd.State
	// Diagnostic says why the session left the state Up last.
	Diagnostic bfd.Diagnostic
	// LastReceived is when the last authentic packet of the neighbour came; zero: none did.
	LastReceived time.Time
	// RemoteState is what the neighbour said last: AdminDown means that he is not lost but wants no session.
	RemoteState bfd.State
	// Problem keeps this node from sending or receiving; nil: nothing does. An event may have both a problem and another state, as
	// when the own link has gone.
	Problem error
}

// Events is a user's channel of events.
//
// A user who reads late is told of each session at most two things: that it was lost, if he takes it for Up, and how it stands
// now. What came and went between is left out.
type Events struct {
	c    chan Event
	more chan struct{}

	mu      sync.Mutex    // guards what follows, and the untold events of the sessions
	waiting []*session    // those that have some, each once
	offered *session      // whose event the user may take now; nil: none
	recall  chan struct{} // closed when that event is not to be told any more
}

// C delivers events until the manager is closed.
func (e *Events) C() <-chan Event { return e.c }

// add never waits.
func (e *Events) add(s *session, event Event) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	last := len(s.untold) - 1
	switch {
	case last < 0:
		e.waiting = append(e.waiting, s)
		s.untold = append(s.untold, event)
	case s.untold[last].Old == bfd.Up && s.untold[last].New != bfd.Up: // that must be told
		s.untold = append(s.untold, event)
	default: // nothing after a loss begins with Up, so that this is where it ends
		event.Old = s.untold[last].Old
		s.untold[last] = event
	}
	select {
	case e.more <- struct{}{}:
	default: // it is known already
	}
}

// forget drops what was not told of a session, also what waits for the user to take it.
func (e *Events) forget(s *session) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s.untold = nil
	e.waiting = slices.DeleteFunc(e.waiting, func(other *session) bool { return other == s })
	if e.offered == s {
		e.offered = nil
		close(e.recall)
	}
}

// next is the event to offer, if there is one, and a channel that is closed when it is to be offered no longer.
func (e *Events) next() (event Event, recall <-chan struct{}, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.offered = nil
	if len(e.waiting) == 0 {
		return Event{}, nil, false
	}
	s := e.waiting[0]
	e.waiting = e.waiting[1:]
	event = s.untold[0]
	if s.untold = append(s.untold[:0], s.untold[1:]...); len(s.untold) > 0 {
		e.waiting = append(e.waiting, s)
	}
	e.offered, e.recall = s, make(chan struct{})
	return event, e.recall, true
}

// deliver hands events over until it is to stop.
func (e *Events) deliver(stop <-chan struct{}) {
	defer close(e.c)
	for {
		event, recall, ok := e.next()
		if !ok {
			select {
			case <-stop:
				return
			case <-e.more:
			}
			continue
		}
		select {
		case <-recall: // also when somebody waits for it
			continue
		default:
		}
		select {
		case <-stop:
			return
		case <-recall:
		case e.c <- event:
		}
	}
}
