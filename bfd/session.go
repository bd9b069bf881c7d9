package bfd

import (
	"errors"
	"math/rand/v2"
	"time"
)

// Session is one end of a session (RFC 5880, 6.8). Its methods are not safe for concurrent use.
//
// The caller passes each packet to Receive, and after that, after Change, Disable and Enable, and whenever the time of Next
// has come, calls Advance and then Transmit until it returns nothing. A caller that may have been held up passes all packets
// that have come before it calls Advance, so that its own delay does not count as the neighbour's silence.
type Session struct {
	cfg    Config
	auth   authenticator
	random *rand.Rand

	state State      // bfd.SessionState
	diag  Diagnostic // bfd.LocalDiag
	local uint32     // bfd.LocalDiscr

	remote  remote
	lastRx  time.Time // of the last packet that was authentic
	owing   bool      // a Final is to be sent
	timing  timing
	pacing  pacing
	maxLate time.Duration
}

// remote is what the last packet said of the neighbour.
type remote struct {
	discr         uint32 // bfd.RemoteDiscr; 0 also after a detection time without packets
	state         State  // bfd.RemoteSessionState
	diag          Diagnostic
	demand        bool     // bfd.RemoteDemandMode
	requiredMinRx Interval // bfd.RemoteMinRxInterval
	desiredMinTx  Interval
	detectMult    uint8
}

// NewSession makes a session in the state Down, which an active end starts to send for at once. The discriminator must not be
// 0, and no other session of this system may have it; it should be random, and random is to be seeded so that nobody can
// guess the first sequence number of the authentication.
func NewSession(cfg Config, discriminator uint32, random *rand.Rand, now time.Time) (*Session, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if discriminator == 0 {
		return nil, errors.New("make a session: its discriminator is 0")
	}
	s := &Session{cfg: cfg, random: random, state: Down, local: discriminator, remote: remote{state: Down, requiredMinRx: 1}}
	s.auth.transmit = random.Uint32()
	s.auth.use(cfg.Auth)
	s.timing.start(s.wanted())
	s.update(now)
	return s, nil
}

// State of the session.
func (s *Session) State() State { return s.state }

// Diagnostic is the reason why the session left the state Up last.
func (s *Session) Diagnostic() Diagnostic { return s.diag }

// Discriminator is the local one.
func (s *Session) Discriminator() uint32 { return s.local }

// Receive applies the rules of RFC 5880, 6.8.6 from authentication on to a packet that was decoded from packet and that
// belongs to this session. The neighbour's silence counts from when it arrived, which may be before now.
func (s *Session) Receive(arrived, now time.Time, p *Packet, packet []byte) Discard {
	if d := s.auth.check(p, packet); d != NotDiscarded {
		return d
	}
	if arrived.After(s.lastRx) { // it may seem to have come before the one before, when the clock was set in between
		s.lastRx = arrived
	}
	s.remote = remote{p.MyDiscriminator, p.State, p.Diagnostic, p.Demand, p.RequiredMinRx, p.DesiredMinTx, p.DetectMult}
	s.timing.received(p.Final)
	if s.state == AdminDown {
		s.update(now)
		return HeldDown
	}
	switch {
	case p.State == AdminDown && s.state != Down, p.State == Down && s.state == Up:
		s.enter(Down, NeighborSignaledDown)
	case p.State == Down && s.state == Down:
		s.enter(Init, s.diag)
	case p.State == Init && s.state != Up, p.State == Up && s.state == Init:
		s.enter(Up, s.diag)
	}
	s.owing = s.owing || p.Poll
	s.update(now)
	return NotDiscarded
}

func (s *Session) silent(now time.Time) bool {
	return s.remote.discr != 0 && !now.Before(s.lastRx.Add(s.detectionTime()))
}

// Advance applies what the passing of time brings: the end of the detection time (RFC 5880, 6.8.4).
func (s *Session) Advance(now time.Time) {
	if s.silent(now) {
		if s.state == Init || s.state == Up {
			s.enter(Down, DetectionTimeExpired)
		}
		// 6.8.1 and 6.8.18: the neighbour's discriminator and its limit to the rate hold for a detection time only.
		s.remote.discr, s.remote.requiredMinRx = 0, 1
		s.remote.state, s.remote.demand = Down, false
		s.update(now)
	}
	if s.auth.known && !now.Before(s.lastRx.Add(2*s.detectionTime())) {
		s.auth.known = false // a neighbour that has restarted counts anew
	}
}

// Transmit appends the next packet that may be sent now to b; it appends nothing when there is none. It never allocates when b
// has room for MaxPacketLength bytes. Periodic packets may be sent sooner than Next says (see Soonest), so that a caller of many
// sessions can send for all of them each time he wakes up.
func (s *Session) Transmit(now time.Time, b []byte) []byte {
	p := s.content()
	switch {
	case s.owing: // at once, and without influence on the periodic packets (6.5)
		s.owing = false
		p.Final = true
	case s.pacing.due(now):
		s.maxLate = max(s.maxLate, now.Sub(s.pacing.next))
		s.pacing.sentAt, s.pacing.urgent = now, false
		s.jitter()
		p.Poll = s.timing.poll == polling
	default:
		return b
	}
	s.pacing.last = p
	s.pacing.last.Poll, s.pacing.last.Final = false, false
	p.Auth = s.auth.section()
	start := len(b)
	b = p.Append(b)
	s.auth.sign(b[start:])
	return b
}

// Next is when Advance and Transmit must be called again, unless something else is the occasion; zero: never.
func (s *Session) Next() time.Time {
	next := s.pacing.next
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	if s.remote.discr != 0 {
		sooner(s.lastRx.Add(s.detectionTime()))
	}
	if s.auth.known {
		sooner(s.lastRx.Add(2 * s.detectionTime()))
	}
	return next
}

// Soonest is from when on Transmit has a packet for a caller who is awake before Next; zero: it will have none.
func (s *Session) Soonest() time.Time { return s.pacing.soonest }

// Change takes another configuration, without leaving the state (6.8.3). While the session is Up a slower transmission and a
// shorter detection time take effect when the neighbour has acknowledged them.
func (s *Session) Change(now time.Time, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	s.cfg = cfg
	s.auth.use(cfg.Auth)
	s.update(now)
	return nil
}

// Disable holds the session in the state AdminDown (6.8.16).
func (s *Session) Disable(now time.Time) {
	if s.state != AdminDown {
		s.enter(AdminDown, AdministrativelyDown)
		s.update(now)
	}
}

// Enable ends what Disable began.
func (s *Session) Enable(now time.Time) {
	if s.state == AdminDown {
		s.enter(Down, NoDiagnostic)
		s.update(now)
	}
}

// enter changes the state and tells the neighbour soon (6.8.7).
func (s *Session) enter(state State, diag Diagnostic) {
	s.state, s.diag = state, diag
	s.timing.changeState(s.wanted())
	s.pacing.urgent = true
}

// content is what a packet says now, but for its Poll and Final bits and its authentication (6.8.7).
func (s *Session) content() Packet {
	return Packet{
		State: s.state, Diagnostic: s.diag, DetectMult: s.cfg.DetectMult,
		MyDiscriminator: s.local, YourDiscriminator: s.remote.discr,
		DesiredMinTx: s.timing.tx.announced, RequiredMinRx: s.timing.rx.announced,
	}
}
