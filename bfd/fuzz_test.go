package bfd

import (
	"math/rand/v2"
	"testing"
	"time"
)

// FuzzSession plays a script to a session: packets of any content, time, changes, in any order. It must not panic, leave the
// diagram of 6.2, set Poll and Final together, ask for what it does not support, or want to be called for nothing.
func FuzzSession(f *testing.F) {
	f.Add([]byte{0, 2, 1, 0, 3, 3, 10, 2, 3, 0, 3, 3, 10, 0, 50, 2, 3, 7, 1, 1, 1, 4, 9, 5, 0, 200})
	f.Add([]byte{1, 1, 0x20, 0x40, 3, 24, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0})
	f.Add([]byte{2, 6, 1, 0, 3, 3, 10, 6, 3, 0, 3, 3, 10, 0, 255, 0, 255, 0, 255})
	f.Fuzz(func(t *testing.T, script []byte) {
		take := func() (b byte) {
			if len(script) > 0 {
				b, script = script[0], script[1:]
			}
			return b
		}
		cfg := fast()
		kind := take()
		cfg.Passive = kind&8 != 0
		var signer neighbour
		if kind&3 == 1 || kind&3 == 2 {
			cfg.Auth = &Auth{Type: KeyedSHA1 + AuthType(kind&3) - 1, Send: one}
			signer.use(cfg.Auth)
		}
		s, err := NewSession(cfg, ourID, rand.New(rand.NewPCG(1, 2)), start)
		if err != nil {
			t.Fatal(err)
		}
		now := start
		receive := func(b []byte) {
			p, d := Decode(b)
			if d != NotDiscarded {
				return
			}
			before := s.State()
			d = s.Receive(now, now, &p, b)
			if after := s.State(); !legal(before, p.State, after) || d != NotDiscarded && before != after {
				t.Fatalf("%s became %s on %+v (%s)", before, after, p, d)
			}
		}
		for len(script) > 0 {
			switch take() % 7 {
			case 0:
				now = now.Add(time.Duration(take()) * 10 * ms)
			case 1:
				n := min(int(take()), len(script))
				receive(script[:n])
				script = script[n:]
			case 2, 6:
				p := Packet{State: State(take() & 3), DetectMult: max(take(), 1), MyDiscriminator: remoteID, YourDiscriminator: ourID}
				flags := take()
				p.Poll, p.Final, p.Demand = flags&1 != 0, flags&2 != 0, flags&4 != 0
				p.DesiredMinTx, p.RequiredMinRx = Interval(take())*10_000, Interval(take())*10_000
				p.Auth = signer.section()
				b := p.Append(nil)
				signer.sign(b)
				receive(b)
			case 3:
				cfg.DesiredMinTx = time.Duration(max(take(), 1)) * 10 * ms
				cfg.RequiredMinRx = time.Duration(max(take(), 1)) * 10 * ms
				cfg.DetectMult = max(take(), 1)
				if err := s.Change(now, cfg); err != nil {
					t.Fatal(err)
				}
			case 4:
				s.Disable(now)
			case 5:
				s.Enable(now)
			}
			before := s.State()
			s.Advance(now)
			if after := s.State(); after != before && (after != Down || before != Init && before != Up) {
				t.Fatalf("time made %s of %s", after, before)
			}
			for n := 0; ; n++ {
				b := s.Transmit(now, nil)
				if len(b) == 0 {
					break
				}
				p, d := Decode(b)
				if d != NotDiscarded || p.Poll && p.Final || p.Demand || p.RequiredMinEchoRx != 0 || p.State != s.State() ||
					p.State != Up && p.DesiredMinTx < slow || n > 1 {
					t.Fatalf("packet %d sent at once is %+v (%s)", n, p, d)
				}
			}
			if next := s.Next(); !next.IsZero() && !next.After(now) {
				t.Fatalf("wants to be called at %s, and it is %s", next, now)
			}
		}
	})
}
