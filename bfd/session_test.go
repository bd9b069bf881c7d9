package bfd

import (
	"math/rand/v2"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	ms       = time.Millisecond
	ourID    = 1111
	remoteID = 2222
)

// end is a session with its clock, and what it has sent.
type end struct {
	t testing.TB
	*Session
	now  time.Time
	sent []sent
}

type sent struct {
	at time.Time
	Packet
}

func fast() Config { return Config{DesiredMinTx: 100 * ms, RequiredMinRx: 100 * ms, DetectMult: 3} }

func newEnd(t testing.TB, cfg Config) *end {
	t.Helper()
	s, err := NewSession(cfg, ourID, rand.New(rand.NewPCG(1, 2)), start)
	if err != nil {
		t.Fatal(err)
	}
	return &end{t: t, Session: s, now: start}
}

// flush sends what is to be sent now.
func (e *end) flush() {
	e.t.Helper()
	e.Advance(e.now)
	for {
		b := e.Transmit(e.now, nil)
		if len(b) == 0 {
			return
		}
		p, d := Decode(b)
		if d != NotDiscarded {
			e.t.Fatalf("sent a packet that would be discarded: %s", d)
		}
		e.sent = append(e.sent, sent{e.now, p})
	}
}

// run lets time pass.
func (e *end) run(d time.Duration) {
	e.t.Helper()
	e.flush()
	for end := e.now.Add(d); ; e.flush() {
		next := e.Next()
		if next.IsZero() || next.After(end) {
			e.now = end
			return
		}
		if !next.After(e.now) {
			e.t.Fatalf("Next is %s, nothing is left to do at %s", next, e.now)
		}
		e.now = next
	}
}

// take gives what was sent since it was last asked.
func (e *end) take() []sent {
	all := e.sent
	e.sent = nil
	return all
}

// from is a packet of the neighbour; it knows this end's discriminator.
func from(state State, changes ...func(*Packet)) Packet {
	p := Packet{
		State: state, DetectMult: 3, MyDiscriminator: remoteID, YourDiscriminator: ourID,
		DesiredMinTx: 100_000, RequiredMinRx: 100_000,
	}
	for _, change := range changes {
		change(&p)
	}
	return p
}

func poll(p *Packet)   { p.Poll = true }
func final(p *Packet)  { p.Final = true }
func demand(p *Packet) { p.Demand = true }

func tx(d time.Duration) func(*Packet) {
	return func(p *Packet) { p.DesiredMinTx = interval(d) }
}

func rx(d time.Duration) func(*Packet) {
	return func(p *Packet) { p.RequiredMinRx = interval(d) }
}

// receive hands a packet in.
func (e *end) receive(p Packet) Discard {
	e.t.Helper()
	b := p.Append(nil)
	got, d := Decode(b)
	if d == NotDiscarded {
		d = e.Receive(e.now, e.now, &got, b)
	}
	e.flush()
	return d
}

// up brings the session up with a neighbour whose timers are 100 ms x 3, and ends the Poll Sequence of that.
func up(t testing.TB, cfg Config) *end {
	t.Helper()
	e := newEnd(t, cfg)
	e.flush()
	e.receive(from(Down))
	e.receive(from(Up))
	e.receive(from(Up, final))
	e.receive(from(Up))
	if e.State() != Up {
		t.Fatalf("the state is %s", e.State())
	}
	e.take()
	return e
}

// in brings a session into a state.
func in(t testing.TB, state State) *end {
	t.Helper()
	e := newEnd(t, fast())
	e.flush()
	switch state {
	case AdminDown:
		e.Disable(e.now)
	case Down:
	case Init:
		e.receive(from(Down))
	case Up:
		e = up(t, fast())
	}
	e.flush()
	e.take()
	if e.State() != state {
		t.Fatalf("the state is %s, want %s", e.State(), state)
	}
	return e
}

// The state machine of 6.2, as 6.8.6 words it.
func TestStateMachine(t *testing.T) {
	const keep = NoDiagnostic
	for _, c := range []struct {
		state, received, want State
		diag                  Diagnostic
	}{
		{Down, AdminDown, Down, keep},
		{Down, Down, Init, keep},
		{Down, Init, Up, keep},
		{Down, Up, Down, keep},
		{Init, AdminDown, Down, NeighborSignaledDown},
		{Init, Down, Init, keep},
		{Init, Init, Up, keep},
		{Init, Up, Up, keep},
		{Up, AdminDown, Down, NeighborSignaledDown},
		{Up, Down, Down, NeighborSignaledDown},
		{Up, Init, Up, keep},
		{Up, Up, Up, keep},
		{AdminDown, AdminDown, AdminDown, AdministrativelyDown},
		{AdminDown, Down, AdminDown, AdministrativelyDown},
		{AdminDown, Init, AdminDown, AdministrativelyDown},
		{AdminDown, Up, AdminDown, AdministrativelyDown},
	} {
		e := in(t, c.state)
		d := e.receive(from(c.received))
		if e.State() != c.want || e.Diagnostic() != c.diag {
			t.Errorf("%s, received %s: now %s (%s), want %s (%s)", c.state, c.received, e.State(), e.Diagnostic(), c.want, c.diag)
		}
		if held := d == HeldDown; held != (c.state == AdminDown) {
			t.Errorf("%s, received %s: %s", c.state, c.received, d)
		}
		got := e.Status()
		if got.RemoteDiscriminator != remoteID || got.RemoteState != c.received {
			t.Errorf("%s, received %s: the neighbour is %d in %s", c.state, c.received, got.RemoteDiscriminator, got.RemoteState)
		}
		// 6.8.7: a change is told before the next periodic packet.
		if sent := e.take(); c.want != c.state && (len(sent) != 1 || sent[0].State != c.want || sent[0].YourDiscriminator != remoteID) {
			t.Errorf("%s, received %s: sent %+v", c.state, c.received, sent)
		} else if c.want == c.state && len(sent) != 0 {
			t.Errorf("%s, received %s: sent %+v though nothing has changed", c.state, c.received, sent)
		}
	}
}

// 6.8.4: Init and Up end with the detection time; the other states stay. 6.8.1: in every state the neighbour is forgotten.
func TestDetectionTimeExpires(t *testing.T) {
	for _, c := range []struct {
		state, want State
		diag        Diagnostic
	}{
		{Init, Down, DetectionTimeExpired},
		{Up, Down, DetectionTimeExpired},
		{AdminDown, AdminDown, AdministrativelyDown},
	} {
		e := in(t, c.state)
		e.receive(from(Down, rx(5*time.Second)))
		if c.state == Up { // which Down has ended
			e = in(t, Up)
		}
		e.run(300*ms - 1)
		if e.State() != c.state || e.Status().RemoteDiscriminator != remoteID {
			t.Errorf("%s: too early %s, neighbour %d", c.state, e.State(), e.Status().RemoteDiscriminator)
		}
		e.run(1)
		if e.State() != c.want || e.Diagnostic() != c.diag {
			t.Errorf("%s: now %s (%s), want %s (%s)", c.state, e.State(), e.Diagnostic(), c.want, c.diag)
		}
		if got := e.Status(); got.RemoteDiscriminator != 0 || got.RemoteState != Down {
			t.Errorf("%s: the neighbour is still %d in %s", c.state, got.RemoteDiscriminator, got.RemoteState)
		}
		if got := e.Status().TransmitInterval; got != time.Second {
			t.Errorf("%s: the interval is %s; the neighbour's limit should be forgotten (6.8.18)", c.state, got)
		}
	}
}

func TestNewSessionIsRefused(t *testing.T) {
	secret := []byte("secret")
	for name, change := range map[string]func(*Config){
		"no transmit interval":    func(c *Config) { c.DesiredMinTx = 0 },
		"transmit interval large": func(c *Config) { c.DesiredMinTx = 2 * time.Hour },
		"no receive interval":     func(c *Config) { c.RequiredMinRx = 0 },
		"no multiplier":           func(c *Config) { c.DetectMult = 0 },
		"auth type":               func(c *Config) { c.Auth = &Auth{Type: 3, Send: AuthKey{1, secret}} },
		"no secret":               func(c *Config) { c.Auth = &Auth{Type: KeyedSHA1, Send: AuthKey{1, nil}} },
		"long secret":             func(c *Config) { c.Auth = &Auth{Type: KeyedSHA1, Send: AuthKey{1, make([]byte, 21)}} },
	} {
		cfg := fast()
		change(&cfg)
		if _, err := NewSession(cfg, 1, rand.New(rand.NewPCG(1, 2)), start); err == nil {
			t.Errorf("%s: no error", name)
		}
		e := in(t, Up)
		if err := e.Change(e.now, cfg); err == nil {
			t.Errorf("%s: no error from Change", name)
		}
	}
	if _, err := NewSession(fast(), 0, rand.New(rand.NewPCG(1, 2)), start); err == nil {
		t.Error("discriminator 0: no error")
	}
}

// 6.8.16.
func TestAdminDown(t *testing.T) {
	e := in(t, Up)
	e.Disable(e.now)
	e.flush()
	if sent := e.take(); len(sent) != 1 || sent[0].State != AdminDown || sent[0].Diagnostic != AdministrativelyDown {
		t.Errorf("sent %+v", sent)
	}
	if got, want := e.Status().RemoteDetectionTime, 3*time.Second; got != want {
		t.Errorf("the neighbour's detection time is %s, want %s", got, want)
	}
	if e.receive(from(Down, poll)); len(e.take()) != 0 {
		t.Error("answered a poll, whose packet is to be discarded")
	}
	e.Enable(e.now)
	e.flush()
	if sent := e.take(); len(sent) != 1 || sent[0].State != Down || sent[0].Diagnostic != NoDiagnostic {
		t.Errorf("sent %+v after being enabled", sent)
	}
	e.receive(from(Down))
	if e.State() != Init {
		t.Errorf("the state is %s", e.State())
	}
}

// The diagnostic tells why the session failed last, also after it is Up again: no rule of 6.8.6 clears it.
func TestDiagnosticStays(t *testing.T) {
	e := in(t, Up)
	e.run(300 * ms)
	e.receive(from(Down))
	e.receive(from(Up))
	if e.State() != Up || e.Diagnostic() != DetectionTimeExpired {
		t.Errorf("%s with diagnostic %q", e.State(), e.Diagnostic())
	}
}
