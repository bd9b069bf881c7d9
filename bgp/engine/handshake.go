package engine

import (
	"errors"
	"os"
	"time"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

// refusal is an error of the router's that it is told of.
type refusal struct {
	text         string
	notification *wire.Notification
}

func (r *refusal) Error() string { return r.text }

// handshake exchanges OPEN and KEEPALIVE.
func (s *session) handshake() error {
	p := s.p
	p.update(func(st *bgp.Session) { st.State, st.Local = bgp.OpenSent, s.local })
	if err := s.send(s.ours().Message()); err != nil {
		return s.failed(err)
	}
	m, err := s.next(openWait)
	if err != nil {
		return err
	}
	switch m.Type() {
	case wire.TypeOpen:
	case wire.TypeNotification:
		return s.notified(m, "refuses the session")
	default:
		return s.unexpected(m, 1)
	}
	if s.open, err = wire.ParseOpen(m.Body()); err != nil {
		return s.failed(err)
	}
	if r := s.judge(); r != nil {
		return r
	}
	s.hold = min(s.cfg.HoldTime, s.open.HoldTime)
	p.update(func(st *bgp.Session) { st.State = bgp.OpenConfirm })
	if err := s.send(wire.Keepalive()); err != nil {
		return s.failed(err)
	}
	if m, err = s.next(s.hold); err != nil {
		return err
	}
	switch m.Type() {
	case wire.TypeKeepalive:
		return nil
	case wire.TypeNotification:
		return s.notified(m, "refuses the session")
	default:
		return s.unexpected(m, 2)
	}
}

// ours is our OPEN.
func (s *session) ours() *wire.Open {
	o := &wire.Open{
		ASN: s.cfg.LocalASN, HoldTime: s.cfg.HoldTime, ID: s.p.r.routerID, IPv4: s.cfg.IPv4, IPv6: s.cfg.IPv6, FourOctetASN: true, RouteRefresh: true,
		ExtendedNextHop: s.cfg.IPv4 && s.local.Is6(),
	}
	if s.cfg.RestartTime > 0 {
		// What forwards is not this program, so that forwarding goes on whenever the session is lost. If this is a start or a restart
		// cannot be known; after a start it does no harm to say that nobody need wait for our routes.
		s.p.mu.Lock()
		first := s.p.status.Established == 0
		s.p.mu.Unlock()
		o.GracefulRestart = &wire.Restart{Restarting: first, Time: s.cfg.RestartTime}
		for f, wanted := range map[wire.Family]bool{wire.IPv4: s.cfg.IPv4, wire.IPv6: s.cfg.IPv6} {
			if wanted {
				o.GracefulRestart.Preserved = append(o.GracefulRestart.Preserved, f)
			}
		}
	}
	return o
}

// wait lets reads go on for a time. It fails when the session is to end.
func (s *session) wait(within time.Duration) error {
	if err := s.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	return s.ctx.Err() // checked after the deadline was set, so that the one that ends the session is not overwritten
}

// next is the message that the router sends next. It must begin to come within a time; after that, in any state, the router is told that
// its hold time is over (RFC 4271, 8.2.2).
func (s *session) next(within time.Duration) (wire.Message, error) {
	m, err := s.read(within)
	switch {
	case err == nil:
		return m, nil
	case errors.Is(err, os.ErrDeadlineExceeded) && s.ctx.Err() == nil:
		return nil, &refusal{s.silence(), &wire.Notification{Code: wire.HoldTimerExpired}}
	}
	return nil, s.failed(err)
}

func (s *session) read(within time.Duration) (wire.Message, error) {
	if err := s.wait(within); err != nil {
		return nil, err
	}
	if _, err := s.in.Peek(wire.HeaderLen); errors.Is(err, os.ErrDeadlineExceeded) {
		if err := s.wait(grace); err != nil {
			return nil, err
		}
		if _, err := s.in.Peek(wire.HeaderLen); err != nil {
			return nil, err
		}
	}
	return wire.Read(s.in, &s.buffer)
}
