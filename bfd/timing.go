package bfd

import "time"

// slow is the least Desired Min TX Interval of a session that is not Up (RFC 5880, 6.8.3).
const slow = Interval(time.Second / time.Microsecond)

// sequence is how far a Poll Sequence is (6.5).
type sequence uint8

const (
	quiet sequence = iota
	// polling: packets have the Poll bit, until a Final is received.
	polling
	// settling: the Final has come. Another change waits for a packet without it, so that its own Final can be told from a
	// second one for this sequence (6.8.3, the third choice).
	settling
)

// parameter is a timer value of the local system.
type parameter struct {
	announced Interval // in packets
	used      Interval // in calculations; differs while the neighbour has not acknowledged the announced one
}

// timing are the local system's timer values and their negotiation (6.8.3).
type timing struct {
	tx, rx parameter // bfd.DesiredMinTxInterval, bfd.RequiredMinRxInterval
	poll   sequence
}

func (t *timing) start(tx, rx Interval) {
	t.tx, t.rx = parameter{tx, tx}, parameter{rx, rx}
}

// change announces other values while the state stays. One change is under way at a time; a further one waits for the next
// call after it.
func (t *timing) change(up bool, tx, rx Interval) {
	switch {
	case tx == t.tx.announced && rx == t.rx.announced:
	case !up:
		t.changeState(tx, rx)
	case t.poll == quiet:
		t.poll = polling
		t.tx.announced, t.rx.announced = tx, rx
		t.tx.used, t.rx.used = min(t.tx.used, tx), max(t.rx.used, rx)
	}
}

// changeState announces the values of a state that was just entered. A Poll Sequence that is under way starts anew, because
// nothing depends on its end: not being Up nothing is held back, and on the way up values only change to what may be used
// at once (the second last paragraph of 6.8.3).
func (t *timing) changeState(tx, rx Interval) {
	if tx != t.tx.announced || rx != t.rx.announced {
		t.poll = polling
	}
	t.start(tx, rx)
}

// received takes note of a packet.
func (t *timing) received(final bool) {
	switch {
	case t.poll == polling && final:
		t.poll = settling
		t.tx.used, t.rx.used = t.tx.announced, t.rx.announced
	case t.poll == settling && !final:
		t.poll = quiet
	}
}

// pacing is when periodic packets are sent.
type pacing struct {
	interval Interval  // agreed, before jitter; 0: none are sent
	sentAt   time.Time // the last one
	next     time.Time // the time for the next one; zero: none
	soonest  time.Time // from when on it may be sent to a caller who is awake anyway
	urgent   bool      // the next one is not to wait
	last     Packet    // the content of the last packet of any kind
}

// due reports whether a packet may be sent.
func (p *pacing) due(now time.Time) bool {
	return !p.next.IsZero() && !now.Before(p.soonest)
}

// at makes both times of the next packet one.
func (p *pacing) at(t time.Time) { p.next, p.soonest = t, t }

// wanted are the timer values for the present state.
func (s *Session) wanted() (tx, rx Interval) {
	tx = interval(s.cfg.DesiredMinTx)
	if s.state != Up {
		tx = max(tx, slow)
	}
	return tx, interval(s.cfg.RequiredMinRx)
}

// update brings timers and Poll Sequence in line with everything else, after anything has changed.
func (s *Session) update(now time.Time) {
	tx, rx := s.wanted()
	s.timing.change(s.state == Up, tx, rx)
	demand := s.remote.demand && s.state == Up && s.remote.state == Up
	if demand && s.timing.poll == quiet && s.content() != s.pacing.last {
		s.timing.poll = polling // 6.6: with no periodic packets a change must be acknowledged
	}
	next := max(s.timing.tx.used, s.remote.requiredMinRx)
	if s.remote.requiredMinRx == 0 || s.cfg.Passive && s.remote.discr == 0 || demand && s.timing.poll != polling {
		next = 0 // 6.8.7
	}
	s.pace(now, next)
}

// pace makes the time of the next periodic packet fit an interval.
func (s *Session) pace(now time.Time, interval Interval) {
	p := &s.pacing
	changed := interval != p.interval
	p.interval = interval
	switch {
	case interval == 0:
		p.at(time.Time{})
	case p.urgent && !p.due(now):
		p.at(now)
	case p.urgent:
	case changed: // counted from the last packet, so that a shorter interval is honoured at once (6.8.3)
		s.jitter()
		if p.next.Before(now) {
			p.at(now)
		}
	}
}

// jitter draws the time of the next periodic packet: 75 to 100 % of the interval after the last one, and at most 90 % when the neighbour
// takes one lost packet for the end (6.8.7). Who has to be woken sends it after 81 % or more; who is awake sooner, be it for another
// session, may send it then, so that all sessions of one interval are served together.
func (s *Session) jitter() {
	p := &s.pacing
	full := p.interval.Duration()
	least, middle, most := full*12/16, full*13/16, full
	if s.cfg.DetectMult == 1 {
		most = full * 9 / 10
	}
	between := func(from, to time.Duration) time.Time {
		return p.sentAt.Add(from + time.Duration(s.random.Int64N(int64(to-from)+1)))
	}
	p.soonest, p.next = between(least, middle), between(middle, most)
}

// detectionTime is how long the neighbour may be silent (6.8.4).
func (s *Session) detectionTime() time.Duration {
	return time.Duration(s.remote.detectMult) * max(s.timing.rx.used, s.remote.desiredMinTx).Duration()
}

// Status of a session, for people and metrics.
type Status struct {
	State               State
	Diagnostic          Diagnostic
	RemoteState         State
	RemoteDiagnostic    Diagnostic
	Discriminator       uint32
	RemoteDiscriminator uint32        // 0: the neighbour is not heard
	TransmitInterval    time.Duration // agreed, before jitter; 0: no periodic packets are sent
	DetectionTime       time.Duration // of this end; 0: the neighbour was never heard
	RemoteDetectionTime time.Duration // of the neighbour, if it has what this end announces
	// LastReceived is when the last authentic packet came; zero: none did.
	LastReceived time.Time
	// MaxLate is how late the latest of the periodic packets was sent.
	MaxLate time.Duration
}

// Status gives a copy of what is known.
func (s *Session) Status() Status {
	return Status{
		State: s.state, Diagnostic: s.diag, RemoteState: s.remote.state, RemoteDiagnostic: s.remote.diag,
		Discriminator: s.local, RemoteDiscriminator: s.remote.discr,
		TransmitInterval: s.pacing.interval.Duration(), DetectionTime: s.detectionTime(),
		RemoteDetectionTime: time.Duration(s.cfg.DetectMult) * max(s.timing.tx.used, s.remote.requiredMinRx).Duration(),
		LastReceived:        s.lastRx,
		MaxLate:             s.maxLate,
	}
}
