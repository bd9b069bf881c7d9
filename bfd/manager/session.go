package manager

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bfd/udp"
)

// session is a session with its socket.
type session struct {
	m      *Manager
	key    Key
	events *Events

	ifindex atomic.Int64 // of key.Interface; 0: there is none, or it is not known
	grain   atomic.Int64 // see grain; in nanoseconds; 0: not settled yet
	place   place        // guarded by queue.mu
	untold  []Event      // guarded by events.mu

	mu       sync.Mutex // guards what follows
	machine  *bfd.Session
	settings Settings
	conn     Conn      // nil: it cannot be opened
	listener *listener // nil: as well
	since    time.Time // in the present state
	wake     time.Time // the time in the queue; zero: it is not there
	leaving  time.Time // removed, and kept until then to tell the neighbour; zero: not removed
	gone     bool
	openErr  error
	sendErr  error
	told     string // the problem that the user knows of
	counters Counters
	packet   [bfd.MaxPacketLength]byte
}

// Counters of a session.
type Counters struct {
	// Received and Discarded are packets that were used, and that were found to be the session's and then discarded.
	Received, Discarded uint64
	// Sent are packets, Failed those that the kernel would not send.
	Sent, Failed uint64
	// Lost is how often the session has left the state Up.
	Lost uint64
}

// receive hands a packet in.
func (s *session) receive(arrived, now time.Time, d *udp.Datagram, p *bfd.Packet) bfd.Discard {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone:
		return bfd.NoSession
	case d.TTL < s.settings.MinTTL:
		s.counters.Discarded++
		return bfd.BadTTL
	}
	before := s.machine.State()
	reason := s.machine.Receive(arrived, now, p, d.Payload)
	if reason == bfd.NotDiscarded {
		s.counters.Received++
	} else {
		s.counters.Discarded++
	}
	s.settle(now, before)
	return reason
}

// serve does what time has brought, and reports whether that was the end of the session. All packets that came before heard were
// handed in.
func (s *session) serve(heard, now time.Time) (over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || !s.leaving.IsZero() && !now.Before(s.leaving) {
		return !s.gone
	}
	s.wake = time.Time{}
	before := s.machine.State()
	s.machine.Advance(heard)
	s.settle(now, before)
	return false
}

// settle sends and tells what follows of a change, and asks to be served again in time.
func (s *session) settle(now time.Time, before bfd.State) {
	for {
		packet := s.machine.Transmit(now, s.packet[:0])
		if len(packet) == 0 {
			break
		}
		s.send(packet)
	}
	s.tell(now, before)
	g := grain(s.machine.Status())
	s.grain.Store(int64(g))
	s.m.refine(g)
	next := s.machine.Next()
	if !s.leaving.IsZero() && (next.IsZero() || s.leaving.Before(next)) {
		next = s.leaving
	}
	if !next.Equal(s.wake) {
		s.wake = next
		s.m.queue.set(s, next, s.machine.Soonest())
	}
}

func (s *session) send(packet []byte) {
	if s.conn == nil {
		s.counters.Failed++
		return
	}
	if s.sendErr = s.conn.Send(packet); s.sendErr != nil {
		s.counters.Failed++
		return
	}
	s.counters.Sent++
}

// problem is what keeps the session from working.
func (s *session) problem() error {
	switch {
	case s.openErr != nil:
		return s.openErr
	case s.sendErr != nil:
		return fmt.Errorf("send BFD packets to %s: %w", s.key, s.sendErr)
	default:
		return nil
	}
}

// tell reports the state and the problem if either has changed.
func (s *session) tell(now time.Time, before bfd.State) {
	state, text := s.machine.State(), ""
	if s.openErr != nil || s.sendErr != nil {
		text = s.problem().Error()
	}
	if state != before {
		s.since = now
		if before == bfd.Up {
			s.counters.Lost++
		}
	}
	if state == before && text == s.told || !s.leaving.IsZero() {
		return
	}
	s.told = text
	status := s.machine.Status()
	s.events.add(s, Event{
		Key: s.key, Time: now, Old: before, New: state, Diagnostic: status.Diagnostic,
		LastReceived: status.LastReceived, RemoteState: status.RemoteState, Problem: s.problem(),
	})
}

// change takes other settings.
func (s *session) change(now time.Time, settings Settings) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || !s.leaving.IsZero() { // removed since it was found
		return fmt.Errorf("BFD session %s does not exist", s.key)
	}
	if err := s.machine.Change(now, settings.Config); err != nil {
		return fmt.Errorf("BFD session %s: %w", s.key, err)
	}
	s.settings = settings
	before := s.machine.State()
	if settings.AdminDown {
		s.machine.Disable(now)
	} else {
		s.machine.Enable(now)
	}
	s.settle(now, before)
	return nil
}

// status is a copy of what is known.
func (s *session) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	settings := s.settings
	settings.Auth = nil
	return Status{
		Key: s.key, Settings: settings, Status: s.machine.Status(), Since: s.since, Problem: s.problem(), Counters: s.counters,
	}
}

// leave lets the neighbour know that the session ends, for as long as he would take to find out (RFC 5880, 6.8.16).
func (s *session) leave(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.machine.State()
	s.machine.Disable(now)
	s.leaving = now.Add(s.machine.Status().RemoteDetectionTime)
	s.settle(now, before)
}

// end takes the session's socket.
func (s *session) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	s.m.queue.set(s, time.Time{}, time.Time{})
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}
