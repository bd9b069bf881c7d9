package manager

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bfd/udp"
)

// tables find sessions. The manager's lock guards them.
type tables struct {
	byKey   map[Key]*session    // those that users have
	leaving map[Key]*session    // those that were removed, while the neighbour is told
	byDiscr map[uint32]*session // all, by the local discriminator
	byPeer  map[ends][]*session // those that users have; for packets that do not know the discriminator yet
	empty   chan struct{}       // closed when the last session has gone; then made anew
}

// ends of a session.
type ends struct {
	port        uint16
	peer, local netip.Addr // local is unset when any will do
}

func newTables() tables {
	return tables{
		byKey: map[Key]*session{}, leaving: map[Key]*session{}, byDiscr: map[uint32]*session{}, byPeer: map[ends][]*session{},
		empty: make(chan struct{}),
	}
}

// identity draws a discriminator that no session has, and a source of random numbers, both beyond guessing.
func (t *tables) identity() (uint32, *mathrand.Rand, error) {
	for {
		var b [20]byte
		if _, err := rand.Read(b[:]); err != nil {
			return 0, nil, fmt.Errorf("draw a discriminator: %w", err)
		}
		discriminator := binary.BigEndian.Uint32(b[16:])
		if discriminator != 0 && t.byDiscr[discriminator] == nil {
			pcg := mathrand.NewPCG(binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:]))
			return discriminator, mathrand.New(pcg), nil //nolint:gosec // the seed is as random as can be, and what is drawn from it is not to stay secret
		}
	}
}

func (k Key) ends() ends { return ends{k.Port, k.Peer, k.Local} }

func (t *tables) insert(s *session) {
	t.byKey[s.key] = s
	t.byDiscr[s.machine.Discriminator()] = s
	t.byPeer[s.key.ends()] = append(t.byPeer[s.key.ends()], s)
}

// leave takes a session from its user, and leaves it what it needs to end well.
func (t *tables) leave(s *session) {
	delete(t.byKey, s.key)
	t.leaving[s.key] = s
	same := slices.DeleteFunc(t.byPeer[s.key.ends()], func(other *session) bool { return other == s })
	if t.byPeer[s.key.ends()] = same; len(same) == 0 {
		delete(t.byPeer, s.key.ends())
	}
}

// forget takes out a session that is leaving.
func (t *tables) forget(s *session) {
	if t.leaving[s.key] == s {
		delete(t.leaving, s.key)
	}
	if t.byDiscr[s.machine.Discriminator()] == s {
		delete(t.byDiscr, s.machine.Discriminator())
	}
	if len(t.byDiscr) == 0 {
		close(t.empty)
		t.empty = make(chan struct{})
	}
}

// find gives the session of a packet (RFC 5880, 6.3 and 6.8.6; RFC 5881, 3): by the discriminator alone if it is known, else
// by the sender, the port, and the address and the interface that the packet came to. It looks at a bounded number of sessions.
func (t *tables) find(d *udp.Datagram, p *bfd.Packet) *session {
	if p.YourDiscriminator != 0 {
		s := t.byDiscr[p.YourDiscriminator]
		if s == nil || s.key.Port != d.Port || s.key.Peer.Is4() != d.Source.Is4() {
			return nil
		}
		return s
	}
	for _, local := range [...]netip.Addr{d.Destination, {}} {
		var anywhere *session
		for _, s := range t.byPeer[ends{d.Port, d.Source, local}] { // at most one for each interface
			switch {
			case s.key.Interface == "":
				anywhere = s
			case int(s.ifindex.Load()) == d.Interface:
				return s
			}
		}
		if anywhere != nil {
			return anywhere
		}
	}
	return nil
}

// arrived is when a datagram came. Longer than the grain it has lain in the socket only if this process was held up, or if the kernel's
// clock was set meanwhile. The former must not count as the neighbour's silence.
func (m *Manager) arrived(d *udp.Datagram, now time.Time) time.Time {
	if longest := now.Add(-time.Duration(m.grain.Load())); d.Arrived.Before(longest) {
		return longest
	}
	return d.Arrived
}

// handle takes a datagram to its session.
func (m *Manager) handle(d *udp.Datagram) {
	p, reason := bfd.Decode(d.Payload)
	if reason == bfd.NotDiscarded {
		m.mu.RLock()
		s := m.tables.find(d, &p)
		m.mu.RUnlock()
		if s == nil {
			reason = bfd.NoSession
		} else {
			now := time.Now()
			reason = s.receive(m.arrived(d, now), now, d, &p)
		}
	}
	if reason != bfd.NotDiscarded {
		m.discarded[reason].Add(1)
	}
}
