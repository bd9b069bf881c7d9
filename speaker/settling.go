package speaker

import (
	"time"

	"fairlead.io/fairlead/l2/netif"
)

// settling says if this node, and each of its interfaces, has been well for long enough that addresses may come to it from nodes that
// have been well for longer. It is plain state: the caller says what time it is.
//
// Where no other node is settled there is nothing to wait for: so a cluster that starts is not served by its first node alone.
type settling struct {
	delay time.Duration // 0: nothing ever settles

	well       bool
	cutNow     bool      // the node is cut off
	cut        time.Time // when that ended last; zero: never, or it is no longer told
	returning  bool      // it was cut off, and has not heard from the others yet
	settled    bool
	until      time.Time // when it is settled, if it stays well
	interfaces map[string]*settlingInterface
}

type settlingInterface struct {
	mac   netif.MAC
	until time.Time // zero: it is settled
	seen  bool
}

// wellness is what settling is told.
type wellness struct {
	// Well: the node has joined the others, and its data plane is ready.
	Well bool
	// CutOff: it sees fewer than half of the others alive. What it says of itself then may reach nobody, so nothing changes until it is not.
	CutOff bool
	// Interfaces that are usable.
	Interfaces []netif.Interface
	// Others: the gossip has other members. OthersSettled: one of them is settled. OthersTogether: one was not cut off.
	Others, OthersSettled, OthersTogether bool
}

// Nodes that were cut off from each other tell of it for cutOffTold, so that none of them takes another for one that was not.
// It is longer than the time between attempts of the gossip to reach somebody: BFD may be faster.
const cutOffTold = 5 * time.Second

// observe says whether the node is settling, which of its interfaces are, and when that changes if nothing else does; zero: it does not.
func (s *settling) observe(now time.Time, w wellness) (node bool, interfaces []string, next time.Time) {
	if s.delay <= 0 {
		return false, nil, time.Time{}
	}
	switch {
	case !w.Well:
		s.well, s.settled = false, false
	case !s.well:
		s.well, s.until = true, now.Add(s.delay)
	}
	switch {
	case w.CutOff:
		s.cutNow, s.returning = true, true
	case s.cutNow: // maybe long after it was looked at last
		s.cutNow, s.cut = false, now
	}
	if s.returning && !w.CutOff && w.Others {
		s.returning = false
		if w.OthersTogether { // they have gone on without it
			s.anew(now)
		}
	}
	if s.well && !s.settled && (!w.OthersSettled || !now.Before(s.until)) {
		s.settled = true
	}
	first := s.interfaces == nil
	if first {
		s.interfaces = map[string]*settlingInterface{}
	}
	for _, i := range s.interfaces {
		i.seen = false
	}
	for _, ifi := range w.Interfaces {
		i := s.interfaces[ifi.Name]
		switch {
		case first:
			i = &settlingInterface{} // the node as a whole is settling then
		case i == nil || i.mac != ifi.MAC:
			i = &settlingInterface{until: now.Add(s.delay)}
		}
		i.mac, i.seen = ifi.MAC, true
		if !i.until.IsZero() && (!w.OthersSettled || !now.Before(i.until)) {
			i.until = time.Time{}
		}
		s.interfaces[ifi.Name] = i
		if !i.until.IsZero() {
			interfaces = append(interfaces, ifi.Name)
			next = earlier(next, i.until)
		}
	}
	for name, i := range s.interfaces {
		if !i.seen {
			delete(s.interfaces, name)
		}
	}
	if s.well && !s.settled {
		next = earlier(next, s.until)
	}
	return !s.settled, interfaces, next
}

// anew makes the node settle once more: it stood still, and the others have gone on without it.
func (s *settling) anew(now time.Time) { s.settled, s.until = false, now.Add(s.delay) }

// cutOff reports whether the node is to say that it is, or was, cut off, and until when if it is not any more.
func (s *settling) cutOff(now time.Time, w wellness) (told bool, until time.Time) {
	switch end := s.cut.Add(cutOffTold); {
	case w.CutOff:
		return true, time.Time{}
	case s.cut.IsZero() || !now.Before(end):
		s.cut = time.Time{}
		return false, time.Time{}
	default:
		return true, end
	}
}

// since when the node has been well, while it is settling; zero: it is not well, or settled.
func (s *settling) since() time.Time {
	if !s.well || s.settled {
		return time.Time{}
	}
	return s.until.Add(-s.delay)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
