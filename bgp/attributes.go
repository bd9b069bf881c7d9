package bgp

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Community is a standard community, AS number and value (RFC 1997).
type Community uint32

// The communities that have a name (IANA, BGP Well-known Communities).
const (
	GracefulShutdown  Community = 0xffff0000 // RFC 8326
	AcceptOwn         Community = 0xffff0001 // RFC 7611
	LLGRStale         Community = 0xffff0006 // RFC 9494
	NoLLGR            Community = 0xffff0007 // RFC 9494
	Blackhole         Community = 0xffff029a // RFC 7999
	NoExport          Community = 0xffffff01 // RFC 1997
	NoAdvertise       Community = 0xffffff02 // RFC 1997
	NoExportSubconfed Community = 0xffffff03 // RFC 1997; routers call it local-as
	NoPeer            Community = 0xffffff04 // RFC 3765
)

// wellKnown are the names that may stand for a community.
var wellKnown = map[string]Community{
	"graceful-shutdown": GracefulShutdown, "accept-own": AcceptOwn, "llgr-stale": LLGRStale, "no-llgr": NoLLGR, "blackhole": Blackhole,
	"no-export": NoExport, "no-advertise": NoAdvertise, "local-as": NoExportSubconfed, "nopeer": NoPeer,
}

// String is asn:value.
func (c Community) String() string {
	return strconv.Itoa(int(c>>16)) + ":" + strconv.Itoa(int(c&0xffff))
}

// LargeCommunity has a global administrator and two parts of local data (RFC 8092).
type LargeCommunity struct{ Global, Local1, Local2 uint32 }

// String is a:b:c.
func (c LargeCommunity) String() string { return fmt.Sprintf("%d:%d:%d", c.Global, c.Local1, c.Local2) }

func (c LargeCommunity) compare(o LargeCommunity) int {
	return cmp.Or(cmp.Compare(c.Global, o.Global), cmp.Compare(c.Local1, o.Local1), cmp.Compare(c.Local2, o.Local2))
}

// Communities of a route: in ascending order, none twice.
type Communities struct {
	Standard []Community
	Large    []LargeCommunity
}

// ParseCommunity reads asn:value, large:a:b:c or a well-known name. What is none of these may be an alias, which is for the caller
// to know.
func ParseCommunity(s string) (Communities, error) {
	if c, ok := wellKnown[s]; ok {
		return Communities{Standard: []Community{c}}, nil
	}
	text, large := strings.CutPrefix(s, "large:")
	parts := strings.Split(text, ":")
	numbers := make([]uint32, len(parts))
	bits := 16
	if large {
		bits = 32
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, bits)
		if err != nil || p[0] == '+' {
			return Communities{}, fmt.Errorf("%q is no community: it must be asn:value with numbers of 0..65535, large:a:b:c with numbers of 0..4294967295, or one of %s",
				s, strings.Join(WellKnown(), ", "))
		}
		numbers[i] = uint32(n)
	}
	switch {
	case large && len(numbers) == 3:
		return Communities{Large: []LargeCommunity{{numbers[0], numbers[1], numbers[2]}}}, nil
	case !large && len(numbers) == 2:
		return Communities{Standard: []Community{Community(numbers[0]<<16 | numbers[1])}}, nil
	}
	return Communities{}, fmt.Errorf("%q is no community: asn:value has two numbers, large:a:b:c three", s)
}

// WellKnown are the names of communities, in order.
func WellKnown() []string {
	names := make([]string, 0, len(wellKnown))
	for name := range wellKnown {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Union of two sets.
func (c Communities) Union(o Communities) Communities {
	out := Communities{slices.Concat(c.Standard, o.Standard), slices.Concat(c.Large, o.Large)}
	slices.Sort(out.Standard)
	slices.SortFunc(out.Large, LargeCommunity.compare)
	out.Standard, out.Large = slices.Compact(out.Standard), slices.Compact(out.Large)
	return out
}

// Equal reports whether two sets are the same.
func (c Communities) Equal(o Communities) bool {
	return slices.Equal(c.Standard, o.Standard) && slices.Equal(c.Large, o.Large)
}

// Strings are the communities as ParseCommunity reads them, large ones last.
func (c Communities) Strings() []string {
	out := make([]string, 0, len(c.Standard)+len(c.Large))
	for _, s := range c.Standard {
		out = append(out, s.String())
	}
	for _, l := range c.Large {
		out = append(out, "large:"+l.String())
	}
	return out
}

// Attributes of a route to one peer, beside those that every route has. They must not be changed once they are in use.
type Attributes struct {
	// LocalPref (RFC 4271, 5.1.5) goes to internal peers only; nil: the default, 100.
	LocalPref *uint32
	// MED (RFC 4271, 5.1.4); nil: none.
	MED *uint32
	// Prepend is how many times more than needed our AS number stands in the AS_PATH to external peers; to internal ones that is empty.
	Prepend     uint8
	Communities Communities
}

// For gives what of the attributes counts for peers of a type: the local preference for internal ones, prepending for external ones.
func (a Attributes) For(internal bool) Attributes {
	if internal {
		a.Prepend = 0
	} else {
		a.LocalPref = nil
	}
	return a
}

// Equal reports whether two sets of attributes are the same.
func (a *Attributes) Equal(o *Attributes) bool {
	return a == o || a != nil && o != nil && equal(a.LocalPref, o.LocalPref) && equal(a.MED, o.MED) && a.Prepend == o.Prepend && a.Communities.Equal(o.Communities)
}

func equal(a, b *uint32) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// String is what a person reads of them; empty: there are none. Attributes are equal when their texts are.
func (a *Attributes) String() string {
	var parts []string
	if a.LocalPref != nil {
		parts = append(parts, fmt.Sprintf("localPref %d", *a.LocalPref))
	}
	if a.MED != nil {
		parts = append(parts, fmt.Sprintf("MED %d", *a.MED))
	}
	if a.Prepend > 0 {
		parts = append(parts, fmt.Sprintf("AS prepended %d times", a.Prepend))
	}
	if c := a.Communities.Strings(); len(c) > 0 {
		parts = append(parts, "communities "+strings.Join(c, " "))
	}
	return strings.Join(parts, ", ")
}
