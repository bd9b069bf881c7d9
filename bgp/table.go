package bgp

import (
	"encoding/binary"
	"iter"
	"maps"
	"net/netip"
	"slices"
)

// Want is a route that an advertisement is to give.
type Want struct {
	Prefix netip.Prefix
	By     *Advertisement
}

// Table merges what is wanted of routes into one route for each prefix. Each key, a Service for example, wants a list of routes, and a
// change of one list costs as much as the lists before and after are long. A prefix that several want, as with aggregates, is
// withdrawn with the last of them.
//
// Where several advertisements give a route to one peer, it has the communities of all, and of every other attribute the value of the
// oldest that has a say in it; see Conflicts. The outcome depends on what is wanted now, and never on what was before.
//
// A Table is not safe for concurrent use. The zero value is empty.
type Table[K comparable] struct {
	wants  map[K][]Want
	routes map[netip.Prefix]*entry
	ids    map[*Advertisement]*identity
	unions map[string]*union // by the identities of their advertisements
	sets   map[string]*attributeSet
	lastID uint64
	// dirty are the routes that have changed, with what they were.
	dirty map[netip.Prefix]*union
}

// entry is a prefix that somebody wants.
type entry struct {
	by  []share // the oldest advertisement first
	now *union
}

// share is how often a prefix is wanted by one advertisement.
type share struct {
	adv   *Advertisement
	wants int
}

type identity struct {
	id    uint64
	wants int
}

// union is what comes of several advertisements together. Most routes have the same few.
type union struct {
	key       string
	to        []Export
	conflicts []Conflict
	routes    int
	// prefixes of the routes, kept where there are conflicts.
	prefixes map[netip.Prefix]struct{}
}

type attributeSet struct {
	*Attributes
	exports int
}

// Set replaces what a key wants and returns the routes that have changed, in the order of their prefixes; those that are withdrawn go
// to nobody. Neither the list nor the advertisements may be changed afterwards, nor what is returned.
func (t *Table[K]) Set(key K, wants []Want) []Route {
	t.put(key, wants)
	return t.settle()
}

// Replace replaces what all keys want and returns the routes that have changed, like Set.
func (t *Table[K]) Replace(all iter.Seq2[K, []Want]) []Route {
	gone := make(map[K]struct{}, len(t.wants))
	for key := range t.wants {
		gone[key] = struct{}{}
	}
	for key, wants := range all {
		delete(gone, key)
		t.put(key, wants)
	}
	for key := range gone {
		t.put(key, nil)
	}
	return t.settle()
}

// Routes are all that go to anybody, in the order of their prefixes.
func (t *Table[K]) Routes() []Route {
	out := make([]Route, 0, len(t.routes))
	for prefix, e := range t.routes {
		if len(e.now.to) > 0 {
			out = append(out, Route{prefix, e.now.to})
		}
	}
	sortRoutes(out)
	return out
}

// Route to a prefix. It goes to nobody if no key wants it.
func (t *Table[K]) Route(prefix netip.Prefix) Route {
	r := Route{Prefix: prefix}
	if e := t.routes[prefix]; e != nil {
		r.To = e.now.to
	}
	return r
}

// Conflicts of advertisements, in the order of who loses. It costs nothing while there are none.
func (t *Table[K]) Conflicts() []Conflict {
	var list []Conflict
	for _, u := range t.unions {
		if len(u.conflicts) == 0 {
			continue
		}
		least := slices.MinFunc(slices.Collect(maps.Keys(u.prefixes)), netip.Prefix.Compare)
		for _, c := range u.conflicts {
			c.Prefix, c.Routes = least, u.routes
			list = append(list, c)
		}
	}
	return gather(list)
}

// put notes what a key wants; settle finds out what comes of it.
func (t *Table[K]) put(key K, wants []Want) {
	if t.wants == nil {
		t.wants, t.routes, t.ids = map[K][]Want{}, map[netip.Prefix]*entry{}, map[*Advertisement]*identity{}
		t.unions, t.sets, t.dirty = map[string]*union{}, map[string]*attributeSet{}, map[netip.Prefix]*union{}
	}
	old := t.wants[key]
	if slices.Equal(old, wants) {
		return
	}
	for _, w := range wants {
		t.add(w)
	}
	for _, w := range old {
		t.remove(w)
	}
	if len(wants) == 0 {
		delete(t.wants, key)
	} else {
		t.wants[key] = wants
	}
}

func (t *Table[K]) add(w Want) {
	prefix := w.Prefix.Masked()
	e := t.routes[prefix]
	if e == nil {
		e = &entry{}
		t.routes[prefix] = e
	}
	id := t.ids[w.By]
	if id == nil {
		t.lastID++
		id = &identity{id: t.lastID}
		t.ids[w.By] = id
	}
	id.wants++
	i, found := e.find(w.By)
	if found {
		e.by[i].wants++
		return
	}
	t.touch(prefix, e)
	e.by = slices.Insert(e.by, i, share{w.By, 1})
}

func (t *Table[K]) remove(w Want) {
	prefix := w.Prefix.Masked()
	e := t.routes[prefix]
	if id := t.ids[w.By]; id.wants == 1 {
		delete(t.ids, w.By)
	} else {
		id.wants--
	}
	i, _ := e.find(w.By)
	if e.by[i].wants--; e.by[i].wants == 0 {
		t.touch(prefix, e)
		e.by = slices.Delete(e.by, i, i+1)
	}
}

// find gives where an advertisement is, or would be.
func (e *entry) find(adv *Advertisement) (int, bool) {
	for i := range e.by {
		if e.by[i].adv == adv {
			return i, true
		}
	}
	for i := range e.by {
		if adv.older(e.by[i].adv) < 0 {
			return i, false
		}
	}
	return len(e.by), false
}

func (t *Table[K]) touch(prefix netip.Prefix, e *entry) {
	if _, ok := t.dirty[prefix]; !ok {
		t.dirty[prefix] = e.now
	}
}

// settle finds the routes that have changed.
func (t *Table[K]) settle() []Route {
	var changed []Route
	for prefix, before := range t.dirty {
		e := t.routes[prefix]
		route := Route{Prefix: prefix}
		if len(e.by) == 0 {
			delete(t.routes, prefix)
		} else {
			e.now = t.join(prefix, e.by)
			route.To = e.now.to
		}
		if before == nil && len(route.To) > 0 || before != nil && !slices.Equal(before.to, route.To) { // equal attributes are one pointer
			changed = append(changed, route)
		}
		t.leave(prefix, before)
	}
	clear(t.dirty)
	sortRoutes(changed)
	return changed
}

// join gives what comes of these advertisements together, and notes that a route has it.
func (t *Table[K]) join(prefix netip.Prefix, by []share) *union {
	key := make([]byte, 0, 64)
	for i := range by {
		key = binary.BigEndian.AppendUint64(key, t.ids[by[i].adv].id)
	}
	u := t.unions[string(key)]
	if u == nil {
		advs := make([]*Advertisement, len(by))
		for i := range by {
			advs[i] = by[i].adv
		}
		u = &union{key: string(key)}
		u.to, u.conflicts = merge(advs)
		for i := range u.to {
			u.to[i].Attributes = t.intern(u.to[i].Attributes)
		}
		if len(u.conflicts) > 0 {
			u.prefixes = map[netip.Prefix]struct{}{}
		}
		t.unions[u.key] = u
	}
	u.routes++
	if u.prefixes != nil {
		u.prefixes[prefix] = struct{}{}
	}
	return u
}

// leave notes that a route has this union no more, and forgets what no route has.
func (t *Table[K]) leave(prefix netip.Prefix, u *union) {
	if u == nil {
		return
	}
	if u.prefixes != nil && t.routes[prefix].union() != u {
		delete(u.prefixes, prefix)
	}
	if u.routes--; u.routes > 0 {
		return
	}
	delete(t.unions, u.key)
	for _, x := range u.to {
		text := x.Attributes.String()
		if s := t.sets[text]; s.exports == 1 {
			delete(t.sets, text)
		} else {
			s.exports--
		}
	}
}

func (e *entry) union() *union {
	if e == nil {
		return nil
	}
	return e.now
}

// intern gives the one pointer of equal attributes.
func (t *Table[K]) intern(a *Attributes) *Attributes {
	text := a.String()
	s := t.sets[text]
	if s == nil {
		s = &attributeSet{Attributes: a}
		t.sets[text] = s
	}
	s.exports++
	return s.Attributes
}

func sortRoutes(list []Route) {
	slices.SortFunc(list, func(a, b Route) int { return a.Prefix.Compare(b.Prefix) })
}
