package bfd

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func withAuth(kind AuthType, keys ...AuthKey) Config {
	cfg := fast()
	cfg.Auth = &Auth{Type: kind, Send: keys[0], Accept: keys[1:]}
	return cfg
}

// neighbour signs packets.
type neighbour struct{ authenticator }

func newNeighbour(kind AuthType, k AuthKey, sequence uint32) *neighbour {
	n := &neighbour{}
	n.use(&Auth{Type: kind, Send: k})
	n.transmit = sequence - 1
	return n
}

func (n *neighbour) sends(e *end, p Packet) Discard {
	p.Auth = n.section()
	b := p.Append(nil)
	n.sign(b)
	return e.hand(b)
}

func (e *end) hand(b []byte) Discard {
	e.t.Helper()
	p, d := Decode(b)
	if d == NotDiscarded {
		d = e.Receive(e.now, e.now, &p, b)
	}
	e.flush()
	return d
}

var (
	one = AuthKey{1, []byte("the first secret")}
	two = AuthKey{2, []byte("another secret of 20")}
)

// 6.8.6 and 6.7.4: what is discarded for its authentication changes nothing.
func TestAuthDiscards(t *testing.T) {
	for _, kind := range []AuthType{KeyedSHA1, MeticulousKeyedSHA1} {
		other := KeyedSHA1 + MeticulousKeyedSHA1 - kind
		e := newEnd(t, withAuth(kind, one))
		e.flush()
		for _, c := range []struct {
			name string
			do   func() Discard
			want Discard
		}{
			{"none", func() Discard { return e.receive(from(Down)) }, AuthMissing},
			{"the other kind", func() Discard { return newNeighbour(other, one, 1).sends(e, from(Down)) }, AuthBadSection},
			{"unknown key", func() Discard { return newNeighbour(kind, two, 1).sends(e, from(Down)) }, AuthUnknownKey},
			{"wrong secret", func() Discard { return newNeighbour(kind, AuthKey{1, two.Secret}, 1).sends(e, from(Down)) }, AuthBadHash},
			{"altered", func() Discard {
				n, p := newNeighbour(kind, one, 1), from(Down)
				p.Auth = n.section()
				b := p.Append(nil)
				n.sign(b)
				b[20] = 1
				return e.hand(b)
			}, AuthBadHash},
		} {
			if got := c.do(); got != c.want {
				t.Errorf("%s, %s: %s, want %s", kind, c.name, got, c.want)
			}
			if e.State() != Down || e.Status().RemoteDiscriminator != 0 || e.auth.known {
				t.Errorf("%s, %s: it had an effect", kind, c.name)
			}
		}
		if got := newNeighbour(kind, one, 1).sends(e, from(Down)); got != NotDiscarded || e.State() != Init {
			t.Errorf("%s: a right packet: %s, %s", kind, got, e.State())
		}
	}
	e := newEnd(t, fast())
	if got := newNeighbour(KeyedSHA1, one, 1).sends(e, from(Down)); got != AuthUnexpected || e.State() != Down {
		t.Errorf("no authentication in use: %s, %s", got, e.State())
	}
}

// 6.7.4: the window is the last number (or the one after it, if meticulous) and 3 * Detect Mult further, circular.
func TestAuthSequenceWindow(t *testing.T) {
	for _, c := range []struct {
		kind       AuthType
		last, next uint32
		want       Discard
	}{
		{KeyedSHA1, 100, 99, AuthBadSequence},
		{KeyedSHA1, 100, 100, NotDiscarded},
		{KeyedSHA1, 100, 109, NotDiscarded},
		{KeyedSHA1, 100, 110, AuthBadSequence},
		{MeticulousKeyedSHA1, 100, 99, AuthBadSequence},
		{MeticulousKeyedSHA1, 100, 100, AuthBadSequence},
		{MeticulousKeyedSHA1, 100, 101, NotDiscarded},
		{MeticulousKeyedSHA1, 100, 109, NotDiscarded},
		{MeticulousKeyedSHA1, 100, 110, AuthBadSequence},
		{MeticulousKeyedSHA1, 0xffffffff, 0, NotDiscarded},
		{MeticulousKeyedSHA1, 0xfffffffe, 7, NotDiscarded},
		{MeticulousKeyedSHA1, 0xfffffffe, 8, AuthBadSequence},
		{KeyedSHA1, 0, 0xffffffff, AuthBadSequence},
	} {
		e := newEnd(t, withAuth(c.kind, one))
		newNeighbour(c.kind, one, c.last).sends(e, from(Down))
		if got := newNeighbour(c.kind, one, c.next).sends(e, from(Down)); got != c.want {
			t.Errorf("%s: %d after %d: %s, want %s", c.kind, c.next, c.last, got, c.want)
		}
		// who does not have the key does not move the window
		newNeighbour(c.kind, AuthKey{1, two.Secret}, c.last+5).sends(e, from(Down))
		if last := e.auth.received; last != c.last && last != c.next {
			t.Errorf("%s: a forged packet has moved the window to %d", c.kind, last)
		}
	}
}

// 6.8.1, bfd.AuthSeqKnown: a neighbour that has restarted is heard after two detection times, and not before.
func TestAuthNeighbourRestarts(t *testing.T) {
	e := newEnd(t, withAuth(MeticulousKeyedSHA1, one))
	n := newNeighbour(MeticulousKeyedSHA1, one, 1000)
	n.sends(e, from(Down))
	n.sends(e, from(Up))
	n.sends(e, from(Up, final))
	again := newNeighbour(MeticulousKeyedSHA1, one, 5)
	e.run(600*ms - 1)
	if got := again.sends(e, from(Down)); got != AuthBadSequence {
		t.Errorf("just before: %s", got)
	}
	e.run(1)
	if got := again.sends(e, from(Down)); got != NotDiscarded || e.State() != Init {
		t.Errorf("after twice the detection time: %s, %s", got, e.State())
	}
}

// 6.7.4: every packet of the session has another number, in both kinds.
func TestAuthSequenceGrows(t *testing.T) {
	for _, kind := range []AuthType{KeyedSHA1, MeticulousKeyedSHA1} {
		e := newEnd(t, withAuth(kind, one))
		e.run(20 * time.Second)
		sent := e.take()
		for i, s := range sent {
			if s.Auth.Type != kind || s.Auth.KeyID != 1 || s.Auth.Sequence != sent[0].Auth.Sequence+uint32(i) {
				t.Fatalf("packet %d is %+v", i, s)
			}
		}
		other, err := NewSession(withAuth(kind, one), 1, rand.New(rand.NewPCG(3, 4)), start)
		if err != nil {
			t.Fatal(err)
		}
		if p, _ := Decode(other.Transmit(start, nil)); p.Auth.Sequence == sent[0].Auth.Sequence {
			t.Error("two sessions begin with the same number")
		}
	}
}

// The three steps of a rotation, at each end in its own time, lose no packet.
func TestKeyRotation(t *testing.T) {
	pair := newPair(t, withAuth(MeticulousKeyedSHA1, one), withAuth(MeticulousKeyedSHA1, one), 1)
	pair.run(5 * time.Second)
	for _, keys := range [][]AuthKey{{one, two}, {two, one}, {two}} {
		for _, e := range pair.ends {
			if err := e.Change(pair.now, withAuth(MeticulousKeyedSHA1, keys...)); err != nil {
				t.Fatal(err)
			}
			pair.run(2 * time.Second)
		}
	}
	for i, e := range pair.ends {
		if e.State() != Up || pair.downs[i] != 0 || pair.discards[i] != 0 {
			t.Errorf("end %d is %s, was lost %d times and has discarded %d packets", i, e.State(), pair.downs[i], pair.discards[i])
		}
		if id := e.auth.keys[0].id; len(e.auth.keys) != 1 || id != 2 {
			t.Errorf("end %d sends with key %d", i, id)
		}
	}
}

// Another key does not let old packets in again.
// Keys that are derived from random ones have one ID by chance, now and then.
func TestKeysOfOneID(t *testing.T) {
	same := AuthKey{one.ID, []byte("not the first secret")}
	e := newEnd(t, withAuth(MeticulousKeyedSHA1, one, same))
	e.flush()
	for i, k := range []AuthKey{one, same, {one.ID, []byte("neither")}} {
		want := NotDiscarded
		if i == 2 {
			want = AuthBadHash
		}
		if d := newNeighbour(MeticulousKeyedSHA1, k, uint32(7+i)).sends(e, from(Down)); d != want {
			t.Errorf("key %d: %s, want %s", i, d, want)
		}
	}
}

func TestKeyRotationKeepsTheWindow(t *testing.T) {
	e := newEnd(t, withAuth(MeticulousKeyedSHA1, one))
	n := newNeighbour(MeticulousKeyedSHA1, one, 1000)
	n.sends(e, from(Down))
	if err := e.Change(e.now, withAuth(MeticulousKeyedSHA1, two, one)); err != nil {
		t.Fatal(err)
	}
	if got := newNeighbour(MeticulousKeyedSHA1, one, 1000).sends(e, from(Down)); got != AuthBadSequence {
		t.Errorf("a packet again after another key came: %s", got)
	}
	if got := n.sends(e, from(Down)); got != NotDiscarded {
		t.Errorf("the next packet: %s", got)
	}
}

func TestSecretIsNotPrinted(t *testing.T) {
	auth := Auth{Type: KeyedSHA1, Send: one, Accept: []AuthKey{two}}
	for _, format := range []string{"%v", "%+v", "%#v"} {
		if got := fmt.Sprintf(format+" "+format, one, auth); strings.Contains(got, "116 104 101") || strings.Contains(got, "0x74, 0x68") || strings.Contains(got, "first") {
			t.Errorf("%s: printed as %s", format, got)
		}
	}
}
