package manager

import (
	"container/heap"
	"sync"
	"time"
)

// queue holds sessions by the time at which they want to be served.
type queue struct {
	wake chan struct{} // somebody is earlier than the sleeper expects

	mu       sync.Mutex // guards what follows, and the sessions' places
	sessions byTime
	sleeping time.Time // until when the server sleeps; zero: he is awake
}

// set gives a session another time; zero: none.
func (q *queue) set(s *session, at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
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
	if !at.IsZero() && at.Before(q.sleeping) {
		q.sleeping = time.Time{}
		select {
		case q.wake <- struct{}{}:
		default: // he is being woken
		}
	}
}

// due takes out a session whose time has come; nil: there is none.
func (q *queue) due(now time.Time) *session {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sleeping = time.Time{}
	if len(q.sessions) == 0 || q.sessions[0].place.at.After(now) {
		return nil
	}
	return heap.Pop(&q.sessions).(*session) //nolint:errcheck // only sessions are pushed
}

// sleep says how long there is nothing to do, and lets set wake the caller when that changes.
func (q *queue) sleep(now time.Time) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sleeping = now.Add(time.Hour)
	if len(q.sessions) > 0 && q.sessions[0].place.at.Before(q.sleeping) {
		q.sleeping = q.sessions[0].place.at
	}
	return q.sleeping.Sub(now)
}

// place of a session in the queue.
type place struct {
	at    time.Time
	index int // -1: it is not in the queue
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
