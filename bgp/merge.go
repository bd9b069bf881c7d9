package bgp

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Advertisement says to which peers routes go, and with which attributes. It must not be changed once it is in use.
type Advertisement struct {
	// Name is unique.
	Name string
	// Created is its age: where two differ the older wins, and of two of one age that whose name comes first.
	Created time.Time
	// Peers, each once, in order.
	Peers []string
	// Attributes that routes get. Those that are not set, which for Prepend is 0, it has no say in.
	Attributes Attributes
}

// older orders advertisements. Two of one name can meet while one replaces the other.
func (a *Advertisement) older(o *Advertisement) int {
	if c := cmp.Or(a.Created.Compare(o.Created), strings.Compare(a.Name, o.Name)); c != 0 {
		return c
	}
	return cmp.Or(strings.Compare(a.Attributes.String(), o.Attributes.String()), slices.Compare(a.Peers, o.Peers))
}

// The attributes that are a single value, which advertisements can differ in. They are named as the fields of the API are.
const (
	LocalPref = "localPref"
	MED       = "med"
	Prepend   = "asPathPrepend"
)

// Conflict is an attribute that two advertisements want to be different for the same routes and peers.
type Conflict struct {
	// Attribute is LocalPref, MED or Prepend.
	Attribute string
	// Winner is the older advertisement, whose value the routes have; Loser the other.
	Winner, Loser string
	// Won and Lost are their values.
	Won, Lost uint32
	// Peers that the routes go to, in order.
	Peers []string
	// Prefix is the least of the routes.
	Prefix netip.Prefix
	// Routes is how many there are.
	Routes int
}

// merge gives for each peer what the route has that these advertisements want, the oldest first. Conflicts have no prefix.
func merge(by []*Advertisement) ([]Export, []Conflict) {
	var peers []string
	for _, adv := range by {
		peers = append(peers, adv.Peers...)
	}
	slices.Sort(peers)
	peers = slices.Compact(peers)
	var exports []Export
	var conflicts []Conflict
	for _, peer := range peers {
		attrs := &Attributes{}
		from := map[string]*Advertisement{} // who has set an attribute
		for _, adv := range by {
			if !slices.Contains(adv.Peers, peer) {
				continue
			}
			a := &adv.Attributes
			attrs.Communities = attrs.Communities.Union(a.Communities)
			for name, values := range scalars(attrs, a) {
				switch won, lost := values[0], values[1]; {
				case lost == nil:
				case from[name] == nil:
					from[name] = adv
					attrs.set(name, *lost)
				case *won != *lost && from[name].Name != adv.Name: // else one is about to replace the other
					conflicts = append(conflicts, Conflict{Attribute: name, Winner: from[name].Name, Loser: adv.Name, Won: *won, Lost: *lost, Peers: []string{peer}})
				}
			}
		}
		exports = append(exports, Export{Peer: peer, Attributes: attrs})
	}
	return exports, gather(conflicts)
}

// scalars yields, under each attribute's name, its value in either set; nil: it is not set.
func scalars(a, b *Attributes) func(func(string, [2]*uint32) bool) {
	prepend := func(a *Attributes) *uint32 {
		if a.Prepend == 0 {
			return nil
		}
		return new(uint32(a.Prepend))
	}
	return func(yield func(string, [2]*uint32) bool) {
		_ = yield(LocalPref, [2]*uint32{a.LocalPref, b.LocalPref}) &&
			yield(MED, [2]*uint32{a.MED, b.MED}) &&
			yield(Prepend, [2]*uint32{prepend(a), prepend(b)})
	}
}

func (a *Attributes) set(name string, value uint32) {
	switch name {
	case LocalPref:
		a.LocalPref = &value
	case MED:
		a.MED = &value
	case Prepend:
		a.Prepend = uint8(value)
	}
}

// Contradict reports whether two sets of attributes cannot both be had by one route.
func Contradict(a, b *Attributes) bool {
	for _, v := range scalars(a, b) {
		if v[0] != nil && v[1] != nil && *v[0] != *v[1] {
			return true
		}
	}
	return false
}

// compare orders conflicts by who loses against whom and in what.
func (c *Conflict) compare(o *Conflict) int {
	return cmp.Or(strings.Compare(c.Loser, o.Loser), strings.Compare(c.Winner, o.Winner), strings.Compare(c.Attribute, o.Attribute),
		cmp.Compare(c.Won, o.Won), cmp.Compare(c.Lost, o.Lost))
}

// gather makes one of conflicts that are the same but for peers and routes.
func gather(list []Conflict) []Conflict {
	slices.SortFunc(list, func(a, b Conflict) int {
		return cmp.Or(a.compare(&b), a.Prefix.Compare(b.Prefix))
	})
	var out []Conflict
	for _, c := range list {
		if len(out) == 0 || out[len(out)-1].compare(&c) != 0 {
			c.Peers = slices.Clone(c.Peers)
			out = append(out, c)
			continue
		}
		last := &out[len(out)-1]
		last.Peers = append(last.Peers, c.Peers...)
		last.Routes += c.Routes
	}
	for i := range out {
		slices.Sort(out[i].Peers)
		out[i].Peers = slices.Compact(out[i].Peers)
	}
	return out
}
