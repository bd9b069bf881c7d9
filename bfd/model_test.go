package bfd

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// pair is two sessions over a link that loses, delays (and so reorders) and duplicates packets, in a time of its own.
type pair struct {
	t      testing.TB
	random *rand.Rand
	now    time.Time
	ends   [2]*Session
	flying [2][]flight // towards each end
	link   link

	downs    [2]int // how often each end has left the state Up
	discards [2]int
	lastRx   [2]time.Time
}

type flight struct {
	at time.Time
	b  []byte
}

type link struct {
	loss, duplicate float64
	delay           time.Duration // at most
	cut             [2]bool       // towards each end
}

func newPair(t testing.TB, a, b Config, seed uint64) *pair {
	t.Helper()
	p := &pair{t: t, random: rand.New(rand.NewPCG(seed, 0)), now: start}
	for i, cfg := range []Config{a, b} {
		var err error
		if p.ends[i], err = NewSession(cfg, uint32(i+1), rand.New(rand.NewPCG(seed, uint64(i)+1)), start); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// step serves one end at the present time.
func (p *pair) step(i int) {
	e := p.ends[i]
	var left []flight
	for _, f := range p.flying[i] {
		if f.at.After(p.now) {
			left = append(left, f)
			continue
		}
		packet, d := Decode(f.b)
		if d == NotDiscarded && packet.YourDiscriminator != 0 && packet.YourDiscriminator != e.Discriminator() {
			p.t.Fatalf("end %d got discriminator %d", i, packet.YourDiscriminator)
		}
		if d == NotDiscarded {
			d = p.receive(i, &packet, f.b)
		}
		if d == NotDiscarded {
			p.lastRx[i] = p.now
		} else if d != HeldDown {
			p.discards[i]++
		}
	}
	p.flying[i] = left
	before, silent, detection := e.State(), p.now.Sub(p.lastRx[i]), e.Status().DetectionTime
	e.Advance(p.now)
	if before == Up && e.State() != Up {
		p.downs[i]++
		if silent != detection {
			p.t.Fatalf("end %d was lost after %s, the detection time is %s", i, silent, detection)
		}
	}
	for {
		b := e.Transmit(p.now, nil)
		if len(b) == 0 {
			return
		}
		p.send(1-i, b)
	}
}

// receive checks that the state only ever changes along an edge of 6.2.
func (p *pair) receive(i int, packet *Packet, b []byte) Discard {
	before := p.ends[i].State()
	d := p.ends[i].Receive(p.now, p.now, packet, b)
	if after := p.ends[i].State(); !legal(before, packet.State, after) {
		p.t.Fatalf("end %d went from %s to %s on %s", i, before, after, packet.State)
	}
	if before == Up && p.ends[i].State() != Up {
		p.downs[i]++
	}
	return d
}

// legal are the edges of the diagram in 6.2.
func legal(before, received, after State) bool {
	switch {
	case before == after:
		return true
	case before == Down && after == Init:
		return received == Down
	case before == Down && after == Up:
		return received == Init
	case before == Init && after == Up:
		return received == Init || received == Up
	case before == Init && after == Down:
		return received == AdminDown
	case before == Up && after == Down:
		return received == Down || received == AdminDown
	default:
		return false
	}
}

func (p *pair) send(to int, b []byte) {
	copies := 1
	if p.random.Float64() < p.link.duplicate {
		copies = 2
	}
	for range copies {
		if p.link.cut[to] || p.random.Float64() < p.link.loss {
			continue
		}
		at := p.now
		if p.link.delay > 0 {
			at = at.Add(time.Duration(p.random.Int64N(int64(p.link.delay))))
		}
		p.flying[to] = append(p.flying[to], flight{at, append([]byte(nil), b...)})
	}
}

// next is when anything is to happen.
func (p *pair) next() time.Time {
	next := p.now.Add(time.Hour)
	for i, e := range p.ends {
		if at := e.Next(); !at.IsZero() && at.Before(next) {
			next = at
		}
		for _, f := range p.flying[i] {
			if f.at.Before(next) {
				next = f.at
			}
		}
	}
	return next
}

func (p *pair) run(d time.Duration) { p.until(d, func() bool { return false }) }

// until lets time pass until ok is true, and reports whether it became so.
func (p *pair) until(d time.Duration, ok func() bool) bool {
	for end := p.now.Add(d); ; {
		p.step(0)
		p.step(1)
		if ok() {
			return true
		}
		next := p.next()
		if next.After(end) {
			p.now = end
			return ok()
		}
		p.now = next
	}
}

func (p *pair) both(s State) func() bool {
	return func() bool { return p.ends[0].State() == s && p.ends[1].State() == s }
}

// Whatever the link does to a third of the packets, two ends come up; when it is cut, in one direction or both, each end is
// down within the time it has negotiated; when it is good they stay up.
func TestModel(t *testing.T) {
	seeds := uint64(2000)
	if testing.Short() {
		seeds = 200
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { model(t, seed) })
	}
}

func model(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 99))
	config := func() Config {
		return Config{
			DesiredMinTx:  time.Duration(10+random.IntN(400)) * ms,
			RequiredMinRx: time.Duration(10+random.IntN(400)) * ms,
			DetectMult:    uint8(1 + random.IntN(5)),
		}
	}
	a, b := config(), config()
	b.Passive = random.IntN(4) == 0
	if kinds := []AuthType{0, KeyedSHA1, MeticulousKeyedSHA1}; random.IntN(2) == 0 {
		if kind := kinds[random.IntN(3)]; kind != 0 {
			a.Auth = &Auth{Type: kind, Send: one}
			b.Auth = a.Auth
		}
	}
	p := newPair(t, a, b, seed)

	// Bad: up nonetheless.
	p.link = link{loss: random.Float64() * 0.3, duplicate: random.Float64() * 0.3, delay: time.Duration(1+random.IntN(30)) * ms}
	if !p.until(10*time.Minute, p.both(Up)) {
		t.Fatalf("not up within ten minutes over %+v: %s and %s", p.link, p.ends[0].State(), p.ends[1].State())
	}

	// Good, with a delay that is small next to every margin: up to stay.
	p.link = link{delay: ms}
	if !p.until(time.Minute, p.both(Up)) {
		t.Fatalf("not up over a good link: %s and %s", p.ends[0].State(), p.ends[1].State())
	}
	p.run(10 * time.Second)
	downs := p.downs
	for range 3 {
		i := random.IntN(2)
		cfg := config()
		cfg.Passive, cfg.Auth = b.Passive && i == 1, a.Auth
		if err := p.ends[i].Change(p.now, cfg); err != nil {
			t.Fatal(err)
		}
		p.run(time.Duration(random.IntN(3000)) * ms)
	}
	p.run(10 * time.Second)
	if p.downs != downs {
		t.Fatalf("lost over a good link, with changes of timers: %v times, before %v", p.downs, downs)
	}
	for i, e := range p.ends {
		mine, its := e.Status(), p.ends[1-i].Status()
		if mine.RemoteDetectionTime != its.DetectionTime || mine.RemoteDetectionTime != time.Duration(e.cfg.DetectMult)*mine.TransmitInterval {
			t.Fatalf("end %d sends each %s and takes the other's detection time for %s, which is %s", i, mine.TransmitInterval, mine.RemoteDetectionTime, its.DetectionTime)
		}
	}

	// Cut: down within the detection time of the end that hears nothing, and soon after at the other.
	cut := [][2]bool{{true, true}, {true, false}, {false, true}}[random.IntN(3)]
	p.link.cut = cut
	var limit time.Duration
	for i, e := range p.ends {
		if cut[i] {
			limit = max(limit, e.Status().DetectionTime)
		}
	}
	if !p.until(limit+2*ms, func() bool { return p.ends[0].State() != Up && p.ends[1].State() != Up }) {
		// An end that is lost tells it with its next packet, unless it is passive; then the other end is not told, but misses its packets.
		more := max(p.ends[0].Status().DetectionTime, p.ends[1].Status().DetectionTime)
		if !b.Passive || !p.until(more+2*ms, func() bool { return p.ends[0].State() != Up && p.ends[1].State() != Up }) {
			t.Fatalf("cut %v: %s and %s after %s", cut, p.ends[0].State(), p.ends[1].State(), limit)
		}
	}

	// Mended: up again.
	p.link.cut = [2]bool{}
	if !p.until(time.Minute, p.both(Up)) {
		t.Fatalf("not up after the link was mended: %s and %s", p.ends[0].State(), p.ends[1].State())
	}

	// Held down: the other end hears it, stays down, and comes up afterwards.
	p.ends[0].Disable(p.now)
	p.run(5 * time.Second)
	if p.ends[0].State() != AdminDown || p.ends[1].State() != Down || p.ends[1].Status().RemoteState != AdminDown {
		t.Fatalf("held down: %s and %s", p.ends[0].State(), p.ends[1].State())
	}
	p.ends[0].Enable(p.now)
	if !p.until(time.Minute, p.both(Up)) {
		t.Fatalf("not up after being held down: %s and %s", p.ends[0].State(), p.ends[1].State())
	}
}
