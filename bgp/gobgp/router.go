package gobgp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

var errClosed = errors.New("the BGP router is closed")

// Router is a bgp.Router.
type Router struct {
	log      logr.Logger
	routerID netip.Addr
	news     chan struct{}

	setting sync.Mutex // held by who changes the peers

	peersMu sync.RWMutex // guards peers
	peers   map[string]*peer

	mu     sync.Mutex // guards what follows; no peer's is held by who takes it
	rib    *rib
	engine *engine // nil: closed
}

var _ bgp.Router = (*Router)(nil)

// New makes a Router without peers or routes. Its router ID (RFC 4271, 1.1) is an IPv4 address that no other router has, whose peers
// are the same ones; mostly it is the node's own. Close must be called.
func New(ctx context.Context, routerID netip.Addr, log logr.Logger) (*Router, error) {
	if !routerID.Is4() || routerID.IsUnspecified() {
		return nil, fmt.Errorf("the router ID must be an IPv4 address, and %s is none", routerID)
	}
	e, err := newEngine(ctx, routerID, log)
	if err != nil {
		return nil, err
	}
	return &Router{log: log, routerID: routerID, news: make(chan struct{}, 1), peers: map[string]*peer{}, rib: newRIB(), engine: e}, nil
}

func (r *Router) changed() {
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// Changed is part of bgp.Router.
func (r *Router) Changed() <-chan struct{} { return r.news }

func (r *Router) peer(name string) *peer {
	r.peersMu.RLock()
	defer r.peersMu.RUnlock()
	return r.peers[name]
}

func (r *Router) all() []*peer {
	r.peersMu.RLock()
	defer r.peersMu.RUnlock()
	return slices.SortedFunc(maps.Values(r.peers), func(a, b *peer) int { return strings.Compare(a.name, b.name) })
}

// Sessions is part of bgp.Router.
func (r *Router) Sessions() []bgp.Session {
	peers := r.all()
	out := make([]bgp.Session, len(peers))
	for i, p := range peers {
		out[i] = p.snapshot()
	}
	return out
}

// Advertised is part of bgp.Router.
func (r *Router) Advertised(_ context.Context, name string) ([]bgp.Advertised, error) {
	p := r.peer(name)
	if p == nil {
		return nil, fmt.Errorf("there is no peer %s", name)
	}
	p.mu.Lock()
	s, up := p.session, p.status.State == bgp.Established
	p.mu.Unlock()
	if s == nil || !up {
		return nil, nil
	}
	return s.sent.list(), nil
}

// Drop is part of bgp.Router.
func (r *Router) Drop(_ context.Context, name, reason string) error {
	p := r.peer(name)
	if p == nil {
		return fmt.Errorf("there is no peer %s", name)
	}
	p.drop(&ending{text: reason, abort: true})
	return nil
}

// Close is part of bgp.Router. It may be called again.
func (r *Router) Close(ctx context.Context, restart bool) error {
	r.setting.Lock()
	defer r.setting.Unlock()
	why := &ending{notification: wire.Shutdown(wire.AdministrativeStop, "the speaker stops"), keep: restart}
	if restart {
		why.notification = wire.Shutdown(wire.AdministrativeReset, "the speaker restarts")
	}
	peers := r.all()
	for _, p := range peers {
		p.end(why)
	}
	for _, p := range peers {
		select {
		case <-p.done:
		case <-ctx.Done():
			return fmt.Errorf("end the session with peer %s: %w", p.name, ctx.Err())
		}
	}
	r.peersMu.Lock()
	clear(r.peers)
	r.peersMu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.engine != nil {
		r.engine.stop()
		r.engine = nil
	}
	return nil
}

// take makes the engine take up a session that is established with the router, and gives the connection to it.
func (r *Router) take(s *session) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.engine == nil {
		return nil, errClosed
	}
	p, o := s.p, s.open
	cfg := p.config()
	n := &neighbour{
		index: p.x.index, localASN: cfg.LocalASN, asn: o.ASN, fourOctet: o.FourOctetASN, ipv4: cfg.IPv4 && o.IPv4, ipv6: cfg.IPv6 && o.IPv6,
	}
	to, withheld := s.exportTo(&cfg)
	n.exportTo = to
	ctx := context.WithoutCancel(s.ctx) // begun is done: it is local
	if err := r.collectFrom(ctx, p.x); err != nil {
		return nil, err
	}
	engine, err := r.engine.open(ctx, n, p.x.used())
	if err != nil {
		return nil, err
	}
	p.x.open = true
	p.update(func(st *bgp.Session) {
		st.State, st.ASN, st.HoldTime, st.KeepaliveTime = bgp.Established, o.ASN, s.hold, s.keepaliveOf(&cfg)
		st.IPv4, st.IPv6, st.Withheld, st.LastError = n.ipv4, n.ipv6, withheld, ""
		st.Established++
	})
	return engine, nil
}

// release takes a session's neighbour out of the engine.
func (r *Router) release(s *session, engine net.Conn, forwarded <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := s.p.x
	x.open = false
	if err := errors.Join(s.drain(engine, forwarded), r.engine.close(x.index), engine.Close()); err != nil {
		r.log.Error(err, "Take a peer out of the BGP engine", "peer", x.peer)
	}
	<-forwarded
}

// drain waits until nothing is waiting in the engine to be sent to the session, which has ended.
func (s *session) drain(engine net.Conn, forwarded <-chan struct{}) error {
	asked := false
	for {
		if !s.marked {
			select {
			case <-s.marks:
				s.marked = true
			case <-forwarded:
				return errors.New("the engine has ended the session")
			case <-time.After(openWithin):
				return fmt.Errorf("the engine has not sent all within %s", openWithin)
			}
		}
		if asked {
			return nil
		}
		if err := askForMark(engine); err != nil {
			return err
		}
		asked, s.marked = true, false
	}
}

// resend has all routes sent again to a peer with an established session.
func (r *Router) resend(ctx context.Context, x *exports) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.engine.resend(context.WithoutCancel(ctx), x.index)
}

// reexport gives the engine a session's next hops and drain mark anew, and has it send what is different.
func (r *Router) reexport(ctx context.Context, p *peer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.mu.Lock()
	s, cfg := p.session, p.cfg
	p.mu.Unlock()
	if s == nil || !p.x.open {
		return nil // the session will begin with them
	}
	n := r.engine.policies[p.x.index].neighbour
	to, withheld := s.exportTo(&cfg)
	n.exportTo = to
	if err := r.engine.setPolicy(ctx, &n, p.x.used()); err != nil {
		return err
	}
	p.update(func(st *bgp.Session) { st.Withheld = withheld })
	select {
	case s.resend <- struct{}{}:
	default: // it will be done once for all
	}
	return nil
}

// exportTo is what the routes get on the session, and which families are not advertised on it, and why.
func (s *session) exportTo(cfg *bgp.Peer) (to exportTo, withheld string) {
	to = exportTo{nextHop4: s.local, nextHop6: s.local, drain: cfg.GracefulShutdown}
	var reasons []string
	for _, f := range []struct {
		name             string
		wanted, has, own bool // own: the session's transport is of the family
		own6             bool // an IPv6 next hop will do
		given            netip.Addr
		hop              *netip.Addr
		how              string
	}{
		{"IPv4", cfg.IPv4, s.open.IPv4, s.local.Is4(), s.open.ExtendedNextHop, cfg.NextHop4, &to.nextHop4, "the router has not agreed to IPv6 next hops (RFC 8950), and this node has no IPv4 address for one"},
		{"IPv6", cfg.IPv6, s.open.IPv6, s.local.Is6(), false, cfg.NextHop6, &to.nextHop6, "this node has no IPv6 address for a next hop, and the session runs over IPv4"},
	} {
		switch {
		case !f.wanted:
			*f.hop = netip.Addr{}
		case !f.has:
			*f.hop = netip.Addr{}
			reasons = append(reasons, f.name+" routes are not advertised: the router has not agreed to the family")
		case f.own:
		case f.given.IsValid():
			*f.hop = f.given
		case f.own6:
		default:
			*f.hop = netip.Addr{}
			reasons = append(reasons, f.name+" routes are not advertised: "+f.how)
		}
	}
	return to, strings.Join(reasons, "; ")
}
