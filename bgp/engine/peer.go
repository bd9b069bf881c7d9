package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/linklocal"
	"fairlead.io/fairlead/bgp/wire"
)

const (
	// firstRetry is how long the first attempt to connect after a failure waits; each further one waits twice as long, up to the
	// connect time.
	firstRetry = 250 * time.Millisecond
	// stable is how long a session must have lasted for its loss to be a first failure.
	stable = 10 * time.Second
	// silence is how long a peer may not answer at all until that is an error.
	silence = 30 * time.Second
)

// peer keeps the session with a peer.
type peer struct {
	r    *Router
	name string
	log  logr.Logger

	updates atomic.Uint64 // UPDATE messages sent

	mu      sync.Mutex // guards what follows
	cfg     bgp.Peer
	status  bgp.Session
	session *session // with a connection
	// silent fires when the peer has not answered for too long; nil: it has, or nobody asks.
	silent *time.Timer

	cancel context.CancelCauseFunc
	done   chan struct{}
}

// ending is why a session is to be ended, from this side.
type ending struct {
	text         string // what is to be remembered of it; empty: nothing
	notification *wire.Notification
	keep         bool // where graceful restart was agreed on, the peer is told nothing, and goes on forwarding
	abort        bool // nobody is told anything, and nothing unsent is sent
}

func (e *ending) Error() string { return e.text }

func newPeer(r *Router, cfg bgp.Peer) *peer {
	return &peer{
		r: r, name: cfg.Name, cfg: cfg, log: r.log.WithValues("peer", cfg.Name),
		status: bgp.Session{Peer: cfg.Name, Since: time.Now()},
	}
}

// start begins to reach the peer.
func (p *peer) start() {
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan struct{})
	p.mu.Lock()
	p.cancel, p.done = cancel, done
	p.status.ASN, p.status.Remote = p.cfg.ASN, p.cfg.Address
	ifname := p.cfg.Interface
	p.mu.Unlock()
	go func() {
		defer close(done)
		p.run(ctx, ifname)
	}()
}

// end ends the session, and the attempts to have one.
func (p *peer) end(why *ending) { p.cancel(why) }

// config is the peer as it is now.
func (p *peer) config() bgp.Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg
}

// run tries to have a session until the context ends. The interface is an unnumbered peer's: with another one it is another run.
func (p *peer) run(ctx context.Context, ifname string) {
	defer p.answered()
	defer p.update(func(s *bgp.Session) { s.State = bgp.Idle })
	var routers *linklocal.Finder
	if ifname != "" {
		routers = linklocal.New(ifname, p.log)
		defer routers.Close()
	}
	for failures := 0; ; {
		began := time.Now()
		lasted, err := p.attempt(ctx, routers)
		if ctx.Err() != nil {
			return
		}
		if lasted >= stable {
			failures = 0
		}
		wait := min(p.config().ConnectTime, firstRetry<<min(failures, 16))
		failures++
		// Not in step with others (RFC 4271, 10).
		wait = time.Duration(float64(wait) * (0.75 + rand.Float64()/4)) //nolint:gosec // no secret
		var timeout *unansweredError
		if errors.As(err, &timeout) {
			wait -= time.Since(began)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(wait, firstRetry/2)):
		}
	}
}

// unansweredError is an attempt to connect that nobody has answered.
type unansweredError struct{ error }

// attempt tries to connect, keeps the session if there is one, and says for how long it was established. It goes by the peer as it is
// when it begins: what changes before there is a session ends it, and what changes in one counts from the next.
func (p *peer) attempt(ctx context.Context, routers *linklocal.Finder) (time.Duration, error) {
	cfg := p.config()
	to := cfg.Address
	if routers != nil {
		p.update(func(s *bgp.Session) { s.State = bgp.Idle })
		var err error
		if to, err = p.find(ctx, cfg.Interface, routers); err != nil {
			return 0, err
		}
	}
	p.connecting(&cfg, to)
	dialling, cancel := context.WithTimeout(ctx, max(cfg.ConnectTime, time.Second))
	conn, err := dial(dialling, to, &cfg)
	timedOut := dialling.Err() != nil
	cancel()
	if err != nil {
		if routers != nil {
			routers.Blame(to)
		}
		if timedOut || isTimeout(err) {
			return 0, &unansweredError{err}
		}
		p.answered()
		text := connectError(err, to, &cfg)
		p.lost(text)
		return 0, errors.New(text)
	}
	p.answered()
	lasted, err := newSession(p, &cfg, conn, to).run(ctx)
	if ctx.Err() == nil {
		p.lost(err.Error())
	}
	return lasted, err
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// find waits for a router on the interface. What keeps it from being found is told at once; that nobody was heard may be because the
// search has just begun.
func (p *peer) find(ctx context.Context, ifname string, routers *linklocal.Finder) (netip.Addr, error) {
	patience := time.NewTimer(silence)
	defer patience.Stop()
	told := false
	for {
		changed := routers.Changed()
		to, err := routers.Router()
		if err == nil {
			return to, nil
		}
		if told = told || !errors.Is(err, linklocal.ErrNotHeard); told {
			p.lost(fmt.Sprintf("no router found on interface %s: %v", ifname, err))
		}
		select {
		case <-ctx.Done():
			return netip.Addr{}, ctx.Err()
		case <-changed:
		case <-patience.C:
			told = true
		}
	}
}

// connecting says that the peer is being sought.
func (p *peer) connecting(cfg *bgp.Peer, to netip.Addr) {
	p.update(func(s *bgp.Session) { s.State, s.Remote, s.Local = bgp.Active, to, cfg.Source })
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent == nil {
		text := silenceError(to, cfg)
		p.silent = time.AfterFunc(silence, func() { p.lost(text) })
	}
}

// answered notes that somebody has answered.
func (p *peer) answered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent != nil {
		p.silent.Stop()
		p.silent = nil
	}
}

// lost notes why there is no session.
func (p *peer) lost(why string) {
	if why == "" {
		return
	}
	p.mu.Lock()
	news := p.status.LastError != why
	p.mu.Unlock()
	if news {
		p.log.Info("There is no BGP session", "reason", why)
	}
	p.update(func(s *bgp.Session) { s.LastError = why })
}

// update changes the status, and tells who wants to know when something has changed that lasts.
func (p *peer) update(f func(*bgp.Session)) {
	p.mu.Lock()
	old := p.status
	f(&p.status)
	now := &p.status
	up, was := now.State == bgp.Established, old.State == bgp.Established
	if up != was {
		now.Since = time.Now()
	}
	if was && !up {
		now.Withheld, now.Local, now.HoldTime, now.KeepaliveTime, now.IPv4, now.IPv6, now.ASN = "", netip.Addr{}, 0, 0, false, false, p.cfg.ASN
	}
	changed := up != was || now.LastError != old.LastError || now.Remote != old.Remote || now.Withheld != old.Withheld
	p.mu.Unlock()
	if changed {
		p.r.changed()
	}
}

// snapshot is the session's state now.
func (p *peer) snapshot() bgp.Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.status
	s.Updates = p.updates.Load()
	if s.State == bgp.Established {
		s.Routes = p.session.told.len()
	}
	return s
}

// drop ends the session that there is, and begins another one.
func (p *peer) drop(why *ending) {
	p.mu.Lock()
	s := p.session
	p.mu.Unlock()
	if s == nil {
		return
	}
	s.cancel(why)
	<-s.done
}
