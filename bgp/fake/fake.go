// Package fake is a bgp.Router that speaks to nobody: it remembers what it is told, and its sessions are what a test says.
package fake

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"fairlead.io/fairlead/bgp"
)

// Router is a fake. Its zero value is ready.
type Router struct {
	mu      sync.Mutex // guards what follows
	peers   []bgp.Peer
	routes  map[netip.Prefix][]bgp.Export
	states  map[string]bgp.Session
	log     []string
	fail    error
	refused map[string]error
	resets  []bgp.Reset
	changed chan struct{}
}

var _ bgp.Router = (*Router)(nil)

func (r *Router) note(s string) { r.log = append(r.log, s) }

// Log gives what the Router was told since it was last asked, a line each.
func (r *Router) Log() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	log := r.log
	r.log = nil
	return log
}

// Fail lets SetRoutes fail from now on; nil: no longer.
func (r *Router) Fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// Refuse lets SetPeers have an error for each of these peers from now on, by name, and no session with it.
func (r *Router) Refuse(errs map[string]error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = errs
}

// Reset lets the next SetPeers reset these sessions, of which it was said how they are.
func (r *Router) Reset(resets ...bgp.Reset) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resets = resets
}

// SetSession says how a session is now.
func (r *Router) SetSession(s bgp.Session) {
	r.mu.Lock()
	if r.states == nil {
		r.states = map[string]bgp.Session{}
	}
	r.states[s.Peer] = s
	r.mu.Unlock()
	select {
	case r.channel() <- struct{}{}:
	default:
	}
}

// Peers as they were told last, without those that are refused.
func (r *Router) Peers() []bgp.Peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.peers)
}

// Routes as they were told, each as its prefix and its peers with what they get.
func (r *Router) Routes() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, prefix := range slices.SortedFunc(maps.Keys(r.routes), netip.Prefix.Compare) {
		out = append(out, text(prefix, r.routes[prefix]))
	}
	return out
}

func text(prefix netip.Prefix, to []bgp.Export) string {
	parts := []string{prefix.String()}
	for _, x := range to {
		parts = append(parts, strings.TrimSpace(x.Peer+" "+x.Attributes.String()))
	}
	return strings.Join(parts, ", ")
}

// SetPeers is part of bgp.Router.
func (r *Router) SetPeers(_ context.Context, peers []bgp.Peer) ([]bgp.Reset, map[string]error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := []string{"peers"}
	for _, p := range peers {
		name := p.Name
		if p.GracefulShutdown {
			name += " drained"
		}
		names = append(names, name)
	}
	errs := map[string]error{}
	r.peers = slices.DeleteFunc(slices.Clone(peers), func(p bgp.Peer) bool {
		err := r.refused[p.Name]
		if err != nil {
			errs[p.Name] = err
		}
		return err != nil
	})
	r.note(strings.Join(names, ", "))
	resets := r.resets
	r.resets = nil
	for _, x := range resets {
		s := r.states[x.Peer]
		s.State = bgp.Idle
		r.states[x.Peer] = s
	}
	return resets, errs
}

// SetRoutes is part of bgp.Router.
func (r *Router) SetRoutes(_ context.Context, routes []bgp.Route) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	if r.routes == nil {
		r.routes = map[netip.Prefix][]bgp.Export{}
	}
	for _, route := range routes {
		r.note("route " + text(route.Prefix, route.To))
		if r.routes[route.Prefix] = route.To; len(route.To) == 0 {
			delete(r.routes, route.Prefix)
		}
	}
	return nil
}

// Drop is part of bgp.Router.
func (r *Router) Drop(_ context.Context, peer, reason string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note("drop " + peer + ": " + reason)
	return nil
}

// Sessions is part of bgp.Router.
func (r *Router) Sessions() []bgp.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]bgp.Session, 0, len(r.peers))
	for _, p := range r.peers {
		s := r.states[p.Name]
		if s.Peer = p.Name; !s.Remote.IsValid() {
			s.Remote = p.Address
		}
		out = append(out, s)
	}
	return out
}

func (r *Router) channel() chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed == nil {
		r.changed = make(chan struct{}, 1)
	}
	return r.changed
}

// Changed is part of bgp.Router.
func (r *Router) Changed() <-chan struct{} { return r.channel() }

// Advertised is part of bgp.Router.
func (r *Router) Advertised(_ context.Context, peer string) ([]bgp.Advertised, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []bgp.Advertised
	for prefix, to := range r.routes {
		for _, x := range to {
			if x.Peer == peer {
				out = append(out, bgp.Advertised{Prefix: prefix, Attributes: *x.Attributes})
			}
		}
	}
	slices.SortFunc(out, func(a, b bgp.Advertised) int { return a.Prefix.Compare(b.Prefix) })
	return out, nil
}

// Close is part of bgp.Router.
func (r *Router) Close(_ context.Context, reason string, restart bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if restart {
		r.note("close for a restart: " + reason)
	} else {
		r.note("close: " + reason)
	}
	return nil
}
