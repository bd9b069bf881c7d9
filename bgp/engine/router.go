package engine

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
	md5      bool // the kernel has TCP MD5 signatures
	news     chan struct{}
	// sendHold is how long a router may take nothing with this hold time until it is given up.
	sendHold func(hold time.Duration) time.Duration
	// setTTL changes how far away the router at the other end of a connection may be.
	setTTL func(conn *net.TCPConn, to netip.Addr, cfg *bgp.Peer) error

	setting sync.Mutex // held by who changes the peers

	peersMu sync.RWMutex // guards peers
	peers   map[string]*peer

	mu     sync.Mutex // guards what follows, and the sessions' tasks; no peer's lock is held by who takes it
	closed bool
	// routes to all peers, known or not, each in the order of the peers' names.
	routes      map[netip.Prefix][]bgp.Export
	established map[string]*session // by peer
}

var _ bgp.Router = (*Router)(nil)

// New makes a Router without peers or routes. Its router ID (RFC 4271, 1.1) is an IPv4 address that no other router has, whose peers
// are the same ones; mostly it is the node's own. Close must be called.
func New(routerID netip.Addr, log logr.Logger) (*Router, error) {
	if !routerID.Is4() || routerID.IsUnspecified() {
		return nil, fmt.Errorf("the router ID must be an IPv4 address, and %s is none", routerID)
	}
	r := &Router{
		log: log, routerID: routerID, md5: hasMD5(), news: make(chan struct{}, 1), sendHold: sendHold, setTTL: changeTTL,
		peers: map[string]*peer{}, routes: map[netip.Prefix][]bgp.Export{}, established: map[string]*session{},
	}
	if !r.md5 {
		log.Info("The kernel has no TCP MD5 signatures (RFC 2385): BGP sessions with a password cannot be had on this node")
	}
	return r, nil
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
	return s.told.list(), nil
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
func (r *Router) Close(ctx context.Context, reason string, restart bool) error {
	r.setting.Lock()
	defer r.setting.Unlock()
	why := &ending{notification: wire.Shutdown(wire.AdministrativeStop, reason), keep: restart}
	if restart {
		why.notification = wire.Shutdown(wire.AdministrativeReset, reason)
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
	r.closed, r.routes = true, nil
	return nil
}

// admit lets a session that is established have the routes: all there are, and from now on those that change.
func (r *Router) admit(s *session) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errClosed
	}
	cfg, agreed := s.p.config(), s.agreed()
	t, withheld := s.termsFor(&cfg)
	s.task.terms, s.task.all = t, agreed
	r.established[s.p.name] = s
	s.p.update(func(st *bgp.Session) {
		s.families = withheld
		st.State, st.ASN, st.HoldTime, st.KeepaliveTime = bgp.Established, s.open.ASN, s.hold, s.keepaliveOf(&cfg)
		st.IPv4, st.IPv6, st.Withheld, st.LastError = agreed.has(wire.IPv4), agreed.has(wire.IPv6), withheld, ""
		st.Established++
	})
	return nil
}

// dismiss ends that.
func (r *Router) dismiss(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.established, s.p.name)
}

// adapt makes a peer's next hops and drain mark count on its session, if there is one: what is different is sent.
func (r *Router) adapt(p *peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.established[p.name]
	if s == nil {
		return // the session will begin with them
	}
	cfg := p.config()
	t, withheld := s.termsFor(&cfg)
	if s.task.terms != t {
		s.task.terms, s.task.all = t, familySet(true, true)
		s.task.due()
	}
	p.update(func(st *bgp.Session) {
		s.families = withheld
		st.Withheld = s.withheld()
	})
}

// refresh has all routes of a family sent to a router again, which has asked for them.
func (r *Router) refresh(s *session, f wire.Family) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.task.again |= familySet(f == wire.IPv4, f == wire.IPv6) & s.agreed()
	s.task.due()
}
