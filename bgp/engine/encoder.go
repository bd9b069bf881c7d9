package engine

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

// maxSets is how many sets of attributes a session keeps encoded beside those that its routes have.
const maxSets = 512

// encoder keeps sets of attributes as they are sent on a session. Equal ones are one pointer while it keeps them.
type encoder struct {
	terms terms
	sets  map[setKey]encoded
	equal map[string]*attributeSet // by their keys
	// unsent are the routes that the router is to have, and whose attributes cannot be sent, and why.
	unsent map[netip.Prefix]error
}

// encoded is a set, or why it cannot be sent.
type encoded struct {
	*attributeSet
	err error
}

type setKey struct {
	attrs  *bgp.Attributes
	family wire.Family
}

// use these terms from now on.
func (e *encoder) use(t terms) {
	if e.sets == nil || e.terms != t {
		e.terms, e.sets, e.equal = t, map[setKey]encoded{}, map[string]*attributeSet{}
	}
	if e.unsent == nil {
		e.unsent = map[netip.Prefix]error{}
	}
}

// set is what a route has as it is sent; nil: it is not advertised.
func (e *encoder) set(w want) *attributeSet {
	s := e.encode(w.attrs, familyOf(w.prefix))
	if s.err != nil {
		e.unsent[w.prefix] = s.err
	} else {
		delete(e.unsent, w.prefix)
	}
	return s.attributeSet
}

// problem says what cannot be sent; empty: all can.
func (e *encoder) problem() string {
	if len(e.unsent) == 0 {
		return ""
	}
	least := slices.MinFunc(slices.Collect(maps.Keys(e.unsent)), netip.Prefix.Compare)
	return fmt.Sprintf("routes that are not advertised: %d, among them %s: %v; let its advertisements have fewer communities", len(e.unsent), least, e.unsent[least])
}

func (e *encoder) encode(attrs *bgp.Attributes, f wire.Family) encoded {
	if attrs == nil || !e.terms.nextHop(f).IsValid() {
		return encoded{}
	}
	k := setKey{attrs, f}
	if s, ok := e.sets[k]; ok {
		return s
	}
	if len(e.sets) >= maxSets {
		clear(e.sets)
		clear(e.equal)
	}
	var s encoded
	if s.attributeSet, s.err = e.terms.encode(attrs, f); s.err == nil {
		if same := e.equal[s.key()]; same != nil {
			s.attributeSet = same
		} else {
			e.equal[s.key()] = s.attributeSet
		}
	}
	e.sets[k] = s
	return s
}
