package manager

import (
	"time"

	"fairlead.io/fairlead/bfd"
)

const (
	finest   = time.Millisecond
	coarsest = 100 * time.Millisecond
	idle     = time.Hour // without any session
)

// grain is how long a session's packets may lie in the socket when nothing else wakes the manager: the neighbour is answered so late. It does
// not delay finding out that he is lost, because a packet counts from when the kernel has received it. At a third of the detection time it is
// about the time between two packets, and mostly there is one of our own to be sent then anyway.
func grain(s bfd.Status) time.Duration {
	g := coarsest
	if s.State == bfd.Init || s.State == bfd.Up {
		g = min(g, s.DetectionTime/3)
	}
	return max(g, finest)
}

// serve receives and sends.
func (m *Manager) serve() {
	var due []*session
	for {
		select {
		case <-m.stop:
			return
		default:
		}
		heard := time.Now() // what came before will have been read, wherever this is held up
		more := m.read()
		now := time.Now()
		due = m.queue.due(now, due[:0])
		for _, s := range due {
			if s.serve(heard, now) {
				m.drop(s)
			}
		}
		clear(due)
		m.sleeper.Sleep(m.queue.sleep(time.Now(), func() time.Duration {
			if more {
				return 0
			}
			return time.Duration(m.grain.Load())
		}))
	}
}

// read takes all datagrams that have come to their sessions, and reports whether more came meanwhile.
func (m *Manager) read() (more bool) {
	for _, l := range *m.reading.Load() {
		again, err := l.socket.Read(m.handler)
		if err != nil {
			l.broken.Store(true)
		}
		more = more || again
	}
	return more
}

// refine makes the manager wake up at least as often as one more session needs.
func (m *Manager) refine(g time.Duration) {
	for old := m.grain.Load(); int64(g) < old; old = m.grain.Load() {
		if m.grain.CompareAndSwap(old, int64(g)) {
			m.queue.interrupt(g)
			return
		}
	}
}

// coarsen makes the manager wake up no more often than its sessions need.
func (m *Manager) coarsen() {
	old, g := m.grain.Load(), int64(idle)
	for _, s := range m.all() {
		if own := s.grain.Load(); own != 0 {
			g = min(g, own)
		} else { // it is being opened
			g = min(g, int64(coarsest))
		}
	}
	if m.grain.CompareAndSwap(old, g) && g < old { // unless it was refined meanwhile
		m.queue.interrupt(time.Duration(g)) // a session came while this was coarsened last
	}
}

// drop ends a session whose neighbour was told.
func (m *Manager) drop(s *session) {
	m.mu.Lock()
	m.tables.forget(s)
	m.mu.Unlock()
	_ = s.end() // nobody is left to be told
}
