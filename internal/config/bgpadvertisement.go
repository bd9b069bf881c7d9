package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/bgp"
)

// BGPAdvertisement is a compiled BGPAdvertisement.
type BGPAdvertisement struct {
	Selection
	Name string
	// Created is its age; see bgp.Advertisement.
	Created time.Time
	// Length4 and Length6 are the lengths of the prefixes that are advertised for addresses.
	Length4, Length6 int
	Attributes       bgp.Attributes
	// Peers that it names, in their order; none: all.
	Peers []string
}

// CompileBGPAdvertisement compiles an advertisement. An error is always an *Error.
func CompileBGPAdvertisement(adv *v1beta1.BGPAdvertisement, aliases Aliases) (*BGPAdvertisement, error) {
	spec := &adv.Spec
	selection, err := compileSelection(&spec.AdvertisementSelection)
	if err != nil {
		return nil, err
	}
	out := &BGPAdvertisement{Selection: selection, Name: adv.Name, Created: adv.CreationTimestamp.Time, Length4: 32, Length6: 128}
	out.Peers = slices.Clone(spec.Peers)
	slices.Sort(out.Peers)
	for _, f := range []struct {
		name  string
		from  *int32
		to    *int
		limit int32
	}{{"aggregationLength", spec.AggregationLength, &out.Length4, 32}, {"aggregationLengthV6", spec.AggregationLengthV6, &out.Length6, 128}} {
		if f.from != nil {
			if *f.from < 1 || *f.from > f.limit {
				return nil, invalid(theAdvertisement, "spec.%s: %d is out of range: it must be 1 to %d", f.name, *f.from, f.limit)
			}
			*f.to = int(*f.from)
		}
	}
	for _, f := range []struct {
		name string
		from *int64
		to   **uint32
	}{{"localPref", spec.LocalPref, &out.Attributes.LocalPref}, {"med", spec.MED, &out.Attributes.MED}} {
		if f.from != nil {
			n := uint32(*f.from)
			if int64(n) != *f.from {
				return nil, invalid(theAdvertisement, "spec.%s: %d is out of range: it must be 0 to 4294967295", f.name, *f.from)
			}
			*f.to = &n
		}
	}
	if spec.ASPathPrepend < 0 || spec.ASPathPrepend > 10 {
		return nil, invalid(theAdvertisement, "spec.asPathPrepend: %d is out of range: it must be 0 to 10", spec.ASPathPrepend)
	}
	out.Attributes.Prepend = uint8(spec.ASPathPrepend)
	for i, text := range spec.Communities {
		c, err := aliases.resolve(string(text))
		if err != nil {
			return nil, &Error{err.Reason, fmt.Errorf("spec.communities[%d]: %w; %s is not used until then", i, err.err, theAdvertisement)}
		}
		out.Attributes.Communities = out.Attributes.Communities.Union(c)
	}
	return out, nil
}

// Names reports whether the advertisement is to go to a peer.
func (a *BGPAdvertisement) Names(peer string) bool {
	if len(a.Peers) == 0 {
		return true
	}
	_, ok := slices.BinarySearch(a.Peers, peer)
	return ok
}

// Prefix that is advertised for an address.
func (a *BGPAdvertisement) Prefix(addr netip.Addr) netip.Prefix {
	length := a.Length6
	if addr.Is4() {
		length = a.Length4
	}
	return netip.PrefixFrom(addr, length).Masked()
}

// reservedAdministrator of large communities: the last AS number, reserved by RFC 7300. Ours carry internal marks under it.
const reservedAdministrator = 1<<32 - 1

// Aliases are the communities that Community objects give a name.
type Aliases map[string]bgp.Communities

// compileCommunities gives the aliases of all objects, the oldest of which wins where two define one. Objects that are refused
// define none.
func compileCommunities(list []*v1beta1.Community, out *BGP) Aliases {
	aliases, from := Aliases{}, map[string]string{}
	for _, obj := range list {
		own, err := compileCommunity(obj)
		if err != nil {
			out.refuse(KindCommunity, obj.Name, err)
			continue
		}
		for _, x := range obj.Spec.Communities { // in their order
			c := own[x.Name]
			known, wellKnown := bgp.ParseCommunity(x.Name)
			switch older := from[x.Name]; {
			case wellKnown == nil && !known.Equal(c):
				out.note(KindCommunity, obj.Name, v1beta1.ReasonAliasConflict, fmt.Sprintf(
					"alias %s (%s) has no effect, because the name is well-known and means %s; choose another name", x.Name, x.Value, known.Strings()[0]))
			case wellKnown == nil:
			case older != "":
				out.note(KindCommunity, obj.Name, v1beta1.ReasonAliasConflict, fmt.Sprintf(
					"alias %s (%s) has no effect, because older Community %s defines it as %s; choose another name, or remove one of the two", x.Name, x.Value, older, aliases[x.Name].Strings()[0]))
			default:
				aliases[x.Name], from[x.Name] = c, obj.Name
			}
		}
	}
	return aliases
}

func compileCommunity(obj *v1beta1.Community) (Aliases, *Error) {
	out := Aliases{}
	for i, x := range obj.Spec.Communities {
		c, err := parseCommunity(string(x.Value))
		if err == nil && !strings.Contains(string(x.Value), ":") {
			err = fmt.Errorf("%q is neither asn:value nor large:a:b:c", x.Value)
		}
		if err != nil {
			return nil, &Error{v1beta1.ReasonInvalidCommunity, fmt.Errorf("spec.communities[%d].value (%s): %w; none of the object's aliases is used until then", i, x.Name, err)}
		}
		out[x.Name] = c
	}
	return out, nil
}

func parseCommunity(text string) (bgp.Communities, error) {
	c, err := bgp.ParseCommunity(text)
	if err != nil {
		return c, err //nolint:wrapcheck // it quotes the text
	}
	if slices.ContainsFunc(c.Large, func(l bgp.LargeCommunity) bool { return l.Global == reservedAdministrator }) {
		return c, fmt.Errorf("%q has the reserved AS number %d (RFC 7300), which Fairlead uses itself: choose another one", text, reservedAdministrator)
	}
	return c, nil
}

// resolve a community as an advertisement names it. A well-known name is never an alias.
func (a Aliases) resolve(text string) (bgp.Communities, *Error) {
	c, err := parseCommunity(text)
	if err == nil {
		return c, nil
	}
	if strings.Contains(text, ":") {
		return c, &Error{v1beta1.ReasonInvalidCommunity, err}
	}
	if c, ok := a[text]; ok {
		return c, nil
	}
	return c, &Error{v1beta1.ReasonUnknownCommunity, fmt.Errorf("%q is neither a well-known name (%s) nor an alias of an accepted Community object: create one that defines it, or correct the name",
		text, strings.Join(bgp.WellKnown(), ", "))}
}

// invalid is the error of a field that cannot be used, of the advertisement or the peer.
func invalid(what, format string, args ...any) *Error {
	return &Error{v1beta1.ReasonInvalidSpec, fmt.Errorf(format+"; %s is not used until then", append(args, what)...)}
}

// asError makes an *Error of what the compilers return.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{v1beta1.ReasonInvalidSpec, err}
}

// byAge sorts the oldest first; objects of one age by name.
func byAge[T any, P interface {
	*T
	metav1.Object
}](list []T) []P {
	out := make([]P, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	slices.SortFunc(out, func(a, b P) int {
		ta, tb := a.GetCreationTimestamp(), b.GetCreationTimestamp()
		if c := ta.Compare(tb.Time); c != 0 {
			return c
		}
		return strings.Compare(a.GetName(), b.GetName())
	})
	return out
}
