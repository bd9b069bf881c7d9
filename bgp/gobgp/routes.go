package gobgp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"fairlead.io/fairlead/bgp"
)

// attrSet is a set of attributes that routes of a family have to one peer.
type attrSet struct {
	tag    uint32 // the peer's index, and a number of the set's own
	attrs  *bgp.Attributes
	v6     bool
	routes int // that have it
}

type setKey struct {
	attrs string // Attributes.String
	v6    bool
}

// exports are the sets of attributes to one peer.
type exports struct {
	peer   string
	index  uint16
	known  bool // the peer is one of the Router's
	open   bool // the engine has it as a neighbour
	sets   map[setKey]*attrSet
	last   [2]*attrSet // used last, by family: mostly it is the next one too
	next   uint16      // a number that may be free
	unused int         // sets without routes
	taken  map[uint32]bool
}

// rib has all routes, and what they have to do with which peer.
type rib struct {
	routes map[netip.Prefix][]*attrSet // to each peer one, in the order of tags
	peers  map[string]*exports
	taken  map[uint16]*exports // indexes
}

func newRIB() *rib {
	return &rib{routes: map[netip.Prefix][]*attrSet{}, peers: map[string]*exports{}, taken: map[uint16]*exports{}}
}

// The engine's neighbours and tags have two bytes each.
const (
	maxPeers = 0xfeff // a tag looks like no well-known community, although that would not matter
	maxSets  = 0xfffe
)

// exports to a peer, known or not.
func (r *rib) exports(peer string) (*exports, error) {
	if x := r.peers[peer]; x != nil {
		return x, nil
	}
	if len(r.taken) >= maxPeers {
		return nil, fmt.Errorf("there are more than %d peers", maxPeers)
	}
	// The lowest free one: what the kernel keeps for an address of a neighbour is there for ever.
	index := uint16(1)
	for r.taken[index] != nil {
		index++
	}
	x := &exports{peer: peer, index: index, sets: map[setKey]*attrSet{}, taken: map[uint32]bool{}}
	r.peers[peer], r.taken[x.index] = x, x
	return x, nil
}

// forget a peer.
func (r *rib) forget(x *exports) {
	delete(r.peers, x.peer)
	delete(r.taken, x.index)
}

// set for attributes, and if it is new.
func (x *exports) set(attrs *bgp.Attributes, v6 bool) (s *attrSet, fresh bool, err error) {
	family := 0
	if v6 {
		family = 1
	}
	if s = x.last[family]; s != nil && s.attrs == attrs {
		return s, false, nil
	}
	key := setKey{attrs.String(), v6}
	if s = x.sets[key]; s == nil {
		if len(x.sets) >= maxSets {
			return nil, false, fmt.Errorf("routes to peer %s have more than %d different sets of attributes", x.peer, maxSets)
		}
		for x.next++; x.taken[x.tag(x.next)]; x.next++ {
		}
		s, fresh = &attrSet{tag: x.tag(x.next), attrs: attrs, v6: v6}, true
		x.sets[key], x.taken[s.tag] = s, true
		x.unused++
	}
	x.last[family] = s
	return s, fresh, nil
}

func (x *exports) tag(number uint16) uint32 { return uint32(x.index)<<16 | uint32(number) }

// used are the sets that routes have, in the order of their tags.
func (x *exports) used() []*attrSet {
	var out []*attrSet
	for _, s := range x.sets {
		if s.routes > 0 {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *attrSet) int { return cmp.Compare(a.tag, b.tag) })
	return out
}

// collect takes the sets out that no route has.
func (x *exports) collect() (tags []uint32) {
	for key, s := range x.sets {
		if s.routes == 0 {
			delete(x.sets, key)
			delete(x.taken, s.tag)
			tags = append(tags, s.tag)
		}
	}
	x.last, x.unused = [2]*attrSet{}, 0
	return tags
}

func (r *rib) count(s *attrSet, by int) {
	x := r.taken[uint16(s.tag>>16)]
	if s.routes == 0 {
		x.unused--
	}
	if s.routes += by; s.routes == 0 {
		x.unused++
	}
}

// change says what must be done in the engine for a route; nothing when it is as it was.
func (r *rib) change(route bgp.Route) (out *path, fresh []*attrSet, err error) {
	if !route.Prefix.IsValid() || route.Prefix != route.Prefix.Masked() || route.Prefix.Addr().Is4In6() {
		return nil, nil, fmt.Errorf("prefix %s is none that can be advertised", route.Prefix)
	}
	sets := make([]*attrSet, 0, len(route.To))
	for _, to := range route.To {
		x, err := r.exports(to.Peer)
		if err != nil {
			return nil, fresh, err
		}
		s, isNew, err := x.set(to.Attributes, route.Prefix.Addr().Is6())
		if err != nil {
			return nil, fresh, err
		}
		if isNew {
			fresh = append(fresh, s)
		}
		sets = append(sets, s)
	}
	slices.SortFunc(sets, func(a, b *attrSet) int { return cmp.Compare(a.tag, b.tag) })
	sets = slices.Compact(sets)
	old, had := r.routes[route.Prefix]
	if slices.Equal(old, sets) && (had || len(sets) == 0) {
		return nil, fresh, nil
	}
	out = &path{prefix: route.Prefix}
	for _, s := range sets {
		r.count(s, 1)
		out.tags = append(out.tags, s.tag)
	}
	for _, s := range old {
		r.count(s, -1)
	}
	if len(sets) == 0 {
		delete(r.routes, route.Prefix)
	} else {
		r.routes[route.Prefix] = sets
	}
	return out, fresh, nil
}

// maxUnused is how many sets without routes a peer keeps, if there are not even more in use.
const maxUnused = 32

// SetRoutes is part of bgp.Router. A route that cannot be advertised is an error and does not keep others from it.
func (r *Router) SetRoutes(ctx context.Context, routes []bgp.Route) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.engine == nil {
		return errClosed
	}
	var errs []error
	changed := make(map[netip.Prefix]int, len(routes))
	var paths []path
	for _, route := range routes {
		p, fresh, err := r.rib.change(route)
		for _, s := range fresh {
			if x := r.rib.taken[uint16(s.tag>>16)]; x.open {
				err = errors.Join(err, r.engine.extend(ctx, x.index, s))
			}
		}
		if err != nil {
			errs = append(errs, err)
		}
		if p == nil {
			continue
		}
		if i, again := changed[p.prefix]; again {
			paths[i] = *p
			continue
		}
		changed[p.prefix] = len(paths)
		paths = append(paths, *p)
	}
	errs = append(errs, r.engine.update(paths), r.collect(ctx))
	return errors.Join(errs...)
}

// collect forgets sets of attributes that are not used, when there are many, and peers that are not known and get no route.
func (r *Router) collect(ctx context.Context) error {
	var errs []error
	for _, x := range r.rib.peers {
		forgotten := !x.known && !x.open && x.unused == len(x.sets)
		if forgotten || x.unused > max(maxUnused, len(x.sets)-x.unused) {
			errs = append(errs, r.collectFrom(ctx, x))
		}
		if forgotten {
			r.rib.forget(x)
		}
	}
	return errors.Join(errs...)
}

func (r *Router) collectFrom(ctx context.Context, x *exports) error {
	tags := x.collect()
	var errs []error
	if x.open {
		n := r.engine.policies[x.index].neighbour
		errs = append(errs, r.engine.setPolicy(ctx, &n, x.used()))
	}
	for _, tag := range tags {
		errs = append(errs, r.engine.dropTag(ctx, tag))
	}
	return errors.Join(errs...)
}
