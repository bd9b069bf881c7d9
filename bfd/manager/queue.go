package manager

import (
	"container/heap"
	"sync"
	"time"
)

// queue holds sessions by the time at which they want to be served.
type queue struct {
	wake func() // the sleeper: somebody is earlier than he expects

	mu       sync.Mutex // guards what follows, and the sessions' places
	sessions byTime
	sleeping time.Time // until when the server sleeps; zero: he is awake
}

// set gives a session another time, and one from which on it may be served by who is awake; zero: none, and no other.
func (q *queue) set(s *session, at, soonest time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.place.soonest = soonest; soonest.IsZero() || at.Before(soonest) {
		s.place.soonest = at
	}
	switch {
	case at.IsZero() && s.place.index >= 0:
		heap.Remove(&q.sessions, s.place.index)
	case at.IsZero():
	case s.place.index >= 0:
		s.place.at = at
		heap.Fix(&q.sessions, s.place.index)
	default:
		s.place.at = at
		heap.Push(&q.sessions, s)
	}
	if !at.IsZero() {
		q.interruptLocked(at)
	}
}

// interrupt wakes the sleeper if he sleeps longer than that.
func (q *queue) interrupt(d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.interruptLocked(time.Now().Add(d))
}

func (q *queue) interruptLocked(at time.Time) {
	if !at.Before(q.sleeping) {
		return
	}
	q.sleeping = time.Time{}
	q.wake()
}

// due takes out the sessions whose time has come, and of the next ones those that may be served, and appends them.
func (q *queue) due(now time.Time, sessions []*session) []*session {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sleeping = time.Time{}
	for len(q.sessions) > 0 && !q.sessions[0].place.soonest.After(now) {
		sessions = append(sessions, heap.Pop(&q.sessions).(*session)) //nolint:errcheck // only sessions are pushed
	}
	return sessions
}

// sleep says how long there is nothing to do, for the grain at most, and lets set and interrupt wake the caller when that changes. The grain
// is asked for under the lock: who makes it finer interrupts after that.
func (q *queue) sleep(now time.Time, grain func() time.Duration) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	until := now.Add(grain())
	q.sleeping = until
	if len(q.sessions) > 0 && q.sessions[0].place.at.Before(until) {
		q.sleeping = q.sessions[0].place.at
	}
	return q.sleeping.Sub(now)
}

// place of a session in the queue.
type place struct {
	at      time.Time
	soonest time.Time
	index   int // -1: it is not in the queue
}

// byTime is a heap.
type byTime []*session

func (b byTime) Len() int           { return len(b) }
func (b byTime) Less(i, j int) bool { return b[i].place.at.Before(b[j].place.at) }
func (b byTime) Swap(i, j int) {
	b[i], b[j] = b[j], b[i]
	b[i].place.index, b[j].place.index = i, j
}

func (b *byTime) Push(x any) {
	s := x.(*session) //nolint:errcheck // only set calls it
	s.place.index = len(*b)
	*b = append(*b, s)
}

func (b *byTime) Pop() any {
	last := len(*b) - 1
	s := (*b)[last]
	(*b)[last] = nil
	*b = (*b)[:last]
	s.place.index = -1
	return s
}
