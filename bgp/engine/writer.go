package engine

import (
	"context"
	"time"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

const (
	// refreshEvery is how often all routes are sent again, at most, when the router asks for it.
	refreshEvery = time.Second
	// leastSendHold is the least time after which a router is given up that takes nothing any more (RFC 9687).
	leastSendHold = 8 * time.Minute
	// chunk is how much is written at a time.
	chunk = 64 << 10
)

// sendHold is the send hold time that RFC 9687 recommends.
func sendHold(hold time.Duration) time.Duration { return max(leastSendHold, 2*hold) }

// send writes messages. One goroutine does at a time: whoever keeps the session until it is established, then its writer.
func (s *session) send(m []byte) error {
	err := s.conn.SetWriteDeadline(time.Now().Add(s.p.r.sendHold(s.hold)))
	if err == nil {
		err = s.ctx.Err() // as in wait
	}
	if err != nil {
		return err
	}
	n, err := s.conn.Write(m)
	s.broken = 0 < n && n < len(m)
	return err
}

// keepalive is the time between keepalives.
func (s *session) keepalive() time.Duration {
	cfg := s.p.config()
	return s.keepaliveOf(&cfg)
}

func (s *session) keepaliveOf(cfg *bgp.Peer) time.Duration { return min(cfg.KeepaliveTime, s.hold/3) }

// write sends what the router is to be told, and keepalives, until the session ends.
func (s *session) write() error {
	e := &encoder{}
	if err := s.tell(e); err != nil {
		return err
	}
	if err := s.endOfRIB(); err != nil {
		return err
	}
	keepalive := time.NewTicker(s.keepalive())
	defer keepalive.Stop()
	quiet := time.NewTimer(0) // until the next refresh may be
	defer quiet.Stop()
	refresh := [2]chan struct{}{}
	for {
		asked := wire.Family(0)
		select {
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-s.retime:
			keepalive.Reset(s.keepalive())
		case <-keepalive.C:
			if err := s.send(wire.Keepalive()); err != nil {
				return s.failed(err)
			}
		case <-s.task.wake:
			if err := s.tell(e); err != nil {
				return err
			}
		case <-quiet.C:
			refresh = s.refresh
		case <-refresh[0]:
			asked = wire.IPv4
		case <-refresh[1]:
			asked = wire.IPv6
		}
		if asked != 0 {
			s.p.r.refresh(s, asked)
			refresh = [2]chan struct{}{}
			quiet.Reset(refreshEvery)
		}
	}
}

// tell sends what is different from what the router has been told. What changes meanwhile is for the next time.
func (s *session) tell(e *encoder) error {
	list, terms, again := s.p.r.take(s)
	e.use(terms)
	groups := s.told.difference(list, e, again)
	s.p.update(func(st *bgp.Session) {
		s.unsent = e.problem()
		st.Withheld = s.withheld()
	})
	return s.sendAll(groups)
}

// sendAll sends groups of routes, and notes that the router has been told what was written.
func (s *session) sendAll(groups []group) error {
	var b []byte
	var sent []written
	flush := func() error {
		if err := s.send(b); err != nil {
			return s.failed(err)
		}
		s.told.record(sent)
		s.p.updates.Add(uint64(len(sent)))
		b, sent = b[:0], sent[:0]
		return nil
	}
	for i := range groups {
		g := &groups[i]
		for prefixes := range g.messages() {
			if len(b)+wire.MaxLen > chunk {
				if err := flush(); err != nil {
					return err
				}
			}
			var err error
			if b, err = g.appendTo(b, prefixes); err != nil {
				return err
			}
			sent = append(sent, written{prefixes, g.set})
		}
	}
	if len(sent) == 0 {
		return nil
	}
	return flush()
}

// endOfRIB says that all routes were sent that there are (RFC 4724, 2). Who has not announced graceful restart need not know.
func (s *session) endOfRIB() error {
	if s.open.GracefulRestart == nil {
		return nil
	}
	for _, f := range []wire.Family{wire.IPv4, wire.IPv6} {
		if !s.agreed().has(f) {
			continue
		}
		g := group{carrier: carrier{family: f, mp: f == wire.IPv6}}
		m, err := g.appendTo(nil, nil)
		if err != nil {
			return err
		}
		if err := s.send(m); err != nil {
			return s.failed(err)
		}
		s.p.updates.Add(1)
	}
	return nil
}
