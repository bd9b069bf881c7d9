package engine

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

// mutate changes bytes, cuts, doubles and inserts.
func mutate(rng *rand.Rand, m []byte) []byte {
	m = bytes.Clone(m)
	for range 1 + rng.IntN(8) {
		if len(m) == 0 {
			return m
		}
		i := rng.IntN(len(m))
		switch rng.IntN(6) {
		case 0, 1, 2:
			m[i] = byte(rng.Uint32())
		case 3:
			m = m[:i]
		case 4:
			m = append(m, m[i:]...)
		case 5:
			m = append(m[:i:i], append([]byte{byte(rng.Uint32()), byte(rng.Uint32())}, m[i:]...)...)
		}
	}
	return m
}

// framed is a body with a good header around it, so that what is wrong is found behind it.
func framed(t wire.Type, body []byte) []byte {
	body = body[:min(len(body), wire.MaxLen-wire.HeaderLen)]
	m := append(bytes.Repeat([]byte{0xff}, 16), 0, 0, byte(t))
	m = append(m, body...)
	binary.BigEndian.PutUint16(m[16:], uint16(len(m)))
	return m
}

// update is an UPDATE with n prefixes.
func update(first uint32, n int) []byte {
	attrs := []byte{0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9, 0x40, 3, 4, 192, 0, 2, 9}
	body := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(attrs)))
	body = append(body, attrs...)
	for i := range n {
		body = append(body, 32)
		body = binary.BigEndian.AppendUint32(body, first+uint32(i))
	}
	return framed(wire.TypeUpdate, body)
}

// A router that sends garbage, mutated messages and storms, before a session and in it, disturbs neither the program nor the
// session with another one, and its own comes back when it is sane again.
func TestHostileRouter(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	r, _ := newRouter(t)
	mad := newSpeaker(t, usual(65001))
	sane := newSpeakerAt(t, "127.0.0.2", usual(65002))
	p, other := mad.peer("mad"), sane.peer("sane")
	advertise(t, r, route("198.51.100.1/32", to(&bgp.Attributes{}, "mad", "sane")))
	set(t, r, p, other)
	good := sane.establish()
	eventually(t, r, "sane", "established", func(s bgp.Session) bool { return s.State == bgp.Established })
	var wg sync.WaitGroup
	wg.Go(func() { // answers until the test ends
		for {
			if _, err := wire.Read(good.in, &good.buffer); err != nil { // whenever it comes
				return
			}
			if _, err := good.Write(wire.Keepalive()); err != nil {
				return
			}
		}
	})
	defer wg.Wait()
	defer good.Close()

	deadline := time.Now().Add(20 * time.Second)
	if testing.Short() {
		deadline = time.Now().Add(2 * time.Second)
	}
	rounds := 0
	for ; time.Now().Before(deadline); rounds++ {
		c := mad.accept()
		// What cannot be sent, or is answered, does not matter.
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		open := mad.open.Message()
		switch rng.IntN(4) {
		case 0: // garbage from the first byte
			b := make([]byte, rng.IntN(9000))
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			_, _ = c.Write(b)
		case 1: // an OPEN that is not quite one
			_, _ = c.Write(mutate(rng, open))
		case 2:
			_, _ = c.Write(framed(wire.TypeOpen, mutate(rng, open.Body())))
			_, _ = c.Write(wire.Keepalive())
		case 3: // a session, and then
			_, _ = c.Write(append(bytes.Clone(open), wire.Keepalive()...))
			for range rng.IntN(300) {
				m := update(rng.Uint32(), rng.IntN(100))
				switch rng.IntN(8) {
				case 0:
					m = framed(wire.TypeUpdate, mutate(rng, m[wire.HeaderLen:]))
				case 1:
					m = framed(wire.TypeRouteRefresh, mutate(rng, wire.RouteRefresh(wire.IPv4).Body()))
				case 2:
					m = wire.RouteRefresh(wire.IPv6)
				case 3:
					m = wire.Keepalive()
				case 4:
					if rng.IntN(20) == 0 {
						m = mutate(rng, m)
					}
				case 5:
					if rng.IntN(50) == 0 {
						m = framed(wire.TypeNotification, mutate(rng, wire.Shutdown(wire.AdministrativeStop, "x").Message().Body()))
					}
				}
				if _, err := c.Write(m); err != nil {
					break
				}
			}
		}
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
		// Do not wait as long as the Router would after so many failures.
		mad.hurry(r, "mad")
	}
	t.Logf("%d connections", rounds)
	c := mad.accept()
	for err := c.tryGreet(&mad.open); err != nil; err = c.tryGreet(&mad.open) {
		t.Logf("a connection that was hurried away: %v", err) // it had tried again by itself before it was told to
		c = mad.accept()
	}
	c.write(wire.Keepalive())
	c.until("the route", func() bool { return c.rib.len() == 1 })
	eventually(t, r, "mad", "established", func(s bgp.Session) bool { return s.State == bgp.Established })
	if s := sessionOf(t, r, "sane"); s.State != bgp.Established || s.Established != 1 {
		t.Errorf("the other session was disturbed: %+v", s)
	}
}

// A million routes from a router cost nothing that stays.
func TestStorm(t *testing.T) {
	r, _ := newRouter(t)
	s := newSpeaker(t, usual(65001))
	advertise(t, r, route("198.51.100.1/32", to(&bgp.Attributes{}, "tor")))
	set(t, r, s.peer("tor"))
	c := s.establish()
	c.until("End-of-RIB", func() bool { return c.ends == 2 })
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	for i := range uint32(2000) {
		c.write(update(i*500, 500))
	}
	// What was sent is taken when the session still stands and the refresh behind it is answered.
	sent := sessionOf(t, r, "tor").Updates
	c.write(wire.RouteRefresh(wire.IPv4))
	eventually(t, r, "tor", "the storm is over", func(s bgp.Session) bool { return s.Updates > sent })
	t.Logf("1,000,000 routes in %s", time.Since(began))
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	if st := sessionOf(t, r, "tor"); st.State != bgp.Established {
		t.Errorf("session %+v", st)
	}
}
