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
