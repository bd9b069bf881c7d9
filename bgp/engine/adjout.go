package engine

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"fairlead.io/fairlead/bgp"
)

// adjRIBOut is what a router has been told and not been told to forget: what was written to its connection, and no more.
type adjRIBOut struct {
	mu     sync.Mutex // guards routes; the session's writer, who alone changes them, reads them without it
	routes map[netip.Prefix]*attributeSet
}

func (a *adjRIBOut) len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.routes)
}

// list gives the routes in the order of their prefixes.
func (a *adjRIBOut) list() []bgp.Advertised {
	a.mu.Lock()
	out := make([]bgp.Advertised, 0, len(a.routes))
	for prefix, set := range a.routes {
		route := set.shown
		route.Prefix = prefix
		out = append(out, route)
	}
	a.mu.Unlock()
	slices.SortFunc(out, func(a, b bgp.Advertised) int { return a.Prefix.Compare(b.Prefix) })
	return out
}

// written is a message that was sent.
type written struct {
	prefixes []netip.Prefix
	set      *attributeSet // nil: they were withdrawn
}

// record takes over what was sent.
func (a *adjRIBOut) record(list []written) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range list {
		for _, p := range w.prefixes {
			if w.set == nil {
				delete(a.routes, p)
			} else {
				a.routes[p] = w.set
			}
		}
	}
}

// difference says what a router must be told for it to have these routes: what is to be withdrawn, then what is to be announced, in a
// stable order. Routes of the families in again are announced even if the router has been told.
func (a *adjRIBOut) difference(list []want, e *encoder, again families) []group {
	slices.SortFunc(list, func(x, y want) int { return x.prefix.Compare(y.prefix) })
	withdrawn, announced := map[carrier]*group{}, map[string]*group{}
	var last *group // mostly it is the next one too
	for _, w := range list {
		had, now := a.routes[w.prefix], e.set(w)
		switch {
		case now == nil && had == nil, now != nil && now.equal(had) && !again.has(now.family):
		case now == nil:
			g := withdrawn[had.carrier]
			if g == nil {
				g = &group{carrier: had.carrier}
				withdrawn[had.carrier] = g
			}
			g.prefixes = append(g.prefixes, w.prefix)
		default:
			if last == nil || last.set != now {
				if last = announced[now.key()]; last == nil {
					last = &group{carrier: now.carrier, set: now}
					announced[now.key()] = last
				}
			}
			last.prefixes = append(last.prefixes, w.prefix)
		}
	}
	return append(inOrder(withdrawn, carrier.compare), inOrder(announced, strings.Compare)...)
}

func (c carrier) compare(o carrier) int {
	mp := map[bool]int{true: 1}
	return cmp.Or(cmp.Compare(c.family, o.family), cmp.Compare(mp[c.mp], mp[o.mp]))
}

// inOrder are the groups in the order of their keys.
func inOrder[K comparable](groups map[K]*group, compare func(K, K) int) []group {
	keys := make([]K, 0, len(groups))
	for k := range groups {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compare)
	out := make([]group, len(keys))
	for i, k := range keys {
		out[i] = *groups[k]
	}
	return out
}
