package gobgp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/linklocal"
	"fairlead.io/fairlead/bgp/wire"
)

const (
	// openWait is how long the router may take to answer an OPEN (RFC 4271, 8.2.2 suggests 4 minutes; who has accepted the connection
	// and is alive answers at once).
	openWait = time.Minute
	// sendHold is the least time after which a router is given up that takes nothing any more (RFC 9687).
	sendHold = 8 * time.Minute
	// grace for what is under way when the hold time is over: a node may have been too busy to read it.
	grace = 100 * time.Millisecond
	// refreshEvery is how often all routes are sent again, at most, when the router asks for it.
	refreshEvery = time.Second
	// lastWords is how long a NOTIFICATION may take.
	lastWords = time.Second
	bufferLen = 64 << 10
	// heed is how many messages of a router are read in a second; more wait in the network. It bounds what a storm costs; a router's
	// million routes are read in some 10 s.
	heed      = 20000
	heedBurst = heed
)

// session is one connection with a router, from OPEN to the end.
type session struct {
	p       *peer
	cfg     *bgp.Peer // as it was when the session began
	conn    *net.TCPConn
	local   netip.Addr // without a zone
	remote  netip.Addr
	routers *linklocal.Finder // of an unnumbered peer

	in     *bufio.Reader
	buffer wire.Buffer
	open   *wire.Open // the router's
	hold   time.Duration

	ctx    context.Context //nolint:containedctx // the session's own, by whose end it is told to end
	cancel context.CancelCauseFunc
	done   chan struct{}

	refresh [2]chan struct{} // the router asks for IPv4, IPv6
	retime  chan struct{}    // the keepalive time has changed

	sent sent
	// marks that the engine has sent: one follows the first routes, and each resend. Two that are waiting to be sent would be made one,
	// so that a resend waits until none is to come. marked: that is so; it is the ticking goroutine's.
	marks  chan struct{}
	marked bool
	resend chan struct{} // all routes are to be sent again, as the policy is now

	write  sync.Mutex // guards what follows
	out    *bufio.Writer
	broken bool // a message may have been sent in part
}

func newSession(p *peer, cfg *bgp.Peer, conn *net.TCPConn, to netip.Addr) *session {
	s := &session{
		p: p, cfg: cfg, conn: conn, remote: to, local: localAddr(conn), in: bufio.NewReaderSize(conn, bufferLen), out: bufio.NewWriterSize(conn, bufferLen),
		done: make(chan struct{}), retime: make(chan struct{}, 1), sent: newSent(), marks: make(chan struct{}, 1), resend: make(chan struct{}, 1),
	}
	for i := range s.refresh {
		s.refresh[i] = make(chan struct{}, 1)
	}
	return s
}

func localAddr(conn *net.TCPConn) netip.Addr {
	return conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().WithZone("") //nolint:errcheck // a TCP connection has no other
}

// run keeps the session until it ends, and says for how long it was established and why it has ended.
func (s *session) run(ctx context.Context) (lasted time.Duration, err error) {
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	defer s.cancel(nil)
	p := s.p
	p.mu.Lock()
	p.session = s
	p.mu.Unlock()
	defer close(s.done)
	defer func() {
		p.mu.Lock()
		p.session = nil
		p.mu.Unlock()
	}()

	// The end of the context unblocks whoever reads or writes.
	unblocked := make(chan struct{})
	stop := context.AfterFunc(s.ctx, func() {
		defer close(unblocked)
		_ = s.conn.SetDeadline(time.Unix(1, 0)) // an error means that it is closed
	})
	err = s.handshake()
	if err == nil {
		began := time.Now()
		err = s.established(ctx)
		lasted = time.Since(began)
	}
	if s.ctx.Err() != nil {
		err = context.Cause(s.ctx)
	}
	if !stop() {
		<-unblocked
	}
	s.finish(err)
	return lasted, err
}

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
	if err := s.send(s.ours().Message(), true); err != nil {
		return s.failed(err)
	}
	m, err := s.next(openWait)
	if err != nil {
		return s.failed(err)
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
	if err := s.send(wire.Keepalive(), true); err != nil {
		return s.failed(err)
	}
	if m, err = s.next(s.hold); err != nil {
		return s.failed(err)
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

// graceful reports whether the router goes on forwarding when the session ends without a NOTIFICATION (RFC 4724).
func (s *session) graceful() bool {
	return s.cfg.RestartTime > 0 && s.open != nil && s.open.GracefulRestart != nil
}

// wait lets reads go on for a time. It fails when the session is to end.
func (s *session) wait(within time.Duration) error {
	if err := s.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	return s.ctx.Err() // checked after the deadline was set, so that the one that ends the session is not overwritten
}

// next reads a message, which must begin to come within a time.
func (s *session) next(within time.Duration) (wire.Message, error) {
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

// send writes messages.
func (s *session) send(m []byte, flush bool) error {
	s.write.Lock()
	defer s.write.Unlock()
	err := s.conn.SetWriteDeadline(time.Now().Add(max(sendHold, 2*s.hold)))
	if err == nil {
		err = s.ctx.Err() // as in wait
	}
	if err != nil {
		return err
	}
	if _, err = s.out.Write(m); err == nil && flush {
		err = s.out.Flush()
	}
	s.broken = s.broken || err != nil
	return err
}

// established gives the router what the engine has for it, until the session ends. The peer's context has ended when the peer is to end too.
func (s *session) established(peer context.Context) error {
	engine, err := s.p.r.take(s)
	if err != nil {
		return err
	}
	s.p.log.Info("The BGP session is established", "address", s.remote, "asn", s.open.ASN)
	forwarded := make(chan struct{})
	go func() {
		defer close(forwarded)
		s.cancel(s.forward(engine))
	}()
	var wg sync.WaitGroup
	wg.Go(func() { s.cancel(s.receive()) })
	wg.Go(func() { s.cancel(s.tick(engine)) })
	if s.routers != nil {
		wg.Go(s.follow)
	}
	wg.Wait() // one ends by itself, and makes the others end
	why := context.Cause(s.ctx)
	if peer.Err() == nil {
		s.p.log.Info("There is no BGP session", "reason", why.Error())
	}
	s.p.update(func(st *bgp.Session) {
		if st.State = bgp.Idle; peer.Err() == nil {
			st.LastError = why.Error() // whoever sees that the session is lost sees why
		}
	})
	s.p.r.release(s, engine, forwarded)
	return why
}

// receive reads what the router sends, and takes of it that it is alive.
func (s *session) receive() error {
	limit := rate.NewLimiter(heed, heedBurst)
	for {
		if err := limit.Wait(s.ctx); err != nil {
			return err
		}
		m, err := s.next(s.hold)
		if errors.Is(err, os.ErrDeadlineExceeded) && s.ctx.Err() == nil {
			return &refusal{
				fmt.Sprintf("nothing was heard from %s for %s, the hold time", s.remote, seconds(s.hold)), &wire.Notification{Code: wire.HoldTimerExpired},
			}
		}
		if err != nil {
			return s.failed(err)
		}
		switch m.Type() {
		case wire.TypeKeepalive, wire.TypeUpdate:
		case wire.TypeRouteRefresh:
			if f, ok := wire.ParseRouteRefresh(m.Body()); ok {
				select {
				case s.refresh[f-1] <- struct{}{}:
				default: // it is to be done already
				}
			}
		case wire.TypeNotification:
			return s.notified(m, "has ended the session")
		default:
			return s.unexpected(m, 3)
		}
	}
}

// forward passes on what the engine sends. When the session has ended it goes on reading until the engine ends too.
func (s *session) forward(engine net.Conn) error {
	in, buffer := bufio.NewReaderSize(engine, bufferLen), new(wire.Buffer)
	for {
		m, err := wire.Read(in, buffer)
		if err != nil {
			return fmt.Errorf("the BGP engine has ended the session with %s: %w", s.remote, err)
		}
		if m.Type() == wire.TypeNotification {
			return fmt.Errorf("the BGP engine has ended the session with %s: %w", s.remote, wire.ParseNotification(m.Body()))
		}
		if m.Type() != wire.TypeUpdate {
			continue
		}
		end, err := s.sent.record(m, s.open.FourOctetASN)
		switch {
		case err != nil:
			s.cancel(fmt.Errorf("the BGP engine has an UPDATE for %s that cannot be read: %w", s.remote, err))
		case end == mark:
			m = nil
			s.marks <- struct{}{} // there is never more than one to come
		case end != 0 && s.open.GracefulRestart == nil:
			m = nil // who has not announced it need not know End-of-RIB
		default:
			s.p.updates.Add(1)
		}
		if s.ctx.Err() != nil {
			continue
		}
		if err := s.send(m, in.Buffered() == 0); err != nil {
			s.cancel(s.failed(err))
		}
	}
}

// keepalive is the time between keepalives.
func (s *session) keepalive() time.Duration {
	cfg := s.p.config()
	return s.keepaliveOf(&cfg)
}

func (s *session) keepaliveOf(cfg *bgp.Peer) time.Duration { return min(cfg.KeepaliveTime, s.hold/3) }

// tick sends keepalives, and has all routes sent again when the router or a change wants it.
func (s *session) tick(engine net.Conn) error {
	keepalive := time.NewTicker(s.keepalive())
	defer keepalive.Stop()
	quiet := time.NewTimer(0) // until the next refresh may be
	defer quiet.Stop()
	refresh := [2]chan struct{}{}
	var resend chan struct{} // while no mark is to come
	for {
		family := wire.Family(0)
		select {
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-s.retime:
			keepalive.Reset(s.keepalive())
		case <-keepalive.C:
			if err := s.send(wire.Keepalive(), true); err != nil {
				return s.failed(err)
			}
		case <-s.marks:
			s.marked, resend = true, s.resend
		case <-resend:
			if err := s.p.r.resend(s.ctx, s.p.x); err != nil {
				return err
			}
			s.marked, resend = false, nil
		case <-quiet.C:
			refresh = s.refresh
		case <-refresh[0]:
			family = wire.IPv4
		case <-refresh[1]:
			family = wire.IPv6
		}
		if family != 0 {
			if _, err := engine.Write(wire.RouteRefresh(family)); err != nil {
				return fmt.Errorf("ask the BGP engine for all routes to %s: %w", s.remote, err)
			}
			refresh = [2]chan struct{}{}
			quiet.Reset(refreshEvery)
		}
	}
}

// follow ends the session of an unnumbered peer when another router has taken its place.
func (s *session) follow() {
	for {
		changed := s.routers.Changed()
		if now, err := s.routers.Router(); err == nil && now != s.remote {
			s.cancel(&ending{text: fmt.Sprintf("the router on interface %s is %s now, and no more %s", s.cfg.Interface, now, s.remote), abort: true})
			return
		}
		select {
		case <-s.ctx.Done():
			return
		case <-changed:
		}
	}
}

// finish tells the router why the session has ended, and closes the connection.
func (s *session) finish(why error) {
	var last *wire.Notification
	var r *refusal
	var e *ending
	switch {
	case errors.As(why, &e):
		if e.abort {
			if err := s.conn.SetLinger(0); err != nil {
				s.p.log.Error(err, "Give up what was not sent to the peer")
			}
		} else if !e.keep || !s.graceful() {
			last = e.notification
		}
	case errors.As(why, &r):
		last = r.notification
	}
	if last != nil {
		s.write.Lock()
		defer s.write.Unlock()
		if !s.broken && s.conn.SetWriteDeadline(time.Now().Add(lastWords)) == nil {
			// A session that has ended needs no more than an attempt.
			if _, err := s.out.Write(last.Message()); err == nil {
				_ = s.out.Flush()
			}
		}
	}
	_ = s.conn.Close() // what was to be sent was sent, or cannot be
}
