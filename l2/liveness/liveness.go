// Package liveness decides which speakers are alive, from what gossip, BFD sessions and the network itself tell of them.
//
// Gossip knows everybody and is slow; a session knows one and is fast, and is wrong when its neighbour merely had no CPU for a
// moment; a frame in which a speaker claims an address proves that it lives. It is plain state: the caller says what time it is.
package liveness

import (
	"maps"
	"slices"
	"time"
)

// Verdict is what becomes of all that is known of a speaker.
type Verdict uint8

// The verdicts.
const (
	// Unknown: nothing was ever heard of it.
	Unknown Verdict = iota
	// Alive: it takes part.
	Alive
	// Left: it has said that it goes.
	Left
	// Lost: its session has failed.
	Lost
	// Silent: gossip alone says that it is dead. Where only the gossip's port is cut off it may live, and answer.
	Silent
)

// Session is what happens to a session with a speaker.
type Session uint8

// What happens to sessions.
const (
	// Ended: there is no session, or the neighbour does not want it up. That says nothing of him.
	Ended Session = iota
	// Up: the neighbour is there.
	Up
	// Expired: the session was up, and for the detection time nothing was received.
	Expired
	// Signaled: the session was up, and the neighbour says that he does not hear this node. So he lives.
	Signaled
)

// How long what is known counts.
const (
	// heardFor is how long a speaker that was heard on the network counts as alive against the gossip. Meanwhile a session with it comes up, if it can.
	heardFor = 5 * time.Second
	// After the second false alarm sessions with the speaker are not trusted for leastDistrust, after each further one for twice as
	// long, up to mostDistrust, which is also how long none must come until the next is the first again.
	leastDistrust = 10 * time.Second
	mostDistrust  = 5 * time.Minute
)

// Tracker knows what was told of each speaker. Its zero value is not ready; see New.
type Tracker struct {
	hold  time.Duration
	peers map[string]*peer
}

type peer struct {
	member, left bool
	up           bool
	expired      time.Time // when the session failed; zero: it has not, or that was disproved
	heard        time.Time
	alarms       int           // false ones
	alarm        time.Time     // the last of them
	distrust     time.Duration // from then on
}

// New makes a Tracker that knows nobody. Against gossip, a failed session counts for hold: longer than gossip needs to find a dead member.
func New(hold time.Duration) *Tracker {
	return &Tracker{hold: hold, peers: map[string]*peer{}}
}

func (t *Tracker) peer(name string) *peer {
	p := t.peers[name]
	if p == nil {
		p = &peer{}
		t.peers[name] = p
	}
	return p
}

// Gossip tells who is a member, and of all others whether they left by themselves.
func (t *Tracker) Gossip(members []string, left func(name string) bool) {
	for _, name := range members {
		if p := t.peer(name); !p.member { // it is back, whatever was known before
			p.member, p.left, p.expired = true, false, time.Time{}
		}
	}
	for name, p := range t.peers {
		was := p.member
		if p.member = slices.Contains(members, name); p.member {
			continue
		}
		if was {
			p.heard = time.Time{} // what was heard before does not contradict it
		}
		if left(name) {
			p.left, p.up = true, false
		}
		if !p.expired.IsZero() {
			p.alarms, p.distrust = 0, 0 // the alarm was right
		}
	}
}

// Session tells what happened to the session with a speaker.
func (t *Tracker) Session(now time.Time, name string, s Session) {
	p := t.peer(name)
	p.up = s == Up
	switch s {
	case Up:
		p.disprove(now)
	case Expired:
		if now.Before(p.alarm.Add(p.distrust)) {
			return
		}
		p.expired = now
	case Signaled:
		p.heard = now
	case Ended:
	}
}

// Heard tells that a frame of the speaker's was seen.
func (t *Tracker) Heard(now time.Time, name string) {
	p := t.peer(name)
	p.heard = now
	p.disprove(now)
}

// disprove that the speaker was lost.
func (p *peer) disprove(now time.Time) {
	if p.expired.IsZero() {
		return
	}
	p.expired = time.Time{}
	if !p.member {
		return // gossip had lost it too
	}
	if now.Sub(p.alarm) > mostDistrust {
		p.alarms, p.distrust = 0, 0
	}
	p.alarm = now
	if p.alarms++; p.alarms > 1 {
		p.distrust = min(max(2*p.distrust, leastDistrust), mostDistrust)
	}
}

// Verdict says if a speaker is alive.
func (t *Tracker) Verdict(now time.Time, name string) Verdict {
	p := t.peers[name]
	switch {
	case p == nil:
		return Unknown
	case p.left:
		return Left
	case p.up:
		return Alive
	case !p.expired.IsZero() && (!p.member || now.Before(p.expired.Add(t.hold))):
		return Lost
	case p.member:
		return Alive
	case now.Before(p.heard.Add(heardFor)):
		return Alive
	}
	return Silent
}

// Next is when a verdict changes if nothing else is told; zero: none does.
func (t *Tracker) Next(now time.Time) time.Time {
	var next time.Time
	consider := func(at time.Time) {
		if at.After(now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	for p := range maps.Values(t.peers) {
		if !p.expired.IsZero() && p.member {
			consider(p.expired.Add(t.hold))
		}
		if !p.heard.IsZero() && !p.member {
			consider(p.heard.Add(heardFor))
		}
	}
	return next
}

// Forget those of whom nothing needs to be known any more.
func (t *Tracker) Forget(keep func(name string) bool) {
	maps.DeleteFunc(t.peers, func(name string, p *peer) bool { return !p.member && !keep(name) })
}
