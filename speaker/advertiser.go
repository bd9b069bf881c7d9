package speaker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/internal/bgproutes"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/view"
)

// OpenRouter makes a Router with a BGP identifier; see engine.New.
type OpenRouter func(ctx context.Context, routerID netip.Addr) (bgp.Router, error)

// advertiser keeps what is known of the cluster, has this node's routes planned, and tells the Router. Reconcilers feed it; it needs
// no API server to go on from what it was fed last. The Router is opened with the first peer: who uses layer 2 alone has none.
//
// A change of a Service plans that Service alone. Routes are told before peers, so that a session that comes up finds them there.
type advertiser struct {
	self    string
	open    OpenRouter
	watch   *watcher
	tell    func(peer, reason, message string) // an event on a BGPPeer
	changed func()                             // something that the Speaker object reports may have changed
	log     logr.Logger
	kick    chan struct{}

	mu       sync.Mutex // guards what follows
	cluster  bgproutes.Cluster
	services map[types.NamespacedName]*view.Service
	dirty    map[types.NamespacedName]struct{}
	prepare  bool // the cluster has changed: all Services may be affected
	together bool // the other speakers were looked for
	started  bool
	leaving  bool // nothing is told to the Router any more
	table    bgp.Table[types.NamespacedName]
	router   bgp.Router        // nil: there were no peers yet
	refused  map[string]string // peers that contradict an older one, and why
	failed   map[string]string // peers that the Router cannot have as they are, and why
	sessions []bgp.Session     // as they were last

	act sync.Mutex // held by the one who tells the Router, and guards what follows
	// What the Router was told.
	routerID netip.Addr
	peers    []bgp.Peer
	later    time.Time                 // when peers that the Router cannot have are told to it again
	owed     map[netip.Prefix]struct{} // of which the Router does not know yet what has become
	profiles map[string]*config.BFDProfile
}

func newAdvertiser(self string, ignoreExclude bool, open OpenRouter, tell func(peer, reason, message string), changed func(), log logr.Logger) *advertiser {
	return &advertiser{
		self: self, open: open, tell: tell, changed: changed, log: log, kick: make(chan struct{}, 1),
		cluster:  bgproutes.Cluster{Nodes: map[string]view.Node{}, BGP: config.CompileBGP(&config.BGPObjects{}), IgnoreExcludeLabel: ignoreExclude},
		services: map[types.NamespacedName]*view.Service{}, dirty: map[types.NamespacedName]struct{}{}, prepare: true,
		owed: map[netip.Prefix]struct{}{},
	}
}

func (a *advertiser) wake() { notify(a.kick) }

// setService tells of a Service that has addresses of ours; nil: it has none anymore.
func (a *advertiser) setService(name types.NamespacedName, s *view.Service) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch old := a.services[name]; {
	case old == nil && s == nil, old != nil && s != nil && old.Equal(s):
		return
	case s == nil:
		delete(a.services, name)
	default:
		a.services[name] = s
	}
	a.dirty[name] = struct{}{}
	a.wake()
}

// setNode tells of a Node; nil: it is gone.
func (a *advertiser) setNode(name string, n *view.Node) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old, ok := a.cluster.Nodes[name]
	switch {
	case n == nil && !ok, n != nil && ok && old.Equal(*n):
		return
	case n == nil:
		delete(a.cluster.Nodes, name)
	default:
		a.cluster.Nodes[name] = *n
	}
	a.prepare = true
	a.wake()
}

// setPools tells of the pools.
func (a *advertiser) setPools(pools *config.Pools) {
	a.change(func(c *bgproutes.Cluster) { c.Pools = pools })
}

// setBGP tells of the objects that configure BGP.
func (a *advertiser) setBGP(b *config.BGP) {
	a.change(func(c *bgproutes.Cluster) { c.BGP = b })
}

// setMembers tells who is alive, this node too; together says that the others were looked for.
func (a *advertiser) setMembers(members []bgproutes.Member, together bool) {
	a.mu.Lock()
	same := slices.Equal(a.cluster.Members, members) && a.together == (a.together || together)
	a.together = a.together || together
	a.mu.Unlock()
	if !same {
		a.change(func(c *bgproutes.Cluster) { c.Members = members })
	}
}

func (a *advertiser) change(f func(*bgproutes.Cluster)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(&a.cluster)
	a.prepare = true
	a.wake()
}

// run plans and tells until the context ends.
func (a *advertiser) run(ctx context.Context) {
	retry := time.NewTimer(0)
	defer retry.Stop()
	pause := time.Second
	for {
		next, err := a.turn(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			a.log.Error(err, "not all is advertised as it should be; trying again", "after", pause.String())
			retry.Reset(pause)
			pause = min(2*pause, 30*time.Second)
		case next > 0:
			retry.Reset(next)
			fallthrough
		default:
			pause = time.Second
		}
		a.mu.Lock()
		var changes <-chan struct{}
		if a.router != nil {
			changes = a.router.Changed()
		}
		a.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-a.kick:
		case <-changes:
		case <-retry.C:
		}
	}
}

// plan is what the Router is to be told.
type plan struct {
	routes   []bgp.Route // that have changed
	peers    []bgp.Peer
	routerID netip.Addr
	anyID    bool // the router ID is no better than the one in use
	profiles map[string]*config.BFDProfile
}

// decide plans what a change since the last time can affect; false: it is too early, or too late. a.act is held.
func (a *advertiser) decide() (plan, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.leaving {
		return plan{}, false
	}
	if !a.started {
		// With a data plane that is not ready it depends on the others what is advertised, and nothing is known of them yet.
		i := slices.IndexFunc(a.cluster.Members, func(m bgproutes.Member) bool { return m.Name == a.self })
		if i < 0 || !a.together && !a.cluster.Members[i].DataplaneReady {
			return plan{}, false
		}
		a.started = true
	}
	var changed []bgp.Route
	if a.prepare {
		a.cluster.Prepare()
		a.prepare = false
		changed = a.table.Replace(func(yield func(types.NamespacedName, []bgp.Want) bool) {
			for name, s := range a.services {
				if !yield(name, a.cluster.Wants(a.self, s)) {
					return
				}
			}
		})
	} else {
		for name := range a.dirty {
			var wants []bgp.Want
			if s := a.services[name]; s != nil {
				wants = a.cluster.Wants(a.self, s)
			}
			changed = append(changed, a.table.Set(name, wants)...)
		}
	}
	clear(a.dirty)
	for _, r := range changed {
		a.owed[r.Prefix] = struct{}{}
	}
	p := plan{routes: make([]bgp.Route, 0, len(a.owed))}
	for prefix := range a.owed {
		p.routes = append(p.routes, a.table.Route(prefix))
	}
	p.peers, p.profiles = a.cluster.Peers(a.self), a.cluster.BFD(a.self)
	p.routerID, p.anyID = a.cluster.RouterID(a.self)
	a.refused = map[string]string{}
	for name, err := range a.cluster.BGP.On(a.cluster.Nodes[a.self].Labels).Refused {
		a.refused[name] = err.Error()
	}
	return p, true
}

const (
	// wayAgain is when the way to a peer that BFD is to watch is looked for again.
	wayAgain = time.Second
	// peersAgain is when a peer that the Router cannot have is told to it again: what is wrong with it may be the kernel's.
	peersAgain = 30 * time.Second
)

// turn plans, tells the Router, and looks at the sessions. It says when something is to be looked at anew; 0: there is nothing.
func (a *advertiser) turn(ctx context.Context) (next time.Duration, err error) {
	a.act.Lock()
	defer a.act.Unlock()
	p, ok := a.decide()
	if !ok {
		return 0, nil
	}
	router, err := a.ready(ctx, &p)
	if err != nil || router == nil {
		return 0, err
	}
	if len(p.routes) > 0 {
		if err := router.SetRoutes(ctx, p.routes); err != nil {
			return 0, fmt.Errorf("tell the routes: %w", err)
		}
	}
	clear(a.owed)
	if due := !a.later.IsZero() && !time.Now().Before(a.later); due || !slices.Equal(p.peers, a.peers) {
		a.setPeers(ctx, router, p.peers)
	}
	if !a.later.IsZero() {
		next = time.Until(a.later)
	}
	moved := a.observe(router)
	if moved || !maps.Equal(p.profiles, a.profiles) {
		a.profiles = p.profiles
		if a.watchPeers(p) {
			next = wayAgain
		}
	}
	return next, nil
}

// ready gives the Router, which is opened when there are peers, and anew when this node's BGP identifier has changed: all sessions have that in common.
func (a *advertiser) ready(ctx context.Context, p *plan) (bgp.Router, error) {
	a.mu.Lock()
	router := a.router
	a.mu.Unlock()
	switch {
	case router == nil && (len(p.peers) == 0 || a.open == nil):
		clear(a.owed) // it gets all when it is opened
		return nil, nil
	case router != nil && (a.routerID == p.routerID || p.anyID): // a Node that is gone for a moment, or its address, resets nothing
		return router, nil
	case router != nil:
		why := fmt.Sprintf("the router ID changes from %s to %s", a.routerID, p.routerID)
		for _, peer := range a.peers {
			a.tell(peer.Name, reasonReset, fmt.Sprintf("%s ends its session and opens it anew: %s", a.self, why))
		}
		a.forget()
		if err := router.Close(ctx, why, true); err != nil {
			a.log.Error(err, "end the sessions for another router ID")
		}
	}
	router, err := a.open(ctx, p.routerID)
	if err != nil {
		return nil, fmt.Errorf("start BGP with router ID %s: %w", p.routerID, err)
	}
	a.mu.Lock()
	a.router = router
	p.routes = a.table.Routes()
	a.mu.Unlock()
	a.routerID = p.routerID
	return router, nil
}

// forget the Router and what it was told.
func (a *advertiser) forget() {
	a.mu.Lock()
	a.router, a.sessions, a.failed = nil, nil, nil
	a.mu.Unlock()
	a.peers, a.profiles, a.later = nil, nil, time.Time{}
	a.watch.set(nil)
}

func (a *advertiser) setPeers(ctx context.Context, router bgp.Router, peers []bgp.Peer) {
	resets, errs := router.SetPeers(ctx, peers)
	a.peers = peers
	if a.later = (time.Time{}); len(errs) > 0 {
		a.later = time.Now().Add(peersAgain)
	}
	for _, r := range resets {
		a.log.Info("session is reset", "peer", r.Peer, "reason", r.Reason)
		a.tell(r.Peer, reasonReset, fmt.Sprintf("%s ends its session and opens it anew: %s", a.self, r.Reason))
	}
	failed := make(map[string]string, len(errs))
	for name, err := range errs {
		failed[name] = err.Error()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, why := range failed {
		if a.failed[name] != why {
			a.log.Info("a peer cannot be had as it is", "peer", name, "error", why)
		}
	}
	a.failed = failed
	// Of a session that was reset it has been told that it is lost.
	a.sessions = slices.DeleteFunc(a.sessions, func(s bgp.Session) bool {
		return slices.ContainsFunc(resets, func(r bgp.Reset) bool { return r.Peer == s.Peer })
	})
	a.changed()
}

// observe tells of sessions that have come up or gone, and reports whether any has changed.
func (a *advertiser) observe(router bgp.Router) bool {
	now := router.Sessions()
	a.mu.Lock()
	before := a.sessions
	a.sessions = now
	a.mu.Unlock()
	moved := len(before) != len(now)
	for _, s := range now {
		i := slices.IndexFunc(before, func(b bgp.Session) bool { return b.Peer == s.Peer })
		var was bgp.Session
		if i >= 0 {
			was = before[i]
		}
		moved = moved || i < 0 || was.State != s.State || was.Remote != s.Remote || was.Local != s.Local
		anew := was.Established != s.Established
		switch up, wasUp := s.State == bgp.Established, was.State == bgp.Established; {
		case up && wasUp && anew:
			a.tell(s.Peer, reasonLost, fmt.Sprintf("%s had lost its session with %s, and has it again; the speaker's log says why", a.self, s.Remote))
			a.tell(s.Peer, reasonEstablished, fmt.Sprintf("%s has established its session with %s", a.self, s.Remote))
		case up && !wasUp:
			a.tell(s.Peer, reasonEstablished, fmt.Sprintf("%s has established its session with %s", a.self, s.Remote))
		case !up && wasUp:
			a.tell(s.Peer, reasonLost, fmt.Sprintf("%s has lost its session with %s: %s", a.self, s.Remote, s.LastError))
		}
	}
	a.changed()
	return moved
}

// current are the sessions as they are now.
func (a *advertiser) current() []bgp.Session {
	a.mu.Lock()
	router := a.router
	a.mu.Unlock()
	if router == nil {
		return nil
	}
	return router.Sessions()
}

// leave drains what is to be drained, for as long as the context lasts, and ends all sessions. Meanwhile the Router is told of changes as
// always: an endpoint that is gone gets no traffic. For a restart the peers that graceful restart was agreed with go on forwarding; if the
// node is cordoned, it is not to come back soon, and they are drained too.
func (a *advertiser) leave(ctx context.Context, wait time.Duration) {
	if _, err := a.turn(ctx); err != nil { // setMembers has told that this speaker stops
		a.log.Error(err, "stopping without draining all peers")
	}
	if drained := a.drained(); len(drained) > 0 {
		a.log.Info("stopping: waiting for peers to find other ways", "peers", drained, "time", wait.String())
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	a.act.Lock()
	defer a.act.Unlock()
	a.mu.Lock()
	router := a.router
	a.leaving = true
	cordoned := slices.ContainsFunc(a.cluster.Members, func(m bgproutes.Member) bool { return m.Name == a.self && m.Draining })
	a.mu.Unlock()
	if router == nil {
		return
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	why := "the speaker restarts"
	if cordoned {
		why = "the node is cordoned and its speaker stops"
	}
	if err := router.Close(closing, why, !cordoned); err != nil && !errors.Is(err, context.Canceled) {
		a.log.Error(err, "end the sessions")
	}
	a.forget()
}

// drained are the peers that routes are drained from.
func (a *advertiser) drained() []string {
	a.act.Lock()
	defer a.act.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	var drained []string
	for _, s := range a.sessions {
		if s.State == bgp.Established && s.Routes > 0 && slices.ContainsFunc(a.peers, func(p bgp.Peer) bool { return p.Name == s.Peer && p.GracefulShutdown }) {
			drained = append(drained, s.Peer)
		}
	}
	return drained
}

// close ends the Router without more ado, when leave did not.
func (a *advertiser) close() {
	a.mu.Lock()
	router := a.router
	a.leaving, a.router = true, nil
	a.mu.Unlock()
	if router == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := router.Close(ctx, "the speaker restarts", true); err != nil {
		a.log.Error(err, "end the sessions")
	}
}

// drop ends the session with a peer that BFD has found lost.
func (a *advertiser) drop(peer, reason string) {
	a.mu.Lock()
	router := a.router
	a.mu.Unlock()
	if router == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := router.Drop(ctx, peer, reason); err != nil {
		a.log.Error(err, "end the session with a peer that is lost", "peer", peer)
	}
}
