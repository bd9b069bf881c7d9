package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

// families is a set of families.
type families uint8

func familySet(ipv4, ipv6 bool) (out families) {
	if ipv4 {
		out |= 1 << wire.IPv4
	}
	if ipv6 {
		out |= 1 << wire.IPv6
	}
	return out
}

func (s families) has(f wire.Family) bool { return s&(1<<f) != 0 }

func familyOf(p netip.Prefix) wire.Family {
	if p.Addr().Is4() {
		return wire.IPv4
	}
	return wire.IPv6
}

// task is what a session's writer is to do. The Router's lock guards it.
type task struct {
	terms   terms
	pending map[netip.Prefix]struct{} // whose route to the peer has changed
	// all are the families of which every route is to be looked at, because the terms have changed; again those that the router has
	// asked for: what it has been told is sent again too.
	all, again families
	wake       chan struct{} // has a value when there is something to do
}

func newTask() task { return task{pending: map[netip.Prefix]struct{}{}, wake: make(chan struct{}, 1)} }

func (t *task) due() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// want is a route as a peer is to have it; without attributes, not to have it.
type want struct {
	prefix netip.Prefix
	attrs  *bgp.Attributes
}

// take gives what a session's writer is to look at, and forgets it. It is the state of now: what changes later is pending anew.
func (r *Router) take(s *session) (list []want, t terms, again families) {
	r.mu.Lock()
	defer r.mu.Unlock()
	task := &s.task
	list = make([]want, 0, len(task.pending))
	for p := range task.pending {
		list = append(list, want{p, exportTo(r.routes[p], s.p.name)})
	}
	again = task.again
	if all := task.all | again; all != 0 {
		for p, to := range r.routes {
			if _, have := task.pending[p]; have || !all.has(familyOf(p)) {
				continue
			}
			if attrs := exportTo(to, s.p.name); attrs != nil {
				list = append(list, want{p, attrs})
			}
		}
	}
	if len(task.pending) > 0 {
		task.pending = map[netip.Prefix]struct{}{} // one that was large once does not stay so
	}
	task.all, task.again = 0, 0
	return list, task.terms, again
}

// exportTo gives what a peer gets of a route; nil: nothing.
func exportTo(to []bgp.Export, peer string) *bgp.Attributes {
	i, found := slices.BinarySearchFunc(to, peer, func(x bgp.Export, peer string) int { return strings.Compare(x.Peer, peer) })
	if !found {
		return nil
	}
	return to[i].Attributes
}

// SetRoutes is part of bgp.Router. A route that cannot be advertised is an error and does not keep others from it.
func (r *Router) SetRoutes(_ context.Context, routes []bgp.Route) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errClosed
	}
	var errs []error
	for i := range routes {
		if err := r.set(&routes[i]); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// set replaces a route, and tells the sessions whose peers it has changed for. The caller holds the lock.
func (r *Router) set(route *bgp.Route) error {
	p := route.Prefix
	if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
		return fmt.Errorf("prefix %s is none that can be advertised", p)
	}
	to, ordered := route.To, true
	for i, x := range to {
		if x.Attributes == nil {
			return fmt.Errorf("the route to %s has no attributes for peer %s", p, x.Peer)
		}
		ordered = ordered && (i == 0 || to[i-1].Peer < x.Peer)
	}
	if !ordered {
		to = sorted(to)
	}
	for peer := range changes(r.routes[p], to) {
		if s := r.established[peer]; s != nil {
			s.task.pending[p] = struct{}{}
			s.task.due()
		}
	}
	if len(to) == 0 {
		delete(r.routes, p)
	} else {
		r.routes[p] = to
	}
	return nil
}

// sorted are the exports in the order of their peers, the first of each.
func sorted(to []bgp.Export) []bgp.Export {
	samePeer := func(a, b bgp.Export) bool { return a.Peer == b.Peer }
	return slices.CompactFunc(slices.SortedStableFunc(slices.Values(to), func(a, b bgp.Export) int { return strings.Compare(a.Peer, b.Peer) }), samePeer)
}

// changes yields the peers that get another route of the one than of the other.
func changes(old, now []bgp.Export) iter.Seq[string] {
	return func(yield func(string) bool) {
		for len(old) > 0 || len(now) > 0 {
			var peer string
			same := false
			switch {
			case len(now) == 0 || len(old) > 0 && old[0].Peer < now[0].Peer:
				peer, old = old[0].Peer, old[1:]
			case len(old) == 0 || now[0].Peer < old[0].Peer:
				peer, now = now[0].Peer, now[1:]
			default:
				peer, same = now[0].Peer, old[0].Attributes.Equal(now[0].Attributes)
				old, now = old[1:], now[1:]
			}
			if !same && !yield(peer) {
				return
			}
		}
	}
}
