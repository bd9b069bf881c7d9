package engine

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

const (
	// openWait is how long the router may take to answer an OPEN (RFC 4271, 8.2.2 suggests 4 minutes; who has accepted the connection
	// and is alive answers at once).
	openWait = time.Minute
	// grace for what is under way when the hold time is over: a node may have been too busy to read it.
	grace = 100 * time.Millisecond
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
	p      *peer
	cfg    *bgp.Peer // as it was when the session began
	conn   *net.TCPConn
	local  netip.Addr // without a zone
	remote netip.Addr
	reach  reach // of conn; who sets the peers alone uses it

	in     *bufio.Reader
	buffer wire.Buffer
	open   *wire.Open // the router's
	hold   time.Duration
	up     bool // it was established

	ctx    context.Context //nolint:containedctx // the session's own, by whose end it is told to end
	cancel context.CancelCauseFunc
	done   chan struct{}

	refresh [2]chan struct{} // the router asks for IPv4, IPv6
	retime  chan struct{}    // the keepalive time has changed

	families, unsent string // why routes are withheld; the peer's lock guards both

	task   task      // the writer's; the Router's lock guards it
	told   adjRIBOut // by the writer
	broken bool      // a message may have been sent in part
}

func newSession(p *peer, cfg *bgp.Peer, conn *net.TCPConn, to netip.Addr) *session {
	s := &session{
		p: p, cfg: cfg, conn: conn, remote: to, local: localAddr(conn), reach: reachOf(cfg), in: bufio.NewReaderSize(conn, bufferLen),
		done: make(chan struct{}), retime: make(chan struct{}, 1), task: newTask(), told: adjRIBOut{routes: map[netip.Prefix]*attributeSet{}},
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

// withheld says why routes are not advertised. The caller holds the peer's lock.
func (s *session) withheld() string {
	return strings.Join(slices.DeleteFunc([]string{s.families, s.unsent}, func(why string) bool { return why == "" }), "; ")
}

// graceful reports whether the router goes on forwarding when the session ends without a NOTIFICATION (RFC 4724).
func (s *session) graceful() bool {
	return s.cfg.RestartTime > 0 && s.open != nil && s.open.GracefulRestart != nil
}

// established tells the router our routes until the session ends. The peer's context has ended when the peer is to end too.
func (s *session) established(peer context.Context) error {
	if err := s.p.r.admit(s); err != nil {
		return err
	}
	s.up = true
	s.p.log.Info("The BGP session is established", "address", s.remote, "asn", s.open.ASN)
	var wg sync.WaitGroup
	wg.Go(func() { s.cancel(s.receive()) })
	wg.Go(func() { s.cancel(s.write()) })
	wg.Wait() // one ends by itself, and makes the others end
	s.p.r.dismiss(s)
	why := context.Cause(s.ctx)
	if peer.Err() == nil {
		s.p.log.Info("There is no BGP session", "reason", why.Error())
	}
	s.p.update(func(st *bgp.Session) {
		if st.State = bgp.Idle; peer.Err() == nil {
			st.LastError = why.Error() // whoever sees that the session is lost sees why
		}
	})
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
		if err != nil {
			return err
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
	if last != nil && !s.broken && s.conn.SetWriteDeadline(time.Now().Add(lastWords)) == nil {
		_, _ = s.conn.Write(last.Message()) // a session that has ended needs no more than an attempt
	}
	_ = s.conn.Close() // what was to be sent was sent, or cannot be
}
