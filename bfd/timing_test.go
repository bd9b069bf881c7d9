package bfd

import (
	"math"
	"slices"
	"testing"
	"time"
)

// 6.8.3: a session that is not Up sends at most once a second, whatever it is configured to do; 6.8.7: less jitter.
func TestSlowStart(t *testing.T) {
	e := newEnd(t, fast())
	e.run(time.Minute)
	sent := e.take()
	for i, s := range sent {
		if s.State != Down || s.YourDiscriminator != 0 || s.DesiredMinTx != slow || s.RequiredMinRx != 100_000 || s.RequiredMinEchoRx != 0 {
			t.Fatalf("sent %+v", s)
		}
		if i == 0 {
			continue
		}
		if gap := s.at.Sub(sent[i-1].at); gap < 750*ms || gap > time.Second {
			t.Errorf("two packets %s apart", gap)
		}
	}
	if len(sent) < 60 || len(sent) > 80 || !sent[0].at.Equal(start) {
		t.Errorf("%d packets in a minute, the first after %s", len(sent), sent[0].at.Sub(start))
	}

	e.receive(from(Down))
	e.receive(from(Up))
	if sent := e.take(); len(sent) != 2 || sent[0].DesiredMinTx != slow || sent[1].DesiredMinTx != 100_000 || !sent[1].Poll {
		t.Errorf("on the way up it sent %+v", sent)
	}
	e.run(300 * ms) // and nobody answers
	if sent := e.take(); sent[len(sent)-1].State != Down || sent[len(sent)-1].DesiredMinTx != slow {
		t.Errorf("after the loss it sent %+v", sent)
	}
	if got := e.Status().TransmitInterval; got != time.Second {
		t.Errorf("the interval is %s", got)
	}

	lazy := fast()
	lazy.DesiredMinTx = 5 * time.Second
	if got := newEnd(t, lazy).Status().TransmitInterval; got != 5*time.Second {
		t.Errorf("an interval of 5s became %s", got)
	}
}

// keepAlive lets time pass while the neighbour sends each 50 ms.
func (e *end) keepAlive(d time.Duration, p Packet) {
	e.t.Helper()
	for end := e.now.Add(d); e.now.Before(end); {
		e.run(50 * ms)
		e.receive(p)
	}
}

// 6.8.7: 75 to 100 % of the interval, drawn for each packet; 75 to 90 % when Detect Mult is 1. A caller who is always awake
// sends sooner than one who sleeps until Next; both stay in the range.
func TestJitter(t *testing.T) {
	for _, c := range []struct {
		mult       uint8
		awake      bool
		most, mean float64 // in milliseconds
	}{
		{1, false, 90, 85.625},
		{1, true, 81.5, 78.375}, // the caller looks each half millisecond
		{2, false, 100, 90.625},
		{2, true, 81.5, 78.375},
		{3, false, 100, 90.625},
		{3, true, 81.5, 78.375},
	} {
		cfg := fast()
		cfg.DetectMult = c.mult
		e := up(t, cfg)
		for range 15 {
			e.receive(from(Up, tx(10*time.Second)))
			for until := e.now.Add(20 * time.Second); c.awake && e.now.Before(until); e.flush() {
				e.now = e.now.Add(ms / 2)
			}
			if !c.awake {
				e.run(20 * time.Second)
			}
		}
		sent := e.take()
		low, high, sum := 1000.0, 0.0, 0.0
		for i := 1; i < len(sent); i++ {
			gap := sent[i].at.Sub(sent[i-1].at).Seconds() * 1000
			low, high, sum = min(low, gap), max(high, gap), sum+gap
		}
		mean := sum / float64(len(sent)-1)
		if low < 75 || math.Abs(high-c.most) > 0.5 || math.Abs(mean-c.mean) > 0.5 {
			t.Errorf("%+v: intervals of %.2f to %.2f ms, %.2f on the average", c, low, high, mean)
		}
	}
}

// 6.8.2, 6.8.4 and 6.8.7: each direction is as slow as the slower of what its two ends want.
func TestNegotiation(t *testing.T) {
	for _, c := range []struct {
		ourTx, ourRx, theirTx, theirRx time.Duration
		theirMult                      uint8
		interval, detection            time.Duration
	}{
		{100 * ms, 100 * ms, 100 * ms, 100 * ms, 3, 100 * ms, 300 * ms},
		{100 * ms, 100 * ms, 50 * ms, 20 * ms, 3, 100 * ms, 300 * ms},
		{100 * ms, 100 * ms, 100 * ms, 400 * ms, 3, 400 * ms, 300 * ms},
		{100 * ms, 100 * ms, 400 * ms, 100 * ms, 5, 100 * ms, 2000 * ms},
		{100 * ms, 700 * ms, 400 * ms, 100 * ms, 2, 100 * ms, 1400 * ms},
		{10 * ms, 20 * ms, 10 * ms, 50 * ms, 255, 50 * ms, 5100 * ms},
	} {
		e := up(t, Config{DesiredMinTx: c.ourTx, RequiredMinRx: c.ourRx, DetectMult: 4})
		e.receive(from(Up, tx(c.theirTx), rx(c.theirRx), func(p *Packet) { p.DetectMult = c.theirMult }))
		got := e.Status()
		if got.TransmitInterval != c.interval || got.DetectionTime != c.detection || got.RemoteDetectionTime != 4*c.interval {
			t.Errorf("%+v: interval %s, detection time %s, the neighbour's %s", c, got.TransmitInterval, got.DetectionTime, got.RemoteDetectionTime)
		}
		e.run(c.detection - 1)
		if e.State() != Up {
			t.Errorf("%+v: lost too early", c)
		}
		e.run(1)
		if e.State() != Down {
			t.Errorf("%+v: not lost after the detection time", c)
		}
	}
}

// 6.8.3: the neighbour's new limit holds at once, counted from the last packet.
func TestNeighbourChangesItsLimit(t *testing.T) {
	e := up(t, fast())
	e.receive(from(Up, rx(10*time.Second), tx(10*time.Second)))
	e.run(300 * ms)
	if sent := e.take(); len(sent) != 0 {
		t.Errorf("sent %+v within 300 ms though the neighbour wants one packet in 10 s", sent)
	}
	e.run(5 * time.Second)
	e.receive(from(Up, rx(50*ms), tx(10*time.Second)))
	if sent := e.take(); len(sent) != 1 {
		t.Errorf("sent %+v, but the last packet was longer ago than the new interval", sent)
	}
	last := e.now
	e.run(10 * ms)
	e.receive(from(Up, rx(200*ms), tx(10*time.Second)))
	e.run(190 * ms)
	if sent := e.take(); len(sent) != 1 || sent[0].at.Sub(last) < 150*ms || sent[0].at.Sub(last) > 200*ms {
		t.Errorf("sent %+v, want one packet 150 to 200 ms after %s", sent, last)
	}
}

// 6.8.7: a neighbour whose limit is 0 gets no periodic packets, but answers.
func TestNeighbourWantsNoPackets(t *testing.T) {
	e := up(t, fast())
	e.receive(from(Up, rx(0), tx(10*time.Second)))
	e.run(10 * time.Second)
	if sent := e.take(); len(sent) != 0 {
		t.Errorf("sent %+v", sent)
	}
	e.receive(from(Up, rx(0), tx(10*time.Second), poll))
	if sent := e.take(); len(sent) != 1 || !sent[0].Final {
		t.Errorf("answered the poll with %+v", sent)
	}
	e.receive(from(Up, rx(100*ms), tx(10*time.Second)))
	e.run(time.Second)
	if sent := e.take(); len(sent) < 10 {
		t.Errorf("sent %d packets in a second after the limit was lifted", len(sent))
	}
}

// 6.5: a Final is sent at once and does not move the periodic packets, however often it is asked for; Poll and Final are
// never in one packet.
func TestPollIsAnswered(t *testing.T) {
	e := up(t, fast())
	periodic := 0
	for range 1000 {
		e.run(ms)
		e.receive(from(Up, poll))
		all := e.take()
		if i := slices.IndexFunc(all, func(s sent) bool { return s.Final && !s.Poll && s.at.Equal(e.now) }); i < 0 {
			t.Fatalf("answered with %+v", all)
		}
		for _, s := range all {
			if !s.Final {
				periodic++
			}
		}
	}
	if periodic < 10 || periodic > 14 {
		t.Errorf("%d periodic packets in a second of polls", periodic)
	}
	if err := e.Change(e.now, Config{DesiredMinTx: 50 * ms, RequiredMinRx: 100 * ms, DetectMult: 3}); err != nil {
		t.Fatal(err)
	}
	e.receive(from(Up, poll))
	if sent := e.take(); len(sent) != 1 || sent[0].Poll || !sent[0].Final || sent[0].DesiredMinTx != 50_000 {
		t.Errorf("while polling itself it answered with %+v", sent)
	}
}

// 6.8.3: a change of timers begins a Poll Sequence; 6.5: which is carried by the scheduled packets and ends with a Final.
func TestChangePolls(t *testing.T) {
	for _, c := range []struct {
		name   string
		change Config
		polls  bool
		// while the Poll Sequence lasts, and after it
		interval, detection           time.Duration
		finalInterval, finalDetection time.Duration
	}{
		{"nothing", Config{DesiredMinTx: 100 * ms, RequiredMinRx: 100 * ms, DetectMult: 3}, false, 100 * ms, 300 * ms, 100 * ms, 300 * ms},
		{"multiplier (6.8.12)", Config{DesiredMinTx: 100 * ms, RequiredMinRx: 100 * ms, DetectMult: 9}, false, 100 * ms, 300 * ms, 100 * ms, 300 * ms},
		{"slower transmission waits", Config{DesiredMinTx: 400 * ms, RequiredMinRx: 100 * ms, DetectMult: 3}, true, 100 * ms, 300 * ms, 400 * ms, 300 * ms},
		{"faster transmission does not", Config{DesiredMinTx: 50 * ms, RequiredMinRx: 100 * ms, DetectMult: 3}, true, 50 * ms, 300 * ms, 50 * ms, 300 * ms},
		{"shorter detection waits", Config{DesiredMinTx: 100 * ms, RequiredMinRx: 60 * ms, DetectMult: 3}, true, 100 * ms, 300 * ms, 100 * ms, 180 * ms},
		{"longer detection does not", Config{DesiredMinTx: 100 * ms, RequiredMinRx: 200 * ms, DetectMult: 3}, true, 100 * ms, 600 * ms, 100 * ms, 600 * ms},
		{"both", Config{DesiredMinTx: 500 * ms, RequiredMinRx: 50 * ms, DetectMult: 3}, true, 100 * ms, 300 * ms, 500 * ms, 150 * ms},
	} {
		e := up(t, fast())
		fastNeighbour := []func(*Packet){tx(10 * ms), rx(10 * ms)}
		e.receive(from(Up, fastNeighbour...))
		e.run(50 * ms)
		e.receive(from(Up, fastNeighbour...))
		e.take()
		if err := e.Change(e.now, c.change); err != nil {
			t.Fatal(err)
		}
		changedAt := e.now
		got := e.Status()
		if got.TransmitInterval != c.interval || got.DetectionTime != c.detection {
			t.Errorf("%s: at first interval %s, detection time %s", c.name, got.TransmitInterval, got.DetectionTime)
		}
		e.keepAlive(time.Second, from(Up, fastNeighbour...))
		sent := e.take()
		for _, s := range sent {
			if s.Poll != c.polls || s.DetectMult != c.change.DetectMult || s.DesiredMinTx != interval(c.change.DesiredMinTx) || s.RequiredMinRx != interval(c.change.RequiredMinRx) {
				t.Errorf("%s: sent %+v", c.name, s)
			}
		}
		if most := int(time.Second/(c.interval*3/4)) + 2; len(sent) > most {
			t.Errorf("%s: %d packets in the second after %s, want %d at most: a poll asks for no more", c.name, len(sent), changedAt, most)
		}
		e.receive(from(Up, tx(10*ms), rx(10*ms), final))
		got = e.Status()
		if got.TransmitInterval != c.finalInterval || got.DetectionTime != c.finalDetection {
			t.Errorf("%s: after the Final interval %s, detection time %s", c.name, got.TransmitInterval, got.DetectionTime)
		}
		e.keepAlive(time.Second, from(Up, fastNeighbour...))
		for _, s := range e.take() {
			if s.Poll {
				t.Errorf("%s: polls after the Final", c.name)
			}
		}
		if e.State() != Up {
			t.Errorf("%s: the session went %s", c.name, e.State())
		}
	}
}

// 6.8.3: of several changes each has its own Poll Sequence, and a packet without Final lies between two.
func TestChangeWaitsForTheLastOne(t *testing.T) {
	e := up(t, fast())
	change := func(desired time.Duration) {
		cfg := fast()
		cfg.DesiredMinTx = desired
		if err := e.Change(e.now, cfg); err != nil {
			t.Fatal(err)
		}
	}
	announced := func(when string, want time.Duration, polls bool) {
		t.Helper()
		e.take()
		e.keepAlive(100*ms, from(Up, func(p *Packet) { p.Final = when == "another Final" }))
		for _, s := range e.take() {
			if s.DesiredMinTx != interval(want) || s.Poll != polls {
				t.Errorf("%s: sent %+v", when, s)
			}
		}
	}
	change(200 * ms)
	announced("the first change", 200*ms, true)
	change(300 * ms)
	change(400 * ms)
	announced("changed while polling", 200*ms, true)
	e.receive(from(Up, final))
	announced("another Final", 200*ms, false)
	e.receive(from(Up))
	announced("a packet without Final", 400*ms, true)
	if got := e.Status().TransmitInterval; got != 200*ms {
		t.Errorf("the interval is %s before the second change is acknowledged", got)
	}
	e.receive(from(Up, final))
	announced("acknowledged", 400*ms, false)
}

// 6.8.3 restricts changes only while Up.
func TestChangeWhileNotUp(t *testing.T) {
	e := in(t, Init)
	cfg := Config{DesiredMinTx: 3 * time.Second, RequiredMinRx: 50 * ms, DetectMult: 3}
	if err := e.Change(e.now, cfg); err != nil {
		t.Fatal(err)
	}
	if got := e.Status(); got.TransmitInterval != 3*time.Second || got.DetectionTime != 300*ms {
		t.Errorf("interval %s, detection time %s", got.TransmitInterval, got.DetectionTime)
	}
	cfg.DesiredMinTx = 2 * time.Second
	if err := e.Change(e.now, cfg); err != nil {
		t.Fatal(err)
	}
	e.run(200 * ms)
	e.receive(from(Down))
	e.run(2 * time.Second)
	if sent := e.take(); len(sent) == 0 || sent[0].DesiredMinTx != 2_000_000 || !sent[0].Poll {
		t.Errorf("sent %+v", sent)
	}
}

// 6.1 and 6.8.7: a passive end is silent until the neighbour has spoken, and again when he is lost.
func TestPassive(t *testing.T) {
	cfg := fast()
	cfg.Passive = true
	e := newEnd(t, cfg)
	e.run(time.Minute)
	if sent := e.take(); len(sent) != 0 || !e.Next().IsZero() {
		t.Errorf("sent %+v before the neighbour spoke", sent)
	}
	e.receive(from(Down, func(p *Packet) { p.YourDiscriminator = 0 }))
	if sent := e.take(); len(sent) != 1 || sent[0].State != Init || sent[0].YourDiscriminator != remoteID {
		t.Errorf("answered with %+v", sent)
	}
	e.receive(from(Up))
	e.take()
	e.run(250 * ms)
	if len(e.take()) == 0 {
		t.Error("silent though Up")
	}
	e.run(time.Minute)
	if sent := e.take(); e.State() != Down || len(sent) > 1 {
		t.Errorf("%s; sent %+v after the neighbour was lost", e.State(), sent)
	}
	cfg.Passive = false
	if err := e.Change(e.now, cfg); err != nil {
		t.Fatal(err)
	}
	e.run(time.Second)
	if len(e.take()) == 0 {
		t.Error("silent though made active")
	}
}

// 6.8.7: a passive end speaks to a neighbour who is held down, and whom it stays Down for.
func TestPassiveAnswersAdminDown(t *testing.T) {
	cfg := fast()
	cfg.Passive = true
	e := newEnd(t, cfg)
	for range 50 {
		e.receive(from(AdminDown))
		e.run(100 * ms)
	}
	if sent := e.take(); e.State() != Down || len(sent) < 4 {
		t.Errorf("%s; sent %d packets in five seconds", e.State(), len(sent))
	}
}

// 6.6: a neighbour in Demand mode gets no periodic packets while both are Up, except to poll for a change.
func TestDemandIsAnswered(t *testing.T) {
	e := up(t, fast())
	e.keepAlive(time.Second, from(Up, demand))
	if sent := e.take(); len(sent) > 1 {
		t.Errorf("sent %+v in Demand mode", sent)
	}
	e.receive(from(Up, demand, poll))
	if sent := e.take(); len(sent) != 1 || !sent[0].Final {
		t.Errorf("answered a poll with %+v", sent)
	}

	for _, change := range []func(*Config){
		func(c *Config) { c.DetectMult = 7 },
		func(c *Config) { c.RequiredMinRx = 200 * ms },
	} {
		cfg := fast()
		change(&cfg)
		if err := e.Change(e.now, cfg); err != nil {
			t.Fatal(err)
		}
		e.keepAlive(500*ms, from(Up, demand))
		sent := e.take()
		if len(sent) < 4 || len(sent) > 8 {
			t.Errorf("%d packets in 500 ms of polling", len(sent))
		}
		for _, s := range sent {
			if !s.Poll || s.Demand {
				t.Errorf("sent %+v", s)
			}
		}
		e.receive(from(Up, demand, final))
		e.keepAlive(500*ms, from(Up, demand))
		if sent := e.take(); len(sent) != 0 {
			t.Errorf("sent %+v after the poll was acknowledged", sent)
		}
	}

	e.keepAlive(300*ms, from(Up))
	if len(e.take()) < 2 {
		t.Error("silent though the neighbour has left Demand mode")
	}
	e.keepAlive(300*ms, from(Up, demand))
	e.take()
	e.run(time.Second) // the detection time is this end's own business
	if sent := e.take(); e.State() != Down || len(sent) == 0 || sent[0].State != Down {
		t.Errorf("%s; sent %+v after the neighbour was lost", e.State(), sent)
	}
}

// 6.6 and 6.8.7: Demand mode counts only while both ends are Up.
func TestDemandBeforeUp(t *testing.T) {
	e := in(t, Init)
	e.receive(from(Down, demand, tx(10*time.Second)))
	e.run(5 * time.Second)
	if sent := e.take(); len(sent) < 4 {
		t.Errorf("sent %d packets in five seconds of Init", len(sent))
	}
	e.receive(from(Init, demand))
	e.receive(from(Init, demand, final))
	e.take()
	e.keepAlive(time.Second, from(Init, demand))
	if sent := e.take(); e.State() != Up || len(sent) < 10 {
		t.Errorf("%s; sent %d packets in a second to a neighbour who is not Up yet", e.State(), len(sent))
	}
}

// A timer that is served late sends one packet at once, and the next one an interval later.
func TestLateTimer(t *testing.T) {
	e := up(t, fast())
	e.receive(from(Up, tx(10*time.Second)))
	e.run(200 * ms)
	e.take()
	due := e.Next()
	e.now = due.Add(250 * ms)
	e.receive(from(Up, tx(10*time.Second)))
	sent := e.take()
	if len(sent) != 1 || !sent[0].at.Equal(e.now) {
		t.Errorf("sent %+v at %s", sent, e.now)
	}
	if gap := e.Next().Sub(e.now); gap < 75*ms || gap > 100*ms {
		t.Errorf("the next packet is due after %s", gap)
	}
	e.receive(from(Up, tx(10*time.Second), rx(300*ms)))
	if gap := e.Next().Sub(e.now); gap < 225*ms || gap > 300*ms {
		t.Errorf("the next packet is due after %s, though the neighbour wants 300 ms", gap)
	}
	if got := e.Status().MaxLate; got != 250*ms {
		t.Errorf("the latest packet was %s late, want 250ms", got)
	}
}

// A caller that was held up lets packets that have come meanwhile count before it lets time count.
func TestPacketBeforeExpiry(t *testing.T) {
	e := up(t, fast())
	e.now = e.now.Add(time.Second)
	e.receive(from(Up))
	if e.run(250 * ms); e.State() != Up {
		t.Errorf("%s after a packet", e.State())
	}
}

// A packet that was read late counts from when it arrived, so that waiting to be read does not put off that a neighbour is lost.
func TestArrivedBeforeItWasRead(t *testing.T) {
	e := up(t, fast())
	arrived := e.now
	e.now = e.now.Add(80 * ms)
	p := from(Up)
	b := p.Append(nil)
	if d := e.Receive(arrived, e.now, &p, b); d != NotDiscarded {
		t.Fatal(d)
	}
	if e.run(219 * ms); e.State() != Up {
		t.Errorf("lost before the detection time was over")
	}
	if e.run(ms); e.State() != Down || e.Diagnostic() != DetectionTimeExpired {
		t.Errorf("%s, %s after the detection time", e.State(), e.Diagnostic())
	}
}
